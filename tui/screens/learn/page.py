"""A chapter as it is drawn: title, text, formula, where it is done, its experiment, its question."""

from textual.content import Content

from mlxllm.learn.chapter import Chapter
from mlxllm.learn.trying import Trial
from tui.words import printable

_EMPTY = Content("")


def page(chapter: Chapter, trial: Trial | None, *, answered: bool) -> Content:
    """All of a chapter.

    Args:
        chapter: what is told.
        trial: its experiment with what there is; None while that is being found out.
        answered: whether its answer is shown.
    """
    parts: list[Content] = [Content.styled(f"{chapter.number}. {chapter.title}", "bold $primary"), _EMPTY]
    for number, paragraph in enumerate(chapter.paragraphs):
        if number and not paragraph.startswith("- "):
            parts.append(_EMPTY)
        parts.append(Content(paragraph))
    parts += [_EMPTY, *(Content.styled(f"   {line}", "bold $accent") for line in chapter.formula.split("\n")), _EMPTY]
    parts += [_row("In the code", chapter.references[0].text, "$text-muted")]
    parts += [_row("", reference.text, "$text-muted") for reference in chapter.references[1:]]
    parts += [_EMPTY, *_experiment(trial), _EMPTY, _row("Question", chapter.question)]
    parts.append(_row("Answer", chapter.answer) if answered else _row("", "a shows the answer", "$text-muted"))
    return Content("\n").join(parts)


def _experiment(trial: Trial | None) -> list[Content]:
    if trial is None:
        return [_row("Experiment", "...", "$text-muted")]
    if not trial.args:
        return [_row("Experiment", printable(trial.missing))]
    return [
        _row("Experiment", f"$ {printable(trial.command)}", "$success"),
        _row("", trial.look),
        _row("", "enter runs it", "$text-muted"),
    ]


def _row(name: str, text: str, style: str = "") -> Content:
    head = Content.styled(f"{name}  ", "bold $primary") if name else _EMPTY
    return Content.assemble(head, (text, style) if style else text)
