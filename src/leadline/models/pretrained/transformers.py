"""Teachers: the depth networks of the `transformers` library as depth models, each with the kind that it promises."""

import json
from collections.abc import Callable, Mapping
from math import lcm
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from huggingface_hub import metadata_load
from jaxtyping import Float
from torch import Tensor, nn

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, check_known, first_line, unknown
from leadline.core.paths import StrPath
from leadline.models.base import DepthModel, ModelSpec, Preprocessing, Provenance, Resize, init_on_meta
from leadline.models.description import check_preprocessing, read_json
from leadline.models.heads import InverseReadout
from leadline.models.registry import check_numbers


def hub(
    *,
    config: Mapping[str, Any] | None = None,
    processor: Mapping[str, Any] | None = None,
    kind: str | None = None,
    readout: bool = False,
) -> "TransformersModel":
    """Build an untrained depth network of the `transformers` library.

    Args:
        config: what its config.json holds.
        processor: what its preprocessor_config.json holds, defaults included.
        kind: what it guarantees, where the configuration does not say it: "metric", "relative" or "scale_free".
        readout: metres are read off its output, which is inverse depth; `kind` is "metric" then.

    Raises:
        BadInput: no configuration, or one of a network that is not known.
    """
    if config is None or processor is None:
        raise BadInput("Which network of the hub? Write hub:USER/NAME, or hub:FOLDER for one on this machine.")
    library = _library()
    network = library.AutoModelForDepthEstimation.from_config(_configuration(library, config))
    return TransformersModel(
        network,
        _kind(network.config, kind),
        _preprocessing(network.config, processor),
        Provenance(),
        readout=InverseReadout() if readout else None,
    )


