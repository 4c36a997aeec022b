"""`mlxllm parity`: what was compared with published results and other libraries, where, when, and how it came out."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlxllm.cli.sampling import say
from mlxllm.cli.table import print_fields, print_table
from mlxllm.errors import ConfigError

if TYPE_CHECKING:  # pydantic is imported by the commands that use it
    from mlxllm.parity.known import Comparison
    from mlxllm.parity.receipts import Receipt

_COLOURS = {"agrees": "green", "differs": "red"}


def parity(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Show the receipt of this comparison in whole.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List all comparisons, as without NAME.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the README's table of receipts.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, nothing else.")] = False,
) -> None:
    """Show what was compared with published results and other libraries, where and when, and what was not run yet."""
    from mlxllm.parity.known import COMPARISONS, comparison_called
    from mlxllm.parity.receipts import all_receipts

    if name is not None and (list_ or markdown):
        raise ConfigError(f"--{'list' if list_ else 'markdown'} tells of all comparisons; leave out {name!r}")
    if json_ and markdown:
        raise ConfigError("--json and --markdown are two ways to print the same; give one of them")
    chosen = (comparison_called(name),) if name is not None else COMPARISONS
    found: dict[str, list[Receipt]] = {comparison.name: [] for comparison in chosen}
    for receipt in all_receipts(name=name or "*"):
        if receipt.name in found:
            found[receipt.name].append(receipt)
    if json_:
        told = [_as_json(comparison, found[comparison.name], whole=name is not None) for comparison in chosen]
        print(json.dumps(told[0] if name is not None else {"comparisons": told}))
    elif name is not None:
        _show(chosen[0], found[name])
    elif markdown:
        from mlxllm.parity.summary import markdown_table

        print("\n".join(markdown_table([receipt for some in found.values() for receipt in some])))
    else:
        _list(chosen, found)


def _as_json(comparison: "Comparison", receipts: "list[Receipt]", *, whole: bool) -> dict[str, Any]:
    from mlxllm.parity.receipts import state_of

    told = []
    for receipt in receipts:
        fields = receipt.model_dump(mode="json", exclude=None if whole else {"files", "inputs", "digest", "rows"})
        told.append({**fields, "passed": receipt.passed, "state": state_of(receipt)})
    about = {"name": comparison.name, "compares": comparison.compares, "source": comparison.source}
    return {**about, "command": comparison.command, "run": bool(told), "receipts": told}


def _list(comparisons: "tuple[Comparison, ...]", found: "dict[str, list[Receipt]]") -> None:
    rows, missing = [], []
    for comparison in comparisons:
        if not found[comparison.name]:
            missing.append(comparison)
        rows += [(comparison.name, *_cells(receipt), comparison.compares) for receipt in found[comparison.name]]
    if rows:
        header = ("comparison", "result", "date", "minutes", "machine", "scripts", "what")
        print_table(header, rows, expendable=("what", "machine", "minutes"), style=_coloured)
    if missing:
        print("\nnot run yet:" if rows else "not run yet:")
        print_fields((comparison.name, f"{comparison.compares}: {comparison.command}") for comparison in missing)
    say("`mlxllm parity NAME` shows the numbers; the scripts are in the repository, not in an installed package")


def _coloured(column: str, cell: str) -> str:
    return typer.style(cell, fg=_COLOURS[cell]) if column == "result" else cell


def _cells(receipt: "Receipt") -> tuple[str, ...]:
    from mlxllm.parity.receipts import state_of

    machine = f"{receipt.machine.cpu}, {receipt.machine.cores} cores"
    result = "agrees" if receipt.passed else "differs"
    return result, receipt.date[:10], f"{receipt.minutes:.1f}", machine, state_of(receipt)


def _show(comparison: "Comparison", receipts: "list[Receipt]") -> None:
    from mlxllm.parity.receipts import state_of
    from mlxllm.parity.summary import row_cells

    if not receipts:
        print_fields(
            [("comparison", comparison.name), ("compares", comparison.compares), ("theirs", comparison.source)]
        )
        print_fields([("not run yet", comparison.command)])
    for number, receipt in enumerate(receipts):
        machine, changed = receipt.machine, "" if receipt.clean else ", with changes that were not committed"
        fields = [
            ("comparison", f"{receipt.name}: {receipt.compares}"),
            ("theirs", receipt.source),
            ("result", "agrees" if receipt.passed else "differs"),
            ("run", f"{receipt.date}, {receipt.minutes:.1f} minutes, seed {receipt.seed}"),
            (
                "machine",
                f"{machine.cpu}, {machine.cores} cores, {machine.os}, Python {machine.python}, {machine.device}",
            ),
            ("versions", ", ".join(f"{name} {version}" for name, version in receipt.versions.items())),
            ("command", receipt.command),
            ("commit", receipt.commit + changed),
            ("scripts", state_of(receipt)),
        ]
        print("\n" * bool(number), end="")
        print_fields(fields + ([("note", receipt.note)] if receipt.note else []))
        print()
        print_table(("quantity", "theirs", "ours", "difference", "allowed", ""), map(row_cells, receipt.rows))
