"""Plots about someone in need: stuck and calling for help, a noise in the night, an ill friend."""

from mlxllm.data.sources.stories.endings import close
from mlxllm.data.sources.stories.moves import go, thank
from mlxllm.data.sources.stories.openings import opening, tell_night
from mlxllm.data.sources.stories.stage import Stage
from mlxllm.data.sources.stories.template import rows
from mlxllm.data.sources.stories.world import article, number

# Sentences are laid out by hand, one way to say a thing a line.
# fmt: off


# Where someone is stuck, how one gets them out, what with.
_TRAPS = rows("""
stuck in the mud | pulled | a long branch
caught in a thorn bush | freed | two sticks
down in a deep hole | saved | a rope
caught in an old net | freed | a sharp stone
stuck under a fallen tree | freed | a strong pole
stuck between two rocks | freed | a thick branch
stuck in a hollow log | freed | a piece of rope
stuck in an old barrel | freed | a heavy stone
up to the neck in a bog | saved | a wide plank
on a thin branch over the water | saved | a long ladder
stuck on a tiny island | saved | an old raft
in the cold water of a well | saved | a bucket on a rope
""")


def rescue(t: Stage) -> None:
    """Someone is stuck and calls for help."""
    h, w, rng = t.hero, t.world, t.rng
    f, p = t.friend(), t.place("outdoor")
    # Who can swim or fly is not helpless over water.
    at_home = f.species and (f.species.swims or f.species.hands[0] == "wing")
    trap, verb, tool = rng.choice(_TRAPS[:-3] if at_home else _TRAPS)
    t.topic = trap.split()[-1]
    t.bound.update(trap=trap, verb=verb, tool=tool)
    opening(t, "sunny windy cloudy cold")
    go(t, h, p)
    t.say("""
        {h.he} heard a [voice|cry|small voice]. "Help! Help!" it called.
        Then {h} heard someone cry for help.
        "Help!" called somebody[ not far away| from behind a bush].
        <suddenly>, there was a strange sound. Somebody was crying.
        A thin voice called, "Is anyone there? Help me!"
        From far away came a cry for help.
    """)
    w.note(h, "hear", "a cry")
    t.say("""
        {h} followed the sound and found {f.stranger}, {trap}.
        It was {f.stranger} who was {trap}.
        {h} <ran> there and saw {f.stranger}. {f.he} was {trap}.
        There was {f.stranger}, {trap}.
        It was not easy to see, but {f.stranger} was {trap}.
    """)
    w.be(f, p.label)
    t.feel(f, "scared,afraid,frightened,tired", 1, """
        "I have been here since [morning|yesterday]," said {f}, who was {feeling}.
        {f} was {feeling}. "Please help me," {f.he} said.
        "I can't get out," <whispered> {f}. ^{f.he} looked {feeling}.
        "Do not leave me here," said {f}, who was {feeling}.
        {f} [cried|shook all over]. {f.he} was {feeling}.
    """)
    if rng.chance(0.6):
        t.say("""
            {h} pulled as hard as {h.he} could, but it was no use.
            {h} tried it with {h.his} {h.hands}, but {h.he} was not strong enough.
            First {h} pulled and pulled. Nothing moved.
            "Hold still," said {h} and pulled, but it did not help.
        """)
    t.say("""
        {h} looked around. There lay {tool}.
        Then {h} [saw|found] {tool}.
        Not far away lay {tool}.
        "Wait," said {h}, who had seen {tool} nearby.
        In the grass, {h} found {tool}.
    """)
    if t.ends_kindly():
        w.note(h, "rescue", None, f)
        t.say("""
            With {tool}, {h} {verb} {f.o}[, and they both fell on the ground and laughed|].
            "Hold on!" <cried> {h.n}, and {h.he} {verb} {f.o} with {tool}. ^{f.n} was safe.
            {h} took {tool} and worked until {f} was free.
            It was hard work, but {tool} did the trick. {f.n} was free!
        """)
        thank(t, f, h)
        if rng.chance(0.5):
            t.say("""
                {f} shared {f.his} lunch with {h.o}.
                {f} showed {h.o} a place where [berries|wild strawberries] grew.
                {h} took {f.o} home and gave {f.o} [soup|a warm blanket].
            """)
        close(t, f, "nobody is too small to help", 0.4)
    elif rng.chance(0.5):
        t.solved = False
        w.note(h, "leave", None, f)
        t.say("""
            But {h} only laughed. "You look so silly," {h.he} said, and {h.he} went away.
            "I do not want to get dirty," said {h.n}, and {h.he} left {f.o} there.
            "It is your own fault," said {h.n}. {h.he} turned around and walked home.
            {h} sat down and watched. "How funny," {h.he} said, and {h.he} did not help.
        """)
        t.maybe(0.7, "{f.n} was alone in the dark.\n{f.n} called and called, but nobody came.")
        close(t, f, "it is cruel to leave someone in need", 0.3, "other")
    else:
        w.note(h, "rescue", None, f)
        t.say("""
            With {tool}, {h.n} {verb} {f.n}. But {f.n} did not say thank you. {f.he} [laughed and ran \
            off|threw mud at {h.n} and ran off].
            {h.n} took {tool} and {verb} {f.n}. "That took you a long time," said {f.n}, and {f.he} left \
            without a word of thanks.
        """)
        close(t, f, "it costs nothing to say thank you", 0.3, "hero")


