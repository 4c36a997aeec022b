"""The run directory: the only contract between a trainer and whoever watches it. Standard library only."""

from mlxllm.runs.catalogue import RunCatalogue
from mlxllm.runs.comparing import (
    SamePrompt,
    Sample,
    differences,
    flat,
    read_config,
    read_samples,
    read_settings,
    same_prompts,
)
from mlxllm.runs.control import ControlInbox, Request, RequestName, request
from mlxllm.runs.dependents import dependents
from mlxllm.runs.directory import RunDirectory, all_runs, find_run, run_of
from mlxllm.runs.events import (
    Event,
    EventReader,
    EventWriter,
    parse_line,
    parse_lines,
    read_events,
    strict_json,
    truncate_after,
    wait_for_event,
)
from mlxllm.runs.exits import ExitReason, ExitReport, classify_exit, explain, log_tail
from mlxllm.runs.files import fsync_directory, fsync_file, read_json, sha256_of_file, write_json_atomic
from mlxllm.runs.lineage import Stage, ancestors, checkpoint_steps, descendants, run_settings
from mlxllm.runs.names import name_for_training, name_for_tuning, short_name
from mlxllm.runs.recorder import Recorder
from mlxllm.runs.state import (
    ACTIVE,
    Launch,
    RunState,
    StateWriter,
    Status,
    effective_status,
    pid_alive,
    read_launch,
    read_state,
    write_state,
)
from mlxllm.runs.summary import ABOUT_KEYS, Latest, RunSummary, count_events, list_runs, summarise
from mlxllm.runs.supervisor import caffeinate_argv, keep_awake, start_detached

__all__ = [
    "ABOUT_KEYS",
    "ACTIVE",
    "ControlInbox",
    "Event",
    "EventReader",
    "EventWriter",
    "ExitReason",
    "ExitReport",
    "Latest",
    "Launch",
    "Recorder",
    "Request",
    "RequestName",
    "RunCatalogue",
    "RunDirectory",
    "RunState",
    "RunSummary",
    "SamePrompt",
    "Sample",
    "Stage",
    "StateWriter",
    "Status",
    "all_runs",
    "ancestors",
    "caffeinate_argv",
    "checkpoint_steps",
    "classify_exit",
    "count_events",
    "dependents",
    "descendants",
    "differences",
    "effective_status",
    "explain",
    "find_run",
    "flat",
    "fsync_directory",
    "fsync_file",
    "keep_awake",
    "list_runs",
    "log_tail",
    "name_for_training",
    "name_for_tuning",
    "parse_line",
    "parse_lines",
    "pid_alive",
    "read_config",
    "read_events",
    "read_json",
    "read_launch",
    "read_samples",
    "read_settings",
    "read_state",
    "request",
    "run_of",
    "run_settings",
    "same_prompts",
    "sha256_of_file",
    "short_name",
    "start_detached",
    "strict_json",
    "summarise",
    "truncate_after",
    "wait_for_event",
    "write_json_atomic",
    "write_state",
]
