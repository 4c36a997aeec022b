"""Receipts hold together, show edits and changed scripts, and those of the repository are what they say."""

import json
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.errors import ConfigError, DataError
from mlxllm.parity.known import COMPARISONS, ROOT, comparison_called
from mlxllm.parity.receipts import (
    FOLDER,
    Machine,
    Receipt,
    all_receipts,
    digest_of,
    largest,
    make_receipt,
    pair,
    read_receipt,
    state_of,
    write_receipt,
)
from mlxllm.parity.summary import markdown_table, row_cells

FILES = sorted(FOLDER.glob("*.json"))
NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)


def receipt(**changes: Any) -> Receipt:
    about: dict[str, Any] = {
        "command": "scripts/parity/sft.py --receipt",
        "date": "2026-01-02T03:04:05Z",
        "minutes": 1.5,
        "machine": Machine(cpu="a processor", cores=2, os="Linux 6.1", python="3.12.1", device="cpu"),
        "versions": {"mlx": "0.32.4"},
        "commit": "0" * 40,
        "clean": True,
        "seed": 0,
    }
    rows = changes.pop("rows", [pair("loss", 1.5, 1.25, 0.5), largest("any logit", 1e-6, 1e-4)])
    return make_receipt(comparison_called("sft"), rows, **(about | changes))


@given(NUMBERS, NUMBERS, st.floats(0, 10))
def test_a_verdict_follows_from_the_numbers(theirs: float, ours: float, tolerance: float) -> None:
    assert pair("x", theirs, ours, tolerance).passed == (abs(ours - theirs) <= tolerance)
    assert pair("x", theirs, ours, tolerance, "at most").passed == (ours - theirs <= tolerance)
    assert pair("x", theirs, ours, tolerance, "at least").passed == (theirs - ours <= tolerance)
    assert pair("x", theirs, ours).passed is None


def test_a_receipt_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = receipt()
    path = write_receipt(made, "linux-x86_64", tmp_path)
    assert read_receipt(path) == made
    assert made.passed
    newer, elsewhere = receipt(date="2026-02-03T00:00:00Z"), receipt(date="2026-03-01T00:00:00Z")
    write_receipt(newer, "linux-x86_64", tmp_path)
    write_receipt(elsewhere, "darwin-arm64", tmp_path)
    assert all_receipts(tmp_path) == [newer, elsewhere], "one a kind of machine"
    assert not receipt(rows=[pair("loss", 1, 3, 1), pair("told only", 1, 3)]).passed


@pytest.mark.parametrize(
    ("where", "value", "why"),
    [
        (("minutes",), 0.1, "changed after the script wrote it"),
        (("machine", "cpu"), "a better one", "changed after the script wrote it"),
        (("rows", 0, "ours"), 1.5, "difference"),
        (("rows", 0, "tolerance"), 0.1, "verdict"),
        (("rows",), [], "at least 1"),
        (("commit",), "main", "pattern"),
        (("unknown",), 1, "not permitted"),
    ],
)
def test_an_edited_receipt_is_refused(tmp_path: Path, where: tuple[Any, ...], value: Any, why: str) -> None:
    path = write_receipt(receipt(), "here", tmp_path)
    content = json.loads(path.read_text())
    at = content
    for key in where[:-1]:
        at = at[key]
    at[where[-1]] = value
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=why):
        all_receipts(tmp_path)


def test_a_damaged_receipt_does_not_hide_those_of_others(tmp_path: Path) -> None:
    made = receipt()
    write_receipt(made, "here", tmp_path)
    (tmp_path / "dpo.here.json").write_text("{")
    assert all_receipts(tmp_path, "sft") == [made]
    with pytest.raises(DataError, match=r"is not valid JSON: .*; take the committed one back"):
        all_receipts(tmp_path)


def test_the_table_tells_the_row_that_is_furthest_off() -> None:
    rows = [
        largest("task 1", 1e-6, 1e-3),
        largest("task 2", 5e-4, 1e-3),
        largest("texts", 71),
        pair("acc", 0.1, 0.1, 0),
    ]
    [*_, line] = markdown_table([receipt(rows=rows)])
    assert "| task 2 |  |  | 5.0e-04 |" in line
    assert row_cells(rows[2])[3] == "71"


