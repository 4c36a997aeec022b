"""The engine process as a client sees it: one real process answers most of these tests, over lines of JSON."""

import json
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mlxllm.config import SampleConfig
from mlxllm.conversation import Message, OwnFormat
from mlxllm.explain.interventions import parse
from mlxllm.explain.xray import explain
from mlxllm.inference.generate import Token, generate
from mlxllm.model.loading import load_model
from tests.cli.tuned import tuned_run
from tests.inference.tiny import TOKENIZER, tiny, write_folder, writing_letters
from tests.model.tiny import VARIANTS

PATIENCE = 60.0
FORMAT = OwnFormat(TOKENIZER)
ENDLESS = {"temperature": 0, "max_tokens": 10**6}


class Process:
    """An engine process, its lines, and what was said on stderr."""

    def __init__(self, *command: str) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.popen = subprocess.Popen(command or (sys.executable, "-m", "mlxllm.inference.engine"), **pipes)
        self.lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.stderr = b""
        self._threads = [threading.Thread(target=read, daemon=True) for read in (self._read, self._read_stderr)]
        for thread in self._threads:
            thread.start()
        self.ready = self.reply()
        self._last_id = 0

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.lines.put(line)

    def _read_stderr(self) -> None:
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            self.stderr += line

    def write(self, line: bytes) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(line + b"\n")
        self.popen.stdin.flush()

    def send(self, op: str, **fields: Any) -> str:
        """Ask; returns the id."""
        self._last_id += 1
        self.write(json.dumps({"op": op, "id": f"r{self._last_id}", **fields}).encode())
        return f"r{self._last_id}"

    def reply(self) -> dict[str, Any]:
        """The next line."""
        reply: dict[str, Any] = json.loads(self.lines.get(timeout=PATIENCE))
        return reply

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """The one reply to a request."""
        asked = self.send(op, **fields)
        reply = self.reply()
        assert reply.pop("id") == asked
        return reply

    def answer(self, **fields: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The tokens of an answer, and its end."""
        asked = self.send("generate", **fields)
        return self.rest(asked)

    def rest(self, asked: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The tokens that are still to come, and the end."""
        tokens = []
        while (reply := self.reply())["event"] == "token":
            assert reply["id"] == asked
            tokens.append(reply)
        assert (reply["id"], reply["event"]) == (asked, "done"), reply
        return tokens, reply

    def ends(self) -> int:
        """Wait for its end; the exit code."""
        code = self.popen.wait(timeout=PATIENCE)
        for thread in self._threads:
            thread.join(timeout=PATIENCE)
        for stream in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            assert stream is not None
            stream.close()
        return code


@pytest.fixture(scope="module")
def engine() -> Iterator[Process]:
    process = Process()
    yield process
    process.send("shutdown")
    assert process.ends() == 0


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a model that writes letters."""
    return str(write_folder(tmp_path_factory.mktemp("models") / "letters", writing_letters()))


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run that was tuned to answer."""
    return str(tuned_run(tmp_path_factory.mktemp("runs")))


def in_process(model: str, ids: Sequence[int], stop_ids: Sequence[int], **sample: Any) -> list[Token]:
    loaded = load_model(model)
    return list(generate(loaded.model, TOKENIZER, ids, SampleConfig(**sample), stop_ids=stop_ids, logprobs=True))


def said(*turns: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(turns)]


def test_it_says_who_it_is(engine: Process) -> None:
    assert engine.ready == {"event": "ready", "pid": engine.popen.pid, "device": "cpu"}


def test_a_model_is_loaded_once_and_says_what_it_is(engine: Process, base: str, chat: str) -> None:
    (Path(chat) / "suggestions.json").write_text('["Who?"]')
    loaded = load_model(chat)
    assert engine.ask("load", model=f"{chat}@1") == {
        "event": "loaded",
        "model": f"{chat}@1",
        "adapter": None,
        "address": loaded.address,
        "kind": "chat",
        "name": "tuned",
        "step": 1,
        "history": ["base", "sft"],
        "fingerprint": loaded.fingerprint,
        "context": 64,
        "parameters": sum(array.size for _, array in _weights(loaded.model)),
        "suggestions": ["Who?"],
        "note": "",
    }
    folder = engine.ask("load", model=base)
    assert (folder["kind"], folder["step"], folder["history"]) == ("base", None, ["base"])
    assert (folder["name"], folder["suggestions"]) == ("letters", [])
    engine.answer(model=base, text="hello", sample={"max_tokens": 2, "seed": 0})
    assert engine.ask("load", model=base) == folder
    _, done = engine.answer(model=folder["address"], text="hello", sample={"max_tokens": 2, "seed": 0})
    assert done["cached_tokens"] == 4, "it is the same one, with what it has read"


def _weights(model: Any) -> list[tuple[str, Any]]:
    from mlx.utils import tree_flatten

    return list(tree_flatten(model.parameters()))


@pytest.mark.parametrize("text", ["Once upon", "", "né€ \n"])
def test_a_text_is_continued_as_by_generate(engine: Process, base: str, text: str) -> None:
    sample = {"temperature": 1.5, "top_k": 40, "max_tokens": 20, "seed": 11, "repetition_penalty": 1.2}
    ids = TOKENIZER.encode(text) or [TOKENIZER.eot_id]
    expected = in_process(base, ids, [TOKENIZER.eot_id], **sample)
    tokens, done = engine.answer(model=base, text=text, sample=sample)
    assert [(t["token_id"], t["text"]) for t in tokens] == [(t.id, t.text) for t in expected]
    assert [t["logprob"] for t in tokens] == pytest.approx([t.logprob for t in expected], abs=1e-4)
    assert "alternatives" not in tokens[0]
    assert done["text"] == "".join(t.text for t in expected)
    assert (done["finish_reason"], done["seed"], done["tokens"]) == ("length", 11, 20)
    assert (done["prompt_tokens"], done["context_used"], done["context"]) == (len(ids), len(ids) + 20, 64)
    assert done["tok_per_sec"] > 0 < done["time_to_first_token"]


def test_messages_go_through_the_chat_format(engine: Process, chat: str) -> None:
    turns = [{"role": "system", "content": "Be kind."}, *said("hi <|end|>", "yes", "who?")]
    sample = {"temperature": 2, "max_tokens": 200, "seed": 4}
    prompt = FORMAT.generation_prompt([Message(**turn) for turn in turns])
    expected = in_process(chat, prompt, FORMAT.stop_ids, **sample)
    tokens, done = engine.answer(model=chat, messages=turns, sample=sample)
    assert [t["token_id"] for t in tokens] == [t.id for t in expected]
    assert (done["text"], done["finish_reason"]) == ("".join(t.text for t in expected), "stop")
    assert done["prompt_tokens"] == len(prompt)
    turns += [{"role": "assistant", "content": done["text"]}, {"role": "user", "content": "and?"}]
    _, after = engine.answer(model=chat, messages=turns, sample=sample)
    assert after["cached_tokens"] == done["context_used"], "all of the turns before"


def test_alternatives_and_the_probability_of_what_was_chosen(engine: Process, base: str) -> None:
    tokens, _ = engine.answer(model=base, text="a", sample={"temperature": 0, "max_tokens": 5}, top=3)
    for token in tokens:
        pieces, probs = zip(*token["alternatives"], strict=True)
        assert len(pieces) == 3
        assert pieces[0] == token["piece"] == TOKENIZER.piece(token["token_id"])
        assert 1 >= probs[0] >= probs[1] >= probs[2] > 0
        assert 2.718281828 ** token["logprob"] == pytest.approx(probs[0], abs=1e-4)


def test_a_seed_is_drawn_where_none_is_given(engine: Process, base: str) -> None:
    first, second = (engine.answer(model=base, text="a", sample={"temperature": 2})[1] for _ in range(2))
    assert first["seed"] != second["seed"]
    again = engine.answer(model=base, text="a", sample={"temperature": 2, "seed": first["seed"]})[1]
    assert again["text"] == first["text"] != second["text"]


def test_a_stop_string_ends_the_text(engine: Process, base: str) -> None:
    _, free = engine.answer(model=base, text="a", sample={"temperature": 0, "max_tokens": 30})
    _, done = engine.answer(
        model=base, text="a", sample={"temperature": 0, "max_tokens": 30}, stop=[free["text"][9:12]]
    )
    assert (done["text"], done["finish_reason"]) == (free["text"][: free["text"].index(free["text"][9:12])], "stop")


def test_an_answer_is_cancelled_and_goes_on_where_it_was(engine: Process, base: str, chat: str) -> None:
    asked = engine.send("generate", model=base, text="Once", sample=ENDLESS)
    waiting = engine.send("generate", model=base, text="Once", sample=ENDLESS)
    begun = [engine.reply() for _ in range(5)]
    engine.send("cancel", target=waiting)
    engine.send("cancel", target=asked)
    rest, done = engine.rest(asked)
    text = "".join(token["text"] for token in begun + rest)
    assert (done["finish_reason"], done["text"], done["tokens"]) == ("cancelled", text, len(text))
    _, never = engine.rest(waiting)
    assert (never["finish_reason"], never["tokens"], never["text"]) == ("cancelled", 0, "")
    engine.send("cancel", target=asked)  # it has ended: no reply, no harm
    whole = "".join(
        t.text for t in in_process(base, TOKENIZER.encode("Once"), (), temperature=0, max_tokens=len(text) + 9)
    )
    _, more = engine.answer(model=base, text=f"Once{text}", sample={"temperature": 0, "max_tokens": 9})
    assert text + more["text"] == whole

    # An answer in a conversation: four tokens, and then the rest of it.
    _, cut = engine.answer(model=chat, messages=said("hi"), sample={"temperature": 0, "max_tokens": 4})
    _, at_once = engine.answer(model=chat, messages=said("hi"), sample={"temperature": 0, "max_tokens": 40})
    _, on = engine.answer(
        model=chat, messages=said("hi", cut["text"]), sample={"temperature": 0, "max_tokens": 36}, **{"continue": True}
    )
    assert cut["text"] + on["text"] == at_once["text"]


def test_tokens_of_texts_and_conversations(engine: Process, base: str, chat: str) -> None:
    assert engine.ask("tokenize", model=base, text="ab") == {
        "event": "tokens",
        "token_ids": TOKENIZER.encode("ab"),
        "pieces": ["a", "b"],
    }
    counted = engine.ask("tokenize", model=chat, messages=said("hi"))
    assert counted["token_ids"] == FORMAT.generation_prompt([Message("user", "hi")])
    assert counted["pieces"][0] == "<|user|>"


@pytest.mark.parametrize(
    ("line", "request_id", "told"),
    [
        ("what?", None, "a request is one JSON object a line, and this line is no JSON: Expecting value"),
        ("[1]", None, "a request is a JSON object, and this line holds [1]"),
        ("[" * 100_000, None, "this line is no JSON: maximum recursion depth"),
        (
            '{"id": "x"}',
            "x",
            "there is no 'op'; a request has one of load, generate, tokenize, explain, cancel, shutdown",
        ),
        ('{"op": "sing", "id": "x"}', "x", 'there is no op "sing"; a request has one of load'),
        ('{"op": "load", "id": "x"}', "x", "load: 'model' is missing"),
        ('{"op": "load", "id": 7, "model": "m"}', None, "load: 'id' is 7; it should be a valid string"),
        ('{"op": "load", "id": "x", "model": "m", "modle": 1}', "x", "load: there is no field 'modle'; known are id"),
        ('{"op": "load", "id": "x", "model": "nobody"}', "x", "there is no run 'nobody'"),
        ('{"op": "load", "id": "x", "model": "BASE", "adapter": "none"}', "x", "there is no adapter 'none'"),
        (
            '{"op": "generate", "id": "x", "model": "BASE"}',
            "x",
            "has either 'messages' or 'text', and this one has neither",
        ),
        ('{"op": "generate", "id": "x", "model": "BASE", "text": "a", "messages": []}', "x", "and this one has both"),
        ('{"op": "generate", "id": "x", "model": "CHAT", "messages": []}', "x", "there are no messages to answer"),
        ('{"op": "generate", "id": "x", "model": "BASE", "text": "\\ud800"}', "x", "holds the lone surrogate U+D800"),
        ('{"op": "generate", "id": "x", "model": "BASE", "text": "a", "stop": [""]}', "x", "a stop string is empty"),
        ('{"op": "generate", "id": "x", "model": "BASE", "text": "a", "top": 51}', "x", "less than or equal to 50"),
        (
            '{"op": "generate", "id": "x", "model": "BASE", "text": "a", "sample": {"temperature": 1000}}',
            "x",
            "generate: 'sample.temperature' is 1000; it should be from 0 to 100",
        ),
        (
            '{"op": "generate", "id": "x", "model": "BASE", "text": "a", "sample": {"max_tokens": "9"}}',
            "x",
            "generate: 'sample.max_tokens' is \"9\"; it should be a valid integer",
        ),
        (
            '{"op": "generate", "id": "x", "model": "BASE", "text": "a", "sample": {"heat": 1}}',
            "x",
            "generate: there is no field 'sample.heat'; known are temperature, top_k",
        ),
        (
            '{"op": "generate", "id": "x", "model": "BASE", "messages": [{"role": "user", "content": "a"}]}',
            "x",
            "is a base model, which has not been tuned to answer; give it a text to continue",
        ),
        (
            '{"op": "generate", "id": "x", "model": "CHAT", "messages": [{"role": "bear", "content": "a"}]}',
            "x",
            "generate: 'messages.0.role' is \"bear\"; it should be 'system', 'user'",
        ),
        (
            '{"op": "generate", "id": "x", "model": "CHAT", "messages": [{"role": "assistant", "content": "a"}]}',
            "x",
            "the last message is the assistant's already",
        ),
        (
            '{"op": "generate", "id": "x", "continue": true, "model": "CHAT", "messages": [{"role":"user","content":"a"}]}',
            "x",
            "there is no answer to go on with",
        ),
    ],
)
def test_bad_requests_are_one_sentence(
    engine: Process, base: str, chat: str, line: str, request_id: str | None, told: str
) -> None:
    engine.write(line.replace('"BASE"', json.dumps(base)).replace('"CHAT"', json.dumps(chat)).encode())
    reply = engine.reply()
    assert (reply["event"], reply["id"]) == ("error", request_id)
    assert told in reply["message"]
    assert "\n" not in reply["message"]
    assert engine.answer(model=base, text="a", sample={"max_tokens": 1})[1]["tokens"] == 1, "it lives on"


def test_a_long_text_is_refused_or_remarked_on(engine: Process, base: str, tmp_path: Path) -> None:
    one = {"max_tokens": 1}
    notes = [engine.answer(model=base, text="a" * 65, sample=one)[1]["note"] for _ in range(2)]
    assert notes[0].startswith("the text has 65 tokens and the model was made for 64: it goes on, but")
    assert notes[1] == "", "said once"
    learned = str(write_folder(tmp_path / "learned", tiny(**VARIANTS["gpt2"])))
    refused = engine.ask("generate", model=learned, text="a" * 65, sample=one)
    assert refused["message"].startswith("the text has 65 tokens, but this model's learned positions end after 64")
    _, full = engine.answer(model=learned, text="a" * 60, sample={"max_tokens": 50, "seed": 1}, stop=["\0"])
    assert full["tokens"] <= 5
    assert full["finish_reason"] == "stop" or "positions end after 64" in full["note"]


def test_weights_that_are_not_numbers_are_said_to_be_so(engine: Process, tmp_path: Path) -> None:
    model = tiny()
    model.model.norm.weight = model.model.norm.weight * float("nan")
    told = engine.ask("generate", model=str(write_folder(tmp_path / "nan", model)), text="a")
    assert told["message"].startswith("the model's logits are not numbers (NaN)")


def test_a_model_whose_files_have_changed_is_loaded_anew(engine: Process, tmp_path: Path) -> None:
    folder, fresh = write_folder(tmp_path / "m", writing_letters(1)), write_folder(tmp_path / "n", writing_letters(2))
    before = engine.ask("load", model=str(folder))
    _, first = engine.answer(model=str(folder), text="hi", sample={"temperature": 0, "max_tokens": 9})
    shutil.rmtree(folder)
    fresh.rename(folder)
    _, kept = engine.answer(model=str(folder), text="hi", sample={"temperature": 0, "max_tokens": 9})
    assert kept["text"] == first["text"], "a conversation goes on with the model that it began with"
    after = engine.ask("load", model=str(folder))
    assert after["fingerprint"] != before["fingerprint"]
    _, second = engine.answer(model=str(folder), text="hi", sample={"temperature": 0, "max_tokens": 9})
    assert second["text"] != first["text"]


def test_ctrl_c_does_not_end_it_and_the_end_of_stdin_does(base: str) -> None:
    process = Process()
    process.popen.send_signal(signal.SIGINT)
    asked = process.send("generate", model=base, text="a", sample=ENDLESS)
    process.send("generate", model=base, text="a", sample=ENDLESS)
    assert process.reply()["id"] == asked
    process.popen.send_signal(signal.SIGINT)
    assert process.reply()["event"] == "token"
    assert process.popen.stdin is not None
    process.popen.stdin.close()
    assert process.ends() == 0
    *_, last = (json.loads(process.lines.get()) for _ in range(process.lines.qsize()))
    assert (last["event"], last["id"], last["finish_reason"]) == ("done", asked, "cancelled")
    assert process.stderr == b""


@pytest.mark.parametrize("when", ["idle", "answering"])
def test_sigterm_ends_it_without_a_traceback(base: str, when: str) -> None:
    process = Process()
    if when == "answering":
        process.send("generate", model=base, text="a", sample=ENDLESS)
        process.reply()
    process.popen.terminate()
    assert process.ends() == 143
    assert process.stderr == b""


def test_it_ends_when_nobody_listens(base: str) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-m", "mlxllm.inference.engine"], **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"ready" in process.stdout.readline()
        process.stdout.close()
        request = {"op": "generate", "id": "x", "model": base, "text": "a", "sample": ENDLESS}
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        assert process.wait(timeout=PATIENCE) == 0
        assert process.stderr.read() == b""


def test_what_libraries_print_is_no_reply_and_what_goes_wrong_inside_is_survived(base: str) -> None:
    program = """
import os, sys
from mlxllm.inference import engine
load = engine.Models.load
def noisy(self, name, adapter=None):
    print("printed", flush=True)
    os.system("echo from a child")
    if name == "boom":
        raise RuntimeError("[malloc] Unable to\\n allocate")
    return load(self, name, adapter)
engine.Models.load = noisy
sys.exit(engine.main())
"""
    process = Process(sys.executable, "-c", program)
    reply = process.ask("load", model="boom")
    assert reply["message"] == (
        "the engine could not do that (RuntimeError: [malloc] Unable to allocate); its log has more"
    )
    assert process.answer(model=base, text="a", sample={"max_tokens": 2})[1]["tokens"] == 2
    process.send("shutdown")
    assert process.ends() == 0
    assert process.stderr.count(b"printed\n") == process.stderr.count(b"from a child\n") == 2
    assert b"Traceback" in process.stderr


def test_a_prompt_is_explained_as_the_command_does_it(engine: Process, base: str, chat: str) -> None:
    changes = ["head:0.1", "patch:0@some dog", "temperature:0.5"]
    reply = engine.ask("explain", model=base, text="hello", changes=changes, shuffle=3, maps=[1], neighbours=2, top=4)
    assert reply.pop("event") == "explained"
    loaded = load_model(base)
    expected = explain(
        loaded,
        TOKENIZER.encode("hello"),
        text="hello",
        changes=parse(changes),
        shuffle=3,
        maps=[1],
        near=2,
        top=4,
    ).as_json()
    assert reply["explanation"] == {**json.loads(json.dumps(expected)), "model": base}
    # A question, and that of its patch, stand in the chat template.
    asked = engine.ask("explain", model=chat, messages=said("hi"), changes=["patch:1@ho"], maps=[])["explanation"]
    ids = FORMAT.generation_prompt([Message("user", "hi")])
    assert [token["id"] for token in asked["tokens"]] == ids
    assert (asked["maps"], asked["text"]) == ({}, "hi")
    other = engine.ask("explain", model=chat, messages=said("ho"))["explanation"]
    assert list(other["maps"]) == ["0", "1"]
    assert [each["id"] for each in other["next"]["top"]][:1] == [each["id"] for each in asked["next"]["top"]][:1]
    assert "at most 256 are walked through" in engine.ask("explain", model=base, text="a" * 300)["message"]
    assert (
        "no intervention; give head:LAYER.HEAD" in engine.ask("explain", model=base, text="a", changes=["x"])["message"]
    )


def test_an_explanation_that_is_wanted_no_longer_is_not_begun(engine: Process, base: str) -> None:
    first = engine.send("generate", model=base, text="hello", sample=ENDLESS)
    second = engine.send("explain", model=base, text="hello")
    engine.send("cancel", target=second)
    engine.send("cancel", target=first)
    engine.rest(first)
    assert engine.reply() == {"event": "error", "id": second, "message": "cancelled"}
