"""Receipts: what a comparison found, where, when and by which code, as JSON files that only the scripts write.

A receipt vouches for itself as far as a file can: every difference and verdict is worked out again from its numbers when
it is read, a digest shows edits by hand, and the hashes of the scripts show whether they have changed since.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mlxllm.errors import DataError, UserError
from mlxllm.parity.known import BY_NAME, ROOT, Comparison
from mlxllm.runs.files import read_json, sha256_of_file, write_json_atomic

FOLDER = Path(__file__).resolve().parent / "receipts"
"""Where they lie: in the package, so that an installed one has them, too."""

Rule = Literal["equal", "at most", "at least"]
_REMEDY = "take the committed one back (git checkout), or have its script write it anew"
State = Literal["current", "script changed since", "not checked"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Row(_Strict):
    """One quantity; made by `pair` or `largest`."""

    quantity: str
    theirs: float | None
    """Published, or computed beside ours; None where the row is about many numbers."""
    ours: float | None
    difference: float
    """Ours less theirs; of many numbers the largest, without its sign."""
    tolerance: float | None
    """How far ours may be off; None: told, but not judged."""
    rule: Rule = "equal"
    """`equal`: on either side; `at most`: only above theirs counts, as for a loss; `at least`: only below."""
    passed: bool | None
    """None where it is not judged."""

    @model_validator(mode="after")
    def _true(self) -> Self:
        if (self.theirs is None) != (self.ours is None):
            raise ValueError("a row has both theirs and ours, or neither")
        if self.theirs is not None and self.ours is not None and self.difference != self.ours - self.theirs:
            raise ValueError(f"the difference of {self.ours} and {self.theirs} is not {self.difference}")
        if self.passed != _verdict(self.difference, self.tolerance, self.rule):
            raise ValueError(f"{self.quantity!r}: the verdict does not follow from the numbers")
        return self


def pair(quantity: str, theirs: float, ours: float, tolerance: float | None = None, rule: Rule = "equal") -> Row:
    """Two numbers; `tolerance` is how far ours may be off on the side that `rule` names."""
    difference = ours - theirs
    verdict = _verdict(difference, tolerance, rule)
    return Row(
        quantity=quantity,
        theirs=theirs,
        ours=ours,
        difference=difference,
        tolerance=tolerance,
        rule=rule,
        passed=verdict,
    )


def largest(quantity: str, difference: float, tolerance: float | None = None) -> Row:
    """The largest difference of many numbers, which are not told one by one."""
    verdict = _verdict(difference, tolerance, "equal")
    return Row(quantity=quantity, theirs=None, ours=None, difference=difference, tolerance=tolerance, passed=verdict)


def _verdict(difference: float, tolerance: float | None, rule: Rule) -> bool | None:
    if tolerance is None:
        return None
    return {"equal": abs(difference), "at most": difference, "at least": -difference}[rule] <= tolerance


class Machine(_Strict):
    """What it was run on."""

    cpu: str
    cores: int = Field(gt=0)
    """That the process could use."""
    os: str
    python: str
    device: str
    """What MLX computed on."""


class Findings(_Strict):
    """One comparison, run once: all of a receipt but its digest."""

    name: str
    """Of the comparison."""
    compares: str
    source: str
    """Of their numbers."""
    note: str = ""
    """What a reader has to know, e.g. that the model was a small random one."""
    rows: tuple[Row, ...] = Field(min_length=1)
    """The first one is what a table shows."""
    command: str
    """Without the paths of the machine."""
    date: str = Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
    """When it ended, UTC."""
    minutes: float = Field(ge=0)
    machine: Machine
    versions: dict[str, str]
    """Of both sides."""
    commit: str = Field(pattern="^[0-9a-f]{40}$")
    """Of the code that ran."""
    clean: bool
    """Whether that commit was all of it, without changes that were not committed."""
    seed: int | None
    inputs: dict[str, str] = {}
    """Name of a file that was read -> its SHA-256."""
    files: dict[str, str]
    """The script and its helpers -> their SHA-256."""

    @property
    def passed(self) -> bool:
        """Whether no row that is judged is off by more than it may be."""
        return all(row.passed is not False for row in self.rows)

    @field_validator("versions", "inputs", "files")
    @classmethod
    def _sorted(cls, value: dict[str, str]) -> dict[str, str]:
        return dict(sorted(value.items()))


class Receipt(Findings):
    """Findings that are signed."""

    digest: str = Field(pattern="^[0-9a-f]{64}$")
    """SHA-256 of all the rest."""

    @model_validator(mode="after")
    def _unchanged(self) -> Self:
        if self.digest != digest_of(self.model_dump(mode="json")):
            raise ValueError("its digest is that of other contents: it was changed after the script wrote it")
        return self


def digest_of(content: Mapping[str, Any]) -> str:
    """SHA-256 of a receipt's other fields, as JSON with sorted keys."""
    rest = {key: value for key, value in content.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def make_receipt(comparison: Comparison, rows: Iterable[Row], **about: Any) -> Receipt:
    """A receipt with its hashes; `about` are the fields that only the run knows."""
    content = {
        "name": comparison.name,
        "compares": comparison.compares,
        "source": comparison.source,
        "rows": tuple(rows),
        "files": {path: sha256_of_file(ROOT / path) for path in comparison.files},
        **about,
    }
    findings = Findings.model_validate(content).model_dump(mode="json")
    return Receipt.model_validate({**findings, "digest": digest_of(findings)})


def write_receipt(receipt: Receipt, system: str, folder: Path = FOLDER) -> Path:
    """Write it; an older one of the same comparison on the same kind of machine (`system`) is replaced."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{receipt.name}.{system}.json"
    write_json_atomic(path, receipt.model_dump(mode="json"))
    return path


def read_receipt(path: Path) -> Receipt:
    """One receipt.

    Raises:
        DataError: it is damaged, or does not hold together; the message says what is wrong with it.
    """
    try:
        receipt = Receipt.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        why = f"{f'{where}: ' if where else ''}{first['msg'].removeprefix('Value error, ')}"
        raise DataError(f"{path} is no receipt: {why}; {_REMEDY}") from None
    except UserError as error:
        raise DataError(f"{error}; {_REMEDY}") from None
    if receipt.name not in BY_NAME:
        raise DataError(f"{path} is the receipt of an unknown comparison, {receipt.name!r}")
    return receipt


def all_receipts(folder: Path = FOLDER, name: str = "*") -> list[Receipt]:
    """All of them, or those of one comparison, in the order of the comparisons, the oldest first.

    Raises:
        DataError: one of them cannot be trusted.
    """
    found = [read_receipt(path) for path in sorted(folder.glob(f"{name}.*.json" if name != "*" else "*.json"))]
    order = list(BY_NAME)
    return sorted(found, key=lambda receipt: (order.index(receipt.name), receipt.date))


def state_of(receipt: Receipt, root: Path = ROOT) -> State:
    """Whether the scripts that made it are still the same; an installed package cannot tell."""
    paths = set(BY_NAME[receipt.name].files) | set(receipt.files)
    if not (root / "scripts" / "parity").is_dir():
        return "not checked"
    for path in paths:
        if not (root / path).is_file() or receipt.files.get(path) != sha256_of_file(root / path):
            return "script changed since"
    return "current"
