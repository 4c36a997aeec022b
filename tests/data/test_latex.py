import time
from itertools import pairwise

import pytest

from mlxllm.data.sources.latex import LatexError, gullet
from mlxllm.data.sources.latex.renderer import rendered
from mlxllm.data.sources.latex.tokens import tokenize, untokenize


def text(body: str, preamble: str = "", **files: str) -> str:
    main = f"\\documentclass{{article}}\n{preamble}\n\\begin{{document}}\n{body}\n\\end{{document}}\nnot text"
    named = {name.replace("__", "."): content for name, content in files.items()}
    return rendered({"main.tex": main, **named}, "main.tex")[1]


def test_a_paper_from_title_to_appendix() -> None:
    paper = text(
        r"""
        \maketitle
        \begin{abstract}We count.\end{abstract}
        \section{Methods}\label{m}
        First line % remark
        goes on. See Section~\ref{a} and \cite{two}.

        New paragraph\footnote{A note.} here.
        \subsection*{Aside} Words.
        \section{More} Then \S\ref{m}.
        \appendix
        \section{Proofs}\label{a} The end.
        \begin{thebibliography}{9}\bibitem{one} A. One.\bibitem{two} B. Two.\end{thebibliography}
        """,
        r"\title{A \emph{good} title\thanks{Grant 7}}\author{Jane Doe}\date{May}",
    )
    assert paper == (
        "# A good title\n\n## Abstract\n\nWe count.\n\n## 1 Methods\n\nFirst line goes on. See Section A and [2].\n\n"
        "New paragraph[^1] here.\n\n[^1]: A note.\n\n### Aside\n\nWords.\n\n## 2 More\n\nThen §1.\n\n## A Proofs\n\nThe end."
    )


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (
            r"G\"odel, Erd\H{o}s, na\"{\i}ve, \c{c}a, \'{E}tale, \v Skoda, {\L}\'od\'z, \o re",
            "Gödel, Erdős, naïve, ça, Étale, Škoda, Łódź, øre",
        ),
        ("``Quoted'' and `single', pages 3--5---so", "“Quoted” and ‘single’, pages 3–5—so"),
        (r"5\% of \$3 \& \#1 a\_b~c \{x\} \S 2 3\textdegree", r"5% of \$3 & #1 a_b c {x} §2 3°"),
        (
            r"{\bf bold} \textit{it} \textcolor{red}{red} \href{http://a.b/%20}{link} \url{http://a.b/x_y%7E#z}",
            "bold it red link http://a.b/x_y%7E#z",
        ),
        (r"\vspace*{2mm}a \hspace{1cm}b\vskip 2pt plus 1fil c\parskip=4pt", "a bc"),
        (r"\verb|a_b%c| and \texttt{x\_y}", "`a_b%c` and x_y"),
        (r"\unknown[opt]{kept} \foo text", "kept text"),
        (r"a\\b \\[2pt] c", "a\nb\nc"),
        (r"\enquote{x}, 10\textsuperscript{th}, \sout{gone}H\textsubscript{2}O", "“x”, 10$^{th}$, H$_{2}$O"),
        ("no%\nbreak and %x\n\n% y\nnext", "nobreak and\n\nnext"),
        (r"\fbox{a}\mbox{b} \raisebox{1ex}[2pt]{c} \multicolumn{2}{c}{d}", "ab c d"),
    ],
)
def test_what_stands_in_a_line(source: str, shown: str) -> None:
    assert text(source) == shown


@pytest.mark.parametrize(
    ("preamble", "source", "shown"),
    [
        (r"\newcommand{\R}{\mathbb{R}}", r"$\R^n$ in \(\R\)", r"$\mathbb{R}^n$ in $\mathbb{R}$"),
        (r"\newcommand{\n}[2][2]{\|#2\|_{#1}}", r"$\n{x}+\n[1]{y}$", r"$\|x\|_{2}+\|y\|_{1}$"),
        (r"\def\p<#1,#2>{(#1; #2)}", r"\p<a,b c>.", "(a; b c)."),
        (r"\DeclareMathOperator*{\am}{arg\,min}", r"$\am_x$", r"$\operatorname*{arg\,min}_x$"),
        (r"\let\old\phi \let\phi\varphi \let\varphi\old", r"$\phi\varphi$", r"$\varphi \phi$"),
        (
            r"\newcommand{\e}{\ensuremath{\epsilon}}\newcommand\x{X\xspace}",
            r"\e{} and $\e$, \x is \x.",
            r"$\epsilon$ and $\epsilon$, X is X.",
        ),
        (r"\def\be{\begin{equation}}\def\ee{\end{equation}}", r"a \be x=1 \ee b", "a\n\n$$\nx=1\n$$\n\nb"),
        (r"\newenvironment{w}[1]{(#1: }{)}", r"\begin{w}{q}z\end{w}", "(q: z)"),
        (
            r"\newif\ifdraft\drafttrue",
            r"\ifdraft yes\else no\fi \iffalse \if a b \fi never\fi \ifx\a\undefined u\fi",
            "yesu",
        ),
        (r"\NewDocumentCommand{\k}{s m O{z}}{<#2>}", r"\k*{a} \k{b}[c]", "<a> <b>"),
        (r"\makeatletter\def\@x{in}\newcommand{\y}{\@x ner}\makeatother", r"\y@", "inner@"),
        (r"\renewcommand{\section}[1]{nothing}", r"\section{S} t", "## 1 S\n\nt"),
        (r"\usepackage{own}", r"\mine{b} \theirs c", "[b] c"),
        (r"\long\def\skip#1\endskip{}", r"a \skip lost" "\n\n" r"lost \endskip b", "a b"),
        (r"\def\d{\mathrm{d}}", r"$\d x$", r"$\mathrm{d}x$"),
    ],
)
def test_macros(preamble: str, source: str, shown: str) -> None:
    package = r"\newcommand{\mine}[1]{[#1]} \def\theirs{\@internal} \def\section{no} {\def\hidden{x}}"
    assert text(source, preamble, own__sty=package) == shown


