"""Ready sets of the Hub, by the real client against a small server on this machine."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from mlxllm.conversation import Report, find_record_files, read_preferences
from mlxllm.data import download
from mlxllm.data.catalogue import READY_SETS, HubFiles, find_ready_set
from mlxllm.data.ready_download import choose_files, download_set
from mlxllm.data.ready_sets import is_here, read_list, set_folder, training_files
from mlxllm.data.sources import open_source
from mlxllm.errors import DataError
from tests.data.hub_server import COMMIT, Hub, serve_hub

PAIRS = find_ready_set("dpo-mix-7k")
STORIES = find_ready_set("tinystories")


def pairs(count: int) -> bytes:
    def answer(text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": text}]

    out = io.BytesIO()
    columns = {"chosen": [answer(f"Yes {n}.") for n in range(count)], "rejected": [answer("No.")] * count}
    pyarrow.parquet.write_table(pyarrow.table(columns), out)
    return out.getvalue()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """Holds what the catalogue's sets of the Hub name, beside files that they do not."""
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "PATIENCE", download.Patience(stall=0.5, waits=(0.01, 0.01), longest=1.0))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    with serve_hub() as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.address)
        template = served.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        for entry in READY_SETS:
            if isinstance(entry.where, HubFiles):
                files = {pattern.replace("[0-2]", "1").replace("*", "x"): b"{}" for pattern in entry.where.patterns}
                served.datasets[entry.where.dataset] = {"README.md": b"#", "other/x.parquet": b"no", **files}
                served.commits[entry.where.dataset] = entry.where.revision or COMMIT
        served.datasets[PAIRS.where.dataset] |= {"data/train-x.parquet": pairs(50), "data/test-x.parquet": pairs(5)}
        stories = "".join(f"Story {n}.\n<|endoftext|>\n" for n in range(30_000)).encode()
        served.datasets[STORIES.where.dataset]["TinyStoriesV2-GPT4-train.txt"] = stories
        yield served


def test_the_files_of_a_set_come_once(hub: Hub) -> None:
    done = download_set(PAIRS, choose_files(PAIRS))
    assert (done.complete, done.revision) == (True, PAIRS.where.revision)
    assert [file.path for file in done.files] == ["data/test-x.parquet", "data/train-x.parquet"]
    assert done == read_list("dpo-mix-7k")
    assert is_here("dpo-mix-7k")
    assert not any("README" in path or "other" in path for _, path, _ in hub.asked)
    found = find_record_files([training_files(PAIRS)])
    assert len(list(read_preferences(found.train, Report()))) == 50
    asked = len(hub.asked)
    assert download_set(PAIRS, choose_files(PAIRS)) == done
    assert len(hub.asked) == asked


def test_a_set_of_text_is_a_source_by_its_name(hub: Hub) -> None:
    download_set(STORIES, choose_files(STORIES))
    source = open_source("tinystories")
    assert source.spec == f"text:{set_folder('tinystories')}/TinyStoriesV2-GPT4-train.txt"
    assert sum(1 for _ in source.documents()) == 30_000


@pytest.mark.parametrize(
    "entry", [e for e in READY_SETS if isinstance(e.where, HubFiles)], ids=lambda entry: entry.name
)
def test_every_set_of_the_hub_can_be_chosen(hub: Hub, entry) -> None:
    wanted = choose_files(entry)
    assert wanted.revision == (entry.where.revision or COMMIT)
    assert len(wanted.files) == len(entry.where.patterns)


def test_what_main_held_at_first_is_what_comes(hub: Hub) -> None:
    entry = find_ready_set("smol-smoltalk")
    hub.datasets[entry.where.dataset] |= {"data/train-x.parquet": pairs(300), "data/test-x.parquet": pairs(5)}
    wanted = choose_files(entry)
    hub.refuse_files = [503, 503, 503]
    with pytest.raises(DataError, match="503 Service Unavailable"):
        download_set(entry, wanted)
    hub.commits[entry.where.dataset] = "f" * 40  # main goes on
    assert choose_files(entry) == wanted
    # This server forgets; the Hub keeps what has been published.
    with pytest.raises(DataError, match=rf"{COMMIT}/data/test-x.parquet is not there any more"):
        download_set(entry, choose_files(entry))


def test_a_set_whose_terms_are_not_accepted(hub: Hub) -> None:
    entry = find_ready_set("the-stack-smol")
    hub.refuse[entry.where.dataset] = (403, "GatedRepo")
    with pytest.raises(DataError, match="accept its terms on its page"):
        choose_files(entry)
    del hub.refuse[entry.where.dataset]
    wanted = choose_files(entry)
    hub.refuse_files = [401]
    with pytest.raises(DataError, match=r"does not give its files to you \(401\); accept .* or set HF_TOKEN"):
        download_set(entry, wanted)


def test_the_login_is_sent(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token = "hf_secret"
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(DataError, match="HF_TOKEN"):
        choose_files(PAIRS)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert download_set(PAIRS, choose_files(PAIRS)).complete


def test_a_data_set_that_lacks_its_files(hub: Hub) -> None:
    hub.datasets[PAIRS.where.dataset] = {"README.md": b"#", "data/train-x.parquet": b"x"}
    with pytest.raises(DataError, match=r"argilla/dpo-mix-7k on the Hub has no data/test-\*\.parquet any more"):
        choose_files(PAIRS)
    del hub.datasets[PAIRS.where.dataset]
    with pytest.raises(DataError, match="there is no data set argilla/dpo-mix-7k on the Hub"):
        choose_files(PAIRS)


def test_a_file_with_a_changed_byte_is_not_kept(hub: Hub) -> None:
    wanted = choose_files(PAIRS)
    hub.spoil = [True]
    with pytest.raises(DataError, match="is not the file it should be"):
        download_set(PAIRS, wanted)
    assert not is_here("dpo-mix-7k")
    assert download_set(PAIRS, choose_files(PAIRS)).complete


def test_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match="cannot fetch the data set argilla/dpo-mix-7k from the Hub"):
        choose_files(PAIRS)


def test_a_killed_command_goes_on(hub: Hub, mlxllm_home: Path) -> None:
    size = len(hub.datasets[STORIES.where.dataset]["TinyStoriesV2-GPT4-train.txt"])
    command = [sys.executable, "-m", "mlxllm", "data", "get", "tinystories", "--yes"]
    environment = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "MLXLLM_HOME": str(mlxllm_home)}
    part = set_folder("tinystories") / ".TinyStoriesV2-GPT4-train.txt.part"
    hub.stall_after = [size // 2]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 20
        while not (part.exists() and part.stat().st_size == size // 2) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert part.stat().st_size == size // 2
    before = hub.sent
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "mlxllm data build tinystories --source tinystories --tokenizer bpe"
    assert hub.sent - before < size  # only what was missing
    assert is_here("tinystories")
    assert sum(1 for _ in open_source("tinystories").documents()) == 30_000
