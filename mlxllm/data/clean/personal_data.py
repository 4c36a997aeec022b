"""E-mail and IP addresses, replaced by addresses that are nobody's.

As in FineWeb (Penedo et al. 2024) only public IP addresses are; private and reserved ones lead to nobody. What replaces
them can belong to nobody either: a domain that RFC 2606 sets aside, and the documentation ranges of RFC 5737 and 3849.
"""

import functools
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
    rf"(?:[{_LETTER}0-9](?:[{_LETTER}0-9-]{{0,61}}[{_LETTER}0-9])?\.){{1,126}}[{_LETTER}]{{2,24}}(?!-?[{_LETTER}0-9@])"
)
# What stands right before or behind may already show that it is a version: foo-1.2.3.4, Firefox/1.5.0.7, 1.2.3.4-beta.
_IPV4 = re.compile(
    r"(?<![\w.+~^])(?<![A-Za-z][/-])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\w|[+-][A-Za-z])",
    re.ASCII,
)
# Global unicast begins with 2 or 3 (RFC 4291); that keeps C++ names and times out.
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9a-fA-F]{3}:[0-9a-fA-F:]{2,35}(?![\w:])", re.ASCII)
# These begin with a fixed character, which makes looking for them in vain several times as fast.
_PERHAPS_IPV4 = re.compile(r"\.\d{1,3}\.\d{1,3}\.\d", re.ASCII)
_PERHAPS_IPV6 = re.compile(r":[0-9a-fA-F]{0,4}:")
_LOOK_BACK = 40
_BETWEEN = " \t\n.:=\"'()[]>_-"
_SMALL_WORDS = (" to", " from", " is", " of", " number", " no")
_VERSION_WORDS = (
    *("version", "release", "firmware", "driver", "build", "update", "upgrade", "upgraded", "patch"),
    *("section", "sections", "chapter", "clause", "§"),
)
_VERSION_SHORT = re.compile(r"(?<![a-z])(?:v|ver|rev|rv)\Z")
_COMPARISONS = ("==", ">=", "<=", "~=", "!=", "~>")


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
        domain = _DOMAIN.match(text, at + 1, at + 2 + _MOST_DOMAIN) if local else None
        if local and domain and len(domain[0]) <= _MOST_DOMAIN:
            begin = at - len(local[0].rstrip("._%+-"))
            if begin < at:
                parts += (text[done:begin], EMAIL)
                done = domain.end()
        at = text.find("@", max(at + 1, done))
    return "".join((*parts, text[done:]))


def replace_ips(text: str) -> str:
    """`text` with each public IP address replaced.

    Four numbers with points between them are taken for a version or a section, and stay, where such a word (v, version,
    release, build, update, section ...) or a comparison (==, >=, ~>) stands before them, or a name and a hyphen or slash;
    where a hyphen and a letter, or a fifth part, follows; and where one is above 255 or has a leading zero.
    """
    if _PERHAPS_IPV4.search(text):
        text = _IPV4.sub(_public_ipv4, text)
    if _PERHAPS_IPV6.search(text):
        text = _IPV6.sub(_public_ipv6, text)
    return text


def _public_ipv4(match: re.Match[str]) -> str:
    before = match.string[max(0, match.start() - _LOOK_BACK) : match.start()].lower()
    return IPV4 if _is_public(match[0]) and not _tells_a_version(before) else match[0]


def _tells_a_version(before: str) -> bool:
    if before.rstrip(" \"'").endswith(_COMPARISONS):
        return True
    words = before.rstrip(_BETWEEN)
    small = next((small for small in _SMALL_WORDS if words.endswith(small)), "")
    words = words.removesuffix(small).rstrip(_BETWEEN)
    return words.endswith(_VERSION_WORDS) or _VERSION_SHORT.search(words[-4:]) is not None


def _public_ipv6(match: re.Match[str]) -> str:
    return IPV6 if _is_public(match[0]) else match[0]


@functools.lru_cache(maxsize=1024)  # a log has the same few addresses again and again
def _is_public(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return parsed.is_global and not parsed.is_multicast
