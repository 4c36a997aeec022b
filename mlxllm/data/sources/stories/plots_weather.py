"""Plots that the weather makes: a spoiled plan, the wind, the snow, a night without sleep."""

from mlxllm.data.sources.stories.endings import close
from mlxllm.data.sources.stories.moves import go, thank
from mlxllm.data.sources.stories.openings import opening, tell_night, tell_weather
from mlxllm.data.sources.stories.stage import Stage
from mlxllm.data.sources.stories.world import number

# Sentences are laid out by hand, one way to say a thing a line.
# fmt: off


_TREATS = ("a picnic", "a boat ride", "a day at the fair", "a swim", "a party in the garden", "a game of ball",
           "a treasure hunt", "a walk in the hills", "a parade", "a campfire")


def spoiled_plan(t: Stage) -> None:
    """Weather spoils a plan; they make the best of it, or quarrel."""
    h, w, rng = t.hero, t.world, t.rng
    f = t.friend()
    opening(t, "sunny", pair=f)
    plan = rng.choice(_TREATS)
    t.topic = plan.split()[-1]
    t.bound["plan"] = plan
    t.food()
    t.bound["n"] = number(rng.between(3, 9))
    t.say("""
        {lead}{h} and {f.intro} planned {plan}. They had looked forward to it [all week|for days].
        {lead}there was to be {plan}. {h} had invited {f.intro}.
        "Tomorrow we will have {plan}!" said {h} to {f.intro}.
        {h} and {f.intro} had talked about it for a week. They wanted to have {plan}.
        {lead}{h} woke up early. {f.intro} was coming, and they would have {plan}.
        "Only one more night!" said {h} to {f.intro}. Then they would have {plan}.
    """)
    t.maybe(0.6, """
        {h} packed {n} {many} and a [blanket|bottle of juice].
        {f} had made {n} {many}, and {h} had made [lemonade|a pot of tea].
        There were {n} {many} in the basket[, and a big cake|].
    """)
    t.feel(h, "excited,happy,cheerful,so excited", 0.5, "{h} was {feeling}.\n{h} was {feeling} and sang a song.")
    weather, trouble = rng.choice((
        ("rainy", "big drops began to fall. It rained harder and harder"),
        ("rainy", "dark clouds came up and it started to rain"),
        ("windy", "a strong wind came up. It blew their things all over the place"),
        ("stormy", "there was thunder and lightning. A storm had come"),
        ("foggy", "thick fog came down. They could not even see their own feet"),
        ("snowy", "it began to snow, even though it was already spring"),
    ))
    t.weather, t.weather_told = weather, True
    t.bound["trouble"] = trouble
    t.say("""
        But <suddenly>, {trouble}.
        They had just begun when {trouble}.
        But then {trouble}.
        Everything was ready when {trouble}.
        They were so happy that they did not look at the sky. Then {trouble}.
    """)
    t.paragraph()
    t.feel(f, "sad,angry,upset,disappointed", 1, """
        "Now everything is spoiled," said {f}. ^{f.he} was {feeling}.
        They ran [inside|under a roof]. {f} was {feeling}. "It is not fair!" {f.he} said.
        "We can't have {plan} now," said {h}. ^{f} felt {feeling}.
        {f} stamped {f.his} foot. {f.he} was {feeling}.
        They sat [on the steps|by the door] and waited. {f} was {feeling}.
        "Why today?" <asked> {f}, who was {feeling}.
    """)
    w.note(f, "complain", "the weather")
    if t.ends_kindly():
        idea = rng.choice((
            "They spread the blanket on the floor, ate under the table and told each other stories",
            "They made a tent out of two chairs and a blanket and played that they were far away",
            "They baked a cake and danced in the kitchen until they were dizzy",
            "They sat at the window and made up a song about the weather",
            "They put on boots and jumped in every puddle they could find" if weather == "rainy"
            else "They drew pictures of everything they had wanted to do",
        ))
        t.bound["idea"] = idea
        t.say("""
            "I have an idea," said {h.n}. {idea}.
            {h.n} <thought>. "We can still have fun," {h.he} said. {idea}.
            "Come," said {h.n}, "~we will do something else." {idea}.
            "Who needs the sun?" said {h.n} with a laugh. {idea}.
        """)
        w.note(h, "invent", "a new plan")
        t.maybe(0.5, """
            It was even better than {plan}.
            "This is the best day of all," said {f.n}.
            They forgot all about {plan}.
        """)
        close(t, f, "a bad day can still turn out well", 0.4)
    else:
        t.solved = False
        t.say("""
            "It is your fault!" <cried> {f.n}. "You chose the day!" ^{f.he} [threw the {many} on the \
            floor|ran off].
            "I wish I had stayed at home," said {h.n}. "It is always so dull with you."
            {h.n} was in a bad mood too. {h.he} shouted at {f.n}, and {f.n} shouted back.
            "It was a silly idea anyway," said {f.n}. "All your ideas are silly!" And so it went on and on.
        """)
        close(t, f, "nobody can be blamed for the weather", 0.3)


