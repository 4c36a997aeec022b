import pytest

from mlxllm.runs import Event
from tui.following.event_words import in_words


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"kind": "train", "step": 1}, None),
        ({"kind": "run_started", "step": 0, "attempt": 1, "max_steps": 1500}, "the run begins at step 0 of 1,500"),
        ({"kind": "run_started", "step": 500, "attempt": 2, "max_steps": None}, "attempt 2 begins at step 500"),
        (
            {"kind": "val", "step": 100, "loss": 1.23456, "bits_per_byte": None},
            "validation at step 100: loss 1.235",
        ),
        (
            {
                "kind": "val",
                "step": 7,
                "loss": 1.5,
                "sources": {"web": {"bits_per_byte": 1.25}, "code": {"bits_per_byte": 0.5}, "x": {}},
            },
            "validation at step 7: loss 1.5 (web 1.25, code 0.5)",
        ),
        ({"kind": "val", "step": 100, "loss": None}, "validation at step 100: no number"),
        ({"kind": "sample", "step": 7, "text": "a\n\x1b[31mb  c"}, "sample at step 7: a  [31mb c"),
        ({"kind": "sample", "step": 7, "text": "x" * 80, "request": "1"}, f"answer at step 7: {'x' * 70}..."),
        ({"kind": "sample", "step": 7, "error": "no", "request": "1"}, "answer at step 7 failed: no"),
        ({"kind": "checkpoint_saved", "step": 7, "best": True}, "checkpoint saved at step 7, the best so far"),
        ({"kind": "warning", "step": 7, "message": "look"}, "look"),
        ({"kind": "warning", "step": 7}, "warning at step 7"),
        ({"kind": "paused", "step": 7}, "paused at step 7"),
        (
            {"kind": "run_finished", "step": 7, "status": "stopped", "reason": "asked"},
            "the run ended at step 7, stopped: asked",
        ),
        ({"kind": "references_computed", "step": "x", "seconds": 61.0}, "references computed in 1 min 01 s"),
    ],
)
def test_in_words(event: Event, words: str | None) -> None:
    assert in_words(event) == words
