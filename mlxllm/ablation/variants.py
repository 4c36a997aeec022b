"""Changes as they are typed, to variants of one configuration: checked before anything is trained."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from mlxllm.ablation.words import WORDS, meaning
from mlxllm.config import RunConfig
from mlxllm.errors import ConfigError
from mlxllm.settings import all_keys, changed_by

BASE = "base"
"""The name of what the variants are compared with."""

LONGEST_NAME = 40
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NAMED = re.compile(r"\s*([^=:]*?)\s*:(.*)", re.DOTALL)
_BETWEEN = re.compile(r",(?=\s*[A-Za-z_][\w.]*\s*=)")
_SAME_FOR_ALL = (
    *("train." + key for key in ("seed", "max_steps", "epochs", "batch_size", "grad_accum_steps", "eval_every")),
    *("train." + key for key in ("checkpoint_every", "keep_checkpoints", "sample_every", "early_stop_evals")),
    *("model.vocab_size", "data.", "sample."),
)
"""Settings, or the beginning of such, that decide what is compared: no idea of a model is one of them."""
_NOT_PRETRAINING = ("lora.", "dpo.", "method", "base_")
_RATE = "train.learning_rate"


@dataclass(frozen=True)
class Variant:
    """The base with something changed, or the base itself."""

    name: str
    changes: tuple[str, ...]
    """As they were typed, such as "norm=post"."""
    settings: tuple[str, ...]
    """What they stand for, each "section.key=value" as `--set` takes it."""
    config: RunConfig

    @property
    def note(self) -> str:
        """What to keep in mind about it; "" where there is nothing."""
        changed = {setting.partition("=")[0] for setting in self.settings}
        if "train.optimizer" not in changed or _RATE in changed:
            return ""
        rate = self.config.train.learning_rate
        return (
            f"{self.name} has the base's learning rate of {rate:g}, which was chosen for another optimizer; give it its own "
            f"with --change 'optimizer={self.config.train.optimizer},{_RATE}=X'"
        )


def variants_of(base: RunConfig, changes: Sequence[str], *, skip: bool = False) -> tuple[list[Variant], list[str]]:
    """The base and its variants.

    Args:
        base: what is changed.
        changes: each "key=value,key=value", with "NAME:" before it if it is to have another name than these words.
        skip: leave out what changes nothing, rather than refuse it: of a list that was made for any base.

    Returns:
        The variants, the base first, and the names of those that were left out.

    Raises:
        ConfigError: a change that cannot be, says nothing, or says the same as another.
    """
    found = [Variant(BASE, (), (), base)]
    skipped = []
    for text in changes:
        variant = _variant(base, text)
        same = next((other for other in found if other.config == variant.config), None)
        if same is not None and skip:
            skipped.append(variant.name)
            continue
        if same is not None and same.name == BASE:
            raise ConfigError(f"--change {text!r} changes nothing: the base is so already; leave it out")
        if same is not None:
            raise ConfigError(f"--change {text!r} makes the same model as variant {same.name!r}; leave one of them out")
        if any(other.name == variant.name for other in found):
            raise ConfigError(
                f"two variants are called {variant.name!r}; name one of them otherwise: --change 'NAME: ...'"
            )
        found.append(variant)
    return found, skipped


def _variant(base: RunConfig, text: str) -> Variant:
    named = _NAMED.fullmatch(text)
    name, body = (named[1], named[2]) if named else ("", text)
    changes = tuple(part.strip() for part in _BETWEEN.split(body) if part.strip())
    if not changes:
        raise ConfigError(f"--change {text!r} says nothing to change; write it as key=value, for example norm=post")
    settings: dict[str, str] = {}
    for change in changes:
        for key, value in _settings(change, base).items():
            if settings.get(key, value) != value:
                raise ConfigError(
                    f"--change {text!r} gives {key} twice, as {settings[key]} and as {value}; leave one out"
                )
            settings[key] = value
    lines = tuple(f"{key}={value}" for key, value in settings.items())
    config = changed_by(base, lines, "--change")
    return Variant(_checked_name(name, changes, text), changes, lines, config)


def _settings(change: str, base: RunConfig) -> dict[str, str]:
    """The settings behind one `key=value`, values as `--set` takes them."""
    key, equals, value = (part.strip() for part in change.partition("="))
    if not equals or not key or not value:
        raise ConfigError(f"--change {change!r} is not of the form key=value, for example norm=post")
    if key in WORDS:
        return {k: v if isinstance(v, str) else json.dumps(v) for k, v in meaning(key, value, base.model).items()}
    if key.startswith(_NOT_PRETRAINING):
        raise ConfigError(
            f"--change {change!r} is about fine-tuning, and an ablation trains from scratch; leave it out"
        )
    if key.startswith(_SAME_FOR_ALL):
        raise ConfigError(
            f"--change {change!r} would give a variant other data or another budget, which are the same for all; give it to "
            f"the base with --set, or leave it out"
        )
    if "." not in key:
        raise ConfigError(f"--change {change!r}: there is no {key!r}{_meant(key)}")
    return {key: value}


def _meant(key: str) -> str:
    near = get_close_matches(key, WORDS, n=1)
    full = [known for known in all_keys() if known.rpartition(".")[2] == key]
    if near or full:
        return f"; did you mean {(near or full)[0]}?"
    return f"; there are {', '.join(WORDS)}, and any setting in full, such as model.rope_theta"


def _checked_name(name: str, changes: Sequence[str], text: str) -> str:
    if name:
        if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME or name == BASE:
            raise ConfigError(
                f"--change {text!r}: {name!r} is not usable as a variant's name: up to {LONGEST_NAME} letters, digits, '.', "
                f"'_' or '-' beginning with a letter or digit, and not {BASE!r}"
            )
        return name
    words = []
    for change in changes:
        key, _, value = change.partition("=")
        words.append(f"{key.strip().rpartition('.')[2]}-{value.strip()}")
    made = re.sub(r"[^A-Za-z0-9._]+", "-", "-".join(words)).strip("-")
    if len(made) > LONGEST_NAME or not _NAME.fullmatch(made):
        raise ConfigError(
            f"--change {text!r} needs a name for its runs and its line of the table: 'NAME: {text.strip()}'"
        )
    return made
