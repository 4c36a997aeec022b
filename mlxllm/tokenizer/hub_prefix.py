"""What a tokenizer.json puts before every text."""

from typing import Any


def put_before(post_processor: Any) -> list[int]:
    """The ids that its post-processor puts before a single text: `<s>`, and seldom more.

    Args:
        post_processor: that part of the file. What is no known part, or damaged, puts nothing.
    """
    if not isinstance(post_processor, dict):
        return []
    kind = post_processor.get("type")
    if kind == "Sequence":
        parts = post_processor.get("processors")
        found = [put_before(part) for part in parts] if isinstance(parts, list) else []
        return [i for ids in reversed(found) for i in ids]  # a later one stands before what an earlier one made
    if kind in ("RobertaProcessing", "BertProcessing"):
        first = post_processor.get("cls")
        return [first[1]] if isinstance(first, list) and len(first) == 2 and type(first[1]) is int else []
    if kind != "TemplateProcessing":
        return []
    tokens, ids = post_processor.get("special_tokens"), []
    for piece in _list(post_processor.get("single")):
        special = piece.get("SpecialToken") if isinstance(piece, dict) else None
        if not isinstance(special, dict):  # the text itself
            break
        token = (
            tokens.get(special.get("id")) if isinstance(tokens, dict) and isinstance(special.get("id"), str) else None
        )
        ids += [i for i in _list(token.get("ids") if isinstance(token, dict) else None) if type(i) is int]
    return ids


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
