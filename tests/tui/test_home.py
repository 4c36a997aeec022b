"""What Home tells: the next step, sparklines, numbers in words."""

import itertools
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlxllm.conversation import Message
from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.conversation.stored_preference import StoredPreference
from mlxllm.runs import RunSummary
from tests.tui.harness import crashed_run, ended_run, new_app, wait_for, wait_for_text
from tui.glance import Glance, next_step, take_glance
from tui.marks import Marks
from tui.widgets.sparks import sparkline
from tui.words import count, duration, file_size, memory_size, printable, size_of


def summary(**fields: Any) -> RunSummary:
    return RunSummary(**{"name": "a", "path": "/a", "status": "finished", "step": 5, **fields})


@pytest.mark.parametrize(
    ("runs", "preferences", "action"),
    [
        ([], 0, "quickstart"),
        ([summary(status="running")], 0, "monitor"),
        ([summary(status="crashed")], 0, "monitor"),
        ([summary(step=0, status="crashed")], 0, "quickstart"),
        ([summary(method="pretrain")], 0, "new"),
        ([summary(method="sft")], 0, "chat"),
        ([summary(method="dpo")], 30, "preferences"),
    ],
)
def test_one_next_step(runs: list[RunSummary], preferences: int, action: str) -> None:
    assert next_step(Glance(tuple(runs), {}, preferences))[0] == action


def test_a_glance_counts_runs_and_preferences() -> None:
    ended_run("letters")
    crashed_run("broken")
    PreferenceStore().add(
        StoredPreference(prompt=(Message("user", "Hi"),), chosen="Hello.", rejected="No.", how="picked")
    )
    glance = take_glance()
    assert {run.name: run.status for run in glance.runs} == {"letters": "finished", "broken": "crashed"}
    assert glance.preferences == 1
    assert glance.active == []


async def test_enter_watches_what_failed_and_talks_to_what_is_finished() -> None:
    crashed_run("broken")
    async with new_app().run_test(size=(80, 24)) as pilot:
        await wait_for_text(pilot, "broken")
        await pilot.press("enter")
        await wait_for(pilot, lambda: pilot.app.current_mode == "monitor")
    ended_run("later")
    async with new_app().run_test(size=(80, 24)) as pilot:
        await wait_for_text(pilot, "later")
        await pilot.press("enter")
        await wait_for(pilot, lambda: pilot.app.current_mode == "chat")


async def test_doctor_shows_its_report() -> None:
    async with new_app().run_test(size=(100, 30)) as pilot:
        await pilot.press("d")
        await wait_for_text(pilot, "Python 3")
        await pilot.press("escape")
        await wait_for(pilot, lambda: len(pilot.app.screen_stack) == 1)


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=200),
    st.integers(0, 60),
    st.sampled_from(["braille", "block", "ascii"]),
)
@example([1.7976931348623157e308, -9.97e291], 2, "braille")
@example([1.7e308, 1.7e308, 0.0, 5e-324], 2, "block")
@example([0.0, 5e-324], 2, "ascii")
def test_a_sparkline_is_never_wider_than_asked(values: list[float], width: int, marks: Marks) -> None:
    assert len(sparkline(values, width, marks)) <= width


@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=40, unique=True))
def test_a_sparkline_rises_where_the_numbers_do(values: list[int]) -> None:
    rising = sparkline(sorted(map(float, values)), 40, "block")
    assert rising[0] != rising[-1]
    assert all(a <= b for a, b in itertools.pairwise(rising))


def test_numbers_in_words() -> None:
    assert [count(n) for n in (0, 999, 1234, 529_000, 1_600_000, None)] == ["0", "999", "1.23k", "529k", "1.6M", "-"]
    assert [size_of(968_000, n) for n in (None, 968_000)] == ["968k parameters"] * 2
    assert size_of(968_000, 74_800) == "trains 74.8k of 968k parameters"
    assert [duration(s) for s in (0.4, 59.4, 145, 11_100, 187_200)] == [
        "0 s",
        "59 s",
        "2 min 25 s",
        "3 h 05 min",
        "2 d 4 h",
    ]
    assert [file_size(n) for n in (12, 8_900_000)] == ["12 bytes", "8.9 MB"]
    assert memory_size(25_233_244_160) == "23.5 GiB"
    assert printable("a\x1b[31mb\n") == "a [31mb "


def test_the_machine_is_described_without_mlx() -> None:
    from tui import machine

    found = machine.this_machine()
    assert found.chip
    assert found.cores >= 1
    assert found.memory_bytes > 1 << 29
    assert machine.largest_preset(1 << 20) is None
    assert machine.largest_preset(1 << 50) is not None
    assert (machine.free_disk_bytes() or 1) > 0
