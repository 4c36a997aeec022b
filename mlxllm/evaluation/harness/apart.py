"""lm-eval keeps to itself: it and what it uses print, log, warn, fork, and run templates without bounds."""

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator

from mlxllm.errors import DataError, UserError

_LOGGERS = ("lm_eval", "datasets", "evaluate", "huggingface_hub")
_NO_FORK = "DISABLE_MULTIPROC"
"""lm-eval's: its bootstrap would fork, which a process that has used MLX does not survive."""

_ALLOW_CODE = "HF_ALLOW_CODE_EVAL"
"""Of the library `evaluate`, whose metrics run programs only then."""


@contextlib.contextmanager
def apart(*, allow_code: bool = False) -> Iterator[None]:
    """Nothing on stdout, no logs and no warnings; one process.

    Args:
        allow_code: templates without a sandbox, and metrics that run what a model wrote.
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    environment = {_NO_FORK: "1"} | ({_ALLOW_CODE: "1"} if allow_code else {})
    before = {name: os.environ.get(name) for name in environment}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        import datasets
        from jinja2.sandbox import SandboxedEnvironment
        from lm_eval import utils

        plain, bars = utils.env, datasets.are_progress_bars_disabled()
        if not allow_code:
            # A template in a definition of somebody could otherwise reach all of Python from any of its values.
            utils.env = SandboxedEnvironment(undefined=plain.undefined, keep_trailing_newline=True)
            utils.env.filters.update(plain.filters)
        os.environ.update(environment)
        datasets.disable_progress_bars()  # those of downloads stay
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            utils.env = plain
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value
            if not bars:
                datasets.enable_progress_bars()
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Nothing on stderr either, where lm-eval draws its own bars."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield


Progress = Callable[[str, int, int], None]
"""(what is done, how many, of how many)."""


def outside(progress: Progress) -> Progress:
    """The same, with the stderr that is there now."""
    stderr = sys.stderr

    def tell(what: str, count: int, total: int) -> None:
        with contextlib.redirect_stderr(stderr):
            progress(what, count, total)

    return tell


@contextlib.contextmanager
def blamed_on(what: str, innocent: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """What goes wrong inside is told in one sentence, as the fault of `what`, unless it is innocent.

    Raises:
        DataError: the sentence.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if innocent():
            raise
        said = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, ModuleNotFoundError):
            raise DataError(f"{what} needs a package that is not installed: {said:.300}") from error
        if isinstance(error, ConnectionError):
            said = said.removesuffix(" (OfflineModeIsEnabled)")
            raise DataError(
                f"the data of {what} cannot be fetched: {said:.300}; without a network, give YAML files with local data"
            ) from error
        raise DataError(f"{what} cannot be run: {type(error).__name__}: {said:.300}") from error
