"""The environment that chat templates of strangers run in.

A template that comes with a model is a program. Jinja's sandbox keeps it from Python's insides, but not from
loops without end or strings that fill the memory. A child process with limits would, at the price of a second
of start-up and of macOS, which does not enforce memory limits. Here, instead, every operation that can grow
pays from a `Budget` before it is done: operators and calls are asked for by Jinja's own sandbox; what that
passes over (loops, macros, comparisons, `~`, slices) is rewritten in the syntax tree when a template is
compiled; filters, tests and methods are a list of those that real templates use, each with its price. What is
not on the list is refused by name.
"""

import types
from typing import Any, cast

from jinja2 import Environment, nodes, pass_context
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import BlockReference, Context, LoopContext, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Cycler, Joiner, Namespace
from jinja2.visitor import NodeTransformer

from mlxllm.conversation import sandbox_filters, sandbox_methods
from mlxllm.conversation.budget import MOST_INTEGER_BITS, STEP, Budget, TemplateLimitError, check_number

MOST_RANGE = 100_000
_ENTER = "mlxllm enter"
_WALK = "mlxllm walk"
_TOUCH = "mlxllm touch"
_JOIN = "mlxllm join"
# A filter's name in a template cannot hold a space, so these are ours alone.


# Built once: a union of types in an isinstance takes longer than the call it guards.
_CALLABLE = (Macro, BlockReference, LoopContext, Joiner, Undefined)
_METHODS = (types.BuiltinMethodType, types.MethodType, types.FunctionType)
_REPEATABLE = (str, list, tuple)


class Generation(Extension):
    """`{% generation %}`, with which some templates mark what an assistant writes; its text is rendered as it is."""

    tags = {"generation"}  # noqa: RUF012  (Jinja's declaration)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The statements inside."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class TemplateSandbox(ImmutableSandboxedEnvironment):
    """One template's environment; `budget` is set for each rendering, so it serves one thread at a time."""

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])

    def __init__(self) -> None:
        """The settings with which transformers renders chat templates (`trim_blocks`, `lstrip_blocks`)."""
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols], optimized=False)
        self.budget = Budget(0)
        self.finalize = self._written
        own_filters: dict[str, Any] = {
            _ENTER: self._entered,
            _WALK: self._walked,
            _TOUCH: self._touched,
            _JOIN: self._joined,
        }
        self.filters = own_filters | sandbox_filters.filters(self)
        self.tests = dict[str, Any](sandbox_filters.tests(self))
        self.globals = {
            "range": self._range,
            "dict": dict,
            "namespace": _namespace,
            "cycler": Cycler,
            "joiner": Joiner,
            "raise_exception": _raise_exception,
        }

    def compiled(self, source: str) -> Any:
        """The template, with everything that can grow made to pay.

        Raises:
            jinja2.TemplateSyntaxError: the source is no template.
            RecursionError, SyntaxError, MemoryError: it is nested too deep for a compiler.
        """
        tree = self.parse(source)
        _Metering(self).visit(tree)
        return self.from_string(tree)

    # What Jinja asks at run time.

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Numbers stay small, and texts and lists are paid for before they grow."""
        budget = self.budget
        budget.shallow(left)
        budget.shallow(right)
        if operator == "%" and isinstance(left, str):
            return sandbox_methods.percent_format(budget, left, right)
        if operator == "**" and isinstance(left, int) and isinstance(right, int):
            if left.bit_length() * max(right, -right) > MOST_INTEGER_BITS:
                raise TemplateLimitError("it computes with numbers of thousands of digits")
        elif operator == "*":
            for value, times in ((left, right), (right, left)):
                if isinstance(value, _REPEATABLE) and isinstance(times, int):
                    budget.charge(len(value) * (1 if isinstance(value, str) else STEP) * max(times, 0))
        result = super().call_binop(context, operator, left, right)
        check_number(result)
        return result

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Call what is known to be harmless: the functions given, macros, and methods on a list."""
        budget = __self.budget
        budget.charge(STEP)
        if isinstance(__obj, _CALLABLE) or any(__obj is own for own in __self.globals.values()):
            pass
        elif isinstance(__obj, _METHODS):
            args = sandbox_methods.pay(budget, __obj, args, kwargs)
        else:
            raise SecurityError(f"it calls {type(__obj).__name__!r}, which a chat template may not")
        result = super().call(__context, __obj, *args, **kwargs)
        budget.shallow(result)
        return result

    def getitem(self, obj: Any, argument: Any) -> Any:
        """As in Jinja; a key that is a nest of tuples is walked by its hash."""
        if type(argument) is not str and type(argument) is not int:
            self.budget.deep(argument)
        return super().getitem(obj, argument)

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        """Reaching for Python's insides ends the rendering, not only printing what was found."""
        raise SecurityError(f"it reaches for {attribute!r} of a {type(obj).__name__}, which a chat template may not")

    # What the rewritten tree asks.

    @pass_context
    def _entered(self, context: Context, cost: int) -> None:
        self.budget.charge(cost)

    @pass_context
    def _walked(self, context: Context, value: Any) -> Any:
        self.budget.deep(value)
        return value

    @pass_context
    def _touched(self, context: Context, value: Any) -> Any:
        self.budget.shallow(value)
        return value

    @pass_context
    def _joined(self, context: Context, values: list[Any]) -> str:
        self.budget.deep(values)
        return "".join(map(str, values))

    @pass_context
    def _written(self, context: Context, value: Any) -> Any:
        self.budget.deep(value)
        return value

    def _range(self, *args: int) -> range:
        numbers = range(*args)
        if len(numbers) > MOST_RANGE:
            raise TemplateLimitError(f"it counts to more than {MOST_RANGE:,}")
        return numbers


