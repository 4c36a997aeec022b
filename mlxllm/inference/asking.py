"""The same prompt to models of different kinds, as a comparison asks them."""

from collections.abc import Sequence

from mlxllm.config import SampleConfig
from mlxllm.conversation.asking import asked_of
from mlxllm.conversation.trials import Prompt
from mlxllm.inference.engine_models import HeldModel
from mlxllm.inference.engine_requests import About, Said
from mlxllm.inference.generate import Generation
from mlxllm.model.hf_folder import BASE


def ask(held: HeldModel, prompt: Prompt, sample: SampleConfig, stop: Sequence[str] = ()) -> tuple[Generation, str]:
    """Have a prompt answered, by a base model as a continuation.

    Args:
        held: the model.
        prompt: ends with the question.
        sample: how tokens are chosen.
        stop: strings that end the answer.

    Returns:
        The answer as it comes, and a sentence about the prompt's length; usually nothing.

    Raises:
        ConfigError: the prompt is too long for the model.
        DataError: the model's chat template does not take it.
    """
    asked, name = asked_of(prompt, base=held.loaded.kind == BASE), held.loaded.address
    if isinstance(asked, str):
        about = About(id="", model=name, text=asked)
    else:
        about = About(id="", model=name, messages=[Said(role=each.role, content=each.content) for each in asked])
    read = held.prompt(about)
    note = held.length.check(len(read.ids))
    return held.session.generate(read.ids, sample, stop=stop, stop_ids=read.stop_ids), note
