"""Answers are there again after whatever ended the process that kept them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxllm.errors import UserError
from mlxllm.evaluation.item_cache import ItemCache, cache_of

ANSWERS = st.one_of(st.text(), st.floats(allow_nan=False), st.lists(st.booleans()), st.none())


@settings(max_examples=40)
@given(kept=st.dictionaries(st.text(), ANSWERS, min_size=1), torn=st.integers(min_value=0))
def test_a_torn_last_line_costs_one_answer_at_most(
    tmp_path_factory: pytest.TempPathFactory, kept: dict[str, object], torn: int
) -> None:
    path = tmp_path_factory.mktemp("cache") / "items.jsonl"
    with ItemCache(path) as cache:
        for asked, answer in kept.items():
            cache.put(asked, answer)
    content = path.read_bytes()
    last = len(content.splitlines(keepends=True)[-1])
    path.write_bytes(content[: len(content) - torn % last])
    *others, lost = kept
    with ItemCache(path) as cache:
        assert [cache.get(asked) for asked in others] == [kept[asked] for asked in others]
        assert len(cache) == len(kept) - (torn % last > 0)
        cache.put(lost, kept[lost])
    with ItemCache(path) as cache:
        assert {asked: cache.get(asked) for asked in kept} == kept


def test_a_killed_process_leaves_what_it_said(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "items.jsonl"
    script = f"""
import pathlib
from mlxllm.evaluation.item_cache import ItemCache
cache = ItemCache(pathlib.Path({str(path)!r}))
for number in range(10**9):
    cache.put(str(number), number)
    print(number, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [int(process.stdout.readline()) for _ in range(50)]
        os.kill(process.pid, signal.SIGKILL)
    with ItemCache(path) as cache:
        assert [cache.get(str(number)) for number in said] == said


def test_what_is_damaged_is_passed_over_and_fresh_forgets_all() -> None:
    with cache_of("f" * 64, "task") as cache:
        cache.put("a", 1)
        path = cache.path
    path.write_bytes(b"\xff\xfe\n[1]\n{}\n7\n" + path.read_bytes() + json.dumps(["x", "y", "z"]).encode() + b"\n")
    with cache_of("f" * 64, "task") as cache:
        assert cache.get("a") == 1
        assert len(cache) == 1
    with cache_of("f" * 64, "task", fresh=True) as cache:
        assert "a" not in cache


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="cannot keep answers"):
        ItemCache(tmp_path / "taken" / "items.jsonl")
