"""The script that prints the whole round trip, on one architecture and its adapters."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "parity" / "roundtrip.py"


def run(*options: str) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.peers
def test_an_architecture_in_and_its_adapters_out() -> None:
    pytest.importorskip("transformers")
    code, out, err = run("--only", "Mixtral", "--forms", "adapters", "--json")
    assert code == 0, err
    told: dict[str, Any] = json.loads(out)
    assert (told["passed"], told["failed"]) == (True, 0)
    lines = {(line["direction"], line["form"], line["reader"]): line for line in told["lines"]}
    assert lines.keys() == {
        ("in", "hf", "transformers"),
        ("out", "LoRA", "peft"),
        ("out", "LoRA", "mlx-lm"),
    }
    for line in lines.values():
        assert line["status"] == "passed"
        assert line["max_logit_difference"] < 1e-4
        assert line["greedy_equal"] is True
        assert line["ids_equal"] is (None if line["form"] == "LoRA" else True)


def test_a_model_that_there_is_not() -> None:
    code, out, err = run("--only", "Gemma")
    assert (code, out) == (1, "")
    assert "error: --only names 'Gemma'; known are Llama 2, Llama 3" in err
