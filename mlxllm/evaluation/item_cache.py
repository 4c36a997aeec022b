"""What a model answered, item by item, in a file that grows as answers come: an interrupted evaluation goes on from there.

One line of JSON an item: the hash of what was asked, and the answer. A process that is killed loses its last line at most.
"""

import hashlib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from mlxllm import paths
from mlxllm.errors import UserError


class ItemCache:
    """Answers by what was asked; as a context manager it closes its file.

    Args:
        path: the file; it and its folder are made where they are missing.
        fresh: forget what is there.

    Raises:
        UserError: the file cannot be read or written.
    """

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        self.path = path
        self._items: dict[str, Any] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if fresh:
                path.unlink(missing_ok=True)
            self._file = path.open("ab", buffering=0)
            self._read()
        except OSError as error:
            raise UserError(f"cannot keep answers in {path}: {error.strerror or error}") from error

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, asked: str) -> bool:
        return _key(asked) in self._items

    def __enter__(self) -> "ItemCache":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def get(self, asked: str) -> Any:
        """The answer to `asked`, which must be there."""
        return self._items[_key(asked)]

    def put(self, asked: str, answer: Any) -> None:
        """Keep an answer (anything that JSON can hold), at once.

        Raises:
            UserError: the file cannot be written.
        """
        key = _key(asked)
        self._items[key] = answer
        try:
            self._file.write(json.dumps([key, answer]).encode() + b"\n")
        except OSError as error:
            raise UserError(f"cannot keep answers in {self.path}: {error.strerror or error}") from error

    def _read(self) -> None:
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):  # the writer was killed in the middle of a line
            os.truncate(self.path, whole)
        for line in content[:whole].splitlines():
            try:
                key, answer = json.loads(line)
            except (ValueError, TypeError):
                continue
            self._items[key] = answer


def cache_of(fingerprint: str, name: str, *, fresh: bool = False) -> ItemCache:
    """The answers of the weights with this fingerprint in `<home>/cache/evaluations/`.

    Args:
        fingerprint: see `LoadedModel.fingerprint`.
        name: what was evaluated, and how: the file's name.
        fresh: forget what is there.
    """
    return ItemCache(paths.folder("cache") / "evaluations" / fingerprint[:16] / f"{name}.jsonl", fresh=fresh)


def _key(asked: str) -> str:
    return hashlib.sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()[:24]
