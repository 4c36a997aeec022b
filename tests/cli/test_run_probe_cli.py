"""`mlxllm runs probe`: the passage of a real run, in text, numbers and pictures."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mlxllm.cli.run_probe import passage_lines
from mlxllm.runs import RunDirectory, read_events
from tests.training import tiny
from tests.training.tiny import call, sentence, succeeded


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probed")
    tiny.train(folder / "run", tiny.config(tiny.dataset(folder / "data"), eval_every=6, max_steps=12))
    return folder / "run"


def told(*arguments: object) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(succeeded(call("runs", "probe", *arguments, "--json")).stdout)
    return value


def test_the_numbers_are_those_of_the_events(run: Path) -> None:
    events = [event for event in read_events(RunDirectory(run).events) if event["kind"] == "probe"]
    found = told(run)
    assert found["step"] == 12
    assert found["steps"] == [0, 6, 12]
    assert found["losses"] == events[-1]["losses"] == found["losses_by_step"][-1]
    known = [loss for loss in found["losses"] if loss is not None]
    assert found["loss"] == found["means"][-1] == pytest.approx(sum(known) / len(known))
    assert told(run, "--step", 8)["losses"] == events[1]["losses"]
    assert found["threshold"] == math.log(2)
    all_ = told(run, "--threshold", 50)
    assert set(all_["learnt"]) == {None, 0}
    assert all_["learnt"][0] is None
    assert sum(story["count"] for story in all_["by_piece"]) == len(known)
    assert all(story["never"] == 0 for story in all_["by_piece"])


def test_the_text_can_be_read_without_colours(run: Path) -> None:
    shown = succeeded(call("runs", "probe", run, "--step", 0)).stdout
    assert "\x1b" not in shown
    assert "3 validations, steps 0 to 12" in shown
    assert "below 0.693 nats (50 %)" in shown
    assert "squared" in shown.replace("{", "").replace("}", "").replace("[", "").replace("]", "")


def test_brackets_say_what_colours_would() -> None:
    pieces, losses = ["a", "b", "c\n", "d", "\x1b[0m"], [None, 0.1, 1.0, 1.0, 9.0]
    assert list(passage_lines(pieces, losses, 80, colour=False)) == ["ab(c⏎)", "(d){\\x1b[0m}"]
    coloured = list(passage_lines(pieces, losses, 80, colour=True))
    assert len(coloured) == 2
    assert "\x1b[0m}" not in coloured[1]
    assert list(passage_lines(["abcd"] * 3, [0.0] * 3, 8, colour=False)) == ["abcdabcd", "abcd"]


def test_pictures(run: Path, tmp_path: Path) -> None:
    for suffix in ("png", "svg", "gif"):
        file = tmp_path / "new" / f"p.{suffix}"
        assert told(run, "--picture", file)["files"] == [str(file)]
    with Image.open(tmp_path / "new" / "p.png") as picture:
        colours = {pixel for _, pixel in picture.convert("RGB").getcolors(1 << 20) or []}
    assert len(colours & {(143, 209, 158), (201, 231, 180), (253, 240, 166), (252, 200, 144), (244, 151, 142)}) >= 2
    with Image.open(tmp_path / "new" / "p.gif") as moving:
        assert getattr(moving, "n_frames", 1) == 3
    first = (tmp_path / "new" / "p.svg").read_bytes()
    told(run, "--picture", tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--step", -1), "--step is -1; it should be 0 or more"),
        (("--threshold", 0), "--threshold is 0; it should be a loss in nats above 0"),
        (("--picture", "p.jpg"), "written as .png, .svg or .gif"),
    ],
)
def test_what_cannot_be_is_one_sentence(run: Path, arguments: tuple[object, ...], words: str) -> None:
    assert words in sentence(call("runs", "probe", run, *arguments), 2)


def test_a_run_without_probes_says_so(tmp_path: Path) -> None:
    old = tmp_path / "old"
    tiny.train(old, tiny.config(tiny.dataset(tmp_path / "data"), max_steps=1))
    events = RunDirectory(old).events
    events.write_bytes(b"".join(line for line in events.read_bytes().splitlines(True) if b'"probe"' not in line))
    assert "has kept no losses of single tokens" in sentence(call("runs", "probe", old), 1)
