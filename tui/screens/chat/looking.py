"""What one can look at of an answer in the chat: its tokens, and what of it stands in the training text."""

import asyncio
from pathlib import Path

from textual import work

from mlxllm import paths
from mlxllm.conversation.saved import Said
from mlxllm.data.origins.tracing import Trace
from mlxllm.errors import UserError
from mlxllm.runs import short_name
from tui import commands
from tui.jobs import Job
from tui.screens.chat.origin import OriginView
from tui.screens.chat.talking import TalkingScreen
from tui.screens.chat.tokens import TokenView
from tui.talking.origins import Tracer, warning, without_index


class LooksAtAnswers(TalkingScreen):
    """The part of the chat that tells about an answer after its end."""

    def __init__(self) -> None:
        """Nothing was looked for."""
        super().__init__()
        self._tracer = Tracer()
        self._traced: tuple[Said, Trace] | None = None
        self._indexing = ""
        """The dataset whose index is being built."""
        self._warned = ""

    def action_tokens(self) -> None:
        """The tokens of the last answer."""
        tokens = self._views.get(len(self._talk.said) - 1)
        if not tokens:
            self._status("the tokens of this answer were not kept; ctrl+r asks for another one, and keeps its tokens")
            return
        self.app.push_screen(TokenView(tokens, short_name(self._address)))

    def answered(self) -> None:
        """Look at once where it got that, if there is an index."""
        self._look()

    @work(exclusive=True, group="trace")
    async def _look(self) -> None:
        try:
            await self._trace()
        except UserError:  # it is said when somebody asks
            return

    async def _trace(self) -> Trace | None:
        """What is found about the last answer, which then glows; None where there is none, or by then another one.

        Raises:
            UserError: the model's training data are not known here, or have no index.
        """
        answer = self._talk.answer
        if answer is None:
            return None
        if self._traced is not None and self._traced[0] is answer:
            return self._traced[1]
        trace = await asyncio.to_thread(self._tracer.trace, self._model_of(answer), answer.content.strip("\n"))
        if self._is_gone or self._talk.answer is not answer:
            return None
        self._traced = (answer, trace)
        self.log_.glow(answer, trace)
        return trace

    def _model_of(self, answer: Said) -> str:
        return str(answer.about.get("model") or self._address)

    @work(exclusive=True, group="origin")
    async def action_origin(self) -> None:
        """The documents that the last answer was taken from; where there is no index yet, it is built first."""
        answer = self._talk.answer
        if answer is None or self._busy or self._indexing:
            building = f"the index of {self._indexing} is being built ..." if self._indexing else ""
            self._status(building or "there is no answer to look for yet")
            return
        model = self._model_of(answer)
        try:
            missing = await asyncio.to_thread(without_index, model)
            if missing:
                await self._ask_to_build(missing[0])
                return
            trace = await self._trace()
            note = await asyncio.to_thread(warning, model)
        except UserError as error:
            self.mlx.warn(str(error))
            return
        if note and note != self._warned:
            self._warned = note
            self.mlx.warn(note)
        if trace is None:
            return
        if trace.spans:
            self.app.push_screen(OriginView(trace, self._tracer, model))
        else:
            self._status("no eight words in a row of it stand in the training text: all of it is its own")

    async def _ask_to_build(self, dataset: Path) -> None:
        question = (
            f"To see where an answer comes from, the training text of {dataset.name} is put into an index first, once: a few "
            f"seconds for a million words. It lies in the cache."
        )
        if not await self.mlx.confirm(question, "Build it"):
            return
        self._indexing = dataset.name
        here = dataset.parent == paths.folder("datasets")
        self.twin = commands.data_index(dataset.name if here else str(dataset))
        self._status(f"the index of {dataset.name} is being built ...")
        self.mlx.run_job(self.twin, lambda _: None, self._built)

    def _built(self, job: Job) -> None:
        name, self._indexing = self._indexing, ""
        if job.returncode:
            self.mlx.fail(job.error)
            return
        self._set_twin()
        self._status(f"the index of {name} is there: o opens where the answer comes from")
        self._look()
