"""Plots between friends: a newcomer, a quarrel, a birthday, a trade."""

from mlxllm.data.sources.stories.endings import close
from mlxllm.data.sources.stories.moves import detour, go, look_around
from mlxllm.data.sources.stories.openings import opening
from mlxllm.data.sources.stories.stage import Stage
from mlxllm.data.sources.stories.world import number

# Sentences are laid out by hand, one way to say a thing a line.
# fmt: off


_GAMES = ("tag", "hide and seek", "ball", "pirates", "kings and queens", "school", "store", "dragons", "leapfrog",
          "marbles", "catch", "follow the leader", "knights", "explorers")


def newcomer(t: Stage) -> None:
    """Somebody new does not know anyone."""
    h, w, rng = t.hero, t.world, t.rng
    p = t.place("outdoor", "wide") if h.animal else t.place("people", without="dark")
    f = t.friend("f")
    t.friend("g")
    game = rng.choice(_GAMES)
    t.topic = game
    t.bound["game"] = game
    opening(t, "sunny cloudy windy")
    w.be(h, p.label)
    w.be(f, p.label)
    t.say("""
        {lead}{h} and {g.intro} played {game} {q.at}.
        {lead}{h} was {q.at} with {g.intro}. They were playing {game}.
        "Let us play {game}!" said {h} to {g.intro}. They met {q.at}.
        {q.at}, {h} and {g.intro} were busy. They were playing {game}.
    """, q=p)
    look_around(t, p, 0.4)
    t.say("""
        {f.stranger} stood [at the edge|a few steps away|not far from them] and watched. Nobody knew {f.o}.
        There was somebody new there. It was {f.stranger}.
        {f.stranger} had just moved there and did not know anyone.
        A little way off sat {f.stranger}, who [was new|had come from far away].
        {f.stranger} came up to them, step by step, and stopped.
        "Who is that?" asked {h}. It was {f.stranger}.
    """)
    t.feel(f, "shy,lonely,sad,afraid", 1, """
        {f} looked {feeling} and did not say a word.
        {f} was {feeling}. {f.he} [looked at the ground|held {f.his} bag tight|bit {f.his} lip].
        {f} wanted to play too, but {f.he} was {feeling} and did not ask.
        {f} stood there for a long time. {f.he} was {feeling}.
    """)
    t.maybe(0.6, """
        "Who is that?" asked {g}.
        "I have never seen {f.him} before," said {g}.
        "{f.he} looks strange," <whispered> {g}.
    """)
    t.maybe(0.5, """
        {h} remembered [that {h.he} had once been new, too|how it feels to be alone].
        {h} stopped playing and looked at {f.o}.
        {h} wondered what to do.
    """)
    if t.ends_kindly():
        w.note(h, "invite", game, f)
        t.say("""
            {h} <walked> over. "<hello>! I am {h.n}. Do you want to play {game} with us?"
            "Come and play with us!" <cried> {h.n}. "What is your name?" "{f.n}," said {f.n}.
            {h} took {f.p} {f.hand}. "We need one more for {game}," {h.he} said.
            "We can use someone like you," said {h.n}. "Come and join in."
            {h} waved. "There is room for one more!" {h.he} <cried>.
        """)
        t.feel(f, "happy,glad,not shy any more,not alone any more", 1, """
            {f.n} was {feeling}. {f.he} was very good at {game}!
            {f.n} nodded, and soon {f.he} was {feeling}.
            Soon all three played {game}, and {f.n} was {feeling}.
            {f.n} <smiled> for the first time. {f.he} was {feeling}.
        """)
        close(t, f, "everyone was new once", 0.4)
    else:
        t.solved = False
        w.note(h, "refuse", None, f)
        t.say("""
            "You can't play with us," said {h.n}. "We do not know you."
            {h} <whispered> something to {g.n}, and they both laughed at {f.n}.
            "Go back to where you came from," said {g.n}, and {h.n} laughed.
            {h} turned away. "There is no room for you," {h.he} said.
            "How funny you look!" said {h.n}, and everyone laughed at {f.n}.
        """)
        t.maybe(0.7, "{f.n} went away with tears in {f.his} eyes.\n{f.n} sat down behind a wall and cried.")
        close(t, f, "it is mean to leave someone out", 0.3, "other")


