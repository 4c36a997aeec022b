"""A server on this machine that takes uploads as the Hub does: repositories, LFS objects, commits; it refuses as told."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_letmein"


@dataclass
class Store:
    """What the server holds, how it misbehaves, and what it was asked."""

    address: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    """LFS: SHA-256 -> content."""
    refuse: dict[str, int] = field(default_factory=dict)
    """Part of a path -> status of all answers there."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    commits: int = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def store(self) -> Store:
        return self.server.store  # type: ignore[attr-defined]

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self._body()
        self.store.asked.append((self.command, path))
        for part, status in self.store.refuse.items():
            if part in path:
                return self._answer({"error": "no"}, status)
        if path.startswith("/objects/"):  # as S3: the address itself is the permission
            oid = path.removeprefix("/objects/")
            assert hashlib.sha256(body).hexdigest() == oid
            self.store.objects[oid] = body
            return self._answer({})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer({"error": "Invalid username or password."}, 401)
        if path == "/api/validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._batch(json.loads(body))
        _, api, models, owner, name, *rest = path.split("/")
        assert (api, models) == ("api", "models")
        repository = f"{owner}/{name}"
        if repository not in self.store.repositories:
            return self._answer({"error": "Repository not found"}, 404)
        if not rest or rest[0] == "revision":
            about = {"id": repository, "sha": "0" * 40, "private": self.store.private[repository], "tags": []}
            files = [{"rfilename": file} for file in self.store.repositories[repository]]
            return self._answer({**about, "siblings": files})
        if rest[0] == "tree":
            files_there = self.store.repositories[repository].items()
            return self._answer([{"type": "file", "path": f, "size": len(c), "oid": "0" * 40} for f, c in files_there])
        if rest[0] == "preupload":
            return self._answer({"files": [self._mode(file) for file in json.loads(body)["files"]]})
        assert rest[0] == "commit", path
        return self._commit(repository, [json.loads(line) for line in body.splitlines()])

    do_POST = do_PUT = do_HEAD = do_GET  # noqa: N815

    def _create(self, asked: dict[str, Any]) -> None:
        repository = f"{asked['organization']}/{asked['name']}"
        if repository in self.store.repositories:
            return self._answer({"error": "there already", "url": f"{self.store.address}/{repository}"}, 409)
        self.store.repositories[repository] = {}
        self.store.private[repository] = asked.get("private", asked.get("visibility") == "private")
        return self._answer({"url": f"{self.store.address}/{repository}"})

    def _mode(self, file: dict[str, Any]) -> dict[str, Any]:
        mode = "lfs" if file["path"].endswith((".safetensors", ".gguf")) else "regular"
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None}

    def _batch(self, asked: dict[str, Any]) -> None:
        objects = []
        for one in asked["objects"]:
            known = one["oid"] in self.store.objects
            action = {"upload": {"href": f"{self.store.address}/objects/{one['oid']}", "header": {}}}
            objects.append(one | ({} if known else {"actions": action}))
        return self._answer({"transfer": "basic", "objects": objects})

    def _commit(self, repository: str, lines: list[dict[str, Any]]) -> None:
        files = self.store.repositories[repository]
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.store.objects[value["oid"]]
            else:
                assert line["key"] == "deletedFile"
                del files[value["path"]]
        self.store.commits += 1
        oid = f"{self.store.commits:040x}"
        url = f"{self.store.address}/{repository}/commit/{oid}"
        return self._answer({"success": True, "commitOid": oid, "commitUrl": url})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve_store() -> Iterator[Store]:
    """A running server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.store = store = Store(address=f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
