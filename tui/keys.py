"""Which key does what: every action has a name such as `monitor.pause`, and `<home>/keys.toml` may give it another key."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from textual.binding import Binding, BindingType
from textual.keys import Keys, _character_to_key, format_key

from mlxllm import paths

FILE = "keys.toml"

_KNOWN_KEYS = {str(key.value) for key in Keys} | {_character_to_key(chr(code)) for code in range(0x21, 0x7F)}
_IN_WORDS = {"⏎": "enter", "←": "left", "→": "right", "↑": "up", "↓": "down", "⌫": "backspace"}
_MOST_PROBLEMS = 3


@dataclass(frozen=True)
class NamedKey:
    """One action that can be given another key."""

    id: str
    """`screen.action`"""
    key: str
    """Its key, or several with commas between."""
    description: str
    action: str
    """As Textual runs it."""
    mode: str = ""
    """The screen that it is of; "" is all of them."""


def file() -> Path:
    """Where the user's keys stand."""
    return paths.home() / FILE


def in_ascii(display: str) -> str:
    """A key as it is shown, without signs that ASCII does not have: "enter" for "⏎"."""
    return " ".join(_IN_WORDS.get(sign, sign) for sign in display) if set(display) & _IN_WORDS.keys() else display


def written(key: str) -> str:
    """Keys as people write them: "+ or =" for "plus,equals_sign", "ctrl+p" for itself.

    Args:
        key: as a binding has it, several with commas between.
    """
    found = []
    for each in key.split(","):
        *modifiers, last = each.strip().split("+") if each.strip() != "+" else ["+"]
        shown = format_key(last)
        found.append("+".join([*modifiers, _IN_WORDS.get(shown, shown)]))
    return " or ".join(found)


def named_keys(bindings: Iterable[BindingType], mode: str = "") -> Iterator[NamedKey]:
    """The bindings of a screen or of the application that have a name."""
    for binding in bindings:
        if isinstance(binding, Binding) and binding.id is not None:
            yield NamedKey(binding.id, binding.key, binding.description, binding.action, mode)


def read_keys(known: Mapping[str, NamedKey], path: Path | None = None) -> tuple[dict[str, str], list[str]]:
    """The user's keys.

    Args:
        known: all actions by name.
        path: by default `<home>/keys.toml`.

    Returns:
        Action name -> keys, of those that can be used; and a sentence about each line that cannot.
    """
    path = file() if path is None else path
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, []
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return {}, [f"{path} cannot be read ({error}); the keys are the usual ones"]
    given = raw.get("keys", {})
    if not isinstance(given, dict):
        return {}, [f'{path}: keys is no table; write [keys], and below it lines such as "monitor.pause" = "space"']
    keymap: dict[str, str] = {}
    problems = [f"{path}: {name!r} is not known; all keys stand below [keys]" for name in raw if name != "keys"]
    for name, key in given.items():
        if problem := _problem(name, key, known):
            problems.append(f"{path}: {problem}")
        else:
            keymap[name] = key
    if len(problems) > _MOST_PROBLEMS:
        left = len(problems) - _MOST_PROBLEMS + 1
        problems[_MOST_PROBLEMS - 1 :] = [f"{path}: and {left} more lines that cannot be used"]
    return keymap, problems


def _problem(name: str, key: object, known: Mapping[str, NamedKey]) -> str:
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else 'the palette\'s "Write keys.toml" lists all of them'
        return f"there is no action {name!r}; {hint}"
    if not isinstance(key, str) or not key:
        return f'{name!r} is {key!r}; give a key such as "p" or "ctrl+b"'
    for each in key.split(","):
        last = each.strip().rpartition("+")[2]
        if len(last) != 1 and last not in _KNOWN_KEYS:
            return f'{each!r} for {name!r} is no key; give one such as "p", "f5" or "ctrl+b"'
    return ""


def template(known: Mapping[str, NamedKey]) -> str:
    """A keys.toml with every action at its usual key, each as a comment."""
    lines = ["# Take away the # of a line and give another key; several are separated by commas.", "[keys]"]
    for name, named in sorted(known.items()):
        lines.append(f'# "{name}" = "{named.key}"'.ljust(44) + f"  # {named.description or named.action}")
    return "\n".join(lines) + "\n"
