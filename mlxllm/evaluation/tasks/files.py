"""Local files of benchmarks to tasks, told by what is in them: JSON lines, lists, parquet, MMLU's tables, packed or not."""

import codecs
import csv
import hashlib
import io
import os
import re
from collections.abc import Iterable
from pathlib import Path

from mlxllm.conversation.reading import raw_records
from mlxllm.data.sources.base import Problems
from mlxllm.data.sources.files import DamagedFileError, name_without_packing, read_chunks
from mlxllm.errors import DataError
from mlxllm.evaluation.tasks.items import Choice, Item, Task
from mlxllm.evaluation.tasks.records import reader_of

_LETTERS = "ABCD"
_ASKED_PARTS = ("test", "validation", "valid", "val")
_SHOWN_PARTS = ("dev", "train")
_PART = re.compile(rf"(?<![a-z])({'|'.join(_ASKED_PARTS)})(?![a-z])", re.IGNORECASE)


def read_tasks(path: Path) -> list[Task]:
    """The task of a file, or those of a folder in MMLU's form (`test/*.csv`, `dev/*.csv`).

    Raises:
        DataError: it cannot be read, or is no benchmark that is known; the message names file and line.
    """
    path = path.expanduser()
    if path.is_dir():
        return _mmlu_folder(path)
    check_there([path])
    data = _unpacked(path)
    if _is_table(data):
        return [_mmlu_file(path, data, group=None)]
    files = [path]
    items = _items(path, data, files)
    examples: tuple[Item, ...] = ()
    for other in _beside(path):
        if other.is_file():
            found = _items(other, _unpacked(other), files := [*files, other])
            if isinstance(found[0], type(items[0])):
                examples = found
                break
    return [Task(task_name(path), items, _sha256(files), examples)]


def check_there(paths: Iterable[Path]) -> None:
    """Refuse paths where nothing is, all of them at once.

    Raises:
        DataError: the message names each, with near names.
    """
    missing = [path for path in (each.expanduser() for each in paths) if not path.is_file() and not path.is_dir()]
    if missing:
        advice = "give the path of a file of questions, or a name of lm-eval"
        raise DataError(f"{'; '.join(map(_missing, missing))}; {advice}")


def holds_questions(path: Path) -> bool:
    """Whether a path is that of questions rather than of text: a file's first record tells, or a folder's tables."""
    if path.is_dir():
        return any(file.is_file() for part in _ASKED_PARTS for file in (path / part).glob("*.csv*"))
    if not name_without_packing(path).endswith((".json", ".jsonl", ".ndjson")):
        return False
    try:
        where, record = next(raw_records(path, Problems()), ("", None))
        reader_of(record, where)
    except DataError:
        return False
    return record is not None and not {"text", "content"} & record.keys()


def task_name(path: Path) -> str:
    """What the task of a file is called: the file's name without suffixes."""
    return Path(name_without_packing(path)).stem


def _unpacked(path: Path) -> bytes:
    try:
        data = b"".join(read_chunks(path))
    except DamagedFileError as error:
        raise DataError(f"{path} is damaged: {error}; fetch it again") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    if not data.strip():
        raise DataError(f"{path} is empty; a file of questions was expected")
    return data


def _items(path: Path, data: bytes, files: list[Path]) -> tuple[Item, ...]:
    """The items of a file of records; labels beside it are added to `files`."""
    problems = Problems()
    records = [(where, record) for where, record in raw_records(path, problems)]
    if not records:
        raise DataError(f"{path} holds no records; a file of questions was expected")
    read = reader_of(records[0][1], records[0][0])
    if records[0][1].keys() >= {"goal", "sol1", "sol2"} and "label" not in records[0][1]:
        labels = _labels(path, len(records))
        files.append(_labels_file(path))
        records = [
            (where, {**record, "label": label} if isinstance(record, dict) else record)
            for (where, record), label in zip(records, labels, strict=True)
        ]
    items = []
    for where, record in records:
        if reader_of(record, where) is not read:
            raise DataError(f"{where}: the record has other keys than the first one of the file")
        items.append(read(record, where))
    return tuple(items)


def _labels_file(path: Path) -> Path:
    """PIQA keeps the right answers in a file of its own: `valid-labels.lst` beside `valid.jsonl`."""
    stem = task_name(path)
    names = (f"{stem}-labels.lst", f"{stem}_labels.lst", f"{stem}-labels.txt")
    found = [path.with_name(name) for name in names if path.with_name(name).is_file()]
    if not found:
        raise DataError(
            f"{path} has no 'label' in its records, and the file with the right answers, {names[0]}, is not beside it"
        )
    return found[0]


