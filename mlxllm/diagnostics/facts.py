"""What `mlxllm doctor` looks at before MLX is loaded, and what to do about what it finds. No MLX in here."""

import os
import platform
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from mlxllm import __version__, paths

Status = Literal["ok", "warn", "problem"]

_GIB = 1 << 30
_DISK_PROBLEM, _DISK_WARN = _GIB // 2, 5 * _GIB
_MLX_SECONDS = 120


@dataclass(frozen=True)
class Check:
    """One line of the report; a problem makes training impossible, a warning makes it worse."""

    name: str
    status: Status
    text: str
    """What was found."""
    remedy: str = ""
    """What to do about it."""
    values: dict[str, Any] = field(default_factory=dict)
    """The same, for programs."""

    def as_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def examine(device: str | None = None) -> list[Check]:
    """All checks, in the order in which they are told; where MLX does not work, those that need it are left out.

    Raises:
        ConfigError: `device` is `gpu` and there is none.
    """
    checks = [check_platform(), check_python(), check_mlx()]
    if checks[-1].status != "problem":
        # Only now: without MLX this import fails, and where MLX is broken it may end the process.
        from mlxllm.diagnostics.device.facts import device_checks

        checks += device_checks(device)
    checks += [check_home(), check_disk(), check_terminal()]
    if sys.platform == "darwin":
        checks.append(check_power())
    return checks


def check_platform() -> Check:
    """MLX's wheels exist for macOS 14 on Apple silicon, and for Linux with glibc."""
    system, machine = platform.system(), platform.machine()
    values = {"system": system, "machine": machine}
    if system == "Darwin":
        release = platform.mac_ver()[0]
        values["release"] = release
        text = f"macOS {release} on {machine}"
        if machine != "arm64":
            if _translated():
                return Check(
                    "platform",
                    "problem",
                    f"this Python is for Intel and runs in translation ({text}), where MLX does not exist",
                    "install a Python for Apple silicon (python.org, uv, or Homebrew in /opt/homebrew)",
                    values,
                )
            return Check(
                "platform",
                "problem",
                f"{text}: MLX needs Apple silicon (M1 or later)",
                "use a Mac with Apple silicon, or Linux",
                values,
            )
        if int(release.split(".")[0] or 0) < 14:
            return Check("platform", "problem", f"{text}: MLX needs macOS 14 or later", "update macOS", values)
        return Check("platform", "ok", text, values=values)
    if system == "Linux":
        libc = " ".join(platform.libc_ver()) or "no glibc"
        values["libc"] = libc
        text = f"Linux {platform.release()} on {machine}, {libc}"
        if not libc.startswith("glibc"):
            remedy = "use a distribution with glibc (Debian, Ubuntu, Fedora, ...)"
            return Check("platform", "problem", f"{text}: MLX has no wheels for it", remedy, values)
        return Check("platform", "ok", text, values=values)
    remedy = "use a Mac with Apple silicon, or Linux (on Windows: WSL 2)"
    return Check("platform", "problem", f"{system} on {machine}: MLX does not run here", remedy, values)


