"""Exported files: what is around the network does what `predict` does, the gate holds, and bad files are refused."""

import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image
from test_models import SMALLEST
from torch import Tensor

import leadline
from leadline.cli.main import main
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.data.datasets import open_data
from leadline.evaluation.evaluate import evaluate_metrics
from leadline.evaluation.protocols import protocol
from leadline.export.exporting import FORMATS, check_calibration, check_place, export_model
from leadline.export.onnx_file import in_half, nodes_in_8_bits, quantise, save
from leadline.export.onnx_graph import whole_graph
from leadline.export.parity import TOLERANCES, Parity, compare, difference
from leadline.inference.backends import CONTENT_SHA256, METADATA_KEY, ExportedModel, load_exported
from leadline.inference.openvino_runner import import_openvino
from leadline.inference.predict import predict
from leadline.inference.session import embedded_file, load_for_command
from leadline.inference.tensors import predict_tensor
from leadline.inference.torch_backend import TorchPredictor
from leadline.io.discovery import find_images
from leadline.io.images import read_photograph
from leadline.models.base import DepthModel, ModelSpec, Preprocessing, Provenance, Resize
from leadline.models.description import describe
from leadline.models.loading import load
from leadline.models.registry import build
from leadline.training.pseudo_labels import label

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "photos"
SIZES = ((60, 80), (33, 71), (90, 41), (7, 300), (1, 1), (200, 256))


class Brightness(DepthModel):
    """Answer 4 − the mean of the colours: what its graph is can be written down by hand."""

    def __init__(self, rule: Preprocessing, kind: DepthKind = DepthKind.METRIC) -> None:
        super().__init__(kind, rule, Provenance(), spec=ModelSpec("brightness"))
        self.encoder = torch.nn.Conv2d(1, 1, 1)

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        return (self.normalize(image) * self.std + self.mean,)

    def forward_canonical(self, image: Tensor) -> Tensor:
        return 4 - self.features(image)[0].mean(1, keepdim=True)


