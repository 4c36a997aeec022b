"""`mlxllm prefs`: what is listed, written and read."""

import json
from pathlib import Path

import pytest

from mlxllm.conversation import Message
from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.conversation.stored_preference import StoredPreference
from tests.cli.tuned import tuned_run
from tests.training.tiny import Call, call, json_lines, sentence, succeeded

KEYS = ("prompt", "chosen", "rejected")


def pair(number: int, model: str = "a-model-with-a-long-name@1200") -> StoredPreference:
    return StoredPreference(
        prompt=(
            Message("system", "Be kind."),
            Message("user", f"Où est Mia, question {number}?\nSay it in a sentence."),
        ),
        chosen=f"Dans le jardin {number}",
        rejected="No.\n\x1b[31m",
        how="picked",
        model=model,
        step=1200,
        seed={"chosen": 1, "rejected": 2},
        time=1_750_000_000.0,
    )


def prefs(*arguments: object) -> Call:
    return call("prefs", *arguments)


def contents() -> list[tuple[object, ...]]:
    return [each.content for each in PreferenceStore().read()]


def test_a_table_and_json(mlxllm_home: Path) -> None:
    PreferenceStore().add(pair(1), pair(2, "b@7"))
    lines = succeeded(prefs("ls")).stdout.splitlines()
    assert lines[0].split() == ["id", "time", "model", "how", "prompt", "chosen", "rejected"]
    assert len(lines) == 3
    assert "b@7" in lines[1], "the newest first"
    assert "a-model-with-a-long-name@1200" in lines[2]
    assert "Où est Mia, question 1? Say…" in lines[2]
    assert "Dans le jardin 1" in lines[2]
    assert "2025-06-1" in lines[2]
    assert "No. ␛[31m" in lines[2], "also where nobody looks: what is stored steers no terminal later"
    shown = json_lines(succeeded(prefs("ls", "--json")).stdout)
    assert shown == [pair(2, "b@7").as_json() | {"id": shown[0]["id"]}, pair(1).as_json() | {"id": shown[1]["id"]}]


def test_an_empty_store_and_damaged_lines_are_told(mlxllm_home: Path) -> None:
    empty = succeeded(prefs("ls"))
    assert empty.stdout == ""
    assert "no preferences in" in empty.stderr
    assert "nothing to export" in sentence(prefs("export", "x.jsonl"), 1)
    store = PreferenceStore()
    store.add(pair(1))
    with open(store.path, "ab") as file:
        file.write(b"{}\n[\n")
    store.add(StoredPreference(**{**{f: getattr(pair(2), f) for f in pair(2).__slots__}, "time": 1e300, "id": "x"}))
    listed = succeeded(prefs("ls"))
    assert "2 lines of " in listed.stderr
    assert len(listed.stdout.splitlines()) == 3
    assert listed.stdout.splitlines()[1].split()[:2] == ["x", "-"], "a time that no calendar has"


def test_export_is_trls_format_and_never_overwrites(mlxllm_home: Path, tmp_path: Path) -> None:
    PreferenceStore().add(pair(1), pair(2, "b@7"), pair(3, "b@9"))
    file = tmp_path / "pairs.jsonl"
    told = succeeded(prefs("export", file))
    assert told.stdout == ""
    assert f"3 preferences in {file}" in told.stderr
    records = json_lines(file.read_text())
    assert records[0] == {
        "prompt": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Où est Mia, question 1?\nSay it in a sentence."},
        ],
        "chosen": [{"role": "assistant", "content": "Dans le jardin 1"}],
        "rejected": [{"role": "assistant", "content": "No.\n\x1b[31m"}],
    }
    assert "exists already" in sentence(prefs("export", file, "--model", "b"), 1)
    assert json_lines(file.read_text()) == records
    shown = succeeded(prefs("export", file, "--model", "b", "--force", "--json")).stdout
    assert json.loads(shown) == {"exported": 2, "file": str(file)}
    assert json_lines(file.read_text()) == records[1:]
    succeeded(prefs("export", file, "--model", "b@9", "--force"))
    assert json_lines(file.read_text()) == records[2:]
    assert "'c'; there are some of a-model" in sentence(prefs("export", file, "--model", "c", "--force"), 2)
    assert "is a folder" in sentence(prefs("export", tmp_path, "--force"), 1)
    assert "cannot write" in sentence(prefs("export", tmp_path / "missing" / "x.jsonl"), 1)
    assert json_lines(file.read_text()) == records[2:]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pairs.jsonl"]


