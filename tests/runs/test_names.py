"""Names for new runs."""

from pathlib import Path

from mlxllm import paths
from mlxllm.runs import free_name, name_for_training, name_for_tuning


def test_a_name_says_what_the_run_is_and_is_free() -> None:
    assert name_for_training("letters", "char-tiny") == "letters-char-tiny-1"
    (paths.folder("runs") / "letters-char-tiny-1").mkdir(parents=True)
    assert name_for_training("letters", "char-tiny") == "letters-char-tiny-2"
    assert free_name("letters-char-tiny") == "letters-char-tiny-2"
    assert free_name("letters") == "letters-1"
    assert name_for_training("/data/letters", "") == "letters-custom-1"
    assert name_for_training("", "") == "run-custom-1"


def test_a_tuned_run_is_called_after_its_model(tmp_path: Path) -> None:
    assert name_for_tuning("letters@500", "sft") == "letters-sft-1"
    assert name_for_tuning(str(tmp_path / "folder"), "dpo") == "folder-dpo-1"
    assert name_for_tuning("@5", "dpo") == "model-dpo-1"
