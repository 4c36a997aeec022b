"""E-mail and IP addresses, replaced by addresses that are nobody's.

As in FineWeb (Penedo et al. 2024) only public IP addresses are; private and reserved ones lead to nobody. What replaces
them can belong to nobody either: a domain that RFC 2606 sets aside, and the documentation ranges of RFC 5737 and 3849.
"""

import ipaddress
import re

from mlxllm.config import Section
from mlxllm.data.clean.prepared import Prepared

EMAIL = "email@example.com"
IPV4 = "192.0.2.1"
IPV6 = "2001:db8::1"

_LETTER = "A-Za-zÀ-ÖØ-öø-ɏ"
_MOST_LOCAL, _MOST_DOMAIN = 64, 255  # RFC 5321, section 4.5.3.1
# Read from the @ leftwards and rightwards, so that a long text without one costs nothing and each costs little.
_LOCAL_BACKWARDS = re.compile(rf"[{_LETTER}0-9_+-][{_LETTER}0-9._%+-]{{0,{_MOST_LOCAL - 1}}}")
_DOMAIN = re.compile(
    rf"(?:[{_LETTER}0-9](?:[{_LETTER}0-9-]{{0,61}}[{_LETTER}0-9])?\.){{1,8}}[{_LETTER}]{{2,24}}(?![{_LETTER}0-9@])"
)
_IPV4 = re.compile(r"(?<![\w.:+~^=<>-])(?:\d{1,3}\.){3}\d{1,3}(?![\w+-]|\.\d)", re.ASCII)
# Global unicast begins with 2 or 3 (RFC 4291); that keeps C++ names and times out.
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9a-fA-F]{3}:[0-9a-fA-F:]{2,35}(?![\w:])", re.ASCII)
_VERSION = re.compile(
    r"(?:\b(?:v|ver|version|release|rev|revision|build|firmware|driver|update|upgrade|upgraded|patch|section|chapter"
    r"|clause|paragraph)|§|[=<>~^@])[\s.:=\"'()_-]{0,4}(?:(?:to|from|is|of|number|no)\s)?[\"']?$",
    re.IGNORECASE,
)
_LOOK_BACK = 32


class PersonalData(Section):
    """Addresses that lead to a person."""

    emails: bool = True
    """Replace e-mail addresses by email@example.com."""
    ips: bool = True
    """Replace public IP addresses by 192.0.2.1 and 2001:db8::1."""


def personal_data(prepared: Prepared, settings: PersonalData) -> Prepared:
    """The text without the addresses."""
    text = prepared.text
    if settings.emails and "@" in text:
        text = replace_emails(text)
    if settings.ips:
        text = replace_ips(text)
    return prepared.with_text(text)


def replace_emails(text: str) -> str:
    """`text` with each e-mail address replaced.

    A name is of letters, digits and ._%+-, a domain of two parts or more of which the last is of letters: what a
    machine calls user@host, and npm's package@1.2.3, stay.
    """
    parts: list[str] = []
    done, at = 0, text.find("@")
    while at >= 0:
        local = _LOCAL_BACKWARDS.match(text[max(done, at - _MOST_LOCAL) : at][::-1])
        domain = _DOMAIN.match(text, at + 1, at + 1 + _MOST_DOMAIN) if local else None
        if local and domain:
            begin = at - len(local[0].rstrip("._%+-"))
            if begin < at:
                parts += (text[done:begin], EMAIL)
                done = domain.end()
        at = text.find("@", max(at + 1, done))
    return "".join((*parts, text[done:]))


def replace_ips(text: str) -> str:
    """`text` with each public IP address replaced.

    Four numbers with points between them are a version, and stay, where a sign of comparison, a hyphen or a word such as
    v, version, release, build, section stands before them, where one of the four is above 255 or has a leading zero,
    and where more numbers follow.
    """
    if text.count(".") >= 3:
        text = _IPV4.sub(_public_ipv4, text)
    if text.count(":") >= 2:
        text = _IPV6.sub(_public_ipv6, text)
    return text


def _public_ipv4(match: re.Match[str]) -> str:
    before = match.string[max(0, match.start() - _LOOK_BACK) : match.start()]
    return IPV4 if _is_public(match[0]) and not _VERSION.search(before) else match[0]


def _public_ipv6(match: re.Match[str]) -> str:
    return IPV6 if _is_public(match[0]) else match[0]


def _is_public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False
