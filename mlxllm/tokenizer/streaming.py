"""Text from ids as they come, without ever showing half a character."""

import codecs

from mlxllm.tokenizer.base import Tokenizer


class StreamDecoder:
    """Decodes one id after another; the pieces joined, `flush` included, equal `Tokenizer.decode_continued` of all ids.

    A character may be spread over several tokens. Its bytes are held back until it is whole, or until they
    can no longer become one, which gives U+FFFD.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Start with nothing held back."""
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def add(self, token_id: int) -> str:
        """The text that `token_id` completes; often empty in the middle of a character.

        Raises:
            DataError: the id is not in the vocabulary.
        """
        return self._decoder.decode(self._tokenizer.decode_bytes((token_id,)))

    def flush(self) -> str:
        """What was held back, as U+FFFD if it is no whole character; then the decoder can be used anew."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest
