"""A small world that tells short children's stories, each with the facts that are true in it.

The stories are unbounded in number and depend on (seed, index) alone: the same bits on every machine.

    rng.py       the random numbers                     template.py  the little language of the sentences
    people.py    who                                    words.py     word lists that templates share
    places.py    where                                  telling.py   picks a line, decides on pronouns
    things.py    what                                   stage.py     casts a story and keeps its world
    world.py     who has what, who is where; the facts  openings.py, moves.py, endings.py  shared by all plots
    plots_*.py   what happens                           questions.py  what one can ask about a story, and the answer
    wishes.py    what one can ask a story to be about   talk.py      small talk
    lessons.py   conversations, pairs, examinations     scoring.py   judges what a model answers
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mlxllm.data.sources.stories import (
    plots_brave,
    plots_food,
    plots_friends,
    plots_growing,
    plots_journey,
    plots_lost,
    plots_making,
    plots_promises,
    plots_rescue,
    plots_weather,
)
from mlxllm.data.sources.stories.endings import ending_of
from mlxllm.data.sources.stories.rng import Rng
from mlxllm.data.sources.stories.stage import Stage
from mlxllm.data.sources.stories.world import Character, Count, Ending, Event, Facts

__all__ = [
    "PLOTS",
    "SIMPLEST_PLOTS",
    "Character",
    "Count",
    "Ending",
    "Event",
    "Facts",
    "Story",
    "ending_of",
    "stories",
    "story",
    "tell",
]

PLOTS: dict[str, Callable[[Stage], None]] = {
    plot.__name__: plot
    for plot in (
        plots_brave.contest,
        plots_brave.fear,
        plots_brave.race,
        plots_food.cooking,
        plots_food.greed,
        plots_food.secret_snack,
        plots_food.sharing,
        plots_friends.birthday,
        plots_friends.newcomer,
        plots_friends.quarrel,
        plots_friends.trade,
        plots_growing.planting,
        plots_growing.practice,
        plots_growing.taking_turns,
        plots_journey.errand,
        plots_journey.getting_lost,
        plots_journey.helping_old,
        plots_promises.borrowed,
        plots_lost.finders,
        plots_promises.hiding_place,
        plots_lost.lost_and_found,
        plots_making.broken,
        plots_making.building,
        plots_making.owning_up,
        plots_rescue.rescue,
        plots_rescue.sick_friend,
        plots_rescue.strange_noise,
        plots_weather.cannot_sleep,
        plots_weather.snow_day,
        plots_weather.spoiled_plan,
        plots_weather.wind_takes,
    )
}
"""Every plot by name; their order is part of what a seed means."""

_NAMES = tuple(PLOTS)

SIMPLEST_PLOTS = (
    *("lost_and_found", "sharing", "race", "snow_day", "taking_turns", "birthday", "finders", "wind_takes"),
    *("practice", "strange_noise", "spoiled_plan", "newcomer", "cannot_sleep", "building", "rescue", "getting_lost"),
)
"""Plots of the small worlds. The first eight are about things that are lost, found, given and counted, so that one can
ask who, what, where and how many; the others are those whose stories a compressor makes smallest."""
# Words before the ending; what is longer leaves no room for the longest ending within 200.
_SHORTEST, _LONGEST = 36, 130


@dataclass(frozen=True, slots=True)
class Story:
    """A story of 50 to 200 words and what is true in it. ASCII; paragraphs are separated by one newline."""

    text: str
    facts: Facts


def story(seed: int, index: int) -> Story:
    """Story number `index` of the seed's endless book; about half of all endings are kind."""
    return tell(seed, index)


def stories(seed: int, start: int = 0) -> Iterator[Story]:
    """The stories of a seed from number `start` on, without end."""
    index = start
    while True:
        yield tell(seed, index)
        index += 1


def tell(
    seed: int, index: int, *, plot: str | None = None, ending: Ending | None = None, cast: int | None = None
) -> Story:
    """Story number `index`, with the plot and the ending that are asked for.

    With the same seed, index and plot, the two endings share their text up to `facts.ending_at`; asking for the
    ending that `story` has drawn gives the same story. With `cast` the world is small: only so many girls, boys, she-
    and he-animals have names (4 or more), there are few animals, things and places, and names are said rather than
    pronouns. Raises KeyError for a plot that is not in `PLOTS`.
    """
    draw = Rng(seed, index)
    name = draw.choice(_NAMES)
    drawn: Ending = "kind" if draw.chance(0.5) else "unkind"
    name = plot or name
    attempt = 0
    while True:
        stage = Stage(Rng(seed, index, 1, attempt), Rng(seed, index, 2, attempt), ending or drawn, cast)
        PLOTS[name](stage)
        text = stage.text()
        facts = stage.facts(name)
        # Judged by the beginning alone, which both endings have in common.
        if _SHORTEST <= text.count(" ", 0, facts.ending_at) <= _LONGEST:
            return Story(text, facts)
        attempt += 1
