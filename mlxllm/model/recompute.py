"""Forming cheap results again in the backward pass rather than keeping them.

A block's norms and products of single numbers cost next to nothing beside its products of matrices, but what they give is
as wide. So pieces of a block are cut where a product ends: what a piece takes and gives is kept, all within is not
(arXiv:1604.06174, and arXiv:2205.05198 for what is worth keeping).
"""

from collections.abc import Callable, Sequence
from typing import cast

import mlx.core as mx
import mlx.nn as nn

from mlxllm.model.module import set_parameters, trainable_parameters


def forming_again(
    piece: Callable[..., tuple[mx.array, ...]], modules: Sequence[nn.Module], *inputs: mx.array
) -> tuple[mx.array, ...]:
    """`piece(*inputs)`; while training, its backward pass starts from `inputs` and forms again what it needs.

    On the CPU only: what it costs on a GPU, whose fused kernels keep less in the first place, has not been measured.
    Results of the piece that no gradient depends on are not formed again: a product of matrices needs its factors only.

    Args:
        piece: arrays -> arrays, by the weights of `modules`.
        modules: all that have weights in it.
        inputs: what it is about.
    """
    idle = mx.default_device().type != mx.cpu or not any(module.training for module in modules)
    if idle or any(_keeps(module) for module in modules):
        return piece(*inputs)
    trained = [trainable_parameters(module) for module in modules]
    count, some = len(inputs), any(trained)

    def use(weights: Sequence[mx.array]) -> None:
        left = iter(weights)
        for module, parameters in zip(modules, trained, strict=True):
            set_parameters(module, {name: next(left) for name in parameters})

    def computed(*arrays: mx.array) -> tuple[mx.array, ...]:
        use(arrays[count:])
        return piece(*arrays[:count])

    @mx.custom_function
    def kept(*arrays: mx.array) -> tuple[mx.array, ...]:
        return computed(*arrays)

    @kept.vjp
    def backward(
        primals: mx.array | tuple[mx.array, ...], cotangents: tuple[mx.array, ...], outputs: tuple[mx.array, ...]
    ) -> tuple[mx.array, ...]:
        primals = (primals,) if isinstance(primals, mx.array) else primals  # MLX has no tuples of one here
        # Without the dependency a compiled step would notice that all this was there before, and keep that.
        again = mx.depends(list(primals[:count]), list(cotangents))
        _, gradients = mx.vjp(computed, [*again, *primals[count:]], list(cotangents))
        use(primals[count:])
        # Weights' gradients first: MLX would leave them to the end, and until then keep what they are formed from.
        ahead = mx.depends(gradients[:count], gradients[count:]) if some else gradients[:count]
        return *cast(list[mx.array], ahead), *gradients[count:]

    weights = [p for parameters in trained for p in parameters.values()]
    return cast(tuple[mx.array, ...], kept(*inputs, *weights))


def _keeps(module: nn.Module) -> bool:
    """Whether something in it drops numbers at random, which would be others the second time, or says so of itself."""
    return any(
        m._p_1 < 1 if isinstance(m, nn.Dropout) else getattr(m, "keeps_results", False) for m in module.modules()
    )
