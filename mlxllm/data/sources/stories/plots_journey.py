"""Plots on the road: getting lost, helping someone old, an errand with a temptation."""

from mlxllm.data.sources.stories.endings import close
from mlxllm.data.sources.stories.moves import detour, look_around, thank
from mlxllm.data.sources.stories.openings import opening
from mlxllm.data.sources.stories.stage import Stage
from mlxllm.data.sources.stories.template import rows
from mlxllm.data.sources.stories.world import number

# Sentences are laid out by hand, one way to say a thing a line.
# fmt: off


_LURES = (
    "a blue butterfly", "a big green beetle", "the sound of a flute", "a balloon in the sky", "a yellow bird",
    "a trail of white stones", "a rainbow", "a shiny dragonfly", "a line of ants", "the smell of pancakes",
    "a cloud like a dragon", "the sound of bells", "a feather in the wind", "a hopping frog", "a red leaf on the stream",
)


def getting_lost(t: Stage) -> None:
    """The hero loses the way and asks a stranger, who helps or does not care."""
    h, w, rng = t.hero, t.world, t.rng
    e = t.elder()
    p = t.place("outdoor", "green", without="people")
    opening(t, "sunny windy cloudy foggy cold")
    lure = rng.choice(_LURES)
    t.topic = lure.rsplit(" of ", 1)[-1].split(" in ")[0].split()[-1]
    t.bound["lure"] = lure
    t.say("""
        {lead}{h} [saw|noticed] {lure}. {h} wanted to know where it [came from|would lead {h.him}].
        {lead}{h} followed {lure}.
        {lead}there was {lure}, and {h} [ran|went] after it.
        {lead}{lure} [caught {h.p} eye|made {h.o} forget everything else], and off {h.he} went.
        "Do not go too far," said {m}. But <soon> there was {lure}, and {h} forgot what {m} had said.
    """ if "smell" not in lure and "sound" not in lure else """
        {lead}{h} noticed {lure}. {h} wanted to know where it came from.
        {lead}{h} followed {lure}.
        "Do not go too far," said {m}. But <soon> there was {lure}, and {h} forgot what {m} had said.
    """)
    w.note(h, "follow", lure)
    t.say("""
        {h.he} went on and on, [over a fence and past a mill|up one path and down the next|left and right], \
        {q.into}.
        It led {h.o} farther and farther, {q.into}.
        [Step by step|Little by little], {h} went far away from home, {q.into}.
        On and on {h} went, [past a pond|through a gate|under a fallen tree|over a stile], {q.into}.
    """, q=p)
    w.be(h, p.label)
    look_around(t, p, 0.4)
    t.say("""
        Then {h} looked around. Nothing looked [right|the same|like home]. {h.he} was lost!
        When {h} turned around, the path was gone.
        <suddenly>, {h.he} did not know the way home any more.
        {h} stopped. "Where am I?" {h.he} said. There was no answer.
        At last {h} looked up. {h.he} had never seen this place before.
        "Which way did I come?" said {h}. {h.he} did not know.
    """)
    w.note(h, "get lost", place=p.label)
    t.feel(h, "scared,afraid,frightened,worried", 1, """
        {h} was {feeling}. [It was getting dark.|The shadows were long.|The wind was cold.]
        {h.he} called, "Hello! [Is anybody there?|Can you hear me?]" {h} felt {feeling}.
        {h.p} [knees|legs] shook, because {h.he} was {feeling}.
        "{m.call}!" {h} <cried>, but nobody came. {h.he} was {feeling}.
        {h} sat down on a root and was {feeling}.
    """)
    t.paragraph()
    t.maybe(0.5, """
        First {h} asked a frog. "I only know [my pond|the way to the water]," said the frog.
        {h} asked a snail, but the snail had never been far from [its leaf|its garden].
        {h} tried one path, but it ended at a [wall|pile of rocks|thick hedge].
        {h} climbed on a rock to look around, but {h.he} only saw [trees and more trees|hills and fields].
        {h} listened. There was only [the wind|a far bell|the call of a bird].
    """)
    t.say("""
        Then {h.he} met {e.a}.
        At a [crossing|turn in the path] sat {e.a}.
        <soon>, {e.a} came along with a [bag of wood|stick|basket].
        A light shone through the trees. {e.a} lived there.
        Then, behind a [hedge|hill|wall], {h} saw {e.a}.
        {e.a} was [resting by the path|cutting grass|looking at the sky].
    """)
    t.say("""
        "I am lost," said {h}. "Can you show me the way home?"
        "Please, how do I get home?" <asked> {h}.
        {h} told {e.o} everything. "I want to go home," {h.he} said.
        "Excuse me," said {h}. "I can't find my way home."
    """)
    w.note(h, "ask", "the way home", e)
    if t.ends_kindly():
        w.note(e, "help", None, h)
        t.say("""
            "Do not be afraid," said {e}. "[I know your mother.|I know the way.|It is not so far.]" {e.he} \
            took {h.o} [by the {h.hand}|along] and brought {h.o} home.
            {e} gave {h.n} [a cup of warm milk|a piece of bread|a warm coat] and walked with {h.o} all the \
            way home.
            "Go left at the old [mill|well], then over the bridge," said {e}. "No, wait. I will come with you."
            "It is not far," said {e} with a smile, and {e.he} brought {h.o} home.
            "Come, little one," said {e}. [Side by side|Slowly|Talking all the way], they walked home.
        """)
        w.be(h, "home")
        t.say("""
            {m} stood at the door and hugged {h.o}.
            {m} cried with joy when {h} came in.
            "There you are!" <cried> {m}, and {m.he} hugged {h.o} tight.
        """)
        close(t, e, "it is good to ask for help", 0.5)
    else:
        t.solved = False
        t.say("""
            "That is not my problem," said {e}, and {e.he} [shut the door|walked on].
            {e} laughed. "Find it yourself," {e.he} said.
            {e} pointed the wrong way on purpose and laughed when {h} ran off.
            "Go away," said {e}. "I have no time for lost little ones."
            {e} shrugged. "What do I care?" {e.he} said and looked away.
        """)
        w.note(e, "refuse", None, h)
        t.maybe(0.8, """
            {h} walked half the night before {h.he} found {h.his} home.
            {h} had to sleep under a bush[, cold and hungry|].
            It was long after dark when {h.he} got home.
        """)
        close(t, e, "one should not follow everything that glitters", 0.25, "hero")


