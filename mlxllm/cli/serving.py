"""`mlxllm serve-tui`: the terminal application in a browser on this machine."""

import errno
import shlex
import socket
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from mlxllm.cli.sampling import say
from mlxllm.errors import ConfigError, UserError

if TYPE_CHECKING:  # the web server is loaded by the command
    from collections.abc import Awaitable, Callable

    from aiohttp import web

_LOOPBACK = "127.0.0.1"


def serve_tui(
    port: Annotated[int, typer.Option("--port", metavar="N", min=1, max=65535, help="Port on this machine.")] = 8000,
) -> None:
    """Show the terminal application in a browser on this machine; nobody else can reach it."""
    from aiohttp import web
    from textual_serve.server import Server  # here: they load a web server

    check_port(_LOOPBACK, port)
    hosts = {f"{name}:{port}" for name in (_LOOPBACK, "localhost")}

    class LocalServer(Server):
        """textual-serve's, for pages of its own only."""

        async def _make_app(self) -> web.Application:
            app: web.Application = await super()._make_app()
            app.middlewares.append(_only(hosts))
            return app

    say(f"the application is at http://{_LOOPBACK}:{port} for browsers on this machine; Ctrl-C ends it")
    LocalServer(shlex.join([sys.executable, "-m", "mlxllm"]), host=_LOOPBACK, port=port, title="mlxllm").serve()


def check_port(host: str, port: int) -> None:
    """See to it that a server could listen there.

    Raises:
        ConfigError: this machine has no such address.
        UserError: another program has the port, or it takes more rights.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError:
        raise ConfigError(f"--host {host!r} is no address; give 127.0.0.1, or an address of this machine") from None
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise ConfigError(f"--host {host} is not an address of this machine; 127.0.0.1 always is") from None
            raise UserError(f"port {port} cannot be used: {error.strerror}; give another one with --port") from None


def _only(hosts: set[str]) -> "Callable[..., Awaitable[web.StreamResponse]]":
    """Refuse what other web pages ask for, from the browser in which the application is open or by another host name.

    A page from anywhere may open a web socket to this machine; the browser then says where that page is from.
    """
    from aiohttp import web

    @web.middleware
    async def check(
        request: web.Request, handler: "Callable[[web.Request], Awaitable[web.StreamResponse]]"
    ) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if request.host not in hosts or (origin is not None and origin.removeprefix("http://") not in hosts):
            raise web.HTTPForbidden(text="only pages of this application may do that")
        return await handler(request)

    return check
