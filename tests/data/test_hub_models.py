"""Models of the Hub by name: asked of a real server on this machine, kept in huggingface_hub's cache, found there again."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlxllm.data.hub.models import HubName, cached_model, fetch_model, name_of_snapshot, parse_hub_name
from mlxllm.data.transfers import told
from mlxllm.errors import ConfigError, DataError, UserError
from mlxllm.model.loading import load_model, load_model_tokenizer
from mlxllm.model.naming import find_model, lasting_name
from mlxllm.tokenizer import Tokenizer, choose_tokenizer
from mlxllm.tokenizer.byte import ByteTokenizer
from tests.data.hub_server import COMMIT, Hub
from tests.export.tiny import save_folder
from tests.model.test_loading import split_into_shards
from tests.model.tiny import max_difference, tiny_model, token_ids

NEWER = "f" * 40


class Told:
    """What a listener heard."""

    def __init__(self) -> None:
        self.began: list[tuple[str, int, int]] = []
        self.reached: list[int] = []
        self.ended = 0

    def begins(self, what: str, files: int, size: int) -> None:
        self.began.append((what, files, size))

    def progress(self, done: int, size: int) -> None:
        self.reached.append(done)

    def ends(self) -> None:
        self.ended += 1


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a new process would begin."""
    monkeypatch.setattr("mlxllm.data.hub.models._found", {})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_folder(tiny_model(vocab_size=261), ByteTokenizer(), ("base",), tmp_path / "made")
    return tmp_path / "made"


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def served(hub: Hub, folder: Path) -> Hub:
    extra = {"README.md": b"# fox", "modeling_fox.py": b"raise SystemExit(1)", "pytorch_model.bin": b"pickle"}
    hub.models["owner/fox"] = files_of(folder) | extra | {"generation_config.json": b"{}", "deep/config.json": b"{}"}
    return hub


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlxllm.data.hub.models._found", {})


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("owner/name", HubName("owner/name", None)),
        ("Qwen/Qwen2.5-0.5B-Instruct", HubName("Qwen/Qwen2.5-0.5B-Instruct", None)),
        ("owner/name@main", HubName("owner/name", "main")),
        (f"owner/name@{COMMIT}", HubName("owner/name", COMMIT)),
        ("owner/name@refs/pr/3", HubName("owner/name", "refs/pr/3")),
        ("name", None),
        ("a/b/c", None),
        ("owner/na..me", None),
        ("../name", None),
        ("owner/", None),
        ("owner/na me", None),
        ("owner/name@../../x", None),
        ("ow--ner/name", None),
    ],
)
def test_names_of_the_hub(text: str, name: HubName | None) -> None:
    assert parse_hub_name(text) == name
    assert name is None or str(name) == text


def test_a_model_by_its_name(served: Hub, folder: Path, tmp_path: Path) -> None:
    heard = Told()
    with told(heard):
        loaded = load_model("owner/fox")
    assert max_difference(loaded.model(token_ids(2, 9)), load_model(str(folder)).model(token_ids(2, 9))) == 0
    snapshot = tmp_path / "users-cache/models--owner--fox/snapshots" / COMMIT
    assert loaded.path == snapshot
    chosen = choose_tokenizer("owner/fox")
    assert isinstance(chosen, Tokenizer)
    assert chosen.fingerprint == loaded.tokenizer.fingerprint
    with pytest.raises(ConfigError, match="has to be here already"):
        choose_tokenizer("owner/wolf")
    assert (loaded.name, loaded.address) == ("owner/fox", f"owner/fox@{COMMIT}")
    there = {str(path.relative_to(snapshot)) for path in snapshot.rglob("*") if not path.is_dir()}
    wanted = set(files_of(folder)) - {"README.md"} | {"generation_config.json"}
    assert there == wanted, "no pickle, no code, nothing else"
    size = sum(len(served.models["owner/fox"][name]) for name in there)
    assert heard.began == [(f"owner/fox at {COMMIT[:12]}", len(there), size)]
    assert heard.reached[-1] == size
    assert heard.ended == 1
    assert (snapshot / "model.safetensors").is_symlink()
    assert (snapshot / "model.safetensors").resolve().parent.name == "blobs"
    assert load_model_tokenizer("owner/fox@main")[0].fingerprint == ByteTokenizer().fingerprint


