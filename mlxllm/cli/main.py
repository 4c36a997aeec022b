"""The first lines of `mlxllm`: they load next to nothing, so that Ctrl-C is answered while the rest is being loaded."""

import signal
import sys
from types import FrameType

from mlxllm.errors import EXIT_SIGINT, EXIT_SIGTERM


def main() -> None:
    """Load the command line and run it. Ctrl-C and SIGTERM clean up and end it with 130 and 143, never a traceback."""
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        from mlxllm.cli.app import run  # here: it loads every command's options

        run()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(EXIT_SIGINT)
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(EXIT_SIGTERM)
