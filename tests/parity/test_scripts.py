"""The comparisons at a small size: they run, print what they promise, and agree."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PARITY = Path(__file__).resolve().parents[2] / "scripts" / "parity"


def start(script: str, *options: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(PARITY / script), "--json", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True)


def numbers(script: str, *options: object) -> dict[str, Any]:
    done = start(script, *options)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def text(tmp_path: Path) -> Path:
    words = "the a king queen and speaks of love night day sword sea\n Come go".split(" ")
    drawn = np.random.default_rng(0).integers(len(words), size=3000)
    path = tmp_path / "text.txt"
    path.write_text(" ".join(words[i] for i in drawn))
    return path


def test_shakespeare_trains_the_recipe_and_the_preset(text: Path) -> None:
    found = numbers("shakespeare.py", "--data", text, "--max-steps", 3)
    assert (found["size"], found["published"], found["seed"]) == ("small", 1.88, 1337)
    for side in ("recipe", "preset"):
        (_, first), (step, last) = found[side]["curve"][0], found[side]["curve"][-1]
        assert step == 3
        assert last < first < math.log(400), "it begins by knowing nothing, and learns"
        assert found[side]["last"] == last


def test_there_is_no_receipt_of_what_was_not_run(text: Path) -> None:
    done = start("shakespeare.py", "--data", text, "--max-steps", 3, "--receipt")
    assert done.returncode == 2
    assert "--max-steps ends before the published number of steps" in done.stderr
    done = start("roundtrip.py", "--only", "GPT-2", "--receipt")
    assert done.returncode == 2
    assert "a receipt is about all models and forms" in done.stderr
    done = start("llamacpp.py", "--data", text, "--receipt")
    assert done.returncode == 1
    assert done.stderr == "error: llamacpp.py writes no receipt; run it without --receipt\n"


@pytest.mark.peers
@pytest.mark.data
def test_mlx_lms_trainer_and_ours_go_the_same_way() -> None:
    pytest.importorskip("mlx_lm")
    found = numbers("mlx_lm_lora.py", "--steps", 4)
    assert max(found["differences"].values()) < 1e-5
    assert found["ours"]["val"][1] < found["ours"]["val"][0] - 0.01, "it has learned something"
    assert len(found["theirs"]["losses"]) == len(found["ours"]["losses"]) == 4


@pytest.mark.peers
@pytest.mark.data
def test_trls_trainer_and_ours_go_the_same_way() -> None:
    pytest.importorskip("trl")
    found = numbers("trl_curve.py", "--steps", 3, "--learning-rate", 1e-3)
    assert found["difference"] < 1e-4
    assert abs(found["ours"][0] - math.log(2)) < 1e-6, "at first the model is its own reference"
    assert abs(found["ours"][-1] - math.log(2)) > 1e-3, "it has learned something"
