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


def use_native_compiler() -> Path | None:
    """Have MLX compile for this processor from now on.

    Returns:
        the folder of the compiler, below which kernels are kept; None where MLX goes on as it is: not on Linux's CPU,
        without g++, without a folder that can be written, or with a g++ that does not know the processor.
    """
    compiler = shutil.which("g++")
    worth_it = sys.platform.startswith("linux") and mx.default_device().type == mx.cpu
    if not worth_it or "MLX_DISABLE_COMPILE" in os.environ or compiler is None:
        return None
    folder = _root() / _key(compiler)
    if not (folder / "g++").exists() and not _make(folder, compiler):
        return None
    _set_for_mlx("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    keep_kernels_in(folder)
    return folder


def keep_kernels_in(folder: Path) -> None:
    """Have MLX look for kernels, and put new ones, below `folder`; elsewhere temporary files stay where they were."""
    _set_for_mlx("TMPDIR", str(folder))


def _set_for_mlx(name: str, value: str) -> None:
    """Set a variable where C looks for it, which MLX does, and not for Python and what Python starts."""
    ctypes.CDLL(None).setenv(name.encode(), value.encode(), 1)


def _root() -> Path:
    named = os.environ.get(FOLDER_VARIABLE)
    return (Path(named) if named else paths.folder("cache") / "kernels").absolute()


def _key(compiler: str) -> str:
    """Of all that kernels depend on: processor, compiler, MLX, options. A home may be shared by several machines."""
    about = os.stat(compiler)
    parts = (*_processor(), compiler, about.st_size, about.st_mtime_ns, version("mlx"), mx.__file__, *_OPTIONS)
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
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".making-", dir=folder.parent) as private:
            made = Path(private) / folder.name
            precompiled = made / f"{_HEADER}.gch"
            precompiled.parent.mkdir(parents=True)
            read: list[str | Path] = ["-I", headers, "-x", "c++-header", headers / _HEADER, "-o", precompiled]
            _run([compiler, *_MLX_OPTIONS, *_OPTIONS, *read])
            script = made / "g++"
            # A folder for quoted includes comes before those that MLX names.
            options = shlex.join(["-iquote", str(folder), *_OPTIONS])
            script.write_text(_SCRIPT.format(real=shlex.quote(compiler), options=options))
            script.chmod(0o755)
            _run([script, "--version"])  # fails where nothing may be executed
            with suppress(OSError):  # another process was faster
                os.rename(made, folder)
    except (OSError, subprocess.CalledProcessError):
        return False
    return (folder / "g++").exists()


_SCRIPT = """#!/bin/sh
# The g++ that mlxllm has MLX find. A library that MLX asks for appears whole or not at all.
case "$*" in
*/mlx/*)
    for library; do :; done
    {real} "$@" {options} -o "$library.$$" && exec mv -f "$library.$$" "$library" ;;
*)
    exec {real} "$@" ;;
esac
"""


def _run(command: Sequence[str | Path]) -> None:
    # Without close_fds Python spawns and does not fork, which MLX would not survive.
    subprocess.run(command, check=True, capture_output=True, close_fds=False)
