"""suggestions.json in a run's folder: what a person may ask its model, put there by whoever made the run."""

from pathlib import Path

from mlxllm.errors import UserError
from mlxllm.runs.files import read_json

SUGGESTIONS_FILE = "suggestions.json"
"""A JSON list of texts."""


def read_suggestions(run_path: Path) -> list[str]:
    """Up to three texts to type, one printable line each; none where there is no usable file."""
    try:
        texts = read_json(run_path / SUGGESTIONS_FILE)
    except UserError:
        return []
    texts = texts if isinstance(texts, list) else []
    return [text for text in texts if isinstance(text, str) and text.strip() and text.isprintable()][:3]
