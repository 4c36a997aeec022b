"""The mixture below the tree: what was taken, how often, and what part of the text it is going to be."""

from textual import work
from textual.widgets import Static
from textual.worker import get_current_worker

from tui.data.library import Library
from tui.data.look import Looker
from tui.data.mixture import short_spec
from tui.screens.data.sections import mixture_lines


class MixtureList(Static):
    """The sources that were taken; how much text they hold is found out in a thread."""

    DEFAULT_CSS = """
    MixtureList { height: auto; max-height: 11; padding: 0 1; }
    """

    def __init__(self, library: Library, looker: Looker, *, ascii_only: bool) -> None:
        """Show the mixture of `library`, measured with `looker`."""
        super().__init__(markup=False)
        self._library, self._looker, self._ascii = library, looker, ascii_only
        self._measuring = False

    def show(self) -> None:
        """Show it as it is now, then with sizes as they are found out."""
        self._measuring = any(spec not in self._library.sizes for spec in self._library.mixture)
        self._show()
        if self._measuring:
            self._measure()

    def on_resize(self) -> None:
        """Names are as long as there is room."""
        self._show()

    def _show(self) -> None:
        mixture, sizes, width = self._library.mixture, self._library.sizes, self.content_size.width or 32
        self.update(mixture_lines(mixture, sizes, width, self._why(), self._ascii))

    def _why(self) -> str:
        """Why no shares can be told; nothing where they can."""
        library = self._library
        unread = [spec for spec in library.mixture if spec not in library.sizes]
        if unread:
            return "is being measured" if self._measuring else f"{short_spec(unread[0])} cannot be read"
        unknown = [spec for spec in library.mixture if library.sizes[spec].bytes is None]
        if not unknown:
            return ""
        if not all(map(library.may_read, unknown)):
            return "the size is known when it was fetched: enter on it"
        return "the size is known when all is read: the label tells the shares"

    @work(thread=True, exclusive=True, group="measure")
    def _measure(self) -> None:
        worker = get_current_worker()
        self._library.measure_all(self._library.mixture, self._looker, lambda: worker.is_cancelled)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._measured)

    def _measured(self) -> None:
        self._measuring = False
        self._show()
