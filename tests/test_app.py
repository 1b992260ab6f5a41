"""The page in a real browser: a photograph becomes depth in metres, mistakes become messages, nothing leaks."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

import leadline
from leadline.io.depth_maps import read_depth
from leadline.io.video import VideoWriter, read_video_info

pytestmark = [
    pytest.mark.browser,
    # Warnings of Gradio and of Playwright are none of ours.
    pytest.mark.filterwarnings("default"),
]
PHOTOGRAPH = Path(__file__).resolve().parents[1] / "examples" / "photos" / "reception.jpg"
SECONDS = 120_000
"""Milliseconds that the page may take, on a busy machine."""


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    pytest.importorskip("gradio", reason="needs the extra app")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder, log = tmp_path_factory.mktemp("temporary"), tmp_path_factory.mktemp("log") / "stderr"
    other = tmp_path_factory.mktemp("models") / "other"
    leadline.save(leadline.build("cnn", size="tiny", input_size=(96, 128)), other)
    words = [sys.executable, "-m", "leadline", "app", "--port", str(port), "--model", "leadline_small", str(other)]
    with log.open("wb") as errors:
        process = subprocess.Popen(words, stderr=errors, env={**os.environ, "TMPDIR": str(folder)})
    try:
        for _ in range(240):
            if process.poll() is not None:
                break
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        assert process.poll() is None, "the page did not start"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(60) == 0
        finally:
            process.kill()
        assert "Traceback" not in log.read_text(encoding="utf-8")
        # PyTorch keeps a folder for compiled code, which holds nothing of a user.
        left = [path for path in folder.iterdir() if not path.name.startswith("torchinductor_")]
        assert not left, "what was uploaded or made is still there"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as play:
        # A webcam that shows a moving pattern, which the page may use without asking.
        webcam = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        arguments = ["--no-sandbox", "--enable-unsafe-swiftshader", *webcam]
        chromium = play.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        yield chromium
        chromium.close()


def open_page(browser, address: str, asked: list[str] | None = None):
    page = browser.new_page(viewport={"width": 1280, "height": 1400})
    page.set_default_timeout(SECONDS)
    page.on("request", lambda request: asked is not None and asked.append(request.url))
    page.goto(address)
    page.wait_for_selector("#measure")
    return page


def says(page, place: str, text: str) -> None:
    page.wait_for_function(
        "([place, text]) => document.querySelector(place)?.innerText.includes(text)", arg=[place, text], timeout=SECONDS
    )


def upload(page, path: Path) -> None:
    page.set_input_files("#photograph input[type=file]", str(path))
    says(page, "#photograph", path.suffix)
    page.click("#measure")


def test_a_photograph_becomes_depth_that_one_tap_scales_and_the_download_holds_those_metres(browser, address, tmp_path):
    asked, refused = [], []
    page = open_page(browser, address, asked)
    page.on("response", lambda answer: answer.status >= 400 and refused.append((answer.status, answer.url)))
    upload(page, PHOTOGRAPH)
    says(page, "#said", "median")
    page.wait_for_selector("#slider img")
    picture = page.locator("#tapped img").first
    box, before = picture.bounding_box(), picture.get_attribute("src")
    picture.click(position={"x": box["width"] * 0.3, "y": box["height"] * 0.8})
    pointed = page.inner_text("#under-pointer")
    says(page, "#found", f"): {pointed}")
    assert re.fullmatch(r"\d+\.\d\d m", pointed)
    # The point is drawn into the picture, which is another one then.
    page.wait_for_function("src => document.querySelector('#tapped img')?.src !== src", arg=before, timeout=SECONDS)
    page.wait_for_timeout(1000)
    page.locator("#tapped img").first.click(position={"x": box["width"] * 0.7, "y": box["height"] * 0.8})
    says(page, "#found", "Distance between them")
    column, row = map(int, re.findall(r"Point 2 \((\d+), (\d+)\)", page.inner_text("#found"))[0])
    page.fill("#metres input", "4.5")
    page.click("#rescale")
    says(page, "#found", f"Point 2 ({column}, {row}): 4.50 m")
    page.wait_for_selector("#solid canvas")
    names = [name.removesuffix("\n") for name in page.locator("#files a").all_inner_texts()]
    assert len(names) == 4
    for number, suffix in enumerate((".png", ".npz", ".ply", ".glb")):
        with page.expect_download() as download:
            page.locator("#files a").nth(number).click()
        assert download.value.suggested_filename.endswith(suffix)
        download.value.save_as(tmp_path / f"depth{suffix}")
    depth = read_depth(tmp_path / "depth.png").depth
    assert depth[0, row, column].item() == pytest.approx(4.5, abs=0.01)
    assert read_depth(tmp_path / "depth.npz").numpy() == pytest.approx(depth[0].numpy(), abs=0.001)
    cloud, solid = (trimesh.load(tmp_path / name) for name in ("depth.ply", "depth.glb"))
    assert cloud.bounds[:, 2] == pytest.approx([depth.min().item(), depth.max().item()], abs=0.01)
    assert solid.bounds[:, 2] == pytest.approx([-depth.max().item(), -depth.min().item()], abs=0.1)  # jumps are cut
    strangers = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert not strangers, "the page asks another host"
    assert not refused
    page.close()


def bomb() -> bytes:
    """A PNG of 60,000 × 60,000 pixels, as its head says."""
    head = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    pixels = b"IDAT" + zlib.compress(bytes(10_000))
    parts = (struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (head, pixels))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    "content",
    [b"", b"no photograph", PHOTOGRAPH.read_bytes()[:3000], bomb()],
    ids=["empty", "text", "cut", "decompression bomb"],
)
def test_a_broken_file_gets_a_message_and_the_page_goes_on(browser, address, tmp_path, content):
    (tmp_path / "broken.jpg").write_bytes(content)
    page = open_page(browser, address)
    upload(page, tmp_path / "broken.jpg")
    page.wait_for_selector("[data-testid=toast-body]")
    said = page.inner_text("[data-testid=toast-body]")
    assert "broken.jpg" in said
    assert "/" not in said  # no folder of this machine
    page.close()
    page = open_page(browser, address)
    upload(page, PHOTOGRAPH)
    says(page, "#said", "median")
    page.close()


def test_three_uploads_at_once_are_all_answered(browser, address):
    pages = [open_page(browser, address) for _ in range(3)]
    for page in pages:
        upload(page, PHOTOGRAPH)
    for page in pages:
        says(page, "#said", "median")
        page.close()


def test_a_picture_of_the_webcam_is_measured(browser, address):
    page = open_page(browser, address)
    page.get_by_text("Webcam", exact=True).click()
    page.get_by_text("Click to Access Webcam").click()
    page.wait_for_function("document.querySelector('#webcam video')?.videoWidth > 0", timeout=SECONDS)
    page.click("#webcam [aria-label='capture photo']")
    says(page, "#photograph", ".png")
    page.click("#measure")
    says(page, "#said", "median")
    page.wait_for_selector("#slider img")
    page.close()


def test_two_models_are_compared_on_one_photograph(browser, address):
    page = open_page(browser, address)
    page.get_by_role("tab", name="Compare").click()
    page.set_input_files("#compared input[type=file]", str(PHOTOGRAPH))
    says(page, "#compared", ".jpg")
    page.click("#compare")
    says(page, "#differing", "Right, ")
    says(page, "#differing", "other: ")
    page.wait_for_selector("#scales img")
    page.locator("#both img").first.hover(position={"x": 500, "y": 100}, force=True)  # the slider is before it
    one, two = page.inner_text("#under-pointer").split(" · ")
    assert re.fullmatch(r"leadline_small: \d+\.\d\d m", one)
    assert re.fullmatch(r".*other: \d+\.\d\d m", two)
    assert one.split()[-2] != two.split()[-2]
    page.close()


def test_a_video_is_shown_beside_its_depth_and_downloaded(browser, address, tmp_path):
    with Image.open(PHOTOGRAPH) as photo:
        picture = np.asarray(photo.convert("RGB"))
    with VideoWriter(tmp_path / "walk.mp4", picture.shape[:2], 10) as writer:
        for number in range(6):
            writer.write(np.roll(picture, number * 4, axis=1), Fraction(number, 10))
    page = open_page(browser, address)
    page.get_by_role("tab", name="Video").click()
    page.set_input_files("#clip input[type=file]", str(tmp_path / "walk.mp4"))
    says(page, "#clip", ".mp4")
    page.click("#film")
    says(page, "#filmed", ".mp4")
    page.wait_for_function("document.querySelector('#watched video')?.videoWidth > 0", timeout=SECONDS)
    with page.expect_download() as download:
        page.locator("#filmed a").first.click()
    assert download.value.suggested_filename == "walk.depth.mp4"
    download.value.save_as(tmp_path / "depth.mp4")
    assert read_video_info(tmp_path / "depth.mp4").frames == 6
    page.close()


def test_a_program_measures_through_the_same_functions(address, tmp_path):
    from gradio_client import Client, handle_file  # pyright: ignore[reportMissingImports]

    client = Client(address, verbose=False, download_files=str(tmp_path))
    figures, files = client.predict(handle_file(str(PHOTOGRAPH)), "leadline_small", 60, api_name="/measure")
    assert (figures["kind"], figures["height"], figures["camera"]) == ("metric", 240, "given, 60.0 degrees across")
    assert [Path(file).suffix for file in files] == [".png", ".npz", ".ply", ".glb"]
    points = [[96, 191], [224, 191]]
    near = client.predict(handle_file(str(PHOTOGRAPH)), points, "", 60, [[96, 191, 2.0]], api_name="/distance")
    assert near["points"][0][2] == pytest.approx(2.0)
    assert 0.5 < near["distance"] < 5
    with pytest.raises(Exception, match="No model is called"):
        client.predict(handle_file(str(PHOTOGRAPH)), "/etc", 0, api_name="/measure")


def test_the_documented_client_runs(address, tmp_path):
    text = (PHOTOGRAPH.parents[2] / "docs" / "viewing.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```py\n(.*?)```", text, re.DOTALL)
    code = code.replace("http://127.0.0.1:7860", address) + "\nprint(figures['kind'], told['distance'])\n"
    shutil.copy(PHOTOGRAPH, tmp_path / "photo.jpg")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kind, distance = done.stdout.split()[-2:]
    assert kind == "metric"
    assert 0.5 < float(distance) < 5


def test_a_file_that_was_not_uploaded_is_not_read(address):
    for path in ("/etc/passwd", str(PHOTOGRAPH), "http://127.0.0.1:1/a.jpg", "examples/photos/reception.jpg"):
        sent = json.dumps({"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, "", 0]}).encode()
        ask = urllib.request.Request(f"{address}/gradio_api/call/measure", sent, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(ask, timeout=60) as begun:
                event = json.loads(begun.read())["event_id"]
            with urllib.request.urlopen(f"{address}/gradio_api/call/measure/{event}", timeout=60) as answered:
                said = answered.read().decode()
        except urllib.error.HTTPError as refused:
            said = f"event: error {refused.code}"
        assert said == "event: error 403"


def status(address: str, path: str, headers: dict[str, str] | None = None, content: bytes | None = None) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(address + path, content, headers or {}), timeout=60) as done:
            return done.status
    except urllib.error.HTTPError as refused:
        return refused.code


def test_files_of_the_machine_other_names_and_too_large_files_are_refused(address):
    for path in ("/etc/passwd", "../../../../etc/passwd", str(PHOTOGRAPH), "%2e%2e/%2e%2e/etc/passwd"):
        assert status(address, f"/gradio_api/file={path}") in (403, 404), path
    assert status(address, "/", {"Host": "elsewhere.example"}) == 400
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    assert status(address, "/gradio_api/upload", form, head + bytes(51 * 2**20) + b"\r\n--x--\r\n") == 413
    asking = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
    asking.putrequest("POST", "/gradio_api/call/measure")
    asking.putheader("Content-Type", "application/json")
    asking.putheader("Content-Length", str(101 * 2**20))
    asking.endheaders()
    assert asking.getresponse().status == 413  # before any of it is sent
    asking.close()
    assert status(address, "/") == 200


def test_who_closes_the_page_before_it_is_answered_leaves_no_error(address):
    # What the fixture checks at its end: no traceback.
    place = address.removeprefix("http://").split(":")
    post = b"POST /gradio_api/call/measure HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    asked = (
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /gradio_api/info HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        post + b'Content-Length: 1000\r\n\r\n{"data": [',
    )
    for request in asked * 10:
        with socket.create_connection((place[0], int(place[1])), timeout=60) as asking:
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close at once
            asking.sendall(request)
    assert status(address, "/") == 200
