"""Plots about courage and winning: a fear, a race, a contest."""

from mlxllm.data.sources.stories.endings import close
from mlxllm.data.sources.stories.moves import look_around
from mlxllm.data.sources.stories.openings import opening
from mlxllm.data.sources.stories.stage import Stage
from mlxllm.data.sources.stories.template import rows

# Sentences are laid out by hand, one way to say a thing a line.
# fmt: off


# What one fears, what has to be done, what it is really like, the topic, where the thing ends up.
_FEARS = rows("""
the dark | go into the dark shed | It was only a little dark, and nothing was there but a rake | shed | deep inside the shed
deep water | cross the stream | The water was cool and came only to the knees | stream | on the other side of the stream
high places | climb up the ladder | From above, one could see all the way to the sea | ladder | on a flat roof
thunder | go outside in the storm | The thunder was only a noise, and it went away | thunder | far out in the yard
the big dog | walk past the big dog | The dog wagged its tail and wanted to be petted | dog | next to the big dog
the old cellar | go down to the cellar | There were only jars and an old bicycle | cellar | at the foot of the cellar stairs
bees | walk through the flowers | The bees were busy and did not care at all | bees | in the middle of the flowers
the long tunnel | walk through the tunnel | At the other end, the sun was shining | tunnel | far inside the tunnel
the old bridge | walk over the old bridge | It swung a little, but it was strong | bridge | on the other side of the bridge
ghosts | walk past the empty house | The white thing in the window was only a curtain | house | behind the empty house
the big bull | cross the field | The bull only looked up and went on eating grass | bull | in the middle of the bull's field
spiders | crawl under the porch | The spider was small and ran away at once | porch | far under the porch
the goose | walk past the angry goose | The goose was only guarding her eggs | goose | right next to the goose
""")


def fear(t: Stage) -> None:
    """The hero is afraid of something and has to face it, with help or mocked."""
    h, w, rng = t.hero, t.world, t.rng
    f, o = t.friend(), t.thing("roll")
    what, act, truth, topic, spot = rng.choice(_FEARS)
    t.topic = topic
    t.bound.update(what=what, act=act, truth=truth, spot=spot)
    opening(t, "stormy" if topic == "thunder" else "sunny cloudy", must_tell=topic == "thunder")
    t.say("""
        {h} was afraid of {what}.
        Only one thing made {h} afraid, and that was {what}.
        {h} was not afraid of [much|many things]. But {h.he} was afraid of {what}.
        Nobody knew it, but {h} was afraid of {what}.
        {h} was brave in most things, but not when it came to {what}. {h.he} was afraid.
        "I am not afraid of anything!" {h} always said. But {h.he} was afraid of {what}.
    """)
    w.feelings.append((h.label, "afraid"))
    w.own(f, o)
    t.say("""
        {lead}{h} was out with {f.intro}, who had brought {o.a}.
        {lead}{f.intro} came with {o.a}, and they played [all morning|for a while].
        {lead}{f.intro} had {o.a}, and {h.n} was allowed to play with it.
        {lead}{f.intro} brought {o.a} along. "Let us play with it," {f.he} said.
    """)
    t.say("""
        {f} [let it go|threw it|pushed it] too hard, and the {o.noun} [landed|came to rest] {spot}.
        Then it happened. The {o.noun} [slipped away|got away|jumped away], and a moment later it lay {spot}.
        The {o.noun} rolled and rolled. In the end, it lay {spot}.
        {h} [missed it|was not quick enough], and the {o.noun} ended up {spot}.
    """)
    w.lose(f, o, spot)
    t.say("""
        To get it, somebody had to {act}.
        "I have hurt my foot," said {f}. "You will have to {act}."
        "Can you get it?" asked {f}. "You only have to {act}."
        "My {o.noun}!" <cried> {f}. "Please, {h.n}, can you {act}?"
        There was only one way to get it back. Someone had to {act}.
    """)
    t.say("""
        {h.p} [knees shook|heart beat like a drum|mouth was dry]. "I can't," {h.he} <whispered>.
        {h} took one step and stopped. "I am afraid," {h.he} said.
        {h} turned pale and did not move.
        {h} wanted to say yes, but {h.his} mouth was dry.
        {h} shook all over. "Not me," {h.he} said.
    """)
    if t.ends_kindly():
        w.note(f, "encourage", None, h)
        t.say("""
            {f.n} did not laugh. "I am with you," {f.he} said and took {h.p} {h.hand}.
            "Everyone is afraid of something," said {f.n}. "Count to three and breathe."
            "I was afraid of it once, too," said {f.n}. "We can do it together."
            "You do not have to be ashamed," said {f.n}. "Hold my {f.hand}, and we will go."
        """)
        w.find(h, o, spot)
        w.give(h, o, f, "return")
        t.say("""
            So {h.n} dared to {act}. {truth}. Soon {f.n} had the {o.noun} back.
            Step by step, {h.n} went on. {truth}. {h.n} brought the {o.noun} back to {f.n}.
            {h.n} closed {h.his} eyes, opened them again, and went. {truth}. And there was the {o.noun}! \
            {h.n} gave it to {f.n}.
        """)
        t.feel(h, "proud,brave,happy,as tall as a tree", 0.6, "{h.n} felt {feeling}.")
        close(t, f, "being brave means to be afraid and to go on", 0.4)
    else:
        t.solved = False
        w.note(f, "laugh at", None, h)
        t.say("""
            "You are a baby!" said {f.n}. ^{f.he} laughed and told everyone that {h.n} was afraid of {what}.
            {f.n} pushed {h.o} and laughed. "Scared, scared!" {f.he} sang.
            "I do not need a friend who is afraid," said {f.n}, and {f.he} left {h.n} standing there.
            "Coward!" <cried> {f.n}. ^{f.he} made faces and ran to tell the others.
        """)
        t.maybe(0.5, "The {o.noun} stayed where it was.\n{h.n} hid {h.his} face.")
        close(t, f, "it is mean to laugh at those who are afraid", 0.3, "hero")


