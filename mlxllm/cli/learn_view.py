"""The chapters of the tour on stdout: as they are written where there is room, else folded."""

import sys

import typer

from mlxllm.cli.sampling import say, use_colour
from mlxllm.cli.table import field_lines, print_table
from mlxllm.cli.terminal import columns, fold
from mlxllm.learn.chapter import WIDEST, Chapter
from mlxllm.learn.contents import CHAPTERS
from mlxllm.learn.progress import Progress
from mlxllm.learn.trying import Trial
from mlxllm.visible import readable


def print_list(now: Progress) -> None:
    """All chapters, and how far the reader is."""
    rows = [(str(each.number), each.title, _so_far(each, now)) for each in CHAPTERS]
    print_table(("", "chapter", "so far"), rows)
    if now.problem:
        say(f"warning: {now.problem}")
    say(f"{now.done} of {len(CHAPTERS)} done; go on with `mlxllm learn {now.next}`")


def _so_far(chapter: Chapter, now: Progress) -> str:
    marks = now.of(chapter.number)
    if now.is_done(chapter.number):
        return "done"
    return ", ".join(name for name in ("read", "tried", "answered") if name in marks) or "-"


def print_chapter(chapter: Chapter, experiment: Trial) -> None:
    """A chapter without its answer."""
    print(_bold(f"{chapter.number}. {chapter.title}"))
    print()
    if not sys.stdout.isatty() or columns(sys.stdout) > WIDEST:
        print("\n".join(chapter.lines))
    else:
        print("\n\n".join(fold(paragraph, sys.stdout) for paragraph in chapter.paragraphs))
    print()
    for line in _formula(chapter).split("\n"):
        print(f"    {line}")
    print()
    number = chapter.number
    rows = [("in the code" if not place else "", each.text) for place, each in enumerate(chapter.references)]
    if experiment.args:
        rows += [
            ("experiment", f"$ {readable(experiment.command)}"),
            ("", experiment.look),
            ("", f"`mlxllm learn {number} --run` runs it"),
        ]
    else:
        rows.append(("experiment", experiment.missing))
    rows += [("question", chapter.question), ("", f"`mlxllm learn {number} --answer` has the answer")]
    for line in field_lines(rows, sys.stdout):
        print(line)


def _formula(chapter: Chapter) -> str:
    """With its own letters, where stdout has them."""
    try:
        chapter.formula.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return chapter.formula_in_ascii
    return chapter.formula


def print_answer(chapter: Chapter) -> None:
    """The question and its answer."""
    for line in field_lines((("question", chapter.question), ("answer", chapter.answer)), sys.stdout):
        print(line)


def print_command(experiment: Trial) -> None:
    """The command, before it runs."""
    say(f"$ {readable(experiment.command)}")


def _bold(text: str) -> str:
    return typer.style(text, bold=True) if use_colour(sys.stdout) else text
