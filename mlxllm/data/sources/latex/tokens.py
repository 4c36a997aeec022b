r"""LaTeX source to tokens: control sequences, braces, runs of ordinary characters, blanks, ends of paragraphs.

A token is a string, told by its first character:

    \name     a control word (blanks behind it are gone, as in TeX) or a control symbol
    {  }  [  ]  $  $$  &  #  ~  ^  _  *  -  --  ---  `  ``  '  ''     each by itself
    " "        a blank, or a line break inside a paragraph
    \par       an empty line
    #1 .. #9   a parameter, where a macro is defined
    NUL        what must not be looked into: NUL, the name of the environment, NUL, its content as it stands
    other      up to 64 ordinary characters

Comments end here (TeXbook, chapter 8): they take the line break and the blanks of the next line with them.
"""

import re
from collections.abc import Iterable, Iterator

PAR = "\\par"
BLANK = " "
_RUN = 64
"""Characters in a run of ordinary ones at most: macros that take one at a time stay cheap."""
_VERBATIM = ("verbatim", "Verbatim", "BVerbatim", "lstlisting", "minted", "alltt", "comment", "filecontents")
_PATTERN = r"""
      (?P<verb> \\verb\*?(?P<mark>[^a-zA-Z*\s\\{}])(?P<code>[^\n]{0,400}?)(?P=mark) )
    | (?P<begin> \\begin[ ]*\{(?P<environment>VERBATIM)\*?\} )
    | (?P<link> \\(?:url|href|nolinkurl|path) ) \s* \{ (?P<address>[^{}\s]*) \}
    | (?P<word> \\[LETTERS]+ ) [ \t]* (?: \n (?! [ \t]*\n ) [ \t]* )?
    | (?P<symbol> \\. )
    | (?P<parameter> \#[1-9] )
    | (?P<ligature> -{1,3} | `{1,2} | '{1,2} | \${1,2} )
    | (?P<special> [{}\[\]&\#~^_*] )
    | (?P<blanks> \s+ )
    | %[^\n]* (?: \n[ \t]* (?P<ended> \n\s* )? )?
    | (?P<run> [^\\{}\[\]$&\#~^_*%`'\-\s]{1,RUN} )
    | (?P<break> \\\n | \\ )
"""
_PATTERN = _PATTERN.replace("VERBATIM", "|".join(_VERBATIM)).replace("RUN", str(_RUN))
_SCANNER = re.compile(_PATTERN.replace("LETTERS", "a-zA-Z"), re.VERBOSE)
_WITH_AT = re.compile(_PATTERN.replace("LETTERS", "a-zA-Z@"), re.VERBOSE)
_AT_SWITCH = re.compile(r"\\makeat(?:letter|other)(?![a-zA-Z])")


def tokenize(source: str, *, at_is_letter: bool = False) -> list[str]:
    r"""All tokens of a file.

    Args:
        source: the text, without NUL characters.
        at_is_letter: as in packages; in a document \makeatletter and \makeatother switch it.
    """
    tokens: list[str] = []
    start = 0
    for switch in _AT_SWITCH.finditer(source):
        _scan(source, start, switch.start(), at_is_letter, tokens)
        at_is_letter, start = switch[0] == "\\makeatletter", switch.end()
    _scan(source, start, len(source), at_is_letter, tokens)
    return tokens


def _scan(source: str, start: int, end: int, at_is_letter: bool, tokens: list[str]) -> None:
    match_at = (_WITH_AT if at_is_letter else _SCANNER).match
    unclosed: set[str] = set()  # what is looked for in vain is looked for once
    append = tokens.append
    while start < end and (match := match_at(source, start, end)):
        kind = match.lastgroup
        start = match.end()
        if kind == "blanks":
            append(PAR if match[0].count("\n") > 1 else BLANK)
        elif kind == "environment" or kind == "begin":
            name = match["environment"]
            close = match["begin"].replace("begin", "end", 1).replace(" ", "")
            found = -1 if close in unclosed else source.find(close, start, end)
            if found < 0:
                unclosed.add(close)
                tokens += ["\\begin", "{", *name, "}"]
            else:
                append(f"\0{name}\0{source[start:found]}")
                start = found + len(close)
        elif kind == "verb":
            append(f"\0verb\0{match['code']}")
        elif kind == "address" or kind == "link":
            tokens += [match["link"], "{", f"\0link\0{match['address']}", "}"]
        elif kind == "ended":
            append(PAR)
        elif kind == "break":
            append("\\ ")
        elif kind is not None:
            append(match[kind])


def untokenize(tokens: Iterable[str]) -> str:
    """The source again, as for math: one blank behind a control word where a letter or a digit follows."""
    return "".join(_spaced(tokens))


def _spaced(tokens: Iterable[str]) -> Iterator[str]:
    after_word = False
    for token in tokens:
        token = token.rpartition("\0")[2]
        if not token:
            continue
        if after_word and (token[0].isalnum() or is_word(token)):
            yield " "
        yield token
        after_word = is_word(token)


def is_word(token: str) -> bool:
    """Whether a token is a control word: a backslash and letters."""
    return token[0] == "\\" and len(token) > 1 and (token[1].isalpha() or token[1] == "@")


def words(tokens: Iterable[str]) -> str:
    """A name or key as it is written in an argument: no braces, single blanks."""
    return " ".join("".join(token.rpartition("\0")[2] for token in tokens if token not in "{}").split())
