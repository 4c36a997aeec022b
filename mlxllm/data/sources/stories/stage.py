"""The stage: casts a story, keeps its world, and knows where the ending begins."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from mlxllm.data.sources.stories import people, things
from mlxllm.data.sources.stories.places import PLACES, PlaceInfo
from mlxllm.data.sources.stories.rng import Rng
from mlxllm.data.sources.stories.telling import Teller
from mlxllm.data.sources.stories.world import (
    Count,
    Ending,
    Entity,
    Facts,
    Kin,
    Person,
    Place,
    Thing,
    World,
)

T = TypeVar("T")

# How much of each list a small world knows, and how much of what suits a plot it has at least.
_FEW_SPECIES, _FEW_ELDERS, _FEW_THINGS, _FEW_PLACES, _FEW_FOODS = 12, 6, 20, 8, 8
_FEWEST = 3


class Stage(Teller):
    """One story in the making. Binds `h` (hero), `m` (a parent of the hero) and `home` from the start."""

    def __init__(self, rng: Rng, ending_rng: Rng, ending: Ending, cast: int | None = None) -> None:
        """Set the stage; with `cast` in a small world: so many names of each list, few animals, things and places."""
        super().__init__(rng, plain=cast is not None)
        self._cast = cast
        self.world = World()
        self.ending = ending
        self.weather: str | None = None
        self.weather_told = False
        self.solved = True
        self.lesson: str | None = None
        self.rich = rng.choice((0.2, 0.5, 0.8, 1.0) if cast is None else (0.1, 0.3, 0.5))
        """How much the story likes to add what could be left out: a factor on the chances of `maybe`."""
        self.people: list[Person | Kin] = []
        self.topic: str | None = None
        self._ending_rng = ending_rng
        self._ending_at = 0
        self._places: set[str] = set()
        self._things: set[str] = set()
        self.hero = self._animal() if rng.chance(0.5) else self._child()
        self.bound["h"] = self.hero
        species = self.hero.species
        self.bound["home"] = rng.choice(species.homes if species else people.CHILD_HOMES)
        self.people.append(self.hero)
        self.mom = self.kin("m", people.PARENTS)

    # Casting.

    def _choose(self, items: Sequence[T], few: int, suits: Callable[[T], bool]) -> T:
        """One of those that suit; in a small world from the first `few` of the list, or a little beyond."""
        suited = [item for item in items if suits(item)]
        if self._cast is not None:
            known = sum(1 for item in items[:few] if suits(item))
            suited = suited[: max(known, _FEWEST)]
        return self.rng.choice(suited)

    def _child(self) -> Person:
        girl = self.rng.chance(0.5)
        name = self._name(people.GIRLS if girl else people.BOYS)
        kind, pronoun = ("girl", "she") if girl else ("boy", "he")
        return Person(name, kind, self.rng.choice(people.CHILD_ADJECTIVES), pronoun, None)

    def _animal(self, suits: Callable[[people.Species], bool] | None = None) -> Person:
        taken = {person.kind for person in self.people}
        species = self._choose(
            people.SPECIES, _FEW_SPECIES, lambda s: s.noun not in taken and (suits is None or suits(s))
        )
        she = self.rng.chance(0.5)
        name = self._name(people.SHE_ANIMALS if she else people.HE_ANIMALS)
        adjectives = [a for a in people.ANIMAL_ADJECTIVES if not (species.big and a == "tiny")]
        return Person(name, species.noun, self.rng.choice(adjectives), "she" if she else "he", species)

    def _name(self, names: list[str]) -> str:
        # Names that begin alike are easily taken for each other.
        taken = {person.label[0] for person in self.people}
        few = names[: self._cast]
        if any(name[0] not in taken for name in few):
            names = few
        name = self.rng.choice(names)
        while name[0] in taken:
            name = self.rng.choice(names)
        return name

    def friend(self, key: str = "f", suits: Callable[[people.Species], bool] | None = None) -> Person:
        """Another child or named animal of the hero's own world, mostly."""
        animal = self.rng.chance(0.92 if self.hero.animal else 0.2) or suits is not None
        person = self._animal(suits) if animal else self._child()
        self.people.append(person)
        self.bound[key] = person
        return person

    def elder(self, key: str = "e") -> Person:
        """A grown-up without a name, "an old goat", who fits the hero's world."""
        elders = people.ANIMAL_ELDERS if self.hero.animal else people.HUMAN_ELDERS
        taken = {person.forms.get("kind", "").rsplit(" ", 1)[-1] for person in self.people}
        noun, pronoun = self._choose(elders, _FEW_ELDERS, lambda elder: elder[0].rsplit(" ", 1)[-1] not in taken)
        person = Person("", noun, "", pronoun, None)
        self.people.append(person)
        self.bound[key] = person
        return person

    def kin(self, key: str, pool: tuple[tuple[str, str, str], ...] = people.KIN) -> Kin:
        """Someone of the hero's family; listed among the facts once the text has mentioned them."""
        noun, call, pronoun = self.rng.choice(pool)
        kin = Kin(self.hero, noun, call, pronoun)
        self.people.append(kin)
        self.bound[key] = kin
        return kin

    def relative(self, key: str) -> Kin:
        """Anyone of the family but a second father or mother beside the one who is bound to `m`."""
        parents = {word for word, _, pronoun in people.PARENTS if pronoun == self.mom.pronoun}
        return self.kin(key, tuple(kin for kin in people.KIN if kin[0] not in parents))

    def thing(self, *flags: str, without: str = "fixed", key: str = "o", broken: bool = False) -> Thing:
        """A thing that has all of the flags and none of those in `without`; `broken`: one that can break."""
        wanted, unwanted = frozenset(flags), frozenset(without.split())

        def suits(info: things.ThingInfo) -> bool:
            fits = wanted <= info.flags and not unwanted & info.flags and info.noun not in self._things
            return fits and (bool(info.mend) or not broken)

        info = self._choose(things.THINGS, _FEW_THINGS, suits)
        self._things.add(info.noun)
        thing = Thing(info, self.rng.choice(info.adjectives))
        self.bound[key] = thing
        self.topic = self.topic or info.noun
        return thing

    def place(self, *flags: str, without: str = "", key: str = "p") -> Place:
        """A place that has all of the flags and none of those in `without`; animals keep away from people."""
        wanted, unwanted = frozenset(flags), set(without.split())
        if self.hero.animal:
            unwanted.add("people")
        info = self._choose(
            PLACES,
            _FEW_PLACES,
            lambda p: wanted <= p.flags and not unwanted & p.flags and p.noun not in self._places,
        )
        return self._place(info, key)

    def _place(self, info: PlaceInfo, key: str) -> Place:
        self._places.add(info.noun)
        rng = self.rng
        place = Place(info, rng.sample(info.spots, len(info.spots)), rng.sample(info.sights, len(info.sights)))
        self.bound[key] = place
        return place

    # Feelings, numbers, the ending.

    def maybe(self, p: float, variants: str, **bound: Entity | str) -> bool:
        """Says it with probability p, more or less by how rich the story is; tells whether it was said."""
        return super().maybe(p if p >= 1 else p * self.rich, variants, **bound)

    def feel(self, who: Entity, words: str, p: float, variants: str) -> None:
        """Says with probability p that `who` is one of the comma-separated words (`feeling` in the variants)."""
        word = self.rng.choice(words.split(","))
        start = len(self._pieces)
        self.maybe(p, variants, feeling=word)
        if word in self._pieces[start:]:
            self.world.feelings.append((who.label, word))

    def food(self, *sources: str) -> tuple[str, str]:
        """A food that is counted, bound to `one` and `many`."""
        one, many, _ = self._choose(things.FOODS, _FEW_FOODS, lambda food: not sources or food[2] in sources)
        self.bound["one"], self.bound["many"] = one, many
        self.topic = self.topic or many
        return one, many

    def ends_kindly(self) -> bool:
        """Call once, where the two endings part: what was told before is the same for both."""
        self.paragraph()
        self._ending_at = self.length()
        self.rng = self._ending_rng
        return self.ending == "kind"

    def facts(self, plot: str) -> Facts:
        world = self.world
        hero = self.hero.facts()
        return Facts(
            plot=plot,
            hero=hero,
            others=tuple(person.facts() for person in self.people[1:] if person.known),
            topic=(hero.kind, self.topic) if self.topic else (hero.kind,),
            events=tuple(world.events),
            holders=tuple(world.holder.items()),
            places=tuple(world.where.items()),
            counts=tuple(Count(*key, world.first[key], n) for key, n in world.count.items()),
            feelings=tuple(world.feelings),
            weather=self.weather if self.weather_told else None,
            solved=self.solved,
            lesson=self.lesson,
            ending=self.ending,
            ending_at=self._ending_at,
        )
