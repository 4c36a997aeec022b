"""Plots about things that take time: planting seeds, learning a skill, taking turns."""

from mlxllm.data.sources.stories.endings import close
from mlxllm.data.sources.stories.moves import thank
from mlxllm.data.sources.stories.openings import opening
from mlxllm.data.sources.stories.stage import Stage
from mlxllm.data.sources.stories.template import rows
from mlxllm.data.sources.stories.things import PLANTS
from mlxllm.data.sources.stories.world import article, number

# Sentences are laid out by hand, one way to say a thing a line.
# fmt: off


def planting(t: Stage) -> None:
    """Seeds are planted and take their time; the harvest is shared or spoiled."""
    h, w, rng = t.hero, t.world, t.rng
    f = t.friend()
    one, many = rng.choice(PLANTS)
    t.topic = many
    n = rng.between(4, 9)
    grown = rng.between(3, n)
    t.bound.update(one=one, many=many, n=number(n), k=number(grown))
    opening(t, "sunny cloudy")
    w.stock(h, "seeds", n)
    t.say("""
        {lead}{m} gave {h.o} {n} seeds. "They will turn into {many}," {m.he} said.
        {lead}{h} found {n} {one} seeds in a drawer.
        {lead}{h} got {n} seeds from a neighbor. They were {one} seeds.
        {lead}{h} wanted to grow {many}, and {m} gave {h.o} {n} seeds.
        In an old tin box, {h} found {n} {one} seeds.
        "Look, {n} {one} seeds!" said {m}. "Shall we plant them?"
        {lead}a bird dropped {n} {one} seeds right in front of {h.o}.
    """)
    w.use(h, "plant", "seeds", n)
    t.say("""
        {h} dug {n} small holes, put one seed into each, and covered them with [earth|soil].
        {h} planted all {n} of them behind the house and gave them water.
        {h} put the {n} seeds into the ground[, one by one|] and sang to them.
        One after the other, {h} pushed the {n} seeds into the [soft|dark|warm] ground.
        With a stick, {h} made {n} holes, and into each hole went a seed.
    """)
    t.maybe(0.7, """
        The next morning, {h} looked. There was nothing to see.
        A day went by, and another day. Nothing happened.
        Every morning, {h} ran out to look, but the ground was [bare|brown and bare].
        "Grow!" said {h} to the seeds. They did not listen.
        On the second day, {h} looked, and on the third day, too. There was only [earth|dust].
        {h} [watered the ground|lay down and listened], but nothing moved.
    """)
    t.feel(h, "impatient,sad,cross,unhappy", 0.8, """
        {h} was {feeling}. "I will dig them up and look," {h.he} said. "No," said {m}. "Give them time."
        "Maybe they are asleep," said {h}, and {h.he} felt {feeling}. "You have to wait," said {m}.
        {h} was {feeling} and wanted to give up, but {m} said, "[Good things take time.|Wait a little longer.]"
        Soon {h} was {feeling}. "[Seeds are slow|Seeds need sleep|A seed is never in a hurry]," said {m}.
        "It does not work," said {h}, who was {feeling}. {m} only smiled.
    """)
    t.paragraph()
    t.say("""
        So {h} waited. It rained, and the sun shone. One day, {k} green [tips|shoots] came out of the ground.
        {h} gave them water [day after day|every evening]. Then, after [two|three] weeks, {k} of them came up.
        The rain came, and then the sun. And one morning, {h} saw {k} little green plants.
        After [a warm night|a week of rain], there they were, {k} tiny green leaves.
        Then, on a [bright|cool|misty] morning, {k} of the seeds had come up.
    """)
    w.note(h, "grow", many, count=grown)
    t.say("""
        They grew and grew, and in summer {h} had {k} {many}.
        By the end of summer, there were {k} {many}[, each one bigger than the other|].
        At last {h} had {k} beautiful {many}. {h.he} was so proud!
        [In July|In August|Before the fall], {h} counted {k} {many}.
        The bees came, the sun shone, and in the end there were {k} {many}.
    """)
    w.stock(h, many, grown)
    t.say("""
        {f.stranger} [lived next door|came by] and looked over the fence.
        One day, {f.stranger} stopped at the fence and looked at the {many}.
        That was when {f.stranger} came along the road.
        Then {f.stranger} [passed by|came by] and stood still in surprise.
        {f.stranger} saw them from the road.
    """)
    if t.ends_kindly():
        give = rng.between(1, grown - 1)
        w.use(h, "give", many, give, f)
        t.bound.update(g=number(give), gm=one if give == 1 else many, l=number(grown - give))
        t.say("""
            "They are wonderful," said {f.n}. ^{h.n} gave {f.him} {g} {gm} and kept {l}.
            "Would you like some?" asked {h.n}. ^{f.n} got {g} {gm}, and {h.n} had {l} left.
            {h.n} picked {g} {gm} for {f.n}. That left {l}.
            "{g} for you and {l} for me," said {h.n}, and {f.n} [beamed|could not believe it].
        """)
        thank(t, f, h)
        close(t, f, rng.choice(("good things take time", "joy grows when it is shared")), 0.5)
    else:
        t.solved = False
        t.say("""
            At night, {f.n} came back and [stole|pulled up] all {k} {many}. In the morning, not one was left.
            {f.n} jumped over the fence and trampled all {k} {many}. Then {f.he} laughed and ran off.
            "I want them," said {f.n}, and {f.he} took all {k} {many} and ran away.
        """)
        w.use(h, "lose", many, grown)
        close(t, f, "it is easy to spoil what took so long to grow", 0.3, "hero")


