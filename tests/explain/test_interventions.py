"""Interventions as a person types them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxllm.config import HOTTEST
from mlxllm.errors import ConfigError
from mlxllm.explain.interventions import UNCHANGED, Interventions, Patch, parse, parse_patch
from tests.model.tiny import tiny_config

LAYERS = st.integers(0, 99_999)
SOME = st.frozensets(LAYERS, max_size=3)
PATCHES = st.builds(
    Patch, LAYERS, st.text(min_size=1), st.none() | st.integers(-999_999, 999_999), st.just(False)
) | st.builds(Patch, LAYERS, st.text(min_size=1), st.none(), st.just(True))


@settings(max_examples=40)
@given(
    st.builds(
        Interventions,
        heads=st.frozensets(st.tuples(LAYERS, LAYERS), max_size=3),
        attentions=SOME,
        mlps=SOME,
        layers=SOME,
        positions=st.booleans(),
        causal=st.booleans(),
        temperature=st.floats(0, HOTTEST, exclude_min=True),
        patches=st.lists(PATCHES, max_size=2).map(tuple),
    )
)
def test_what_is_told_is_read_again(changes: Interventions) -> None:
    assert parse(changes.specs) == changes


def test_words() -> None:
    found = parse(["head:3.2", "head:0.1", "mlp:3", "attention:1", "layer:0", "positions", "mask", "temperature:0.7"])
    assert found.heads == {(3, 2), (0, 1)}
    assert (found.mlps, found.attentions, found.layers) == ({3}, {1}, {0})
    assert (found.positions, found.causal, found.temperature) == (False, False, 0.7)
    assert parse([]) == UNCHANGED == Interventions()
    assert parse_patch("3@a@b") == Patch(3, "a@b")
    assert parse_patch("3.-1@x") == Patch(3, "x", -1)
    assert parse_patch("3.all@x") == Patch(3, "x", None, everywhere=True)


@pytest.mark.parametrize(
    "wrong",
    [
        "head:3",
        "head:3.x",
        "head:-1.0",
        "mlp:",
        "mlp:1.2",
        "layers:1",
        "positions:1",
        "",
        "head",
        "mlp:٣",
        "head:1.2.3",
    ],
)
def test_other_words_are_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match="no intervention; give head:LAYER"):
        parse([wrong])


@pytest.mark.parametrize("wrong", ["0", "-1", "nan", "inf", "1e9", "warm", ""])
def test_temperatures_that_cannot_be(wrong: str) -> None:
    with pytest.raises(ConfigError, match="no temperature; give a number above 0"):
        parse([f"temperature:{wrong}"])


@pytest.mark.parametrize("wrong", ["3", "@x", "3@", "3.x@y", "a@y", "3.@y"])
def test_patches_that_are_none(wrong: str) -> None:
    with pytest.raises(ConfigError, match="is no patch; give the layer and the other prompt"):
        parse_patch(wrong)


def test_what_a_model_does_not_have() -> None:
    config = tiny_config()
    parse(["head:1.3", "mlp:1", "patch:1@x"]).check(config)
    for wrong in ("head:2.0", "attention:2", "mlp:2", "layer:7", "patch:2@x"):
        with pytest.raises(ConfigError, match="the model's layers are 0 to 1"):
            parse([wrong]).check(config)
    with pytest.raises(ConfigError, match="layer 1 has no head 4; its heads are 0 to 3"):
        parse(["head:1.4"]).check(config)
