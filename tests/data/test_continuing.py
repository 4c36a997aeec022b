"""A build that was interrupted: what goes on is the same to the bit as one that never was."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxllm import paths
from mlxllm.data import build as build_module
from mlxllm.data import filling, reading
from mlxllm.data.build import build_dataset
from mlxllm.data.draft import Draft, can_go_on, draft_folder, interrupted_build, remove_draft, unfinished
from mlxllm.data.manifest import read_manifest
from mlxllm.data.shards import TokenDataset
from mlxllm.data.sources import open_source
from mlxllm.data.sources.base import Document, Source
from mlxllm.data.weights import Weight
from mlxllm.errors import DataError
from mlxllm.tokenizer import TokenizerRecipe, train_tokenizer
from tests.data.conftest import ListSource

TEXTS = [f"Story {i}: {'word ' * (i % 37)}é🙂\r\n\tend {i * i}" for i in range(120)]
BYTE = train_tokenizer("byte", [])


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_BATCH_RECORDS", 5)


class Interrupting:
    """Raises KeyboardInterrupt at the `at`th call from now."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, *_: object) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


class Noisy(ListSource):
    """A source that also leaves out records."""

    def documents(self) -> Iterator[Document]:
        self.problems.clear()
        for number, document in enumerate(super().documents()):
            if number % 7 == 3:
                self.problems.drop("bad", f"line {number}")
            yield document


def contents(directory: Path) -> dict[str, bytes]:
    """Every file of a dataset."""
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def sources(weights: Sequence[float | None], times: bool, single: bool) -> list[tuple[Source, Weight | None]]:
    listed: list[tuple[Source, Weight | None]] = []
    for number, value in enumerate(weights):
        weight = None if value is None and times else Weight(value or 1.0, times)
        listed.append((Noisy([*TEXTS, " ", "\n"], f"s{number}"), weight))
    if single:
        listed.insert(1, (ListSource(["".join(TEXTS) * 4], "one", single_text=True), Weight(2.0, times)))
    return listed


@settings(max_examples=15)
@given(
    weights=st.lists(st.sampled_from([0.4, None, 2.0, 2.5]), min_size=1, max_size=3),
    times=st.booleans(),
    single=st.booleans(),
    stops=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    shard_tokens=st.sampled_from([3000, 1 << 20]),
)
def test_interrupted_after_any_batch_nothing_is_lost_or_doubled(
    tmp_path_factory: pytest.TempPathFactory,
    weights: list[float | None],
    times: bool,
    single: bool,
    stops: list[int],
    shard_tokens: int,
) -> None:
    folder = tmp_path_factory.mktemp("d")
    options = {"val_split": 0.2, "shard_tokens": shard_tokens, "keep_draft": True}
    build_dataset(folder / "whole", sources(weights, times, single), BYTE, **options)  # type: ignore[arg-type]
    said: list[str] = []
    for stop in stops:
        try:
            build_dataset(
                folder / "cut",
                sources(weights, times, single),
                BYTE,
                **options,  # type: ignore[arg-type]
                progress=Interrupting(stop),
                tell=said.append,
            )
            break
        except KeyboardInterrupt:
            assert draft_folder(folder / "cut").is_dir()
            assert not (folder / "cut").exists()
    else:
        build_dataset(folder / "cut", sources(weights, times, single), BYTE, **options, tell=said.append)  # type: ignore[arg-type]
        assert "continued" in said[-1]
    assert contents(folder / "cut") == contents(folder / "whole")
    assert sorted(path.name for path in folder.iterdir()) == ["cut", "whole"]
    TokenDataset.open(folder / "cut", verify=True)


def interrupt(directory: Path, listed: list[tuple[Source, Weight | None]], at: int, tokenizer: object = BYTE) -> None:
    with pytest.raises(KeyboardInterrupt):
        build_dataset(directory, listed, tokenizer, val_split=0.2, keep_draft=True, progress=Interrupting(at))  # type: ignore[arg-type]


