"""Downloads from a server on this machine that stalls, breaks off, refuses and changes its mind."""

import email.utils
import hashlib
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxllm.data.download import Patience, fetch
from mlxllm.data.download_problems import DownloadError
from mlxllm.errors import DataError
from tests.web_site import Answer, Page, Site, serve_site

BODY = random.Random(1).randbytes(700_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
QUICK = Patience(stall=0.3, waits=(0.01, 0.01, 0.01), longest=1.0)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve_site() as made:
        made.pages["/a.bin"] = Page(BODY)
        yield made


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new" / "a.bin"


def refused(site: Site, target: Path, **options: object) -> str:
    with pytest.raises(DownloadError) as caught:
        fetch(f"{site.address}/a.bin", target, patience=QUICK, **options)  # type: ignore[arg-type]
    assert isinstance(caught.value, DataError)
    assert "\n" not in str(caught.value)
    assert not target.exists()
    return str(caught.value)


def left(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_a_file_comes_whole_and_leaves_no_draft(site: Site, target: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    got = fetch(
        f"{site.address}/a.bin", target, sha256=SHA256.upper(), size=len(BODY), progress=lambda *at: seen.append(at)
    )
    assert got == target
    assert target.read_bytes() == BODY
    assert left(target) == ["a.bin"]
    assert seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert site.requests[0][2]["user-agent"].startswith("mlxllm/")


def test_what_was_there_is_replaced_only_by_what_is_right(site: Site, target: Path) -> None:
    target.parent.mkdir()
    target.write_text("old")
    with pytest.raises(DownloadError):
        fetch(f"{site.address}/a.bin", target, sha256="0" * 64, patience=QUICK)
    assert target.read_text() == "old"
    fetch(f"{site.address}/a.bin", target, sha256=SHA256)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("then", ["cut", "stall"])
@pytest.mark.parametrize("checked", [True, False])
def test_it_goes_on_where_it_broke_off(site: Site, target: Path, then: str, checked: bool) -> None:
    site.answers = [Answer(up_to=100_000, then=then), Answer(up_to=300_000, then=then)]
    told: list[str] = []
    fetch(f"{site.address}/a.bin", target, sha256=SHA256 if checked else None, tell=told.append, patience=QUICK)
    assert target.read_bytes() == BODY
    assert site.ranges_asked() == [None, "bytes=100000-", "bytes=300000-"]
    assert all(headers["if-range"] == site.pages["/a.bin"].tag() for _, _, headers in site.requests[1:])
    why = "nothing has come for 0.3 s" if then == "stall" else "the connection broke"
    assert len(told) == 2
    # It had come further each time, so each is the first of its attempts.
    assert all(why in sentence and "(1 of 3)" in sentence for sentence in told)


def test_a_chunked_answer_that_is_cut_is_not_taken_for_a_whole_one(site: Site, target: Path) -> None:
    site.pages["/a.bin"].chunked = True
    site.answers = [Answer(up_to=200_000)]
    fetch(f"{site.address}/a.bin", target, patience=QUICK)
    assert target.read_bytes() == BODY
    assert site.ranges_asked() == [None, "bytes=200000-"]


def test_a_date_names_the_state_of_a_file_as_well(site: Site, target: Path) -> None:
    date = email.utils.formatdate(1_700_000_000, usegmt=True)
    site.pages["/a.bin"] = Page(BODY, etag=False, last_modified=date)
    site.answers = [Answer(up_to=100_000)]
    fetch(f"{site.address}/a.bin", target, patience=QUICK)
    assert target.read_bytes() == BODY
    assert site.requests[1][2]["if-range"] == date


def test_without_length_and_validator_it_begins_anew(site: Site, target: Path) -> None:
    site.pages["/a.bin"] = Page(BODY, etag=False, length=False)
    site.answers = [Answer(up_to=100_000)]
    seen: list[int | None] = []
    fetch(f"{site.address}/a.bin", target, size=len(BODY), progress=lambda _, of: seen.append(of), patience=QUICK)
    assert target.read_bytes() == BODY
    assert site.ranges_asked() == [None, None]
    assert set(seen) == {len(BODY)}
    # With nothing to check it by, the end of the connection is the end of the file.
    fetch(f"{site.address}/a.bin", target, progress=lambda _, of: seen.append(of), patience=QUICK)
    assert target.read_bytes() == BODY
    assert seen[-1] is None


def test_a_server_without_ranges_begins_anew(site: Site, target: Path) -> None:
    site.pages["/a.bin"].ranges = False
    site.answers = [Answer(up_to=300_000)]
    fetch(f"{site.address}/a.bin", target, sha256=SHA256, patience=QUICK)
    assert target.read_bytes() == BODY


def test_a_server_that_always_breaks_off_at_the_same_place_is_given_up(site: Site, target: Path) -> None:
    site.pages["/a.bin"].ranges = False
    site.forever = Answer(up_to=300_000)
    assert "the connection broke after 300,000 of 700,000 bytes" in refused(site, target)
    assert len(site.requests) == 1 + len(QUICK.waits)  # only the first brought anything new


@pytest.mark.parametrize("heeds_if_range", [True, False])
def test_a_file_that_changes_between_two_attempts_begins_anew(site: Site, target: Path, heeds_if_range: bool) -> None:
    site.answers = [Answer(up_to=300_000)]
    site.pages["/a.bin"].heeds_if_range = heeds_if_range
    once = Patience(stall=0.3, waits=())
    with pytest.raises(DownloadError, match=r"300,000 of 700,000 bytes; 0\.3 MB that have come are kept"):
        fetch(f"{site.address}/a.bin", target, patience=once)
    site.pages["/a.bin"].body = BODY[::-1]
    fetch(f"{site.address}/a.bin", target, patience=QUICK)
    assert target.read_bytes() == BODY[::-1]
    assert site.ranges_asked()[:2] == [None, "bytes=300000-"]


def test_with_a_hash_the_part_of_another_file_is_noticed_at_the_end(site: Site, target: Path) -> None:
    target.parent.mkdir()
    (target.parent / ".a.bin.part").write_bytes(b"x" * 1000)
    fetch(f"{site.address}/a.bin", target, sha256=SHA256, patience=QUICK)
    assert target.read_bytes() == BODY
    assert site.ranges_asked() == ["bytes=1000-", None]
    assert left(target) == ["a.bin"]


def test_a_part_that_is_longer_than_the_file(site: Site, target: Path) -> None:
    target.parent.mkdir()
    for known in ({"sha256": SHA256}, {"sha256": SHA256, "size": len(BODY)}):
        (target.parent / ".a.bin.part").write_bytes(BODY + b"x")
        fetch(f"{site.address}/a.bin", target, patience=QUICK, **known)  # type: ignore[arg-type]
        assert target.read_bytes() == BODY


@pytest.mark.parametrize("size", [None, len(BODY)])
def test_a_whole_draft_only_lacks_its_name(site: Site, target: Path, size: int | None) -> None:
    target.parent.mkdir()
    (target.parent / ".a.bin.part").write_bytes(BODY)
    fetch(f"{site.address}/a.bin", target, sha256=SHA256, size=size, patience=QUICK)
    assert target.read_bytes() == BODY
    assert site.ranges_asked() == ([] if size else [f"bytes={len(BODY)}-"])


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (401, "/a.bin asks for a login (401)"),
        (403, "/a.bin does not give this file to you (403)"),
        (404, "/a.bin is not there any more (404)"),
        (410, "/a.bin is not there any more (410)"),
        (418, "the server answered 418"),
        (204, "the server answered 204 No Content"),
        (302, "leads elsewhere and never to a file (302)"),
    ],
)
def test_what_no_patience_mends_is_said_at_once(site: Site, target: Path, status: int, sentence: str) -> None:
    site.forever = Answer(status=status)
    assert sentence in refused(site, target)
    assert len(site.requests) == 1
    assert left(target) == []


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(site: Site, target: Path, status: int) -> None:
    site.answers = [Answer(status=status), Answer(status=status)]
    fetch(f"{site.address}/a.bin", target, sha256=SHA256, patience=QUICK)
    assert target.read_bytes() == BODY
    site.forever = Answer(status=status)
    target.unlink()
    assert f"the server answered {status}" in refused(site, target)
    assert len(site.requests) == 3 + 1 + len(QUICK.waits)


def test_the_wait_that_is_asked_for_is_kept(site: Site, target: Path) -> None:
    site.answers = [Answer(429, {"Retry-After": "1"})]
    started = time.monotonic()
    fetch(f"{site.address}/a.bin", target, patience=QUICK)
    assert time.monotonic() - started >= 1.0


@pytest.mark.parametrize("as_date", [False, True])
def test_a_wait_that_is_too_long_is_told(site: Site, target: Path, as_date: bool) -> None:
    value = email.utils.formatdate(time.time() + 3600, usegmt=True) if as_date else "3600"
    site.answers = [Answer(up_to=300_000), Answer(429, {"Retry-After": value})]
    said = refused(site, target)
    assert "429 Too Many Requests, and wants 3,6" in said or "429 Too Many Requests, and wants 3,5" in said
    assert "0.3 MB that have come are kept" in said


def test_a_wrong_hash_keeps_nothing(site: Site, target: Path) -> None:
    wrong = "ab" * 32
    said = refused(site, target, sha256=wrong)
    assert f"its sha256 is {SHA256[:12]}..., not abababababab..." in said
    assert left(target) == []
    assert len(site.requests) == 1


def test_a_wrong_size_is_noticed_before_anything_comes(site: Site, target: Path) -> None:
    assert "has 700,000 bytes where 5 are expected" in refused(site, target, size=5)
    site.pages["/a.bin"].length = False
    assert "sends more than the 5 bytes" in refused(site, target, size=5)
    assert left(target) == []


def test_redirects_are_followed_to_http_only(site: Site, target: Path) -> None:
    site.answers = [Answer(302, {"Location": "/a.bin?token=1"})]
    fetch(f"{site.address}/moved", target, sha256=SHA256)
    assert site.requests[1][1] == "/a.bin?token=1"
    secret = target.parent / "secret"
    secret.write_text("x")
    target.unlink()
    for where in (secret.as_uri(), "ftp://127.0.0.1/x"):
        site.answers = [Answer(302, {"Location": where})]
        refused(site, target)


def test_a_login_goes_to_its_own_host_only(site: Site, target: Path) -> None:
    login = {"Authorization": "Bearer secret"}
    site.answers = [Answer(302, {"Location": "/a.bin"})]
    fetch(f"{site.address}/moved", target, headers=login)
    assert [headers["authorization"] for _, _, headers in site.requests] == ["Bearer secret"] * 2
    with serve_site() as other:
        other.pages["/a.bin"] = Page(BODY)
        site.answers = [Answer(302, {"Location": f"{other.address}/a.bin"})]
        fetch(f"{site.address}/moved", target, headers=login)
        assert len(other.requests) == 1
        assert "authorization" not in other.requests[0][2]


def test_addresses_that_are_none(site: Site, target: Path) -> None:
    for url in ("file:///etc/hosts", "a.bin", "http://", "ftp://x/y", "http://[x"):
        with pytest.raises(DownloadError, match="not an address to download from"):
            fetch(url, target)
    with pytest.raises(DownloadError, match="cannot be reached"):
        fetch(f"{site.address}/a b", target)


def test_nobody_listens(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    started = time.monotonic()
    # Port 9 of loopback: nobody listens there.
    with pytest.raises(DownloadError, match=r"http://127.0.0.1:9/x cannot be reached \(Connection refused\)") as caught:
        fetch("http://127.0.0.1:9/x?token=secret", target)
    assert "secret" not in str(caught.value)
    assert time.monotonic() - started < 1
    assert left(target) == []


def test_a_proxy_of_the_environment_is_asked(site: Site, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", site.address)
    site.pages["http://files.example/a.bin"] = Page(BODY)
    fetch("http://files.example/a.bin", target, sha256=SHA256)
    assert site.requests[0][1] == "http://files.example/a.bin"


def test_a_full_disk_keeps_what_has_come(site: Site, target: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
        said = refused(site, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "cannot be kept at" in said
    assert "make room, and the same command goes on from there" in said
    assert len(site.requests) == 1  # another attempt would not help
    fetch(f"{site.address}/a.bin", target, sha256=SHA256)
    assert site.ranges_asked()[1] == "bytes=300000-"
    assert target.read_bytes() == BODY


def test_a_file_for_which_there_is_no_room_is_not_begun(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil
    from collections import namedtuple

    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("usage", "total used free")(10**9, 0, 500_000))
    assert "needs 0.7 MB more, and" in refused(site, target)


def test_a_folder_that_cannot_be_written(site: Site, tmp_path: Path) -> None:
    (tmp_path / "new").write_text("a file")
    with pytest.raises(DownloadError, match=r"cannot be kept at .*(exists|Not a directory)"):
        fetch(f"{site.address}/a.bin", tmp_path / "new" / "a.bin")


PROGRAM = """
import sys
from pathlib import Path
from mlxllm.data.download import fetch
fetch(sys.argv[1], Path(sys.argv[2]), progress=lambda done, of: print(done, flush=True))
"""


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_ended_leaves_its_part(site: Site, target: Path, by: signal.Signals) -> None:
    site.bytes_a_second = 200_000
    command = [sys.executable, "-c", PROGRAM, f"{site.address}/a.bin", str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if int(line) >= 100_000:
                # While it is at work nobody else downloads the same file.
                assert "another process is downloading a.bin" in refused(site, target)
                process.send_signal(by)
                break
        process.wait(10)
    site.bytes_a_second = None
    part = target.parent / ".a.bin.part"
    come = part.stat().st_size
    assert 100_000 <= come < len(BODY)
    assert not target.exists()
    fetch(f"{site.address}/a.bin", target, patience=QUICK)
    assert target.read_bytes() == BODY
    assert site.ranges_asked() == [None, f"bytes={come}-"]
    assert left(target) == ["a.bin"]