def quarrel(t: Stage) -> None:
    """Two friends want the same thing."""
    h, w, rng = t.hero, t.world, t.rng
    f, p, o = t.friend(), t.place("outdoor"), t.thing(without="fixed paper")
    opening(t, "sunny cloudy windy cold", pair=f)
    t.say("""
        {lead}{h} and {f.intro} went {q.to}.
        {lead}{h} was {q.at} with {f.intro}.
        {lead}{h} and {f.intro} met {q.at}[ to play| as they always did].
        {lead}{h} and {f.intro} were on their way home. They came {q.to}.
    """, q=p)
    w.be(h, p.label)
    w.be(f, p.label)
    look_around(t, p, 0.4)
    t.bound["spot"] = p.spots.pop()
    w.note(h, "find", o.label)
    w.note(f, "find", o.label)
    t.say("""
        There, {spot}, [lay|was] {o.a}. They both saw it at the same time.
        {spot}, they found {o.a}.
        "Look, {o.a}!" they [both |]cried at the same time. It lay {spot}.
        {h} and {f} stopped. {spot}, there was {o.a}!
    """)
    t.say("""
        "It is mine!" <cried> {h.n}. "No, mine!" <cried> {f.n}.
        "I saw it first," said {h.n}. "No, I saw it first!" said {f.n}.
        Both of them wanted to have it, and neither wanted to let go.
        "Give it to me," said {f.n}. "Never!" said {h.n}. "I want it!"
    """)
    t.maybe(0.7, """
        {h} pulled at one [end|side], and {f} pulled at the other.
        They pulled and pushed until both of them fell [into a puddle|down].
        {f} [shoved|pushed] {h.n}, and {h.n} [shoved|pushed] {f.n}.
        They shouted so loud that the birds flew away.
        {h.n} called {f.n} a bad name, and {f.n} stamped {f.his} foot.
    """)
    t.say("""
        At last the {o.noun} fell into the mud. They [turned|stood] back to back and did not speak.
        "I will never play with you again!" said {f}, and they both went away.
        In the end, the {o.noun} lay on the ground, and nobody wanted it any more.
        They shouted until they had no more words, and each went another way.
    """)
    w.note(h, "quarrel", o.label, f)
    t.paragraph()
    t.feel(h, "sad,lonely,angry,bored", 1, """
        {h} sat under a tree and was {feeling}. It was no fun to play alone.
        An hour went by. {h} was {feeling}.
        At home, {h} was {feeling}. {m} asked, "Is {o.an} worth more than a friend?"
        {h} kicked a stone and felt {feeling}.
        The sun was warm, but {h} was {feeling}.
    """)
    if t.ends_kindly():
        who = rng.choice((h, f))
        other = f if who is h else h
        w.note(who, "apologize", None, other)
        t.say("""
            Then {x.n} went to {y.n}. "I am sorry," {x.he} said. "[You can have it.|Let us share it.|I miss \
            you.]" "I am sorry, too," said {y.n}.
            "I was wrong," said {x.n} to {y.n}. "Will you forgive me?" ^{y.n} nodded.
            {x.n} came back first. "Let us not fight," {x.he} said, and {y.n} agreed.
            There was a knock at the door. "Can we be friends again?" asked {x.n}, and {y.n} said yes.
        """, x=who, y=other)
        t.say("""
            They washed the {o.noun} and took turns with it.
            They decided that the {o.noun} belonged to both of them.
            On even days {h.n} had the {o.noun}, and on odd days {f.n}.
            They gave the {o.noun} to a [small child|little mouse] who had none.
        """)
        close(t, f, "a friend is worth more than any treasure", 0.4)
    else:
        t.solved = False
        w.own(f, o)
        w.note(f, "take", o.label)
        t.say("""
            When {h} came back, {f.n} had [taken|hidden] the {o.noun}. "Ha ha, now it is mine," {f.he} said.
            {f.n} came back, took the {o.noun}, and stuck out {f.his} tongue.
            "Now I have it, and you do not," said {f.n}, and {f.he} held the {o.noun} up high.
            In secret, {f.n} took the {o.noun} home and told nobody.
        """)
        close(t, f, "a quarrel can end a friendship", 0.3, rng.choice(("hero", "both")))


