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
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlxllm.errors import ModelError
from mlxllm.export.quantized import write_quantized
from mlxllm.export.served_records import RECORD_FILE
from mlxllm.export.serving import (
    SERVED,
    Served,
    check_served,
    comparison,
    name_for_requests,
    served_folder,
    server_command,
    working_directory,
)
from mlxllm.model.loading import LoadedModel, load_model
from tests.cli.tuned import tuned_run
from tests.export.tiny import random_model, save_folder
from tests.training.tiny import call, json_lines, sentence, succeeded

PATIENCE = 60.0


def saved(path: Path, point: str = "qwen3", **changes: Any) -> LoadedModel:
    """A model of an architecture, as it is loaded from a folder."""
    source = random_model(
        point, **({"hidden_size": 64, "intermediate_size": 64} | changes if point == "qwen3" else changes)
    )
    save_folder(source.model, source.tokenizer, ("base",), path)
    return load_model(str(path))


def test_an_export_is_made_once_for_each_state(mlxllm_home: Path, tmp_path: Path) -> None:
    loaded = saved(tmp_path / "my model")
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


def test_a_damaged_export_is_made_anew(mlxllm_home: Path) -> None:
    loaded = saved(mlxllm_home / "runs" / "tale")
    made = served_folder(loaded)
    weights, tokenizer = made.path / "model.safetensors", made.path / "tokenizer.json"
    good, stands = weights.read_bytes(), weights.stat()
    for file, content, said in (
        (weights, good[:-100], "model.safetensors has changed"),
        (weights, good[:-100] + bytes(100), "model.safetensors has changed"),
        (tokenizer, b"{}", "tokenizer.json has changed"),
        (weights, None, "model.safetensors cannot be read (No such file or directory)"),
        (made.path / RECORD_FILE, None, "there is no record of what was written"),
    ):
        if content is None:
            file.unlink()
        else:
            file.write_bytes(content)
            os.utime(file, ns=(stands.st_atime_ns, stands.st_mtime_ns))
        again = served_folder(loaded)
        assert (again.path, again.made) == (made.path, True)
        assert f"was made anew: {said}" in again.note
        assert weights.read_bytes() == good
    assert served_folder(loaded).note == ""


def test_what_nobody_looked_at_is_looked_at_when_that_is_asked_for(mlxllm_home: Path) -> None:
    loaded = saved(mlxllm_home / "runs" / "tale")
    looked: list[Path] = []
    first = served_folder(loaded)

    def refuse(folder: Path) -> None:
        raise ModelError("it is another")

    for _ in range(2):
        with pytest.raises(ModelError, match="it is another"):
            served_folder(loaded, check=refuse)
    second = served_folder(loaded, check=looked.append)
    assert (second.made, second.verified, looked) == (False, True, [first.path])
    assert not served_folder(loaded, check=looked.append).verified
    assert not served_folder(loaded).made
    assert len(looked) == 1


def test_what_came_quantised_is_served_where_it_lies_and_looked_at_once(mlxllm_home: Path, tmp_path: Path) -> None:
    write_quantized(saved(tmp_path / "plain"), tmp_path / "packed")
    looked: list[Path] = []

    def serve() -> Served:
        return served_folder(load_model(str(tmp_path / "packed")), check=looked.append)

    assert (serve().path, serve().made, looked) == (tmp_path / "packed", False, [tmp_path / "packed"])
    assert not (tmp_path / "packed" / RECORD_FILE).exists()
    (tmp_path / "packed" / "chat_template.jinja").write_text("{{ messages }}")
    assert (serve().verified, serve().verified, len(looked)) == (True, False, 2)


def test_what_this_device_cannot_compute_is_said(tmp_path: Path) -> None:
    import mlx.core as mx

    if mx.default_device().type != mx.DeviceType.cpu:
        pytest.skip("MLX lacks bfloat16 experts on a CPU only")
    write_quantized(random_model("qwen3-moe", hidden_size=64), tmp_path / "packed", dtype=mx.bfloat16)
    loaded = load_model(str(tmp_path / "packed"))
    with pytest.raises(ModelError, match=r"packed cannot be computed on this device.*; take it in float32"):
        served_folder(loaded, check=comparison(loaded))


