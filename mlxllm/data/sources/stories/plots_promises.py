"""Plots about promises: a thing that is lent, a secret that is shared."""

from mlxllm.data.sources.stories.endings import close
from mlxllm.data.sources.stories.moves import detour, look_around
from mlxllm.data.sources.stories.openings import opening
from mlxllm.data.sources.stories.stage import Stage

# Sentences are laid out by hand, one way to say a thing a line.
# fmt: off


def borrowed(t: Stage) -> None:
    """A friend borrows a thing and promises to bring it back."""
    h, w, rng = t.hero, t.world, t.rng
    f, o = t.friend(), t.thing()
    opening(t, "sunny sunny windy cloudy cold", pair=f)
    w.own(h, o)
    t.say("""
        {h} had {o.a}[ from a market far away|].
        For {h.his} [last |]birthday, {h} had got {o.a}.
        {h} had {o.a}, and {h.he} [took good care of it|liked to {o.use}|was proud of it].
        {h.p} [grandpa|grandma|aunt|uncle] had [made|given|sent] {h.o} {o.a}.
        {h} owned {o.a}. [Nobody else had one like it|It was as good as new].
    """)
    t.say("""
        {lead}{f.intro} [came to visit|knocked at the door|came by|wanted to see {h.o}].
        {lead}{f.intro} saw the {o.noun}[ in {h.p} window| at {h.p} home|].
    """)
    t.say("""
        "[What a <pretty> {o.noun}!|I like your {o.noun}.|Oh, {o.a}!] [May|Can] I borrow it?" asked {f}.
        "Can I have your {o.noun} [until tomorrow|for one day|for a little while]?" asked {f}. "I want to \
        {o.use} too."
        {f} wanted to {o.use}. "Please, may I borrow it?" {f.he} asked.
        "I need {o.an} [for tomorrow|today]," said {f}. "[Will you lend me yours|Can you lend me yours]?"
    """)
    t.maybe(0.6, """
        {h} <thought>. It was {h.his} [best thing|favorite thing], but {f} was {h.his} friend.
        {h} was not sure[ what to say|].
        {h} looked at the {o.noun} for a long time.
        It was hard for {h.o} to say yes.
    """)
    t.say("""
        "Yes," said {h.n} [at last|then]. "But please bring it back [tomorrow|on Sunday|before dark|soon]."
        "You may," said {h.n}, "~but take good care of it[, please|]."
        "All right," said {h.n}. "Promise that you will bring it back." "I promise," said {f.n}.
        {h.n} nodded. "[Only for one day|Just until Friday|But not for long]," {h.he} said.
    """)
    w.give(h, o, f, "lend")
    t.say("""
        {f} took the {o.noun} and [skipped|ran|walked|hurried] home.
        So {h} gave {f.o} the {o.noun}, and {f} went [away|home] with it.
        {f} <smiled> and carried the {o.noun} home.
        {f} put the {o.noun} under {f.his} arm and [left|was gone].
    """)
    t.paragraph()
    t.say("""
        [A day|Two days|Three days|A whole week] went by, and {f} did not come.
        The next day, {h} waited [at the gate|by the window|at the door|on the steps]. Nobody came.
        {h} waited and waited. "Where is {f.n}?" {h.he} asked.
        The day came when {f} should have come back, but {f.he} did not.
    """)
    t.feel(h, "worried,sad,angry,cross,unhappy", 1, """
        {h} was {feeling}. "What if I never see my {o.noun} again?" {h.he} thought.
        "I want my {o.noun} back," {h} thought, and {h.he} was {feeling}.
        {h} missed the {o.noun} and was {feeling}.
        {h} was {feeling} and [did not eat supper|could not sleep].
    """)
    detour(t, 0.3)
    t.say("""
        <atlast>, {h} went to see {f.n}.
        So {h} went to {f.p} [door|home] and knocked[ three times|].
        Then {h} met {f.n} on the [path|road|way home].
    """)
    if t.ends_kindly():
        w.give(f, o, h, "return")
        t.say("""
            "I am sorry that I am late," said {f.n}. "Here is your {o.noun}. I [cleaned|polished|wrapped] it for you."
            {f.n} held out the {o.noun}. "I was just on my way to you," {f.he} said. "[Thank you|Many thanks]!"
            "I was ill and had to stay in bed," said {f.n}. "But here is your {o.noun}." It was as good as before.
            {f.n} gave the {o.noun} back at once. "Forgive me," {f.he} said. "[I forgot the day|I lost my way|It was \
            such fun that I forgot the time]."
        """)
        t.feel(h, "happy,glad,relieved,not angry any more", 0.6, "{h} was {feeling}.\nNow {h} was {feeling}.")
        close(t, f, "a promise should be kept", 0.4)
    else:
        t.solved = False
        w.note(f, "keep", o.label)
        t.say("""
            "What {o.noun}?" said {f.n}. "I have no {o.noun} of yours." {f.he} shut the door.
            "I like it, so I will keep it," said {f.n}, and {f.he} did not give the {o.noun} back.
            "Go away," said {f.n}. "The {o.noun} is mine now."
            {f.n} hid the {o.noun} behind {f.his} back. "[You gave it to me|It was a gift]," {f.he} lied.
        """)
        close(t, f, "a promise that is broken hurts", 0.4, rng.choice(("hero", "both")))


