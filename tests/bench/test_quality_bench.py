"""The benchmark of quality at a tiny size: it runs, counts bytes, and refuses comparisons that are none."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"


@pytest.fixture
def tiny(tmp_path: Path) -> list[str]:
    """Options; the text has letters of one byte and of two."""
    words = "the a king queen and späks öf löve night day sword sea\n Come go".split(" ")
    drawn = np.random.default_rng(0).integers(len(words), size=3000)
    text = tmp_path / "text.txt"
    text.write_text(" ".join(words[i] for i in drawn), encoding="utf-8")
    options = "--tokenizer char --val-split 0.1 --sizes 1x32x2 2x32x2 --steps 80 --batch-size 4 --context 16"
    return ["--data", f"text:{text}", *options.split()]


def start(*options: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(BENCH / "quality.py"), "--json", "--force", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True)


def run(*options: object) -> tuple[dict[str, Any], str]:
    done = start(*options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_ours_alone_has_no_ratio(tiny: list[str]) -> None:
    result, table = run("--ours-only", *tiny)
    assert result["ratio"] is None
    assert [each["size"] for each in result["results"]] == ["1x32x2", "2x32x2"]
    first = result["results"][0]
    assert first["scored_bytes"] > first["scored"] > 0  # letters of two bytes
    # Better than a guess among some 25 letters, and no better than 14 equally likely words can be known.
    assert 3.8 / 6 < first["ours"]["bits_per_byte"][0] < math.log2(25)
    assert result["tokens"] == 80 * 4 * 16
    assert "bits per byte" in table


@pytest.mark.peers
def test_ours_is_compared_with_the_reference_recipe(tiny: list[str]) -> None:
    result, table = run(*tiny, "--sizes", "1x32x2")
    for each in result["results"]:
        assert each["parameters"] <= each["reference"]["parameters"] < 1.2 * each["parameters"]
        assert each["share"] == pytest.approx(each["ours"]["bits_per_byte"][0] / each["reference"]["bits_per_byte"][0])
    assert result["worst_share"] == max(each["share"] for each in result["results"])
    assert result["ratio"] == pytest.approx(0.95 / result["worst_share"])
    assert "ours / it" in table


def test_a_larger_model_is_refused(bench: Any) -> None:
    module = bench("quality")
    reference = {"steps": 5, "tokens": 50, "context": 8, "scored": 10, "parameters": 100}
    fair = reference | {"architecture": "Qwen3ForCausalLM"}
    module.check(fair, reference)
    for change, message in (
        ({"parameters": 101}, "must not be larger"),
        ({"context": 9}, "context"),
        ({"tokens": 51}, "number of tokens"),
        ({"steps": 6}, "number of steps"),
        ({"scored": 11}, "number of scored"),
        ({"architecture": None}, "cannot be exported"),
    ):
        with pytest.raises(module.BenchError, match=message):
            module.check(fair | change, reference)


def test_the_default_sizes_are_no_larger_than_the_reference(bench: Any) -> None:
    from mlxllm.config import ModelConfig
    from mlxllm.estimate import count_parameters

    module = bench("quality")
    V, T = 1024, 64
    for text, told in zip(module.SIZES, (0.4e6, 0.9e6, 2.9e6), strict=True):
        size = module.shape(text)
        D, L = size.width, size.layers
        model = ModelConfig(
            vocab_size=V,
            hidden_size=D,
            num_hidden_layers=L,
            num_attention_heads=size.heads,
            num_key_value_heads=size.heads,
            intermediate_size=size.inner,
            qk_norm=True,
        )
        reference = (V + T) * D + L * (12 * D * D + 2 * D) + D
        assert 0.95 * reference < count_parameters(model) <= reference
        assert reference == pytest.approx(told, rel=0.1)


def test_bits_per_byte_are_of_the_bytes_that_are_scored(bench: Any) -> None:
    module = bench("quality")
    data = module.Data("text:x", "x", Path(), 9, train_tokens=100, scored=30, scored_bytes=60)
    assert data.bits_per_byte(4 * math.log(2)) == pytest.approx(2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--steps 0", "--steps 0"),
        ("--repeats 0", "--repeats 0"),
        ("--sizes 3x96", "LAYERSxWIDTHxHEADS"),
        ("--context 4096", "too few for rows of 4096"),
    ],
)
def test_options_that_make_no_comparison_end_in_one_sentence(tiny: list[str], options: str, message: str) -> None:
    done = start("--ours-only", *tiny, *options.split())
    assert done.returncode != 0
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_without_a_text_it_says_how_to_give_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLXLLM_TEST_DATA", raising=False)
    done = start("--ours-only")
    assert done.returncode == 1
    assert "--data pydocs text:FILE" in done.stderr.splitlines()[-1]
