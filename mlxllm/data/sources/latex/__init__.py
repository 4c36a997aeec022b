"""LaTeX papers to readable text: `project` finds the files, `gullet` expands macros, `renderer` states the rules."""

from mlxllm.data.sources.latex.errors import LatexError

__all__ = ["LatexError", "read_paper"]


def read_paper(eprint: bytes) -> tuple[str, str]:
    """Title and text of a paper from its e-print as arXiv distributes it.

    Raises:
        LatexError: it does not become text; its `reason` is one of a few.
    """
    from mlxllm.data.sources.latex.project import paper_files  # only where there are papers
    from mlxllm.data.sources.latex.renderer import rendered

    files, main = paper_files(eprint)
    try:
        title, text = rendered(files, main)
    except RecursionError:
        raise LatexError("nested too deeply", main) from None
    if not any(character.isalpha() for character in text):
        raise LatexError("no text", main)
    return title, text
