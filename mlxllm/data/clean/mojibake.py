"""Text that was decoded with the wrong character set, put right by ftfy (Speer 2019), as FineWeb 2 does.

Only what is broken is mended. Ligatures, curly quotes, wide characters and composed forms stay as the author wrote
them, and so do HTML entities: a source that reads HTML has resolved them, and anywhere else they may be the subject.
"""

import re

from mlxllm.config import Section
from mlxllm.data.clean.prepared import Prepared

# ASCII without control characters cannot be mojibake; most English texts are told by that.
_SUSPICIOUS = re.compile(r"[^\t\n\r\f\x20-\x7e]")
_PASSES = 4


class Mojibake(Section):
    """Characters that a wrong decoding left behind."""

    control_characters: bool = True
    """Also take out control characters and terminal colours."""


def mojibake(prepared: Prepared, settings: Mojibake) -> Prepared:
    """The text as it was meant."""
    if not _SUSPICIOUS.search(prepared.text):
        return prepared
    # ftfy builds large tables when it is imported.
    import ftfy

    config = ftfy.TextFixerConfig(
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
    text = prepared.text
    for _ in range(_PASSES):  # what was wrong twice shows the second error when the first is gone
        mended = ftfy.fix_text(text, config)
        if mended == text:
            break
        text = mended
    return prepared.with_text(text)
