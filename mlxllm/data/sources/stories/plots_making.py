"""Plots about making and mending: something breaks, something is built, something is owned up to."""

from mlxllm.data.sources.stories.endings import close
from mlxllm.data.sources.stories.moves import look_around
from mlxllm.data.sources.stories.openings import opening
from mlxllm.data.sources.stories.stage import Stage
from mlxllm.data.sources.stories.template import rows
from mlxllm.data.sources.stories.world import number

# Sentences are laid out by hand, one way to say a thing a line.
# fmt: off


def broken(t: Stage) -> None:
    """The friend breaks the hero's thing by accident; they mend it, or the hero does not forgive."""
    h, w, rng = t.hero, t.world, t.rng
    f, o = t.friend(), t.thing(broken=True)
    opening(t, pair=f)
    w.own(h, o)
    t.say("""
        {h} was proud of {h.his} {o.full}.
        {h} had {o.a}. It had [once |]been {h.p} grandma's.
        {h} had {o.a}, and {h.he} let nobody touch it.
        In {h.p} room stood a shelf, and on the shelf was {o.a}.
        {h} had worked hard to get {o.a}.
        Of all the things in {h.p} room, {o.a} was the [best|finest].
        {h} had {o.a} that [everyone liked|nobody else had].
    """)
    t.say("""
        {lead}{f.intro} came to play[ and saw the {o.noun}|].
        {lead}{h} showed {f.intro} the {o.noun}.
        {lead}{f.intro} wanted to {o.use_a}.
        {lead}{f.intro} stood at the door, and {h} let {f.him} in.
        {lead}{h} and {f.intro} played with the {o.noun}.
    """)
    t.maybe(0.6, """
        "[May I|Can I] hold it?" asked {f}. "Yes, but be careful," said {h}.
        "Please let me try it," said {f}. ^{h} [nodded|was not sure, but {h.he} nodded].
        "Be careful with it," said {h}. "I will," said {f}.
    """)
    t.say("""
        But {f} [tripped over a root|stumbled over a step|slipped], the {o.noun} fell down, and {o.broke}.
        But {f} was too rough, and then [there was a loud crack|there was an awful noise]. {o.broke}[!|.]
        {f} laughed and turned around too fast. Bump! The {o.noun} hit the wall, and {o.broke}.
        {f} held the {o.noun} up high. It slipped out of {f.his} {f.hands}, and {o.broke}.
        A moment later, {f} stumbled and sat down on the {o.noun}, and {o.broke}.
        It was an accident. {f} pulled at the {o.noun} a bit too hard, and {o.broke}.
    """)
    w.note(f, "break", o.label)
    t.feel(f, "sorry,ashamed,shocked,scared", 1, """
        {f} was {feeling} and [looked at the floor|did not dare to look up|turned red]. "I did not mean to do \
        it," {f.he} said.
        "Oh! I am so sorry," <whispered> {f}.
        "I have broken your {o.noun}," said {f} in a small voice. ^{f.he} felt {feeling}.
        {f} stood very still. "It was my fault," {f.he} said.
        {f} [swallowed hard|hid {f.his} face]. {f.he} was {feeling}.
        "What have I done!" <cried> {f}, who was {feeling}.
    """)
    if rng.chance(0.5):
        t.feel(h, "sad,angry,cross,upset", 1, """
            {h} looked at the {o.noun} and was {feeling}.
            At first {h} was {feeling} and could not say a word.
            {h} felt {feeling}. It was {h.his} [favorite|best] {o.noun}.
        """)
    if t.ends_kindly():
        mended = rng.chance(0.75)
        t.solved = mended
        t.say("""
            Then {h} took a deep breath. "It was an accident," {h.he} said. "I am not angry with you."
            "It is all right," said {h.n}. "You did not do it on purpose."
            "Don't cry," said {h.n}. "Things can break. You are more to me than {o.an}."
            {h} looked at {f.n} for a long time. Then {h.he} put a {h.hand} on {f.p} shoulder. "Never mind," \
            {h.he} said.
        """)
        if mended:
            w.note(h, "mend", o.label)
            t.say("""
                They [got|found] {o.mend} and worked side by side. Soon the {o.noun} was [whole|as good as \
                new] again.
                "We can mend it," said {f.n}. ^{f.he} brought {o.mend}, {h.n} held the {o.noun}, and they \
                mended it.
                With {o.mend}, they mended it in an hour. It even looked better than before.
                All they needed was {o.mend}, and by evening the {o.noun} was as good as new.
            """)
        else:
            t.say("""
                They tried to mend it with {o.mend}, but it was no use. {f.n} brought a flower to make up for \
                it.
                They tried all day with {o.mend}, but the {o.noun} stayed broken. It did not matter so much \
                any more.
            """)
        close(t, f, rng.choice(("a friend is worth more than a thing", "anyone can make a mistake")), 0.45)
    else:
        t.solved = False
        t.say("""
            "Go home!" <cried> {h.n}. "I never want to see you again!" ^{f.n} left in tears.
            "You break everything!" <cried> {h.n}, and {h.he} pushed {f.n} out of the door.
            But then {f.n} laughed. "It was only an old {o.noun}," {f.he} said, and {f.he} ran off.
            {h.n} did not listen. {h.he} called {f.n} a bad name and turned away.
            "You did that on purpose!" <cried> {h.n}. "You are just jealous!" ^{f.n} [shouted back|slammed the door].
        """)
        close(t, f, "angry words can hurt more than a broken toy", 0.3)


