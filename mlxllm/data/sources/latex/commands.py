"""What is known of LaTeX's commands: which take arguments that are no text, and what environments hold.

A command that stands in no table is passed over and what is in the braces behind it is read as text: that is right for
fonts, boxes and most commands of packages.
"""


def _each(names: str, kinds: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), kinds)


ARGUMENTS = {
    # Nothing of these is text.
    **_each(
        "author authors affiliation address affil institute institution date thanks email ead orcid orcidlink", "om"
    ),
    **_each(
        "orcidID authorrunning titlerunning authornote titlenote inst corref cortext fntext corresp dedicatory", "om"
    ),
    **_each(
        "altaffiliation altaffilmark altaffiltext altaffil affiliations authorsaddresses correspondingauthor", "om"
    ),
    **_each(
        "shorttitle shortauthors slugcomment subjclass pacs PACS MSC preprint reportnumber ccsdesc received",
        "om",
    ),
    **_each(
        "accepted revised published copyrightyear setcopyright acmConference acmDOI acmISBN acmYear acmPrice", "*om"
    ),
    **_each("acmSubmissionID acmBooktitle IEEEauthorblockA IEEEauthorblockN IEEEauthorrefmark IEEEpubid onlineid", "m"),
    **_each("city country state postcode department icmlkeywords shortcites todo listoftodos missingfigure", "om"),
    **_each(
        "index glossary bibliography putbib bibliographystyle nocite addbibresource externaldocument bibdata", "om"
    ),
    **_each("pagestyle thispagestyle pagenumbering graphicspath phantom hphantom vphantom hyphenation markright", "m"),
    **_each(
        "captionsetup lstset hypersetup geometry setcitestyle bibpunct citestyle urlstyle usetikzlibrary tikzset", "om"
    ),
    **_each("pgfplotsset theoremstyle newcounter stepcounter refstepcounter usecounter newlength setmainfont", "*om"),
    **_each(
        "selectlanguage includeonly allowdisplaybreaks titlefont fancyhead fancyfoot lhead rhead chead lfoot", "om"
    ),
    **_each(
        "cfoot rfoot DeclareGraphicsExtensions AtBeginDocument AtEndDocument makeindex linespread mathversion", "m"
    ),
    **_each("sout marginpar marginnote lstdefinestyle lstdefinelanguage enlargethispage noalign cline sisetup", "*om"),
    **_each("endnotetext bstctlcite pdfinfo special message typeout write", "*om"),
    **_each("vspace addvspace newsavebox savebox sbox usebox setstretch DeclareOption PassOptionsToClass", "*om"),
    **_each("setlength addtolength setcounter addtocounter newcolumntype settowidth settoheight settodepth", "mm"),
    **_each(
        "markboth PassOptionsToPackage newfont crefname Crefname crefformat Crefformat bibfield bibnamefont", "omm"
    ),
    **_each("restylefloat floatname colorlet contentsline deffootnote SetKwInOut SetKw SetKwFunction", "omm"),
    **_each("icmlauthor icmlaffiliation icmlcorrespondingauthor rule", "omm"),
    **_each("definecolor providecolor addcontentsline newfloat titlespacing DeclareFontFamily", "*ommm"),
    **_each("DeclareMathAlphabet DeclareSymbolFont DeclareFontShape DeclareMathSymbol SetSymbolFont", "mmmmm"),
    **_each("SetMathAlphabet titleformat", "*mmmmm"),
    **_each("includegraphics epsfig psfig epsfbox epsffile plotone includesvg includepdf", "*oom"),
    **_each("pagebreak nopagebreak linebreak nolinebreak printbibliography", "o"),
    # Lengths and numbers without braces.
    **_each(
        "vskip kern mkern lower raise moveleft moveright hsize vsize parskip parindent baselineskip textwidth", "d"
    ),
    **_each("textheight oddsidemargin evensidemargin topmargin headheight headsep footskip columnsep tabcolsep", "d"),
    **_each(
        "arraycolsep itemsep parsep topsep leftmargin rightmargin marginparwidth marginparsep hoffset voffset", "d"
    ),
    **_each(
        "magnification abovedisplayskip belowdisplayskip abovecaptionskip belowcaptionskip tolerance hbadness", "d"
    ),
    **_each("vbadness hfuzz vfuzz penalty widowpenalty clubpenalty hangindent hangafter looseness overfullrule", "d"),
    **_each("pretolerance textfloatsep floatsep intextsep dblfloatsep dbltextfloatsep lineskip brokenpenalty", "d"),
    **_each("normalbaselineskip emergencystretch interfootnotelinepenalty displaywidowpenalty partopsep leftskip", "d"),
    **_each(
        "listparindent labelwidth labelsep rightskip parfillskip mathsurround arrayrulewidth fboxsep fboxrule", "d"
    ),
    **_each("interdisplaylinepenalty pageno", "d"),
    **_each("catcode lccode uccode mathcode sfcode delcode", "c"),
    # These arguments are no text; the one behind them is, and is read on.
    **_each("textcolor colorbox href color rotatebox scalebox foreignlanguage", "om"),
    **_each("fcolorbox resizebox multicolumn fontsize adjustbox", "*omm"),
    **_each("parbox", "ooom"),
    **_each("makebox framebox hyperref", "oo"),
    **_each("raisebox", "moo"),
    **_each("multirow", "omom"),
    **_each("hypertarget hyperlink hyperdef fontfamily fontseries fontshape", "m"),
    **_each("usefont", "mmmm"),
}
"""What to take behind a command, by its name: `*` a star, `o` what is in brackets, `m` what is in braces, `d` a length,
`c` a character and a number."""

