"""`mlxllm sft`, `dpo` and `fuse` as a user types them, on a model of a few thousand weights."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from mlxllm.estimate import count_trained
from mlxllm.model.adapters import adapters
from mlxllm.model.hf_folder import save_hf_folder
from mlxllm.model.loading import load_model
from mlxllm.model.module import named_parameters
from mlxllm.model.naming import read_run_config
from mlxllm.model.quantization import QuantizedLinear
from mlxllm.presets import TUNING_PRESETS
from mlxllm.tokenizer.byte import ByteTokenizer
from tests.model.test_hf_folder import quantise
from tests.model.tiny import VARIANTS, max_difference, tiny_model, token_ids
from tests.training import tiny
from tests.training.tiny import call, json_lines, sentence, succeeded

VOCAB = ByteTokenizer().vocab_size
TALK = [{"prompt": f"What is {n} + 1?", "completion": f"It is {n + 1}."} for n in range(6)]
PAIRS = [{"prompt": f"{n}?", "chosen": "Yes, please.", "rejected": f"No, {n}."} for n in range(6)]
SHORT = ("--max-steps", 2, "--batch-size", 2, "--max-seq-len", 64, "--set", "train.warmup_steps=0")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and records, right and wrong, that no test changes."""
    folder = tmp_path_factory.mktemp("files")
    for name, changes in {
        "base": {"hidden_size": 64, "intermediate_size": 96},
        "odd": {"hidden_size": 40, "num_attention_heads": 2, "intermediate_size": 48},
        "gpt2": {**VARIANTS["gpt2"], "max_position_embeddings": 48},
        "packed": {"hidden_size": 64, "intermediate_size": 96},
        "experts": {**VARIANTS["experts"]},
    }.items():
        save_hf_folder(tiny_model(vocab_size=VOCAB, **changes), ByteTokenizer(), ("base",), folder / name)
    quantise(folder / "packed", {"group_size": 32, "bits": 4})
    contents = {
        "talk.jsonl": _lines(TALK),
        "pairs.jsonl": _lines(PAIRS),
        "one.jsonl": _lines(TALK[:1]),
        "one_pair.jsonl": _lines(PAIRS[:1]),
        "long.jsonl": _lines([{"prompt": "Why? " * 20, "completion": "So."}]),
        "empty.jsonl": "",
        "blank.jsonl": "\n \n",
        "unknown.jsonl": _lines(TALK[:2]) + '{"frage": "Wer?", "antwort": "Ich."}\n',
        "broken.jsonl": _lines(TALK[:1]) + '{"prompt": \n',
        "unanswered.jsonl": _lines([{"messages": [{"role": "user", "content": "Who?"}]}]),
        "ties.jsonl": _lines([{"prompt": "a", "chosen": "same", "rejected": "same"}]),
    }
    contents |= {"folder/train.jsonl": _lines(TALK), "folder/valid.jsonl": "\n"}
    (folder / "folder").mkdir()
    for name, content in contents.items():
        (folder / name).write_text(content)
    return folder


