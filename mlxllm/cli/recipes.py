"""`mlxllm data recipes`: which rules clean which kind of text, and their settings."""

import json
import sys
from typing import Annotated

import typer

from mlxllm.cli.table import print_fields, print_table
from mlxllm.cli.terminal import fold


def recipes(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="web, code, papers or none: its rules with all settings.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")] = False,
) -> None:
    """List the recipes of cleaning, or the rules and settings of one, as `data build --set RULE.KEY=VALUE` changes them."""
    from mlxllm.data.clean.recipes import RECIPES, RULES, Recipe, recipe
    from mlxllm.data.sources import list_sources

    if name is not None:
        chosen = recipe(name)
        if json_:
            print(json.dumps({"name": name, **chosen.model_dump(mode="json", exclude={"begun_as"})}))
            return
        for rule in RULES:
            if (settings := getattr(chosen, rule)) is None:
                continue
            print(fold(f"{rule}: {_first(type(settings).__doc__)}", sys.stdout))
            print_fields(
                [
                    (f"  {rule}.{key} = {json.dumps(value)}", field.description or "")
                    for key, field in type(settings).model_fields.items()
                    for value in [settings.model_dump(mode="json")[key]]
                ]
            )
            print()
        print(fold(f"dedup = {chosen.dedup}: {Recipe.model_fields['dedup'].description}", sys.stdout))
        others = ", ".join(f"{rule}=on" for rule in RULES if getattr(chosen, rule) is None)
        if others:
            print(fold(f"\nRules that do not run in it can be added: --set {others}", sys.stdout))
        return
    if json_:
        print(
            json.dumps(
                {
                    "recipes": {
                        each: made.model_dump(mode="json", exclude={"begun_as"}) for each, made in RECIPES.items()
                    }
                }
            )
        )
        return
    rows = []
    for each, made in RECIPES.items():
        rules = ", ".join(rule for rule in RULES if getattr(made, rule) is not None) or "-"
        kinds = ", ".join(kind.kind for kind in list_sources() if kind.recipe == each)
        rows.append((each, rules, made.dedup, kinds))
    print_table(("recipe", "rules", "duplicates", "used for"), rows)


def _first(docstring: str | None) -> str:
    return (docstring or "").strip().splitlines()[0]
