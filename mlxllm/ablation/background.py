"""An ablation that trains on its own, when the terminal that it was asked for in is closed."""

import subprocess
import sys

from mlxllm.ablation.record import folder_of, held
from mlxllm.errors import RunError

LOG = "log.txt"


def train_in_background(name: str, device: str | None = None) -> int:
    """Have `mlxllm ablate --name NAME` train in a session of its own; its number of process.

    What it says is appended to log.txt beside the ablation's record.

    Raises:
        RunError: another process trains it already, or none can be started.
    """
    with held(name):  # its sentence at once, rather than in a log
        pass
    # -P: a file of the working folder, such as a random.py, must not stand in for a module of the library.
    command = [sys.executable, "-P", "-m", "mlxllm", "ablate", "--name", name]
    command += ["--device", device] if device is not None else []
    try:
        with open(folder_of(name) / LOG, "ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            ).pid
    except OSError as error:
        raise RunError(f"cannot start {command[0]!r}: {error.strerror or error}") from error
