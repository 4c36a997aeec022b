"""Rotary and sinusoidal positions against their formulas, written a second time in numpy."""

import math
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxllm.errors import ModelError
from mlxllm.model.kv_cache import make_cache
from mlxllm.model.positions import rope_wavelengths, rotate, rotate_each, rotate_plain, sinusoidal_table
from tests.model.tiny import max_difference, tiny_config, tiny_model, token_ids


def llama3_frequencies(theta: float, width: int, scaling: dict[str, Any]) -> list[float]:
    """As the Llama 3 reference code decides, pair by pair, in double precision."""
    context = scaling["original_max_position_embeddings"]
    low, high, factor = scaling["low_freq_factor"], scaling["high_freq_factor"], scaling["factor"]
    frequencies = []
    for i in range(0, width, 2):
        frequency = theta ** (-i / width)
        wavelength = 2 * math.pi / frequency
        if wavelength > context / low:
            frequency /= factor
        elif wavelength >= context / high:
            smooth = (context / wavelength - low) / (high - low)
            frequency = (1 - smooth) * frequency / factor + smooth * frequency
        frequencies.append(frequency)
    return frequencies


@pytest.mark.parametrize("theta", [10000.0, 500000.0])
def test_llama3_scaling_is_the_published_formula(theta: float) -> None:
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    config = tiny_config(head_dim=128, rope_theta=theta, rope_scaling=scaling)
    expected = 1 / np.array(llama3_frequencies(theta, 128, scaling))
    assert np.allclose(np.array(rope_wavelengths(config)), expected, rtol=2e-5)
    unscaled = theta ** (np.arange(0, 128, 2) / 128)
    assert (expected == unscaled).any()  # the example has short waves, long ones and some between
    assert np.isclose(expected, 8 * unscaled).any()
    assert (~np.isclose(expected, unscaled) & ~np.isclose(expected, 8 * unscaled)).any()


def test_plain_and_linear_wavelengths() -> None:
    plain = np.array(rope_wavelengths(tiny_config(head_dim=16)))
    assert np.allclose(plain, [10000 ** (2 * i / 16) for i in range(8)], rtol=1e-5)
    linear = rope_wavelengths(tiny_config(head_dim=16, rope_scaling={"rope_type": "linear", "factor": 2.5}))
    assert np.allclose(np.array(linear), 2.5 * plain, rtol=1e-6)


@settings(max_examples=25)
@given(
    B=st.integers(1, 2),
    H=st.integers(1, 3),
    T=st.integers(1, 8),
    d=st.sampled_from([2, 4, 12, 64, 128]),
    offset=st.integers(0, 4000),
)
def test_fused_rotation_is_the_formula(B: int, H: int, T: int, d: int, offset: int) -> None:
    x = mx.random.normal((B, H, T, d), key=mx.random.key(offset))
    periods = rope_wavelengths(tiny_config(head_dim=d))
    expected = np.zeros(x.shape)
    a, b = np.split(np.array(x, dtype=np.float64), 2, axis=-1)
    for t in range(T):
        angle = (offset + t) / np.array(periods, dtype=np.float64)
        expected[:, :, t] = np.concatenate(
            [
                a[:, :, t] * np.cos(angle) - b[:, :, t] * np.sin(angle),
                a[:, :, t] * np.sin(angle) + b[:, :, t] * np.cos(angle),
            ],
            axis=-1,
        )
    # float32 angles of some thousand radians are good to about 3e-4
    tolerance = 2e-6 + 4e-7 * (offset + T)
    assert np.abs(np.array(rotate(x, periods, offset)) - expected).max() < tolerance
    assert np.abs(np.array(rotate_plain(x, periods, offset)) - expected).max() < tolerance


def test_rotated_products_depend_on_the_distance_only() -> None:
    q, k = (mx.random.normal((1, 1, 1, 16), key=mx.random.key(i)) for i in range(2))
    periods = rope_wavelengths(tiny_config(head_dim=16))

    def product(at_q: int, at_k: int) -> float:
        return float(mx.sum(rotate(q, periods, at_q) * rotate(k, periods, at_k)))

    assert product(9, 5) == pytest.approx(product(104, 100), abs=1e-4)
    assert product(9, 5) != pytest.approx(product(9, 6), abs=1e-2)


def test_sinusoidal_table_is_the_papers() -> None:
    table = np.array(sinusoidal_table(50, 12))
    assert table.shape == (50, 12)
    for position in (0, 1, 17, 49):
        for i in range(6):
            angle = position / 10000 ** (2 * i / 12)
            assert table[position, 2 * i] == pytest.approx(math.sin(angle), abs=1e-5)
            assert table[position, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-5)


def test_without_positions_order_is_seen_only_through_the_mask() -> None:
    model = tiny_model(positions="none", num_hidden_layers=1)
    ids = token_ids(1, 8)
    swapped = mx.concatenate([ids[:, 1:2], ids[:, :1], ids[:, 2:]], axis=1)
    assert max_difference(model(ids)[:, 2:], model(swapped)[:, 2:]) < 1e-5
    rotary = tiny_model(num_hidden_layers=1)
    assert max_difference(rotary(ids)[:, 2:], rotary(swapped)[:, 2:]) > 1e-3


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_a_table_of_positions_refuses_what_lies_beyond_it(positions: str) -> None:
    model = tiny_model(positions=positions, max_position_embeddings=8)
    assert model(token_ids(1, 8)).shape == (1, 8, 37)
    with pytest.raises(ModelError, match=r"9 positions are more than the 8"):
        model(token_ids(1, 9))
    # With a cache one row of the table is left, which would fit any number of tokens.
    cache = make_cache(model.config)
    model(token_ids(1, 7), cache)
    with pytest.raises(ModelError, match=r"10 positions are more than the 8"):
        model(token_ids(1, 3), cache)


def test_positions_one_by_one_turn_as_a_run_of_them_does() -> None:
    config = tiny_config(rope_scaling={"rope_type": "linear", "factor": 2.0})
    periods = rope_wavelengths(config)
    x = mx.random.normal((2, 3, 5, config.resolved_head_dim), key=mx.random.key(0))
    where = mx.array([[7, 8, 9, 10, 11], [7, 8, 9, 10, 11]])
    assert max_difference(rotate_each(x, periods, where), rotate(x, periods, 7)) < 1e-5
    mixed = mx.array([[0, 1, 2, 1, 2], [4, 0, 0, 3, 9]])
    found = rotate_each(x, periods, mixed)
    for b in range(2):
        for t in range(5):
            alone = rotate(x[b : b + 1, :, t : t + 1], periods, int(mixed[b, t].item()))
            assert max_difference(found[b : b + 1, :, t : t + 1], alone) < 1e-5