def birthday(t: Stage) -> None:
    """The friend has a birthday, and the hero has little to give."""
    h, w, rng = t.hero, t.world, t.rng
    f, o = t.friend(), t.thing(without="fixed shine")
    opening(t, "sunny cloudy cold snowy rainy", pair=f)
    age = number(rng.between(4, 9))
    t.bound["age"] = age
    t.say("""
        It was the birthday of {f.intro}, and {h} was invited.
        {lead}{f.intro} had a birthday. {f.he} turned {age}.
        "Tomorrow I will be {age}!" said {f.intro}. "Come to my party, {h.n}!"
        The birthday of {f.intro} was near. {f.he} would be {age}.
        Everybody knew that {f.intro} would be {age} on Sunday.
    """)
    t.maybe(0.6, """
        {h} wanted to give {f.o} something special, but {h.he} had no money.
        {h} had only one coin. What could {h.he} buy with one coin?
        "What can I give {f.him}?" {h} asked {m.o}. "Something from your heart," said {m}.
        {h} looked through all {h.his} things and <thought>.
        A present had to be found. {h} <thought>.
    """)
    if rng.chance(0.5):
        w.own(h, o)
        w.note(h, "make", o.label)
        t.say("""
            So {h} made {o.a} with {h.his} own {h.hands}. It took {h.o} [two|three|four] days.
            {h} worked in secret every evening until {h.he} had made {o.a}.
            "I will make {o.an}," {h} thought, and {h.he} got to work. It was {o.adj} and a little crooked.
            Nobody saw how {h} made {o.a} [at night|behind the shed|in the attic].
        """)
    else:
        w.own(h, o)
        t.say("""
            {h} took {h.his} own {o.full}, cleaned it, and wrapped it in [leaves|paper].
            In the end, {h} chose {h.his} own {o.full}. It was hard to give it away.
            {h} had {o.a}. It was the best thing {h.he} had, so {h} put it in a box with a bow.
            {h} loved {h.his} {o.full}, but {h.he} wrapped it up for {f.o}.
        """)
    detour(t, 0.3)
    t.maybe(0.7, """
        At the party, there was [cake and juice|a big cake with candles|music and dancing].
        All the guests came with presents. Some of them were very big.
        The table was full of presents, and everyone sang.
        There were lights in the trees, and [music played|everyone danced].
    """)
    t.maybe(0.5, "{h.p} present was the smallest.\n{h} was [shy|nervous] and stood at the back.")
    w.give(h, o, f)
    t.say("""
        {f} opened the present and saw the {o.noun}.
        {h} gave {f.n} the {o.noun}.
        "This is for you," said {h.n}. ^{f.n} unwrapped the {o.noun}.
        Then it was {h.p} turn. {f} took off the paper, and there was the {o.noun}.
    """)
    if t.ends_kindly():
        t.feel(f, "happy,glad,delighted,overjoyed", 1, """
            "It is {o.a}!" <cried> {f.n}, who was {feeling}. "I love it. Thank you!"
            {f.n} was {feeling}. "This is the best present of all," {f.he} said.
            {f.n} was {feeling} and [hugged|kissed] {h.n}.
            For a moment, {f.n} said nothing. {f.he} was {feeling}. "You made me so happy," {f.he} said then.
        """)
        close(t, f, "a gift from the heart is the best gift", 0.4)
    else:
        t.solved = False
        w.note(f, "laugh at", o.label)
        t.say("""
            "Is that all?" said {f.n}. ^{f.he} threw the {o.noun} into a corner and took the next present.
            {f.n} laughed out loud. "What an ugly {o.noun}!" {f.he} said, and all the guests laughed at {h.n}.
            "I do not want your old {o.noun}," said {f.n}, and {f.he} did not say thank you.
            {f.n} held the {o.noun} with two fingers. "What is this for?" {f.he} asked and dropped it.
        """)
        t.feel(h, "sad,hurt,ashamed,unhappy", 0.6, "{h.n} was {feeling}.\n{h.n} felt {feeling} and went out of the room.")
        close(t, f, "it is cruel to laugh at a gift", 0.3, "hero")


