"""`mlxllm train` and `mlxllm resume` as a user types them."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from mlxllm.data.build import build_dataset
from mlxllm.data.sources import open_source
from mlxllm.estimate import estimate
from mlxllm.model.checkpoint_files import list_checkpoints
from mlxllm.presets import PRESETS, preset_config
from mlxllm.runs import RunDirectory, read_events
from mlxllm.tokenizer import Tokenizer
from mlxllm.tokenizer.byte import ByteTokenizer
from mlxllm.tokenizer.char import CharTokenizer
from tests.training import tiny
from tests.training.tiny import call, json_lines, run_cli, sentence, succeeded

SHORT = ("--preset", "char-tiny", "--set", "train.eval_every=0")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.dataset(tmp_path_factory.mktemp("data") / "squares")


@pytest.mark.parametrize("preset", PRESETS)
def test_dry_run_of_each_preset(preset: str) -> None:
    shown = json_lines(succeeded(call("train", "--preset", preset, "--dry-run", "--json")).stdout)[0]
    config = preset_config(preset)
    assert shown["config"] == config.model_dump(mode="json")
    costs = estimate(config)
    for key in ("parameters", "training_bytes", "tokens", "tokens_per_step"):
        assert shown[key] == getattr(costs, key) > 0


def test_dry_run_with_data_knows_vocabulary_and_tokens(data: Path, mlxllm_home: Path, tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text("[train]\nbatch_size = 3\nseed = 11\n")
    command = ["train", *SHORT, "--config", file, "--set", "train.seed=12", "--data", data, "--batch-size", 5]
    process = succeeded(call(*command, "--dry-run"))
    assert process.stderr == ""
    for line in ("batch_size = 5", "seed = 12", "vocab_size = 261", "[train]", "# parameters", "# training memory"):
        assert line in process.stdout
    assert "1.7 times through the dataset's 5,706" in process.stdout
    once = succeeded(call(*command, "--max-steps", 1, "--dry-run")).stdout
    assert "# tokens in all       160, 2.8 % of the dataset's" in once
    timed = succeeded(call(*command, "--minutes", 2, "--dry-run")).stdout
    assert "# tokens in all       known once training has measured how many steps 2 minutes hold" in timed
    [shown] = json_lines(succeeded(call(*command, "--dry-run", "--json")).stdout)
    assert shown["dataset_tokens"] > 5000
    assert shown["parameters"] == 90_880
    assert not (mlxllm_home / "runs").exists(), "it trains nothing"
    assert shown["config"]["train"]["compute_dtype"] in ("float32", "bfloat16")


def test_the_dry_run_is_a_config_file(data: Path, tmp_path: Path) -> None:
    """What it prints can be put into a TOML file, but for the keys that are null."""
    shown = succeeded(call("train", "--preset", "char-tiny", "--data", data, "--dry-run")).stdout
    file = tmp_path / "copy.toml"
    file.write_text("\n".join(line for line in shown.splitlines() if not line.endswith("null")))
    again = succeeded(call("train", "--config", file, "--dry-run")).stdout
    assert again == shown


def test_a_named_run_and_a_made_up_name(data: Path, mlxllm_home: Path) -> None:
    named = succeeded(call("train", *SHORT, "--data", data, "--max-steps", 2, "--run", "mine"))
    assert named.stdout == ""
    assert "sample --model mine --prompt" in named.stderr
    assert "90,880 parameters, 2 steps of 256 tokens" in named.stderr
    for number in (1, 2):
        succeeded(call("train", *SHORT, "--data", data, "--max-steps", 2))
        assert (mlxllm_home / "runs" / f"squares-char-tiny-{number}" / "config.json").exists()
    finished = succeeded(call("resume", "mine", "--max-steps", 5))
    assert "goes on from step 1" in finished.stderr
    assert list_checkpoints(mlxllm_home / "runs" / "mine")[-1].step == 5


def test_a_finished_run_says_how_to_extend_it(data: Path, mlxllm_home: Path) -> None:
    succeeded(call("train", *SHORT, "--data", data, "--max-steps", 2, "--run", "mine"))
    again = succeeded(call("resume", "mine"))
    assert again.stdout == ""
    [told] = again.stderr.splitlines()
    assert told.startswith("run mine is finished, with all of its 2 steps; train it for longer with `")
    assert "resume mine --minutes 10`, or with --max-steps" in told
    events = json_lines(succeeded(call("resume", "mine", "--json")).stdout)
    assert [e["kind"] for e in events] == ["run_started", "val", "probe", "checkpoint_saved", "run_finished"]
    succeeded(call("train", *SHORT, "--data", data, "--max-steps", 1, "--run", "one"))
    assert "run one is finished, with its only step; train" in succeeded(call("resume", "one")).stderr


def test_plain_output_has_no_control_codes(data: Path, tmp_path: Path) -> None:
    process = succeeded(run_cli("train", *SHORT, "--data", data, "--max-steps", 4, "--run", tmp_path / "r"))
    assert "\x1b" not in process.stderr
    assert "\r" not in process.stderr
    assert "step 4/4" in process.stderr


@pytest.mark.parametrize("no_color", [True, False])
def test_on_a_terminal_one_line_lives_unless_no_color(data: Path, tmp_path: Path, no_color: bool) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    environment |= {"PYTHONPATH": str(tiny.REPOSITORY), "TERM": "xterm"} | ({"NO_COLOR": "1"} if no_color else {})
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mlxllm", "train", *SHORT, "--data", data, "--max-steps", "4", "--run", tmp_path / "r"],
        env=environment,
        stderr=theirs,
        stdout=subprocess.DEVNULL,
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        written += piece
    os.close(ours)
    assert process.wait() == 0
    assert (b"\x1b[2K" in written) == (not no_color)
    assert b"step 4/4" in written


def test_json_of_a_resumed_run(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "r"
    first = succeeded(call("train", *SHORT, "--data", data, "--max-steps", 3, "--run", run, "--json"))
    second = succeeded(call("resume", run, "--max-steps", 6, "--json"))
    assert first.stderr == second.stderr == ""
    kinds = [event["kind"] for event in json_lines(second.stdout)]
    assert kinds[0] == "run_started"
    assert kinds[-1] == "run_finished"
    assert kinds.count("train") == 4  # from the checkpoint before the decay
    val = [e for e in json_lines(second.stdout) if e["kind"] == "val"][-1]
    assert val["bits_per_byte"] > 0


def test_what_train_writes_into_a_run(data: Path, mlxllm_home: Path) -> None:
    flags = ("--learning-rate", "0.001", "--optimizer", "lion", "--schedule", "cosine", "--seed", "7")
    more = ("--max-seq-len", 24, "--grad-accum-steps", 2, "--batch-size", 3)
    succeeded(call("train", *SHORT, "--data", data, "--run", "r", "--max-steps", 3, *flags, *more))
    run = RunDirectory(mlxllm_home / "runs" / "r")
    config = json.loads(run.config.read_text())
    assert config["preset"] == "char-tiny"
    assert config["data"]["max_seq_len"] == 24
    train = config["train"]
    assert (train["learning_rate"], train["optimizer"], train["schedule"], train["seed"]) == (
        0.001,
        "lion",
        "cosine",
        7,
    )
    assert (train["batch_size"], train["grad_accum_steps"], train["max_steps"]) == (3, 2, 3)
    assert config["model"]["vocab_size"] == 261
    assert train["compute_dtype"] in ("float32", "bfloat16")
    assert train["lanes"] >= 1
    started, *_ = read_events(run.events)
    assert (started["kind"], started["max_steps"], started["tokens_per_step"]) == ("run_started", 3, 144)
    assert {p.name for p in run.path.iterdir()} >= {
        "config.json",
        "state.json",
        "events.jsonl",
        "checkpoints",
        "tokenizer",
    }


def test_minutes(data: Path, mlxllm_home: Path) -> None:
    succeeded(call("train", *SHORT, "--data", data, "--run", "r", "--minutes", "0.05"))
    written = json.loads((mlxllm_home / "runs" / "r" / "config.json").read_text())["train"]["max_steps"]
    steps = [e["step"] for e in read_events(RunDirectory(mlxllm_home / "runs" / "r").events) if e["kind"] == "train"]
    assert steps == list(range(1, written + 1))


def test_training_goes_on_from_a_model(data: Path, mlxllm_home: Path) -> None:
    succeeded(call("train", *SHORT, "--data", data, "--run", "first", "--max-steps", 4))
    succeeded(
        call("train", "--model", "first", "--data", data, "--run", "second", "--max-steps", 2, "--max-seq-len", 32)
    )
    vals = [
        [e["loss"] for e in read_events(RunDirectory(mlxllm_home / "runs" / name).events) if e["kind"] == "val"]
        for name in ("first", "second")
    ]
    assert vals[1][0] == pytest.approx(vals[0][-1], rel=1e-5)


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        (
            ["--max-seq-len", "9000", "--set", "model.max_position_embeddings=9000"],
            ["fewer than one row of 9,001", "--max-seq-len"],
        ),
        (
            ["--max-seq-len", "65"],
            ["data.max_seq_len is 65", "--set model.max_position_embeddings=65", "--max-seq-len 64"],
        ),
        (["--model", "nope"], ["nope"]),
        (["--preset", "base-124m", "--batch-size", "1000000"], ["this run would need about", "GiB"]),
        (["--set", "model.vocab_size=100"], ["model.vocab_size is 100", "token ids up to 260", "261 or more"]),
        (["--set", "train.lanes=3"], ["train.batch_size 8 does not divide into train.lanes 3"]),
        (
            ["--set", "model.hidden_size=65", "--set", "model.head_dim=null"],
            ["hidden_size 65", "--set model.hidden_size=65"],
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(
    data: Path, mlxllm_home: Path, more: list[str], parts: list[str]
) -> None:
    command = ("train", *SHORT, "--data", data, "--run", "r", *more)
    dry = call(*command, "--dry-run")
    assert not (mlxllm_home / "runs").exists()
    process = call(*command)
    told = sentence(process, process.returncode)
    assert process.returncode in (1, 2)
    assert [part for part in parts if part not in told] == [], told
    assert (dry.returncode, dry.stdout, dry.stderr) == (process.returncode, "", process.stderr)
    assert not (mlxllm_home / "runs" / "r").exists()


def test_a_dry_run_refuses_what_training_would(data: Path, tmp_path: Path) -> None:
    command = ["train", *SHORT, "--max-steps", 1, "--run", "first"]
    succeeded(call(*command, "--data", data, "--dry-run"))
    succeeded(call(*command, "--data", data))
    assert "run 'first' exists already" in sentence(call(*command, "--data", data, "--dry-run"), 1)
    other = build(tmp_path, CharTokenizer.train([tiny.text()]), 0.1)
    told = sentence(call("train", "--model", "first", "--data", other, "--dry-run"), 1)
    assert "was made with another tokenizer" in told


def test_an_empty_validation_split_is_refused(tmp_path: Path) -> None:
    data = build(tmp_path, ByteTokenizer(), 0.0)
    for more in ([], ["--dry-run"]):
        told = sentence(call("train", *SHORT, "--data", data, *more), 1)
        assert "dataset 'd' has an empty val split; rebuild it" in told


def build(folder: Path, tokenizer: Tokenizer, val_split: float) -> Path:
    """A dataset of the usual text with another tokenizer or split."""
    (folder / "t.txt").write_text(tiny.text())
    source = open_source(f"text:{folder / 't.txt'}")
    build_dataset(folder / "d", [(source, None)], tokenizer, val_split=val_split)
    return folder / "d"
