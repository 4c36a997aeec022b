"""Under which licence an article of PubMed Central stands, in the short form that Creative Commons uses."""

import re
from typing import Any

from mlxllm.data.sources.biomedical.xml_text import clean, local

_URL = re.compile(r"creativecommons\.org/(licenses|publicdomain)/([a-z+-]+)(?:/(\d\.\d))?", re.IGNORECASE)
_NAME = re.compile(
    r"Creative\s+Commons\s+Attribution(?P<terms>(?:[\s-]+(?:Non-?\s?Commercial|No-?\s?Deriv(?:ative)?s?|Share-?\s?Alike))*)",
    re.IGNORECASE,
)
_SHORT = re.compile(r"\bCC[ -](?:BY(?:[ -](?:NC|ND|SA))*|0)(?:\s\d\.\d)?")
_TERMS = (("commercial", "NC"), ("deriv", "ND"), ("alike", "SA"))
_PUBLIC_DOMAIN = re.compile(r"\bpublic[ -]domain\b", re.IGNORECASE)


def licence_of(meta: Any) -> str:
    """`CC BY 2.0`, `CC BY-NC`, `CC0 1.0`, `public domain`, or nothing where the permissions do not tell.

    A URL in the licence is believed first, then its words.

    Args:
        meta: the `article-meta` element, or None.
    """
    permissions = [] if meta is None else [child for child in meta if local(child) == "permissions"]
    licences = [e for found in permissions for e in found.iter("{*}license", "{*}license_ref")]
    told = [value for e in licences for inner in e.iter() for value in (*inner.attrib.values(), inner.text or "")]
    for value in told:
        if url := _URL.search(value):
            return _by_url(url)
    words = clean(" ".join(" ".join(e.itertext()) for e in licences))
    if named := _NAME.search(words):
        terms = "".join(f"-{short}" for part, short in _TERMS if part in named["terms"].lower())
        return f"CC BY{terms}"
    if short := _SHORT.search(words):
        return short[0].replace("CC-", "CC ").replace("CC 0", "CC0")
    return "public domain" if any(map(_PUBLIC_DOMAIN.search, [*told, words])) else ""


def _by_url(url: re.Match[str]) -> str:
    kind, name, version = url[1].lower(), url[2].lower(), url[3]
    if kind == "publicdomain":
        if name != "zero":
            return "public domain"
        name = "CC0"
    else:
        name = f"CC {name.upper()}"
    return f"{name} {version}" if version else name
