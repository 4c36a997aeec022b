"""Articles of PubMed Central as text: what is read, what is left out, and how lines of it are written."""

from typing import Any

import pytest

from mlxllm.data.sources.base import Document, Dropped
from mlxllm.data.sources.biomedical.jats import NO_TEXT, article_document
from mlxllm.data.sources.biomedical.jats_inline import line
from mlxllm.data.sources.biomedical.xml_text import parse_xml

PREFIXES = 'xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:mml="http://www.w3.org/1998/Math/MathML"'


def article(body: str, meta: str = "", more: str = "") -> Document | Dropped:
    xml = (
        f"<article {PREFIXES} article-type='research-article'><front><article-meta>{meta}</article-meta></front>"
        f"<body>{body}</body><back><ref-list><ref><mixed-citation>LEFT OUT</mixed-citation></ref></ref-list>"
        f"<ack><p>LEFT OUT</p></ack></back>{more}</article>"
    )
    return article_document(parse_xml(xml.encode()), "here", "pubmed")


def text(body: str, meta: str = "", more: str = "") -> str:
    made = article(body, meta, more)
    assert isinstance(made, Document)
    return made.text


def inline(xml: str) -> str:
    return line(parse_xml(f"<p {PREFIXES}>{xml}</p>".encode()))


def cited(*numbers: str, between: str = ",") -> str:
    return between.join(f'<xref ref-type="bibr" rid="b">{number}</xref>' for number in numbers)


@pytest.mark.parametrize(
    ("xml", "read"),
    [
        (f"shown before [{cited('3', '4')}].", "shown before."),
        (f"shown [{cited('1', '9', between='-')}] and [{cited('12')}], too", "shown, too"),
        (f"ranges {cited('[1]', '[3]', between='–')}, {cited('[5]')} here", "ranges here"),
        (f"a point.<sup>{cited('1', '2')}</sup> Next", "a point. Next"),
        (f"a point<sup>[{cited('7')}]</sup>, next", "a point, next"),
        (f"as in [{cited('3')}], and see {cited('[4]')}.", "as in [3], and see [4]."),
        (f"by Amir <i>et al. </i>[{cited('10')}]. Then", "by Amir et al. Then"),
        (f"(Table 1; {cited('12')}) and ({cited('13')}; Table 2)", "(Table 1) and (Table 2)"),
        (f"units [{cited('44')}, pp. 57-59.] but [[{cited('5')}], their figure]. So", "units but. So"),
        (f"({cited('Smith et al. 2004', 'Jones 2005a', between='; ')})", "(Smith et al. 2004; Jones 2005a)"),
        (f"Smith ({cited('2004')}) found", "Smith (2004) found"),
        (f"f() and rbind( ) [{cited('1')}] {cited('')}", "f() and rbind( )"),
        ('see <xref ref-type="fig" rid="f">Fig. 1</xref> (<xref ref-type="table">Table 2</xref>)', "see Fig. 1 (Table 2)"),
        ('value<xref ref-type="fn" rid="n"><sup>a</sup></xref> and<fn><p>LEFT OUT</p></fn> so', "value and so"),
    ],
)  # fmt: skip
def test_citations_leave_no_empty_brackets(xml: str, read: str) -> None:
    assert inline(xml) == read


@pytest.mark.parametrize(
    ("xml", "read"),
    [
        ("10<sup>-6</sup> M Ca<sup>2+</sup>, <sup>14</sup>C, m<sup>−2 </sup>s", "10⁻⁶ M Ca²⁺, ¹⁴C, m⁻² s"),
        ("H<sub>2</sub>O, V<sub>max</sub>, VO<sub>2max</sub>, F<sub>1,13</sub>", "H₂O, Vmax, VO₂max, F₁,₁₃"),
        ("CD4<sup>low</sup> Rb<sup>+/−</sup> 1<sup>st</sup> 37<sup>o</sup>C", "CD4^low Rb⁺/⁻ 1st 37°C"),
        ("<i>R</i><sup><i>2 </i></sup>= 1, e<sup>-kt + 1</sup>", "R² = 1, e^(-kt + 1)"),
        ("<italic>E.\n   coli</italic>\u2009cells\u00a0a\u200bb<break/>c", "E. coli cells ab c"),
        ("<inline-formula><tex-math>\\documentclass{m}\\begin{document}$$x_1 &lt; 2$$\\end{document}</tex-math>"
         "<mml:math><mml:mi>y</mml:mi></mml:math></inline-formula>.", "$x_1 < 2$."),
        ("so <inline-formula><mml:math><mml:msup><mml:mi>x</mml:mi><mml:mn>2</mml:mn></mml:msup><mml:mo>=</mml:mo>"
         "<mml:mfrac><mml:mrow><mml:mi>a</mml:mi><mml:mo>+</mml:mo><mml:mn>1</mml:mn></mml:mrow><mml:mi>b</mml:mi>"
         "</mml:mfrac></mml:math></inline-formula>.", "so x² = (a + 1)/b."),
        ("<mml:math><mml:msqrt><mml:mover><mml:mi>V</mml:mi><mml:mo>.</mml:mo></mml:mover></mml:msqrt></mml:math>",
         "√(V\u0307)"),
    ],
)  # fmt: skip
def test_inline_markup_is_kept_as_text(xml: str, read: str) -> None:
    assert inline(xml) == read