# The skill, what goes wrong, good advice, how it is when it works; {he} and {his} stand for the hero.
_SKILLS = rows("""
whistle | only air came out | put your lips like this and blow softly | it was a high, clear whistle
swim | {he} swallowed a lot of water | kick your legs and keep your head up | {he} swam to the other side
skip rope | {he} got tangled in the rope | jump when the rope touches the ground | {he} jumped ten times
tie a knot | the knot came open | make a loop first and pull it tight | the knot held fast
throw a ball | the ball flew the wrong way | look where you want it to go | the ball flew straight and far
stand on one leg | {he} fell over | look at one spot and breathe slowly | {he} stood like a stork
bake bread | the bread was as hard as a rock | let the dough rest under a cloth | the bread was soft and brown
draw a horse | it looked like a potato | begin with the back and the long neck | it was a real horse with a mane
do a handstand | {he} landed on {his} back | keep your arms straight | {he} stood upside down and laughed
sing high notes | it sounded like a rusty gate | take a deep breath first | the note was clear as a bell
skate on the ice | {he} fell on {his} bottom | bend your knees a little | {he} glided over the ice
juggle | everything fell down | start with two and keep your eyes up | up and down they went, and nothing fell
count to ten | {he} forgot the number seven | sing the numbers like a song | {he} counted all the way to ten
read a map | {he} held it upside down | look for the river first | {he} found the way without help
ride a bike | {he} fell into a hedge | look ahead and keep on going | {he} rode all the way around the pond
make a fire | there was only smoke | use dry leaves and small twigs | a warm little fire was burning
""")


