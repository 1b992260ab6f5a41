"""Build and render layouts: a script for a Python that has Blender's module `bpy` and not Leadline.

    python blender.py JOBS.jsonl

Each line of the file is `{"layout": …, "models": DIR, "out": DIR, "size": [height, width], "samples": 2, "views": 10,
"pane_index": 1}`:
`models` holds the unpacked OBJ files as ARCHIVE_STEM/PATH. Into `out` are written one multi-layer EXR a view (linear
RGB, depth along the optical axis in metres, index of the object, which is `pane_index` for a window's pane) and, last,
`views.json`.
"""

import json
import math
import sys
from pathlib import Path

import bpy  # pyright: ignore[reportMissingImports]
from mathutils import Euler, Matrix, Vector  # pyright: ignore[reportMissingImports]


def main(jobs: Path) -> None:
    """Render every job of the file, and print a line `done OUT FRAMES` for each."""
    for line in jobs.read_text().splitlines():
        job = json.loads(line)
        frames = render_scene(job)
        print(f"done {job['out']} {frames}", flush=True)


def render_scene(job: dict) -> int:
    """Render one layout; return how many of its views were accepted."""
    layout, out = job["layout"], Path(job["out"])
    out.mkdir(parents=True, exist_ok=True)
    _empty()
    for block in layout["blocks"]:
        _block(block)
    for placed in layout["placed"]:
        _model(placed, Path(job["models"]))
    for lamp in layout["lamps"]:
        _lamp(lamp, job["pane_index"])
    _world(layout["ambient"])
    height, width = job["size"]
    _settings(height, width, job["samples"])
    bpy.context.view_layer.update()
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    bpy.context.collection.objects.link(camera)
    bpy.context.scene.camera = camera
    kept = []
    for view in layout["views"]:
        if len(kept) == job["views"]:
            break
        _aim(camera, view)
        if not _is_worthwhile(camera, view, height, width):
            continue
        bpy.context.scene.render.filepath = str(out / f"{len(kept):04d}.exr")
        bpy.ops.render.render(write_still=True)
        kept.append(view)
    (out / "views.json").write_text(json.dumps(kept))
    return len(kept)


def _empty() -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)


def _settings(height: int, width: int, samples: int) -> None:
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    cycles = scene.cycles
    cycles.device = "CPU"
    cycles.samples = samples
    cycles.use_denoising = True
    cycles.denoiser = "OPENIMAGEDENOISE"
    # With albedo and normals of few samples, the denoiser draws dots along edges; and it takes three times as long.
    cycles.denoising_input_passes, cycles.denoising_quality = "RGB", "FAST"
    # Light that comes from walls and furniture is replaced by the room's mean, darkened where corners are near.
    cycles.use_fast_gi, cycles.fast_gi_method, cycles.ao_bounces_render = True, "REPLACE", 1
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 2, 1, 1
    cycles.transmission_bounces, cycles.transparent_max_bounces = 2, 6
    cycles.caustics_reflective = cycles.caustics_refractive = False
    cycles.sample_clamp_indirect = 5.0
    scene.render.threads_mode, scene.render.threads = "FIXED", 1
    scene.render.use_persistent_data = True
    scene.render.resolution_x, scene.render.resolution_y = width, height
    scene.render.resolution_percentage = 100
    scene.render.image_settings.file_format = "OPEN_EXR_MULTILAYER"
    scene.render.image_settings.color_depth = "32"
    scene.render.image_settings.exr_codec = "ZIP"
    layer = bpy.context.view_layer
    layer.use_pass_z = True
    # Glass is a surface like any other: seen through at random, it would leave a noise of two depths.
    layer.pass_alpha_threshold = 0.0
    layer.use_pass_object_index = True


def _block(block: dict) -> None:
    low, high = Vector(block["low"]), Vector(block["high"])
    corners = [(x, y, z) for x in (low.x, high.x) for y in (low.y, high.y) for z in (low.z, high.z)]
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    mesh = bpy.data.meshes.new("block")
    mesh.from_pydata(corners, [], faces)
    mesh.materials.append(_surface(block["surface"]))
    bpy.context.collection.objects.link(bpy.data.objects.new("block", mesh))


