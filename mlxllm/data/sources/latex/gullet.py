r"""Tokens as the renderer gets them: plain macros expanded, conditions decided, files of the paper read where they are named.

As in TeX (TeXbook, chapter 20) what is yet to be read lies on a stack, and a macro puts its text there. Each token that
is taken was put there once, so a limit on what is put ends every loop and every `\def` bomb.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlxllm.data.sources.latex.errors import LatexError
from mlxllm.data.sources.latex.tokens import BLANK, PAR

MOST_TOKENS = 2_500_000
"""Put on the stack for one paper, files and expansions together; a thesis of 1 MB has about 300,000."""
_MOST_OPTIONAL = 4_000
"""Tokens in which the ] of an optional argument has to come."""
_MOST_NESTED = 40
_END = "\0end\0"
_FILE_END = "\0file end\0"
_WHOLE = "\\\0#{}[]"
"""What begins with one of these is one token to TeX as well; the others may be runs of characters."""


@dataclass(frozen=True, slots=True)
class Macro:
    """What a name stands for."""

    body: Sequence[str]
    """With `#1` to `#9` where arguments go."""
    arguments: int = 0
    default: Sequence[str] | None = None
    """Of the first argument, which then stands in brackets."""
    delimiters: Sequence[Sequence[str]] | None = None
    """Of `\\def`: the tokens in front of the first argument, and behind each one (none: an ordinary argument)."""
    kinds: str = ""
    """Of `\\NewDocumentCommand`: a letter an argument (m, o, O, s)."""
    final: bool = False
    """The body is one token that means what it meant when `\\let` was executed, whatever it is made to mean later."""


class Gullet:
    """The stack of tokens of one paper, with the meanings of names."""

    def __init__(self) -> None:
        """Nothing is to be read yet."""
        self.macros: dict[str, Macro] = {}
        """By control sequence, with its backslash."""
        self.executed: dict[str, Callable[[], None]] = {}
        """Definitions, conditions and the like: done where they are met, and never handed out."""
        self.in_math = False
        self.open_files: set[str] = set()
        """Files of the paper that are being read: none is read inside itself."""
        self._stack: list[str] = []
        self._put = 0
        self._marks = 0

    def push(self, tokens: Sequence[str]) -> None:
        """These are read next.

        Raises:
            LatexError: so much has been put that the macros of this paper do not seem to end.
        """
        self._put += len(tokens) + 1
        if self._put > MOST_TOKENS:
            raise LatexError("macros without end", f"more than {MOST_TOKENS:,} tokens")
        self._stack.extend(reversed(tokens))

    def push_file(self, name: str, tokens: Sequence[str]) -> None:
        """A file is read next."""
        self.open_files.add(name)
        self.push([_FILE_END + name])
        self.push(tokens)

    def pop(self) -> str | None:
        """The next token as it stands; None at the end, as for `next`."""
        return self._stack.pop() if self._stack and self._stack[-1] is not _END else None

    def peek(self) -> str | None:
        """The next token, which stays."""
        return self._stack[-1] if self._stack and self._stack[-1] is not _END else None

    def skip_blanks(self) -> None:
        """Blanks and line breaks are over; an empty line is not."""
        stack = self._stack
        while stack and stack[-1] == BLANK:
            stack.pop()

    def next(self) -> str | None:
        """The next token that is not expanded and not executed; None at the end of all, or of what is `bounded`."""
        stack, macros, executed = self._stack, self.macros, self.executed
        while stack:
            token = stack.pop()
            if token[0] != "\\":
                if token is _END:
                    stack.append(token)
                    return None
                if token.startswith(_FILE_END):
                    self.open_files.discard(token[len(_FILE_END) :])
                    continue
                return token
            if macro := macros.get(token):
                if macro.final:
                    return macro.body[0]
                self.push_macro(macro)
            elif action := executed.get(token):
                action()
            else:
                return token
        return None

    def expanded(self, tokens: Sequence[str]) -> list[str]:
        """Tokens with all macros in them expanded."""
        self.open(tokens)
        out = []
        while (token := self.next()) is not None:
            out.append(token)
        self.close()
        return out

    def open(self, tokens: Sequence[str]) -> None:
        """From here to `close`, `next` gives what these tokens stand for and then None.

        Raises:
            LatexError: it is done inside itself too often.
        """
        self._marks += 1
        if self._marks > _MOST_NESTED:
            raise LatexError("nested too deeply", f"more than {_MOST_NESTED} arguments inside each other")
        self.push([_END])
        self.push(tokens)

    def close(self) -> None:
        """What `open` began is over; what is left of it goes."""
        while self._stack and self._stack.pop() is not _END:
            pass
        self._marks -= 1

    def stop(self) -> None:
        """Nothing more is read."""
        self._stack.clear()

    def argument(self) -> list[str]:
        """An argument: what stands in braces, without them, or else one token; nothing at the end of a paragraph."""
        self.skip_blanks()
        token = self.pop()
        if token is None:
            return []
        if token == "{":
            return self._group()
        if token in ("}", PAR):
            self._stack.append(token)
            return []
        if len(token) > 1 and token[0] not in _WHOLE:
            self._stack.append(token[1:])
            token = token[0]
        return [token]

    def optional(self) -> list[str] | None:
        """What stands in brackets, if that is next; None if not."""
        stack = self._stack
        blanks = 0
        while len(stack) > blanks and stack[-1 - blanks] == BLANK:
            blanks += 1
        if len(stack) <= blanks or stack[-1 - blanks] != "[":
            return None
        depth, found = 0, 0
        lowest = max(0, len(stack) - blanks - 1 - _MOST_OPTIONAL)
        self._put += 1
        for at in range(len(stack) - blanks - 2, lowest - 1, -1):
            token = stack[at]
            if token == "{":
                depth += 1
            elif token == "}":
                depth -= 1
            elif token == "]" and not depth:
                tokens = stack[at + 1 : len(stack) - blanks - 1]
                del stack[at:]
                return tokens[::-1]
            if depth < 0 or token is _END or token == PAR:
                break
            found += 1
        self._put += found
        if self._put > MOST_TOKENS:
            raise LatexError("macros without end", f"more than {MOST_TOKENS:,} tokens")
        return None

    def starred(self) -> bool:
        """Whether a * is next, which is taken."""
        if self._stack and self._stack[-1] == "*":
            self._stack.pop()
            return True
        return False

    def until(self, *end: str) -> list[str]:
        """What comes before these tokens outside braces, which are taken as well; nothing if they do not come."""
        tokens: list[str] = []
        depth = 0
        while (token := self.pop()) is not None:
            if not depth and end[0] in token and (token == end[0] or token[0] not in _WHOLE):
                before, _, behind = token.partition(end[0])
                tokens += [before] if before else []
                self._stack += [behind] if behind else []
                self._pass_over(end[1:])
                return tokens
            depth += (token == "{") - (token == "}")
            tokens.append(token)
        return self._not_closed(tokens)

    def _pass_over(self, tokens: Sequence[str]) -> None:
        for wanted in tokens:
            found = self.peek()
            if found is None or not (found == wanted or (found[0] not in _WHOLE and found.startswith(wanted))):
                return  # TeX would complain, or look for the next place; the text goes on
            self._stack.pop()
            if behind := found[len(wanted) :]:
                self._stack.append(behind)

    def _not_closed(self, tokens: list[str]) -> list[str]:
        """What was to end did not: everything is read on as if it had not begun."""
        self.push(tokens)
        return []

    def _group(self) -> list[str]:
        tokens: list[str] = []
        depth = 1
        while (token := self.pop()) is not None:
            if token == "{":
                depth += 1
            elif token == "}":
                depth -= 1
                if not depth:
                    return tokens
            tokens.append(token)
        return self._not_closed(tokens)

    def push_macro(self, macro: Macro) -> None:
        """What a macro stands for is read next; its arguments are taken."""
        if not macro.arguments and not macro.delimiters:
            self.push(macro.body)
            return
        arguments: list[Sequence[str]]
        if macro.delimiters is not None:
            arguments = self._delimited(macro.delimiters)
        elif macro.kinds:
            arguments = [self._of_kind(kind) for kind in macro.kinds]
        else:
            arguments = []
            if macro.default is not None:
                given = self.optional()
                arguments.append(macro.default if given is None else given)
            while len(arguments) < macro.arguments:
                arguments.append(self.argument())
        self.push(filled(macro.body, arguments))

    def _of_kind(self, kind: str) -> Sequence[str]:
        if kind == "s":
            return ["*"] if self.starred() else []
        if kind in "oO":
            return self.optional() or []
        return self.argument()

    def _delimited(self, delimiters: Sequence[Sequence[str]]) -> list[Sequence[str]]:
        r"""The arguments of a macro made by `\def`, each up to its delimiter (TeXbook, chapter 20)."""
        self._pass_over(delimiters[0])
        arguments: list[Sequence[str]] = []
        for delimiter in delimiters[1:]:
            if not delimiter:
                arguments.append(self.argument())
                continue
            tokens = self.until(*delimiter)
            if tokens and tokens[0] == "{" and tokens[-1] == "}" and "{" not in tokens[1:]:
                tokens = tokens[1:-1]
            arguments.append(tokens)
        return arguments


def filled(body: Sequence[str], arguments: Sequence[Sequence[str]]) -> list[str]:
    """The text of a macro with its arguments in their places.

    Raises:
        LatexError: it becomes larger than a paper may be.
    """
    tokens: list[str] = []
    for token in body:
        if token[0] == "#" and len(token) == 2 and token[1].isdigit():
            number = int(token[1])
            if number <= len(arguments):
                tokens += arguments[number - 1]
            if len(tokens) > MOST_TOKENS:
                raise LatexError("macros without end", f"more than {MOST_TOKENS:,} tokens")
        else:
            tokens.append(token)
    return tokens
