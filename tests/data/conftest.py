"""Sources and datasets that the tests of this folder build."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from mlxllm.data.build import build_dataset
from mlxllm.data.shards import TokenDataset
from mlxllm.data.sources.base import Document, Problems, Source
from mlxllm.tokenizer import train_tokenizer


class ListSource:
    """Documents given by hand."""

    def __init__(self, texts: Sequence[str], name: str = "list", *, single_text: bool = False) -> None:
        self.texts, self.name, self.single_text = list(texts), name, single_text
        self.spec = f"list:{name}"
        self.problems = Problems()

    def documents(self) -> Iterator[Document]:
        for number, text in enumerate(self.texts):
            yield Document(text, f"{self.name}:{number}", self.name)


Build = Callable[..., TokenDataset]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Build a dataset of byte tokens from texts or weighted sources, and open it with everything verified."""

    def _build(
        *sources: tuple[Source, float] | Sequence[str],
        val_split: float = 0.2,
        shard_tokens: int = 1000,
        directory: Path = tmp_path / "dataset",
        replace: bool = True,
    ) -> TokenDataset:
        weighted = [s if isinstance(s, tuple) else (ListSource(s), None) for s in sources]
        build_dataset(
            directory,
            weighted,
            train_tokenizer("byte", []),
            val_split=val_split,
            shard_tokens=shard_tokens,
            replace=replace,
        )
        return TokenDataset.open(directory, verify=True)

    return _build
