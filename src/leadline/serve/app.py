"""The page: a photograph, its depth, distances in it, a solid to turn, and files to download; the same over HTTP."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import gradio as gr  # pyright: ignore[reportMissingImports]
from fastapi import FastAPI, Request  # pyright: ignore[reportMissingImports]
from PIL import Image, ImageDraw
from starlette.middleware.trustedhost import TrustedHostMiddleware  # pyright: ignore[reportMissingImports]
from starlette.requests import ClientDisconnect  # pyright: ignore[reportMissingImports]
from starlette.responses import JSONResponse, Response  # pyright: ignore[reportMissingImports]

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.inference.backends import Predictor
from leadline.serve.measurement import Measurement, explain, measure, pointer_element

MAX_UPLOAD = 50 * 2**20
"""Bytes of a file that is uploaded."""
MAX_REQUEST = 100 * 2**20
"""Bytes of a request that is no upload; a picture may be written in one, as text."""
MAX_VIDEO_FRAMES = 1800
"""Frames of a video that the page takes: a minute at 30 a second; `leadline predict` has no such bound."""

TAPPED_SIDE = 1600
"""Pixels of the longer side of the picture to tap on, at least."""

VIEW = "Degrees across (0: as EXIF says)"

HEADERS = {
    # Scripts are the page's own; a photograph that is dropped stays in it as blob: or data:.
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; "
        "connect-src 'self' data: blob:; worker-src 'self' blob:; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""Of every answer: a browser loads nothing from another host, whatever the page asks for."""


def build_server(models: Mapping[str, Predictor], folder: Path, port: int) -> Any:
    """Return the web application of the page, for `uvicorn`.

    Args:
        models: name → model, on its device.
        folder: for what is uploaded and made.
        port: that it will listen on, at 127.0.0.1.
    """
    server = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @server.middleware("http")
    async def with_headers(request: Request, call_next: Callable[..., Any]) -> Any:
        try:
            return await answered(request, call_next)
        except (ClientDisconnect, RuntimeError):  # Starlette's "No response returned"
            if not await request.is_disconnected():
                raise
            return Response(status_code=499)  # nobody reads it: who asked has closed the page

    async def answered(request: Request, call_next: Callable[..., Any]) -> Any:
        if request.method == "POST" and "json" in request.headers.get("content-type", ""):
            length = request.headers.get("content-length", "")
            if not length.isdigit() or int(length) > MAX_REQUEST:
                told = f"A request states its length, and has at most {MAX_REQUEST >> 20} MiB; upload files instead."
                return JSONResponse({"detail": told}, 413 if length.isdigit() else 411, HEADERS)
            # Gradio copies a file that a request names, or loads an address, before any function here sees it.
            try:
                is_foreign = names_foreign_file(json.loads(await request.body() or "null"), folder)
            except (ValueError, RecursionError):
                is_foreign = True
            if is_foreign:
                return JSONResponse({"detail": "Only files that were uploaded are read."}, 403, HEADERS)
        response = await call_next(request)
        response.headers.update(HEADERS)
        return response

    # A page of another site whose name leads here is none of ours.
    server.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    blocks = build_page(models, folder)
    blocks.has_launched = True  # or Gradio leaves out its own check of paths, as of a page that is being built
    blocks.queue(max_size=32, default_concurrency_limit=1)
    return gr.mount_gradio_app(
        server,
        blocks,
        path="/",
        server_name="127.0.0.1",
        server_port=port,
        max_file_size=MAX_UPLOAD,
        show_error=True,
        ssr_mode=False,
        theme=gr.themes.Base(),
        css=_STYLE,
        head=f"<script>{files('leadline.serve').joinpath('pointer.js').read_text(encoding='utf-8')}</script>",
        allowed_paths=[],
        enable_monitoring=False,
        footer_links=["api"],
    )


def names_foreign_file(content: Any, folder: Path) -> bool:
    """Tell whether the content of a request names a file outside of a folder, or an address, as Gradio writes files.

    Args:
        content: as JSON holds it.
        folder: where what was uploaded is.
    """
    if isinstance(content, dict):
        path = content.get("path")
        if isinstance(path, str) and not Path(path).resolve().is_relative_to(folder.resolve()):
            return True
        content = list(content.values())
    return isinstance(content, list) and any(names_foreign_file(each, folder) for each in content)


