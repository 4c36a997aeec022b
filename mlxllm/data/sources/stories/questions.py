"""Questions about a story, each with the answer that its facts give and that stands in its text.

A row of `_ASKED` turns an event of one plot into a question; the functions below ask what any story answers: who it
is about, what animal someone is, how they felt, where they went, what the weather was, how it ended.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from mlxllm.data.sources.stories.people import SPECIES
from mlxllm.data.sources.stories.places import BY_NOUN
from mlxllm.data.sources.stories.template import rows
from mlxllm.data.sources.stories.world import Event, Facts, article, number

if TYPE_CHECKING:  # a story is only read here
    from mlxllm.data.sources.stories import Story


@dataclass(frozen=True, slots=True)
class Question:
    """One question about one story."""

    kind: str
    """What sort of question it is; one of `KINDS`."""
    text: str
    """The question."""
    sentence: str
    """The answer as a short sentence."""
    answer: str
    """The word (seldom a phrase) of the sentence that counts; it stands in the story, but for `yes` and `no`."""
    rivals: tuple[str, ...] = ()
    """Wrong answers of the same sort that stand in the story, too."""


KINDS = (
    *("animal", "about", "thing", "place", "weather", "plan", "feeling", "problem"),
    *("who", "felt", "number", "left", "ending"),
)
"""All sorts of questions, those that a small model learns first in front."""

_ANIMALS = frozenset(species.noun for species in SPECIES)
_WEATHERS = ("sunny", "windy", "rainy", "snowy", "foggy", "cloudy", "stormy", "hot", "cold")

# Plot, verb of the event, what of it is asked for, kind, question, answer. `{answer}` is what the row asks for;
# {who}, {object} and {recipient} are those of the event.
_ASKED = rows("""
lost_and_found | lose | who | who | Who lost the {object}? | It was {answer}.
lost_and_found | lose | object | thing | What did {who} lose? | It was {a_answer}.
lost_and_found | find | who | who | Who found the {object}? | It was {answer}.
lost_and_found | keep | who | who | Who kept the {object}? | It was {answer}.
lost_and_found | return | recipient | who | Who got the {object} back? | It was {answer}.
finders | find | who | who | Who found the {object}? | It was {answer}.
finders | find | object | thing | What did {who} find? | It was {a_answer}.
finders | meet | recipient | who | Who had lost the {lost}? | It was {answer}.
finders | return | recipient | who | Who got the {object} back? | It was {answer}.
wind_takes | lose | object | thing | What did the wind take? | It was {a_answer}.
wind_takes | find | who | who | Who climbed up? | It was {answer}.
wind_takes | lose | who | who | Who lost the {object}? | It was {answer}.
wind_takes | keep | who | who | Who kept the {object}? | It was {answer}.
borrowed | lend | recipient | who | Who borrowed the {object}? | It was {answer}.
borrowed | lend | object | thing | What did {recipient} borrow? | It was {a_answer}.
borrowed | keep | who | who | Who kept the {object}? | It was {answer}.
birthday | give | recipient | who | Who had a birthday? | It was {answer}.
birthday | give | who | who | Who gave the {object}? | It was {answer}.
birthday | give | object | thing | What did {recipient} get? | It was {a_answer}.
hiding_place | promise | who | who | Who promised to keep the secret? | It was {answer}.
trade | trade | object | thing | What did {who} give away? | It was {a_answer}.
snow_day | give | recipient | who | Who got the {object}? | It was {answer}.
snow_day | lend | recipient | who | Who got the {object}? | It was {answer}.
snow_day | refuse | recipient | who | Who had nothing warm to wear? | It was {answer}.
quarrel | quarrel | object | thing | What did they both want? | It was {a_answer}.
contest | give | recipient | who | Who won the {object}? | It was {answer}.
contest | give | object | thing | What was the prize? | It was {a_answer}.
fear | lose | who | who | Who brought the {object}? | It was {answer}.
broken | break | who | who | Who broke the {object}? | It was {answer}.
broken | break | object | thing | What did {who} break? | It was {a_answer}.
owning_up | break | who | who | Who broke the {object}? | It was {answer}.
owning_up | break | object | thing | What did {who} break? | It was {a_answer}.
race | fall | who | who | Who fell? | It was {answer}.
race | win | who | who | Who won the race? | It was {answer}.
race | help | who | who | Who helped {recipient}? | It was {answer}.
rescue | hear | who | who | Who heard a cry? | It was {answer}.
rescue | rescue | recipient | who | Who was saved? | It was {answer}.
sick_friend | be ill | who | who | Who was ill? | It was {answer}.
practice | teach | who | who | Who showed {recipient} how? | It was {answer}.
practice | try | object | plan | What did {who} want to learn? | {who} wanted to learn {to_answer}.
taking_turns | ask | who | who | Who had to wait? | It was {answer}.
taking_turns | ask | topic | thing | What did they both want? | It was the {answer}.
newcomer | invite | recipient | who | Who was new? | It was {answer}.
newcomer | refuse | recipient | who | Who was new? | It was {answer}.
newcomer | invite | topic | plan | What did they play? | They played {answer}.
newcomer | refuse | topic | plan | What did they play? | They played {answer}.
building | build | object | plan | What did they build? | They built {a_answer}.
spoiled_plan | complain | topic | plan | What did they plan? | They planned {a_answer}.
strange_noise | find | object | thing | What did they find? | It was {a_answer}.
strange_noise | hear | who | who | Who heard the noise? | It was {answer}.
cannot_sleep | wake | who | who | Who could not sleep? | It was {answer}.
helping_old | help | recipient | who | Who needed help? | It was {answer}.
helping_old | refuse | recipient | who | Who needed help? | It was {answer}.
getting_lost | get lost | who | who | Who was lost? | It was {answer}.
sharing | give | who | who | Who shared the {object}? | It was {answer}.
sharing | give | recipient | who | Who was hungry? | It was {answer}.
sharing | give | count | number | How many {object} did {who} give away? | There were {answer}.
errand | bring | count | number | How many {object} did {who} bring? | There were {answer}.
greed | give | count | number | How many {object} did {who} give away? | There were {answer}.
sick_friend | give | count | number | How many {object} did {recipient} get? | There were {answer}.
sick_friend | eat | count | number | How many {object} did they eat? | There were {answer}.
secret_snack | eat | count | number | How many {object} did {who} eat? | There were {answer}.
secret_snack | eat | who | who | Who ate the {object}? | It was {answer}.
planting | plant | count | number | How many {object} did {who} plant? | There were {answer}.
cooking | give | recipient | who | Who wanted to cook? | It was {answer}.
""")

# Plot, verb of the event that makes the problem, what of it counts, the problem in a sentence.
_PROBLEMS = rows("""
lost_and_found | lose | object | {who} had lost the {object}.
finders | find | object | Someone had lost the {object}.
wind_takes | lose | object | The wind took the {object}.
borrowed | lend | object | The {object} did not come back.
hiding_place | lose to | object | The {object} was gone.
quarrel | quarrel | object | They both wanted the {object}.
broken | break | object | The {object} was broken.
owning_up | break | object | The {object} was broken.
race | fall | who | {who} fell.
practice | try | object | It was hard {object}.
taking_turns | ask | topic | There was only one {topic}.
newcomer | invite | recipient | {recipient} did not know anyone.
newcomer | refuse | recipient | {recipient} did not know anyone.
building | build | object | The {object} fell down.
spoiled_plan | complain | topic | The weather spoiled the {topic}.
sick_friend | be ill | who | {who} was ill.
rescue | hear | topic | Someone was caught in the {topic}.
getting_lost | get lost | who | {who} was lost.
""")


def questions(story: "Story") -> list[Question]:
    """All questions that the story answers, in no particular order; no two have the same text."""
    facts = story.facts
    asked = [
        *_about(story),
        *_animals(story),
        *_events(story),
        *_feelings(story),
        *_place(story),
        *_weather(story),
        *_counts(story),
        *_problem(story),
        _ending(facts),
    ]
    return list({question.text: question for question in asked}.values())


def says(text: str, words: str) -> bool:
    """Whether the words stand in the text as whole words, in whatever case."""
    words = words.lower()
    if words.isalpha():
        return words in _words(text)
    return re.search(rf"(?<![\w-]){re.escape(words)}(?![\w-])", text.lower()) is not None


@lru_cache(maxsize=32)
def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[\w-]+", text.lower()))


def names_of(facts: Facts) -> tuple[str, ...]:
    """The proper names of a story, the hero's first."""
    return tuple(c.name for c in (facts.hero, *facts.others) if c.name[0].isupper())


