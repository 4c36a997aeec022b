"""A chapter as it is drawn: title, text, formula, where it is done, its experiment, its question."""

from textual.content import Content

from mlxllm.learn.chapter import Chapter
from mlxllm.learn.trying import Trial
from tui.words import printable

_EMPTY = Content("")


def page(chapter: Chapter, trial: Trial | None, *, answered: bool, ascii_only: bool) -> Content:
    """All of a chapter.

    Args:
        chapter: what is told.
        trial: its experiment with what there is; None while that is being found out.
        answered: whether its answer is shown.
        ascii_only: whether the formula does without its own letters.
    """
    parts: list[Content] = [Content.styled(f"{chapter.number}. {chapter.title}", "bold $primary"), _EMPTY]
    for number, paragraph in enumerate(chapter.paragraphs):
        if number and not paragraph.startswith("- "):
            parts.append(_EMPTY)
        parts.append(Content(paragraph))
    formula = chapter.formula_in_ascii if ascii_only else chapter.formula
    parts += [_EMPTY, *(Content.styled(f"   {line}", "bold $accent") for line in formula.split("\n")), _EMPTY]
    parts.append(_head("In the code"))
    parts += [Content.styled(reference.text, "$text-muted") for reference in chapter.references]
    parts += [_EMPTY, _head("Experiment"), *_experiment(trial), _EMPTY, _head("Question"), Content(chapter.question)]
    if answered:
        parts += [_EMPTY, _head("Answer"), Content(chapter.answer)]
    else:
        parts.append(_key("a", "shows the answer"))
    return Content("\n").join(parts)


def _experiment(trial: Trial | None) -> list[Content]:
    if trial is None:
        return [Content.styled("...", "$text-muted")]
    if not trial.args:
        return [Content(printable(trial.missing))]
    command = Content.styled(f"$ {printable(trial.command)}", "$success")
    return [command, Content(trial.look), _key("enter", "runs it")]


def _head(text: str) -> Content:
    return Content.styled(text, "bold $primary")


def _key(key: str, what: str) -> Content:
    return Content.assemble((key, "bold $accent"), (f" {what}", "$text-muted"))
