"""Sources and datasets that the tests of this folder build."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from mlxllm.data import download
from mlxllm.data.build import build_dataset
from mlxllm.data.hub import requests
from mlxllm.data.shards import TokenDataset
from mlxllm.data.sources.base import Document, Problems, Source
from mlxllm.tokenizer import train_tokenizer
from tests.data.hub_server import Hub, serve_hub


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


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub on this machine, which everything that this process asks of the Hub goes to."""
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "users-cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(requests, "WAITS", (0.01, 0.01))
    monkeypatch.setattr(download, "PATIENCE", download.Patience(stall=0.5, waits=(0.01, 0.01)))
    monkeypatch.chdir(tmp_path)
    with serve_hub() as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.address)
        template = served.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield served
