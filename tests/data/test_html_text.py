import codecs
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.data.sources.html_text import NoTextError, decoded_page, page_text
from tests.data.warc_files import PARAGRAPH, html

RUSSIAN = "Старый мост построен из камня, который приплыл по реке на плотах, и стоит уже триста лет. " * 3
JAPANESE = "古い橋は川を下って運ばれた石で造られ、三百年のあいだ立っている。①髙橋さんが渡る。" * 3
KOREAN = "오래된 다리는 강을 따라 내려온 돌로 지어졌고 삼백 년 동안 서 있었다. 똠방각하가 건넌다. " * 3
CHINESE = "古老的桥是用顺流而下的石头建造的,已经屹立了三百年。朱镕基走过。" * 3
FRENCH = "Le vieux pont a été bâti de pierres descendues par la rivière ; il a coûté 300 € – c’est « peu ». " * 3


def page(text: str, charset: str = "") -> str:
    return html(text, head=f'<meta charset="{charset}">' if charset else "")


@pytest.mark.parametrize(
    ("text", "written", "stated"),
    [
        (FRENCH, "utf-8", "utf-8"),
        (FRENCH, "cp1252", "iso-8859-1"),
        (FRENCH, "cp1252", "windows-1252"),
        (RUSSIAN, "cp1251", "windows-1251"),
        (RUSSIAN, "koi8-r", "koi8-r"),
        (JAPANESE, "cp932", "shift_jis"),
        (JAPANESE.replace("①髙", ""), "euc-jp", "euc-jp"),
        (JAPANESE.replace("①髙", ""), "iso-2022-jp", "iso-2022-jp"),
        (KOREAN, "cp949", "euc-kr"),
        (CHINESE, "gb18030", "gb2312"),
        (CHINESE, "utf-16-le", "utf-16le"),
    ],
)
def test_a_stated_charset_is_read(text: str, written: str, stated: str) -> None:
    assert text in decoded_page(page(text).encode(written), f"text/html; charset={stated.upper()}")
    if not written.startswith("utf-16"):
        assert text in decoded_page(page(text, stated).encode(written), "text/html")
        xml = f'<?xml version="1.0" encoding="{stated}"?>{page(text)}'
        assert text in decoded_page(xml.encode(written), "application/xhtml+xml")


def test_the_header_comes_before_the_page_and_a_mark_before_both() -> None:
    assert RUSSIAN in decoded_page(page(RUSSIAN, "koi8-r").encode("cp1251"), "text/html; charset=windows-1251")
    for mark, charset in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        text = decoded_page(mark + page(RUSSIAN, "koi8-r").encode(charset), "text/html; charset=koi8-r")
        assert text == page(RUSSIAN, "koi8-r")
    assert decoded_page(codecs.BOM_UTF8 + b"<p>x", "") == "<p>x"


@pytest.mark.parametrize(
    "stated", ["iso-8859-1", "windows-1251", "utf-16", "us-ascii", "none", "utf8mb4", "x" * 300, "\u2603", ""]
)
def test_text_in_utf_8_is_never_taken_for_anything_else(stated: str) -> None:
    for text in (FRENCH, RUSSIAN, JAPANESE):
        assert text in decoded_page(page(text, stated).encode(), f"text/html; charset={stated}")


@pytest.mark.parametrize(
    ("text", "charset"),
    [(RUSSIAN, "cp1251"), (RUSSIAN, "koi8-r"), (JAPANESE, "cp932"), (FRENCH, "cp1252"), (KOREAN, "cp949")],
)
def test_a_charset_that_nobody_states_is_guessed(text: str, charset: str) -> None:
    assert text in decoded_page(page(text).encode(charset), "text/html")
    assert text in decoded_page(page(text, "utf-8").encode(charset), "text/html; charset=utf-8"), "or states wrongly"


def test_a_page_that_was_cut_in_a_character_is_still_utf_8() -> None:
    for stated in ("utf-8", ""):
        text = decoded_page(
            page(RUSSIAN).encode()[:-140][: len(page("").encode()) + 99], f"text/html; charset={stated}"
        )
        assert RUSSIAN[:20] in text


@pytest.mark.parametrize(
    "data", [bytes(range(256)) * 40, b"\x89PNG\r\n\x1a\n" + bytes(500), b"\xff\xfe" + bytes(400), b"\x00" * 100]
)
def test_what_is_no_text_is_told_from_text(data: bytes) -> None:
    with pytest.raises(NoTextError, match="characters are none in"):
        decoded_page(data, "text/html; charset=utf-8")


