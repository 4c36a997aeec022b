"""What the Monitor says of a run in a sentence."""

import math

import pytest

from mlxllm.runs.exits import ExitReport
from tests.tui.test_series import grown
from tui.following.run_view import RunView
from tui.screens.monitor.words import exam_of, sentence, sources_line

EXAM = """\
  base   sft    dpo    on what none of them has seen
  17 %   58 %   60 %   questions about an unseen story answered right
  2 %    19 %   15 %   stories with every word that was asked for
"""


def finished(val: list[float], method: str = "pretrain") -> RunView:
    return RunView(
        "tales",
        "tales",
        status="finished",
        report=ExitReport("finished", "training finished at step 40", None),
        val={"loss": grown(val, [], [10 * (n + 1) for n in range(len(val))])},
        about={"method": method},
    )


@pytest.mark.parametrize(
    ("val", "best"),
    [
        ([2.0, 1.5, 1.37, 1.41], "step 30: tales@best"),
        ([2.0, math.nan, 1.2, 1.3], "step 30: tales@best"),
        ([2.0, 1.5, 1.4, 1.401], ""),  # noise
        ([2.0, 1.5, 1.4, 1.3], ""),
        ([1.2, 1.5, math.nan], ""),  # nothing is known of the end
        ([math.nan], ""),
        ([], ""),
    ],
)
def test_a_run_that_was_better_earlier_is_told_with_where_that_is(val: list[float], best: str) -> None:
    told = sentence(finished(val))
    assert ("It did best on unseen text at" in told) == bool(best)
    assert best in told
    assert told.endswith("c talks to it, r trains it further.")


def test_a_quickstart_ends_with_its_examination() -> None:
    exam = exam_of("...\n" + EXAM + "\nIts three stages are saved\n")
    assert exam == "Questions about an unseen story answered right: base 17 %, SFT 58 %, DPO 60 %."
    assert exam in sentence(finished([1.0], "dpo"), exam=exam)
    assert exam_of("base sft dpo") == exam_of("") == ""


def test_a_stage_says_how_long_all_of_them_take() -> None:
    told = sentence(
        RunView("tales", "tales", status="running", train={"loss": grown([1.0], [])}),
        stage="stage 3 of 6, lessons",
        left=125.0,
    )
    assert told.startswith("Quick start, stage 3 of 6, lessons; the whole of it takes about 2 min 05 s more.")


def test_each_source_of_the_validation_is_told_in_one_line() -> None:
    names = {"web": 1.2345, "arxiv-metadata-oai-snapshot.json": 0.8, "pubmed": None}
    view = RunView("tales", "tales", val_sources=names)
    assert sources_line(view, 120, False).plain == (
        "bits per byte  web 1.234  arxiv-metadata-oai-snapshot.json 0.800  pubmed -"
    )
    assert sources_line(view, 60, True).plain == "bits/byte  web 1.23  arxiv-metadata-oai-sna.. 0.80  pubmed -"
    assert sources_line(view, 63, False).plain.endswith("  arxiv-metadata-oai-snapshot 0.80  pubmed -")
    assert sources_line(RunView("tales", "tales"), 80, False).plain == ""
