"""What there is to train on and to begin with, looked at beside the New run screen so that it never waits."""

import os
from pathlib import Path

from textual import work
from textual.content import Content
from textual.timer import Timer
from textual.worker import get_current_worker

from tui.data.library import Found, Library
from tui.planning.records import RecordsLook, look_at_records
from tui.planning.stock import Stock, take_stock
from tui.screens.new_run.form import Detail, problem
from tui.screens.new_run.start import StartsRuns
from tui.words import printable

_TYPING_SECONDS = 0.3
"""After the last key, until what was typed is looked at."""


class LooksAround(StartsRuns):
    """The part of the New run screen that reads files."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        super().__init__()
        self.stock = Stock()
        self._looks: dict[tuple[str, tuple[str, ...], str], RecordsLook] = {}
        self._typing: Timer | None = None

    def stock_taken(self) -> None:
        """`stock` is new."""
        raise NotImplementedError

    def records_read(self) -> None:
        """`look` is new."""
        raise NotImplementedError

    def look_again(self) -> None:
        """Look what there is."""
        self._take_stock()

    @work(thread=True, exclusive=True, group="stock")
    def _take_stock(self) -> None:
        stock = take_stock(Library(self.mlx.remembered).records)
        self.app.call_from_thread(self._stocked, stock)

    def _stocked(self, stock: Stock) -> None:
        self.stock = stock
        self._looks = {key: look for key, look in self._looks.items() if not look.problem}
        self.stock_taken()

    @property
    def _tokenizer(self) -> Path | None:
        model = self.stock.model(self.draft.model)
        return model.tokenizer if model else None

    @property
    def look(self) -> RecordsLook | None:
        """What was seen of the chosen records; None as long as they are being read."""
        draft = self.draft
        return self._looks.get((draft.method, draft.records, str(self._tokenizer)))

    def look_at_chosen(self) -> None:
        """Read the chosen records, unless that has been done."""
        draft = self.draft
        if draft.method != "pretrain" and draft.records and self.look is None and self.stock.known:
            self._read(draft.method, draft.records, self._tokenizer, typed=False)

    def look_soon_at(self, names: tuple[str, ...]) -> None:
        """Read what is being typed, once the keys rest."""
        if self._typing is not None:
            self._typing.stop()
        if names:
            method, tokenizer = self.draft.method, self._tokenizer
            self._typing = self.set_timer(_TYPING_SECONDS, lambda: self._read(method, names, tokenizer, typed=True))

    @work(thread=True, exclusive=True, group="records")
    def _read(self, method: str, names: tuple[str, ...], tokenizer: Path | None, *, typed: bool) -> None:
        worker = get_current_worker()
        look = look_at_records(names, method, tokenizer, lambda: worker.is_cancelled)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._seen, method, tokenizer, look, typed)

    def _seen(self, method: str, tokenizer: Path | None, look: RecordsLook, typed: bool) -> None:
        if typed:
            detail = self.query_one(Detail)
            if detail.entry.has_focus:
                taken = Content(f"{printable(look.sentence)}; enter takes it")
                detail.explain(problem(look.problem) if look.problem else taken)
            return
        self._looks[method, look.names, str(tokenizer)] = look
        if not look.problem and not look.on_hub:
            self._remember(method, look.names)
        self.records_read()

    def _remember(self, method: str, names: tuple[str, ...]) -> None:
        """Keep what was typed on the list of the Data screen, if it is not known already."""
        known = {name for records in self.stock.records.get(method, ()) for name in records.names}
        library = Library(self.mlx.remembered)
        for name in names:
            path = os.path.abspath(os.path.expanduser(name))
            if path not in known and name not in known:
                library.add(Found("records", path, "", "preferences" if method == "dpo" else "conversations"))
