"""What can be owned, lost, broken, eaten or planted, with the properties that the plots ask for."""

from typing import NamedTuple


class ThingInfo(NamedTuple):
    """One kind of thing."""

    noun: str
    adjectives: tuple[str, ...]
    flags: frozenset[str]
    """wind (can blow away), roll, shine, wear, warm, sound, small, cloth, float, toy, paper, large (for a bag),
    fixed (stays at its place)."""
    use: str
    """What one does with it, as an infinitive without "to"; `it` stands for the thing."""
    broke: str
    """How it breaks, a clause in the past tense, or empty."""
    mend: str
    """What mends it, or empty."""


_ALL = "new old pretty lovely special"
_COLORS = "red blue green yellow purple pink white brown orange"


def _thing(
    noun: str, adjectives: str, flags: str, use: str, broke: str = "", mend: str = "", colors: bool = True
) -> ThingInfo:
    words = f"{_ALL} {adjectives} {_COLORS if colors else ''}".split()
    return ThingInfo(noun, tuple(words), frozenset(flags.split()), use, broke, mend)


THINGS = (
    _thing("kite", "big striped bright", "large wind toy", "fly it", "the paper tore", "paper and glue"),
    _thing("ball", "round bouncy little", "roll toy", "kick it"),
    _thing("hat", "soft tall woolly", "warm wind wear cloth", "wear it"),
    _thing("scarf", "soft warm long striped woolly", "warm wind wear cloth", "wear it", "a hole tore in the middle",
           "a needle and thread"),
    _thing("drum", "big loud round", "large sound toy roll", "play it", "the top split", "a piece of leather"),
    _thing("lamp", "bright small brass", "shine", "light it", "the glass cracked", "a new piece of glass"),
    _thing("lantern", "bright small brass", "shine", "carry it", "the handle snapped", "a bit of wire"),
    _thing("book", "thick thin", "paper", "read it", "three pages tore", "paper and glue"),
    _thing("boat", "wooden small tiny", "float toy", "sail it", "the mast snapped", "a straight stick"),
    _thing("bell", "silver golden tiny brass", "shine sound small", "ring it", colors=False),
    _thing("cup", "round little striped", "small", "drink from it", "the handle came off", "a drop of glue"),
    _thing("basket", "round big strong", "large", "fill it", "the handle came off", "a bit of string"),
    _thing("key", "silver golden tiny rusty", "shine small", "keep it safe", colors=False),
    _thing("bucket", "strong big wooden", "large roll", "fill it", "the handle snapped", "a bit of rope"),
    _thing("umbrella", "big striped bright", "large wind", "open it", "one of the ribs snapped", "a bit of wire"),
    _thing("blanket", "soft warm striped woolly", "large cloth wind", "curl up in it", "a hole tore in one corner",
           "a needle and thread"),
    _thing("doll", "small soft", "toy", "play with it", "one arm came off", "a needle and thread"),
    _thing("shell", "shiny spotted curly", "shine small", "listen to it"),
    _thing("whistle", "silver loud tiny", "sound small shine", "blow it"),
    _thing("box", "small wooden strong square", "large", "open it", "the lid broke off", "two small nails"),
    _thing("ring", "silver golden shiny tiny", "shine small roll", "wear it", colors=False),
    _thing("coin", "silver golden shiny round", "shine small roll", "look at it", colors=False),
    _thing("feather", "long soft shiny", "wind small", "wear it"),
    _thing("button", "shiny round golden", "shine small roll", "play with it"),
    _thing("ribbon", "long silky striped", "wind cloth small wear", "wear it"),
    _thing("flute", "silver wooden thin", "sound", "play it", "it cracked at one end", "a drop of glue"),
    _thing("paintbrush", "thin long", "small", "paint with it", "the handle snapped", "a bit of tape"),
    _thing("wagon", "big little wooden strong", "large roll toy", "pull it", "one wheel came off", "a hammer and nails"),
    _thing("sled", "fast long wooden", "large toy roll", "ride on it", "one side split", "a hammer and nails"),
    _thing("map", "big faded secret", "wind paper", "look at it", "one corner tore off", "a bit of tape"),
    _thing("clock", "round little wooden", "sound", "look at it", "it stopped ticking", "a new spring"),
    _thing("mitten", "warm soft striped woolly", "warm wear cloth small", "wear it", "the thumb tore open",
           "a needle and thread"),
    _thing("marble", "shiny round tiny", "shine small roll toy", "roll it"),
    _thing("puppet", "funny wooden small", "toy", "play with it", "two of the strings snapped", "a bit of string"),
    _thing("mask", "funny striped bright", "wear paper", "wear it", "one side cracked", "paper and glue"),
    _thing("crown", "golden silver shiny paper", "wear shine", "wear it", "one point broke off",
           "a drop of glue", colors=False),
    _thing("cape", "long bright silky", "wear cloth wind", "wear it", "it tore from top to bottom",
           "a needle and thread"),
    _thing("rope", "long strong thick", "", "swing on it"),
    _thing("jar", "big round little", "", "fill it", "the lid cracked", "a drop of glue"),
    _thing("spoon", "big silver wooden long", "small", "stir with it", "it snapped in two", "a drop of glue"),
    _thing("mirror", "round silver little", "shine", "look into it", "one corner cracked", "a new frame"),
    _thing("picture", "big bright framed", "large wind paper", "look at it", "it tore in two", "a bit of tape"),
    _thing("pillow", "soft square fluffy", "large cloth", "sleep on it", "a seam burst open", "a needle and thread"),
    _thing("teapot", "round little spotted", "", "fill it", "the spout broke off", "a drop of glue"),
    _thing("guitar", "wooden big shiny", "large sound", "play it", "two strings snapped", "a new set of strings"),
    _thing("horn", "loud brass long", "sound", "blow it"),
    _thing("pinwheel", "bright striped", "wind toy", "spin it", "one arm tore off", "paper and glue"),
    _thing("train", "wooden fast small", "toy roll", "play with it", "one wheel came off", "a hammer and nails"),
    _thing("top", "wooden bright round", "toy roll small", "spin it", "the tip broke off", "a small nail"),
    _thing("bag", "strong big little", "large cloth", "carry it", "the strap tore", "a needle and thread"),
    _thing("net", "long strong fine", "", "catch leaves with it", "a big hole tore in it", "a bit of string"),
    _thing("stone", "shiny smooth round flat", "shine small roll", "hold it"),
    _thing("robot", "funny tin silver", "toy", "play with it", "one leg fell off", "a tiny screw"),
    _thing("vest", "warm woolly striped", "warm wear cloth", "wear it", "two buttons came off", "a needle and thread"),
    _thing("chair", "little wooden strong", "fixed", "sit on it", "one leg came off", "a hammer and nails"),
    _thing("swing", "strong wooden", "fixed", "swing on it", "one rope snapped", "a new rope"),
    _thing("telescope", "brass long shiny", "large shine", "look at the stars with it", "the glass cracked",
           "a new piece of glass", colors=False),
    _thing("tent", "big small striped", "large cloth", "sleep in it", "a hole tore in the roof",
           "a needle and thread"),
    _thing("fan", "silky striped", "wind paper", "open it", "two of the ribs snapped", "paper and glue"),
    _thing("music box", "tiny wooden silver", "sound", "open it", "the little crank came off", "a tiny screw"),
)  # fmt: skip

