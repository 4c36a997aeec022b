"""The question how a run is to leave: in which format, packed or not, into which folder."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Static

from mlxllm import paths
from mlxllm.errors import ConfigError
from tui import commands
from tui.widgets.command_form import CommandForm, form_keys
from tui.widgets.keys_bar import KeysBar
from tui.widgets.one_of import OneOf
from tui.widgets.path_entry import PathSuggester
from tui.words import visible

_WEIGHTS = {
    "hf": "A folder for transformers, mlx-lm and mlxllm: safetensors, tokenizer.json, a model card.",
    "gguf": "One file for llama.cpp, Ollama and LM Studio.",
}
_ADAPTERS = {
    "peft": "The adapters alone, as PEFT loads them on their base.",
    "mlx-adapter": "The adapters alone, as mlx-lm loads them on their base.",
}
PACKED: Mapping[str, Mapping[str, str]] = {
    "hf": {
        "plain": "Every weight as it was trained.",
        "affine4": "4 bits a weight, in groups of 64 with scale and bias, as mlx-lm packs them.",
        "affine8": "8 bits a weight: next to no loss.",
        "mxfp4": "4-bit floats, groups of 32 whose scale is a power of two.",
        "nvfp4": "4-bit floats, groups of 16 whose scale has 8 bits.",
    },
    "gguf": {
        "f16": "16 bits a weight; llama-quantize of llama.cpp makes its other types of it.",
        "q8_0": "8.5 bits a weight: next to no loss.",
        "q5_1": "6 bits a weight, with scale and minimum.",
        "q5_0": "5.5 bits a weight.",
        "q4_1": "5 bits a weight, with scale and minimum.",
        "q4_0": "4.5 bits a weight.",
        "mxfp4": "4-bit floats, groups of 32 whose scale is a power of two.",
        "tq2_0": "2 bits, for weights that were trained as -1, 0 and 1.",
        "tq1_0": "The same in 1.7 bits: smaller and slower.",
    },
}
"""Format -> what its weights may be packed as; the first is what it does unasked, the others are `--quantize`."""
_MODELFILE = ("without", "Modelfile")


@dataclass(frozen=True)
class Leaving:
    """How a run is to leave."""

    folder: str
    args: commands.Args
    modelfile: bool = False
    """Whether Ollama can take it from there."""


class ExportDialog(CommandForm[Leaving]):
    """Format, packing and folder; Enter exports."""

    CSS = f"""{CommandForm.CSS}
    ExportDialog Horizontal {{ height: auto; }}
    ExportDialog .name {{ width: 10; }}
    ExportDialog .more {{ margin-left: 11; }}
    """
    BINDINGS = form_keys("Export")

    def __init__(self, run: str, model: str, adapters: bool) -> None:
        """Ask how a run is to leave.

        Args:
            run: its name.
            model: its address for commands.
            adapters: whether it trained adapters, which can leave alone.
        """
        super().__init__()
        self._run, self._model = run, model
        self._formats: Mapping[str, str] = _WEIGHTS | _ADAPTERS if adapters else _WEIGHTS
        self._adapters = adapters
        self._suggested = ""

    def compose(self) -> ComposeResult:
        merged = " Its adapters are merged into the weights." if self._adapters else ""
        with Vertical() as box:
            box.border_title = Content(f"Export {visible(self._run)}")
            box.border_subtitle = "enter exports, tab goes on, esc: not now"
            yield Static(Content(f"What leaves is read back and compared with the run before it is kept.{merged}"))
            with Horizontal():
                yield Static("Format", classes="name")
                yield OneOf(list(self._formats), id="format")
            yield Static(id="about", classes="more", markup=False)
            for form, kinds in PACKED.items():
                with Horizontal(classes=f"of {form}"):
                    yield Static("Weights", classes="name")
                    yield OneOf(list(kinds), id=f"weights-{form}")
            yield Static(id="packed", classes="more", markup=False)
            with Horizontal(classes="of gguf"):
                yield Static("Ollama", classes="name")
                yield OneOf(_MODELFILE, id="modelfile")
            with Horizontal():
                yield Static("Folder", classes="name")
                yield Input(id="folder", suggester=PathSuggester())
            yield Static(id="command", markup=False)
            yield Static(id="wrong", markup=False)
        yield KeysBar()

    def on_mount(self) -> None:
        """The usual format, into a folder that is not there yet."""
        self.query_one("#format", OneOf).focus()
        self._find_folder()

    def on_one_of_changed(self) -> None:
        """Another format or packing; a folder that was typed stays."""
        self._show()
        if self._typed("folder") in ("", self._suggested):
            self._find_folder()

    @work(exclusive=True)
    async def _find_folder(self) -> None:
        self._suggested = str(_free(self._run, self._format(), self._quantize()))
        self.query_one("#folder", Input).value = self._suggested
        self._show()

    def _format(self) -> str:
        return list(self._formats)[self.query_one("#format", OneOf).chosen]

    def _packed(self) -> tuple[str, str]:
        """What the weights are packed as, and what that is; empty for adapters."""
        if (kinds := PACKED.get(self._format())) is None:
            return "", ""
        return list(kinds.items())[self.query_one(f"#weights-{self._format()}", OneOf).chosen]

    def _quantize(self) -> str | None:
        """The value of `--quantize`, where one is needed."""
        name = self._packed()[0]
        return name if name and name != next(iter(PACKED[self._format()])) else None

    def _modelfile(self) -> bool:
        return self._format() == "gguf" and self.query_one("#modelfile", OneOf).chosen == 1

    def _args(self) -> commands.Args:
        return commands.export(
            self._model, self._typed("folder"), self._format(), quantize=self._quantize(), modelfile=self._modelfile()
        )

    def _show(self) -> None:
        form = self._format()
        for row in self.query(".of"):
            row.display = row.has_class(form)
        self.query_one("#about", Static).update(Content(self._formats[form]))
        packed = self.query_one("#packed", Static)
        packed.display = form in PACKED
        packed.update(Content(self._packed()[1]))
        super()._show()

    def action_take(self) -> None:
        """Take it, or say why not."""
        try:
            new_folder(self._typed("folder"))
        except ConfigError as error:
            self._refuse(error)
            return
        self.dismiss(Leaving(self._typed("folder"), self._args(), self._modelfile()))


def new_folder(text: str) -> None:
    """Refuse what is there.

    Raises:
        ConfigError: the name is empty or taken.
    """
    if not text.strip():
        raise ConfigError("give the name of a folder that is not there yet")
    if (path := Path(text.strip()).expanduser()).exists():
        raise ConfigError(f"{path} exists already; name a new folder")


def _free(run: str, form: str, quantize: str | None) -> Path:
    """A folder for exports that is not there yet."""
    name = "-".join(part for part in (run, "" if form == "hf" else form, quantize) if part)
    path, number = paths.folder("exports") / name, 2
    while path.exists():
        path, number = paths.folder("exports") / f"{name}-{number}", number + 1
    return path


def outcome(folder: str, said: Mapping[str, Any] | None, name: str = "") -> str:
    """Where an export lies, who read it back, what is to be known about it, and how Ollama takes it.

    Args:
        folder: of the export.
        said: the object that the command printed.
        name: what it is to be called in Ollama, if there is a Modelfile.
    """
    rows = (said or {}).get("rows") or ()
    readers = [str(row["reader"]) for row in rows if isinstance(row, Mapping) and row.get("status") == "passed"]
    read = f", read back unchanged by {', '.join(readers)}" if readers else ""
    told = [f"to {folder}{read}", *(str(note) for note in (said or {}).get("notes") or ())]
    if name:
        told.append(
            f"{shlex.join(('ollama', 'create', name, '-f', str(Path(folder) / 'Modelfile')))} takes it from there"
        )
    return "; ".join(told)
