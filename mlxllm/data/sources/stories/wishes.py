"""What one may ask a story to be about: one to three words that stand in it, and the request that names them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import xxhash

from mlxllm.data.sources.stories.people import SPECIES
from mlxllm.data.sources.stories.places import BY_NOUN
from mlxllm.data.sources.stories.questions import says
from mlxllm.data.sources.stories.rng import Rng
from mlxllm.data.sources.stories.things import FOODS, THINGS
from mlxllm.data.sources.stories.world import article

if TYPE_CHECKING:  # a story is only read here
    from mlxllm.data.sources.stories import Story

_WORDINGS = (
    "Tell me a story about {what}.", "Tell me a story about {what}.", "Tell me a story about {what}.",
    "Please tell me a story about {what}.", "Can you tell me a story about {what}?",
    "I want to hear a story about {what}.", "Write a story about {what}.",
)  # fmt: skip
_OPEN = ("Tell me a story.", "Please tell me a story.", "Can you tell me a story?", "Write a story.")
_ANIMALS = frozenset(species.noun for species in SPECIES)
_THINGS = frozenset(thing.noun for thing in THINGS)
_FOODS = frozenset(many for _, many, _ in FOODS)
_HELD_OUT = 8


@dataclass(frozen=True, slots=True)
class Wish:
    """A request for a story."""

    text: str
    """What the user says."""
    words: tuple[str, ...]
    """What has to stand in the story; none for "Tell me a story."."""


def wish(story: "Story", rng: Rng, *, unseen: bool = False, anywhere: bool = True) -> Wish | None:
    """A request that the story fulfils, for one to three words (seldom for none); None if it has no fitting words.

    Of all sets of two or more words an eighth, chosen by a hash, is only ever asked for with `unseen`, and with
    `unseen` nothing else is. Without `anywhere` the words are taken from the story's beginning alone, so that the
    story fulfils the request with either ending.
    """
    text = story.text if anywhere else story.text[: story.facts.ending_at]
    heroes, others, places = _parts(story, text)
    for _ in range(8):
        many = 2 if unseen else 1
        number = max(many, 1 + rng.below(3))
        parts = [rng.choice(heroes)] if heroes and rng.chance(0.8) else []
        parts += rng.sample(others, min(len(others), number - len(parts)))
        if places and len(parts) < number:
            parts.append(rng.choice(places))
        words = tuple(dict.fromkeys(word for _, said in parts for word in said))
        if len(words) >= many and len(words) <= 3 and held_out(words) == unseen:
            return Wish(rng.choice(_WORDINGS).format(what=_join([phrase for phrase, _ in parts])), words)
    return None if unseen else Wish(rng.choice(_OPEN), ())


def held_out(words: Sequence[str]) -> bool:
    """Whether a request for exactly these words, in whatever order, is kept for evaluation."""
    key = " ".join(sorted(words)).lower().encode()
    return len(words) > 1 and xxhash.xxh64_intdigest(key) % _HELD_OUT == 0


Part = tuple[str, tuple[str, ...]]
"""How a request names something, and the words that this asks for."""


def _parts(story: "Story", text: str) -> tuple[list[Part], list[Part], list[Part]]:
    """Ways to ask for the hero, for others and things, and for a place, as far as their words stand in `text`."""
    facts = story.facts
    hero = facts.hero
    heroes: list[Part] = [(hero.name, (hero.name,))]
    if hero.kind in _ANIMALS:
        heroes += [(article(hero.kind), (hero.kind,))] * 2
        heroes.append((f"{article(hero.kind)} named {hero.name}", (hero.kind, hero.name)))
    else:
        heroes.append((f"a {hero.kind} named {hero.name}", (hero.kind, hero.name)))
    for who, feeling in facts.feelings[:1]:
        if who == hero.name and " " not in feeling:
            heroes.append((f"{article(feeling)} {hero.kind}", (feeling, hero.kind)))
    others: list[Part] = []
    for other in facts.others:
        if other.kind in _ANIMALS:
            others.append((article(other.kind), (other.kind,)))
        elif other.name[0].isupper():
            others.append((other.name, (other.name,)))
    things = dict.fromkeys((*(thing for thing, _ in facts.holders), *facts.topic[1:]))
    others += [(article(thing), (thing,)) for thing in things if thing in _THINGS]
    others += [(thing, (thing,)) for thing in things if thing in _FOODS]
    places: list[Part] = [
        (f"{BY_NOUN[place].at} the {place}", (place,))
        for place in dict.fromkeys(place for _, place in facts.places)
        if place in BY_NOUN and " " not in place
    ]

    def told(parts: list[Part]) -> list[Part]:
        return [part for part in parts if all(says(text, word) for word in part[1])]

    return told(heroes), told(others), told(places)


def _join(phrases: list[str]) -> str:
    """One, "one and another", "one, another and a third"; a place goes behind without a comma."""
    at_end = phrases.pop() if len(phrases) > 1 and phrases[-1].split()[0] in ("in", "on", "at") else ""
    said = phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " and " + phrases[-1]
    return f"{said} {at_end}".rstrip()
