"""mlx-lm's server in a process of its own, where Ctrl-C is the end and nothing else: a script, not to be imported.

    python -P server_child.py [OPTION...]      the options of mlx_lm.server

By itself it ends by unwinding while threads of MLX still run, which can abort, and it waits for ever for its own thread if
something goes wrong before it listens.
"""

import os
import signal
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NoReturn

INTERRUPTED = 130


def end(code: int) -> NoReturn:
    """Leave at once, whatever other threads do."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, RuntimeError, ValueError):  # closed, or in the middle of a line
            stream.flush()
    os._exit(code)


def main() -> NoReturn:
    """Serve until Ctrl-C."""
    signal.signal(signal.SIGINT, lambda *_: end(INTERRUPTED))
    sys.argv[0] = "mlx_lm.server"  # what its help calls it
    with suppress(ImportError, OSError):  # /v1/models looks into the Hub's cache, and fails where there is none yet
        Path(import_module("huggingface_hub.constants").HF_HUB_CACHE).mkdir(parents=True, exist_ok=True)
    try:
        import_module("mlx_lm.server").main()
    except SystemExit as done:
        end(done.code if isinstance(done.code, int) else int(done.code is not None))
    except BaseException:
        traceback.print_exc()
        end(1)
    end(0)


if __name__ == "__main__":
    main()
