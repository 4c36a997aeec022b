"""The benchmark of the data pipeline at a tiny size."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"
TINY = "--megabytes 0.3 --pages 40 --vocabulary 400 --rounds 1".split()


def run(*options: object) -> tuple[dict[str, Any], str]:
    done = start(*options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def start(*options: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(BENCH / "data.py"), "--json", "--force", *TINY, *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Texts of one's own, one of which comes twice; words enough for the tokenizers' vocabulary."""
    path = tmp_path / "mine.jsonl"
    lines = [f"Number {n} of many texts says that {n * n} is the square of {n}, as all squares are." for n in range(30)]
    path.write_text("".join(json.dumps({"text": line * 6}) + "\n" for line in [*lines, lines[3]]))
    return path


def test_all_stages_run_on_texts_of_ones_own(texts: Path) -> None:
    result, table = run("--ours-only", "--data", f"text:{texts}", "--stages", "read_jsonl", "minhash", "duplicates")
    assert result["ratio"] is None
    stages, sizes = result["stages"], result["sizes"]
    assert stages["read_jsonl"]["ours"]["documents"] == sizes["texts"]["documents"] > 100
    assert stages["minhash"]["ours"]["documents"] == sizes["pages"]["documents"] == 40
    # One is the same text, and nearly so are all that differ in numbers alone.
    assert stages["duplicates"]["ours"]["documents"] >= 31
    assert all(seconds > 0 for stage in stages.values() for seconds in stage["ours"]["seconds"])
    assert "MinHash" in table


def test_a_source_without_texts_ends_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    done = start("--ours-only", "--data", f"text:{tmp_path / 'empty.jsonl'}", "--stages", "minhash")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ours/data_material.py failed: ")
    assert done.stdout == ""


def test_tokenizing_is_compared_with_plain_loops() -> None:
    result, table = run("--data", "stories:600", "--stages", "tokenize", "minhash")
    sides = result["stages"]["tokenize"]
    assert sides["ours"]["tokens"] == sides["sentencepiece"]["tokens"] > 10_000
    seconds = {name: side["seconds"][0] for name, side in sides.items()}
    assert result["ratios"]["tokenizers"] == pytest.approx(seconds["tokenizers"] / seconds["ours"])
    assert result["ratio"] == pytest.approx(min(seconds["sentencepiece"], seconds["tokenizers"]) / seconds["ours"])
    # What the interpreter does not have is named, and has no ratio.
    assert result["stages"]["minhash"]["datasketch"].keys() & {"seconds", "missing"}
    assert ("minhash" in result["ratios"]) == ("seconds" in result["stages"]["minhash"]["datasketch"])
    assert "sentencepiece loop" in table
