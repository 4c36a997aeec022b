import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlxllm.runs import RunDirectory

REPOSITORY = Path(__file__).parents[2]
TINY_TRAINER = str(Path(__file__).with_name("tiny_trainer.py"))


@pytest.fixture(autouse=True)
def home(mlxllm_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty <home>, and children that find the package."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    return mlxllm_home


@pytest.fixture
def run(home: Path) -> RunDirectory:
    return RunDirectory.create(home / "runs" / "first")


@pytest.fixture
def trainer_argv(run: RunDirectory) -> Callable[..., list[str]]:
    def argv(*arguments: object) -> list[str]:
        return [sys.executable, TINY_TRAINER, str(run.path), *map(str, arguments)]

    return argv


@pytest.fixture
def start_trainer(
    trainer_argv: Callable[..., list[str]],
) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts the tiny trainer in `run`; whatever is left of it at the end is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: object) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(trainer_argv(*arguments), stdout=subprocess.DEVNULL))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def until() -> Callable[..., None]:
    """Waits for a condition; fails after ten seconds."""

    def wait(condition: Callable[[], object], seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.01)

    return wait