def race(t: Stage) -> None:
    """A race in which somebody falls."""
    h, w, rng = t.hero, t.world, t.rng
    f, p = t.friend(), t.place("outdoor", "wide")
    t.topic = "race"
    goal = rng.choice(("the old oak", "the big stone", "the red gate", "the stream", "the fence", "the well", "the mill"))
    t.bound["goal"] = goal
    opening(t, "sunny windy cloudy cold", pair=f)
    t.say("""
        {lead}there was a race {q.at}. {h} and {f.intro} wanted to win.
        "I am faster than you," said {f.intro} to {h.n}. "Let us race!"
        {lead}{h} said to {f.intro}, "Let us race to {goal}!"
        {lead}{h} and {f.intro} met {q.at} for a race.
        Who was the fastest? {h} and {f.intro} wanted to find out in a race {q.at}.
        Everyone came {q.to} to see the race. {h} and {f.intro} were the fastest of all.
    """, q=p)
    w.be(h, p.label)
    w.be(f, p.label)
    look_around(t, p, 0.3)
    t.maybe(0.6, """
        They stood behind a line in the dust. "One, two, three, go!"
        A [crow|goose|magpie] gave the sign, and off they went.
        "The first one at {goal} is the winner," said {f}.
        "On your marks, get set, go!"
        {f} stretched {f.his} legs, and {h} took a deep breath. "Go!"
    """)
    t.say("""
        They ran as fast as they could. First {f} was ahead, and then {h} was.
        {h} was fast, but {f} was just as fast.
        {f} ran like the wind, and {h} was right behind.
        {h} took the lead. {f} came closer and closer.
        Side by side they raced over the grass.
        At the first turn, {f} was ahead. At the second turn, {h} was.
    """)
    w.note(h, "race", goal, f)
    faller, other = (f, h) if rng.chance(0.6) else (h, f)
    t.say("""
        Then {x.n} [tripped over a root|stepped into a hole|slipped in the mud|stumbled over a stone] and fell.
        Just before {goal}, {x.n} fell down hard.
        But near {goal}, {x.n} [slipped|stumbled] and hurt {x.his} {foot}.
        Then there was a stone in the way. {x.n} did not see it and fell.
    """, x=faller, y=other, foot=rng.choice(("knee", "foot", "leg")))
    w.note(faller, "fall")
    t.feel(faller, "hurt,sad,upset,in pain", 1, """
        {x.n} sat on the ground and was {feeling}.
        "Ow!" <cried> {x.n}, who was {feeling}.
        {x.n} could not get up. {x.he} was {feeling}.
        Dust flew up. {x.n} lay there and was {feeling}.
    """)
    t.maybe(0.6, """
        {y.n} heard it and looked back. {goal} was very near.
        {y.n} could win now. It was only a few steps.
        {y.n} slowed down.
    """)
    if t.ends_kindly():
        w.note(other, "help", None, faller)
        t.say("""
            {y.n} turned around. "Are you hurt?" {y.he} asked, and {y.he} helped {x.n} up.
            {y.n} stopped and ran back. "Never mind the race," {y.he} said. "Lean on me."
            "Take my {y.hand}," said {y.n}, and {y.he} pulled {x.n} up.
            {y.n} forgot about the race at once and sat down next to {x.n}. "Let me see," {y.he} said.
        """)
        t.say("""
            They came to {goal} arm in arm. Nobody had won, and nobody had lost.
            They crossed the line side by side, and everyone clapped.
            Slowly they walked to {goal} and touched it at the same time.
        """ if not (h.animal or f.animal) else """
            They came to {goal} side by side. Nobody had won, and nobody had lost.
            They crossed the line side by side, and everyone clapped.
            Slowly they walked to {goal} and touched it at the same time.
        """)
        close(t, f, "there are more important things than winning", 0.4)
    else:
        t.solved = False
        w.note(other, "win", "race")
        t.say("""
            {y.n} laughed and ran on. "I won! I won!" {y.he} <cried>. "You are as slow as a snail!"
            {y.n} jumped over {x.n} and won the race. {y.he} did not look back once.
            "Too bad for you," said {y.n}, and {y.he} won. Then {y.he} laughed at {x.n}.
            "Get up, you snail!" <cried> {y.n}, and {y.he} ran past and won.
        """)
        close(t, f, "winning is worth nothing without a friend", 0.35, "hero" if faller is h else "other")