def _surface(surface: dict):
    """Make a material in metres: object coordinates are the room's, because no block is moved or scaled."""
    material = bpy.data.materials.new(surface["texture"])
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    shader = nodes["Principled BSDF"]
    shader.inputs["Roughness"].default_value = surface["roughness"]
    colour, second = (*surface["colour"], 1.0), (*surface["second"], 1.0)
    if surface["texture"] == "plain":
        shader.inputs["Base Color"].default_value = colour
        return material
    place = nodes.new("ShaderNodeTexCoord")
    if surface["texture"] in ("planks", "tiles", "bricks"):
        texture = nodes.new("ShaderNodeTexBrick")
        texture.inputs["Color1"].default_value = colour
        texture.inputs["Color2"].default_value = tuple(0.5 * (a + b) for a, b in zip(colour, second, strict=True))
        texture.inputs["Mortar"].default_value = second if surface["texture"] != "planks" else (0.02, 0.015, 0.01, 1)
        texture.inputs["Scale"].default_value = 1.0
        texture.inputs["Brick Width"].default_value = surface["scale"]
        flat = {"planks": 0.13, "tiles": 1.0, "bricks": 0.35}[surface["texture"]]
        texture.inputs["Row Height"].default_value = surface["scale"] * flat
        texture.inputs["Mortar Size"].default_value = 0.004 if surface["texture"] != "planks" else 0.0015
        texture.offset = 0.0 if surface["texture"] == "tiles" else 0.5
        links.new(_upright(nodes, links, place), texture.inputs["Vector"])
    elif surface["texture"] == "stripes":
        texture = nodes.new("ShaderNodeTexWave")
        texture.inputs["Scale"].default_value = 0.3 / surface["scale"]
        links.new(place.outputs["Object"], texture.inputs["Vector"])
        texture = _ramp(nodes, links, texture.outputs["Fac"], colour, second)
    else:
        texture = nodes.new("ShaderNodeTexNoise")
        texture.inputs["Scale"].default_value = 1.0 / surface["scale"]
        texture.inputs["Detail"].default_value = 6.0
        links.new(place.outputs["Object"], texture.inputs["Vector"])
        texture = _ramp(nodes, links, texture.outputs["Fac"], colour, second)
    links.new(texture.outputs["Color"], shader.inputs["Base Color"])
    return material


def _upright(nodes, links, place):
    """Make coordinates for a brick texture: (x, y) on floors and ceilings, (x + y, z) on walls."""
    split = nodes.new("ShaderNodeSeparateXYZ")
    links.new(place.outputs["Object"], split.inputs[0])
    normal = nodes.new("ShaderNodeNewGeometry")
    facing = nodes.new("ShaderNodeSeparateXYZ")
    links.new(normal.outputs["Normal"], facing.inputs[0])
    flat = nodes.new("ShaderNodeMath")
    flat.operation = "ABSOLUTE"
    links.new(facing.outputs["Z"], flat.inputs[0])
    along = nodes.new("ShaderNodeMath")
    along.operation = "ADD"
    links.new(split.outputs["X"], along.inputs[0])
    links.new(split.outputs["Y"], along.inputs[1])
    pair = []
    for wall, floor in ((along.outputs[0], split.outputs["X"]), (split.outputs["Z"], split.outputs["Y"])):
        mix = nodes.new("ShaderNodeMix")
        links.new(flat.outputs[0], mix.inputs["Factor"])
        links.new(wall, mix.inputs["A"])
        links.new(floor, mix.inputs["B"])
        pair.append(mix.outputs["Result"])
    joined = nodes.new("ShaderNodeCombineXYZ")
    links.new(pair[0], joined.inputs["X"])
    links.new(pair[1], joined.inputs["Y"])
    return joined.outputs[0]


def _ramp(nodes, links, factor, colour, second):
    ramp = nodes.new("ShaderNodeValToRGB")
    ramp.color_ramp.elements[0].color, ramp.color_ramp.elements[1].color = colour, second
    ramp.color_ramp.elements[0].position, ramp.color_ramp.elements[1].position = 0.35, 0.65
    links.new(factor, ramp.inputs["Fac"])
    return ramp


def _model(placed: dict, models: Path) -> None:
    file = models / Path(placed["archive"]).stem / placed["path"]
    before = set(bpy.data.objects)
    try:
        # Y up and front +Z, as the files have it, become Z up and front −Y.
        bpy.ops.wm.obj_import(filepath=str(file))
    except RuntimeError as problem:
        print(f"left out {file}: {problem}", flush=True)
        return
    parts = [part for part in bpy.data.objects if part not in before and part.type == "MESH"]
    bpy.context.view_layer.update()
    corners = [part.matrix_world @ Vector(corner) for part in parts for corner in part.bound_box]
    if not corners:
        return
    low = Vector(min(corner[axis] for corner in corners) for axis in range(3))
    high = Vector(max(corner[axis] for corner in corners) for axis in range(3))
    extent = [max(high[axis] - low[axis], 1e-6) for axis in range(3)]
    scale = Matrix.Diagonal([*(size / side for size, side in zip(placed["size"], extent, strict=True)), 1.0])
    centre = Matrix.Translation(-Vector(((low.x + high.x) / 2, (low.y + high.y) / 2, low.z)))
    turn = Matrix.Rotation(math.radians(placed["turned"]), 4, "Z")
    move = Matrix.Translation(Vector(placed["foot"])) @ turn @ scale @ centre
    for part in parts:
        part.matrix_world = move @ part.matrix_world
        for slot in part.material_slots:
            _drop_missing_pictures(slot.material)
            _tint(slot.material, placed["tint"])


def _drop_missing_pictures(material) -> None:
    """Remove textures whose files are missing, so that the plain colour shows instead of Blender's magenta."""
    if material is None or not material.use_nodes:
        return
    for node in list(material.node_tree.nodes):
        if node.type == "TEX_IMAGE" and (node.image is None or node.image.size[0] == 0):
            material.node_tree.nodes.remove(node)


