"""`mlxllm eval --preferences` and `--records`: which of two held-out answers a model prefers, and how it predicts answers."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mlxllm.cli import sampling
from mlxllm.cli.moved_view import moved_pair, print_moved
from mlxllm.cli.table import print_table
from mlxllm.cli.terminal import fold
from mlxllm.errors import ConfigError, DataError
from mlxllm.visible import counted

if TYPE_CHECKING:  # MLX is imported by the commands that use it
    from mlxllm.config import DpoConfig, TrainConfig
    from mlxllm.conversation.opening import Opened
    from mlxllm.conversation.report import Report
    from mlxllm.model.loading import LoadedModel
    from mlxllm.model.transformer import Transformer

Kind = TypeVar("Kind")

_SHARES = ("rewards/accuracies", "acc", "acc_norm")
"""Metrics that are shares, whose intervals are Wilson's."""


def score_preferences(
    loaded: "LoadedModel",
    names: Sequence[str],
    reference: str | None,
    beta: float | None,
    window: int,
    batch_size: int | None,
    limit: int | None,
    *,
    shown: bool,
    moved: dict[str, dict[str, Any]] | None = None,
) -> dict[str, Mapping[str, float | int | None]]:
    """What the model prefers of the pairs that each name stands for; kept, and shown as a table if `shown`.

    With `moved` it gets the pair of each name that training has moved most, which is shown as well.

    Raises:
        ConfigError: there is nothing of a name; `beta` is given or `moved` asked for, and there is no reference.
        DataError: the pairs cannot be used, or the reference has another tokenizer.
    """
    from mlxllm import scores
    from mlxllm.conversation.choosing import chat_format_of
    from mlxllm.conversation.opening import open_preferences
    from mlxllm.conversation.preferences import pairs
    from mlxllm.evaluation.pair_rows import PairShapes, fingerprint_of
    from mlxllm.evaluation.pair_scoring import reference_logprobs
    from mlxllm.evaluation.preferences import most_moved, preference_metrics, preference_values

    chat_format = chat_format_of(loaded.tokenizer, loaded.tokenizer_directory)
    train, dpo = _train(loaded, batch_size), _loss(loaded, beta)
    results: dict[str, Mapping[str, float | int | None]] = {}
    for name in dict.fromkeys(names):
        begun = time.monotonic()
        records, report = _held_out(open_preferences([name]))
        found = list(islice(pairs(records, chat_format, report, max_seq_len=window + 1), limit))
        _tell(report)
        shapes = PairShapes(found, window)
        with _reference(loaded, reference) as (model, told):
            known = reference_logprobs(model, found, shapes, train) if model is not None else None
        _check_beta(beta, told, dpo)
        if moved is not None and known is None:
            raise ConfigError(
                "--moved tells how far training has moved a pair, and this model began with none; name one to compare with, "
                "by --reference M2"
            )
        values = preference_values(loaded.model, found, shapes, known, dpo, train)
        metrics = preference_metrics(values)
        label = f"preferences:{Path(name).name or name}"
        results[label] = {**metrics, "pairs": len(found)}
        settings = {"pairs": fingerprint_of(found), "reference": told, "limit": limit, "window": window}
        scores.keep(
            scores.Result.of(
                loaded,
                task=label,
                metrics=metrics,
                samples=len(found),
                settings=settings | ({"dpo": dpo.model_dump()} if told else {}),
                seconds=time.monotonic() - begun,
            )
        )
        if shown:
            _print(label, metrics, len(found), told, dpo)
        if moved is not None and known is not None:
            most = most_moved(values, known, dpo.beta)
            moved[label] = moved_pair(most, found[most.index], loaded.tokenizer)
            if shown:
                print_moved(moved[label])
    return results


def score_records(
    loaded: "LoadedModel",
    names: Sequence[str],
    window: int,
    batch_size: int | None,
    limit: int | None,
    *,
    shown: bool,
) -> dict[str, Mapping[str, float | int | None]]:
    """The loss of the answers of held-out conversations, as `sft --val-data` measures it; kept, and shown if `shown`.

    Raises:
        ConfigError: there is nothing of a name.
        DataError: the conversations cannot be used.
    """
    from hashlib import sha256

    from mlxllm import scores
    from mlxllm.config import DataConfig
    from mlxllm.conversation.choosing import chat_format_of
    from mlxllm.conversation.masks import examples
    from mlxllm.conversation.opening import open_records
    from mlxllm.conversation.packing import pack_examples
    from mlxllm.evaluation.answer_loss import SftValidation

    chat_format = chat_format_of(loaded.tokenizer, loaded.tokenizer_directory)
    train = _train(loaded, batch_size)
    data = loaded.run_config.data if loaded.run_config is not None else DataConfig()
    results: dict[str, Mapping[str, float | int | None]] = {}
    for name in dict.fromkeys(names):
        begun = time.monotonic()
        records, report = _held_out(open_records([name]))
        found = list(islice(examples(records, chat_format, report, train_on=data.train_on), limit))
        rows = pack_examples(found, window, report)
        _tell(report)
        if not len(rows.inputs):
            raise DataError(f"nothing of {name} is left within {window:,} tokens; use a larger --max-seq-len")
        score = SftValidation(rows, train.batch_size)(loaded.model)["all"]
        label = f"records:{Path(name).name or name}"
        results[label] = {"loss": score.loss, "perplexity": score.perplexity, "tokens": score.tokens}
        digest = sha256(rows.inputs.tobytes() + rows.targets.tobytes() + rows.loss_mask.tobytes()).hexdigest()
        scores.keep(
            scores.Result.of(
                loaded,
                task=label,
                metrics={"loss": score.loss, "perplexity": score.perplexity},
                samples=rows.texts,
                settings={"rows": digest, "window": window, "train_on": data.train_on, "limit": limit},
                seconds=time.monotonic() - begun,
            )
        )
        if shown:
            told = f"{rows.texts:,} texts, {score.tokens:,} tokens of answers"
            print(f"{label}: loss {score.loss:.4f} a token, perplexity {score.perplexity:.2f} ({told})")
    return results


