"""Letters and signs that LaTeX writes as commands, as Unicode."""

import functools
import re
import unicodedata

ACCENTS = {
    "`": "\u0300", "'": "\u0301", "^": "\u0302", "~": "\u0303", '"': "\u0308", "H": "\u030b", "c": "\u0327",
    "k": "\u0328", "=": "\u0304", "b": "\u0331", ".": "\u0307", "d": "\u0323", "r": "\u030a", "u": "\u0306",
    "v": "\u030c", "t": "\u0361", "textcommabelow": "\u0326",
}  # fmt: skip
"""The combining character behind the letter that each accent command takes."""
LETTERS = {
    "o": "ø", "O": "Ø", "l": "ł", "L": "Ł", "ss": "ß", "SS": "ẞ", "ae": "æ", "AE": "Æ", "oe": "œ", "OE": "Œ",
    "aa": "å", "AA": "Å", "i": "ı", "j": "ȷ", "dh": "ð", "DH": "Ð", "th": "þ", "TH": "Þ", "dj": "đ", "DJ": "Đ",
    "ng": "ŋ", "NG": "Ŋ",
}  # fmt: skip
_SIGNS = {
    "%": "%", "&": "&", "#": "#", "_": "_", "{": "{", "}": "}", "$": "\\$", " ": " ", ",": " ", ";": " ", ":": " ",
    ">": " ", "/": "", "-": "", "!": "", "@": "", "\n": " ", "quad": " ", "qquad": " ", "enspace": " ", "enskip": " ",
    "thinspace": " ", "space": " ", "nobreakspace": " ", "hfill": " ", "hfil": " ", "dotfill": " … ",
    "textvisiblespace": "␣", "dots": "…", "ldots": "…", "textellipsis": "…", "TeX": "TeX", "LaTeX": "LaTeX",
    "LaTeXe": "LaTeX2e", "BibTeX": "BibTeX", "eTeX": "eTeX", "textbackslash": "\\", "textasciitilde": "~",
    "texttildelow": "~", "textasciicircum": "^", "textbar": "|", "textless": "<", "textgreater": ">",
    "textunderscore": "_", "textdollar": "\\$", "textquotesingle": "'", "textquotedbl": '"', "textquoteleft": "‘",
    "textquoteright": "’", "textquotedblleft": "“", "textquotedblright": "”", "lq": "‘", "rq": "’", "textendash": "–",
    "textemdash": "—", "nobreakdash": "", "slash": "/", "S": "§", "P": "¶", "dag": "†", "ddag": "‡", "copyright": "©",
    "pounds": "£", "textdegree": "°", "degree": "°", "textregistered": "®", "texttrademark": "™", "textmu": "µ",
    "textonehalf": "½", "texteuro": "€", "euro": "€", "checkmark": "✓", "qed": "□", "textprime": "′", "lbrack": "[",
    "rbrack": "]", "lbrace": "{", "rbrace": "}", "guillemotleft": "«", "guillemotright": "»", "guilsinglleft": "‹",
    "og": "« ", "guilsinglright": "›", "fg": " »", "glqq": "„", "grqq": "“", "flqq": "«", "frqq": "»", "glq": "‚",
    "grq": "‘", "quotedblbase": "„", "quotesinglbase": "‚", "ier": "er", "No": "№", "textnumero": "№", "natural": "♮",
    "today": "",
}  # fmt: skip
_ACCENT = r"""\\ (?: (?P<sign>[`'^~"=.]) | (?P<word>[Hckbdruvt])(?![a-zA-Z]) ) \s*
    (?: \{ \s* (?P<braced> \\[ij](?![a-zA-Z]) | [^\W\d_]? ) \s* \} | (?P<bare> \\[ij](?![a-zA-Z])\s? | [^\W\d_]) )"""
_ACCENTED = [re.compile(pattern, re.VERBOSE) for pattern in (rf"\{{{_ACCENT}\}}", _ACCENT)]
"""In braces of its own first, which go with it; the brace of {\\'ecole} belongs to the word."""
_LETTER = re.compile(r"\{\\(%s)\}|\\(%s)(?![a-zA-Z])(?:\{\}|\s)?" % (("|".join(LETTERS),) * 2))
_MATH = re.compile(r"(\$\$.{,4000}?\$\$|\$[^$]*\$|\\\(.{,4000}?\\\)|\\\[.{,4000}?\\\])", re.DOTALL)
_FONTS = re.compile(r"\\(?:emph|textit|textbf|textsc|textrm|textsf|texttt|mbox|text)\{([^{}]*)\}")
_OLD_FONTS = re.compile(r"\{\\(?:it|em|bf|rm|sc|tt|sl|sf)\s+([^{}]*)\}")


@functools.cache
def text_symbols() -> dict[str, str]:
    """Control sequence (with its backslash) -> what it looks like outside math.

    The several hundred that are seldom met are pylatexenc's.
    """
    from pylatexenc.latex2text import get_default_latex_context_db  # 0.1 s; only for papers

    symbols: dict[str, str] = {}
    tables = get_default_latex_context_db()
    for category in ("latex-base", "advanced-symbols"):
        for name, spec in tables.d[category]["macros"].items():
            shown = spec.simplify_repl
            if isinstance(shown, str) and 0 < len(shown) <= 2 and "%" not in shown:
                symbols[f"\\{name}"] = shown
    return symbols | {f"\\{name}": shown for name, shown in (LETTERS | _SIGNS).items()}


def accented(letter: str, accent: str) -> str:
    """A letter with the accent of that name, composed where Unicode has it (NFC)."""
    base = {"ı": "i", "ȷ": "j"}.get(letter[:1], letter[:1]) if accent not in "cdkbt" else letter[:1]
    return unicodedata.normalize("NFC", base + ACCENTS[accent]) + letter[1:] if base else ""


def plain_title(text: str) -> str:
    """The text of a field of arXiv's metadata: accents as letters, fonts gone, lines joined; math stays as it is.

    In these fields only what stands in dollars is LaTeX for certain: `%`, `#`, `_` and `~` are themselves.
    """
    parts = _MATH.split(text)
    parts[::2] = [_without_commands(part) if "\\" in part else part for part in parts[::2]]
    return " ".join("".join(parts).split())


def _without_commands(text: str) -> str:
    for pattern in _ACCENTED:
        text = pattern.sub(_accented_match, text)
    text = _LETTER.sub(lambda match: LETTERS[match[1] or match[2]], text)
    text = _OLD_FONTS.sub(r"\1", _FONTS.sub(r"\1", text))
    return re.sub(r"\\([%&#_{}])", r"\1", text)


def _accented_match(match: re.Match[str]) -> str:
    letter = (match["braced"] if match["braced"] is not None else match["bare"]).strip()
    letter = {"\\i": "ı", "\\j": "ȷ"}.get(letter, letter)
    return accented(letter, match["sign"] or match["word"])
