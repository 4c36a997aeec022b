"""A stand-in for the engine process that needs no model: same lines, answers by rule, and mishaps when asked for.

    EngineClient(scripted("--rate", "200"))

The answer to a request is a function of its last message (or text), its model and its seed. A model is what its name
says: one with "base" in it continues texts, others answer; `@N` at its end is its step; `missing` in it means that there
is none, `older` that its newest checkpoint cannot be read.
"""

import argparse
import json
import os
import queue
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any

CONTEXT = 1024
SUGGESTIONS = ["Who is Tom?", "Tell me a story."]


def scripted(*options: str) -> list[str]:
    """The command for `EngineClient`; the options are those of `main`."""
    return [sys.executable, str(Path(__file__).resolve()), *options]


def words_of(model: str, asked: str, seed: int, count: int, answer: str | None = None) -> list[str]:
    """The tokens of an answer: `count` words, or the words of `answer`."""
    told = answer or " ".join([f"{model} heard {asked!r} with seed {seed}:", *(f"word{n}" for n in range(count))])
    return re.findall(r"\s*\S+\s*$|\s*\S+", told)[: None if answer else count]


def main() -> None:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=int, default=20, help="how many an answer has")
    parser.add_argument("--rate", type=float, default=0, help="tokens a second; 0 is as fast as it goes")
    parser.add_argument("--answer", help="what is always answered")
    parser.add_argument("--answer-to", metavar="WORD", default="", help="it is, where the prompt holds this")
    parser.add_argument("--load-seconds", type=float, default=0)
    parser.add_argument("--start-seconds", type=float, default=0, help="before it says that it is ready")
    parser.add_argument("--pause", nargs=2, metavar=("N", "FILE"), help="after N answers it waits until FILE is there")
    parser.add_argument("--die-after", type=int, help="it kills itself (signal 9) after so many tokens of an answer")
    parser.add_argument("--exit-at-start", metavar="WHY", help="it says why on stderr and exits with 3")
    parser.add_argument("--deaf", action="store_true", help="it ignores shutdown, the end of stdin, and SIGTERM")
    parser.add_argument("--noise", action="store_true", help="lines that are no protocol, and very long ones")
    options = parser.parse_args()
    if options.exit_at_start:
        sys.exit(_complain(options.exit_at_start))
    if options.deaf:
        import signal

        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(options.start_seconds)
    Script(options).run()


def _complain(why: str) -> int:
    sys.stderr.write(f"{why}\n")
    return 3


class Script:
    """What it says."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.requests: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.cancelled: set[str] = set()
        self.over = False
        self.answers = 0

    def say(self, event: str, **fields: Any) -> None:
        os.write(1, json.dumps({"event": event, **fields}).encode() + b"\n")

    def run(self) -> None:
        if self.options.noise:
            os.write(1, b"Warning: not JSON\n[1, 2]\n" + b"[" * 100_000 + b'\n{"event": "token", "id": "nobody"}\n')
        self.say("ready", pid=os.getpid(), device="cpu")
        threading.Thread(target=self.read, daemon=True).start()
        while (request := self.requests.get()) is not None:
            if "missing" in request["model"]:
                long = " and again" * 100_000 if self.options.noise else ""
                self.say("error", id=request["id"], message=f"there is no run {request['model']!r}{long}")
            else:
                getattr(self, request["op"])(request)
        if self.options.deaf:
            threading.Event().wait()

    def read(self) -> None:
        for line in iter(sys.stdin.buffer.readline, b""):
            request = json.loads(line)
            if request["op"] == "cancel":
                self.cancelled.add(request["target"])
            elif request["op"] == "shutdown":
                break
            else:
                self.requests.put(request)
        self.over = True
        self.requests.put(None)

    def load(self, request: dict[str, Any]) -> None:
        time.sleep(self.options.load_seconds)
        model, _, step = request["model"].partition("@")
        number = int(step) if step.isdecimal() else 100
        history = ["base", "sft", "dpo"][: 1 if "base" in model else 2 if "sft" in model else 3]
        self.say(
            "loaded",
            id=request["id"],
            model=request["model"],
            adapter=request.get("adapter"),
            address=f"{model}@{number}",
            kind="base" if history == ["base"] else "chat",
            name=model,
            step=number,
            history=history,
            fingerprint=f"{model}@{number}".encode().hex().ljust(64, "0")[:64],
            context=CONTEXT,
            parameters=1_000_000,
            suggestions=[] if history == ["base"] else SUGGESTIONS,
            note=f"the checkpoint of step {number} is used: the newest is damaged" if "older" in model else "",
        )

    def tokenize(self, request: dict[str, Any]) -> None:
        pieces = _asked(request).split(" ")
        self.say("tokens", id=request["id"], token_ids=list(range(len(pieces))), pieces=pieces)

    def generate(self, request: dict[str, Any]) -> None:
        options, asked, begun = self.options, _asked(request), time.monotonic()
        self.answers += 1
        while options.pause and self.answers > int(options.pause[0]) and not Path(options.pause[1]).exists():
            time.sleep(0.01)
        sample = request.get("sample", {})
        seed, most = sample.get("seed", 7), sample.get("max_tokens", 10**9)
        answer = options.answer if options.answer_to in asked else None
        words = words_of(request["model"], asked, seed, options.tokens, answer)
        said: list[str] = []
        reason = "length" if len(words) > most else "stop"
        for number, word in enumerate(words[:most]):
            if number == options.die_after:
                os.kill(os.getpid(), 9)
            if request["id"] in self.cancelled or self.over:
                reason = "cancelled"
                break
            said.append(word)
            self.say("token", id=request["id"], text=word, token_id=number, logprob=-0.5, **_beside(request, word))
            if options.rate:
                time.sleep(max(0.0, begun + (number + 1) / options.rate - time.monotonic()))
        used = len(asked.split()) + len(said)
        seconds = max(time.monotonic() - begun, 1e-3)
        self.say(
            "done",
            id=request["id"],
            text="".join(said),
            finish_reason=reason,
            prompt_tokens=used - len(said),
            cached_tokens=0,
            tokens=len(said),
            tok_per_sec=len(said) / seconds,
            time_to_first_token=0.001,
            context_used=used,
            context=CONTEXT,
            seed=seed,
            note="",
        )


def _asked(request: dict[str, Any]) -> str:
    messages = request.get("messages")
    return str(messages[-1]["content"] if messages else request.get("text"))


def _beside(request: dict[str, Any], word: str) -> dict[str, Any]:
    """The alternatives of a token: itself, and made-up ones that are less and less likely."""
    if not request.get("top"):
        return {}
    return {"piece": word, "alternatives": [[word if n == 0 else f" or{n}", 0.6 / 2**n] for n in range(request["top"])]}


if __name__ == "__main__":
    main()
