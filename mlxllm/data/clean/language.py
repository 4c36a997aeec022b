"""The language of a text, and whether it is one that was asked for.

The score is py3langid's (a naive Bayes classifier over byte n-grams, after Lui and Baldwin 2012): the posterior
probability of the language, divided by the root of the text's length in the logarithm so that it stays calibrated. The
published thresholds (0.65 in FineWeb and RefinedWeb) are of fastText's softmax, whose model is a download, and say
nothing about this one. Here 0.5 means: likelier than all other languages together.

It takes a millisecond or two. So a quick look by resiliparse comes first, which compares statistics of letters and gives a
distance: where English is the closest, and closer than 400, the matter is settled. That is so for nine of ten English texts
of 300 characters or more, and English was the closest of none of the texts in 66 other languages that were tried. Its
other answers are not used, since it takes close languages for each other (Galician and Spanish, Nepali and Hindi) at
small distances too. Pidgins and dialects of English may pass as English.
"""

import functools
from typing import Any

from pydantic import Field, field_validator, model_validator

from mlxllm.config import Section
from mlxllm.data.clean.language_codes import KNOWN, language_code
from mlxllm.data.clean.prepared import Finding, Prepared

_LOOKED_AT = 2000
"""Characters of a long text that the classifier looks at, from several places: a list of names is not the language."""
_QUICK_CHARS, _QUICK_LOOKED_AT, _QUICK_DISTANCE = 300, 8000, 400
_PLACES = 8
_UNKNOWN = "und"


class Language(Section):
    """Only texts in the languages that were asked for."""

    languages: tuple[str, ...] = ("en",)
    """Codes of ISO 639-1 (en, de, zh), separated by commas; empty keeps all, and still tells which it is."""
    min_score: float = Field(0.5, ge=0, le=1)
    """Least score of the language, see above."""
    trust_source: bool = True
    """A language that the source tells (the header of a WET record, a column of a dataset, a catalogue) is not looked
    for in the text, unless it tells several at once."""

    @field_validator("languages", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part for part in value.replace(",", " ").split() if part] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _known(self) -> "Language":
        if unknown := [code for code in self.languages if not language_code(code)]:
            raise ValueError(
                f"language.languages has {unknown[0]!r}, which is no code of a language that can be identified "
                f"(two letters as in ISO 639-1: en, de, fr, zh ...){_near(unknown[0])}"
            )
        return self


def _near(code: str) -> str:
    near = [known for known in sorted(KNOWN) if known[0] == code[:1].lower() and len(known) == 2]
    return f"; known with that letter are {', '.join(near)}" if near else ""


def language(prepared: Prepared, settings: Language) -> Finding | None:
    """Keep and note the language in `prepared.language`, or why not."""
    told = language_code(prepared.metadata.get("language", "")) if settings.trust_source else ""
    code, score = (told, 1.0) if told else identify(prepared.text)
    prepared.language = code
    if not settings.languages:
        return None
    asked = {language_code(one) for one in settings.languages}
    by = "told by the source" if told else f"score {score:.2f}"
    if code not in asked:
        return Finding("language: not asked for", f"{code}, {by}; asked for {', '.join(settings.languages)}")
    if score < settings.min_score:
        return Finding("language: not certain", f"{code}, {by}, at least {settings.min_score:g}")
    return None


def identify(text: str) -> tuple[str, float]:
    """The language of a text, as a code of `language_codes.KNOWN` or "und", and its score from 0 to 1.

    English that the quick look settles has the score 1.
    """
    # Compiled extensions and a model of some megabytes, which no other recipe needs.
    from resiliparse.parse.lang import detect_fast

    if len(text) >= _QUICK_CHARS:
        found, distance = detect_fast(_sample(text, _QUICK_LOOKED_AT))
        if found == "en" and distance <= _QUICK_DISTANCE:
            return "en", 1.0
    sample = _sample(text, _LOOKED_AT)
    if not any(map(str.isalpha, sample)):
        return _UNKNOWN, 0.0
    label, score = _classifier().classify(sample)
    return language_code(label) or _UNKNOWN, float(score)


def _sample(text: str, chars: int) -> str:
    if len(text) <= chars:
        return text
    size = chars // _PLACES
    begins = (place * (len(text) - size) // (_PLACES - 1) for place in range(_PLACES))
    return "\n".join(text[begin : begin + size] for begin in begins)


@functools.cache
def _classifier() -> Any:
    """Read once a process, which takes about two seconds; it doesn't change any more."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
