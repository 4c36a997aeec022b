"""Preferences from a file, and to one."""

from pathlib import Path

from textual import work

from mlxllm.errors import ConfigError
from tui import commands
from tui.jobs import Job, Line
from tui.screens.base import ModeScreen
from tui.screens.preferences import rows


class PairFiles(ModeScreen):
    """The actions of the screen that read and write files of pairs."""

    def read_anew(self) -> None:
        """Show what the store holds now."""
        raise NotImplementedError

    @work(exclusive=True, group="ask")
    async def action_export(self) -> None:
        """Write all pairs as a file that `dpo` and TRL read."""
        question = "Write all pairs to which new file? (JSON lines, as `dpo` and TRL read them)"
        file = await self.mlx.ask(question, value="preferences.jsonl", check=_new_file)
        if file is None:
            return
        self.twin = commands.prefs_export(str(Path(file.strip()).expanduser()))

        def end(job: Job) -> None:
            if job.returncode:
                self.mlx.fail(job.error)
            else:
                self.mlx.tell(f"{Path(file.strip()).expanduser().absolute()} holds the pairs")

        self.mlx.run_job(self.twin, lambda line: None, end)

    @work(exclusive=True, group="ask")
    async def action_import(self) -> None:
        """Add the pairs of a file; those that are there already stay as they are."""
        question = "Bring in the pairs of which file? (prompt, chosen and rejected: JSON lines, JSON or parquet)"
        file = await self.mlx.ask(question, placeholder="a file or a folder", check=_existing_file)
        if file is None:
            return
        told: list[Line] = []
        self.twin = (*commands.prefs_import(str(Path(file.strip()).expanduser())), "--json")

        def end(job: Job) -> None:
            if job.returncode:
                self.mlx.fail(job.error)
            elif told and isinstance(report := told[0], dict):
                dropped = sum(report.get("dropped", {}).values())
                left = f"; {dropped:,} of no use left out" if dropped else ""
                known = f"; {report.get('known'):,} were there already" if report.get("known") else ""
                self.mlx.tell(f"{rows.pairs_of(report.get('stored', 0))} brought in{known}{left}")
            self.read_anew()

        self.mlx.tell(f"reading {file.strip()}")
        self.mlx.run_job(self.twin, told.append, end)


def _new_file(text: str) -> None:
    if not text.strip():
        raise ConfigError("give the name of a file that is not there yet")
    if (path := Path(text.strip()).expanduser()).exists():
        raise ConfigError(f"{path} exists already and is left as it is; give another name")


def _existing_file(text: str) -> None:
    if not text.strip() or not Path(text.strip()).expanduser().exists():
        raise ConfigError(f"there is no file or folder {text.strip() or '(empty)'}")
