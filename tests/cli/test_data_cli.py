"""`mlxllm data`, in process."""

import contextlib
import io
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from mlxllm import paths
from mlxllm.cli.build_view import ProgressEvents
from mlxllm.cli.data import app, sources
from mlxllm.data.clean.recipes import recipe, with_settings
from mlxllm.data.shards import HEADER_BYTES
from mlxllm.data.sources import list_sources
from mlxllm.data.split import is_validation
from mlxllm.errors import ConfigError, DataError, RunError, UserError
from mlxllm.runs import RunDirectory, RunState, write_state
from mlxllm.tokenizer import train_tokenizer

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = [f"Document {i}: the quick brown fox number {i * i}.\nIt jumps." for i in range(200)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "foxes.txt"
    path.write_text("\n<|endoftext|>\n".join(DOCUMENTS), encoding="utf-8")
    return path


def run(*arguments: object) -> tuple[str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def run_json(*arguments: object) -> Any:
    """The one JSON object on stdout."""
    (line,) = run(*arguments, "--json")[0].splitlines()
    return json.loads(line)


def test_sources_lists_kind_format_licence_and_example() -> None:
    out, hint = run("sources")
    kinds = run_json("sources")["sources"]
    assert len(out.splitlines()) == 1 + len(kinds), "a line each"
    assert "mlxllm data sources KIND" in hint
    assert {"stories", "pydocs", "text", "shakespeare"} <= {kind["kind"] for kind in kinds}
    for kind in kinds:
        assert set(kind) == {"kind", "formats", "licence", "example", "good_for", "download", "recipe", "one_licence"}
        assert all(kind[key] in out for key in ("kind", "example", "licence"))
        told = run("sources", kind["kind"])[0]
        assert all(value in told for key, value in kind.items() if key not in ("kind", "one_licence"))
        assert run_json("sources", kind["kind"]) == {"sources": [kind]}
    with pytest.raises(ConfigError, match="'pubmde' is no kind of source; did you mean pubmed"):
        run("sources", "pubmde")


def test_build_inspect_label_ls(corpus: Path, mlxllm_home: Path) -> None:
    built = run_json("build", "foxes", "--source", corpus, "--tokenizer", "bpe:300", "--val-split", "0.1")
    assert built["path"] == str(mlxllm_home / "datasets" / "foxes")
    val = [text for text in DOCUMENTS if is_validation(text, 0.1)]
    assert built["val"]["documents"] == len(val) > 5
    assert built["train"]["documents"] == 200 - len(val)
    assert built["tokenizer"]["vocab_size"] == 300
    assert built["warnings"] == []

    label = run_json("label", "foxes")
    source = label["sources"]["foxes.txt"]
    assert source["documents_read"] == source["documents_kept"] == 200
    assert source["dropped"] == {}
    assert source["bytes"] == sum(map(len, DOCUMENTS))
    assert source["tokens"] == built["train"]["tokens"] + built["val"]["tokens"]
    assert label["fingerprint"] == built["fingerprint"]

    shown = run_json("inspect", "foxes", "--window", "20", "--windows", "3", "--verify")
    assert shown["verified"] is True
    assert [window["split"] for window in shown["windows"]] == ["train"] * 3 + ["val"] * 3
    assert shown["windows"][3]["text"].startswith(val[0][:10])
    assert shown["windows"][5]["text"].endswith(val[-1][-9:] + "<|endoftext|>")
    assert all(len(window["token_ids"]) == 20 for window in shown["windows"])
    per_token = shown["train"]["bytes"] / (shown["train"]["tokens"] - shown["train"]["documents"])
    assert shown["train"]["bytes_per_token"] == pytest.approx(per_token)
    assert per_token > 1.3
    lengths = shown["val"]["document_tokens"]
    assert lengths["shortest"] <= lengths["median"] <= lengths["longest"]
    assert lengths["mean"] == pytest.approx(shown["val"]["tokens"] / shown["val"]["documents"])
    counts = [entry["count"] for entry in shown["most_frequent"]]
    assert counts == sorted(counts, reverse=True)
    assert any(entry["piece"] == "<|endoftext|>" and entry["count"] == 200 for entry in shown["most_frequent"])
    # The four chat tokens at least.
    assert set(shown["never_used"]["ids"]) >= {1, 2, 3, 4}
    assert shown["never_used"]["count"] < 300

    (listed,) = run("ls", "--json")[0].splitlines()
    assert json.loads(listed)["name"] == "foxes"
    assert "foxes" in run("ls")[0]


def test_text_output_is_for_people(corpus: Path) -> None:
    (corpus.parent / "extra.jsonl").write_text('{"text": "a \\u001b[31m b"}\n{"oops": 1}\n' * 50)
    (corpus.parent / "x.pdf").write_text("x")
    out, err = run("build", "both", "--source", corpus.parent, "--tokenizer", "byte", "--val-split", "0.5")
    assert out == ""
    assert "tokenizer: byte of 261 ids" in err
    assert "50 of 300 records left out (50 x no text field; first: " in err
    assert "1 x other file type; first: 1 x .pdf" in err
    assert "dataset 'both':" in err
    label = run("label", "both")[0]
    assert "50 x no text field" in label
    assert f"{corpus.parent / 'extra.jsonl'}:2: wanted 'text' or 'content', found keys 'oops'" in label
    shown = run("inspect", "both", "--windows", "9")[0]
    assert "bytes a token" in shown
    assert "\\x1b[31m" in shown
    assert "\x1b" not in shown, "no colour where there is no terminal, and nothing from the text that steers one"
    assert "\n<|endoftext|>\n" in shown
    tokens = run("inspect", "both", "--tokens", "--windows", "1", "--window", "8")[0]
    assert tokens.splitlines()[-2].split() == list("Document")
    assert [int(word) - 5 for word in tokens.splitlines()[-1].split()] == list(b"Document")


def test_a_named_tokenizer_is_used_and_copied(corpus: Path, mlxllm_home: Path, tmp_path: Path) -> None:
    mine = train_tokenizer("char", ["abc"])
    mine.save(mlxllm_home / "tokenizers" / "mine")
    mine.save(tmp_path / "elsewhere")
    mine.save(mlxllm_home / "tokenizers" / "byte")
    for argument in ("mine", tmp_path / "elsewhere", "byte"):
        built = run_json("build", "d", "--source", corpus, "--tokenizer", argument, "--force")
        assert built["tokenizer"]["fingerprint"] == mine.fingerprint
    assert (mlxllm_home / "datasets" / "d" / "tokenizer").is_dir()


def test_the_tokenizer_learns_from_the_training_text_alone(corpus: Path) -> None:
    held_out = next(text for text in (f"Held out {i} \u2603" for i in range(1000)) if is_validation(text, 0.1))
    corpus.write_text(corpus.read_text() + f"\n<|endoftext|>\n{held_out}", encoding="utf-8")
    built = run_json("build", "d", "--source", corpus, "--tokenizer", "char", "--val-split", "0.1")
    seen = set("".join(text for text in DOCUMENTS if not is_validation(text, 0.1)))
    assert built["tokenizer"]["vocab_size"] == 261 + len(seen)


def test_stories_by_default_take_a_second_or_two() -> None:
    built = run_json("build", "s", "--source", "stories:200", "--tokenizer", "byte", "--val-split", "0.1")
    assert built["sources"]["stories"]["documents_kept"] == 200
    assert built["sources"]["stories"]["spec"] == "stories:count=200,seed=0,start=0"


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (["--tokenizer", "nope"], ConfigError, "no tokenizer 'nope'.*or give char, byte or bpe"),
        (["--tokenizer", "bpe:many"], ConfigError, "'bpe:many' is not understood"),
        (["--tokenizer", "char:7"], ConfigError, "'char:7' is not understood"),
        (["--tokenizer", "byte", "--val-split", "1"], ConfigError, "val_split is 1.0"),
        (["--tokenizer", "byte", "--source", "storys"], ConfigError, "did you mean 'stories'"),
        (["--tokenizer", "byte", "--source", "./none.txt"], DataError, "no file or folder"),
    ],
)
def test_mistakes(corpus: Path, mlxllm_home: Path, arguments: list[str], kind: type, message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        run("build", "d", "--source", corpus, *arguments)
    assert "\n" not in str(caught.value)
    assert not (mlxllm_home / "datasets").exists() or not list((mlxllm_home / "datasets").iterdir())


def test_names(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no dataset 'missing'"):
        run("inspect", "missing")
    with pytest.raises(ConfigError, match="dataset name 'a/b' is not usable"):
        run("build", "a/b", "--source", corpus, "--tokenizer", "byte")
    by_path = run_json("build", tmp_path / "here", "--source", corpus, "--tokenizer", "byte")
    assert by_path["path"] == str(tmp_path / "here")
    assert run_json("label", tmp_path / "here")["name"] == "here"
    with pytest.raises(DataError, match=r"'here' exists already in .*; --force replaces it"):
        run("build", tmp_path / "here", "--source", corpus, "--tokenizer", "byte")


def test_inspect_verify_finds_what_opening_does_not(corpus: Path, mlxllm_home: Path) -> None:
    run("build", "d", "--source", corpus, "--tokenizer", "byte")
    path = mlxllm_home / "datasets" / "d" / "train-00000.bin"
    ids = np.fromfile(path, "<u2", offset=HEADER_BYTES)
    ids[3] = 9999
    path.write_bytes(path.read_bytes()[:HEADER_BYTES] + ids.tobytes())
    run("label", "d")
    with pytest.raises(DataError, match="token id 9,999 at offset 3, but its tokenizer has 261 ids"):
        run("inspect", "d", "--verify")


def test_an_empty_validation_split_is_warned_of(corpus: Path) -> None:
    out, err = run("build", "d", "--source", corpus, "--tokenizer", "byte", "--val-split", "0", "--json")
    assert "warning: the validation split is empty" in err
    assert any("validation split is empty" in warning for warning in json.loads(out)["warnings"])


def test_ls_without_and_with_damaged_datasets(mlxllm_home: Path) -> None:
    assert "no datasets in" in run("ls")[1]
    (mlxllm_home / "datasets" / "broken").mkdir(parents=True)
    assert "has no manifest.json" in run("ls", "--json")[1]


def test_the_command_itself_loads_nothing_heavy() -> None:
    program = (
        "import sys, mlxllm.cli.data; "
        "print([m for m in ('mlx', 'numpy', 'sentencepiece', 'pydantic', 'xxhash') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.strip() == "[]"


def test_progress_is_shown_on_a_terminal_and_taken_away(corpus: Path, tmp_path: Path) -> None:
    corpus.write_text("Many words in one file. " * 1_000_000)
    program = (
        "from mlxllm.cli import build_view, data; build_view._LINE_SECONDS = 0.0; "
        f"data.build({str(tmp_path / 'd')!r}, [{str(corpus)!r}], 'byte')"
    )
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", program], stderr=theirs, cwd=REPOSITORY)
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 4096):
            seen += chunk
    except OSError:  # Linux says so when the other side has closed
        pass
    os.close(ours)
    assert process.wait() == 0
    assert b"\rfoxes.txt: " in seen
    assert b"MB/s" in seen
    assert b"dataset 'd': " in seen[seen.rindex(b"MB/s") :], "on the line that the progress had"


def test_preview_before_a_build(corpus: Path, mlxllm_home: Path) -> None:
    seen = run_json("preview", corpus, "--tokenizer", "char", "--documents", "2")
    assert [one["text"] for one in seen["documents"]] == DOCUMENTS[:2]
    assert seen["read"] == {"documents": 200, "bytes": sum(map(len, DOCUMENTS)), "complete": True}
    assert seen["tokens"]["tokens"] == sum(map(len, DOCUMENTS)) + 200
    assert seen["tokens"]["bytes_per_token"] == 1.0
    out = run("preview", corpus)[0]
    assert DOCUMENTS[2] in out
    assert DOCUMENTS[3] not in out
    assert "200 documents" in out
    assert "<|endoftext|>" in run("preview", corpus, "--tokenizer", "byte", "--tokens")[0]
    assert "about 99,999 documents" in run("preview", "stories:99999")[0]
    with pytest.raises(ConfigError, match="--tokens needs --tokenizer"):
        run("preview", corpus, "--tokens")
    assert list(mlxllm_home.iterdir()) == []


def test_progress_in_json_lines_before_the_label(corpus: Path) -> None:
    out = run("build", "d", "--source", corpus, "--tokenizer", "char", "--json", "--progress")[0]
    *events, label = map(json.loads, out.splitlines())
    assert label["name"] == "d"
    assert events
    told = events[-1]
    assert told["kind"] == "progress"
    assert (told["phase"], told["source"], told["documents"]) == ("writing", "foxes.txt", 200)
    assert told["bytes"] == sum(map(len, DOCUMENTS))
    assert told["tokens"] == label["train"]["tokens"] + label["val"]["tokens"]
    assert 0.7 < told["fraction"] < 1.0, "what stands between documents counts as text in the size of a file"
    assert set(told) >= {"seconds", "mb_per_sec"}
    with pytest.raises(ConfigError, match="give --json as well"):
        run("build", "e", "--source", corpus, "--tokenizer", "char", "--progress")


def test_an_interrupted_build_is_listed_continued_and_deleted(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for missing in ([], ["--source", corpus], ["--tokenizer", "byte"]):
        with pytest.raises(ConfigError, match=r"dataset 'd' needs a --"):
            run("build", "d", *missing)
    for name in ("d", "e"):
        with monkeypatch.context() as patched:
            patched.setattr(ProgressEvents, "__call__", interrupt)
            arguments = ["build", name, "--source", corpus, "--tokenizer", "byte", "--json", "--progress"]
            stopped = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert stopped.exit_code == 130
        assert f"what is done is kept; `mlxllm data build {name}` goes on from there" in stopped.stderr
    assert "dataset 'd' is unfinished; `mlxllm data build d` goes on (200 documents so far)" in run("ls")[1]
    assert run("rm", "e", "--yes")[1] == "deleted what was done of dataset 'e'\n"
    out, err = run("build", "d", "--json")
    assert "an interrupted build is continued: 200 documents there already" in err
    assert json.loads(out)["sources"]["foxes.txt"]["documents_kept"] == 200
    (listed,) = run("ls", "--json")[0].splitlines()
    assert json.loads(listed)["name"] == "d"


def test_sources_on_a_terminal_are_folded_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "60")
    out = Terminal()
    with contextlib.redirect_stdout(out):
        sources()
        for kind in list_sources():
            sources(kind.kind)
    assert max(map(len, out.getvalue().splitlines())) <= 60
    assert "count=N,seed=S,start=I,plots=P,questions=1" in out.getvalue(), "what is typed stands in one piece"
    for kind in list_sources():
        assert kind.summary in kind.formats
        assert kind.formats in " ".join(out.getvalue().split())


# Deleting


@pytest.fixture
def foxes(corpus: Path, mlxllm_home: Path) -> Path:
    run("build", "foxes", "--source", corpus, "--tokenizer", "byte")
    return mlxllm_home / "datasets" / "foxes"


def user_of(dataset: object, name: str, status: str = "finished") -> RunDirectory:
    """A run that says that it was trained on `dataset`."""
    one = RunDirectory.create(paths.folder("runs") / name)
    one.config.write_text(json.dumps({"data": {"dataset": str(dataset)}}))
    write_state(one, RunState(status=status))  # type: ignore[arg-type]
    return one


def test_rm_names_the_runs_that_need_the_dataset(foxes: Path, tmp_path: Path) -> None:
    user_of("foxes", "by-name")
    user_of(foxes, "by-path")
    user_of("another", "unrelated")
    RunDirectory.create(paths.folder("runs") / "damaged").config.write_text("{")
    with pytest.raises(
        ConfigError, match=r"would delete dataset 'foxes' in .* MB\), without which by-name, by-path"
    ) as e:
        run("rm", "foxes")
    assert "repeat with --yes" in str(e.value)
    assert "unrelated" not in str(e.value)
    assert foxes.is_dir()
    assert run("rm", "foxes", "--yes")[1] == "deleted dataset 'foxes'; it was used by by-name, by-path\n"
    assert list(foxes.parent.iterdir()) == []
    with pytest.raises(ConfigError, match="there is no dataset 'foxes'"):
        run("rm", "foxes", "--yes")


def test_rm_refuses_while_a_run_trains_on_it(foxes: Path) -> None:
    trainer = user_of("foxes", "live", status="running")
    with (
        trainer.lock(),
        pytest.raises(RunError, match=r"run 'live' is training on dataset 'foxes'.*runs stop live --wait"),
    ):
        run("rm", "foxes", "--yes")
    assert foxes.is_dir()
    run("rm", "foxes", "--yes")  # the trainer has gone


def test_rm_deletes_what_is_damaged_in_home_and_only_whole_datasets_elsewhere(foxes: Path, tmp_path: Path) -> None:
    (foxes / "manifest.json").write_text("{")
    run("rm", "foxes", "--yes")
    assert not foxes.exists()

    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "one.jpg").write_text("")
    with pytest.raises(DataError, match=r"is not a dataset: it has no manifest\.json"):
        run("rm", photos, "--yes")
    with pytest.raises(DataError, match="is a file; a dataset is a folder"):
        run("rm", photos / "one.jpg", "--yes")
    run("build", tmp_path / "here", "--source", tmp_path / "foxes.txt", "--tokenizer", "byte")
    (tmp_path / "here" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"holds 'notes\.txt' beside its dataset, so it is not deleted"):
        run("rm", tmp_path / "here", "--yes")
    (tmp_path / "here" / "notes.txt").unlink()
    assert run("rm", tmp_path / "here", "--yes")[1] == "deleted dataset 'here'\n"
    assert (photos / "one.jpg").exists()


def test_rm_of_a_link_leaves_the_dataset(foxes: Path) -> None:
    (foxes.parent / "link").symlink_to(foxes)
    assert "is still there" in run("rm", "link", "--yes")[1]
    run("label", "foxes")


@pytest.mark.parametrize(("option", "least"), [("--window", 1), ("--windows", 0)])
def test_windows_are_counted_from_what_is_possible(foxes: Path, option: str, least: int) -> None:
    with pytest.raises(ConfigError, match=f"{option} is -1; it should be {least} or more"):
        run("inspect", "foxes", option, "-1")


def test_recipes_tells_rules_that_can_be_set() -> None:
    listed = run_json("recipes")["recipes"]
    assert set(listed) == {"web", "code", "papers", "none"}
    out = run("recipes")[0]
    assert all(name in out for name in listed)
    shown = run("recipes", "web")[0]
    for rule, settings in listed["web"].items():
        for key, value in (settings or {}).items() if isinstance(settings, dict) else ():
            assert f"{rule}.{key} = {json.dumps(value)}" in shown
            with_settings(recipe("web"), [f"{rule}.{key}={','.join(value) if isinstance(value, list) else value}"])
    assert "--set papers=on, code=on" in shown
    assert run_json("recipes", "code")["dedup"] == "near"
    with pytest.raises(ConfigError, match="did you mean 'papers'"):
        run("recipes", "paper")


def test_a_recipe_for_a_kind_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One text.")
    with pytest.raises(ConfigError, match="--recipe hub=web: no source is of the kind hub; there is text"):
        run("build", "d", "--source", tmp_path / "a.txt", "--tokenizer", "byte", "--recipe", "hub=web")


def test_by_its_name_alone_a_build_goes_on_as_it_was_begun(tmp_path: Path, mlxllm_home: Path) -> None:
    (tmp_path / "t.txt").write_text("Some words of a longer text. " * 200_000)
    command = [sys.executable, "-m", "mlxllm", "data", "build", "d", "--source", str(tmp_path / "t.txt")]
    with subprocess.Popen(
        [*command, "--tokenizer", "byte", "--json", "--progress"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    assert process.returncode == 130
    with pytest.raises(ConfigError, match="--recipe, --val-split cannot be changed by the name alone"):
        run("build", "d", "--val-split", "0", "--recipe", "web")
    run("build", "d", "--workers", "1")
    assert (mlxllm_home / "datasets" / "d").is_dir()


def test_a_long_text_is_told_to_be_neither_cleaned_nor_compared(tmp_path: Path) -> None:
    asked = "Which of the seven foxes that lived behind the mill had found the silver spoon of the miller's wife?"
    (tmp_path / "exam.jsonl").write_text(json.dumps({"question": asked}) + "\n")
    (tmp_path / "one.txt").write_text(f"A text of some length. {asked} And so on.\n" * 40)
    arguments = ["--source", tmp_path / "one.txt", "--tokenizer", "byte", "--recipe", "web"]
    label = run_json("build", "d", *arguments, "--overlap", tmp_path / "exam.jsonl")
    mended = label["sources"]["one.txt"]["mended"]
    assert mended["one long text, not cleaned and not compared"] >= 1
    assert mended["overlaps an evaluation set"] >= 1
    assert label["evaluation_overlap"]["documents"] >= 1