# What has to be done, and how.
_LOADS = rows("""
a heavy sack of flour | carry
a cart full of wood | push
two buckets of water | carry
a basket of potatoes | carry
a big box | lift
a broken gate | mend
a pile of leaves | sweep up
a cart of hay | push
a heavy trunk | carry
a load of bricks | carry
a wet carpet | hang up
a long ladder | carry
a stubborn wheel | turn
a barrel of apples | roll home
a heap of stones | move
""")


def helping_old(t: Stage) -> None:
    """Someone old needs help while the hero is in a hurry."""
    h, w, rng = t.hero, t.world, t.rng
    e, f, p = t.elder(), t.friend(), t.place("outdoor")
    opening(t, "sunny cloudy windy cold hot")
    t.say("""
        {lead}{f.intro} [wanted to play|was waiting] {q.at}, and {h} was in a hurry to get there.
        {lead}{h} wanted to meet {f.intro} {q.at}.
        "Come and play {q.at}!" {f.intro} had said. So {lead}{h} [ran|set off].
        {lead}{h} <ran> along the road, because {f.intro} was waiting {q.at}.
    """, q=p)
    w.be(f, p.label)
    detour(t)
    load, verb = rng.choice(_LOADS)
    t.bound.update(load=load, verb=verb)
    t.topic = load.split(" full ")[0].split(" of ")[0].split()[-1]
    t.say("""
        On the road, {h.he} saw {e.a} with {load}.
        At the foot of a hill stood {e.a} with {load}.
        By the side of the road was {e.a} who had to {verb} {load}.
        Then {h} came upon {e.a}, who had to {verb} {load} all alone.
        There, in the middle of the road, was {e.a} with {load}.
        But then {h} saw {e.a} who tried to {verb} {load}.
    """)
    t.feel(e, "tired,weak,worn out,out of breath", 1, """
        {e} was {feeling} and had to stop again and again.
        {e} looked {feeling}. "It is too much for me," {e.he} said.
        {e} sat down on a stone and sighed. {e.he} was {feeling}.
        "My back hurts," said {e}, who looked {feeling}.
        {e} wiped {e.his} [face|brow]. {e.he} was {feeling}.
        "I am not young any more," said {e}, who was {feeling}.
    """)
    t.maybe(0.6, """
        "Can you help me?" asked {e}.
        "Would you help me {verb} it?" asked {e}.
        {e} looked at {h.n} and waited.
    """)
    t.maybe(0.75, """
        {h} <thought>. {f.n} was waiting[, and it was late|].
        "But {f.n} is waiting for me," {h} thought.
        {h} looked down the road. {f.n} was waiting there.
        If {h} stopped, {h.he} would be late. {f.n} would have to wait.
    """)
    if t.ends_kindly():
        w.note(h, "help", load, e)
        t.say("""
            "I will help you," said {h.n}. Together they did it in no time.
            "Playing can wait," said {h.n}, and {h.he} helped {e.o} {verb} {load}.
            {h.n} rolled up {h.his} sleeves and helped {e.o} until it was done.
        """ if not h.animal else """
            "I will help you," said {h.n}. Together they did it in no time.
            "Playing can wait," said {h.n}, and {h.he} helped {e.o} {verb} {load}.
            {h.n} stayed and helped {e.o} until it was done.
        """)
        if rng.chance(0.6):
            o = t.thing("small")
            w.own(e, o)
            w.give(e, o, h)
            t.say("""
                "You have a good heart," said {e}, and {e.he} gave {h.n} {o.a}.
                {e} gave {h.n} {o.a} to say thank you.
                "Thank you," said {e}. "Take this." It was {o.a}.
            """)
        else:
            thank(t, e, h)
        t.maybe(0.5, """
            When {h.n} told {f.n} about it, {f.n} was not angry at all.
            {f.n} had waited, and they played until dark.
            Later, {f.n} said, "I would have helped, too."
        """)
        close(t, e, "helping others makes you happy", 0.5)
    else:
        t.solved = False
        w.note(h, "refuse", None, e)
        t.say("""
            "I have no time," said {h.n}, and {h.he} ran on.
            {h.n} looked away and walked past {e.o} without a word.
            "Ask someone else," said {h.n} and ran past {e.o}.
            {h.n} [giggled|laughed] and did not help. "You are so slow," {h.he} said.
            "That is not my work," said {h.n}. {h.he} laughed and left {e.o} there.
        """)
        t.maybe(0.7, """
            {e} worked alone until it was dark.
            {e} shook {e.his} head and went on alone.
            When {h.n} came {q.to}, {f.n} had already gone.
        """)
        close(t, e, "those who never help are soon alone", 0.3, "other")