def wind_takes(t: Stage) -> None:
    """The wind carries a thing into a tree; somebody who can climb brings it down."""
    h, w, rng = t.hero, t.world, t.rng
    o, p = t.thing("wind"), t.place("outdoor", "green")
    f = t.friend(suits=(lambda s: s.climbs) if h.animal else None)
    opening(t, "windy", must_tell=rng.chance(0.5))
    w.own(h, o)
    t.say("""
        {h} [took|had brought] {o.a}[ along|].
        {h} had {o.a} with {h.him}.
        {lead}{h} went out with {o.a}.
        {h} was proud of {h.his} {o.full} and took it along.
    """)
    go(t, h, p)
    if not t.weather_told:
        tell_weather(t)
    t.say("""
        Whoosh! The wind [took|carried] the {o.noun} [up and away|high into the air].
        <suddenly>, the wind tore the {o.noun} out of {h.p} {h.hands}.
        {h} held the {o.noun} tight, but the wind was stronger.
        A gust came. The {o.noun} flew over {h.p} head[ and away|].
        The wind was quick. It [lifted|snatched] the {o.noun} and [played with it|would not let it go].
    """)
    w.lose(h, o, "in a tree")
    t.say("""
        It landed in a tall tree[, far out of reach|].
        Up it went, into the top of a tree.
        There it hung, high [up |]in [an old|a tall|a thin] tree.
        It flew and flew until it got stuck in [the top of a|a tall|an old] tree.
    """)
    tries = rng.below(3)
    if tries:
        t.say("""
            {h} jumped, but {h.he} was too short.
            {h} threw a stick at it. The stick got stuck, too.
            {h} shook the tree. Only leaves came down.
            {h} tried to climb, but the trunk was [too smooth|wet].
            {h} stood on {h.his} toes and stretched, but it was too high.
        """)
    if tries == 2:
        t.say("""
            Then {h.he} got a long pole, but it was not long enough.
            {h} called for help[ again and again|].
            "Come down!" <cried> {h}, but {o.an} has no ears.
        """)
    t.feel(h, "sad,angry,upset,unhappy", 1, """
        {h} was {feeling}. "I will never get it back," {h.he} said.
        {h} felt {feeling} and sat down under the tree.
        "<oh_no>," said {h}, and {h.he} was {feeling}.
        "Give it back!" <cried> {h} to the wind. {h.he} was {feeling}.
    """)
    t.say("""
        Then {f.stranger} came by.
        <soon>, {f.stranger} came along[ and looked up|].
        {f.stranger} had seen everything from [a wall|a window|a hill|behind a bush].
        A voice said, "I can help you." It was {f.stranger}.
    """)
    w.find(f, o)
    t.say("""
        "I can get it," said {f}, and up {f.he} went. <soon>, {f.he} had the {o.noun}.
        {f} was a good climber. {f.he} was up there in no time and got the {o.noun}.
        "Wait here," said {f}. Up, up, up {f.he} went, until {f.he} had the {o.noun}.
        It was easy for {f.o}. In a moment, {f.he} was up and had the {o.noun}.
    """)
    if t.ends_kindly():
        w.give(f, o, h, "return")
        t.say("""
            "Catch!" <cried> {f.n}, and the {o.noun} was back in {h.p} {h.hands}.
            {f.n} brought it down and gave it to {h.n}.
            "Hold it tight this time," said {f.n} with a smile, and {f.he} gave {h.n} the {o.noun}.
            {f.n} <smiled> and put the {o.noun} into {h.p} {h.hands}. "Here you are," {f.he} said.
        """)
        thank(t, h, f)
        if rng.chance(0.5):
            t.say("""
                {h.n} let {f.n} have the {o.noun} for the rest of the day.
                They tied a string to the {o.noun} so that it could not fly away again.
                "You can {o.use} too," said {h.n}.
            """)
        close(t, f, "one can ask others for help", 0.3)
    else:
        t.solved = False
        w.note(f, "keep", o.label)
        t.say("""
            "Now it is mine," said {f.n}, and {f.he} kept the {o.noun}.
            "What will you give me for it?" asked {f.n}. ^{h.n} had nothing, so {f.n} kept the {o.noun} and \
            laughed.
            {f.n} put the {o.noun} into {f.his} bag and ran off with it.
            "What the wind takes is free for all," said {f.n} and kept the {o.noun}.
        """)
        close(t, f, "it is mean to take what belongs to someone else", 0.3, "hero")