def test_display_math_keeps_its_numbers() -> None:
    paper = text(
        r"""By \eqref{b} and (\ref{a}),
        \begin{equation}\label{a} x = 1, \end{equation}
        so
        \begin{align} y &= 2 \label{b}\\ &= 3 \nonumber \\[3pt] z &= \begin{cases}1\\2\end{cases} \label{c} \end{align}
        $$ w $$ \[ v \] \begin{eqnarray*} u &=& t \end{eqnarray*} \ref{c}, \Cref{a,b}."""
    )
    assert paper == (
        "By (2) and (1),\n\n$$\nx = 1, \\tag{1}\n$$\n\nso\n\n$$\n\\begin{align}\ny &= 2 \\tag{2} \\\\\n&= 3 \\\\\n"
        "z &= \\begin{cases}1\\\\2\\end{cases} \\tag{3}\n\\end{align}\n$$\n\n$$\nw\n$$\n\n$$\nv\n$$\n\n"
        "$$\n\\begin{eqnarray*}\nu &=& t\n\\end{eqnarray*}\n$$\n\n3, Equations (1) and (2)."
    )


def test_lists_theorems_proofs() -> None:
    paper = text(
        r"""\section{S}
        \begin{thm}[Name]\label{t} True. \begin{enumerate} \item one \item\label{i} two
          \begin{itemize} \item in \end{itemize} \item three

          more \end{enumerate} \end{thm}
        \begin{proof} By \ref{i}. \end{proof} \begin{proof}[Proof of \ref{t}] Done.\qed \end{proof}
        \begin{lem} L. \end{lem}\begin{rem} R. \end{rem}
        \begin{description}\item[Term] what \end{description} After.""",
        r"\newtheorem{thm}{Theorem}[section]\newtheorem{lem}[thm]{Lemma}\newtheorem*{rem}{Remark}",
    )
    assert paper == (
        "## 1 S\n\nTheorem 1.1 (Name). True.\n\n1. one\n2. two\n   - in\n3. three\n\n   more\n\nProof. By 2. □\n\n"
        "Proof of 1.1. Done.□\n\nLemma 1.2. L.\n\nRemark. R.\n\n- Term: what\n\nAfter."
    )


def test_floats_leave_their_captions_behind_the_paragraph() -> None:
    paper = text(
        r"""Before \begin{figure}\includegraphics[scale=2]{a}\caption[s]{What $x$ is.}\label{f}\end{figure} after \ref{f}.
        \begin{table}\begin{tabular}{l}cell \footnote{no}\end{tabular}\caption{T\footnote{yes}}\end{table}
        \begin{tikzpicture}\node{no};\end{tikzpicture}
        \begin{lstlisting}[language=C]
int x; % kept
        \end{lstlisting}"""
    )
    assert paper == (
        "Before after 1.\n\nFigure 1: What $x$ is.\n\nTable 1: T[^1]\n\n[^1]: yes\n\n```\nint x; % kept\n```"
    )


def test_what_waits_comes_behind_the_paragraph_and_not_before_its_formula() -> None:
    paper = text(
        r"""As\footnote{N.} shown, \begin{figure}\caption{F}\end{figure}
        $$ a \eqno(5) $$ holds.

        \section*{References}
        \begin{thebibliography}{1}\bibitem{k} K.\end{thebibliography}"""
    )
    assert paper == "As[^1] shown,\n\n$$\na \\tag{5}\n$$\n\nholds.\n\n[^1]: N.\n\nFigure 1: F"


BBL = r"""\begin{thebibliography}{2}
\expandafter\ifx\csname natexlab\endcsname\relax\def\natexlab#1{#1}\fi
\bibitem[{Doe and {M\"u}ller(2019{\natexlab{a}})Doe, M{\"u}ller}]{doe}
J. Doe. \newblock \emph{T}.
\bibitem[{Roe et~al.(2020)}]{roe} R.
\end{thebibliography}"""


