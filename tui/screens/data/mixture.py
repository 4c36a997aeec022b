"""The mixture below the tree: what was taken, how often, and what part of the text it is going to be."""

from textual import work
from textual.widgets import Static
from textual.worker import get_current_worker

from tui.data.library import Library
from tui.data.look import Looker
from tui.screens.data.sections import mixture_lines


class MixtureList(Static):
    """The sources that were taken; how much text they hold is found out in a thread."""

    DEFAULT_CSS = """
    MixtureList { height: auto; max-height: 9; padding: 0 1; }
    """

    def __init__(self, library: Library, looker: Looker) -> None:
        """Show the mixture of `library`, measured with `looker`."""
        super().__init__(markup=False)
        self._library, self._looker = library, looker

    def show(self) -> None:
        """Show it as it is now, then with sizes as they are found out."""
        self.update(mixture_lines(self._library.mixture, self._library.sizes))
        if any(spec not in self._library.sizes for spec in self._library.mixture):
            self._measure()

    @work(thread=True, exclusive=True, group="measure")
    def _measure(self) -> None:
        worker = get_current_worker()
        self._library.measure_all(self._library.mixture, self._looker, lambda: worker.is_cancelled)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._measured)

    def _measured(self) -> None:
        self.update(mixture_lines(self._library.mixture, self._library.sizes))
