import gzip
import io
import random
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator

from mlxllm.data.sources import warc
from mlxllm.data.sources.members import Gap
from mlxllm.data.sources.warc import BrokenRecord, WarcRecord, digest_holds, warc_records
from tests.data.warc_files import members, page_record, sha1, warc_record

PAGES = [page_record(number) for number in range(6)]


def read(data: bytes) -> list[WarcRecord | BrokenRecord | Gap]:
    return list(warc_records(io.BytesIO(data)))


def told(data: bytes) -> list[str]:
    """Numbers of the pages that are whole, and what stands for the rest."""
    found = []
    for item in read(data):
        match item:
            case WarcRecord():
                found.append(item.url.rpartition("/")[2])
            case BrokenRecord():
                found.append(item.reason)
            case Gap():
                found.append("gap")
    return found


def zstd_frames(*records: bytes) -> bytes:
    return b"".join(zstandard.compress(record) for record in records)


def zstd_with_dictionary(*records: bytes) -> bytes:
    dictionary = zstandard.ZstdCompressionDict(PAGES[0] * 4, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    held = zstandard.compress(dictionary.as_bytes())
    compressor = zstandard.ZstdCompressor(dict_data=dictionary)
    frames = b"".join(compressor.compress(record) for record in records)
    return b"\x5d\x2a\x4d\x18" + len(held).to_bytes(4, "little") + held + frames


def gzip_blocks(*records: bytes) -> bytes:
    """Members that end anywhere."""
    data = b"".join(records)
    return b"".join(gzip.compress(data[at : at + 700]) for at in range(0, len(data), 700))


PACKINGS = [
    lambda *records: b"".join(records),
    members,
    lambda *records: gzip.compress(b"".join(records)),
    gzip_blocks,
    zstd_frames,
    lambda *records: zstandard.compress(b"".join(records)),
    zstd_with_dictionary,
]


@pytest.mark.parametrize("pack", PACKINGS)
def test_records_however_they_are_packed(pack: Callable[..., bytes]) -> None:
    found = read(pack(*PAGES))
    assert [item.number for item in found if isinstance(item, WarcRecord)] == [1, 2, 3, 4, 5, 6]
    for number, item in enumerate(found):
        assert isinstance(item, WarcRecord)
        assert (item.type, item.url) == ("response", f"https://example.org/{number}")
        assert digest_holds(item.fields["warc-block-digest"], item.block)


@pytest.mark.parametrize("pack", PACKINGS[:6])
def test_a_file_that_is_cut_off_keeps_what_is_whole(pack: Callable[..., bytes]) -> None:
    data = pack(*PAGES)
    found = told(data[: len(data) * 7 // 10])
    whole = [item for item in found if item.isdigit()]
    if pack is not PACKINGS[5]:  # a Zstandard block is read whole or not at all
        assert whole == ["0", "1", "2", "3"]
    assert set(found) - set(whole) <= {"gap", warc.CUT_OFF}
    assert found[len(whole) :], "what is missing is told"


@given(st.integers(0, 10_000), st.integers(0, 255), st.booleans())
@settings(max_examples=150)
def test_a_changed_byte_costs_one_page_and_no_other(place: int, value: int, packed: bool) -> None:
    data = bytearray(members(*PAGES) if packed else b"".join(PAGES))
    place %= len(data)
    same = data[place] == value
    data[place] = value
    found = [item for item in read(bytes(data)) if isinstance(item, WarcRecord)]
    pages = {item.number: item for item in found if digest_holds(item.fields.get("warc-block-digest", ""), item.block)}
    assert len(pages) >= (6 if same else 4 if not packed else 5), told(bytes(data))
    assert {item.block for item in pages.values()} <= {
        item.block for item in read(members(*PAGES)) if isinstance(item, WarcRecord)
    }


@given(st.binary(max_size=300), st.sampled_from(PACKINGS))
def test_any_bytes_are_read_to_their_end(junk: bytes, pack: Callable[..., bytes]) -> None:
    for data in (junk, pack(junk), junk + members(PAGES[0]), pack(PAGES[0], junk, PAGES[1])):
        read(data)


def test_a_damaged_member_is_passed_over() -> None:
    packed = [members(page) for page in PAGES]
    hurt = bytearray(packed[2])
    hurt[len(hurt) // 2] ^= 0xFF
    found = told(b"".join([*packed[:2], bytes(hurt), *packed[3:]]))
    assert found[2] in (warc.BROKEN, warc.CUT_OFF), "as the damage shows before or behind the record's end"
    assert [*found[:2], *found[3:]] == ["0", "1", "gap", "3", "4", "5"]
    assert told(b"\0" + b"".join(packed)[1:]) == ["gap", "1", "2", "3", "4", "5"], "of the very first, even its magic"
    wrong_check = packed[2][:-8] + bytes(4) + packed[2][-4:]
    assert told(b"".join([*packed[:2], wrong_check, *packed[3:]])) == ["0", "1", "2", "gap", "3", "4", "5"], (
        "its digest"
    )
    undigested = gzip.compress(warc_record(b"HTTP/1.1 200 OK\r\n\r\nx", digest=None))
    broken = undigested[:-8] + bytes(4) + undigested[-4:]
    assert told(b"".join([packed[0], broken, packed[1]])) == ["0", warc.BROKEN, "gap", "1"]


def test_a_whole_member_before_damage_is_whole_without_a_digest() -> None:
    page = warc_record(b"HTTP/1.1 200 OK\r\n\r\nx", url="https://example.org/7", digest=None)
    assert told(gzip.compress(page) + b"\x1f\x8b\x08\0\0\0") == ["7", "gap"]
    assert told(gzip.compress(page) + b"\x1f\x8b\x08garbage" * 3) == ["7", "gap"]
    assert told(gzip.compress(page) + b"\0" * 70_000) == ["7"], "padding"


def test_damage_in_a_file_gzipped_as_a_whole() -> None:
    many = [page_record(number) for number in range(3000)]
    data = bytearray(gzip.compress(b"".join(many)))
    data[len(data) // 2] ^= 0xFF
    found = told(bytes(data))
    whole = [item for item in found if item.isdigit()]
    assert whole == [str(number) for number in range(len(whole))]
    assert 1400 < len(whole) < 1600
    assert found[-1] == "gap"


@pytest.mark.parametrize("pack", PACKINGS[:3])
@pytest.mark.parametrize(
    ("length", "reason"),
    [(None, warc.BROKEN), ("-5", warc.BROKEN), ("many", warc.BROKEN), ("10", warc.BROKEN), ("1000", warc.BROKEN)],
)
def test_a_length_that_is_not_true_costs_only_its_record(
    pack: Callable[..., bytes], length: str | None, reason: str
) -> None:
    wrong = warc_record(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 200, length=length)
    assert told(pack(PAGES[0], wrong, PAGES[1], PAGES[2])) == ["0", reason, "1", "2"]
    assert told(pack(PAGES[0], wrong))[:2] == ["0", warc.CUT_OFF if length == "1000" else reason]


def test_a_record_that_its_digest_proves_is_kept_whatever_follows() -> None:
    assert told(PAGES[0] + b"garbage\r\n\r\n" + PAGES[1]) == ["0", "gap", "1"]
    assert told(b"garbage" * 100 + b"\r\n" + PAGES[1]) == ["gap", "1"]


def test_a_page_that_quotes_a_record_is_one_page() -> None:
    quoting = warc_record(b"HTTP/1.1 200 OK\r\n\r\n" + PAGES[3], url="https://example.org/q")
    assert told(members(PAGES[0], quoting, PAGES[1])) == ["0", "q", "1"]
    assert told(PAGES[0] + quoting + PAGES[1]) == ["0", "q", "1"]


def test_a_large_record_is_passed_over_and_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warc, "MOST_BLOCK_BYTES", 1 << 20)
    zeros = warc_record(bytes(40 << 20), digest=None)
    data = members(PAGES[0], zeros, PAGES[1])
    lying = members(PAGES[0], warc_record(b"x", length="9" * 18))
    del zeros
    tracemalloc.start()
    assert told(data) == ["0", warc.TOO_LARGE, "1"]
    assert told(lying) == ["0", warc.TOO_LARGE]
    assert told(members(b"WARC/1.0\r\n" + b"a" * (20 << 20))) == [warc.BROKEN]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 << 20 + (20 << 20)


def test_heads_as_they_occur() -> None:
    head = b"WARC/0.18\nwarc-type: RESPONSE\nWARC-Target-URI: <http://a.example/\x0b>\nContent-Length:2\nX-Long: one\n two\n"
    (found,) = read(head + b"\nab\n\n\n\n\n")
    assert isinstance(found, WarcRecord)
    assert (found.type, found.url, found.block, found.fields["x-long"]) == (
        "response",
        "http://a.example/\x0b",
        b"ab",
        "one two",
    )


def test_digests_in_all_their_spellings() -> None:
    data = b"some bytes"
    assert digest_holds(sha1(data), data) is True
    assert digest_holds(sha1(data).lower(), data) is True
    assert digest_holds("SHA-1:" + sha1(data)[5:], data) is True
    assert digest_holds("sha256:91a4ea9b11df6cb15dd6cb55a26b39bfb0a4b6e09b5b9ad6c7bbf8b8e3d17c5f", data) is False
    assert digest_holds("md5:bf3a5ba5d1a9a2ae2c31a0e5a9b8b3c4", data) is False
    for unclear in ("", "sha1:", "sha1:tooshort", "crc32:1234", "sha1:!!!!"):
        assert digest_holds(unclear, data) is None


@pytest.mark.data
def test_the_real_files_have_the_records_that_warcio_finds(test_data: Path) -> None:
    random.seed(1)
    names = ["whirlwind.warc.gz", "whirlwind.warc.wet.gz", "whirlwind.warc.wat.gz", "dolma-sample-0000.warc.gz"]
    counts = []
    for name in names:
        path = test_data / "commoncrawl" / name
        with open(path, "rb") as file:
            peers = [
                (record.rec_type, record.rec_headers.get_header("WARC-Target-URI") or "", record.raw_stream.read())
                for record in ArchiveIterator(file, no_record_parse=True)
            ]
        with open(path, "rb") as file:
            ours = list(warc_records(file))
        assert [(item.type, item.url, item.block) for item in ours if isinstance(item, WarcRecord)] == peers
        assert len(ours) == len(peers)
        counts.append(len(ours))
        # What is whole before a cut is found, whatever the cut.
        data = path.read_bytes()
        for cut in random.sample(range(len(data)), 5):
            whole = [item.block for item in read(data[:cut]) if isinstance(item, WarcRecord)]
            assert whole == [block for _, _, block in peers[: len(whole)]]
        # Damage to a member costs that one. They begin where the one before ends.
        starts = [0]
        while starts[-1] < len(data):
            inflate = zlib.decompressobj(wbits=31)
            inflate.decompress(data[starts[-1] :])
            starts.append(len(data) - len(inflate.unused_data))
        for number in random.sample(range(len(peers)), min(6, len(peers))):
            hurt = bytearray(data)
            hurt[starts[number] + 40 : starts[number + 1] - 8] = bytes(starts[number + 1] - 8 - starts[number] - 40)
            whole = [item.block for item in read(bytes(hurt)) if isinstance(item, WarcRecord)]
            assert whole == [block for at, (_, _, block) in enumerate(peers) if at != number]
    assert counts == [4, 2, 2, 48], "gzip -l of each member, and by hand"
