"""Preferences to ids: a prompt, and all that the template writes behind it for either answer."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlxllm.conversation.chat_format import ChatFormat
from mlxllm.conversation.formats import UnusableRecordError
from mlxllm.conversation.records import Preference
from mlxllm.conversation.report import Report
from mlxllm.conversation.template import TemplateRefusalError
from mlxllm.errors import DataError

TOO_LONG = "too long"
"""The reason for leaving out a pair that has no room."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """One preference as ids; a sequence is the prompt with either side behind it."""

    prompt_ids: npt.NDArray[np.uint32]
    chosen_ids: npt.NDArray[np.uint32]
    rejected_ids: npt.NDArray[np.uint32]
    where: str = ""

    @property
    def length(self) -> int:
        """Tokens of the longer of the two sequences."""
        return len(self.prompt_ids) + max(len(self.chosen_ids), len(self.rejected_ids))


def pairs(
    preferences: Iterable[Preference], chat_format: ChatFormat, report: Report, *, max_seq_len: int | None = None
) -> Iterator[Pair]:
    """The pairs that something can be learned from; the others are counted in `report` with their reasons.

    Args:
        preferences: what was preferred.
        chat_format: how messages become ids.
        report: counts.
        max_seq_len: longer pairs are left out: cut off, an answer would be judged without its end.

    Raises:
        DataError: no pair is left; the message gives the reasons.
        ModelError: the template does what no template may.
    """
    any_left = False
    for preference in preferences:
        try:
            pair = encode_preference(preference, chat_format)
            if max_seq_len is not None and pair.length > max_seq_len:
                raise UnusableRecordError(TOO_LONG, f"{pair.length:,} tokens, and at most {max_seq_len:,} fit")
        except UnusableRecordError as error:
            report.drop(error.reason, preference.where, error.detail)
            continue
        except TemplateRefusalError as error:
            report.drop("refused by the chat template", preference.where, str(error))
            continue
        except DataError as error:
            report.drop("text that cannot be encoded", preference.where, str(error))
            continue
        sides = (preference.chosen, preference.rejected)
        notes = dict(note for side in sides for note in chat_format.notes((*preference.prompt, *side)))
        for reason, detail in notes.items():
            report.note(reason, preference.where, detail)
        report.used += 1
        any_left = True
        yield pair
    if not any_left:
        remedy = "; give a larger --max-seq-len" if TOO_LONG in report.problems.dropped else ""
        raise DataError(report.nothing_left("preferences") + remedy)


def encode_preference(preference: Preference, chat_format: ChatFormat) -> Pair:
    """The ids of one preference.

    Raises:
        UnusableRecordError: nothing can be learned from it, and why.
        TemplateRefusalError: the template does not take its messages.
    """
    prompt, tools = preference.prompt, preference.tools
    sides = preference.chosen, preference.rejected
    if not prompt:
        raise UnusableRecordError("empty prompt")
    if preference.tied:
        raise UnusableRecordError("tied pair", "both sides have the same score")
    for name, side in zip(("chosen", "rejected"), sides, strict=True):
        if not side or side[0].role != "assistant":
            role = side[0].role if side else "nobody"
            raise UnusableRecordError("an answer that is not the assistant's", f"{name} is said by {role}")
        if all(message.is_blank for message in side if message.role == "assistant"):
            raise UnusableRecordError("empty completion", f"{name} has no text")
    chosen_ids, rejected_ids = (chat_format.completion(prompt, side, tools) for side in sides)
    if chosen_ids == rejected_ids:
        raise UnusableRecordError("identical pair", "chosen and rejected are the same")
    prompt_ids = chat_format.generation_prompt(prompt, tools)
    prompt_array, chosen, rejected = (np.array(ids, dtype=np.uint32) for ids in (prompt_ids, chosen_ids, rejected_ids))
    return Pair(prompt_array, chosen, rejected, preference.where)
