"""What training looks like while it runs: one live line on a terminal, plain lines elsewhere, JSON for a program."""

import json
import os
import sys
import threading
import time
from typing import TextIO

from mlxllm.cli.run_view import after, parameters, rewards
from mlxllm.cli.terminal import columns, fold, tell
from mlxllm.runs import Event, bits_by_source

_PLAIN_SECONDS = 10.0
"""Without a terminal, a line about progress comes this often."""
_LIVE_SECONDS = 0.1
_RATE_DECAY = 0.95


class TrainingView:
    """Listens to a trainer's events and shows them. Training goes on where nobody can read it any more.

    Args:
        json_lines: print every event as one JSON object a line on stdout, and nothing else.
        stream: where people read; stderr by default.
    """

    def __init__(self, *, json_lines: bool = False, stream: TextIO | None = None) -> None:
        self._json = json_lines
        self._stream = stream or sys.stderr
        self._lock = threading.RLock()  # `interrupted` is called from another thread
        self._live = self._stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self._max_steps = 0
        self._seconds_a_step: float | None = None
        self._last_step_at: float | None = None
        self._last_shown = 0.0
        self._line_open = False
        self._val = ""
        self.run_name = ""
        self.method = "pretrain"
        self.last_val: Event | None = None
        self.last_sample = ""
        self.last_step = 0
        self.nothing_to_do = False
        """Whether the run had made all of its steps before it began."""

    def __call__(self, event: Event) -> None:
        """Show one event."""
        with self._lock:
            if self._json:
                tell(json.dumps(event), sys.stdout)
            show = getattr(self, f"_on_{event['kind']}", None)
            if show is not None:
                show(event)

    def interrupted(self) -> None:
        """Say what becomes of a signal."""
        self.say("stopping: the running step is finished and saved; once more ends it at once, without saving")

    def say(self, text: str = "") -> None:
        """A line of its own, below whatever is there."""
        if self._json:
            return
        with self._lock:
            self._close_line()
            tell(fold(text, self._stream), self._stream)

    def say_text(self, text: str, margin: str, most: int | None = None) -> None:
        """What a model wrote, at most so many lines of it, behind a margin."""
        if self._json:
            return
        self._close_line()
        for line in text.strip().splitlines()[:most] or ["(nothing but blanks)"]:
            tell(fold(printable(line), self._stream, margin=margin, whole_words=False), self._stream)

    def _on_run_started(self, event: Event) -> None:
        self._max_steps = event["max_steps"]
        self.run_name = event["name"]
        self.method = event["method"]
        self._last_step_at = time.monotonic()
        self.last_step = event["step"]
        self.nothing_to_do = event["step"] >= event["max_steps"]
        if self.nothing_to_do:
            return
        begin = f"goes on from step {event['step']:,} to {event['max_steps']:,}" if event["step"] else "begins"
        steps = event["max_steps"] - event["step"]
        tokens = steps * event["tokens_per_step"]
        size = parameters(event["parameters"], event.get("trained_parameters"))
        self.say(
            f"run {event['name']} {begin}: {size} parameters, {steps:,} step{'' if steps == 1 else 's'} of "
            f"{event['tokens_per_step']:,} tokens ({part_of(tokens, event['dataset_tokens'], self.method)}), on the "
            f"{event['device'].upper()}"
        )

    def _on_train(self, event: Event) -> None:
        now = time.monotonic()
        if self._last_step_at is not None:
            self._learn_rate(now - self._last_step_at)
        self._last_step_at = now
        self.last_step = event["step"]
        wait = _LIVE_SECONDS if self._live else _PLAIN_SECONDS
        if self._json or (now - self._last_shown < wait and event["step"] < self._max_steps):
            return
        self._last_shown = now
        loss = "not finite" if event["loss"] is None else f"{event['loss']:.3f}"
        eta = (self._max_steps - event["step"]) * (self._seconds_a_step or 0.0)
        rate = event["tokens"] and event["tok_per_sec"]
        text = (
            f"step {event['step']:,}/{self._max_steps:,}  loss {loss}{self._val}{after(rewards(event), '  ')}  "
            f"{rate:,.0f} tok/s  {event['footprint'] / 2**30:.2f} GiB  {_clock(eta)} left"
        )
        if self._live:
            tell(f"\r\x1b[2K{text[: columns(self._stream) - 1]}", self._stream, end="")
            self._line_open = True
        else:
            self.say(text)

    def _learn_rate(self, seconds: float) -> None:
        """A moving average: the ETA follows the machine as it is now."""
        if self._seconds_a_step is None:
            self._seconds_a_step = seconds
        else:
            self._seconds_a_step = _RATE_DECAY * self._seconds_a_step + (1 - _RATE_DECAY) * seconds

    def _on_val(self, event: Event) -> None:
        self.last_val = event
        self._last_step_at = time.monotonic()
        loss, bits = event["loss"], event["bits_per_byte"]
        self._val = f"  val {loss:.3f}" if loss is not None else ""
        if self.nothing_to_do:
            return
        per_byte = f", {bits:.3f} bits per byte" if bits is not None else ""
        said = "not finite" if loss is None else f"{loss:.4f}"
        self.say(f"  validation at step {event['step']:,}: loss {said}{per_byte}{after(rewards(event), '  ')}")
        each = ", ".join(f"{name} {bits:.3f}" for name, bits in bits_by_source(event).items() if bits is not None)
        if each:
            self.say(f"    bits per byte of {each}")

    def _on_sample(self, event: Event) -> None:
        self._last_step_at = time.monotonic()
        self.last_sample = event["text"]
        prompt, text = event["prompt"], event["text"]
        if self.method == "pretrain":
            self.say(f"  at step {event['step']:,} it writes:")
            self.say_text(prompt + text, "    | ", most=8)
        else:
            self.say(f"  at step {event['step']:,} it answers {prompt!r}:")
            self.say_text(text, "    | ", most=8)

    def _on_warning(self, event: Event) -> None:
        self.say(f"warning: {event['message']}")

    def _on_checkpoint_saved(self, event: Event) -> None:
        self._last_step_at = time.monotonic()

    def _on_paused(self, event: Event) -> None:
        self.say(f"paused at step {event['step']:,}; `mlxllm runs resume {self.run_name}` goes on")

    def _on_resumed(self, event: Event) -> None:
        self._last_step_at = time.monotonic()
        self.say("goes on")

    def _on_run_finished(self, event: Event) -> None:
        if self.nothing_to_do:
            return
        reason = f": {event['reason']}" if event["reason"] else ""
        self.say(f"run {self.run_name} {event['status']}{reason}")

    def _close_line(self) -> None:
        if self._line_open:
            tell("", self._stream)
            self._line_open = False


def part_of(tokens: int, dataset_tokens: int, method: str = "pretrain") -> str:
    """How much of a dataset, or how often all records, so many tokens are, in words."""
    times = tokens / max(1, dataset_tokens)
    if method != "pretrain":
        return f"{times:.1f} passes through the records"
    if times >= 1:
        return f"{times:.1f} times through the dataset's {dataset_tokens:,}"
    percent = 100 * times
    share = "less than 0.01" if percent < 0.01 else f"{percent:.2g}" if percent < 10 else f"{percent:.0f}"
    return f"{share} % of the dataset's {dataset_tokens:,}"


def printable(line: str) -> str:
    """`line` without what a terminal would obey rather than print: an untrained model writes anything."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)


def _clock(seconds: float) -> str:
    """Seconds as 0:07, 12:30 or 3:05:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
