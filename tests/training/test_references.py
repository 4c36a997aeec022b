"""The reference's log-probabilities: right, computed once, found again, and never believed when they are not these."""

import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlxllm.errors import RunError
from mlxllm.evaluation.pair_rows import PairShapes, stacked
from mlxllm.evaluation.pair_scoring import answer_logprobs, reference_logprobs
from mlxllm.model.loading import load_model
from mlxllm.model.module import set_parameters, trainable_parameters
from mlxllm.training import references as module
from mlxllm.training.references import REFERENCES_FILE
from tests.model.tiny import tiny_model
from tests.training import tiny, tuned
from tests.training.tuned import LORA


@pytest.fixture(scope="module")
def base(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tuned.base(data, tmp_path_factory.mktemp("base") / "base")


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return tuned.preferences(tmp_path / "pairs.jsonl")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pairs the reference was asked about, each time that it was."""
    counts: list[int] = []
    real = reference_logprobs

    def counting(model: Any, pairs: Any, *more: Any) -> np.ndarray:
        counts.append(len(pairs))
        return real(model, pairs, *more)

    monkeypatch.setattr(module, "reference_logprobs", counting)
    return counts


def stored(run: Path) -> np.ndarray:
    with np.load(run / REFERENCES_FILE) as file:
        return np.array(file["logprobs"])


def train(base: Path, run: Path, records: Path, how: str = "full", **more: Any) -> None:
    tuned.events(base, run, tuned.config("dpo", records, LORA[how], **{"max_steps": 2, **more}))


def cached(home: Path) -> list[Path]:
    return sorted((home / "cache" / "references").iterdir())


@pytest.mark.parametrize("how", LORA)
def test_they_are_the_bases_own(base: Path, records: Path, tmp_path: Path, how: str) -> None:
    """Of each pair alone, training pairs first; of a quantised base, the quantised one's."""
    held_out = tuned.preferences(tmp_path / "held-out.jsonl", 5)
    config = tuned.config("dpo", records, LORA[how], data={"val_records": [str(held_out)]}, max_steps=3)
    tuned.events(base, tmp_path / "run", config.with_values(train={"learning_rate": 1e-2}))
    model = load_model(str(base)).model
    if how == "qlora":
        model = load_model(f"{tmp_path / 'run'}@0").model  # its adapters are still nothing
    data = tuned.dpo_data(config)
    pairs, expected = [*data.train, *data.val], []
    for pair in pairs:
        shapes = PairShapes([pair], tuned.ROW)
        *arrays, _ = stacked([shapes.row(pair, np.zeros(2))], 1)
        expected.append(np.array(answer_logprobs(model, *arrays, chunk=64))[0])
    found = stored(tmp_path / "run")
    assert found.dtype == np.float32
    assert found == pytest.approx(np.array(expected), abs=1e-3)
    assert len(found) == 12 + 5


def test_adapters_are_off_for_the_reference(base: Path, records: Path) -> None:
    """Also when they are not zero; afterwards they are on again."""
    from mlxllm.config import LoraConfig
    from mlxllm.model.adapters import adapt
    from mlxllm.runs import RunDirectory
    from mlxllm.training.references import references

    config = tuned.config("dpo", records, LORA["lora"]).with_values(train={"compute_dtype": "float32"})
    data = tuned.dpo_data(config)
    shapes, model = PairShapes(data.train, tuned.ROW), tiny_model(vocab_size=261)
    expected = reference_logprobs(model, data.train, shapes, config.train)
    adapt(model, LoraConfig())
    set_parameters(model, {n: p + 0.1 for n, p in trainable_parameters(model).items()})
    with_adapters = reference_logprobs(model, data.train, shapes, config.train)
    assert np.abs(with_adapters - expected).max() > 1
    found = references(config, data, shapes, RunDirectory(records.parent), lambda: model)
    assert (found == expected).all()
    assert (reference_logprobs(model, data.train, shapes, config.train) == with_adapters).all()


def test_asking_leaves_the_model_as_it_was(records: Path) -> None:
    config = tuned.config("dpo", records, compute_dtype="bfloat16")
    data, model = tuned.dpo_data(config), tiny_model(vocab_size=261).train()
    before = tuned.arrays(trainable_parameters(model))
    reference_logprobs(model, data.train, PairShapes(data.train, tuned.ROW), config.train)
    after = trainable_parameters(model)
    assert {p.dtype for p in after.values()} == {mx.float32}
    assert tuned.arrays(after) == before
    assert model.training


@pytest.mark.parametrize("how", ["full", "lora"])
def test_a_later_run_and_a_resume_do_not_ask_again(
    base: Path, records: Path, tmp_path: Path, asked: list[int], mlxllm_home: Path, how: str
) -> None:
    train(base, tmp_path / "one", records, how)
    assert asked == [12]
    train(base, tmp_path / "two", records, how, learning_rate=0.5, seed=9)
    assert asked == [12]
    assert (stored(tmp_path / "one") == stored(tmp_path / "two")).all()
    tiny.go_on(tmp_path / "one", max_steps=4)
    shutil.rmtree(mlxllm_home / "cache")
    tiny.go_on(tmp_path / "one", max_steps=6)
    assert asked == [12]
    assert len(cached(mlxllm_home)) == 1


@pytest.mark.parametrize("how", ["full", "lora"])
def test_a_run_goes_on_when_all_copies_are_gone(
    base: Path, records: Path, tmp_path: Path, asked: list[int], mlxllm_home: Path, how: str
) -> None:
    """From the base again, not from the policy as it is by now: the result has the same bytes."""
    config = tuned.config("dpo", records, LORA[how], learning_rate=1e-2)
    tuned.events(base, tmp_path / "whole", config)
    known = stored(tmp_path / "whole")
    tiny.train(tmp_path / "run", config, tiny.Listener(tiny.saved_at(6)), model_name=str(base))
    shutil.rmtree(mlxllm_home / "cache")
    (tmp_path / "run" / REFERENCES_FILE).unlink()
    asked.clear()
    tiny.go_on(tmp_path / "run")
    assert asked == [12]
    assert (stored(tmp_path / "run") == known).all()
    tuned.assert_same_files(tmp_path / "whole", tmp_path / "run", 12)


def test_without_copies_and_without_the_base_it_says_what_is_missing(
    data: Path, records: Path, tmp_path: Path, mlxllm_home: Path
) -> None:
    base = tuned.base(data, tmp_path / "base")
    config = tuned.config("dpo", records)
    tiny.train(tmp_path / "run", config, tiny.Listener(tiny.saved_at(6)), model_name=str(base))
    base.rename(tmp_path / "moved")
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    assert tiny.go_on(tmp_path / "other").status == "finished", "all that it needs lies in the run"
    shutil.rmtree(mlxllm_home / "cache")
    (tmp_path / "run" / REFERENCES_FILE).unlink()
    with pytest.raises(RunError, match=r"run 'run' .*base@4.*needed again and cannot be loaded"):
        tiny.go_on(tmp_path / "run")


def damaged(path: Path, how: str, other: Path) -> None:
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif how == "flipped":
        raw = bytearray(path.read_bytes())
        raw[200] ^= 0x40
        path.write_bytes(raw)
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("these are no numbers")
    elif how == "foreign":
        shutil.copy(other, path)
    elif how == "pickled":
        np.save(path.with_suffix(".npy"), np.array([{}]), allow_pickle=True)
        path.with_suffix(".npy").rename(path)
    else:
        with np.load(path) as file:
            content = dict(file)
        if how == "not finite":
            content["logprobs"][3, 1] = np.nan
        elif how == "fewer":
            content["logprobs"] = content["logprobs"][1:]
        else:
            del content["key"]
        with open(path, "wb") as out:
            np.savez(out, **content)


@pytest.mark.parametrize(
    "how", ["cut", "flipped", "empty", "text", "foreign", "pickled", "not finite", "fewer", "no key"]
)
def test_what_is_damaged_or_anothers_is_computed_again(
    base: Path, records: Path, tmp_path: Path, asked: list[int], mlxllm_home: Path, how: str
) -> None:
    train(base, tmp_path / "run", records)
    right = stored(tmp_path / "run")
    if how == "foreign":  # as many pairs, so that only its key tells
        others = tmp_path / "others.jsonl"
        others.write_text(records.read_text().replace("yes", "yet"))
        train(base, tmp_path / "other", others)
    asked.clear()
    (copy,) = (p for p in cached(mlxllm_home) if p.read_bytes() == (tmp_path / "run" / REFERENCES_FILE).read_bytes())
    for path in (copy, tmp_path / "run" / REFERENCES_FILE):
        damaged(path, how, tmp_path / "other" / REFERENCES_FILE)
    tiny.go_on(tmp_path / "run", max_steps=3)
    assert asked == [12]
    assert (stored(tmp_path / "run") == right).all()
    train(base, tmp_path / "later", records)
    assert asked == [12], "both copies were mended"


def test_another_base_other_pairs_another_number_format_are_another_reference(
    data: Path, base: Path, records: Path, tmp_path: Path, asked: list[int], mlxllm_home: Path
) -> None:
    train(base, tmp_path / "one", records)
    more_trained = tmp_path / "more"
    tiny.train(more_trained, tiny.config(data, {"hidden_size": 64, "intermediate_size": 96}, max_steps=5))
    train(more_trained, tmp_path / "base", records)
    train(base, tmp_path / "pairs", tuned.preferences(tmp_path / "fewer.jsonl", 11))
    train(base, tmp_path / "half", records, compute_dtype="bfloat16")
    train(base, tmp_path / "packed", records, "qlora")
    assert asked == [12, 12, 11, 12, 12]
    assert len(cached(mlxllm_home)) == 5
    known = [stored(tmp_path / name) for name in ("one", "base", "half", "packed")]
    assert all((known[0] != other).any() for other in known[1:])
    # The same base under LoRA is the same reference; adapters take no part in it.
    train(base, tmp_path / "lora", records, "lora")
    assert len(asked) == 5


def test_the_same_weights_in_another_shape_are_another_reference(
    base: Path, records: Path, tmp_path: Path, asked: list[int]
) -> None:
    """Rotary positions of another length are in config.json alone."""
    import json

    other = tmp_path / "other"
    shutil.copytree(base, other)
    raw = json.loads((other / "config.json").read_text())
    raw["model"]["rope_theta"] = 100.0
    (other / "config.json").write_text(json.dumps(raw))
    train(base, tmp_path / "one", records)
    train(other, tmp_path / "two", records)
    assert asked == [12, 12]
    assert (stored(tmp_path / "one") != stored(tmp_path / "two")).any()


@pytest.mark.parametrize("loss", ["simpo", "orpo"])
def test_losses_without_a_reference_do_not_ask(
    base: Path, records: Path, tmp_path: Path, asked: list[int], loss: str
) -> None:
    train(base, tmp_path / "run", records, dpo={"loss": loss})
    assert asked == []
    assert not (tmp_path / "run" / REFERENCES_FILE).exists()


def test_a_cache_that_cannot_be_written_is_no_error(
    base: Path, records: Path, tmp_path: Path, asked: list[int], mlxllm_home: Path
) -> None:
    (mlxllm_home / "cache").mkdir()
    (mlxllm_home / "cache" / "references").write_text("a file where a folder should be")
    train(base, tmp_path / "run", records)
    train(base, tmp_path / "again", records)
    assert asked == [12, 12]
