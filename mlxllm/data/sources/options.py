"""Options behind a specification: `PATH,column=body,shards=2`."""

import difflib
import glob
import os
import re
from collections.abc import Collection, Mapping

from mlxllm.errors import ConfigError

_OPTION = re.compile(r"(?P<key>[a-z][a-z_]*)=(?P<value>.*)", re.DOTALL)

_NAMES = re.compile(r"[^+]+(?:\+\+)?")
"""Names between plus signs, of which one may end in two of its own."""


def split_options(kind: str, spec: str, known: Collection[str]) -> tuple[str, dict[str, str]]:
    """What stands before the options, and the options; a path that exists is a path, whatever it looks like.

    Args:
        kind: of the source, for messages.
        spec: what stands behind its colon.
        known: the options that it has.

    Raises:
        ConfigError: an option is not known, is given twice or is empty.
    """
    if os.path.exists(os.path.expanduser(spec)):
        return spec, {}
    rest = spec.split(",") if spec else []
    options: dict[str, str] = {}
    while rest and (match := _OPTION.fullmatch(rest[-1])):
        key, value = match["key"], match["value"]
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted(known))}"
            raise ConfigError(f"source {kind!r} has no option {key!r} (found {rest[-1]!r}); {hint}")
        if key in options:
            raise ConfigError(f"source {kind!r} is given the option {key!r} twice (found {spec!r})")
        if not value:
            raise ConfigError(f"the option {key!r} of source {kind!r} is empty; give {key}=VALUE or leave it out")
        options[key] = value
        rest.pop()
    return ",".join(rest), dict(reversed(options.items()))


def is_local(place: str, suffixes: tuple[str, ...] = ()) -> bool:
    """Whether a place is on this machine and not on the Hub: an existing path, or one that begins or ends like a path."""
    if os.path.exists(os.path.expanduser(place)) or place.startswith(("./", "../", "/", "~")) or place in (".", ".."):
        return True
    bare = place.removesuffix(".gz").removesuffix(".zst").lower()
    return glob.has_magic(place) or place.endswith("/") or bool(suffixes and bare.endswith(suffixes))


def joined(before: str, options: dict[str, str | None]) -> str:
    """The specification that `split_options` takes apart; options that are None are left out."""
    return ",".join(([before] if before else []) + [f"{key}={value}" for key, value in options.items() if value])


def names_option(kind: str, options: Mapping[str, str], key: str) -> frozenset[str]:
    """Names with plus signs between them (`python+c++`), in lower case; none where it is not given.

    Raises:
        ConfigError: it is given and names nothing.
    """
    value = options.get(key)
    names = frozenset(name.strip().lower() for name in _NAMES.findall(value or "") if name.strip())
    if value is not None and not names:
        raise ConfigError(f"the option {key!r} of source {kind!r} names nothing (found {value!r})")
    return names


def count_option(kind: str, options: Mapping[str, str], key: str) -> int | None:
    """A whole number above 0, or None where it is not given.

    Raises:
        ConfigError: it is something else.
    """
    value = options.get(key)
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or int(value) < 1:
        raise ConfigError(f"the option {key!r} of source {kind!r} is {value!r}; wanted a whole number above 0")
    return int(value)
