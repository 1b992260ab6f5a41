"""`leadline predict`."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from tqdm import tqdm

from leadline.core.camera import focal_length, pinhole
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.inference.metric_scale import WAYS, ScaledDepth, scaler_from_options
from leadline.inference.predict import predict
from leadline.inference.session import load_for_command
from leadline.io.colormaps import colorize, depth_color_scale, fit_color_scale, with_legend
from leadline.io.depth_maps import DepthMap, write_depth
from leadline.io.discovery import find_images
from leadline.io.images import read_camera, read_image, write_image
from leadline.models.base import DepthModel
from leadline.models.registry import DEFAULT


@dataclass(frozen=True)
class PredictCommand:
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
        depth_color_scale(self.near, self.far)
        if not 0 < (self.field_of_view or 60) < 180:
            raise BadInput(f"--field-of-view {self.field_of_view:g}: give the degrees between the edges, 0 to 180.")
        model = load_for_command(self.model, self.device, self.as_name)
        if self.metres and model.kind is not DepthKind.METRIC and not self.scale_from:
            raise BadInput(f"Model {model.name!r} answers {model.kind.value} depth, not metres. Metres need {WAYS}.")
        found, missing = find_images(self.images)
        scale = (
            scaler_from_options(self.scale_from, len(found), depth_scale=self.depth_scale) if self.scale_from else None
        )
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
        is_metric = answer.kind is DepthKind.METRIC
        scale = (
            depth_color_scale(self.near, self.far)
            if is_metric
            else fit_color_scale(answer.depth, answer.valid, answer.kind)
        )
        picture = target.with_suffix(".colour.png")
        write_image(picture, with_legend(colorize(answer.depth, scale, answer.valid), scale))
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


def _said(scaled: ScaledDepth) -> dict[str, Any]:
    """What a machine is told of how metres were made."""
    numbers = {
        key: getattr(scaled, key) for key in ("scale", "shift", "used", "rejected", "residual", "relative_residual")
    }
    return {"scaled_from": str(scaled), **numbers}
