"""Plots about food that is counted: shared, eaten in secret, wanted too much, cooked together."""

from mlxllm.data.sources.stories.endings import close
from mlxllm.data.sources.stories.moves import detour, go, look_around, thank
from mlxllm.data.sources.stories.openings import opening
from mlxllm.data.sources.stories.stage import Stage
from mlxllm.data.sources.stories.template import rows
from mlxllm.data.sources.stories.world import article, number

# Sentences are laid out by hand, one way to say a thing a line.
# fmt: off


def sharing(t: Stage) -> None:
    """The hero has some food and meets somebody hungry."""
    h, w, rng = t.hero, t.world, t.rng
    f, p = t.friend(), t.place("outdoor")
    one, many = t.food()
    n = rng.between(3, 9)
    opening(t)
    w.stock(h, many, n)
    t.say("""
        {lead}{m} gave {h.o} {n} {many} [for the day|for lunch|in a little bag|for the road].
        {lead}{h} packed {n} {many} [in a bag|in a basket|for later|into a box].
        {lead}{h} had {n} {many} in {h.his} [basket|bag|box].
        There were {n} {many} in the kitchen, and {m} said, "[Take them with you|They are all for you]."
        {lead}{h} bought {n} {many} with {h.his} last coin.
        "Here are {n} {many} for you," said {m} one morning.
    """, n=number(n))
    go(t, h, p)
    detour(t)
    if n > 4 and rng.chance(0.5):
        n = w.use(h, "eat", many, 1)
        t.say("""
            {h} was hungry and ate one {one}. Now {h.he} had {k}.
            {h} ate one {one}, and then {k} were left.
            "Just one," said {h}, and {h.he} ate {a_one}. ^That left {k}.
            One {one} looked so good that {h} ate it at once. Then there were {k}.
        """, k=number(n), a_one=article(one))
    t.paragraph()
    t.say("""
        Then {h} met {f.stranger}.
        {f.stranger} sat there [all alone|on a stone|with nothing to do|and rubbed {f.his} tummy].
        <soon>, {f.stranger} [came along|sat down beside {h.o}].
        Not far away, {f.stranger} [was looking for something to eat|leaned on a fence].
    """)
    w.be(f, p.label)
    t.feel(f, "hungry,sad and hungry,tired and hungry,cold and hungry", 1, """
        {f} looked {feeling}. "I have had nothing to eat [today|since yesterday]," {f.he} said.
        "I am so hungry," said {f.n}. "My [bag|basket|plate] is empty."
        {f} had no lunch, and {f.he} looked at the {many} with big eyes.
        "Those {many} smell so good," said {f}. "I have not eaten since yesterday."
        {f} was {feeling}. {f.his} tummy [rumbled like thunder|hurt].
        "May I have some?" asked {f}, who was {feeling}.
    """)
    t.maybe(0.6, """
        {h} looked at {h.his} {many}. There were {k} of them.
        {h} <thought>. {h.he} had {k} {many}.
        {h} counted the {many}. "I have {k}," {h.he} said.
        There were {k} {many}. Was that enough for two?
    """, k=number(n))
    if t.ends_kindly():
        give = rng.between(1, n - 1)
        left = w.use(h, "give", many, give, f)
        t.say("""
            {h} gave {f.n} {g} {gm} and kept {l}.
            "Here," said {h}, and {h.he} gave {f.n} {g} {gm}. ^Then {h.he} had {l} left.
            "You can have {g}," said {h.n}, and {f.n} took {g} {gm}. ^{l} {were} left.
            {h} put {g} {gm} into {f.p} {f.hands}. Now {h} had {l} left.
            "Eat with me," said {h.n}. ^{f.n} got {g} {gm}, and {h.n} kept {l}.
        """, g=number(give), gm=one if give == 1 else many, l=number(left), were="was" if left == 1 else "were")
        thank(t, f, h)
        t.maybe(0.4, """
            They ate side by side, and the {many} tasted sweeter than ever.
            They sat down and ate, and {f} was not hungry any more.
            It was a small meal, but [it was the best one of all|they laughed a lot].
        """)
        close(t, f, rng.choice(("it is good to share", "food tastes better when it is shared")), 0.5)
    else:
        t.solved = False
        w.use(h, "eat", many, n)
        t.say("""
            "They are mine," said {h.n}, and {h.he} ate all {k} {many} [in front of {f.n}|alone].
            {h} turned away and ate {h.his} {k} {many}, one after the other. {f.n} got nothing.
            "Find your own {many}," said {h.n}. {h.he} ate all {k} and did not share.
            {h} laughed. "You should have brought your own," {h.he} said, and {h.he} ate all {k} {many}.
        """, k=number(n))
        close(t, f, "it is mean not to share", 0.3, "other")