@pytest.mark.parametrize(
    ("point", "changes", "said"),
    [
        ("llama", {"hidden_act": "gelu"}, "mlx-lm computes silu where this model has gelu; export it with --format hf"),
        (
            "gpt2",
            {"tie_word_embeddings": False},
            "mlx-lm's GPT-2 has no output head of its own; export it with --format gguf, and llama-server",
        ),
        (
            "qwen3",
            {"attention_bias": True, "attention_out_bias": True},
            "mlx-lm's Qwen3 has no attention biases; export",
        ),
        ("qwen2-window", {}, "with Qwen's tokenizer; export it with --format gguf, and llama-server serves it"),
    ],
)
def test_a_model_that_mlx_lm_cannot_have_is_refused(
    point: str, changes: dict[str, Any], said: str, mlxllm_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlxllm.export.serving.importlib.util.find_spec", lambda name: True)
    saved(tmp_path / "model", point, **changes)
    for more in ((), ("--no-verify",)):
        refused = sentence(call("serve", "--model", tmp_path / "model", "--port", free_port(), *more), 1)
        assert f"{tmp_path / 'model'} cannot be served: " in refused
        assert said in refused
    assert not (mlxllm_home / "cache").exists()


def test_a_packed_folder_whose_frequencies_mlx_lm_does_not_see_is_refused(tmp_path: Path) -> None:
    """It is served as it lies there; what is exported first has `rope_theta` in its place."""
    plain = saved(tmp_path / "plain", "llama", hidden_size=64, intermediate_size=64, rope_theta=500_000)
    write_quantized(plain, tmp_path / "packed")
    for name in ("plain", "packed"):
        file = tmp_path / name / "config.json"
        raw = json.loads(file.read_text())
        raw["rope_parameters"] = {"rope_theta": raw.pop("rope_theta"), "rope_type": "default"}
        file.write_text(json.dumps(raw))
    with pytest.raises(ModelError, match="packed cannot be served: mlx-lm does not see rope_parameters"):
        check_served(load_model(str(tmp_path / "packed")))
    assert check_served(load_model(str(tmp_path / "plain"))) == ""


def test_a_window_is_told(tmp_path: Path) -> None:
    assert "answers are right up to 40 tokens" in check_served(saved(tmp_path / "a", "mistral", sliding_window=40))
    assert check_served(saved(tmp_path / "b", "mistral", sliding_window=512)) == ""
    assert check_served(saved(tmp_path / "c", "qwen2")) == "", "it leaves as a Llama"


def test_what_clients_call_it(mlxllm_home: Path, tmp_path: Path) -> None:
    loaded = random_model("qwen3")
    names = {"tuned": "tuned", "tuned@3": "tuned@3", "./a/model": "model", str(tmp_path): tmp_path.name, "o/n": "o/n"}
    for name, called in names.items():
        assert name_for_requests(replace(loaded, name=name)) == called
        (tmp_path / "model").mkdir(exist_ok=True)
        assert (working_directory(called, tmp_path / "model") / called).resolve() == tmp_path / "model"
    succeeded(call("cache", "clear", "served-names", "--yes"))
    assert (tmp_path / "model").is_dir(), "links go, and not what they lead to"


def test_the_command() -> None:
    command = server_command(Path("/m"), "127.0.0.1", 8081, ("--temp", "0.7"))
    assert command[1] == "-P"
    assert Path(command[2]).name == "server_child.py"
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
        code = server.wait(PATIENCE)
    if "mlxllm" in command:  # mlx-lm's own server sometimes ends otherwise
        assert code == 130, log.read_text()
    assert "Traceback" not in log.read_text()


def post(address: str, **asked: Any) -> dict[str, Any]:
    request = urllib.request.Request(address, json.dumps(asked).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


@pytest.mark.peers
def test_the_server_answers_as_we_do(mlxllm_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlx_lm")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no-cache-yet"))
    run = str(tuned_run(tmp_path))
    asked = ("--model", run, "--max-tokens", 12, "--temp", 0)
    [sampled] = json_lines(succeeded(call("sample", *asked, "--prompt", "hi", "--json")).stdout)
    command = [sys.executable, "-m", "mlxllm", "chat", *(str(each) for each in asked)]
    chatted = subprocess.run(command, input="hi\n", capture_output=True, text=True, check=True).stdout
    with served(run, "--no-verify") as address:
        completed = post(f"{address}/v1/completions", prompt="hi", max_tokens=12, temperature=0)
        messages = [{"role": "user", "content": "hi"}]
        named: dict[str, Any] = {"model": "tuned", "messages": messages}  # as clients that must name a model
        answered = post(f"{address}/v1/chat/completions", **named, max_tokens=12, temperature=0)
        with urllib.request.urlopen(f"{address}/v1/models", timeout=PATIENCE) as listed:
            assert len(json.load(listed)["data"]) == 1
    assert completed["choices"][0]["text"] == sampled["text"]
    assert answered["choices"][0]["message"]["content"].strip() == chatted.strip()
    assert answered["choices"][0]["message"]["content"]
    [made] = (mlxllm_home / "cache" / SERVED).iterdir()
    assert (made / "config.json").is_file()


@pytest.mark.peers
def test_mlx_lm_is_asked_before_a_folder_is_served(tmp_path: Path) -> None:
    pytest.importorskip("mlx_lm")
    write_quantized(saved(tmp_path / "plain"), tmp_path / "packed")
    loaded = load_model(str(tmp_path / "packed"))
    assert served_folder(loaded, check=comparison(loaded)).verified
    tokenizer = tmp_path / "packed" / "tokenizer.json"  # ours lies in tokenizer/
    tokenizer.write_text(json.dumps(json.loads(tokenizer.read_text()) | {"normalizer": {"type": "Lowercase"}}))
    with pytest.raises(
        ModelError, match=r"would be another model when it is served, so it is not: mlx-lm: .*--no-verify"
    ):
        served_folder(loaded, check=comparison(loaded))
    assert not (tmp_path / "packed" / "verification.json").exists()


@pytest.mark.peers
def test_a_server_that_cannot_begin_ends(tmp_path: Path) -> None:
    pytest.importorskip("mlx_lm")
    saved(tmp_path / "model")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = server_command(tmp_path / "model", "127.0.0.1", taken.getsockname()[1])
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, "Address already in use" in done.stderr) == (1, True)
