"""Licences of code: which let one use it in any way, and which one a text is.

The list is that of the Blue Oak Council, by which BigCode chose too: version 15
(https://blueoakcouncil.org/list, CC0-1.0), all ratings from model to lead, by SPDX identifiers.
"""

import difflib
import re
from collections.abc import Mapping, Sequence

from mlxllm.data.sources.options import names_option
from mlxllm.errors import ConfigError

PERMISSIVE = frozenset(
    """
    0BSD AAL Adobe-2006 ADSL AFL-1.1 AFL-1.2 AFL-2.0 AFL-2.1 AFL-3.0 Afmparse AMDPLPA AML AMPAS ANTLR-PD
    ANTLR-PD-fallback Apache-1.0 Apache-1.1 Apache-2.0 APAFML Artistic-1.0 Artistic-1.0-cl8 Artistic-1.0-Perl
    Artistic-2.0 Bahyph Barr bcrypt-Solar-Designer Beerware blessing BlueOak-1.0.0 Borceux BSD-1-Clause
    BSD-2-Clause BSD-2-Clause-Darwin BSD-2-Clause-FreeBSD BSD-2-Clause-NetBSD BSD-2-Clause-Patent
    BSD-2-Clause-Views BSD-3-Clause BSD-3-Clause-Attribution BSD-3-Clause-Clear BSD-3-Clause-HP
    BSD-3-Clause-LBNL BSD-3-Clause-Modification BSD-3-Clause-No-Nuclear-License-2014
    BSD-3-Clause-No-Nuclear-Warranty BSD-3-Clause-Open-MPI BSD-3-Clause-Sun BSD-4-Clause BSD-4-Clause-Shortened
    BSD-4-Clause-UC BSD-Source-Code BSL-1.0 bzip2-1.0.5 bzip2-1.0.6 CC0-1.0 CECILL-B CFITSIO check-cvs
    ClArtistic Clips CNRI-Jython CNRI-Python CNRI-Python-GPL-Compatible Condor-1.1 Crossword CrystalStacker Cube
    curl diffmark DOC DSDP ECL-1.0 ECL-2.0 EFL-1.0 EFL-2.0 eGenix Entessa Fair FSFAP FSFUL FSFULLR FTL fwlw
    Giftware GLWTPL hdparm HPND HPND-export-US HPND-Fenneberg-Livingston HPND-sell-regexpr HTMLTIDY IBM-pibs ICU
    IJG IJG-short ImageMagick Info-ZIP Intel Intel-ACPI ISC Jam JasPer-2.0 Kazlib Leptonica Libpng libpng-2.0
    libtiff Linux-OpenIB LPL-1.0 LPL-1.02 LPPL-1.3c LZMA-SDK-9.22 McPhee-slideshow MirOS MIT MIT-0
    MIT-advertising MIT-CMU MIT-enna MIT-feh MIT-Modern-Variant MIT-open-group MIT-testregex MIT-Wu MITNFA
    mpich2 MS-PL MTLL MulanPSL-1.0 MulanPSL-2.0 Multics Mup NAIST-2003 NASA-1.3 Naumen NBPL-1.0 NCSA Net-SNMP
    NetCDF Newsletr NICTA-1.0 NIST-Software NLPL NRL NTP NTP-0 OFFIS OGL-Canada-2.0 OGTSL OLDAP-1.1 OLDAP-1.2
    OLDAP-1.3 OLDAP-1.4 OLDAP-2.0 OLDAP-2.0.1 OLDAP-2.1 OLDAP-2.2 OLDAP-2.2.1 OLDAP-2.2.2 OLDAP-2.3 OLDAP-2.4
    OLDAP-2.5 OLDAP-2.6 OLDAP-2.7 OLDAP-2.8 OML OpenSSL PHP-3.0 PHP-3.01 Plexus PostgreSQL PSF-2.0 psutils
    Python-2.0 python-ldap Qhull Rdisc RSA-MD Ruby Saxpath SGI-B-2.0 SHL-0.5 SMLNJ snprintf Spencer-86
    Spencer-94 Spencer-99 SSH-short SunPro SWL Symlinks TCL TCP-wrappers TU-Berlin-1.0 TU-Berlin-2.0 UCAR
    Unicode-DFS-2015 Unicode-DFS-2016 UnixCrypt Unlicense UPL-1.0 Vim VSL-1.0 W3C W3C-19980720 W3C-20150513
    Wsuipa WTFPL X11 Xerox Xfig XFree86-1.1 xinetd xlock Xnet xpp XSkat Zed Zend-2.0 Zlib zlib-acknowledgement
    ZPL-1.1 ZPL-2.0 ZPL-2.1
    """.lower().split()
)
"""In lower case: identifiers are compared without it (SPDX specification, annex on licence expressions)."""

