"""How `--help` looks: plain text in sections, folded where the terminal ends, defaults looked up in the configuration."""

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup

from mlxllm.cli.sampling import use_colour
from mlxllm.cli.terminal import did_you_mean
from mlxllm.errors import ConfigError

WIDTH = 100
"""Columns of a help page at most."""
SETTINGS = "Settings (a preset or --config goes before these defaults)"

_KEY = re.compile(r"\{(?:(\w+):)?(\w+\.\w+)(?:\|([^}]*))?\}")
_DEFAULT = re.compile(r"\[default: \((.*)\)\]")
_TYPE = re.compile(r" <([a-z \[\]]+)>")
_METAVARS = {"int": "N", "float": "X", "str": "TEXT", "path": "PATH", "file": "FILE"}


def setting(key: str, metavar: str, text: str = "", *, panel: str | None = SETTINGS, of: str = "") -> Any:
    """An option for the setting `key` ("section.name"), whose help and default are those of the configuration.

    Args:
        key: of the setting.
        metavar: what stands for its value.
        text: what it is, in words that fit the command better.
        panel: the section of the page.
        of: the preset that has the default, where it is not called as the command is.
    """
    prefix, suffix = f"{of}:" if of else "", f"|{text}" if text else ""
    return typer.Option(metavar=metavar, help=f"{{{prefix}{key}{suffix}}}", rich_help_panel=panel)


def choices(key: str) -> tuple[str, ...]:
    """The words that a setting may be; none where it is a number or free text."""
    annotation = _field(key)[0].annotation
    for option in (annotation, *get_args(annotation)):  # `Literal[...]`, or one of `Literal[...] | None`
        if get_origin(option) is Literal:
            return get_args(option)
    return ()


def check_choice(option: str, key: str, given: str | None) -> None:
    """Refuse a word that a setting cannot be.

    Raises:
        ConfigError: it is none of them; the message has the nearest, or all.
    """
    known = choices(key)
    if given is not None and known and given not in known:
        right = did_you_mean(given, known) or f"choose {', '.join(known)}"
        raise ConfigError(f"{option} {given!r} does not exist; {right}")


def about(key: str, preset: str = "", text: str = "") -> str:
    """One line about a setting: what it is, what it may be, and its default.

    Args:
        key: "section.name".
        preset: of `TUNING_PRESETS`, where the default is that preset's.
        text: what the setting is; by default what the configuration says.
    """
    field, default = _field(key, preset)
    line = text or " ".join((field.description or "").split())
    *others, last = choices(key) or ("",)
    one_of = f" One of {', '.join(others)} or {last}." if others else ""
    if default is None:
        return line + one_of
    with_adapters = _field(key, f"{preset}-lora")[1]
    besides = "" if with_adapters in (default, None) or not preset else f", {_shown(with_adapters)} with adapters"
    return f"{line}{one_of} [default: {_shown(default)}{besides}]"


def _shown(value: Any) -> str:
    """A value as one would type it."""
    if isinstance(value, tuple):
        return ",".join(map(_shown, value))
    return f"{value:g}".replace("e-0", "e-") if isinstance(value, float) else str(value)


def _field(key: str, preset: str = "") -> tuple[Any, Any]:
    from mlxllm.config import RunConfig  # here: it loads pydantic, and most commands need no setting at once
    from mlxllm.presets import TUNING_PRESETS, dpo, sft_lora

    section, name = key.split(".")
    begin = TUNING_PRESETS.get(preset, RunConfig)()
    values = getattr(begin, section) or getattr(sft_lora() if section == "lora" else dpo(), section)
    return type(values).model_fields[name], getattr(values, name)


class Command(TyperCommand):
    """A command whose options stand in sections, by their help panel."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_sections(formatter, _option_sections(self, ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]


class Group(TyperGroup):
    """Commands in sections, by their help panel, and then its own options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and self.no_args_is_help:
            print(ctx.get_help())
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            title = command.rich_help_panel if isinstance(command.rich_help_panel, str) else "Commands"
            first = (command.help or "").split("\n\n")[0]
            sections.setdefault(title, []).append((name, " ".join(first.split())))
        _write_sections(formatter, {**sections, **_option_sections(self, ctx)})


def dress(app: typer.Typer) -> None:
    """Give all commands of `app`, and of the applications in it, the help of this file."""
    for command in app.registered_commands:
        if command.cls in (None, TyperCommand):
            command.cls = Command
    for group in app.registered_groups:
        group.cls = Group
        if group.typer_instance is not None:
            dress(group.typer_instance)


def write_section(formatter: Any, title: str, rows: Sequence[tuple[str, str]], width: int = 0) -> None:
    """Rows of a name and what it is; names are padded to `width`."""
    colour = use_colour(sys.stdout)
    with formatter.section(typer.style(title, bold=True) if colour else title):
        formatter.write_dl(
            [(_coloured(f"{name:<{width}}") if colour else f"{name:<{width}}", what) for name, what in rows]
        )


def _write_sections(formatter: Any, sections: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    """All sections, their second columns one below the other as far as names are of a common length."""
    longest = max(len(name) for rows in sections.values() for name, _ in rows)
    for title, rows in sections.items():
        write_section(formatter, title, rows, min(longest, 28))


def _coloured(name: str) -> str:
    """The words that are typed as they stand in colour, the rest plain."""
    typed = re.match(r"(--?[\w-]+(, --?[\w-]+)*|[a-z-]+(?= *$))", name)
    return typer.style(typed[0], fg="cyan") + name[typed.end() :] if typed else name


def _option_sections(command: Any, ctx: Any) -> dict[str, list[tuple[str, str]]]:
    sections: dict[str, list[tuple[str, str]]] = {}
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx)
        if record is None:
            continue
        argument = param.param_type_name == "argument"
        title = getattr(param, "rich_help_panel", None) or ("Arguments" if argument else "Options")
        name = _TYPE.sub("" if argument else _metavar, record[0])
        what = _KEY.sub(lambda key: about(key[2], key[1] or command.name, key[3] or ""), record[1])
        sections.setdefault(title, []).append((name, _DEFAULT.sub(r"[default: \1]", what)))
    return sections


def _metavar(found: re.Match[str]) -> str:
    return f" {_METAVARS.get(found[1].split()[0], found[1].upper())}"