def go_on(directory: Path, listed: list[tuple[Source, Weight | None]], **changed: object) -> list[str]:
    said: list[str] = []
    options = {"tokenizer": BYTE, "val_split": 0.2, "keep_draft": True} | changed
    build_dataset(directory, listed, tell=said.append, **options)  # type: ignore[arg-type]
    return said


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"val_split": 0.3}, "another --val-split"),
        ({"tokenizer": train_tokenizer("char", TEXTS)}, "another tokenizer"),
        ({"sources": [(ListSource(TEXTS, "b"), None)]}, "other sources"),
    ],
)
def test_another_command_starts_over(tmp_path: Path, changed: dict[str, object], what: str) -> None:
    listed: list[tuple[Source, Weight | None]] = [(ListSource(TEXTS), None)]
    interrupt(tmp_path / "d", listed, 5)
    listed = changed.pop("sources", listed)  # type: ignore[assignment]
    (sentence,) = go_on(tmp_path / "d", listed, **changed)
    assert what in sentence
    assert "starts over" in sentence
    whole = tmp_path / "whole"
    go_on(whole, listed, **changed)
    assert contents(whole) == contents(tmp_path / "d")


def test_a_text_that_has_changed_starts_over(tmp_path: Path) -> None:
    interrupt(tmp_path / "d", [(ListSource(TEXTS), None)], 5)
    other = ["Another first text.", *TEXTS[1:]]
    said = go_on(tmp_path / "d", [(ListSource(other), None)])
    assert "the text of source 'list' is another one now, so the build starts over" in said[-1]
    assert read_manifest(tmp_path / "d").sources["list"].documents_kept == len(TEXTS)

    interrupt(tmp_path / "e", [(ListSource(TEXTS), None)], 5)
    assert "is another one now" in go_on(tmp_path / "e", [(ListSource(TEXTS[:3]), None)])[-1], "shorter than was read"


def test_a_damaged_draft_starts_over(tmp_path: Path) -> None:
    listed: list[tuple[Source, Weight | None]] = [(ListSource(TEXTS), None)]
    go_on(tmp_path / "whole", listed)
    for number, damage in enumerate(("once/train-00000.bin", "once/val-index.bin", "tokenizer/tokenizer_config.json")):
        directory = tmp_path / f"d{number}"
        interrupt(directory, listed, 5)
        (draft_folder(directory) / damage).write_bytes(b"")
        assert "damaged" in go_on(directory, listed)[-1]
        assert contents(directory) == contents(tmp_path / "whole")
    interrupt(tmp_path / "e", listed, 5)
    (draft_folder(tmp_path / "e") / "progress.json").write_text("{")
    assert go_on(tmp_path / "e", listed) == []
    assert contents(tmp_path / "e") == contents(tmp_path / "whole")


def test_a_tokenizer_is_learned_once(tmp_path: Path) -> None:
    listed: list[tuple[Source, Weight | None]] = [(ListSource(TEXTS), None)]
    recipe = TokenizerRecipe("bpe", 300)
    assert "tokenizer: bpe of 2" in go_on(tmp_path / "whole", listed, tokenizer=recipe)[0]
    interrupt(tmp_path / "d", listed, 28, recipe)  # behind the 24 batches of the first reading
    said = go_on(tmp_path / "d", listed, tokenizer=recipe)
    assert len(said) == 1
    assert "continued" in said[0]
    assert contents(tmp_path / "d") == contents(tmp_path / "whole")


def test_a_build_that_keeps_nothing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build_dataset(tmp_path / "d", [(ListSource(TEXTS), None)], BYTE, progress=Interrupting(2))
    assert list(tmp_path.iterdir()) == []


