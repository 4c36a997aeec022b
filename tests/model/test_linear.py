"""The linear layer against MLX's own: the same numbers, gradients in the layout of the weights."""

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest

from mlxllm.model.linear import Linear
from tests.model.tiny import max_difference


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_it_computes_what_mlx_does(bias: bool, frozen: bool) -> None:
    ours, theirs = Linear(5, 7, bias=bias), nn.Linear(5, 7, bias=bias)
    theirs.update(ours.parameters())
    if frozen:
        ours.freeze()
    x, upstream = (mx.random.normal((2, 3, n), key=mx.random.key(n)) for n in (5, 7))
    arrays = {name: ours[name] for name in ("weight", "bias") if name in ours}

    def gradients(layer: nn.Module) -> Any:
        def total(x: mx.array, arrays: dict[str, mx.array]) -> mx.array:
            layer.update(arrays)
            return mx.sum(mx.tanh(layer(x)) * upstream)

        return mx.value_and_grad(total, argnums=(0, 1))(x, arrays)

    (value, (d_x, d_arrays)), (expected, (e_x, e_arrays)) = gradients(ours), gradients(theirs)
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    assert max_difference(d_x, e_x) < 1e-6
    assert d_arrays.keys() == e_arrays.keys()
    for name, found in d_arrays.items():
        assert max_difference(found, e_arrays[name]) < 1e-6
