"""The world behind a story: who has what, who is where, how many are left; and the facts that it leaves behind.

A plot changes the world through the verbs below, beside the sentence that tells it. Each verb checks that it is
possible, so a plot that contradicts itself fails instead of being told.
"""

from dataclasses import dataclass
from typing import Literal

from mlxllm.data.sources.stories.people import Species
from mlxllm.data.sources.stories.places import PlaceInfo
from mlxllm.data.sources.stories.things import NUMBERS, ThingInfo

Ending = Literal["kind", "unkind"]

_PRONOUNS = {
    "he": {"he": "he", "him": "him", "his": "his", "self": "himself"},
    "she": {"he": "she", "him": "her", "his": "her", "self": "herself"},
    "it": {"he": "it", "him": "it", "his": "its", "self": "itself"},
}


@dataclass(frozen=True, slots=True)
class Character:
    """Someone in the story: the name or noun phrase that the text uses, what they are, how they are described."""

    name: str
    kind: str
    description: str


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; names, objects and places are spelled as in the text."""

    who: str
    verb: str
    object: str | None = None
    recipient: str | None = None
    place: str | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Count:
    """`who` had `before` of `things` when they were first counted and `after` of them at the end."""

    who: str
    things: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What is true in a story, beside its text."""

    plot: str
    hero: Character
    others: tuple[Character, ...]
    topic: tuple[str, ...]
    """Words that the story is about, each found in the text: the hero's kind, then the main thing."""
    events: tuple[Event, ...]
    holders: tuple[tuple[str, str], ...]
    """(thing, who has it at the end), for things that someone has."""
    places: tuple[tuple[str, str], ...]
    """(who, where they are at the end as far as the text says)."""
    counts: tuple[Count, ...]
    feelings: tuple[tuple[str, str], ...]
    """(who, the feeling's word in the text), in order."""
    weather: str | None
    solved: bool
    """Whether the problem of the story was solved."""
    lesson: str | None
    ending: Ending
    ending_at: int
    """Where the ending begins in the text: the same story with the other ending is equal up to here."""


class Entity:
    """Something a sentence can refer to; `forms` holds the spellings that never change."""

    __slots__ = ("forms", "known", "label", "pronoun")

    def __init__(self, label: str, pronoun: str, forms: dict[str, str]) -> None:
        self.label = label
        self.pronoun = pronoun
        self.known = False
        self.forms = {**_PRONOUNS[pronoun], **forms}


class Person(Entity):
    """A character. `species` is None for people; `name` is empty for grown-ups that are called by a noun."""

    __slots__ = ("adjective", "kind", "name", "species")

    def __init__(self, name: str, kind: str, adjective: str, pronoun: str, species: Species | None) -> None:
        described = f"{adjective} {kind}" if adjective else kind
        self.name, self.kind, self.adjective, self.species = name, kind, adjective, species
        hands = species.hands if species else ("hand", "hands")
        label = name or f"the {kind}"
        forms = {
            "n": label, "ns": label + "'s", "a": article(described), "kind": kind, "the": f"the {kind}",
            "adj": adjective, "hand": hands[0], "hands": hands[1], "ran": species.ran if species else "ran",
        }  # fmt: skip
        super().__init__(label, pronoun, forms)

    @property
    def animal(self) -> bool:
        return self.species is not None

    def facts(self) -> Character:
        described = f"{self.adjective} {self.kind}" if self.adjective else self.kind
        return Character(self.label, self.kind, article(described))


class Kin(Entity):
    """Someone of a character's family, called "her mom" or "Mia's mom" as the sentence allows."""

    __slots__ = ("kind", "owner")

    def __init__(self, owner: Person, noun: str, call: str, pronoun: str) -> None:
        self.owner, self.kind = owner, noun
        super().__init__(f"{owner.forms['his']} {noun}", pronoun, {"call": call, "noun": noun})

    def facts(self) -> Character:
        return Character(self.label, self.kind, article(self.kind))


class Thing(Entity):
    """A single object, "a red kite"; `info` says what can be done with it."""

    __slots__ = ("info",)

    def __init__(self, info: ThingInfo, adjective: str) -> None:
        self.info = info
        full = f"{adjective} {info.noun}"
        forms = {
            "n": f"the {info.noun}", "a": article(full), "noun": info.noun, "full": full, "the": f"the {full}",
            "use": info.use, "use_a": info.use.replace(" it", " " + article(info.noun)),
            "use_the": info.use.replace(" it", f" the {info.noun}"),
            "broke": info.broke, "mend": info.mend, "adj": adjective, "an": article(info.noun),
        }  # fmt: skip
        super().__init__(info.noun, "it", forms)


