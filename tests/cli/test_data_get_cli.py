"""`mlxllm data get`, `data rm` of a ready set and `mlxllm cache`, with sets on a server on this machine."""

import dataclasses
import hashlib
import json
import os
import pty
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mlxllm import paths
from mlxllm.cli import data_get
from mlxllm.cli.cache import app as cache_app
from mlxllm.cli.data import app
from mlxllm.conversation import Report, find_record_files, read_conversations
from mlxllm.data import catalogue, download
from mlxllm.data.catalogue import ReadySet, WebFile, WebListing
from mlxllm.data.ready_sets import LIST_NAME, is_here, set_folder
from mlxllm.data.sources import list_sources, open_source, shakespeare
from mlxllm.data.weights import Weight, parse_source
from mlxllm.errors import ConfigError, DataError, UserError
from mlxllm.tokenizer import train_tokenizer
from tests.web_site import Answer, Page, Site, serve_site

STORIES = "\n<|endoftext|>\n".join(f"Story {n}. " + "The fox saw a hen. " * (n % 9) for n in range(4000)).encode()
CHATS = "".join(
    json.dumps({"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "Yes."}]}) + "\n"
    for n in range(20)
).encode()
CITATIONS = random.Random(2).randbytes(20_000)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server, and a catalogue of sets that lie there."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "PATIENCE", download.Patience(stall=0.5, waits=(0.01, 0.01), longest=1.0))
    with serve_site() as made:
        at = made.address
        made.pages = {"/stories.txt": Page(STORIES), "/train.jsonl": Page(CHATS), "/test.jsonl": Page(CHATS[:500])}
        files = WebFile(f"{at}/stories.txt", "stories.txt"), WebFile(f"{at}/train.jsonl", "more/train.jsonl")
        chats = (
            WebFile(f"{at}/train.jsonl", "train.jsonl", len(CHATS), hashlib.sha256(CHATS).hexdigest()),
            WebFile(f"{at}/test.jsonl", "test.jsonl"),
        )
        names = re.compile(r"cite\d\dn\d{4}\.xml\.gz")
        listing = WebListing(f"{at}/base/", names, 2, ".md5")
        sets = (
            ReadySet("foxes", "text", "foxes and hens", "CC0", 80_000, files, "stories.txt", "more/train.jsonl"),
            ReadySet("chats", "conversations", "saying yes", "MIT", None, chats, "train.jsonl", "test.jsonl"),
            ReadySet("cites", "text", "citing", "none", None, listing, "cite*.xml.gz"),
        )
        monkeypatch.setattr(catalogue, "READY_SETS", sets)
        yield made


def list_base(site: Site, *names: str) -> None:
    links = "".join(
        f'<a href="{name}">{name}</a> 2026-01-01 20K\n<a href="{name}.md5">{name}.md5</a>\n' for name in names
    )
    site.pages["/base/"] = Page(f"<html><pre>{links}</pre></html>".encode(), length=False)
    for name in names:
        site.pages[f"/base/{name}"] = Page(CITATIONS + name.encode())
        told = f"MD5({name})= {hashlib.md5(CITATIONS + name.encode()).hexdigest()}\n"
        site.pages[f"/base/{name}.md5"] = Page(told.encode())


def run(*arguments: object, of: Any = app) -> tuple[str, str]:
    result = CliRunner().invoke(of, [str(argument) for argument in arguments])
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def run_json(*arguments: object, of: Any = app) -> Any:
    (line,) = run(*arguments, "--json", of=of)[0].splitlines()
    return json.loads(line)


def test_the_list(site: Site) -> None:
    out, err = run("get")
    assert [line.split()[:4] for line in out.splitlines()[1:]] == [
        ["foxes", "train", "0.1", "MB"],
        ["chats", "sft", "?", "-"],
        ["cites", "train", "?", "-"],
    ]
    assert "mlxllm data get NAME" in err
    assert not site.requests  # nobody is asked for a list
    run("get", "chats")
    one = next(each for each in run_json("get")["sets"] if each["name"] == "chats")
    assert one == {
        "name": "chats",
        "kind": "conversations",
        "good_for": "saying yes",
        "licence": "MIT",
        "origin": f"{site.address}/train.jsonl",
        "bytes": len(CHATS) + 500,
        "gated": False,
        "downloaded": True,
        "path": str(set_folder("chats")),
    }


def test_a_set_is_shown_downloaded_and_used(site: Site) -> None:
    out, err = run("get", "foxes")
    for fact in ("foxes and hens", "CC0", site.address, "0.4 MB, in 2 files", str(set_folder("foxes"))):
        assert fact in err
    assert (set_folder("foxes") / "stories.txt").read_bytes() == STORIES
    assert (set_folder("foxes") / "more" / "train.jsonl").read_bytes() == CHATS
    assert out.splitlines() == [
        "mlxllm data preview foxes",
        "mlxllm data build foxes --source foxes --tokenizer bpe",
    ]
    assert "is here already" in run("get", "foxes")[1]
    asked = len(site.requests)
    told = run_json("get", "foxes")
    assert len(site.requests) == asked  # what is here is not asked for again
    assert told["files"] == [
        {"path": "stories.txt", "bytes": len(STORIES), "sha256": hashlib.sha256(STORIES).hexdigest()},
        {"path": "more/train.jsonl", "bytes": len(CHATS), "sha256": hashlib.sha256(CHATS).hexdigest()},
    ]
    assert told["source"] == f"text:{set_folder('foxes')}/stories.txt"
    # The commands that it ends with work.
    source, weight = parse_source("foxes@0.5")
    assert (source.spec, weight) == (told["source"], Weight(0.5))
    assert len(list(source.documents())) == 4000
    assert run_json("build", "foxes", "--source", "foxes", "--tokenizer", "byte")["train"]["documents"] > 3900


def test_records_name_their_files(site: Site) -> None:
    told = run_json("get", "chats")
    assert told["source"] is None
    inspect, sft = told["next"]
    folder = set_folder("chats")
    assert inspect == f"mlxllm data inspect --masks {folder}/train.jsonl --model RUN"
    assert sft == f"mlxllm sft --model RUN --data {folder}/train.jsonl --val-data {folder}/test.jsonl --run chats"
    files = find_record_files([told["train"]])
    assert len(list(read_conversations(files.train, Report()))) == 20
    train_tokenizer("byte", []).save(paths.new("tokenizers", "bytes"))
    seen = run_json(*inspect.replace("--model RUN", "--tokenizer bytes").split()[2:])
    assert (seen["report"]["read"], seen["report"]["used"]) == (20, 20)


def test_as_a_source_before_it_is_here(site: Site) -> None:
    with pytest.raises(DataError, match="foxes is not downloaded; `mlxllm data get foxes` brings it"):
        open_source("foxes")
    site.forever = Answer(up_to=30_000)
    with pytest.raises(DataError):
        run("get", "foxes")
    with pytest.raises(DataError, match="foxes is only in part downloaded"):
        open_source("foxes")
    with pytest.raises(ConfigError, match="did you mean 'foxes'"):
        open_source("foxis")
    with pytest.raises(ConfigError, match=r"chats holds conversations, which `mlxllm sft --data` reads"):
        open_source("chats")


def test_a_large_set_is_asked_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_get, "ASKED_BYTES", 50_000)
    with pytest.raises(ConfigError, match=r"would download foxes \(0\.4 MB\): nobody is there to ask.*--yes"):
        run("get", "foxes")
    assert [method for method, _, _ in site.requests] == ["HEAD", "HEAD"]
    assert not (set_folder("foxes") / "stories.txt").exists()
    run("get", "foxes", "--yes")
    assert is_here("foxes")
    # A size that nobody tells counts as large.
    site.pages["/test.jsonl"].length = False
    with pytest.raises(ConfigError, match="would download chats \\(its size is not told\\)"):
        run("get", "chats")
    run("get", "chats", "--yes")
    assert is_here("chats")


def test_unknown_names_and_flags(site: Site) -> None:
    with pytest.raises(ConfigError, match="there is no ready set 'foxs'; did you mean foxes"):
        run("get", "foxs")
    with pytest.raises(ConfigError, match="there are foxes, chats, cites"):
        run("get", "../../etc")
    with pytest.raises(ConfigError, match="--verify needs the NAME"):
        run("get", "--verify")


def test_it_goes_on_with_the_file_at_which_it_was(site: Site) -> None:
    site.answers = [Answer(), Answer(), Answer(), Answer(up_to=1000), Answer(429, {"Retry-After": "900"})]
    with pytest.raises(DataError, match="429 Too Many Requests, and wants 900 s"):
        run("get", "foxes")
    assert run_json("get")["sets"][0]["downloaded"] is False
    assert "in part" in run("get")[0]
    before = len(site.requests)
    _, err = run("get", "foxes")
    assert "of which" in err
    assert [(path, headers.get("range")) for _, path, headers in site.requests[before:]] == [
        ("/train.jsonl", "bytes=1000-")
    ]
    assert is_here("foxes")
    assert sorted(path.name for path in set_folder("foxes").rglob("*")) == [
        LIST_NAME,
        "more",
        "stories.txt",
        "train.jsonl",
    ]


def test_what_is_damaged_comes_anew(site: Site) -> None:
    run("get", "foxes")
    stories = set_folder("foxes") / "stories.txt"
    with open(stories, "r+b") as file:
        file.write(b"X")
    assert "here already" in run("get", "foxes")[1]  # the size is as it was
    _, err = run("get", "foxes", "--verify")
    assert "stories.txt is not as downloaded" in err
    assert stories.read_bytes() == STORIES
    assert "every byte is as it was downloaded" in run("get", "foxes", "--verify")[1]
    stories.write_bytes(STORIES[:50])
    assert not is_here("foxes")
    run("get", "foxes")
    assert stories.read_bytes() == STORIES
    # A list that cannot be read is as good as none.
    (set_folder("foxes") / LIST_NAME).write_text("{")
    run("get", "foxes")
    assert is_here("foxes")


def test_a_file_that_the_catalogue_does_not_mean_is_refused(site: Site) -> None:
    site.pages["/train.jsonl"].body = CHATS.replace(b"Yes", b"No!")
    with pytest.raises(DataError, match="is not the file it should be"):
        run("get", "chats")
    assert not is_here("chats")


@pytest.mark.parametrize("status", [401, 404])
def test_a_server_that_has_it_no_more(site: Site, status: int) -> None:
    site.forever = Answer(status=status)
    with pytest.raises(DataError, match=rf"/stories.txt .*\({status}\)"):
        run("get", "foxes")
    assert "in part" not in run("get")[0]


def test_the_last_files_of_a_listing(site: Site) -> None:
    list_base(site, "cite25n0001.xml.gz", "cite25n0003.xml.gz", "cite25n0002.xml.gz")
    told = run_json("get", "cites")
    assert [file["path"] for file in told["files"]] == ["cite25n0002.xml.gz", "cite25n0003.xml.gz"]
    assert all((set_folder("cites") / file["path"]).stat().st_size == file["bytes"] for file in told["files"])
    # What is published later is not mixed with it.
    list_base(site, "cite26n0001.xml.gz")
    assert run_json("get", "cites")["files"] == told["files"]


def test_a_listed_file_with_another_md5(site: Site) -> None:
    list_base(site, "cite25n0001.xml.gz", "cite25n0002.xml.gz")
    site.pages["/base/cite25n0002.xml.gz"].body = CITATIONS + b"X" * 18
    with pytest.raises(DataError, match=r"cite25n0002\.xml\.gz is damaged: its MD5 is"):
        run("get", "cites")
    assert not (set_folder("cites") / "cite25n0002.xml.gz").exists()
    list_base(site, "cite25n0001.xml.gz", "cite25n0002.xml.gz")
    run("get", "cites")
    assert is_here("cites")


def test_a_listing_without_such_files(site: Site) -> None:
    site.pages["/base/"] = Page(b"<html>moved</html>")
    with pytest.raises(DataError, match="lists no files called like"):
        run("get", "cites")
    assert read_folder("cites") == []


def read_folder(name: str) -> list[str]:
    return sorted(path.name for path in set_folder(name).iterdir())


def test_no_room(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil
    from collections import namedtuple

    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("usage", "total used free")(10**9, 0, 50_000))
    with pytest.raises(DataError, match=r"foxes needs 0.* more, and .* has 50,000 bytes free; make room"):
        run("get", "foxes")
    assert all(method == "HEAD" for method, _, _ in site.requests)


def test_a_set_is_removed_by_data_rm(site: Site) -> None:
    run("get", "foxes")
    with pytest.raises(ConfigError, match="would delete the ready set 'foxes'"):
        run("rm", "foxes")
    assert "deleted the ready set 'foxes'; `mlxllm data get foxes` brings it back" in run("rm", "foxes", "--yes")[1]
    assert not set_folder("foxes").exists()
    with pytest.raises(ConfigError, match="there is no dataset 'foxes'"):
        run("rm", "foxes", "--yes")
    # A dataset of the same name goes first, and nothing else of that name.
    run("get", "foxes")
    run("build", "foxes", "--source", "foxes", "--tokenizer", "byte")
    run("rm", "foxes", "--yes")
    assert is_here("foxes")


def test_a_set_of_which_nothing_came_is_shown_and_forgotten(site: Site) -> None:
    site.forever = Answer(status=404)
    told = CliRunner().invoke(app, ["get", "foxes"])
    assert isinstance(told.exception, DataError)
    fields = " ".join(told.stderr.split())
    assert f"licence CC0 from {site.address}/stories.txt size about 0.1 MB into" in fields
    set_folder("foxes").mkdir(parents=True, exist_ok=True)
    assert "nothing of the ready set 'foxes' was downloaded" in run("rm", "foxes")[1]
    assert not set_folder("foxes").exists()


def test_the_cache_is_listed_and_cleared(site: Site, mlxllm_home: Path) -> None:
    assert "nothing lies in" in run("ls", of=cache_app)[1]
    assert run_json("ls", of=cache_app)["entries"] == []
    run("get", "foxes")
    site.forever = Answer(up_to=100)
    with pytest.raises(DataError):
        run("get", "chats")
    (mlxllm_home / "cache" / "speed.json").write_text("{}")
    entries = run_json("ls", of=cache_app)["entries"]
    assert [entry["name"] for entry in entries] == ["sets/chats", "sets/foxes", "speed.json"]
    assert entries[1]["bytes"] >= len(STORIES) + len(CHATS)
    assert "a part of it; `mlxllm data get chats` goes on" in run("ls", of=cache_app)[0]
    with pytest.raises(ConfigError, match="no entry 'sets/foxe'; did you mean sets/foxes"):
        run("clear", "sets/foxe", of=cache_app)
    with pytest.raises(ConfigError, match=r"would delete sets/chats, sets/foxes, speed\.json from"):
        run("clear", of=cache_app)
    run("clear", "sets/foxes", "--yes", of=cache_app)
    assert [path.name for path in (mlxllm_home / "cache" / "sets").iterdir()] == ["chats"]
    run("clear", "--yes", of=cache_app)
    assert run_json("ls", of=cache_app)["entries"] == []


def test_the_source_shakespeare_finds_the_ready_set(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    play = b"ROMEO:\nAy me.\n"
    monkeypatch.setattr(shakespeare, "SHA256", hashlib.sha256(play).hexdigest())
    site.pages["/play.txt"] = Page(play)
    file = WebFile(f"{site.address}/play.txt", shakespeare.FILE_NAME, len(play), shakespeare.SHA256)
    entry = ReadySet("tinyshakespeare", "text", "plays", "public domain", 14, (file,), shakespeare.FILE_NAME)
    monkeypatch.setattr(catalogue, "READY_SETS", (entry,))
    run("get", "tinyshakespeare")
    assert [document.text for document in open_source("shakespeare").documents()] == [play.decode()]
    assert [document.text for document in open_source("tinyshakespeare").documents()] == [play.decode()]


PROGRAM = """
import sys
from mlxllm.cli.main import main
from mlxllm.data import catalogue
from mlxllm.data.catalogue import ReadySet, WebFile
files = tuple(WebFile(f"{sys.argv.pop()}/stories.txt", "stories.txt") for _ in range(1))
catalogue.READY_SETS = (ReadySet("foxes", "text", "foxes and hens", "CC0", 80_000, files, "stories.txt"),)
main()
"""


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_on_a_terminal_it_can_be_ended_and_goes_on(site: Site, by: signal.Signals, monkeypatch: Any) -> None:
    site.bytes_a_second = 50_000
    command = [sys.executable, "-c", PROGRAM, "data", "get", "foxes", site.address]
    main, other = pty.openpty()
    environment = {**os.environ, "COLUMNS": "60", "TERM": "xterm"}
    with subprocess.Popen(command, stdin=other, stdout=other, stderr=other, env=environment) as process:
        os.close(other)
        seen = b""
        while b"%" not in seen:
            seen += os.read(main, 4096)
        process.send_signal(by)
        with open(main, "rb", buffering=0, closefd=False) as terminal:
            try:
                while piece := terminal.read(4096):
                    seen += piece
            except OSError:  # how Linux says that nobody writes there any more
                pass
        code = process.wait(10)
    os.close(main)
    text = seen.decode()
    assert re.search(r"foxes: [\d.]+ MB of [\d.]+ MB, \d+%", text)
    assert [line for line in re.split(r"[\r\n]+", text) if "%" in line and len(line) >= 60] == []
    assert "Traceback" not in text
    if by == signal.SIGINT:
        assert code in (130, -signal.SIGINT)
        assert "goes on from there" in re.sub(r"\s+", " ", text)
    site.bytes_a_second = None
    entry = dataclasses.replace(catalogue.READY_SETS[0], where=(WebFile(f"{site.address}/stories.txt", "stories.txt"),))
    monkeypatch.setattr(catalogue, "READY_SETS", (entry,))
    run("get", "foxes")
    assert (set_folder("foxes") / "stories.txt").read_bytes() == STORIES
    assert (site.ranges_asked()[-1] or "").startswith("bytes=")


def test_the_real_catalogue() -> None:
    listed = run_json("get")["sets"]
    names = [each["name"] for each in listed]
    assert len(set(names)) == len(names)
    assert {"tinyshakespeare", "tinystories", "refinedweb", "the-stack-smol", "smol-smoltalk"} <= set(names)
    assert {each["kind"] for each in listed} == {"text", "conversations", "preferences"}
    assert all(each["licence"] and each["good_for"] and each["origin"] for each in listed)
    assert all(name in run("get")[0] for name in names)
    kinds = {kind.kind for kind in list_sources()}
    assert all(entry.source in kinds for entry in catalogue.READY_SETS if entry.kind == "text")
