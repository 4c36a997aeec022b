"""A recipe at work: a document goes in, and comes out cleaned or dropped with the reason."""

import dataclasses
from collections.abc import Callable
from typing import Any

from mlxllm.data.clean.c4 import c4
from mlxllm.data.clean.code import code
from mlxllm.data.clean.fineweb import fineweb
from mlxllm.data.clean.gopher import gopher_quality, gopher_repetition
from mlxllm.data.clean.language import language
from mlxllm.data.clean.language_codes import language_code
from mlxllm.data.clean.mojibake import mojibake
from mlxllm.data.clean.papers import papers
from mlxllm.data.clean.personal_data import personal_data
from mlxllm.data.clean.prepared import Finding, Prepared
from mlxllm.data.clean.recipes import RULES, Recipe
from mlxllm.data.sources.base import Document, Dropped

Outcome = Finding | Prepared | None
"""What a rule says: the reason to drop a text, the text as it goes on, or nothing against it."""

_FUNCTIONS: dict[str, Callable[[Prepared, Any], Outcome]] = {
    "mojibake": mojibake,
    "language": language,
    "papers": papers,
    "code": code,
    "gopher_repetition": gopher_repetition,
    "gopher_quality": gopher_quality,
    "fineweb": fineweb,
    "c4": c4,
    "personal_data": personal_data,
}
"""The rule that each part of a recipe is the settings of."""

_SHOWN_CHARS = 500


class Cleaner:
    """Cleans documents by one recipe; holds nothing else, so that it can be sent to other processes.

    What becomes of a document depends on that document alone. A piece of one that is too large for memory is looked at
    as if it were a document.
    """

    def __init__(self, recipe: Recipe) -> None:
        """Nothing heavy is loaded before the first document."""
        self.recipe = recipe
        self._rules = [(name, settings) for name in RULES if (settings := getattr(recipe, name)) is not None]

    def clean(self, document: Document) -> Document | Dropped:
        """The document as it is kept, or why it is not; the same object where nothing has changed."""
        if not self._rules:
            return document
        prepared = Prepared(document.text, document.metadata, language_code(document.metadata.get("language", "")))
        for name, settings in self._rules:
            outcome = _FUNCTIONS[name](prepared, settings)
            if isinstance(outcome, Finding):
                return Dropped(outcome.reason, document.id, outcome.detail, document.text[:_SHOWN_CHARS])
            prepared = outcome or prepared
        metadata = document.metadata
        if self.recipe.language is not None and metadata.get("language") != prepared.language:
            metadata = {**metadata, "language": prepared.language}
        if prepared.text == document.text and metadata is document.metadata:
            return document
        return dataclasses.replace(document, text=prepared.text, metadata=metadata)