def snow_day(t: Stage) -> None:
    """Somebody has nothing warm to wear in the snow."""
    h, w, rng = t.hero, t.world, t.rng
    f, p = t.friend(), t.place("outdoor", "green")
    o = t.thing("wear", "warm")
    opening(t, "snowy", must_tell=rng.chance(0.6))
    w.own(h, o)
    if not t.weather_told:
        tell_weather(t)
    t.say("""
        {h} put on {h.his} {o.full} and ran outside.
        {m} gave {h.o} {o.a} so that {h.he} would not be cold.
        {h} had {o.a}, and it kept {h.o} warm.
        It was so cold that {h} put on {h.his} {o.full}.
        "Take your {o.full}," said {m}. "It is cold outside."
    """)
    o.known = True
    t.say("""
        {h} wanted to [build a snowman|make a snow fort|make snow angels] {q.at}.
        {q.at}, {h} [built a big snowman with a carrot nose|slid down a slope again and again].
        {h} <walked> {q.to} and made a snowball as big as a [barrel|pumpkin].
        {q.at}, {h} followed the tracks of a [hare|bird|deer] in the snow.
    """, q=p)
    w.be(h, p.label)
    t.maybe(0.4, "The snow [glittered|crunched under {h.p} feet].\n{h} caught a snowflake on {h.his} tongue.")
    t.say("""
        Behind a tree stood {f.stranger}. {f.he} had nothing warm to wear.
        There {h} met {f.stranger}, who had [no coat|nothing warm to wear].
        {f.stranger} came through the snow with chattering teeth.
        Then {h} saw {f.stranger} by [a wall|a frozen puddle|a bare tree]. {f.he} wore nothing warm at all.
    """)
    w.be(f, p.label)
    t.feel(f, "cold,freezing,cold and tired", 1, """
        {f} was {feeling} and shook from head to toe.
        "Brrr!" said {f}, who was {feeling}.
        {f} was {feeling}. {f.he} [blew on {f.his} {f.hands}|jumped up and down to keep warm].
        "My {f.hands} hurt," said {f}, who was {feeling}.
    """)
    t.maybe(0.6, """
        {h} felt the {o.noun}. It was so warm.
        {h} looked at {h.his} {o.noun} and <thought>.
        "Can I wear your {o.noun} for a while?" asked {f}.
    """)
    if t.ends_kindly():
        w.give(h, o, f, rng.choice(("give", "lend")))
        t.say("""
            "Take it," said {h.n}, and {h.he} put the {o.noun} on {f.n}.
            {h.n} took off the {o.noun} and gave it to {f.n}. "I have a warm house," {h.he} said.
            "You need it more than I do," said {h.n}. Then {f.n} wore the {o.noun}.
            "Come here," said {h.n} and gave {f.n} the {o.noun}. "Now you will be warm."
        """)
        t.say("""
            Then they built a snowman, and soon both were warm.
            {m} made [hot cocoa|hot soup] for both of them.
            {f.n} stopped shaking. "How warm it is!" {f.he} said.
            Soon {f.p} nose was not blue any more.
        """)
        close(t, f, "a warm heart is better than a warm coat", 0.4)
    else:
        t.solved = False
        w.note(h, "refuse", o.label, f)
        t.say("""
            "It is mine," said {h.n}. "You should have stayed at home."
            {h.n} threw a snowball at {f.n} and laughed.
            "I do not want to be cold," said {h.n}, and {h.he} kept the {o.noun} and ran away.
            "Go home if you are cold," said {h.n}, and {h.he} turned {h.his} back.
        """)
        t.maybe(0.6, "{f.n} stood alone in the snow.\n{f.n} walked on through the cold wind.")
        close(t, f, "a cold heart makes the winter colder", 0.3, "other")