ANY, PERMISSIVE_ONLY = "any", "permissive"


class LicenceChoice:
    """Which licences a user wants."""

    def __init__(self, kind: str, options: Mapping[str, str], default: str) -> None:
        """The option `licence` (or `license`) of a source of that kind.

        Raises:
            ConfigError: it is not understood.
        """
        options = {"licence": options.get("licence") or options.get("license") or default}
        names = names_option(kind, options, "licence")
        self.written = "+".join(sorted(names))
        """As it stands in a specification."""
        known = (ANY, PERMISSIVE_ONLY)
        near = difflib.get_close_matches(self.written, known, n=1, cutoff=0.7)
        if near and self.written not in known:
            raise ConfigError(f"source {kind!r} knows no licence={self.written}; did you mean {near[0]!r}?")
        self._names = PERMISSIVE if self.written == PERMISSIVE_ONLY else names

    @property
    def is_any(self) -> bool:
        """Whether nothing is asked of it."""
        return self.written == ANY

    def takes(self, licences: Sequence[str]) -> bool:
        """Whether all licences of a file are wanted; which of several holds for it may not be known."""
        return self.is_any or (bool(licences) and all(each.lower() in self._names for each in licences))

    def takes_expression(self, licence: str) -> bool:
        """The same for an SPDX expression: of A OR B one may choose."""
        return self.is_any or any(self.takes(each.split(" AND ")) for each in licence.split(" OR ") if each)


_BLANKS = re.compile(r"[\s*#/;-]+")
_SPDX = re.compile(r"SPDX-License-Identifier:\s*\(?([A-Za-z0-9.+-]+(?: (?:OR|AND|WITH) [A-Za-z0-9.+-]+)*)\)?")
_HEAD_CHARS, _TITLE_CHARS = 20_000, 400
_TITLES = (
    ("AGPL-3.0", "gnu affero general public license version 3"),
    ("LGPL-3.0", "gnu lesser general public license version 3"),
    ("LGPL-2.1", "gnu lesser general public license version 2.1"),
    ("LGPL-2.0", "gnu library general public license version 2"),
    ("GPL-3.0", "gnu general public license version 3"),
    ("GPL-2.0", "gnu general public license version 2"),
    ("Apache-2.0", "apache license version 2.0"),
    ("MPL-2.0", "mozilla public license version 2.0"),
    ("EPL-2.0", "eclipse public license v 2.0"),
    ("EPL-1.0", "eclipse public license v 1.0"),
    ("BSL-1.0", "boost software license version 1.0"),
    ("Artistic-2.0", "the artistic license 2.0"),
    ("CC0-1.0", "cc0 1.0 universal"),
    ("BlueOak-1.0.0", "blue oak model license version 1.0.0"),
)
"""How the text of a licence begins; longer names first."""
_BSD = "redistribution and use in source and binary forms"
_PHRASES = (
    ("Unlicense", ("this is free and unencumbered software released into the public domain",)),
    ("PSF-2.0", ("python software foundation license version 2",)),
    ("Zlib", ("altered source versions must be plainly marked", "this notice may not be removed or altered")),
    ("MIT", ("permission is hereby granted free of charge to any person obtaining a copy", "shall be included in all")),
    ("MIT-0", ("permission is hereby granted free of charge to any person obtaining a copy",)),
    ("BSD-4-Clause", (_BSD, "all advertising materials mentioning features")),
    ("BSD-3-Clause", (_BSD, "neither the name")),
    ("BSD-2-Clause", (_BSD, "in the documentation and or other materials")),
    (
        "ISC",
        ("permission to use copy modify and or distribute this software for any purpose", "copyright notice and this"),
    ),
    ("0BSD", ("permission to use copy modify and or distribute this software for any purpose",)),
    ("WTFPL", ("do what the fuck you want to public license",)),
)
"""Phrases that a licence has and those before it have not all."""


def licence_of(text: str) -> str:
    """The SPDX identifier of the licence that a text is, or names as one; "" where that cannot be told."""
    if (named := _SPDX.search(text, 0, _HEAD_CHARS)) is not None:
        return named[1]
    plain = re.sub(r"[,:\"'()<>]", "", _BLANKS.sub(" ", text[:_HEAD_CHARS])).lower()
    plain = re.sub(r" +", " ", plain)
    found = [(at, name) for name, title in _TITLES if 0 <= (at := plain.find(title)) < _TITLE_CHARS]
    if found:
        return min(found)[1]
    return next((name for name, phrases in _PHRASES if all(phrase in plain for phrase in phrases)), "")
