"""The filters and tests that a chat template may use, and what each costs.

They are Jinja's own, but for `tojson`, which is written as transformers writes it (no HTML escapes, keys in
their order). Left out are those that no chat template has a use for: HTML (`urlize`, `xmlattr`, `striptags`),
`random`, `pprint`, `wordwrap` and the like.
"""

import json
from collections.abc import Callable, Iterable
from functools import wraps
from typing import TYPE_CHECKING, Any, cast

from jinja2 import pass_eval_context
from jinja2.exceptions import FilterArgumentError
from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.filters import make_attrgetter
from jinja2.nodes import EvalContext
from jinja2.tests import TESTS as JINJA_TESTS

from mlxllm.conversation.budget import STEP, Budget
from mlxllm.conversation.sandbox_methods import pay_join, pay_replace, percent_format

if TYPE_CHECKING:
    from mlxllm.conversation.sandbox import TemplateSandbox

Filter = Callable[..., Any]

_FILTERS = cast(dict[str, Filter], JINJA_FILTERS)  # Jinja leaves their type open
_TESTS = cast(dict[str, Filter], JINJA_TESTS)

_MOST_INDENT = 16
_SHALLOW = "abs attr capitalize count d default first float int items last length lower reverse safe title trim upper"
_DEEP = "e escape string wordcount"
_COMPARING = "dictsort groupby max min sort unique"
_LAZY = "map reject rejectattr select selectattr"
_ESCAPED = 6
"""Characters that one character becomes at most, in HTML or JSON."""
_SORTING = 16

_CHEAP_TESTS = (
    "defined undefined filter test none boolean false true integer float string mapping number sequence iterable "
    "callable sameas escaped"
)
_WALKING_TESTS = "lower upper in == eq equalto != ne > gt greaterthan ge >= < lt lessthan <= le"
_NUMBER_TESTS = "odd even divisibleby"


def filters(sandbox: "TemplateSandbox") -> dict[str, Filter]:
    """Name -> filter, each paying from the budget that `sandbox` has at the time."""
    table = {name: _paying(sandbox, _FILTERS[name], _shallow) for name in _SHALLOW.split()}
    table |= {name: _paying(sandbox, _FILTERS[name], _deep(_ESCAPED)) for name in _DEEP.split()}
    table |= {name: _paying(sandbox, _FILTERS[name], _deep(_SORTING)) for name in _COMPARING.split()}
    table |= {name: _lazy(sandbox, _FILTERS[name]) for name in _LAZY.split()}

    def listed(value: Any) -> list[Any]:
        if isinstance(value, str):
            sandbox.budget.charge(STEP * len(value))
        return list(sandbox.budget.items(value))

    @pass_eval_context
    def join(eval_ctx: EvalContext, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
        if attribute is not None:
            value = map(make_attrgetter(eval_ctx.environment, attribute), value)
        separator = str(d)
        return separator.join(map(str, pay_join(sandbox.budget, separator, value)))

    @pass_eval_context
    def replace(eval_ctx: EvalContext, s: Any, old: Any, new: Any, count: int | None = None) -> str:
        sandbox.budget.deep(s)
        text, old, new = str(s), str(old), str(new)
        pay_replace(sandbox.budget, text, old, new)
        return text.replace(old, new, -1 if count is None else count)

    def total(iterable: Iterable[Any], attribute: str | int | None = None, start: Any = 0) -> Any:
        if attribute is not None:
            iterable = map(make_attrgetter(sandbox, attribute), iterable)
        for value in sandbox.budget.items(iterable):
            sandbox.budget.shallow(start)
            sandbox.budget.shallow(value)
            start = start + value
        return start

    def formatted(value: Any, *args: Any, **kwargs: Any) -> str:
        if args and kwargs:
            raise FilterArgumentError("can't handle positional and keyword arguments at the same time")
        return percent_format(sandbox.budget, str(value), kwargs or args)

    def indent(s: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
        step = len(width) if isinstance(width, str) else max(width, 0)
        sandbox.budget.charge(8 * len(s) + step * (1 + len(s.splitlines())))
        return str(_FILTERS["indent"](s, width, first, blank))

    def rounded(value: Any, precision: int = 0, method: str = "common") -> Any:
        _at_most("round", precision, 100)
        return _FILTERS["round"](value, precision, method)

    def tojson(
        x: Any,
        ensure_ascii: bool = False,
        indent: int | str | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        step = len(indent) if isinstance(indent, str) else int(indent or 0)
        _at_most("tojson", step, _MOST_INDENT)
        sandbox.budget.charge(_ESCAPED * sandbox.budget.deep(x, step) + sandbox.budget.deep(separators))
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    own: dict[str, Filter] = {"join": join, "replace": replace, "sum": total, "format": formatted, "indent": indent}
    own |= {"round": rounded, "tojson": tojson, "list": listed}
    return table | own


def tests(sandbox: "TemplateSandbox") -> dict[str, Filter]:
    """Name -> test, as `filters`."""
    table = {name: _paying(sandbox, _TESTS[name], _nothing) for name in _CHEAP_TESTS.split()}
    table |= {name: _paying(sandbox, _TESTS[name], _deep(1)) for name in _WALKING_TESTS.split()}
    for name in _NUMBER_TESTS.split():
        table[name] = _paying(sandbox, _TESTS[name], _numbers)
    return table


def _paying(sandbox: "TemplateSandbox", function: Filter, price: Callable[[Budget, Any], None]) -> Filter:
    # functools.wraps keeps the marks by which Jinja knows what to pass first (context, environment).
    @wraps(function)
    def paid(*args: Any, **kwargs: Any) -> Any:
        for value in (*args, *kwargs.values()):
            price(sandbox.budget, value)
        return function(*args, **kwargs)

    return paid


def _lazy(sandbox: "TemplateSandbox", function: Filter) -> Filter:
    """A filter that hands on items one by one: each pays as it passes."""

    @wraps(function)
    def paid(first: Any, value: Any = None, *args: Any, **kwargs: Any) -> Any:
        sandbox.budget.charge(STEP)
        return function(first, sandbox.budget.items(value) if value else value, *args, **kwargs)

    return paid


def _nothing(budget: Budget, value: Any) -> None:
    budget.charge(STEP)


def _shallow(budget: Budget, value: Any) -> None:
    budget.shallow(value)


def _deep(factor: int) -> Callable[[Budget, Any], None]:
    def price(budget: Budget, value: Any) -> None:
        budget.charge((factor - 1) * budget.deep(value))

    return price


def _numbers(budget: Budget, value: Any) -> None:
    budget.charge(STEP)
    if not isinstance(value, int | float):  # a text would be formatted: '%999999999d' % 2
        raise FilterArgumentError(
            f"'odd', 'even' and 'divisibleby' ask about numbers, not about a {type(value).__name__}"
        )


def _at_most(name: str, value: Any, most: int) -> None:
    if not isinstance(value, int) or not -most <= value <= most:
        raise FilterArgumentError(f"the filter {name!r} takes a number up to {most:,} here, and was given {value!r}")
