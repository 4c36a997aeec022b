"""A ratio of sums over windows of text, such as nats a token, with its standard error; in numbers that can be kept."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass
class RatioSums:
    """Losses, tokens and bytes of windows, and the sums of their products."""

    windows: int = 0
    loss: float = 0.0
    """Nats."""
    tokens: int = 0
    bytes: int = 0
    loss_loss: float = 0.0
    loss_tokens: float = 0.0
    loss_bytes: float = 0.0
    tokens_tokens: float = 0.0
    bytes_bytes: float = 0.0

    def add(self, loss: np.ndarray, tokens: np.ndarray, num_bytes: np.ndarray) -> None:
        """Add windows, one number each; those without a token are none."""
        loss, num_bytes, tokens = loss[tokens > 0], num_bytes[tokens > 0], tokens[tokens > 0]
        self.windows += len(tokens)
        self.loss += float(loss.sum())
        self.tokens += int(tokens.sum())
        self.bytes += int(num_bytes.sum())
        self.loss_loss += float(loss @ loss)
        self.loss_tokens += float(loss @ tokens)
        self.loss_bytes += float(loss @ num_bytes)
        self.tokens_tokens += float(tokens @ tokens)
        self.bytes_bytes += float(num_bytes @ num_bytes)

    def loss_stderr(self) -> float | None:
        """Standard error of nats a token; None for a single window."""
        return self._stderr(self.tokens, self.loss_tokens, self.tokens_tokens)

    def bits_per_byte_stderr(self) -> float | None:
        """Standard error of bits per byte; None for a single window or a text without bytes."""
        error = self._stderr(self.bytes, self.loss_bytes, self.bytes_bytes)
        return None if error is None else error / math.log(2)

    def _stderr(self, size: int, crossed: float, squared: float) -> float | None:
        """Of loss / size, by the linearised ratio estimator (Cochran 1977, Sampling Techniques, section 6.3).

        Windows count as drawn independently. Those of one text are alike, so the true error is rather larger.
        """
        if self.windows < 2 or size <= 0:
            return None
        ratio = self.loss / size
        residual = max(0.0, self.loss_loss - 2 * ratio * crossed + ratio * ratio * squared)
        return math.sqrt(residual * self.windows / (self.windows - 1)) / size

    def as_dict(self) -> dict[str, float | int]:
        """For a file; see `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> "RatioSums":
        """What `as_dict` gave.

        Raises:
            TypeError, ValueError: it is something else.
        """
        sums = cls(**kept)
        for name, value in sums.as_dict().items():
            setattr(sums, name, type(getattr(cls, name))(value))
        return sums
