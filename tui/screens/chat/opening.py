"""What a chat says before anything is said: about the model, and what one may ask it."""

from collections.abc import Sequence

from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from mlxllm.errors import UserError
from mlxllm.runs import ACTIVE, effective_status, run_of, short_name
from tui.engine_replies import LoadedInfo
from tui.talking.models import sample_prompt_of
from tui.words import count, printable

NO_MODEL = (
    "There is no model to talk to yet. On Home (1), t makes one of your own in minutes; "
    "m here takes the path of a folder with a model."
)


def heading(loaded: LoadedInfo) -> str:
    """The model in one line."""
    does = (
        "base model, continues your text"
        if loaded.kind == "base"
        else f"answers ({', '.join(loaded.history[1:]).upper()})"
    )
    parts = [short_name(loaded.address), does, f"{count(loaded.parameters)} parameters", f"context {loaded.context:,}"]
    return "   ".join(parts)


def opening(loaded: LoadedInfo, lines: Sequence[str] = ()) -> str:
    """What to know before the first word.

    Args:
        loaded: the model.
        lines: its `starters`.
    """
    if loaded.kind == "base":
        return (
            "This is a base model: it has read text and was never taught to answer, so it continues what you write. "
            "Begin something, and it goes on."
        )
    ask = "Ask something; 1 and enter asks the first of these." if lines else "Ask something."
    return f"{ask} It knows no more than what it has read."


def starters(loaded: LoadedInfo) -> list[str]:
    """What this model can go on with or answer."""
    if loaded.suggestions and loaded.kind == "chat":
        return loaded.suggestions
    prompt = sample_prompt_of(loaded.address)
    return [prompt] if prompt.strip() else []


def failure(model: str, error: UserError) -> str:
    """Why there is no model, and what can be done."""
    run = run_of(model)
    told = str(error).rstrip(". ")
    try:
        trains = run is not None and effective_status(run) in ACTIVE
    except UserError:
        trains = False
    if trains and run is not None:
        told += f". {run.name} trains just now: the Monitor (4) lets you talk to it while it learns."
    return f"{told.rstrip('.')}. m chooses another model."


class Starters(OptionList):
    """Lines to begin with: Enter or a click takes one, and so does its number in the input."""

    HELP = "Lines that this model can answer or go on with. Enter takes one."
    DEFAULT_CSS = """
    Starters { height: auto; max-height: 5; padding: 0 1; background: $background; }
    """

    class Chosen(Message):
        """A line was taken."""

        def __init__(self, text: str) -> None:
            """With its text."""
            super().__init__()
            self.text = text

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__(markup=False, compact=True)
        self.lines: Sequence[str] = ()
        self.styles.border = ("none", "transparent")  # lists of the application have one

    def show(self, lines: Sequence[str]) -> None:
        """Offer these; none hides it."""
        self.lines = tuple(lines)
        self.clear_options()
        self.add_options(
            Option(Content.assemble((f"{number} ", "bold $accent"), printable(line)))
            for number, line in enumerate(lines, 1)
        )
        self.display = bool(lines)

    def numbered(self, typed: str) -> str:
        """The line whose number was typed; what was typed, where it is none."""
        number = int(typed) if typed.strip().isdecimal() else 0
        return self.lines[number - 1] if self.display and 1 <= number <= len(self.lines) else typed

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter or a click."""
        event.stop()
        self.post_message(self.Chosen(self.lines[event.option_index]))
