"""The corpora of `quickstart`: how each becomes a dataset, and what its model is asked to continue."""

import glob
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from mlxllm import paths
from mlxllm.cli.progress import TrainingView
from mlxllm.cli.terminal import did_you_mean
from mlxllm.cli.worlds import DocsWorld, StoryWorld, World
from mlxllm.errors import ConfigError, DataError
from mlxllm.visible import counted

if TYPE_CHECKING:  # heavy modules are imported by the command
    from mlxllm.data.shards import TokenDataset

CORPORA = ("stories", "shakespeare", "pydocs")
"""By name, the default first; any other is a path."""
WORLDS = ("stories", "pydocs")
"""Those with questions and answers, from which a model can learn to answer."""
FEWEST_CHARS = 1000
"""A shorter text leaves less than a row of tokens on one side of the split."""

FEW_DOCUMENTS = 100
"""With fewer, a split by document may hold out none or a half; the end of the text is held out instead."""

_FEWEST_TOKENS = {"train": 33, "val": 2}
"""The shortest row and its last target; one token and the one after it."""

_BEGINNING = re.compile(r"\S+(?:[ \t]+\S+){0,3}")
_BEGINNING_CHARS = 40
_CHAR_VOCABULARY = 330
_TOKENIZER_STORIES = 8000
"""Any so many stories have the same words as all of them."""
_COUNTED_CHARS = 4_000_000
"""The length of a longer text is guessed from the size of its files."""


@dataclass(frozen=True)
class Corpus:
    """A recipe."""

    source: str
    tokenizer: str
    vocab_size: int
    """Of the tokenizer that is to be made, about."""
    tokens: int
    """Tokens of the text, about."""
    val_split: float
    prompt: str
    world: Callable[[], World] | None = None
    """Its lessons, where it has some."""
    tokenizer_texts: int | None = None
    """How many of its texts are enough to make the tokenizer from; None for all."""


def find_corpus(corpus: str, seconds: float, answers: bool = False) -> Corpus:
    """The recipe of a named corpus or of the user's own text, for so many seconds of training.

    Args:
        corpus: name or path.
        seconds: for all of it.
        answers: whether its model is to answer questions in the end: stories then have some below them.

    Raises:
        ConfigError: it is neither a name nor a path.
        DataError: it cannot be read or downloaded, or is too short.
    """
    if corpus == "stories":
        # About as many stories as can be read once or twice in the time, on a laptop's CPU.
        count = int(min(200_000, max(3000, 45 * seconds)))
        # The shorter the time, the smaller the world: with all its plots, minutes are enough for sentences only.
        plots = 8 if seconds < 400 else 16 if seconds < 1200 else 0
        asked = ",questions=1" if answers else ""
        source = f"stories:count={count},plots={plots}{asked}"
        tokens, val_split = ((95 if answers else 140) * count), (0.01 if answers else 0.02)
        return Corpus(
            source, "bpe", 2048, tokens, val_split, "Once upon a time", lambda: StoryWorld(plots), _TOKENIZER_STORIES
        )
    if corpus == "shakespeare":
        from mlxllm.data.sources.shakespeare import shakespeare_file

        shakespeare_file()  # a download that fails should do so before anything else is begun
        return Corpus("shakespeare", "char", _CHAR_VOCABULARY, 1_000_000, 0.1, "ROMEO:")
    if corpus == "pydocs":
        return Corpus("pydocs", "bpe", 4096, 700_000, 0.03, "The ", DocsWorld)
    chars, beginning = _look_at(corpus)
    # A vocabulary takes text to be learned from: a short text is read by characters.
    if chars < 300_000:
        return Corpus(f"text:{corpus}", "char", _CHAR_VOCABULARY, chars, 0.05, beginning)
    return Corpus(f"text:{corpus}", "bpe", 1024 if chars < 2_000_000 else 4096, chars // 3, 0.05, beginning)


def _look_at(corpus: str) -> tuple[int, str]:
    """Characters of the user's own text, about, and what a model of it is asked to continue.

    That is how the text begins; in many documents a model learns how one begins, and then it is nothing.
    """
    from mlxllm.data.sources import open_source

    path = Path(corpus).expanduser()
    if not corpus or not (path.exists() or glob.has_magic(corpus)):
        near = did_you_mean(corpus, CORPORA)
        raise ConfigError(
            f"--corpus {corpus!r} is none of {', '.join(CORPORA)}, and there is no file or folder of that name"
            + (f"; {near}" if near else "")
        )
    source = open_source(f"text:{corpus}")
    chars, ended, beginning = 0, 0, ""
    for document in source.documents():
        chars += len(document.text)
        ended += not document.more
        if not beginning and (found := _BEGINNING.search(document.text)):
            beginning = found[0][:_BEGINNING_CHARS]
        if chars > _COUNTED_CHARS:
            files = path.rglob("*") if path.is_dir() else [path]
            chars = max(chars, sum(file.stat().st_size for file in files if file.is_file()))
            break
    if chars < FEWEST_CHARS:
        raise DataError(
            f"--corpus {corpus}: its text has {chars:,} characters, and a model needs {FEWEST_CHARS:,} or more to learn "
            f"from (100,000 or more to write anything new); give more text"
        )
    return chars, beginning if ended < FEW_DOCUMENTS else ""


def make_dataset(name: str, corpus: str, recipe: Corpus, view: TrainingView) -> "TokenDataset":
    """The dataset of this run: made anew, under the run's own name, so that a resumed run finds its data."""
    from mlxllm.data.build import build_dataset
    from mlxllm.data.shards import TokenDataset
    from mlxllm.data.sources import open_source
    from mlxllm.data.split import ByPosition, training_texts
    from mlxllm.tokenizer import train_tokenizer

    directory = paths.folder("datasets") / Path(name).name
    source = open_source(recipe.source)
    if not source.single_text and sum(1 for _ in islice(source.documents(), FEW_DOCUMENTS)) < FEW_DOCUMENTS:
        source = ByPosition(source)
    texts = training_texts([source], recipe.val_split)
    vocab_size = recipe.vocab_size if recipe.tokenizer == "bpe" else None
    tokenizer = train_tokenizer(recipe.tokenizer, islice(texts, recipe.tokenizer_texts), vocab_size=vocab_size)
    manifest = build_dataset(directory, [(source, None)], tokenizer, val_split=recipe.val_split)
    for split, fewest in _FEWEST_TOKENS.items():
        if (tokens := getattr(manifest, split).tokens) < fewest:
            shutil.rmtree(directory, ignore_errors=True)
            raise DataError(
                f"--corpus {corpus}: {tokens:,} tokens are left to {'learn from' if split == 'train' else 'hold out'}, "
                f"and it takes {fewest}; give more text, or text that repeats itself less"
            )
    for warning in manifest.warnings:
        view.say(f"warning: {warning}")
    view.say(
        f"     {counted(manifest.train.documents, 'text')}, {_size(manifest.train.bytes)}; a tokenizer of "
        f"{tokenizer.vocab_size:,} {'characters and bytes' if tokenizer.kind == 'char' else 'pieces'}; "
        f"{manifest.train.tokens:,} tokens to learn from, {manifest.val.tokens:,} held out"
    )
    return TokenDataset.open(directory)


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