# Food that is counted: (one, several, where it comes from for "picked"/"baked").
FOODS = (
    ("apple", "apples", "tree"), ("pear", "pears", "tree"), ("plum", "plums", "tree"), ("nut", "nuts", "tree"),
    ("berry", "berries", "bush"), ("carrot", "carrots", "ground"), ("cookie", "cookies", "oven"),
    ("bun", "buns", "oven"), ("peach", "peaches", "tree"), ("cherry", "cherries", "tree"), ("fig", "figs", "tree"),
    ("strawberry", "strawberries", "bush"), ("grape", "grapes", "bush"), ("turnip", "turnips", "ground"),
    ("potato", "potatoes", "ground"), ("radish", "radishes", "ground"), ("tomato", "tomatoes", "bush"),
    ("muffin", "muffins", "oven"), ("tart", "tarts", "oven"), ("pancake", "pancakes", "pan"),
    ("roll", "rolls", "oven"), ("dumpling", "dumplings", "pan"), ("pie", "pies", "oven"),
    ("sandwich", "sandwiches", "kitchen"),
)  # fmt: skip

PLANTS = (
    ("sunflower", "sunflowers"), ("bean", "beans"), ("pumpkin", "pumpkins"), ("rose", "roses"), ("tulip", "tulips"),
    ("melon", "melons"), ("pea", "peas"), ("daisy", "daisies"), ("tomato plant", "tomato plants"),
)  # fmt: skip

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