# What is built, its noun, what of, how, what it is like.
_BUILDS = rows("""
a tower | tower | stones | They put stone upon stone | high
a little house | house | boards | They put up four walls and a roof | strong
a raft | raft | logs | They tied the logs together | strong
a bridge over the stream | bridge | planks | They laid one plank beside the other | long
a nest box | box | boards | They made a round hole for a door | neat
a tree house | tree house | boards | They pulled the boards up with a rope | snug
a bench | bench | planks | They hammered and sawed | wide
a den | den | branches | They leaned the branches against a tree | dark and snug
a dam | dam | sticks | They pushed the sticks into the mud | long
a castle | castle | boxes | They piled the boxes up | grand
a cart | cart | boards | They made two wheels and a long handle | fast
a fence | fence | sticks | They pushed the sticks into the ground | straight
a birdhouse | birdhouse | boards | They made a roof and a little perch | pretty
a wall | wall | bricks | They laid one row upon the other | high
""")


def building(t: Stage) -> None:
    """Two build something; it falls down; they build it again, or blame each other."""
    h, w, rng = t.hero, t.world, t.rng
    f = t.friend()
    built, noun, parts, how, fine = rng.choice(_BUILDS)
    t.topic = noun
    p = t.place("outdoor", "green")
    n = rng.between(5, 12)
    opening(t, "sunny sunny windy cloudy", pair=f)
    t.bound.update(built=built, noun=noun, parts=parts, how=how, fine=fine, n=number(n))
    t.say("""
        {lead}{h} and {f.intro} wanted to build {built}.
        {lead}{h} had an idea. "Let us build {built}!" {h.he} said to {f.intro}.
        "I want to build {built}," said {h} to {f.intro}. "[Will you help me?|Do you want to help?]"
        {lead}{f.intro} said to {h.o}, "Let us build {built}!"
        {lead}{h} drew a plan in the sand. {h.he} wanted to build {built} with {f.intro}.
        Nobody had ever built {built} there. {lead}{h} and {f.intro} wanted to be the first.
    """)
    w.be(h, p.label)
    w.be(f, p.label)
    t.maybe(0.8, """
        They met {q.at} and looked for {parts}.
        They went {q.to}, because there were a lot of {parts} there.
        They knew a good place {q.at}.
        They chose a place {q.at} and looked for {parts}.
        {q.at} they found [a dry spot|good ground|enough room].
    """, q=p)
    look_around(t, p, 0.3)
    w.note(h, "collect", parts, count=n)
    t.say("""
        {h} found {n} {parts}, and {f} carried them.
        After an hour, they had {n} {parts}.
        They needed {n} {parts}. {h} carried the small ones, and {f} carried the [big|heavy] ones.
        "We have {n} {parts}," said {h}. "That is enough."
        "{n} {parts}!" called {f}. "Now we can start."
        {f} counted the {parts}. There were {n}.
    """)
    t.say("""
        {how}. It was hard work, but [they sang as they worked|neither of them stopped].
        {how}, and <soon> the {noun} was almost done.
        {how}. The {noun} was going to be {fine}.
        "More {parts}!" called {f}. {how}.
        {how}. {h} whistled, and {f} [hummed along|kept time].
        They worked until their {h.hands} hurt. {how}.
    """)
    w.note(h, "build", noun)
    t.paragraph()
    t.say("""
        Then there was a loud crash. The {noun} had fallen down!
        But they had been too quick. The {noun} [shook|leaned to one side] and then fell down.
        Just as they were done, a [strong wind came up|big branch fell on it], and the {noun} fell [apart|down].
        {f} [climbed on top|leaned against it], and everything fell down with a crash.
        But one of the {parts} was [crooked|rotten|loose], and the {noun} broke [down|apart] with a crash.
        A moment later, the {noun} [began to shake|made a strange noise] and fell down.
    """)
    w.note(h, "see", f"the {noun} fall down")
    t.feel(h, "sad,upset,angry,cross", 0.8, """
        {h} was {feeling}. "All our work!" {h.he} <cried>.
        They looked at the {parts} on the ground. {h} felt {feeling}.
        "Oh no," said {f}. ^{h} was {feeling} and said nothing.
        For a moment, it was very still. {h} was {feeling}.
        "It was almost done," said {h}, who was {feeling}.
    """)
    if t.ends_kindly():
        t.say("""
            "Let us try again," said {f.n}. "Now we know how to do it better." They began once more, and this \
            time the {noun} stood firm.
            {h.n} began to laugh, and {f.n} had to laugh too. They built it again, and it was twice as {fine}.
            "It was nobody's fault," said {h.n}. They picked up the {parts} and started again. By evening, \
            the {noun} was done.
        """)
        w.note(h, "rebuild", noun)
        t.maybe(0.5, """
            They were proud of what they had made.
            It was the finest {noun} far and wide.
            "We did it!" they cried.
        """)
        close(t, f, rng.choice(("together one can do more than alone", "it helps to try again")), 0.4)
    else:
        t.solved = False
        t.say("""
            "It is all your fault!" <cried> {f.n}. "No, it is yours!" <cried> {h.n}.
            "You did it wrong," said {h.n}. "I should have built it without you."
            {f.n} kicked the {parts} away. "I am done with you," {f.he} said. ^Nobody built it up again.
        """)
        close(t, f, "blame does not mend anything", 0.3)


