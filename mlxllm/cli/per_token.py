"""`mlxllm eval --data NAME --per-token FILE`: the loss of every token of held-out text, one JSON object a line."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mlxllm.errors import ConfigError

if TYPE_CHECKING:  # MLX is imported by the commands that use it
    import numpy as np

    from mlxllm.evaluation.perplexity import ScoredSplit
    from mlxllm.tokenizer import Tokenizer

Scored = Callable[[int, "np.ndarray"], None]
"""See `Evaluator.__call__`."""


class TokenLosses:
    """A file of token losses, in the order of the text."""

    def __init__(self, path: Path) -> None:
        """Begin it anew; see `token_losses`."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error

    def of(self, name: str, split: "ScoredSplit", tokenizer: "Tokenizer") -> Scored:
        """What writes down the losses of one text."""
        import numpy as np

        from mlxllm.tokenizer.showing import read_as

        def scored(position: int, losses: "np.ndarray") -> None:
            ids = split.read(position, len(losses)).tolist()
            for place, (token_id, loss) in enumerate(zip(ids, losses, strict=True), start=position):
                line = {
                    "data": name,
                    "position": place,
                    "id": token_id,
                    "piece": read_as(tokenizer, token_id),
                    "loss": float(str(np.float32(loss))),  # the shortest decimal of the number that is averaged
                }
                self._file.write(json.dumps(line) + "\n")

        return scored

    def close(self) -> None:
        """It is whole."""
        self._file.close()


@contextmanager
def token_losses(path: Path | None) -> Iterator[TokenLosses | None]:
    """A file to write losses into; None where none is asked for.

    Raises:
        ConfigError: it cannot be written.
    """
    if path is None:
        yield None
        return
    file = TokenLosses(path)
    try:
        yield file
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        file.close()