def _labels(path: Path, count: int) -> list[str]:
    labels_path = _labels_file(path)
    labels = _text(labels_path, _unpacked(labels_path)).split()
    if len(labels) != count:
        raise DataError(f"{labels_path} has {len(labels):,} labels, but {path} has {count:,} questions")
    return labels


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start:,}; convert it first") from None


def _is_table(data: bytes) -> bool:
    """Whether the first row is one of MMLU's: a question, four choices and a letter."""
    begin = data.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    if begin in (b"{", b"[") or data.startswith(b"PAR1"):
        return False
    try:
        row = next(csv.reader(io.StringIO(data.decode("utf-8-sig", "replace"), newline="")))
    except (csv.Error, StopIteration):
        return False
    return len(row) > 2


def _rows(path: Path, data: bytes) -> tuple[Choice, ...]:
    items = []
    reader = csv.reader(io.StringIO(_text(path, data), newline=""), strict=True)
    try:
        for row in reader:
            if row:
                items.append(_row(row, f"{path}:{reader.line_num}"))
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: the line is no row of a table ({error})") from None
    return tuple(items)


def _row(row: list[str], where: str) -> Choice:
    if len(row) != 6:
        raise DataError(f"{where}: the row has {len(row)} columns; MMLU's have 6: question, four choices, letter")
    question, *choices, letter = row
    if letter.strip() not in tuple(_LETTERS):
        raise DataError(f"{where}: the right answer is {letter!r}; it should be A, B, C or D")
    shown = "".join(f"\n{name}. {choice}" for name, choice in zip(_LETTERS, choices, strict=True))
    return Choice(f"{question.strip()}{shown}\nAnswer:", tuple(_LETTERS), _LETTERS.index(letter.strip()))


def _mmlu_file(path: Path, data: bytes, group: str | None) -> Task:
    subject = re.sub(rf"_({'|'.join((*_ASKED_PARTS, *_SHOWN_PARTS))})$", "", task_name(path))
    examples: tuple[Item, ...] = ()
    files = [path]
    for other in (*(path.parent.parent / p / f"{subject}_{p}{path.suffix}" for p in _SHOWN_PARTS), *_beside(path)):
        if other.is_file() and other != path:
            examples, files = _rows(other, _unpacked(other)), [path, other]
            break
    about = f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n"
    name = f"{group}_{subject}" if group else subject
    return Task(name, _rows(path, data), _sha256(files), examples, about, letters=True, group=group)


def _mmlu_folder(folder: Path) -> list[Task]:
    for part in _ASKED_PARTS:
        files = sorted(path for path in (folder / part).glob("*.csv*") if path.is_file())
        if files:
            group = folder.resolve().name
            return [_mmlu_file(path, _unpacked(path), group) for path in files]
    raise DataError(
        f"{folder} is a folder without questions: MMLU's has test/SUBJECT_test.csv (and dev/SUBJECT_dev.csv with the "
        f"examples) in it; give a file otherwise"
    )


def _beside(path: Path) -> Iterable[Path]:
    """Where the examples of a file of questions would lie: `x_train.jsonl` for `x_test.jsonl`."""
    found = list(_PART.finditer(path.name))
    if found:
        start, end = found[-1].span()
        for part in _SHOWN_PARTS:
            yield path.with_name(path.name[:start] + part + path.name[end:])


def _missing(path: Path) -> str:
    """What is wrong with a path where no file is."""
    from difflib import get_close_matches

    if path.is_symlink():
        return f"{path} is a link to {os.readlink(path)}, and there is no file"
    if path.exists():
        return f"{path} is no plain file"
    if not path.parent.is_dir():
        return f"there is no file {path}, and no folder {path.parent}"
    near = get_close_matches(path.name, [each.name for each in path.parent.iterdir()], n=3, cutoff=0.4)
    where = "this folder" if path.parent == Path() else str(path.parent)
    known = f" ({where} has {', '.join(near)})" if near else ""
    return f"there is no file {path}{known}"


def _sha256(files: Iterable[Path]) -> str:
    from mlxllm.runs import sha256_of_file

    return hashlib.sha256("".join(sha256_of_file(path) for path in files).encode()).hexdigest()