def test_an_error_keeps_what_is_done_where_that_was_asked_for(tmp_path: Path) -> None:
    class Broken(ListSource):
        def documents(self) -> Iterator[Document]:
            raise DataError("the disk has a hole")

    first: tuple[Source, Weight | None] = (ListSource(TEXTS, "a"), None)
    with pytest.raises(DataError, match="hole"):
        build_dataset(tmp_path / "d", [first, (Broken(TEXTS), None)], BYTE)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="hole"):
        go_on(tmp_path / "d", [first, (Broken(TEXTS), None)])
    # The source that could not be read is left out, and a weight given: the first one need not be read again.
    listed: list[tuple[Source, Weight | None]] = [(ListSource(TEXTS, "a"), Weight(2.0, times=True))]
    listed.append((ListSource(TEXTS[:50]), None))
    assert "continued" in go_on(tmp_path / "d", listed)[-1]
    go_on(tmp_path / "whole", listed)
    assert contents(tmp_path / "d") == contents(tmp_path / "whole")


def test_a_tokenizer_that_learned_from_other_sources_is_learned_anew(tmp_path: Path) -> None:
    first: list[tuple[Source, Weight | None]] = [
        (ListSource(TEXTS, "a"), None),
        (ListSource(["xyz " * 900], "b"), None),
    ]
    recipe = TokenizerRecipe("char")
    interrupt(tmp_path / "d", first, 40, recipe)
    listed = first[:1]
    assert "other sources" in go_on(tmp_path / "d", listed, tokenizer=recipe)[0]
    go_on(tmp_path / "whole", listed, tokenizer=recipe)
    assert contents(tmp_path / "d") == contents(tmp_path / "whole")


