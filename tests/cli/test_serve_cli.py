"""`mlxllm serve`: what it exports and refuses; and the real mlx_lm.server answering as `sample` and `chat` do."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mlxllm.export.quantized import write_quantized
from mlxllm.export.serving import SERVED, served_folder, server_command
from mlxllm.model.loading import load_model
from tests.cli.tuned import tuned_run
from tests.export.tiny import random_model, save_folder
from tests.training.tiny import call, json_lines, sentence, succeeded

PATIENCE = 60.0


def test_an_export_is_made_once_for_each_state(mlxllm_home: Path, tmp_path: Path) -> None:
    source = random_model("qwen3", hidden_size=64, intermediate_size=64)
    save_folder(source.model, source.tokenizer, ("base",), tmp_path / "my model")
    loaded = load_model(str(tmp_path / "my model"))
    looked: list[Path] = []
    first = served_folder(loaded, check=looked.append)
    assert first.path.parent == mlxllm_home / "cache" / SERVED
    assert first.path.name.startswith("my-model-")
    assert (first.made, len(looked)) == (True, 1)
    again = served_folder(load_model(str(tmp_path / "my model")), check=looked.append)
    assert (again.path, again.made, len(looked)) == (first.path, False, 1)
    import mlx.core as mx

    half = served_folder(loaded, dtype=mx.bfloat16)
    assert half.made
    assert half.path != first.path
    assert load_model(str(first.path)).fingerprint == loaded.fingerprint
    # `cache` knows each of them.
    [listed] = json_lines(succeeded(call("cache", "ls", "--json")).stdout)
    assert sorted(entry["name"] for entry in listed["entries"]) == sorted(
        f"{SERVED}/{path.name}" for path in (first.path, half.path)
    )
    succeeded(call("cache", "clear", f"{SERVED}/{half.path.name}", "--yes"))
    assert not half.path.exists()
    assert first.path.exists()
    # What came quantised is served as it is.
    write_quantized(loaded, tmp_path / "packed")
    packed = served_folder(load_model(str(tmp_path / "packed")))
    assert (packed.path, packed.made) == (tmp_path / "packed", False)


def test_the_command() -> None:
    command = server_command(Path("/m"), "127.0.0.1", 8081, ("--temp", "0.7"))
    assert command[1:5] == ["-P", "-m", "mlx_lm", "server"]
    assert command[-2:] == ["--temp", "0.7"]
    assert command[command.index("--allowed-origins") + 1] == "http://127.0.0.1:8081,http://localhost:8081"


def test_what_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlxllm.export.serving.importlib.util.find_spec", lambda name: None)
    assert "`pip install 'mlxllm[serve]'` brings it" in sentence(call("serve", "--model", "m"), 1)
    monkeypatch.setattr("mlxllm.export.serving.importlib.util.find_spec", lambda name: True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = sentence(call("serve", "--model", "m", "--port", port), 1)
        assert f"port {port} cannot be used: Address already in use; give another one with --port" in said
    assert "--host 203.0.113.1 is not an address" in sentence(call("serve", "--model", "m", "--host", "203.0.113.1"), 2)
    assert "--dtype is 'int8'" in sentence(call("serve", "--model", "m", "--dtype", "int8"), 2)


# With mlx-lm.


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@contextmanager
def served(model: str, *more: str) -> Iterator[str]:
    """The address of the real server; its last words are looked at when it has ended."""
    port = free_port()
    command = [sys.executable, "-m", "mlxllm", "serve", "--model", model, "--port", str(port), *more]
    with running(command, port) as (address, log):
        yield address
    assert f"is served at {address}/v1/" in log.read_text()


@contextmanager
def running(command: list[str], port: int) -> Iterator[tuple[str, Path]]:
    """A server's address and what it says, from when it answers on."""
    log = Path(os.environ["MLXLLM_HOME"]) / "server.log"
    with open(log, "w") as said:
        server = subprocess.Popen(command, stdout=said, stderr=said)
    try:
        address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE
        while True:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            try:
                with urllib.request.urlopen(f"{address}/health", timeout=5):
                    break
            except OSError:
                time.sleep(0.1)
        yield address, log
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(PATIENCE)


def post(address: str, **asked: Any) -> dict[str, Any]:
    request = urllib.request.Request(address, json.dumps(asked).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


@pytest.mark.peers
def test_the_server_answers_as_we_do(mlxllm_home: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlx_lm")
    run = str(tuned_run(tmp_path))
    asked = ("--model", run, "--max-tokens", 12, "--temp", 0)
    [sampled] = json_lines(succeeded(call("sample", *asked, "--prompt", "hi", "--json")).stdout)
    command = [sys.executable, "-m", "mlxllm", "chat", *(str(each) for each in asked)]
    chatted = subprocess.run(command, input="hi\n", capture_output=True, text=True, check=True).stdout
    with served(run, "--no-verify") as address:
        completed = post(f"{address}/v1/completions", prompt="hi", max_tokens=12, temperature=0)
        messages = [{"role": "user", "content": "hi"}]
        answered = post(f"{address}/v1/chat/completions", messages=messages, max_tokens=12, temperature=0)
    assert completed["choices"][0]["text"] == sampled["text"]
    assert answered["choices"][0]["message"]["content"].strip() == chatted.strip()
    assert answered["choices"][0]["message"]["content"]
    [made] = (mlxllm_home / "cache" / SERVED).iterdir()
    assert (made / "config.json").is_file()
