"""A prompt as a model takes it: turns for one that was tuned to answer, and a text for a base model."""

from collections.abc import Sequence

from mlxllm.conversation.records import Message
from mlxllm.conversation.trials import Prompt


def prompt_of(text: str, system: str = "", before: Sequence[str] = ()) -> Prompt:
    """A question, behind earlier turns (the user's, the model's, and so on) and what the model is told beforehand."""
    earlier = [Message("assistant" if n % 2 else "user", said) for n, said in enumerate(before)]
    return with_system((*earlier, Message("user", text)), system)


def with_system(prompt: Prompt, system: str) -> Prompt:
    """A prompt behind what the model is told beforehand; one that brings that along stays as it is."""
    if not system.strip() or any(message.role == "system" for message in prompt):
        return prompt
    return (Message("system", system), *prompt)


def asked_of(prompt: Prompt, *, base: bool) -> str | Prompt:
    """What a model is to continue.

    A base model is given the last question alone, as a text, and what it is to write stands on the next line.

    Args:
        prompt: ends with the question.
        base: the model was not tuned to answer.
    """
    return f"{prompt[-1].content}\n" if base else prompt