def cannot_sleep(t: Stage) -> None:
    """A wish at bedtime, and someone of the family who has time or has not."""
    h, w, rng = t.hero, t.world, t.rng
    k, o = t.relative("k"), t.thing("toy") if rng.chance(0.5) else t.thing("cloth")
    opening(t, "")
    w.own(h, o)
    why = rng.choice((
        "the wind howled around the house", "the moon was too bright", "there was a shadow on the wall",
        "{he} had had a bad dream", "{his} bed felt too big", "a branch tapped at the window",
        "an owl called outside", "{he} was thinking of the next day", "it was too hot", "something creaked",
    ))
    why = why.format(he=h.forms["he"], his=h.forms["his"])
    t.bound["why"] = why
    t.say("""
        One night, {h} could not sleep, because {why}.
        It was late, but {h} was still awake. {why}.
        {h} turned from one side to the other. {why}, and {h.he} could not sleep.
        The house was still, and everyone slept but {h}, because {why}.
        {h} lay in bed with open eyes, because {why}.
    """)
    tell_night(t, 0.4)
    t.say("""
        {h} [hugged|held] {h.his} {o.full}, but it did not help.
        {h} counted [sheep|stars] up to {n} and held {h.his} {o.full} tight. It was no use.
        {h} put {h.his} {o.full} next to {h.his} pillow and shut {h.his} eyes. Sleep did not come.
    """, n=number(rng.between(6, 12)))
    o.known = True
    t.feel(h, "afraid,scared,lonely,wide awake", 1, """
        {h} was {feeling}. So {h.he} got up and went to look for {k.o}.
        {h.he} was {feeling}. "{k.call}?" {h} called[ into the dark|].
        In the dark, {h} was {feeling}. {h.he} crept [down the hall|along the wall] to {k.o}.
        {h} sat up in bed and was {feeling}. Was {k} still awake? {h.he} went to see.
    """)
    w.note(h, "wake", None, k)
    t.paragraph()
    t.say("""
        "I can't sleep," said {h.n}. "[Will you stay with me|Will you tell me a story|Can you sing for me]?"
        "{k.call}, I am {feeling}," said {h.n}.
        {k} was [reading|sewing|drinking tea]. "Why are you up?" {k.he} asked. "I can't sleep," said {h}.
        {k} looked up. "Still awake?" {k.he} asked. ^{h.n} nodded.
    """)
    if t.ends_kindly():
        w.note(k, "comfort", None, h)
        t.say("""
            {k} took {h.o} in {k.his} arms. "There is nothing to be afraid of," {k.he} said.
            {k} sat down on the bed and told {h.o} a story about [a star that fell into a pond|a bear who was \
            afraid of mice|a boat that wanted to fly].
            {k} lit a candle, looked under the bed, and said, "There is nobody here but you and me."
            "When I was small, I could not sleep either," said {k}, and {k.he} sang an old song.
            "Come here," said {k}, and they [looked at the moon|listened to the night] until it did not seem \
            strange any more.
        """)
        t.maybe(0.6, "{h} yawned.\nSoon {h.p} eyes fell shut.\n{h} held the {o.noun} and breathed slowly.")
        close(t, k, "one is never too old for a story", 0.2)
    else:
        t.solved = False
        w.note(k, "refuse", None, h)
        t.say("""
            "Leave me alone," said {k}. "Go back to bed at once!"
            {k} did not even look up. "I have no time for you," {k.he} said.
            "Only babies are afraid at night," said {k} and laughed at {h.o}.
            "Not again," said {k} and blew out the candle. "Go away."
            "If you get up again, I will take your {o.noun} away," said {k}.
        """)
        close(t, k, hurt="hero")
