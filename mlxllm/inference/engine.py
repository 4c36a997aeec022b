"""The engine process: `python -m mlxllm.inference.engine` answers requests, one JSON object a line, on stdin and stdout.

What may be asked is in `engine_requests`. Every reply carries the `id` of its request:

    ready      pid, device: the first line
    loaded     model, address, name, kind (base or chat), step, history, fingerprint, context, parameters, suggestions, ...
    token      text, token_id, logprob; with `top` also piece, and alternatives [[piece, probability], ...]
    done       text, finish_reason (stop, length or cancelled), tokens, tok_per_sec, time_to_first_token, seed, ...
    tokens     token_ids, pieces
    explained  explanation: what `mlxllm explain --json` prints
    error      message: one sentence; the process lives on

The tokens' texts joined are the beginning of the text in `done`, which is the answer as it stands. The main thread alone
touches MLX, since its streams belong to the thread that made them; another one reads, so that `cancel` is heard between
two tokens. The end of stdin ends the process: whoever asked is gone.
"""

import argparse
import json
import math
import os
import queue
import secrets
import signal
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import FrameType
from typing import Any

from mlxllm.errors import EXIT_OK, EXIT_SIGTERM, UserError
from mlxllm.inference.engine_explaining import explanation
from mlxllm.inference.engine_models import HeldModel, Models, Prompt
from mlxllm.inference.engine_requests import (
    BadRequestError,
    Cancel,
    Explain,
    Generate,
    Load,
    Request,
    Shutdown,
    Tokenize,
    parse_request,
)
from mlxllm.inference.generate import Generation, Token
from mlxllm.inference.session import whole_characters
from mlxllm.model.hf_folder import BASE
from mlxllm.model.module import named_parameters
from mlxllm.runs.suggestions import read_suggestions
from mlxllm.runtime import device_info, select_device

MOST_LINE_BYTES = 64 << 20
"""A longer line is no conversation."""


class Replies:
    """The way out: one line a reply, from any thread."""

    def __init__(self, descriptor: int) -> None:
        """Write to this file descriptor."""
        self._descriptor, self._lock = descriptor, threading.Lock()

    def say(self, event: str, request_id: str | None, **fields: Any) -> None:
        """Write one reply.

        Raises:
            OSError: nobody listens any more.
        """
        about = {"id": request_id} if event != "ready" else {}
        line = json.dumps({"event": event, **about, **fields}, allow_nan=False).encode() + b"\n"
        with self._lock:
            while line:
                line = line[os.write(self._descriptor, line) :]