# What is heard, who has made it, in what state.
_NOISES = rows("""
a scratching at the door | kitten | wet and shaking
a thump on the roof | owl | with a hurt wing
a soft whine under the stairs | puppy | thin and hungry
a tapping at the window | sparrow | cold and tired
a rustle behind the wall | mouse | with a thorn in its foot
a splash in the rain barrel | frog | tired from swimming
a squeak in the attic | bat | lost and scared
a bump in the shed | hedgehog | with its head stuck in a cup
a cry in the yard | lamb | lost and cold
a flutter in the chimney | dove | black with soot
a groan behind the barn | donkey | with a stone in its hoof
a knock on the shutter | crow | with a string around its leg
a hiss under the bed | goose | lost and angry
""")


def strange_noise(t: Stage) -> None:
    """A noise in the night turns out to be a small animal in need."""
    h, w, rng = t.hero, t.world, t.rng
    k = t.kin("k", (("sister", "Sister", "she"), ("brother", "Brother", "he"), ("cousin", "Cousin", "she")))
    noise, guest, state = rng.choice(_NOISES)
    while guest == h.kind:
        noise, guest, state = rng.choice(_NOISES)
    t.topic = guest
    t.bound.update(noise=noise, guest=guest, state=state, a_guest=article(guest))
    opening(t, "")
    t.say("""
        One night, {h} could not sleep. There was {noise}.
        In the middle of the night, {h} woke up. {h.he} heard {noise}.
        It was late, and everyone was in bed. <suddenly>, {h} heard {noise}.
        "What was that?" said {h}. It was dark, and there was {noise}.
        The moon was high when {h} opened {h.his} eyes. There was {noise}.
        {h} was almost asleep when {h.he} heard {noise}.
    """)
    w.note(h, "hear", noise)
    tell_night(t, 0.5)
    t.feel(h, "scared,afraid,frightened,nervous", 1, """
        {h} was {feeling} and pulled the blanket over {h.his} head.
        {h.he} was {feeling}. "Maybe it is a [monster|ghost|giant]," {h.he} thought.
        {h.p} heart [beat|pounded]. {h} was {feeling}.
        "[Is it a witch|Is it a dragon|Is it a wolf]?" {h} thought. {h.he} was {feeling}.
    """)
    t.maybe(0.7, """
        There it was again!
        Then it came again, louder this time.
        {h} held {h.his} breath and listened. There it was again.
    """)
    t.paragraph()
    t.say("""
        {h} woke {k}. "Did you hear that?" {h.he} asked.
        {h} crept to {h.his} {k.noun} and shook {k.him}. "There is something out there," {h.he} said.
        {k} had heard it too. "Come," {k.he} said, "~let us look."
        "{k.call}, wake up!" <whispered> {h}. ^{k} [rubbed {k.his} eyes|yawned].
    """)
    w.note(h, "wake", None, k)
    t.say("""
        They took a [candle|lamp] and went to look[, step by step|].
        Hand in hand, they went [through the dark|down the stairs].
        On their toes, they went to see what it was.
        They held their breath and opened the door.
        With a candle, they looked into every corner.
    """)
    t.say("""
        It was no monster. It was {a_guest}, {state}.
        And what did they see? {a_guest}, {state}!
        There sat {a_guest}, {state}.
        In the light, they saw {a_guest}, {state}.
        But it was only {a_guest}, {state}.
    """)
    w.note(h, "find", guest)
    if t.ends_kindly():
        w.note(h, "help", guest)
        t.say("""
            {h} laughed with relief. They brought the {guest} in and gave it [something to eat|some water] \
            and a warm bed.
            "You poor thing," said {h.n}. They took it in, and it slept in a box by the stove.
            They helped the {guest} and fed it, and {k} dried it with a towel.
            "Do not be afraid," said {h.n} to the {guest}. They took care of it, and soon it slept.
        """)
        t.feel(h, "glad,happy,not afraid any more,proud", 0.6, "{h} was {feeling}.\nThen {h} was {feeling}.")
        close(t, k, "what sounds big in the dark may be very small", 0.45)
    else:
        t.solved = False
        w.note(h, "refuse", guest)
        t.say("""
            "It is only {a_guest}," said {h.n}. {h.he} chased it away into the night.
            "Go away!" <cried> {h.n}. "You woke me up!" ^{h.he} slammed the door.
            {k} wanted to help it, but {h.n} said no and pushed {k.o} back to bed.
            "I do not care," said {h.n}. {h.he} shut the window and left it out there.
        """)
        t.maybe(0.6, "Outside, the {guest} cried alone.\nThe {guest} had no place to go.")
        close(t, k, "it is cruel to send away someone in need", 0.3)


