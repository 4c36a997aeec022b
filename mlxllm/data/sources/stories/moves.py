"""Moves that many plots share: going, finding, giving, asking, thanking, detours on the way."""

from mlxllm.data.sources.stories.stage import Stage
from mlxllm.data.sources.stories.world import Entity, Person, Place, Thing

_GO = """
{lead}{a} went {q.to}.
{lead}{a} <walked> {q.to}.
{lead}{a} [took a walk|set out early and walked] {q.to}.
{lead}{a} <ran> {q.to}[ to play| because the day was long|].
{lead}{a} [put on {a.his} shoes and|ate a quick breakfast and|said goodbye to {m.o} and] went {q.to}.
[When breakfast was over,|After breakfast,|When the work was done,] {a} went {q.to}.
{lead}{m} said, "[Go and play outside.|The air will do you good.|It is nice outside.]" So {a.n} went {q.to}.
"""
_GO_ANIMAL = """
{lead}{a} went {q.to}.
{lead}{a} <walked> {q.to}.
{lead}{a} {a.ran} {q.to}[ to play| to look around|].
{lead}{a} [left home and|ate some breakfast and|said goodbye to {m.o} and] went {q.to}.
{lead}{a} wanted to see something new, so {a.he} went {q.to}.
{lead}{m} said, "[Go and play outside.|The air will do you good.|It is nice outside.]" So {a.n} went {q.to}.
"""

_THERE = """
It was [quiet|lovely|nice and warm|very still] {q.at}.
^{q.at}, it was [quiet|lovely|very still].
{a} liked it {q.at}.
{a} was glad to be {q.at}.
"""


def go(t: Stage, who: Person, place: Place) -> None:
    """`who` goes to the place, perhaps with a look around; plain stories mostly name it again."""
    t.say(_GO_ANIMAL if who.animal else _GO, a=who, q=place)
    t.world.go(who, place.label)
    if t.plain and t.rng.chance(0.7):
        t.say(_THERE, a=who, q=place)
    look_around(t, place)


def look_around(t: Stage, place: Place, p: float = 0.45) -> None:
    """What one sees there, if the weather lets one see."""
    if t.weather not in ("rainy", "snowy", "foggy") and t.rng.chance(p * t.rich):
        t.say("{q.sight}.", q=place)


def home(t: Stage, who: Person) -> None:
    """`who` goes home."""
    t.world.go(who, "home")
    t.say(
        """
        {a} went home.
        [In the evening|When the sun went down|When it grew dark], {a} [went|walked|ran] home.
        Then {a} {a.ran} [all the way |]home.
        """,
        a=who,
    )


def search(t: Stage, who: Person, thing: Thing, place: Place, p: float = 1.0) -> None:
    """`who` looks in vain."""
    t.maybe(
        p,
        """
        {a} <looked> {q.spot}[ and {q.spot}|], but the {x.noun} was not there.
        {a} <looked> {q.spot}. It was not there. {a} <looked> {q.spot}. It was not there[ either|].
        First {a} <looked> {q.spot}. Then {a.he} <looked> {q.spot}. There was no {x.noun} anywhere.
        {a} <looked> high and low, but {a.he} could not find {x.an} anywhere.
        Was it {q.spot}? No. Was it {q.spot}? No.
        """,
        a=who, x=thing, q=place,
    )  # fmt: skip


_DETOURS = """
[On the way|Along the path|Near a fence|By a ditch], {h} [saw|passed|met] \
[a snail|a beetle|a toad|a caterpillar|a ladybug|a lizard|a worm|an ant with a crumb] \
[on a leaf|under a leaf|on a stone|in a puddle|in the dust|on a post][, but {h.he} did not stop| and waved to it|].
On the way, {h} [counted the steps|hummed a little song|thought about supper|kicked a pebble|jumped over a puddle|\
skipped a little|whistled a tune|picked a daisy|told {h.self} a joke].
A [yellow|white|blue|small|brown] [butterfly|bee|dragonfly|moth|bird] flew along with {h.o} [for a while|to the next \
corner|and then was gone].
{h} waved to a [bird|crow|cat|hen|goose|lizard|rooster] on a [fence|wall|roof|gate], and it [looked at {h.o} \
with one \
eye|went away|made a funny noise|blinked].
{h.p} tummy [rumbled|made a funny noise], but {h.he} went on.
It was a long way, so {h} [sat down to rest for a moment|stopped once to catch {h.his} breath|ate a crumb from \
{h.his} bag|drank some water from a spring].
Somewhere [a dog barked|a door banged|a cow mooed|bells were ringing|someone was chopping wood|a donkey brayed|\
a baby was crying|a fiddle played|geese were calling].
There was a [smell|scent] of [smoke|hay|bread|mint|soup|wet earth|honey|roses] in the air.
The path went [up a hill|along a stream|past a wall|around a field|through a gap in a hedge], and {h.p} \
[legs|feet] grew [tired|heavy|warm].
A [cart|flock of geese|line of ducks|hay wagon] went by[, and then the road was quiet again|].
"""


def detour(t: Stage, p: float = 0.4) -> None:
    """Something small on the hero's way that changes nothing."""
    t.maybe(p, _DETOURS)


def thank(t: Stage, who: Entity, whom: Entity) -> None:
    """`who` thanks `whom`."""
    t.say(
        """
        "Thank you[ so much|]!" said {a}.
        "Thank you[, {b.n}|]," said {a}. "[You are a good friend.|That was very kind.|I will not forget this.]"
        {a} thanked {b.o} [again and again|with a big smile|and <smiled>].
        "Oh, thank you!" {a} <cried>.
        """,
        a=who, b=whom,
    )  # fmt: skip


def ask_what_is_wrong(t: Stage, asker: Entity, whom: Entity) -> None:
    """`asker` sees that something is the matter with `whom`."""
    t.say(
        """
        "What is [wrong|the matter]?" asked {a}.
        "Why are you so sad?" <asked> {a}.
        {a} saw that {b} was sad. "What happened?" {a.he} asked.
        "Are you all right?" asked {a}.
        """,
        a=asker, b=whom,
    )  # fmt: skip