def brightness_graph(most: float = 4.0) -> onnx.ModelProto:
    """Return the graph of `Brightness`, as the exporter would; or of one that answers another number − the mean."""
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["four", "mean"], ["depth"]),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, "rows", "columns"])],
        [helper.make_tensor_value_info("depth", TensorProto.FLOAT, ["batch", 1, "rows", "columns"])],
        [
            helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
            helper.make_tensor("four", TensorProto.FLOAT, [], [most]),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def write_brightness(model: Brightness, path: Path) -> ExportedModel:
    """Write a `Brightness` as `leadline export` writes a model, and open it."""
    about = describe(model.name, model.arguments, model.kind, model.preprocessing, model.provenance)
    save(whole_graph(brightness_graph(), model), path, {"model": about, "export": {}})
    return load_exported(path)


RULES = [
    *(Preprocessing((48, 64), multiple=16, resize=rule) for rule in Resize if rule is not Resize.OWN),
    Preprocessing((48, 64), multiple=4, resize=Resize.OWN, interpolation="cubic_smooth"),
    Preprocessing((48, 64), multiple=16, interpolation="cubic", restore="cubic", margin=3.0),
    Preprocessing((48, 64), multiple=16, interpolation="bilinear_corners", restore="bilinear_sharp", margin=1.0),
    Preprocessing((48, 64), multiple=16, interpolation="bilinear_sharp", restore="bilinear_inverse"),
    Preprocessing((48, 64), multiple=16, focal=60.0),
    Preprocessing((48, 64), multiple=16, restore="guided", focal=60.0, margin=1.0),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.resize}-{rule.interpolation}-{rule.restore}")
@pytest.mark.parametrize("kind", [DepthKind.METRIC, DepthKind.RELATIVE])
def test_what_is_around_the_network_is_what_predict_does(rule, kind, tmp_path):
    if rule.restore == "guided" and kind is DepthKind.RELATIVE:
        with pytest.raises(BadInput, match="it is for metric and scale-free networks"):
            Brightness(rule, kind)
        return
    model = Brightness(rule, kind)
    exported = write_brightness(model, tmp_path / "model.onnx")
    rng = np.random.default_rng(0)
    for height, width in SIZES:
        batch = rng.integers(0, 256, (2, height, width, 3), np.uint8)
        camera = torch.tensor([[90.0, 110.0, width / 2, height / 2], [torch.nan] * 4])
        expected = predict_tensor(model, torch.from_numpy(batch).permute(0, 3, 1, 2) / 255, camera).numpy()
        found = exported.measure(list(batch), [camera[0].numpy(), None])
        np.testing.assert_allclose(found, expected, rtol=2e-4, err_msg=f"{height} × {width}")


def test_depth_follows_the_focal_length_to_the_power_that_was_learned(tmp_path):
    model = Brightness(Preprocessing((48, 64), multiple=16, focal=60.0))
    model.learn_focal_power()
    exported = write_brightness(model, tmp_path / "model.onnx")
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    far, near = exported.measure([image, image], [np.array([240.0, 240, 31.5, 23.5], np.float32), None])
    np.testing.assert_allclose(far, 2 * near, rtol=1e-5)


def test_an_openvino_file_is_run_from_several_threads_and_with_its_own_weights_only(tmp_path):
    model = Brightness(RULES[0])
    about = describe(model.name, model.arguments, model.kind, model.preprocessing, model.provenance)
    for name, most in (("one", 4.0), ("two", 5.0)):
        graph = whole_graph(brightness_graph(most), model, focal_is_optional=False)
        save(graph, tmp_path / f"{name}.onnx", {"model": about, "export": {}})
    # A process that has loaded OpenVINO is left to end.
    code = f"""
import json, shutil, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
from leadline.core.errors import BadInput
from leadline.export.openvino_file import label
from leadline.inference.backends import load_exported
from leadline.inference.openvino_runner import import_openvino
runtime = import_openvino()
for name in ("one", "two"):
    runtime.save_model(runtime.Core().read_model(name + ".onnx"), name + ".xml", compress_to_fp16=False)
    label(Path(name + ".xml"), {{"model": json.loads({json.dumps(json.dumps(about))}), "export": {{}}}})
assert load_exported("one.xml").export["weights_sha256"] != load_exported("two.xml").export["weights_sha256"]
images = list(np.random.default_rng(0).integers(0, 256, (40, 24, 32, 3), np.uint8))
with ThreadPoolExecutor(4) as pool:
    model = load_exported("one.xml")
    at_once = list(pool.map(lambda image: model.measure([image], [None]), images))
np.testing.assert_array_equal(at_once, [model.measure([image], [None]) for image in images])
shutil.copyfile("two.bin", "one.bin")
try:
    load_exported("one.xml")
except BadInput as refusal:
    print(refusal)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "one.bin is damaged, or of another model than one.xml: copy both again" in ran.stdout


def test_an_exported_file_predicts_evaluates_and_labels_like_the_model(tmp_path, capsys):
    model = Brightness(RULES[0])
    write_brightness(model, tmp_path / "bright.onnx")
    exported = leadline.load(tmp_path / "bright.onnx")
    assert isinstance(exported, ExportedModel)
    rooms = open_data("rooms,count=2,height=48,width=64", "test")
    rule = protocol("indoor")
    assert evaluate_metrics(exported, rooms, rule) == pytest.approx(evaluate_metrics(model, rooms, rule), rel=1e-4)
    store = label(exported, rooms, tmp_path / "labels")
    assert len(store) == 2
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)).save(photo)
    np.testing.assert_allclose(predict(exported, photo).numpy(), predict(model, photo).numpy(), rtol=1e-4)
    assert main(["predict", str(photo), "--model", str(tmp_path / "bright.onnx"), "--out", str(tmp_path / "out")]) == 0
    assert "brightness" in leadline.read_depth(tmp_path / "out" / "photo.png").provenance["model"]


def test_more_than_8_bits_a_channel_are_rounded_to_8(tmp_path):
    exported = write_brightness(Brightness(RULES[0]), tmp_path / "model.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    expected = predict(exported, pixels).numpy()
    for other in (pixels.astype(np.uint16) * 257, pixels / 255):
        np.testing.assert_array_equal(predict(exported, other).numpy(), expected)


def test_weights_that_half_precision_holds_are_stored_in_half(tmp_path):
    values = np.arange(100, dtype=np.float32).reshape(10, 10)
    for exact, stored in ((values, True), (values + np.float32(1e-4), False)):
        graph = brightness_graph()
        graph.graph.initializer.append(onnx.numpy_helper.from_array(exact, "weight"))
        names = {each.name for each in in_half(graph, None).graph.initializer}
        assert ("weight/half" in names) == stored


@pytest.mark.parametrize(("side", "is_rounded"), [(100, True), (10, False)])
def test_only_large_weights_are_rounded_to_half_precision(side: int, is_rounded: bool) -> None:
    graph = brightness_graph()
    values = np.linspace(0, 1, side * side, dtype=np.float32).reshape(side, side)
    graph.graph.initializer.append(onnx.numpy_helper.from_array(values, "weight"))
    names = {each.name for each in in_half(graph, 4096).graph.initializer}
    assert ("weight/half" in names) == is_rounded


@pytest.mark.long
def test_half_precision_keeps_more_weights_in_float_where_the_gate_asks_for_it(tmp_path):
    torch.manual_seed(0)
    model = build("cnn", size="tiny", input_size=(64, 96)).eval()
    sizes = []
    for most in (1.0, 1e-9):  # of the range: all is well, and nothing is
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(TOLERANCES, "fp16", most)
            made = _export(model, tmp_path / "model.onnx", "onnx", precision="fp16", allow_drift=True)
        sizes.append(made.path.stat().st_size)
    assert sizes[1] > 1.2 * sizes[0]


def _photograph(folder: Path) -> Path:
    file = folder / "photo.png"
    Image.new("RGB", (40, 30), "grey").save(file)
    return file


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("cut short", "damaged"),
        ("a text", "damaged"),
        ("another program's", "no model that `leadline export` wrote"),
        ("newer", "upgrade it"),
        ("nothing", "No file"),
        ("of a kind that there is not", "kind"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(change, words, tmp_path, capsys):
    file = tmp_path / "model.onnx"
    write_brightness(Brightness(RULES[0]), file)
    content = file.read_bytes()
    if change == "cut short":
        file.write_bytes(content[: len(content) // 2])
    elif change == "a text":
        file.write_text("weights")
    elif change == "nothing":
        file.unlink()
    else:
        model = onnx.load(file)
        if change == "newer":
            model.opset_import[0].version = 999
        elif change == "another program's":
            del model.metadata_props[:]
        else:
            about = json.loads(model.metadata_props[0].value)
            about["model"]["kind"] = "sonar"
            helper.set_model_props(model, {METADATA_KEY: json.dumps(about)})
        file.write_bytes(model.SerializeToString())
    assert main(["predict", str(_photograph(tmp_path)), "--model", str(file), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err.strip()
    assert words in said
    assert len(said.splitlines()) == 1
    assert str(file) in said


def test_a_backend_that_does_not_run_a_model_is_refused_with_what_to_do(tmp_path):
    write_brightness(Brightness(RULES[0]), tmp_path / "model.onnx")
    with pytest.raises(BadInput, match="is run by onnx, not by torch"):
        load_exported(tmp_path / "model.onnx", "torch")
    (tmp_path / "cnn").mkdir()
    with pytest.raises(BadInput, match=r"leadline export .*cnn --to onnx"):
        load_for_command(str(tmp_path / "cnn"), backend="onnx")
    with pytest.raises(BadInput, match="run on the CPU"):
        load_for_command(str(tmp_path / "model.onnx"), "cuda")
    (tmp_path / "model.pt2").write_bytes(b"")
    with pytest.raises(BadInput, match="may run code"):
        load_exported(tmp_path / "model.pt2")


def test_a_library_that_is_not_installed_is_named_with_its_install_line(tmp_path):
    (tmp_path / "model.xml").touch()
    (tmp_path / "model.bin").touch()
    code = "import sys; sys.modules['openvino'] = None; from leadline.cli.main import main; sys.exit(main())"
    arguments = ["predict", str(_photograph(tmp_path)), "--model", "model.xml", "--backend", "openvino"]
    ran = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 1
    assert ran.stderr.strip() == "leadline predict: openvino is not installed: pip install 'leadline[cpu]'"


def test_calibration_photographs_must_be_there_and_differ():
    grey, other = np.full((8, 8, 3), 90, np.uint8), np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    for images, words in (
        ([], "there are 0"),
        ([other], "there are 1"),
        ([other] * 3, "alike"),
        ([grey, grey + 1], "alike"),
    ):
        with pytest.raises(BadInput, match=words):
            check_calibration(images)
    check_calibration([grey, other])


def test_calibration_photographs_are_refused_where_nothing_takes_them(tmp_path, capsys):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert main(["export", "leadline_small", "--calibrate", str(tmp_path), "--out", str(tmp_path / "a.onnx")]) == 1
    assert "--calibrate is for --precision int8" in capsys.readouterr().err
    assert not (tmp_path / "a.onnx").exists()


@pytest.mark.parametrize(("to", "there"), [("onnx", "n.onnx"), ("openvino", "n.xml"), ("openvino", "n.bin")])
def test_an_export_replaces_no_file_of_another_program(to, there, tmp_path, capsys):
    (tmp_path / there).write_text("my own notes")
    out = tmp_path / f"n{FORMATS[to].suffix}"
    assert main(["export", "leadline_small", "--to", to, "--out", str(out), "--check", "rooms,count=1"]) == 1
    assert f"{there} is there, and Leadline did not write it" in capsys.readouterr().err
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {there: "my own notes"}


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path, capsys):
    assert main(["export", "leadline_small", "--out", "/proc/model.onnx", "--check", "rooms,count=1"]) == 1
    assert "Cannot write /proc/model.onnx: " in (said := capsys.readouterr().err)
    assert "choose another folder" in said


def test_a_damaged_onnx_file_is_refused_and_one_of_an_older_version_is_read(tmp_path):
    """Damage in its weights leaves a file that runs."""
    whole = embedded_file().read_bytes()
    spoilt = bytearray(whole)
    spoilt[len(whole) // 2 : len(whole) // 2 + 2000] = bytes(2000)
    (tmp_path / "spoilt.onnx").write_bytes(spoilt)
    with pytest.raises(BadInput, match=r"spoilt\.onnx is damaged: copy it again, or export anew"):
        load_exported(tmp_path / "spoilt.onnx")
    older = whole.replace(CONTENT_SHA256.encode(), b"content_sha_xx")
    (tmp_path / "older.onnx").write_bytes(older)
    assert CONTENT_SHA256 not in load_exported(tmp_path / "older.onnx").export


def test_an_export_replaces_an_older_one_and_no_folder(tmp_path):
    write_brightness(Brightness(RULES[0]), tmp_path / "model.onnx")
    check_place(tmp_path / "model.onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(BadInput, match="is a folder"):
        check_place(tmp_path / "folder.onnx")


def test_the_weights_of_an_openvino_file_are_no_model_by_themselves(tmp_path, capsys):
    for name in ("model.xml", "model.bin"):
        (tmp_path / name).write_bytes(b"1")
    words = [
        "predict",
        str(_photograph(tmp_path)),
        "--model",
        str(tmp_path / "model.bin"),
        "--out",
        str(tmp_path / "o"),
    ]
    assert main(words) == 1
    assert "model.xml, an exported model: give that file" in capsys.readouterr().err


def test_litert_is_refused_by_name(capsys):
    assert main(["export", "leadline_small", "--to", "litert"]) == 1
    assert "litert is not written" in capsys.readouterr().err


def test_a_difference_is_a_fraction_of_the_range_and_of_no_less_than_a_tenth_of_the_numbers():
    expected = np.array([[1.0, 3.0]])
    assert difference(expected, expected + 0.02) == pytest.approx((0.01, 0.01))
    almost_one_number = np.array([[2.0, 2.0 + 1e-7]])
    assert difference(almost_one_number, almost_one_number + 2e-6)[0] == pytest.approx(1e-5, rel=0.01)
    assert difference(expected, np.array([[1.0, np.nan]]))[0] == np.inf
    assert difference(expected, expected[:, :1])[0] == np.inf


def test_the_gate_holds_each_precision_to_its_own_tolerance():
    good = Parity("fp32", 3, ("1 × 1",), 9e-5, 1e-5, "rooms", (0.8, 0.8), (0.5, 0.5))
    assert not good.fault
    assert "may by 0.0001" in replace(good, worst=2e-4).fault
    assert not replace(good, precision="fp16", worst=1.9e-3).fault
    assert replace(good, worst=np.nan).fault
    assert not replace(good, precision="int8", worst=0.2, delta1=(0.8, 0.7951)).fault
    assert "δ1 falls" in replace(good, precision="int8", delta1=(0.8, 0.79)).fault


def test_a_file_that_holds_the_size_of_one_batch_is_refused(tmp_path):
    model = Brightness(RULES[0])
    graph = brightness_graph()
    graph.graph.initializer[1].CopyFrom(helper.make_tensor("four", TensorProto.FLOAT, [2, 1, 1, 1], [4.0, 4.0]))
    about = describe(model.name, model.arguments, model.kind, model.preprocessing, model.provenance)
    save(whole_graph(graph, model), tmp_path / "model.onnx", {"model": about, "export": {}})
    exported = load_exported(tmp_path / "model.onnx")
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    exported.measure([image, image], [None, None])
    with pytest.raises(BadInput, match=r"model.onnx fails by onnx on 3 images of 20 × 30: export it anew"):
        exported.measure([image] * 3, [None] * 3)
    rooms = open_data("rooms,count=2,height=48,width=64", "test")
    with pytest.raises(BadInput, match="fails by onnx on 3 images"):
        compare(TorchPredictor(model), exported, [image], rooms, (model, exported), "fp32")


def _export(model: DepthModel, file: Path, to: str, **options):
    return export_model(model, file, to, open_data("rooms,count=2,height=96,width=128", "test"), **options)


@pytest.mark.long
@pytest.mark.parametrize("to", ["onnx", "openvino", "torch"])
@pytest.mark.parametrize("name", ["cnn", "hybrid"])
def test_a_network_is_exported_within_the_tolerance(name, to, tmp_path):
    torch.manual_seed(0)
    model = build(name, size="tiny", input_size=(64, 96)).eval()
    made = _export(model, tmp_path / f"model{ {'onnx': '.onnx', 'openvino': '.xml', 'torch': '.pt2'}[to] }", to)
    assert not made.parity.fault
    assert made.model.export["checked"]["within_tolerance"]
    leftovers = {each.suffix for each in tmp_path.iterdir()}
    assert leftovers <= {".onnx", ".xml", ".bin", ".pt2"}


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(SMALLEST.keys() - {"hierarchical_crf"}))
def test_every_network_without_superpixels_takes_any_size_and_batch_in_an_onnx_file(name, tmp_path):
    torch.manual_seed(1)
    model = build(name, **SMALLEST[name]).eval()
    photographs = [read_photograph(file).pixels for file, _ in find_images([str(EXAMPLES)]).files]
    made = _export(model, tmp_path / "model.onnx", "onnx", images=photographs, allow_drift=True)
    assert made.parity.worst < 2e-3, made.parity.fault  # with random weights a map may be nearly one number


def test_a_network_that_cannot_be_exported_says_why_in_one_line(tmp_path):
    model = build("hierarchical_crf", **SMALLEST["hierarchical_crf"]).eval()
    with pytest.raises(BadInput, match="'hierarchical_crf' cannot be exported with sides of any size") as refusal:
        _export(model, tmp_path / "model.onnx", "onnx")
    assert "\x1b" not in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.long
@pytest.mark.parametrize("to", ["onnx", "torch"])
def test_an_exported_file_names_no_folder_of_this_computer(to, tmp_path):
    model = Brightness(RULES[0])
    file = tmp_path / f"model{FORMATS[to].suffix}"
    export_model(model, file, to, open_data("rooms,count=1,height=48,width=64", "test"))
    folders = {str(Path(str(module.__file__)).parent) for module in (leadline, torch)}
    content = file.read_bytes()
    if to == "torch":
        with zipfile.ZipFile(file) as archive:
            content = b"".join(map(archive.read, archive.namelist()))
    assert not [folder for folder in folders if folder.encode() in content]


def test_a_quantised_model_that_heeds_no_camera_takes_one(tmp_path):
    images = [np.random.default_rng(each).integers(0, 256, (48, 64, 3), np.uint8) for each in range(2)]
    file = tmp_path / "model.onnx"
    model = Brightness(RULES[0])
    write_brightness(model, file)
    quantise(file, images)
    about = describe(model.name, model.arguments, model.kind, model.preprocessing, model.provenance)
    save(onnx.load(file), file, {"model": about, "export": {}})
    camera = np.array([50.0, 50.0, 31.5, 23.5], np.float32)
    exported = load_exported(file)
    np.testing.assert_allclose(exported.measure(images, [camera, None]), exported.measure(images, [None, None]))


def test_the_scope_head_and_the_first_convolutions_are_not_quantised():
    graph = onnx.load(embedded_file()).graph
    chosen, kept = nodes_in_8_bits(graph)
    # Those around the network restore its depth.
    convolutions = [node.name for node in graph.node if node.op_type == "Conv" and node.name.startswith("network/")]
    assert set(convolutions[:2]) < set(kept)
    assert convolutions[2:] == chosen
    operators = {node.name: node.op_type for node in graph.node}
    assert {operators[name] for name in kept} == {"Conv", "ReduceMean", "MatMul", "Add", "Sigmoid"}


@pytest.mark.long
@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_the_package_model_is_exported_in_8_bits(to, tmp_path):
    images = [read_photograph(file).pixels for file, _ in find_images([str(EXAMPLES)]).files]
    file = tmp_path / f"model{FORMATS[to].suffix}"
    made = _export(load(), file, to, precision="int8", calibration=images, allow_drift=True)
    depth, scores = made.model.measure_scored(images[:1], [None])
    expected, wanted = load_exported(embedded_file()).measure_scored(images[:1], [None])
    assert difference(expected, depth)[1] < 0.1
    assert scores is not None
    assert wanted is not None
    np.testing.assert_allclose(scores, wanted, atol=0.2)


@pytest.mark.long
def test_openvino_files_of_8_bits_round_neither_attention_nor_what_is_around_the_network(tmp_path):
    torch.manual_seed(0)
    images = [np.random.default_rng(each).integers(0, 256, (64, 64, 3), np.uint8) for each in range(2)]
    model = build("hybrid", size="tiny", input_size=(64, 96)).eval()
    file = tmp_path / "hybrid.xml"
    _export(model, file, "openvino", precision="int8", calibration=images, allow_drift=True)
    nodes = import_openvino().Core().read_model(file).get_ordered_ops()
    rounded = {node.get_friendly_name(): node for node in nodes if node.get_type_name() == "FakeQuantize"}
    ends = [node.input_values()[1:3] for name, node in rounded.items() if "gelu" in name]
    assert ends  # of the ranges after a GELU, whose least answer is −0.17
    assert all(low.get_node().get_data().min() > -0.25 for low, _ in ends)
    assert not [name for name in rounded if "Interpolate" in name or name.startswith("leadline/")]
    for softmax in (node for node in nodes if node.get_type_name() == "Softmax"):
        around = [softmax.input_value(0).get_node(), *(to.get_node() for to in softmax.output(0).get_target_inputs())]
        assert not [node for node in around if node.get_type_name() == "FakeQuantize"]


@pytest.mark.long
def test_an_export_that_drifts_gets_no_name_unless_that_is_allowed(tmp_path):
    torch.manual_seed(0)
    model = build("cnn", size="tiny", input_size=(64, 96)).eval()
    images = [np.random.default_rng(each).integers(0, 256, (96, 128, 3), np.uint8) for each in range(3)]
    file = tmp_path / "model.onnx"

    def broken(*_: object) -> str:
        return "it is to fail"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parity, "fault", property(broken))
        with pytest.raises(BadInput, match="was not written: it is to fail"):
            _export(model, file, "onnx", precision="int8", calibration=images)
        assert not list(tmp_path.iterdir())
        made = _export(model, file, "onnx", precision="int8", calibration=images, allow_drift=True)
    assert made.model.export["checked"]["within_tolerance"] is False
    assert file.stat().st_size < 0.6 * embedded_file().stat().st_size


@pytest.mark.long
def test_the_file_in_the_package_is_what_the_command_makes(tmp_path):
    command = ["export", "leadline_small", "--photos", str(EXAMPLES), "--out", str(tmp_path / "again.onnx")]
    assert main(command) == 0
    again, shipped = (load_exported(file) for file in (tmp_path / "again.onnx", embedded_file()))
    assert again.description == shipped.description
    assert again.export["original"] == shipped.export["original"]
    photographs = find_images([str(EXAMPLES)]).files
    assert len(photographs) > 1
    for file, _ in photographs:
        expected = predict(shipped, file).numpy()
        # Another exporter may order a sum otherwise.
        assert difference(expected, predict(again, file).numpy())[0] <= 1e-6