def test_huggingface_hub_reads_the_same_cache_and_the_other_way_round(served: Hub, tmp_path: Path) -> None:
    import huggingface_hub

    ours = fetch_model(HubName("owner/fox", None))
    asked = served.fetched("model.safetensors")
    found = huggingface_hub.snapshot_download(
        "owner/fox", allow_patterns=["*.json", "*.safetensors"], local_files_only=True
    )
    assert Path(found) == ours
    assert huggingface_hub.try_to_load_from_cache("owner/fox", "model.safetensors") == str(ours / "model.safetensors")
    assert served.fetched("model.safetensors") == asked
    served.models["owner/hen"] = served.models["owner/fox"]
    theirs = huggingface_hub.snapshot_download("owner/hen", allow_patterns=["*.json", "*.safetensors", "tokenizer/*"])
    asked = served.fetched("model.safetensors")
    assert find_model("owner/hen") == (Path(theirs), None)
    assert served.fetched("model.safetensors") == asked


def test_what_is_here_is_not_asked_for_again(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    fetch_model(HubName("owner/fox", None))
    asked = len(served.asked)
    fetch_model(HubName("owner/fox", None))
    assert len(served.asked) == asked, "once a process"
    forget(monkeypatch)
    heard = Told()
    fetch_model(HubName("owner/fox", None), told=heard)
    assert [path for _, path, _ in served.asked[asked:]] == ["/api/models/owner/fox"], "only the commit is asked"
    assert (heard.began, heard.ended) == ([], 0)
    forget(monkeypatch)
    asked = len(served.asked)
    assert fetch_model(HubName("owner/fox", COMMIT)).name == COMMIT
    assert len(served.asked) == asked, "a commit does not change"
    forget(monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_model("owner/fox").address == f"owner/fox@{COMMIT}"
    with pytest.raises(DataError, match="cannot fetch the model owner/hen from the Hub because HF_HUB_OFFLINE is set"):
        load_model("owner/hen")


def test_a_branch_that_moves_and_a_name_that_stays(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_model("owner/fox")
    served.earlier["owner/fox"] = {COMMIT: served.models["owner/fox"]}
    served.commits["owner/fox"] = NEWER
    served.models["owner/fox"] = {**served.models["owner/fox"], "generation_config.json": b'{"temperature": 1}'}
    forget(monkeypatch)
    asked = served.fetched("model.safetensors")
    second = load_model("owner/fox")
    assert (first.path.name, second.path.name) == (COMMIT, NEWER)
    assert served.fetched("model.safetensors") == asked, "equal files are there once"
    assert (second.path / "generation_config.json").read_bytes() == b'{"temperature": 1}'
    assert load_model(first.address).path == first.path
    assert name_of_snapshot(first.path) == first.address
    assert lasting_name(first.path.parent.parent / "snapshots" / "x") != first.address


def test_a_hub_that_cannot_be_reached(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    fetch_model(HubName("owner/fox", None))
    forget(monkeypatch)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert cached_model(HubName("owner/fox", None)) == fetch_model(HubName("owner/fox", None))
    with pytest.raises(
        DataError, match=r"owner/hen from the Hub \(.*\), and there is no folder owner/hen here; go online"
    ):
        fetch_model(HubName("owner/hen", None))
    monkeypatch.setattr(constants, "ENDPOINT", served.address)
    forget(monkeypatch)
    served.refuse["owner/fox"] = (503, "")
    assert fetch_model(HubName("owner/fox", None)).name == COMMIT


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        ((404, "RepoNotFound"), "there is no model owner/fox on the Hub, nor a run or folder of that name here"),
        ((404, "RevisionNotFound"), "the model owner/fox on the Hub has no revision 'v2'"),
        ((403, "GatedRepo"), r"only given to who asked for it; accept its terms .*`hf auth login`, or set HF_TOKEN"),
        ((401, "GatedRepo"), r"only given to who asked for it"),
        ((401, ""), r"it asks for a login \(401\)|there is no model"),
        ((500, ""), r"the Hub has a trouble of its own \(500\)"),
    ],
)
def test_refusals_are_sentences(refusal: tuple[int, str], said: str, served: Hub) -> None:
    served.refuse["owner/fox"] = refusal
    with pytest.raises(DataError, match=said) as caught:
        load_model("owner/fox@v2")
    assert str(caught.value).isprintable()


def test_files_that_are_not_given_out(served: Hub) -> None:
    served.refuse_files = [403] * 9
    with pytest.raises(
        DataError, match=r"owner/fox on the Hub does not give its files to you \(403\); accept its terms"
    ):
        fetch_model(HubName("owner/fox", None))


def test_a_transfer_that_broke_off_is_gone_on_with(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlxllm.data import download

    monkeypatch.setattr(download, "PATIENCE", download.Patience(stall=0.5, waits=()))
    content = served.models["owner/fox"]["model.safetensors"]
    fetch = download.fetch
    half = len(content) // 2

    def cutting(url: str, *args: Any, **kwargs: Any) -> Path:
        if url.endswith("model.safetensors") and not served.cut_after and not broke:
            broke.append(True)
            served.cut_after = [half]
        return fetch(url, *args, **kwargs)

    broke: list[bool] = []
    monkeypatch.setattr("mlxllm.data.hub.models.fetch", cutting)
    with pytest.raises(DataError, match=r"the connection broke after .* that have come are kept"):
        fetch_model(HubName("owner/fox", None))
    assert cached_model(HubName("owner/fox", COMMIT)) is None, "what is not whole is not found"
    sent = served.sent
    load_model("owner/fox")
    assert served.sent - sent == len(content) - half


def test_what_is_not_what_it_should_be(served: Hub) -> None:
    served.spoil = [True]
    with pytest.raises(DataError, match=r"is not the file that the Hub lists; try again"):
        fetch_model(HubName("owner/fox", None))
    assert fetch_model(HubName("owner/fox", None)).name == COMMIT


def test_no_room_on_the_disk(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil
    from types import SimpleNamespace

    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(
        DataError, match=r"owner/fox needs .* more, and \S+ has 10 bytes free; make room, or let HF_HOME"
    ):
        fetch_model(HubName("owner/fox", None))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"config.json": b"{}", "pytorch_model.bin": b""}, r"as a pickle only \(pytorch_model.bin\).*refs/pr/N"),
        ({"config.json": b"{}", "fox.gguf": b""}, r"holds GGUF files only"),
        ({"config.json": b"{}", "adapter_model.safetensors": b""}, r"holds an adapter and no model.*--adapter"),
        ({"config.json": b"{}"}, r"holds no .safetensors file"),
        ({"model.safetensors": b""}, r"holds no config.json; is it a model that transformers reads\?"),
        ({"config.json": b"{}", "model.safetensors.index.json": b"[]"}, r"its model.safetensors.index.json names no"),
        (
            {"config.json": b"{}", "model.safetensors.index.json": b'{"weight_map": {"a": "x.safetensors"}}'},
            r"lacks 'x.safetensors', which its",
        ),
        (
            {"config.json": b"{}", "model.safetensors.index.json": b'{"weight_map": {"a": "../x.safetensors"}}'},
            r"names no usable files",
        ),
    ],
)
def test_models_that_cannot_be_used(files: dict[str, bytes], said: str, hub: Hub) -> None:
    hub.models["owner/odd"] = files
    with pytest.raises(DataError, match=said):
        find_model("owner/odd")
    assert not hub.fetched(".bin")