def test_a_receipt_of_an_unknown_comparison_is_refused(tmp_path: Path) -> None:
    content = receipt().model_dump(mode="json") | {"name": "other"}
    path = tmp_path / "other.here.json"
    path.write_text(json.dumps(content | {"digest": digest_of(content)}))
    with pytest.raises(DataError, match="unknown comparison, 'other'"):
        read_receipt(path)


def test_a_changed_script_is_told(tmp_path: Path) -> None:
    made = receipt()
    assert state_of(made) == "current"
    assert state_of(made, tmp_path) == "not checked", "an installed package has no scripts"
    for name in made.files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    assert state_of(made, tmp_path) == "current"
    for name in made.files:
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text + "# more\n")
        assert state_of(made, tmp_path) == "script changed since"
        (tmp_path / name).write_text(text)
    (tmp_path / comparison_called("sft").files[1]).unlink()
    assert state_of(made, tmp_path) == "script changed since"


def test_an_unknown_comparison_is_told_with_the_near_ones() -> None:
    with pytest.raises(ConfigError, match="near names: roundtrip"):
        comparison_called("round-trip")


@pytest.mark.parametrize("comparison", COMPARISONS, ids=lambda comparison: comparison.name)
def test_a_comparison_names_scripts_that_exist_and_take_its_options(comparison: Any) -> None:
    for name in comparison.files:
        assert (ROOT / name).is_file()
    text = (ROOT / comparison.files[0]).read_text()
    assert "--receipt" in comparison.command
    for option in (word for word in comparison.options.split() if word.startswith("--")):
        assert f'"{option}"' in text


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_receipt_of_the_repository_holds_together(path: Path) -> None:
    found = read_receipt(path)
    assert path.name.startswith(f"{found.name}.")
    assert found.passed
    assert set(found.files) == set(comparison_called(found.name).files)
    assert (ROOT / found.command.split()[0]).is_file()
    assert "/" not in found.command.removeprefix("scripts/parity/"), "no path of a machine"


def test_the_readme_shows_the_receipts() -> None:
    text = (ROOT / "README.md").read_text()
    shown = text[text.index("<!-- receipts -->") : text.index("<!-- /receipts -->")]
    assert "\n".join(markdown_table(all_receipts())) in shown, "take what `mlxllm parity --markdown` prints"


def parity(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "mlxllm", "parity", *arguments], capture_output=True, text=True)


def test_the_command_lists_all_and_shows_one() -> None:
    told = parity("--list")
    assert told.returncode == 0
    listed = json.loads(parity("--list", "--json").stdout)["comparisons"]
    assert [one["name"] for one in listed] == [comparison.name for comparison in COMPARISONS]
    for one in listed:
        assert one["run"] == bool(one["receipts"])
        assert one["name"] in told.stdout
        assert (one["command"] in told.stdout) != one["run"]
    name = next(one["name"] for one in listed if one["run"])
    whole = json.loads(parity(name, "--json").stdout)
    assert whole["receipts"][0]["rows"][0]["quantity"] in parity(name).stdout
    assert whole["receipts"][0]["digest"]


def test_the_list_says_whose_scripts_have_changed_since() -> None:
    """Only running one again makes a new receipt; until then its numbers are not passed off as those of the script."""
    listed = json.loads(parity("--list", "--json").stdout)["comparisons"]
    said = {(one["name"], one["date"]): one["state"] for each in listed for one in each["receipts"]}
    assert len(said) == len(FILES)
    for found in map(read_receipt, FILES):
        here = {name: sha256((ROOT / name).read_bytes()).hexdigest() for name in found.files if (ROOT / name).is_file()}
        assert said[found.name, found.date] == ("current" if here == found.files else "script changed since")


def test_the_command_refuses_what_it_does_not_know() -> None:
    told = parity("dop")
    assert told.returncode == 2
    assert told.stderr.startswith("error: there is no comparison 'dop' (near names: dpo")
    assert told.stdout == ""
