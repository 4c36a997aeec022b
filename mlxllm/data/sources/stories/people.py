"""Who can be in a story: children, animals with names, grown-ups without, and the family of the hero."""

from typing import NamedTuple

GIRLS = (
    "Mia Lily Anna Lucy Ella Rosie Nina Clara Ruby Ivy Alice Emma Maya Sara Zoe Lena Aisha Yuki Sofia Molly "
    "Nora Tina Grace Carmen"
).split()
BOYS = (
    "Tim Ben Tom Sam Max Jack Leo Finn Noah Oscar Henry Peter Hugo Omar Theo Kofi Raj Luis Adam Eli Felix "
    "Jonas Mark Ravi"
).split()
SHE_ANIMALS = "Dot Poppy Bella Coco Tilly Pippa Greta Mimi Fifi Dora Kiki Nell Winnie Zuzu Bibi Hettie".split()
HE_ANIMALS = "Pip Rusty Nibbles Gus Otto Milo Ziggy Toby Benny Tuck Bruno Momo Waldo Hobbs Fitz Rollo".split()

CHILD_ADJECTIVES = "little small young kind clever curious quiet cheerful shy brave gentle funny busy".split()
ANIMAL_ADJECTIVES = (
    "little small young kind clever curious quiet cheerful shy brave gentle funny busy tiny fluffy sleepy"
).split()

CHILD_HOMES = (
    "in a small house by the sea|in a white house near the woods|at the edge of a town|on a farm|"
    "in a tall house on a hill|in a village by a river|on a narrow street|next to a bakery|"
    "in a little house with a green door|above a shop|in a small town|near a big lake"
).split("|")


class Species(NamedTuple):
    """One kind of animal: its homes, what it holds things with, how it hurries, its sizes."""

    noun: str
    homes: tuple[str, ...]
    hands: tuple[str, str]
    """One and several of what it grasps with."""
    ran: str
    """How it hurries, in the past tense."""
    climbs: bool
    swims: bool
    big: bool


_WOODS = "in the woods|at the edge of the forest|in a quiet valley"
_PAW = ("paw", "paws")
_FOOT = ("foot", "feet")
_WING = ("wing", "wings")


def _kind(
    noun: str, homes: str, hands: tuple[str, str], ran: str, *, climbs: int = 0, swims: int = 0, big: int = 0
) -> Species:
    return Species(noun, tuple(homes.split("|")), hands, ran, bool(climbs), bool(swims), bool(big))


SPECIES = (
    _kind("fox", f"in a den under a hill|{_WOODS}", _PAW, "trotted"),
    _kind("rabbit", f"in a burrow under a hedge|{_WOODS}|beside a carrot field", _PAW, "hopped"),
    _kind("mouse", "in a hole in the wall of a barn|under the roots of an oak|behind a mill", _PAW, "scurried"),
    _kind("squirrel", f"in a tall oak tree|high up in a pine|{_WOODS}", _PAW, "scampered", climbs=1),
    _kind("hedgehog", f"under a pile of leaves|{_WOODS}|beneath a hedge", _PAW, "hurried"),
    _kind("bear", f"in a warm cave|{_WOODS}|near the mountains", _PAW, "lumbered", climbs=1, swims=1, big=1),
    _kind("cat", "in a cottage by the mill|on a farm|in a bookshop", _PAW, "trotted", climbs=1),
    _kind("puppy", "on a farm|in a yellow house|behind a bakery", _PAW, "ran", swims=1),
    _kind("duck", "by a pond|beside the river|among the reeds", _WING, "waddled", swims=1),
    _kind("frog", "by a pond|under a lily pad|near a stream", _FOOT, "hopped", swims=1),
    _kind("owl", f"in a hollow tree|{_WOODS}|in the roof of a barn", _WING, "flew", climbs=1),
    _kind("goat", "on a farm|on a rocky hill|near the mountains", _FOOT, "trotted", climbs=1, big=1),
    _kind("lamb", "on a farm|in a green valley|on a grassy hill", _FOOT, "skipped"),
    _kind("pig", "on a farm|in a red barn|in a cozy sty", _FOOT, "trotted", big=1),
    _kind("turtle", "by a pond|beside a lake|near a stream", _FOOT, "plodded", swims=1),
    _kind("mole", f"under a meadow|beneath a garden|{_WOODS}", _PAW, "shuffled"),
    _kind("badger", f"in a deep burrow|{_WOODS}|under a hill", _PAW, "hurried", big=1),
    _kind("otter", "by a river|on the bank of a stream|beside a lake", _PAW, "scampered", swims=1),
    _kind("beaver", "by a river|in a house of sticks on a lake|near a stream", _PAW, "hurried", swims=1),
    _kind("deer", f"{_WOODS}|near the mountains", _FOOT, "leaped", big=1),
    _kind("goose", "on a farm|by a pond|behind a mill", _WING, "waddled", swims=1),
    _kind("raccoon", f"in a hollow log|{_WOODS}|near a stream", _PAW, "scampered", climbs=1),
    _kind("monkey", "in the jungle|at the top of a tall tree|near a waterfall", _PAW, "swung", climbs=1),
    _kind("kitten", "in a barn|in a cottage by the sea|above a shop", _PAW, "ran", climbs=1),
    _kind("sparrow", "in a nest in the hedge|under the roof of a school|in an apple tree", _WING, "flew", climbs=1),
    _kind("pony", "on a farm|in a warm stable|in a wide meadow", _FOOT, "galloped", big=1),
    _kind("elephant", "near a waterhole|at the edge of the jungle|in a wide valley", _FOOT, "stomped", swims=1, big=1),
)

# Grown-ups that stay without a name: (noun phrase, pronoun class, the world they belong to).
HUMAN_ELDERS = (
    ("old man", "he"), ("old woman", "she"), ("farmer", "he"), ("baker", "she"), ("gardener", "he"),
    ("fisherman", "he"), ("shopkeeper", "she"), ("teacher", "she"), ("miller", "he"), ("tailor", "he"),
    ("librarian", "she"), ("painter", "she"), ("carpenter", "he"), ("mail carrier", "she"), ("nurse", "she"),
)  # fmt: skip
ANIMAL_ELDERS = (
    ("old goat", "she"), ("old owl", "he"), ("old turtle", "he"), ("old bear", "she"), ("old badger", "he"),
    ("old hen", "she"), ("old crow", "he"), ("gray wolf", "he"), ("wise toad", "he"), ("old horse", "she"),
    ("big dog", "he"), ("tall stork", "she"), ("old mole", "he"), ("brown cow", "she"), ("white goose", "she"),
)  # fmt: skip

# The hero's family: (word in the story, how the hero calls them, pronoun class).
PARENTS = (("mom", "Mom", "she"), ("mother", "Mother", "she"), ("dad", "Dad", "he"), ("father", "Father", "he"))
KIN = (*PARENTS, ("grandma", "Grandma", "she"), ("grandpa", "Grandpa", "he"), ("aunt", "Auntie", "she"),
       ("uncle", "Uncle", "he"))  # fmt: skip
