"""`mlxllm ablate`: real runs in processes of their own, killed and gone on with; the table, and what is refused."""

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlxllm import paths
from mlxllm.ablation import read_ablation
from mlxllm.ablation.planning import Asked, plan_ablation
from mlxllm.ablation.record import run_config, write_ablation
from mlxllm.runs import RunDirectory, effective_status, read_config, read_state
from tests.ablation.made import ablation
from tests.training import tiny
from tests.training.tiny import Process, call, run_cli, sentence, succeeded

SMALL = ("--preset", "char-tiny", "--steps", "30", "--seeds", "2", "--set", "train.batch_size=4")


@pytest.fixture
def data(mlxllm_home: Path) -> str:
    """A dataset by name, as most people have them."""
    (mlxllm_home / "datasets").mkdir()
    tiny.dataset(mlxllm_home / "datasets" / "squares")
    return "squares"


def run(name: str) -> RunDirectory:
    return RunDirectory(paths.folder("runs") / name)


def step_of(name: str) -> int:
    state = read_state(run(name)) if run(name).config.exists() else None
    return state.step if state is not None else 0


def ended(name: str) -> bool:
    return run(name).config.exists() and effective_status(run(name)) == "finished"


def test_what_was_killed_and_interrupted_goes_on_and_ends_in_a_table(data: str, tmp_path: Path) -> None:
    asked = ("ablate", *SMALL, "--data", data, "--change", "none: positions=none", "--name", "x")
    killed = Process(*asked)
    killed.wait_for(lambda: step_of("x-base-s42") > 0, "a first step")
    killed.signal(signal.SIGKILL)
    killed.wait()
    # Its trainer is nobody's child any more, and goes on: the same command waits for it and then trains the next.
    interrupted = Process(*asked)
    interrupted.wait_for(lambda: step_of("x-none-s42") > 0, "a step of the second run")
    assert ended("x-base-s42")
    interrupted.signal(signal.SIGINT)
    assert interrupted.wait() == 130
    assert "ablate --name x" in interrupted.stderr
    left = step_of("x-none-s42")
    assert effective_status(run("x-none-s42")) == "stopped" or left == 30
    assert [o.run for o in read_ablation("x").outcomes] == ["x-base-s42"]

    picture = tmp_path / "x.svg"
    done = succeeded(run_cli("ablate", "--name", "x", "--json", "--picture", picture))
    told: dict[str, Any] = json.loads(done.stdout)
    assert picture.read_bytes().startswith(b"<?xml")
    assert told["finished"]
    assert (told["steps"], told["seeds"]) == (30, [42, 43])
    first = read_state(run("x-base-s42"))
    assert first is not None
    assert first.attempt == 1  # what had ended was not trained again
    assert told["base"]["runs"] == ["x-base-s42", "x-base-s43"]
    (variant,) = told["variants"]
    assert (variant["name"], variant["changes"]) == ("none", ["positions=none"])
    pairs = [a - b for a, b in zip(variant["loss"], told["base"]["loss"], strict=True)]
    assert variant["difference"] == pytest.approx(sum(pairs) / 2)
    low, high = variant["interval"]
    assert low <= variant["difference"] <= high
    assert variant["seconds_per_step"] > 0

    # Variants of a seed see the same batches, and differ in nothing but what was changed.
    base, other = (read_config(run(f"x-{name}-s43")) for name in ("base", "none"))
    assert base["train"] == other["train"]
    assert base["data"] == other["data"]
    assert {key for key in base["model"] if base["model"][key] != other["model"][key]} == {"positions"}
    assert base["train"]["seed"] == 43
    # The last validation is the one that the run itself tells.
    state = read_state(run("x-base-s43"))
    assert state is not None
    assert told["base"]["loss"][1] == state.latest["val"]["bits_per_byte"]

    again = call("ablate", *asked[1:])
    assert again.returncode == 0
    assert "cannot be told apart" in again.stdout or "better" in again.stdout or "worse" in again.stdout
    assert "at equal time" in again.stdout


def test_minutes_become_the_same_steps_for_all(data: str) -> None:
    asked = Asked(preset="char-tiny", data=data, minutes=0.02, changes=("norm=post", "optimizer=lion"))
    assert plan_ablation(asked) == "ablation-1"
    kept = read_ablation("ablation-1")
    assert kept.steps >= 1
    assert kept.tokens_per_step == 8 * 32
    configs = [run_config(kept, variant.name, seed) for variant in kept.variants for seed in kept.seeds]
    assert {config.train.max_steps for config in configs} == {kept.steps}
    assert {config.train.seed for config in configs} == {42, 43, 44}
    # The same again is the same ablation; with other minutes it is another one.
    assert plan_ablation(replace(asked, seeds=4)) == "ablation-1"
    assert read_ablation("ablation-1").seeds == (42, 43, 44, 45)
    assert not read_ablation("ablation-1").asks_the_same(kept.model_copy(update={"minutes": 0.03}))


def test_nothing_is_trained_where_one_variant_cannot_be(data: str) -> None:
    size = "model.hidden_size=65536,model.intermediate_size=1048576,model.num_hidden_layers=1000"
    asked = ("ablate", *SMALL, "--data", data, "--change", "norm=post", "--change", f"big: {size}")
    told = sentence(run_cli(*asked), 2)
    assert "variant 'big'" in told
    assert "GiB" in told
    assert not paths.folder("runs").exists()
    assert not paths.folder("ablations").exists()


