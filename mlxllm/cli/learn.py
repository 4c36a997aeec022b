"""`mlxllm learn`: the tour. Ten chapters in the order in which a model comes to be, each tried out on the user's own."""

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlxllm.cli.sampling import say
from mlxllm.errors import ConfigError, UserError

if TYPE_CHECKING:  # the chapters are imported by the command
    from mlxllm.learn.chapter import Chapter
    from mlxllm.learn.progress import Mark, Progress
    from mlxllm.learn.trying import Trial


def learn(
    number: Annotated[
        int | None, typer.Argument(metavar="N", help="Show this chapter; without it, the list and how far you are.")
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Run its experiment.")] = False,
    answer: Annotated[bool, typer.Option("--answer", help="Show the answer to its question.")] = False,
    done: Annotated[bool, typer.Option("--done", help="Note that it is done.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Forget how far you are.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, nothing else.")] = False,
) -> None:
    """The tour: how a model comes to be, in ten short chapters with experiments on a model of your own.

    An experiment is a command like any other; it is shown before it runs. A chapter is done when its experiment was run
    and its answer seen, or with --done.
    """
    from mlxllm.learn import progress
    from mlxllm.learn.contents import chapter
    from mlxllm.learn.subjects import find_subjects
    from mlxllm.learn.trying import trial

    asked = {"--run": run, "--answer": answer, "--done": done}
    if reset:
        if number is not None or any(asked.values()):
            raise ConfigError("--reset forgets the progress of all chapters; give it alone")
        progress.forget()
        say("forgotten; `mlxllm learn 1` begins anew")
        if json_:
            print(json.dumps(_list_as_json(progress.read_progress())))
        return
    if number is None:
        if given := [flag for flag, on in asked.items() if on]:
            raise ConfigError(
                f"{given[0]} is about one chapter; give its number, too, as in `mlxllm learn 1 {given[0]}`"
            )
        _list(progress.read_progress(), json_)
        return
    found = chapter(number)
    experiment = trial(found, find_subjects())
    outcome: dict[str, Any] | None = None
    if run:
        outcome = _run(found, experiment, json_)
    tried = outcome is not None and outcome["returncode"] == 0
    marks: dict[Mark, bool] = {"read": True, "tried": tried, "answered": answer, "done": done}
    now = _keep(number, [name for name, on in marks.items() if on])
    if json_:
        told = {**_as_json(found, experiment, now), **({"answer": found.answer} if answer else {})}
        print(json.dumps({**told, **({"run": outcome} if outcome is not None else {})}))
    else:
        _show(found, experiment, now, run=run, answer=answer, done=done)
    if outcome is not None and outcome["returncode"]:
        code = outcome["returncode"]
        sys.exit(code if code > 0 else 128 - code)


def _keep(number: int, marks: "list[Mark]") -> "Progress":
    """Note marks; where that cannot be done, the chapter is shown all the same."""
    from mlxllm.learn import progress

    try:
        now = progress.mark(number, *marks)
    except UserError as error:
        say(f"warning: {error}; how far you are is not remembered")
        return progress.read_progress()
    if now.problem:
        say(f"warning: {now.problem}")
    return now


def _list(now: "Progress", json_: bool) -> None:
    if json_:
        print(json.dumps(_list_as_json(now)))
        return
    from mlxllm.cli.learn_view import print_list

    print_list(now)


def _list_as_json(now: "Progress") -> dict[str, Any]:
    from mlxllm.learn.contents import CHAPTERS

    told = [{"number": each.number, "title": each.title, **_marks(each, now)} for each in CHAPTERS]
    return {"next": now.next, "last": now.last, "chapters": told}


def _marks(chapter: "Chapter", now: "Progress") -> dict[str, bool]:
    marks = now.of(chapter.number)
    return {**{name: name in marks for name in ("read", "tried", "answered")}, "done": now.is_done(chapter.number)}


def _as_json(chapter: "Chapter", experiment: "Trial", now: "Progress") -> dict[str, Any]:
    return {
        "number": chapter.number,
        "title": chapter.title,
        "text": chapter.lines,
        "formula": chapter.formula,
        "references": [{"file": each.file, "name": each.name} for each in chapter.references],
        "experiment": {
            "args": list(experiment.args),
            "command": experiment.command,
            "look": experiment.look,
            "missing": experiment.missing or None,
        },
        "question": chapter.question,
        **_marks(chapter, now),
    }


def _show(chapter: "Chapter", experiment: "Trial", now: "Progress", *, run: bool, answer: bool, done: bool) -> None:
    """What was asked for: the chapter, its answer, or what is next."""
    from mlxllm.cli import learn_view
    from mlxllm.learn.contents import CHAPTERS

    if answer:
        learn_view.print_answer(chapter)
    if done:
        say(f"chapter {chapter.number} is done, {now.done} of {len(CHAPTERS)}; next: `mlxllm learn {now.next}`")
    if not (run or answer or done):
        learn_view.print_chapter(chapter, experiment)


def _run(chapter: "Chapter", experiment: "Trial", json_: bool) -> dict[str, Any]:
    """Run the experiment as a process of its own, on this terminal; with `json_` what it prints is kept.

    Raises:
        UserError: something is missing for it.
    """
    if not experiment.args:
        raise UserError(f"the experiment of chapter {chapter.number} has to wait: {experiment.missing}")
    if not json_:
        from mlxllm.cli.learn_view import print_command

        print_command(experiment)
    # -P: a file of the working folder, such as a random.py, must not stand in for a module of the library.
    command = [sys.executable, "-P", "-m", "mlxllm", *experiment.args]
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE if json_ else None, text=True, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot start {experiment.command}: {error.strerror or error}") from error
    while True:
        try:
            printed, _ = process.communicate()
            break
        except KeyboardInterrupt:  # it has had its own, and may want to save something
            continue
    if not json_ and not process.returncode:
        say(f"\n{experiment.look}")
    return {"returncode": process.returncode, **({"stdout": printed} if json_ else {})}
