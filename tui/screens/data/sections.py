"""The tabs of the data screen: what was seen, as text for a width. Meaning stands in signs as well as in colours."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.cells import cell_len
from textual.content import Content

from mlxllm.visible import readable, visible
from tui.data.entries import Group
from tui.data.mixture import Size, shares, short_spec
from tui.data.seen import Reason, Seen, Stretch
from tui.widgets.shortening import cut_middle
from tui.words import file_size

Part = Content | str | tuple[str, str]

_EVEN, _ODD = "$primary", "$accent"
_SPECIAL = "bold $secondary"
_TRAINED, _MASKED = "bold $success", "$text-muted"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_ASCII_SIGNS = str.maketrans({"·": "_", "⏎": "\\n", "⇥": "\\t", "␍": "\\r"})
_BAR_WIDTH = 30
_NAME_CELLS, _WEIGHT_AND_SHARE = 18, 10
_MIXTURE_ROWS = 6
_ABOUT_FIRST = 2
"""What stands above the documents; the rest stands below them."""


def text_section(seen: Seen, width: int, ascii_only: bool) -> Content:
    """The first documents as they are; control characters written out."""
    first, last = seen.about[:_ABOUT_FIRST], seen.about[_ABOUT_FIRST:]
    parts: list[Part] = [*_about(first)]
    for shown in seen.texts:
        parts += [_rule(shown.id, width, ascii_only), "\n", _steady(shown.text.rstrip("\n"))]
        parts += ["\n" if shown.complete else ("  ... it goes on\n", "$text-muted"), "\n"]
    if seen.more:
        parts.append((f"{seen.more}\n\n", "$text-muted"))
    parts += _about(last)
    return Content.assemble(*parts) if parts else Content("There is no document to show.")


def tokens_section(seen: Seen, width: int, ascii_only: bool, ids: bool = False) -> Content:
    """The beginning in tokens: between separators, or with `ids` each above its id."""
    head = f"{seen.tokenizer}; {_legend(seen, ascii_only)}"
    body = _interlinear(seen, width, ascii_only) if ids else _separated(seen, ascii_only)
    return Content.assemble((head, "$text-muted"), "\n\n", *body)


def statistics_section(seen: Seen, width: int, ascii_only: bool) -> Content:
    """Numbers, lengths as bars, and the most frequent tokens."""
    margin = max((cell_len(name) for name, _ in seen.facts), default=0) + 2
    parts: list[Part] = []
    for name, value in seen.facts:
        parts += [(f"{visible_line(name):<{margin}}", "$accent"), f"{visible_line(value)}\n"]
    for source, facts in seen.sources:
        parts += ["\n", (f"{visible_line(source)}\n", "bold")]
        for name, value in facts:
            parts += [(f"  {name:<12}", "$accent"), f"{visible_line(value)}\n"]
    if seen.notes:
        parts.append(("\nNotes\n", "bold"))
        parts += [f"  {visible_line(note)}\n" for note in seen.notes]
    if seen.lengths is not None:
        lengths = seen.lengths
        parts += [
            ("\nLengths", "bold"),
            f" in {seen.lengths_of}: {lengths.shortest:,} to {lengths.longest:,}, median {lengths.median:,.0f}, "
            f"mean {lengths.mean:,.1f}\n",
        ]
        most = max(number for _, _, number in lengths.bins)
        for low, high, number in lengths.bins:
            bar = ("#" if ascii_only else "━") * max(bool(number), round(number / most * min(_BAR_WIDTH, width - 32)))
            parts += [f"{low:>9,} to {high:<9,} ", (bar, "$primary"), f" {number:,}\n"]
    if seen.frequent:
        parts.append(("\nMost frequent tokens\n", "bold"))
        for position, (piece, share) in enumerate(seen.frequent):
            parts += ["  " if position else "", (_shown(piece, ascii_only), _EVEN), f" {share:.1%}"]
    return Content.assemble(*parts)


def dropped_section(seen: Seen, width: int, ascii_only: bool) -> Content:
    """What was left out, and why, with the first places."""
    if not seen.reasons:
        return Content(f"Nothing was dropped of {seen.reasons_of or 'what was looked at'}.")
    parts: list[Part] = [f"Of {seen.reasons_of}:\n"]
    source = ""
    for reason in seen.reasons:
        if reason.source != source:
            source = reason.source
            parts += ["\n", (f"{visible_line(source)}\n", "bold")]
        mark, style = _reason_mark(reason, ascii_only)
        what = "left out" if reason.left_out else "noted"
        size = f", {file_size(reason.size)} of text" if reason.size else ""
        parts += ["\n", (f"{mark} {reason.count:,} {what}: {reason.what}{size}\n", style)]
        parts += [f"    {visible_line(place)}\n" for place in reason.examples]
        if reason.count > len(reason.examples) > 0:
            parts.append((f"    and {reason.count - len(reason.examples):,} more\n", "$text-muted"))
    return Content.assemble(*parts)


def packing_section(seen: Seen, width: int, ascii_only: bool) -> Content:
    """Rows of training as bars, then what of the records is learned."""
    parts: list[Part] = [seen.rows_note, "\n\n"]
    if seen.rows:
        parts += [*_rows(seen.rows, max(20, width - 8), ascii_only, bool(seen.masked)), "\n"]
    elif not seen.masked:
        parts.append("There is not enough text for a row.\n")
    for title, runs in seen.masked:
        parts += [_rule(title, width, ascii_only), "\n"]
        for run in runs:
            text = readable(run.text).replace("[", "\\[").replace("]", "\\]")
            if run.trained:
                parts.append((f"[{text}]", f"{_SPECIAL} underline" if run.special else _TRAINED))
            else:
                parts.append((text, _SPECIAL if run.special else _MASKED))
        parts.append("\n\n")
    return Content.assemble(*parts)


def _or_problem(section: Callable[..., Content]) -> Callable[..., Content]:
    """The section; the sentence that says why, where there is nothing to see."""

    def shown(seen: Seen, width: int, ascii_only: bool) -> Content:
        if seen.wanted:
            return Content.assemble(visible_line(seen.wanted), "\n\n", *_about(seen.about))
        if seen.waiting:
            return Content.assemble(*_about(seen.about), visible_line(seen.waiting))
        if seen.problem:
            mark = ("x " if ascii_only else "✗ ", "$error")
            return Content.assemble(*_about(seen.about), mark, visible_line(seen.problem))
        return section(seen, width, ascii_only)

    return shown


def group_about(group: Group | None) -> Content:
    """What a group of the tree is, for when the cursor stands on its title."""
    about = {
        "catalogue": "What can be read without a file of your own. Put the cursor on a source to see its beginning.",
        "formats": "What else can be read: dumps and data sets in the form in which they are spread. a adds a file of one.",
        "yours": "Files and folders of text that you have added. a adds one; whatever it is, it stays where it is.",
        "datasets": "Text that was split, turned into tokens and written down: what training reads. Take sources with "
        "space, then build one with b.",
        "records": "Files of conversations, which teach a model to answer (SFT), and of preferences, which teach it what "
        "answers you like (DPO). a adds one.",
    }
    return Content(about[group] if group is not None else "")


def mixture_lines(
    mixture: Mapping[str, float], sizes: Mapping[str, Size], width: int = 32, why: str = "", ascii_only: bool = False
) -> Content:
    """What was taken, how often, and what part of the training text it is going to be.

    Args:
        mixture: weights by specification.
        sizes: as far as they are known.
        width: cells of a line.
        why: why shares are not known, where they are not.
        ascii_only: whether marks must be ASCII.
    """
    if not mixture:
        return Content.assemble(("Mixture", "bold"), ("  space takes a source", "$text-muted"))
    parts: list[Part] = [("Mixture", "bold"), ("  weight and share\n", "$text-muted")]
    told = shares(mixture, sizes)
    names = {spec: visible_line(short_spec(spec)) for spec in told}
    room = max(_NAME_CELLS, min(width - _WEIGHT_AND_SHARE, max(map(cell_len, names.values()))))
    most = _MIXTURE_ROWS if len(told) > _MIXTURE_ROWS + 1 else len(told)
    for spec, share in list(told.items())[:most]:
        name = cut_middle(names[spec], room, ascii_only=ascii_only)
        known = "   ?" if share is None else f"{share:>4.0%}"
        parts += [name + " " * (room - cell_len(name) + 1), (f"x{mixture[spec]:<4g}", "$accent"), f"{known}\n"]
    if len(told) > most:
        parts.append((f"and {len(told) - most} more\n", "$text-muted"))
    if why:
        parts.append((f"? {why}", "$text-muted"))
    return Content.assemble(*parts).rstrip()


SECTIONS: Sequence[tuple[str, str, Callable[..., Content]]] = (
    ("Text", "Text", _or_problem(text_section)),
    ("Tokens", "Tokens", _or_problem(tokens_section)),
    ("Statistics", "Stats", _or_problem(statistics_section)),
    ("Dropped", "Dropped", _or_problem(dropped_section)),
    ("Packing and loss mask", "Packing", _or_problem(packing_section)),
)
"""Title, short title and content of each tab."""


def visible_line(text: str) -> str:
    """A text in one line with its blanks, everything that could steer a terminal written out."""
    return "".join(c if c == " " else visible(c) for c in text)


def _steady(text: str) -> str:
    return "".join(c if c in " \n" else "    " if c == "\t" else visible(c) for c in text)


def _rule(title: str, width: int, ascii_only: bool) -> Content:
    line = "-" if ascii_only else "─"
    title = visible_line(title)
    while title and cell_len(title) > width - 6:  # the end of a path says more than its beginning
        title = title[1:]
    return Content.assemble(
        (f"{line}{line} {title} ", "bold"), (line * max(0, width - cell_len(title) - 5), "$text-muted")
    )


def _about(about: Sequence[tuple[str, str]]) -> Iterator[Part]:
    for name, value in about:
        yield f"{name:<10}", "$accent"
        yield f"{value}\n"
    if about:
        yield "\n"


def _legend(seen: Seen, ascii_only: bool) -> str:
    if ascii_only:
        return "| stands between tokens, _ is a space, \\n a line end"
    return "│ stands between tokens, · is a space, ⏎ a line end"


def _shown(piece: str, ascii_only: bool) -> str:
    return visible(piece).translate(_ASCII_SIGNS) if ascii_only else visible(piece)


def _separated(seen: Seen, ascii_only: bool) -> Iterator[Part]:
    between = ("|" if ascii_only else "│", "$text-muted")
    for number, (token_id, piece) in enumerate(seen.tokens):
        special = piece.startswith("<|") and token_id < len(_LETTERS)
        yield _shown(piece, ascii_only), _SPECIAL if special else _ODD if number % 2 else _EVEN
        yield between
        if special or piece.endswith("\n") or piece == "<0x0A>":
            yield "\n"


def _interlinear(seen: Seen, width: int, ascii_only: bool) -> Iterator[Part]:
    above: list[Part] = []
    below = ""
    for number, (token_id, piece) in enumerate(seen.tokens):
        shown, label = _shown(piece, ascii_only), str(token_id)
        columns = max(cell_len(shown), len(label)) + 1
        if below and len(below) + columns > width:
            yield from (*above, "\n", (below, "$text-muted"), "\n")
            above, below = [], ""
        above.append((shown + " " * (columns - cell_len(shown)), _ODD if number % 2 else _EVEN))
        below += label.ljust(columns)
    yield from (*above, "\n", (below, "$text-muted"), "\n")


def _reason_mark(reason: Reason, ascii_only: bool) -> tuple[str, str]:
    if reason.left_out:
        return ("x" if ascii_only else "✗"), "$error"
    return "!", "$warning"


def _rows(rows: Sequence[Sequence[Stretch]], width: int, ascii_only: bool, masks: bool) -> Iterator[Part]:
    """A bar a row: a letter a text, in capitals where its tokens are learned, a bar where a text begins."""
    edge = "|" if ascii_only else "│"
    # Where most is padding, only a little of that is drawn, so that the texts can be seen.
    used = max(sum(stretch.tokens for stretch in row if stretch.text >= 0) for row in rows)
    total = min(sum(stretch.tokens for stretch in rows[0]), round(used * 1.1) + 1)
    for number, row in enumerate(rows, 1):
        yield f"row {number:<3} ", "$text-muted"
        done = drawn = 0
        for stretch in row:
            done = min(total, done + stretch.tokens)
            cells = round(done / total * width) - drawn
            drawn += cells
            if stretch.text < 0:
                yield "." * cells, "$text-muted"
                continue
            letter = _LETTERS[stretch.text % len(_LETTERS)]
            letter = letter.upper() if masks and stretch.trained else letter
            if stretch.begins and cells > 1:
                yield edge, "$foreground"
                cells -= 1
            colour = (_TRAINED if stretch.trained else _MASKED) if masks else (_ODD if stretch.text % 2 else _EVEN)
            yield letter * cells, colour
        yield "\n"
    legend = "a letter is a text, CAPITALS are learned, dots are padding" if masks else "a letter is a document"
    yield f"        {legend}; {edge} is where one begins\n", "$text-muted"
