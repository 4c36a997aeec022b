"""The teller: picks one way to say a thing, decides between name, noun phrase and pronoun, joins the story."""

from mlxllm.data.sources.stories.rng import Rng
from mlxllm.data.sources.stories.template import CAPITAL, Choice, Sequence, Slot, compile_variants
from mlxllm.data.sources.stories.world import Entity, Kin, Person, Place, Thing

_LEADS = (
    "one day, ", "one day, ", "one morning, ", "one afternoon, ", "one day, after lunch, ", "on a quiet morning, ",
    "one bright day, ", "early one morning, ", "one Saturday, ", "one day in spring, ",
    "one Sunday, ", "not long ago, ", "one day ", "on Monday, ",
)  # fmt: skip
_THAT_DAY_LEADS = ("", "", "that day, ", "that morning, ", "that afternoon, ")
_LATER_LEADS = ("", "", "", "", "then ", "soon ", "after that, ", "a little later, ", "before long, ")

_cache: dict[str, tuple[Sequence, ...]] = {}


class Teller:
    """Turns templates into text. `rng` may be replaced between sentences; what is bound stays bound."""

    def __init__(self, rng: Rng, plain: bool = False) -> None:
        """`plain`: names are said more often than pronouns, and nobody is called by what they are ("the fox")."""
        self.rng = rng
        self.plain = plain
        self.bound: dict[str, Entity | str] = {}
        self.lead = "one day"
        """What a lead-in has to say next: "one day", "that day" where the day is known already, or "later"."""
        self._pieces: list[str] = []
        self._sentence = 0
        self._new_paragraph = True
        # For each pronoun, who was mentioned last in which sentence, newest last, each entity once.
        self._mentioned: dict[str, list[tuple[Entity, int]]] = {"he": [], "she": [], "it": []}

    def say(self, variants: str, **bound: Entity | str) -> None:
        """Says one of the lines of `variants`; keyword arguments stay bound for later sentences."""
        self.bound.update(bound)
        lines = _cache.get(variants)
        if lines is None:
            lines = _cache[variants] = compile_variants(variants)
        if self._new_paragraph:
            self._new_paragraph = False
        else:
            self._pieces.append(" ")
        self._emit(lines[self.rng.below(len(lines))])

    def maybe(self, p: float, variants: str, **bound: Entity | str) -> bool:
        """Says it with probability p; tells whether it was said."""
        said = self.rng.chance(p)
        if said:
            self.say(variants, **bound)
        else:
            self.bound.update(bound)
        return said

    def paragraph(self) -> None:
        """Begins a new paragraph; nobody is "he" or "she" across its border."""
        if not self._new_paragraph:
            self._pieces.append("\n")
            self._new_paragraph = True
            self._sentence += 3

    def length(self) -> int:
        """How many characters the story has so far."""
        return len(self.text())

    def text(self) -> str:
        """The story so far, with a capital at every sentence start."""
        head, *rest = "".join(self._pieces).split(CAPITAL)
        return head + "".join([part[:1].upper() + part[1:] for part in rest])

    def _emit(self, nodes: Sequence) -> None:
        pieces = self._pieces
        for node in nodes:
            if isinstance(node, str):
                pieces.append(node)
            elif isinstance(node, Choice):
                branch = node.branches[self.rng.below(len(node.branches))]
                if isinstance(branch, str):
                    pieces.append(branch)
                else:
                    self._emit(branch)
            elif isinstance(node, Slot):
                pieces.append(self._slot(node))
            else:
                self._sentence += 1
                pieces.append(CAPITAL)

    def _slot(self, slot: Slot) -> str:
        if slot.key == "lead":
            return self._lead()
        value = self.bound[slot.key]
        if value.__class__ is str:
            return value
        assert isinstance(value, Entity)
        form = slot.form
        text = value.forms.get(form)
        if text is not None:
            if form == "he" and not slot.quoted and self._eclipsed(value):
                text = self._phrase(value, epithet=False)
                self._mention(value)
            elif form in _MENTIONS or (form in _PRONOUNS and self._clear(value, "")):
                # Who is only spoken of has not taken the stage: "It was Ben," said Mia. She ...
                self._mention(value, self._sentence - slot.quoted)
            return text
        if form == "n":
            text = self._phrase(value)
            self._mention(value)
            return text
        if form in ("", "o", "p"):
            return self._refer(value, form)
        return self._special(value, form)

    def _lead(self) -> str:
        leads = _LEADS if self.lead == "one day" else _THAT_DAY_LEADS if self.lead == "that day" else _LATER_LEADS
        self.lead = "later"
        return self.rng.choice(leads)

    def _mention(self, entity: Entity, sentence: int = -1) -> None:
        when = self._sentence if sentence < 0 else sentence
        mentioned = self._mentioned[entity.pronoun]
        if mentioned and mentioned[-1][0] is entity:
            mentioned[-1] = (entity, max(when, mentioned[-1][1]))
        else:
            mentioned[:] = [pair for pair in mentioned[-3:] if pair[0] is not entity]
            mentioned.append((entity, when))
        entity.known = True

    def _clear(self, entity: Entity, form: str, reach: int = 1) -> int:
        """0 if a pronoun for the entity would be unclear, 1 if it would be clear, 2 if also in this very sentence.

        The entity must have been mentioned no more than `reach` sentences ago, and since then, or in the sentence
        before, nobody else whom the pronoun fits. "Her mom gave her a plum" is clear: family do not count as
        rivals of the one they belong to, except for the subject.
        """
        now = self._sentence
        clear = 0
        for other, when in self._mentioned[entity.pronoun]:
            if other is entity:
                if when >= now - reach:
                    clear = 2 if when == now else 1
            elif when >= now - reach and not (form and other.__class__ is Kin and other.owner is entity):
                return 0
        return clear

    def _eclipsed(self, entity: Entity) -> bool:
        """Whether "he" would be taken for somebody else: one whom it fits as well was mentioned later, just now."""
        mentioned = self._mentioned[entity.pronoun]
        if not mentioned or mentioned[-1][0] is entity or not entity.known or entity.pronoun == "it":
            return False
        other, when = mentioned[-1]
        return other.__class__ is not Kin and when >= self._sentence - 1

    def _rivals(self, entity: Entity) -> bool:
        """Whether somebody else of the same pronoun is about: was mentioned in the last few sentences."""
        return any(
            other is not entity and isinstance(other, Person) and when >= self._sentence - 6
            for other, when in self._mentioned[entity.pronoun]
        )

    def _refer(self, entity: Entity, form: str) -> str:
        """Name, noun phrase or pronoun: a pronoun only where nobody else could be meant, seldom where one might."""
        clear = self._clear(entity, form)
        often = 0.25 if self._rivals(entity) else 0.4 if self.plain else 0.7 if form == "" else 0.85
        if clear and (clear == 2 or form == "p" or self.rng.chance(often)):
            self._mention(entity)
            return entity.forms["him" if form == "o" else "his" if form == "p" else "he"]
        phrase = self._phrase(entity, form != "p") if entity.known or form != "p" else entity.label
        self._mention(entity)
        return phrase if form != "p" else phrase + "'s"

    def _phrase(self, entity: Entity, epithet: bool = True) -> str:
        if isinstance(entity, Person):
            if not entity.name:
                return entity.forms["the"] if entity.known else entity.forms["a"]
            if not entity.known:
                return self._special(entity, "intro")
            unique = not any(
                isinstance(other, Person) and other is not entity and other.kind == entity.kind
                for other in self.bound.values()
            )
            if epithet and unique and not self.plain and self.rng.chance(0.1):
                return entity.forms["the"]
            return entity.name
        if isinstance(entity, Kin):
            mentioned = self._mentioned[entity.owner.pronoun]
            just_named = mentioned and mentioned[-1] == (entity.owner, self._sentence)
            if just_named or self._clear(entity.owner, "p", 3):
                return entity.label
            return f"{self._refer(entity.owner, 'p')} {entity.kind}"
        if isinstance(entity, Thing):
            if not entity.known:
                return entity.forms["a"]
            return entity.forms["the" if self.rng.chance(0.25) else "n"]
        return entity.forms["n"]

    def _special(self, entity: Entity, form: str) -> str:
        """Forms that are drawn: `intro` and `stranger` for people, `spot` and `sight` for places."""
        if isinstance(entity, Place):
            if form == "spot":
                return entity.spots.pop()
            if form == "sight":
                return entity.sights.pop().rstrip(".")
        if isinstance(entity, Person) and form in ("intro", "stranger"):
            if entity.known:
                phrase = self._phrase(entity)
                self._mention(entity)
                return phrase
            hero = self.bound["h"]
            assert isinstance(hero, Person)
            if not entity.name:
                phrase = entity.forms["a"]
            elif form == "intro" and self._clear(hero, "p", 2) and self.rng.chance(0.55):
                friend = self.rng.choice(("friend", "friend", "best friend", "neighbor"))
                if entity.animal:
                    friend = f"{friend} {entity.name} the {entity.kind}"
                else:
                    friend = f"{friend} {entity.name}"
                phrase = f"{self._refer(hero, 'p')} {friend}"
            elif entity.animal and self.rng.chance(0.4):
                phrase = f"{entity.name} the {entity.kind}"
            else:
                phrase = f"{entity.forms['a']} {self.rng.choice(('named', 'named', 'called'))} {entity.name}"
            self._mention(entity)
            return phrase
        raise ValueError(f"{entity.label} has no form {form!r}")


_MENTIONS = frozenset(("n", "ns", "a", "the", "an"))
_PRONOUNS = frozenset(("he", "him", "his"))
