"""`mlxllm compare`: each model is asked as it is asked alone, and the application's twin is that command."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command
from typer.testing import CliRunner

from mlxllm.cli.app import app
from mlxllm.config import SampleConfig
from mlxllm.errors import DataError
from tests.cli.tuned import tuned_run
from tests.training.tiny import call, json_lines, sentence
from tui import commands
from tui.talking import sampling

COMMAND = get_command(app)
HOW = ("--seed", 4, "--max-tokens", 40, "--temp", 1.5)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tuned_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def base(run: Path) -> Path:
    return run.parent / "base"


def alone(model: Path, prompt: str) -> str:
    [found] = json_lines(call("sample", "--model", model, "--prompt", prompt, "--json", *HOW).stdout)
    text: str = found["text"]
    return text


def chatted(model: Path, lines: str) -> str:
    done = CliRunner().invoke(app, ["chat", "--model", str(model), *map(str, HOW)], input=lines)
    assert done.exit_code == 0, done.stderr
    return done.stdout


def test_each_answers_as_it_does_alone(run: Path, base: Path) -> None:
    done = call("compare", base, run, "--prompt", "Who?", "--system", "Be kind.", "--json", *HOW)
    [found] = json_lines(done.stdout)
    assert (found["prompt"], found["system"], found["seed"]) == ("Who?", "Be kind.", 4)
    first, second = found["answers"]
    assert [first["model"], second["model"]] == [str(base), str(run)]
    assert [first["kind"], second["kind"]] == ["base", "sft"]
    assert first["text"] == alone(base, "Who?\n"), "a base model goes on on the next line, and is told nothing before"
    assert second["text"] + "\n" == chatted(run, "/system Be kind.\nWho?\n")
    assert second["text"] + "\n" != chatted(run, "Who?\n")
    assert second["step"] == 1
    plain = call("compare", base, run, "--prompt", "Who?", "--system", "Be kind.", *HOW)
    assert plain.stdout == (
        f"[{base}, base: continues the text]\n{first['text']}\n\n[{run}@1, sft: answers]\n{second['text']}\n"
    )
    assert f"[{second['tokens']:,} tokens, " in plain.stderr


def test_the_prompt_may_come_from_a_pipe_and_a_model_is_asked_once(run: Path, base: Path) -> None:
    given_twice = ["compare", str(base), str(run), str(base), "--prompt", "-", "--json", "--max-tokens", "3"]
    done = CliRunner().invoke(app, given_twice, input="- no option\n")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["prompt"] == "- no option\n"
    assert [answer["model"] for answer in found["answers"]] == [str(base), str(run)]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("BASE",), "alone has nothing to be compared with; name two models or more"),
        (("BASE", "BASE"), "alone has nothing to be compared with"),
        (("BASE", "no-such-model"), "there is no run 'no-such-model'"),
        (("BASE", "RUN", "--temp", "-1"), "--temp is -1"),
        (("BASE", "RUN", "--prompt", " "), "the prompt is empty"),
        ((), "missing argument 'MODEL"),
    ],
)
def test_what_cannot_be_is_one_sentence(run: Path, base: Path, arguments: tuple[str, ...], told: str) -> None:
    given = [each.replace("BASE", str(base)).replace("RUN", str(run)) for each in arguments]
    process = call("compare", *given, *(() if "--prompt" in given else ("--prompt", "Who?")), "--json")
    assert told in sentence(process, 2)
    assert process.stdout == ""


def parsed(args: commands.Args) -> dict[str, Any]:
    """What a command line is given by these arguments."""
    command: Any = COMMAND
    words = list(args)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    return dict(command.make_context(command.name, words).params)


SAMPLES = st.builds(
    SampleConfig,
    temperature=st.sampled_from([0.0, 0.05, 0.8, 1.5]),
    top_k=st.integers(0, 10_000),
    top_p=st.sampled_from([0.1, 0.95, 1.0]),
    min_p=st.sampled_from([0.0, 0.05, 1.0]),
    repetition_penalty=st.sampled_from([1.0, 1.1]),
    repetition_context_size=st.integers(1, 100),
    max_tokens=st.integers(1, 10_000),
    seed=st.integers(0, 2**32 - 1),
)


@given(sample=SAMPLES, prompt=st.text(min_size=1), system=st.none() | st.text(min_size=1))
def test_a_twin_is_read_back_as_what_the_screen_had(sample: SampleConfig, prompt: str, system: str | None) -> None:
    how = {**sampling.changed(sample), "system": system, "seed": sample.seed}
    for args, models in (
        (commands.compare(["a@1", "./b"], prompt, **how), {"models": ["a@1", "./b"], "prompt": prompt}),
        (commands.prefs_judge(["a@1", "./b"], prompt, **how), {"models": ["a@1", "./b"], "prompts": [prompt]}),
        (commands.taste("a@1", "./b", rounds=7, **how), {"tuned": "a@1", "untuned": "./b", "rounds": 7}),
    ):
        found = parsed(args)
        assert models.items() <= found.items()
        assert found["system"] == (system or "")
        fields = {"temperature" if name == "temp" else name: value for name, value in found.items()}
        kept = {name: fields[name] for name in SampleConfig.model_fields if fields[name] is not None}
        assert SampleConfig(**kept) == sample


@pytest.mark.parametrize("option", ["--prompt", "--system", "--stop"])
def test_text_in_another_encoding_is_refused(run: Path, base: Path, option: str) -> None:
    given = {"--prompt": "Who?", option: "caf\udce9"}
    with pytest.raises(DataError, match=f"{option} is not UTF-8 text"):
        app(["compare", str(base), str(run), *(word for pair in given.items() for word in pair)], standalone_mode=False)
