"""Signals while a run trains: the step is finished and saved, and only then does the process end."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_BOUNCE_SECONDS = 1.0
"""A signal so soon after the first is the same one: a key that bounces, or a shell that tells a group and its process."""


class Interrupts:
    """Remembers SIGINT, SIGTERM and SIGHUP (a terminal that was closed), so that the step can be finished and saved.

    A later SIGINT or SIGTERM ends the process at once, with 128 + its number, for whoever cannot wait. A thread
    listens: Python's own handlers run only when MLX has come to the end of an evaluation.

    Args:
        tell: called once, in a thread of its own, when the first signal has come.
    """

    def __init__(self, tell: Callable[[], None] | None = None) -> None:
        self.received: int | None = None
        self._received_at: float | None = None
        self._telling = threading.Thread(target=tell, daemon=True) if tell is not None else None

    @contextmanager
    def catch(self) -> Iterator[None]:
        """Take over the signals inside the block; SIGHUP stays ignored where it is, as under `nohup`.

        Once one has come they are not given back: those that come in the same moment may come after the block.
        """
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        listening, heard = os.pipe()
        os.set_blocking(heard, False)
        listener = threading.Thread(target=self._listen, args=(listening,), daemon=True)
        listener.start()
        descriptor = signal.set_wakeup_fd(heard, warn_on_full_buffer=False)
        before = {number: signal.signal(number, lambda *_: None) for number in numbers}
        try:
            yield
        finally:
            signal.set_wakeup_fd(descriptor)
            os.close(heard)
            listener.join()
            os.close(listening)
            for number, handler in before.items():
                signal.signal(number, handler if self._received_at is None else lambda late, _: self._hear(late))
            if self._telling is not None and self._telling.is_alive():
                self._telling.join(_BOUNCE_SECONDS)

    def _listen(self, descriptor: int) -> None:
        while numbers := os.read(descriptor, 64):
            for number in numbers:
                self._hear(number)

    def _hear(self, number: int) -> None:
        now = time.monotonic()
        if number not in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            return
        if self.received is None:
            self.received, self._received_at = number, now
            if self._telling is not None:
                self._telling.start()
        # One terminal that closes can send several SIGHUP, some time apart; nobody asks for haste by it.
        elif number != signal.SIGHUP and now - (self._received_at or 0.0) > _BOUNCE_SECONDS:
            os._exit(128 + number)
