"""The lock, the metadata and the set-up scripts: what a stranger's first minute depends on."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
ENTRIES = [
    line.split("--hash=") for line in LOCK.replace("\\\n", " ").splitlines() if line and not line.startswith((" ", "#"))
]
BASH_SCRIPTS = [
    path
    for path in [ROOT / ".ci" / "run", *sorted((ROOT / "scripts").rglob("*"))]
    if path.is_file() and (path.suffix == ".sh" or path.read_bytes().startswith(b"#!/usr/bin/env bash"))
]

# What macOS's bash 3.2 or its BSD tools do not have.
NOT_ON_A_MAC = {
    r"\b(declare|local|typeset) -[a-zA-Z]*[Ang]": "associative arrays, namerefs and -g came with bash 4",
    r"\b(mapfile|readarray|coproc)\b": "came with bash 4",
    r"\$\{\w+(\[[^]]*\])?(,,?|\^\^?)": "${x,,} and ${x^^} came with bash 4",
    r"\$\{\w+@\w\}": "${x@Q} came with bash 4.4",
    r"&>>|\|&": "came with bash 4",
    r"\[\[ -v |\bwait -n\b|\bshopt -s globstar\b|\bEPOCHSECONDS\b": "came with bash 4 or 5",
    r"\breadlink -[a-z]*f|\brealpath\b": "not on every macOS",
    r"\bsed\b[^|]* -i\b": "BSD sed -i takes a suffix",
    r"\bgrep -[a-zA-Z]*P": "BSD grep has no -P",
    r"(^|[|;&(] *)(timeout|nproc|tac|shuf|sha256sum|md5sum|setsid|gsed) ": "a GNU tool",
    r"\bdate [^|;]*(-d |%N)|\bstat -c\b|\bmktemp --|\bcp --|\bxargs [^|;]*-r\b": "a GNU option",
}


def test_the_lock_names_no_index() -> None:
    assert not re.search(r"https?:|file:|^ *-(i|f|-index-url|-extra-index-url|-find-links)\b| @ ", LOCK, re.M)


def test_every_locked_entry_has_an_exact_version_and_hashes() -> None:
    assert len(ENTRIES) > 50
    for requirement, *hashes in ENTRIES:
        assert re.fullmatch(r"==[^*,]+", str(Requirement(requirement).specifier)), requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", text.strip()) for text in hashes), requirement


@pytest.mark.parametrize("platform", ["darwin", "linux"])
def test_the_lock_satisfies_every_dependency_of_the_project_on_each_platform(platform: str) -> None:
    machine = {"sys_platform": platform, "platform_machine": "arm64" if platform == "darwin" else "x86_64"}
    locked: dict[str, str] = {}
    for text, *_ in ENTRIES:
        entry = Requirement(text)
        if entry.marker is None or entry.marker.evaluate(machine):
            name = canonicalize_name(entry.name)
            assert name not in locked, f"{name} is locked twice for {platform}"
            locked[name] = str(entry.specifier).removeprefix("==")
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    wanted += PROJECT["build-system"]["requires"]
    for dependency in map(Requirement, wanted):
        if dependency.marker is None or dependency.marker.evaluate(machine):
            assert dependency.specifier.contains(locked[canonicalize_name(dependency.name)]), dependency
    # Without its backend MLX imports on neither platform.
    assert locked["mlx-metal" if platform == "darwin" else "mlx-cpu"] == locked["mlx"]


def test_the_peers_are_not_locked() -> None:
    names = {canonicalize_name(Requirement(text).name) for text, *_ in ENTRIES}
    peers = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependency-groups"]["peers"]}
    assert "torch" in peers
    assert not peers & names


def test_there_is_one_lock_file() -> None:
    names = {"uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock", "pylock.toml", "requirements.txt"}
    assert not [name for name in names if (ROOT / name).exists()]


def test_the_installed_project_has_the_metadata_of_this_folder() -> None:
    installed = distribution("mlxllm")
    assert installed.version == PROJECT["project"]["version"]
    assert installed.metadata["Requires-Python"] is not None
    assert set(installed.metadata["Requires-Python"].split(",")) == {">=3.11", "<3.14"}
    assert installed.metadata["License-Expression"] == "MIT"
    (command,) = (e for e in installed.entry_points if e.group == "console_scripts")
    assert (command.name, command.value) == ("mlxllm", "mlxllm.cli.main:main")
    assert callable(command.load())


def test_the_wheel_holds_both_packages_and_nothing_else(tmp_path: Path) -> None:
    build = "from hatchling.build import build_wheel; import sys; print(build_wheel(sys.argv[1]))"
    made = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    wheel = tmp_path / made.stdout.split()[-1]
    shutil.unpack_archive(wheel, tmp_path / "wheel", format="zip")
    top = {path.name for path in (tmp_path / "wheel").iterdir()}
    assert top == {"mlxllm", "tui", f"mlxllm-{PROJECT['project']['version']}.dist-info"}
    assert (tmp_path / "wheel" / "mlxllm" / "py.typed").is_file()
    ours = {path.relative_to(ROOT) for name in ("mlxllm", "tui") for path in (ROOT / name).rglob("*.py")}
    assert {path for path in ours if not (tmp_path / "wheel" / path).is_file()} == set()


def test_the_scripts_that_are_checked_are_there() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in BASH_SCRIPTS}
    assert {".ci/run", "scripts/quickstart", "scripts/setup.sh", "scripts/test"} <= names


@pytest.mark.parametrize("script", BASH_SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse_and_keep_to_what_a_mac_has(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert script.suffix == ".sh" or os.access(script, os.X_OK)
    text = script.read_text()
    for number, line in enumerate(text.splitlines(), 1):
        code = line.split(" #")[0]
        for pattern, why in NOT_ON_A_MAC.items():
            assert not re.search(pattern, code), f"{script.name}:{number}: {why}: {line.strip()}"
    # Under `set -u`, bash 3.2 calls an empty array unset.
    assert not re.search(r'(?<!\+)"\$\{\w+\[@\]\}"', text)


def run_set_up(root: Path, path: str) -> subprocess.CompletedProcess[str]:
    """Source setup.sh in `root` and call set_up, with nothing on PATH but the folder `path`."""
    command = f'set -euo pipefail; . "{root}/scripts/setup.sh"; set_up; echo done'
    bash = shutil.which("bash")
    assert bash is not None
    environment = {"PATH": path, "HOME": str(root)}
    return subprocess.run([bash, "-c", command], env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files of the set-up in a folder whose name has a space, and bin/ with the tools that it needs."""
    root = tmp_path / "a folder"
    (root / "scripts").mkdir(parents=True)
    for name in ("scripts/setup.sh", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, root / name)
    tools = root / "bin"
    tools.mkdir()
    for name in "cat cksum cut dirname getconf head kill mkdir rm sh sleep sw_vers sysctl uname".split():
        found = shutil.which(name)
        if found:
            (tools / name).symlink_to(found)
    return root


