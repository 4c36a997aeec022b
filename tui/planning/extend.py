"""How much further a run is to train, as a person says it: "3000" is a step, "10 min" a time."""

import re
from typing import TypedDict

from mlxllm.errors import ConfigError

_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(m|min|minutes?|h|hours?)", re.IGNORECASE)
_STEP = re.compile(r"(?:step\s*)?(\d[\d,]*)", re.IGNORECASE)


class HowFar(TypedDict, total=False):
    """The options of `mlxllm resume`: one of them."""

    minutes: float
    max_steps: int


def how_far(text: str, done: int) -> HowFar:
    """What `text` means for a run that has done `done` steps.

    Raises:
        ConfigError: it means nothing, or no step more; the message says what would.
    """
    said = text.strip()
    if (time := _TIME.fullmatch(said)) is not None:
        minutes = float(time[1]) * (60 if time[2].lower().startswith("h") else 1)
        if minutes > 0:
            return {"minutes": minutes}
    if (step := _STEP.fullmatch(said)) is None:
        raise ConfigError(f"{said!r} is neither a step, such as {2 * done or 1000}, nor a time, such as 10 min")
    if (wanted := int(step[1].replace(",", ""))) <= done:
        raise ConfigError(f"step {wanted:,} is done already; give one above {done:,}, or a time such as 10 min")
    return {"max_steps": wanted}
