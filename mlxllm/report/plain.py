"""Text that somebody else wrote, for a page: nothing in it can steer what shows it."""


def plain(text: str) -> str:
    """`text` with its lines, tabs as blanks, and every control or invisible character written out.

    Among these are the signs that turn the direction of writing, with which a text can look like another one.
    """
    text = text.replace("\r\n", "\n").replace("\t", "    ")
    return "".join(c if c == "\n" or c.isprintable() or c == "\u200d" else _escape(c) for c in text)


def one_line(text: str) -> str:
    """The same in one line."""
    return " ".join(plain(text).split("\n")).strip()


def _escape(char: str) -> str:
    code = ord(char)
    if char.isspace() and code != 0x0D and code > 0x20 and char not in "\u2028\u2029\x85":
        return " "  # a wide or a narrow blank
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