def test_set_up_without_any_python_says_what_to_install(copy: Path) -> None:
    # A name that exists and cannot run, like the shims of version managers.
    shim = copy / "bin" / "python3.12"
    shim.write_text("#!/bin/sh\necho 'shim: version 3.12 is not installed' >&2\nexit 127\n")
    shim.chmod(0o755)
    done = run_set_up(copy, str(copy / "bin"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "no usable Python 3.11, 3.12 or 3.13" in done.stderr
    assert "docs.astral.sh/uv" in done.stderr
    assert not (copy / ".venv").exists()
    assert not (copy / ".set-up.lock").exists()


def test_set_up_finds_the_python_behind_a_broken_shim(copy: Path) -> None:
    shims = copy / "shims"
    shims.mkdir()
    for name in ("python3.11", "python3.12"):
        (shims / name).write_text("#!/bin/sh\nexit 127\n")
        (shims / name).chmod(0o755)
    (copy / "bin" / "python3.12").symlink_to(sys.executable)
    source = f'. "{copy}/scripts/setup.sh"; find_python'
    path = f"{shims}:{copy / 'bin'}"
    done = subprocess.run([str(shutil.which("bash")), "-c", source], env={"PATH": path}, capture_output=True)
    assert Path(done.stdout.decode().strip()).samefile(sys.executable)


def test_set_up_begins_anew_after_an_interrupted_one_and_leaves_a_mark_when_it_fails(copy: Path) -> None:
    (copy / ".venv" / "bin").mkdir(parents=True)
    (copy / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (copy / ".venv" / "half-installed").touch()
    stamp = copy / ".venv" / ".mlxllm-set-up"
    stamp.write_text("unfinished\n")
    (copy / "bin" / "python3.11").symlink_to(sys.executable)
    # Fails at once and needs no network for that.
    (copy / "requirements.lock").write_text("no-such-folder-here @ file:///nonexistent\n")
    done = run_set_up(copy, str(copy / "bin"))
    assert done.returncode == 1
    assert "the set-up did not finish" in done.stderr
    assert not (copy / ".venv" / "half-installed").exists()
    assert stamp.read_text() == "unfinished\n"
    assert not (copy / ".set-up.lock").exists()


def test_set_up_does_nothing_when_nothing_changed(copy: Path) -> None:
    (copy / ".venv" / "bin").mkdir(parents=True)
    (copy / ".venv" / "bin" / "python").symlink_to(sys.executable)
    stamp = copy / ".venv" / ".mlxllm-set-up"
    fingerprint = f'. "{copy}/scripts/setup.sh"; fingerprint >"{stamp}"'
    subprocess.run(["bash", "-c", fingerprint], check=True)
    done = run_set_up(copy, str(copy / "bin"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    # A changed lock is noticed.
    (copy / "requirements.lock").write_text("no-such-folder-here @ file:///nonexistent\n")
    assert run_set_up(copy, str(copy / "bin")).returncode == 1


def test_set_up_takes_over_the_lock_of_a_process_that_is_gone(copy: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (copy / ".set-up.lock").mkdir()
    (copy / ".set-up.lock" / "pid").write_text(f"{gone.pid}\n")
    done = run_set_up(copy, str(copy / "bin"))
    assert "no usable Python" in done.stderr
