"""What is known of an evaluation of text, in a small file: one that was interrupted goes on, a finished one is read back."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mlxllm import paths
from mlxllm.errors import UserError
from mlxllm.evaluation.perplexity import Sums
from mlxllm.evaluation.ratio_sums import RatioSums
from mlxllm.runs.files import read_json, write_json_atomic

_EVERY_SECONDS = 2.0


class Progress:
    """One evaluation's file in `<home>/cache/evaluations/`.

    Args:
        fingerprint: of the weights.
        settings: all else that decides the sums.
    """

    def __init__(self, fingerprint: str, settings: Mapping[str, Any]) -> None:
        key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        self.path = paths.folder("cache") / "evaluations" / fingerprint[:16] / f"data-{key}.json"
        self._about = {"fingerprint": fingerprint, "settings": dict(settings)}
        self._saved = time.monotonic()
        self._latest: tuple[int, Sums] | None = None

    def load(self) -> tuple[int, Sums] | None:
        """(windows scored, their sums); None where nothing is known, or the file is damaged."""
        try:
            kept = read_json(self.path)
            if {key: kept[key] for key in self._about} != self._about:
                return None
            return int(kept["windows"]), {name: RatioSums.from_dict(sums) for name, sums in kept["sums"].items()}
        except (UserError, OSError, KeyError, TypeError, ValueError, AttributeError):
            return None

    def note(self, windows: int, sums: Sums) -> None:
        """So many windows are scored; every two seconds that is written."""
        self._latest = windows, {name: replace(summed) for name, summed in sums.items()}
        if time.monotonic() - self._saved >= _EVERY_SECONDS:
            self.save()

    def save(self) -> None:
        """Write what was noted last.

        Raises:
            UserError: it cannot be written.
        """
        if self._latest is None:
            return
        windows, sums = self._latest
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the folder {self.path.parent}: {error.strerror or error}") from error
        told = {name: summed.as_dict() for name, summed in sums.items()}
        # A lost file costs a while and nothing else.
        write_json_atomic(self.path, {**self._about, "windows": windows, "sums": told}, durable=False)
        self._saved = time.monotonic()
