"""Judges that are programs: those that behave, and those that do not, as real processes."""

import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mlxllm.conversation.records import Message
from mlxllm.errors import ConfigError, DataError
from mlxllm.evaluation.versus.judge_command import CommandJudge
from mlxllm.evaluation.versus.judges import Judgements, Opinion, Question, ask

LONGER = Path(__file__).parents[2] / "scripts" / "judges" / "longer.py"
READ = "import json, sys, os, time\n"


def questions(count: int) -> list[Question]:
    """Of which B is the longer answer, but for every third."""
    prompts = [(Message("system", "Be kind."), Message("user", f"Question {n}?")) for n in range(count)]
    return [Question(prompt, "ä" * 5, "b" * (3 if n % 3 == 0 else 9)) for n, prompt in enumerate(prompts)]


def program(folder: Path, body: str) -> str:
    file = folder / "judge.py"
    file.write_text(READ + body)
    return f"{sys.executable} '{file}'"


def scores(command: str, asked: Sequence[Question], **more: float) -> list[float | None]:
    found = dict(CommandJudge(command, **more)(asked))
    assert sorted(found) == list(range(len(asked)))
    return [found[number].score for number in range(len(asked))]


EXPECTED = [0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0]


def test_the_example_prefers_the_longer_answer() -> None:
    assert scores(f"{sys.executable} {LONGER}", questions(7)) == EXPECTED


@pytest.mark.parametrize(
    "body",
    [
        # Written into a buffer that is emptied in the end; read as one text; backwards, by ids; with blank lines between.
        "for line in sys.stdin:\n  r = json.loads(line); print(json.dumps({'score': float(len(r['b']) > 5)}))",
        "for r in map(json.loads, sys.stdin.read().splitlines()):\n  print(json.dumps({'winner': 'ab'[len(r['b']) > 5]}))",
        "rs = [json.loads(l) for l in sys.stdin]\n"
        "for r in reversed(rs): print(json.dumps({'id': r['id'], 'winner': 'AB'[len(r['b']) > 5]}), end='\\n\\n')",
        # One reply, and then it ends.
        "r = json.loads(sys.stdin.readline()); print(json.dumps({'winner': 'ab'[len(r['b']) > 5], 'reason': 'so'}))",
        # It dies after two replies, again and again; and it writes much that nobody reads.
        "for n, line in enumerate(sys.stdin):\n"
        "  if n == 2: os._exit(7)\n"
        "  sys.stderr.write('x' * 100000); r = json.loads(line)\n"
        "  print(json.dumps({'winner': 'ab'[len(r['b']) > 5]}), flush=True)",
    ],
)
def test_programs_of_many_habits_are_understood(tmp_path: Path, body: str) -> None:
    assert scores(program(tmp_path, body), questions(7)) == EXPECTED


def test_what_it_is_asked(tmp_path: Path) -> None:
    body = f"open({str(tmp_path / 'seen')!r}, 'w').write(sys.stdin.read()); print(json.dumps({{'winner': 'tie'}}))"
    assert scores(program(tmp_path, body), questions(1)) == [0.5]
    assert (tmp_path / "seen").read_text().count("\n") == 1
    assert json.loads((tmp_path / "seen").read_text()) == {
        "id": 0,
        "prompt": "Question 0?",
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Question 0?"}],
        "a": "äääää",
        "b": "bbb",
    }


