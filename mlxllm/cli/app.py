"""The command line: one Typer application, and what becomes of an error.

Data goes to stdout, narration to stderr. Exit codes: 0 ok, 1 failed, 2 usage or configuration, 4 diverged or out of
memory with the checkpoint kept, 129, 130 and 143 for SIGHUP, SIGINT and SIGTERM.
"""

import os
import sys
from typing import Annotated, Any, NoReturn

import typer

from mlxllm.cli import (
    ablate,
    application,
    cache,
    chat,
    compare,
    data,
    doctor,
    evaluate,
    explain,
    export,
    finetune,
    fuse,
    learn,
    parity,
    plan,
    prefs,
    quantize,
    quickstart,
    report,
    runs,
    sample,
    serve,
    serving,
    taste,
    tokenizer,
    trace,
    train,
    verify,
    versus,
)
from mlxllm.cli.help import WIDTH, Group, dress
from mlxllm.cli.terminal import did_you_mean, fold, silence, tell
from mlxllm.cli.transfer_line import ModelLine
from mlxllm.data.transfers import told
from mlxllm.errors import EXIT_FAILED, EXIT_SIGINT, EXIT_USAGE, UserError

_ORDER = (
    *"quickstart learn doctor monitor serve-tui tokenizer data plan train sft dpo fuse resume runs cache".split(),
    *"sample chat compare explain trace prefs eval versus taste ablate report parity quantize export verify serve".split(),
)


class _Commands(Group):
    """All commands, in the order in which one needs them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=_ORDER.index)


app = typer.Typer(
    name="mlxllm",
    cls=_Commands,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    invoke_without_command=True,
    context_settings={"max_content_width": WIDTH},
)

_FIRST = "First steps"
_MAKE = "Make a model"
_TALK = "Talk to it"
_JUDGE = "How good is it"
_TAKE = "Take it along"

app.command("quickstart", rich_help_panel=_FIRST)(quickstart.quickstart)
app.command("learn", rich_help_panel=_FIRST)(learn.learn)
app.command("doctor", rich_help_panel=_FIRST)(doctor.doctor)
app.command("monitor", rich_help_panel=_FIRST)(application.monitor)
app.command("serve-tui", rich_help_panel=_FIRST)(serving.serve_tui)
app.add_typer(tokenizer.app, name="tokenizer", rich_help_panel=_MAKE)
app.add_typer(data.app, name="data", rich_help_panel=_MAKE)
app.command("plan", rich_help_panel=_MAKE)(plan.plan)
app.command("train", rich_help_panel=_MAKE, cls=train.TrainCommand)(train.train)
app.command("sft", rich_help_panel=_MAKE)(finetune.sft)
app.command("dpo", rich_help_panel=_MAKE)(finetune.dpo)
app.command("fuse", rich_help_panel=_MAKE)(fuse.fuse)
app.command("resume", rich_help_panel=_MAKE)(train.resume)
app.add_typer(runs.app, name="runs", rich_help_panel=_MAKE)
app.add_typer(cache.app, name="cache", rich_help_panel=_MAKE)
app.command("sample", rich_help_panel=_TALK)(sample.sample)
app.command("chat", rich_help_panel=_TALK)(chat.chat)
app.command("compare", rich_help_panel=_TALK)(compare.compare)
app.command("explain", rich_help_panel=_TALK)(explain.explain)
app.command("trace", rich_help_panel=_TALK)(trace.trace)
app.add_typer(prefs.app, name="prefs", rich_help_panel=_TALK)
app.command("eval", rich_help_panel=_JUDGE)(evaluate.evaluate)
app.command("versus", rich_help_panel=_JUDGE)(versus.versus)
app.command("taste", rich_help_panel=_JUDGE)(taste.taste)
app.command("ablate", rich_help_panel=_JUDGE, cls=ablate.AblateCommand)(ablate.ablate)
app.command("report", rich_help_panel=_JUDGE)(report.report)
app.command("parity", rich_help_panel=_JUDGE)(parity.parity)
app.command("quantize", rich_help_panel=_TAKE)(quantize.quantize)
app.command("export", rich_help_panel=_TAKE)(export.export)
app.command("verify", rich_help_panel=_TAKE)(verify.verify)
app.command("serve", rich_help_panel=_TAKE, context_settings={"allow_extra_args": True})(serve.serve)
dress(app)


def _version(wanted: bool) -> None:
    if wanted:
        from mlxllm import __version__

        print(f"mlxllm {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """From raw text to an aligned language model, on MLX. Without a command it opens the terminal application.

    Begin with that, or with `mlxllm quickstart`; `mlxllm COMMAND --help` says what a command takes.
    """
    if context.invoked_subcommand is not None:
        return
    if application.is_terminal():
        application.open_app(None)
    print(context.get_help())
    sys.exit(EXIT_USAGE)


def run() -> None:
    """Run the command line; every expected failure ends in one sentence and its exit code.

    Raises:
        KeyboardInterrupt: Ctrl-C, where the command had nothing to save.
    """
    try:
        with told(ModelLine()):
            code = app(prog_name="mlxllm", standalone_mode=False)
    except UserError as error:
        _fail(str(error), error.exit_code)
    except typer.TyperException as error:
        _fail(_usage(error), EXIT_USAGE)
    except typer.Abort as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        _fail("the question was not answered", EXIT_FAILED)
    except BrokenPipeError:
        # Whoever read our output has gone, e.g. `| head`. Python would complain once more while closing stdout.
        silence(sys.stdout)
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
    if code == EXIT_SIGINT:  # what Typer makes of a KeyboardInterrupt
        raise KeyboardInterrupt
    if code:
        sys.exit(code)


def _usage(error: typer.TyperException) -> str:
    """What is wrong with the arguments, in one sentence that says what would be right or where that stands."""
    context, param = getattr(error, "ctx", None), getattr(error, "param", None)
    command = context.command_path if context is not None else "mlxllm"
    there = f"`{command} --help` says what it takes"
    if context is not None and error.message.startswith("No such option"):
        option = getattr(error, "option_name", "of that name")
        known = [name for each in context.command.params for name in each.opts]
        return f"`{command}` has no option {option}; {did_you_mean(option, known) or there}"
    problems = getattr(error.__cause__, "errors", None)
    if problems is not None and param is not None:  # the value did not pass pydantic
        problem = problems()[0]
        right = problem["msg"].split(",")[0].replace("Input should be", "it should be")
        return f"{param.opts[0]} is {problem['input']!r}; {right}"
    message = error.format_message().rstrip(".")
    if "Did you mean" in message:
        return message[0].lower() + message[1:].replace(". Did", "; did")
    return f"{message[0].lower()}{message[1:]}" + (f"; {there}" if context is not None else "")


def _fail(message: str, code: int) -> NoReturn:
    tell(fold(f"error: {message}", sys.stderr), sys.stderr)
    sys.exit(code)
