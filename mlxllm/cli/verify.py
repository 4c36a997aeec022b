"""`mlxllm verify`: whether an export is still the model that it was made from."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mlxllm.cli import sampling, verification_view
from mlxllm.cli.export import Readers, full_precision, split
from mlxllm.errors import ConfigError, ModelError, UserError


def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `mlxllm export` wrote.", show_default=False)],
    against: Annotated[
        str,
        typer.Option(metavar="M", help="The model that it was made from: a run, or a folder.", show_default=False),
    ],
    adapter: sampling.AdapterName = None,
    readers: Readers = None,
    device: sampling.Device = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")] = False,
) -> None:
    """Compare an export, as each installed reader reads it, with the model that it was made from.

    Token ids of a fixed text, logits, and greedy tokens. Where all readers pass, the result is written to
    verification.json in the folder, if an export of mlxllm. It ends with 1 where a reader differs.
    """
    path = folder.expanduser()
    single = path.is_file() and path.suffix == ".gguf"
    if not path.is_dir() and not single:
        raise ConfigError(f"{folder} is not a folder; give one that `mlxllm export` wrote")
    from mlxllm.export.gguf_verification import chosen_gguf_readers, gguf_file
    from mlxllm.export.verification import chosen_readers
    from mlxllm.export.verification import verify as compare
    from mlxllm.export.verified import VERIFICATION_FILE, is_export, write_verification

    choose = chosen_readers if gguf_file(path) is None else chosen_gguf_readers
    asked = None if readers is None else choose(split(readers))
    full_precision()
    loaded = sampling.load(against, device, adapter)
    verification = compare(path, loaded, asked)
    noted = not single and (path / VERIFICATION_FILE).exists()
    # A few readers do not replace the word of all, and beside a single file there is no place for it.
    if verification.passed and not single and (asked is None or not noted) and is_export(path):
        try:
            write_verification(path, verification)
        except UserError as error:  # somebody else's folder: the answer is still one
            sampling.say(f"warning: {error}")
    if json_:
        print(json.dumps({"path": str(path.absolute()), "against": against, **verification.as_dict()}))
    else:
        verification_view.show(verification)
        verification_view.say_notes(verification.notes)
    if verification.passed:
        return
    kept = f"; its {VERIFICATION_FILE} was left as it is" if noted else ""
    if verification.differs:
        raise ModelError(
            f"{folder} is not the model {against}: {verification.failure()}; was it made from another model? Else export "
            f"it again{kept}"
        )
    raise ModelError(
        f"{folder} could not be compared with {against}: {verification.failure()}; --readers names the readers to ask{kept}"
    )