SWITCHES = frozenset(
    (
        "it bf rm tt sl sc sf em cal noindent indent centering raggedright raggedleft large Large LARGE huge Huge normalsize "
        "small footnotesize scriptsize tiny bfseries itshape ttfamily sffamily rmfamily mdseries upshape scshape slshape "
        "normalfont par relax protect newpage clearpage smallskip medskip bigskip null leavevmode maketitle boldmath "
        "unboldmath singlespacing doublespacing onehalfspacing begingroup endgroup bgroup egroup hfill vfill eject "
        "frenchspacing sloppy fussy strut allowbreak onecolumn flushbottom raggedbottom tableofcontents listoffigures "
        "listoftables IEEEpeerreviewmaketitle cleardoublepage nonumber hrule vrule ignorespaces"
    ).split()
)
"""Commands without arguments: a bracket behind them is text."""

HEADINGS = {
    "part": 1,
    "chapter": 1,
    "section": 1,
    "subsection": 2,
    "subsubsection": 3,
    "paragraph": 4,
    "subparagraph": 4,
}
"""Depth of each heading below the title."""

FLOATS = {
    **_each("figure wrapfigure SCfigure sidewaysfigure floatingfigure teaserfigure marginfigure", "Figure"),
    **_each("table wraptable sidewaystable longtable deluxetable margintable supertabular xtabular", "Table"),
    **_each("algorithm algorithm2e procedure function listing", "Algorithm"),
}
"""Environments of which only the caption is kept, with the word in front of its number."""

DROPPED = frozenset(
    (
        "tabular tabularx tabulary tabu tblr longtabu tikzpicture pspicture picture overpic forest circuitikz pgfpicture "
        "algorithmic algorithmicx tabbing thebibliography CCSXML icmlauthorlist subfigure subtable subcaptionblock asy xy "
        "feynmandiagram psfrags comment references IEEEbiography IEEEbiographynophoto biography axis fmffile fmfgraph "
        "diagram tikzcd authgrp affiliations lrbox tablenotes"
    ).split()
)
"""Environments of which nothing is kept."""

DISPLAYS = frozenset(
    (
        "equation displaymath align eqnarray gather multline flalign alignat xalignat dmath IEEEeqnarray dgroup eqalign "
        "subeqnarray darray empheq"
    ).split()
)
"""Environments that hold display math."""

THEOREMS = {
    name.lower(): name
    for name in (
        "Theorem Lemma Proposition Corollary Definition Remark Example Conjecture Claim Question Problem Fact Assumption "
        "Observation Exercise Note"
    ).split()
}
"""Environments that classes bring along; a paper's own `\\newtheorem` goes before."""

ITEMIZE = frozenset(
    (
        "itemize enumerate description compactitem compactenum inparaenum asparaenum inlinelist list trivlist tightitemize "
        "tightenumerate compactdesc"
    ).split()
)
"""Environments of `\\item`s."""
