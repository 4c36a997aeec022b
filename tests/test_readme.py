"""What README.md says is true: its commands run, its files are there, its tree is up to date."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mlxllm.presets import PRESETS
from tests.training.tiny import call

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(block: str) -> list[str]:
    """The lines of a console block that begin with a prompt."""
    return [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]


def test_the_walk_through_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLXLLM_HOME", str(tmp_path))
    monkeypatch.chdir(ROOT)
    match = re.search(r"<!-- walk -->(.*?)<!-- /walk -->", README, re.DOTALL)
    assert match is not None
    lines = commands(match[1])
    assert len(lines) > 5
    for line in lines:
        words = shlex.split(line)
        assert words[0] == "mlxllm"
        result = call(*words[1:])
        assert result.returncode == 0, f"{line}: {result.stderr}"


def test_links_and_scripts_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
    for script in set(re.findall(r"scripts/[\w./-]*\w", README)):
        assert (ROOT / script).exists(), script


def test_every_preset_is_listed() -> None:
    table = README[README.index("| preset |") : README.index("--dry-run")]
    assert set(re.findall(r"`([a-z0-9-]+)`", table)) == set(PRESETS)


def test_the_tree_is_up_to_date() -> None:
    result = subprocess.run(
        [sys.executable, ROOT / "scripts" / "readme_tree", "--check"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
