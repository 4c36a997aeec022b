"""JSON lines, whatever their files are called: a document a line, in the field `text` or `content`."""

from pathlib import Path

from mlxllm.data.sources.base import SourceKind
from mlxllm.data.sources.text import TextSource
from mlxllm.errors import ConfigError

KIND = SourceKind(
    "jsonl",
    "files of JSON lines with a field text or content (.gz, .zst): a document a line, whatever the files are called",
    "your own files: their licence",
    "jsonl:web/*.json",
    "data sets that somebody has downloaded or made with another tool",
)


class JsonlSource(TextSource):
    """As `TextSource`, with every file read as JSON lines."""

    @property
    def spec(self) -> str:
        """`jsonl:PATH`."""
        return f"{KIND.kind}:{self.pattern}"

    def _holds_records(self, path: Path) -> bool:
        return True


def parse(spec: str) -> JsonlSource:
    """The source that `jsonl:SPEC` stands for.

    Raises:
        ConfigError: no path is named.
        DataError: see `TextSource`.
    """
    if not spec:
        raise ConfigError("source 'jsonl' needs a file, a folder or a glob: jsonl:PATH")
    return JsonlSource(spec)
