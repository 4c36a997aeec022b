"""How sure a mean or a share is: standard errors, and 95 % intervals."""

import math

import numpy as np
import numpy.typing as npt

Z = 1.959964
"""Standard errors to either side of a normal's middle between which 95 % of it lie."""


def mean_and_error(values: npt.ArrayLike) -> tuple[float, float | None]:
    """The mean of independent values, and its standard error: the sample's deviation / sqrt(n); None below two values.

    Args:
        values: (N,), at least one.
    """
    numbers = np.asarray(values, dtype=np.float64)
    error = float(numbers.std(ddof=1)) / math.sqrt(len(numbers)) if len(numbers) > 1 else None
    return float(numbers.mean()), error


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of `count` independent items (Wilson 1927); right near 0 and 1, where a normal's is not.

    Args:
        share: from 0 to 1; a tie may have counted half.
        count: at least one.
    """
    denominator = 1 + Z * Z / count
    middle = (share + Z * Z / (2 * count)) / denominator
    half = Z * math.sqrt(max(share * (1 - share), 0.0) / count + Z * Z / (4 * count * count)) / denominator
    return max(0.0, middle - half), min(1.0, middle + half)
