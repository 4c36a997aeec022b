"""Plots about things that are lost, lent, found or hidden."""

from mlxllm.data.sources.stories.endings import close
from mlxllm.data.sources.stories.moves import ask_what_is_wrong, detour, go, look_around, search, thank
from mlxllm.data.sources.stories.openings import opening
from mlxllm.data.sources.stories.stage import Stage

# Sentences are laid out by hand, one way to say a thing a line.
# fmt: off


def lost_and_found(t: Stage) -> None:
    """The hero loses a thing; someone else has found it, and gives it back or keeps it."""
    h, w = t.hero, t.world
    f, o, p = t.friend(), t.thing(without="fixed large"), t.place("outdoor")
    opening(t, "sunny sunny windy cloudy cold")
    w.own(h, o)
    t.say("""
        {h} had {o.a}[ that {h.he} took everywhere| from {h.his} grandma|, and {h.he} loved it| of {h.his} own].
        The [best|finest|dearest] thing {h} had was {o.a}[ from {h.his} grandpa|].
        More than anything else, {h} loved {h.his} {o.full}.
        {h.his} {o.full} was {h.p} [treasure|favorite thing|pride]. {h.he} [slept beside it|never went out \
        without it].
        {m} had once given {h.o} {o.a}, and {h.he} [took it along everywhere|carried it around all day].
    """)
    go(t, h, p)
    t.maybe(0.6, """
        {h} [played|stayed] there [all morning|for hours|until noon][ with the {o.noun} in {h.his} bag|].
        {h} took the {o.noun} along, of course.
        {h.he} wanted to {o.use} there.
        {h} ran and jumped and [forgot the time|thought of nothing else|sang at the top of {h.his} voice].
        {h} [climbed around|rolled in the grass|chased a leaf], and the {o.noun} was in {h.his} bag.
    """)
    spot = p.spots.pop()
    w.lose(h, o, spot)
    t.say("""
        But when {h} [wanted to go home|looked again|sat down to rest|wanted to {o.use}], the {o.noun} was gone[!|.]
        <suddenly>, {h} stopped[ and turned pale|]. The {o.noun} was gone!
        Then {h.he} put a {h.hand} in {h.his} bag. There was no {o.noun} in it!
        "Where is my {o.noun}?" {h} <cried>. ^It was gone.
        "<oh_no>!" <cried> {h}. "[I have lost my {o.noun}|My {o.noun} is gone|I can't find my {o.noun}]!"
        But on the way back, {h} [noticed|saw] that the {o.noun} was not in {h.his} bag any more.
    """)
    t.paragraph()
    search(t, h, o, p, 0.85)
    t.feel(h, "sad,worried,upset,unhappy,miserable", 1, """
        {h} was {feeling}[ and began to cry| and did not know what to do|].
        {h} felt {feeling}[. {h.he} sat down on the ground and [sighed|cried]|].
        A tear ran down {h.p} cheek, because {h.he} was so {feeling}.
        {h} [sat down|stood there] with an empty bag and was {feeling}.
    """)
    t.say("""
        <soon>, {f.stranger} [came along|came by|came down the path].
        Then {h} [saw|met|noticed] {f.stranger}[ on the path| not far away|].
        Not far away [sat|stood] {f.stranger}.
        Along the path came {f.stranger}.
        {f.stranger} [heard {h.o}|saw {h.o}] and came closer.
    """)
    w.be(f, p.label)
    ask_what_is_wrong(t, f, h)
    t.say("""
        "I have lost my {o.noun}," said {h}. "It is {o.adj}. Have you seen it?"
        "My {o.full} is gone," said {h}[ and wiped {h.his} eyes|].
        {h} told {f.o} [about the {o.noun}|that the {o.full} was gone|everything].
        "I can't find my {o.noun}!" <cried> {h}.
        "Have you seen {o.a}?" asked {h}. "[I had it this morning|I have looked all over the place]."
    """)
    t.bound["spot"] = spot
    w.find(f, o, spot)
    t.say("""
        {f} had found {o.a} {spot} [that day|an hour ago|that morning].
        {f} opened {f.his} bag. There was the {o.noun}! {f.he} had [found|seen] it {spot}.
        Now, {f} had the {o.noun}. {f.he} had seen it {spot} and picked it up.
        {f} looked at the ground[ for a moment|]. {f.he} had found the {o.noun} {spot}.
        It was {f} who had found the {o.noun}, {spot}.
    """)
    if t.ends_kindly():
        w.give(f, o, h, "return")
        t.say("""
            "Is this your {o.noun}?" asked {f}, and {f.he} gave it back to {h.n}.
            "Here it is," said {f}, and put the {o.noun} into {h.p} {h.hands}.
            "Then this must be yours," said {f}, and {f.he} gave {h.n} the {o.noun}.
            {f.n} [smiled|laughed] and held out the {o.noun}. "[Look what I have|I kept it safe for you]," \
            {f.he} said. \
            ^{h.n} took it back.
        """)
        t.feel(h, "happy,glad,overjoyed,delighted,relieved", 0.6, """
            {h} was {feeling}.
            {h} jumped up and down and was {feeling}.
            Now {h} was {feeling}[ again|].
        """)
        thank(t, h, f)
        close(t, f, "what is found should be given back", 0.3)
    else:
        t.solved = False
        w.note(f, "keep", o.label)
        t.say("""
            "It is mine now," said {f}. {f.he} kept the {o.noun} and [walked away|ran off].
            "Too bad for you," said {f}, and {f.he} [did not give the {o.noun} back|kept the {o.noun}].
            "No, I have not seen it," said {f}, and {f.he} [kept|hid] the {o.noun}.
            "I found it, so I keep it," said {f}[ and laughed| and stuck out {f.his} tongue|].
            {f.n} held the {o.noun} up high and laughed. "[Try and get it|Finders keepers]!" {f.he} <cried>.
        """)
        close(t, f, "it is mean to keep what belongs to someone else", 0.3, "hero")


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


