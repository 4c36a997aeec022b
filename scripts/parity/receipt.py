"""Keep what a comparison found as a receipt in mlxllm/parity/receipts, with the machine, the versions and the commit."""

import argparse
import hashlib
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import mlxllm.runtime  # noqa: F401  (before MLX: it prepares BLAS)
from mlxllm.errors import UserError
from mlxllm.parity.known import ROOT, comparison_called
from mlxllm.parity.receipts import FOLDER, Machine, Row, make_receipt, write_receipt
from mlxllm.runtime import device_info

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what all scripts share lies there

from machine import machine

OURS = ("mlxllm", "mlx", "numpy")


class ReceiptError(UserError):
    """No receipt can be written."""


@dataclass(frozen=True)
class Told:
    """What only the script knows of its comparison."""

    name: str
    """As mlxllm/parity/known.py has it."""
    rows: Sequence[Row]
    seed: int | None = None
    versions: dict[str, str] = field(default_factory=dict)
    """Of the other side."""
    inputs: Sequence[Path] = ()
    """Files that were read."""
    note: str = ""


def with_receipt(made: argparse.ArgumentParser) -> None:
    """The option that asks for one."""
    made.add_argument("--receipt", action="store_true", help="keep the result in mlxllm/parity/receipts")


def keep(told: Told, begun: float) -> Path:
    """Write the receipt and say where; a comparison that failed leaves one that says so, and ends with exit code 1.

    Args:
        told: what was found.
        begun: `time.monotonic()` when the comparison began.

    Raises:
        ReceiptError: this is no git checkout.
    """
    ours = {name: found for name in OURS if (found := _version(name)) is not None}
    about = {key: value for key, value in machine().items() if key in Machine.model_fields}
    receipt = make_receipt(
        comparison_called(told.name),
        told.rows,
        note=told.note,
        command=command_line(sys.argv),
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        minutes=round((time.monotonic() - begun) / 60, 2),
        machine=Machine(**about, device=device_info().device),
        versions={**ours, **told.versions},
        commit=_git("rev-parse", "HEAD"),
        clean=not _git("status", "--porcelain", "--", ".", f":(exclude){FOLDER.relative_to(ROOT)}"),
        seed=told.seed,
        inputs={path.name: _sha256(path) for path in told.inputs},
    )
    system = f"{platform.system()}-{platform.machine()}".lower()
    path = write_receipt(receipt, system, FOLDER)
    print(f"receipt: {path.relative_to(ROOT)}", file=sys.stderr)
    if not receipt.passed:
        sys.exit(1)
    return path


def command_line(argv: Sequence[str]) -> str:
    """The command from the top of the checkout; of paths elsewhere only the name is kept."""
    script = Path(argv[0]).resolve()
    words = [script.relative_to(ROOT).as_posix() if script.is_relative_to(ROOT) else script.name]
    for word in argv[1:]:
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        words.append(f"{option}{equals}{Path(value).name if value.startswith(('/', '~', '.')) else value}")
    return " ".join(words)


def _sha256(path: Path) -> str:
    """Of a file, or of all files of a folder with their names."""
    if path.is_file():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    lines = (f"{each.relative_to(path)} {_sha256(each)}" for each in sorted(path.rglob("*")) if each.is_file())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)
    if done.returncode:
        raise ReceiptError(f"a receipt names the commit that ran, and {ROOT} is no git checkout; clone the repository")
    return done.stdout.strip()
