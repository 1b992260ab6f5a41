"""A hub on the loopback: the part of the Hugging Face hub's protocol that sharing a model and getting it back needs."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from webserver import served

TOKEN = "hf_loopback"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
"""Of every repository: each has one."""


@dataclass
class Hub:
    """What the hub has, and what it was asked."""

    address: str
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """USER/NAME → file → content."""
    large: dict[str, bytes] = field(default_factory=dict)
    """SHA-256 → what was uploaded as a large file, to be named by a commit."""
    asked: list[str] = field(default_factory=list)
    """Method and path of every request."""


@contextmanager
def hub() -> Iterator[Hub]:
    with served(_Handler) as (server, address):
        server.hub = shared = Hub(address)  # pyright: ignore[reportAttributeAccessIssue]
        yield shared


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        return self.server.hub  # pyright: ignore[reportAttributeAccessIssue]

    def do_POST(self) -> None:
        body, path = self._body(), self._path()
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self._answer(401, {"error": "Invalid username or password."})
        match path.strip("/").split("/"):
            case ["api", "repos", "create"]:
                asked = json.loads(body)
                name = "/".join(filter(None, [asked.get("organization"), asked["name"]]))
                status = 409 if name in self.hub.repos else 200
                self.hub.repos.setdefault(name, {})
                return self._answer(status, {"url": f"{self.hub.address}/{name}", "name": name})
            case ["api", "validate-yaml"]:
                return self._answer(200, {"warnings": [], "errors": []})
            case ["api", "models", user, name, "preupload", _] if f"{user}/{name}" in self.hub.repos:
                files = [file["path"] for file in json.loads(body)["files"]]
                modes = {path: "lfs" if path.endswith(".safetensors") else "regular" for path in files}
                answers = [{"path": p, "uploadMode": m, "shouldIgnore": False, "oid": None} for p, m in modes.items()]
                return self._answer(200, {"files": answers})
            case [_, _, "info", "lfs", "objects", "batch"]:
                wanted = [
                    {**each, "actions": {"upload": {"href": f"{self.hub.address}/large/{each['oid']}"}}}
                    for each in json.loads(body)["objects"]
                ]
                return self._answer(200, {"transfer": "basic", "objects": wanted})
            case ["api", "models", user, name, "commit", _] if f"{user}/{name}" in self.hub.repos:
                files = self.hub.repos[f"{user}/{name}"]
                for line in body.splitlines():
                    entry = json.loads(line)
                    if entry["key"] == "file":
                        files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
                    if entry["key"] == "lfsFile":
                        files[entry["value"]["path"]] = self.hub.large[entry["value"]["oid"]]
                url = f"{self.hub.address}/{user}/{name}/commit/{COMMIT}"
                return self._answer(200, {"commitUrl": url, "commitOid": COMMIT})
        return self._answer(404, {"error": path})

    def do_PUT(self) -> None:
        content, wanted = self._body(), self._path().rpartition("/")[2]
        if hashlib.sha256(content).hexdigest() != wanted:
            return self._answer(400, {"error": "wrong bytes"})
        self.hub.large[wanted] = content
        return self._answer(200, {})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self._path()
        match path.strip("/").split("/"):
            case ["api", "models", user, name, "revision", "main"] if f"{user}/{name}" in self.hub.repos:
                return self._answer(200, {"id": f"{user}/{name}", "sha": COMMIT, "siblings": []})
            case ["api", "models", user, name, "tree", _] if f"{user}/{name}" in self.hub.repos:
                files = self.hub.repos[f"{user}/{name}"]
                return self._answer(200, [_listed(path, content) for path, content in files.items()])
            case [user, name, "resolve", _, file] if file in self.hub.repos.get(f"{user}/{name}", {}):
                content = self.hub.repos[f"{user}/{name}"][file]
                tag = hashlib.sha256(content).hexdigest()
                return self._answer(200, content, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT})
        return self._answer(404, {"error": path}, {"X-Error-Code": "RepoNotFound"})

    def _path(self) -> str:
        path = urlsplit(self.path).path
        self.hub.asked.append(f"{self.command} {path}")
        return path

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"] or 0))

    def _answer(self, status: int, answer: Any, headers: dict[str, str] | None = None) -> None:
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for key, text in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read `asked` instead."""


def _listed(path: str, content: bytes) -> dict[str, Any]:
    listed = {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
    if path.endswith(".safetensors"):
        listed["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return listed
