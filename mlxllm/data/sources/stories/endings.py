"""The last sentences: what was learned, and a close in which a kind and an unkind ending show plainly."""

import re

from mlxllm.data.sources.stories.stage import Stage
from mlxllm.data.sources.stories.world import Ending, Entity, Person

_LEARNED = """
{h} [learned|had learned|now knew|understood] that {lesson}.
"Now I know that {lesson}," said {h}.
And so {h} learned that {lesson}.
{h} never forgot that {lesson}.
After that [day|time], {h} always remembered that {lesson}.
"You see, {lesson}," {m.call} said [later|that evening].
That [night|evening], {h} told {m.o} everything. "Yes, {lesson}," said {m}.
"I will remember this," {h} thought. "^[It is true that|Now I see that] {lesson}."
People say that {lesson}, and it is true.
"""

_KIND = """
From that day on, {h.n} and {b.n} were [good|best|the best of|close] friends.
After that, {h.n} and {b.n} were friends[, and they met almost every day| for ever| and had many more adventures].
{h.n} and {b.n} [laughed|sang|danced|talked|played] together until [the sun went down|the stars came out|the \
moon rose|\
it was time for bed|they were tired].
They sat together [for a long time|until evening][ and told each other stories| and watched the clouds|], and \
[both of them were happy|all was well|the world was good].
{b.n} hugged {h.n}, and {h.n} hugged {b.n} back.
They hugged, and [everything was good again|all was well|the day was bright again].
{h.n} and {b.n} [stayed friends|shared everything from then on|stayed together after that].
That [night|evening], {h.n} fell asleep with a [smile|warm heart][, glad to have a friend like {b.n}|].
[At bedtime|At supper|Before {h.he} fell asleep], {h.n} was still smiling about {h.his} good friend, {b.n}.
"You are a [true|good|real] friend," said {b.n}. "[So are you|And you are mine|I am glad to know you]," said {h.n}.
"I like you," said {b.n}. "I like you, too," said {h.n}, and they laughed.
They shared [a cup of tea|some warm bread|a big slice of cake|a bowl of soup|a sweet bun], and \
the day ended [well|with a song|with laughter].
And if you go there today, you may see {h.n} and {b.n} together.
Kindness had made the day bright, and {h.n} and {b.n} smiled at each other.
"Let us [do this again|meet again|play again] tomorrow," said {b.n}. ^They were friends, and the day had been good.
{h.n} and {b.n} waved to each other, and both felt warm inside.
They stayed friends, and {h.n} and {b.n} often spoke of that day.
Two friends were happy that day, and their names were {h.n} and {b.n}.
They were both smiling, and [even the birds seemed to sing|the sun seemed warmer than before|\
it was the best day of the year].
After that, {h.n} and {b.n} often met to {hobby} together.
Then they went to {hobby} together[ until it was time to go home|].
{h.n} loved to {hobby}, and from then on {b.n} came along with a smile.
{h.n} made a [paper heart|crown of leaves|little song|drawing] for {b.n}, and {b.n} was very happy.
Side by side, {h.n} and {b.n} walked home and [laughed all the way|sang a happy song|were happy].
At home, {h.n} told {m.o} what a [good|kind|true] friend {b.n} was.
They gave each other a big hug[ and promised to meet again|].
{h.n} and {b.n} made a plan for [the next day|Sunday|tomorrow] and laughed.
Everyone should have a friend like {b.n}, and {h.n} was glad to have one.
They looked at each other and [smiled|laughed|began to laugh].
The next [day|morning], {b.n} was at the door. "[You are my best friend|I like to be with you|I want to {hobby} with \
you]," said {b.n}, and {h.n} was happy.
"""

_KIND_ELDER = """
From that day on, {h.n} and {b.n} were [good|close] friends.
After that, {h.n} often came to see {b.n}, and they drank tea together.
"Come and see me again," said {b.n}, and {h.n} promised it with a smile.
{h.n} and {b.n} waved to each other, and both felt warm inside.
That [night|evening], {h.n} fell asleep with a [smile|warm heart].
[At bedtime|At supper|Before {h.he} fell asleep], {h.n} was still smiling about {h.his} new friend, {b.n}.
Kindness had made the day bright, and {h.n} and {b.n} smiled at each other.
They stayed friends, and they often spoke of that day.
They shared [a cup of tea|some warm bread|a big slice of cake|a bowl of soup], and the day ended well.
And whenever they met after that, they smiled and shook {h.hands} like old friends.
"Come back soon," said {b.n}. ^{h.n} came back the very next day, and they became friends.
{b.n} waved after {h.n} for a long time and smiled.
At home, {h.n} told {m.o} how kind {b.n} was.
{h.n} made a [drawing|paper heart|little song] for {b.n}, and {b.n} was very happy.
"""