@given(
    st.binary(max_size=300), st.sampled_from(["", "text/html", "text/html; charset=utf-8", "charset=hz", "charset=7"])
)
def test_any_bytes_are_text_or_not(data: bytes, content_type: str) -> None:
    try:
        made = page_text(decoded_page(data, content_type), 100)
    except NoTextError:
        return
    made.text.encode()


def test_the_main_content_is_what_a_reader_came_for() -> None:
    made = page_text(html(PARAGRAPH, "The second &amp; last paragraph stands below it, as it should."), 100)
    assert made.title == "A page"
    assert made.text == f"A page\n\n{PARAGRAPH}\n\nThe second & last paragraph stands below it, as it should."


def test_structure_is_kept_as_lines() -> None:
    made = page_text(
        html(
            PARAGRAPH,
            "</p><table><tr><td>stone</td><td>1724</td></tr></table><pre>def f():\n    return 1</pre><p>",
            "</p><ol><li>first</li><li>second</li></ol><p>",
            "Water<sup class='reference'><a href='#1'>[1]</a></sup> flows.<br>Below.",
            "</p><h2>History<span class='mw-editsection'>[edit]</span></h2><p>",
            "<img src='a.png' alt='a picture'><script>alert(1)</script><style>p {}</style><noscript>on</noscript>",
        ),
        100,
    )
    lines = made.text.split("\n")
    assert "stone\t\t1724" in lines
    assert "    return 1" in lines
    assert "  1. first" in lines
    assert "Water flows." in lines
    assert "Below." in lines
    assert "History" in lines
    for gone in ("alert", "{}", "picture", "[edit]", "[1]", "Home", "rights"):
        assert gone not in made.text
    assert "\n\n\n" not in made.text


def test_a_list_of_sentences_is_content_and_a_list_of_names_is_a_menu() -> None:
    sentences = [f"{PARAGRAPH} It is <a href='/{number}'>number {number}</a>." for number in range(5)]
    items = "".join(f"<li>{sentence}</li>" for sentence in sentences)
    menu = "".join(f"<li><a href='/{name}'>The {name} of this whole website and of others</a></li>" for name in "abcd")
    for around in (
        "{}",
        "<div>{}</div>",
        "<div><div>{}</div></div>",
        "<main><div><div><div>{}</div></div></div></main>",
    ):
        shown = page_text(
            f"<body>{around.format(f'<p>{PARAGRAPH}</p><ul>{items}</ul><ul>{menu}</ul>')}</body>", 100
        ).text
        assert shown.count("It is number") == 5, around
        assert "whole website" not in shown
    inside = page_text(f"<body><p>{PARAGRAPH}</p><nav><ul>{items}</ul></nav></body>", 100).text
    assert inside == PARAGRAPH


def test_a_page_without_content_shows_what_it_has() -> None:
    made = page_text("<body><nav><ul><li><a href='/'>Home of nothing</a></li></ul></nav></body>", 8)
    assert (made.text, made.everything) == ("", "• Home o")
    assert page_text("", 8).text == ""
    assert page_text("<frameset><frame src=a></frameset>", 8).text == ""


@pytest.mark.parametrize("tag", ["div", "b", "ul", "table><tr><td", "blockquote", "span"])
def test_elements_inside_of_each_other_without_end_are_refused_at_once(tag: str) -> None:
    began = time.process_time()
    with pytest.raises(NoTextError, match="inside of each other"):
        page_text(f"<body>{f'<{tag}>' * 50_000}text", 100)
    assert PARAGRAPH in page_text(f"<body>{'<div>' * 200}<p>{PARAGRAPH}", 100).text
    assert time.process_time() - began < 5


def test_a_page_of_many_lists_takes_no_square_of_their_number() -> None:
    began = time.process_time()
    lists = f"<ul><li>{PARAGRAPH} <a href=x>more</a></li></ul>" * 4000
    assert page_text(f"<body>{lists}", 100).text.count(PARAGRAPH) == 4000
    items = f"<li>{PARAGRAPH} <a href=x>more</a></li>" * 4000
    assert page_text(f"<body><ul>{items}</ul>", 100).text.count(PARAGRAPH) == 4000
    assert time.process_time() - began < 5
