"""Editing the store of preferences: what others add meanwhile is kept, and damaged lines stay where they are."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlxllm.conversation import Message, Report, lines, read_preferences
from mlxllm.conversation.preference_store import PreferenceStore, shortest_ids
from mlxllm.conversation.stored_preference import StoredPreference
from mlxllm.errors import DataError

REPOSITORY = Path(__file__).parents[2]
EDITOR = """
import sys
from mlxllm.conversation.preference_store import PreferenceStore

store = PreferenceStore()
print("ready", flush=True)
while True:
    for record in list(store.read()):
        if record.prompt[0].content.startswith("x"):
            store.swap(record.id)
"""


def pair(number: int, **more: object) -> StoredPreference:
    values: dict[str, object] = {
        "prompt": (Message("user", str(number)),),
        "chosen": f"good {number}",
        "rejected": f"bad {number}",
        "how": "picked",
        "seed": {"chosen": 1, "rejected": 2},
        "id": f"{number:016x}",
        "time": 1000.0 + number,
    }
    return StoredPreference(**{**values, **more})  # type: ignore[arg-type]


def told(store: PreferenceStore) -> list[tuple[str, str, str]]:
    return [(each.id, each.chosen, each.rejected) for each in store.read()]


def test_dropped_is_gone_for_every_reader_and_comes_back(mlxllm_home: Path) -> None:
    store = PreferenceStore()
    store.add(pair(1), pair(2), pair(3))
    before = store.path.read_bytes()
    assert store.remove(pair(2).id, "nobody") == [pair(2)]
    assert list(store.read()) == [pair(1), pair(3)]
    assert list(store.removed.read()) == [pair(2)]
    assert store.removed.path == mlxllm_home / "preferences-removed.jsonl"
    assert len(list(read_preferences([store.path], Report()))) == 2
    assert store.restore(pair(2).id) == [pair(2)]
    assert list(store.read()) == [pair(1), pair(3), pair(2)]
    assert list(store.removed.read()) == []
    assert sorted(store.path.read_bytes().splitlines()) == sorted(before.splitlines())
    for path in (store.path, store.removed.path):
        assert path.stat().st_mode & 0o777 == 0o600, "chats are private"
    assert sorted(path.name for path in mlxllm_home.iterdir()) == ["preferences-removed.jsonl", "preferences.jsonl"]


def test_dropped_for_good_leaves_no_copy(mlxllm_home: Path) -> None:
    store = PreferenceStore()
    store.add(pair(1), pair(2))
    store.remove(pair(1).id)
    assert store.resolve(["0"], also_removed=False) == [pair(2).id]
    assert store.resolve([pair(1).id], also_removed=True) == [pair(1).id]
    assert (store.drop(pair(1).id, pair(2).id), store.removed.drop(pair(1).id)) == ([pair(2)], [pair(1)])
    assert list(store.read()) == list(store.removed.read()) == []
    assert b"good" not in store.path.read_bytes() + store.removed.path.read_bytes()


def test_other_answers_make_another_pair_and_the_one_before_comes_back(mlxllm_home: Path) -> None:
    store = PreferenceStore()
    by = {"model": "other@2", "fingerprint": "f", "step": 2}
    store.add(pair(1), pair(2, model="tuned@9", how="compared", chosen_by=by), pair(3))
    made = store.edit(pair(2).id, chosen="-- better\nyet")
    assert made.id not in (pair(1).id, pair(2).id, pair(3).id)
    assert (made.chosen, made.rejected, made.how) == ("-- better\nyet", "bad 2", "rewritten")
    assert (made.model, dict(made.chosen_by), dict(made.seed)) == ("tuned@9", {}, {"rejected": 2})
    assert [each.id for each in store.read()] == [pair(1).id, made.id, pair(3).id], "at the same place"
    assert [each.id for each in store.removed.read()] == [pair(2).id]
    store.restore(pair(2).id)
    store.remove(made.id)
    assert sorted(told(store)) == sorted((each.id, each.chosen, each.rejected) for each in map(pair, (1, 2, 3)))
    other = store.edit(pair(3).id, rejected="worse")
    assert (other.chosen, other.rejected, other.how, dict(other.seed)) == ("good 3", "worse", "picked", {"chosen": 1})


@pytest.mark.parametrize(
    ("id_", "answers", "told_of"),
    [
        (f"{1:016x}", {"chosen": "bad 1"}, "identical pair"),
        (f"{1:016x}", {"rejected": " \n"}, "empty completion"),
        (f"{1:016x}", {"chosen": "good 1"}, "nothing to change"),
        ("nobody", {"chosen": "x"}, "has the id 'nobody'"),
    ],
)
def test_what_cannot_be_edited_stays_as_it_is(
    mlxllm_home: Path, id_: str, answers: dict[str, str], told_of: str
) -> None:
    store = PreferenceStore()
    store.add(pair(1), pair(2))
    with pytest.raises(DataError, match=told_of):
        store.edit(id_, **answers)
    assert list(store.read()) == [pair(1), pair(2)]
    assert list(store.removed.read()) == []


def test_turned_around_and_back(tmp_path: Path) -> None:
    store = PreferenceStore(tmp_path / "store")
    store.add(pair(1), pair(2))
    raw = json.loads(store.path.read_bytes().splitlines()[0])
    store.path.write_text(json.dumps({**raw, "mood": "good"}) + "\n")
    [turned] = store.swap(pair(1).id)
    assert (turned.chosen, turned.rejected, turned.seed) == ("bad 1", "good 1", {"rejected": 1, "chosen": 2})
    assert list(store.read()) == [turned]
    [line] = store.path.read_bytes().splitlines()
    assert json.loads(line)["mood"] == "good", "what a later version wrote stays"
    assert store.swap(pair(1).id) == [pair(1)]
    assert store.swap("nobody") == store.remove("nobody") == store.restore("nobody") == []


def test_turned_around_each_answer_stays_with_the_model_that_wrote_it(tmp_path: Path) -> None:
    store = PreferenceStore(tmp_path / "store")
    other = {"model": "other@3", "fingerprint": "cd", "step": 3}
    store.add(pair(1, model="mine@4", fingerprint="ab", step=4, chosen_by=other))
    [turned] = store.swap(pair(1).id)
    assert (turned.model, turned.fingerprint, turned.step) == ("other@3", "cd", 3)
    assert turned.chosen_by == {"model": "mine@4", "fingerprint": "ab", "step": 4}
    assert [each.model for each in store.swap(pair(1).id)] == ["mine@4"]


def test_damaged_lines_and_an_unfinished_end_stay_as_they_are(tmp_path: Path) -> None:
    store = PreferenceStore(tmp_path / "store")
    store.add(pair(1), pair(2))
    first, second = store.path.read_bytes().splitlines(keepends=True)
    damaged = b"\xff{\r\r\x0b\n\n[1]\n"
    store.path.write_bytes(first + damaged + second + b'{"id": "torn')
    store.remove(pair(1).id)
    assert store.path.read_bytes() == damaged + second + b'{"id": "torn'
    store.swap(pair(2).id)
    assert store.path.read_bytes().startswith(damaged)
    assert store.path.read_bytes().endswith(b'{"id": "torn')
    store.restore(pair(1).id)
    assert told(store) == [(pair(2).id, "bad 2", "good 2"), (pair(1).id, "good 1", "bad 1")]


def test_a_last_line_without_its_end_is_dropped_and_restored_whole(tmp_path: Path) -> None:
    store = PreferenceStore(tmp_path / "store")
    store.add(pair(1), pair(2))
    store.path.write_bytes(store.path.read_bytes().rstrip(b"\n"))
    store.remove(pair(2).id)
    store.remove(pair(1).id)
    assert list(store.removed.read()) == [pair(2), pair(1)]
    assert store.path.read_bytes() == b""


def test_a_line_without_an_id_can_be_named_all_the_same(tmp_path: Path) -> None:
    store = PreferenceStore(tmp_path / "store")
    raw = {key: value for key, value in pair(1).as_json().items() if key != "id"}
    store.path.write_text(json.dumps(raw) + "\n")
    [found] = store.read()
    assert [each.id for each in store.read()] == [found.id]
    [turned] = store.swap(found.id)
    assert (turned.id, turned.chosen) == (found.id, "bad 1")
    assert store.remove(found.id) == [turned]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    elsewhere = PreferenceStore(tmp_path / "elsewhere")
    elsewhere.add(pair(1), pair(2))
    (tmp_path / "store").symlink_to(elsewhere.path)
    PreferenceStore(tmp_path / "store").drop(pair(1).id)
    assert (tmp_path / "store").is_symlink()
    assert list(elsewhere.read()) == [pair(2)]


def test_beginnings_of_ids(tmp_path: Path) -> None:
    store = PreferenceStore(tmp_path / "store")
    for id_ in ("abcdef01", "abcdef02", "ab"):
        store.add(pair(len(list(store.read())), id=id_))
    assert shortest_ids([each.id for each in store.read()]) == ["abcdef01", "abcdef02", "ab"]
    assert shortest_ids(["1234567890", "9934567890"]) == ["123456", "993456"]
    assert shortest_ids(["same", "same"], 2) == ["sa", "sa"]
    assert store.resolve(["abcdef02", "ab", "abcdef02"]) == ["abcdef02", "ab"]
    with pytest.raises(DataError, match=r"'abc' begins 2 ids \(abcdef01, abcdef02\)"):
        store.resolve(["abc"])
    for name in ("x", ""):
        with pytest.raises(DataError, match=f"begins with '{name}'; `mlxllm prefs ls`"):
            store.resolve([name])


def test_a_full_disk_leaves_the_store_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = PreferenceStore(tmp_path / "store")
    store.add(pair(1), pair(2))
    before = store.path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lines, "fsync_file", full)
    for edit in (store.swap, store.drop):
        with pytest.raises(DataError, match=r"cannot edit .*store: No space left on device; it is as it was"):
            edit(pair(1).id)
    with pytest.raises(DataError, match="No space left"):
        store.remove(pair(1).id)
    assert store.path.read_bytes() == before
    assert list(store.removed.read()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"store", "store-removed"}


def test_an_append_that_waited_while_the_file_was_replaced_is_not_lost(tmp_path: Path) -> None:
    store = PreferenceStore(tmp_path / "store")
    store.add(pair(1), pair(2))
    adding = threading.Thread(target=lambda: store.add(pair(3)))

    def change(lines: list[bytes]) -> list[bytes]:
        adding.start()
        adding.join(0.3)
        assert adding.is_alive(), "it waits for the lock of the file that goes away"
        return lines[1:]

    lines.edit_lines(store.path, change)
    adding.join()
    assert list(store.read()) == [pair(2), pair(3)]


def test_writers_and_an_editor_at_the_same_time(mlxllm_home: Path) -> None:
    from tests.conversation.test_preference_store import writer

    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    editor = subprocess.Popen([sys.executable, "-c", EDITOR], env=environment, stdout=-1, text=True)
    assert editor.stdout is not None
    assert editor.stdout.readline() == "ready\n"
    processes = [writer(who, 25) for who in ("x", "y")]
    store, rng, dropped = PreferenceStore(), random.Random(1), set()
    while any(process.poll() is None for process in processes):
        if there := [each.id for each in store.read()]:
            dropped |= {each.id for each in store.remove(rng.choice(there))}
    ids = {line.strip() for process in processes for line in process.communicate()[0].splitlines()}
    editor.send_signal(signal.SIGKILL)
    editor.wait()
    editor.stdout.close()
    reading, removed = store.read(), store.removed.read()
    left, gone = [each.id for each in reading], [each.id for each in removed]
    assert len(ids) == 50
    assert sorted(left) == sorted(ids - dropped)
    assert sorted(gone) == sorted(dropped)
    assert reading.damaged == removed.damaged == 0


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["add", "drop", "restore", "swap"]), st.integers(0, 5)), max_size=12))
def test_any_order_of_edits(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]) -> None:
    store = PreferenceStore(tmp_path_factory.mktemp("law") / "store")
    there: dict[str, bool] = {}  # id -> whether it is turned around
    gone: dict[str, bool] = {}
    for what, number in steps:
        id_ = pair(number).id
        if what == "add" and id_ not in there | gone:
            store.add(pair(number))
            there[id_] = False
        elif what == "drop":
            store.remove(id_)
            gone |= {id_: there.pop(id_)} if id_ in there else {}
        elif what == "restore":
            store.restore(id_)
            there |= {id_: gone.pop(id_)} if id_ in gone else {}
        elif what == "swap":
            store.swap(id_)
            there |= {id_: not there[id_]} if id_ in there else {}
    assert {each.id: each.chosen.startswith("bad") for each in store.read()} == there
    assert {each.id: each.chosen.startswith("bad") for each in store.removed.read()} == gone
