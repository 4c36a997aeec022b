"""Data sets of the Hub on the data screen: added by their id, looked into, and built from."""

import json
from pathlib import Path

import pytest

from mlxllm.data.manifest import read_manifest
from tests.data.hub_server import Hub
from tests.tui.harness import screen_text, wait_for, wait_for_text
from tests.tui.test_data import add, data_screen, go_to, type_into, wait_for_seen
from tui.screens.data.asking import BuildDialog


@pytest.fixture(autouse=True)
def for_others(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same Hub for the processes that are started."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_ENDPOINT", hub.address)


def lines(records: list[dict[str, str]]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


async def test_texts_of_the_hub_by_their_id(hub: Hub, mlxllm_home: Path) -> None:
    stories = [{"text": f"The fox number {n} ran over the hill."} for n in range(40)]
    hub.datasets["owner/foxes"] = {"data/train-0.jsonl": lines(stories[:20]), "data/train-1.jsonl": lines(stories[20:])}
    async with data_screen() as (pilot, _):
        await add(pilot, "owner/nothing-there")
        await wait_for_text(pilot, "there is no data set owner/nothing-there on the Hub")
        await pilot.press("escape")
        await add(pilot, "owner/foxes")
        await wait_for_text(pilot, "hub:owner/foxes")
        await wait_for_seen(pilot, "Enter fetches hub:owner/foxes and shows its beginning")
        await pilot.press("enter")
        await wait_for_seen(pilot, "The fox number 3 ran over the hill.")
        await pilot.press("escape", "b")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, BuildDialog))
        await wait_for_text(pilot, "⏎ Build")
        await type_into(pilot, "name", "foxes")
        await type_into(pilot, "tokenizer", "byte")
        await type_into(pilot, "val", "0.2")
        await pilot.press("enter")
        built = mlxllm_home / "datasets" / "foxes"
        await wait_for(pilot, built.is_dir, "the dataset")
    source = read_manifest(built).sources["owner/foxes"]
    assert source.documents_kept == 40
    assert "revision=" in source.spec, "it stays the same data when the Hub has more"


async def test_preferences_of_the_hub_by_their_id(hub: Hub, mlxllm_home: Path) -> None:
    pairs = [{"prompt": f"Who is {n}?", "chosen": f"Mia, of course, {n}.", "rejected": "No."} for n in range(20)]
    hub.datasets["owner/taste"] = {"train.jsonl": lines(pairs)}
    async with data_screen() as (pilot, _):
        await add(pilot, "owner/taste")
        await wait_for_text(pilot, "preferences, on the Hub")
        await go_to(pilot, "owner/taste")
        await wait_for_seen(pilot, "Enter fetches owner/taste")
        fetched = hub.fetched("train.jsonl")
        await pilot.press("enter")
        await wait_for_seen(pilot, "Mia, of course, 0.")
        assert hub.fetched("train.jsonl") > fetched
        assert "gone" not in screen_text(pilot.app)
