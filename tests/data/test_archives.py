"""Tar archives as a stream of members: both ways of long names, any chunks, cut off and corrupt."""

import tarfile
from random import Random

import pytest

from mlxllm.data.sources.archives import tar_members
from mlxllm.data.sources.files import DamagedFileError
from tests.data.tar_files import packed


def test_archives_are_streams_of_members() -> None:
    long = "d" * 120 + "/" + "n" * 120 + ".xml"
    rng = Random(2)
    members = [(long, b"<a/>"), ("empty.xml", b""), ("big.bin", rng.randbytes(700_001)), ("last.xml", b"x" * 512)]
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        data = packed(*members, format=format)
        for size in (1000, len(data)):
            chunks = [data[at : at + size] for at in range(0, len(data), size)]
            assert [(name, b"".join(member)) for name, member in tar_members(iter(chunks))] == members
            # A member that nobody reads is passed over.
            assert [name for name, _ in tar_members(iter(chunks))] == [name for name, _ in members]
        for cut in (100, 700, 5000, 600_000):
            with pytest.raises(DamagedFileError, match="ends early"):
                [b"".join(member) for _, member in tar_members(iter([data[:cut]]))]
        broken = data.replace(b"big.bin", b"bug.bin")
        with pytest.raises(DamagedFileError, match="wrong checksum"):
            list(tar_members(iter([broken])))
