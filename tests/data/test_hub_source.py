"""Data sets of the Hub, by the real client against a small server on this machine."""

import gzip
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from mlxllm import paths
from mlxllm.data import download
from mlxllm.data.build import build_dataset
from mlxllm.data.hub import choose_files
from mlxllm.data.preview import preview_source
from mlxllm.data.sources import Document, open_source
from mlxllm.errors import ConfigError, DataError, UserError
from mlxllm.tokenizer import train_tokenizer
from tests.data.hub_server import COMMIT, Hub


def table(texts: list[str], column: str = "text", row_group_size: int = 100, **columns: list[object]) -> bytes:
    out = io.BytesIO()
    made = pyarrow.table({column: texts, **columns})
    pyarrow.parquet.write_table(made, out, row_group_size=row_group_size, compression="none", use_dictionary=False)
    return out.getvalue()


def lines(texts: list[str]) -> bytes:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


def texts_of(spec: str) -> list[str]:
    return [document.text for document in open_source(spec).documents()]


def kept(home: Path) -> list[str]:
    """Files that are left in the cache, but for the locks of those that are kept."""
    return sorted(p.name for p in (home / "cache").rglob("*") if p.is_file() and not p.name.endswith(".lock"))


def test_shards_come_one_at_a_time_and_go(hub: Hub, mlxllm_home: Path) -> None:
    shards = [f"data/train-{n:05}-of-00003.parquet" for n in range(3)]
    hub.datasets["owner/web"] = {path: table([f"{path} {n}" for n in range(2)]) for path in shards}
    hub.datasets["owner/web"]["README.md"] = b"# Web"
    source = open_source("owner/web")
    assert not hub.asked, "opening asks nobody"
    assert source.spec == "hub:owner/web"
    seen = []
    for document in source.documents():
        seen.append(document)
        here = kept(mlxllm_home)
        assert here == [document.id.rpartition("/")[2].partition("#")[0]], "one shard lies on the disk"
    assert [d.text for d in seen] == [f"{path} {n}" for path in shards for n in range(2)]
    assert seen[3].id == f"owner/web@{COMMIT[:12]}/{shards[1]}#1"
    assert [hub.fetched(path) for path in shards] == [1, 1, 1]
    assert not kept(mlxllm_home)
    assert not list((mlxllm_home / "cache" / "hub").iterdir()), "nor an empty folder"


def test_it_stays_the_same_data(hub: Hub) -> None:
    hub.datasets["owner/web"] = {"a.parquet": table(["before"])}
    source = open_source("owner/web,shards=3")
    fixed = source.pinned()  # type: ignore[attr-defined]
    assert fixed.spec == f"hub:owner/web,revision={COMMIT},shards=3"
    assert open_source(fixed.spec).spec == fixed.spec
    hub.commits["owner/web"] = "f" * 40
    with pytest.raises(DataError, match=f"the data set owner/web on the Hub has no revision '{COMMIT}'"):
        list(open_source(fixed.spec).documents())  # this server forgets old commits; the point is that it is asked for
    assert fixed.parts() == [f"owner/web@{COMMIT[:12]}/a.parquet"]
    assert list(open_source("hub:owner/web").parts()) == ["owner/web@ffffffffffff/a.parquet"]  # type: ignore[attr-defined]
    assert pickle.loads(pickle.dumps(fixed)).parts() == fixed.parts()


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".jsonl.gz", ".json.zst", ".parquet"])
def test_formats(hub: Hub, suffix: str) -> None:
    texts = ["one", "two\nlines", "ä" * 5000]
    content = table(texts) if suffix == ".parquet" else lines(texts)
    if suffix.endswith(".gz"):
        content = gzip.compress(content)
    if suffix.endswith(".zst"):
        content = zstandard.compress(content)
    hub.datasets["owner/set"] = {f"some{suffix}": content, "picture.png": b"x"}
    assert texts_of("owner/set") == texts
    seen = preview_source(open_source("owner/set"))
    assert list(seen.texts) == texts
    assert seen.complete


