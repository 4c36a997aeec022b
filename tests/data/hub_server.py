"""A small server on this machine that answers what huggingface_hub asks of the Hub, and fails as told."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server holds, how it misbehaves, and what it was asked."""

    address: str = ""
    datasets: dict[str, dict[str, bytes]] = field(default_factory=dict, repr=False)
    models: dict[str, dict[str, bytes]] = field(default_factory=dict, repr=False)
    cards: dict[str, dict[str, Any]] = field(default_factory=dict)
    commits: dict[str, str] = field(default_factory=dict)
    earlier: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict, repr=False)
    """Files of data sets at commits that are no longer the last."""
    refuse: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Status and error code of all answers about a data set."""
    strange: set[str] = field(default_factory=set)
    """Data sets about which it answers JSON that means nothing."""
    refuse_files: list[int] = field(default_factory=list)
    """Status codes of the next answers to requests for a file."""
    refuse_questions: list[int] = field(default_factory=list)
    """Status codes of the next answers to any other request."""
    token: str = ""
    """Who does not send it gets 401."""
    cut_after: list[int] = field(default_factory=list)
    """The next answers with a file break off behind so many bytes."""
    stall_after: list[int] = field(default_factory=list)
    """The next answers with a file fall silent behind so many bytes."""
    ranges: bool = True
    """Whether it gives parts."""
    spoil: list[bool] = field(default_factory=list)
    """Whether the next answers with a file have a byte changed."""
    sent: int = 0
    """Bytes of files."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and range."""

    def fetched(self, name: str) -> int:
        """How often a file was asked for."""
        return sum(path.endswith(name) and "/resolve/" in path for _, path, _ in self.asked)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        return self.server.hub  # type: ignore[attr-defined]

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path, self.headers.get("Range", "")))
        held = self.hub.datasets if path.startswith(("/api/datasets/", "/datasets/")) else self.hub.models
        api = path.startswith("/api/")
        parts = path.removeprefix("/api").removeprefix("/datasets/").removeprefix("/models/").strip("/").split("/")
        name, rest = "/".join(parts[:2]), parts[2:]
        form = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if name in self.hub.refuse:
            return self._refuse(*self.hub.refuse[name])
        if name in self.hub.strange:
            return self._json([1, 2])
        if self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self._refuse(401, "")
        if name not in held:
            return self._refuse(404, "RepoNotFound")
        commit = self.hub.commits.get(name, COMMIT)
        files = held[name]
        revision = rest[1] if len(rest) > 1 else "main"
        if revision in (earlier := self.hub.earlier.get(name, {})):
            commit, files = revision, earlier[revision]
        if revision not in ("main", commit):
            return self._refuse(404, "RevisionNotFound")
        if api and self.hub.refuse_questions:
            return self._refuse(self.hub.refuse_questions.pop(0), "")
        if api and rest[:1] == ["paths-info"]:
            return self._json([_facts(file, files[file]) for file in parse_qs(form).get("paths", []) if file in files])
        if api and rest[:1] == ["tree"]:
            return self._json([_facts(file, content) for file, content in files.items()])
        if api:
            siblings = [_sibling(file, content, "blobs=" in self.path) for file, content in files.items()]
            about = {"id": name, "sha": commit, "siblings": siblings, "tags": []}
            return self._json({**about, "private": False, "cardData": self.hub.cards.get(name, {})})
        file = "/".join(rest[2:])
        return self._file(files[file]) if file in files else self._refuse(404, "EntryNotFound")

    do_POST = do_HEAD = do_GET  # noqa: N815

    def _file(self, content: bytes) -> None:
        hub = self.hub
        if hub.refuse_files:
            return self._refuse(hub.refuse_files.pop(0), "")
        start, end, status = 0, len(content), 200
        if hub.ranges and (asked := self.headers.get("Range")):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, end, status = int(first), min(int(last) + 1 if last else end, end), 206
            if start >= len(content):
                return self._refuse(416, "")
        body = content[start:end]
        if hub.spoil and hub.spoil.pop(0):
            body = bytes([body[0] ^ 1]) + body[1:]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return None
        stall = hub.stall_after.pop(0) if hub.stall_after else None
        cut = hub.cut_after.pop(0) if hub.cut_after else stall
        try:
            self.wfile.write(body if cut is None else body[:cut])
            hub.sent += len(body if cut is None else body[:cut])
            if stall is not None:
                time.sleep(1.5)
        except OSError:
            pass  # who asked has heard enough
        if cut is not None:
            self.close_connection = True
        return None

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def _facts(path: str, content: bytes) -> dict[str, Any]:
    sha256 = hashlib.sha256(content).hexdigest()
    lfs = {"oid": sha256, "size": len(content), "pointerSize": 130}
    return {"type": "file", "path": path, "size": len(content), "oid": "0" * 40, "lfs": lfs}


def _sibling(path: str, content: bytes, facts: bool) -> dict[str, Any]:
    """A file in the answer about a whole model; text is kept by git itself, all else beside it."""
    if not facts:
        return {"rfilename": path}
    about: dict[str, Any] = {"rfilename": path, "size": len(content)}
    about["blobId"] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    if path.endswith((".safetensors", ".bin")):
        about["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return about


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """The server, for as long as it is needed."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_port}")
    server.hub = hub  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
