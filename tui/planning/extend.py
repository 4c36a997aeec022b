"""How much further a run is to train, as a person says it: "10 min" is a time, "500 steps" so many more."""

import re
from typing import TypedDict

from mlxllm.errors import ConfigError

_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(m|min|minutes?|h|hours?)", re.IGNORECASE)
_MORE = re.compile(r"(\d[\d,]*)\s*steps?", re.IGNORECASE)
_STEP = re.compile(r"(?:to\s*)?step\s*(\d[\d,]*)", re.IGNORECASE)
QUESTION = "How much further should {} train? A time such as 10 min, or so many steps such as 500 steps"


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
    if (more := _MORE.fullmatch(said)) is not None and (steps := int(more[1].replace(",", ""))) > 0:
        return {"max_steps": done + steps}
    if (step := _STEP.fullmatch(said)) is None:
        if said.replace(",", "").isdecimal():
            raise ConfigError(f"{said} of what? Write {said} min, or {said} steps")
        raise ConfigError(f"{said!r} is neither a time, such as 10 min, nor steps, such as 500 steps")
    if (wanted := int(step[1].replace(",", ""))) <= done:
        raise ConfigError(f"step {wanted:,} is done already; give one above {done:,}, or a time such as 10 min")
    return {"max_steps": wanted}
