"""A file of the Hub that is read without being fetched: only the blocks that are asked for come."""

import io
from collections import OrderedDict
from typing import TYPE_CHECKING

from mlxllm.data.hub.problems import hub_problems
from mlxllm.data.hub.requests import answer
from mlxllm.errors import DataError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BLOCK_BYTES = 1 << 20
_BLOCKS_KEPT = 8


class RangeFile(io.RawIOBase):
    """Reads a file by requests for ranges (RFC 9110, section 14), a mebibyte each, of which the last few are kept."""

    def __init__(self, url: str, headers: dict[str, str], size: int, dataset: str, name: str) -> None:
        """A file of `size` bytes; `dataset` and `name` are for messages."""
        super().__init__()
        self.name = name
        self._url, self._headers, self._size, self._dataset = url, headers, size, dataset
        self._at = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def size(self) -> int:
        """Bytes of the file."""
        return self._size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        if self._at >= self._size or not view:
            return 0
        number, skipped = divmod(self._at, _BLOCK_BYTES)
        data = memoryview(self._block(number))[skipped : skipped + len(view)]
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def read(self, size: int | None = -1, /) -> bytes:
        """All of the bytes that are asked for, not only those of one block: pyarrow takes fewer for the end."""
        wanted = self._size - self._at if size is None or size < 0 else min(size, self._size - self._at)
        out = bytearray()
        while len(out) < wanted:
            piece = bytearray(min(wanted - len(out), _BLOCK_BYTES))
            got = self.readinto(piece)
            if not got:
                break
            out += piece[:got]
        return bytes(out)

    def _block(self, number: int) -> bytes:
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        start, end = number * _BLOCK_BYTES, min((number + 1) * _BLOCK_BYTES, self._size)
        with (
            hub_problems(self._dataset),
            answer(self._url, {**self._headers, "Range": f"bytes={start}-{end - 1}"}) as response,
        ):
            out = bytearray()
            whole = response.status_code == 200  # no ranges there; then only the beginning can be had
            for chunk in response.iter_raw() if not whole or start == 0 else ():
                out += chunk
                if len(out) >= end - start:
                    break
        if len(out) < end - start:
            raise DataError(
                f"the server of the data set {self._dataset} does not give parts of {self.name}, so it cannot be looked "
                f"into before it is fetched; a build fetches it whole"
            )
        self._blocks[number] = bytes(out[: end - start])
        while len(self._blocks) > _BLOCKS_KEPT:
            self._blocks.popitem(last=False)
        return self._blocks[number]
