"""What a tokenizer.json has to be before the `tokenizers` library sees it: whole, of sane size, without bombs.

The library answers many kinds of damage with an error, some by ending its thread with a panic, and it takes ids, growth
and regular expressions as they come.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from operator import add
from typing import Any

from mlxllm.errors import DataError
from mlxllm.tokenizer.hub_files import quoted

MOST_TOKENS = 4_000_000
"""The largest known vocabulary has 262,144."""
_MOST_PARTS = 64
_MOST_GROWTH = 256
_MOST_PATTERN = 10_000
_MOST_REPEATS = 10_000
_COUNTED = re.compile(r"\{(\d{0,9}),?(\d{0,9})\}")
_TOKENS = re.compile(r"\\.|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]|[()]|[*+]|\{\d+,\}", re.DOTALL)


def check_tokenizer_json(content: Mapping[str, Any], where: str) -> None:
    """Refuse what is damaged or meant to be.

    Args:
        content: the JSON object.
        where: the file, for messages.

    Raises:
        DataError: the message names the part and what is wrong with it.
    """
    model = content.get("model")
    if not isinstance(model, dict):
        raise _bad(where, f"its model is {_kind(model)} and should be an object")
    kind = model.get("type", "BPE" if "merges" in model else "Unigram" if "unk_id" in model else None)
    if kind not in ("BPE", "Unigram"):
        raise DataError(f"{where} is a tokenizer of the kind {quoted(kind)}; known are BPE and Unigram")
    tokens = _bpe(model, where) if kind == "BPE" else _unigram(model, where)
    _added(content.get("added_tokens"), tokens, where)
    for part in ("normalizer", "pre_tokenizer", "decoder", "post_processor"):
        check_part(content.get(part), f"the {part} of {where}")


def check_part(part: Any, where: str) -> None:
    """Refuse a step of a tokenizer that may take for ever, or fill the memory.

    Raises:
        DataError: it is no object, has very many steps, makes texts much longer, or has a regular expression that
            would.
    """
    if part is None:
        return
    if not isinstance(part, dict):
        raise DataError(f"{where} is {_kind(part)} and should be an object; copy the file again")
    growth = steps = 1
    for each in _objects(part):
        steps += "type" in each
        content = each.get("content", each.get("prepend"))
        if each.get("type") in ("Replace", "Prepend") and isinstance(content, str):
            growth *= max(1, len(content))
        if each.get("type") == "Precompiled" and not _is_charsmap(each.get("precompiled_charsmap")):
            raise DataError(f"{where} has a damaged table of characters (precompiled_charsmap); copy the file again")
        if "Regex" in each:
            _pattern(each["Regex"], where)
        if each.get("type") == "Strip" and any(
            isinstance(n, int) and not 0 <= n <= 1 << 20 for n in (each.get("start"), each.get("stop"))
        ):
            raise DataError(f"{where} strips more than a text can have; copy the file again")
    if steps > _MOST_PARTS or growth > _MOST_GROWTH:
        raise DataError(
            f"{where} has {steps:,} steps that can make a text {growth:,} times as long; more than {_MOST_PARTS} and "
            f"{_MOST_GROWTH} are not taken"
        )


def _is_charsmap(value: Any) -> bool:
    """Whether SentencePiece's table begins with the size of its trie, as the library trusts it to."""
    try:
        content = base64.b64decode(value, validate=True)
    except (ValueError, TypeError):
        return False
    size = int.from_bytes(content[:4], "little")
    return len(content) > 4 and size % 4 == 0 and 0 < size <= len(content) - 4


def _bpe(model: Mapping[str, Any], where: str) -> Mapping[str, int]:
    vocab, merges = model.get("vocab"), model.get("merges", [])
    if not isinstance(vocab, dict) or not isinstance(merges, list):
        raise _bad(where, "a BPE model has a vocab that is an object and merges that are a list")
    prefix = model.get("continuing_subword_prefix")
    if prefix or model.get("end_of_word_suffix"):
        raise DataError(
            f"{where} marks words with prefixes or suffixes, which is not known here; take another tokenizer"
        )
    _ids(list(vocab.values()), len(vocab), where)
    if not _all_known(merges, vocab):
        _check_merges(merges, vocab, where)
    return vocab