def _train(loaded: "LoadedModel", batch_size: int | None) -> "TrainConfig":
    """What the run computed in, so that the numbers are those of its validation."""
    from mlxllm.config import TrainConfig

    train = loaded.run_config.train if loaded.run_config is not None else TrainConfig()
    return train.model_copy(update={"batch_size": batch_size or train.batch_size, "lanes": 1})


def _loss(loaded: "LoadedModel", beta: float | None) -> "DpoConfig":
    """The loss of the run, or the usual one."""
    from mlxllm.config import DpoConfig

    dpo = (loaded.run_config.dpo if loaded.run_config is not None else None) or DpoConfig()
    return dpo if beta is None else dpo.model_copy(update={"beta": beta})


def _held_out(opened: "Opened[Kind]") -> tuple[Iterator[Kind], "Report"]:
    """The part that a folder sets apart for validation; all, where there is none."""
    first = next(opened.val, None)
    return (opened.train, opened.report) if first is None else (chain([first], opened.val), opened.val_report)


@contextmanager
def _reference(loaded: "LoadedModel", named: str | None) -> "Iterator[tuple[Transformer | None, str]]":
    """The model that rewards are measured against, and its fingerprint or what it is called; neither where there is none."""
    from mlxllm.model.adapters import adapters_off, has_adapters
    from mlxllm.model.loading import load_base, load_model

    run = loaded.run_config
    if named is not None:
        other = load_model(named)
        if other.tokenizer.fingerprint != loaded.tokenizer.fingerprint:
            raise DataError(
                f"the reference {named!r} has another tokenizer ({other.tokenizer.fingerprint[:12]}) than {loaded.name!r} "
                f"({loaded.tokenizer.fingerprint[:12]}), so their probabilities are not of the same tokens; name the model "
                f"that the training began with"
            )
        if other.note:
            sampling.say(f"warning: {other.note}")
        yield other.model, other.fingerprint
    elif has_adapters(loaded.model):
        with adapters_off(loaded.model):
            yield loaded.model, "without its adapter"
    elif run is not None and run.base_model:
        base = load_base(run, f"run {loaded.name!r}")
        yield base.model, base.fingerprint
    else:
        yield None, ""


def _check_beta(beta: float | None, reference: str, dpo: "DpoConfig") -> None:
    from mlxllm.evaluation.preference_losses import REFERENCE_FREE

    if beta is not None and not reference and dpo.loss not in REFERENCE_FREE:
        raise ConfigError(
            "--beta scales rewards, which are measured against a reference, and this model began with none; name one with "
            "--reference M2"
        )


def _tell(report: "Report") -> None:
    for sentence in report.sentences():
        sampling.say(sentence)


def _print(label: str, metrics: Mapping[str, float | None], count: int, reference: str, dpo: "DpoConfig") -> None:
    from mlxllm.evaluation.intervals import Z, wilson
    from mlxllm.scores import STDERR

    against = f"reference {reference[:12] if ' ' not in reference else reference}, loss {dpo.loss}, beta {dpo.beta:g}"
    if dpo.sft_weight:
        against += f", sft_weight {dpo.sft_weight:g}"
    told = against if reference else "no reference: likelihoods only"
    print(fold(f"{label}: {counted(count, 'pair')}; {told}", sys.stdout))
    rows = []
    for name, value in metrics.items():
        if name.endswith(STDERR) or value is None:
            continue
        error = metrics[name + STDERR]
        if name in _SHARES:
            low, high = wilson(value, count)
        else:
            low, high = (value - Z * (error or 0), value + Z * (error or 0))
        told = f"{low:.4f} to {high:.4f}" if error is not None or name in _SHARES else "-"
        rows.append([name, f"{value:.4f}", f"{error:.4f}" if error is not None else "-", told])
    print_table(["", "mean", "std. error", "95 % interval"], rows)