def test_much_is_written_while_much_is_read(tmp_path: Path) -> None:
    """Neither side waits for the other, though no pipe holds that much."""
    asked = [Question((Message("user", "?"),), "a" * 5000, "b" * n) for n in range(200)]
    body = "for line in sys.stdin: print(json.dumps({'winner': 'a', 'reason': 'r' * 5000}), flush=True)"
    assert scores(program(tmp_path, body), asked) == [0.0] * 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("sys.exit('no model is loaded')", r"ended with exit code 1 \(no model is loaded\) before its next reply$"),
        ("os.kill(os.getpid(), 11)", "was ended by signal 11 before its next reply"),
        ("pass", "ended with exit code 0 before its next reply"),
        ("print('loading ...', flush=True)", "wrote 'loading ...', which is no JSON object"),
        ("print('[1]')", r"wrote '\[1\]', which is no JSON object"),
        (
            'print(\'{"winner": "c"}\')',
            r"wrote \{'winner': 'c'\}; it should be \{\"winner\": \"a\"\}, \"b\" or \"tie\"",
        ),
        ("print('{\"score\": 1.5}')", r"it should be .* or \{\"score\": P\} with P from 0 to 1"),
        ("print('{\"score\": NaN}')", "no JSON object"),
        ("print('{\"score\": true}')", "it should be"),
        ('print(\'{"id": 9, "winner": "a"}\')', "replied to the id 9, which waits for none"),
        ('print(\'{"id": [], "winner": "a"}\')', r"replied to the id \[\]"),
        ('print(\'\\xff\\n{"winner": "a"}\')', "no JSON object"),
        ("print('x' * 3000000)", "wrote a line of more than 1 MiB"),
        (
            "print('{\"winner\": \"a\"}', flush=True); print('oops')",
            r"wrote 'oops', which is no JSON object; what came before \(1 reply\) is kept, and the same command goes on",
        ),
    ],
)
def test_what_a_program_does_wrong_is_said_in_a_sentence(tmp_path: Path, body: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as failed:
        scores(program(tmp_path, body), questions(3))
    assert "\n" not in str(failed.value)


def test_one_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    body = (
        "import subprocess; c = subprocess.Popen(['sleep', '600']);"
        f"open({str(child)!r}, 'w').write(str(c.pid)); time.sleep(600)"
    )
    begun = time.monotonic()
    with pytest.raises(DataError, match=r"said nothing for 1 s"):
        scores(program(tmp_path, body), questions(2), seconds=1.0)
    assert time.monotonic() - begun < 5
    status = Path(f"/proc/{child.read_text()}/stat")
    until = time.monotonic() + 5
    while _runs(int(child.read_text())) and time.monotonic() < until:
        time.sleep(0.02)
    assert not _runs(int(child.read_text())), status


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", "--judge is empty"),
        ("python 'judge.py", "cannot be split into words: no closing quotation"),
    ],
)
def test_a_command_that_is_none(command: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        CommandJudge(command)


@pytest.mark.parametrize("command", ["no-such-program-anywhere", "/", "a\0b"])
def test_a_program_that_is_not_there(command: str) -> None:
    with pytest.raises(ConfigError, match="cannot be started"):
        scores(command, questions(1))


def test_another_script_under_the_same_name_is_another_judge(tmp_path: Path) -> None:
    first = CommandJudge(program(tmp_path, "one")).identity
    assert CommandJudge(program(tmp_path, "one")).identity == first
    assert CommandJudge(program(tmp_path, "two")).identity != first


def test_nothing_that_was_said_is_lost_or_asked_again(tmp_path: Path) -> None:
    """A judge that fails in the middle: the next one goes on, and what it could not tell is asked once more."""
    asked, kept = questions(7), Judgements("this one")
    body = "for n, line in enumerate(sys.stdin):\n  print(json.dumps({'winner': 'b'}) if n < 4 else 'oops', flush=True)"
    with pytest.raises(DataError, match=r"4 replies\) is kept"):
        ask(CommandJudge(program(tmp_path, body)), asked, kept, lambda _: None)
    counts: list[int] = []
    body = (
        f"for line in sys.stdin:\n  r = json.loads(line); open({str(tmp_path / 'asked')!r}, 'a').write(r['prompt'])\n"
        "  print(json.dumps({'error': 'hm'} if '6' in r['prompt'] else {'score': 0.25}))"
    )
    found = ask(CommandJudge(program(tmp_path, body)), asked, Judgements("this one"), counts.append)
    assert [each.score for each in found] == [1.0] * 4 + [0.25] * 2 + [None]
    assert (tmp_path / "asked").read_text() == "Question 4?Question 5?Question 6?"
    assert counts == [4, 5, 6, 7]
    again = ask(lambda left: iter([(0, Opinion(0.5))]), asked, Judgements("this one"), lambda _: None)
    assert [each.score for each in again] == [1.0] * 4 + [0.25] * 2 + [0.5]
    assert Judgements("another").known(asked[0]) is None
    other = ask(lambda left: ((n, Opinion(0.0)) for n in range(len(left))), asked, kept, lambda _: None, fresh=True)
    assert [each.score for each in other] == [0.0] * 7


ENDPOINT = f"{sys.executable} {LONGER.with_name('endpoint.py')} --model m --url"


def test_the_judge_that_asks_an_endpoint() -> None:
    """It is given the question and both answers, and its last word counts; "a" in a sentence is none."""
    said = ["A", "I think a good one is B.", "<think>A, A, A</think>\n\nTIE", "Neither of a kind"]
    seen: list[dict[str, Any]] = []

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))) | {"path": self.path})
            body = json.dumps({"choices": [{"message": {"content": said[len(seen) - 1]}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v1/"
        assert scores(f"{ENDPOINT} {url}", questions(4)) == [0.0, 1.0, 0.5, None]
        server.shutdown()
    assert [(each["path"], each["model"], each["temperature"]) for each in seen] == [
        ("/v1/chat/completions", "m", 0)
    ] * 4
    for number, each in enumerate(seen):
        text = each["messages"][0]["content"]
        assert all(part in text for part in (f"Question {number}?", questions(4)[number].a, questions(4)[number].b))
    with pytest.raises(
        DataError, match=r"ended with exit code 1 \(.* does not answer: .*refused\) before its next reply"
    ):
        scores(f"{ENDPOINT} {url}", questions(1))
