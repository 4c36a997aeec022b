"""trials.jsonl: the blind taste tests of one home, one JSON object a line; their verdicts are kept, ties and all."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlxllm import paths
from mlxllm.conversation.lines import append_objects, parse_object
from mlxllm.conversation.trials import Trial
from mlxllm.conversation.verdict import Verdict
from mlxllm.errors import DataError

FILE = "trials.jsonl"


@dataclass(frozen=True, slots=True)
class PastTrial:
    """A taste test that was ended."""

    id: str
    time: float
    """Seconds since 1970."""
    players: tuple[str, str]
    """The models' addresses, the tuned one first."""
    verdict: Verdict


class TrialLog:
    """The taste tests of one home. Any number of processes may read and add at once."""

    def __init__(self, path: Path | None = None) -> None:
        """Use the file at `path`, by default `<home>/trials.jsonl`; nothing is touched yet."""
        self.path = paths.home() / FILE if path is None else path

    def add(self, trial: Trial) -> None:
        """Append a test with all its rounds; one that was added before is replaced for readers.

        Raises:
            DataError: the file cannot be written.
        """
        try:
            append_objects(self.path, trial.as_json())
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror or error}; the verdict was not kept") from None

    def read(self) -> list[PastTrial]:
        """All tests, the oldest first; lines that hold none are passed over.

        Raises:
            DataError: the file cannot be read.
        """
        return list({trial.id: trial for trial in self._read()}.values())

    def _read(self) -> Iterator[PastTrial]:
        try:
            with open(self.path, "rb") as file:
                for line in file:
                    if (raw := parse_object(line)) is None:
                        continue
                    try:
                        first, second = raw["players"]
                        verdict = Verdict(**{key: int(value) for key, value in raw["verdict"].items()})
                        yield PastTrial(str(raw["id"]), float(raw["time"]), (str(first), str(second)), verdict)
                    except (KeyError, TypeError, ValueError, AttributeError):
                        continue
        except FileNotFoundError:
            return
        except OSError as error:
            raise DataError(f"cannot read {self.path}: {error.strerror or error}") from None
