"""Point clouds and meshes: rooms of known shape come out flat, square and of their size, in files that others open."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from leadline.cli.main import main
from leadline.core.camera import canonical_camera, project
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.data.datasets.rooms import SPLIT_SEEDS, rooms
from leadline.data.datasets.rooms.domains import DOMAINS
from leadline.data.datasets.rooms.render import _cast, _rays
from leadline.data.datasets.rooms.scene import Scene, furnish
from leadline.inference.point_cloud import is_depth_file
from leadline.io.depth_maps import DepthMap, read_depth
from leadline.io.images import write_image
from leadline.io.point_clouds import mesh, point_cloud, surface_normals
from leadline.models.registry import build
from leadline.models.saving import save


def opened(path: Path, **options: Any) -> Any:
    """What trimesh reads, whose type depends on the file."""
    return trimesh.load(path, **options)


def room(index: int) -> tuple[DepthMap, np.ndarray, Scene]:
    """A rendered room: its exact depth, its picture (H, W, 3), and the scene that both are of."""
    sample = rooms("val", height=96, width=128, holes=False)[index]
    scene = furnish(DOMAINS["a"], np.random.default_rng((0, SPLIT_SEEDS["val"], index)))
    picture = sample.image.mul(255).round().byte().permute(1, 2, 0).numpy()
    return DepthMap(sample.depth, sample.valid, DepthKind.METRIC, sample.intrinsics), picture, scene


def sides(points: np.ndarray, normals: np.ndarray, scene: Scene) -> dict[str, np.ndarray]:
    """The points of the room's own six faces, in the world's frame, by the face's direction inwards."""
    with np.errstate(divide="ignore", invalid="ignore"):
        hit = _cast(scene, _rays(scene, 96, 128))[1]  # which body is seen at each pixel; the room itself is the first
    columns, rows = project(points[:, 0], points[:, 1], points[:, 2], scene.camera.intrinsics(96, 128))
    is_room = hit[rows.round().astype(int), columns.round().astype(int)] == 0
    points, normals = points[is_room], normals[is_room]
    rotation = scene.camera.rotation()
    world, facing = points @ rotation.T + np.array(scene.camera.eye), normals @ rotation.T
    half, centre = np.array(scene.bodies[0].half), np.array(scene.bodies[0].centre)
    found = {}
    for axis, name in enumerate("xyz"):
        for sign in (1, -1):
            is_near = np.abs(world[:, axis] - (centre[axis] - sign * half[axis])) < 0.05
            found[f"{'+-'[sign < 0]}{name}"] = world[is_near & (sign * facing[:, axis] > 0.99)]
    return {name: there for name, there in found.items() if len(there) > 200}


def plane(points: np.ndarray) -> tuple[np.ndarray, float]:
    """The unit normal of the best plane, and the largest distance from it in metres."""
    middle = points.mean(axis=0)
    normal = np.linalg.svd(points - middle, full_matrices=False)[2][-1]
    return normal, float(np.abs((points - middle) @ normal).max())


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("suffix", [".ply", ".glb"])
def test_walls_and_floors_of_a_room_are_flat_square_and_of_their_size(tmp_path, index, suffix):
    depth, picture, scene = room(index)
    depth.save(tmp_path / "depth.png")  # millimetres: what is flat is flat to half of one
    stored = read_depth(tmp_path / "depth.png")
    stored.mesh(picture).save(tmp_path / f"room{suffix}")
    loaded = opened(tmp_path / f"room{suffix}", process=False, force="mesh")
    upright = np.array([1, -1, -1]) if suffix == ".glb" else np.ones(3)
    faces = sides(loaded.vertices * upright, loaded.vertex_normals * upright, scene)
    assert len(faces) >= 2
    fitted = {name: plane(points) for name, points in faces.items()}
    for name, (_, off) in fitted.items():
        assert off < 0.002, name
    for name, (normal, _) in fitted.items():
        for other, (second, _) in fitted.items():
            straight = abs(float(normal @ second))
            assert abs(straight - (name[1] == other[1])) < 2e-3, (name, other)
    half = np.array(scene.bodies[0].half)
    for axis, name in enumerate("xyz"):
        if {f"+{name}", f"-{name}"} <= faces.keys():
            span = np.median(faces[f"-{name}"][:, axis]) - np.median(faces[f"+{name}"][:, axis])
            assert span == pytest.approx(2 * half[axis], abs=0.001)


