"""A source of records for the tests of builds: files of one line a document, told by many processes or by one."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from mlxllm.data.sources.base import Document, Dropped, Record, RecordSource


class Lines(RecordSource):
    """Each line of each file is a record; `bad` ones come to nothing, and `slow` ones are counted as mended."""

    def __init__(self, files: Sequence[Path], *, in_order: bool = False) -> None:
        super().__init__("lines", f"lines:{','.join(map(str, files))}")
        self.files = list(files)
        self.reads_in_order = in_order
        self.opened: list[str] = []

    def parts(self) -> Sequence[str]:
        return [str(path) for path in self.files]

    def records(self, part: str) -> Iterator[Record | Document | Dropped]:
        self.opened.append(part)
        self.problems.mend("opened", part)
        for number, line in enumerate(Path(part).read_text(encoding="utf-8").split("\n")):
            if line.startswith("gone"):
                yield Dropped("gone", f"{part}:{number}")
            else:
                yield Record(f"{part}:{number}", line.encode())

    def extract(self, record: Record) -> Document | Dropped:
        text = record.content.decode()
        if text.startswith("bad"):
            return Dropped("bad", record.where, "it says so", text)
        language = "en" if len(text) % 2 else "de"
        return Document(text, record.where, self.name, metadata={"language": language})