def greed(t: Stage) -> None:
    """Somebody picks too much at once and loses it."""
    h, w, rng = t.hero, t.world, t.rng
    f, p = t.friend(), t.place("outdoor", "green")
    _, many = t.food("tree", "bush", "ground")
    n, k = rng.between(8, 12), rng.between(3, 6)
    t.bound.update(n=number(n), k=number(k))
    opening(t, "sunny cloudy hot", pair=f)
    w.be(h, p.label)
    w.be(f, p.label)
    t.say("""
        {lead}{h} and {f.intro} went {q.to} to look for {many}.
        {lead}{h} heard that there were ripe {many} {q.near}. {f.intro} came along.
        "The {many} are ripe!" <cried> {f.intro}. {lead}{h} and {f.n} took their baskets and went {q.to}.
        There were [sweet|ripe|big] {many} {q.near}. {lead}{h} and {f.intro} [set out|went] to get some.
    """, q=p)
    look_around(t, p)
    w.stock(f, many, k)
    w.stock(h, many, n)
    t.say("""
        {f} took {k} {many} and said, "That is [enough|plenty] for me."
        {f} put {k} {many} into {f.his} basket and stopped.
        "{k} {many} are enough," said {f}, and {f.he} [sat down in the shade|rested].
        {f} was content with {k} {many}.
    """)
    t.say("""
        But {h} wanted more and more. {h.he} took {n}!
        {h} did not stop. "More!" {h.he} said, until {h.he} had {n} {many}.
        But {h} could not get enough. {n} {many} were in {h.his} basket, and it was very full.
        But {h} filled {h.his} basket to the top. There were {n} {many} in it!
    """)
    t.maybe(0.6, """
        "That is too much," said {f}. "You can't carry it."
        "Leave some for the others," said {f}. ^{h} did not listen.
        "Ha! I have more than you," said {h}.
        "You will be sorry," said {f}, but {h} [laughed|shook {h.his} head].
    """)
    t.paragraph()
    w.use(h, "lose", many, n)
    t.say("""
        On the way back, the basket was so heavy that [the handle|the bottom] broke. \
        All the {many} rolled into the [river|ditch|mud].
        But then {h} stumbled under the heavy basket, and all {n} {many} fell into the [water|mud].
        Then {h} put the basket down to rest. It tipped over, and the {many} rolled down the slope and were gone.
        The basket was too heavy. Halfway home, [it slipped|it fell over], and all {n} {many} were lost in the mud.
    """)
    t.feel(h, "sad,ashamed,upset,unhappy", 1, """
        {h} had nothing left and was {feeling}.
        "All my {many}!" <cried> {h}, and {h.he} was {feeling}.
        {h} looked into the empty basket. {h.he} felt {feeling}.
        Now {h.n} had not even one, and {h.he} felt {feeling}.
    """)
    if t.ends_kindly():
        give = rng.between(1, k - 1)
        left = w.use(f, "give", many, give, h)
        t.say("""
            "Don't be sad," said {f.n}, and {f.he} gave {h.n} {g} of {f.his} {k} {many}. Now {f.n} had {l}.
            {f.n} held out {f.his} basket. "Take {g} of mine," {f.he} said. That left {f.o} with {l}.
            {f.n} had {k} {many}. {f.he} gave {g} to {h.n} and kept {l}.
            "Mine are yours, too," said {f.n}. ^{h.n} got {g}, and {f.n} had {l} left.
        """, g=number(give), l=number(left))
        thank(t, h, f)
        close(t, f, rng.choice(("enough is better than too much", "wanting everything can leave you with nothing")))
    else:
        t.solved = False
        w.note(f, "laugh at", None, h)
        w.use(f, "eat", many, k)
        t.say("""
            "That serves you right," said {f.n}. ^{f.he} ate all {k} of {f.his} {many} and laughed.
            {f.n} laughed at {h.o} and ate {f.his} {k} {many}, one by one. {f.he} gave {h.n} nothing.
            "I told you so," said {f.n}. ^{f.he} ate {f.his} {k} {many} and did not give {h.n} any.
        """)
        close(t, f, "wanting everything can leave you with nothing", 0.4, "hero")