def hiding_place(t: Stage) -> None:
    """The hero shows a friend a secret place and asks to keep it secret."""
    h, w, rng = t.hero, t.world, t.rng
    f, p, o = t.friend(), t.place("outdoor", "green"), t.thing("small")
    opening(t, "sunny cloudy windy foggy", pair=f)
    spot = p.spots.pop()
    t.bound["spot"] = spot
    w.own(h, o)
    t.say("""
        {h} had a secret place. It was {q.at}, {spot}.
        Nobody knew that {h} had a [hiding place|secret corner] {q.at}. It was {spot}.
        {spot}, {q.at}, {h} had a place that belonged to {h.o} alone.
        There was a place {q.at}, {spot}, that only {h} knew.
    """, q=p)
    t.say("""
        There {h.he} kept {o.a}[ in a tin box| wrapped in a cloth| under a flat stone|].
        In it, {h} hid {h.his} treasure, {o.a}.
        {h.he} had put {o.a} there so that nobody could [take|find] it.
        {h.his} {o.full} was there, [safe and dry|well hidden].
    """)
    o.known = True
    t.say("""
        {lead}{h} took {f.intro} along. "You must not tell anyone," said {h}.
        {lead}{f.intro} asked, "Where do you always go?" ^{h} <thought>. "Can you keep a secret?" {h.he} asked.
        "Come with me," said {h} to {f.intro}. "But it is a secret."
        {lead}{h} said to {f.intro}, "I will show you something, but you must not tell [anyone|a soul]."
    """)
    t.say("""
        "I promise," said {f}.
        {f} put a {f.hand} on {f.his} heart. "I promise," {f.he} said.
        "I will [not tell a soul|be as silent as a fish|never tell]," <whispered> {f}.
        {f} nodded three times.
    """)
    w.note(f, "promise", "the secret", h)
    w.be(h, p.label)
    w.be(f, p.label)
    t.say("""
        {h} showed {f.o} the {o.noun}. "It is [wonderful|so <pretty>]," said {f}.
        So {f} saw the hiding place and the {o.noun}.
        They sat there all afternoon, and {f} held the {o.noun}.
        They [crawled in|sat down], and {h} put the {o.noun} into {f.p} {f.hands}.
    """)
    look_around(t, p, 0.5)
    t.paragraph()
    t.say("""
        The next [day|morning], {h} came back alone. The {o.noun} was gone!
        [Two|Three|Four] days later, {h} looked {spot}. There was no {o.noun}.
        But when {h} came back, the place was empty.
        A week went by. Then {h} saw that the {o.noun} was not there any more.
    """)
    w.give(h, o, f, "lose to")
    t.feel(h, "shocked,sad,angry,upset", 1, """
        {h} was {feeling}. Only {f.n} had known about it.
        "{f.n} was the only one who knew," {h} thought, and {h.he} was {feeling}.
        {h} felt {feeling} and <ran> to {f.p} home.
        Who had it? {h} was {feeling} and [went to find|looked for] {f.n}.
    """)
    if t.ends_kindly():
        w.give(f, o, h, "return")
        t.say("""
            But {f.n} was already on the way. "There was water in your hiding place," {f.he} said. "I saved the \
            {o.noun} for you." And {f.he} gave it to {h.n}.
            "Here it is," said {f.n}. "I saw a [magpie|rat|thief] near the place, so I kept it safe. I told nobody." \
            ^{h.n} took the {o.noun} and laughed.
            "I only wanted to polish it for you," said {f.n}, and {f.he} gave the {o.noun} back. "Your secret \
            is safe \
            with me."
        """)
        close(t, f, "a good friend can be trusted", 0.45)
    else:
        t.solved = False
        t.say("""
            And there sat {f.n} with the {o.noun}. "Secrets are silly," {f.he} said. "Everyone has seen your \
            place now."
            {f.n} had told everyone, and {f.he} did not give the {o.noun} back.
            "I took it," said {f.n} and laughed. "Why did you show it to me?"
            {f.n} wore a big grin. "What is hidden belongs to the one who takes it," {f.he} said and kept the \
            {o.noun}.
        """)
        close(t, f, "a broken promise breaks a friendship", 0.4, rng.choice(("hero", "both")))
