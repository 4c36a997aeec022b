"""New prompts to compare two models by: generated ones, the user's own, those of a file, and what a run suggests."""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from mlxllm import paths
from mlxllm.conversation.formats import parse_conversation, parse_side
from mlxllm.conversation.locating import find_record_files
from mlxllm.conversation.preference_formats import parse_preference
from mlxllm.conversation.reading import parse_files
from mlxllm.conversation.records import Message, Preference, Record, Text
from mlxllm.conversation.report import Report
from mlxllm.conversation.saved import SavedChats
from mlxllm.conversation.trials import Prompt
from mlxllm.data.manifest import read_manifest
from mlxllm.data.sources.decoding import decoded
from mlxllm.data.sources.docs_talk import explained
from mlxllm.data.sources.stories.lessons import unseen_questions, unseen_wishes
from mlxllm.errors import DataError, UserError
from mlxllm.runs import RunDirectory, ancestors, run_settings
from mlxllm.runs.suggestions import read_suggestions

_QUESTION_EVERY = 4
_HEAD_BYTES = 4096
_MOST_CHATS = 2_000
"""Of one's own conversations, the newest."""
_MOST_RECORDS = 500_000
"""Of what a stage was trained on, as many are looked at."""


Kind = Literal["stories", "docs", "own", "suggested", "file"]
KINDS: Mapping[Kind, str] = {
    "stories": "new ones from the story world that it learned in",
    "docs": "names of Python's library that were kept out of its lessons",
    "own": "what began your own saved conversations",
    "suggested": "what its run suggests",
    "file": "a file: one prompt a line, or records",
}
"""Where prompts come from -> in words."""


def kinds_for(run: RunDirectory | None, chats: SavedChats) -> list[Kind]:
    """Where there are prompts for a model, the best place first; a file always is one.

    Args:
        run: the model's, if it has one.
        chats: the user's own conversations.

    Raises:
        DataError: their folder cannot be read.
    """
    found: list[Kind] = []
    if run is not None and story_plots(run) is not None:
        found.append("stories")
    if run is not None and knows_python_docs(run):
        found.append("docs")
    if own_prompts(chats):
        found.append("own")
    if run is not None and suggested_prompts(run):
        found.append("suggested")
    return [*found, "file"]


def new_prompts(
    kind: Kind,
    count: int,
    seed: int,
    run: RunDirectory | None,
    chats: SavedChats,
    path: Path | None = None,
    *,
    other: RunDirectory | None = None,
) -> list[Prompt]:
    """Up to `count` prompts, decided by the seed, none of which a model was trained on as far as that is known.

    Args:
        kind: where they come from.
        count: how many.
        seed: decides which.
        run: of the model that they are for, if it has one.
        chats: the user's own conversations.
        path: of the file, where that is the kind.
        other: the run of the model that it is compared with; what that one was trained on is left out as well.

    Raises:
        DataError: there are none; the message says why.
    """
    found: list[Prompt]
    if kind == "stories" and run is not None:
        found = story_prompts(2 * count, seed, story_plots(run) or 0)  # the same may be asked twice
    elif kind == "docs":
        found = docs_prompts()
    elif kind == "own":
        found = own_prompts(chats)
    elif kind == "suggested" and run is not None:
        found = suggested_prompts(run)
    else:
        found = prompts_in(path if path is not None else Path())
    left = found
    for each in (run, other):
        left = unused(left, each) if each is not None else left
    if not left:
        who = "the model was" if other is None else "the two models together were"
        raise DataError(
            f"{who} trained on all of these {len(found)} prompts; take others"
            if found
            else ("there are no prompts there; take others")
        )
    return drawn(left, count, seed)


def story_plots(run: RunDirectory) -> int | None:
    """How many plots the story world has in which a run's model lives (0 is all); None if it has read other texts."""
    options = _sources(run).get("stories", "").partition(":")[2]
    if not options:
        return None
    given = dict(part.partition("=")[::2] for part in options.split(","))
    return int(given.get("plots", "0") or 0)


def knows_python_docs(run: RunDirectory) -> bool:
    """Whether a run's model has read the documentation of Python's standard library."""
    return "pydocs" in _sources(run)


def story_prompts(count: int, seed: int, plots: int) -> list[Prompt]:
    """Requests for stories, and now and then a question about one: of a world of their own, so in no training.

    Args:
        count: how many.
        seed: of the world.
        plots: see `story_plots`.
    """
    questions = count // _QUESTION_EVERY
    asked = [exam.messages[0]["content"] for exam in unseen_wishes(count - questions, seed=seed, plots=plots)]
    about = [exam.messages[0]["content"] for exam in unseen_questions(questions, seed=seed, plots=plots)]
    return drawn([_ask(text) for text in (*asked, *about)], count, seed)


def docs_prompts() -> list[Prompt]:
    """Questions about names of the standard library that were kept out of the lessons; takes some seconds."""
    return [_ask(item.question) for item in explained() if item.held_out]


