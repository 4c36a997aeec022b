"""What the doctor asks MLX, and the remedies that it names."""

import platform
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mlxllm import runtime
from mlxllm.diagnostics.device import facts
from mlxllm.diagnostics.facts import Check
from mlxllm.errors import ConfigError

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="about Linux packages")


def by_name(device: str | None = "cpu") -> dict[str, Check]:
    return {check.name: check for check in facts.device_checks(device)}


def test_the_cpu_is_described() -> None:
    checks = by_name()
    assert checks["device"].status == "ok"
    assert checks["device"].text.startswith("cpu: ")
    assert checks["memory"].values["cache_limit_bytes"] < checks["memory"].values["memory_bytes"]


@pytest.mark.skipif(runtime.has_gpu(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="finds no GPU"):
        by_name("gpu")


def distribution(monkeypatch: pytest.MonkeyPatch, **release: str) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: release)


@on_linux
@pytest.mark.parametrize(
    ("release", "command"),
    [
        ({"ID": "debian"}, "run `sudo apt install libopenblas0-pthread`"),
        ({"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, "run `sudo apt install libopenblas0-pthread`"),
        ({"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "run `sudo dnf install openblas-threads`"),
        ({"ID": "arch"}, "run `sudo pacman -S openblas`"),
        ({"ID": "opensuse-leap", "ID_LIKE": "suse opensuse"}, "run `sudo zypper install libopenblas_pthreads0`"),
    ],
)
def test_the_slow_blas_is_named_with_its_remedy(
    release: dict[str, str], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(monkeypatch, **release)
    monkeypatch.setattr(runtime, "OPENBLAS", None)
    check = by_name()["blas"]
    assert (check.status, check.remedy) == ("warn", command)
    assert "GFLOP/s: MLX uses the slow reference BLAS" in check.text
    assert check.values["gflops"] > 0


@on_linux
def test_an_unknown_distribution_gets_all_names(monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(monkeypatch, ID="nixos")
    monkeypatch.setattr(runtime, "OPENBLAS", None)
    remedy = by_name()["blas"].remedy
    assert "libopenblas0-pthread (debian)" in remedy
    assert "openblas-threads (fedora)" in remedy


@on_linux
def test_an_openblas_that_is_slow_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "OPENBLAS", "libopenblas.so.0")
    monkeypatch.setattr(runtime, "measure_gflops", lambda: 2.0)
    check = by_name()["blas"]
    assert check.status == "warn"
    assert "OPENBLAS_NUM_THREADS" in check.remedy


@on_linux
def test_a_missing_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLX_DISABLE_COMPILE")
    distribution(monkeypatch, ID="debian")
    monkeypatch.setenv("PATH", str(tmp_path))
    check = by_name()["compiler"]
    assert (check.status, check.remedy) == ("warn", "run `sudo apt install g++`")


def test_compilation_that_is_switched_off() -> None:
    check = by_name()["compiler"]  # the tests' own setting
    assert (check.status, check.remedy) == ("warn", "unset MLX_DISABLE_COMPILE")


@on_linux
def test_an_nvidia_driver_without_the_cuda_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(runtime, "has_gpu", lambda: False)
    assert "mlx[cuda13]" in by_name(None)["device"].remedy
    assert by_name("cpu")["device"].status == "ok"


def test_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    info = replace(runtime.device_info(), memory_bytes=2 << 30)
    assert facts._memory(info).status == "warn"


def test_a_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    info = replace(
        runtime.device_info(),
        device="gpu",
        backend="metal",
        chip="Apple M3 Max",
        memory_bytes=64 << 30,
        recommended_working_set_bytes=48 << 30,
        performance_cores=10,
    )
    assert facts._device(info, None).text.startswith("gpu: Apple M3 Max (")
    assert "10 of them fast" in facts._device(info, None).text
    text = facts._memory(info).text
    assert text.startswith("64.0 GiB shared by CPU and GPU, of which training should stay below 48.0 GiB")
