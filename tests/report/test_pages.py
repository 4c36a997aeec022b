"""Pages as Markdown and HTML: what somebody else wrote is text in them and nothing else."""

from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from mlxllm.report.blocks import Block, Commands, Fold, Page, Points, Quote, Section, Table, Text
from mlxllm.report.curves import Curves, Series
from mlxllm.report.html_page import html_page
from mlxllm.report.markdown import markdown
from mlxllm.report.plots import loss_plot
from mlxllm.report.words import duration

NASTY = [
    "<script>alert(1)</script>",
    "</style></pre></blockquote><img src=x onerror=alert(1)>",
    "![x](http://example.org/track.png) [y](javascript:alert(1)) <http://example.org>",
    "https://example.org www.example.org a@example.org",
    "```\n</details>\n# heading\n```",
    "``````` and ~~~ and `code`",
    "| a | b |\n|---|---|\n| c | d |",
    "# heading",
    "- item",
    "1. first",
    "> quoted",
    "---",
    "===",
    "&lt;b&gt; &amp; \\",
    "**bold** __bold__ *it* _it_ ~~gone~~ $x$",
    "[ref]: http://example.org",
    "<!-- hidden",
    "<![CDATA[ x ]]>",
    "\u202eright to left\u2066 \u200bnothing \x1b[31mred\x00",
    "line\r\nend\u2028sep",
]


def page_of(text: str) -> Page:
    """The text in every place that a page has for one."""
    blocks: list[Block] = [
        Text(text),
        Points([text, text]),
        Table([text, "n"], [[text, "1"], [text, "2"]]),
        Quote(text, text, text),
        Commands([text]),
        Fold(text, [Text(text), Quote(text, text, text)]),
        Section(text, [Section(text, [Text(text)])]),
    ]
    return Page(text, text, [(text, text)], blocks, text)


class Tags(HTMLParser):
    """All tags with their attributes, and all text that is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.comments: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


def parsed(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    tags.close()
    return tags


def rendered(text: str) -> str:
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text)


@pytest.mark.parametrize("text", NASTY)
def test_no_text_becomes_markup(text: str) -> None:
    plain = page_of("word")
    page = page_of(text)
    html, usual = parsed(html_page(page)), parsed(html_page(plain))
    assert html.tags == [*usual.tags]
    assert html.attributes == usual.attributes
    assert not html.comments
    marked, usual = parsed(rendered(markdown(page, {}))), parsed(rendered(markdown(plain, {})))
    assert marked.tags == usual.tags
    assert marked.attributes == usual.attributes
    assert not marked.comments


@settings(max_examples=40)
@given(st.text(alphabet=st.sampled_from("<>&\"'`*_[]()!#-+=|\\~$:/@.\n\t 1aB\u202e\x1b"), max_size=30))
def test_no_mixture_of_signs_becomes_markup(text: str) -> None:
    # A letter before: what is empty leaves out an element, and that is no markup of the text's.
    page, usual = page_of(f"a{text}"), page_of("a")
    assert parsed(html_page(page)).tags == parsed(html_page(usual)).tags
    assert parsed(rendered(markdown(page, {}))).tags == parsed(rendered(markdown(usual, {}))).tags


def test_what_is_written_can_be_read() -> None:
    text = "a < b & c > d \"e\" 'f' * g_h [i](j) 100 % $5"
    assert "".join(parsed(html_page(page_of(text))).text).count(text) >= 10
    assert "".join(parsed(rendered(markdown(page_of(text), {}))).text).count(text) >= 10


def test_a_page_needs_nothing_from_elsewhere_and_has_no_script() -> None:
    curves = Curves()
    curves.train["loss"] = Series()
    for step in range(5):
        curves.train["loss"].add(step, 5.0 - step)
    plot = loss_plot([("</text><script>x</script> $a$ & run", curves)], "loss", 'a "caption" <b>', "nats")
    assert plot is not None
    svg = parsed(plot.in_page())
    assert "script" not in svg.tags
    assert ("aria-label", 'a "caption" <b>') in svg.attributes
    page = html_page(page_of("word"))
    tags = parsed(page)
    assert not {"script", "link", "iframe", "img", "object", "embed"} & {*tags.tags}
    assert not [value for name, value in tags.attributes if name in ("src", "href") or name.startswith("on")]
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page
    assert "@import" not in page
    assert "url(" not in page


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(59.4, "59 s"), (59.7, "1 min 00 s"), (119.6, "2 min 00 s"), (599.7, "10 min"), (3599.0, "1 h 00 min")],
)
def test_no_minute_has_sixty_seconds(seconds: float, told: str) -> None:
    assert duration(seconds) == told