# What is cooked, with or without an article, and what it takes.
_DISHES = rows("""
a pie | apples
a cake | eggs
soup | carrots
jam | plums
a pudding | pears
stew | potatoes
nut bread | nuts
a salad | tomatoes
a tart | peaches
an omelet | mushrooms
porridge | figs
pancakes | eggs
onion soup | onions
lemonade | lemons
""")


def cooking(t: Stage) -> None:
    """Something is missing in the kitchen; a neighbor has it."""
    h, w, rng = t.hero, t.world, t.rng
    e = t.elder()
    t.relative("k")
    a_dish, many = rng.choice(_DISHES)
    dish = a_dish.split()[-1]
    need = rng.between(4, 9)
    have = rng.between(1, need - 2)
    t.topic = dish
    t.bound.update(dish=dish, a_dish=a_dish, many=many, need=number(need), have=number(have))
    t.bound.update(miss=number(need - have), are="was" if have == 1 else "were",
                   was="were" if dish[-1] == "s" else "was")
    opening(t, "rainy sunny cloudy cold snowy")
    t.say("""
        {lead}{h} and {k} wanted to make {a_dish}[ for supper|].
        "Let us make {a_dish}," said {k}. ^{h} [clapped {h.his} {h.hands}|was glad to help|liked that].
        {lead}{h} was hungry, so {k} said, "We will make {a_dish}."
        "I want {a_dish} for supper!" said {h}. "Then help me," said {k}.
    """)
    w.stock(h, many, have)
    t.say("""
        They needed {need} {many}, but there {are} only {have}.
        {k} needed {need} {many}. {h} looked, but {h.he} found only {have}.
        {h} counted the {many}. There {are} {have}, but they needed {need}.
        It takes {need} {many} to make it, and they had {have}.
    """)
    t.feel(h, "sad,worried,disappointed", 0.4, """
        "Then we can't make it," said {h}, who was {feeling}.
        {h} was {feeling}. What could they do?
    """)
    t.maybe(0.6, """
        "[Go|Run] and ask the neighbor," said {k}.
        "I know who has {many}," said {k}. "Go and ask."
        So {h} took a bowl and went to the neighbor's door.
        {h} put on {h.his} hat and went to [ask for more|borrow some].
    """)
    detour(t, 0.3)
    t.say("""
        The neighbor was {e.a}.
        {h} knocked, and {e.a} opened the door.
        {e.a} lived next door and was [at home|in the garden].
        Next door lived {e.a}, and {h} [rang the bell|knocked].
    """)
    w.stock(e, many, need - have)
    t.maybe(0.7, """
        "May I have {miss} {many}, please?" asked {h}.
        "We need {miss} more {many}," said {h}. "Do you have any?"
        "Could you lend us {miss} {many}?" asked {h}.
    """)
    w.use(e, "give", many, need - have, h)
    t.say("""
        {e} gave {h.o} {miss} {many}. "[Enjoy your meal|Tell me how it was]," {e.he} said.
        "Here you are," said {e}, and {e.he} counted {miss} {many} into the bowl.
        {e} had a whole basket of {many} and gave {h.o} {miss}.
        "Of course," said {e}, and {e.he} brought {miss} {many} from the cellar.
    """)
    w.note(h, "make", dish)
    t.say("""
        Now they had {need}! They stirred and cooked, and soon the house smelled wonderful.
        {h} ran home. Now there were {need}. They cut, stirred and tasted, and soon the {dish} {was} ready.
        With {need} {many}, the {dish} {was} [perfect|a great success|better than ever].
        {h} carried the {many} home. Then they had {need}, and the {dish} {was} done before dark.
    """)
    if t.ends_kindly():
        w.note(h, "share", dish, e)
        t.say("""
            "Wait," said {h.n}. "We must share with {e.n}." {h.he} brought {e.o} the biggest [piece|bowl|plate].
            {h.n} ran back and asked {e.o} to eat with them. They all sat at one table.
            "The first [bowl|plate] is for {e.n}," said {h.n}, and {h.he} carried it over.
        """)
        thank(t, e, h)
        close(t, e, "one good turn deserves another", 0.4)
    else:
        w.note(h, "eat", dish)
        t.say("""
            There was a knock. {e} stood there and sniffed. "There is nothing left," lied {h.n} and shut the door.
            "Shall we take some to {e.n}?" asked {k}. "No," said {h.n}. "I want it all." {h.he} ate until it was gone.
            {h.n} ate it all and did not even say thank you to {e.o}.
            {e} came to the window and <smiled>. {h.n} [closed the curtain|looked away] and ate the {dish} alone.
        """)
        close(t, e, "it is mean to take and never give", 0.35, "other")


