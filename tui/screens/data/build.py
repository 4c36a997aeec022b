"""Building a dataset from the data screen: the build that runs, and the line that shows how far it is."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from textual.content import Content
from textual.widgets import Static

from mlxllm import paths
from mlxllm.data.draft import draft_folder
from tui.jobs import Job, Line
from tui.screens.data.asking import Order
from tui.widgets.shortening import cut_end
from tui.words import count, duration, file_size, visible

if TYPE_CHECKING:  # the application imports its screens
    from tui.app import MlxllmApp

_DOING = {
    "tokenizer": ", reading for the tokenizer",
    "passing": ", passing over what is done",
    "mixing": ", writing by the weights",
}
_BAR_CELLS = 20
_NOTE_CELLS = 145
"""Of the note below a finished build: two lines of a narrow terminal."""


class BuildBar(Static):
    """How far a build is, in a line or two; not there as long as nothing was built."""

    DEFAULT_CSS = """
    BuildBar { height: auto; max-height: 3; padding: 0 1; background: $panel; display: none; }
    BuildBar.-shown { display: block; }
    """

    def __init__(self) -> None:
        """Nothing is built."""
        super().__init__(markup=False)
        self._name = ""
        self.written = 0
        """Documents, as far as the build has said."""

    def begin(self, name: str) -> None:
        """A build has been started."""
        self._name, self.written = name, 0
        self.say("", f"Building {name}: it is starting; x stops it, what is done is kept")

    def progress(self, event: dict[str, object], ascii_only: bool) -> None:
        """Show an event of `mlxllm data build --json --progress`."""
        file, fetched, size = (event.get(key) for key in ("file", "fetched", "file_bytes"))
        if isinstance(file, str) and isinstance(fetched, int):
            of = f" of {file_size(size)}" if isinstance(size, int) and size else ""
            self._update(Content(f"Building {self._name}: fetching {file_size(fetched)}{of}, {visible(file)}; x stops"))
            return
        phase, fraction = str(event.get("phase")), event.get("fraction")
        documents, tokens, speed = (event.get(key) for key in ("documents", "tokens", "mb_per_sec"))
        kept, share, left = (event.get(key) for key in ("kept", "kept_share", "seconds_left"))
        number = documents if isinstance(documents, int) else 0
        self.written = kept if isinstance(kept, int) else 0
        part = float(fraction) if isinstance(fraction, (int, float)) else None
        told = ["1 document" if number == 1 else f"{number:,} documents"]
        if isinstance(share, float) and share < 1:
            told.append(f"{share:.0%} kept")
        if isinstance(tokens, int) and tokens:
            told.append(f"{count(tokens)} tokens")
        if isinstance(speed, (int, float)):
            told.append(f"{speed:.1f} MB/s")
        if isinstance(left, (int, float)):
            told.append(f"{duration(left)} left")
        bar: list[Content | tuple[str, str]] = []
        if part is not None:
            full = round(part * _BAR_CELLS)
            marks = ("#", ".") if ascii_only else ("━", "╌")
            bar = [
                (marks[0] * full, "$primary"),
                (marks[1] * (_BAR_CELLS - full), "$text-muted"),
                Content(f" {part:.0%}  "),
            ]
        head = f"Building {self._name}{_DOING.get(phase, '')}  "
        self._update(Content.assemble((head, "bold"), *bar, ", ".join(told), ("  x stops", "$accent")))

    def say(self, mark: str, text: str, colour: str = "") -> None:
        """Show a sentence behind a mark."""
        self._update(Content.assemble((f"{mark} " if mark else "", colour), text))

    def hide(self) -> None:
        """Put it away."""
        self.remove_class("-shown")

    def _update(self, content: Content) -> None:
        self.add_class("-shown")
        self.update(content)


class Builder:
    """The build that is running, if one is: its job, and the line that shows it."""

    def __init__(self, mlx: "MlxllmApp", bar: BuildBar, ended: Callable[[str], None]) -> None:
        """Nothing is built.

        Args:
            mlx: the application.
            bar: where to show it.
            ended: called with the name when a build has ended, one way or another.
        """
        self._mlx, self._bar, self._ended = mlx, bar, ended
        self._job: Job | None = None
        self._label: dict[str, Any] = {}
        self._order: Order | None = None
        self.name = ""
        """Of what is being built; nothing between builds."""
        self.built = ""
        """What was built last."""
        self.stopped: Order | None = None
        """The build that was stopped last, and can go on."""

    def start(self, order: Order) -> None:
        """Build; one at a time."""
        self.name, self._label, self._order, self.stopped = order.name, {}, order, None
        self._bar.begin(order.name)
        self._job = self._mlx.run_job((*order.args, "--json", "--progress"), self._line, self._end)

    def stop(self) -> None:
        """Stop it as Ctrl-C does: what is done is kept."""
        if self._job is not None:
            self._bar.say("", f"Stopping the build of {self.name} ...")
            self._job.cancel()

    def _kept(self, name: str) -> str:
        """What a stopped build has left."""
        if not draft_folder(paths.new("datasets", name)).is_dir():
            return "Nothing was written yet."
        written = self._bar.written
        what = f"{written:,} documents are" if written > 1 else "1 document is" if written else "What was done is"
        return f"{what} kept; b goes on from there, D deletes it."

    def _line(self, line: Line) -> None:
        if isinstance(line, dict) and line.get("kind") == "progress":
            if self._job is not None and not self._job.cancelled:
                self._bar.progress(line, self._mlx.marks == "ascii")
        elif isinstance(line, dict):
            self._label = line

    def _end(self, job: Job) -> None:
        name, self.name, self._job = self.name, "", None
        plain = self._mlx.marks == "ascii"
        if self._label:
            self.built = name
            train, val = self._label["train"]["tokens"], self._label["val"]["tokens"]
            text = f"Built {name}: {train:,} training and {val:,} validation tokens."
            known = _worth_knowing(self._label.get("warnings", []))
            if train and val:
                self._bar.say("v" if plain else "✓", f"{text} n trains a model on it.{known}", "$success")
            else:
                # Documents are held out whole: of a handful, none may be, or all.
                advice = "b builds it again: hold out another part, or add more texts."
                self._bar.say("!", f"{text} Training needs both. {advice}{known}", "$warning")
        elif job.cancelled:
            self.stopped = self._order if draft_folder(paths.new("datasets", name)).is_dir() else None
            self._bar.say("=" if plain else "‖", f"The build of {name} was stopped. {self._kept(name)}", "$warning")
        else:
            self._bar.say("x" if plain else "✗", f"{name} was not built: {job.error}", "$error")
        self._ended(name)


def _worth_knowing(warnings: Sequence[str]) -> str:
    """A line with the most important of what the build has noted; the statistics of the dataset tell all of it."""
    if not warnings:
        return ""
    first = min(warnings, key=lambda warning: "NOTHING of it" not in warning)
    told = first.partition("; first: ")[0]  # where it was stands with the dataset
    told += ")" if told.count("(") > told.count(")") else ""
    more = f" (and {len(warnings) - 1} more: see Statistics)" if len(warnings) > 1 else ""
    return f"\n! {cut_end(visible(told), _NOTE_CELLS - len(more), ascii_only=True)}{more}"