def test_normals_of_a_plane_are_its_own_and_none_is_taken_across_a_jump():
    rows, columns = np.mgrid[:40, :60]
    camera = (50.0, 55.0, 28.0, 19.0)
    normal = np.array([0.3, -0.8, -0.5]) / np.linalg.norm([0.3, -0.8, -0.5])
    rays = np.stack([(columns - 28) / 50, (rows - 19) / 55, np.ones_like(rows)], axis=-1)
    depth = -2.5 / (rays @ normal)
    depth = np.where((depth > 0) & (depth < 40), depth, np.nan).astype(np.float32)
    known = np.isfinite(depth)
    found = surface_normals(depth, camera, max_slant=89.9)[known]
    has_neighbours = np.abs(found).sum(axis=1) > 0
    assert has_neighbours.mean() > 0.95
    np.testing.assert_allclose(found[has_neighbours], np.broadcast_to(normal, found[has_neighbours].shape), atol=2e-3)

    steps = np.where(columns < 30, np.float32(1), np.float32(3))
    np.testing.assert_allclose(surface_normals(steps, camera), np.broadcast_to([0, 0, -1], (40, 60, 3)), atol=1e-6)


def test_a_surface_is_cut_where_depth_jumps_and_nowhere_else():
    columns = np.mgrid[:40, :60][1]
    depth = np.where(columns < 30, np.float32(1), np.float32(3))
    camera, picture = (50.0, 50.0, 29.5, 19.5), np.zeros((40, 60, 3), np.uint8)
    cut = mesh(depth, camera, picture)
    assert len(cut.points) == 40 * 60
    assert len(cut.triangles) == 2 * 39 * (29 + 29)
    assert np.ptp(cut.points[cut.triangles][..., 2], axis=1).max() == 0
    assert len(mesh(depth, camera, picture, max_slant=90).triangles) == 2 * 39 * 59
    # Towards the camera: the normal that the order of the corners states looks back along z.
    one, two, three = np.moveaxis(cut.points[cut.triangles], 1, 0)
    assert (np.cross(two - one, three - one)[:, 2] < 0).all()


def test_points_between_a_near_and_a_far_surface_are_left_out():
    depth = np.full((40, 60), 1.0, np.float32)
    depth[:, 30:] = 3.0
    depth[:, 30] = 2.0  # a pixel that saw half of each
    depth[5, 5] = np.nan
    cloud = point_cloud(depth, (50.0, 50.0, 29.5, 19.5), np.zeros((40, 60, 3), np.uint8), max_slant=86)
    assert set(np.unique(cloud.points[:, 2]).tolist()) <= {1.0, 2.0, 3.0}
    assert len(cloud) >= 40 * 59 - 1
    alone = np.full((40, 60), np.nan, np.float32)
    alone[7, 9] = 1.0
    assert len(point_cloud(alone, (50.0, 50.0, 29.5, 19.5), np.zeros((40, 60, 3), np.uint8))) == 0


def test_fewer_points_are_the_same_room_and_keep_their_colours():
    depth, picture, _ = room(0)
    whole, some = depth.point_cloud(picture), depth.point_cloud(picture, max_points=1000)
    assert 300 < len(some) <= 1000 < len(whole)
    places = {tuple(point): tuple(colour) for point, colour in zip(whole.points.round(3), whole.colours, strict=True)}
    matched = [places.get(tuple(point)) for point in some.points.round(3)]
    agreeing = [
        np.abs(np.subtract(one, other, dtype=int)).max() == 0
        for one, other in zip(matched, map(tuple, some.colours), strict=True)
        if one is not None
    ]
    assert len(agreeing) > 0.9 * len(some)
    assert all(agreeing)


def test_a_file_holds_the_points_colours_and_normals_that_trimesh_reads(tmp_path):
    depth, picture, _ = room(1)
    cloud = depth.point_cloud(picture)
    cloud.save(str(tmp_path / "room.ply"), {"camera": "given\nby hand"})
    loaded = opened(tmp_path / "room.ply")
    np.testing.assert_array_equal(loaded.vertices, cloud.points)
    np.testing.assert_array_equal(np.asarray(loaded.colors)[:, :3], cloud.colours)
    head = (tmp_path / "room.ply").read_bytes()[:600]
    assert b"comment leadline:camera given by hand\n" in head
    assert np.allclose(np.linalg.norm(cloud.normals, axis=1), 1, atol=1e-5)
    assert ((cloud.normals * cloud.points).sum(axis=1) < 0).mean() > 0.99  # towards the camera
    with pytest.raises(BadInput, match=r"\.ply"):
        cloud.save(tmp_path / "room.xyz")


