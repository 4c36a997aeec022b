import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.data.sources import decoding, open_source
from mlxllm.data.sources.base import Problems
from mlxllm.data.sources.decoding import BLOCK_CHARS
from mlxllm.data.sources.files import DamagedFileError, find_files, read_chunks
from mlxllm.data.sources.text import TextSource
from mlxllm.errors import DataError

PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}
CHECKED_ZST = zstandard.ZstdCompressor(write_checksum=True).compress


def read(path: Path | str) -> tuple[list[str], Problems]:
    """Whole documents, with pieces put together again."""
    source = TextSource(str(path))
    texts, parts = [], []
    for document in source.documents():
        assert len(document.text) < 3 * BLOCK_CHARS or not document.more
        parts.append(document.text)
        if not document.more:
            texts.append("".join(parts))
            parts = []
    assert not parts
    return texts, source.problems


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_plain_file_is_one_text_to_the_letter(tmp_path: Path) -> None:
    text = "\n\n  One\r\nTwo\t\x00é🙂\n\u2028 \r\n\n"
    path = write(tmp_path / "a.txt", text)
    assert read(path)[0] == [text]
    assert TextSource(str(path)).single_text


def test_a_separator_line_splits_a_file(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.txt",
        "  One\nand more\n<|endoftext|>\n\nTwo <|endoftext|> is not one\r\n <|endoftext|> \r\n<|endoftext|>\nThree",
    )
    texts, problems = read(path)
    assert texts == ["  One\nand more", "Two <|endoftext|> is not one", "Three"]
    assert problems.dropped == {"empty": 1}
    assert not TextSource(str(path)).single_text
    assert read(write(tmp_path / "b.txt", "One\n<|endoftext|>")) == (["One"], Problems())


@given(
    documents=st.lists(st.text(st.sampled_from("ab \té🙂\n"), min_size=1).map(lambda t: f"x{t}x"), min_size=2),
    ending=st.sampled_from(["", "\n<|endoftext|>", "\n<|endoftext|>\n"]),
    packing=st.sampled_from(list(PACK)),
)
def test_separated_documents_come_back(
    tmp_path_factory: pytest.TempPathFactory, documents: list[str], ending: str, packing: str
) -> None:
    content = "\n<|endoftext|>\n".join(documents) + ending
    path = write(tmp_path_factory.mktemp("t") / f"a.txt{packing}", PACK[packing](content.encode()))
    assert read(path)[0] == documents


@pytest.mark.parametrize("packing", PACK)
def test_large_files_are_handed_out_in_pieces(tmp_path: Path, packing: str) -> None:
    one_line = "No line ends here, é🙂. " * 150_000
    lines = "A short line.\r\n" * 200_000
    content = f"{one_line}\n<|endoftext|>\n{lines}<|endoftext|>\nlast"
    path = write(tmp_path / f"a.txt{packing}", PACK[packing](content.encode()))
    assert read(path)[0] == [one_line, lines.rstrip("\r\n"), "last"]
    whole = write(tmp_path / f"b.txt{packing}", PACK[packing](one_line.encode()))
    assert read(whole)[0] == [one_line]
    assert TextSource(str(whole)).single_text


def test_the_end_of_an_overlong_line_is_no_separator(tmp_path: Path) -> None:
    text = "x" * (3 << 20) + "<|endoftext|>\nnext"
    assert read(write(tmp_path / "a.txt", text))[0] == [text]


