"""`mlxllm serve`: a model behind an OpenAI-compatible endpoint, by mlx-lm's server."""

import ipaddress
import os
import sys
from typing import Annotated

import typer

from mlxllm.cli import sampling
from mlxllm.cli.serving import check_port
from mlxllm.errors import ConfigError


def serve(
    context: typer.Context,
    model: sampling.Model,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", min=1, max=65535, help="Port to listen at.")] = 8080,
    dtype: Annotated[
        str | None, typer.Option("--dtype", metavar="T", help="float32, bfloat16 or float16; by default as it is.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Compare what is served with the model before it is.")
    ] = True,
    adapter: sampling.AdapterName = None,
    device: sampling.Device = None,
) -> None:
    """Serve a model to programs that speak OpenAI's protocol, by mlx-lm's server.

    The model is exported into the cache once, read back and compared, and then served until Ctrl-C. One that mlx-lm cannot
    compute is refused. What stands behind a lone -- goes to mlx_lm.server, such as -- --temp 0.7.
    """
    from mlxllm.export.hf_files import DTYPES
    from mlxllm.export.serving import (
        check_served,
        comparison,
        name_for_requests,
        require_server,
        served_folder,
        server_command,
        working_directory,
    )

    require_server()  # before a large model is loaded
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f"--dtype is {dtype!r}; it should be one of {', '.join(DTYPES)}")
    check_port(host, port)
    loaded = sampling.load(model, device, adapter)
    if warning := check_served(loaded):
        sampling.say(f"warning: {warning}")
    check = comparison(loaded) if verify else None
    made = served_folder(loaded, dtype=None if dtype is None else DTYPES[dtype], check=check)
    if made.note:
        sampling.say(f"warning: {made.note}")
    same = "read back unchanged"
    if made.made:
        sampling.say(f"exported to {made.path}{f' and {same}' if made.verified else ''}")
    elif made.verified:
        sampling.say(f"{made.path} was {same}")
    if not _is_loopback(host):
        sampling.say(f"warning: {host} lets anyone on the network use this model; there is no password")
    end = "completions" if loaded.kind == "base" else "chat/completions"
    sampling.say(f"{model} is served at http://{host}:{port}/v1/{end}; Ctrl-C ends it")
    if loaded.kind == "base":
        sampling.say(f"{model} is a base model: it continues text, and has no chat format for /v1/chat/completions")
    name = name_for_requests(loaded)
    sampling.say(f'in requests it is called "{name}"')
    where = working_directory(name, made.path)
    command = server_command(name, host, port, tuple(context.args))
    # A request can name another model: without the Hub it gets an error, not a download.
    environment = {**os.environ, "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "1")}
    sys.stdout.flush()
    sys.stderr.flush()
    os.chdir(where)
    os.execve(command[0], command, environment)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
