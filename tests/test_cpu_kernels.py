"""Kernels that are compiled for this processor: the same numbers, in the home's cache, or as MLX would have had them."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import mlx.core as mx
import pytest

from mlxllm.cpu_kernels import FOLDER_VARIABLE, use_native_compiler

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or mx.default_device().type != mx.cpu or shutil.which("g++") is None,
    reason="only the Linux CPU compiles with g++",
)


def fused(x: mx.array, y: mx.array) -> mx.array:
    """Operations of which each is rounded in one way only, among them those that plain options compute one by one."""
    return mx.where(x > y, x * y + x, mx.maximum(x, 0.5) / (mx.abs(y) + 1)) - mx.sqrt(mx.abs(x * y)) * mx.minimum(y, x)


@pytest.mark.compiled
def test_the_numbers_are_those_of_single_operations() -> None:
    folder = use_native_compiler()
    assert folder is not None
    x, y = (3 * mx.random.normal((5, 77), key=mx.random.key(i)) for i in (1, 2))
    for a, b in ((x, y), (x.T, y.T), (x[:, :-1:2], y[:, 1::2]), (x[:1], y), (x, y[:, :1])):
        got, expected = mx.compile(fused)(a, b), fused(a, b)
        assert mx.array_equal(got, expected).item()
    special = mx.array([float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e-40])
    got, expected = mx.compile(fused)(special, special[::-1]), fused(special, special[::-1])
    assert mx.array_equal(got, expected, equal_nan=True).item()
    assert list(folder.glob("mlx/*/cpu/*.so")), "kernels are kept with their compiler"
    assert not list(folder.glob("mlx/*/cpu/*.so.*")), "a library appears whole"


@pytest.mark.compiled
def test_python_and_what_it_starts_see_nothing_of_it() -> None:
    before = dict(os.environ)
    folder = use_native_compiler()
    assert folder is not None
    assert dict(os.environ) == before
    assert Path(tempfile.mkdtemp()).parent != folder
    assert shutil.which("g++") != str(folder / "g++")


@pytest.mark.compiled
def test_other_programs_get_their_own_compiler(tmp_path: Path) -> None:
    folder = use_native_compiler()
    assert folder is not None
    source = tmp_path / "options.cpp"
    source.write_text("#ifdef __AVX2__\n#error for this processor\n#endif\nint main() { return 0; }\n")
    for compiler in (folder / "g++", "g++"):
        subprocess.run(["sh", "-c", f"{compiler} {source} -o {tmp_path / 'program'}"], check=True)


@pytest.mark.compiled
@pytest.mark.parametrize("trouble", ["no such processor", "no folder", "read by shells", "open to all", "none"])
def test_without_it_mlx_compiles_as_it_would(trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.which("g++")
    if trouble == "no such processor":
        old = tmp_path / "bin" / "g++"
        old.parent.mkdir()
        old.write_text(f'#!/bin/sh\ncase "$*" in *march=native*) exit 1 ;; esac\nexec {real} "$@"\n')
        old.chmod(0o755)
        monkeypatch.setenv("PATH", f"{old.parent}{os.pathsep}{os.environ['PATH']}")
    elif trouble == "no folder":
        (tmp_path / "file").write_text("")
        monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "file" / "kernels"))
    elif trouble == "read by shells":
        monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "a$HOME`id`" / "kernels"))
    elif trouble == "open to all":
        (tmp_path / "kernels").mkdir()
        (tmp_path / "kernels").chmod(0o777)
        monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "kernels"))
    else:
        monkeypatch.setenv("PATH", str(tmp_path))
    code = (
        "from mlxllm.cpu_kernels import use_native_compiler\n"
        "import mlx.core as mx\n"
        "mx.set_default_device(mx.Device(mx.cpu, 0))\n"
        "assert use_native_compiler() is None\n"
        "print(mx.compile(lambda x: x * x + x)(mx.arange(3.0)).tolist())\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == "[0.0, 2.0, 6.0]\n", done.stderr
    if trouble == "no such processor":
        assert list(tmp_path.glob("mlx/*/cpu/*.so"))
        kernels = Path(os.environ[FOLDER_VARIABLE])
        assert not list(kernels.glob(".making-*")), "what was begun is tidied up"


@pytest.mark.compiled
def test_a_compiler_that_looks_for_another_one_in_path_finds_the_system_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ccache does, which stands in PATH under the compiler's name and passes over itself only."""
    wrapper = tmp_path / "bin" / "g++"
    wrapper.parent.mkdir()
    wrapper.write_text(
        '#!/bin/bash\nfor found in $(type -ap g++); do [ "$found" -ef "$0" ] || exec "$found" "$@"; done\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "kernels"))
    code = (
        "from mlxllm.cpu_kernels import use_native_compiler\n"
        "import mlx.core as mx\n"
        "mx.set_default_device(mx.Device(mx.cpu, 0))\n"
        "folder = use_native_compiler()\n"
        "print(mx.compile(lambda x: x * x + x)(mx.arange(3.0)).tolist(), len(list(folder.glob('mlx/*/cpu/*.so'))))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "[0.0, 2.0, 6.0] 1\n", done.stderr


@pytest.mark.compiled
def test_without_a_path_there_is_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PATH")
    assert use_native_compiler() is not None