@pytest.mark.parametrize("field", ["text", "content"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.jsonl.gz", "a"])
def test_json_lines_are_told_by_their_first_line(tmp_path: Path, name: str, field: str) -> None:
    lines = [json.dumps({field: text, "id": 1}) for text in ("One\r\n", "é🙂", "<|endoftext|>")]
    path = write(tmp_path / name, PACK[Path(name).suffix if ".gz" in name else ""]("\n".join(lines).encode()))
    assert read(path)[0] == ["One\r\n", "é🙂", "<|endoftext|>"]
    assert not TextSource(str(path)).single_text


def test_bad_lines_are_counted_and_shown_with_their_number(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        b'\xef\xbb\xbf{"text": "good"}\r\n\r\n{"text": "cut\n{"title": "x", "body": "y"}\n[1]\n'
        b'{"text": "\xff"}\n{"text": null}\n{"text": ""}\n{"text": "\\ud83d"}\n{"text": "\\ud83d\\ude42"}\n'
        + b"[" * 100_000
        + b'\n{"text": "last"}',
    )
    texts, problems = read(path)
    assert texts == ["good", "🙂", "last"]
    assert problems.dropped == {
        "bad JSON": 2, "no text field": 3, "undecodable line": 2, "empty": 1,
    }  # fmt: skip
    assert problems.examples["bad JSON"][0].startswith(f"{path}:3: ")
    assert problems.examples["no text field"][0] == (
        f"{path}:4: wanted 'text' or 'content', found keys 'title', 'body'"
    )
    assert problems.examples["no text field"][2].endswith("found 'text', whose value is null and not a text")
    assert "a JSON list and not an object" in problems.examples["no text field"][1]
    assert problems.examples["undecodable line"][0] == f"{path}:6: byte 10 of the line is not UTF-8"


def test_a_long_record_is_read_and_an_endless_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("text", "decoding"):
        monkeypatch.setattr(f"mlxllm.data.sources.{module}.MOST_LINE_BYTES", 4 << 20)
    lines = [json.dumps({"text": letter * size}) for letter, size in (("a", 3 << 20), ("b", 5 << 20), ("c", 1))]
    texts, problems = read(write(tmp_path / "a.jsonl", "\n".join(lines)))
    assert texts == ["a" * (3 << 20), "c"]
    assert problems.dropped == {"line too long": 1}
    assert problems.examples["line too long"][0].startswith(f"{tmp_path / 'a.jsonl'}:2: ")


@pytest.mark.parametrize("size", [0, 5, 1700])
def test_an_undecodable_file_is_left_out_with_the_byte_named(tmp_path: Path, size: int) -> None:
    bad = write(tmp_path / "a.txt", b"x" * size + b"\xe9t\xe9" + b"y" * 100)
    write(tmp_path / "b.txt", "good")
    texts, problems = read(tmp_path)
    assert texts == ["good"]
    assert problems.dropped == {"undecodable file": 1}
    assert problems.examples["undecodable file"][0].startswith(f"{bad}: byte {size:,} is not utf-8")


@pytest.mark.parametrize("place", [0, 700, (1 << 18) - 1, 1 << 18, 1 << 20])
def test_a_few_bad_bytes_are_mended_and_told(tmp_path: Path, place: int) -> None:
    whole = ("Ein Bär, ein schöner \ufffd Tag.\n" * 40_000).encode()
    path = write(tmp_path / "a.txt", whole[:place] + b"\xff" + whole[place:] + b"the end \xe2\x98")
    source = TextSource(str(path))
    assert source.single_text
    text = "".join(document.text for document in source.documents())
    assert text == (path.read_bytes()).decode(errors="replace")
    assert source.problems.dropped == {}
    assert source.problems.mended == {"undecodable bytes": 1}
    told = f"{path}: 2 places, the first at byte {place:,}; U+FFFD stands there now"
    assert source.problems.examples["undecodable bytes"] == [told]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "cp437"])
