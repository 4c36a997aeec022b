"""How far a run is to go on, as a person says it."""

import pytest

from mlxllm.errors import ConfigError
from tui.planning.extend import HowFar, how_far


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("3000", {"max_steps": 3000}),
        (" step 3,000 ", {"max_steps": 3000}),
        ("10 min", {"minutes": 10.0}),
        ("10m", {"minutes": 10.0}),
        ("1.5 hours", {"minutes": 90.0}),
    ],
)
def test_steps_and_times(text: str, meant: HowFar) -> None:
    assert how_far(text, 100) == meant


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is neither a step, such as 200, nor a time"),
        ("soon", "'soon' is neither"),
        ("-5", "'-5' is neither"),
        ("0 min", "'0 min' is neither"),
        ("100", "step 100 is done already; give one above 100"),
    ],
)
def test_what_means_nothing_more(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        how_far(text, 100)
