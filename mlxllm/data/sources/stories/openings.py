"""How a story begins: once upon a time, with the weather, with a place, with a voice, with a habit."""

from mlxllm.data.sources.stories.stage import Stage
from mlxllm.data.sources.stories.world import Person

_CLASSIC = """
Once upon a time, there was {h.a} named {h.n}.
Once upon a time, there lived {h.a} named {h.n}.
Once upon a time, {h.a} named {h.n} lived {home}.
Once there was {h.a} called {h.n} who lived {home}.
There was once {h.a} called {h.n}. {h.he} lived {home}.
Long ago, {h.a} named {h.n} lived {home}[ with {h.his} family|].
{h.n} was {h.a} who lived {home}.
{h.n} was {h.a}. {h.he} lived {home} with {m.o}.
Far, far away, {home}, there lived {h.a} named {h.n}.
This is the story of {h.n}, {h.a} who lived {home}.
Not so long ago, there was {h.a} named {h.n}.
Do you know {h.n}? {h.he} was {h.a}, and {h.he} lived {home}.
"""

_HOME = """
^{home} lived {h.a}. {h.his} name was {h.n}.
^{home}, where [the nights were quiet|the wind always sang|everybody knew everybody], lived {h.a} named {h.n}.
"""

_HABIT = """
Every [morning|day|evening], {h.a} named {h.n} [liked to {hobby}|got up and wanted to {hobby}].
{h.n} liked to {hobby} more than anything. {h.he} was {h.a}.
{h.n} was {h.a} who loved to {hobby}.
Nobody liked to {hobby} more than {h.n}, {h.a} who lived {home}.
There was once {h.a} who loved to {hobby}. {h.his} name was {h.n}.
"""

_VOICE = """
"Wake up, {h.n}!" <cried> {m}. ^{h.n} was {h.a}[, and {h.he} liked to sleep late| who lived {home}|].
"What shall I do today?" <asked> {h.n}. {h.he} was {h.a}, and {h.he} [lived {home}|did not like to sit still].
"Time to get up!" said {m}. ^{h.n}, {h.a}, [jumped out of bed|rubbed {h.his} eyes and yawned].
"I am so bored," said {h.n}, {h.a} who lived {home}.
"Come and eat your breakfast, {h.n}," said {m}. ^{h.n} was {h.a} who was [always hungry|never in a hurry].
"Be home before dark, {h.n}," said {m}. ^{h.n} was {h.a}, and {h.he} [nodded|promised that {h.he} would].
"""

_HOBBIES = (
    "sing", "dance", "draw", "count the clouds", "climb", "dig in the mud", "tell jokes", "listen to stories",
    "look at the stars", "play outside", "collect stones", "pick flowers", "whistle", "watch the birds",
    "paint", "jump over puddles", "build towers", "ask questions", "roll down hills", "hum little songs",
    "play hide and seek", "help in the kitchen", "follow ants", "make up songs", "go exploring",
)  # fmt: skip

_TRAITS = """
{h} [liked|loved] to {hobby}.
{h} could {hobby} all day long.
What {h} liked best was to {hobby}.
{h} had [many friends|a big heart|a warm smile|a loud laugh|a good memory].
Everybody [liked {h.him}|knew {h.him}] because {h.he} was so [kind|funny|polite|brave|full of ideas].
"""

_PAIR = """
{h.n} and {f.n} were best friends. {h.n} was {h.a}, and {f.n} was {f.a}.
{h.a}, {h.n}, and {f.a}, {f.n}, lived [side by side|next to each other|{home}]. They did everything together.
Once there were two friends, {h.a} named {h.n} and {f.a} named {f.n}.
Everyone knew {h.n} and {f.n}. {h.n} was {h.a}, {f.n} was {f.a}, and they were always together.
{h.n} was {h.a}. {h.his} best friend was {f.a} named {f.n}.
Once upon a time, there were two friends. {h.n} was {h.a}, and {f.n} was {f.a}.
"""

