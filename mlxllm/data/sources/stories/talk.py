"""Small talk: what one says to a model that tells stories, besides asking for them, and what it answers."""

from mlxllm.data.sources.stories.rng import Rng

_HELLO = "Hello! Shall I tell you a story?"
_ABLE = "I can tell you a story and answer questions about it."
_NAME = "I am a small model that tells stories."
_WELCOME = "You are welcome! Do you want another story?"
_BYE = "Goodbye! Come back soon."
_FINE = "I am fine, thank you. Shall I tell you a story?"
_WHICH = "I do not know that story. Tell it to me first."

_TURNS = {
    _HELLO: "Hello.|Hello!|Hi|Hi!|hi|hello|Hey!|Good morning!|Good evening!|Hello there!",
    _ABLE: "What can you do?|What can I ask you?|Help|Can you help me?|What do you know?|How does this work?",
    _NAME: "Who are you?|What are you?|What is your name?|Are you a person?|Are you a robot?",
    _WELCOME: "Thank you!|Thank you.|Thanks!|thanks|Nice!|That was nice.|I like it.|Good story!|Well done!",
    _BYE: "Goodbye!|Bye!|bye|Good night!|See you later.",
    _FINE: "How are you?|How do you do?|How are you today?|Are you well?",
    _WHICH: "Who is the story about?|What was the problem?|Did the story end well?|Where were they?",
}
ANSWERS = tuple(_TURNS)
"""Everything that is answered in small talk."""
_SAID = tuple((said, answer) for answer, turns in _TURNS.items() for said in turns.split("|"))
_THANKS = tuple(turn for turn in _SAID if turn[1] == _WELCOME)


def small_talk(rng: Rng) -> tuple[str, str]:
    """What the user says at the beginning of a conversation, and the answer."""
    return rng.choice(_SAID)


def thanks(rng: Rng) -> tuple[str, str]:
    """The user's thanks for a story, and the answer."""
    return rng.choice(_THANKS)