def trade(t: Stage) -> None:
    """Two swap their things; one of them is sorry afterwards."""
    h, w, rng = t.hero, t.world, t.rng
    f = t.friend()
    o, x = t.thing(key="o"), t.thing(key="x")
    p = t.place()
    opening(t, "sunny cloudy cold windy")
    w.own(h, o)
    w.own(f, x)
    t.say("""
        {h} had {o.a}[, but {h.he} was tired of it|].
        {h} owned {o.a}. {h.he} had had it for years.
        In {h.p} bag was {o.a}.
        {h} always carried {o.a} around.
        {h} had got {o.a} from {h.his} uncle.
    """)
    go(t, h, p)
    w.be(f, p.label)
    t.say("""
        There {h.he} met {f.stranger}. {f.he} had {x.a}.
        {f.stranger} was there too and wanted to {x.use_a}.
        {f.stranger} sat there with {x.a}.
        {f.stranger} was [on the way home|resting] and had {x.a}.
    """)
    t.say("""
        "What a <pretty> {x.noun}!" said {h}. "Will you trade it for my {o.noun}?"
        "I like your {o.noun}," said {f}. "Will you trade it for my {x.noun}?"
        {h} wanted the {x.noun}, and {f} wanted the {o.noun}. "Let us trade," said {h}.
        "If you give me your {o.noun}, you can have my {x.noun}," said {f}.
    """)
    t.maybe(0.6, """
        {f} turned the {o.noun} over and over. "All right," {f.he} said.
        They looked at both things and <thought>. Then they shook {h.hands}.
        "A trade is a trade," they said. "There is no going back."
    """)
    w.give(h, o, f, "trade")
    w.give(f, x, h, "trade")
    t.say("""
        So {h} got the {x.noun}, and {f} got the {o.noun}.
        {h.n} gave {f.n} the {o.noun}, and {f.n} gave {h.n} the {x.noun}.
        Then {h} had the {x.noun}, and {f} walked off with the {o.noun}.
    """)
    t.paragraph()
    t.feel(h, "sad,sorry,unhappy,lonely", 1, """
        At first, {h} was glad. But that [night|evening], {h} missed the {o.noun}. {h.he} was {feeling}.
        The next day, {h} was {feeling}. The {x.noun} was nice, but it was not {h.his} {o.noun}.
        But <soon>, {h} was {feeling}. {h.he} thought of the {o.noun} all the time.
        On the way home, {h} was already {feeling}. {h.he} wanted the {o.noun} back.
    """)
    t.say("""
        So {h} went to look for {f.n}. "Can I have my {o.noun} back?" {h.he} asked.
        {h} <ran> to {f.n} and said, "I made a mistake. I want my {o.noun} back."
        "Please, {f.n}," said {h} the next time they met, "~let us trade back."
        {h} waited for {f.n} the next day. "It was a mistake," {h.he} said. "Can we trade back?"
    """)
    w.note(h, "ask", o.label, f)
    if t.ends_kindly():
        if rng.chance(0.7):
            w.give(f, o, h, "return")
            w.give(h, x, f, "return")
            t.say("""
                "Of course," said {f.n}. "I missed my {x.noun}, too." They traded back[, and both were glad|].
                {f.n} saw how much {h.n} loved the {o.noun}. {f.he} gave it back and took the {x.noun}.
                "I thought you would come," said {f.n} with a smile. {h.n} got the {o.noun} back, \
                and {f.n} got the {x.noun}.
            """)
        else:
            t.say("""
                "Let us share," said {f.n}. "One week I have the {o.noun}, and one week you have it." That \
                was fair.
                "We can have both things together," said {f.n}, and so they did.
            """)
        close(t, f, "you only know what you had when it is gone", 0.35)
    else:
        t.solved = False
        w.note(f, "refuse", o.label, h)
        t.say("""
            "No," said {f.n} and laughed. "It is mine now, and the {x.noun} was broken anyway."
            "A trade is a trade," said {f.n}. ^{f.he} shut the door in {h.p} face.
            "You were a fool to trade it," said {f.n}, and {f.he} kept the {o.noun}.
            {f.n} [yawned|shrugged]. "You should have thought of that before," {f.he} said and kept the {o.noun}.
        """)
        close(t, f, "one should think before one trades", 0.35, "hero")