def test_shards_and_none_that_nobody_needs(hub: Hub, folder: Path) -> None:
    split_into_shards(folder)
    hub.models["owner/parts"] = files_of(folder) | {"consolidated.safetensors": b"x" * 100}
    loaded = load_model("owner/parts")
    assert len(loaded.weight_files) == 3
    assert not hub.fetched("consolidated.safetensors")


def test_a_path_goes_before_the_hub(hub: Hub, folder: Path, tmp_path: Path) -> None:
    folder.rename(tmp_path / "fox")
    (tmp_path / "owner").mkdir()
    (tmp_path / "fox").rename(tmp_path / "owner/fox")
    assert load_model("owner/fox").path == Path("owner/fox")
    for name in ("./owner/hen", "/owner/hen"):
        with pytest.raises(ConfigError):
            find_model(name)
    assert hub.asked == []


def test_the_command_line_tells_the_size_first_and_a_run_remembers_the_commit(
    served: Hub, tmp_path: Path, mlxllm_home: Path
) -> None:
    from mlxllm.model.naming import read_run_config

    env = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": served.address, "HF_HOME": str(tmp_path / "hf")}

    def mlxllm(*command: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "mlxllm", *command], env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done

    done = mlxllm("sample", "--model", "owner/fox", "--prompt", "a", "--max-tokens", "3", "--json")
    assert f"downloading owner/fox at {COMMIT[:12]} from the Hub: " in done.stderr
    assert json.loads(done.stdout)["token_ids"]
    (tmp_path / "talk.jsonl").write_text(
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n' * 4
    )
    done = mlxllm(
        *("sft", "--model", "owner/fox", "--data", str(tmp_path / "talk.jsonl"), "--run", "tuned", "--lora-rank", "2"),
        *("--max-steps", "2", "--set", "data.max_seq_len=32", "--set", "train.batch_size=2"),
    )
    assert "downloading" not in done.stderr
    assert read_run_config(mlxllm_home / "runs/tuned").base_model == f"owner/fox@{COMMIT}"
    env["HF_HUB_OFFLINE"] = "1"
    mlxllm("resume", "tuned", "--max-steps", "3")


def test_errors_are_of_the_user(hub: Hub) -> None:
    with pytest.raises(UserError, match="there is no model someone/model on the Hub, nor a run or folder"):
        load_model("someone/model")
