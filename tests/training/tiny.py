"""A small dataset, a small model and runs of a few steps, in this process and in processes of their own."""

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mlxllm.cli.main import main
from mlxllm.config import RunConfig
from mlxllm.data.build import build_dataset
from mlxllm.data.sources import open_source
from mlxllm.model.checkpoint_files import checkpoint_path
from mlxllm.runs import Event, RunDirectory
from mlxllm.tokenizer.byte import ByteTokenizer
from mlxllm.training.interrupts import Interrupts
from mlxllm.training.plan import plan_run
from mlxllm.training.start import resume, start
from mlxllm.training.trainer import Outcome

REPOSITORY = Path(__file__).parents[2]

MODEL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 48,
    "max_position_embeddings": 32,
    "qk_norm": True,
}
TRAIN: dict[str, Any] = {
    "batch_size": 4,
    "max_steps": 12,
    "checkpoint_every": 6,
    "eval_every": 0,
    "warmup_steps": 2,
    "learning_rate": 3e-3,
    "keep_checkpoints": 100,
}


def text(lines: int = 300) -> str:
    return " ".join(f"{n} squared is {n * n}." for n in range(lines))


def dataset(folder: Path, content: str | None = None, **options: Any) -> Path:
    """A dataset of byte tokens, about 5,700 of them for training."""
    source = folder.with_suffix(".txt")
    source.write_text(content or text())
    build_dataset(folder, [(open_source(f"text:{source}"), None)], ByteTokenizer(), val_split=0.1, **options)
    return folder


def config(data: Path, model: Mapping[str, Any] | None = None, **train: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "model": {**MODEL, **(model or {})},
            "data": {"dataset": str(data), "max_seq_len": 16},
            "train": {**TRAIN, **train},
            "sample": {"max_tokens": 8},
        }
    )


RECIPES: dict[str, dict[str, Any]] = {
    "adamw": {"optimizer": "adamw"},
    "muon": {"optimizer": "muon"},
    "lion": {"optimizer": "lion", "learning_rate": 3e-4},
    "adamw, accumulation": {"optimizer": "adamw", "batch_size": 2, "grad_accum_steps": 3},
    "muon, accumulation, cosine": {"optimizer": "muon", "batch_size": 2, "grad_accum_steps": 2, "schedule": "cosine"},
    "adamw, dropout": {"optimizer": "adamw", "dropout": 0.3},
    "muon, dropout, accumulation": {"optimizer": "muon", "dropout": 0.3, "batch_size": 2, "grad_accum_steps": 2},
    "one lane, linear": {"optimizer": "muon", "lanes": 1, "schedule": "linear"},
    "bfloat16": {"optimizer": "adamw", "compute_dtype": "bfloat16"},
    "gradient checkpointing": {"optimizer": "muon", "gradient_checkpointing": True},
    "experts": {"optimizer": "muon", "num_experts": 3, "moe_intermediate_size": 24},
}


def recipe(data: Path, name: str, **more: Any) -> RunConfig:
    values = {**RECIPES[name], **more}
    model = {k: values.pop(k) for k in ("dropout", "num_experts", "moe_intermediate_size") if k in values}
    return config(data, model, **values)


class Listener:
    """Keeps the events, and interrupts the run when one of them meets a condition."""

    def __init__(self, stop_when: Callable[[Event], bool] = lambda event: False, signal: int = 2) -> None:
        self.events: list[Event] = []
        self.interrupts = Interrupts()
        self._stop_when, self._signal = stop_when, signal

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if self._stop_when(event):
            self.interrupts.received = self._signal

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["kind"] == kind]


def saved_at(step: int) -> Callable[[Event], bool]:
    return lambda event: event["kind"] == "checkpoint_saved" and event["step"] == step


def train(path: Path, settings: RunConfig, listener: Listener | None = None, **plan: Any) -> Outcome:
    listener = listener or Listener()
    return start(plan_run(RunDirectory(path), settings, **plan), listener, listener.interrupts)


def go_on(path: Path, listener: Listener | None = None, **options: Any) -> Outcome:
    listener = listener or Listener()
    return resume(RunDirectory(path), listener, listener.interrupts, **options)


def checkpoint_bytes(run: Path, step: int, *names: str) -> dict[str, bytes]:
    """The files of a checkpoint that must not differ between equal runs."""
    names = names or ("model.safetensors", "optimizer.safetensors", "trainer.json")
    return {name: (checkpoint_path(run, step) / name).read_bytes() for name in names}


def assert_same_checkpoint(run: Path, other: Path, step: int, *names: str) -> None:
    ours, theirs = checkpoint_bytes(run, step, *names), checkpoint_bytes(other, step, *names)
    assert [n for n in ours if ours[n] != theirs[n]] == []


def assert_same_checkpoint_of(run: Path, step: int, other: Path, other_step: int) -> None:
    """The weights alone: the two runs differ in everything else."""
    name = "model.safetensors"
    assert checkpoint_bytes(run, step, name) == checkpoint_bytes(other, other_step, name)


class Process:
    """`mlxllm ...` in a process of its own, on the home of the test."""

    def __init__(
        self, *arguments: object, environment: Mapping[str, str] | None = None, largest_file: int | None = None
    ) -> None:
        # Not by preexec_fn: it makes Python fork, which a process that has used MLX does not survive on macOS.
        limit = f"import resource as r; r.setrlimit(r.RLIMIT_FSIZE, ({largest_file},) * 2); " if largest_file else ""
        program = f"{limit}import runpy; runpy.run_module('mlxllm', run_name='__main__', alter_sys=True)"
        start = ["-c", program] if largest_file else ["-m", "mlxllm"]
        self.popen = subprocess.Popen(
            [sys.executable, *start, *(str(a) for a in arguments)],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.stdout = self.stderr = ""

    @property
    def returncode(self) -> int:
        return self.popen.returncode

    def wait(self, timeout: float = 120) -> int:
        """Its return code; what it wrote is in `stdout` and `stderr` then."""
        try:
            self.stdout, self.stderr = self.popen.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.stdout, self.stderr = self.popen.communicate()
            raise
        return self.popen.returncode

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def wait_for(self, condition: Callable[[], bool], what: str, timeout: float = 60) -> None:
        """Wait until something has happened while the process lives."""
        deadline = time.monotonic() + timeout
        while not condition():
            if self.popen.poll() is not None or time.monotonic() > deadline:
                self.popen.kill()
                self.wait()
                raise AssertionError(f"waited for {what} in vain: {self.stderr}")
            time.sleep(0.005)


def run_cli(
    *arguments: object, environment: Mapping[str, str] | None = None, largest_file: int | None = None
) -> Process:
    """A command that has ended."""
    process = Process(*arguments, environment=environment, largest_file=largest_file)
    process.wait()
    return process


Ended = TypeVar("Ended", "Process", "Call")


@dataclass
class Call:
    """A command that was run in this process, which is quicker where only its words matter."""

    returncode: int
    stdout: str
    stderr: str


def call(*arguments: object) -> Call:
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["mlxllm", *(str(a) for a in arguments)]
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv = argv
    return Call(code, out.getvalue(), err.getvalue())


def succeeded(process: Ended) -> Ended:
    assert process.returncode == 0, process.stderr
    return process


def sentence(process: Process | Call, code: int) -> str:
    """The one line on stderr with which a command must have ended."""
    assert process.returncode == code, process.stderr
    assert "Traceback" not in process.stderr
    last = process.stderr.strip().splitlines()[-1]
    assert last.startswith("error: "), process.stderr
    assert "should not have happened" not in last
    return last


def json_lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]
