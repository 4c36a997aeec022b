"""A/B: two answers to a prompt with names hidden and sides shuffled; which one you like better becomes a pair."""

import secrets
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from mlxllm.conversation.asking import prompt_of
from mlxllm.conversation.trials import Prompt, Trial
from mlxllm.errors import UserError
from mlxllm.runs import short_name
from tui import commands
from tui.screens.chat.picker import ModelPicker
from tui.screens.chat.settings import ChatSettings
from tui.screens.chat.versus import SIDES, StoppedError, Versus
from tui.talking import sampling
from tui.widgets.writing import Writing


class ABScreen(Versus):
    """Prompts one by one; after each choice one sees whose answers they were."""

    ABOUT = (
        "A/B shows two answers without saying whose they are. Choose the better one: it becomes a preference pair, which DPO "
        "learns from. Both may be of one model, drawn with two seeds; m takes another one as the second."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,i", "write", "Next", key_display="⏎", id="ab.write"),
        Binding(
            "ctrl+r", "again", "New answers", key_display="^r", id="ab.again", tooltip="Two others to the same prompt"
        ),
        Binding("m", "second", "Model", id="ab.model", tooltip="Another model for one of the two answers"),
    ]

    def __init__(self, model: str, second: str, settings: ChatSettings, prompt: Prompt, begin: str) -> None:
        """Compare a model with a second one, or with itself.

        Args:
            model: its address.
            second: the other's; the same one differs in its seed.
            settings: how answers are drawn.
            prompt: what is asked at once; none is nothing yet.
            begin: what stands in the input first.
        """
        super().__init__(Trial((model, second), [], secrets.randbelow(1 << 32)), settings)
        self._first, self._begin = prompt, begin
        self._outcome = ""
        self._shows_state = False
        """The line says what can be done, which is something else in the input."""

    def compose_body(self) -> ComposeResult:
        yield from super().compose_body()
        yield Writing(placeholder="ask for two answers; enter sends", id="writing")

    def on_mount(self) -> None:
        """Ask what was asked in the chat, or wait for a prompt."""
        self._set_twin(self._first)
        if self._first:
            self._ask(self._first)
        else:
            writing = self.query_one(Writing)
            writing.remember(self._begin)
            writing.put(self._begin, selected=True)
            writing.focus()
            this = "enter asks this; typing puts something else in its place"
            self.status(this if self._begin else "enter asks for two answers")

    def _set_twin(self, prompt: Prompt) -> None:
        """The command that asks for the same two answers; which stands left it decides anew."""
        system = next((message.content for message in prompt if message.role == "system"), None)
        before = [message.content for message in prompt[:-1] if message.role != "system"]
        self.twin = commands.prefs_judge(
            [self.loaded[name].address if name in self.loaded else name for name in dict.fromkeys(self.trial.players)],
            prompt[-1].content if prompt else None,
            before=before,
            system=system,
            **sampling.changed(self.settings.sample),
            seed=self.trial.seed_of(self.trial.number, 0),
        )

    def on_writing_sent(self, event: Writing.Sent) -> None:
        """A new prompt."""
        if self.busy:
            self.status("two answers are being written: esc stops them")
        elif not event.text.strip():
            self.status("write something that two answers are wanted to")
        else:
            event.writing.taken()
            self._ask(prompt_of(event.text, self.settings.system))

    @work(exclusive=True, group="ab")
    async def _ask(self, prompt: Prompt) -> None:
        """Both answers to a prompt; a round that was not judged is given up for it."""
        self.busy = True
        self.set_focus(None)
        try:
            await self.load_players()
            self._give_up()
            each = self.trial.add(prompt)
            self._set_twin(prompt)
            await self.show_round(each)
            self.status("two answers are being written ...   esc stops")
            await self.write_round(self.trial.number)
        except UserError as error:
            self._give_up()
            self.status(f"! {error}   ^r tries it again")
            self._first = prompt
        except StoppedError:
            self._give_up()
            self._first = prompt
            self.status("stopped   ^r asks again   enter: another prompt")
        finally:
            self.busy = False
            self.refresh_bindings()

    def _give_up(self) -> None:
        del self.trial.rounds[self.trial.number :]

    def what_to_do(self) -> str:
        each, inside = self.shown, isinstance(self.focused, Writing)
        if each is None:
            return f"{self._outcome}   " + (
                "enter asks for two more" if inside else "enter: the next   u takes the choice back"
            )
        if inside:
            return "two answers wait for your choice: esc leaves the input; enter gives them up for two others"
        if each.is_same:
            return f"{each.alike}: ^r asks for two others, with a higher temperature they differ"
        return "which one is better?   a   b   = tie   0 both bad   w write a better one"

    def why_not(self) -> str:
        each = self.shown
        if each is None:
            return (
                "there is no choice to make: enter asks for two answers" if not self.busy else "models are being loaded"
            )
        return f"{self.what_to_do()}   = tie   0 both bad" if each.is_same else super().why_not()

    def status(self, text: str) -> None:
        super().status(text)
        self._shows_state = False

    def show_state(self) -> None:
        super().show_state()
        self._shows_state = True

    def on_descendant_focus(self) -> None:
        """In the input letters are text."""
        if self._shows_state:
            self.show_state()

    def on_descendant_blur(self) -> None:
        """Outside of it they are keys."""
        if self._shows_state:
            self.show_state()

    def judged(self, number: int) -> None:
        """Say whose answers they were."""
        each = self.trial.rounds[number]
        for side in SIDES:
            answer = each.shown(side)
            mark = " (yours)" if each.choice == side else ""
            self.column(side).title(f"{side.upper()}{mark}: {short_name(answer.model)}, seed {answer.seed}")
        verdict = self.trial.verdict()
        told = _kept(len(each.stored), self.stored_in_all)
        if self.trial.players[0] != self.trial.players[1] and verdict.decided:
            told = f"{verdict.sentence(*map(short_name, self.trial.players))}   {told}"
        self._outcome = told
        self.show_state()

    def undone(self) -> None:
        del self.trial.rounds[self.trial.number + 1 :]  # one that was asked since and not judged

    # Keys.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Letters are keys only outside of the input."""
        if isinstance(self.focused, Writing) and action not in ("again", "leave", "copy_twin"):
            return False
        if action == "again":
            return bool(self.trial.rounds or self._first) and not self.busy
        return super().check_action(action, parameters)

    def action_write(self) -> None:
        """To the input."""
        self.query_one(Writing).focus()

    def action_again(self) -> None:
        """Two new answers to the same prompt."""
        if self.busy:
            self.status("two answers are being written: esc stops them")
            return
        last = self.trial.rounds[-1].prompt if self.trial.rounds else self._first
        if not last:
            self.status("nothing was asked yet: enter, and write something")
            return
        # A round that is not judged is given up: its seeds are not to come again.
        self.trial.seed = (self.trial.seed + 2 * len(self.trial.rounds) + 2) % (1 << 32)
        self._ask(last)

    @work
    async def action_second(self) -> None:
        """Another model as the second one; a new count begins."""
        if self.busy:
            self.status("two answers are being written: esc stops them")
            return
        picker = ModelPicker("Which model shall write the second answer?", current=self.trial.players[1])
        model: str | None = await self.app.push_screen_wait(picker)
        if model is None:
            return
        last = self.trial.rounds[-1].prompt if self.trial.rounds else self._first
        self.trial = Trial((self.trial.players[0], model), [], secrets.randbelow(1 << 32))
        if last:
            self._ask(last)
        else:
            self._set_twin(())
            self.status(f"the second answer will be of {model}")

    def action_leave(self) -> None:
        """Stop the answers; else leave the input; else leave A/B."""
        if self.busy:
            self.stop()
            self.status("stopping ...")
        elif isinstance(self.focused, Writing):
            self.set_focus(None)
        else:
            self.dismiss()


def _kept(now: int, in_all: int | None) -> str:
    """What became of a choice, and how many pairs there are."""
    told = {0: "no pair is kept of this", 1: "this is kept as a preference pair"}.get(
        now, f"this is kept as {now} pairs"
    )
    return told if in_all is None else f"{told} ({in_all:,} in all, under 7)"
