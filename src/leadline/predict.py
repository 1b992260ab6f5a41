"""Prediction: an image of any size → depth of that size."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from leadline.errors import BadInput
from leadline.files import PHOTO_SUFFIXES, DepthMap, read_camera, read_image, write_depth, write_image
from leadline.models import DEFAULT, DepthModel, load
from leadline.models.base import Interpolation
from leadline.pictures import depth_scale, fitted_scale, painted, with_legend
from leadline.sample import Depth, Image, Intrinsics, Kind, focal_length, pinhole
from leadline.scaling import WAYS, Scaled, ruler


@torch.inference_mode()
def predict(model: DepthModel, image: Image, intrinsics: Intrinsics | None = None) -> Depth:
    """The depth of one image (3, H, W) or of a batch (B, 3, H, W), at its own size, in the unit of `model.kind`.

    The image is resized as the model's preprocessing says and the answer resized back, so H and W may be anything.
    `intrinsics`, (4,) or (B, 4), are the cameras' in pixels of the image: models with a canonical camera measure better
    with them (see `DepthModel.forward`).
    The model computes in evaluation mode, on the device that it is on, and the answer comes back to the image's.
    """
    images = image if image.ndim == 4 else image[None]
    height, width = images.shape[-2:]
    rule = model.preprocessing
    rows, columns = rule.margin_for(height, width)
    whole = (height + 2 * rows, width + 2 * columns)
    images = images.to(next(model.parameters()).device)
    if rows or columns:
        images = F.pad(images, (columns, columns, rows, rows), mode="reflect")
    size = rule.size_for(*whole)
    fitted = _resized(images, size, rule.interpolation)
    was_training = model.training
    model.eval()
    try:
        answer = model(fitted, None if intrinsics is None else _intrinsics_at(size, whole, intrinsics, images)).float()
    finally:
        model.train(was_training)
    restored = _resized(answer, whole, rule.restore)
    depth = restored[..., rows : rows + height, columns : columns + width].to(image.device)
    if model.kind is not Kind.RELATIVE:
        # Cubic interpolation overshoots at edges, and nothing is nearer than zero.
        nearest = answer.nan_to_num(nan=torch.inf).amin((1, 2, 3), keepdim=True)
        depth = depth.maximum(nearest.to(image.device))
    return depth if image.ndim == 4 else depth[0]


@dataclass(frozen=True)
class Predict:
    """Measure the depth of photographs of any size: a 16-bit PNG and a colour picture for each.

    The PNG holds millimetres along the optical axis, and says so in its own text; the picture's colours mean the same
    metres in every picture. What cannot be read is skipped and named, and the exit code is then 1.
    """

    images: tyro.conf.Positional[tuple[str, ...]]
    """Files, folders (with all below them) or patterns like 'holiday/*.jpg'."""
    model: Annotated[str, tyro.conf.arg(aliases=["--weights"])] = DEFAULT
    """Folder of a saved model, an official checkpoint file, the name of a published model, or hub:USER/NAME; unset: the
    small one that comes with the package."""
    as_name: Annotated[str | None, tyro.conf.arg(name="as")] = None
    """The model that a checkpoint file is, where neither its keys nor its name tell: dpt_hybrid, dpt_hybrid_nyu …"""
    out: Path = Path("depth")
    """Folder for NAME.png and NAME.colour.png; folders below a given folder are kept."""
    metres: bool = False
    """Refuse a model that does not promise metres, unless --scale-from makes metres of its answers."""
    scale_from: tuple[str, ...] = ()
    """Makes metres of any answer: measured points X,Y,METRES … (pixels from the top left, metres along the optical
    axis), a sparse depth map of the photograph's size, a folder of them named as the photographs, or a camera's height
    as floor:1.45,field_of_view=60 with options pitch=DEGREES down (for relative depth) and box=X0:Y0:X1:Y1 of floor."""
    depth_scale: float | None = None
    """Numbers in sparse depth maps are metres × this, where the files do not say it: 1000 for millimetres."""
    field_of_view: float | None = None
    """Degrees from the left edge of the photographs to the right one; unset: as their EXIF says, where it does.
    A zoomed picture looks nearer than it is: a model with a canonical camera measures better with it."""
    near: float = 0.5
    """Metres at the near end of the colours."""
    far: float = 10.0
    """Metres at the far end of the colours."""
    json: bool = False
    """Print one JSON object a line for each image, and nothing else, to standard output."""
    device: str = "auto"
    """cpu, cuda, mps, or auto: a GPU if there is one."""

    def run(self) -> int:
        depth_scale(self.near, self.far)
        if not 0 < (self.field_of_view or 60) < 180:
            raise BadInput(f"--field-of-view {self.field_of_view:g}: give the degrees between the edges, 0 to 180.")
        model = ready(self.model, self.device, self.as_name)
        if self.metres and model.kind is not Kind.METRIC and not self.scale_from:
            raise BadInput(f"Model {model.name!r} answers {model.kind.value} depth, not metres. Metres need {WAYS}.")
        found, missing = find_images(self.images)
        scale = ruler(self.scale_from, len(found), depth_scale=self.depth_scale) if self.scale_from else None
        skipped = len(missing)
        for reason in missing:
            self._say({"error": reason})
        written: dict[Path, Path] = {}
        for source, place in tqdm(found, unit=" images", disable=self.json or len(found) < 2):
            target = self.out / place.with_suffix(".png")
            try:
                if target.resolve() == source.resolve():
                    raise BadInput(f"{target} is the photograph itself: choose another --out.")
                if target in written:
                    raise BadInput(f"{source} would overwrite the depth of {written[target]}: choose another --out.")
                answer = self._answer(model, source)
                scaled = scale(answer, place) if scale else None
            except BadInput as fault:
                skipped += 1
                self._say({"image": str(source), "error": str(fault)})
                continue
            figures = self._write(scaled.depth if scaled else answer, target)
            self._say({"image": str(source), **figures, **(_said(scaled) if scaled else {})})
            written[target] = source
        if not self.json:
            print(f"{len(written)} of {len(written) + skipped} images measured, {skipped} skipped. See {self.out}.")
        return 1 if skipped else 0

    def _answer(self, model: DepthModel, source: Path) -> DepthMap:
        image = read_image(source)
        if self.field_of_view:
            camera = pinhole(focal_length(self.field_of_view, image.shape[-1]), image)
        else:
            camera = read_camera(source, image)
        depth = predict(model, image, camera)
        about = {
            "model": model.name,
            "trained_on": model.provenance.training_data or "nothing",
            "camera": "given" if self.field_of_view else "unknown" if camera is None else "from EXIF",
        }
        return DepthMap(depth, torch.ones_like(depth, dtype=torch.bool), model.kind, camera, about)

    def _write(self, answer: DepthMap, target: Path) -> dict[str, Any]:
        """Write the depth and its picture; what there is to say of them."""
        known = answer.depth[answer.valid]
        low, middle, high = known.min().item(), known.median().item(), known.max().item()
        # 16 bits of millimetres end at 65 m; KITTI's 256 steps a metre reach 255 m.
        write_depth(target, answer, depth_scale=1000.0 if high < 65.0 else 256.0)
        is_metric = answer.kind is Kind.METRIC
        scale = depth_scale(self.near, self.far) if is_metric else fitted_scale(answer.depth, answer.valid, answer.kind)
        picture = target.with_suffix(".colour.png")
        write_image(picture, with_legend(painted(answer.depth, scale, answer.valid), scale))
        height, width = answer.depth.shape[-2:]
        figures = {"min": round(low, 4), "median": round(middle, 4), "max": round(high, 4)}
        files = {"depth": str(target), "picture": str(picture)}
        return {
            **files,
            "height": height,
            "width": width,
            "kind": answer.kind.value,
            "camera": answer.provenance["camera"],
            **figures,
        }

    def _say(self, about: dict[str, Any]) -> None:
        if self.json:
            print(json.dumps(about, ensure_ascii=False))
        elif "error" in about:
            tqdm.write(f"skipped: {about['error']}", file=sys.stderr)
        elif "scaled_from" in about:
            tqdm.write(f"{about['image']}: scaled from {about['scaled_from']}.", file=sys.stderr)


def ready(words: str, device: str = "auto", as_name: str | None = None) -> DepthModel:
    """The model of these words on a device; what a checkpoint or the package's own model is, is said to the user.

    Raises:
        BadInput: no such model or device.
    """
    model = load(words, as_name).to(_device_named(device))
    if words == DEFAULT or Path(words).is_file():
        print(f"{words}: {model.provenance.notes}", file=sys.stderr)
    return model


def find_images(words: Sequence[str]) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Photographs that files, folders and patterns name, each with its place below where it was found.

    Also what could not be found, in words.

    Raises:
        BadInput: there is not one photograph.
    """
    found: dict[Path, Path] = {}
    missing = []
    for word in words:
        paths = [Path(word)] if Path(word).exists() or not has_magic(word) else sorted(map(Path, glob(word)))  # noqa: PTH207 (Path.glob takes no absolute patterns)
        inside = [pair for path in paths for pair in _photographs(path)]
        found |= {source: place for source, place in inside if source not in found}
        if not inside:
            missing.append(f"{word}: no photograph there.")
    if not found:
        raise BadInput(" ".join(missing) or "Name photographs, folders or patterns.")
    return list(found.items()), missing