class _Metering(NodeTransformer):
    """Makes pay what Jinja's sandbox does not ask about."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802  (Jinja's names)
        """Each round pays for the text and the statements of the body."""
        self.generic_visit(node)
        node.body.insert(0, self._entrance(node))
        if node.test is not None:
            node.test = self._paid(node.test, _TOUCH)
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:  # noqa: N802
        """Each call pays."""
        self.generic_visit(node)
        node.body.insert(0, self._entrance(node))
        return node

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:  # noqa: N802
        """Each `caller()` pays."""
        self.generic_visit(node)
        node.body.insert(0, self._entrance(node))
        return node

    def visit_Block(self, node: nodes.Block) -> nodes.Node:  # noqa: N802
        """A block can be asked for again by `self.name()`."""
        self.generic_visit(node)
        node.body.insert(0, self._entrance(node))
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        """Both sides are walked."""
        self.generic_visit(node)
        node.expr = self._paid(node.expr, _WALK)
        for operand in node.ops:
            operand.expr = self._paid(operand.expr, _WALK)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        """`a ~ b` writes all its parts anew."""
        self.generic_visit(node)
        return self._paid(nodes.List(node.nodes, lineno=node.lineno), _JOIN)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        """A slice is a copy."""
        self.generic_visit(node)
        return self._paid(node, _TOUCH) if isinstance(node.arg, nodes.Slice) else node

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        """A key is walked by its hash."""
        self.generic_visit(node)
        for pair in node.items:
            pair.key = self._paid(pair.key, _WALK)
        return node

    def _entrance(self, node: nodes.Node) -> nodes.Stmt:
        texts = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        expressions = sum(1 for _ in node.find_all(nodes.Expr))
        cost = nodes.Const(STEP * (1 + expressions) + texts, lineno=node.lineno)
        return nodes.ExprStmt(self._paid(cost, _ENTER), lineno=node.lineno)

    def _paid(self, node: nodes.Node, filter_name: str) -> nodes.Filter:
        paid = nodes.Filter(cast(nodes.Expr, node), filter_name, [], [], None, None, lineno=node.lineno)
        return cast(nodes.Filter, paid.set_environment(self._environment))


def _raise_exception(message: Any = "") -> None:
    """What templates call when a conversation does not fit them."""
    raise TemplateError(str(message)[:500])


def _namespace(*args: Any, **kwargs: Any) -> Namespace:
    """A bag of variables that outlives a loop."""
    names = dict(*args, **kwargs)
    if any(str(name).startswith("_") for name in names):
        raise SecurityError("it names a variable of a namespace with an underscore first, which it may not")
    return Namespace(names)