def load_transformers_folder(folder: StrPath, name: str, kind: str | None = None) -> "TransformersModel":
    """Load a network that the library's own `save_pretrained` wrote, in evaluation mode.

    Nothing but JSON and safetensors is read.

    Args:
        folder: where it lies.
        name: what its provenance calls it.
        kind: as in `hub`.

    Raises:
        BadInput: not a whole folder of a depth network, or one whose kind or preprocessing is not known.
    """
    folder = Path(folder)
    library = _library()
    config, processor = _described(library, folder)
    settings = _configuration(library, config)
    # All that may be refused is, before the large file is read.
    promised, preprocessing = _kind(settings, kind), _preprocessing(settings, processor)
    _check_size(library, settings, folder, name)
    try:
        network, report = library.AutoModelForDepthEstimation.from_pretrained(
            folder,
            config=settings,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as problem:  # The library raises whatever odd settings and files lead it to.
        raise BadInput(
            f"{name} has no weights that fit its configuration as safetensors: {first_line(problem)} "
            "Pickled weights are never read: look for a revision of it with safetensors."
        ) from problem
    if absent := sorted(key for key in report["missing_keys"] if not key.startswith(_IDLE)):
        raise BadInput(f"{name} lacks {len(absent)} of its weights ({', '.join(absent[:3])}, …): download it again.")
    model = TransformersModel(network, promised, preprocessing, _provenance(folder, name))
    model.set_spec(ModelSpec("hub", {"config": config, "processor": processor, "kind": promised.value}))
    return model.eval()


def _check_size(library: ModuleType, settings: Any, folder: Path, name: str) -> None:
    """Refuse a configuration whose network has more weights than the folder's files have bytes, before it is built."""
    try:
        with init_on_meta():
            network = library.AutoModelForDepthEstimation.from_config(settings)
    except Exception as problem:  # As below.
        raise BadInput(f"{name}: no network can be built from config.json: {first_line(problem)}") from problem
    count = sum(parameter.numel() for parameter in network.parameters())
    if count > (held := sum(file.stat().st_size for file in folder.glob("*.safetensors"))):
        raise BadInput(
            f"{name} has no weights that fit its configuration as safetensors: {count} numbers, and {held} bytes of "
            "files. Pickled weights are never read: look for a revision of it with safetensors."
        )


class TransformersModel(DepthModel):
    """A depth network of the `transformers` library, in the library's own code."""

    network: Any

    def __init__(
        self,
        network: nn.Module,
        kind: DepthKind,
        preprocessing: Preprocessing,
        provenance: Provenance,
        *,
        spec: ModelSpec | None = None,
        readout: InverseReadout | None = None,
    ) -> None:
        super().__init__(kind, preprocessing, provenance, spec=spec)
        self.network = network
        self.readout = readout

    @property
    def encoder(self) -> nn.Module:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The library's backbone; a property, for a second name would store its weights twice."""
        return _part(self.network, "backbone", "dpt", "glpn", "depth_pro.encoder")

    def forward_canonical(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
        answer = self.network(pixel_values=self.normalize(image))
        depth = answer.predicted_depth[:, None]
        if self.readout is not None:
            return self.readout(depth)
        return _metres(depth, answer.field_of_view) if self.network.config.model_type == "depth_pro" else depth

    def features(self, image: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        """Return the backbone's hidden states that the network decodes, as maps, finest first."""
        read: list[Tensor] = []
        decoder = _part(self.network, "neck", "decoder", "depth_pro.neck")
        hook = decoder.register_forward_pre_hook(lambda _, given: read.extend(given[0]))
        try:
            self.network(pixel_values=self.normalize(image))
        finally:
            hook.remove()
        maps = [each if each.ndim == 4 else self._map(each, image) for each in read]
        return tuple(sorted(maps, key=lambda each: -each.shape[-1]))

    def normalize(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """Normalize as every model does; refuse other sizes where the library's code takes one only.

        Raises:
            BadInput: a side does not divide, or a size that the network does not take.
        """
        only = self.preprocessing.size
        if _takes_one_size(self.network.config) and tuple(image.shape[-2:]) != only:
            raise BadInput(
                f"This {self.network.config.model_type} takes {only[0]} × {only[1]} pixels only, not "
                f"{image.shape[-2]} × {image.shape[-1]}. leadline.predict resizes images of any size."
            )
        return super().normalize(image)

    def _map(self, tokens: Float[Tensor, "B N D"], image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D h w"]:
        """The tokens of the patches, laid out; those before them (the class token) are left out."""
        patch = _patch(self.network.config)
        height, width = image.shape[-2] // patch, image.shape[-1] // patch
        return tokens[:, -height * width :].transpose(1, 2).unflatten(2, (height, width))


def _library() -> ModuleType:
    try:
        import transformers
    except ImportError as problem:
        raise BadInput("Networks of the transformers library need it: pip install 'leadline[hub]'.") from problem
    return transformers


def _described(library: ModuleType, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the folder's config.json and preprocessor_config.json hold, the latter with the library's defaults."""
    try:
        config = read_json(folder / "config.json")
        if not isinstance(config, dict):
            raise BadInput("config.json must hold an object.")
        processor = library.AutoImageProcessor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError) as problem:
        raise BadInput(
            f"{folder} is no depth network of the transformers library, which has config.json and "
            f"preprocessor_config.json: {first_line(problem)}"
        ) from problem
    except Exception as problem:  # The library raises whatever odd settings lead it to.
        raise BadInput(f"{folder / 'preprocessor_config.json'} cannot be used: {first_line(problem)}") from problem
    return config, json.loads(processor.to_json_string())


def _configuration(library: ModuleType, config: Mapping[str, Any]) -> Any:
    """The library's own configuration object; code that the configuration names elsewhere is not used."""
    check_numbers(config, "config.json")
    try:
        settings = library.AutoConfig.for_model(**_without_code(config))
    except Exception as problem:  # The library raises whatever odd settings lead it to.
        raise BadInput(f"transformers {library.__version__} knows no such network: {first_line(problem)}") from problem
    known = library.models.auto.modeling_auto.MODEL_FOR_DEPTH_ESTIMATION_MAPPING_NAMES
    check_known("depth network", settings.model_type, known)
    return settings


def _without_code(config: Any) -> Any:
    """The configuration without what makes the library fetch and run code: own classes, attention kernels."""
    if not isinstance(config, Mapping):
        return config
    return {
        key: _without_code(value)
        for key, value in config.items()
        if key != "auto_map" and "_implementation" not in str(key)
    }


def _kind(config: Any, told: str | None) -> DepthKind:
    """What the network promises: as told, or what its family and its configuration leave no doubt about."""
    if told is not None:
        try:
            return DepthKind(told)
        except ValueError as problem:
            raise unknown("kind", told, DepthKind) from problem
    known = _KINDS.get(config.model_type, lambda config: None)(config)
    if known is None:
        raise BadInput(
            f"Whether this {config.model_type} gives metres or inverse depth, its configuration does not say, and it "
            "is not guessed: kind=metric, kind=relative or kind=scale_free (on the command line hub:…,kind=metric)."
        )
    return known


def _preprocessing(config: Any, processor: Mapping[str, Any]) -> Preprocessing:
    """What the image processor of the network's family does, as ours.

    Raises:
        BadInput: a processor, or a setting of it, that has no counterpart.
    """
    name = str(processor.get("image_processor_type", "")).removesuffix("Fast").removesuffix("Pil")
    check_known("image processor", name, _PROCESSORS)
    try:
        return check_preprocessing(_PROCESSORS[name](config, processor))
    except BadInput as problem:
        raise BadInput(f"The {name} of this {config.model_type}: {problem}") from problem
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as problem:
        raise BadInput(
            f"The {name} of this {config.model_type} lacks a setting or has an odd one ({problem})."
        ) from problem


def _dpt_preprocessing(config: Any, processor: Mapping[str, Any]) -> Preprocessing:
    """DPT's and Depth Anything's."""
    _must_be(processor, do_resize=True, do_pad=False)
    keeps_aspect = processor["keep_aspect_ratio"] and not _takes_one_size(config)
    return Preprocessing(
        _size(processor),
        multiple=lcm(_whole(processor, "ensure_multiple_of"), _patch(config)),
        resize=Resize.MINIMAL if keeps_aspect else Resize.STRETCH,
        interpolation=_choice(processor, "resample", {2: "bilinear", 3: "cubic_smooth"}),
        restore="cubic",
        **_normalisation(processor),
    )


def _zoedepth_preprocessing(config: Any, processor: Mapping[str, Any]) -> Preprocessing:
    """A mirrored margin of 3 √(side / 2), as in ZoeDepth's own evaluation; no flip, as in the library's pipeline."""
    _must_be(processor, do_resize=True)
    return Preprocessing(
        _size(processor),
        multiple=lcm(_whole(processor, "ensure_multiple_of"), _patch(config)),
        resize=Resize.MINIMAL if processor["keep_aspect_ratio"] else Resize.STRETCH,
        interpolation=_choice(processor, "resample", {2: "bilinear_corners"}),
        restore="cubic",
        margin=3.0 if processor["do_pad"] else 0.0,
        **_normalisation(processor),
    )


def _glpn_preprocessing(config: Any, processor: Mapping[str, Any]) -> Preprocessing:
    """GLPN takes a photograph as large as it is."""
    return Preprocessing(
        (480, 640),  # NYU Depth v2's, which it was published for; nothing but a default for training.
        multiple=_whole(processor, "size_divisor"),
        resize=Resize.OWN,
        interpolation=_choice(processor, "resample", {2: "bilinear", 3: "cubic_smooth"}),
        restore="cubic",
        **_normalisation(processor),
    )


def _depth_pro_preprocessing(config: Any, processor: Mapping[str, Any]) -> Preprocessing:
    """Depth Pro's: one square size, and its inverse depth is what is resized back."""
    _must_be(processor, do_resize=True)
    return Preprocessing(
        _size(processor),
        multiple=_patch(config),
        resize=Resize.STRETCH,
        interpolation=_choice(processor, "resample", {2: "bilinear_sharp"}),
        restore="bilinear_inverse",
        **_normalisation(processor),
    )


def _must_be(processor: Mapping[str, Any], **settings: bool) -> None:
    for name, wanted in settings.items():
        if bool(processor.get(name)) is not wanted:
            raise BadInput(f"{name}={processor.get(name)} in preprocessor_config.json is not supported; {wanted} is.")


def _size(processor: Mapping[str, Any]) -> tuple[int, int]:
    return int(processor["size"]["height"]), int(processor["size"]["width"])


def _whole(processor: Mapping[str, Any], name: str) -> int:
    # The library's own default for ZoeDepth is 1/32, a slip for the 32 that is published.
    if processor[name] < 1 or processor[name] != int(processor[name]):
        raise BadInput(f"{name}={processor[name]} in preprocessor_config.json must be a whole number, such as 32.")
    return int(processor[name])


def _choice(processor: Mapping[str, Any], name: str, choices: Mapping[int, Any]) -> Any:
    if processor[name] not in choices:
        raise BadInput(f"{name}={processor[name]} in preprocessor_config.json is not supported: {list(choices)} are.")
    return choices[processor[name]]


def _normalisation(processor: Mapping[str, Any]) -> dict[str, Any]:
    """Mean and deviation of RGB in [0, 1], which the processor may count in other steps."""
    white = 255 * processor["rescale_factor"] if processor["do_rescale"] else 255
    mean, std = (
        (processor["image_mean"], processor["image_std"]) if processor.get("do_normalize") else ([0] * 3, [1] * 3)
    )
    if len(mean) != 3 or len(std) != 3:
        raise BadInput(f"mean {mean} and std {std} must be three numbers each, of red, green and blue.")
    return {"mean": tuple(value / white for value in mean), "std": tuple(value / white for value in std)}


def _patch(config: Any) -> int:
    """Pixels of a patch's side; Depth Pro's are the windows that it cuts the photograph into."""
    backbone = getattr(config, "backbone_config", None)
    patch = getattr(backbone, "patch_size", None) or config.patch_size
    return patch if isinstance(patch, int) else patch[0]


def _takes_one_size(config: Any) -> bool:
    """Whether the library's code lets the network see its native size only."""
    if config.model_type == "dpt":
        return config.backbone_config is None or config.is_hybrid
    return config.model_type == "depth_pro"


def _part(network: nn.Module, *paths: str) -> nn.Module:
    """The first of these modules that the network has."""
    for path in paths:
        module: Any = network
        for name in path.split("."):
            module = getattr(module, name, None)
        if module is not None:
            return module
    raise BadInput(f"{type(network).__name__} is not laid out as a depth network: it has none of {', '.join(paths)}.")


def _metres(inverse: Float[Tensor, "B 1 H W"], field_of_view: Float[Tensor, "B"] | None) -> Float[Tensor, "B 1 H W"]:
    """Bochkovskii et al. 2024, §3.1: depth = focal length / (width · canonical inverse depth)."""
    if field_of_view is not None:
        inverse = inverse * (2 * torch.tan(torch.deg2rad(field_of_view) / 2)).view(-1, 1, 1, 1)
    return 1 / inverse.clamp(1e-4, 1e4)


def _provenance(folder: Path, name: str) -> Provenance:
    """What the model card says, which many folders lack."""
    try:
        card = metadata_load(folder / "README.md") or {}
    except Exception:  # Absent, or YAML that is none: whatever it is, it says nothing.
        card = {}
    data, licence = card.get("datasets"), card.get("license")
    if licence == "other":
        licence = card.get("license_name") or card.get("license_link")
    source = f"see the page of {name}"
    return Provenance(
        training_data=f"{', '.join([data] if isinstance(data, str) else data)}; {source}" if data else source,
        encoder=name,
        licence=str(licence or "unknown: see the model's page"),
        notes=f"Converted from {name}, a network of the transformers library.",
    )


_KINDS: Mapping[str, Callable[[Any], DepthKind | None]] = {
    "depth_anything": lambda config: {"relative": DepthKind.RELATIVE, "metric": DepthKind.METRIC}[
        config.depth_estimation_type
    ],
    # Without the field of view its depth is in units of an unknown focal length.
    "depth_pro": lambda config: DepthKind.METRIC if config.use_fov_model else DepthKind.SCALE_FREE,
    # MiDaS 3's networks; over other backbones (DINOv2) the same head was published for metres.
    "dpt": lambda config: (
        DepthKind.RELATIVE
        if getattr(config.backbone_config, "model_type", "vit") in ("vit", "bit", "beit", "swin", "swinv2")
        else None
    ),
    "glpn": lambda config: DepthKind.METRIC,
    "zoedepth": lambda config: DepthKind.METRIC,
}
"""The library's name of a family → its configuration → the kind, or None where that leaves it open."""

_PROCESSORS: Mapping[str, Callable[[Any, Mapping[str, Any]], Preprocessing]] = {
    "DPTImageProcessor": _dpt_preprocessing,
    "DepthProImageProcessor": _depth_pro_preprocessing,
    "GLPNImageProcessor": _glpn_preprocessing,
    "ZoeDepthImageProcessor": _zoedepth_preprocessing,
}
"""The library's name of an image processor → its settings as a `Preprocessing`."""

_IDLE = ("neck.fusion_stage.layers.0.residual_layer1.",)
"""Begins the weights that no output depends on, and that files may lack."""
