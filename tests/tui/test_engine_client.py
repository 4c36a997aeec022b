"""The client of the engine process: answers in batches, deaths and restarts; scripted, and once with the real one."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxllm import paths
from tests.inference.tiny import write_folder, writing_answers, writing_letters
from tests.tui.harness import PATIENCE
from tests.tui.scripted_engine import CONTEXT, scripted, words_of
from tui.engine import EngineClient, State
from tui.engine_replies import Answer, AnswerToken, EngineError

HELLO = [{"role": "user", "content": "hello"}]


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {condition}"
        await asyncio.sleep(0.01)


async def streamed(answer: Answer, least: int = 10**9) -> list[AnswerToken]:
    """All tokens of an answer, or at least so many of them."""
    tokens: list[AnswerToken] = []
    while len(tokens) < least and not answer.finished:
        await asyncio.sleep(0.01)
        tokens += answer.drain()
    return tokens + answer.drain()


async def test_the_real_engine_answers_and_a_killed_one_is_started_again(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "tiny", writing_answers())
    engine, states = EngineClient(), list[State]()
    engine.listen(states.append)
    assert engine.state == "off"
    loaded = await engine.load(str(folder))
    assert (loaded.kind, loaded.name, loaded.history, loaded.context) == ("base", "tiny", ["base"], 64)
    sample = {"temperature": 2, "max_tokens": 8, "seed": 3}
    answer = engine.generate(str(folder), text="hi", sample=sample, top=2)
    tokens = await streamed(answer)
    done = await answer.done
    assert done.seed == 3
    assert done.text.startswith("".join(token.text for token in tokens))
    assert all(len(token.alternatives) == 2 and token.piece for token in tokens)
    assert len(tokens) == done.tokens > 1
    assert states == ["starting", "busy", "ready", "busy", "ready"]

    endless = write_folder(tmp_path / "endless", writing_letters())
    long = engine.generate(str(endless), text="hi", sample={"max_tokens": 10**6, "temperature": 0})
    await until(long.drain)
    first = engine.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    with pytest.raises(EngineError) as error:
        await long.done
    assert str(error.value) == "the engine process was killed (signal 9); your next message starts it again"
    assert (engine.state, engine.died_of, engine.pid) == ("dead", str(error.value), None)

    again = engine.generate(str(folder), text="hi", sample=sample)
    assert (await again.done).text == done.text
    assert engine.pid not in (None, first)
    assert await engine.tokenize(str(folder), text="hi") == await engine.tokenize(loaded.address, text="hi")
    begun = time.monotonic()
    await engine.close()
    assert time.monotonic() - begun < 2
    assert engine.state == "off"


async def test_a_flood_comes_in_batches_and_holds_nobody() -> None:
    engine = EngineClient(scripted("--tokens", "5000"))
    answer = engine.generate("chat", messages=HELLO, sample={"seed": 1})
    gaps, tokens, batches, last = list[float](), list[AnswerToken](), 0, time.perf_counter()
    while not answer.finished:
        await asyncio.sleep(0.01)
        now = time.perf_counter()
        gaps.append(now - last)
        last = now
        batches += bool(fresh := answer.drain())
        tokens += fresh
    tokens += answer.drain()
    assert [token.text for token in tokens] == words_of("chat", "hello", 1, 5000)
    assert "".join(token.text for token in tokens) == (await answer.done).text
    assert batches < 5000 / 4
    # The middle one: a busy machine holds up some of them, whoever is to blame.
    assert sorted(gaps)[len(gaps) // 2] < 0.05
    await engine.close()


async def test_a_request_reaches_the_engine_as_it_was_made() -> None:
    engine = EngineClient(scripted())
    done = await engine.generate("base", text="Once", sample={"seed": 5, "max_tokens": 3}, top=2).done
    assert (done.text, done.finish_reason, done.seed, done.context) == ("base heard 'Once'", "length", 5, CONTEXT)
    loaded = await engine.load("words-sft")
    assert (loaded.address, loaded.kind, loaded.step, loaded.suggestions[0]) == (
        "words-sft@100",
        "chat",
        100,
        "Who is Tom?",
    )
    # The run may go on: the name still means the checkpoint that was loaded.
    assert (await engine.generate("words-sft", messages=HELLO).done).text.startswith("words-sft@100 heard 'hello'")
    assert (await engine.tokenize("base", text="a b")).pieces == ["a", "b"]
    both = [engine.generate("a", text="x", sample={"seed": seed}) for seed in (1, 2)]
    texts = [(await answer.done).text for answer in both]
    assert "seed 1" in texts[0]
    assert "seed 2" in texts[1]
    with pytest.raises(EngineError, match="there is no run 'missing'"):
        await engine.load("missing")
    await engine.close()


async def test_an_answer_is_cancelled_early_late_and_by_whoever_waits() -> None:
    engine = EngineClient(scripted("--rate", "200", "--tokens", "100000"))
    early = engine.generate("chat", messages=HELLO)
    early.cancel()
    assert (await early.done).finish_reason == "cancelled"
    late = engine.generate("chat", messages=HELLO)
    queued = engine.generate("chat", messages=HELLO)
    tokens = await streamed(late, least=5)
    queued.cancel()
    late.cancel()
    done = await late.done
    tokens += late.drain()
    assert (done.finish_reason, done.tokens, done.text) == (
        "cancelled",
        len(tokens),
        "".join(token.text for token in tokens),
    )
    assert (await queued.done).tokens == 0
    late.cancel()  # it is over: nothing happens
    waited_for = engine.generate("chat", messages=HELLO)
    waiter = asyncio.ensure_future(waited_for.done)
    await streamed(waited_for, least=1)
    waiter.cancel()
    await until(lambda: engine.state == "ready")
    assert waited_for.cancelled
    await engine.close()


async def test_death_in_mid_answer_is_said_and_the_next_message_works() -> None:
    engine, states = EngineClient(scripted("--die-after", "5")), list[State]()
    stop_listening = engine.listen(states.append)
    await engine.load("chat")
    for _ in range(2):
        answer, waiting = (engine.generate("chat", messages=HELLO) for _ in range(2))
        tokens = await streamed(answer)
        assert len(tokens) == 5, "what came before is kept"
        for each in (answer, waiting):
            with pytest.raises(EngineError, match=r"^the engine process was killed \(signal 9\); your next message"):
                await each.done
        assert engine.state == "dead"
    await asyncio.sleep(0)
    assert states == ["starting", "busy", "ready", "busy", "dead", "starting", "busy", "dead"]
    stop_listening()
    short = await engine.generate("chat", messages=HELLO, sample={"max_tokens": 3}).done
    assert short.text == "chat@100 heard 'hello'"
    assert len(states) == 8
    await engine.close()


async def test_death_while_nobody_asks_is_seen() -> None:
    engine = EngineClient(scripted())
    await engine.load("chat")
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGTERM)
    await until(lambda: engine.state == "dead")
    assert engine.died_of == "the engine process was killed (signal 15); your next message starts it again"
    assert (await engine.generate("chat", messages=HELLO).done).finish_reason == "stop"
    await engine.close()
    assert engine.died_of == ""


async def test_an_engine_that_cannot_start_says_why() -> None:
    engine = EngineClient(scripted("--exit-at-start", "No module named 'mlx'"))
    with pytest.raises(EngineError) as error:
        await engine.load("chat")
    told = "the engine process ended with exit code 3 (No module named 'mlx'); your next message starts it again"
    assert str(error.value) == told
    assert "No module" in (paths.folder("cache") / "engine.log").read_text()
    engine = EngineClient(["/nowhere/python"])
    with pytest.raises(EngineError, match="the engine process cannot be started: No such file"):
        await engine.generate("chat", messages=HELLO).done
    assert engine.state == "dead"
    await engine.close()
    assert engine.state == "off"


async def test_lines_that_are_no_protocol_and_very_long_ones_do_no_harm() -> None:
    engine = EngineClient(scripted("--noise"))
    with pytest.raises(EngineError, match="there is no run 'missing' and again") as error:
        await engine.load("missing")
    assert len(str(error.value)) > 1_000_000
    assert (await engine.generate("chat", messages=HELLO).done).finish_reason == "stop"
    await engine.close()


async def test_a_deaf_engine_is_killed_within_two_seconds() -> None:
    engine = EngineClient(scripted("--deaf", "--rate", "100", "--tokens", "100000"))
    answer = engine.generate("chat", messages=HELLO)
    await streamed(answer, least=1)
    pid, begun = engine.pid, time.monotonic()
    assert pid is not None
    await engine.close()
    assert time.monotonic() - begun < 2
    assert (await answer.done).finish_reason == "cancelled"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert (engine.state, engine.died_of) == ("off", "")


async def test_closing_before_anything_was_sent() -> None:
    engine = EngineClient(scripted())
    await engine.close()
    answer = engine.generate("chat", messages=HELLO)
    await engine.close()
    with pytest.raises(EngineError, match="the engine process was closed"):
        await answer.done
    assert (engine.state, engine.pid) == ("off", None)


async def test_a_home_that_cannot_be_written_is_no_hindrance(mlxllm_home: Path) -> None:
    (mlxllm_home / "cache").write_text("a file where the folder should be")
    engine = EngineClient(scripted())
    assert (await engine.generate("chat", messages=HELLO).done).finish_reason == "stop"
    await engine.close()
