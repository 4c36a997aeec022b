"""`mlxllm prefs judge` and `taste`: letters from a pipe become the pairs and the verdict that the screens make of keys."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from mlxllm.cli.app import app
from mlxllm.cli.judging import stripped
from mlxllm.conversation import Message
from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.conversation.saved import SavedChats
from mlxllm.conversation.stored_preference import StoredPreference
from mlxllm.conversation.trial_log import TrialLog
from mlxllm.conversation.trials import USUAL_ROUNDS, Trial
from mlxllm.errors import ConfigError, DataError
from mlxllm.model.loading import load_model
from tests.cli.tuned import tuned_run
from tests.training.tiny import call

HOT, LONG, SHORT = ("--temp", "1.5"), ("--max-tokens", "400"), ("--max-tokens", "8")
TWO = "which one is better? a, b, t tie"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tuned_run(tmp_path_factory.mktemp("runs")))


@pytest.fixture(scope="module")
def base(run: str) -> str:
    return str(Path(run).parent / "base")


def judged(lines: str, *arguments: str, command: str = "judge") -> Result:
    words = ["prefs", "judge", *LONG] if command == "judge" else [command, *SHORT]
    return CliRunner().invoke(app, [*words, *HOT, *arguments], input=lines)


def stored() -> list[StoredPreference]:
    return list(PreferenceStore().read())


def answers(shown: str) -> dict[str, str]:
    """The first two answers on a page."""
    _, _, page = shown.partition("\nA\n")
    first, _, rest = page.partition("\n\nB\n")
    return {"a": first, "b": rest.partition("\n\n")[0]}


@given(pieces=st.lists(st.text(alphabet="a b\n\t")))
def test_a_text_loses_the_blanks_at_its_ends_as_it_comes(pieces: list[str]) -> None:
    assert "".join(stripped(pieces)) == "".join(pieces).strip()


def test_the_better_answer_of_one_model_becomes_a_pair(run: str) -> None:
    done = judged("b\n", "--model", run, "--prompt", "Who?", "--system", "Be kind.", "--seed", "3")
    assert done.exit_code == 0, done.stderr
    [pair], shown, loaded = stored(), answers(done.stdout), load_model(run)
    assert (pair.chosen, pair.rejected, pair.how) == (shown["b"], shown["a"], "compared")
    assert pair.prompt == (Message("system", "Be kind."), Message("user", "Who?"))
    assert (pair.model, pair.step, pair.fingerprint) == (loaded.address, 1, loaded.fingerprint)
    assert sorted(pair.seed.values()) == [3, 4]
    assert not pair.chosen_by
    assert (pair.sample["temperature"], pair.sample["max_tokens"], "seed" in pair.sample) == (1.5, 400, False)
    assert done.stderr.index(TWO) < done.stderr.index(f"B was {loaded.address} (seed {pair.seed['chosen']})")
    assert "1 preference pair kept; `mlxllm prefs ls` lists them" in done.stderr
    again = judged("", "--model", run, "--prompt", "Who?", "--system", "Be kind.", "--seed", "3")
    assert answers(again.stdout) == shown, "the seed decides the sides as well"
    assert again.exit_code == 0
    assert len(stored()) == 1


def test_letters_and_words_of_ones_own(run: str) -> None:
    PreferenceStore().add(StoredPreference(prompt=(Message("user", "?"),), chosen="Yes", rejected="No", how="imported"))
    mistakes = "c\nw\n\nu\n"
    lines = mistakes + 't\na\nu\nw\n"""\nTwo\nlines.\n"""\n' + "0\nu\nn\nu\nu\nb\n\n"
    prompts = ("--prompt", "Who?", "--prompt", "Where?", "--prompt", "Why?")
    done = judged(lines, "--model", run, *prompts, "--json", "--seed", "3")
    assert done.exit_code == 0, done.stderr
    for told in ("'c' is none of the letters", "nothing was written", "there is no choice to take back yet"):
        assert told in done.stderr
    _, pair = stored()
    assert pair.prompt == (Message("user", "Where?"),)
    assert pair.how == "compared", "what was rewritten was taken back"
    assert [json.loads(line) for line in done.stdout.splitlines()] == [pair.as_json()]


def test_prompts_are_typed_where_none_are_given(run: str) -> None:
    done = judged('Who?\na\nu\nw\nIt was Mia.\n"""\nAnd\nwhere?\n"""\nn\n\nnot read\n', "--model", run, "--seed", "3")
    assert done.exit_code == 0, done.stderr
    first, second = stored()
    assert {first.chosen, second.chosen} == {"It was Mia."}
    assert first.prompt == second.prompt == (Message("user", "Who?"),)
    assert "Asked\nAnd\nwhere?\n" in done.stdout
    left = judged("Who?\nq\n", "--model", run, "--seed", "3")
    assert (left.exit_code, len(stored())) == (0, 2)
    assert judged("u\n", "--model", run, "--seed", "3").stderr.count("there is no choice to take back yet") == 1


def test_two_models_are_told_apart_after_the_choice(run: str, base: str) -> None:
    arguments = ("--model", run, "--model", base, "--seed", "9", "--prompt", "Who?", "--max-tokens", "20")
    done = judged("a\n", *arguments)
    assert done.exit_code == 0, done.stderr
    sides = Trial((run, base), [], 9).add((Message("user", "Who?"),)).sides
    shown = answers(done.stdout)
    for side, player in zip("ab", sides, strict=True):
        model = (run, base)[player]
        assert f"{side.upper()} was {(f'{run}@1', base)[player]} (seed 9" in done.stderr
        alone = call(
            "compare", run, base, "--prompt", "Who?", "--seed", "9", "--temp", "1.5", "--max-tokens", "20", "--json"
        )
        [same] = [each["text"] for each in json.loads(alone.stdout)["answers"] if each["model"] == model]
        assert shown[side].removesuffix("\n(cut off here)") == same.strip()
    preferred = ("tuned", "base")[sides[0]]
    assert f"You preferred {preferred} 1 of 1 time; a coin does that 50 % of the time." in done.stderr


def prompts_file(folder: Path, count: int) -> str:
    file = folder / "prompts.txt"
    file.write_text("".join(f"Question {number}?\n" for number in range(count)))
    return str(file)


def test_a_taste_test_ends_with_its_verdict_and_is_logged(run: str, base: str, tmp_path: Path) -> None:
    arguments = (run, base, "--prompts", prompts_file(tmp_path, 9), "--rounds", "6", "--seed", "8", "--json")
    done = judged("a\nb\nu\na\nt\nn\nw\nBetter.\na\nu\nb\n\n", *arguments, command="taste")
    assert done.exit_code == 0, done.stderr
    [found] = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["choice"] for each in found["rounds"]] == ["a", "a", "tie", "both bad", "rewritten", "b"]
    assert {tuple(each["sides"]) for each in found["rounds"]} == {(0, 1), (1, 0)}
    for each in found["rounds"]:
        for side, player in zip("ab", each["sides"], strict=True):
            assert each[side]["model"] == (f"{run}@1", base)[player]
    wins = [each["sides"]["ab".index(each["choice"])] for each in found["rounds"] if each["choice"] in ("a", "b")]
    [past] = TrialLog().read()
    assert (past.verdict.first, past.verdict.second) == (wins.count(0), wins.count(1))
    assert (past.verdict.ties, past.verdict.neither, past.players) == (1, 2, (run, base))
    assert found["sentence"] == past.verdict.sentence("the tuned model (tuned)", "the untuned one (base)")
    assert found["meaning"] == "That may well be chance (more than 5 %). More rounds tell more."
    before = done.stderr[: done.stderr.index("last round")]
    assert base not in before, "names are hidden"
    assert f"{run}@" not in before
    made = {pair.chosen for pair in stored()}
    assert "Better." in made


def test_a_verdict_in_words_with_who_was_who(run: str, base: str, tmp_path: Path) -> None:
    arguments = (run, base, "--prompts", prompts_file(tmp_path, 2), "--seed", "8")
    done = judged("a\nv\n", *arguments, command="taste")
    assert done.exit_code == 0, done.stderr
    assert "only 2 rounds: there are no more new prompts" in done.stderr
    [past] = TrialLog().read()
    name = ("the tuned model (tuned)", "the untuned one (base)")[past.verdict.second]
    assert f"You preferred {name} 1 of 1 time; a coin does that 50 % of the time.\n" in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.startswith("1 "))
    assert row.endswith(f"A, the {('tuned', 'untuned')[past.verdict.second]} one")
    for lines in ("a\nq\n", "a\n", ""):
        left = judged(lines, *arguments, command="taste")
        assert left.exit_code == 1
        assert f"left after {lines.count('a')} of 2 rounds, without a verdict" in left.stderr
    assert len(TrialLog().read()) == 1


def test_a_round_of_the_same_answers_costs_none(run: str, tmp_path: Path) -> None:
    shutil.copytree(run, twin := tmp_path / "twin")
    arguments = (run, str(twin), "--prompts", prompts_file(tmp_path, 9), "--rounds", "2", "--seed", "8")
    done = judged("a\nt\nv\n", *arguments, "--json", command="taste")
    assert done.exit_code == 0, done.stderr
    assert done.stderr.count("the same, word for word, so here are two others") == 8
    assert "after 9 tries as well: the models seem alike: t tie" in done.stderr
    assert "call it a tie" in done.stderr
    [found] = [json.loads(line) for line in done.stdout.splitlines()]
    assert found["verdict"]["ties"] == len(found["rounds"]) == 1


def test_prompts_come_from_where_there_are_some(run: str, base: str) -> None:
    with pytest.raises(ConfigError, match=r"it is not known what .* could be asked; give --prompts FILE"):
        app(["taste", run, base], standalone_mode=False)
    chats = SavedChats()
    for number in range(USUAL_ROUNDS + 2):
        chats.begin(run).say("user", f"Question {number}?")
    done = judged("v\n", run, base, "--seed", "1", command="taste")
    assert f"round 1 of {USUAL_ROUNDS}\n" in done.stderr
    assert "what began your own saved conversations" in done.stderr
    assert f"[default: {USUAL_ROUNDS}]" in call("taste", "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        (["taste", "RUN", "RUN"], ConfigError, "`mlxllm prefs judge` compares two answers of one model"),
        (["taste", "RUN", "nothing"], ConfigError, "there is no run 'nothing'"),
        (["taste", "RUN", "BASE", "--rounds", "0"], ConfigError, "--rounds is 0; it should be from 1 to 200"),
        (["taste", "RUN", "BASE", "--prompts", "stories"], ConfigError, "there are no stories prompts for"),
        (["taste", "RUN", "BASE", "--prompts", "none.txt"], DataError, "there is no file none.txt"),
        (["prefs", "judge", "--model", "nothing"], ConfigError, "there is no run 'nothing'"),
        (["prefs", "judge", *("--model", "RUN") * 3], ConfigError, "--model is given 3 times"),
        (["prefs", "judge", "--model", "RUN", "--prompt", ""], ConfigError, "--prompt is empty"),
        (["prefs", "judge", "--model", "RUN", "--before", "Who?"], ConfigError, "--before is given 1 times"),
        (["prefs", "judge", "--model", "RUN", "--seed", "-1"], ConfigError, "--seed is -1"),
    ],
)
def test_what_cannot_be_is_one_sentence(run: str, base: str, arguments: list[str], error: Any, told: str) -> None:
    with pytest.raises(error, match=told.replace("(", r"\(")) as raised:
        app([{"RUN": run, "BASE": base}.get(each, each) for each in arguments], standalone_mode=False)
    assert "\n" not in str(raised.value)
