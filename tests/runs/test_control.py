import os
import subprocess
import sys
import time
from collections import Counter

import pytest

from mlxllm.runs import ControlInbox, Request, RunDirectory, read_json, request


def names(requests: list[Request]) -> list[str]:
    return [r.name for r in requests]


def test_requests_come_in_order_and_until_they_are_completed(run: RunDirectory) -> None:
    inbox = ControlInbox(run)
    assert inbox.poll() == []
    asked = [request(run, "pause"), request(run, "sample", {"prompt": "Once"}), request(run, "resume")]
    assert inbox.poll() == asked
    assert inbox.poll() == asked
    assert asked[1].payload == {"prompt": "Once"}
    inbox.complete(asked[0])
    inbox.complete(asked[0])
    assert inbox.poll() == asked[1:]


def test_touch_is_a_request_too(run: RunDirectory) -> None:
    (run.control / "stop").touch()
    (run.control / "sample.json").write_text('{"payload": {"prompt": "x"}}')
    inbox = ControlInbox(run)
    by_name = {r.name: r for r in inbox.poll()}
    assert by_name["stop"].payload == {}
    assert by_name["sample"].payload == {"prompt": "x"}
    assert abs(by_name["stop"].time - time.time()) < 60
    for r in by_name.values():
        inbox.complete(r)
    assert list(run.control.iterdir()) == []


def test_foreign_and_damaged_files(run: RunDirectory) -> None:
    (run.control / ".DS_Store").write_text("")
    (run.control / "notes.txt").write_text("")
    (run.control / "explode-1.json").write_text("{}")
    (run.control / "stop-1.json").write_text('{"payload": ')
    (run.control / "pause-1.json").write_text("[" * 100_000)
    (run.control / "checkpoint-1.json").write_bytes(b"\xff\x00")
    (run.control / "resume-1.json").write_text('{"time": "soon", "payload": 3}')
    found = ControlInbox(run).poll()
    assert sorted(names(found)) == ["checkpoint", "pause", "resume", "stop"]
    assert all(r.payload == {} for r in found)


def test_an_unknown_request_is_refused(run: RunDirectory) -> None:
    with pytest.raises(ValueError, match="explode"):
        request(run, "explode")  # type: ignore[arg-type]


def test_without_the_folder(run: RunDirectory) -> None:
    run.control.rmdir()
    inbox = ControlInbox(run)
    assert inbox.poll() == []
    request(run, "stop")
    assert names(inbox.poll()) == ["stop"]


def test_what_a_dead_trainer_left_is_cleared_and_what_is_new_is_not(run: RunDirectory) -> None:
    old = request(run, "stop")
    raw = read_json(old.path)
    old.path.write_text(str({**raw, "time": raw["time"] - 3600}).replace("'", '"'))
    (run.control / "pause").touch()
    os.utime(run.control / "pause", (0, 0))
    new = request(run, "stop")
    inbox = ControlInbox(run)
    assert inbox.clear() == 2
    assert inbox.poll() == [new]
    assert inbox.clear(before=time.time() + 1) == 1
    assert inbox.poll() == []


ASK = """
import sys
from pathlib import Path
from mlxllm.runs import RunDirectory, request
run = RunDirectory(Path(sys.argv[1]))
for i in range(100):
    request(run, "sample", {"prompt": sys.argv[2], "n": i, "padding": "x" * 20_000})
"""


def test_many_askers_at_once_lose_nothing_and_tear_nothing(run: RunDirectory) -> None:
    askers = [subprocess.Popen([sys.executable, "-c", ASK, str(run.path), str(i)]) for i in range(3)]
    inbox = ControlInbox(run)
    seen: Counter[tuple[str, int]] = Counter()
    while any(asker.poll() is None for asker in askers) or inbox.poll():
        for r in inbox.poll():
            assert len(r.payload["padding"]) == 20_000
            seen[r.payload["prompt"], r.payload["n"]] += 1
            inbox.complete(r)
    assert all(asker.returncode == 0 for asker in askers)
    assert seen == Counter({(str(i), n): 1 for i in range(3) for n in range(100)})
    assert list(run.control.iterdir()) == []