def practice(t: Stage) -> None:
    """Something does not work at first; a friend teaches it, or laughs."""
    h, w, rng = t.hero, t.world, t.rng
    f = t.friend()
    skill, fails, advice, works = rng.choice(_SKILLS)
    while skill == "swim" and h.species and h.species.swims:
        skill, fails, advice, works = rng.choice(_SKILLS)
    t.topic = skill
    opening(t, "cold" if "skate" in skill else "sunny cloudy")
    fails, works = (s.format(he=h.forms["he"], his=h.forms["his"]) for s in (fails, works))
    t.bound.update(skill=skill, fails=fails, advice=advice, works=works)
    t.bound["tries"] = rng.choice(("two", "three", "five", "ten"))
    t.say("""
        There was one thing that {h} could not do. {h.he} could not {skill}.
        {lead}{h} wanted to learn to {skill}.
        All the others could {skill}, but {h} could not.
        {h} had one wish. {h.he} wanted to {skill}.
        "I wish I could {skill}," said {h}.
        {h} had never learned to {skill}.
        Who wants to {skill}? {h} did, but {h.he} did not know how.
        More than anything, {h} wanted to {skill} like the others.
    """)
    w.note(h, "try", f"to {skill}")
    t.say("""
        {h.he} tried, but {fails}.
        {h.he} tried it once, and {fails}. {h.he} tried it {tries} times more. It was [always the same|no \
        better].
        {lead}{h} tried, but each time {fails}.
        {h} gave it a try, but {fails}. {h.he} tried again. It went wrong again.
        The first time, {fails}. The [second|third|tenth] time, it was the same.
    """)
    t.feel(h, "sad,angry,cross,upset", 0.8, """
        {h} was {feeling}. "I will never learn it!" {h.he} <cried>.
        {h} felt {feeling} and sat down on the ground.
        "It is too hard," said {h}, and {h.he} was {feeling}.
        {h} kicked a stone. {h.he} was {feeling}.
        "Why can everyone else do it?" <asked> {h}, who was {feeling}.
    """)
    t.paragraph()
    t.say("""
        {f.intro} had seen it all.
        Behind a tree stood {f.stranger}, who had watched.
        Just then, {f.intro} came by and stopped.
        {f.intro} came and sat down too.
        All this time, {f.intro} had stood [by the gate|behind a bush|in the shade].
        Then {h.n} saw that {f.stranger} was watching.
    """)
    t.maybe(0.6, """
        "I can {skill}," said {f}.
        {f} was good at it. {f.he} could {skill} [very well|better than anyone].
        "Is it so hard to {skill}?" asked {f}.
        {f} had learned to {skill} long ago.
    """)
    if t.ends_kindly():
        w.note(f, "teach", f"to {skill}", h)
        t.say("""
            "I will show you," said {f.n}. "You must {advice}."
            "Nobody can do it at first," said {f.n}. "Now {advice}."
            {f.n} did not laugh. "Try it like this," {f.he} said. "You have to {advice}."
            "I needed a long time, too," said {f.n}. "You only have to {advice}."
            {f.n} [sat down next to|came closer to] {h.n}. "Watch me and {advice}," {f.he} said.
        """)
        t.say("""
            {h.n} tried again and again. And then, {works}!
            They practiced all afternoon. <atlast>, {works}.
            Once more {h.n} tried, and {works}[!|.]
            It took until [noon|evening], but then {works}.
            {h.n} did what {f.n} had said, and {works}!
        """)
        w.note(h, "learn", f"to {skill}")
        t.feel(h, "proud,happy,very proud,overjoyed", 0.7, """
            "I did it!" <cried> {h}. ^{h.he} was {feeling}.
            {h} was {feeling}.
            How {h} laughed! {h.he} was {feeling}.
        """)
        close(t, f, "nobody can do everything at once", 0.4)
    else:
        t.solved = False
        t.say("""
            {f.n} laughed so hard that {f.he} had to hold {f.his} tummy. "You will never learn it!" {f.he} said.
            "Ha ha!" said {f.n}. "Even a baby can {skill}!" ^{f.he} told everyone about it.
            {f.n} pointed at {h.n} and laughed. "Look how silly that is!"
            "Give up," said {f.n}. "You are just too [stupid|slow|clumsy]." ^{f.he} laughed and left.
            {f.n} did it right in front of {h.n} and laughed. "You can't do it, you can't do it," {f.he} sang.
        """)
        t.maybe(0.5, """
            {h.n} did not try again.
            {h.n} gave up and hid {h.his} face.
            {h.n} wished that {h.he} had never tried.
        """)
        close(t, f, "it is mean to laugh at those who are still learning", 0.3, "hero")


