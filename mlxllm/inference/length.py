"""How long a text may be before a model reads it: what memory holds, and what the model was made for."""

import mlx.core as mx

from mlxllm.errors import ConfigError
from mlxllm.model.loading import LoadedModel
from mlxllm.model.module import named_parameters
from mlxllm.runtime import device_info


class Length:
    """Looks at how long a text is before a model reads it."""

    def __init__(self, loaded: LoadedModel, *, max_kv_size: int | None = None, kv_bits: int | None = None) -> None:
        """For this model, and a cache with these bounds."""
        self._config, self._warned = loaded.config, False
        self._bound = min((n for n in (max_kv_size, loaded.config.sliding_window) if n is not None), default=None)
        weights = named_parameters(loaded.model).values()
        widths = [array.dtype.size for array in weights if mx.issubdtype(array.dtype, mx.floating)]
        self._number_bytes = kv_bits / 8 if kv_bits is not None else min(widths)

    def check(self, tokens: int) -> str:
        """A sentence, the first time, about a text that is longer than what the model has learned from; else "".

        Raises:
            ConfigError: its keys and values would not leave room for anything else.
        """
        config, memory = self._config, device_info().memory_bytes
        held = tokens if self._bound is None else min(tokens, self._bound)
        numbers = 2 * config.num_hidden_layers * config.num_key_value_heads * config.resolved_head_dim
        if (needed := held * numbers * self._number_bytes) > memory / 2:
            raise ConfigError(
                f"the text has {tokens:,} tokens, whose keys and values alone would take {needed / 2**30:,.1f} GiB of the "
                f"{memory / 2**30:,.1f} GiB of memory; shorten it, or keep fewer of them with --max-kv-size"
            )
        made_for = config.max_position_embeddings
        # Where positions end, a longer text is refused.
        if tokens <= made_for or self._warned or config.positions in ("learned", "sinusoidal"):
            return ""
        self._warned = True
        return (
            f"the text has {tokens:,} tokens and the model was made for {made_for:,}: it goes on, but what it writes "
            f"will hardly make sense"
        )