def build_page(models: Mapping[str, Predictor], folder: Path) -> Any:
    """Return the page, as Gradio's blocks.

    Args:
        models: name → model; the first is chosen.
        folder: where files are made, a folder for each session.
    """
    handlers = _Handlers(models, folder)
    names = list(models)
    with gr.Blocks(title="Leadline", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        state, taps = gr.State(None, time_to_live=3600), gr.State([])
        gr.Markdown("# Leadline\nDepth of a photograph, measured on this machine; nothing leaves it.")
        with gr.Tab("Photograph"):
            with gr.Row():
                with gr.Column(scale=1):
                    file = gr.File(label="Photograph", type="filepath", elem_id="photograph")
                    with gr.Accordion("Webcam", open=False, elem_id="webcam"):
                        # No mode: the picture stays the file that the browser made.
                        taken = gr.Image(
                            sources=["webcam"], type="filepath", image_mode=None, format="png", show_label=False
                        )
                    model = gr.Dropdown(names, value=names[0], label="Model", elem_id="model")
                    view = gr.Number(0, label=VIEW, elem_id="degrees")
                    button = gr.Button("Measure", variant="primary", elem_id="measure")
                    said = gr.Markdown(elem_id="said")
                with gr.Column(scale=2):
                    slider = gr.ImageSlider(
                        label="Photograph and depth", interactive=False, format="png", elem_id="slider"
                    )
                    legend = gr.Image(
                        show_label=False, interactive=False, format="png", buttons=[], elem_id="legend", container=False
                    )
                    pointed = gr.HTML(visible="hidden", elem_id="slider-depths")
            with gr.Row():
                with gr.Column(scale=2):
                    tapped = gr.Image(
                        label="Tap a point, or two for their distance",
                        interactive=False,
                        format="png",
                        buttons=[],
                        elem_id="tapped",
                    )
                with gr.Column(scale=1):
                    found = gr.Markdown("No point yet.", elem_id="found")
                    metres = gr.Number(None, label="Measured distance of the last point in metres", elem_id="metres")
                    rescale = gr.Button("Set the scale by it", elem_id="rescale")
                    files = gr.Files(label="Download", interactive=False, elem_id="files")
            solid = gr.Model3D(label="Drag to turn", elem_id="solid", height=420)
            shown = [state, taps, slider, legend, pointed, tapped, said, found, files, solid]
            asked = [file, model, view]
            taken.input(handlers.take, taken, file, api_visibility="private")
            # Else each part of the page shows its own progress, and "Error" beside the message.
            button.click(handlers.show, asked, shown, api_visibility="private", show_progress_on=slider)
            tapped.select(handlers.tap, [state, taps], [taps, found, tapped], api_visibility="private")
            rescale.click(
                handlers.rescale, [state, taps, metres], shown, api_visibility="private", show_progress_on=slider
            )
        with gr.Tab("Compare"):
            with gr.Row():
                other_file = gr.File(label="Photograph", type="filepath", elem_id="compared")
                one = gr.Dropdown(names, value=names[0], label="Left")
                two = gr.Dropdown(names, value=names[-1], label="Right")
                other_view = gr.Number(0, label=VIEW)
            compare = gr.Button("Compare", variant="primary", elem_id="compare")
            both = gr.ImageSlider(label="Depth by both", interactive=False, format="png", elem_id="both")
            scales = gr.Image(
                show_label=False, interactive=False, format="png", buttons=[], container=False, elem_id="scales"
            )
            both_pointed = gr.HTML(visible="hidden", elem_id="both-depths")
            differing = gr.Markdown(elem_id="differing")
            compared = [both, scales, both_pointed, differing]
            compare.click(
                handlers.compare,
                [other_file, one, two, other_view],
                compared,
                api_visibility="private",
                show_progress_on=both,
            )
        with gr.Tab("Video"):
            clip = gr.File(label="Video", type="filepath", elem_id="clip")
            film_model = gr.Dropdown(names, value=names[0], label="Model")
            film_button = gr.Button("Measure", variant="primary", elem_id="film")
            film = gr.Files(label="The video beside its depth", interactive=False, elem_id="filmed")
            watched = gr.Video(show_label=False, interactive=False, buttons=[], elem_id="watched", height=420)
            filmed = film_button.click(handlers.film, [clip, film_model], film, api_name="video")
            filmed.success(lambda made: made[0], film, watched, api_visibility="private", show_progress="hidden")
        # For programs. Parts of the page rather than `gr.api`, which copies any file of the machine that it is named.
        with gr.Row(visible=False):
            sent, name, degrees = gr.File(type="filepath"), gr.Textbox(""), gr.Number(0)
            points, anchors, figures, made = gr.JSON(), gr.JSON([]), gr.JSON(), gr.Files()
            measuring, telling = gr.Button(), gr.Button()
        measuring.click(handlers.api_measure, [sent, name, degrees], [figures, made], api_name="measure")
        telling.click(handlers.api_distance, [sent, points, name, degrees, anchors], figures, api_name="distance")
        page.unload(handlers.forget)
    return page


_PROGRESS = gr.Progress()
"""Gradio takes the default value as the wish to show progress."""


class _Handlers:
    """What the page's buttons call."""

    def __init__(self, models: Mapping[str, Predictor], folder: Path) -> None:
        self.models, self.folder = models, folder

    def show(self, file: str | None, model: str, view: float | None, request: gr.Request) -> list[Any]:
        """Measure a photograph, and return all that the page shows of it."""
        with _clear(file):
            return self._shown(measure(self._model(model), self._given(file), view or None), request)

    def tap(self, state: Measurement | None, taps: list[list[float]], event: gr.SelectData) -> list[Any]:
        """Tell the depth of a tapped point, and its distance from the one before."""
        if state is None:
            raise gr.Error("Measure a photograph first.", print_exception=False)
        height, width = state.depth.shape
        # The picture is enlarged; at its edge the browser rounds up to the pixel beyond it.
        larger = _enlargement(state)
        column, row = (
            min(float(at // larger), side - 1.0) for at, side in zip(event.index, (width, height), strict=True)
        )
        taps = [*taps[-1:], [column, row]]
        with _clear(None):
            return [taps, _told(state, taps), _marked(state, taps)]

    def rescale(
        self, state: Measurement | None, taps: list[list[float]], metres: float | None, request: gr.Request
    ) -> list[Any]:
        """Scale the depth by the last tapped point and its distance."""
        with _clear(None):
            if state is None or not taps:
                raise BadInput("Measure a photograph and tap a point first.")
            if metres is None:
                raise BadInput("Type the measured distance of the point in metres.")
            return self._shown(state.scaled(taps[-1][0], taps[-1][1], metres), request, taps)

    def take(self, picture: str | None) -> str | None:
        """Take a picture of the webcam as the photograph."""
        with _clear(picture):
            return self._given(picture) if picture else None

    def compare(self, file: str | None, one: str, two: str, view: float | None) -> list[Any]:
        """Measure a photograph by two models."""
        with _clear(file):
            left, right = (measure(self._model(name), self._given(file), view or None) for name in (one, two))
            said = f"Left, {one}: {explain(left)}\n\nRight, {two}: {explain(right)}"
            legends = [left.legend()] if left.scale == right.scale else [left.legend(), right.legend()]
            depths = pointer_element({f"{one}: ": left, f"{two} (right): " if one == two else f"{two}: ": right})
            return [(left.colours(), right.colours()), _beside(legends), depths, said]

    def film(self, clip: str | None, model: str, request: gr.Request, progress: gr.Progress = _PROGRESS) -> list[str]:
        """Measure a video; returns the file that shows it beside its depth."""
        from leadline.inference.video import predict_video
        from leadline.io.video import read_video_info

        with _clear(clip):
            path = self._given(clip)
            count = read_video_info(path).frames
            if count is None or count > MAX_VIDEO_FRAMES:
                raise BadInput(
                    f"The page takes videos of at most {MAX_VIDEO_FRAMES} frames, and this one has "
                    f"{count or 'an unknown number'}: use leadline predict."
                )
            network = self._model(model)
            made = predict_video(
                network, path, self._place(request), on_frame=lambda done, total: progress((done, total), unit="frames")
            )
            if made.warning:
                gr.Warning(made.warning)
            return [str(made.video)]

    def api_measure(self, photograph: str | None, model: str, field_of_view: float) -> list[Any]:
        """Measure a photograph: its figures, and the files, 16-bit PNG, NPZ, PLY and GLB."""
        with _clear(photograph):
            measured = measure(self._model(model), self._given(photograph), field_of_view or None)
            return [measured.summary(), [str(each) for each in measured.write_files(self._place(None))]]

    def api_distance(
        self,
        photograph: str | None,
        points: list[list[float]],
        model: str,
        field_of_view: float,
        anchors: list[list[float]] | None,
    ) -> dict[str, Any]:
        """Tell points [column, row] of a photograph in metres, and the distance between the first two.

        Anchors are [column, row, metres], which the depth is scaled by.
        """
        with _clear(photograph):
            measured = measure(self._model(model), self._given(photograph), field_of_view or None)
            try:
                places = [(float(column), float(row)) for column, row in points]
                known = [(float(column), float(row), float(metres)) for column, row, metres in anchors or []]
            except (TypeError, ValueError) as problem:
                raise BadInput(
                    "Give points as [[column, row], …] and anchors as [[column, row, metres], …]."
                ) from problem
            for column, row, metres in known:
                measured = measured.scaled(column, row, metres)
            apart = measured.distance(places[0], places[1]) if len(places) > 1 else None
            where = [list(measured.point(column, row)) for column, row in places]
            return {
                "points": where,
                "distance": apart,
                "warning": measured.warning,
                "scaled": measured.said,
            }

    def forget(self, request: gr.Request) -> None:
        """Remove a session's files."""
        shutil.rmtree(self._own(request), ignore_errors=True)

    def _model(self, name: str) -> Predictor:
        # Only those that were named at the start: a name from a browser opens no file.
        if name and name not in self.models:
            raise BadInput(f"No model is called {name!r} here. There are: {', '.join(self.models)}.")
        return self.models[name] if name else next(iter(self.models.values()))

    def _given(self, file: str | None) -> str:
        """Return an uploaded file's path; a program may have sent any other."""
        if not file:
            raise BadInput("Choose a file first.")
        if not Path(file).resolve().is_relative_to(self.folder.resolve()):
            raise BadInput("Only files that were uploaded are read.")
        return file

    def _own(self, request: gr.Request | None) -> Path:
        session = "".join(each for each in str(getattr(request, "session_hash", "")) if each.isalnum())
        return self.folder / "made" / (session[:40] or "session")

    def _place(self, request: gr.Request | None) -> Path:
        own = self._own(request)
        own.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=own))

    def _shown(self, measured: Measurement, request: gr.Request, taps: Sequence[list[float]] = ()) -> list[Any]:
        files, taps = measured.write_files(self._place(request)), list(taps)
        solid = str(files[-1]) if files[-1].suffix == ".glb" else None
        return [
            measured,
            taps,
            (measured.photograph, measured.colours()),
            measured.legend(),
            pointer_element({"": measured}),
            _marked(measured, taps),
            explain(measured),
            _told(measured, taps),
            [str(each) for each in files],
            solid,
        ]


def _told(measured: Measurement, taps: list[list[float]]) -> str:
    """Return the depths of the tapped points and the distance between them, in Markdown."""
    if not taps:
        return "No point yet."
    lines = []
    for number, (column, row) in enumerate(taps, 1):
        try:
            depth = f"{measured.point(column, row)[2]:.2f} {_unit(measured)}"
        except BadInput as fault:
            depth = str(fault)
        lines.append(f"Point {number} ({column:.0f}, {row:.0f}): {depth}")
    if len(taps) == 2:
        with suppress(BadInput):
            apart = measured.distance((taps[0][0], taps[0][1]), (taps[1][0], taps[1][1]))
            lines.append(f"**Distance between them: {apart:.2f} {_unit(measured)}**")
    return "  \n".join(lines)


def _unit(measured: Measurement) -> str:
    return "m" if measured.depth.kind is DepthKind.METRIC else "without unit"


def _marked(measured: Measurement, taps: list[list[float]]) -> Any:
    """Draw the tapped points and the line between them on the photograph, which is enlarged."""
    larger = _enlargement(measured)
    picture = Image.fromarray(measured.photograph)
    if larger > 1:
        width, height = (round(side * larger) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    draw, radius = ImageDraw.Draw(picture), max(3, max(picture.size) // 120)
    points = [((column + 0.5) * larger - 0.5, (row + 0.5) * larger - 0.5) for column, row in taps]
    if len(points) == 2:
        draw.line(points, fill="white", width=max(2, radius // 2))
    for column, row in points:
        box = [column - radius, row - radius, column + radius, row + radius]
        draw.ellipse(box, fill="red", outline="white", width=max(1, radius // 3))
    return picture


def _enlargement(measured: Measurement) -> float:
    """Return how many times larger the picture to tap on is: Gradio finds no tap in one that the browser enlarges."""
    return max(1.0, TAPPED_SIDE / max(measured.depth.shape))


def _beside(pictures: Sequence[Image.Image]) -> Image.Image:
    """Put pictures of one height side by side, the first at the left."""
    joined = Image.new("RGB", (sum(each.width for each in pictures), pictures[0].height), "white")
    for number, each in enumerate(pictures):
        joined.paste(each, (sum(before.width for before in pictures[:number]), 0))
    return joined


@contextmanager
def _clear(file: str | None) -> Iterator[None]:
    """Turn an error that a user can fix into a message of the page, without this machine's folders in it."""
    try:
        yield
    except BadInput as fault:
        said = str(fault).replace(str(file), Path(file).name) if file else str(fault)
        raise gr.Error(said, duration=None, print_exception=False) from None
    except (MemoryError, RuntimeError) as fault:
        if not isinstance(fault, MemoryError) and "memory" not in str(fault).lower():
            raise
        raise gr.Error("It does not fit into the memory: make it smaller.", print_exception=False) from None


_STYLE = """
#legend img, #scales img { width: 100%; }
#tapped .image-frame { width: 100%; }
#tapped img { width: 100%; max-height: 70vh; object-fit: scale-down; }
footer { font-size: small; }
#under-pointer {
    position: fixed; z-index: 1000; pointer-events: none; padding: 1px 6px; border-radius: 4px;
    background: #222; color: white; font: 14px sans-serif;
}
#under-pointer[hidden] { display: none; }
"""