def _tint(material, tint) -> None:
    if material is None or not material.use_nodes or tuple(tint) == (1.0, 1.0, 1.0):
        return
    shader = material.node_tree.nodes.get("Principled BSDF")
    if shader is not None and not shader.inputs["Base Color"].is_linked:
        colour = shader.inputs["Base Color"].default_value
        for channel in range(3):
            colour[channel] = min(max(colour[channel] * tint[channel], 0.01), 0.95)


def _lamp(lamp: dict, pane_index: int) -> None:
    """Add a light: a ball shines from a point with a radius; a pane shines inwards and shows the sky."""
    if lamp["kind"] == "ball":
        light = bpy.data.lights.new("ball", "POINT")
        light.shadow_soft_size = lamp["size"][0]
    else:
        light = bpy.data.lights.new("pane", "AREA")
        light.shape = "RECTANGLE"
        light.size, light.size_y = lamp["size"]
    light.energy, light.color = lamp["power"], lamp["colour"]
    shining = bpy.data.objects.new(lamp["kind"], light)
    shining.location = lamp["place"]
    # An area light shines along its −Z; turned by 0 degrees it has its back to the north.
    shining.rotation_euler = (
        Euler((math.radians(-90), 0, math.radians(lamp["turned"]))) if lamp["kind"] == "pane" else Euler()
    )
    bpy.context.collection.objects.link(shining)
    if lamp["kind"] == "pane":
        _pane(lamp, pane_index)


def _pane(lamp: dict, pane_index: int) -> None:
    width, height = lamp["size"]
    mesh = bpy.data.meshes.new("sky")
    mesh.from_pydata(
        [
            (-width / 2, 0, -height / 2),
            (width / 2, 0, -height / 2),
            (width / 2, 0, height / 2),
            (-width / 2, 0, height / 2),
        ],
        [],
        [(0, 1, 2, 3)],
    )
    material = bpy.data.materials.new("sky")
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.clear()
    shader, end = nodes.new("ShaderNodeEmission"), nodes.new("ShaderNodeOutputMaterial")
    shader.inputs["Color"].default_value = (*lamp["colour"], 1.0)
    shader.inputs["Strength"].default_value = lamp["power"] / (width * height) / 12
    links.new(shader.outputs[0], end.inputs["Surface"])
    mesh.materials.append(material)
    pane = bpy.data.objects.new("sky", mesh)
    pane.pass_index = pane_index
    pane.rotation_euler = Euler((0, 0, math.radians(lamp["turned"])))
    pane.location = lamp["place"]
    # Its light is the lamp's: as a surface it would be sampled twice.
    pane.visible_diffuse = pane.visible_shadow = False
    bpy.context.collection.objects.link(pane)


def _world(strength: float) -> None:
    world = bpy.data.worlds.new("world")
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs["Color"].default_value = (1.0, 0.95, 0.88, 1.0)
    world.node_tree.nodes["Background"].inputs["Strength"].default_value = strength
    world.light_settings.distance = 0.8
    bpy.context.scene.world = world


def _aim(camera, view: dict) -> None:
    camera.data.sensor_fit = "HORIZONTAL"
    camera.data.angle = math.radians(view["field_of_view"])
    camera.data.clip_start, camera.data.clip_end = 0.02, 100
    yaw, pitch, roll = (math.radians(view[key]) for key in ("yaw", "pitch", "roll"))
    direction = Vector((math.cos(yaw) * math.cos(pitch), math.sin(yaw) * math.cos(pitch), math.sin(pitch)))
    facing = direction.to_track_quat("-Z", "Y").to_matrix().to_4x4()
    camera.matrix_world = Matrix.Translation(Vector(view["place"])) @ facing @ Matrix.Rotation(roll, 4, "Z")


def _is_worthwhile(camera, view: dict, height: int, width: int) -> bool:
    """Return whether nothing touches the camera, and it sees several surfaces at several distances."""
    bpy.context.view_layer.update()
    graph = bpy.context.evaluated_depsgraph_get()
    half = math.tan(math.radians(view["field_of_view"]) / 2)
    turn = camera.matrix_world.to_3x3()
    depths, seen = [], set()
    for row in range(6):
        for column in range(8):
            ray = Vector(((column + 0.5) / 4 - 1, (1 - (row + 0.5) / 3) * height / width, -1 / half)) * half
            hit, place, _, _, thing, _ = bpy.context.scene.ray_cast(graph, camera.location, (turn @ ray).normalized())
            seen.add(thing.name if hit else "")
            depths.append(-(camera.matrix_world.inverted() @ place).z if hit else math.inf)
    depths.sort()
    is_clear = depths[0] > 0.15 and depths[len(depths) // 2] > 0.3 and depths[-3] < math.inf
    # Looking down, floors and tables with little on them are common.
    fewest = 3 if view["pitch"] < -25 else 5
    return is_clear and len(seen) >= fewest and depths[-5] > 1.3 * depths[4]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
