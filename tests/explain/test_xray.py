"""A prompt explained: one object with exact numbers, its pictures, and sentences about what cannot be."""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlxllm.errors import ConfigError, ModelError
from mlxllm.explain import xray
from mlxllm.explain.interventions import parse
from mlxllm.explain.neighbours import neighbours
from mlxllm.explain.pictures import draw
from mlxllm.explain.xray import Explained, best_ids, explain
from mlxllm.model.attention import plain_attention
from mlxllm.model.loading import LoadedModel, load_model
from tests.inference.tiny import TOKENIZER, write_folder, writing_letters
from tests.model.tiny import VOCAB, tiny_model

TEXT = "Once upon"
IDS = TOKENIZER.encode(TEXT)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(str(write_folder(tmp_path_factory.mktemp("models") / "letters", writing_letters())))


def explained(loaded: LoadedModel, *specs: str, **options: Any) -> Explained:
    return explain(loaded, IDS, text=TEXT, changes=parse(specs), **options)


def test_the_object_has_the_models_own_numbers(loaded: LoadedModel) -> None:
    told = json.loads(json.dumps(explained(loaded, near=2, top=5).as_json(), allow_nan=False))
    ids = mx.array([IDS])
    logits = np.array(loaded.model(ids, attend=plain_attention)[0, -1], np.float64)
    probs = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert [each["id"] for each in told["next"]["top"]] == np.argsort(-probs, kind="stable")[:5].tolist()
    assert all(abs(each["prob"] - probs[each["id"]]) < 1e-9 for each in told["next"]["top"])
    assert abs(told["next"]["entropy"] + (probs * np.log(np.maximum(probs, 1e-300))).sum()) < 1e-9
    assert told["lens"]["rows"][-1]["top"] == told["next"]["top"]
    assert [row["layer"] for row in told["lens"]["rows"]] == [None, 0, 1]
    assert [each["id"] for each in told["tokens"]] == IDS
    assert "".join(each["piece"] for each in told["tokens"]) == "".join(map(TOKENIZER.piece, IDS))
    for layer, expected in enumerate(loaded.model.attention_maps(ids)):
        found = np.array(told["maps"][str(layer)])
        assert np.abs(found - np.array(expected[0])).max() < 1e-8
        assert np.abs(found.sum(-1) - 1).max() < 1e-5
    assert {"before", "effect", "order"}.isdisjoint(told)
    assert (told["changes"], told["shuffle"], told["at"]) == ([], None, 8)


def test_a_change_is_told_before_and_after(loaded: LoadedModel) -> None:
    plain, off = explained(loaded), explained(loaded, "head:0.1", "mlp:1", top=3)
    told = off.as_json()
    assert off.before is not None
    assert told["changes"] == ["head:0.1", "mlp:1"]
    assert told["before"] == {**plain.as_json()["next"], "top": plain.as_json()["next"]["top"][:3]}
    p, q = np.exp(plain.walk.logprobs()), np.exp(off.walk.logprobs())
    assert abs(told["effect"]["kl"] - (p * np.log(p / q)).sum()) < 1e-9
    assert told["effect"]["kl"] > 1e-3
    assert told["effect"]["largest"] == np.abs(p - q).max()
    assert {each["id"] for each in told["effect"]["top"]} == {*best_ids(np.log(p), 3), *best_ids(np.log(q), 3)}
    for each in told["effect"]["top"]:
        assert (each["before"], each["after"]) == (p[each["id"]], q[each["id"]])


@pytest.mark.parametrize(
    "spec", ["patch:0@Once upon", "patch:1.all@Once upon", "patch:0.3@Once upon", "patch:0.-2@Once upon"]
)
def test_a_patch_from_the_same_prompt_changes_nothing(loaded: LoadedModel, spec: str) -> None:
    patched = explained(loaded, spec)
    assert patched.before is not None
    assert (patched.kl, patched.largest_change) == (0.0, 0.0)
    assert np.array_equal(patched.walk.logits, patched.before.logits)


def test_a_patch_behind_the_last_layer_is_the_other_prompts_answer(loaded: LoadedModel) -> None:
    other = explain(loaded, TOKENIZER.encode("A dog, old"), text="")
    patched = explained(loaded, "patch:1@A dog, old")
    assert np.abs(patched.walk.logits[-1] - other.walk.logits[-1]).max() < 1e-5
    assert explained(loaded, "patch:1.2@A dog, old").kl == 0  # nothing behind the last layer looks at it


