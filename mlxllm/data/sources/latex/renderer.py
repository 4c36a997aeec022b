r"""A paper's LaTeX to readable text.

The rules, in one place:

    title, headings     `# Title`, `## 2 Methods`, `### 2.1 Data` ...; numbered as LaTeX would, `*` forms without
    abstract            `## Abstract`, behind the title
    math                LaTeX with macros expanded: `$...$`; display math in `$$` lines, `\tag{n}` where it has a label
    lists               `- `, `1. `, `- term: `; nested by indent
    theorems            `Theorem 2 (Name). `; proofs begin `Proof. ` and end in □
    footnotes           `[^1]` in the text, `[^1]: ...` behind the paragraph
    citations           `(Doe, 2019)`, `Doe (2019)` where the bibliography tells authors, otherwise `[12]`
    references          the number that LaTeX would print
    figures, tables     `Figure 1: caption` behind the paragraph; pictures, table bodies and algorithms are left out
    code                between ``` lines; \verb in backquotes
    left out            authors and addresses, the bibliography, comments, what stands behind \end{document}
    kept                the appendix, acknowledgements
    characters          accents, quotes, dashes and signs as Unicode; `~` is a blank, `\\` a line break
"""

from collections.abc import Mapping
from functools import partial

from mlxllm.data.sources.latex import commands
from mlxllm.data.sources.latex.environments import Environments
from mlxllm.data.sources.latex.errors import LatexError
from mlxllm.data.sources.latex.line_commands import LineCommands
from mlxllm.data.sources.latex.page import Page
from mlxllm.data.sources.latex.shape_commands import ShapeCommands


def rendered(files: Mapping[str, str], main: str) -> tuple[str, str]:
    """Title and text of a paper.

    Args:
        files: the text of its files by path.
        main: the path of the file that TeX would be started with.

    Raises:
        LatexError: it cannot be read.
    """
    page = _read(files, main, begun=False)
    if not page.begun:  # plain TeX has no preamble
        page = _read(files, main, begun=True)
    if page.frames and page.blocks.muted:
        raise LatexError("environment without end", page.frames[-1].name)
    page.blocks.close("")
    _read_bibliography(page, main)
    body = page.blocks.text()
    front = [f"# {page.title}"] if page.title else []
    if page.abstract and "## Abstract" not in body:
        front.append(f"## Abstract\n\n{page.abstract}")
    return page.title, page.numbers.resolved("\n\n".join([*front, *([body] if body else [])]))


def _read(files: Mapping[str, str], main: str, *, begun: bool) -> Page:
    page = _page(files)
    page.begun, page.blocks.muted = begun, 0 if begun else 1
    page.inputs.read(main, whole=True)
    page.run()
    return page


def _page(files: Mapping[str, str]) -> Page:
    page = Page(files)
    shaping = Environments(page).commands() | ShapeCommands(page).commands()
    in_lines = LineCommands(page)
    page.commands |= {f"\\{name}": partial(page.pass_over, kinds) for name, kinds in commands.ARGUMENTS.items()}
    page.commands |= in_lines.accents() | shaping | in_lines.commands()
    page.definitions.protected = shaping | in_lines.commands()
    page.definitions.protected_from_packages = page.commands
    return page


def _read_bibliography(page: Page, main: str) -> None:
    """The list of references that BibTeX made, for what citations show; nothing of it becomes text."""
    path = page.inputs.bibliography(main)
    if path and not page.numbers.bibliography.entries:
        page.blocks.muted += 1
        page.inputs.read(path)
        page.run()
        page.blocks.muted -= 1