# What there is only one of, what one does with it, where it is.
_TURNS = rows("""
swing | swing | under the old oak
slide | slide down | near the river
seesaw | play | behind the mill
pony cart | ride | at the fair
rope | swing over the water | at the pond
hammock | rest | between two trees
trampoline | jump | behind the barn
toy train | play | in the big hall
rowboat | row | at the lake
merry-go-round | ride | on the green
big drum | drum | in the music tent
""")


def taking_turns(t: Stage) -> None:
    """There is one swing, and two who want it."""
    h, w, rng = t.hero, t.world, t.rng
    f = t.friend()
    what, act, place = rng.choice(_TURNS)
    t.topic = what
    n = rng.between(5, 12)
    t.bound.update(what=what, act=act, place=place, n=number(n), a_what=article(what))
    opening(t, "sunny cloudy windy")
    t.say("""
        There was {a_what} {place}. {lead}{h} went there before anyone else.
        {lead}{h} ran to the {what} {place}.
        Everybody loved the {what} {place}. {lead}{h} was the first one there.
        There was only one {what}, and it was {place}. {lead}{h} got there early.
        "Hooray, nobody is here yet!" <cried> {h}. {h.he} had the {what} {place} all to {h.self}.
    """)
    w.be(h, f"the {what}")
    t.maybe(0.7, """
        "Wheee!" <cried> {h}. It was so much fun.
        {h} wanted to {act} all day long.
        {h} laughed and did not think of anything else.
        It felt [like flying|like a dream|wonderful], and {h} laughed out loud.
        {h} [sang|hummed] as loud as {h.he} could.
    """)
    t.say("""
        Then {f.intro} came[ along|]. "May I have a turn?" {f.he} asked.
        <soon>, {f.stranger} stood there and waited.
        {f.intro} came and [waited|watched] for a long time. "Now it is my turn," {f.he} said.
        After a while, {f.intro} came [running|along]. "Me too!" {f.he} <cried>.
        {f.stranger} [came closer|stood there with big eyes]. "Please, may I?" {f.he} asked.
    """)
    w.note(f, "ask", "a turn", h)
    t.say("""
        "[In a minute|Soon|Not yet]," said {h}, and {h.he} went on.
        "I was here first," said {h}.
        {h} acted as if {h.he} had not heard.
        "[Later|Just one more time|Only a little longer]," said {h}.
        {h} closed {h.his} eyes and did not stop.
    """)
    t.feel(f, "sad,angry,impatient,unhappy", 1, """
        {f} waited and waited. {f.he} was {feeling}.
        {f} counted to {n}, and then {f.he} counted to {n} again. {f.he} was {feeling}.
        The sun moved across the sky. {f} was {feeling}.
        {f} [dug a hole with one foot|sat down on the ground] and felt {feeling}.
        "When is it my turn?" asked {f}, who was {feeling}.
        One minute went by, and then another. {f} was {feeling}.
    """)
    if t.ends_kindly():
        w.note(h, "share", what, f)
        t.say("""
            {h} saw it and got down. "Now you," {h.he} said. "{n} times for you, and then {n} times for me."
            "I am sorry," said {h.n}. "I forgot the time. It is your turn now."
            Then {h.n} stopped. "Let us take turns," {h.he} said. ^{f.n} counted to {n}, and then they changed.
            "Come, there is room for two," said {h.n}, and {h.he} made room.
            {h} saw {f.p} face and jumped down. "I forgot that you were waiting," {h.he} said.
        """)
        t.maybe(0.5, "It was twice as much fun with two.\n{f.n} laughed, and so did {h.n}.")
        close(t, f, "it is more fun to take turns", 0.45)
    else:
        t.solved = False
        t.say("""
            "I will never get down," said {h.n}. "Go away!"
            {f.n} lost {f.his} temper and pushed {h.n} to the ground. Now {h.n} had a bloody knee.
            {h.n} stuck out {h.his} tongue. "It is all mine," {h.he} said, and {h.he} did not let {f.n} have \
            a turn.
        """)
        t.maybe(0.5, "{f.n} went away in tears.\nThere was a lot of shouting.")
        close(t, f, "those who never share play alone", 0.35)
