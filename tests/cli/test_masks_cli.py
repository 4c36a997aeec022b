"""`mlxllm data inspect --masks`: what is shown is what training sees."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlxllm.config import RunConfig
from mlxllm.conversation import OwnFormat
from mlxllm.tokenizer.byte import ByteTokenizer
from mlxllm.training.sft import open_sft_data
from tests.export.tiny import save_folder
from tests.model.tiny import tiny_model
from tests.training.tiny import REPOSITORY, call, json_lines, sentence, succeeded

TALK: list[dict[str, Any]] = [
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Say [1]\t\u001b[31mé"},
            {"role": "assistant", "content": "é — 日本\n\ndone "},
            {"role": "user", "content": "again"},
            {"role": "assistant", "content": "two"},
        ]
    },
    {"messages": [{"role": "user", "content": "unanswered"}]},
    {"prompt": "3?", "completion": "three [3]"},
    {"text": "A text."},
]
PAIRS = [{"prompt": "Tea?", "chosen": "Yes.", "rejected": "No."}, {"prompt": "a", "chosen": "b", "rejected": "b"}]
RASBT = [{"instruction": "Tea?", "input": "", "output": "Yes.", "chosen": "Yes.", "rejected": "No."}]


@pytest.fixture
def files(tmp_path: Path, mlxllm_home: Path) -> Path:
    ByteTokenizer().save(mlxllm_home / "tokenizers" / "bytes")
    for name, records in {"talk": TALK, "pairs": PAIRS, "rasbt": RASBT}.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return tmp_path


def inspect(files: Path, name: str, *options: object) -> str:
    process = succeeded(call("data", "inspect", "--masks", files / name, "--tokenizer", "bytes", *options))
    return process.stdout


def test_trained_tokens_stand_in_brackets(files: Path) -> None:
    page = inspect(files, "talk.jsonl")
    assert page.startswith("[trained] masked; \\[ and \\] are brackets of the text itself\n")
    assert (
        "<|system|>Be brief.<|end|><|user|>Say \\[1\\]⇥\\x1b\\[31mé<|end|><|assistant|>[é — 日本⏎\n⏎\ndone <|end|>]"
        "<|user|>again<|end|><|assistant|>[two<|end|>]\n"
    ) in page
    assert "<|user|>3?<|end|><|assistant|>[three \\[3\\]<|end|>]\n" in page
    assert "\nA[ text.<|endoftext|>]\n" in page
    assert f"--- {files}/talk.jsonl:1\n    system 11 tokens, 0 trained; user 17 tokens, 0 trained; assistant" in page
    assert re.search(r"records +4 read, 3 used\n +1 record left out: nothing to train on \(.*talk.jsonl:2: ", page)
    assert "\x1b" not in page
    two = inspect(files, "talk.jsonl", "--train-on", "last")
    assert "<|assistant|>é — 日本⏎\n⏎\ndone <|end|><|user|>again<|end|><|assistant|>[two<|end|>]" in two
    # Without its first token everything is trained.
    assert "<|system|>[Be brief.<|end|><|user|>Say" in inspect(files, "talk.jsonl", "--train-on", "all")


@pytest.mark.parametrize("train_on", ["assistant", "last", "all", "completion"])
@pytest.mark.parametrize("length", [24, 64, 512])
def test_it_is_what_sft_trains_on(train_on: str, length: int, files: Path) -> None:
    """The ids and masks of all records, laid side by side, are the rows of the run, as are padding and reasons."""
    options = ("--train-on", train_on, "--max-seq-len", length, "--json")
    [told] = json_lines(inspect(files, "talk.jsonl", *options))
    config = RunConfig.model_validate(
        {
            "method": "sft",
            "data": {"records": [str(files / "talk.jsonl")], "max_seq_len": length, "train_on": train_on},
        }
    )
    data = open_sft_data(config, OwnFormat(ByteTokenizer()))
    rows = data.train
    assert told["report"] == data.report.as_dict()
    assert told["packing"]["rows"] == len(rows.inputs)
    assert told["packing"]["padding"] == pytest.approx(rows.padding)
    assert told["packing"]["trained"] == rows.trained_tokens
    learned = sorted(int(t) for t in rows.targets[rows.loss_mask.astype(bool)])
    shown = []
    for record in told["records"]:
        ids, mask = np.array(record["token_ids"][: length + 1]), np.array(record["loss_mask"][: length + 1])
        shown += ids[mask.astype(bool)].tolist()
        assert record["trained"] == sum(record["loss_mask"]) == sum(turn["trained"] for turn in record["turns"])
        assert sum(turn["tokens"] for turn in record["turns"]) == len(record["token_ids"]) == len(record["pieces"])
        assert record["cut_off"] == max(0, len(record["token_ids"]) - length - 1)
    assert sorted(shown) == learned


def test_what_a_row_has_no_room_for_is_not_shown_as_trained(files: Path) -> None:
    page = inspect(files, "talk.jsonl", "--max-seq-len", 30)
    assert "<|assistant|>[é]\n(cut off: 31 more tokens, for which a row of 30 has no room)" in page
    assert "longer than a row of 30 tokens: the end is cut off" in page


def test_preferences(files: Path) -> None:
    page = inspect(files, "pairs.jsonl")
    assert "prompt:\n<|user|>Tea?<|end|><|assistant|>\nchosen:\n[Yes.<|end|>]\nrejected:\n[No.<|end|>]\n" in page
    assert "1 record left out: identical pair" in page
    assert "records  2 read, 1 used" in page
    [told] = json_lines(inspect(files, "pairs.jsonl", "--json"))
    assert told["kind"] == "pairs"
    assert told["records"][0]["chosen"]["pieces"] == ["Y", "e", "s", ".", "<|end|>"]
    # A record that both can read is sft's unless it is said otherwise.
    assert "<|assistant|>[Yes.<|end|>]" in inspect(files, "rasbt.jsonl")
    assert "chosen:\n[Yes.<|end|>]" in inspect(files, "rasbt.jsonl", "--pairs")


def test_every_token_above_its_id(files: Path) -> None:
    page = inspect(files, "talk.jsonl", "--tokens", "--limit", 3)
    words = ByteTokenizer()
    assert re.search(r"^<\|user\|>\|3 +\|\? +\|<\|end\|>", page, re.MULTILINE)
    end = f"[{words.special_ids['<|end|>']}]"
    assert page.count(end) == 3, "the ends of the three answers are trained, those of questions are not"


def test_limit_and_a_model_instead_of_a_tokenizer(files: Path, tmp_path: Path) -> None:
    model = tiny_model(vocab_size=ByteTokenizer().vocab_size)
    save_folder(model, ByteTokenizer(), ("base",), tmp_path / "model")
    (tmp_path / "model/model.safetensors").unlink()  # weights are not needed
    process = succeeded(
        call("data", "inspect", "--masks", files / "talk.jsonl", "--model", tmp_path / "model", "--limit", 1)
    )
    assert process.stdout.count("\n--- ") == 1
    assert "2 more like these; --limit N shows more of them" in process.stderr
    assert process.stdout.split("records")[1] == inspect(files, "talk.jsonl").split("records")[1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("--masks talk.jsonl", 2, r"say whose, with --tokenizer T or with --model M"),
        ("--masks talk.jsonl --tokenizer bytes --model m", 2, r"say whose, with --tokenizer T or with --model M"),
        ("--masks talk.jsonl --tokenizer nowhere", 2, r"there is no tokenizer 'nowhere'"),
        ("--masks talk.jsonl --model nowhere", 2, r"there is no run 'nowhere'"),
        ("--masks nowhere.jsonl --tokenizer bytes", 1, r"there is no file or folder 'nowhere.jsonl'"),
        ("--masks talk.jsonl --tokenizer bytes --train-on lst", 2, r"--train-on 'lst' .*did you mean last\?"),
        ("--masks talk.jsonl --tokenizer bytes --max-seq-len 1", 2, r"--max-seq-len is 1; it should be greater than 1"),
        ("--masks talk.jsonl --tokenizer bytes --limit -1", 2, r"--limit is -1; it should be 0 or more"),
        ("--masks pairs.jsonl --tokenizer bytes --train-on all", 2, r"holds preferences, .*leave --train-on out"),
        ("--masks talk.jsonl --tokenizer bytes --pairs", 1, r"talk.jsonl:1: .*the keys 'messages'"),
        ("set --masks talk.jsonl --tokenizer bytes", 2, r"is about records, and set names a dataset; give one of them"),
        ("", 2, r"name a dataset .*, or a file of records with --masks FILE"),
    ],
)
def test_what_cannot_be_shown(
    arguments: str, code: int, message: str, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    said = sentence(call("data", "inspect", *arguments.split()), code)
    assert re.search(message, said), said


@pytest.mark.parametrize("tokens", [False, True])
def test_two_colours_on_a_terminal(files: Path, tokens: bool) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS")}
    environment |= {"PYTHONPATH": str(REPOSITORY), "TERM": "xterm-256color", "COLUMNS": "100"}
    arguments = ["data", "inspect", "--masks", files / "talk.jsonl", "--tokenizer", "bytes"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mlxllm", *map(str, arguments), *(["--tokens"] if tokens else [])],
        env=environment,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
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
    page = written.decode().replace("\r\n", "\n")
    green, grey, bold, plain = "\x1b[30;48;5;157m", "\x1b[38;5;245m", "\x1b[1m", "\x1b[0m"
    assert "\x1b[31m" not in page, "a text cannot steer the terminal"
    if tokens:
        assert f"{grey}<|user|>{plain}" in page
        assert f"{green}<|end|>{plain}" in page
        assert f"{grey}<|end|>{plain}" in page
        return
    assert (
        f"{grey}{bold}<|user|>{plain}{grey}3?{plain}{grey}{bold}<|end|><|assistant|>{plain}"
        f"{green}three [3]{plain}{green}{bold}<|end|>{plain}\n"
    ) in page
    assert f"{green}é — 日本⏎{plain}\n{green}⏎{plain}\n{green}done {plain}" in page
