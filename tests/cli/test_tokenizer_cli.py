"""`mlxllm tokenizer`, in process."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mlxllm.cli.token_view import interlinear, visible
from mlxllm.cli.tokenizer import app
from mlxllm.errors import ConfigError, DataError, UserError

TEXT = 'The fox said: "Hello!"\n\nThe old fox was happy. The house was old.\n' * 20


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "story.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def run(*arguments: object, stdin: str | bytes | None = None) -> tuple[str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def run_json(*arguments: object, stdin: str | bytes | None = None) -> Any:
    return json.loads(run(*arguments, "--json", stdin=stdin)[0])


def test_train_encode_decode(file: Path, mlxllm_home: Path) -> None:
    made = run_json("train", "mine", "--kind", "bpe", "--vocab-size", 300, "--input", file)
    assert made["vocab_size"] == 300
    assert made["path"] == str(mlxllm_home / "tokenizers" / "mine")
    text = "The fox  \u2581 <|end|>\r\n"
    found = run_json("encode", "mine", text)
    assert len(found["ids"]) == len(found["pieces"])
    assert "The" in found["pieces"]
    assert run_json("decode", "mine", *found["ids"]) == {"text": text}
    assert run_json("decode", "mine", ",".join(map(str, found["ids"]))) == {"text": text}
    ids, _ = run("encode", "mine", stdin=text.encode())
    assert [int(word) for word in ids.split()] == found["ids"]
    # CliRunner gives stdout back with CRLF as LF.
    assert run("decode", "mine", stdin=ids)[0] == text.replace("\r\n", "\n") + "\n"
    assert run_json("encode", mlxllm_home / "tokenizers" / "mine", text) == found


def test_several_files_after_one_input(file: Path, tmp_path: Path) -> None:
    for name, content in (("b.txt", "βeta"), ("c.txt", "ψ")):
        (tmp_path / name).write_text(content, encoding="utf-8")
    files = [file, tmp_path / "b.txt", tmp_path / "c.txt"]
    together = run_json("train", "one", "--kind", "char", "--input", *files)
    arguments = [word for path in files for word in ("--input", path)]
    assert run_json("train", "two", "--kind", "char", *arguments)["fingerprint"] == together["fingerprint"]
    assert together["vocab_size"] == 261 + len(set(TEXT + "βeta" + "ψ"))


def test_what_the_text_cannot_fill_is_said(file: Path) -> None:
    made = CliRunner().invoke(app, ["train", "t", "--input", str(file), "--vocab-size", "4000", "--json"])
    assert made.exit_code == 0
    size = json.loads(made.stdout)["vocab_size"]
    assert 261 < size < 4000
    assert f"4,000 ids were asked for, but the text has pieces for {size:,} only" in made.stderr


def test_an_existing_name_is_kept_unless_forced(file: Path) -> None:
    first = run_json("train", "t", "--kind", "char", "--input", file)
    with pytest.raises(ConfigError, match=r"tokenizer 't' exists already .*--force"):
        run("train", "t", "--kind", "byte")
    assert run_json("show", "t")["fingerprint"] == first["fingerprint"]
    assert run_json("train", "t", "--kind", "byte", "--force")["kind"] == "byte"
    assert run_json("show", "t")["vocab_size"] == 261


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        (["train", "t", "--kind", "bpe"], ConfigError, "add --input"),
        (["train", "t", "--kind", "word", "--input", "FILE"], ConfigError, "no tokenizer kind 'word'"),
        (
            ["train", "t", "--kind", "char", "--vocab-size", "9", "--input", "FILE"],
            ConfigError,
            "no vocabulary",
        ),
        (["train", "t", "--vocab-size", "9", "--input", "FILE"], ConfigError, "choose 262 to 1,048,576"),
        (["train", "t", "--vocab-size", "9000000", "--input", "FILE"], ConfigError, "choose 262 to 1,048,576"),
        (["train", "../", "--input", "FILE"], ConfigError, "exists already"),
        (["train", "a b", "--input", "FILE"], ConfigError, "name 'a b' is not usable"),
        (["train", "t", "--input", "no-such-file.txt"], UserError, "no-such-file.txt"),
        (["encode", "none", "text"], ConfigError, "there is no tokenizer 'none'"),
        (["decode", "b", "5", "x"], ConfigError, "'x' is not a token id"),
        (["decode", "b", "1_0"], ConfigError, "'1_0' is not a token id"),
        (["decode", "b", "261"], DataError, "token id 261 is not in the vocabulary"),
        (["show", "b", "text", "--file", "FILE"], ConfigError, "either a text or --file"),
        (["show", "b", "--file", "no-such-file.txt"], DataError, "cannot read no-such-file.txt"),
        (["encode", "b", "a\udc80"], DataError, r"lone surrogate U\+DC80 at character 1"),
    ],
)
def test_mistakes_end_in_a_sentence(file: Path, arguments: list[str], error: type[UserError], sentence: str) -> None:
    run("train", "b", "--kind", "byte")
    with pytest.raises(error, match=sentence):
        run(*[file if word == "FILE" else word for word in arguments])


def test_show_is_plain_away_from_a_terminal(file: Path) -> None:
    run("train", "t", "--kind", "char", "--input", file)
    out, told = run("show", "t", "The\x1b[31m fox\n\u202eé")
    assert "\x1b" not in out
    assert "\u202e" not in out
    lines = out.splitlines()
    assert "vocabulary   " + f"{261 + len(set(TEXT))} ids" in lines
    assert "this text    18 bytes, 18 tokens, 1.00 bytes a token" in lines
    alphabet = " ".join(sorted(set(TEXT))).replace("\n", "⏎").replace("  ", " ·", 1)
    assert f"characters   {alphabet} (ids 261 to {260 + len(set(TEXT))})" in lines
    pieces = lines.index(" T   h   e  <0x1B> <0x5B> <0x33> <0x31> <0x6D>  ·   f   o   x   ⏎ ")
    numbers = [int(word) for word in lines[pieces + 1].split()]
    assert numbers[0] == 261 + sorted(set(TEXT)).index("T")
    assert numbers[3] == 5 + 0x1B
    assert lines[pieces + 2].split()[-2:] == ["<0xC3>", "<0xA9>"]
    assert (
        told
        == "each piece above its id; · is a space, ⏎ is a line end, <0x1B> is a byte of what has no piece of its own\n"
    )


def test_show_of_bytes_has_letters_where_they_are_letters(file: Path) -> None:
    run("train", "b", "--kind", "byte")
    lines = run("show", "b", "go é\n")[0].splitlines()
    assert lines[-2:] == [" g   o  ·  <0xC3> <0xA9> ⏎ ", "108 116 37 200    174    15"]
    assert not any(line.startswith(("longest", "characters")) for line in lines), "it has learned nothing"


@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_what_cannot_be_learned_from_is_one_sentence(tmp_path: Path, kind: str) -> None:
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "program").write_bytes(b"\x7fELF\x00\xff\xfe" * 50)
    (tmp_path / "folder").mkdir()
    for name, said in (
        ("empty.txt", "empty.txt' holds no usable text: empty"),
        ("program", "program' holds no usable text: undecodable file .*byte 5 is not utf-8"),
        ("folder", "folder' holds nothing to read: found no files at all; wanted .txt"),
    ):
        with pytest.raises(DataError, match=said) as caught:
            run("train", "t", "--kind", kind, "--input", tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="there is no tokenizer 't'"):
        run("show", "t")


def test_show_of_a_file_and_as_json(file: Path, tmp_path: Path) -> None:
    run("train", "t", "--input", file, "--vocab-size", 290)
    about = run_json("show", "t", "--file", file)
    assert about["bytes"] == len(TEXT.encode())
    assert about["tokens"] == len(about["ids"]) == len(about["pieces"])
    assert about["bytes_per_token"] == pytest.approx(about["bytes"] / about["tokens"])
    assert about["special_ids"]["<|end|>"] == 4
    lengths = [len(piece) for piece in about["longest_pieces"]]
    assert lengths == sorted(lengths, reverse=True)
    out, err = run("show", "t", "--file", file)
    assert f"and {about['tokens'] - 400:,} tokens more" in err
    assert "tokens more" not in out
    # Over the limit of 1 MiB the text is cut between characters. A file that ends within one is refused.
    (tmp_path / "long").write_bytes(b"a" + "é".encode() * (1 << 20))
    assert run_json("show", "t", "--file", tmp_path / "long")["bytes"] == (1 << 20) - 1
    (tmp_path / "broken").write_bytes("aé".encode()[:-1])
    with pytest.raises(DataError, match=r"broken is not UTF-8 text: byte 1 is 0xC3"):
        run("show", "t", "--file", tmp_path / "broken")


def test_show_of_nothing(file: Path) -> None:
    run("train", "b", "--kind", "byte")
    assert run_json("show", "b", "")["bytes_per_token"] is None
    assert "0 bytes, 0 tokens" in run("show", "b", "")[0]


def test_ls_lists_and_points_at_damage(file: Path, mlxllm_home: Path) -> None:
    out, err = run("ls")
    assert out == ""
    assert "no tokenizers" in err
    run("train", "b", "--kind", "byte")
    run("train", "good", "--input", file)
    run("train", "bad", "--input", file)
    (mlxllm_home / "tokenizers" / "bad" / "tokenizer.model").write_bytes(b"?")
    out, _ = run("ls")
    assert [line.split()[0] for line in out.splitlines()] == ["b", "bad", "good"]
    assert "is damaged" in out.splitlines()[1]
    listed = [json.loads(line) for line in run("ls", "--json")[0].splitlines()]
    assert [entry["name"] for entry in listed] == ["b", "bad", "good"]
    assert listed[0]["vocab_size"] == 261
    assert "is damaged" in listed[1]["error"]


def test_interlinear_alternates_colours_and_keeps_to_the_width() -> None:
    tokens = [(7, "The"), (300, " fox"), (12, "\n"), (9, "日本"), *[(1000 + i, "word") for i in range(30)]]
    plain = list(interlinear(tokens, width=40, colour=False))
    assert plain[:4] == ["The|·fox|⏎ ", "7  |300 |12", plain[2], plain[3]]
    assert plain[2].startswith("日本|word|")
    assert plain[3].startswith("9   |1000|")
    assert all(len(line) <= 40 for line in plain)
    coloured = list(interlinear(tokens, width=40, colour=True))
    assert len(coloured) == len(plain)
    first, second = coloured[0].split("\x1b[0m")[:2]
    assert first.split("m")[0] != second.strip().split("m")[0]
    assert visible("a\x00\u200b\U000e0001\t\r") == "a\\x00\\u200b\\U000e0001⇥␍"


def test_the_command_group_starts_without_numpy_or_sentencepiece() -> None:
    heavy = "{'numpy', 'sentencepiece', 'mlx', 'mlx.core'}"
    code = f"import sys, mlxllm.cli.tokenizer; print(*sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_the_merges_of_a_text(file: Path) -> None:
    run("train", "mine", "--kind", "bpe", "--vocab-size", 300, "--input", file)
    found = run_json("show", "mine", "The fox é", "--merges")
    walk = found["walk"]
    symbols = walk["symbols"]
    assert symbols == list("The fox é")
    for merge in walk["merges"]:
        assert symbols[merge["at"] : merge["at"] + 2] == merge["parts"]
        assert "".join(merge["parts"]) == merge["piece"]
        symbols[merge["at"] : merge["at"] + 2] = [merge["piece"]]
    assert "".join(symbols) == "The fox é"
    assert found["pieces"][:-2] == symbols[:-1]
    assert found["pieces"][-2:] == ["<0xC3>", "<0xA9>"]
    shown, _ = run("show", "mine", "The fox é", "--merges")
    assert "begins as  T|h|e|·|f|o|x|·|é  (9)" in shown
    assert "ends as  The|·fox|·|<0xC3>|<0xA9>  (5, 1 more for characters in bytes)" in shown
    run("train", "letters", "--kind", "char", "--input", file)
    with pytest.raises(DataError, match="a char tokenizer merges nothing: each character is a token"):
        run("show", "letters", "x", "--merges")


def test_the_same_text_side_by_side(file: Path) -> None:
    [alone] = run_json("compare", "fox é")["texts"]
    assert [row["name"] for row in alone["tokenizers"]] == ["characters", "bytes"]
    assert [row["tokens"] for row in alone["tokenizers"]] == [5, 6]
    assert alone["tokenizers"][0]["bytes_per_token"] == 6 / 5
    run("train", "mine", "--kind", "bpe", "--vocab-size", 300, "--input", file)
    run("train", "letters", "--kind", "char", "--input", file)
    [found] = run_json("compare", "The fox said")["texts"]
    assert [row["name"] for row in found["tokenizers"]] == ["characters", "bytes", "mine"]
    assert found["tokenizers"][2]["ids"] == run_json("encode", "mine", "The fox said")["ids"]
    named = run_json("compare", "The fox", "--tokenizer", "letters")["texts"][0]["tokenizers"]
    assert [row["name"] for row in named] == ["characters", "bytes", "letters"]
    examples = run_json("compare", "--examples")["texts"]
    assert {"numbers", "spaces", "code", "Russian"} <= {each["name"] for each in examples}
    for each in examples:
        for row in each["tokenizers"]:
            assert row["tokens"] == len(row["pieces"]) == len(row["ids"])
            assert row["bytes_per_token"] == len(each["text"].encode()) / row["tokens"]
    shown, _ = run("compare", "The fox")
    assert "The|·fox" in shown
    with pytest.raises(ConfigError, match="there is no tokenizer 'nope'"):
        run("compare", "x", "--tokenizer", "nope")
    empty = run_json("compare", "")["texts"][0]
    assert [row["bytes_per_token"] for row in empty["tokenizers"]] == [None] * 3