def test_two_builds_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Draft(tmp_path / "d", keep=False):
        with pytest.raises(DataError, match="'d' is being built by another process"):
            go_on(tmp_path / "d", [(ListSource(TEXTS), None)])
        with pytest.raises(DataError, match="is being built"):
            remove_draft(tmp_path / "d")
        go_on(tmp_path / "e", [(ListSource(TEXTS), None)])
    go_on(tmp_path / "d", [(ListSource(TEXTS), None)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "e"]


def test_what_is_unfinished_is_listed_and_can_be_removed(tmp_path: Path) -> None:
    (tmp_path / "foxes.txt").write_text("\n<|endoftext|>\n".join(TEXTS), encoding="utf-8")
    source = open_source(str(tmp_path / "foxes.txt"))
    assert list(unfinished(tmp_path)) == []
    interrupt(tmp_path / "d", [(source, Weight(2.0, times=True))], 5)
    ((name, state, held),) = unfinished(tmp_path)
    assert (name, held) == ("d", False)
    assert state.documents == 30
    assert state.command.sources == ((source.spec, "2x"),)
    with contextlib.suppress(KeyboardInterrupt), Draft(tmp_path / "d", keep=True):
        assert [held for _, _, held in unfinished(tmp_path)] == [True]
        raise KeyboardInterrupt
    found = interrupted_build(tmp_path / "d")
    assert found is not None
    ((again, weight),) = found.sources
    assert (again.spec, weight, found.command.val_split) == (source.spec, Weight(2.0, times=True), 0.2)
    assert found.tokenizer.fingerprint == BYTE.fingerprint  # type: ignore[union-attr]
    assert remove_draft(tmp_path / "d")
    assert not remove_draft(tmp_path / "d")
    assert list(unfinished(tmp_path)) == []
    assert interrupted_build(tmp_path / "d") is None


PROGRAM = """
    import sys, time
    from pathlib import Path
    from mlxllm.data import build, reading
    from mlxllm.data.sources import open_source
    from mlxllm.data.weights import Weight
    from mlxllm.tokenizer import train_tokenizer

    reading._BATCH_RECORDS, build.SAVE_SECONDS = 5, 0.0

    def progress(told):
        print(told.documents, flush=True)
        time.sleep(0.005)

    build.build_dataset(Path(sys.argv[1]), [(open_source(sys.argv[2]), Weight(2.0, times=True))], train_tokenizer("byte", []),
                        val_split=0.2, shard_tokens=2000, keep_draft=True, progress=progress)
"""


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """SIGKILL leaves no time for anything: what was noted last holds, and the rest is done again."""
    text = tmp_path / "t.txt"
    text.write_text("\n<|endoftext|>\n".join(TEXTS), encoding="utf-8")
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path / "cut"), str(text)]
    for lines in (8, 4):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(lines):
            assert process.stdout.readline()
        process.kill()
        process.communicate()
    ((_, state, held),) = unfinished(tmp_path)
    assert not held
    assert state.documents > 50
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    go_on(tmp_path / "whole", [(open_source(str(text)), Weight(2.0, times=True))], shard_tokens=2000)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_saving_now_and_then_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an interruption comes while files are written, what was noted before it holds."""
    monkeypatch.setattr(build_module, "SAVE_SECONDS", 0.0)
    listed: list[tuple[Source, Weight | None]] = [(ListSource(TEXTS), None)]
    calls = 0
    append = filling.SplitWriter.append

    def append_half(self: filling.SplitWriter, ids: object, ends: object) -> None:
        nonlocal calls
        calls += 1
        append(self, ids, ends)  # type: ignore[arg-type]
        if calls == 9:
            raise KeyboardInterrupt

    monkeypatch.setattr(filling.SplitWriter, "append", append_half)
    with pytest.raises(KeyboardInterrupt):
        build_dataset(tmp_path / "d", listed, BYTE, val_split=0.2, shard_tokens=700, keep_draft=True)
    monkeypatch.undo()
    go_on(tmp_path / "d", listed, shard_tokens=700)
    go_on(tmp_path / "whole", listed, shard_tokens=700)
    assert contents(tmp_path / "d") == contents(tmp_path / "whole")


def test_ctrl_c_and_sigterm_keep_what_is_done(tmp_path: Path) -> None:
    text = "Some words of a longer text. " * 400_000
    (tmp_path / "t.txt").write_text(text)
    command = [sys.executable, "-m", "mlxllm", "data", "build", "d", "--source", str(tmp_path / "t.txt")]
    command += ["--tokenizer", "byte", "--json", "--progress"]
    for number in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert '"phase": "writing"' in process.stdout.readline()
        process.send_signal(number)
        _, err = process.communicate()
        assert process.returncode == 128 + number
        assert "what is done is kept; `mlxllm data build d` goes on from there" in err
        assert "Traceback" not in err
    done = subprocess.run([*command[:6], "--json"], capture_output=True, text=True, check=True)
    assert "an interrupted build is continued" in done.stderr
    assert json.loads(done.stdout)["train"]["bytes"] + json.loads(done.stdout)["val"]["bytes"] == len(text)


def test_a_terminal_that_is_closed_keeps_what_is_done(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("Some words of a longer text. " * 1_600_000)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "mlxllm", "data", "build", "d", "--source", str(tmp_path / "t.txt")]
    with subprocess.Popen([*command, "--tokenizer", "byte"], stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        while b"documents" not in seen:
            seen += os.read(ours, 4096)
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        assert process.wait() == 128 + signal.SIGHUP
    assert can_go_on(paths.folder("datasets") / "d")


def test_stopped_while_a_tokenizer_is_learned_it_can_go_on(tmp_path: Path) -> None:
    (tmp_path / "foxes.txt").write_text("\n<|endoftext|>\n".join(TEXTS), encoding="utf-8")
    listed: list[tuple[Source, Weight | None]] = [(open_source(str(tmp_path / "foxes.txt")), None)]
    interrupt(tmp_path / "d", listed, 1, TokenizerRecipe("char"))
    found = interrupted_build(tmp_path / "d")
    assert found is not None
    assert "continued" in go_on(tmp_path / "d", found.sources, tokenizer=found.tokenizer)[0]
    go_on(tmp_path / "whole", listed, tokenizer=TokenizerRecipe("char"))
    assert contents(tmp_path / "d") == contents(tmp_path / "whole")


def test_what_failed_before_anything_was_done_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    with pytest.raises(DataError, match="no usable text"):
        go_on(tmp_path / "d", [(open_source(str(tmp_path / "empty.txt")), None)])
    assert [path.name for path in tmp_path.iterdir()] == ["empty.txt"]