@pytest.mark.parametrize(
    ("preamble", "source", "shown"),
    [
        (
            r"\usepackage{natbib}",
            r"\citet{doe} say \citep[see][p.~3]{doe,roe}, \citeauthor{roe} \citeyear{roe}, \cite{roe}",
            "Doe and Müller (2019a) say (see Doe and Müller, 2019a; Roe et al., 2020, p. 3), "
            "Roe et al. 2020, Roe et al. (2020)",
        ),
        (r"\usepackage[numbers]{natbib}", r"\citet{roe} in \cite{doe,roe}", "Roe et al. [2] in [1, 2]"),
        (r"\usepackage{acl}", r"\cite{doe}", "(Doe and Müller, 2019a)"),
        ("", r"see~\cite{unknown,doe}.", "see [??, 1]."),
    ],
)
def test_citations_show_what_the_bibliography_tells(preamble: str, source: str, shown: str) -> None:
    acl = r"\RequirePackage{natbib}\renewcommand\cite{\citep}"
    assert text(source + r"\bibliography{refs}", preamble, main__bbl=BBL, acl__sty=acl) == shown


def test_inputs_are_followed_inside_the_paper_only() -> None:
    paper = rendered(
        {
            "src/main.tex": r"\documentclass{article}\begin{document}A \input{b} \include{sub/c}\input ../../etc/passwd "
            r"\input{/etc/passwd} \input{missing}\subfile{d} Z\end{document}",
            "src/b.tex": r"B \input{main} \input{b} ",
            "src/sub/c.tex": "C \\endinput nothing",
            "src/d.tex": r"\documentclass[main]{subfiles}\begin{document}D\end{document} no",
            "passwd": "secret",
        },
        "src/main.tex",
    )[1]
    assert paper == "A B C D Z"


def test_latex_209_and_plain_tex() -> None:
    old = r"\documentstyle[12pt,own]{article} \begin{document} \title{Old} {\bf Bold} \section{One} $\x$ \end{document}"
    assert rendered({"a.tex": old, "own.sty": r"\def\x{X}"}, "a.tex")[1] == "# Old\n\nBold\n\n## 1 One\n\n$X$"
    begun_elsewhere = {
        "a.tex": r"\documentclass{x} \title{No} words \input{b} B \end{document}",
        "b.tex": r"\begin{document}A",
    }
    assert rendered(begun_elsewhere, "a.tex")[1] == "# No\n\nA B"
    plain = r"\magnification=1200 \hsize=6in \centerline{\bf Title} \def\x#1{<#1>} One \x{2}.\par Two. \bye tail"
    assert rendered({"a.tex": plain}, "a.tex")[1] == "Title One <2>.\n\nTwo."


def bomb(names: str) -> str:
    return "".join(rf"\def\{a}{{\{b}\{b}}}" for a, b in pairwise(names)) + rf"\{names[0]}"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (r"\def\a{x\a}\a", "macros without end"),
        (r"\def\a#1{\a{#1#1}}\a{xyz}", "macros without end"),
        (bomb("abcdefghijklmnopqrstuvwxyz"), "macros without end"),
        (r"\newcommand{\a}[1]{" + "#1" * 10 + "}" + r"\a{" * 9 + "x" + "}" * 9, "macros without end"),
        (r"\input{loop}" * 5000, "macros without end"),
        (r"\footnote{" * 100 + "}" * 100, "nested too deeply"),
        (r"\begin{itemize}\item " * 1000, "nested too deeply"),
        (r"\begin{figure} all of it", "environment without end"),
        (r"\def\a{\begin{verbatim}" + "x" * 500_000 + r"\end{verbatim}}" + r"\a" * 100, "text too long"),
    ],
)
def test_a_bomb_ends(source: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gullet, "MOST_TOKENS", 200_000)
    with pytest.raises(LatexError) as caught:
        text(source, loop__tex="x " * 1000)
    assert caught.value.reason == reason


def test_a_bomb_ends_soon_by_the_real_limit() -> None:
    began = time.process_time()
    with pytest.raises(LatexError, match="2,500,000 tokens"):
        text(bomb("abcdefghijklmnopqrstuvwxyz"))
    assert time.process_time() - began < 20


@pytest.mark.parametrize(
    "source",
    [
        r"\section \footnote{ \begin{foo} $x \item } \end{bar} \frac \"",
        r"\def\def\newcommand\newcommand{\a}[x]{#3}\a \let \csname \expandafter",
        r"\caption{a}\bibitem{b}\item\cite{}\ref{}\title{}\\[ \verb| \begin{verbatim} \begin{align}",
        "{" * 5000 + "x" + "}" * 6000,
        "$" * 4001,
        "\ud7ff\ufffe \\",
    ],
)
def test_broken_latex_is_read_as_far_as_it_goes(source: str) -> None:
    assert text(f"before {source}").startswith("before")


def test_tokens() -> None:
    assert tokenize("a\\foo  b%c\n  \\'e\n\n~``x''#1") == [
        "a", "\\foo", "b", "\\'", "e", "\\par", "~", "``", "x", "''", "#1",
    ]  # fmt: skip
    source = r"\alpha x_{1}+\frac{a}{b}\in \mathbb{R}"
    assert untokenize(tokenize(source)) == r"\alpha x_{1}+\frac{a}{b}\in \mathbb{R}"
