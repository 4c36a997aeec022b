"""The merges of a tokenizer.json: its pairs by rank, and the symbols that a word begins with."""

from collections.abc import Sequence

from mlxllm.errors import DataError
from mlxllm.tokenizer.hub import HubTokenizer
from mlxllm.tokenizer.hub_spelling import BYTE_TOKEN


class HubPairs:
    """The rules of a BPE tokenizer.json."""

    def __init__(self, tokenizer: HubTokenizer) -> None:
        """Read them.

        Raises:
            DataError: its model is not BPE.
        """
        model, self._added = tokenizer.read_model()
        if model.get("type") != "BPE":
            raise DataError(
                f"this tokenizer is of the kind {model.get('type')}, which chooses the likeliest pieces and merges nothing; "
                f"take a BPE tokenizer"
            )
        merges = [merge.split(" ", 1) if isinstance(merge, str) else merge for merge in model["merges"]]
        self.ranked = {(left, right): (rank, left + right) for rank, (left, right) in enumerate(merges)}
        """Pair -> its rank, and what it becomes."""
        self._takes_whole = bool(model.get("ignore_merges"))
        self._has_bytes = bool(model.get("byte_fallback"))
        self._unknown = model.get("unk_token")
        self._names: dict[int, str] = {number: token for token, number in model["vocab"].items()}
        self._tokenizer = tokenizer
        self.ids: dict[str, int] = dict(model["vocab"])
        """Symbol -> id, also of added tokens that have been asked for."""

    def begin(self, ids: Sequence[int]) -> tuple[list[str], bool]:
        """The symbols that a word was before its merges, and whether the vocabulary has it as a whole.

        Args:
            ids: of the word, as encoding gives them.
        """
        symbols: list[str] = []
        for number in ids:
            name = self._names.get(number)
            if name is None or number in self._added:
                name = self._tokenizer.piece(number)
                self.ids[name] = number
                symbols.append(name)
            elif name == self._unknown or (self._has_bytes and BYTE_TOKEN.fullmatch(name)):
                symbols.append(name)  # a character that is not in the vocabulary: it was this before any merge
            else:
                symbols += name
        return symbols, self._takes_whole and len(ids) == 1

    def shown(self, symbol: str) -> str:
        """A symbol as text; bytes that are no whole characters as `<0xE2>`."""
        number = self.ids.get(symbol)
        return symbol if number is None else self._tokenizer.piece(number)
