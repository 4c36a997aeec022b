"""How a model wants to be sampled, where the user does not say it."""

from typing import TYPE_CHECKING

from mlxllm.cli import sampling

if TYPE_CHECKING:  # pydantic and MLX are imported by the commands that use them
    from mlxllm.config import SampleConfig
    from mlxllm.model.loading import LoadedModel


def with_model_defaults(loaded: "LoadedModel", **given: float | None) -> "SampleConfig":
    """The settings of a command line, and for those that it leaves out what the model's generation_config.json asks for.

    What comes from the model is told in a line.

    Args:
        loaded: the model.
        given: fields of `SampleConfig`; None is left out. With a temperature of one's own, its other settings still hold.

    Raises:
        ConfigError: a value that was given cannot be.
    """
    from mlxllm.tokenizer.generation_config import generation_defaults, without_draws

    typed = {name: value for name, value in given.items() if value is not None}
    asked = generation_defaults(loaded.path, loaded.tokenizer_directory)
    taken = {name: value for name, value in without_draws({**asked, **typed}).items() if name not in typed}
    config = sampling.sample_config(**{**given, **taken})
    if taken:
        flags = {field: flag for flag, field in sampling.FIELDS.items()}
        told = " ".join(f"{flags[name]} {value:g}" for name, value in taken.items())
        sampling.say(f"as its generation_config.json asks: {told}; a flag of yours wins")
    return config
