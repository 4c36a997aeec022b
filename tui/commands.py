"""The command line that does the same: each action of the application as the arguments behind `mlxllm`.

What is started is exactly what is shown, so these are the only place where a screen's choices become a command.
"""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

Args = tuple[str, ...]
"""What stands behind `mlxllm`."""


def as_text(args: Sequence[str]) -> str:
    """The command as it is typed in a shell."""
    return shlex.join(("mlxllm", *args))


def options(**given: Any) -> Args:
    """Options from keywords: `max_steps=5` is `--max-steps 5`, True a bare flag; None and False are left out.

    A sequence repeats its option.
    """
    args: list[str] = []
    for name, value in given.items():
        option = "--" + name.strip("_").replace("_", "-")
        if value is None or value is False:
            continue
        if value is True:
            args.append(option)
        elif isinstance(value, (list, tuple)):
            for each in value:
                args += [option, str(each)]
        else:
            args += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    return tuple(args)


def settings(changed: Mapping[str, Any]) -> Args:
    """`--set section.key=value` for each changed setting."""
    return tuple(arg for key, value in changed.items() for arg in ("--set", f"{key}={value}"))


def application() -> Args:
    """The application itself."""
    return ()


def monitor(run: str | None = None) -> Args:
    """Watching a run."""
    return ("monitor", run) if run else ("monitor",)


def quickstart(run: str, minutes: float, corpus: str = "stories") -> Args:
    """A whole life in minutes."""
    return ("quickstart", *options(minutes=minutes, corpus=corpus, run=run))


def train(
    *,
    preset: str,
    data: str,
    run: str,
    changed: Sequence[str] = (),
    minutes: float | None = None,
    dry_run: bool = False,
) -> Args:
    """Pre-training; `changed` are settings as `--set` takes them."""
    return ("train", *options(preset=preset, data=data, run=run, set=[*changed], minutes=minutes, dry_run=dry_run))


def tune(
    method: str,
    *,
    model: str,
    data: Sequence[str],
    run: str,
    epochs: float | None = None,
    minutes: float | None = None,
    lora_rank: int | None = None,
    learning_rate: float | None = None,
    changed: Sequence[str] = (),
    dry_run: bool = False,
) -> Args:
    """Fine-tuning: `sft` or `dpo`."""
    how = options(epochs=epochs, minutes=minutes, lora_rank=lora_rank, learning_rate=learning_rate, set=[*changed])
    return (method, *options(model=model, data=[*data], run=run), *how, *options(dry_run=dry_run))


def doctor() -> Args:
    """The machine, examined."""
    return ("doctor",)


def measure_speed() -> Args:
    """How fast the machine trains, measured and kept."""
    return ("doctor", "--speed")


def learn(number: int) -> Args:
    """A chapter of the tour."""
    return ("learn", str(number))


def runs_ls() -> Args:
    """All runs."""
    return ("runs", "ls")


def steer(action: str, run: str) -> Args:
    """A request to a trainer: pause, resume, stop, checkpoint."""
    return ("runs", action, run)


def resume(run: str, *, minutes: float | None = None, max_steps: int | None = None) -> Args:
    """Go on with a run that has ended."""
    return ("resume", run, *options(minutes=minutes, max_steps=max_steps))


def ask_trainer(run: str, prompt: str) -> Args:
    """A prompt to the model while it trains."""
    return ("runs", "sample", run, "--prompt", prompt)


def chat(model: str, **sampling: Any) -> Args:
    """A conversation with a model."""
    return ("chat", "--model", model, *options(**sampling))


def sample(model: str, prompt: str, **sampling: Any) -> Args:
    """One continuation."""
    return ("sample", "--model", model, "--prompt", prompt, *options(**sampling))


def explain(model: str, text: str, **how: Any) -> Args:
    """A prompt on its way through a model."""
    # Behind --, since a text may begin with a minus sign.
    return ("explain", "--model", model, *options(**how), *(["--"] if text.startswith("-") else []), text)


def compare(models: Sequence[str], prompt: str, **how: Any) -> Args:
    """The same prompt to several models."""
    return ("compare", *models, "--prompt", prompt, *options(**how))


def taste(tuned: str, untuned: str, **how: Any) -> Args:
    """The blind taste test."""
    return ("taste", tuned, untuned, *options(**how))


def prefs_judge(models: Sequence[str], prompt: str | None, **how: Any) -> Args:
    """Two answers, of one model or of two, of which the better one is chosen."""
    return ("prefs", "judge", *options(model=[*models], prompt=prompt, **how))