def _all_known(merges: list[Any], vocab: dict[str, int]) -> bool:
    """Whether all merges are pairs of pieces that make a piece; fast, as there may be hundreds of thousands."""
    try:
        pairs = [merge.split(" ", 1) if isinstance(merge, str) else merge for merge in merges]
        lefts, rights = zip(*pairs, strict=True) if pairs else ((), ())
        return all(vocab.keys() >= set(parts) for parts in (lefts, rights, map(add, lefts, rights)))
    except (TypeError, ValueError):
        return False


def _check_merges(merges: list[Any], vocab: dict[str, int], where: str) -> None:
    for number, merge in enumerate(merges):
        if isinstance(merge, str):
            left, _, right = merge.partition(" ")
        elif isinstance(merge, list) and len(merge) == 2 and all(isinstance(part, str) for part in merge):
            left, right = merge
        else:
            raise _bad(where, f"merge {number:,} is not a pair of texts")
        if left not in vocab or right not in vocab or left + right not in vocab:
            raise _bad(where, f"merge {number:,} makes {quoted(left + right)} of pieces that are not all in the vocab")


def _unigram(model: Mapping[str, Any], where: str) -> Mapping[str, int]:
    vocab = model.get("vocab")
    if not isinstance(vocab, list) or not vocab:
        raise _bad(where, "a Unigram model has a vocab that is a list of pieces")
    for number, entry in enumerate(vocab):
        if (
            not isinstance(entry, list)
            or len(entry) != 2
            or not isinstance(entry[0], str)
            or isinstance(entry[1], bool)
            or not isinstance(entry[1], int | float)
            or not abs(entry[1]) < 1e30
        ):
            raise _bad(where, f"piece {number:,} is not a text and a score")
    tokens = {entry[0]: number for number, entry in enumerate(vocab)}
    _ids(list(range(len(vocab))), len(vocab), where)
    return tokens


def _ids(ids: list[Any], number: int, where: str) -> None:
    if any(type(i) is not int for i in ids):
        raise _bad(where, "an id in its vocab is not a whole number")
    if number > MOST_TOKENS or (ids and not (min(ids) >= 0 and max(ids) <= 2 * number + 100_000)):
        raise _bad(where, f"its {number:,} tokens have ids from {min(ids):,} to {max(ids):,}")
    if len(set(ids)) != number:
        raise _bad(where, "two tokens of its vocab have the same id")


def _added(added: Any, tokens: Mapping[str, int], where: str) -> None:
    if added is None:
        return
    if not isinstance(added, list) or len(added) > MOST_TOKENS:
        raise _bad(where, f"its added_tokens are {_kind(added)} and should be a list")
    for number, token in enumerate(added):
        if not isinstance(token, dict) or not isinstance(token.get("content"), str) or not token["content"]:
            raise _bad(where, f"added token {number:,} has no spelling")
        if type(token.get("id")) is not int or not 0 <= token["id"] <= 2 * (len(tokens) + len(added)) + 100_000:
            raise _bad(where, f"added token {quoted(token['content'])} has the id {quoted(token.get('id'))}")


def _pattern(pattern: Any, where: str) -> None:
    if not isinstance(pattern, str) or len(pattern) > _MOST_PATTERN:
        raise DataError(f"{where} has a regular expression that is no text, or a very long one; copy the file again")
    repeats = 1
    for low, high in _COUNTED.findall(pattern):
        repeats *= max(1, int(high or low or 1))
    if repeats > _MOST_REPEATS or _repeats_repeats(pattern):
        raise DataError(
            f"{where} has the regular expression {quoted(pattern)}, which repeats what repeats and may never end; take "
            f"the tokenizer of a model that you trust"
        )


def _repeats_repeats(pattern: str) -> bool:
    """Whether a group without upper bound holds another repetition without one: a backtracking search explodes."""
    open_groups = [False]
    closed, end = False, 0  # whether the token before closed a group that repeats, and where it ended
    for match in _TOKENS.finditer(pattern):
        token = match[0]
        follows = closed and match.start() == end
        closed = False
        if token == "(":
            open_groups.append(False)
        elif token == ")" and len(open_groups) > 1:
            closed = open_groups.pop()
            open_groups[-1] |= closed
        elif token in "*+" or token.startswith("{"):
            if follows:
                return True
            open_groups[-1] = True
        end = match.end()
    return False


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from _objects(each)
    elif isinstance(value, list):
        for each in value:
            yield from _objects(each)


def _kind(value: Any) -> str:
    return "missing" if value is None else f"a JSON {type(value).__name__}"


def _bad(where: str, what: str) -> DataError:
    return DataError(f"{where} is damaged: {what}; copy it again")
