"""The command line: one Typer application, and what becomes of an error.

Data goes to stdout, narration to stderr. Exit codes: 0 ok, 1 failed, 2 usage or configuration, 4 diverged or out of
memory with the checkpoint kept, 130 and 143 for SIGINT and SIGTERM.
"""

import os
import sys
from typing import Annotated

import typer

from mlxllm.cli import chat, data, doctor, evaluate, quickstart, runs, sample, tokenizer, train
from mlxllm.errors import EXIT_FAILED, EXIT_SIGINT, EXIT_USAGE, UserError

app = typer.Typer(
    name="mlxllm",
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From raw text to an aligned language model, on MLX. Begin with `mlxllm quickstart`.",
)

_FIRST = "First steps"
_MAKE = "Make a model"
_USE = "Use a model"

app.command("quickstart", rich_help_panel=_FIRST)(quickstart.quickstart)
app.command("doctor", rich_help_panel=_FIRST)(doctor.doctor)
app.add_typer(tokenizer.app, name="tokenizer", rich_help_panel=_MAKE)
app.add_typer(data.app, name="data", rich_help_panel=_MAKE)
app.command("train", rich_help_panel=_MAKE)(train.train)
app.command("resume", rich_help_panel=_MAKE)(train.resume)
app.add_typer(runs.app, name="runs", rich_help_panel=_MAKE)
app.command("sample", rich_help_panel=_USE)(sample.sample)
app.command("chat", rich_help_panel=_USE)(chat.chat)
app.command("eval", rich_help_panel=_USE)(evaluate.evaluate)


def _version(wanted: bool) -> None:
    if wanted:
        from mlxllm import __version__

        print(f"mlxllm {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """From raw text to an aligned language model, on MLX. Begin with `mlxllm quickstart`."""
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(EXIT_USAGE)


def main() -> None:
    """Run the command line; every expected failure ends in one sentence and its exit code."""
    try:
        app()
    except UserError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", EXIT_SIGINT)
    except BrokenPipeError:
        # Whoever read our output has gone, e.g. `| head`. Python would complain once more while closing stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}", EXIT_FAILED)
    except Exception as error:
        if os.environ.get("MLXLLM_TRACEBACK"):
            raise
        _fail(
            f"this should not have happened: {type(error).__name__}: {error} (run it again with MLXLLM_TRACEBACK=1 to see "
            f"where, and please report it)",
            EXIT_FAILED,
        )


def _fail(message: str, code: int) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
