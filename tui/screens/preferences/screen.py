"""Preferences: the pairs of a better and a worse answer that were kept, to look through, mend and learn from."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.conversation.stored_preference import StoredPreference
from mlxllm.presets import FEW_RECORDS_EPOCHS
from tui import commands
from tui.jobs import Job, Line
from tui.screens.preferences import rows
from tui.screens.preferences.editing import EditPair, Sides
from tui.screens.preferences.files import PairFiles
from tui.widgets.find import Find
from tui.widgets.rows import Cells, Rows
from tui.words import visible

_LOOK_SECONDS = 2.0
_MOST_UNDO = 100
_NEEDS_A_PAIR = frozenset("swap drop edit".split())
_NEEDS_PAIRS = frozenset("export align filter".split())
_EMPTY = (
    "No preferences yet.\n\nA preference is a question with two answers, of which you liked one better; from some hundreds "
    "of them a model learns your taste.\n\n6 opens Chat: A there shows two answers side by side, and your choice is kept "
    "here.\ni brings pairs in from a file (prompt, chosen and rejected)."
)


class PreferencesScreen(PairFiles):
    """All stored pairs."""

    MODE = "preferences"
    ABOUT = (
        "Every pair that you kept, the newest first: + is the answer that was chosen, - the one that was rejected. r turns a "
        "pair around, e writes its answers anew, D takes it out, u undoes that; a starts an alignment (DPO) on all of them."
    )
    HINT = "Your choices in Chat (A/B) are kept here. a aligns a model on them; r turns a wrong one around."
    WORDS = ("preference pair", "chosen", "rejected", "A/B", "DPO", "epoch", "model", "base model", "SFT", "step")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "align", "Align on these", id="preferences.align"),
        Binding(
            "r", "swap", "Relabel", id="preferences.swap", tooltip="Turn around: the other answer is the better one"
        ),
        Binding("e", "edit", "Edit", id="preferences.edit", tooltip="Write the answers of the pair anew"),
        Binding("D", "drop", "Drop", id="preferences.drop"),
        Binding("u", "undo", "Undo", id="preferences.undo"),
        Binding("slash", "filter", "Filter", key_display="/", id="preferences.filter"),
        Binding("i", "import", "Import", id="preferences.import"),
        Binding("E", "export", "Export", id="preferences.export"),
    ]
    SCOPED_CSS: ClassVar[bool] = False  # the class `ascii` is the application's
    DEFAULT_CSS = """
    PreferencesScreen #bar, PreferencesScreen #advice { height: auto; max-height: 2; padding: 0 1; }
    PreferencesScreen Rows { height: 2fr; min-height: 4; }
    PreferencesScreen #pair { height: 3fr; }
    PreferencesScreen #prompt { height: auto; max-height: 4; padding: 0 1; background: $surface; }
    PreferencesScreen VerticalScroll { width: 1fr; height: 1fr; border: round $border-blurred; padding: 0 1; }
    PreferencesScreen VerticalScroll:focus { border: round $border; }
    PreferencesScreen #chosen { border-title-color: $success; }
    PreferencesScreen #rejected { border-title-color: $error; }
    PreferencesScreen VerticalScroll Static { height: auto; }
    PreferencesScreen #empty { display: none; padding: 1 2; height: 1fr; }
    PreferencesScreen .empty #empty { display: block; }
    PreferencesScreen .empty Rows, PreferencesScreen .empty #pair, PreferencesScreen .empty #advice { display: none; }
    .ascii PreferencesScreen VerticalScroll, .ascii PreferencesScreen VerticalScroll:focus { border: ascii $border; }
    """

    def __init__(self) -> None:
        """Nothing has been read yet."""
        super().__init__()
        self._stored = rows.Stored({}, {})
        self._stamp: tuple[int, int] | None = None
        self._hidden: set[str] = set()
        """Ids that are being dropped: off the screen at once, and back on it if that fails."""
        self._undo: list[Sequence[commands.Args]] = []
        """Commands that take back what was done, the last one at the end."""
        self._drafts: dict[str, Sides] = {}
        """Answers that were written anew and not kept, by the id of their pair."""
        self._asked_to_drop = False
        self._editing = asyncio.Lock()
        self._usable = (False, False, False)
        self._wanted = ""
        """The pair that the cursor is to go to when it is back."""

    def compose_body(self) -> ComposeResult:
        with Vertical(id="list"):
            yield Static(id="bar", markup=False)
            yield Find("words of the question, an answer, the model or how it came about")
            yield Rows(rows.COLUMNS, self._cells)
            with Vertical(id="pair"):
                yield Static(id="prompt", markup=False)
                with Horizontal():
                    for name, title in (("chosen", "+ chosen"), ("rejected", "- rejected")):
                        with VerticalScroll(id=name) as column:
                            column.border_title = title
                            yield Static(markup=False)
            yield Static(id="advice", markup=False)
            yield Static(_EMPTY, id="empty", markup=False)

    def on_mount(self) -> None:
        """Read the store, and look now and then whether it has changed."""
        self.twin = commands.prefs_ls()
        self.query_one(Rows).focus()
        self.set_interval(_LOOK_SECONDS, self._look)

    def on_screen_resume(self) -> None:
        """What was kept while another screen was open."""
        self._look()

    def home_focus(self) -> Widget | None:
        """The table."""
        return self.query_one(Rows)

    # Reading and showing.

    def _look(self) -> None:
        if self.is_current:
            self._read()

    @work(thread=True, exclusive=True, group="read")
    def _read(self) -> None:
        stamp = _stamp(PreferenceStore().path)
        if stamp != self._stamp:
            self.app.call_from_thread(self._take, rows.read_store(), stamp)

    def _take(self, stored: rows.Stored, stamp: tuple[int, int]) -> None:
        self._stored, self._stamp = stored, stamp
        self._hidden &= stored.pairs.keys()
        self._show()
        if self.query_one(Rows).move_to(self._wanted):
            self._wanted = ""
        self._show_pair()

    def _show(self) -> None:
        words = self.query_one(Find).value.lower().split()
        texts = self._stored.texts
        there = [id_ for id_ in self._stored.pairs if id_ not in self._hidden]
        found = [id_ for id_ in there if all(word in texts[id_] for word in words)] if words else there
        self.query_one(Rows).set_rows(found)
        parts = [rows.counts([self._stored.pairs[id_] for id_ in there])]
        if words:
            parts.append(f"{len(found):,} found")
        if self._stored.damaged:
            lines = "1 damaged line is" if self._stored.damaged == 1 else f"{self._stored.damaged:,} damaged lines are"
            parts.append(f"! {lines} passed over")
        if self._stored.problem:
            parts = [f"! {self._stored.problem}"]
        self.query_one("#bar", Static).update(Content("   ".join(parts)))
        self.query_one("#advice", Static).update(Content(rows.advice(len(there))))
        self.query_one("#list").set_class(self._stamp is not None and not there, "empty")
        self._refresh_keys()

    def _cells(self, id_: str) -> Cells:
        return rows.cells(self._stored.pairs[id_])

    def _current(self) -> StoredPreference | None:
        return self._stored.pairs.get(self.query_one(Rows).key or "")

    @on(Rows.Moved)
    def _show_pair(self) -> None:
        """Both answers of the pair under the cursor, whole."""
        pair = self._current()
        self.query_one("#prompt", Static).update(rows.prompt(pair) if pair is not None else "")
        titles = rows.titles(pair) if pair is not None else {}
        for name, text in (("chosen", pair.chosen), ("rejected", pair.rejected)) if pair is not None else ():
            column = self.query_one(f"#{name}", VerticalScroll)
            column.border_title = titles[name]
            column.query_one(Static).update(Content(visible(text)))
            column.scroll_home(animate=False)
        self.query_one("#pair").display = pair is not None

    # Keys.

    def _refresh_keys(self) -> None:
        """The footer is made anew only where another key works now."""
        usable = (self._current() is not None, bool(self._stored.pairs), bool(self._undo))
        if usable != self._usable:
            self._usable = usable
            self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Some need a pair under the cursor, some any pair, and undo something to undo."""
        if action in _NEEDS_A_PAIR:
            return self._current() is not None
        if action in _NEEDS_PAIRS:
            return bool(self._stored.pairs)
        return bool(self._undo) if action == "undo" else True

    def action_filter(self) -> None:
        """Write words that must all be found."""
        self.query_one(Find).open()

    @on(Find.Changed)
    def _filter(self) -> None:
        self._show()

    @on(Find.Submitted)
    def _found(self) -> None:
        self.set_focus(self.home_focus())

    def action_leave(self) -> None:
        """Leave the filter; in the table, take it back, then the hint."""
        if not self.query_one(Find).put_away():
            super().action_leave()

    def action_swap(self) -> None:
        """The other answer is the better one."""
        if (pair := self._current()) is not None:
            self._edit(commands.prefs_edit("swap", pair.id), undo=[commands.prefs_edit("swap", pair.id)])

    def read_anew(self) -> None:
        """Read the store, though its file may not have changed."""
        self._stamp = None
        self._read()

    @work(exclusive=True, group="ask")
    async def action_edit(self) -> None:
        """Write its answers anew."""
        async with self._editing:  # what was asked for before is done
            stored = await asyncio.to_thread(rows.read_store)
        if (pair := stored.pairs.get(self.query_one(Rows).key or "")) is None:
            return
        editing = EditPair(pair, self._drafts.pop(pair.id, None))
        sides: Sides | None = await self.app.push_screen_wait(editing)
        if editing.draft is not None:
            self._drafts[pair.id] = editing.draft
            self.mlx.tell("e goes on with what you wrote")
        if sides is None:
            return
        chosen, rejected = sides
        changed = {
            "chosen": chosen if chosen != pair.chosen else None,
            "rejected": rejected if rejected != pair.rejected else None,
        }
        self._rewrite(pair.id, sides, commands.prefs_rewrite(pair.id, **changed))

    @work(group="edit")
    async def _rewrite(self, id_: str, sides: Sides, args: commands.Args) -> None:
        """Run the command that does it; the pair has another id then, and what takes it back is known."""
        self.twin = args
        job, lines = await self._run((*args, "--json"))
        made = next((str(line["id"]) for line in lines if isinstance(line, dict) and "id" in line), "")
        if job.returncode or not made:
            self._drafts[id_] = sides
            self.mlx.fail(job.error)
        else:
            self._undo.append([commands.prefs_edit("restore", id_), commands.prefs_edit("rm", made)])
            self._wanted = made
        self._refresh_keys()
        self.read_anew()

    @work(exclusive=True, group="ask")
    async def action_drop(self) -> None:
        """Take the pair under the cursor out; asked the first time."""
        if (pair := self._current()) is None:
            return
        if not self._asked_to_drop:
            question = "Take this pair out? u brings it back, and I will not ask again while the application is open."
            if not await self.mlx.confirm(question, "Drop"):
                return
            self._asked_to_drop = True
        self._hidden.add(pair.id)
        self._edit(commands.prefs_edit("rm", pair.id), undo=[commands.prefs_edit("restore", pair.id)])
        self._show()
        self._show_pair()

    def action_undo(self) -> None:
        """Take back what was last done here."""
        if self._undo:
            todo = self._undo.pop()
            self._wanted = todo[0][-1]
            self._edit(*todo)

    @work(group="edit")
    async def _edit(self, *todo: commands.Args, undo: Sequence[commands.Args] = ()) -> None:
        """Run commands on the store until one fails, after those that were asked for earlier; then read the store anew."""
        self.twin = todo[0]
        if undo:
            self._undo = [*self._undo[1 - _MOST_UNDO :], undo]
            self._refresh_keys()
        for args in todo:
            job, _ = await self._run(args)
            if job.returncode:
                self._hidden -= set(args)
                self._undo = [each for each in self._undo if each is not undo]
                self.mlx.fail(job.error)
                break
        self.read_anew()

    async def _run(self, args: commands.Args) -> tuple[Job, Sequence[Line]]:
        """Run one of our commands to its end, after those that were asked for earlier; with what it printed."""
        async with self._editing:
            ended: asyncio.Future[Job] = asyncio.get_running_loop().create_future()
            lines: list[Line] = []
            self.mlx.run_job(args, lines.append, lambda job: None if ended.done() else ended.set_result(job))
            return await ended, lines

    def action_align(self) -> None:
        """Prepare a DPO run on these pairs, from the model that most of them are about."""
        pairs = list(self._stored.pairs.values())
        if pairs:
            self.mlx.open_new_run(
                "dpo",
                model=rows.model_to_align(pairs),
                data=(str(PreferenceStore().path),),
                epochs=FEW_RECORDS_EPOCHS if len(pairs) < rows.ENOUGH else None,
            )
            self.mlx.tell(rows.advice(len(pairs)))


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)