def _lines(records: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


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
    ("sft", "--model base --data talk.jsonl --set lora.rnk=1", 2, r"'lora.rnk' .*did you mean lora.rank"),
    (
        "sft",
        "--model base --data talk.jsonl --set model.dropout=0.1",
        2,
        r"cannot change the model that --model base br",
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


@pytest.mark.parametrize(
    ("method", "flags"),
    [
        ("sft", ("--lora-rank", "4")),
        ("sft", ("--dora", "--lora-layers", "1")),
        ("dpo", ("--quantize", "affine4", "--lora-targets", "q_proj,up_proj")),
    ],
)
def test_what_is_trained_can_be_stacked_and_fused(
    method: str, flags: tuple[str, ...], files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    records = {"sft": "talk.jsonl", "dpo": "pairs.jsonl"}[method]
    fast = ("--learning-rate", 0.05)
    succeeded(call(method, "--model", "base", "--data", records, *SHORT, *fast, *flags, "--run", "r"))
    ids, run, base = token_ids(2, 9), load_model("r"), load_model("base")
    assert run.history == ("base", method)
    assert max_difference(run.model(ids), base.model(ids)) > 0.01
    assert run.run_config is not None
    trained = sum(a.size for adapter in adapters(run.model).values() for a in (adapter.lora_a, adapter.lora_b))
    assert trained <= count_trained(run.run_config) <= trained + 2 * 96 * 7

    # The run's adapter on its base: the same, but for the rounding of a quantised base.
    for name in ("r", str(run.path)):
        stacked = load_model("base", adapter=name)
        assert stacked.history == ("base", method)
        quantised = any(isinstance(module, QuantizedLinear) for module in run.model.modules())
        assert max_difference(stacked.model(ids), run.model(ids)) < (1.0 if quantised else 1e-5)

    told = succeeded(call("fuse", "--model", "r", "--save-path", tmp_path / "merged", "--json"))
    [fused] = json_lines(told.stdout)
    assert told.stderr == ""
    assert fused["merged"] == len(adapters(run.model))
    assert fused["history"] == ["base", method]
    merged = load_model(str(tmp_path / "merged"))
    assert merged.history == ("base", method)
    assert not adapters(merged.model)
    assert sum(p.size for p in named_parameters(merged.model).values()) == fused["parameters"]
    assert max_difference(merged.model(ids), run.model(ids)) < 1e-4
    again = succeeded(call("fuse", "--model", "base", "--adapter", "r", "--save-path", tmp_path / "stacked"))
    assert again.stdout == ""
    assert "chat --model" in again.stderr.splitlines()[-1]
    assert max_difference(load_model(str(tmp_path / "stacked")).model(ids), stacked.model(ids)) < 1e-4


def test_an_adapter_on_a_model_that_came_quantised(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    flags = ("--lora-rank", 2, "--learning-rate", 0.05)
    succeeded(call("sft", "--model", "packed", "--data", "talk.jsonl", *SHORT, *flags, "--run", "r"))
    ids, run, base = token_ids(2, 9), load_model("r"), load_model("packed")
    assert max_difference(run.model(ids), base.model(ids)) > 0.01
    succeeded(call("fuse", "--model", "r", "--save-path", tmp_path / "merged"))
    assert max_difference(load_model(str(tmp_path / "merged")).model(ids), run.model(ids)) < 1e-4


def test_a_run_that_adapters_sit_on_is_neither_renamed_nor_deleted_unasked(
    files: Path, mlxllm_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    data = ("--data", "talk.jsonl", *SHORT)
    succeeded(call("sft", "--model", "base", *data, "--run", "below"))
    succeeded(call("runs", "rename", "below", "under"))
    succeeded(call("sft", "--model", "under", *data, "--lora-rank", 2, "--run", "above"))
    succeeded(call("sft", "--model", "under", *data, "--run", "whole"))
    said = sentence(call("runs", "rename", "under", "below"), 1)
    assert re.search(
        r"the adapters of run above sit on run 'under' .* `mlxllm fuse --model above --save-path DIR`", said
    )
    said = sentence(call("runs", "rm", "under"), 2)
    assert re.search(
        r"would delete run 'under' .*, without which run above cannot be used: nobody is there to ask", said
    )
    succeeded(call("runs", "rm", "above", "--yes"))
    assert "without which" not in sentence(call("runs", "rm", "under"), 2)
    succeeded(call("runs", "rename", "under", "below"))
    assert sorted(path.name for path in (mlxllm_home / "runs").iterdir()) == ["below", "whole"]


def test_fuse_refuses(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    said = sentence(call("fuse", "--model", "base", "--save-path", tmp_path / "new"), 2)
    assert "base has no adapters, so there is nothing to merge" in said
    said = sentence(call("fuse", "--model", "nowhere", "--save-path", tmp_path), 2)
    assert re.search(r"--save-path \S+ exists already; name a new folder", said)
    said = sentence(call("fuse", "--model", "base", "--adapter", "nowhere", "--save-path", tmp_path / "new"), 2)
    assert "there is no adapter 'nowhere'" in said
    assert not (tmp_path / "new").exists()


def test_adapters_that_do_not_belong_to_a_model(
    files: Path, mlxllm_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    succeeded(call("sft", "--model", "base", "--data", "talk.jsonl", *SHORT, "--lora-rank", 2, "--run", "r"))
    succeeded(call("sft", "--model", "base", "--data", "talk.jsonl", *SHORT, "--run", "full"))
    say = ("--prompt", "Once", "--max-tokens", 2, "--temp", 0)

    def refused(code: int, message: str, model: str, adapter: object) -> None:
        more = {"sample": say, "chat": (), "sft": ("--data", "talk.jsonl"), "dpo": ("--data", "pairs.jsonl")}
        for command, options in more.items():
            assert re.search(message, sentence(call(command, "--model", model, "--adapter", adapter, *options), code))

    stacked = succeeded(call("sample", "--model", "base", "--adapter", "r", *say, "--json"))
    alone = succeeded(call("sample", "--model", "r", *say, "--json"))
    assert json_lines(stacked.stdout)[0]["token_ids"] == json_lines(alone.stdout)[0]["token_ids"]
    data = tiny.dataset(tmp_path / "squares")
    scores = [
        json_lines(succeeded(call("eval", *model, "--data", data, "--max-seq-len", 32, "--json")).stdout)[0]["results"]
        for model in (("--model", "base", "--adapter", "r"), ("--model", "r"), ("--model", "base"))
    ]
    assert scores[0]["all"]["loss"] == pytest.approx(scores[1]["all"]["loss"], abs=1e-6)
    assert scores[0]["all"]["loss"] != pytest.approx(scores[2]["all"]["loss"], abs=1e-6)
    refused(1, r"was trained on \S+base with weights \w{12}, and these are \w{12}; give the model", "full", "r")
    refused(1, r"was trained on \S+base with weights", "odd", "r")
    refused(2, r"run 'full' trained all weights, not an adapter; use it as --model full", "base", "full")
    refused(1, r"run 'r' has no checkpoint of step 9; there are the steps", "base", "r@9")
    refused(2, r"there is no adapter 'nowhere'; give a folder with adapters.safetensors", "base", "nowhere")
    refused(1, r"talk.jsonl is a file; an adapter is a folder with", "base", "./talk.jsonl")
    refused(1, r"odd holds no adapter: neither adapters.safetensors", "base", "./odd")

    # Another on top of it knows of both.
    both = ("--model", "base", "--adapter", "r", "--data", "pairs.jsonl", *SHORT)
    succeeded(call("dpo", *both, "--lora-rank", 2, "--run", "second"))
    assert load_model("second").history == ("base", "sft", "dpo")
    refused(
        1, r"was trained on \S+base and the adapter r@2 with .* stack on each other: take the run", "base", "second"
    )

    checkpoint = load_model("r").path
    for name, damage, message in (
        (
            "json",
            lambda folder: (folder / "adapter_config.json").write_text("{"),
            r"adapter_config.json.* is not .*JSON",
        ),
        ("other", lambda folder: (folder / "adapter_config.json").unlink(), r"adapter_config.json"),
    ):
        copy = tmp_path / name
        shutil.copytree(checkpoint, copy)
        (copy / "manifest.json").unlink()
        damage(copy)
        refused(1, message, "base", copy)
    copy = tmp_path / "copy"
    shutil.copytree(checkpoint, copy)
    weights = bytearray((copy / "adapters.safetensors").read_bytes())
    weights[-5] ^= 1
    (copy / "adapters.safetensors").write_bytes(weights)
    refused(1, r"copy cannot be used: .*adapters.safetensors is damaged: .*; take another checkpoint", "base", copy)
    assert read_run_config(mlxllm_home / "runs" / "r").lora is not None
