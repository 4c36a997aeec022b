"""Text that was decoded with the wrong character set, put right by ftfy (Speer 2019), as FineWeb 2 does.

Only what is broken is mended. Ligatures, curly quotes, wide characters and composed forms stay as the author wrote
them, and so do HTML entities: a source that reads HTML has resolved them, and anywhere else they may be the subject.
"""

import re

from mlxllm.config import Section
from mlxllm.data.clean.prepared import Prepared

# A character of UTF-8 that was read as something else has become two or more, none of them ASCII, unless the second was
# a no-break space and is a space by now. Quotes and dashes that stand alone, which is all that is not ASCII in most
# English texts, are no sign of it.
_TWO = re.compile(r"[^\x00-\x7f]{2}")
_ODD = re.compile(r"[ÃÂ\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufff9-\uffff]")
_PASSES = 4


class Mojibake(Section):
    """Characters that a wrong decoding left behind."""

    control_characters: bool = True
    """Also take out control characters and terminal colours."""


def mojibake(prepared: Prepared, settings: Mojibake) -> Prepared:
    """The text as it was meant."""
    if not _is_suspicious(prepared.text):
        return prepared
    # ftfy builds large tables when it is imported.
    from ftfy import TextFixerConfig, fix_text

    config = TextFixerConfig(
        unescape_html=False,
        remove_terminal_escapes=settings.control_characters,
        remove_control_chars=settings.control_characters,
        fix_latin_ligatures=False,
        fix_character_width=False,
        uncurl_quotes=False,
        fix_line_breaks=False,
        normalization=None,
        explain=False,
    )

    def mended(line: str) -> str:
        for _ in range(_PASSES):  # what was wrong twice shows the second error when the first is gone
            before, line = line, str(fix_text(line, config))
            if line == before:
                break
        return line

    lines = prepared.text.split("\n")
    return prepared.with_text("\n".join(mended(line) if _is_suspicious(line) else line for line in lines))


def _is_suspicious(text: str) -> bool:
    return bool(_ODD.search(text) or (not text.isascii() and _TWO.search(text)))
