"""A real web server on the loopback, of files and of the faults that a test asks for."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Site:
    """What the server has, how it fails, and what it was asked."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    """Path → where it redirects to."""
    breaks: list[int] = field(default_factory=list)
    """Bytes after which each of the next answers is cut."""
    hangs: bool = False
    """A cut answer stays open, silent, until `let_go`."""
    knows_ranges: bool = True
    claims: int | None = None
    """The length that it announces, where that is not the truth."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Path (or whole address, as proxies are asked) and range of every request."""
    sent: Event = field(default_factory=Event)
    """Set once the first answer is sent, or cut."""
    let_go: Event = field(default_factory=Event)


@contextmanager
def serving() -> Iterator[Site]:
    with served(_Handler) as (server, address):
        server.site = site = Site(address)  # pyright: ignore[reportAttributeAccessIssue]
        try:
            yield site
        finally:
            site.let_go.set()


@contextmanager
def served(handler: type[BaseHTTPRequestHandler]) -> Iterator[tuple[ThreadingHTTPServer, str]]:
    """A server on the loopback that lets `handler` answer, each request in a thread of its own; and its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        site: Site = self.server.site  # pyright: ignore[reportAttributeAccessIssue]
        wanted, path = self.headers["Range"], urlsplit(self.path).path
        site.asked.append((self.path, wanted))
        if path in site.moved:
            self._answer(302, {"Location": site.moved[path]})
        elif path not in site.files:
            self.send_error(404)
        else:
            self._send(site, site.files[path], wanted)
        site.sent.set()

    def _send(self, site: Site, content: bytes, wanted: str | None) -> None:
        first, _, last = (wanted or "").removeprefix("bytes=").partition("-") if site.knows_ranges else ("", "", "")
        start = int(first or 0)
        if start >= len(content):
            return self._answer(416, {"Content-Range": f"bytes */{len(content)}"})
        content = content[: int(last) + 1] if last else content
        length = len(content) - start if site.claims is None else site.claims
        self._answer(206 if start or last else 200, {"Content-Length": str(length)})
        if self.command == "HEAD":
            return None
        end = start + site.breaks.pop(0) if site.breaks else len(content)
        self.wfile.write(content[start:end])
        if end < len(content) and site.hangs:
            site.sent.set()
            site.let_go.wait()
        return None

    def _answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, text in headers.items():
            self.send_header(key, text)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read `asked` instead."""
