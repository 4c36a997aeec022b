"""The byte tokenizer: the UTF-8 bytes of the text, nothing learned."""

from collections.abc import Sequence

import numpy as np

from mlxllm.tokenizer.base import FIRST_BYTE_ID, TokenArray, Tokenizer, utf8


class ByteTokenizer(Tokenizer):
    """One id a byte: 261 ids, any language, long sequences."""

    kind = "byte"

    def __init__(self) -> None:
        """There is nothing to choose."""
        super().__init__(())

    def encode_to_array(self, texts: Sequence[str]) -> list[TokenArray]:
        """See `Tokenizer.encode_to_array`."""
        return [np.frombuffer(utf8(text), dtype=np.uint8) + np.uint32(FIRST_BYTE_ID) for text in texts]

    def model_files(self) -> dict[str, bytes]:
        """None: the kind says it all."""
        return {}

    def piece(self, token_id: int) -> str:
        """As in `Tokenizer.piece`, but a byte that is an ASCII character is shown as that."""
        value = self.token_bytes(token_id)
        if len(value) == 1 and 0x20 <= value[0] < 0x7F:
            return value.decode()
        return super().piece(token_id)
