"""Licences that let one use code in any way: the list of the Blue Oak Council, by which BigCode chose too.

Version 15 of it (https://blueoakcouncil.org/list, CC0-1.0), all ratings from model to lead, by SPDX identifiers.
"""

from collections.abc import Iterable

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


def permitted(licences: Iterable[str], wanted: frozenset[str] | None) -> bool:
    """Whether all licences of a file are wanted, permissive ones where `wanted` is None; one may not know which holds."""
    names = [licence.lower() for licence in licences]
    return bool(names) and all(name in (PERMISSIVE if wanted is None else wanted) for name in names)
