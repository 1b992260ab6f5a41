"""Furniture catalogues of Sweet Home 3D (`*.sh3f`): what each model is, and its true size."""

import re
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from leadline.core.errors import BadInput
from leadline.core.paths import StrPath

_PROPERTIES = "PluginFurnitureCatalog.properties"


class Role(StrEnum):
    """What a model is for in a room."""

    BED = "bed"
    SOFA = "sofa"
    WALL = "wall"
    """Stands with its back to a wall: wardrobes, shelves, kitchen units, pianos."""
    DESK = "desk"
    TABLE = "table"
    CHAIR = "chair"
    ITEM = "item"
    """Lies on a table, a desk or the like."""
    FLOOR = "floor"
    """Stands anywhere: plants, lamps, bins."""
    RUG = "rug"
    HUNG = "hung"
    """Hangs on a wall at its own elevation."""
    PERSON = "person"
    DOOR = "door"
    WINDOW = "window"


@dataclass(frozen=True)
class FurnitureModel:
    """One model of a catalogue; lengths in metres."""

    name: str
    role: Role
    category: str
    """As the catalogue has it: Bedroom, Kitchen, Office …"""
    archive: str
    """File of the catalogue, `*.sh3f`."""
    path: str
    """The OBJ file in it."""
    width: float
    depth: float
    height: float
    elevation: float
    """Height of its lowest point above the floor."""
    top: float | None
    """Height above its lowest point at which things are put on it; None: nothing is."""
    creator: str
    licence: str


_LICENCES = {"BlendSwap-CC-0": "CC0-1.0"}
"""Catalogue → its licence; all others are under CC BY 3.0."""
_SKIPPED = frozenset({"Exterior", "Vehicles", "Staircases"})
_NAMES: Sequence[tuple[Role, str]] = (
    (Role.RUG, r"carpet|rug\b|bathmat|doormat|tatami"),
    (Role.BED, r"\bbed\b|crib|futon\b(?! couch)"),
    (Role.SOFA, r"sofa|couch|armchair|day bed"),
    (Role.DESK, r"desk\b(?! lamp)|office table|dressing table|workbench"),
    (Role.TABLE, r"table(?! (tennis|football|lamp|fan))|kitchen island"),
    (Role.CHAIR, r"chair|stool|puff|\bseat\b"),
    (
        Role.WALL,
        r"wardrobe|cabinet|shel|bookcase|dresser|chest|cupboard|fridge|refrigerator|oven|stove|cooker|piano|sink|freezer|"
        r"tv stand|washing|dryer|bath|shower|toilet|bidet|vanity|fireplace|radiator|box$|filing|bench|furniture",
    ),
)


def read_catalogues(folder: StrPath) -> list[FurnitureModel]:
    """Read the furniture models of every `*.sh3f` of a folder, in the order of their names.

    Args:
        folder: where the catalogues lie, at any depth: a package unpacked by `dpkg-deb -x`, say.

    Raises:
        BadInput: there is none, one cannot be read, or two have one name.
    """
    folder = Path(folder)
    files = sorted(folder.rglob("*.sh3f"))
    if not files:
        raise BadInput(
            f"No furniture catalogue (*.sh3f) in {folder}. Unpack Debian's package sweethome3d-furniture there: "
            "apt-get download sweethome3d-furniture && dpkg-deb -x sweethome3d-furniture*.deb FOLDER."
        )
    if twice := [file for file in files if sum(file.stem == other.stem for other in files) > 1]:
        raise BadInput(f"{' and '.join(map(str, twice))} have one name: keep one of them.")
    return [model for file in files for model in _models(file)]


def list_credits(models: Iterable[FurnitureModel]) -> list[str]:
    """List who made the models, a line for each creator and licence, as CC BY requires."""
    lines: dict[tuple[str, str, str], int] = {}
    for model in models:
        key = (model.creator, Path(model.archive).stem, model.licence)
        lines[key] = lines.get(key, 0) + 1
    return [
        f"{maker} ({archive}, {licence}): {count} models" for (maker, archive, licence), count in sorted(lines.items())
    ]


def _models(file: Path) -> list[FurnitureModel]:
    try:
        with zipfile.ZipFile(file) as archive:
            text = archive.read(_PROPERTIES).decode("latin-1")
    except (OSError, KeyError, zipfile.BadZipFile) as problem:
        raise BadInput(f"{file} is no furniture catalogue ({problem}): download the package again.") from problem
    entries: dict[int, dict[str, str]] = {}
    for key, number, value in re.findall(r"^(\w+)#(\d+)=(.*?)\s*$", text, re.MULTILINE):
        entries.setdefault(int(number), {})[key] = value
    found = (_model(file, entry) for _, entry in sorted(entries.items()))
    return [model for model in found if model is not None]


def _model(file: Path, entry: dict[str, str]) -> FurnitureModel | None:
    """Make the model of an entry; None where it does not belong in a room."""
    try:
        width, depth, height = (float(entry[key]) / 100 for key in ("width", "depth", "height"))
        elevation = float(entry.get("elevation", "0")) / 100
        top = float(entry.get("dropOnTopElevation", entry["height"])) / 100
        name, category, path = entry["name"], entry["category"], entry["model"].lstrip("/")
    except (KeyError, ValueError) as problem:
        raise BadInput(f"{file} has a model with a missing or wrong entry ({problem}): download it again.") from problem
    role = _role(entry, width, depth, height, elevation)
    if role is None:
        return None
    licence = _LICENCES.get(file.stem, "CC-BY-3.0")
    creator = entry.get("creator", file.stem)
    carries = top > 0 and role in (Role.TABLE, Role.DESK, Role.WALL, Role.BED, Role.SOFA) and top < 1.3
    return FurnitureModel(
        name,
        role,
        category,
        str(file),
        path,
        width,
        depth,
        height,
        elevation,
        top if carries else None,
        creator,
        licence,
    )


def _role(entry: dict[str, str], width: float, depth: float, height: float, elevation: float) -> Role | None:
    name, category = entry["name"].lower(), entry["category"]
    largest = max(width, depth)
    if entry.get("doorOrWindow") == "true" or category == "Doors and windows":
        if not 0.4 < width < 3 or not 0.4 < height < 2.6:
            return None
        return Role.DOOR if "door" in name and elevation < 0.1 else Role.WINDOW if "window" in name else None
    if category in _SKIPPED or largest > 3.6 or height > 2.5 or min(width, depth, height) <= 0:
        return None
    if category == "Characters":
        return Role.PERSON if 0.9 < height < 2.1 and "horse" not in name else None
    if elevation > 0.3:
        return Role.HUNG if largest < 2 else None
    for role, pattern in _NAMES:
        if re.search(pattern, name):
            if role in (Role.TABLE, Role.DESK) and not 0.3 < height < 1.5:
                continue
            if role is Role.WALL and (height < 0.35 or largest < 0.3):
                continue
            if role is Role.CHAIR and not 0.3 < height < 1.4:
                continue
            return role if role is not Role.RUG or height < 0.05 else None
    if largest < 0.6 and height < 0.7:
        return Role.ITEM
    if largest < 1.3:
        return Role.FLOOR
    return Role.WALL if depth < 1 else None