# The kind of contest, what the winner did, what it is called.
_SHOWS = rows("""
singing | sang a song about the sea | song
dancing | danced on one foot | dance
painting | painted a sunset | picture
baking | baked a cake with three layers | cake
pumpkin | brought a pumpkin as big as a wheel | pumpkin
story | told a story about a giant | story
juggling | juggled with four eggs | trick
hat | wore a hat made of leaves | hat
sand castle | built a castle with five towers | castle
flower | tied a wreath of daisies | wreath
kite | flew a kite shaped like a fish | kite
whistling | whistled like a blackbird | tune
jumping | jumped over a whole cart | jump
mask | made a mask with green feathers | mask
poem | spoke a poem about the moon | poem
""")


def contest(t: Stage) -> None:
    """The friend wins a prize that the hero wanted."""
    h, w, rng = t.hero, t.world, t.rng
    f, e, o = t.friend(), t.elder(), t.thing("shine")
    kind, did, work = rng.choice(_SHOWS)
    while work == o.label:
        kind, did, work = rng.choice(_SHOWS)
    t.bound.update(show=kind, did=did, work=work)
    w.own(e, o)
    opening(t, "sunny cloudy", pair=f)
    t.say("""
        {lead}there was a {show} contest. The prize was {o.a}, and {e.a} was the judge.
        Every summer, there was a {show} contest. This time, {e.a} had given {o.a} as a prize.
        "There will be a {show} contest," said {m}. "The best one gets {o.a} from {e.a}."
        {e.a} held a {show} contest, and the winner was to get {o.a}.
    """)
    t.maybe(0.75, """
        {h} wanted to win the {o.noun}. {h.he} practiced [every day|for weeks].
        {h} had practiced for a long time. "I want to win," {h.he} said.
        How {h} wanted to win! {h.he} thought of nothing else.
        Day after day, {h} practiced [from morning till night|behind the house|in secret].
        "That prize will be mine," said {h} to {m.o}.
    """)
    t.say("""
        {f.intro} took part, too.
        But {f.intro} wanted to win as well.
        {f.intro} had entered the contest, too.
        {h} was good, but there was one who was just as good. It was {f.intro}.
    """)
    t.say("""
        {f} {did}. Everyone [clapped|cheered].
        When it was {f.p} turn, {f.he} {did}.
        {h} did well. But {f} {did}, and nobody could do better.
        First it was {h.p} turn, and it went well. Then {f} {did}.
    """)
    w.give(e, o, f, "give")
    t.say("""
        {e} nodded and gave {f.n} the {o.noun}.
        "The winner is {f.n}!" said {e}, and {f} got the {o.noun}.
        So it was {f.n} who won the {o.noun}.
        "{f.n} has won!" said {e} and gave {f.him} the {o.noun}.
    """)
    w.note(f, "win", o.label)
    t.feel(h, "jealous,sad,disappointed,angry", 0.9, """
        {h} was {feeling}. There was a lump in {h.his} throat.
        {h} felt {feeling}. All {h.his} work had been for nothing.
        {h} looked at the {o.noun} and was {feeling}.
    """)
    if t.ends_kindly():
        w.note(h, "congratulate", None, f)
        t.say("""
            But then {h.n} went to {f.n}. "Your {work} was the best," {h.he} said. "I am happy for you."
            {h.n} took a deep breath and <smiled>. "Well done, {f.n}!" {h.he} said.
            {h.n} clapped louder than anyone else. "You have earned it," {h.he} said to {f.n}.
            {h.n} was the first to hug {f.n}. "Nobody could do it like you," {h.he} said.
        """)
        t.say("""
            "Thank you," said {f.n}. "Next time, I will help you practice."
            {f.n} let {h.n} hold the {o.noun}. "It belongs to both of us," {f.he} said.
            {f.n} was so glad. "Without you, it would be no fun," {f.he} said.
            "You were wonderful, too," said {f.n}.
        """)
        close(t, f, "a friend's joy can be your joy, too", 0.4)
    else:
        t.solved = False
        w.note(h, "insult", None, f)
        t.say("""
            "You cheated!" <cried> {h.n}. It was not true, but {f.n} cried.
            {h.n} pushed {f.n} so that the {o.noun} fell into the dirt.
            "Your {work} was ugly," said {h.n}, and {h.he} did not say another word to {f.n}.
            {h.n} told everyone that {f.n} had [lied|played a trick]. It was not true.
        """)
        close(t, f, "jealousy spoils everything", 0.35, "other")
