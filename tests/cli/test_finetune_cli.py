"""`mlxllm sft` and `dpo` as a user types them, on a model of a few thousand weights."""

import re
from pathlib import Path

import pytest

from mlxllm.presets import TUNING_PRESETS
from tests.cli.tuned import SHORT, finetuning_files
from tests.training.tiny import call, json_lines, sentence, succeeded


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and records, right and wrong, that no test changes."""
    return finetuning_files(tmp_path_factory.mktemp("files"))


REFUSED: list[tuple[str, str, int, str]] = [
    ("sft", "--model nowhere --data talk.jsonl", 2, r"there is no run 'nowhere' \("),
    ("sft", "--model ./nowhere --data talk.jsonl", 2, r"there is no run './nowhere'"),
    (
        "sft",
        "--model base --data nowhere.jsonl",
        1,
        r"there is no file or folder 'nowhere.jsonl'; give files, a folder",
    ),
    ("dpo", "--model base --data ./nowhere", 1, r"there is no file or folder '\S+nowhere'; give files, a folder"),
    ("sft", "--model base", 2, r"missing option '--data'; `mlxllm sft --help` says what it takes"),
    ("sft", "--data talk.jsonl", 2, r"missing option '--model'; `mlxllm sft --help`"),
    # Records of the wrong kind, of no kind, or none.
    ("sft", "--model base --data pairs.jsonl", 1, r"pairs.jsonl:1: this is a preference .*`mlxllm dpo` learns from"),
    ("dpo", "--model base --data talk.jsonl", 1, r"talk.jsonl:1: this is a conversation .*`mlxllm sft` learns from"),
    ("dpo", "--model base --data unknown.jsonl", 1, r"unknown.jsonl:1: this is a conversation"),
    (
        "sft",
        "--model base --data unknown.jsonl",
        1,
        r"unknown.jsonl:3: no known format has the keys 'frage', 'antwort'; known are 'messages', .*'text'",
    ),
    ("sft", "--model base --data broken.jsonl", 1, r"broken.jsonl:2: the line is not JSON .*one JSON object a line"),
    ("sft", "--model base --data empty.jsonl", 1, r"there are no records in \S+empty.jsonl; give files of"),
    ("dpo", "--model base --data empty.jsonl", 1, r"there are no records in \S+empty.jsonl; give files of"),
    ("sft", "--model base --data blank.jsonl", 1, r"there are no records in \S+blank.jsonl; give files of"),
    ("sft", "--model base --data unanswered.jsonl", 1, r"nothing to train on \(.*unanswered.jsonl:1: .*has user"),
    ("dpo", "--model base --data ties.jsonl", 1, r"identical pair \(.*ties.jsonl:1"),
    (
        "sft",
        "--model base --data talk.jsonl --max-seq-len 2",
        1,
        r"none of 6 records has anything left to train on within 2",
    ),
    (
        "dpo",
        "--model base --data pairs.jsonl --max-seq-len 4",
        1,
        r"too long \(.*at most 5 fit\); give a larger --max-s",
    ),
    (
        "sft",
        "--model base --data talk.jsonl --val-data long.jsonl --max-seq-len 64",
        1,
        r"none of 1 record held out for validation has anything left to train on within 64 tokens; use a larger",
    ),
    # Validation without anything held out.
    (
        "sft",
        "--model base --data one.jsonl --val-split 0.2",
        1,
        r"a share of 0.2 of 1 record holds none out; give more",
    ),
    ("dpo", "--model base --data one_pair.jsonl --val-split 0.2", 1, r"a share of 0.2 of 1 record holds none out"),
    ("sft", "--model base --data folder", 1, r"there are no records in \S+valid.jsonl; give files of conversations"),
    ("sft", "--model base --data talk.jsonl --val-split 1", 2, r"--val-split is 1; it should be less than 1"),
    (
        "sft",
        "--model base --data talk.jsonl --val-data empty.jsonl",
        1,
        r"there are no records in \S+empty.jsonl; give",
    ),
    # Settings.
    (
        "sft",
        "--model base --data talk.jsonl --train-on assitant",
        2,
        r"--train-on 'assitant' .*did you mean assistant\?",
    ),
    (
        "dpo",
        "--model base --data pairs.jsonl --loss sigmod",
        2,
        r"--loss 'sigmod' does not exist; did you mean sigmoid",
    ),
    ("dpo", "--model base --data pairs.jsonl --loss kto", 2, r"--loss 'kto' does not exist; choose sigmoid, ipo, "),
    ("dpo", "--model base --data pairs.jsonl --beta 0", 2, r"--beta is 0; it should be greater than 0"),
    ("dpo", "--model base --data pairs.jsonl --beta nan", 2, r"--beta is nan; it should be a finite number"),
    ("sft", "--model base --data talk.jsonl --epochs 0", 2, r"--epochs is 0; it should be greater than 0"),
    ("sft", "--model base --data talk.jsonl --epochs 1 --max-steps 9", 2, r"--epochs says how long .*give one of them"),
    ("sft", "--model base --data talk.jsonl --minutes 1 --max-steps 9", 2, r"--minutes and --max-steps both say"),
    ("sft", "--model base --data talk.jsonl --max-seq-len 1", 2, r"--max-seq-len is 1; it should be greater than 1"),
    ("sft", "--model base --data talk.jsonl --set dpo.beta=1", 2, r"--set dpo.beta=1 is about preferences, which sft"),
    (
        "dpo",
        "--model base --data pairs.jsonl --loss ipo --label-smoothing 0.1",
        2,
        r"dpo.label_smoothing \(from --label-smoothing 0.1\) is for the loss sigmoid or robust and means nothing to ipo; ",
    ),
    ("dpo", "--model base --data pairs.jsonl --loss hinge --label-smoothing 0", 2, r"means nothing to hinge; leave it"),
    (
        "dpo",
        "--model base --data pairs.jsonl --gamma 0.5",
        2,
        r"gamma \(from --gamma 0.5\) is for the loss simpo and m",
    ),
    ("dpo", "--model base --data pairs.jsonl --loss orpo --set dpo.gamma=1", 2, r"dpo.gamma=1\) .*nothing to orpo; "),
    ("dpo", "--model base --data pairs.jsonl --set data.train_on=all", 2, r"train_on=all is about single answers, and"),
    ("dpo", "--model base --data pairs.jsonl --set train.label_smoothing=0.1", 2, r"is about single answers, and dpo"),
    (
        "sft",
        "--model base --data talk.jsonl --val-data talk.jsonl --val-split 0.5",
        2,
        r"--val-split and --val-data both say what is held out; give one of them",
    ),
    (
        "sft",
        "--model base --data parts --val-split 0.5",
        1,
        r"a folder in --data brings its own; leave --val-split out",
    ),
    ("sft", "--model base --data talk.jsonl --set lora.rnk=1", 2, r"'lora.rnk' .*did you mean lora.rank"),
    (
        "sft",
        "--model base --data talk.jsonl --set model.dropout=0.1",
        2,
        r"cannot change the model that --model base br",
    ),
    ("sft", "--model base --data talk.jsonl --set data.records=x", 2, r"give that with --data and --val-data"),
    ("sft", "--model base --data=", 1, r"there is no file or folder ''; give files, a folder"),
    (
        "sft",
        "--model base --data talk.jsonl --set train.gradient_checkpointing=true --lora-dropout 0.1",
        2,
        r"\(from --set train.gradient_checkpointing=true, --lora-dropout 0.1\)",
    ),
    ("sft", "--model base --data talk.jsonl --beta 1", 2, r"`mlxllm sft` has no option --beta"),
    (
        "sft",
        "--model gpt2 --data talk.jsonl --max-seq-len 64",
        2,
        r"data.max_seq_len is 64, and the positions of gpt2 end at 48; give --max-seq-len 48 or less",
    ),
    # Adapters.
    ("sft", "--model base --data talk.jsonl --lora-rank 0", 2, r"--lora-rank is 0; it should be greater than 0"),
    (
        "sft",
        "--model base --data talk.jsonl --lora-layers 3",
        2,
        r"lora.layers is 3, but the model has 2 blocks; -1 ta",
    ),
    (
        "sft",
        "--model base --data talk.jsonl --lora-layers 0",
        2,
        r"--lora-layers 0: .*would train nothing; -1 takes all",
    ),
    (
        "sft",
        "--model base --data talk.jsonl --lora-targets q_prj",
        2,
        r"--lora-targets q_prj: .*known are q_proj, k_pr",
    ),
    ("sft", "--model gpt2 --data talk.jsonl --lora-targets gate_proj --max-seq-len 40", 2, r"this model does not have"),
    ("sft", "--model base --data talk.jsonl --lora-dropout 1", 2, r"--lora-dropout is 1; it should be less than 1"),
    ("sft", "--model base --data talk.jsonl --quantize int4", 2, r"--quantize 'int4' does not exist; choose affine4, "),
    (
        "sft",
        "--model odd --data talk.jsonl --quantize mxfp4",
        2,
        r"packs groups of 32 weights, and a row of \S+ has 48",
    ),
    ("dpo", "--model packed --data pairs.jsonl", 2, r"packed are quantised, .*train an adapter .*--lora-rank 8"),
    ("sft", "--model packed --data talk.jsonl --quantize affine4", 2, r"is quantised as it comes; leave lora.quantize"),
    ("sft", "--model experts --data talk.jsonl --dora", 2, r"not for the experts of this model; use lora"),
]


@pytest.mark.parametrize(("command", "arguments", "code", "message"), REFUSED)
def test_what_cannot_be_is_refused_in_a_sentence(
    command: str,
    arguments: str,
    code: int,
    message: str,
    files: Path,
    mlxllm_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(files)
    said = sentence(call(command, *arguments.split(), "--run", "r"), code)
    assert re.search(message, said), said
    assert not (mlxllm_home / "runs" / "r").exists(), "nothing is left of it"


HOPELESS_BEFORE_TRAINING = [
    case for case in REFUSED if "lora-layers 3" in case[1] or "odd" in case[1] or "val-split 0.2" in case[1]
]


@pytest.mark.parametrize(("command", "arguments", "code", "message"), HOPELESS_BEFORE_TRAINING)
def test_a_dry_run_finds_what_training_would(
    command: str, arguments: str, code: int, message: str, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    process = call(command, *arguments.split(), "--dry-run")
    assert re.search(message, sentence(process, code))
    assert process.stdout == ""


def test_a_run_of_that_name_is_there(files: Path, mlxllm_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what the user has changed is told."""
    monkeypatch.chdir(files)
    command = ("sft", "--model", "base", "--data", "talk.jsonl", *SHORT, "--run", "r")
    succeeded(call(*command))
    told = r"error: run 'r' exists already(.*); continue it with `mlxllm resume r` or choose another --run name"

    def differences(*more: object) -> str:
        match = re.fullmatch(told, sentence(call(*command, *more), 1))
        assert match is not None
        return match[1]

    assert differences() == ""
    assert differences("--learning-rate", 1e-3) == " with other settings (train.learning_rate: 5e-05 -> 0.001)"
    changed = differences("--lora-rank", 2)
    assert changed.startswith(" with other settings (lora: off -> on; train.learning_rate: ")
    pairs = ("dpo", "--model", "base", "--data", "pairs.jsonl", "--run", "r")
    assert "already with other settings (method: sft -> dpo); continue" in sentence(call(*pairs), 1)