_INTO = {"in": "into the {}", "on": "onto the {}", "at": "down to the {}"}


class Place(Entity):
    """A place; spots and sights are handed out without repetition by the teller."""

    __slots__ = ("info", "sights", "spots")

    def __init__(self, info: PlaceInfo, spots: list[str], sights: list[str]) -> None:
        self.info, self.spots, self.sights = info, spots, sights
        noun = info.noun
        forms = {
            "n": f"the {noun}", "the": f"the {noun}", "at": f"{info.at} the {noun}", "to": f"to the {noun}",
            "noun": noun, "into": _INTO.get(info.at, f"{info.at} the {{}}").format(noun), "near": f"near the {noun}",
        }  # fmt: skip
        super().__init__(noun, "it", forms)


def article(words: str) -> str:
    """The words with the indefinite article that their first letter calls for."""
    return ("an " if words[0] in "aeiou" else "a ") + words


def number(n: int) -> str:
    """n in words, from "no" to "twelve"."""
    return NUMBERS[n]


class World:
    """The state of one story."""

    def __init__(self) -> None:
        self.holder: dict[str, str] = {}
        self.lying: dict[str, str] = {}
        self.where: dict[str, str] = {}
        self.first: dict[tuple[str, str], int] = {}
        self.count: dict[tuple[str, str], int] = {}
        self.feelings: list[tuple[str, str]] = []
        self.events: list[Event] = []

    def own(self, who: Entity, thing: Thing) -> None:
        """`who` has the thing from now on, by whatever means."""
        self.holder[thing.label] = who.label
        self.lying.pop(thing.label, None)

    def note(
        self, who: Entity, verb: str, object: str | None = None, recipient: Entity | None = None,
        place: str | None = None, count: int | None = None,
    ) -> None:  # fmt: skip
        """An event that moves nothing."""
        self.events.append(Event(who.label, verb, object, recipient.label if recipient else None, place, count))

    def be(self, who: Entity, place: str) -> None:
        """`who` is at the place, without a word on how they came there."""
        self.where[who.label] = place

    def go(self, who: Entity, place: str) -> None:
        """The text says that `who` goes to the place."""
        self.be(who, place)
        self.note(who, "go", place=place)

    def lose(self, who: Entity, thing: Thing, spot: str) -> None:
        """The thing leaves its holder and lies at `spot`."""
        self._has(who, thing)
        del self.holder[thing.label]
        self.lying[thing.label] = spot
        self.note(who, "lose", thing.label)

    def find(self, who: Entity, thing: Thing, spot: str | None = None) -> None:
        """`who` picks the thing up; nobody may have it."""
        if thing.label in self.holder:
            raise ValueError(f"{who.label} cannot find the {thing.label}: {self.holder[thing.label]} has it")
        place = self.lying.pop(thing.label, spot)
        self.holder[thing.label] = who.label
        self.note(who, "find", thing.label, place=place)

    def give(self, who: Entity, thing: Thing, to: Entity, verb: str = "give") -> None:
        """The thing changes hands; `verb` may be lend, return, sell, throw and the like."""
        self._has(who, thing)
        self.holder[thing.label] = to.label
        self.note(who, verb, thing.label, to)

    def take(self, who: Entity, thing: Thing, owner: Entity) -> None:
        """`who` takes the thing from its holder."""
        self._has(owner, thing)
        self.holder[thing.label] = who.label
        self.note(who, "take", thing.label, owner)

    def stock(self, who: Entity, things: str, n: int) -> None:
        """`who` has n of the things."""
        self.first.setdefault((who.label, things), n)
        self.count[who.label, things] = n

    def use(self, who: Entity, verb: str, things: str, n: int, to: Entity | None = None) -> int:
        """n of the things are eaten, given or lost; returns how many are left."""
        left = self.count[who.label, things] - n
        if left < 0:
            raise ValueError(f"{who.label} has {left + n} {things}, not {n}")
        self.count[who.label, things] = left
        if to is not None:
            self.count[to.label, things] = self.count.get((to.label, things), 0) + n
            self.first.setdefault((to.label, things), 0)
        self.note(who, verb, things, to, count=n)
        return left

    def _has(self, who: Entity, thing: Thing) -> None:
        holder = self.holder.get(thing.label)
        if holder != who.label:
            raise ValueError(f"{who.label} does not have the {thing.label}: {holder or 'nobody'} has it")