def errand(t: Stage) -> None:
    """Food has to be brought to someone who waits; on the way there is a temptation."""
    h, w, rng = t.hero, t.world, t.rng
    k, f, p = t.kin("k", (("grandma", "Grandma", "she"), ("grandpa", "Grandpa", "he"), ("aunt", "Auntie", "she"),
                          ("uncle", "Uncle", "he"))), t.friend(), t.place("outdoor")
    _, many = t.food()
    n = rng.between(3, 9)
    t.bound["n"] = number(n)
    opening(t, "sunny windy cloudy cold snowy")
    w.stock(h, many, n)
    t.say("""
        {lead}{m} put {n} {many} into a basket. "Take them to {k.call}," {m.he} said. "{k.he} is ill."
        {k} was ill and had to stay in bed. So {m} gave {h.o} {n} {many} to take there.
        "{k.call} is waiting for these {n} {many}," said {m}. "[Do not stop on the way.|Go straight there.]"
        {lead}{h} had to take {n} {many} to {k.o}[, who lived {q.near}|].
        {k} had a bad cold. {lead}{m} packed {n} {many} for {k.him}, and {h} was to bring them.
        "Will you take these {n} {many} to {k.call}?" asked {m}. "{k.he} can't leave the house."
    """, q=p)
    k.known = True
    t.maybe(0.6, """
        {h} took the basket and [went off|set off].
        "I will," said {h.n}, and off {h.he} went.
        {h} carried the basket with both {h.hands}.
        {h} held the basket tight.
        Off went {h} with the basket.
    """)
    detour(t, 0.7)
    t.say("""
        The way went past {q.the}, and there {h.he} met {f.stranger}.
        {q.at}, {h} met {f.stranger}.
        Halfway, {f.stranger} was playing {q.at}.
        When {h} came {q.to}, {f.stranger} was there.
    """)
    w.be(h, p.label)
    w.be(f, p.label)
    t.say("""
        "What do you have there?" asked {f}. "Mmm, {many}! Nobody would miss [them|a few of them]."
        "[Stay and play with me|Come and play]!" said {f}. "You can eat the {many} with me."
        {f} smelled the {many}. "Let us eat them," {f.he} said. "{k.call} will never know."
        "{many}! My favorite!" <cried> {f}. "Give me some. {k.call} does not need so many."
    """)
    t.maybe(0.7, """
        The {many} smelled so good. {h.p} mouth watered.
        {h} looked into the basket and <thought>.
        {h} was hungry, and the sun was still high.
        {h} stopped. {k.call} was waiting, but the {many} smelled so good.
    """)
    t.feel(h, "unsure,torn,hungry,tempted", 0.4, "{h} felt {feeling}.\n{h} was {feeling} and stood still.")
    if t.ends_kindly():
        t.say("""
            "No," said {h.n}. "They are for {k.call}. But come with me!"
            {h.n} shook {h.his} head. "I gave my word," {h.he} said, and {h.he} took {f.n} along.
            "They are not mine," said {h.n}. "I will come and play later." And {h.he} walked on.
        """)
        w.be(h, f"{k.label}'s house")
        left = w.use(h, "bring", many, n, k)
        assert left == 0
        t.say("""
            {k.n} was so glad. {k.he} got all {n} {many}.
            {k.n} counted the {many}. There were {n}. "How good of you!" {k.he} said.
            {k.n} sat up in bed and <smiled> when {h.n} gave {k.him} the {n} {many}.
            "{n} {many}!" said {k} and laughed. "Now I feel much better."
        """)
        close(t, k, "a promise should be kept", 0.45)
    else:
        t.solved = False
        w.use(h, "eat", many, n)
        t.say("""
            They ate all {n} {many} and [threw the basket into a bush|laughed about it].
            {h.n} sat down, and they ate the {many}, all {n} of them.
            "You are right," said {h.n}. Soon the {n} {many} were eaten, every one.
        """)
        t.say("""
            {k} lay in bed alone and waited. Nobody came.
            {k} waited [all day|until it was dark] with nothing to eat.
            When it was dark, {k} was still waiting, hungry and alone.
        """)
        close(t, k, "it is wrong to eat what belongs to someone else", 0.3)
