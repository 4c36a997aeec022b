"""MathML as one line of text: x², a/b, √(x + 1), Σ as a letter; LaTeX where the markup brings it along."""

import re
from typing import Any

from mlxllm.data.sources.biomedical.superscripts import lowered, raised

_ACCENTS = {
    ".": "\u0307", "˙": "\u0307", "¨": "\u0308", "^": "\u0302", "ˆ": "\u0302", "~": "\u0303", "˜": "\u0303", "∼": "\u0303",
    "¯": "\u0304", "‾": "\u0304", "−": "\u0304", "-": "\u0304", "_": "\u0304", "→": "\u20d7",
}  # fmt: skip
_RELATIONS = frozenset("=<>≤≥≠≈≡∼∝→←↔⇒∈∉⊂⊆∪∩+±∓×·÷∗*−")
_NOT_SHOWN = str.maketrans("", "", "\u2061\u2062\u2063\u2064")
_LATEX_BODY = re.compile(r"\\begin\{document\}(.*?)(?:\\end\{document\}|\Z)", re.DOTALL)


def math_text(element: Any) -> str:
    """The text of a `math` element or of one inside it; at most 256 levels deep, as the parser sees to."""
    tag = _local(element)
    children = list(element)
    if tag in ("annotation", "annotation-xml", "mphantom", "maligngroup", "malignmark", "none", "mprescripts"):
        return ""
    if tag == "mspace":
        return " "
    if not children:
        text = " ".join((element.text or "").translate(_NOT_SHOWN).split())
        if tag == "mtext":
            return f" {text} " if text else " "
        # A relation or a sign between two terms stands between spaces; one in front of a term does not.
        infix = (
            tag == "mo" and text in _RELATIONS and element.getprevious() is not None and element.getnext() is not None
        )
        return f" {text} " if infix and text else text
    if tag == "mfrac" and len(children) == 2:
        return f"{_grouped(math_text(children[0]))}/{_grouped(math_text(children[1]))}"
    if tag in ("msup", "msub", "msubsup") and len(children) == (3 if tag == "msubsup" else 2):
        return _scripts(tag, [math_text(child).strip() for child in children])
    if tag in ("mover", "munder") and len(children) == 2:
        base, mark = math_text(children[0]).strip(), math_text(children[1]).strip()
        if mark in _ACCENTS:
            return base + _ACCENTS[mark]
        return _scripts("msup" if tag == "mover" else "msub", [base, mark])
    if tag == "munderover" and len(children) == 3:
        return _scripts("msubsup", [math_text(child).strip() for child in children])
    if tag == "msqrt":
        return f"√{_grouped(''.join(map(math_text, children)), always=True)}"
    if tag == "mroot" and len(children) == 2:
        return f"{_grouped(math_text(children[0]), always=True)}^(1/{math_text(children[1]).strip()})"
    if tag == "mfenced":
        inner = (element.get("separators") or ",").strip()[:1] or ","
        return (element.get("open") or "(") + f"{inner} ".join(map(math_text, children)) + (element.get("close") or ")")
    between = {"mtable": "; ", "mtr": ", ", "mlabeledtr": ", "}.get(tag, "")
    text = between.join(map(math_text, children))
    return " ".join(text.split()) if tag == "math" else text


def latex_text(latex: str) -> str:
    """The formula of a `tex-math` element, which often holds a whole LaTeX document around it."""
    body = _LATEX_BODY.search(latex)
    formula = " ".join((body[1] if body else latex).split())
    for fence in ("$$", "$"):
        if formula.startswith(fence) and formula.endswith(fence) and len(formula) > 2 * len(fence):
            formula = formula[len(fence) : -len(fence)].strip()
    for opening, closing in ((r"\[", r"\]"), (r"\(", r"\)")):
        if formula.startswith(opening) and formula.endswith(closing):
            formula = formula[2:-2].strip()
    return f"${formula}$" if formula else ""


def _scripts(tag: str, parts: list[str]) -> str:
    base, *scripts = parts
    text = base or ""
    for sign, script in zip({"msup": "^", "msub": "_", "msubsup": "_^"}[tag], scripts, strict=True):
        if script == "":
            continue
        if sign == "^":
            text += raised(script)
        elif (low := lowered(script)) != script:
            text += low
        else:
            text += f"_{script}" if script.isalnum() else f"_({script})"
    return text


def _grouped(text: str, always: bool = False) -> str:
    text = text.strip()
    return text if not always and re.fullmatch(r"[\w.∂Δ]+", text) else f"({text})"


def _local(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]