class Requests:
    """The way in: what has come and not been done yet, and what of it is wanted no longer."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Load | Generate | Tokenize | Explain | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._open: set[str] = set()
        self._cancelled: set[str] = set()
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Load | Generate | Tokenize | Explain]:
        """Each request in turn, until `close`."""
        while (request := self._queue.get()) is not None and not self._closed.is_set():
            yield request
            with self._lock:
                self._open.discard(request.id)
                self._cancelled.discard(request.id)

    def add(self, request: Request) -> None:
        """Take in one request; `cancel` and `shutdown` work at once, the others wait for those before them."""
        if isinstance(request, Shutdown):
            self.close()
        elif isinstance(request, Cancel):
            with self._lock:
                if request.target in self._open:
                    self._cancelled.add(request.target)
        else:
            with self._lock:
                self._open.add(request.id)
            self._queue.put(request)

    def close(self) -> None:
        """Nothing more comes, and what has come is wanted no longer."""
        self._closed.set()
        self._queue.put(None)

    def unwanted(self, request_id: str) -> bool:
        """Whether a request shall end."""
        return self._closed.is_set() or request_id in self._cancelled


class Engine:
    """Does what is asked, with the models that it holds."""

    def __init__(self, requests: Requests, replies: Replies) -> None:
        """Begin without a model."""
        self._requests, self._replies = requests, replies
        self._models = Models()

    def run(self) -> None:
        """Answer until the requests end.

        Raises:
            OSError: nobody listens any more.
        """
        for request in self._requests:
            try:
                if isinstance(request, Load):
                    self._load(request)
                elif isinstance(request, Generate):
                    self._generate(request)
                elif isinstance(request, Explain):
                    self._explain(request)
                else:
                    self._tokenize(request)
            except BrokenPipeError:
                raise
            except UserError as error:
                self._replies.say("error", request.id, message=str(error))
            except Exception as error:
                traceback.print_exc()
                told = " ".join(f"{type(error).__name__}: {error}".split())
                self._replies.say(
                    "error", request.id, message=f"the engine could not do that ({told}); its log has more"
                )

    def _load(self, request: Load) -> None:
        held = self._models.load(request.model, request.adapter)
        loaded = held.loaded
        of_run = loaded.step is not None
        self._replies.say(
            "loaded",
            request.id,
            model=request.model,
            adapter=str(loaded.adapter.absolute()) if loaded.adapter is not None else None,
            address=loaded.address,
            kind="base" if loaded.kind == BASE else "chat",
            name=loaded.path.absolute().parent.parent.name if of_run else loaded.path.absolute().name,
            step=loaded.step,
            history=list(loaded.history),
            fingerprint=loaded.fingerprint,
            context=loaded.config.max_position_embeddings,
            parameters=sum(array.size for array in named_parameters(loaded.model).values()),
            suggestions=read_suggestions(loaded.path.parent.parent) if of_run else [],
            note=loaded.note,
        )

    def _generate(self, request: Generate) -> None:
        held = self._models.get(request.model, request.adapter)
        prompt = held.prompt(request, go_on=request.go_on)
        note = held.length.check(len(prompt.ids))
        sample = request.sample
        if "seed" not in sample.model_fields_set:
            sample = sample.model_copy(update={"seed": secrets.randbelow(2**32)})
        generation = held.session.generate(
            prompt.ids,
            sample,
            stop=request.stop,
            stop_ids=prompt.stop_ids,
            logprobs=True,
            alternatives=request.top,
            interrupted=lambda: self._requests.unwanted(request.id),
        )
        tokens: list[Token] = []
        try:
            if not self._requests.unwanted(request.id):
                self._stream(request, held, generation, tokens)
        finally:
            generation.close()
        self._finish(request, held, prompt, generation, tokens, note, sample.seed)

    def _stream(self, request: Generate, held: HeldModel, generation: Generation, tokens: list[Token]) -> None:
        """Tell each token as it comes, and keep it in `tokens`, until the end or until it is wanted no longer."""
        piece = held.loaded.tokenizer.piece
        for token in generation:
            tokens.append(token)
            asked: dict[str, Any] = {}
            if request.top:
                asked["piece"] = piece(token.id)
                asked["alternatives"] = [[piece(i), float(f"{prob:.4g}")] for i, prob in token.alternatives]
            logprob = token.logprob if token.logprob is not None and math.isfinite(token.logprob) else None
            self._replies.say("token", request.id, text=token.text, token_id=token.id, logprob=logprob, **asked)
            if self._requests.unwanted(request.id):
                return

    def _finish(
        self,
        request: Generate,
        held: HeldModel,
        prompt: Prompt,
        generation: Generation,
        tokens: list[Token],
        note: str,
        seed: int,
    ) -> None:
        reason, stats = (tokens[-1].finish_reason if tokens else None), generation.stats
        text = "".join(token.text for token in tokens)
        if reason != "stop":
            # Text that was held back, as it might have become a stop string, belongs to it; half a character does not.
            ids = whole_characters(held.loaded.tokenizer, [token.id for token in tokens])
            text = held.loaded.tokenizer.decode_continued(ids)
            held.remember(prompt, text, ids)
        self._replies.say(
            "done",
            request.id,
            text=text,
            finish_reason=reason or "cancelled",
            prompt_tokens=stats.prompt_tokens,
            cached_tokens=stats.cached_tokens,
            tokens=len(tokens),
            tok_per_sec=stats.tok_per_sec,
            time_to_first_token=stats.time_to_first_token,
            context_used=len(prompt.ids) + len(tokens),
            context=held.loaded.config.max_position_embeddings,
            seed=seed,
            note="; ".join(filter(None, (note, stats.note))),
        )

    def _tokenize(self, request: Tokenize) -> None:
        held = self._models.get(request.model, request.adapter)
        ids = held.prompt(request).ids
        pieces = [held.loaded.tokenizer.piece(i) for i in ids]
        self._replies.say("tokens", request.id, token_ids=ids, pieces=pieces)

    def _explain(self, request: Explain) -> None:
        if self._requests.unwanted(request.id):
            self._replies.say("error", request.id, message="cancelled")
            return
        held = self._models.get(request.model, request.adapter)
        self._replies.say("explained", request.id, explanation=explanation(held, request))


def lines_of(descriptor: int) -> Iterator[bytes]:
    """The lines that come from a file descriptor, the last one also without its end.

    Raises:
        BadRequestError: a line is too long; the iterator has ended then.
    """
    # Not `sys.stdin`: a thread that waits inside it holds a lock that the interpreter wants when it ends.
    held = bytearray()
    while chunk := os.read(descriptor, 1 << 16):
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            yield bytes(held) + line
            held.clear()
        held += rest
        if len(held) > MOST_LINE_BYTES:
            raise BadRequestError(
                f"a line is longer than {MOST_LINE_BYTES >> 20} MiB; the engine ends, as it lost its place"
            )
    if held:
        yield bytes(held)


def read_requests(lines: Iterable[bytes], requests: Requests, replies: Replies) -> None:
    """Take in line by line, for as long as there are any and somebody listens."""
    with suppress(OSError):
        try:
            for line in lines:
                try:
                    if line.strip():
                        requests.add(parse_request(line))
                except BadRequestError as error:
                    replies.say("error", error.request_id, message=str(error))
        except BadRequestError as error:
            replies.say("error", None, message=str(error))
    requests.close()


def main() -> int:
    """Run the process; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m mlxllm.inference.engine", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--device", choices=("cpu", "gpu"), help="by default the GPU, if any")
    device = parser.parse_args().device
    # Only replies may go to stdout, whatever a library prints there: what it has from now on is stderr.
    replies = Replies(os.dup(1))
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program that asks
    signal.signal(signal.SIGTERM, _leave)
    try:
        select_device(device)
        replies.say("ready", None, pid=os.getpid(), device=device_info().device)
        requests = Requests()
        reader = threading.Thread(target=read_requests, args=(lines_of(0), requests, replies), daemon=True)
        reader.start()
        Engine(requests, replies).run()
    except BrokenPipeError:
        pass  # whoever asked is gone
    return EXIT_OK


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(EXIT_SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
