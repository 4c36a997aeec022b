"""A small corpus of prose, code and other scripts, the same for the same seed."""

import random

_WORDS = "the a little old fox garden river house mother child said asked found lost happy under over and".split()
_CODE = "def area(width):\n    # in m²\n    if width < 0:\n        return None\n\treturn width * 2\n\n\n"
_OTHER = "Füße, naïve café; привет мир. 日本語の文章。 नमस्ते दुनिया! 2024-11-05 12:30\r\n"


def corpus(seed: int = 0, documents: int = 60) -> list[str]:
    """Documents that are the same for the same seed."""
    rng = random.Random(seed)
    texts = []
    for _ in range(documents):
        sentences = [" ".join(rng.choices(_WORDS, k=rng.randint(4, 9))).capitalize() for _ in range(6)]
        texts.append('. "Yes," '.join(sentences) + ".\n\n" + rng.choice([_CODE, _OTHER, "Don't!\n"]))
    return texts
