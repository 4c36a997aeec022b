"""What a verification found, and the file beside an export that keeps it."""

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlxllm.errors import ModelError
from mlxllm.export.hf_files import CONFIG_FILE, OURS
from mlxllm.export.judging import Row
from mlxllm.model.weight_files import read_object
from mlxllm.runs.events import strict_json
from mlxllm.runs.files import write_json_atomic

VERIFICATION_FILE = "verification.json"


@dataclass(frozen=True)
class Verification:
    """All rows, and what they were measured with."""

    rows: tuple[Row, ...]
    weights: str
    """Dtype of the file, or how it is quantised."""
    computed_in: str
    texts: int
    positions: int
    greedy_tokens: int
    max_logit_bound: float
    """Of what a logit may differ by; a row that was excused for more says so in its note (see `judging`)."""
    kl_bound: float
    notes: tuple[str, ...] = ()
    """What is otherwise in the file than in the model by necessity, a sentence each."""

    @property
    def passed(self) -> bool:
        """No reader found a difference, and one at least has looked."""
        statuses = [row.status for row in self.rows]
        return "failed" not in statuses and "passed" in statuses

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "passed": self.passed,
            **asdict(self),
            "rows": [asdict(row) for row in self.rows],
            "notes": list(self.notes),
        }

    @property
    def differs(self) -> bool:
        """A reader has read it, and found another model; else those that failed could not read it."""
        return any(row.status == "failed" and row.ids_equal is not None for row in self.rows)

    @property
    def only_ourselves(self) -> bool:
        """Other readers could have looked, were they installed."""
        passed = [row.reader for row in self.rows if row.status == "passed"]
        return passed == ["mlxllm"] and any(row.status == "not installed" for row in self.rows)

    def failure(self) -> str:
        """What the first reader that differs found, or else why one could not read it, in a sentence."""
        failed = sorted((row for row in self.rows if row.status == "failed"), key=lambda row: row.ids_equal is None)
        told = (f"{row.reader}: {row.note}" for row in failed)
        skipped = (f", since {row.note}" for row in self.rows if row.status == "skipped")
        return next(told, f"no reader that is installed could look at it{next(skipped, '')}")


class DifferentError(ModelError):
    """An export is not the model that it was made from."""

    def __init__(self, verification: Verification) -> None:
        what = "the export differs from the model" if verification.differs else "the export could not be read back"
        super().__init__(
            f"{what}, so it was not kept: {verification.failure()}; --readers leaves a reader out, and --no-verify writes "
            f"without looking"
        )
        self.verification = verification


def is_export(folder: Path) -> bool:
    """Whether an export of ours made the folder: it has been verified, or its config.json has our key."""
    if (folder / VERIFICATION_FILE).is_file():
        return True
    with suppress(ModelError):
        return (folder / CONFIG_FILE).is_file() and OURS in read_object(folder / CONFIG_FILE)
    return False


def write_verification(folder: Path, verification: Verification) -> None:
    """Write verification.json into the folder.

    Raises:
        UserError: it cannot be written.
    """
    write_json_atomic(folder / VERIFICATION_FILE, strict_json(verification.as_dict()))
