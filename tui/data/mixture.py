"""The sources that are to become a dataset, and how much of each."""

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_MOST = 100.0
_USUAL_VAL_SPLIT = 0.01
_LITTLE_TEXT = 1_000_000
"""Bytes below which a hundredth is too little to be judged by."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much text a source holds."""

    bytes: int | None
    """About; None where nobody knows."""
    single_text: bool
    """One text, which can only be repeated whole, and whose end is held out."""
    documents: int | None = None
    """About; None where nobody knows."""
    thresholds: tuple[float, ...] | None = None
    """Of each document, where all were read: the held-out part above which it is held out."""


def short_spec(spec: str) -> str:
    """KIND:WHAT with the last part of a path only, behind it a slash where that is a folder; options stay."""
    kind, colon, rest = spec.partition(":")
    path, options = _without_options(rest)
    if not colon or not path.startswith("/"):
        return spec
    last = os.path.basename(path.rstrip("/")) or path
    return f"{kind}:{last}{'/' if os.path.isdir(path) and last != '/' else ''}{options}"


def _without_options(rest: str) -> tuple[str, str]:
    """What stands behind the colon of a specification, and its options with their commas."""
    found = re.search(r"(?:,[a-z_]+=[^,]*)+\Z", rest)
    return (rest[: found.start()], found[0]) if found else (rest, "")


def asked(weight: float) -> str | None:
    """The weight as the command takes it: how often a source is read, nothing for once."""
    return None if weight == 1 else f"{weight:g}x"


def heavier(weight: float) -> float:
    """The next weight: in tenths below 1, then 2, 3, ..."""
    return min(_MOST, round(weight + 0.1, 1) if weight < 1 else math.floor(weight) + 1.0)


def lighter(weight: float) -> float:
    """The weight before; never less than a tenth."""
    return max(0.1, round(weight - 0.1, 1)) if weight <= 1 else math.ceil(weight) - 1.0


def shares(mixture: Mapping[str, float], sizes: Mapping[str, Size]) -> dict[str, float | None]:
    """What part of the training text each source is going to be, about; None as long as a size is not known."""
    parts: dict[str, float] = {}
    for spec, weight in mixture.items():
        size = sizes.get(spec)
        if size is None or size.bytes is None:
            return dict.fromkeys(mixture)
        parts[spec] = weight * size.bytes
    whole = sum(parts.values())
    return {spec: part / whole if whole else None for spec, part in parts.items()}


def total_bytes(mixture: Iterable[tuple[str, float]], sizes: Mapping[str, Size]) -> int | None:
    """Bytes of text in the mixture, about; None as long as a size is not known."""
    parts = [(weight, sizes[spec].bytes if spec in sizes else None) for spec, weight in mixture]
    if any(size is None for _, size in parts):
        return None
    return round(sum(weight * size for weight, size in parts if size is not None))


def all_thresholds(sizes: Sequence[Size]) -> tuple[float, ...] | None:
    """Of all documents of a mixture; None where not all are known, or where the end of a text is held out anyway."""
    if any(size.thresholds is None or size.single_text for size in sizes):
        return None
    return tuple(threshold for size in sizes for threshold in size.thresholds or ())


def suggested_val_split(sizes: Sequence[Size]) -> float:
    """What part to hold out of a mixture: a hundredth, of little text a tenth, of few documents enough for one of them.

    Documents are held out whole, as a hash of each says, so that of a handful a hundredth is often none.
    """
    known = [size.bytes for size in sizes if size.bytes is not None]
    usual = 0.1 if len(known) == len(sizes) and sum(known) < _LITTLE_TEXT else _USUAL_VAL_SPLIT
    thresholds = all_thresholds(sizes)
    if thresholds is not None:
        return splitting_share(thresholds, usual)
    documents = [size.documents for size in sizes]
    if any(size.single_text for size in sizes) or None in documents:
        return usual
    # One document or more in more than 19 of 20 cases.
    return max(usual, min(0.5, math.ceil(300 / max(1, sum(n for n in documents if n is not None))) / 100))


def splitting_share(thresholds: Sequence[float], usual: float) -> float:
    """The smallest held-out part from `usual` on that leaves a document on either side; `usual` where none does."""
    distinct = sorted(set(thresholds))
    if len(distinct) < 2 or distinct[0] < usual <= distinct[-1]:
        return usual
    low, high = distinct[:2] if usual <= distinct[0] else distinct[-2:]
    for digits in range(2, 16):
        share = math.floor(low * 10.0**digits + 1) / 10.0**digits
        if low < share <= high:
            return share
    return usual


def suggested_tokenizer(size: int | None) -> str:
    """A vocabulary takes text to be learned from: a short text is read by characters, a long one in larger pieces."""
    if size is None:
        return "bpe:4096"
    return "char" if size < 300_000 else "bpe:1024" if size < 2_000_000 else "bpe:4096"


def suggested_name(specs: Sequence[str], taken: Iterable[str]) -> str:
    """A name for a dataset of these sources that is still free."""
    # A file's without its suffix, a data set's without its owner; of a source of options alone that of its kind.
    kind, _, rest = specs[0].partition(":") if specs else ("", "", "")
    what = os.path.basename(_without_options(rest)[0].rstrip("/"))
    told = what and not what.isdigit() and "=" not in what
    first = re.sub(r"\.\w{1,7}(?:\.(?:gz|zst|bz2|xz))?$", "", what if told else kind)
    base = re.sub(r"[^A-Za-z0-9._-]+", "-", first).strip("-._")[:40] or "mixture"
    base = base if len(specs) < 2 else f"{base}-mix"
    known = set(taken)
    name, number = base, 1
    while name in known:
        number += 1
        name = f"{base}-{number}"
    return name