def test_help_says_what_the_recipes_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    for method in ("sft", "dpo"):
        page = " ".join(call(method, "--help").stdout.split())
        plain, lora = TUNING_PRESETS[method]().train, TUNING_PRESETS[f"{method}-lora"]().train
        epochs = plain.epochs
        assert f"[default: {epochs:g}] --max-steps N Updates in all, in place of --epochs. --batch-size" in page
        rate = re.search(r"--learning-rate X .*? \[default: (\S+), (\S+) with adapters\]", page)
        assert rate is not None
        assert [float(r) for r in rate.groups()] == [plain.learning_rate, lora.learning_rate]
        assert "One of affine4, affine8, mxfp4 or nvfp4. Usage" not in page
        assert "One of affine4, affine8, mxfp4 or nvfp4." in page
        assert "or all. [default: all]" in page
        assert "a folder with a model, or OWNER/NAME[@REVISION] of the Hub. [required]" in page
        assert [odd for odd in ("None", "',", "Fine-tuning:", "records`") if odd in page] == []


def test_the_options_of_adapters_are_the_settings_of_the_run(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    flags = "--lora-rank 3 --lora-alpha 6 --lora-layers 1 --lora-targets q_proj,down_proj --lora-dropout 0.25 --dora"
    more = "--rslora --quantize affine8"
    shown = succeeded(
        call("sft", "--model", "base", "--data", "talk.jsonl", *flags.split(), *more.split(), "--dry-run", "--json")
    )
    [told] = json_lines(shown.stdout)
    assert shown.stderr == ""
    assert told["config"]["lora"] == {
        "method": "dora",
        "rank": 3,
        "alpha": 6.0,
        "rslora": True,
        "targets": ["q_proj", "down_proj"],
        "layers": 1,
        "dropout": 0.25,
        "quantize": "affine8",
    }
    assert told["config"]["train"]["learning_rate"] == TUNING_PRESETS["sft-lora"]().train.learning_rate
    heads = 64  # 4 heads of 16
    assert told["trained_parameters"] == 3 * (64 + heads) + heads + 3 * (96 + 64) + 64
    assert told["trained_parameters"] < told["parameters"] / 20


def test_a_rank_that_no_matrix_needs_is_told(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    command = ("sft", "--model", "base", "--data", "talk.jsonl", "--dry-run", "--lora-rank")
    told = (
        "warning: lora.rank is 33, and model.layers.0.self_attn.k_proj is 32 x 64, whose changes have a rank of 32 at"
    )
    assert told in succeeded(call(*command, 33)).stderr
    assert "lora.rank" not in succeeded(call(*command, 32)).stderr
    assert "lora.rank" not in succeeded(call(*command, 33, "--lora-targets", "q_proj,up_proj")).stderr


@pytest.mark.parametrize(("method", "data", "rate"), [("sft", "talk.jsonl", "0.001"), ("dpo", "pairs.jsonl", "0.0001")])
def test_a_handful_of_records_is_told_to_change_little(
    files: Path, monkeypatch: pytest.MonkeyPatch, method: str, data: str, rate: str
) -> None:
    monkeypatch.chdir(files)
    command = (method, "--model", "base", "--data", data, "--max-seq-len", 64, "--dry-run")
    told = succeeded(call(*command)).stderr
    hint = re.search(r"warning: (1 update changes|\d updates change) next to nothing; .* --epochs (\d+),", told)
    assert hint is not None
    assert f"--learning-rate {rate}" in told
    assert "next to nothing" not in succeeded(call(*command, "--epochs", 40)).stderr
    few = succeeded(call(*command, "--epochs", hint[2]))
    assert "next to nothing" not in few.stderr
    assert int(hint[2]) <= 20
    told_steps = re.search(r"^max_steps = (\d+)$", few.stdout, re.MULTILINE)
    assert told_steps is not None
    assert 10 <= int(told_steps[1]) <= 11, "about ten updates, as New run proposes"


def test_a_dry_run_tells_records_and_costs(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    process = succeeded(
        call("sft", "--model", "base", "--data", "talk.jsonl", "--lora-rank", 2, "--max-seq-len", 64, "--dry-run")
    )
    assert re.match(r"6 conversations in \d rows of 64 tokens, .* % padding; \d+ tokens to learn\n", process.stderr)
    assert re.search(r"# trained +[\d,]+, \d\.\d+ % of them", process.stdout)
    assert re.search(r"# tokens in all +768, 4\.0 passes through the records\n", process.stdout)
    pairs = succeeded(call("dpo", "--model", "base", "--data", "pairs.jsonl", "--max-seq-len", 64, "--dry-run"))
    assert pairs.stderr.startswith("6 pairs, ")
    assert "# tokens a step       512 at most" in pairs.stdout
    assert "trained" not in pairs.stdout


def test_records_that_are_left_out_are_told(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    held = ("--val-data", "talk.jsonl", "--val-data", "unanswered.jsonl", "--val-data", "empty.jsonl")
    process = succeeded(call("sft", "--model", "base", "--data", "talk.jsonl", *held, "--dry-run"))
    assert re.search(
        r"\n  held out: 1 record left out: nothing .*nobody answers.*\n  held out: 1 file without records",
        process.stderr,
    )
    both = ("--data", "talk.jsonl", "--data", "unanswered.jsonl")
    process = succeeded(call("sft", "--model", "base", *both, *SHORT, "--run", "r"))
    assert "  1 record left out: nothing to train on (" in process.stderr
    assert "unanswered.jsonl:1" in process.stderr