def test_order_is_told_with_a_shuffle(loaded: LoadedModel) -> None:
    told = explained(loaded, "positions", shuffle=4).as_json()
    assert sorted(each["id"] for each in told["tokens"]) == sorted(IDS)
    assert [each["id"] for each in told["tokens"]] != IDS
    assert [(each["positions"], each["causal"]) for each in told["order"]] == [
        (True, True),
        (True, False),
        (False, True),
        (False, False),
    ]
    assert told["order"][3]["change"] < 1e-4 < told["order"][2]["change"]
    assert explained(loaded, shuffle=4).as_json()["tokens"] == told["tokens"]


def test_another_position(loaded: LoadedModel) -> None:
    part = explain(loaded, IDS[:4], text="")
    found = explained(loaded, at=3)
    assert np.abs(found.walk.logits - part.walk.logits).max() < 1e-4
    assert explained(loaded, at=-6).walk.at == 3


def test_only_the_maps_that_are_asked_for(loaded: LoadedModel) -> None:
    told = explained(loaded, maps=[1]).as_json()
    assert list(told["maps"]) == ["1"]
    assert explained(loaded, maps=[]).as_json()["maps"] == {}
    assert xray.maps_fit(6, 6, 200)
    assert not xray.maps_fit(24, 16, 200)


@pytest.mark.parametrize(
    ("ids", "options", "sentence"),
    [
        ([], {}, "the text is empty"),
        (IDS * 40, {}, r"has 360 tokens, and at most 256 are walked through; .* \(--max-tokens 360\)"),
        (IDS, {"at": 9}, "no position 9: the text has 9 tokens, 0 to 8"),
        (IDS, {"maps": [2]}, "no layer 2; the model's layers are 0 to 1"),
        (IDS, {"changes": parse(["head:0.9"])}, "no head 9"),
        (IDS, {"changes": parse(["patch:0.all@abc"])}, "has 3 tokens and this one 9"),
        (IDS, {"changes": parse(["patch:0.7@abc"])}, "no position 7: the other prompt of the patch has 3 tokens"),
        (IDS[:3], {"changes": parse(["patch:0.4@abcdef"])}, "no position 4 to be patched: the text has 3 tokens"),
        (IDS[:2], {"shuffle": 1}, "nothing to shuffle: 1 pieces? stand"),
    ],
)
def test_what_cannot_be(loaded: LoadedModel, ids: list[int], options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        explain(loaded, ids, **options)


def test_a_model_without_finite_numbers_is_refused(tmp_path: Path) -> None:
    model = writing_letters()
    model.model.norm.weight = model.model.norm.weight * float("nan")
    broken = load_model(str(write_folder(tmp_path / "broken", model)))
    with pytest.raises(ModelError, match="not finite"):
        explained(broken)


@pytest.mark.parametrize("rows", [1 << 14, 7])
def test_neighbours_are_those_of_a_full_table(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlxllm.explain.neighbours._ROWS", rows)
    model = tiny_model()
    table = np.array(model.model.embed_tokens.weight, np.float64)
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    found = neighbours(model, [3, 30, 3], 4, VOCAB - 2)
    assert list(found) == [3, 30]
    for token_id, near in found.items():
        cosines = unit[: VOCAB - 2] @ unit[token_id]
        cosines[token_id] = -2
        assert [other for other, _ in near] == np.argsort(-cosines)[:4].tolist()
        assert np.abs(np.array([cosine for _, cosine in near]) - np.sort(cosines)[::-1][:4]).max() < 1e-5


def test_ids_that_no_token_has_can_be_said(tmp_path: Path) -> None:
    wide = load_model(str(write_folder(tmp_path / "wide", writing_letters(letters=b"abc"))))
    found = explain(wide, IDS)
    assert found.piece(TOKENIZER.vocab_size + 3) == f"<no token {TOKENIZER.vocab_size + 3}>"


@pytest.mark.parametrize(("layer", "head"), [(None, None), (1, None), (1, 2)])
def test_pictures_are_equal_for_equal_numbers(loaded: LoadedModel, layer: int | None, head: int | None) -> None:
    one, two, other = (draw(explained(loaded, f"mlp:{n}"), layer, head).svg() for n in (0, 0, 1))
    assert one == two
    assert b"<svg" in one
    assert one != other


def test_a_picture_in_pixels(loaded: LoadedModel) -> None:
    assert draw(explained(loaded), 0, 1).png().startswith(b"\x89PNG")


def test_a_picture_of_pieces_that_no_font_has(loaded: LoadedModel) -> None:
    found = explain(loaded, TOKENIZER.encode("\U0001f600\u4e2d$x$"), text="")
    assert draw(found).svg()