def test_a_run_of_that_name_that_is_another_one_is_left_alone(data: str) -> None:
    other = run("x-base-s42")
    other.create(other.path)
    other.config.write_text(json.dumps({"train": {"max_steps": 7}}))
    asked = ("ablate", *SMALL, "--data", data, "--change", "norm=post", "--name", "x")
    told = sentence(run_cli(*asked), 1)
    assert "run 'x-base-s42' is there with other settings" in told


def test_a_dataset_that_was_built_anew_is_noticed(data: str, mlxllm_home: Path) -> None:
    made = ablation({"base": (), "post": ()}).model_copy(update={"dataset": data, "data_fingerprint": "0" * 64})
    write_ablation("x", made)
    told = sentence(run_cli("ablate", "--name", "x"), 1)
    assert "run 'x-base-s42' was not trained on what dataset 'squares' held" in told
    assert not read_ablation("x").outcomes


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--preset", "char-tiny"), "needs something to change"),
        (("--change", "norm=post"), "--preset names what is changed"),
        (("--preset", "sft", "--change", "norm=post"), "fine-tunes a model"),
        (("--preset", "tiny", "--change", "norm=post"), "'tiny' does not exist"),
        (("transformer-2018",), "there is no shipped ablation 'transformer-2018'"),
        (("positions", "optimizer"), "one ablation at a time"),
        (
            ("positions", "--change", "none: norm=post", "--change", "x: positions=none"),
            "is the same as 'positions-none'",
        ),
        (("positions", "--minutes", "1", "--steps", "3"), "give one of them"),
        (("positions", "--steps", "3", "--set", "train.max_steps=4"), "both say how long"),
        (("positions", "--set", "train.early_stop_evals=2"), "the same steps"),
        (("positions", "--set", "model.x=2"), "'model.x' (from --set model.x=2) does not exist"),
        (("positions", "--detach", "--picture", "x.png"), "--detach does not wait"),
        (("positions", "--minutes", "0"), "at least 0.01"),
        (("positions", "--steps", "0"), "1 or more"),
        (("positions", "--seeds", "0"), "from 1"),
        (("positions", "--name", "../up"), "is a path"),
        (("positions", "--name", "a b"), "not usable"),
        (("positions", "--name", "a" * 95), "run name"),
        (("positions", "--picture", "x.pdf"), "neither a .png nor a .svg"),
        (("positions", "--picture", "nowhere/x.png"), "there is no folder nowhere"),
        (("positions", "--list"), "trains none"),
        (("show",), "`mlxllm ablate show NAME`"),
        (("show", "x", "--seeds", "3"), "`mlxllm ablate show NAME`"),
        (("show", "x"), "there is no ablation 'x'"),
        (("--name", "x"), "there is no ablation 'x'"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_trained(data: str, arguments: tuple[str, ...], told: str) -> None:
    given = arguments if arguments[0] in ("show", "--name") else ("--data", data, *arguments)
    code = 2
    assert told in sentence(call("ablate", *given), code)
    assert not paths.folder("runs").exists()


def test_without_a_dataset_the_stories_are_meant() -> None:
    assert "data build stories" in sentence(call("ablate", "positions"), 2)


def test_show_reads_what_is_kept_when_the_runs_are_gone(tmp_path: Path) -> None:
    write_ablation("kept", ablation({"base": (2.0, 2.1, 1.9), "post": (2.1, 2.2, 2.05), "rms": (2.0, 2.1)}))
    shown = succeeded(call("ablate", "show", "kept", "--picture", tmp_path / "kept.png"))
    header, base, post, rms = shown.stdout.splitlines()[:4]
    assert header.split()[:2] == ["variant", "parameters"]
    assert base.split()[:3] == ["base", "100", "4.0000"]
    assert "+0.2333" in post
    assert "+0.0899 to +0.3768" in post
    assert "worse" in post
    assert "cannot be told apart so far (2 of 3 seeds)" in rms
    assert "8 of 9 runs have ended" in shown.stderr
    assert (tmp_path / "kept.png").read_bytes().startswith(b"\x89PNG")
    told = json.loads(succeeded(call("ablate", "show", "kept", "--json")).stdout)
    assert told["variants"][0]["verdict"] == "worse"
    assert not told["finished"]


def test_more_seeds_can_be_asked_for_later_but_not_fewer(data: str) -> None:
    write_ablation("kept", ablation({"base": (2.0, 2.1, 1.9), "post": (2.1, 2.2, 2.05)}))
    assert "has 3 already" in sentence(call("ablate", "--name", "kept", "--seeds", "2"), 2)
    assert "compares something else" in sentence(
        call("ablate", *SMALL[:4], "--data", data, "--change", "norm=post", "--name", "kept"), 1
    )


def test_a_damaged_record_is_named() -> None:
    write_ablation("kept", ablation({"base": (2.0, 2.1, 1.9), "post": (2.1, 2.2, 2.05)}))
    file = paths.folder("ablations") / "kept" / "ablation.json"
    file.write_text(file.read_text().replace('"steps": 10', '"steps": "ten"'))
    assert "steps" in sentence(call("ablate", "show", "kept"), 1)
    file.write_text("{")
    assert "not valid JSON" in sentence(call("ablate", "show", "kept"), 1)


def test_list_tells_of_shipped_and_own_ones() -> None:
    write_ablation("kept", ablation({"base": (2.0, 2.1, 1.9), "post": (2.1, 2.2)}))
    listed = succeeded(call("ablate", "--list")).stdout
    assert "transformer-2017" in listed
    assert "5/6" in listed
    told = json.loads(succeeded(call("ablate", "--list", "--json")).stdout)
    assert told["ablations"] == [{"name": "kept", "preset": "char-tiny", "dataset": "d", "finished": False}]
    assert told["shipped"]["positions"]["changes"]