def secret_snack(t: Stage) -> None:
    """Food is gone, and the wrong one is blamed."""
    h, w, rng = t.hero, t.world, t.rng
    f = t.friend()
    _, many = t.food("oven", "tree")
    n = rng.between(5, 9)
    ate = rng.between(2, n - 2)
    left = n - ate
    t.bound.update(n=number(n), ate=number(ate), l=number(left))
    opening(t, "sunny rainy cloudy cold")
    w.stock(t.mom, many, n)
    t.say("""
        {lead}{m} put {n} {many} on the table. "They are for [the guests|the party|tonight]," {m.he} said.
        There were {n} {many} on a plate in the kitchen. "Do not eat them yet," said {m}.
        {lead}{m} had {n} {many} in a bowl. They were for [Sunday|the feast|the guests].
        "These {n} {many} are for tomorrow," said {m}. "[Nobody may touch them|Leave them alone]."
    """)
    t.say("""
        {h} only wanted to [look|smell]. But then {h.he} ate one, and one more. <soon>, {ate} {many} were gone.
        When nobody was there, {h} ate {ate} of them.
        They smelled so sweet! {h} took one, then another. {h.he} ate {ate}.
        {h} could not wait. {h.he} [crept|sneaked] into the kitchen and ate {ate}.
    """)
    w.use(t.mom, "lose", many, ate)
    w.note(h, "eat", many, count=ate)
    t.maybe(0.6, """
        Now only {l} were left.
        {l} were left on the plate.
        "There are still {l}," {h} thought. "Nobody will notice."
    """)
    t.paragraph()
    t.say("""
        <soon>, {m} came in with {f.intro}. "Who has eaten {ate} of the {many}?" {m.he} asked.
        When {m} came back, {f.intro} was with {m.o}. "Somebody has eaten my {many}!" said {m}.
        {f.intro} came to visit, and then {m} saw the plate. "Where are the other {many}?" {m.he} asked.
        {m} counted the {many} again and again. "{ate} are missing!" {m.he} said. ^{f.intro} stood at the door.
    """)
    w.note(h, "lie", many, t.mom)
    t.say("""
        "It was {f.n}," said {h}. It was a lie.
        {h} pointed at {f.n}. "I saw {f.him} do it," {h.he} lied.
        {h} wiped {h.his} mouth. "I think {f.n} was hungry," {h.he} said.
        "{f.n} did it," said {h} [quickly|in a low voice].
    """)
    t.feel(f, "sad,shocked,hurt,upset", 0.8, """
        {f} was {feeling}. "That is not true!" {f.he} <cried>.
        {f} could not say a word. {f.he} was {feeling}.
        Tears came to {f.p} eyes, because {f.he} was {feeling}.
        {f} looked at {h.o} and was {feeling}.
    """)
    if t.ends_kindly():
        w.note(h, "confess", many, t.mom)
        t.say("""
            When {h.n} saw that, {h.his} tummy hurt. "I lied," {h.he} said. "I ate them. I am sorry, {f.n}."
            "No," said {h.n} in a small voice. "It was me. {f.n} did nothing."
            {h.n} turned red. {h.he} told the truth and asked {f.n} to forgive {h.him}.
            "Wait," said {h.n}. "I ate them, and then I lied. [Please forgive me|I am ashamed]."
        """)
        t.say("""
            "Thank you for being honest," said {m}. Then they [shared the other {many}|cleaned up], all three of them.
            {f.n} was quiet for a moment, and then {f.he} nodded. "I forgive you," {f.he} said.
            {m} was not angry. "It was brave to say so," {m.he} said.
        """)
        close(t, f, "the truth makes the heart light", 0.45)
    else:
        t.solved = False
        t.say("""
            {h.n} said nothing more. {f.n} was sent home, and nobody believed {f.o}.
            "Go home, {f.n}," said {m}. ^{h.n} knew the truth, but {h.he} did not tell it.
            {f.n} had to leave, and {h.n} hid a grin behind {h.his} {h.hand}.
        """)
        close(t, f, "a lie can cost you a friend", 0.4, "other")
