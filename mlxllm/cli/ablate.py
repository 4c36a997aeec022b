"""`mlxllm ablate`: what each idea bought, by training with and without it."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlxllm.cli.help import Command, write_section
from mlxllm.cli.sampling import say
from mlxllm.cli.table import print_table
from mlxllm.cli.train import Device, program
from mlxllm.errors import EXIT_SIGINT, ConfigError, UserError
from mlxllm.visible import in_a_line

if TYPE_CHECKING:  # pydantic is imported by the command
    from mlxllm.ablation.results import Results

_SHOW = "show"
_PICTURES = (".png", ".svg")


class AblateCommand(Command):
    """`ablate`, whose help lists the words of changes and the shipped ablations."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        from mlxllm.ablation import SHIPPED, WORDS  # here: it loads pydantic

        words = [(word, ", ".join(values)) for word, values in WORDS.items()]
        write_section(formatter, "Changes (and any SECTION.KEY=VALUE)", words)
        write_section(formatter, "Shipped", [(name, each.about) for name, each in SHIPPED.items()])


def ablate(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SHIPPED|show NAME]", help="A shipped list of changes; or `show` and the name of an ablation."
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(metavar="PRESET", help="Recipe that is changed; shipped ablations have one.", show_default=False),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHANGES",
            help="One variant: norm=post, or several with commas, or with a name, '2017: norm=post,ffn=relu'. May be "
            "repeated.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="NAME", help="Dataset to train on.", show_default="quickstart's stories")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Any one setting of the base; may be repeated."),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            metavar="M",
            help="About so long for each run of the base: its speed is measured once, and all runs make as many steps.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Updates of each run.", show_default="the preset's")
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(metavar="N", help="Train each variant so often; more can be asked for later.", show_default="3"),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What to call it; with nothing else, which one to go on with.",
            show_default="the shipped one's, or ablation, with a number",
        ),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the curves over each other: a .png or .svg.")
    ] = None,
    detach: Annotated[
        bool,
        typer.Option("--detach", help="Check everything, then train in the background; `show` tells how far it is."),
    ] = False,
    device: Device = None,
    list_: Annotated[bool, typer.Option("--list", help="List the shipped ablations, and your own.")] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")
    ] = False,
) -> None:
    """Train variants of a preset with the same budget, data and seeds, and tell what each change bought.

    Each run is an ordinary one (`mlxllm monitor`). What was interrupted, or killed, goes on with the same command.
    """
    from mlxllm.ablation.planning import Asked, plan_ablation

    asked = Asked(
        preset=preset,
        data=data,
        settings=tuple(set_ or ()),
        changes=tuple(change or ()),
        minutes=minutes,
        steps=steps,
        seeds=seeds,
        name=name,
    )
    _check_picture(picture)
    if detach and picture is not None:
        raise ConfigError("--picture is drawn in the end, and --detach does not wait for it; leave one of them out")
    words = what or []
    if list_:
        if words or asked != Asked():
            raise ConfigError("--list lists ablations and trains none; leave the rest out")
        _list(json_)
        return
    if words[:1] == [_SHOW]:
        if len(words) != 2 or asked != Asked():
            raise ConfigError("`mlxllm ablate show NAME` shows one ablation, and takes --picture and --json only")
        _tell(words[1], picture, json_)
        return
    if len(words) > 1:
        raise ConfigError(f"one ablation at a time: {words[0]!r}, or {words[1]!r}; --change adds to either")
    if words:
        asked = replace(asked, shipped=words[0])
    named = plan_ablation(asked, device)
    if detach:
        from mlxllm.ablation.background import train_in_background

        pid = train_in_background(named, device)
        if json_:
            print(json.dumps({"name": named, "pid": pid}))
        say(f"ablation {named} trains in the background, as process {pid}; `{program()} ablate show {named}` shows it")
        return
    _train(named, device)
    _tell(named, picture, json_)


def _train(name: str, device: str | None) -> None:
    from mlxllm.ablation.running import train_all
    from mlxllm.cli.ablate_view import AblationView

    view = AblationView()
    say(f"ablation {name}; Ctrl-C stops after the current step and saves")
    try:
        train_all(name, view, device)
    except KeyboardInterrupt:
        view.clear()
        say(f"stopped and saved; go on with: {program()} ablate --name {name}")
        sys.exit(EXIT_SIGINT)
    finally:
        view.clear()


def _tell(name: str, picture: Path | None, json_: bool) -> None:
    """Print the table of an ablation, and draw it."""
    from mlxllm.ablation import read_ablation, results
    from mlxllm.cli.ablate_view import as_json, show

    ablation = read_ablation(name)
    found = results(ablation)
    if picture is not None:
        _draw(found, name, picture.expanduser())
    if json_:
        print(json.dumps(as_json(name, ablation, found)))
    else:
        show(name, ablation, found)


def _draw(found: "Results", name: str, file: Path) -> None:
    from mlxllm.report.ablation_plot import ablation_plot

    plot = ablation_plot(found, name)
    if plot is None:
        say(f"no run of ablation {name} has ended yet, so there is nothing to draw")
        return
    try:
        file.write_bytes(plot.svg() if file.suffix.lower() == ".svg" else plot.png())
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror or error}") from error
    say(f"drawn into {file}")


def _check_picture(file: Path | None) -> None:
    """Refuse, before anything is trained, a picture that could not be drawn in the end."""
    if file is None:
        return
    if file.suffix.lower() not in _PICTURES:
        raise ConfigError(f"--picture {file} is neither a .png nor a .svg; give it one of these endings")
    if not file.expanduser().parent.is_dir():
        raise ConfigError(f"--picture {file}: there is no folder {file.parent}; make it first")


def _list(json_: bool) -> None:
    from mlxllm.ablation import SHIPPED, all_names, read_ablation

    own = [(name, read_ablation(name)) for name in all_names()]
    if json_:
        shipped = {
            name: {"about": each.about, "preset": each.preset, "changes": each.all_changes}
            for name, each in SHIPPED.items()
        }
        told = [
            {"name": name, "preset": each.preset, "dataset": each.dataset, "finished": each.is_finished}
            for name, each in own
        ]
        print(json.dumps({"shipped": shipped, "ablations": told}))
        return
    print_table(
        ("shipped", "variants", "about"),
        [(name, str(len(each.all_changes)), each.about) for name, each in SHIPPED.items()],
    )
    if own:
        print()
        print_table(
            ("ablation", "runs", "preset", "data"),
            [
                (
                    name,
                    f"{len(each.outcomes)}/{len(each.seeds) * len(each.variants)}",
                    each.preset,
                    in_a_line(each.dataset),
                )
                for name, each in own
            ],
        )
    say("`mlxllm ablate SHIPPED` trains one of these, `mlxllm ablate show NAME` shows what came of one")