def _people(story: "Story") -> tuple[str, ...]:
    """All who may be the answer to "who?", as the text calls them."""
    facts = story.facts
    return tuple(c.name for c in (facts.hero, *facts.others) if says(story.text, c.name))


def _question(kind: str, text: str, sentence: str, answer: str, among: tuple[str, ...]) -> Question:
    return Question(kind, text, sentence, answer, tuple(sorted({word for word in among if word != answer})))


def _about(story: "Story") -> Iterator[Question]:
    hero = story.facts.hero.name
    opening = story.text.split("\n")[0]
    if not any(says(opening, name) for name in names_of(story.facts)[1:]):
        yield _question("about", "Who is the story about?", f"It is about {hero}.", hero, _people(story))


def _animals(story: "Story") -> Iterator[Question]:
    facts = story.facts
    kinds = tuple(c.kind for c in (facts.hero, *facts.others))
    for who in (facts.hero, *facts.others):
        if who.name[0].isupper() and who.kind in _ANIMALS and says(story.text, who.kind):
            yield _question(
                "animal", f"What animal was {who.name}?", f"{who.name} was {article(who.kind)}.", who.kind, kinds
            )


def _events(story: "Story") -> Iterator[Question]:
    facts = story.facts
    for plot, verb, part, kind, text, sentence in _ASKED:
        if plot != facts.plot:
            continue
        events = [event for event in facts.events if event.verb == verb]
        if part == "count":
            events = [event for event in events if event.count and event.count > 1]
        if len(events) != 1:  # the question would have two answers, or none
            continue
        said = _parts(events[0], facts)
        answer = said.get(part)
        if answer is None or not says(story.text, answer.removeprefix("to ")):
            continue
        if "{who}" in text + sentence and not _proper(said["who"]):
            continue
        if "{recipient}" in text and not _proper(said.get("recipient", "")):
            continue
        words = {**said, "to_answer": answer, "answer": answer, "a_answer": article(answer)}
        counts = part == "count"
        among = _people(story) if part in ("who", "recipient") else _numbers(story.text) if counts else _things(facts)
        value = answer.removeprefix("to ")
        yield _question(kind, text.format(**words), sentence.format(**words), value, among)


