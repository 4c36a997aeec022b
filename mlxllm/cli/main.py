"""The first lines of `mlxllm`: they load next to nothing, so that Ctrl-C is answered while the rest is being loaded."""

import os
import signal
import sys
from types import FrameType

from mlxllm.errors import EXIT_SIGINT


def main() -> None:
    """Load the command line and run it.

    Ctrl-C, SIGTERM and SIGHUP clean up and end it with 130, 143 and 129, never a traceback.
    """
    _open_streams()
    caught = [signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is under `nohup`
        caught.append(signal.SIGHUP)
    before = {number: signal.signal(number, _leave) for number in caught}
    try:
        from mlxllm.cli.app import run  # here: it loads every command's options

        run()
    except KeyboardInterrupt:
        from mlxllm.cli.terminal import tell

        tell("interrupted", sys.stderr)
        sys.exit(EXIT_SIGINT)
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is _leave:
                signal.signal(number, handler)


def _open_streams() -> None:
    """Where a shell has closed one of the standard streams (`<&-`, `>&-`), have it lead nowhere.

    Otherwise the next file that is opened would take its number, and everything printed would go there.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, "w" if descriptor else "r", encoding="utf-8", closefd=False))


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
