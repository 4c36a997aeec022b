"""What a user is told when something is wrong, and the exit code that goes with it.

A message is one sentence or two: what was found, where, what would be right, what to do.
"""

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_DIVERGED = 4
EXIT_SIGHUP = 129
EXIT_SIGINT = 130
EXIT_SIGTERM = 143


class UserError(Exception):
    """Something the user can mend; the command line prints the message alone and exits with `exit_code`."""

    exit_code: int = EXIT_FAILED


class ConfigError(UserError):
    """A flag, a setting or a combination of settings that cannot work."""

    exit_code = EXIT_USAGE


class DataError(UserError):
    """A dataset, shard, tokenizer or text that cannot be used as it is."""


class RunError(UserError):
    """A run directory that is busy, missing, damaged or not in the state that the command needs."""


class ModelError(UserError):
    """A model folder or weights that cannot be used as they are."""


class DivergedError(UserError):
    """Training stopped because loss or gradients stayed non-finite; checkpoints from before are kept."""

    exit_code = EXIT_DIVERGED


class OutOfMemoryError(UserError):
    """The device ran out of memory; checkpoints from before are kept."""

    exit_code = EXIT_DIVERGED
