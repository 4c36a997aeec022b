"""What a model wrote, judged: the number that it ends in, and the program that it makes."""

import re

from mlxllm.evaluation.tasks.items import Code

SUM_STOPS = ("Question:", "</s>", "<|im_end|>")
"""Where an answer to a word problem ends, as in lm-eval's gsm8k."""
CODE_STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
"""Where the body of a function has ended (Chen et al. 2021)."""

_MARKED = re.compile(r"#### (-?[0-9.,]+)")
_NUMBER = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")
_BLOCK = re.compile(r"```(?:[Pp]ython3?|py)?[ \t]*\n(.*?)(?:\n```|\Z)", re.DOTALL)


def marked_number(text: str) -> str | None:
    """The first number behind `####`, plainly written; None where there is none."""
    found = _MARKED.search(text)
    return plain_number(found.group(1)) if found else None


def last_number(text: str) -> str | None:
    """The last number of a text, plainly written; None where there is none."""
    found = _NUMBER.findall(text)
    return plain_number(found[-1]) if found else None


def plain_number(text: str) -> str:
    """Without what is not compared: separators, the currency, a full stop at the end."""
    return re.sub(r"\.$", "", text.replace(",", "").replace("$", "").strip())


def program_of(puzzle: Code, written: str, *, chat: bool) -> str:
    """The program that shows whether what was written is right: function, test, and the call of the test.

    Args:
        puzzle: what was asked for.
        written: what the model wrote behind it.
        chat: it is an answer, whose first block of code is meant; what stands around it is talk.
    """
    body = written
    if chat:
        block = _BLOCK.search(written)
        body = block.group(1) if block else written
        if f"def {puzzle.entry_point}" in body:  # the whole function once more, below the one that only has a docstring
            body = "\n" + body
    return f"{puzzle.context}{body}\n{puzzle.test}\ncheck({puzzle.entry_point})\n"


def chat_request(puzzle: Code) -> str:
    """How a function is asked for in a chat."""
    request = "Complete this Python function. Answer with the whole function in one block of code."
    return f"{request}\n\n```python\n{puzzle.context.rstrip()}\n```"
