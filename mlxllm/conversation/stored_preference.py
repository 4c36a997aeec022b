"""A preference as the store holds it: two answers to one prompt, of which one was preferred, and where they came from."""

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from typing import Any, Literal

from mlxllm.conversation.formats import MalformedRecordError, UnusableRecordError, parse_messages
from mlxllm.conversation.lines import parse_object
from mlxllm.conversation.records import Message, Preference
from mlxllm.errors import DataError

How = Literal["picked", "compared", "rewritten", "imported"]
"""One of two answers was picked, with names in sight or (`compared`) without, or a person wrote a better one, or the pair
came from a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPreference:
    """Two answers to one prompt, of which one was preferred, and where they came from."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    how: How
    model: str = ""
    """Address of the model that wrote what was rejected; and what was chosen, unless that was rewritten or `chosen_by`
    another one."""
    fingerprint: str = ""
    """SHA-256 of its weights."""
    step: int | None = None
    """Its step, if it is a run's checkpoint."""
    chosen_by: Mapping[str, Any] = field(default_factory=dict)
    """`model`, `fingerprint` and `step` of what wrote the chosen answer, where that was another model."""
    seed: Mapping[str, int] = field(default_factory=dict)
    """`chosen` and `rejected` -> seed of that answer, as far as a model wrote it."""
    sample: Mapping[str, Any] = field(default_factory=dict)
    """How tokens were chosen."""
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    time: float = field(default_factory=lambda: round(time.time(), 3))
    """Seconds since 1970."""

    @property
    def content(self) -> tuple[Any, ...]:
        """What it says, without where it came from: equal for equal pairs."""
        return tuple(json.dumps(self.as_trl()[key], sort_keys=True) for key in ("prompt", "chosen", "rejected"))

    def as_trl(self) -> dict[str, list[dict[str, Any]]]:
        """TRL's conversational format: `prompt`, `chosen` and `rejected` as lists of messages."""
        return {
            "prompt": [message.as_dict() for message in self.prompt],
            "chosen": [{"role": "assistant", "content": self.chosen}],
            "rejected": [{"role": "assistant", "content": self.rejected}],
        }

    def as_json(self) -> dict[str, Any]:
        """The object of its line in the store."""
        about = {"id": self.id, "time": self.time, "how": self.how, "model": self.model}
        about |= {"fingerprint": self.fingerprint, "step": self.step, "seed": dict(self.seed)}
        about |= {"chosen_by": dict(self.chosen_by)} if self.chosen_by else {}
        texts = {"prompt": [message.as_dict() for message in self.prompt], **_sides(self)}
        return {**about, **texts, "sample": dict(self.sample)}


def _sides(preference: StoredPreference) -> dict[str, str]:
    return {"chosen": preference.chosen, "rejected": preference.rejected}


def from_preference(preference: Preference) -> StoredPreference:
    """A preference that was read from a file.

    Raises:
        UnusableRecordError: nothing can be learned from it, or it is more than the store holds, and why.
    """
    if preference.tied:
        raise UnusableRecordError("tied pair", "both sides have the same score")
    if preference.tools:
        raise UnusableRecordError("tools, which the store does not hold")
    for name, side in (("chosen", preference.chosen), ("rejected", preference.rejected)):
        if len(side) != 1 or side[0].role != "assistant" or side[0].extra:
            raise UnusableRecordError("an answer that is more than one text of the assistant", f"{name} is")
    stored = StoredPreference(
        prompt=preference.prompt,
        chosen=preference.chosen[0].content,
        rejected=preference.rejected[0].content,
        how="imported",
    )
    if wrong := unusable(stored):
        raise UnusableRecordError(wrong)
    return stored


def edited(before: StoredPreference, chosen: str | None, rejected: str | None) -> StoredPreference:
    """It with answers written anew, under an id of its own; None leaves an answer as it is.

    Raises:
        DataError: nothing could be learned from it then, or nothing would change.
    """
    after = replace(before, id=secrets.token_hex(8))
    if chosen is not None and chosen != before.chosen:
        seed = {side: value for side, value in before.seed.items() if side != "chosen"}
        after = replace(after, chosen=chosen, how="rewritten", chosen_by={}, seed=seed)
    if rejected is not None and rejected != before.rejected:
        seed = {side: value for side, value in after.seed.items() if side != "rejected"}
        after = replace(after, rejected=rejected, seed=seed)
    if wrong := unusable(after):
        raise DataError(f"this preference cannot be changed so: {wrong}; it is as it was")
    if after.content == before.content:
        raise DataError("both answers are as they were; there is nothing to change")
    return after


def unusable(preference: StoredPreference) -> str:
    """Why nothing can be learned from it; empty if something can."""
    if not preference.prompt:
        return "empty prompt"
    if not (preference.chosen.strip() and preference.rejected.strip()):
        return "empty completion"
    if preference.chosen == preference.rejected:
        return "identical pair"
    try:
        json.dumps(preference.as_trl(), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "half of a surrogate pair, which is no text"
    return ""


def parse_line(line: bytes) -> StoredPreference | None:
    """The preference of a line; None where it is none. Keys that are not known are passed over."""
    raw = parse_object(line)
    if raw is None:
        return None
    try:
        known = {key: raw[key] for key in _KEYS if raw.get(key) is not None}
        if not all(isinstance(known[key], kind) for key, kind in _KINDS.items() if key in known):
            return None
        known.setdefault("id", sha256(line.strip()).hexdigest()[:16])  # so that it can be named
        record = StoredPreference(**{**known, "prompt": parse_messages(raw["prompt"], "prompt")})
    except (ValueError, RecursionError, KeyError, TypeError, MalformedRecordError, UnusableRecordError):
        return None
    return None if unusable(record) else record


_KEYS = tuple(asdict(StoredPreference(prompt=(), chosen="", rejected="", how="picked")))
_KINDS: dict[str, Any] = {
    **dict.fromkeys("id how model fingerprint chosen rejected".split(), str),
    **dict.fromkeys("seed sample chosen_by".split(), dict),
    "time": int | float,
    "step": int,
}
