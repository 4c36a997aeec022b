"""The store of preferences: nothing that was stored is lost, whoever is killed, and nothing damaged stops a reader."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mlxllm.conversation import Message, Report, read_preferences
from mlxllm.conversation.formats import UnusableRecordError
from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.conversation.records import Preference
from mlxllm.conversation.stored_preference import StoredPreference, from_preference
from mlxllm.errors import DataError

REPOSITORY = Path(__file__).parents[2]
ASKED = (Message("system", "Be kind."), Message("user", "Où est Mia?"))
WRITER = """
import itertools, sys
from mlxllm.conversation import Message
from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.conversation.stored_preference import StoredPreference

who, count = sys.argv[1], int(sys.argv[2])
store = PreferenceStore()
for n in itertools.islice(itertools.count(), count if count else None):
    record = StoredPreference(
        prompt=(Message("user", f"{who} {n}"),), chosen="a" * (1 + n * 977 % 20000), rejected="b", how="picked"
    )
    store.add(record)
    print(record.id, flush=True)
"""


def pair(number: int = 0, chosen: str = "Här\u2028 \n\x00", rejected: str = "no") -> StoredPreference:
    return StoredPreference(
        prompt=(*ASKED, Message("user", str(number))),
        chosen=chosen,
        rejected=rejected,
        how="picked",
        model="tales@80",
        fingerprint="ab" * 32,
        step=80,
        seed={"chosen": 2, "rejected": 1},
        sample={"temperature": 0.8, "top_k": 0},
    )


def writer(who: str, count: int) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen([sys.executable, "-c", WRITER, who, str(count)], env=environment, stdout=-1, text=True)


def test_what_is_added_is_read(mlxllm_home: Path) -> None:
    store = PreferenceStore()
    assert list(store.read()) == []
    assert not store.path.exists(), "reading makes nothing"
    first, second, third = pair(1), pair(2), pair(3)
    store.add(first)
    store.add(second, third)
    assert store.path == mlxllm_home / "preferences.jsonl"
    assert list(store.read()) == [first, second, third]
    assert len({each.id for each in store.read()}) == 3
    assert store.path.read_bytes().count(b"\n") == 3
    assert store.path.stat().st_mode & 0o777 == 0o600, "chats are private"


def test_every_line_is_a_preference_that_dpo_reads(mlxllm_home: Path) -> None:
    store = PreferenceStore()
    store.add(pair(1), pair(2))
    report = Report()
    found = list(read_preferences([store.path], report))
    assert [from_preference(each).content for each in found] == [pair(1).content, pair(2).content]
    assert not report.dropped


def test_a_last_line_torn_anywhere_is_passed_over_and_cut_off_by_the_next_append(tmp_path: Path) -> None:
    whole = PreferenceStore(tmp_path / "whole")
    kept, torn, new = pair(1), pair(2), pair(3)
    whole.add(kept)
    begin = whole.path.stat().st_size
    whole.add(torn)
    content = whole.path.read_bytes()
    for end in range(begin, len(content)):
        path = tmp_path / "torn"
        path.write_bytes(content[:end])
        store = PreferenceStore(path)
        reading = store.read()
        # Without its line end alone nothing of it is missing.
        expected = [kept, torn] if end == len(content) - 1 else [kept]
        assert list(reading) == expected
        assert reading.damaged == (begin < end < len(content) - 1)
        store.add(new)
        reading = store.read()
        assert (list(reading), reading.damaged) == ([*expected, new], 0)


def test_a_torn_line_longer_than_what_is_read_at_once(tmp_path: Path) -> None:
    store = PreferenceStore(tmp_path / "store")
    store.add(pair(1))
    with open(store.path, "ab") as file:
        file.write(b'{"id": "' + b"x" * 200_000)
    store.add(pair(2))
    reading = store.read()
    assert [each.content for each in reading] == [pair(1).content, pair(2).content]
    assert reading.damaged == 0


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe",
        b"[1, 2]",
        b"[" * 100_000,
        b'{"prompt": [{"role": "user", "content": "a"}], "chosen": "b"}',
        b'{"prompt": [{"role": "user", "content": "a"}], "chosen": "b", "rejected": "c", "how": "picked", "time": NaN}',
        b'{"prompt": [{"role": "user", "content": "a"}], "chosen": "b", "rejected": "b", "how": "picked"}',
        b'{"prompt": [{"role": "user", "content": "a"}], "chosen": "b", "rejected": 3, "how": "picked"}',
        b'{"prompt": [{"role": "user", "content": "a"}], "chosen": "\\ud800", "rejected": "c", "how": "picked"}',
        b'{"prompt": [{"role": "nobody", "content": "a"}], "chosen": "b", "rejected": "c", "how": "picked"}',
        b'{"prompt": 7, "chosen": "b", "rejected": "c", "how": "picked"}',
    ],
)
def test_a_damaged_line_in_the_middle_is_counted_and_left_alone(tmp_path: Path, line: bytes) -> None:
    store = PreferenceStore(tmp_path / "store")
    store.add(pair(1))
    with open(store.path, "ab") as file:
        file.write(line + b"\n\n")
    store.add(pair(2))
    reading = store.read()
    assert [each.content for each in reading] == [pair(1).content, pair(2).content]
    assert reading.damaged == 1
    assert line in store.path.read_bytes()


def test_keys_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.write_text(json.dumps({**pair(1).as_json(), "mood": "good"}) + "\n")
    [found] = PreferenceStore(path).read()
    assert found.content == pair(1).content


def test_a_killed_writer_loses_nothing_that_it_had_stored(mlxllm_home: Path) -> None:
    store, rng = PreferenceStore(), random.Random(3)
    promised: set[str] = set()
    for _ in range(3):
        process = writer("x", 0)
        assert process.stdout is not None
        for _ in range(rng.randrange(1, 40)):
            promised.add(process.stdout.readline().strip())
        process.send_signal(signal.SIGKILL)
        promised |= {line.strip() for line in process.stdout if line.endswith("\n")}
        process.wait()
        process.stdout.close()
    reading = store.read()
    assert promised <= {each.id for each in reading}
    assert reading.damaged <= 1
    store.add(pair())
    reading = store.read()
    assert list(reading)[-1].content == pair().content
    assert reading.damaged == 0


def test_writers_at_the_same_time_do_each_other_no_harm(mlxllm_home: Path) -> None:
    processes = [writer(str(number), 30) for number in range(3)]
    ids = {line.strip() for process in processes for line in process.communicate()[0].splitlines()}
    assert [process.returncode for process in processes] == [0] * 3
    reading = PreferenceStore().read()
    found = list(reading)
    assert ({each.id for each in found}, len(found), reading.damaged) == (ids, 90, 0)


def test_a_full_disk_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    store = PreferenceStore(tmp_path / "store")
    store.add(pair(1))
    before = store.path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, limits[1]))
        with pytest.raises(DataError, match=r"cannot write .*; nothing was stored"):
            store.add(pair(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert store.path.read_bytes() == before
    store.add(pair(3))
    assert [each.content for each in store.read()] == [pair(1).content, pair(3).content]


@pytest.mark.parametrize(
    ("chosen", "rejected", "said"),
    [
        (" ", "b", "empty completion"),
        ("a", "", "empty completion"),
        ("a", "a", "identical"),
        ("\ud800", "a", "half of a surrogate pair"),
    ],
)
def test_what_teaches_nothing_is_not_stored(tmp_path: Path, chosen: str, rejected: str, said: str) -> None:
    store = PreferenceStore(tmp_path / "store")
    with pytest.raises(DataError, match=said):
        store.add(pair(1), pair(2, chosen, rejected))
    assert not store.path.exists(), "all or none"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write .*store"):
        PreferenceStore(tmp_path / "file" / "store").add(pair())
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=r"cannot read .*folder"):
        list(PreferenceStore(tmp_path / "folder").read())


def test_pairs_of_files_that_the_store_does_not_hold() -> None:
    a, b = (Message("assistant", "a"),), (Message("assistant", "b"),)
    for preference, reason in (
        (Preference(ASKED, a, b, tied=True), "tied"),
        (Preference(ASKED, a, b, tools=({"name": "clock"},)), "tools"),
        (Preference(ASKED, (*a, *ASKED, *a), b), "more than one text"),
        (Preference((), a, b), "empty prompt"),
        (Preference(ASKED, a, a), "identical"),
    ):
        with pytest.raises(UnusableRecordError, match=reason):
            from_preference(preference)
    assert from_preference(Preference(ASKED, a, b)).as_trl() == {
        "prompt": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Où est Mia?"}],
        "chosen": [{"role": "assistant", "content": "a"}],
        "rejected": [{"role": "assistant", "content": "b"}],
    }


def test_a_preference_is_left_out_or_changed_and_the_rest_stays_as_it_is(tmp_path: Path) -> None:
    store = PreferenceStore(tmp_path / "store")
    first, second, third = pair(1), pair(2), pair(3)
    store.add(first, second, third)
    with open(store.path, "ab") as file:
        file.write(b'{"of": "another program"}\n')
    assert store.drop(second.id, "not there") == [second]
    assert list(store.read()) == [first, third]
    seed = {"chosen": first.seed["rejected"], "rejected": first.seed["chosen"]}
    swapped = replace(first, chosen=first.rejected, rejected=first.chosen, seed=seed)
    assert store.swap(first.id) == [swapped]
    assert list(store.read()) == [swapped, third]
    assert b"another program" in store.path.read_bytes()
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    assert PreferenceStore(tmp_path / "none").drop("x") == []


def test_what_is_added_while_another_is_dropped_is_not_lost(mlxllm_home: Path) -> None:
    store = PreferenceStore()
    for number in range(40):
        store.add(pair(number))
    kept = [each.id for each in list(store.read())[::2]]
    dropped = [each.id for each in list(store.read())[1::2]]
    with writer("a", 40) as adding:
        for each in dropped:
            assert [gone.id for gone in store.drop(each)] == [each]
        assert adding.stdout is not None
        added = adding.stdout.read().split()
    assert len(added) == 40
    assert [each.id for each in store.read() if each.id not in added] == kept
    assert {each.id for each in store.read()} == {*kept, *added}


def test_a_line_of_an_earlier_version_is_read_and_one_of_two_models_says_so(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.write_text('{"prompt": [{"role": "user", "content": "a"}], "chosen": "b", "rejected": "c", "how": "picked"}\n')
    store = PreferenceStore(path)
    (old,) = store.read()
    assert (old.how, dict(old.chosen_by)) == ("picked", {})
    compared = replace(pair(1), how="compared", chosen_by={"model": "other@3", "fingerprint": "cd", "step": 3})
    store.add(compared)
    assert [each.id for each in store.read()] == [old.id, compared.id]
    assert list(store.read())[1] == compared
    assert "chosen_by" not in old.as_json()
