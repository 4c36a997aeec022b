"""Our own commands as children: their lines, their errors, and stopping them."""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.tui.harness import PATIENCE
from tui import commands, glossary, jobs
from tui.jobs import Job, Line


async def test_lines_come_as_objects_and_text() -> None:
    lines: list[Line] = []
    job = Job(("data", "sources", "--json"), lines.append)
    assert await job.run() == 0
    assert all(isinstance(line, dict) for line in lines)
    assert job.error == ""


async def test_the_error_is_the_sentence() -> None:
    job = Job(("runs", "show", "nobody"), lambda line: None)
    assert await job.run() == 2
    assert job.error.startswith("there is no run 'nobody'")


async def test_what_is_narrated_comes_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a line that is written over the last state, letters whole however they are cut, and the width that is told."""
    program = (
        "import os, sys, time\nwrite = lambda b: (sys.stderr.buffer.write(b), sys.stderr.buffer.flush(), time.sleep(0.05))\n"
        "write(b'first\\nca'); write('f\u00e9'.encode()[:-1]); write('\u00e9'.encode()[-1:] + b'\\n10 %\\r20 %\\nlast')\n"
        "print(os.environ['COLUMNS'])"
    )
    monkeypatch.setattr(jobs, "command", lambda args: [sys.executable, "-c", program])
    said: list[str] = []
    printed: list[Line] = []
    job = Job((), printed.append, on_said=said.append, columns=77)
    assert await job.run() == 0
    assert said == ["first", "café", "20 %", "last"]
    assert printed == ["77"]


async def test_cancelling_is_ctrl_c(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = (
        "import time, pathlib\ntry:\n    print('begun', flush=True)\n    time.sleep(60)\n"
        f"except KeyboardInterrupt:\n    pathlib.Path({str(tmp_path / 'saved')!r}).touch()\n    raise SystemExit(130)"
    )
    monkeypatch.setattr(jobs, "command", lambda args: [sys.executable, "-c", program])
    begun = asyncio.Event()
    job = Job((), lambda line: begun.set())
    running = asyncio.create_task(job.run())
    await asyncio.wait_for(begun.wait(), PATIENCE)
    job.cancel()
    assert await asyncio.wait_for(running, PATIENCE) == 130
    assert (tmp_path / "saved").exists()


async def test_what_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('begun', flush=True)\ntime.sleep(60)"
    )
    monkeypatch.setattr(jobs, "command", lambda args: [sys.executable, "-c", program])
    monkeypatch.setattr(jobs, "_GRACE_SECONDS", 0.1)
    begun = asyncio.Event()
    job = Job((), lambda line: begun.set())
    running = asyncio.create_task(job.run())
    await asyncio.wait_for(begun.wait(), PATIENCE)
    job.cancel()
    assert await asyncio.wait_for(running, PATIENCE) == -9


@pytest.mark.parametrize(("place", "said"), [("missing", "No such file"), ("data.txt", "Permission denied")])
async def test_what_cannot_be_started_says_why(
    place: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "data.txt").write_text("no program")
    monkeypatch.setattr(jobs, "command", lambda args: [str(tmp_path / place)])
    job = Job((), lambda line: None)
    job.cancel()  # before there is anything to cancel
    assert await job.run() == 126
    assert job.error.startswith("mlxllm cannot be started: ")
    assert said in job.error


def test_options_are_written_as_typed() -> None:
    args = commands.options(max_steps=5, minutes=2.5, data=["a b", "c"], lora_rank=None, dora=True, quiet=False)
    assert args == ("--max-steps", "5", "--minutes", "2.5", "--data", "a b", "--data", "c", "--dora")
    assert commands.as_text(("sft", *args)).endswith("--data 'a b' --data c --dora")


def test_every_word_of_every_screen_is_explained() -> None:
    from tui.app import screen_class
    from tui.screens.base import TITLES

    for mode, _ in TITLES:
        assert glossary.explain(screen_class(mode).WORDS) or not screen_class(mode).WORDS
    assert list(glossary.WORDS) == sorted(glossary.WORDS, key=str.lower)
    assert all(sentence.endswith(".") and len(sentence) < 200 for sentence in glossary.WORDS.values())