def test_a_broken_off_transfer_is_gone_on_with(hub: Hub, mlxllm_home: Path) -> None:
    content = table([str(n) * 1000 for n in range(3000)])
    hub.datasets["owner/web"] = {"a.parquet": content}
    hub.cut_after = [1_000_000, 500_000]
    assert len(texts_of("owner/web")) == 3000
    size = len(content)
    assert hub.sent == size, "no byte came twice"
    asked = [bytes_ for _, path, bytes_ in hub.asked if path.endswith("a.parquet")]
    assert asked[0] == ""
    assert asked[1:] == ["bytes=1000000-", "bytes=1500000-"]


def test_a_transfer_goes_on_in_another_process(hub: Hub, mlxllm_home: Path) -> None:
    content = table([str(n) * 1000 for n in range(3000)])
    hub.datasets["owner/web"] = {"a.parquet": content}
    hub.cut_after = [1_000_000, 0, 0, 0]
    with pytest.raises(
        DataError, match=r"the connection broke after 1,000,000 of .* bytes; 1\.0 MB that have come are kept"
    ):
        texts_of("owner/web")
    assert kept(mlxllm_home) == [".a.parquet.part", ".a.parquet.part.json"]
    hub.cut_after.clear()
    code = "from mlxllm.data.sources import open_source; print(sum(1 for _ in open_source('owner/web').documents()))"
    environment = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(mlxllm_home / "hf")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("3000\n", "")
    size = len(content)
    assert hub.sent == size
    assert not kept(mlxllm_home)


def test_a_damaged_part_is_not_gone_on_with(hub: Hub, mlxllm_home: Path) -> None:
    hub.datasets["owner/web"] = {"a.parquet": table(["x" * 5000])}
    part = mlxllm_home / "cache" / "hub" / "owner--web" / COMMIT / ".a.parquet.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"\0" * 2000)
    assert texts_of("owner/web") == ["x" * 5000]
    part.parent.mkdir(parents=True)
    part.write_bytes(b"\0" * 200_000)  # longer than the file
    assert texts_of("owner/web") == ["x" * 5000]
    hub.spoil = [True, True]
    with pytest.raises(DataError, match=r"is not the file it should be \(its sha256 is"):
        texts_of("owner/web")
    assert not kept(mlxllm_home)


def test_a_busy_or_silent_hub_is_asked_again(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PATIENCE", download.Patience(stall=0.3, waits=(0.01, 0.01)))
    hub.datasets["owner/web"] = {"a.parquet": table(["x" * 5000])}
    hub.refuse_questions = [429]
    hub.refuse_files = [503, 429]
    hub.stall_after = [100]
    assert texts_of("owner/web") == ["x" * 5000]
    assert [r for _, p, r in hub.asked if p.endswith("a.parquet")] == ["", "", "", "bytes=100-"]
    hub.refuse_files = [429] * 9
    with pytest.raises(DataError, match=r"a\.parquet cannot be downloaded: the server answered 429 Too Many Requests"):
        texts_of("owner/web")
    hub.refuse_files.clear()
    hub.stall_after = [0, 0, 0]
    with pytest.raises(DataError, match=r"nothing has come for 0\.3 s"):
        texts_of("owner/web")
    hub.stall_after.clear()
    hub.refuse_questions = [503] * 9
    with pytest.raises(DataError, match=r"the Hub has a trouble of its own \(503\)"):
        texts_of("owner/web")


@pytest.mark.parametrize(
    ("refusal", "sentence"),
    [
        ((403, "GatedRepo"), "is only given to who asked for it; accept its terms on its page and log in"),
        ((401, "GatedRepo"), "is only given to who asked for it; accept its terms on its page and log in"),
        ((404, "RepoNotFound"), "there is no data set owner/web on the Hub, nor a file of that name here"),
        ((401, ""), r"it asks for a login \(401\); log in with `hf auth login`, or look at HF_TOKEN"),
        ((403, ""), r"it does not give its files to you \(403\)"),
        ((500, ""), r"the Hub has a trouble of its own \(500\)"),
    ],
)
def test_refusals(hub: Hub, refusal: tuple[int, str], sentence: str) -> None:
    hub.datasets["owner/web"] = {"a.parquet": table(["x"])}
    hub.refuse["owner/web"] = refusal
    for read in (texts_of, lambda spec: preview_source(open_source(spec))):
        with pytest.raises(DataError, match=sentence) as caught:
            read("owner/web")
        assert "\n" not in str(caught.value)


def test_a_login_is_sent(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.datasets["owner/web"] = {"a.parquet": table(["x"])}
    hub.token = "secret"
    with pytest.raises(DataError, match=r"it asks for a login \(401\)"):
        texts_of("owner/web")
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert texts_of("owner/web") == ["x"]
    assert preview_source(open_source("owner/web")).texts == ("x",)


def test_no_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    with pytest.raises(
        DataError, match=r"cannot fetch the data set owner/web from the Hub \(.*go online, or give files"
    ):
        texts_of("owner/web")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"go online \(HF_ENDPOINT has http://127.0.0.1:9 asked for it\)"):
        texts_of("owner/web")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="because HF_HUB_OFFLINE is set; unset it, or go online"):
        texts_of("owner/web")


