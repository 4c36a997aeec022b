"""A page as files: Markdown, HTML, and each plot as PNG and SVG."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mlxllm.errors import ConfigError, UserError
from mlxllm.report.blocks import Page
from mlxllm.report.drawing import Plot
from mlxllm.report.html_page import html_page
from mlxllm.report.markdown import markdown

PLOTS = "plots"
_SUFFIXES = (".md", ".html")
_OF_FILES = (".htm", ".markdown", ".pdf", ".txt", ".png", ".svg", ".json", ".docx")
"""Who writes one of these means a file, and would find a folder of that name."""


def write_page(page: Page, plots: Sequence[Plot], out: Path, *, with_plots: bool = False) -> list[Path]:
    """Write a page.

    Args:
        page: what it holds.
        plots: those of the page.
        out: a folder, which gets `report.md` and `report.html`; or a file that ends in one of these, for that alone.
        with_plots: each plot as PNG and SVG as well, in a folder `plots` beside it, which the Markdown then shows.

    Returns:
        The files, the pages first.

    Raises:
        ConfigError: `out` is a file of another kind.
        UserError: something cannot be written.
    """
    single = out.suffix.lower() in _SUFFIXES and not out.is_dir()
    if not single and not out.is_dir() and (out.exists() or out.suffix.lower() in _OF_FILES):
        told = f"{out} is a file" if out.exists() else f"{out.suffix} is no kind of page that can be written"
        raise ConfigError(f"{told}; --out takes a folder, or a file that ends in {' or '.join(_SUFFIXES)}")
    folder = out.parent if single else out
    pages = [out] if single else [folder / "report.md", folder / "report.html"]
    pictures: dict[str, str] = {}
    files: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if with_plots:
            (folder / PLOTS).mkdir(exist_ok=True)
            for plot in plots:
                for suffix, content in ((".png", plot.png()), (".svg", plot.svg())):
                    files.append(folder / PLOTS / f"{plot.name}{suffix}")
                    _write(files[-1], content)
                pictures[plot.name] = f"{PLOTS}/{plot.name}.svg"
        for path in pages:
            text = html_page(page) if path.suffix.lower() == ".html" else markdown(page, pictures)
            _write(path, text.encode("utf-8"))
    except OSError as error:
        raise UserError(f"cannot write {error.filename or out}: {error.strerror or error}") from error
    return [*pages, *files]


def _write(path: Path, content: bytes) -> None:
    """A page that is there stays as it is until the new one is whole."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from error
