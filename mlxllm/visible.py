"""Text for the eye: numbers of things; white space as signs and control characters written out, so that a text can
neither hide a token nor steer a terminal.
"""

SIGNS = {" ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍"}
"""What stands for white space."""
SIGN_NAMES = {"·": "a space", "⏎": "a line end", "⇥": "a tab", "␍": "a carriage return"}


def visible(piece: str) -> str:
    """`piece` with white space as signs and everything unprintable as an escape."""
    return "".join(SIGNS.get(char) or (char if char.isprintable() else _escape(char)) for char in piece)


def readable(text: str) -> str:
    """`text` with its blanks, line ends kept behind a sign, everything unprintable as an escape."""
    return "".join(" " if c == " " else "⏎\n" if c == "\n" else visible(c) for c in text)


def counted(number: int, thing: str) -> str:
    """As "1 record" or "2,000 records"."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def by_reason(count: int, reason: str) -> str:
    """As "2 x no text field": reasons are told as they are named, however many records they are true of."""
    return f"{count:,} x {reason}"


def brief(value: object, longest: int = 60) -> str:
    """A value that somebody else wrote as Python shows it, on one line and cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python prints no integers of thousands of digits
        return "something endless"
    return text if len(text) <= longest else f"{text[: longest - 4]} ..."


def called(name: str, longest: int = 100) -> str:
    """A name that somebody else wrote, on one line and cut where it is long."""
    return visible(name if len(name) <= longest else f"{name[: longest - 4]}...")


def in_a_line(text: str, longest: int = 100) -> str:
    """Words that somebody else wrote, on one line with their blanks and cut where it is long."""
    text = " ".join(text.split())
    return readable(text if len(text) <= longest else f"{text[: longest - 4]} ...")


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