def _device_named(name: str) -> torch.device:
    """cpu, cuda, mps …, or for `auto` a GPU if there is one.

    Raises:
        BadInput: it is not here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as problem:
        raise BadInput(f"No device {name!r} here ({str(problem).splitlines()[0]}): leave --device out.") from problem


def _photographs(path: Path) -> Iterator[tuple[Path, Path]]:
    if path.is_file():
        yield path, Path(path.name)
    for file in sorted(path.rglob("*")) if path.is_dir() else ():
        if file.suffix.lower() in PHOTO_SUFFIXES and file.is_file():
            yield file, file.relative_to(path)


def _said(scaled: Scaled) -> dict[str, Any]:
    """What a machine is told of how metres were made."""
    numbers = {
        key: getattr(scaled, key) for key in ("scale", "shift", "used", "rejected", "residual", "relative_residual")
    }
    return {"scaled_from": str(scaled), **numbers}


def _intrinsics_at(
    size: tuple[int, int], whole: tuple[int, int], intrinsics: Intrinsics, images: Tensor
) -> Float[Tensor, "B 4"]:
    """The intrinsics of images of `whole` height and width, resized to `size`; the principal point is not known."""
    y_scale, x_scale = size[0] / whole[0], size[1] / whole[1]
    scale = torch.tensor([x_scale, y_scale, torch.nan, torch.nan])
    return (intrinsics.cpu() * scale).expand(len(images), 4).to(images.device)


def _resized(
    images: Float[Tensor, "B C h w"], size: tuple[int, int], interpolation: Interpolation
) -> Float[Tensor, "B C H W"]:
    if images.shape[-2:] == size:
        return images
    match interpolation:
        case "area":
            return F.interpolate(images, size, mode="area")
        case "cubic":
            return F.interpolate(images, size, mode="bicubic", align_corners=False)
        case "cubic_smooth":
            return F.interpolate(images, size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
        case "bilinear":
            return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
        case "bilinear_sharp":
            return F.interpolate(images, size, mode="bilinear", align_corners=False)
        case "bilinear_corners":
            return F.interpolate(images, size, mode="bilinear", align_corners=True)
        case "bilinear_inverse":
            return 1 / F.interpolate(1 / images, size, mode="bilinear", align_corners=False)
