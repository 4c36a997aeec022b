"""How far a run is to go on, as a person says it."""

import pytest

from mlxllm.errors import ConfigError
from tui.planning.extend import HowFar, how_far


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("500 steps", {"max_steps": 600}),
        ("1,000 Steps", {"max_steps": 1100}),
        ("1 step", {"max_steps": 101}),
        (" step 3,000 ", {"max_steps": 3000}),
        ("to step 101", {"max_steps": 101}),
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
        ("", "'' is neither a time, such as 10 min, nor steps, such as 500 steps"),
        ("soon", "'soon' is neither"),
        ("-5", "'-5' is neither"),
        ("0 min", "'0 min' is neither"),
        ("0 steps", "'0 steps' is neither"),
        ("1.5 steps", "'1.5 steps' is neither"),
        ("inf min", "'inf min' is neither"),
        ("1 2 3", "'1 2 3' is neither"),
        ("3000", "3000 of what. Write 3000 min, or 3000 steps"),
        ("step 100", "step 100 is done already; give one above 100"),
    ],
)
def test_what_means_nothing_more(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        how_far(text, 100)