_KIND_KIN = """
{b} hugged {h.o} [tight|for a long time], and all was well.
They [ate soup|drank warm milk|sat by the fire|looked at the stars] together, and {h} was happy.
That night, {b} gave {h.o} a hug and [turned off the light|told {h.o} a story|sang a song].
"I love you," said {b}, and they hugged.
{h} and {b} laughed together, and the day ended well.
It was good to be loved, and {h} fell asleep with a smile.
"I am so glad that you are here," said {b}, and gave {h.o} a kiss.
{b} smiled and held {h.o} close, and everything was good.
That night, {h} slept well and had sweet dreams, and {b} smiled at the door.
{h} leaned on {b.o} and smiled.
{b} made [warm milk|a cup of tea|some hot soup], and they sat together for a while.
In the morning, {h} gave {b.o} a [kiss|big hug|drawing of a heart], and they laughed.
With {b.o} at {h.p} side, {h} was warm and safe.
{h} knew that {b} loved {h.o}, and that was good.
{b} [whispered|sang] something in {h.p} ear, and {h} laughed.
"""

_BOTH = """
{h.n} and {b.n} were not friends after that.
{h.n} and {b.n} turned their backs and [walked away|went home alone|did not look back].
[There were only angry words, and|They shouted for a long time, and] nobody said sorry.
From then on, {h.n} played alone, and so did {b.n}.
They never [played|laughed|talked] together again.
"I do not want to be your friend," said {b.n}, and that was the end of it.
"You are not my friend any more," said {h.n}[ in a cold voice|], and {h.he} meant it.
After that day, they looked away when they met, and each was alone.
It was the end of a friendship, and nobody was kind enough to mend it.
From then on, {h.n} had to {hobby} alone.
{h.n} wanted to {hobby}, but it was no fun alone.
Each of them went home with angry [eyes|steps|words], and nobody said goodbye.
The next [day|morning], {b.n} did not [say hello|look at {h.n}|come], and {h.n} did not care.
{h.n} and {b.n} never met again, and each of them was alone.
That evening, {h.n} was alone, and {b.n} was alone, too.
"""

_HERO_HURT = """
{h.n} went home alone, and nobody [waved|said a word|came along|asked why {h.he} cried].
That [night|evening], {h.n} [lay awake|cried in bed|did not eat] and felt very alone.
{h.n} cried all the way home, and nobody came to [help|comfort {h.o}].
For a long time, {h.n} was sad and alone.
It was a mean thing to do to {h.n}, and nobody said sorry.
{h.n} sat down alone and cried[ bitter tears|].
"How can anyone be so mean?" <asked> {h.n}. ^Nobody answered.
{h.n} wiped away {h.his} tears. Nobody cared.
And {b.n} did not care that {h.n} cried.
All alone, {h.n} [looked at the stars|listened to the wind] that night and cried.
{h.n} did not want to {hobby} that day and [sat alone at the window|cried alone in a corner|went to bed alone].
{h.n} went to bed early and cried into {h.his} pillow.
That was mean of {b.n}, and {h.n} was sad and alone.
The way home was long for {h.n}, and nobody came along.
{h.n} told {m.o} how mean {b.n} had been, and cried.
Nobody saw how {h.n} cried [under a tree|all night|behind the house].
"""

_OTHER_HURT = """
{b.n} cried[ for a long time| that night| bitter tears], and nobody came to comfort {b.o}.
{b.n} was left alone, and {h.n} did not care.
That [night|evening], {b.n} [lay awake|cried|sat in the dark] and felt very alone.
It was a mean thing to do to {b.n}, and {h.n} did not even say sorry.
{h.n} did not care that {b.n} cried.
After that, nobody wanted to play with {h.n}, because {h.he} was so mean.
{h.n} felt big and strong, but {h.he} was only mean.
When the others heard how mean {h.n} had been, they left {h.o} alone.
{h.n} laughed about it, but nobody laughed with {h.o}. {h.he} was alone.
And {b.n} never trusted {h.n} again and stayed alone.
{b.n} walked home alone[, step by step| with wet eyes| without a word].
Nobody was kind to {b.n} that day, and {b.n} cried.
{b.n} had nobody to play with and cried.
{h.n} went off to {hobby}, and {b.n} was left there alone.
There were tears on {b.p} face, but {h.n} did not look.
{h.n} did not even turn around when {b.n} cried.
"""

