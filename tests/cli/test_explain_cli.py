"""`mlxllm explain` on real model folders."""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlxllm.cli.explain_view import heat_map
from mlxllm.model.attention import plain_attention
from mlxllm.model.loading import load_model
from tests.cli.tuned import tuned_run
from tests.inference.tiny import TOKENIZER, write_folder, writing_letters
from tests.training.tiny import call, json_lines, sentence, succeeded

TEXT = "Once upon"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_folder(tmp_path_factory.mktemp("models") / "letters", writing_letters()))


def explained(folder: str, *arguments: object) -> dict[str, Any]:
    result = succeeded(call("explain", "--model", folder, TEXT, "--json", *arguments))
    assert result.stderr == ""
    (told,) = json_lines(result.stdout)
    return told


def test_json_has_all_the_numbers(folder: str) -> None:
    told = explained(folder, "--top", 3)
    logits = np.array(load_model(folder).model(mx.array([TOKENIZER.encode(TEXT)]), attend=plain_attention)[0, -1])
    assert [each["id"] for each in told["next"]["top"]] == np.argsort(-logits, kind="stable")[:3].tolist()
    assert list(told["maps"]) == ["0", "1"]
    assert all(len(each["neighbours"]) == 3 for each in told["tokens"])
    assert list(explained(folder, "--layer", 1)["maps"]) == ["1"]


def test_the_text_walks_from_pieces_to_the_next_one(folder: str) -> None:
    out = succeeded(call("explain", "--model", folder, TEXT, "--layer", 1, "--head", 2)).stdout
    told = explained(folder)
    titles = (
        "Pieces",
        "Through the layers, at piece 8 'n'",
        "Heads of layer 1",
        "Attention of layer 1, head 2",
        "Next piece",
    )
    assert [out.index(title) for title in titles] == sorted(out.index(title) for title in titles)
    assert f"entropy {told['next']['entropy']:.3f} nats" in out
    assert f"{told['next']['top'][0]['prob']:.2%}" in out
    assert "the most decided one" in succeeded(call("explain", "--model", folder, TEXT)).stdout


def test_all_heads_of_a_layer_are_shown(folder: str) -> None:
    out = succeeded(call("explain", "--model", folder, TEXT, "--layer", 1)).stdout
    assert [f"Attention of layer 1, head {head}" in out for head in range(5)] == [True] * 4 + [False]


def test_too_many_maps_are_left_out_with_a_word(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlxllm.explain.xray.MOST_MAPS", 500)
    result = succeeded(call("explain", "--model", folder, TEXT, "--json"))
    assert json_lines(result.stdout)[0]["maps"] == {}
    assert "more than 500 numbers: none is told; --layer L chooses others" in result.stderr
    assert "Attention of layer 0, head 3" in succeeded(call("explain", "--model", folder, TEXT)).stdout
    assert explained(folder, "--layer", 1)["maps"].keys() == {"1"}


def test_changes_are_told_before_and_after(folder: str) -> None:
    how = ("--off", "head:0.1", "--off", "mlp:1", "--temp", 0.5, "--patch", "0@A dog")
    out = succeeded(call("explain", "--model", folder, TEXT, *how)).stdout
    told = explained(folder, *how)
    assert told["changes"] == ["head:0.1", "mlp:1", "temperature:0.5", "patch:0@A dog"]
    assert "changed: patch:0@A·dog" in out
    assert f"KL divergence {told['effect']['kl']:.6f} nats" in out
    assert explained(folder, "--no-positions")["changes"] == explained(folder, "--off", "positions")["changes"]


def test_order_is_worth_nothing_without_positions_and_mask(folder: str) -> None:
    out = succeeded(call("explain", "--model", folder, TEXT, "--no-positions", "--shuffle", 2)).stdout
    told = explained(folder, "--no-positions", "--shuffle", 2)
    free, leaking = told["order"][3], told["order"][2]
    assert free["change"] < 1e-4 < leaking["change"]
    assert max(leaking["by_layer"][:2]) < 1e-4
    assert f"{leaking['change']:.2e}" in out
    assert "What order is worth" in out


def test_pictures(folder: str, tmp_path: Path) -> None:
    for name, how in (("all.png", ()), ("layer.svg", ("--layer", 1)), ("head.png", ("--layer", 1, "--head", 0))):
        result = succeeded(call("explain", "--model", folder, TEXT, "--picture", tmp_path / name, *how))
        assert f"drawn: {tmp_path / name}" in result.stderr
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG" if name.endswith("png") else b"<?xml")


def test_a_question_to_a_tuned_model(tmp_path: Path, folder: str) -> None:
    run = tuned_run(tmp_path)
    (told,) = json_lines(succeeded(call("explain", "--model", run, "hi", "--chat", "--json")).stdout)
    assert "<|user|>" in [each["piece"] for each in told["tokens"]]
    (plain,) = json_lines(succeeded(call("explain", "--model", run, "hi", "--json")).stdout)
    assert len(plain["tokens"]) < len(told["tokens"])
    assert "is a base model" in sentence(call("explain", "--model", folder, "hi", "--chat"), 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("",), "the text is empty"),
        (("a" * 300,), "the text has 300 tokens, and at most 256 are walked through"),
        ((TEXT, "--off", "heads"), "'heads' is no intervention; give head:LAYER.HEAD"),
        ((TEXT, "--off", "head:7.0"), "there is no layer 7; the model's layers are 0 to 1"),
        ((TEXT, "--layer", 2), "there is no layer 2"),
        ((TEXT, "--layer", 1, "--head", 4), "there is no head 4; the model's heads are 0 to 3"),
        ((TEXT, "--head", 1), "--head 1 is of no layer; give --layer as well"),
        ((TEXT, "--at", 40), "there is no position 40: the text has 9 tokens, 0 to 8"),
        ((TEXT, "--temp", 0), "is no temperature; give a number above 0"),
        ((TEXT, "--patch", "x@y"), "is no patch; give the layer and the other prompt"),
        ((TEXT, "--picture", "x.jpg"), "give a file that ends in .png or .svg"),
        ((TEXT, "--top", 0), "--top is 0"),
        ((TEXT, "--max-tokens", 9999), "--max-tokens is 9999; it should be from 1 to 4,096"),
        (("a", "--shuffle", 1), "there is nothing to shuffle"),
    ],
)
def test_what_cannot_be_is_one_sentence(folder: str, arguments: tuple[object, ...], message: str) -> None:
    assert message in sentence(call("explain", "--model", folder, *arguments), 2)


def test_control_characters_of_a_prompt_steer_no_terminal(folder: str) -> None:
    result = succeeded(call("explain", "--model", folder, "a\x1b[2Jb", "--patch", "0@\x1b[31m"))
    assert "\x1b" not in result.stdout + result.stderr


def test_a_heat_map_shows_the_last_pieces_where_there_is_no_room() -> None:
    weights = np.tril(np.ones((30, 30), np.float32)) / np.arange(1, 31, dtype=np.float32)[:, None]
    lines = list(heat_map(weights, [f"p{n}" for n in range(30)], 40))
    assert lines[0] == "the last 11 of 30 pieces"
    assert lines[2].startswith("  19 p19")
    assert max(map(len, lines[:-1])) <= 40
    whole = list(heat_map(weights, [f"p{n}" for n in range(30)], None))
    assert len(whole) == 32
    assert whole[1].count("██") == 1
    assert json.dumps(whole[30]).count("░") == 0
    assert whole[30].count("\u2591\u2591") == 30