def test_an_article_reads_in_the_order_of_its_sections() -> None:
    meta = (
        "<title-group><article-title>A <italic>fine</italic> title</article-title><subtitle>Two</subtitle></title-group>"
        "<abstract><sec><title>Aim</title><p>To see.</p></sec></abstract>"
        "<abstract abstract-type='summary'><title>Author Summary</title><p>We saw.</p></abstract>"
        "<abstract abstract-type='graphical'><p>LEFT OUT</p></abstract><trans-abstract><p>LEFT OUT</p></trans-abstract>"
    )
    body = """<sec><label>1.</label><title>Methods</title><p>First.</p>
        <fig><label>LEFT OUT</label><caption><p>LEFT OUT</p></caption></fig>
        <sec><title>Deep</title><p>Second: <list list-type="order"><list-item><p>one</p></list-item><list-item><p>two</p>
            <list><list-item><p>inner</p></list-item></list></list-item></list> and on.</p></sec>
        <sec><title>Only a table</title><table-wrap><table><tr><td>LEFT OUT</td></tr></table></table-wrap></sec></sec>
        <sec><title>Formulas</title><p>As <disp-formula><label>(1)</label><tex-math>E = mc^2</tex-math></disp-formula>
            shows.</p><boxed-text><caption><title>Box</title></caption><p>In it.</p></boxed-text>
            <def-list><def-item><term>TH</term><def><p>thyroid hormone</p></def></def-item></def-list>
            <disp-quote><p>Said.</p></disp-quote><statement><label>Theorem 1</label><p>Holds.</p></statement>
            <preformat>a  b\n c</preformat></sec>
        <sec sec-type="supplementary-material"><title>Data</title><p>LEFT OUT</p></sec>
        <sec><title>Acknowledgements</title><p>LEFT OUT</p></sec>"""
    more = "<sub-article><body><p>LEFT OUT</p></body></sub-article><response><body><p>LEFT OUT</p></body></response>"
    assert text(body, meta, more).split("\n\n") == [
        "# A fine title: Two", "## Abstract", "### Aim", "To see.", "## Author Summary", "We saw.",
        "## 1. Methods", "First.", "### Deep", "Second:", "1. one\n2. two\n  - inner", "and on.",
        "## Formulas", "As", "$E = mc^2$ (1)", "shows.", "### Box", "In it.", "TH: thyroid hormone", "Said.",
        "Theorem 1. Holds.", "a  b\n c",
    ]  # fmt: skip


def test_a_body_without_headings_is_set_off_from_the_abstract() -> None:
    meta = "<abstract><sec><title>Aim</title><p>To see.</p></sec></abstract>"
    assert text("<p>Long ago.</p>", meta) == "## Abstract\n\n### Aim\n\nTo see.\n\n## Main text\n\nLong ago."
    assert text("<p>Long ago.</p>") == "Long ago."
    assert article("<fig><caption><p>A picture.</p></caption></fig>") == Dropped(
        NO_TEXT, "here", "neither an abstract nor a body"
    )


@pytest.mark.parametrize(
    ("permissions", "licence"),
    [
        ('<license xlink:href="http://creativecommons.org/licenses/by/2.0"><license-p>x</license-p></license>', "CC BY 2.0"),
        ('<license><license-p>See <ext-link xlink:href="https://creativecommons.org/licenses/by-nc-nd/4.0/">it</ext-link>'
         "</license-p></license>", "CC BY-NC-ND 4.0"),
        ('<ali:license_ref xmlns:ali="http://www.niso.org/schemas/ali/1.0/">'
         "https://creativecommons.org/licenses/by/4.0/</ali:license_ref>", "CC BY 4.0"),
        ('<license xlink:href="https://creativecommons.org/publicdomain/zero/1.0/"/>', "CC0 1.0"),
        ("<license><license-p>Under the Creative Commons Attribution Non-Commercial License</license-p></license>",
         "CC BY-NC"),
        ("<license><license-p>Creative Commons Attribution License, all uses</license-p></license>", "CC BY"),
        ('<license license-type="public-domain"><license-p>Free.</license-p></license>', "public domain"),
        ("<copyright-statement>All rights reserved.</copyright-statement>", ""),
    ],
)  # fmt: skip
def test_licences_have_their_short_names(permissions: str, licence: str) -> None:
    made: Any = article("<p>Text.</p>", f"<permissions>{permissions}</permissions>")
    assert made.metadata.get("licence", "") == licence


def test_metadata_says_which_article_it_is() -> None:
    meta = (
        '<article-id pub-id-type="pmid">21810267</article-id><article-id pub-id-type="pmc">3166277</article-id>'
        '<article-id pub-id-type="doi">10.1/x</article-id><title-group><article-title>T</article-title></title-group>'
    )
    made: Any = article("<p>Text.</p>", meta)
    assert made.metadata == {
        "title": "T", "language": "en", "category": "research-article", "pmc": "PMC3166277", "pmid": "21810267",
        "doi": "10.1/x",
    }  # fmt: skip


def test_a_tree_as_deep_as_the_parser_takes_is_read() -> None:
    deep = 240
    assert text("<p>" + "<italic>" * deep + "x" + "</italic>" * deep + "</p>") == "x"
    assert "deep" in text("<sec>" * deep + "<p>deep</p>" + "</sec>" * deep)
