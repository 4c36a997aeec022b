"""What the engine process replies when it is asked to explain what a model does with a prompt."""

from typing import Any

from mlxllm.explain.interventions import parse
from mlxllm.explain.xray import explain, maps_fit
from mlxllm.inference.engine_models import HeldModel
from mlxllm.inference.engine_requests import Explain, Said


def explanation(held: HeldModel, request: Explain) -> dict[str, Any]:
    """See `mlxllm.explain.xray`.

    Args:
        held: the model that the request names.
        request: the prompt, and what is changed and told.

    Raises:
        ConfigError: the prompt is too long, or an intervention does not fit the model.
        ModelError, DataError: see `explain` and `HeldModel.prompt`.
    """

    def ids_of(text: str) -> list[int]:
        """Of the other prompt of a patch: a text, or a question in place of the last one."""
        about: dict[str, Any] = {"text": text}
        if request.messages is not None:
            about = {"messages": [*request.messages[:-1], Said(role="user", content=text)]}
        return held.prompt(request.model_copy(update=about)).ids

    config, ids = held.loaded.config, held.prompt(request).ids
    fit = maps_fit(config.num_hidden_layers, config.num_attention_heads, len(ids))
    found = explain(
        held.loaded,
        ids,
        text=request.text if request.text is not None else request.said[-1].content,
        changes=parse(request.changes),
        shuffle=request.shuffle,
        at=request.at,
        maps=request.maps if request.maps is not None or fit else (),
        near=request.neighbours,
        top=request.top,
        max_tokens=request.max_tokens,
        encode=ids_of,
    )
    return found.as_json()