_WEATHER = {
    "sunny": """
The sun was shining[ and the sky was blue| and the birds were singing|].
It was a [warm and sunny|bright and sunny|beautiful sunny] [day|morning].
There was not a cloud in the sky, and the sun was warm.
It was a sunny day[ in May| in summer|].
""",
    "stormy": """
It was a dark and stormy day[, and thunder rolled over the hills|].
A storm was coming. The thunder [rolled|growled|rumbled] like a drum.
Lightning [flashed|cracked] in the sky, and the rain was about to fall.
""",
    "windy": """
It was a [very |]windy [day|morning].
The wind [blew and blew|blew through the trees|shook the branches|blew from the sea].
It was so windy that the leaves flew around like birds.
The wind was [strong|wild] that day, and it made the [doors|gates] bang.
""",
    "rainy": """
It was [raining|a rainy day|a gray and rainy day|raining softly].
Rain [ran down the windows|fell from a gray sky|dripped from every leaf].
It had been raining [all night|since breakfast|for two days].
""",
    "snowy": """
It was [snowing|a cold and snowy day|the first snowy day of winter].
Snow lay on [every roof|every branch|the whole land].
In the night, snow had fallen, and [now everything was white|now the world was quiet].
""",
    "foggy": """
It was a foggy [day|morning], and [nobody could see far|the trees looked like ghosts|everything was gray].
Fog [hung over the fields|lay over the land like a blanket].
""",
    "cloudy": """
It was a cloudy [day|morning][, cool and gray|].
Big clouds [rolled over the hills|hid the sun].
""",
    "hot": """
It was [a very hot day|the hottest day of the summer|so hot that even the bees were tired].
The sun burned in the sky, and it was very hot.
""",
    "cold": """
It was a cold [day|morning][ in winter| in fall|].
The air was cold and clear[, and the grass was white with frost|].
""",
}  # fmt: skip
_NIGHT = {
    "rainy": """
[Rain|The rain] [drummed|pattered|beat] [on the roof|against the window][ all night long|].
Outside, it was raining[ hard| softly|].
""",
    "windy": """
The wind [howled|whistled|moaned] [outside|in the trees|around the corner].
Outside, a strong wind blew[ through the trees|].
""",
    "snowy": """
Outside, snow was falling [without a sound|softly].
It was snowing [outside|in the dark], and the world was very quiet.
""",
    "cold": """
It was a cold and clear night[, full of stars|].
The night was cold, and [frost grew on the window|the stars were very bright].
""",
}  # fmt: skip


def tell_weather(t: Stage) -> None:
    """Says what the weather is like, once."""
    assert t.weather is not None
    t.say(_WEATHER[t.weather])
    t.weather_told = True
    t.lead = "that day"


def tell_night(t: Stage, p: float) -> None:
    """Says, with probability p, what the weather of this night is like."""
    if t.rng.chance(p):
        t.weather = t.rng.choice(tuple(_NIGHT))
        t.weather_told = True
        t.say(_NIGHT[t.weather])


def opening(
    t: Stage, weather: str = "sunny sunny cloudy cold", *, pair: Person | None = None, must_tell: bool = False
) -> None:
    """Introduces the hero. `weather` lists what the plot allows; with `pair` the friend (bound to `f`) may come too."""
    rng = t.rng
    t.weather = rng.choice(weather.split()) if weather else None
    hobbies = rng.sample(_HOBBIES, 2)
    t.bound["hobby"] = hobbies[0]
    style = rng.below(20)
    first = must_tell or (weather and style in (0, 1, 2))
    if first:
        tell_weather(t)
    if pair is not None and rng.chance(0.45):
        t.say(_PAIR)
    elif style < 9:
        t.say(_CLASSIC)
        t.maybe(0.55, _TRAITS)
    elif style < 11:
        t.say(_HOME)
        t.maybe(0.5, _TRAITS)
    elif style < 15:
        t.say(_HABIT)
    elif first or not weather:  # a story that begins at night does not begin with breakfast
        t.say(_CLASSIC)
    else:
        t.say(_VOICE)
        t.lead = "that day"
    t.world.be(t.hero, "home")
    if not first and weather and t.weather != "sunny" and rng.chance(0.5 * t.rich):
        t.paragraph()
        tell_weather(t)
    elif rng.chance(0.75):
        t.paragraph()
