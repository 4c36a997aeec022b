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
            writing.put(self._begin)
            writing.focus()
            self.status("enter asks for two answers")

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
        each = self.shown
        if each is not None and each.is_same:
            return "both answers are the same, word for word: ^r asks for two others, with a higher temperature they differ"
        return "which one is better?   a   b   = tie   0 both bad   w write a better one"

    def judged(self, number: int) -> None:
        """Say whose answers they were."""
        each = self.trial.rounds[number]
        for side in SIDES:
            answer = each.shown(side)
            mark = " (yours)" if each.choice == side else ""
            self.column(side).title(f"{side.upper()}{mark}: {short_name(answer.model)}, seed {answer.seed}")
        verdict = self.trial.verdict()
        kept = "1 preference pair" if self.stored == 1 else f"{self.stored} preference pairs"
        told = f"kept: {kept}   enter: the next prompt   u takes the choice back"
        if self.trial.players[0] != self.trial.players[1] and verdict.decided:
            told = f"{verdict.sentence(*map(short_name, self.trial.players))}   {told}"
        self.status(told)

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
