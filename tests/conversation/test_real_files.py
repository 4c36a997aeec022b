"""The files of ../shared/data: each is read whole, and its masks are what a reader expects."""

import pytest

from mlxllm.conversation import OwnFormat, Report, examples, pairs, read_conversations, read_preferences
from mlxllm.tokenizer import train_tokenizer

pytestmark = pytest.mark.data

FORMAT = OwnFormat(train_tokenizer("byte", []))

SFT = {
    "alpaca_en_demo.json": (999, 0),
    "instruction-data.json": (1100, 0),
    "prompt_completion.jsonl": (144, 0),
    "sharegpt_dummy_conversation.json": (500, 0),
    "wikisql_text_valid.jsonl": (100, 0),
}
DPO = {
    "dpo_en_demo.json": (300, {}),
    "instruction-data-with-preference.json": (1100, {"identical pair": 6}),
}


@pytest.mark.parametrize("name", SFT)
def test_conversations(test_data, name):
    path = test_data / "sft" / name
    report = Report()
    found = list(examples(read_conversations([path], report), FORMAT, report))
    assert (report.used, report.dropped) == SFT[name]
    assert report.read == len(found) == len(list(read_conversations([path], Report())))
    answers = (
        (
            "".join(m.content + "<|end|>" for m in r.messages if m.role == "assistant")
            if hasattr(r, "messages")
            else r.text[1:] + "<|endoftext|>"
        )
        for r in read_conversations([path], Report())
    )
    decode = train_tokenizer("byte", []).decode
    for example, answer in zip(found, answers, strict=True):
        assert decode(example.token_ids[example.loss_mask]) == answer


@pytest.mark.parametrize("name", DPO)
def test_preferences(test_data, name):
    report = Report()
    found = list(pairs(read_preferences([test_data / "dpo" / name], report), FORMAT, report))
    read, dropped = DPO[name]
    assert report.read == read
    assert dict(report.problems.dropped) == dropped
    assert len(found) == report.used == read - sum(dropped.values())


def test_every_file_is_known(test_data):
    assert {path.name for path in (test_data / "sft").iterdir()} == set(SFT)
    assert {path.name for path in (test_data / "dpo").iterdir()} == set(DPO)