def test_open3d_reads_the_same_points(tmp_path):
    open3d = pytest.importorskip("open3d", reason="needs Open3D, which is no dependency")
    depth, picture, _ = room(1)
    cloud = depth.point_cloud(picture)
    cloud.save(tmp_path / "room.ply")
    loaded = open3d.io.read_point_cloud(str(tmp_path / "room.ply"))
    np.testing.assert_allclose(np.asarray(loaded.points), cloud.points, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(loaded.normals), cloud.normals, atol=1e-6)
    surface = depth.mesh(picture)
    surface.save(tmp_path / "room.glb")
    assert len(open3d.io.read_triangle_mesh(str(tmp_path / "room.glb")).triangles) == len(surface.triangles)


def test_relative_depth_and_an_unknown_camera_have_no_shape():
    depth, picture, _ = room(0)
    relative = DepthMap(1 / depth.depth, depth.valid, DepthKind.RELATIVE, depth.intrinsics)
    with pytest.raises(BadInput, match=r"up to a factor and a shift.*--scale-from"):
        relative.point_cloud(picture)
    unknown = DepthMap(depth.depth, depth.valid)
    with pytest.raises(BadInput, match="field_of_view="):
        unknown.mesh()
    assert unknown.normals(field_of_view=60).size == (128, 96)
    nowhere = DepthMap(depth.depth, torch.zeros_like(depth.valid), intrinsics=depth.intrinsics)
    for name in ("nothing.glb", "nothing.ply"):
        with pytest.raises(BadInput, match=r"was not written: the surface has no points"):
            nowhere.mesh().save(name)
    for wrong in (0, -5):
        with pytest.raises(BadInput, match=f"max_points={wrong}: give "):
            depth.point_cloud(picture, max_points=wrong)
    with pytest.warns(UserWarning, match=r"A field of view of 1\.1 degrees is unlikely.*1\.1 radians are 63"):
        unknown.normals(field_of_view=1.1)
    with pytest.raises(BadInput, match="uint8"):
        depth.mesh(picture.astype(np.float32))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("models") / "tiny"
    save(build("cnn", size="tiny", input_size=(64, 64)), place)
    return str(place)


def photo(path: Path, focal_in_film: int | None = None) -> Path:
    _, picture, _ = room(0)
    exif = Image.Exif()
    if focal_in_film:
        exif.get_ifd(0x8769)[41989] = focal_in_film
    Image.fromarray(picture).save(path, exif=exif)
    return path


def test_a_photograph_becomes_a_cloud_by_the_best_camera_there_is_and_a_guess_is_called_one(folder, tmp_path, capsys):
    words = ["--model", folder, "--out", str(tmp_path / "cloud.ply")]
    assert main(["cloud", str(photo(tmp_path / "with.jpg", 26)), *words]) == 0
    printed = capsys.readouterr()
    assert "camera from EXIF, 67.3 degrees across" in printed.out
    assert "guess" not in printed.err
    plain = str(photo(tmp_path / "without.jpg"))
    assert main(["cloud", plain, *words, "--normals", str(tmp_path / "normals.png")]) == 0
    printed = capsys.readouterr()
    assert "camera not known, 65.4 degrees across" in printed.out
    assert "The camera is a guess, 65.4 degrees across: give --field-of-view" in printed.err
    with Image.open(tmp_path / "normals.png") as picture:
        assert picture.size == (128, 96)
    fx = canonical_camera((96, 128))[0]
    assert np.degrees(2 * np.arctan(64 / fx)) == pytest.approx(65.4, abs=0.1)
    assert main(["cloud", plain, *words, "--field-of-view", "50"]) == 0
    assert "camera given, 50.0 degrees across" in capsys.readouterr().out
    points = opened(tmp_path / "cloud.ply").vertices
    assert (np.abs(points[:, 0] / points[:, 2]) <= np.tan(np.radians(25)) + 1e-6).all()
    middle = np.hypot(points[:, 0] / points[:, 2], points[:, 1] / points[:, 2]).argmin()
    assert main(["cloud", plain, *words, "--field-of-view", "50", "--scale-from", "63,47,3"]) == 0
    assert "camera given, 50.0 degrees across" in capsys.readouterr().out
    assert opened(tmp_path / "cloud.ply").vertices[middle, 2] == pytest.approx(3, rel=0.05)
    assert main(["cloud", plain, *words, "--scale-from", "floor:1.4,field_of_view=58"]) == 0
    assert "camera stated with --scale-from, 58.0 degrees across" in capsys.readouterr().out


