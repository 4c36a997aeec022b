"""Data sets of the Hub, by the real client against a small server on this machine."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mlxllm.conversation import Report, find_record_files, read_conversations
from mlxllm.errors import DataError

REVISION = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    name: (json.dumps({"text": name}) + "\n").encode()
    for name in ("README.md", "train.jsonl", "validation.jsonl", "other/part_a.jsonl", "other/part_b.jsonl")
}
FAILURES = {"owner/secret": (403, "GatedRepo"), "owner/nothing": (404, "RepoNotFound"), "owner/broken": (500, "")}


class Handler(BaseHTTPRequestHandler):
    """The three addresses that a download asks for."""

    requests: list[str] = []  # noqa: RUF012

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, *, body: bool = True) -> None:
        self.requests.append(self.path)
        owner = "/".join(self.path.removeprefix("/api").removeprefix("/datasets/").split("/")[:2]).split("?")[0]
        content, status, headers = b"", 200, {}
        if owner in FAILURES:
            status, code = FAILURES[owner]
            headers = {"X-Error-Code": code} if code else {}
        elif f"/tree/{REVISION}" in self.path:
            entries = [{"type": "file", "path": p, "size": len(c), "oid": "0" * 40} for p, c in FILES.items()]
            content = json.dumps(entries).encode()
            headers = {"Content-Type": "application/json"}
        elif self.path.startswith("/api/"):
            siblings = [{"rfilename": name} for name in FILES]
            answer = {"id": owner, "sha": REVISION, "siblings": siblings, "tags": [], "private": False}
            content = json.dumps(answer).encode()
            headers = {"Content-Type": "application/json"}
        else:
            content = FILES[self.path.split(f"/resolve/{REVISION}/")[1]]
            etag = hashlib.sha256(content).hexdigest()
            headers = {"ETag": f'"{etag}"', "X-Repo-Commit": REVISION, "Content-Type": "text/plain"}
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Addresses asked for so far."""
    from huggingface_hub import constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Handler.requests.clear()
    yield Handler.requests
    server.shutdown()
    server.server_close()


def test_a_data_set_is_fetched_once(hub):
    files = find_record_files(["owner/tales"])
    assert [record.text for record in read_conversations(files.train, Report())] == ["train.jsonl"]
    assert [record.text for record in read_conversations(files.val, Report())] == ["validation.jsonl"]
    assert not any("README" in path for path in hub)
    fetched = sum("/resolve/" in path for path in hub)
    find_record_files(["owner/tales"])
    assert sum("/resolve/" in path for path in hub) == fetched


def test_only_the_split_is_fetched(hub):
    files = find_record_files(["owner/tales:validation"])
    assert [record.text for record in read_conversations(files.train, Report())] == ["validation.jsonl"]
    assert not any("train" in path for path in hub)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("owner/secret", "is only given to who asked for it; accept its terms on its page and log in"),
        ("owner/nothing", "there is no data set owner/nothing on the Hub, nor a file of that name here"),
        ("owner/broken", "cannot fetch the data set owner/broken from the Hub and it is not in the cache"),
    ],
)
def test_failures(hub, name, sentence):
    with pytest.raises(DataError) as caught:
        find_record_files([name])
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
