"""The methods of texts, lists and mappings that a chat template may call, and what each costs."""

import re
from collections.abc import Iterable, Mapping
from string import Formatter
from typing import Any

from jinja2.exceptions import SecurityError
from jinja2.runtime import LoopContext
from jinja2.utils import Cycler

from mlxllm.conversation.budget import STEP, Budget, TemplateLimitError

_MOST_FIELD = 1000
"""Characters that one formatted number is taken to have at most; wider ones are refused."""
_WIDE_PERCENT = re.compile(r"%[-#0 +]*\d*\.?(?:\*|\d{4,})|%\(")
_WIDE_FIELD = re.compile(r"\d{4,}|\{")

_AS_LONG = frozenset(
    "capitalize casefold count endswith find index isalnum isalpha isascii isdecimal isdigit isidentifier islower "
    "isnumeric isprintable isspace istitle isupper lower lstrip partition removeprefix removesuffix rstrip "
    "startswith strip swapcase title upper".split()
)
_BACKWARD = frozenset("rfind rindex rpartition".split())
_PADDING = frozenset("center ljust rjust zfill".split())
_SEQUENCE_METHODS = frozenset("copy count index".split())
_MAPPING_METHODS = frozenset("copy get items keys values".split())


def pay(budget: Budget, method: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Pay for a method's work before it is done; returns the arguments to call it with.

    Raises:
        SecurityError: it is none of the methods that a template may call.
        TemplateLimitError: it costs more than is left.
    """
    name = method.__name__
    # Jinja puts a function of its own before str.format, and leaves the method in __wrapped__.
    owner = getattr(getattr(method, "__wrapped__", method), "__self__", None)
    for value in (*args, *kwargs.values()):
        budget.deep(value)
    if isinstance(owner, str):
        return _pay_text(budget, name, owner, args, kwargs)
    allowed: frozenset[str] = frozenset()
    if isinstance(owner, list | tuple):
        allowed = _SEQUENCE_METHODS
    elif isinstance(owner, Mapping):
        allowed = _MAPPING_METHODS
    elif isinstance(owner, LoopContext | Cycler):
        allowed = frozenset(["changed", "cycle", "next", "reset"])
    if name not in allowed:
        raise _refused(name, owner)
    if name in ("count", "index"):
        budget.deep(owner)
    elif isinstance(owner, list | tuple | Mapping) and name != "get":
        budget.shallow(owner)
    return args


def percent_format(budget: Budget, text: str, values: Any) -> str:
    """`text % values`, with fields of a bounded width.

    Raises:
        TemplateLimitError: a field is wide, or the result would be long.
    """
    if _WIDE_PERCENT.search(text):
        raise TemplateLimitError("it formats with a width of thousands or with %(names)")
    budget.charge(text.count("%") * (budget.deep(values) + _MOST_FIELD))
    return str(text % values) if type(text) is str else text % values


def pay_replace(budget: Budget, text: str, old: str, new: str) -> None:
    """Pay for `text.replace(old, new)`."""
    found = text.count(old) if old else len(text) + 1
    budget.charge(2 * len(text) + len(old) + found * len(new))


def pay_join(budget: Budget, separator: str, values: Iterable[Any]) -> list[Any]:
    """Pay for `separator.join(values)`; returns the values, since an iterator can be read only once."""
    items = list(budget.items(values))
    budget.deep(items)
    budget.charge(len(separator) * len(items))
    return items


def _pay_text(
    budget: Budget, name: str, text: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Any, ...]:
    first = args[0] if args else None
    if name in _AS_LONG:
        budget.charge(3 * len(text))
    elif name in _BACKWARD:
        # Python's search from the end compares naively.
        budget.charge(len(text) * (1 + (len(first) if isinstance(first, str) else 0) // 8))
    elif name in ("split", "rsplit"):
        separator = kwargs.get("sep", first)
        if isinstance(separator, str) and separator:
            pieces = STEP * (text.count(separator) + 1)
            budget.charge(pieces + len(text) * (1 + len(separator) // 8))
        else:
            budget.charge(8 * len(text))
    elif name == "splitlines":
        budget.charge(8 * len(text))
    elif name == "join" and len(args) == 1:
        return (pay_join(budget, text, first),) if isinstance(first, Iterable) else args
    elif name == "replace" and len(args) >= 2 and isinstance(first, str) and isinstance(args[1], str):
        pay_replace(budget, text, first, args[1])
    elif name in _PADDING:
        budget.charge(len(text) + (max(first, 0) if isinstance(first, int) else 0))
    elif name in ("format", "format_map"):
        _pay_format(budget, text, args, kwargs)
    else:
        raise _refused(name, text)
    return args


def _pay_format(budget: Budget, text: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    values = budget.deep(args) + budget.deep(kwargs)
    for _, field, spec, _ in Formatter().parse(text):
        if spec and _WIDE_FIELD.search(spec):
            raise TemplateLimitError("it formats with a width of thousands or with one that is computed")
        if field is not None:
            budget.charge(values + _MOST_FIELD)


def _refused(name: str, owner: object) -> SecurityError:
    of = f" of a {type(owner).__name__}" if owner is not None else ""
    return SecurityError(f"it calls {name!r}{of}, which a chat template may not")
