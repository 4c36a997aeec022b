"""Plots about things that are lost and found."""

from mlxllm.data.sources.stories.endings import close
from mlxllm.data.sources.stories.moves import ask_what_is_wrong, detour, go, search, thank
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