def owning_up(t: Stage) -> None:
    """The hero breaks something that belongs to a grown-up and owns up, or blames another."""
    h, w, rng = t.hero, t.world, t.rng
    k, f, o = t.relative("k"), t.friend(), t.thing(broken=True, without="fixed toy")
    opening(t, "sunny cloudy rainy")
    w.own(k, o)
    t.say("""
        {k} had {o.a}[ and loved it very much|]. "Do not play with it," {k.he} [always |]said.
        In the house there was {o.a}. It belonged to {k}, and nobody was allowed to touch it.
        "Never touch my {o.full}," {k} had said.
        {k} loved {k.his} {o.full} and let nobody use it.
        "That is my {o.full}," {k} had said. "[Leave it alone|Do not play with it]."
    """)
    t.say("""
        {lead}{k} was [out|in the garden|asleep], and {h} [could not stop looking at the {o.noun}|wanted to \
        {o.use_the}].
        But {lead}{h} was alone with the {o.noun}. {h.he} took it in {h.his} {h.hands}.
        {lead}{h} ran through the house[ and did not look where {h.he} was going| with a ball].
        {lead}{h} danced around the room and [forgot where {h.he} was|spun like a top].
        {lead}{h} only wanted to look at the {o.noun}[, just for a moment|].
    """)
    t.say("""
        Then the {o.noun} fell to the floor, and {o.broke}.
        Bump! {h} knocked the {o.noun} over, and {o.broke}.
        There was a crash, and {o.broke}.
        Crash! The {o.noun} fell down, and {o.broke}.
        But {h.his} {h.hands} were wet. The {o.noun} slipped, and {o.broke}.
    """)
    w.note(h, "break", o.label)
    t.feel(h, "scared,afraid,worried,frightened", 1, """
        {h} was {feeling}. {h.p} heart beat fast.
        "<oh_no>!" <whispered> {h}. ^{h.he} was {feeling}.
        {h} felt {feeling} and hid the {o.noun} under [the bed|a cloth|a pillow].
        {h} wanted to [run away|hide]. {h.he} was {feeling}.
        "What will {k.call} say?" {h} thought, and {h.he} was {feeling}.
    """)
    t.paragraph()
    t.say("""
        <soon>, {k} came [in|back] with {f.intro}.
        When {k} came [back|home], {f.intro} was there too.
        The door opened, and {k} came in. {f.intro} was with {k.o}.
    """)
    t.say("""
        "Who has broken my {o.noun}?" asked {k}.
        {k} saw the {o.noun}. "Who did this?" {k.he} asked.
        "What has happened to my {o.noun}?" asked {k}.
        {k} [picked up the {o.noun}|looked from one to the other]. "Who was it?" {k.he} asked.
    """)
    ask = rng.chance(0.3)
    if ask:
        t.say("For a moment, nobody spoke.\nIt was very still.\n{h} looked at {h.his} feet.")
    if t.ends_kindly():
        w.note(h, "confess", o.label, k)
        t.say("""
            "I did it," said {h.n}. "I am sorry."
            {h.n} took a deep breath. "It was me," {h.he} said, and {h.he} told the truth.
            {h.n} began to cry. "I broke it," {h.he} said. "I will help you mend it."
        """)
        w.note(h, "mend", o.label)
        t.say("""
            {k} was quiet for a moment. "Thank you for telling me the truth," {k.he} said. Together they \
            mended it with {o.mend}.
            "That was brave," said {k}. ^{k.he} was not angry, and they mended the {o.noun} with {o.mend}.
            {k} nodded. "The truth is worth more than {o.an}," {k.he} said. They took {o.mend} and mended it.
        """)
        close(t, k, "it is brave to tell the truth", 0.5)
    else:
        t.solved = False
        w.note(h, "lie", o.label, k)
        t.say("""
            "{f.n} did it," said {h.n}. It was a lie. ^{f.n} was sent home in tears.
            {h.n} pointed at {f.n}. "It was {f.him}!" {h.he} lied. ^{f.n} had to go.
            "I did not do it," said {h.n}. "It must have been {f.n}." And {k} was angry with {f.n}.
        """)
        close(t, f, "a lie hurts more than the truth", 0.4, "other")
