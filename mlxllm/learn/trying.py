"""The experiment of a chapter with what the user has: the command, or a sentence about what is missing."""

import shlex
from dataclasses import dataclass

from mlxllm.learn.chapter import Chapter, Experiment
from mlxllm.learn.subjects import Subjects

_NO_MODEL = "there is no model of yours yet to look into; `mlxllm learn 1 --run` trains one in a minute"


@dataclass(frozen=True)
class Trial:
    """An experiment that can be run, or what is missing for it."""

    args: tuple[str, ...] = ()
    """What stands behind `mlxllm`; empty where something is missing."""
    look: str = ""
    """What to look at in what it prints."""
    missing: str = ""
    """What to do first, where something is missing."""

    @property
    def command(self) -> str:
        """As it is typed in a shell; empty where something is missing."""
        return shlex.join(("mlxllm", *self.args)) if self.args else ""

    @property
    def makes_a_model(self) -> bool:
        """Whether it trains a model, which takes a minute and is a run of its own."""
        return self.args[:1] == ("quickstart",)


def trial(chapter: Chapter, subjects: Subjects) -> Trial:
    """The first experiment of a chapter whose needs are met."""
    for experiment in chapter.experiments:
        if experiment.needs <= subjects.keys():
            return Trial(filled(experiment, subjects), experiment.look)
    return Trial(missing=(chapter.missing if "model" in subjects else "") or _NO_MODEL)


def filled(experiment: Experiment, subjects: Subjects) -> tuple[str, ...]:
    """The arguments of an experiment, each placeholder replaced within its own argument: a name needs no quotes."""
    return tuple(_replaced(word, subjects) for word in shlex.split(experiment.command))


def _replaced(word: str, subjects: Subjects) -> str:
    name = word[1:-1]
    return subjects[name] if word == f"{{{name}}}" and name in subjects else word
