"""C4's lines and pages, FineWeb's shares, papers and the repair of wrong decodings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.data.clean.c4 import C4, c4, count_sentences
from mlxllm.data.clean.fineweb import FineWeb, fineweb
from mlxllm.data.clean.mojibake import Mojibake, mojibake
from mlxllm.data.clean.papers import Papers, papers
from mlxllm.data.clean.prepared import Finding, Prepared

GOOD = [f"This is line number {i} of the page." for i in range(6)]


def c4_text(*lines: str, **settings: bool | int) -> str:
    out = c4(Prepared("\n".join(lines), language="en"), C4(**settings))
    assert isinstance(out, Prepared), out
    return out.text


def c4_reason(*lines: str, **settings: bool | int) -> str:
    out = c4(Prepared("\n".join(lines), language="en"), C4(**settings))
    assert isinstance(out, Finding), out.text
    return out.reason


@pytest.mark.parametrize(
    "line",
    [
        "Home | About us | Contact",
        "It goes on and on...",
        "Two words.",
        f"A word of {'x' * 1001} letters.",
        "Please enable JavaScript to see this page.",
        "Read our Privacy Policy before you go on.",
        "This site uses cookies to work.",
        "",
        "   ",
    ],
)
def test_lines_that_are_taken_out(line: str) -> None:
    assert c4_text(*GOOD[:3], line, *GOOD[3:]) == "\n".join(GOOD)


@pytest.mark.parametrize(
    "line",
    [
        "Three short words.",
        "Is it a question?",
        "What a line!",
        'She said "yes, it is."',
        "She said “yes, it is.”",
        f"A word of {'x' * 1000} letters.",
        "We use biscuits here.",
    ],
)
def test_lines_that_stay(line: str) -> None:
    assert c4_text(*GOOD, line) == "\n".join([*GOOD, line])


def test_each_rule_about_lines_can_be_switched_off() -> None:
    assert c4_text(*GOOD, "A heading without end", sentence_ends=False).endswith("A heading without end")
    assert c4_text(*GOOD, "Two words.", min_words_a_line=2).endswith("Two words.")
    assert c4_text(*GOOD, "It is javascript here.", javascript=False).endswith("here.")
    assert c4_text(*GOOD, "Our cookie policy is here.", policies=False).endswith("here.")
    assert c4_text(*GOOD, "It has one mark[1] here.", citations=False).endswith("mark[1] here.")


def test_citations_are_taken_out_of_their_line() -> None:
    line = "The town[12] is old[citation needed] and small[edit] today.[3]"
    assert c4_text(*GOOD, line).splitlines()[-1] == "The town is old and small today."
    assert c4_text(*GOOD, "The list [a] and x[i] stay here.").endswith("The list [a] and x[i] stay here.")


def test_pages_that_are_dropped() -> None:
    assert c4_reason(*GOOD, "Lorem Ipsum dolor sit amet.") == "c4: lorem ipsum"
    assert c4_reason(*GOOD, "It has function f() { here.") == "c4: curly bracket"
    assert c4_text(*GOOD, "It has function f() { here.", curly_brackets=False).endswith("here.")
    # What is taken out does not count against the page.
    assert c4_text(*GOOD, "function f() {") == "\n".join(GOOD)


def test_fewer_than_five_sentences_are_too_few() -> None:
    assert c4_text("This one stays. So does it. And it too.", "Here is more. And the end.")
    assert c4_reason("This one stays. So does it. And it too.", "Here is the end.") == "c4: too few sentences"


@pytest.mark.parametrize(
    ("line", "sentences"),
    [
        ("One. Two. Three.", 3),
        ("One! Two? Three", 3),
        ('He said "No." She left.', 2),
        ("Version 1.2 is out, e.g. here.", 1),
        ("No end", 1),
        ("", 0),
        ("委员会开会。讨论预算。", 2),
        ("What?! Really...", 2),
    ],
)
def test_sentences_are_counted(line: str, sentences: int) -> None:
    assert count_sentences(line) == sentences


def fineweb_reason(lines: list[str]) -> str | None:
    finding = fineweb(Prepared("\n".join(lines)), FineWeb())
    return finding and finding.reason


def test_fineweb_line_ends() -> None:
    ended = [f"This is the long line number {i} of the page and it ends." for i in range(12)]
    others = [f"This is the long line number {i} of the page and it does not end" for i in range(88)]
    assert fineweb_reason(ended + others) is None
    assert fineweb_reason(ended[1:] + others) == "fineweb: too few lines end a sentence"


def test_fineweb_short_lines() -> None:
    short = [f"A line of thirty letters, {i}.".ljust(30, "!") for i in range(67)]
    assert {len(line) for line in short} == {30}
    long = [f"A line of thirty-one chars, {i}".ljust(30, "!") + "." for i in range(33)]
    assert {len(line) for line in long} == {31}
    assert fineweb_reason(short + long) is None
    assert fineweb_reason([*short, "One more.", *long]) == "fineweb: too many short lines"


def test_fineweb_duplicate_lines() -> None:
    lines = [f"This is a line of forty letters, no. {i:02}." for i in range(99)]
    assert {len(line) for line in lines} == {40}
    assert fineweb_reason([*lines, lines[0]]) is None  # 1 of 100 lines of the same length
    assert fineweb_reason([*lines[:98], lines[0]]) == "fineweb: characters in duplicate lines"


def papers_reason(text: str) -> str | None:
    finding = papers(Prepared(text, language="en"), Papers())
    return finding and finding.reason


def test_papers_have_fifty_words_and_no_word_too_often() -> None:
    others = [f"w{i}" for i in range(100)]
    assert papers_reason(" ".join(others[:50])) is None
    assert papers_reason(" ".join(others[:49])) == "papers: too few words"
    assert papers_reason(" \n") == "papers: too few words"
    assert papers_reason(" ".join(["the"] * 30 + others[:70])) is None
    assert papers_reason(" ".join(["the"] * 31 + others[:69])) == "papers: one word too often"
    assert papers(Prepared("委员会将于星期四再次开会。", language="zh"), Papers()) is None


def mended(text: str) -> str:
    return mojibake(Prepared(text), Mojibake()).text


@pytest.mark.parametrize("text", ["schön", "don’t “go” — now", "naïve café", "Привет, мир", "日本語", "100 € x²"])
@pytest.mark.parametrize("wrong", ["latin-1", "cp1252"])
def test_wrong_decodings_are_put_right(text: str, wrong: str) -> None:
    try:
        broken = text.encode().decode(wrong)
    except UnicodeDecodeError:  # a byte that this character set does not have
        return
    assert broken != text
    assert mended(broken) == text
    assert mended(f"A line before.\n{broken}\nand one behind, as it should be: café.").split("\n")[1] == text


@pytest.mark.parametrize(
    "text",
    [
        "“Curly” quotes — and ‘these’ … stay",
        "ﬁne ligatures",
        "ｗｉｄｅ",
        "&amp;lt; in a text on HTML",
        "a\r\nb",
        "Ärger über Öl",
        "👩‍👩‍👧",
    ],
)
def test_what_is_not_broken_stays(text: str) -> None:
    assert mended(text) == text


def test_control_characters_go_unless_asked_to_stay() -> None:
    assert mended("a\x00b\x1b[31mred\x1b[0m\tand\ttabs") == "abred\tand\ttabs"
    assert mojibake(Prepared("a\x00b"), Mojibake(control_characters=False)).text == "a\x00b"


@given(st.text(max_size=100) | st.binary(max_size=60).map(lambda raw: raw.decode("cp1252", "replace")))
def test_mending_twice_is_mending_once(text: str) -> None:
    once = mended(text)
    assert mended(once) == once
