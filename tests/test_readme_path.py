"""The README's way from a model of the Hub to an endpoint, line for line; the Hub is here, and its model a tiny one."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlxllm.model.loading import load_model
from tests.cli.test_foreign_cli import model_folder
from tests.cli.test_serve_cli import free_port, post, running
from tests.conversation.templates import CHATML
from tests.data.hub_server import Hub
from tests.test_readme import README, commands
from tests.training.tiny import json_lines

EXAMPLES = README[README.index('{"messages"') : README.index("A few hundred of either")].splitlines()[:2]
SHORT = {
    "sft": "--max-steps 60 --batch-size 2 --max-seq-len 128 --learning-rate 0.03 --set train.warmup_steps=0".split(),
    "dpo": "--max-steps 2 --batch-size 2 --max-seq-len 128".split(),
}


@pytest.mark.peers
def test_from_a_model_of_the_hub_to_an_endpoint(hub: Hub, mlxllm_home: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlx_lm")
    match = re.search(r"<!-- path -->(.*?)<!-- /path -->", README, re.DOTALL)
    assert match is not None
    lines = [shlex.split(line) for line in commands(match[1])]
    owner = next(word for line in lines for word in line if word.startswith("HuggingFaceTB/"))
    made = model_folder("smollm", tmp_path / "made", chat_template=CHATML, eos_token="<|im_end|>")
    hub.models[owner] = {path.name: path.read_bytes() for path in made.iterdir()}
    for name, line in zip(("conversations", "pairs"), EXAMPLES, strict=True):
        (tmp_path / f"{name}.jsonl").write_text(f"{line}\n" * 3)
    environment = {
        **os.environ, "HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf"),
    }  # fmt: skip
    answers: dict[str, str] = {}

    def mlxllm(*words: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "mlxllm", *words], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done

    for program, *words in lines:
        if program == "mlx_lm.server":
            answers["server"] = asked_of_the_server(words)
        elif program == "mlxllm":
            done = mlxllm(*words, *SHORT.get(words[0], ()))
            if words[0] == "export":
                assert "transformers  5" in done.stdout or "gguf" in done.stdout
                assert "FAILED" not in done.stdout
        else:
            assert program == "ollama"
            if shutil.which("ollama") is None:
                check_modelfile(tmp_path / "liked-gguf/Modelfile")

    # What the endpoint answers is what our own chat does, and what the tuned model's weights say.
    asked = ("--prompt", "Who found the lamp?", "--max-tokens", "12", "--temp", "0", "--json")
    [compared] = json_lines(mlxllm("compare", "liked", "./liked-hf", *asked).stdout)
    ours = [each["text"] for each in compared["answers"]]
    assert ours == ["It was Mia.", "It was Mia."]
    assert answers["server"] == "It was Mia."
    assert load_model("./liked-hf").history == ("base", "instruct", "sft", "dpo")


def asked_of_the_server(words: list[str]) -> str:
    """The answer of the real server, started with the README's words but for the port."""
    port = free_port()
    words[words.index("--port") + 1] = str(port)
    with running([sys.executable, "-m", "mlx_lm", "server", *words], port) as (address, _):
        messages = [{"role": "user", "content": "Who found the lamp?"}]
        found: dict[str, Any] = post(f"{address}/v1/chat/completions", messages=messages, max_tokens=12, temperature=0)
    return str(found["choices"][0]["message"]["content"])


def check_modelfile(file: Path) -> None:
    """Ollama is not here: what it would be given names a file that is there, and a template for each role."""
    text = file.read_text()
    weights = re.search(r"^FROM (\S+)$", text, re.MULTILINE)
    assert weights is not None
    assert (file.parent / weights[1]).read_bytes()[:4] == b"GGUF"
    assert json.loads((file.parent / "verification.json").read_text())["passed"] is True
