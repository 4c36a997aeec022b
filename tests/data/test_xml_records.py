"""Finding the records of an XML file without parsing it: whatever the chunks, the damage and the encoding."""

import contextlib
import re
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.data.sources.biomedical import xml_records
from mlxllm.data.sources.biomedical.xml_records import (
    CUT_OFF,
    TOO_LARGE,
    Element,
    NoXmlError,
    OtherContentError,
    XmlRecords,
)
from mlxllm.data.sources.biomedical.xml_text import BadXmlError, parse_xml
from mlxllm.data.sources.files import DamagedFileError

NAMES = frozenset(("article", "PubmedArticle"))
ROOTS = frozenset(("set",))


def read(data: bytes, size: int = 1 << 16) -> tuple[list[Element], XmlRecords]:
    file = XmlRecords((data[at : at + size] for at in range(0, len(data), size)), NAMES, ROOTS)
    return list(file), file


def texts(data: bytes, size: int = 1 << 16) -> list[str]:
    found, file = read(data, size)
    return ["".join(parse_xml(file.wrapped(one.xml)).itertext()) for one in found if not one.problem]


# Pieces that look like tags of records and are none, and text that has to be escaped.
INSIDE = st.sampled_from(
    ["<article-title>t</article-title>", "<!-- <article> </article> -->", "<![CDATA[</article>]]>", "<x a='>'/>"]
) | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Co"]), max_size=9).map(escape)


@given(st.lists(st.lists(INSIDE, max_size=4).map("".join), max_size=5), st.integers(1, 40))
def test_records_are_those_of_an_xml_parser_however_the_bytes_are_cut(records: list[str], size: int) -> None:
    one = "".join(f'<article  id="a>b">{record}</article >\n' for record in records)
    whole = f'<?xml version="1.0"?>\n<!DOCTYPE set [<!ENTITY e "<article>no</article>">]>\n<set><!-- <article> -->{one}</set>'
    expected = ["".join(e.itertext()) for e in ElementTree.fromstring(whole).iter("article")]
    assert texts(whole.encode(), size) == expected


@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_bytes_end_in_records_or_in_a_reason(data: bytes, size: int) -> None:
    for begin in (b"", b"<set><article>", b"<article>"):
        with contextlib.suppress(OtherContentError):
            found, _ = read(begin + data, size)
            assert all(one.xml or one.problem for one in found)


def test_damage_costs_the_records_it_is_in() -> None:
    good = b"<article>good</article>"
    found, file = read(b"<set>" + good + b"<article>lost <b" + good + b"<article>" + b"half")
    assert [one.problem for one in found] == ["", CUT_OFF, "", CUT_OFF]
    assert [one.byte for one in found] == [5, 28, 44, 67]
    assert file.damage == "the XML ends early"
    # Not well-formed, but its end is there: found, and refused by the parser.
    (bad, after), file = read(b"<set><article>a < b & c</b></article>" + good + b"</set>")
    with pytest.raises(BadXmlError):
        parse_xml(file.wrapped(bad.xml))
    assert parse_xml(file.wrapped(after.xml))[0].text == "good"
    assert not file.damage


def test_what_breaks_off_is_salvaged_up_to_there() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"<set><article>one</article><article>tw"
        raise DamagedFileError("gzip data ends early")

    file = XmlRecords(chunks(), NAMES, ROOTS)
    assert [one.problem for one in file] == ["", CUT_OFF]
    assert file.damage == "gzip data ends early"


def test_a_record_without_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml_records, "MOST_RECORD_BYTES", 1000)
    long = b"<article>" + b"x" * 5000 + b"</article>"
    for size in (64, 100_000):
        found, _ = read(b"<set>" + long + b"<article>short</article></set>", size)
        assert [(one.problem, len(one.xml)) for one in found] == [(TOO_LARGE, 0), ("", 24)]
    held = XmlRecords((b"<set><article>" if i == 0 else b"y" * 500 for i in range(400)), NAMES, ROOTS)
    assert [one.problem for one in held] == [CUT_OFF]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "iso-8859-1", "windows-1252", "ascii"]
)
def test_encodings_are_those_of_the_mark_or_the_declaration(encoding: str) -> None:
    text = "na\u00efve" if encoding != "ascii" else "plain"
    declared = {"utf-8-sig": "UTF-8", "utf-16": "UTF-16", "utf-16-le": "UTF-16"}.get(encoding, encoding)
    whole = f'<?xml version="1.0" encoding="{declared}"?><set><article>{text}</article></set>'
    assert texts(whole.encode(encoding), 7) == [text]


def test_bytes_that_are_not_of_the_encoding_cost_one_record() -> None:
    found, file = read(b"<set><article>\xff</article><article>good</article></set>")
    with pytest.raises(BadXmlError):
        parse_xml(file.wrapped(found[0].xml))
    assert parse_xml(file.wrapped(found[1].xml))[0].text == "good"


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (b"", NoXmlError, "an empty file"),
        (b"  \n ", NoXmlError, "an empty file"),
        (b"{}", NoXmlError, "no XML: it begins with '{}'"),
        (b"\x89PNG\r\n", NoXmlError, "no XML: it begins with the bytes 89 50 4e 47 0d 0a"),
        (b"<html><article>x</article></html>", OtherContentError, "XML with the root element <html>"),
        (
            b'<?xml version="1.0" encoding="rot13"?><set/>',
            OtherContentError,
            "an encoding that is not known here, 'rot13'",
        ),
    ],
)
def test_other_files_are_refused_by_what_they_are(data: bytes, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=re.escape(message)):
        read(data)


def test_prefixes_declared_above_a_record_hold_in_it_and_entities_never_do() -> None:
    data = b"""<!DOCTYPE set [<!ENTITY x SYSTEM "file:///etc/hostname"><!ENTITY y "yyy">]>
        <set xmlns:z="urn:z"><article><z:i z:a="1">in</z:i>&x;&y;&alpha;&nbsp;a & b<![CDATA[ & &y;]]></article></set>"""
    assert texts(data) == ["in&x;&y;\u03b1\u00a0a & b & &y;"]


def test_files_one_behind_the_other_are_read_to_the_last() -> None:
    assert texts(b"<?xml version='1.0'?><set><article>1</article></set>\n" * 2 + b"<article>2</article>") == [
        "1",
        "1",
        "2",
    ]


def test_spaces_may_stand_before_everything() -> None:
    data = b" \n" * 500 + b"<set><article>late</article></set>"
    for size in (3, 100, len(data)):
        assert texts(data, size) == ["late"]


@pytest.mark.parametrize(
    "piece",
    [
        b"<!-- ",
        b"<a ",
        b'<a "',
        b"<!DOCTYPE [",
        b"<![CDATA[",
        b"</article",
        b"<article ",
        b'<article "',
        b"[" * 9,
        b"<!x",
    ],
)
def test_crafted_bytes_take_no_longer_than_others(piece: bytes) -> None:
    began = time.process_time()
    for begin in (b"<set>", b"<set><article>"):
        read(begin + piece * (1_000_000 // len(piece)), 1 << 18)
    assert time.process_time() - began < 10  # a second or so; hours, were each piece looked at from each other one