def runs_diff(*runs: str) -> Args:
    """The settings in which runs differ."""
    return ("runs", "diff", *runs)


def runs_samples(*runs: str) -> Args:
    """What runs said to the same prompts."""
    return ("runs", "samples", *runs)


def runs_probe(run: str) -> Args:
    """A held-out passage, token by token."""
    return ("runs", "probe", run)


def tokenizer_merges(tokenizer: str, text: str) -> Args:
    """BPE's merges on a text."""
    return ("tokenizer", "show", tokenizer, text, "--merges")


def ablate(shipped: str | None = None, **how: Any) -> Args:
    """An ablation, trained in the background: a shipped one, one's own, or with only a `name` one to go on with."""
    return ("ablate", *((shipped,) if shipped else ()), *options(**how, detach=True))


def ablate_list() -> Args:
    """The shipped ablations, and those that were made."""
    return ("ablate", "--list")


def ablate_show(name: str) -> Args:
    """What came of an ablation."""
    return ("ablate", "show", name)


def rename_run(run: str, new: str) -> Args:
    """Another name for a run."""
    return ("runs", "rename", run, new)


def remove_run(run: str) -> Args:
    """A run deleted, its checkpoints and all."""
    return ("runs", "rm", run, "--yes")


def evaluate(model: str, data: str = "", tasks: str = "", limit: str = "") -> Args:
    """The scores of a model on the validation split of a dataset, on questions, or on both."""
    return ("eval", "--model", model, *options(data=data or None, tasks=tasks or None, limit=limit or None), "--json")


def report(run: str) -> Args:
    """A page about a run."""
    return ("report", run)


def export(model: str, folder: str, form: str, *, quantize: str | None = None, modelfile: bool = False) -> Args:
    """A model written for others, and read back by them."""
    how = options(quantize=quantize, modelfile=modelfile)
    return ("export", "--model", model, "--out", folder, "--format", form, *how)


def prefs_ls() -> Args:
    """All stored preferences."""
    return ("prefs", "ls")


def prefs_edit(action: str, *ids: str) -> Args:
    """Preferences turned around (swap), taken out (rm) or brought back (restore)."""
    return ("prefs", action, *ids)


def prefs_rewrite(id_: str, *, chosen: str | None = None, rejected: str | None = None) -> Args:
    """A preference with other answers."""
    # In one word each: an answer may begin with a minus sign.
    sides = {"chosen": chosen, "rejected": rejected}
    return ("prefs", "edit", id_, *(f"--{side}={text}" for side, text in sides.items() if text is not None))


def prefs_export(file: str) -> Args:
    """The preferences as a file for `dpo`."""
    return ("prefs", "export", file)


def prefs_import(file: str) -> Args:
    """The preferences of a file, added to one's own."""
    return ("prefs", "import", file)


def data_sources() -> Args:
    """The kinds of sources."""
    return ("data", "sources")


def data_ls() -> Args:
    """All datasets."""
    return ("data", "ls")


def data_preview(source: str, tokenizer: str | None = None, *, tokens: bool = False) -> Args:
    """The beginning of a source, also in tokens."""
    return ("data", "preview", source, *options(tokenizer=tokenizer, tokens=tokens))


def data_inspect(dataset: str, *, tokens: bool = False) -> Args:
    """What is in a dataset."""
    return ("data", "inspect", dataset, *options(tokens=tokens))


def data_index(dataset: str) -> Args:
    """An index over the words of a dataset's training text."""
    return ("data", "index", dataset)


def data_label(dataset: str) -> Args:
    """What a dataset is made of, and what was dropped."""
    return ("data", "label", dataset)


def data_masks(records: str, tokenizer: str) -> Args:
    """What of conversations or preferences is learned."""
    return ("data", "inspect", "--masks", records, *options(tokenizer=tokenizer))


def data_build(
    name: str,
    sources: Sequence[tuple[str, str | None]],
    tokenizer: str,
    val_split: str | None = None,
    *,
    recipe: str | None = None,
    overlap: Sequence[str] = (),
    force: bool = False,
) -> Args:
    """A dataset of sources with their weights; without sources, the one that was interrupted."""
    if not sources:
        return ("data", "build", name)
    weighted = [f"{spec}@{weight}" if weight else spec for spec, weight in sources]
    how = options(tokenizer=tokenizer, val_split=val_split, recipe=recipe, overlap=[*overlap], force=force)
    return ("data", "build", name, *options(source=weighted), *how)


def data_rm(name: str) -> Args:
    """A dataset, deleted for good."""
    return ("data", "rm", name, "--yes")
