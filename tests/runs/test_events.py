import json
import math
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxllm.errors import RunError
from mlxllm.runs import (
    Event,
    EventReader,
    EventWriter,
    parse_line,
    parse_lines,
    read_events,
    truncate_after,
    wait_for_event,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def steps(events: list[Event]) -> list[int]:
    return [event["step"] for event in events]


# Writing


def test_an_event_is_one_line_that_begins_with_kind_time_and_step(path: Path) -> None:
    with EventWriter(path) as writer:
        returned = writer.write("sample", step=3, text='two\nlines, "quotes", ünï, \udcff')
    (line,) = path.read_bytes().splitlines()
    assert json.loads(line) == returned
    assert list(returned) == ["kind", "time", "step", "text"]
    assert abs(returned["time"] - time.time()) < 60
    line.decode("ascii")


def test_numbers_without_a_json_form_become_null_and_a_note(path: Path) -> None:
    with EventWriter(path) as writer:
        writer.write("val", step=1, loss=math.nan, sources={"a": [1.0, -math.inf]}, ok=np.float32(0.5))
    text = path.read_text()
    event = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert event["loss"] is None
    assert event["sources"] == {"a": [1.0, None]}
    assert event["non_finite"] == {"loss": "nan", "sources.a.1": "-inf"}
    assert event["ok"] == 0.5


def test_arrays_scalars_paths_and_tuples(path: Path) -> None:
    with EventWriter(path) as writer:
        writer.write("x", step=np.int64(2), n=np.int64(7), flag=np.bool_(True), at=Path("a/b"), pair=(1, 2))
        with pytest.raises(TypeError, match=r"'thing' holds a object"):
            writer.write("x", thing=object())
    (event,) = read_events(path)
    assert (event["step"], event["n"], event["flag"], event["at"], event["pair"]) == (
        2,
        7,
        True,
        "a/b",
        [1, 2],
    )


def test_train_events_are_batched_and_all_others_written_at_once(path: Path) -> None:
    with EventWriter(path) as writer:
        writer.write("train", step=1)
        for step in range(2, 6):
            writer.write("train", step=step)
        assert len(read_events(path)) < 5
        writer.write("val", step=5)
        assert steps(read_events(path)) == [1, 2, 3, 4, 5, 5]
        writer.write("train", step=6)
        writer.flush()
        assert len(read_events(path)) == 7
        writer.write("train", step=7)
        time.sleep(0.25)
        writer.write("train", step=8)
        assert len(read_events(path)) == 9
        writer.write("train", step=9)
    assert len(read_events(path)) == 10


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """A full disk: the system takes a part of what is written, then refuses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)


def test_a_full_disk_is_told_and_loses_nothing(path: Path) -> None:
    with EventWriter(path) as writer:
        writer.write("val", step=1)
        with (
            file_size_limit(path.stat().st_size + 10),
            pytest.raises(RunError, match=r"cannot write .*make room"),
        ):
            writer.write("val", step=2)
        assert not path.read_bytes().endswith(b"\n")
        writer.write("val", step=3)
    assert steps(read_events(path)) == [1, 2, 3]


@given(tail=st.binary(max_size=40).filter(lambda b: b"\n" not in b), whole=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_opening_cuts_off_a_torn_last_line(tail: bytes, whole: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        path.write_bytes(b'{"kind":"train","step":1}\n' * whole + tail)
        with EventWriter(path) as writer:
            writer.write("val", step=2)
        reader = EventReader(path)
        assert steps(reader.poll()) == [1] * whole + [2]
        assert reader.invalid_lines == 0


def test_a_torn_line_longer_than_the_search_window(path: Path) -> None:
    path.write_bytes(b'{"kind":"train","step":1}\n' + b"x" * 3_000_000)
    EventWriter(path).close()
    assert path.read_bytes() == b'{"kind":"train","step":1}\n'


WRITE_FOREVER = """
import itertools, sys
from pathlib import Path
from mlxllm.runs import EventWriter
writer = EventWriter(Path(sys.argv[1]))
first = int(sys.argv[2])
for step in itertools.count(first):
    writer.write("val" if step % 7 == 0 else "train", step=step, text="x" * (step * 131 % 300))
"""


def test_sigkill_at_random_moments_leaves_a_file_that_goes_on(path: Path) -> None:
    chance = random.Random(0)
    reader = EventReader(path)
    for _ in range(4):
        events = read_events(path)
        first = events[-1]["step"] + 1 if events else 0
        size = path.stat().st_size if events else 0
        child = subprocess.Popen([sys.executable, "-c", WRITE_FOREVER, str(path), str(first)])
        while not path.exists() or path.stat().st_size <= size:
            time.sleep(0.001)
        time.sleep(chance.random() * 0.02)
        child.kill()
        child.wait()
    EventWriter(path).close()
    events = read_events(path)
    assert steps(events) == list(range(len(events)))
    assert all(event["text"] == "x" * (event["step"] * 131 % 300) for event in events)
    assert steps(reader.poll()) == steps(events)


# Reading

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
event_lines = st.builds(
    lambda fields, escape: json.dumps({"kind": "train", "fields": fields}, ensure_ascii=escape).encode(
        "utf-8", "surrogatepass"
    ),
    json_values,
    st.booleans(),
)
other_lines = st.one_of(
    st.binary(max_size=30).filter(lambda b: b"\n" not in b),
    st.sampled_from([b"", b"   ", b"[]", b"null", b'{"step": 1}', b'{"kind": 3}', b'{"kind": "train"', b"[" * 9000]),
)


@given(
    lines=st.lists(event_lines | other_lines, max_size=12),
    tail=event_lines | other_lines,
    chance=st.randoms(use_true_random=False),
    limit=st.none() | st.integers(1, 50),
)
@settings(max_examples=80, deadline=None)
def test_any_chunking_of_the_bytes_gives_the_same_events(
    lines: list[bytes], tail: bytes, chance: random.Random, limit: int | None
) -> None:
    data = b"".join(line + b"\n" for line in lines) + tail
    expected = [event for line in lines if (event := parse_line(line)) is not None]
    invalid = sum(bool(line.strip()) and parse_line(line) is None for line in lines)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        reader = EventReader(path)
        assert reader.poll() == []
        got: list[Event] = []
        with open(path, "ab", buffering=0) as file:
            rest = data
            while rest:
                size = chance.randint(1, max(1, len(rest) // 2))
                file.write(rest[:size])
                rest = rest[size:]
                got += reader.poll(limit)
            while more := reader.poll(limit):
                got += more
            while reader.offset < len(data) - len(tail):  # polls that met only invalid lines
                got += reader.poll(limit)
            assert (got, reader.invalid_lines, reader.generation) == (expected, invalid, 0)
            assert reader.offset == len(data) - len(tail)
            file.write(b"\n")
            last = parse_line(tail)
            while reader.offset <= len(data):
                got += reader.poll(limit)
            assert got == expected + ([last] if last is not None else [])


operations = st.lists(
    st.tuples(st.sampled_from(["append", "tear", "truncate", "replace", "delete", "empty"]), st.integers(0, 8)),
    max_size=25,
)


@given(operations=operations, polls=st.lists(st.booleans(), min_size=25, max_size=25), from_end=st.booleans())
@settings(max_examples=120, deadline=None)
def test_a_follower_holds_what_is_in_the_file_whatever_happens_to_it(
    operations: list[tuple[str, int]], polls: list[bool], from_end: bool
) -> None:
    counter = iter(range(10_000))

    def line(step: int) -> bytes:
        return json.dumps({"kind": "train", "step": step, "id": next(counter)}).encode() + b"\n"

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        path.write_bytes(line(1))
        reader = EventReader(path, from_end=from_end)
        held: list[Event] = read_events(path) if from_end else []
        generation = reader.generation

        def follow() -> None:
            nonlocal held, generation
            new = reader.poll()
            if reader.generation != generation:
                held, generation = [], reader.generation
            held += new

        for (operation, n), poll in zip(operations, polls, strict=False):
            if operation == "append":
                with EventWriter(path):
                    pass
                with open(path, "ab") as file:
                    file.write(b"".join(line(step) for step in range(n)))
            elif operation == "tear" and path.exists():
                with open(path, "r+b") as file:
                    file.truncate(max(0, path.stat().st_size - n))
            elif operation == "truncate":
                truncate_after(path, n)
            elif operation == "replace":
                other = path.with_name("other")
                other.write_bytes(b"".join(line(step) for step in range(n)))
                os.replace(other, path)
            elif operation == "delete":
                path.unlink(missing_ok=True)
            elif operation == "empty":
                path.write_bytes(b"")
            if poll:
                follow()
        follow()
        assert held == (read_events(path) if path.exists() else [])


def test_a_line_longer_than_the_limit_is_still_read(path: Path) -> None:
    path.write_bytes(json.dumps({"kind": "sample", "text": "x" * 5_000_000}).encode() + b"\n")
    (event,) = EventReader(path).poll(max_bytes=10)
    assert len(event["text"]) == 5_000_000


def test_foreign_nan_is_read_as_null(path: Path) -> None:
    path.write_text('{"kind": "train", "loss": NaN, "other": -Infinity}\n')
    assert read_events(path) == [{"kind": "train", "loss": None, "other": None}]


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot read"):
        EventReader(tmp_path).poll()
    with pytest.raises(RunError, match="cannot open"):
        EventWriter(tmp_path)


# Resuming


def write_steps(path: Path, first: int, last: int, tag: str) -> None:
    with EventWriter(path) as writer:
        writer.write("run_started", step=first - 1, tag=tag)
        for step in range(first, last + 1):
            writer.write("train", step=step, tag=tag)


def test_after_a_resume_every_step_is_there_once(path: Path, tmp_path: Path) -> None:
    kept = tmp_path / "superseded.jsonl"
    write_steps(path, 1, 25, "killed")
    with open(path, "ab") as file:
        file.write(b'{"kind":"train","st')
    before = path.read_bytes()
    live = EventReader(path)
    assert len(live.poll()) == 26
    cut = truncate_after(path, 10, kept)
    assert path.read_bytes() + kept.read_bytes() == before
    assert cut == len(kept.read_bytes())
    write_steps(path, 11, 40, "resumed")
    train = [event for event in read_events(path) if event["kind"] == "train"]
    assert steps(train) == list(range(1, 41))
    assert [event["tag"] for event in train] == ["killed"] * 10 + ["resumed"] * 30
    # A follower that saw the killed attempt notices, although the file is longer than its offset again.
    assert live.poll() == read_events(path)
    assert live.generation == 1


def test_a_resume_from_the_last_step_cuts_nothing(path: Path) -> None:
    write_steps(path, 1, 5, "a")
    with EventWriter(path) as writer:
        writer.write("val", step=5)
        writer.write("run_finished", step=5)
        writer.write("warning", text="no step")
    before = path.read_bytes()
    assert truncate_after(path, 5) == 0
    assert path.read_bytes() == before


def test_a_resume_without_a_checkpoint_begins_anew(path: Path) -> None:
    write_steps(path, 1, 5, "a")
    truncate_after(path, 0)
    assert [event["kind"] for event in read_events(path)] == ["run_started"]
    assert truncate_after(path.with_name("none"), 0) == 0


# Waiting


def test_wait_for_event(path: Path) -> None:
    with EventWriter(path) as writer:
        writer.write("sample", step=1, request="old")
        reader = EventReader(path, from_end=True)
        assert wait_for_event(reader, lambda e: e["kind"] == "sample", timeout=0.05) is None
        writer.write("sample", step=2, request="mine")
        found = wait_for_event(reader, lambda e: e["kind"] == "sample", timeout=5)
        assert found is not None
        assert found["request"] == "mine"


def test_what_a_dying_writer_says_last_is_still_heard(path: Path) -> None:
    writer = EventWriter(path)
    reader = EventReader(path)

    def is_alive() -> bool:
        writer.write("run_finished", step=9)
        return False

    found: Any = wait_for_event(reader, lambda e: e["kind"] == "run_finished", timeout=60, is_alive=is_alive)
    assert found["step"] == 9
    began = time.monotonic()
    assert wait_for_event(reader, lambda e: e["kind"] == "never", timeout=60, is_alive=is_alive) is None
    assert time.monotonic() - began < 5
    writer.close()


_LINES = st.sampled_from(
    [
        b'{"kind":"train","time":1.0,"step":1,"loss":2.5}',
        b'{"kind":"train","time":1.5,"step":2,"loss":null,"non_finite":{"loss":"nan"}}',
        b'{"kind":"train","loss":NaN,"grad_norm":Infinity}',
        b'{"kind":"train","kind":"val"}',
        b'{"kind":"train","kind":7}',
        b'{"kind":"train",}',
        b'{"kind":"train","note":"}{"}',
        b'{"kind":"train","note":"a}',
        b'b"}',
        b'{"kind":"train","parts":[{"a":1}',
        b'{"kind":"train"}]}',
        b'{"kind":"train","step":3},{"kind":"train","step":4}',
        b'{"kind":"train","note":"\xff"}',
        b'{"kind":"train","step":5}\r',
        b'{"kind":"val","sources":{}}',
        b'{"kind":"sample","text":"{"}',
        b"[1, 2]",
        b"",
        b"  ",
    ]
)


@given(
    st.lists(_LINES | st.binary(max_size=30).map(lambda b: b'{"kind":"train",' + b.replace(b"\n", b"")), max_size=12)
)
def test_many_lines_at_once_are_what_each_is_for_itself(lines: list[bytes]) -> None:
    alone = [parse_line(line) for line in lines]
    invalid = sum(event is None and bool(line.strip()) for event, line in zip(alone, lines, strict=True))
    assert parse_lines(b"".join(line + b"\n" for line in lines)) == ([e for e in alone if e is not None], invalid)


@given(st.lists(st.dictionaries(st.text(max_size=6), st.floats() | st.integers() | st.text(max_size=6), max_size=4)))
def test_what_a_trainer_writes_is_read_the_same_in_bulk(fields: list[dict[str, Any]]) -> None:
    lines = [json.dumps({"kind": "train", **each}, separators=(",", ":")).encode() for each in fields]
    alone = [event for line in lines if (event := parse_line(line)) is not None]
    assert parse_lines(b"\n".join(lines) + b"\n")[0] == alone
