"""`leadline app`."""

import asyncio
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from leadline.core.errors import BadInput
from leadline.core.ranges import Within, check_fields
from leadline.inference.session import load_predictor
from leadline.models.names import DEFAULT


@dataclass(frozen=True)
class AppCommand:
    """Open a page on this machine: depth of a photograph, distances between points, a solid to turn, downloads.

    It listens at 127.0.0.1 only, loads nothing from elsewhere, and removes what was uploaded when it ends. The page's
    foot says how programs call the same functions.
    """

    model: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--weights"])] = (DEFAULT,)
    """Models to choose from, as for `leadline predict`."""
    port: Annotated[int, Within(1024, 65535)] = 7860
    """Of 127.0.0.1."""
    device: str = "auto"
    """cpu, cuda, mps, or auto: a GPU if there is one."""

    def run(self) -> int:
        check_fields(self)
        if not self.model:
            raise BadInput("Name one model at least, or leave --model out.")
        _check_port(self.port)
        # Before Gradio is imported: it asks nobody on the network, and leaves no folder of its own.
        os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
        with _private_folder() as folder:
            try:
                import uvicorn  # pyright: ignore[reportMissingImports]

                from leadline.serve.app import build_server
            except ImportError as problem:
                raise BadInput("The page needs the library Gradio: pip install 'leadline[app]'.") from problem
            models = {spec: load_predictor(spec, self.device) for spec in self.model}
            server = build_server(models, folder, self.port)
            logging.getLogger("uvicorn.error").addFilter(_is_no_ended_connection)
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was uploaded is removed then, too
            print(f"http://127.0.0.1:{self.port} (Ctrl-C ends it)", file=sys.stderr, flush=True)
            try:
                uvicorn.run(server, host="127.0.0.1", port=self.port, log_level="warning", timeout_graceful_shutdown=2)
            except KeyboardInterrupt:
                return 0
            except SystemExit as end:
                raise BadInput(f"Port {self.port} is taken: choose another --port.") from end
        return 0


def _check_port(port: int) -> None:
    """Refuse a port that another program listens on, before models are loaded and the address is printed."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as problem:
            raise BadInput(f"Port {port} is taken: choose another --port.") from problem


@contextmanager
def _private_folder() -> Iterator[Path]:
    """Make a folder that only this user reads for everything that is uploaded and made, and remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="leadline-"))
    before = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.environ.pop("GRADIO_TEMP_DIR", None)
        if before is not None:
            os.environ["GRADIO_TEMP_DIR"] = before


def _is_no_ended_connection(record: logging.LogRecord) -> bool:
    """Leave out of the log that the command's end closed the connections of open pages."""
    fault = record.exc_info[1] if record.exc_info else None
    return not isinstance(fault, asyncio.CancelledError) and not record.getMessage().startswith("Cancel ")
