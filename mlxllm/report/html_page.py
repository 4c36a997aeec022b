"""A page as one HTML file: styles and plots within it, no script, nothing fetched; for light and dark, phone and paper."""

from collections.abc import Iterator
from html import escape as _escape_html

from mlxllm.report.blocks import (
    Block,
    Commands,
    Fold,
    Page,
    Picture,
    Points,
    Quote,
    Section,
    Table,
    Text,
    number_columns,
)
from mlxllm.report.colours import css_variables
from mlxllm.report.plain import one_line, plain

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Whatever might slip in: the browser runs and fetches nothing."""

_STYLE = """
:root { color-scheme: light dark; LIGHT }
@media (prefers-color-scheme: dark) { :root { DARK } }
@media print { :root { LIGHT } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 46rem; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif }
h1 { font-size: 1.9rem; line-height: 1.15; margin: 0 0 .5rem; overflow-wrap: anywhere }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; padding-top: .7rem; border-top: 1px solid var(--line) }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem }
h4 { font-size: .95rem; margin: 1.2rem 0 .3rem; color: var(--faint) }
.lead { font-size: 1.05rem; color: var(--faint); margin: 0 0 1.4rem }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .6rem; margin: 0 }
.facts div { background: var(--panel); border-radius: .5rem; padding: .65rem .8rem;
  display: flex; flex-direction: column-reverse; justify-content: flex-end }
.facts dt { font-size: .78rem; color: var(--faint); line-height: 1.3 }
.facts dd { margin: 0 0 .1rem; font-size: 1.25rem; font-weight: 600; font-variant-numeric: tabular-nums }
.wide { overflow-x: auto; margin: .6rem 0 1.1rem }
table { border-collapse: collapse; font-size: .88rem; min-width: 50% }
th, td { text-align: left; padding: .28rem .9rem .28rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
th { color: var(--faint); font-weight: 500 }
td { overflow-wrap: break-word; max-width: 26rem }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
pre { background: var(--panel); border-radius: .5rem; padding: .7rem .9rem; margin: .5rem 0 1.1rem; font-size: .8rem;
  line-height: 1.5; font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; white-space: pre-wrap;
  overflow-wrap: anywhere }
blockquote { margin: .5rem 0 1rem; padding: .1rem 0 .1rem .9rem; border-left: 3px solid var(--line);
  white-space: pre-wrap; overflow-wrap: anywhere; font-size: .93rem }
blockquote b { font-weight: 600 } .label { font-size: .78rem; color: var(--faint); margin: 0 }
figure { margin: .8rem 0 1.4rem; overflow-x: auto }
figure svg { display: block; width: 100%; min-width: 26rem; height: auto }
figcaption { font-size: .8rem; color: var(--faint); margin-top: .3rem }
details { margin: .6rem 0 1rem } summary { cursor: pointer; color: var(--faint) }
footer { margin-top: 3rem; padding-top: .8rem; border-top: 1px solid var(--line); font-size: .8rem; color: var(--faint) }
@media print { body { max-width: none; padding: 0; font-size: 10.5pt } figure, tr, blockquote { break-inside: avoid }
  figure svg { min-width: 0 } .facts div { border: 1px solid var(--line) } }
"""


def html_page(page: Page) -> str:
    """The page."""
    style = _STYLE.replace("LIGHT", css_variables("light")).replace("DARK", css_variables("dark"))
    head = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escaped(page.title)}</title>",
        f"<style>{style}</style>",
        "</head>",
        "<body>",
        f"<h1>{escaped(page.title)}</h1>",
        f'<p class="lead">{escaped(page.lead)}</p>',
    ]
    facts = [f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for value, name in page.facts]
    body = [line for block in page.blocks for line in _lines(block, 2)]
    return (
        "\n".join(
            [
                *head,
                '<dl class="facts">',
                *facts,
                "</dl>",
                *body,
                f"<footer>{escaped(page.end)}</footer>",
                "</body>",
                "</html>",
            ]
        )
        + "\n"
    )


def escaped(text: str) -> str:
    """A text in one line that HTML takes for nothing but text."""
    return _escape_html(one_line(text))


def _lines(block: Block, level: int) -> Iterator[str]:
    match block:
        case Text(text):
            yield f"<p>{escaped(text)}</p>"
        case Points(items):
            yield f"<ul>{''.join(f'<li>{escaped(item)}</li>' for item in items)}</ul>"
        case Table():
            yield from _table(block)
        case Commands(lines):
            yield f"<pre>{_escape_html(plain(chr(10).join(lines)))}</pre>"
        case Quote(label, prompt, text):
            given = f"<b>{_escape_html(plain(prompt))}</b>" if prompt else ""
            yield f'<p class="label">{escaped(label)}</p>'
            yield f"<blockquote>{given}{_escape_html(plain(text))}</blockquote>"
        case Picture(_, caption, svg):
            yield f"<figure>{svg}<figcaption>{escaped(caption)}</figcaption></figure>"
        case Fold(title, blocks):
            yield f"<details><summary>{escaped(title)}</summary>"
            for each in blocks:
                yield from _lines(each, level + 1)
            yield "</details>"
        case Section(title, blocks):
            yield f"<h{min(level, 4)}>{escaped(title)}</h{min(level, 4)}>"
            for each in blocks:
                yield from _lines(each, level + 1)


def _table(table: Table) -> Iterator[str]:
    numbers = [' class="n"' if each else "" for each in number_columns(table)]
    yield '<div class="wide"><table>'
    if any(table.header):
        cells = (f"<th{kind}>{escaped(name)}</th>" for name, kind in zip(table.header, numbers, strict=True))
        yield f"<thead><tr>{''.join(cells)}</tr></thead>"
    yield "<tbody>"
    for row in table.rows:
        yield f"<tr>{''.join(f'<td{kind}>{escaped(cell)}</td>' for cell, kind in zip(row, numbers, strict=True))}</tr>"
    yield "</tbody></table></div>"