def sick_friend(t: Stage) -> None:
    """The friend is ill; the hero visits, or plays with others."""
    h, w, rng = t.hero, t.world, t.rng
    f = t.friend("f")
    g = t.friend("g")
    opening(t, "sunny cloudy rainy snowy cold", pair=f)
    _, many = t.food("tree", "bush", "oven")
    n = rng.between(2, 8)
    t.bound["n"] = number(n)
    t.say("""
        {lead}{h} waited for {f.intro}, but nobody came.
        {lead}{f.intro} did not come out to play.
        {lead}{h} wanted to play with {f.intro}, but {f.he} was not there.
    """)
    w.note(f, "be ill")
    t.say("""
        {f} was ill. {f.he} had [a fever|a bad cold|a sore throat] and had to stay in bed.
        "{f.n} is ill," said {m}. "{f.he} has to stay in bed[ for a week|]."
        {f} lay in bed with [a cold|a headache|a cough] and was [bored|very bored].
        {f} had eaten too much ice and was in bed with a [fever|cough].
        "Poor {f.n} is in bed with a [cold|fever]," said {m}.
    """)
    t.maybe(0.7, """
        {h} <thought>. What would make {f.n} happy?
        {h} wanted to do something for {f.o}.
        "Poor {f.n}," said {h}. "{f.he} must be so lonely."
        {h} remembered how {h.he} had once been ill, too.
        "I will [visit {f.n}|cheer {f.n} up]," said {h}.
    """)
    w.stock(h, many, n)
    t.say("""
        {h} put {n} {many} into a bag.
        {m} gave {h.o} {n} {many}. "Take them to {f.n}," {m.he} said.
        So {h} packed {n} {many} and [a funny picture|a book|some flowers].
        {h} bought {n} {many} for {f.o}.
        "{f.n} likes {many}," said {h}, and {h.he} put {n} of them into a basket.
    """)
    t.say("""
        On the way, {h.he} met {g.intro}. "[Come and play|Let us go and play]!" said {g.n}. "{f.n} won't even \
        notice."
        At the corner stood {g.intro}. "What {many}!" said {g.n}. "Come and play with me."
        "Are you going to see {f.n}?" asked {g.intro}. "That is boring. Come with me!"
        Halfway there, {g.intro} was [flying a kite|playing with a ball]. "Stay here," said {g.n}. "It is more fun."
    """)
    t.maybe(0.6, "{h} stopped.\n{h} looked at the bag and then at {g.n}.\n{h} was not sure what to do.")
    if t.ends_kindly():
        w.be(h, f"{f.label}'s house")
        w.use(h, "give", many, n, f)
        t.say("""
            "{f.n} needs me," said {h.n}. {h.he} went to {f.n} and gave {f.him} the {n} {many}.
            "Come with me instead," said {h.n}. They both went to {f.n}, and {h.n} gave {f.him} the {n} {many}.
            {h.n} shook {h.his} head and walked on. When {f.n} got the {n} {many}, {f.he} sat up and laughed.
            "I can play tomorrow," said {h.n}. ^{h.he} sat at {f.p} bed, and {f.n} got the {n} {many}.
        """)
        t.feel(f, "happy,glad,much better,cheerful", 0.7, """
            {f.n} felt {feeling} [that day|at once].
            "A visitor!" <cried> {f.n}, who felt {feeling}.
        """)
        close(t, f, "a visit can be the best medicine", 0.4)
    else:
        t.solved = False
        w.note(h, "play", None, g)
        w.use(h, "eat", many, n)
        t.say("""
            "You are right," said {h.n}. They ate the {n} {many} and played until dark.
            {h.n} went with {g.n}, and they ate all {n} {many}. ^{h.he} did not think of {f.n} any more.
            "Why not?" said {h.n}. They sat in the sun and ate the {n} {many}, and {f.n} was forgotten.
        """)
        t.say("""
            {f.n} lay in bed and looked at the door. It did not open.
            {f.n} waited all day. Nobody knocked.
            All alone, {f.n} looked out of the window.
            {f.n} listened for steps. There were none.
        """)
        close(t, f, "it is mean to forget a friend in need", 0.3, "other")