def _parts(event: Event, facts: Facts) -> dict[str, str]:
    """The words of an event, by the names that the tables use."""
    found = [e.object for e in facts.events if e.verb == "find" and e.object]
    parts = {
        "who": event.who,
        "object": event.object,
        "recipient": event.recipient,
        "count": number(event.count) if event.count is not None else None,
        "topic": facts.topic[-1] if len(facts.topic) > 1 else None,
        "lost": found[0] if found else None,
    }
    return {key: word for key, word in parts.items() if word is not None}


def _proper(name: str) -> bool:
    return name[:1].isupper()


def _numbers(text: str) -> tuple[str, ...]:
    return tuple(number(n) for n in range(13) if says(text, number(n)))


def _things(facts: Facts) -> tuple[str, ...]:
    return (*(thing for thing, _ in facts.holders), *facts.topic)


def _feelings(story: "Story") -> Iterator[Question]:
    text, felt = story.text, story.facts.feelings
    words = tuple(word for _, word in felt)
    for who, word in felt:
        if " " in word or len(re.findall(rf"\b{word}\b", text)) != 1 or not _proper(who):
            continue
        if [w for w, _ in felt].count(who) == 1:
            yield _question("feeling", f"How did {who} feel?", f"{who} felt {word}.", word, words)
        if words.count(word) == 1:
            yield _question("felt", f"Who was {word}?", f"It was {who}.", who, _people(story))


def _place(story: "Story") -> Iterator[Question]:
    facts, text = story.facts, story.text
    told = tuple(noun for noun in BY_NOUN if says(text, noun))
    for who in names_of(facts):
        went = {e.place for e in facts.events if e.who == who and e.verb == "go" and e.place in BY_NOUN}
        if len(went) == 1:
            (place,) = went
            assert place is not None
            yield _question("place", f"Where did {who} go?", f"{who} went to the {place}.", place, told)
            return
    places = {place for _, place in facts.places if place in BY_NOUN}
    if len(places) == 1 and set(told) == places:
        (place,) = places
        yield _question("place", "Where were they?", f"They were {BY_NOUN[place].at} the {place}.", place, told)


def _weather(story: "Story") -> Iterator[Question]:
    weather = story.facts.weather
    told = tuple(word for word in _WEATHERS if says(story.text, word))
    if weather is not None and told == (weather,):
        yield _question("weather", "What was the weather like?", f"It was {weather}.", weather, told)


def _counts(story: "Story") -> Iterator[Question]:
    """How many of the food there were at first, and were left in the end, where the text says so."""
    facts, text = story.facts, story.text
    counts = [count for count in facts.counts if count.before > 1]
    if len(counts) != 1 or facts.plot not in ("sharing", "secret_snack"):
        return
    (count,) = counts
    beginning, ending = text[: facts.ending_at], text[facts.ending_at :]
    before, left = number(count.before), number(count.after)
    if says(beginning, f"{before} {count.things}"):
        yield _question(
            "number", f"How many {count.things} were there at first?", f"There were {before}.", before, _numbers(text)
        )
    told = ending if facts.plot == "sharing" else text
    if count.after and says(told, left):
        were = "was" if count.after == 1 else "were"
        yield _question(
            "left", f"How many {count.things} were left?", f"There {were} {left} left.", left, _numbers(text)
        )


def _problem(story: "Story") -> Iterator[Question]:
    facts = story.facts
    for plot, verb, part, sentence in _PROBLEMS:
        if plot != facts.plot:
            continue
        for event in [event for event in facts.events if event.verb == verb][:1]:
            said = _parts(event, facts)
            answer = said[part].removeprefix("to ")
            if says(story.text, answer):
                among = _people(story) if part in ("who", "recipient") else _things(facts)
                yield _question("problem", "What was the problem?", sentence.format(**said), answer, among)


def _ending(facts: Facts) -> Question:
    kind = facts.ending == "kind"
    sentence = "Yes, it ended well." if kind else "No, it did not end well."
    return Question("ending", "Did the story end well?", sentence, "yes" if kind else "no", ("no" if kind else "yes",))