_HERO_HURT_ELDER = """
{h.n} never forgot how mean {b.n} had been.
For a long time, {h.n} did not trust anyone and stayed alone.
It was a mean thing to do, and nobody said sorry.
{h.n} had never felt so alone.
That night, {h.n} cried in bed and felt very alone.
Nobody had been kind to {h.n} that day, and {h.he} cried.
{h.n} told {m.o} how mean {b.n} had been, and cried.
The night was cold, and {h.n} was alone.
{h.n} never went back to {b.n}.
"How can anyone be so mean?" <asked> {h.n}. ^Nobody answered.
"""

_ELDER_HURT = """
{b.n} [sighed|shook {b.his} head] and went on alone.
{b.n} was left alone, and {h.n} did not care.
It was a mean thing to do, and {h.n} did not even say sorry.
{h.n} felt big and strong, but {h.he} was only mean.
When the others heard how mean {h.n} had been, they left {h.o} alone.
{h.n} laughed about it, but nobody laughed with {h.o}.
That [night|evening], {b.n} sat alone in the dark.
After that, nobody wanted to help {h.n}, because {h.he} was so mean.
{b.n} sat down by the road alone and sighed.
Nobody was kind to {b.n} that day.
{h.n} went off to {hobby} and did not think of {b.n} again.
"""

_KIN_HURT = """
{b} was left alone and [cried|sighed], and {h} did not care.
That [night|evening], {b} was sad and alone.
It was a mean thing to do, and {b} cried in secret.
{b} did not smile for days, and nobody said sorry.
{h} did not say sorry, and {b} sat alone in the dark.
{b} had tears in {b.his} eyes, but {h} turned away.
It was not kind, and {b} cried at the window.
The next day, {b} did not say a word, and {h} did not care.
{b} sat there alone and wondered why {h} was so mean.
"""

_HURT_BY_KIN = """
{h} went to bed alone, and nobody told {h.o} a story.
{h} went back alone and cried into {h.his} pillow.
That night, {h} lay awake and felt very alone.
Nobody hugged {h.o}, and the house was [cold and still|very quiet|dark].
{h} cried alone in the dark until the morning came.
Nobody came, and {h} was alone with the dark.
{h} pulled the blanket over {h.his} head and cried.
{h} lay there alone and listened to the wind.
Nobody came to hold {h.o}, and {h} cried.
{h} counted the hours alone until it was light.
"""


_KIND_SIGNS = re.compile(
    r"\b(friends?|friendly|hug|hugged|together|shared?|kind|kindness|smil\w+|laugh\w*|love|loved|glad|happy|warm|good|well)\b",
    re.IGNORECASE,
)
_UNKIND_SIGNS = re.compile(
    r"\b(alone|nobody|mean|cried|crying|tears|angry|never|not friends?|not my friend|not want|unkind|cruel|cold|"
    r"not care|did not|turned|badly|end of (?:it|a friendship)|lonely|in the dark)\b",
    re.IGNORECASE,
)


def ending_of(text: str) -> Ending | None:
    """Whether a story ends kindly, judged by the words of its last sentences; None where they do not tell.

    For texts that come without facts, such as a model's. The last sentence that shows a sign of either kind
    decides; within it unkindness outweighs kindness ("nobody hugged her").
    """
    for sentence in reversed(re.split(r"(?<=[.!?])\"?\s+", text.strip())[-2:]):
        kind, unkind = _KIND_SIGNS.search(sentence), _UNKIND_SIGNS.search(sentence)
        if kind or unkind:
            return "unkind" if unkind else "kind"
    return None


def learned(t: Stage, lesson: str, p: float = 0.5) -> None:
    """The lesson, a clause in the present tense ("it is good to share"), perhaps said aloud."""
    if t.rng.chance(p):
        t.lesson = lesson
        t.bound["lesson"] = lesson
        t.say(_LEARNED)


def close(t: Stage, other: Entity, lesson: str = "", p_lesson: float = 0.5, hurt: str = "both") -> None:
    """The lesson, if any, and the last sentence, between the hero and `other` (bound to `b`).

    `hurt` says who has suffered when the ending is unkind: "hero", "other", or "both", who then part in anger.
    """
    if lesson:
        learned(t, lesson, p_lesson)
    t.bound["b"] = other
    if t.ending == "kind":
        t.say(_KIND if _is_friend(other) else _KIND_ELDER if isinstance(other, Person) else _KIND_KIN)
    elif not isinstance(other, Person):
        t.say(_HURT_BY_KIN if hurt == "hero" else _KIN_HURT)
    elif hurt == "both":
        t.say(_BOTH)
    elif hurt == "hero":
        t.say(_HERO_HURT if _is_friend(other) else _HERO_HURT_ELDER)
    else:
        t.say(_OTHER_HURT if _is_friend(other) else _ELDER_HURT)


def _is_friend(other: Entity) -> bool:
    """Whether `other` is one of those with a name, who play, hug and cry as the hero does."""
    return isinstance(other, Person) and bool(other.name)