def test_a_full_disk(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.datasets["owner/web"] = {"a.parquet": table(["x"])}
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(
        DataError, match=r"a\.parquet needs .* bytes more, and .* has 10 bytes free; make room, or let MLXLLM_HOME"
    ):
        texts_of("owner/web")


def test_the_users_own_cache_is_read_and_left(hub: Hub, tmp_path: Path, mlxllm_home: Path) -> None:
    hub.datasets["owner/web"] = {"a.parquet": table(["x"])}
    mine = tmp_path / "users-cache" / "datasets--owner--web" / "snapshots" / COMMIT / "a.parquet"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(table(["mine"]))
    assert texts_of("owner/web") == ["mine"]
    assert mine.exists()
    assert hub.fetched("a.parquet") == 0


def test_a_preview_fetches_little(hub: Hub, mlxllm_home: Path) -> None:
    word = "".join(chr(0x4E00 + n % 20000) for n in range(1000))
    hub.datasets["owner/web"] = {"a.parquet": table([f"{n}{word}" for n in range(20_000)], row_group_size=20_000)}
    size = len(hub.datasets["owner/web"]["a.parquet"])
    assert size > 50_000_000
    seen = preview_source(open_source("owner/web"), most_bytes=1 << 19)
    assert [text[:3] for text in seen.texts[:2]] == [f"0{word[:2]}", f"1{word[:2]}"]
    assert not seen.complete
    assert hub.sent < 10_000_000
    assert not kept(mlxllm_home)
    hub.ranges = False
    with pytest.raises(DataError, match=r"does not give parts of a\.parquet"):
        preview_source(open_source("owner/web"))


def test_two_readers_share_a_shard(hub: Hub, mlxllm_home: Path) -> None:
    hub.datasets["owner/web"] = {"a.parquet": table(["x", "y"])}
    one, other = (iter(open_source("owner/web").documents()) for _ in range(2))
    assert next(one).text == next(other).text == "x"
    assert hub.fetched("a.parquet") == 1
    assert next(one).text == "y"
    assert next(one, None) is None
    assert kept(mlxllm_home) == ["a.parquet"], "the other still reads it"
    assert [document.text for document in other] == ["y"]
    assert not kept(mlxllm_home)


def test_what_was_not_read_to_its_end_is_kept_for_the_next_time(hub: Hub, mlxllm_home: Path) -> None:
    hub.datasets["owner/web"] = {"a.parquet": table(["x", "y"])}
    reading = iter(open_source("owner/web").documents())
    assert isinstance(next(reading), Document)
    reading.close()  # type: ignore[attr-defined]
    assert kept(mlxllm_home) == ["a.parquet"]
    assert texts_of("owner/web") == ["x", "y"]
    assert hub.fetched("a.parquet") == 1
    assert not kept(mlxllm_home)


def test_columns(hub: Hub) -> None:
    content = table(["a"], "body", url=["http://x"], language=["en"], score=[0.5])
    hub.datasets["owner/web"] = {"a.parquet": content, "b.parquet": table(["b"], "other")}
    with pytest.raises(
        DataError, match=r"no column 'text' or 'content'; its columns are body, url, language, score; name"
    ):
        texts_of("owner/web")
    with pytest.raises(DataError, match="no column 'bodi'; its columns are body, url"):
        texts_of("owner/web,column=bodi")
    with pytest.raises(DataError, match="has in column 'score' double and no text"):
        texts_of("owner/web,column=score")
    source = open_source("owner/web,column=body")
    (document,) = source.documents()
    assert (document.text, document.metadata) == ("a", {"url": "http://x", "language": "en"})
    assert source.problems.dropped == {"no text column": 1}
    hub.datasets["owner/chat"] = {"a.jsonl": b'{"messages": []}\n' * 2000}
    with pytest.raises(
        DataError, match=r"a\.jsonl:1001 has no column 'text' or 'content'; its columns are messages, as do"
    ):
        texts_of("owner/chat")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hub:", "needs a data set of the Hub"),
        ("hub:web", "as owner/name or owner/name/config; found 'web'"),
        ("hub:owner/web,colum=x", "no option 'colum' .*did you mean 'column'"),
        ("hub:owner/web,shards=0", "'shards' of source 'hub' is '0'; wanted a whole number above 0"),
        ("hub:owner/web,split=", "the option 'split' of source 'hub' is empty"),
        ("hub:owner/web,split=a,split=b", "given the option 'split' twice"),
        ("hub:./,split=test", "is for data sets on the Hub, and './' is a path"),
        ("owner/web,nothing=1", "no option 'nothing'"),
    ],
)
def test_wrong_specifications(spec: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        open_source(spec)


def test_published_sets_know_their_place(hub: Hub) -> None:
    hub.datasets["tiiuae/falcon-refinedweb"] = {"data/train-00000-of-00002-1.parquet": table(["web"], "content")}
    assert open_source("refinedweb").spec == "refinedweb:tiiuae/falcon-refinedweb"
    assert texts_of("refinedweb") == texts_of("refinedweb:tiiuae/falcon-refinedweb") == ["web"]
    configs = [
        {"config_name": "default", "data_files": [{"split": "train", "path": "data/*/*"}]},
        {"config_name": "sample-10BT", "data_files": [{"split": "train", "path": "sample/10BT/*"}]},
    ]
    hub.cards["HuggingFaceFW/fineweb"] = {"configs": configs}
    hub.datasets["HuggingFaceFW/fineweb"] = {
        "data/CC-MAIN-2013-20/000_00000.parquet": table(["all"]),
        "sample/10BT/000_00000.parquet": table(["sample"]),
    }
    assert texts_of("fineweb") == texts_of("fineweb:sample-10BT") == ["sample"]
    assert texts_of("HuggingFaceFW/fineweb") == ["all"]
    with pytest.raises(ConfigError, match="no config 'sample-11BT'; did you mean sample-10BT"):
        texts_of("fineweb:sample-11BT")
    with pytest.raises(DataError, match="there is no file or folder 'nowhere'"):
        open_source("refinedweb:nowhere")


def test_a_build_goes_on_after_kill(hub: Hub, mlxllm_home: Path, tmp_path: Path) -> None:
    shards = {f"train-{n:05}-of-00002.parquet": table([f"{n} {m} " * 200 for m in range(1500)]) for n in range(2)}
    hub.datasets["owner/web"] = shards
    hub.stall_after = [len(shards["train-00000-of-00002.parquet"]), 1000]
    arguments = ["data", "build", "it", "--source", "owner/web", "--tokenizer", "byte"]
    environment = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf")}
    command = [sys.executable, "-m", "mlxllm", *arguments]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    part = mlxllm_home / "cache" / "hub" / "owner--web" / COMMIT / ".train-00001-of-00002.parquet.part"
    while not part.exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    hub.stall_after.clear()
    source = open_source(f"hub:owner/web,revision={COMMIT}")
    whole = build_dataset(tmp_path / "whole", [(source, None)], train_tokenizer("byte", []), val_split=0.01)
    # Meanwhile somebody uploads: what goes on is what was begun.
    hub.earlier["owner/web"] = {COMMIT: shards}
    hub.datasets["owner/web"] = {"train.parquet": table(["a later text"])}
    hub.commits["owner/web"] = COMMIT[::-1]
    went_on = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert "an interrupted build is continued" in went_on.stderr
    made = json.loads((paths.folder("datasets") / "it" / "manifest.json").read_text())
    assert made["sources"]["owner/web"]["spec"] == f"hub:owner/web,revision={COMMIT}"
    assert made["train"] == whole.model_dump(mode="json")["train"]
    assert not kept(mlxllm_home)


PYTHON, C = "data/python/data-000-of-002.parquet", "data/c/data-000-of-001.parquet"
SFT, C4 = "data/train_sft-000-of-001.parquet", "en/c4-train.00000-of-01024.json.gz"
A, B = "default/train-000-of-001.parquet", "b/train-000-of-001.parquet"


@pytest.mark.parametrize(
    ("files", "config", "split", "chosen"),
    [
        (["a.parquet", "b.parquet"], None, "train", ["a.parquet", "b.parquet"]),
        (["b.jsonl", "a.parquet", "README.md", "x.csv"], None, "train", ["a.parquet"]),
        (
            ["data/train-000-of-001.parquet", "data/test-000-of-001.parquet"],
            None,
            "test",
            ["data/test-000-of-001.parquet"],
        ),
        (["train.jsonl", "valid.jsonl"], None, "val", ["valid.jsonl"]),
        (["train.jsonl", "extra.jsonl"], None, "train", ["train.jsonl"]),
        (["train/0.parquet", "dev/0.parquet"], None, "train", ["train/0.parquet"]),
        ([SFT, "data/test_sft-000-of-001.parquet"], None, "train_sft", [SFT]),
        ([C4, "en/c4-validation.00000-of-00008.json.gz"], None, "train", [C4]),
        ([PYTHON, C], "python", "train", [PYTHON]),
        ([PYTHON, C], "data/c", "train", [C]),
        ([PYTHON, C], None, "train", [C, PYTHON]),
        ([A, B], None, "train", [A]),
        ([".cache/train.parquet", "x.parquet", "dataset_infos.json"], None, "train", ["x.parquet"]),
    ],
)
def test_files_by_name(files: list[str], config: str | None, split: str, chosen: list[str]) -> None:
    assert list(choose_files("owner/x", files, [], config, split)) == chosen


def test_files_by_the_list_of_the_readme() -> None:
    files = ["en/a.parquet", "en/deep/b.parquet", "fr/a.parquet", "fr/test.parquet", "other/z.parquet"]
    fr = [{"split": "train", "path": ["fr/a.parquet"]}, {"split": "test", "path": "fr/t*"}]
    configs = [
        {"config_name": "en", "data_files": "en/**"},
        {"config_name": "fr", "data_files": fr},
        {"config_name": "folder", "data_dir": "other"},
    ]

    def chosen(config: str | None, split: str = "train", **default: bool) -> list[str]:
        listed = [{**each, **(default if each["config_name"] == "fr" else {})} for each in configs]
        return list(choose_files("owner/x", files, listed, config, split))

    assert chosen("en") == ["en/a.parquet", "en/deep/b.parquet"]
    assert chosen("fr", "test") == ["fr/test.parquet"]
    assert chosen("folder") == ["other/z.parquet"]
    assert chosen(None, default=True) == ["fr/a.parquet"]
    assert chosen("en/deep") == ["en/deep/b.parquet"], "a folder that is no config"
    for config, split, message in [
        (None, "train", "has several configs; choose one as owner/x/CONFIG: en, folder, fr"),
        ("frr", "train", "no config 'frr'; did you mean fr"),
        ("fr", "dev", "no split 'dev'; there are test, train; choose one as ,split=NAME"),
    ]:
        with pytest.raises(ConfigError, match=message):
            chosen(config, split)
    with pytest.raises(
        ConfigError, match="several folders with splits of their own; choose one as owner/x/FOLDER: a, b"
    ):
        choose_files("owner/x", ["a/train.jsonl", "b/train.jsonl"], [], None, "train")
    with pytest.raises(DataError, match=r"no parquet and no JSON files \(found \.csv, \.tar\.gz\)"):
        choose_files("owner/x", ["a.csv", "b.tar.gz"], [], None, "train")


@pytest.mark.parametrize("path", ["../../evil.parquet", "/etc/evil.parquet", "a/../../evil.parquet"])
def test_files_stay_in_their_folder(hub: Hub, path: str) -> None:
    hub.datasets["owner/web"] = {path: table(["x"])}
    with pytest.raises(UserError, match="holds no parquet and no JSON files"):
        texts_of("owner/web")


def test_json_that_is_not_the_hubs_is_told_in_a_sentence(hub: Hub) -> None:
    hub.strange.add("o/weird")
    with pytest.raises(DataError, match="tells no commit of the data set o/weird; does HF_ENDPOINT name a Hub"):
        list(open_source("hub:o/weird").documents())
