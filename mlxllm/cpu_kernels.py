"""Fused kernels of MLX's Linux CPU backend, compiled for this very processor and kept.

For each fused operation `mx.compile` writes a few lines of C++ and calls `g++` with options for any x86-64 there is. There
a maximum or a comparison is taken number by number; with the vector instructions that the machine has, the same kernel is
up to twenty times as fast. So the `g++` that MLX finds is a script of ours: the system's, told about the processor, with
MLX's headers read once and for all (half a megabyte of declarations for each ten lines), which makes compiling five times
as fast. What was compiled stays in the home's cache.

Nothing here is needed: where something of it fails, MLX compiles as it always would.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import mlxllm.runtime  # noqa: F401  (before MLX: it prepares BLAS)

# isort: split
import mlx.core as mx

from mlxllm import paths

FOLDER_VARIABLE = "MLXLLM_KERNELS"
"""Names another folder for compiler and kernels than the home's cache."""

_HEADER = Path("mlx/backend/cpu/compiled_preamble.h")
_MLX_OPTIONS = ("-std=c++17", "-O3", "-Wall", "-fPIC")
"""Of MLX's own calls; with others, g++ passes over a precompiled header."""
_OPTIONS = ("-march=native", "-ffp-contract=off", "-w")
"""Without contraction a product is rounded before it is added, as uncompiled operations do."""
_READ_BY_SHELLS = '$`"\\\n:'
"""MLX puts the folder between double quotes of a command; the colon is for PATH."""
_SECONDS = 60
"""A compiler that has not answered by then never will."""


def native_compiler() -> Path | None:
    """The folder of the compiler, made where it is missing; kernels are kept below it.

    None where MLX goes on as it is: not on Linux's CPU, without g++, with a g++ that does not know the processor, without a
    folder that can be written, or with one that is not this user's alone (what lies there is executed) or that a shell
    would read differently (MLX quotes it carelessly).
    """
    compiler = shutil.which("g++", path=_path())
    worth_it = sys.platform.startswith("linux") and mx.default_device().type == mx.cpu
    if not worth_it or "MLX_DISABLE_COMPILE" in os.environ or compiler is None:
        return None
    folder = _root() / _key(compiler)
    if set(str(folder)) & set(_READ_BY_SHELLS):
        return None
    there = os.access(folder / "g++", os.X_OK) or _make(folder, compiler)
    return folder if there and _is_mine(folder.parent) and _is_mine(folder) else None


def use_native_compiler() -> Path | None:
    """Have MLX compile for this processor from now on; returns the folder, see `native_compiler`.

    It is done by variables that only C sees. Programs that Python starts without naming an environment inherit them: to
    these the script is the system's g++, and temporary files of theirs lie among the kernels.
    """
    folder = native_compiler()
    if folder is not None:
        _set_for_mlx("PATH", f"{folder}{os.pathsep}{_path()}")
        _set_for_mlx("TMPDIR", str(folder))
    return folder


def _path() -> str:
    """Where programs are looked for, our own compilers left out."""
    root = f"{_root()}{os.sep}"
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(folder for folder in folders if not folder.startswith(root))


def _is_mine(folder: Path) -> bool:
    """Whether this user can write there, and nobody else."""
    about = folder.lstat()
    return about.st_uid == os.geteuid() and not about.st_mode & 0o022 and os.access(folder, os.W_OK)


def _set_for_mlx(name: str, value: str) -> None:
    """Set a variable where C looks for it, which MLX does, and not for Python and what Python starts."""
    ctypes.CDLL(None).setenv(name.encode(), value.encode(), 1)


def _root() -> Path:
    named = os.environ.get(FOLDER_VARIABLE)
    return (Path(named) if named else paths.folder("cache") / "kernels").absolute()


def _key(compiler: str) -> str:
    """Of all that kernels depend on: processor, compiler, MLX, options. A home may be shared by several machines."""
    about = os.stat(compiler)
    parts = (*_processor(), compiler, about.st_size, about.st_mtime_ns, version("mlx"), mx.__file__, *_OPTIONS, _SCRIPT)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


@functools.cache
def _processor() -> tuple[str, ...]:
    """Its name and the instructions that it has."""
    lines = [platform.machine()]
    with suppress(OSError):
        about = Path("/proc/cpuinfo").read_text(errors="replace").split("\n\n")[0].splitlines()
        lines += [line for line in about if line.startswith(("model name", "flags", "Features", "CPU part"))]
    return tuple(lines)


def _make(folder: Path, compiler: str) -> bool:
    """Precompile MLX's headers and write the script, whole or not at all."""
    headers = Path(mx.__file__).parent / "include"
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".making-", dir=folder.parent) as private:
            made = Path(private) / folder.name
            precompiled = made / f"{_HEADER}.gch"
            precompiled.parent.mkdir(parents=True)
            made.chmod(0o700)
            read: list[str | Path] = ["-I", headers, "-x", "c++-header", headers / _HEADER, "-o", precompiled]
            _run([compiler, *_MLX_OPTIONS, *_OPTIONS, *read])
            script = made / "g++"
            script.write_text(_SCRIPT.format(real=shlex.quote(compiler), options=shlex.join(_OPTIONS)))
            script.chmod(0o700)
            # As MLX calls it; fails where nothing may be executed.
            _run([script, "--version"], path=f"{made}{os.pathsep}{_path()}")
            with suppress(OSError):  # another process was faster
                os.rename(made, folder)
    except (OSError, subprocess.SubprocessError):
        return False
    return (folder / "g++").exists()


_SCRIPT = """#!/bin/sh
# The g++ that mlxllm has MLX find. What looks for a compiler of its own behind it, as ccache does, must not find it again.
# A library that MLX asks for appears whole or not at all; a folder for quoted includes comes before those that MLX names.
ours=${{0%/*}}
PATH=${{PATH#"$ours":}}
export PATH
case "$*" in
*"$ours"/mlx/*)
    for library; do :; done
    {real} "$@" -iquote "$ours" {options} -o "$library.$$" && exec mv -f "$library.$$" "$library" ;;
*)
    exec {real} "$@" ;;
esac
"""


def _run(command: Sequence[str | Path], path: str | None = None) -> None:
    """Run it to its end, with this PATH.

    Raises:
        OSError: it cannot be started.
        subprocess.SubprocessError: it failed, or does not end.
    """
    environment = {**os.environ, "PATH": path or _path()}
    # Without close_fds Python spawns and does not fork, which MLX would not survive.
    subprocess.run(command, check=True, capture_output=True, close_fds=False, env=environment, timeout=_SECONDS)
