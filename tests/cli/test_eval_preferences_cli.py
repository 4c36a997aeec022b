"""`mlxllm eval --preferences` and `--records`: what the trainer's last validation said, and what a brute force says."""

import json
import math
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlxllm import scores
from mlxllm.conversation.own_format import OwnFormat
from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.conversation.records import Message
from mlxllm.conversation.stored_preference import StoredPreference
from mlxllm.model.loading import load_model
from mlxllm.runs import RunDirectory, read_events
from mlxllm.tokenizer.byte import ByteTokenizer
from tests.cli.tuned import PAIRS, SETTINGS, TALK
from tests.export.tiny import save_folder
from tests.model.tiny import VARIANTS, tiny_model
from tests.training.tiny import call, json_lines, sentence, succeeded

HELD_OUT = [{"prompt": f"Is {n} fine?", "chosen": "Yes!" * (n % 3 + 1), "rejected": f"No, {n}."} for n in range(7)]
FAST = ("--batch-size", 2, "--max-seq-len", 64, "--learning-rate", "1e-2", "--max-steps", 3, *SETTINGS)
WARM = ("--set", "train.warmup_steps=0")


def lines(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model, runs of `dpo` on it (all weights and adapters), one of `sft`, and what was held out."""
    made = tmp_path_factory.mktemp("preferences")
    model = tiny_model(vocab_size=ByteTokenizer().vocab_size)
    save_folder(model, ByteTokenizer(), ("base",), made / "base")
    save_folder(tiny_model(seed=5, vocab_size=ByteTokenizer().vocab_size), ByteTokenizer(), ("base",), made / "other")
    held_out, talk = lines(made / "held-out.jsonl", HELD_OUT), lines(made / "talk.jsonl", TALK)
    pairs = lines(made / "pairs.jsonl", PAIRS)
    more = ("--model", made / "base", *FAST, *WARM)
    dpo = ("dpo", "--data", pairs, "--val-data", held_out, *more)
    succeeded(call(*dpo, "--run", made / "full", "--beta", "0.5"))
    succeeded(call(*dpo, "--run", made / "lora", "--lora-rank", 4))
    succeeded(call("sft", "--data", talk, "--val-data", talk, *more, "--run", made / "sft"))
    return made


def evaluated(*arguments: object) -> dict[str, dict[str, float]]:
    [shown] = json_lines(succeeded(call("eval", *arguments, "--json")).stdout)
    return shown["results"]  # type: ignore[no-any-return]


def last_validation(run: Path) -> dict[str, Any]:
    return [e for e in read_events(RunDirectory(run).events) if e["kind"] == "val"][-1]


@pytest.mark.parametrize("run", ["full", "lora"])
def test_the_rewards_are_those_of_the_trainers_last_validation(folder: Path, run: str) -> None:
    val = last_validation(folder / run)
    found = evaluated("--model", folder / run, "--preferences", folder / "held-out.jsonl")["preferences:held-out.jsonl"]
    assert found["pairs"] == val["pairs"] == 7
    assert abs(val["rewards/margins"]) > 0.01
    for name in ("loss", "rewards/accuracies", "logps/chosen", "logps/rejected"):
        assert found[name] == pytest.approx(val[name], rel=1e-5), name
    for name in ("rewards/margins", "rewards/chosen", "rewards/rejected"):
        assert found[name] == pytest.approx(val[name], abs=1e-4), name


def likelihoods(model: Path) -> tuple[np.ndarray, np.ndarray]:
    """(7, 2) log-probabilities of the held-out answers, each sequence alone, in float64; and their tokens."""
    loaded, form, found, lengths = load_model(str(model)).model, OwnFormat(ByteTokenizer()), [], []
    for pair in HELD_OUT:
        prompt = form.generation_prompt([Message("user", pair["prompt"])])
        for side in ("chosen", "rejected"):
            answer = form.completion([Message("user", pair["prompt"])], [Message("assistant", pair[side])])
            logits = np.array(loaded(mx.array([[*prompt, *answer][:-1]])), dtype=np.float64)[0, len(prompt) - 1 :]
            logprobs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
            found.append(logprobs[np.arange(len(answer)), answer].sum())
            lengths.append(len(answer))
    return np.array(found).reshape(-1, 2), np.array(lengths).reshape(-1, 2)


def test_they_are_what_brute_force_says(folder: Path) -> None:
    """Against a reference that is named, with a beta that is given; the result is kept with the weights."""
    arguments = ("--model", folder / "full", "--preferences", folder / "held-out.jsonl", "--reference")
    found = evaluated(*arguments, folder / "other", "--beta", "0.3")["preferences:held-out.jsonl"]
    (now, lengths), (then, _) = likelihoods(folder / "full"), likelihoods(folder / "other")
    rewards = 0.3 * (now - then)
    margins = rewards[:, 0] - rewards[:, 1]
    values = {
        "rewards/chosen": rewards[:, 0],
        "rewards/rejected": rewards[:, 1],
        "rewards/margins": margins,
        "rewards/accuracies": margins > 0,
        "logps/chosen": now[:, 0],
        "loss": np.log1p(np.exp(-margins)),
        "acc": now[:, 0] > now[:, 1],
        "acc_norm": (now / lengths)[:, 0] > (now / lengths)[:, 1],
    }
    for name, value in values.items():
        assert found[name] == pytest.approx(value.mean(), abs=2e-3), name
        assert found[f"{name}_stderr"] == pytest.approx(value.std(ddof=1) / math.sqrt(7), abs=2e-3), name
    assert 0 < found["acc"] < 1
    assert found["acc"] != found["acc_norm"], "the lengths of the answers make a difference here"
    [kept] = [
        r for r in scores.results_of(load_model(str(folder / "full")).fingerprint) if r.metrics["acc"] is not None
    ]
    assert (kept.task, kept.samples, kept.step) == ("preferences:held-out.jsonl", 7, 3)
    assert kept.metrics["rewards/margins"] == found["rewards/margins"]
    assert kept.settings["dpo"]["beta"] == 0.3


def test_a_model_that_began_with_none_has_likelihoods_only(folder: Path) -> None:
    found = evaluated("--model", folder / "base", "--preferences", folder / "held-out.jsonl", "--limit", 5)
    [metrics] = found.values()
    assert metrics["pairs"] == 5
    assert {name for name in metrics if not name.endswith("_stderr")} == {
        *("acc", "acc_norm", "logps/chosen", "logps/rejected", "pairs")
    }
    now, _ = likelihoods(folder / "base")
    assert metrics["acc"] == pytest.approx((now[:5, 0] > now[:5, 1]).mean())
    same = ("--model", folder / "base", "--preferences", folder / "held-out.jsonl", "--reference", folder / "base")
    assert evaluated(*same)["preferences:held-out.jsonl"]["rewards/accuracies"] == 0.5, "a tie counts half"


def test_ones_own_preferences_and_a_folder_that_sets_some_apart(folder: Path, tmp_path: Path) -> None:
    store = PreferenceStore()
    store.add(StoredPreference(prompt=(Message("user", "?"),), chosen="Yes", rejected="No", how="compared"))
    assert (
        evaluated("--model", folder / "base", "--preferences", store.path)["preferences:preferences.jsonl"]["pairs"]
        == 1
    )
    (tmp_path / "parts").mkdir()
    lines(tmp_path / "parts" / "train.jsonl", PAIRS)
    lines(tmp_path / "parts" / "valid.jsonl", HELD_OUT[:2])
    assert evaluated("--model", folder / "base", "--preferences", tmp_path / "parts")["preferences:parts"]["pairs"] == 2


def test_the_answers_of_conversations_lose_what_validation_said(folder: Path) -> None:
    found = evaluated("--model", folder / "sft", "--records", folder / "talk.jsonl")["records:talk.jsonl"]
    val = last_validation(folder / "sft")
    assert (found["loss"], found["tokens"]) == (pytest.approx(val["loss"], rel=1e-5), val["tokens"])
    table = succeeded(call("eval", "--model", folder / "sft", "--records", folder / "talk.jsonl")).stdout
    assert f"loss {val['loss']:.4f} a token" in table


def test_the_table_has_intervals(folder: Path) -> None:
    table = succeeded(call("eval", "--model", folder / "full", "--preferences", folder / "held-out.jsonl")).stdout
    assert "7 pairs; reference " in table
    assert "beta 0.5" in table
    [row] = [line.split() for line in table.splitlines() if line.startswith("rewards/accuracies")]
    low, share, high = float(row[3]), float(row[1]), float(row[5])
    assert 0 <= low < share <= high <= 1
    assert high - low > 0.3, "seven pairs say little"


def test_the_pair_that_moved_most(folder: Path) -> None:
    """Brute force finds the same pair, its likelihoods before and after, and its margin."""
    arguments = ("eval", "--model", folder / "full", "--preferences", folder / "held-out.jsonl", "--moved")
    [shown] = json_lines(succeeded(call(*arguments, "--json")).stdout)
    [moved] = shown["moved"].values()
    (now, _), (then, _) = likelihoods(folder / "full"), likelihoods(folder / "base")
    gains = now - then
    margins = 0.5 * (gains[:, 0] - gains[:, 1])
    best = int(margins.argmax())
    assert moved["pair"] == best + 1
    assert moved["prompt"] == HELD_OUT[best]["prompt"]
    for side, name in enumerate(("chosen", "rejected")):
        assert moved[name]["text"] == HELD_OUT[best][name]
        assert moved[name]["before"] == pytest.approx(then[best, side], abs=2e-3)
        assert moved[name]["after"] == pytest.approx(now[best, side], abs=2e-3)
    assert moved["margin"] == pytest.approx(margins[best], abs=2e-3)
    assert moved["loss"] == pytest.approx(math.log1p(math.exp(-margins[best])), abs=2e-3)
    table = succeeded(call(*arguments)).stdout
    assert f"number {best + 1}:" in table
    assert f"-log sigmoid({moved['margin']:.3f}) = {moved['loss']:.4f}" in table


REFUSED = [
    ("--preferences nowhere.jsonl", 1, "there is no file or folder 'nowhere.jsonl'"),
    ("--preferences talk.jsonl", 1, "this is a conversation"),
    ("--records held-out.jsonl", 1, "this is a preference"),
    ("--preferences held-out.jsonl --beta 0.2", 2, "name one with --reference M2"),
    ("--preferences held-out.jsonl --beta 0", 2, "--beta is 0; it should be greater than 0"),
    ("--preferences held-out.jsonl --moved", 2, "name one to compare with, by --reference M2"),
    ("--moved --data talk.jsonl", 2, "--moved is about the rewards of pairs"),
    ("--reference other", 2, "--reference is about the rewards of pairs"),
    ("--preferences held-out.jsonl --reference nobody", 2, "nobody"),
    ("--preferences held-out.jsonl --max-seq-len 4", 1, "larger --max-seq-len"),
    ("--records talk.jsonl --max-seq-len 2", 1, "larger --max-seq-len"),
    ("--preferences held-out.jsonl --stride 5", 2, "--stride is about held-out text"),
    ("", 2, "there is nothing to evaluate"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), REFUSED)
def test_what_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, code: int, words: str) -> None:
    monkeypatch.chdir(folder)
    assert words in sentence(call("eval", "--model", "./base", *arguments.split()), code)


@pytest.mark.parametrize(
    ("option", "name"), [("--preferences", "held-out.jsonl"), ("--records", "talk.jsonl"), ("--data", "talk.jsonl")]
)
def test_a_window_behind_the_end_of_the_positions_is_refused(
    folder: Path, tmp_path: Path, option: str, name: str
) -> None:
    """Rows behind the last one of a table would be read out of bounds, without a word."""
    shape = {**VARIANTS["gpt2"], "vocab_size": ByteTokenizer().vocab_size, "max_position_embeddings": 16}
    save_folder(tiny_model(**shape), ByteTokenizer(), ("base",), tmp_path / "gpt2")
    process = call("eval", "--model", tmp_path / "gpt2", option, folder / name, "--max-seq-len", 17)
    assert "give 16 or less" in sentence(process, 2)
