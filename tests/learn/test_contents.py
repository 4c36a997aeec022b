"""The chapters: as short as promised, every reference is there, every experiment is a command that exists."""

import ast
import re
import string
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.cli.app import app
from mlxllm.errors import ConfigError
from mlxllm.learn.chapter import MOST_LINES, WIDEST, Chapter, Experiment
from mlxllm.learn.contents import CHAPTERS, chapter
from mlxllm.learn.trying import filled, trial

ROOT = Path(__file__).resolve().parents[2]
SUBJECTS = {
    "model": "stories-1",
    "dpo": "stories-1-dpo",
    "pairs": "/a folder/pairs.jsonl",
    "dataset": "stories-1",
    "char": "letters",
    "bpe": "/a folder/tokenizer",
    "new": "stories-2",
    "letters": "letters-1",
    "pieces": "pieces-1",
    "liked": "liked-1",
    "lesson": "/a folder/pairs.jsonl",
}
every_chapter = pytest.mark.parametrize("each", CHAPTERS, ids=lambda each: each.title)


@every_chapter
def test_a_chapter_fits_on_a_screen(each: Chapter) -> None:
    assert 10 <= len(each.lines) <= MOST_LINES == 25
    assert max(map(len, [*each.lines, *each.formula.split("\n")])) <= WIDEST
    assert each.references
    assert each.experiments
    assert each.question.endswith("?")
    assert each.answer
    assert chapter(each.number) is each


def test_they_are_numbered_in_their_order() -> None:
    assert [each.number for each in CHAPTERS] == list(range(1, 11))
    for number in (0, 11, -1):
        with pytest.raises(ConfigError, match="1 to 10"):
            chapter(number)


@every_chapter
def test_paragraphs_are_the_text_for_another_width(each: Chapter) -> None:
    assert " ".join(each.paragraphs).split() == each.text.split()
    assert len(each.paragraphs) == each.text.strip().count("\n\n") + 1 + sum(
        line.startswith("- ") and before != "" for before, line in zip(each.lines, each.lines[1:], strict=False)
    )


@every_chapter
def test_a_formula_can_do_without_its_own_letters(each: Chapter) -> None:
    assert each.formula_in_ascii.isascii()
    assert max(map(len, each.formula_in_ascii.split("\n"))) <= WIDEST
    assert each.text.replace("é", "").isascii()


def names_in(tree: ast.Module) -> set[str]:
    """Functions and classes of a file, methods as Class.method."""
    found = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return found


@every_chapter
def test_every_reference_is_there(each: Chapter) -> None:
    for reference in each.references:
        path = ROOT / reference.file
        assert path.is_file(), reference.text
        assert reference.name in names_in(ast.parse(path.read_text(encoding="utf-8"))), reference.text


@every_chapter
def test_papers_are_named_by_numbers_that_can_be(each: Chapter) -> None:
    """Figures of others have a source, and what looks like one is of arXiv's form: year, month, number."""
    text = f"{each.text} {each.answer} {each.formula}"
    for number in re.findall(r"arXiv:([\d.]*\d)", text):
        assert re.fullmatch(r"(0[7-9]|1\d|2[0-6])(0[1-9]|1[0-2])\.\d{4,5}", number), number
    for big in re.finditer(r"(trillion|thousand GPU|billion)", each.text):
        assert "arXiv:" in each.text[big.start() : big.start() + 300], each.text[big.start() - 50 : big.start() + 50]


def parsed(args: tuple[str, ...]) -> str:
    """The path of the command that takes these arguments; nothing is run."""
    command = typer.main.get_command(app)
    context = command.make_context("mlxllm", list(args))
    while hasattr(command, "resolve_command"):
        left = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, left)
        assert command is not None
        context = command.make_context(name, list(rest), parent=context)
    return str(context.command_path)


@every_chapter
def test_every_experiment_is_a_command_line_of_ours(each: Chapter) -> None:
    for experiment in each.experiments:
        args = filled(experiment, SUBJECTS)
        assert not [word for word in args if "{" in word], args
        told = parsed(args).split()
        assert tuple(told[1:]) == args[: len(told) - 1]
    with pytest.raises(typer.TyperException):
        parsed((*filled(each.experiments[0], SUBJECTS), "--no-such-option"))


def test_the_first_experiment_whose_needs_are_met_is_taken() -> None:
    first = CHAPTERS[0]
    free = {name: SUBJECTS[name] for name in ("new", "letters", "pieces", "liked", "lesson")}
    assert trial(first, free).makes_a_model
    assert trial(first, {**free, "model": "m"}).args[:3] == ("tokenizer", "train", "letters-1")
    assert trial(first, SUBJECTS).args[:3] == ("tokenizer", "show", "letters")
    assert trial(first, {**free, "char": "letters"}).makes_a_model
    for each in CHAPTERS[2:]:
        assert "mlxllm learn 1 --run" in trial(each, free).missing
        assert not trial(each, free).command
    assert trial(CHAPTERS[8], {**free, "model": "m"}).args[:3] == ("dpo", "--model", "m")
    assert "is there any more" in trial(CHAPTERS[9], {**free, "model": "m"}).missing


@given(st.text(string.printable + "é{}'\"", min_size=1))
def test_what_is_filled_in_stays_one_argument(name: str) -> None:
    """Whatever a run or a folder is called: no quoting, no second replacement."""
    args = filled(Experiment("eval --model {model} --data '{dataset} x'", ""), {"model": name, "dataset": "d"})
    assert args == ("eval", "--model", name, "--data", "{dataset} x")