def test_a_depth_map_becomes_a_mesh_with_the_colours_of_its_photograph(tmp_path, capsys):
    depth, picture, _ = room(2)
    depth.save(tmp_path / "depth.png")
    write_image(tmp_path / "photo.png", torch.from_numpy(picture.copy()).permute(2, 0, 1) / 255)
    out = ["--out", str(tmp_path / "room.glb")]
    assert main(["cloud", str(tmp_path / "depth.png"), "--image", str(tmp_path / "photo.png"), *out]) == 0
    assert "stated by the depth map" in capsys.readouterr().out
    loaded = opened(tmp_path / "room.glb", force="mesh", process=False)
    texture = np.asarray(loaded.visual.material.baseColorTexture.convert("RGB"), np.float32)
    assert texture.shape == picture.shape
    assert np.abs(texture - picture).mean() < 6  # a JPEG of it
    uv = loaded.visual.uv
    seen = texture[((1 - uv[:, 1]) * 96).astype(int), (uv[:, 0] * 128).astype(int)]
    expected = depth.mesh(picture).colours
    assert np.abs(seen - expected).mean() < 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{depth}", "--out", "x.obj"], "choose .ply or .glb"),
        (["{depth}", "--out", "{mine}"], "Leadline did not write it"),
        (["{depth}", "--normals", "{mine}"], "Leadline did not write it"),
        (["{depth}", "--scale-from", "1,1,2"], "is a depth map"),
        (["{depth}", "--field-of-view", "180"], "0 to 180"),
        (["{relative}"], "--scale-from"),
        (["{photo}", "--image", "{photo}"], "is a photograph"),
        (["{photo}", "--kind", "relative"], "is a photograph"),
        (["{depth}", "--as", "midas_small"], "is a depth map"),
        (["{depth}", "--normals", "n.txt"], "choose .png or .jpg"),
        (["{depth}", "--max-points", "1"], "--max-points 1 may leave too few"),
        (["{depth}", "--image", "{photo}"], "of another aspect"),
        (["nowhere.jpg"], "No file nowhere.jpg"),
    ],
)
def test_what_has_no_cloud_is_refused_in_one_line(folder, tmp_path, capsys, words, message):
    depth, _, _ = room(0)
    places = {name: tmp_path / file for name, file in (("depth", "d.npz"), ("relative", "r.npz"), ("mine", "m.ply"))}
    depth.save(places["depth"])
    DepthMap(depth.depth, depth.valid, DepthKind.RELATIVE).save(places["relative"])
    places["mine"].write_bytes(b"ply, and mine")
    Image.new("RGB", (50, 50)).save(tmp_path / "p.png")
    said = [word.format(**places, photo=tmp_path / "p.png") for word in words]
    out = [] if "--out" in said else ["--out", str(tmp_path / "out.ply")]
    assert main(["cloud", *said, *out, "--model", folder]) == 1
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed
    assert places["mine"].read_bytes() == b"ply, and mine"
    assert not (tmp_path / "out.ply").exists()


def test_the_same_command_replaces_its_own_cloud(tmp_path):
    depth, _, _ = room(0)
    depth.save(tmp_path / "depth.npz")
    for suffix in ("ply", "glb"):
        for _ in range(2):
            assert main(["cloud", str(tmp_path / "depth.npz"), "--out", str(tmp_path / f"a.{suffix}")]) == 0


def test_depth_files_are_told_from_photographs(tmp_path):
    depth, picture, _ = room(0)
    for name in ("a.png", "a.tiff", "a.npz", "a.pfm"):
        depth.save(tmp_path / name)
        assert is_depth_file(tmp_path / name), name
    Image.fromarray((depth.numpy() * 1000).astype(np.uint16)).save(tmp_path / "theirs.png")
    assert is_depth_file(tmp_path / "theirs.png")
    for name in ("b.png", "b.jpg", "b.tiff"):
        Image.fromarray(picture).save(tmp_path / name)
        assert not is_depth_file(tmp_path / name), name
    depth.colorize().save(tmp_path / "colours.png")
    assert not is_depth_file(tmp_path / "colours.png")


def test_a_picture_of_another_aspect_gives_no_colours_in_python_either(tmp_path):
    depth, _, _ = room(0)
    Image.new("RGB", (50, 50)).save(tmp_path / "p.png")
    for image in (tmp_path / "p.png", Image.new("RGB", (50, 50)), np.zeros((50, 50, 3), np.uint8)):
        for make in (depth.mesh, depth.point_cloud):
            with pytest.raises(BadInput, match="of another aspect"):
                make(image)
