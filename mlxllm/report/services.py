"""Services that draw curves of training themselves: TensorBoard, Weights & Biases, trackio; each is loaded when used."""

import importlib.util
import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol

from mlxllm.errors import ConfigError
from mlxllm.runs import RunDirectory

PROJECT = "mlxllm"
"""What the runs are filed under, unless the service's own variable says otherwise."""


class Service(Protocol):
    """Where numbers go. What its library raises is the caller's to deal with."""

    def log(self, step: int, time: float, numbers: Mapping[str, float]) -> None:
        """Numbers of one step, by name; `time` in unix seconds."""

    def write(self, step: int, time: float, name: str, text: str) -> None:
        """A text of one step."""

    def flush(self) -> None:
        """Have all of it kept, as far as the library can promise it."""

    def close(self) -> None:
        """The run has ended."""


class TensorBoard:
    """Event files in the run's folder `tensorboard`; `tensorboard --logdir RUNS` shows all runs."""

    def __init__(self, run: RunDirectory, config: Mapping[str, Any]) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary, self._tensor, self._types = event_pb2, summary_pb2, tensor_pb2, types_pb2
        self._writer = EventFileWriter(str(run.path / "tensorboard"))

    def log(self, step: int, time: float, numbers: Mapping[str, float]) -> None:
        values = [self._summary.Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        self._add(step, time, values)

    def write(self, step: int, time: float, name: str, text: str) -> None:
        kind = self._summary.SummaryMetadata.PluginData(plugin_name="text")
        # Indented by four blanks Markdown, as which it is shown, takes it for text.
        plain = "\n".join(f"    {line}" for line in text.split("\n"))
        tensor = self._tensor.TensorProto(
            dtype=self._types.DT_STRING,
            string_val=[plain.encode("utf-8", "replace")],
            tensor_shape={"dim": [{"size": 1}]},
        )
        metadata = self._summary.SummaryMetadata(plugin_data=kind)
        self._add(step, time, [self._summary.Summary.Value(tag=name, tensor=tensor, metadata=metadata)])

    def _add(self, step: int, time: float, values: Sequence[Any]) -> None:
        summary = self._summary.Summary(value=values)
        self._writer.add_event(self._event.Event(wall_time=time, step=step, summary=summary))

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class Wandb:
    """Weights & Biases; WANDB_MODE=offline keeps it on this machine, in the run's folder `wandb`."""

    def __init__(self, run: RunDirectory, config: Mapping[str, Any]) -> None:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.name,
            id=_identity(run),
            resume="allow",
            dir=str(run.path),
            config=dict(config),
            settings=wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True),
        )
        # Steps are a number like others: a resume may begin before the last one.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, time: float, numbers: Mapping[str, float]) -> None:
        self._run.log({"step": step, **numbers})

    def write(self, step: int, time: float, name: str, text: str) -> None:
        import wandb

        self._run.log({"step": step, name: wandb.Table(columns=["step", "text"], data=[[step, text]])})

    def flush(self) -> None:
        """Its own process writes as it goes."""

    def close(self) -> None:
        self._run.finish()


class Trackio:
    """Trackio, on this machine (`trackio show`), or in a Space that TRACKIO_SPACE_ID names."""

    def __init__(self, run: RunDirectory, config: Mapping[str, Any]) -> None:
        import trackio

        project = os.environ.get("TRACKIO_PROJECT", PROJECT)
        self._trackio = trackio
        self._run = trackio.init(project=project, name=run.name, resume="allow", config=dict(config), embed=False)

    def log(self, step: int, time: float, numbers: Mapping[str, float]) -> None:
        self._trackio.log(dict(numbers), step=step)

    def write(self, step: int, time: float, name: str, text: str) -> None:
        self._trackio.log({name: self._trackio.Table(columns=["step", "text"], data=[[step, text]])}, step=step)

    def flush(self) -> None:
        """Its own thread writes as it goes."""

    def close(self) -> None:
        self._trackio.finish()


SERVICES: dict[str, type[TensorBoard] | type[Wandb] | type[Trackio]] = {
    "tensorboard": TensorBoard,
    "wandb": Wandb,
    "trackio": Trackio,
}
"""By name, which is that of their library and of the extra that brings it as well."""


SHOWN_BY = {"tensorboard": "tensorboard --logdir {run}", "trackio": "trackio show"}
"""The command that shows on this machine what was sent; `{run}` is the run's folder."""


def parse_services(text: str) -> tuple[str, ...]:
    """The names in a list with commas.

    Raises:
        ConfigError: one of them is none, or its library is not installed.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in SERVICES:
            near = get_close_matches(name, SERVICES, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(SERVICES)}"
            raise ConfigError(f"--report-to {name!r} is no service; {hint}")
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"--report-to {name} needs the library of that name, which is not installed; "
                f"`pip install 'mlxllm[{name}]'` brings it"
            )
    return names


def _identity(run: RunDirectory) -> str:
    """The same for each attempt of a run, and another one for another run of its name."""
    import hashlib

    from mlxllm.runs import summarise

    return hashlib.sha256(f"{run.name} {summarise(run).created}".encode()).hexdigest()[:16]


def state_file(run: RunDirectory, service: str) -> Path:
    """What has been sent of a run."""
    return run.path / "reporting" / f"{service}.json"
