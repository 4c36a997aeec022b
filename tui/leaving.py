"""What the application says when it is closed: what goes on without it, and what was stopped with it."""

from collections.abc import Sequence

from mlxllm import paths
from mlxllm.data.draft import draft_folder
from tui import commands

_MOST_NAMES = 3


def goes_on(runs: Sequence[str]) -> str:
    """About runs that train on; at least one."""
    more = f" and {len(runs) - _MOST_NAMES} more" if len(runs) > _MOST_NAMES else ""
    verb = "goes on" if len(runs) == 1 else "go on"
    return f"{', '.join(runs[:_MOST_NAMES])}{more} {verb} training; `mlxllm monitor {runs[0]}` shows it again"


def name(args: commands.Args) -> str:
    """What a command of ours is called."""
    build = _build(args)
    return f"the build of {build}" if build else f"`{commands.as_text(args)}`"


def was_stopped(args: commands.Args) -> str:
    """About a command of ours that was stopped."""
    build = _build(args)
    if not build:
        return f"{name(args)} was stopped"
    if draft_folder(paths.new("datasets", build)).is_dir():
        return f"{name(args)} was stopped; what is done is kept, and `mlxllm data build {build}` goes on from there"
    return f"{name(args)} was stopped before anything of it was written"


def _build(args: commands.Args) -> str:
    """The dataset that it builds, or nothing."""
    return args[2] if args[:2] == ("data", "build") else ""