def test_text_in_another_encoding_is_refused(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.txt", ("Ein Bär und ein schöner Tag in der großen Stadt.\n" * 40_000).encode(encoding))
    with pytest.raises(DataError, match=r"byte 5 is not utf-8 .*save it as UTF-8"):
        list(TextSource(str(path)).documents())


def test_binary_data_is_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.txt", bytes(range(256)) * (40 << 10))
    taken = 0

    def counted(file: Path) -> Iterator[bytes]:
        nonlocal taken
        for chunk in read_chunks(file):
            taken += len(chunk)
            yield chunk

    monkeypatch.setattr(decoding, "read_chunks", counted)
    with pytest.raises(UnicodeDecodeError):
        decoding.check_decodable(path)
    assert taken < 1 << 20


def test_a_file_that_ends_within_a_character(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "good 🙂".encode()[:-1])
    write(tmp_path / "b.txt", "good")
    problems = read(tmp_path)[1]
    assert "byte 5 is not utf-8 (unexpected end of data)" in problems.examples["undecodable file"][0]


@pytest.mark.parametrize(
    "content",
    ["\ufeffé🙂".encode(), b"\xff\xfe" + "é🙂".encode("utf-16-le"), b"\xfe\xff" + "é🙂".encode("utf-16-be")],
)
def test_byte_order_marks(tmp_path: Path, content: bytes) -> None:
    assert read(write(tmp_path / "a.txt", content))[0] == ["é🙂"]


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_packing_is_told_by_content(tmp_path: Path, packing: str) -> None:
    packed = PACK[packing](b"One ") + PACK[packing](b"Two")
    assert read(write(tmp_path / "packed.txt", packed))[0] == ["One Two"]
    assert read(write(tmp_path / f"plain.txt{packing}", "not packed"))[0] == ["not packed"]


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_truncated_files_are_used_as_far_as_they_are_whole(tmp_path: Path, packing: str) -> None:
    lines = [json.dumps({"text": f"Record {i}: {os.urandom(300).hex()}"}) for i in range(2000)]
    packed = PACK[packing]("\n".join(lines).encode())
    path = write(tmp_path / f"a.jsonl{packing}", packed[: len(packed) // 2])
    texts, problems = read(path)
    assert 500 < len(texts) < 1500
    assert texts == [json.loads(line)["text"] for line in lines[: len(texts)]]
    assert problems.mended == {"damaged file": 1}
    assert f"used up to line {len(texts):,}" in problems.examples["damaged file"][0]
    assert problems.dropped == {"cut-off line": 1}
    text = "".join(lines)
    packed = PACK[packing](text.encode())
    texts, problems = read(write(tmp_path / f"b.txt{packing}", packed[: len(packed) // 2]))
    assert len(texts) == 1
    assert text.startswith(texts[0])
    assert len(texts[0]) > len(text) // 4
    assert "ends early" in problems.examples["damaged file"][0]


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_corrupt_data_is_noticed(tmp_path: Path, packing: str) -> None:
    body = b"".join(b"line %d %s\n" % (i, os.urandom(20).hex().encode()) for i in range(5000))
    packed = bytearray(gzip.compress(body) if packing == ".gz" else CHECKED_ZST(body))
    packed[len(packed) // 2] ^= 0x55
    with pytest.raises(DamagedFileError, match="corrupt"):
        list(read_chunks(write(tmp_path / "x", bytes(packed))))


@pytest.mark.parametrize("left", [2, 11, 20, 60])
def test_records_cut_at_their_very_beginning_are_told_and_others_are_read(tmp_path: Path, left: int) -> None:
    line = json.dumps({"text": os.urandom(200).hex()}).encode()
    write(tmp_path / "a.jsonl.gz", gzip.compress(line)[:left])
    write(tmp_path / "b.jsonl", b'{"text": "whole"}')
    texts, problems = read(tmp_path)
    assert texts == ["whole"]
    assert "a.jsonl.gz: gzip data ends early" in problems.examples["damaged file"][0]


def test_a_gzip_bomb_comes_in_small_pieces(tmp_path: Path) -> None:
    path = write(tmp_path / "x.gz", gzip.compress(bytes(50 << 20)))
    sizes = [len(chunk) for chunk in read_chunks(path)]
    assert sum(sizes) == 50 << 20
    assert max(sizes) <= 1 << 20


def test_folders_are_searched_in_order_without_what_is_hidden(tmp_path: Path) -> None:
    for name in (
        "b/2.md",
        "b/1.txt",
        "a.py",
        "c.jsonl.gz",
        ".git/x.txt",
        "b/.hidden.txt",
        "d.pdf",
        "b/e.docx",
        "f.PDF",
    ):
        content = gzip.compress(b'{"text": "c"}') if name.endswith("gz") else f"text of {name}".encode()
        write(tmp_path / name, content)
    texts, problems = read(tmp_path)
    assert texts == ["text of a.py", "text of b/1.txt", "text of b/2.md", "c"]
    assert problems.mended == {"other file type": 3}
    assert "1 x .docx" in problems.examples["other file type"]
    assert "`mlxllm data sources` lists" in problems.examples["other file type"][0]
    assert not TextSource(str(tmp_path)).single_text


def test_globs(tmp_path: Path) -> None:
    for name in ("a/1.txt", "a/b/2.txt", "a/b/3.rst", "a/b/4.md"):
        write(tmp_path / name, name)
    assert read(f"{tmp_path}/**/*.txt")[0] == ["a/1.txt", "a/b/2.txt"]
    assert read(f"{tmp_path}/a/b/[23].*")[0] == ["a/b/2.txt", "a/b/3.rst"]
    assert read(f"{tmp_path}/*")[0] == ["a/1.txt", "a/b/2.txt", "a/b/4.md"]


def test_a_file_is_read_once_however_many_links_lead_to_it(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "a")
    (tmp_path / "b.txt").symlink_to(tmp_path / "a.txt")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert [p.name for p in find_files(str(tmp_path), Problems())] == ["a.txt"]


def test_reading_twice_counts_once(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", b"\xff")
    write(tmp_path / "b.txt", "good")
    write(tmp_path / "c.pdf", "x")
    source = TextSource(str(tmp_path))
    for _ in range(2):
        assert [document.text for document in source.documents()] == ["good"]
        assert source.problems.dropped == {"undecodable file": 1}
        assert source.problems.mended == {"other file type": 1}


@pytest.mark.parametrize(
    ("files", "pattern", "message"),
    [
        ({}, "missing", "there is no file or folder"),
        ({}, "*.txt", "no file matches"),
        ({}, ".", "found no files at all"),
        ({"a.pdf": b"x", "b.pdf": b"x"}, ".", "found 2 .pdf"),
        ({"a.txt": b" \n"}, "a.txt", r"holds no usable text: empty \(.*a.txt\)"),
        ({"a.txt": b""}, ".", r"holds no usable text: empty \(.*a.txt\)"),
        ({"a.pdf": b"%PDF-1.7\n\xb5"}, "a.pdf", "byte 9 is not utf-8"),
        ({"a.jsonl": b"plain text"}, "a.jsonl", r"bad JSON \(.*a.jsonl:1"),
        ({"a.txt.gz": gzip.compress(b"x" * 99)[:10]}, ".", "gzip data ends early"),
    ],
)
def test_nothing_to_read_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes], pattern: str, message: str
) -> None:
    for name, content in files.items():
        write(tmp_path / name, content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        list(TextSource(pattern).documents())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-be", "utf-32-be", "utf-8-sig"])
def test_marks_tell_the_encoding(tmp_path: Path, encoding: str) -> None:
    text = "Wärm ☃ 🙂\nand more\n"
    mark = "" if encoding in ("utf-16", "utf-32", "utf-8-sig") else "\ufeff"
    (tmp_path / "a.txt").write_bytes((mark + text).encode(encoding))
    assert [document.text for document in TextSource(str(tmp_path / "a.txt")).documents()] == [text]
    (tmp_path / "b.jsonl").write_bytes((mark + '{"text": "one"}\n{"text": "two"}\n').encode(encoding))
    source = TextSource(str(tmp_path / "b.jsonl"))
    if encoding == "utf-8-sig":
        assert [document.text for document in source.documents()] == ["one", "two"]
    else:
        with pytest.raises(DataError, match=r"JSON lines in utf-(16|32)-(le|be); save them as UTF-8"):
            list(source.documents())


def test_json_lines_whatever_they_are_called(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"content": "one"}\n{"oops": 1}\n{"content": "two"}\n')
    source = open_source(f"jsonl:{tmp_path / 'a.json'}")
    assert [document.text for document in source.documents()] == ["one", "two"]
    assert source.problems.dropped == {"no text field": 1}
    assert not source.single_text
