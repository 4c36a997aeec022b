"""These tests select devices; the ones after them should find the device that was there."""

from collections.abc import Iterator

import pytest

from mlxllm import runtime

import mlx.core as mx  # isort: skip  (after the runtime)


@pytest.fixture(autouse=True)
def same_device() -> Iterator[None]:
    device = mx.default_device()
    yield
    if mx.default_device() != device:
        runtime.select_device("gpu" if device.type == mx.gpu else "cpu")