def test_what_was_exported_is_imported_and_exported_again_the_same(
    mlxllm_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PreferenceStore().add(pair(1), pair(2))
    succeeded(prefs("export", tmp_path / "one.jsonl"))
    told = succeeded(prefs("import", tmp_path / "one.jsonl"))
    assert "0 preferences stored in" in told.stderr
    assert "2 were there already" in told.stderr
    before = contents()
    monkeypatch.setenv("MLXLLM_HOME", str(tmp_path / "elsewhere"))
    assert "2 preferences stored in" in succeeded(prefs("import", tmp_path / "one.jsonl")).stderr
    assert contents() == before
    assert {each.how for each in PreferenceStore().read()} == {"imported"}
    succeeded(prefs("export", tmp_path / "two.jsonl"))
    assert (tmp_path / "two.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()
    # The store of another home is itself a file of preferences.
    succeeded(prefs("import", mlxllm_home / "preferences.jsonl"))
    assert contents() == before


def test_all_formats_are_imported_once(mlxllm_home: Path, tmp_path: Path) -> None:
    user, good, bad = (
        {"role": r, "content": c} for r, c in (("user", "hi"), ("assistant", "yes"), ("assistant", "no"))
    )
    records = [
        {"prompt": "hi", "chosen": "yes", "rejected": "no"},
        {"prompt": [user], "chosen": [good], "rejected": [bad]},
        {"chosen": [user, good], "rejected": [user, bad]},
        {"instruction": "hi", "input": "", "output": "yes", "chosen": "yes", "rejected": "no"},
        {
            "conversations": [{"from": "human", "value": "hi"}],
            "chosen": {"from": "gpt", "value": "yes"},
            "rejected": {"from": "gpt", "value": "no"},
        },
        {"chosen": "\n\nHuman: hi\n\nAssistant: yes", "rejected": "\n\nHuman: hi\n\nAssistant: no"},
        {"prompt": "hi", "chosen": "yes", "rejected": "yes"},
        {"prompt": "hi", "chosen": "other", "rejected": ""},
        {"prompt": "hi", "chosen": "a", "rejected": "b", "score_chosen": 3, "score_rejected": 3},
        {"prompt": "hi", "chosen": [good, user, good], "rejected": [bad]},
    ]
    (tmp_path / "mixed.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    told = succeeded(prefs("import", tmp_path / "mixed.jsonl", "--json"))
    shown = json.loads(told.stdout)
    assert (shown["read"], shown["used"], shown["stored"], shown["known"]) == (10, 6, 1, 5)
    assert sum(shown["dropped"].values()) == 4
    for reason in ("identical pair", "empty completion", "tied pair", "more than one text"):
        assert reason in told.stderr
    [found] = PreferenceStore().read()
    assert found.as_trl() == {"prompt": [user], "chosen": [good], "rejected": [bad]}


def test_held_out_parts_of_a_folder_are_left_out(mlxllm_home: Path, tmp_path: Path) -> None:
    for name in ("train", "valid"):
        line = json.dumps({"prompt": name, "chosen": "a", "rejected": "b"})
        (tmp_path / f"{name}.jsonl").write_text(line)
    told = succeeded(prefs("import", tmp_path))
    assert f"{tmp_path / 'valid.jsonl'} is held out" in told.stderr
    assert [each.prompt[0].content for each in PreferenceStore().read()] == ["train"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            '{"prompt": "a", "chosen": "b", "rejected": "c"}\n{"text": "hi"}\n',
            "bad.jsonl:2: this is a conversation or a text",
        ),
        ('{"prompt": "a", "chosen": "b", "rejected": "c"}\n{"prompt"\n', "bad.jsonl:2: the line is not JSON"),
        ('{"prompt": "a", "chosen": "b", "rejected": "b"}\n', "none of 1 records in"),
        ("", "there are no records in"),
    ],
)
def test_bad_input_is_one_sentence_and_stores_nothing(
    mlxllm_home: Path, tmp_path: Path, content: str, said: str
) -> None:
    (tmp_path / "bad.jsonl").write_text(content)
    assert said in sentence(prefs("import", tmp_path / "bad.jsonl"), 1)
    assert not PreferenceStore().path.exists()


def test_removed_restored_turned_around(mlxllm_home: Path) -> None:
    store = PreferenceStore()
    store.add(pair(1), pair(2), pair(3))
    one, two, three = [each.id for each in store.read()]
    shown = succeeded(prefs("ls")).stdout.splitlines()
    assert [line.split()[0] for line in shown[1:]] == [three[:6], two[:6], one[:6]]
    told = succeeded(prefs("rm", two[:6], "--json"))
    assert [each["id"] for each in json_lines(told.stdout)] == [two]
    assert f"1 preference removed; `mlxllm prefs restore {two}` brings back" in told.stderr
    assert [each.id for each in store.read()] == [one, three]
    assert [each["id"] for each in json_lines(succeeded(prefs("ls", "--removed", "--json")).stdout)] == [two]
    assert "no preference in" in sentence(prefs("rm", two), 1)
    assert "1 preference restored" in succeeded(prefs("restore", two[:8])).stderr
    assert [each.id for each in store.read()] == [one, three, two]
    turned = json_lines(succeeded(prefs("swap", one, three, "--json")).stdout)
    assert [(each["chosen"], each["rejected"]) for each in turned] == [
        ("No.\n\x1b[31m", f"Dans le jardin {number}") for number in (1, 3)
    ]
    (edited,) = json_lines(succeeded(prefs("edit", three[:8], "--chosen=--so\nmuch better", "--json")).stdout)
    assert (edited["chosen"], edited["how"]) == ("--so\nmuch better", "rewritten")
    assert "say what to change" in sentence(prefs("edit", two), 2)
    succeeded(prefs("restore", three))
    succeeded(prefs("rm", edited["id"], "--for-good", "--yes"))
    succeeded(prefs("rm", three))
    assert "repeat with --yes" in sentence(prefs("rm", one, three, "--for-good"), 2)
    assert "2 preferences deleted for good" in succeeded(prefs("rm", one, three, "--for-good", "--yes")).stderr
    assert "nothing was removed" in succeeded(prefs("ls", "--removed")).stderr
    assert [each.id for each in store.read()] == [two]


def test_a_damaged_store_is_read_by_import_and_dpo_as_by_everybody_else(mlxllm_home: Path, tmp_path: Path) -> None:
    PreferenceStore().add(pair(1), pair(2))
    content = PreferenceStore().path.read_bytes()
    damaged = tmp_path / "mine.jsonl"
    damaged.write_bytes(b"{\n" + content.replace(b"\n", b"\n\xff[\n", 1) + b'{"id": "torn')
    PreferenceStore().path.unlink()
    told = succeeded(prefs("import", damaged))
    assert "2 preferences stored in" in told.stderr
    assert f"3 records left out: damaged line ({damaged}:1; {damaged}:3" in told.stderr
    run = tuned_run(tmp_path)
    checked = succeeded(call("dpo", "--model", run, "--data", damaged, "--dry-run"))
    assert "damaged line" in checked.stderr


def test_a_file_that_is_not_there(mlxllm_home: Path) -> None:
    assert "no file or folder" in sentence(prefs("import", "nowhere.jsonl"), 1)


@pytest.mark.data
def test_a_public_file_there_and_back(mlxllm_home: Path, test_data: Path, tmp_path: Path) -> None:
    source = test_data / "dpo" / "instruction-data-with-preference.json"
    shown = json.loads(succeeded(prefs("import", source, "--json")).stdout)
    assert shown["read"] == 1100
    assert shown["stored"] + shown["known"] + sum(shown["dropped"].values()) == 1100
    assert shown["stored"] > 1000
    run, file = tuned_run(tmp_path), tmp_path / "pairs.jsonl"
    succeeded(prefs("export", file))
    checked = succeeded(call("dpo", "--model", run, "--data", file, "--max-seq-len", 4096, "--dry-run"))
    assert "left out" not in checked.stderr
