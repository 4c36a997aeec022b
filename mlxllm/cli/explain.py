"""`mlxllm explain`: one prompt on its way through a model, and what changes when a part of it is switched off."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlxllm.cli import sampling
from mlxllm.errors import ConfigError

if TYPE_CHECKING:  # MLX is imported by the command
    from mlxllm.explain.interventions import Interventions
    from mlxllm.explain.xray import Explained
    from mlxllm.model.loading import LoadedModel

_CHANGE = "Change something (the prediction before and after is shown)"


def explain(
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="What the model reads, as it stands.", show_default=False)
    ],
    model: sampling.Model,
    adapter: sampling.AdapterName = None,
    layer: Annotated[
        int | None,
        typer.Option(
            "--layer",
            metavar="L",
            help="Show the attention of all heads of this layer, from 0; by default that of the most decided head of all.",
            show_default=False,
        ),
    ] = None,
    head: Annotated[
        int | None,
        typer.Option("--head", metavar="H", help="Of this head only, from 0.", show_default=False),
    ] = None,
    at: Annotated[
        int,
        typer.Option("--at", metavar="N", help="Tell what comes behind this piece, from 0; negative from the end."),
    ] = -1,
    off: Annotated[
        list[str] | None,
        typer.Option(
            "--off",
            metavar="PART",
            help="Switch off head:L.H, attention:L, mlp:L, layer:L, positions or mask (the causal one); several times.",
            rich_help_panel=_CHANGE,
        ),
    ] = None,
    no_positions: Annotated[
        bool, typer.Option("--no-positions", help="As --off positions.", rich_help_panel=_CHANGE)
    ] = False,
    shuffle: Annotated[
        int | None,
        typer.Option(
            "--shuffle",
            metavar="SEED",
            help="Give the pieces before the last one another order, and tell what order is worth.",
            show_default=False,
            rich_help_panel=_CHANGE,
        ),
    ] = None,
    temp: Annotated[
        float | None,
        typer.Option(
            "--temp",
            metavar="X",
            help="Divide the logits by this, above 0.",
            show_default=False,
            rich_help_panel=_CHANGE,
        ),
    ] = None,
    patch: Annotated[
        list[str] | None,
        typer.Option(
            "--patch",
            metavar="L@TEXT",
            help="Put in what another prompt has behind layer L at its last piece; L.5@ at piece 5, L.all@ at all.",
            rich_help_panel=_CHANGE,
        ),
    ] = None,
    top: Annotated[int, typer.Option("--top", metavar="K", help="So many of the likeliest next pieces.")] = 10,
    near: Annotated[int, typer.Option("--neighbours", metavar="K", help="So many pieces with a like embedding.")] = 3,
    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", metavar="N", help="Walk with a text of up to N pieces.", show_default="256"),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            metavar="FILE",
            help="Draw it as .png or .svg: all of it, with --layer its heads, with --head that one.",
            show_default=False,
        ),
    ] = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="TEXT is a question to a tuned model, and is put into its chat template.")
    ] = False,
    device: sampling.Device = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one object with all the numbers.")] = False,
) -> None:
    """Show what a model does with a prompt: pieces, attention, what it would say after each layer, and the next piece.

    Layers and heads count from 0, as in the names of weights. All of it is computed with plain attention, without a cache.

    For example: mlxllm explain --model tales "Once upon a time" --off head:0.2
    """
    if top < 1 or near < 0:
        raise ConfigError(f"--top is {top} and --neighbours is {near}; they should be 1 or more, and 0 or more")
    if shuffle is not None and shuffle < 0:
        raise ConfigError(f"--shuffle is {shuffle}; the seed should be 0 or more")
    if head is not None and layer is None:
        raise ConfigError(f"--head {head} is of no layer; give --layer as well")
    if picture is not None and picture.suffix.lower() not in (".png", ".svg"):
        raise ConfigError(f"--picture is {str(picture)!r}; give a file that ends in .png or .svg")
    sampling.check_text(text, "the text")
    for each in patch or ():
        sampling.check_text(each, "--patch")
    changes = _changes(off or [], patch or [], temp, no_positions)

    loaded = sampling.load(model, device, adapter)
    from mlxllm.explain import xray  # here: MLX is imported by the command

    if max_tokens is not None and not 1 <= max_tokens <= xray.LONGEST:
        raise ConfigError(f"--max-tokens is {max_tokens}; it should be from 1 to {xray.LONGEST:,}")
    config = loaded.config
    if head is not None and not 0 <= head < config.num_attention_heads:
        raise ConfigError(f"there is no head {head}; the model's heads are 0 to {config.num_attention_heads - 1}")
    encode = _as_question(loaded) if chat else loaded.tokenizer.encode_begun
    token_ids = encode(text)
    maps = [layer] if layer is not None else None
    if maps is None and not xray.maps_fit(config.num_hidden_layers, config.num_attention_heads, len(token_ids)):
        layer, maps = (None, []) if json_ and picture is None else (0, [0])
        told = "none is told" if layer is None else "those of layer 0 are shown"
        sampling.say(
            f"the attention maps of all layers are more than {xray.MOST_MAPS:,} numbers: {told}; --layer L chooses others"
        )
    found = xray.explain(
        loaded,
        token_ids,
        text=text,
        changes=changes,
        shuffle=shuffle,
        at=at,
        maps=maps,
        near=near,
        top=top,
        max_tokens=max_tokens if max_tokens is not None else xray.MOST_TOKENS,
        encode=encode,
    )
    if json_:
        print(json.dumps(found.as_json()))
    else:
        from mlxllm.cli.explain_view import show

        show(found, layer, head)
    if picture is not None:
        _draw(found, picture, layer, head)


def _as_question(loaded: "LoadedModel") -> "Callable[[str], list[int]]":
    """How a question becomes ids.

    Raises:
        ConfigError: the model has not been tuned to answer.
    """
    from mlxllm.conversation import Message
    from mlxllm.conversation.choosing import chat_format_of
    from mlxllm.model.hf_folder import BASE

    if loaded.kind == BASE:
        raise ConfigError(f"{loaded.name} is a base model, which has not been tuned to answer; leave --chat out")
    turns = chat_format_of(loaded.tokenizer, loaded.tokenizer_directory)
    return lambda text: turns.generation_prompt([Message("user", text)])


def _changes(off: list[str], patches: list[str], temp: float | None, no_positions: bool) -> "Interventions":
    """What the options change."""
    from mlxllm.explain.interventions import parse

    specs = [*off, *(f"patch:{each}" for each in patches)]
    specs += ["positions"] if no_positions else []
    return parse([*specs, f"temperature:{temp}"] if temp is not None else specs)


def _draw(found: "Explained", picture: Path, layer: int | None, head: int | None) -> None:
    from mlxllm.explain.pictures import draw

    plot = draw(found, layer, head)
    picture.expanduser().write_bytes(plot.png() if picture.suffix.lower() == ".png" else plot.svg())
    sampling.say(f"drawn: {picture}")