def suggested_prompts(run: RunDirectory) -> list[Prompt]:
    """What a run, or the one that it comes from, says that its model can answer on its own."""
    for stage in reversed(ancestors(run)):
        if found := read_suggestions(stage.run.path):
            # In the story world what follows is about the story that the first one asks for.
            return [_ask(text) for text in (found if story_plots(run) is None else found[:1])]
    return []


def own_prompts(chats: SavedChats) -> list[Prompt]:
    """What began the user's own conversations with models that answer, the newest first, each once.

    Raises:
        DataError: their folder cannot be read.
    """
    first: dict[str, Prompt] = {}
    for entry in chats.entries()[:_MOST_CHATS]:
        try:
            chat = chats.read(entry.id)
        except DataError:
            continue
        if chat.form == "turns" and chat.said and chat.said[0].role == "user":
            first.setdefault(_plain(chat.said[0].content), _ask(chat.said[0].content))
    return list(first.values())


def prompts_in(path: Path) -> list[Prompt]:
    """The prompts of a file: one a line, or records of conversations or preferences, whose last answers are left out.

    Raises:
        DataError: the file cannot be read, or holds no prompt.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}; give one with a prompt a line, or with records")
    report = Report()
    try:
        with open(path, "rb") as file:
            begin = file.read(_HEAD_BYTES).lstrip()[:4]
        if begin[:1] in (b"{", b"[") or begin == b"PAR1":
            found = [prompt for prompt in parse_files([path], _prompt_of, report) if prompt]
        else:
            lines = "".join(decoded(path, report.problems)).splitlines()
            found = [_ask(line.strip()) for line in lines if line.strip()]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start:,} is not UTF-8; save the file as UTF-8 text") from None
    if not found:
        raise DataError(f"{path} holds no prompt; write one a line")
    return found


def unused(prompts: Sequence[Prompt], run: RunDirectory) -> list[Prompt]:
    """Those that no stage of a run's model was trained on, as far as the records of the stages are still there."""
    left = {_plain(prompt[-1].content): prompt for prompt in prompts}
    for stage in ancestors(run):
        data = run_settings(stage.run).get("data")
        names = data.get("records") if isinstance(data, dict) else None
        for name in names if isinstance(names, list) else ():
            for text in islice(_asked_in(_records(str(name))), _MOST_RECORDS) if left else ():
                left.pop(_plain(text), None)
    return list(left.values())


def drawn(prompts: Iterable[Prompt], count: int, seed: int) -> list[Prompt]:
    """Up to `count` of them in an order that `seed` decides."""
    shuffled = list(prompts)
    random.Random(seed).shuffle(shuffled)
    return shuffled[:count]


def _ask(text: str) -> Prompt:
    return (Message("user", text),)


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _prompt_of(raw: dict[str, Any], where: str) -> Prompt:
    """The turns of a record up to what is to be answered; none if it asks nothing."""
    if "prompt" in raw and "completion" not in raw and "chosen" not in raw:
        return parse_side(raw["prompt"], "prompt", "user")
    record: Record | Preference
    record = parse_preference(raw, where) if "chosen" in raw else parse_conversation(raw, where)
    if isinstance(record, Preference):
        return record.prompt
    if isinstance(record, Text):
        return _ask(record.text)
    turns = record.messages
    while turns and turns[-1].role == "assistant":
        turns = turns[:-1]
    return turns


def _asked(raw: dict[str, Any], where: str) -> list[str]:
    record: Record | Preference
    record = parse_preference(raw, where) if "chosen" in raw else parse_conversation(raw, where)
    if isinstance(record, Text):
        return []
    turns = record.prompt if isinstance(record, Preference) else record.messages
    return [turn.content for turn in turns if turn.role == "user"]


def _asked_in(files: Sequence[Path]) -> Iterator[str]:
    """What users say in the records of these files; a damaged file ends where the damage begins."""
    try:
        for texts in parse_files(list(files), _asked, Report()):
            yield from texts
    except UserError:
        return


def _records(name: str) -> tuple[Path, ...]:
    """The files behind what a run was trained on, as far as they are on this machine."""
    path = Path(name).expanduser()
    try:
        return find_record_files([name]).train if path.exists() else ()
    except UserError:
        return ()


def _sources(run: RunDirectory) -> dict[str, str]:
    """Source -> spec of the dataset that a run's model has read first."""
    data = run_settings(ancestors(run)[0].run).get("data")
    name = data.get("dataset") if isinstance(data, dict) else None
    if not isinstance(name, str) or not name:
        return {}
    # A home that was moved keeps its datasets, but not their paths.
    for folder in (paths.folder("datasets") / name, paths.folder("datasets") / Path(name).name):
        try:
            return {source: entry.spec for source, entry in read_manifest(folder).sources.items()}
        except UserError:
            continue
    return {}
