"""`mlxllm serve-tui`: the application through a web socket, for its own page only."""

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import aiohttp
import pytest

PATIENCE = 20.0


@pytest.fixture
def port() -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "mlxllm", "serve-tui", "--port", str(number)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + PATIENCE
    while socket.socket().connect_ex(("127.0.0.1", number)) and time.monotonic() < deadline:
        time.sleep(0.05)
    yield number
    server.send_signal(signal.SIGINT)
    _, said = server.communicate(timeout=PATIENCE)
    assert "Traceback" not in said


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of the sockets that only asked whether it is there
async def test_a_browser_sees_the_application_and_a_foreign_page_does_not(port: int) -> None:
    async with aiohttp.ClientSession() as session:
        address = f"http://127.0.0.1:{port}/ws?width=90&height=30"
        async with session.ws_connect(address, headers={"Origin": f"http://127.0.0.1:{port}"}) as browser:
            seen = b""
            async with asyncio.timeout(PATIENCE):
                while b"Preferences" not in seen:
                    message = await browser.receive()
                    seen += message.data if isinstance(message.data, bytes) else str(message.data).encode()
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(address, headers={"Origin": "http://elsewhere.example"})
        async with session.get(f"http://127.0.0.1:{port}/", headers={"Host": "elsewhere.example"}) as page:
            assert page.status == 403


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        command = [sys.executable, "-m", "mlxllm", "serve-tui", "--port", str(number)]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"port {number} cannot be used" in done.stderr
