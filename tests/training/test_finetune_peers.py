"""Fine-tuning against the libraries that others use, by the scripts that print the comparison: scripts/parity."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PARITY = Path(__file__).resolve().parents[2] / "scripts" / "parity"
TOLERANCE = 1e-4
LOSSES = ("sigmoid", "ipo", "hinge", "robust")

pytestmark = [pytest.mark.peers, pytest.mark.data]


def numbers(script: str, *options: object) -> dict[str, Any]:
    """What a comparison prints."""
    command = [sys.executable, str(PARITY / script), "--json", *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def dpo() -> dict[str, Any]:
    pytest.importorskip("trl")
    return numbers("dpo.py")


@pytest.mark.parametrize("loss", LOSSES)
def test_dpo_is_trls(dpo: dict[str, Any], loss: str) -> None:
    """Loss and log-probabilities of 20 updates, and of each pair before and after."""
    assert (dpo["steps"], dpo["pairs"]) == (20, 16)
    first, last = dpo["losses"][loss]
    assert abs(first - last) > 0.05 * abs(first), "it has learned something"
    differences = dpo["differences"][loss]
    assert len(differences) == 8
    assert {name: d for name, d in differences.items() if d > TOLERANCE} == {}


def test_sft_is_a_plain_loop() -> None:
    """Packed rows on our side, padded ones on theirs."""
    pytest.importorskip("transformers")
    found = numbers("sft.py")
    assert found["differences"]["loss"] < TOLERANCE
    assert found["losses"][1] < 0.8 * found["losses"][0]
    assert found["tokens"][0] == found["tokens"][1]
    assert found["padding"][0] < 0.1 < found["padding"][1]
    assert min(found["conversations_a_step"]) > 4
