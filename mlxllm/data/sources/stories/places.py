"""Where a story can happen: how one speaks of each place, what hides there, what one sees, what weather suits it."""

from typing import NamedTuple


class PlaceInfo(NamedTuple):
    """One kind of place."""

    noun: str
    at: str
    """Preposition of being there."""
    spots: tuple[str, ...]
    """Hiding places, each a phrase that answers "where?"."""
    sights: tuple[str, ...]
    """Whole sentences that are true there on a dry day."""
    flags: frozenset[str]
    """outdoor, water, trees, people (only children's stories), wide (room to run)."""


def _place(noun: str, at: str, flags: str, spots: str, sights: str) -> PlaceInfo:
    return PlaceInfo(noun, at, tuple(spots.split("|")), tuple(sights.split("|")), frozenset(flags.split()))


PLACES = (
    _place("park", "in", "outdoor trees wide people green",
           "under a bench|behind a big tree|near the fountain|beside the swings|under a bush",
           "Children ran up and down the paths.|A fountain splashed in the middle.|A dog chased its own tail.|"
           "Two old men played cards on a bench."),
    _place("forest", "in", "outdoor trees green",
           "under a fern|behind a log|among the roots of a tree|inside a hollow stump|under a pile of leaves",
           "Birds called from branch to branch.|The trees were so tall that they hid the sky.|"
           "Mushrooms grew in the shade.|It smelled of pine and moss."),
    _place("beach", "on", "outdoor water wide",
           "behind a rock|under an old boat|in a pile of seaweed|beside a sand castle|near the water",
           "Waves rolled in and out.|Gulls cried over the water.|Small crabs walked sideways on the sand.|"
           "The sand was soft and pale."),
    _place("farm", "on", "outdoor wide green",
           "behind the barn|under a cart|in a heap of hay|beside the well|near the pig pen",
           "Chickens pecked at the ground.|Cows chewed and looked over the fence.|A rooster sat on the gate.|"
           "The hay smelled sweet."),
    _place("garden", "in", "outdoor green",
           "behind the roses|under a flower pot|beside the gate|in the tall grass|between two cabbages",
           "Bees hummed around the flowers.|Roses climbed up the wall.|A snail crawled along a leaf.|"
           "Butterflies danced over the beans."),
    _place("lake", "at", "outdoor water trees green",
           "among the reeds|under a rowboat|behind a willow|on a flat stone|beside the dock",
           "The water was still as glass.|A fish jumped and was gone.|Swans glided past.|"
           "Dragonflies darted over the water."),
    _place("river", "at", "outdoor water trees green",
           "among the reeds|under the bridge|behind a round stone|on the muddy bank|between two roots",
           "The water sang over the stones.|A leaf sailed by like a boat.|Little fish hid in the shade.|"
           "A kingfisher sat on a twig."),
    _place("hill", "on", "outdoor wide green",
           "behind a big rock|in the long grass|under a thorn bush|beside the old stone wall|near the top",
           "From there one could see the whole valley.|The grass bent this way and that.|Sheep dotted the slope.|"
           "The clouds looked close enough to touch."),
    _place("meadow", "in", "outdoor wide green",
           "in the tall grass|under a daisy|behind a fence post|beside a molehill|near the stream",
           "Grasshoppers jumped everywhere.|The flowers were yellow and blue.|A lark sang high above.|"
           "Dandelion seeds floated by."),
    _place("market", "at", "outdoor people",
           "under a table|behind a barrel|between two baskets|beside the fruit stand|next to the fish stall",
           "People shouted and laughed.|The fruit was piled up in bright towers.|It smelled of bread and cheese.|"
           "A man played a fiddle on the corner."),
    _place("playground", "on", "outdoor people wide",
           "under the slide|in the sandbox|behind the swings|beside the seesaw|near the gate",
           "The swings creaked back and forth.|Children waited in a line at the slide.|"
           "Somebody had drawn a sun on the ground."),
    _place("orchard", "in", "outdoor trees green",
           "behind a ladder|under an apple tree|in an empty crate|beside the cart|in the long grass",
           "The branches were heavy.|Wasps buzzed around the fallen fruit.|Ladders leaned against the trees.|"
           "Sunlight fell through the leaves in spots."),
    _place("pond", "at", "outdoor water green",
           "among the reeds|under a lily pad|behind a mossy stone|beside an old bucket|in the mud",
           "Frogs croaked from the reeds.|Ducks swam in circles.|Water bugs skated on the pond.|"
           "The lilies were open."),
    _place("school", "at", "people indoor",
           "under a desk|behind the door|on the top shelf|beside the blackboard|in a drawer",
           "The halls were full of voices.|Paintings hung on the walls.|A bell rang twice.|"
           "Coats hung in a row."),
    _place("library", "in", "people indoor",
           "under a chair|between two big books|behind a curtain|on the lowest shelf|beside the lamp",
           "It was very quiet there.|The shelves went all the way up.|Someone turned a page.|"
           "A clock ticked softly."),
    _place("barn", "in", "indoor",
           "behind a sack of corn|under the straw|on a beam|beside a ladder|in an old bucket",
           "Swallows flew in and out of the window.|Dust danced in the light.|It smelled of hay.|"
           "A cow slept in the corner."),
    _place("cave", "in", "dark indoor",
           "behind a big stone|in a crack in the wall|beside a puddle|under a ledge|in a dark corner",
           "Water dripped from above.|Every step made an echo.|It was cool and dim.|"
           "The stones were smooth and wet."),
    _place("attic", "in", "indoor people dark",
           "inside an old trunk|behind a broken chair|under a sheet|beside the window|in a dusty box",
           "Dust lay on everything.|A spider sat in its web.|The floor creaked.|"
           "Old coats hung from a nail."),
    _place("valley", "in", "outdoor wide green",
           "under a hedge|behind a stone|beside the path|in a ditch|near the stream",
           "A stream ran along the path.|Far away a bell was ringing.|The hills stood around like giants.|"
           "Rabbits sat in the clover."),
    _place("village square", "in", "outdoor people",
           "behind the well|under a cart|beside the statue|near the bakery door|under a bench",
           "Pigeons walked around the well.|A woman swept her steps.|The bakery smelled of warm bread.|"
           "The clock on the tower struck ten."),
    _place("bridge", "on", "outdoor water",
           "behind a post|under the railing|beside a stone lion|in a crack between the boards|near the end",
           "The boards were worn and gray.|Water rushed below.|A heron stood in the shallow water.|"
           "Boats slid underneath."),
    _place("windmill", "at", "outdoor wide",
           "behind a sack of flour|beside the steps|under a cart|near the door|behind a big wheel",
           "The great arms turned slowly.|Flour lay on the steps like snow.|The wheels groaned.|"
           "A gray cat slept by the door."),
    _place("harbor", "at", "outdoor water people",
           "behind a barrel|under a net|beside a coil of rope|in an empty crate|near the boats",
           "Boats rocked up and down.|It smelled of fish and salt.|Sails flapped.|"
           "Gulls fought over a crust."),
)  # fmt: skip

BY_NOUN = {place.noun: place for place in PLACES}
