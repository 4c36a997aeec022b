"""The program in a real terminal: tmux draws it, types for us, and says what is to be seen."""

import os
import shlex
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence

import pytest

PATIENCE = 60.0
_PASSED = ("MLXLLM_HOME", "MLX_DISABLE_COMPILE", "PYTHONPATH", "TMPDIR")


class Tmux:
    """One command in a terminal of its own; use it in a `with` block."""

    def __init__(self, command: Sequence[str], *, columns: int = 110, lines: int = 34) -> None:
        """Start `command` with the environment of this process."""
        if shutil.which("tmux") is None:
            pytest.skip("needs tmux")
        self._socket = f"mlxllm-{uuid.uuid4().hex[:8]}"
        passed = [f"{name}={os.environ[name]}" for name in _PASSED if name in os.environ]
        # The size is the terminal's own.
        line = shlex.join(["env", "-u", "COLUMNS", "-u", "LINES", *passed, *command])
        # The shell behind it keeps the terminal when the command has ended.
        self._tmux("new-session", "-d", "-x", str(columns), "-y", str(lines), f"{line}; echo ended with $?; exec cat")

    def press(self, *keys: str) -> None:
        """Press keys by tmux's names: Enter, Escape, C-p, Down, or a character."""
        for key in keys:
            self._tmux("send-keys", key)
            time.sleep(0.6 if key == "Escape" else 0.05)  # an Escape right before another key would be Alt and that key

    def type(self, text: str) -> None:
        """Type a text."""
        self._tmux("send-keys", "-l", text)

    @property
    def screen(self) -> str:
        """What is to be seen."""
        return self._tmux("capture-pane", "-p")

    def wait_for(self, what: str | Callable[[str], object], seconds: float = PATIENCE) -> str:
        """Wait until a text is to be seen, or until what is to be seen fulfils a condition; what is seen then."""
        holds = (lambda screen: what in screen) if isinstance(what, str) else what
        deadline = time.monotonic() + seconds
        while not holds(seen := self.screen):
            assert time.monotonic() < deadline, f"waited in vain for {what!r}; on the screen:\n{seen}"
            time.sleep(0.1)
        return seen

    def _tmux(self, *args: str) -> str:
        command = ["tmux", "-L", self._socket, "-f", "/dev/null", *args]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def __enter__(self) -> "Tmux":
        return self

    def __exit__(self, *exc: object) -> None:
        subprocess.run(["tmux", "-L", self._socket, "kill-server"], check=False, capture_output=True)