def _translated() -> bool:
    """Whether Rosetta translates this process: a Mac with Apple silicon, but a Python for Intel."""
    command = ["/usr/sbin/sysctl", "-in", "sysctl.proc_translated"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() == "1"


def check_python() -> Check:
    """The interpreter, and which mlxllm it runs."""
    release = platform.python_version()
    text = f"Python {release} ({sys.executable}), mlxllm {__version__}"
    values = {"python": release, "executable": sys.executable, "mlxllm": __version__}
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Check("python", "ok", text, values=values)
    return Check("python", "warn", text, "Python 3.11, 3.12 and 3.13 are tested", values)


def check_mlx() -> Check:
    """Load MLX and multiply once, in a process of its own: a broken one may end it rather than raise."""
    # The child sees the modules that this process sees, however that came about.
    program = (
        f"import sys; sys.path[:] = {sys.path!r}; import mlxllm.runtime; import mlx.core as mx\n"
        "from importlib.metadata import version\n"
        "mx.eval(mx.ones((8, 8)) @ mx.ones((8, 8))); print(version('mlx'))"
    )
    try:
        # close_fds=False: a spawn, not a fork, should this process have used MLX already.
        child = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            timeout=_MLX_SECONDS,
            close_fds=False,
        )
    except subprocess.TimeoutExpired:
        text = f"MLX did not start within {_MLX_SECONDS} s"
        return Check("mlx", "problem", text, "restart the machine; if that does not help, reinstall MLX")
    if child.returncode == 0:
        release = child.stdout.strip()
        return Check("mlx", "ok", f"MLX {release}", values={"mlx": release})
    if child.returncode < 0:
        text = f"MLX ends the process ({_signal_name(-child.returncode)})"
        if child.returncode == -signal.SIGILL:
            return Check("mlx", "problem", f"{text}: the processor lacks instructions that the wheel uses")
    else:
        lines = [line for line in child.stderr.splitlines() if line.strip()]
        text = f"MLX cannot be loaded: {lines[-1].strip() if lines else 'no reason given'}"
    return Check("mlx", "problem", text, f"run {_mlx_install()}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _mlx_install() -> str:
    package = "mlx" if sys.platform == "darwin" else "'mlx[cpu]'"
    return f"`{sys.executable} -m pip install --force-reinstall {package}`"


def check_home() -> Check:
    """Where runs, datasets and tokenizers live."""
    home = paths.home()
    existing = _nearest_existing(home)
    origin = "from $MLXLLM_HOME" if os.environ.get("MLXLLM_HOME") else "$MLXLLM_HOME moves it"
    text = f"{home} ({origin})" + ("" if existing == home else ", not made yet")
    values = {"home": str(home), "exists": existing == home}
    if not existing.is_dir():
        remedy = "move that file away, or set MLXLLM_HOME to another folder"
        return Check("home", "problem", f"{text}: {existing} is not a folder", remedy, values)
    if not os.access(existing, os.W_OK | os.X_OK):
        remedy = "set MLXLLM_HOME to a folder of yours, or change its permissions"
        return Check("home", "problem", f"{text}: {existing} cannot be written to", remedy, values)
    return Check("home", "ok", text, values=values)


def check_disk() -> Check:
    """Room for checkpoints."""
    free = shutil.disk_usage(_nearest_existing(paths.home())).free
    text = f"{free / _GIB:.1f} GiB free in <home>"
    values = {"free_bytes": free}
    remedy = "make room: `mlxllm runs ls` and `mlxllm runs rm`, or move <home> with MLXLLM_HOME"
    if free < _DISK_PROBLEM:
        return Check("disk", "problem", f"{text}, too little for checkpoints", remedy, values)
    if free < _DISK_WARN:
        return Check("disk", "warn", text, remedy, values)
    return Check("disk", "ok", text, values=values)


def _nearest_existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def check_terminal() -> Check:
    """How many colours, and whether text beyond ASCII arrives."""
    term, colorterm = os.environ.get("TERM", ""), os.environ.get("COLORTERM", "")
    if not sys.stdout.isatty():
        colours = "no colours (not a terminal)"
    elif os.environ.get("NO_COLOR"):
        colours = "no colours (NO_COLOR is set)"
    elif term in ("", "dumb"):
        colours = f"no colours (TERM is {term or 'not set'})"
    elif colorterm in ("truecolor", "24bit"):
        colours = "16 million colours"
    else:
        colours = "256 colours" if "256" in term else "16 colours"
    columns, rows = shutil.get_terminal_size()
    encoding = (sys.stdout.encoding or "unknown").lower()
    text = f"{colours}, {columns} x {rows}, {encoding}"
    values = {"colours": colours, "columns": columns, "rows": rows, "encoding": encoding}
    if encoding.replace("-", "") != "utf8":
        remedy = "set LC_ALL to a UTF-8 locale such as en_US.UTF-8 or C.UTF-8"
        return Check("terminal", "warn", f"{text}: some text cannot be shown", remedy, values)
    return Check("terminal", "ok", text, values=values)


def check_power() -> Check:
    """Low power mode halves a Mac's speed; `caffeinate` keeps it from falling asleep."""
    command = ["/usr/bin/pmset", "-g"]
    settings = subprocess.run(command, capture_output=True, text=True, close_fds=False).stdout
    low = any(line.split()[:2] == ["lowpowermode", "1"] for line in settings.splitlines())
    awake = Path("/usr/bin/caffeinate").exists()
    values = {"low_power_mode": low, "caffeinate": awake}
    if low:
        remedy = "switch it off in System Settings, Battery"
        return Check("power", "warn", "low power mode is on, which slows training down", remedy, values)
    if not awake:
        remedy = "keep the Mac awake some other way while it trains"
        return Check("power", "warn", "caffeinate is missing, so the Mac may fall asleep", remedy, values)
    return Check("power", "ok", "low power mode is off; the Mac stays awake while it trains", values=values)
