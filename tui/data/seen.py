"""What the tabs of the data screen show of one entry, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlxllm.data.preview import Shown, Spread
from mlxllm.tokenizer.showing import Run


@dataclass(frozen=True, slots=True)
class Reason:
    """Why records were left out, or used otherwise than they stood."""

    what: str
    count: int
    examples: tuple[str, ...]
    left_out: bool
    size: int = 0
    """UTF-8 bytes of their text, as far as they had come to one."""
    source: str = ""
    """Of a dataset: whose records they were."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Tokens in a row of training that belong together."""

    text: int
    """Number of the text that they are of; -1 for padding."""
    tokens: int
    trained: bool
    begins: bool
    """The text begins here."""


@dataclass(slots=True)
class Seen:
    """All that the tabs show of one entry."""

    problem: str = ""
    """Why there is nothing to see, in a sentence."""
    waiting: str = ""
    """What there is to wait for, or to do first, in a sentence."""
    wanted: str = ""
    """What is to be given before there is anything to see, in a sentence."""
    about: Sequence[tuple[str, str]] = ()
    """Of a kind of source: what it is good for, its licence, and so on."""
    texts: Sequence[Shown] = ()
    more: str = ""
    """What follows behind the texts, in a sentence."""
    tokenizer: str = ""
    """Whose tokens they are."""
    tokens: Sequence[tuple[int, str]] = ()
    """Id and piece."""
    facts: list[tuple[str, str]] = field(default_factory=list)
    """Statistics by name."""
    sources: Sequence[tuple[str, Sequence[tuple[str, str]]]] = ()
    """Of a dataset: each source with its statistics by name."""
    notes: Sequence[str] = ()
    """Of a dataset: what its build has noted."""
    lengths: Spread | None = None
    lengths_of: str = "tokens a document"
    frequent: Sequence[tuple[str, float]] = ()
    """The most frequent pieces with their share."""
    reasons: Sequence[Reason] = ()
    reasons_of: str = ""
    """What was looked through for them."""
    rows: Sequence[Sequence[Stretch]] = ()
    rows_note: str = ""
    masked: Sequence[tuple[str, Sequence[Run]]] = ()
    """Records with a title, as runs of trained and masked tokens."""


def reasons_of(
    dropped: Mapping[str, int],
    mended: Mapping[str, int],
    examples: Mapping[str, Sequence[str]],
    sizes: Mapping[str, int] | None = None,
    source: str = "",
) -> list[Reason]:
    """What was left out, then what was noted, each by how often."""
    found = []
    for counts, left_out in ((dropped, True), (mended, False)):
        for what, number in sorted(counts.items(), key=lambda item: -item[1]):
            size = (sizes or {}).get(what, 0)
            found.append(Reason(what, number, tuple(examples.get(what, ())), left_out, size, source))
    return found