def finders(t: Stage) -> None:
    """The hero finds a thing that belongs to somebody who is looking for it."""
    h, w, rng = t.hero, t.world, t.rng
    o, p = t.thing(without="fixed large"), t.place("outdoor")
    owner = t.elder() if rng.chance(0.4) else t.friend("e")
    opening(t, "sunny windy cloudy cold")
    go(t, h, p)
    spot = p.spots.pop()
    t.bound["spot"] = spot
    w.lying[o.label] = spot
    w.find(h, o, spot)
    t.say("""
        {spot}, {h.he} [found|discovered] {o.a}.
        Something lay {spot}. It was {o.a}!
        {h} looked down. There, {spot}, was {o.a}.
        <suddenly>, {h} <saw> {o.a} {spot}.
        And what did {h} find {spot}? {o.a}!
    """)
    t.feel(h, "happy,excited,glad,delighted", 1, """
        "[What a find!|How <pretty> it is!|I am so lucky!|Look at that!]" <cried> {h}, and {h.he} was {feeling}.
        {h} was {feeling}. {h.he} had always wanted {o.an}.
        {h} picked it up and was {feeling}.
        {h} [turned it over|held it up to the light] and was {feeling}.
    """)
    t.maybe(0.7, """
        {h} put the {o.noun} in {h.his} bag and walked on.
        {h} wanted to {o.use} at once.
        "It is mine now," {h} thought.
        "I will [take it home|show it to {m.call}]," {h} thought.
    """)
    detour(t)
    t.paragraph()
    t.say("""
        Then {h.n} met {e.stranger}. {e.he} looked at the ground and searched [everywhere|up and down].
        At the next corner stood {e.stranger} with tears in {e.his} eyes.
        <soon>, {h.n} heard somebody [cry|sigh]. It was {e.stranger}.
        {e.stranger} was crawling along the road. {e.he} [was looking for something|turned over every leaf].
    """)
    w.note(h, "meet", None, owner)
    t.say("""
        "I have lost my {o.full}," said {e}. "Have you seen it?"
        "Somewhere here I lost {o.a}," said {e}. "It [was a gift from my mother|means a lot to me|is all I have]."
        "My {o.noun} is gone," said {e}. "[I have looked for it all day|I had it only this morning]."
        "Have you found {o.a}?" asked {e}. "It is mine."
    """)
    t.say("""
        {h} felt the {o.noun} in {h.his} bag and <thought>.
        {h.p} heart began to beat. It was the {o.noun} that {h.he} had found.
        {h} wanted to keep the {o.noun} very much.
        Nobody had seen {h.o} find it. {h} could say nothing.
        {h} [looked at {h.his} feet|turned red|bit {h.his} lip]. The {o.noun} was in {h.his} bag.
    """)
    if t.ends_kindly():
        w.give(h, o, owner, "return")
        t.say("""
            "Is it this one?" asked {h.n}. {h.he} took the {o.noun} out of the bag and gave it back.
            {h.n} held out the {o.noun}. "I found it {spot}," {h.he} said. "It is yours."
            It was hard, but {h.n} gave the {o.noun} to {e.o}.
            "[Here it is|I have it here]," said {h.n}, and {e.n} got the {o.noun} back.
        """)
        t.feel(owner, "happy,glad,overjoyed,so relieved", 0.7, """
            {e} was {feeling}.
            {e} was {feeling} and [danced|laughed|had to sit down].
        """)
        if rng.chance(0.4):
            t.say("""
                "You are honest," said {e}. "May I invite you to [supper|tea]?"
                {e} gave {h.n} [a coin|a piece of cake|a bag of nuts|a slice of melon] as a reward.
                "Come and visit me," said {e}. "My door is always open."
            """)
        else:
            thank(t, owner, h)
        close(t, owner, "being honest feels better than any treasure", 0.4)
    else:
        t.solved = False
        w.note(h, "lie", o.label, owner)
        t.say("""
            "No, I have not seen it," lied {h.n}, and {h.he} kept the {o.noun}.
            {h.n} shook {h.his} head and walked on with the {o.noun} in the bag.
            "That is not my problem," said {h.n}. {h.he} kept the {o.noun} and did not look back.
            "I know nothing about it," said {h.n}. ^{h.he} [laughed in secret|hurried home] and kept the {o.noun}.
        """)
        t.maybe(0.5, """
            {e} went on looking[ until it was dark|].
            At home, the {o.noun} was no fun at all.
            {e} believed {h.o} and went on with bowed head.
        """)
        close(t, owner, "what is stolen brings no joy", 0.35, "other")


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
