"""The tokenizer that came with somebody else's model: its ids, exactly, behind the interface of our own.

A `tokenizer.json` is read by the `tokenizers` library, which made it; a SentencePiece `tokenizer.model` is turned into
one. What the library can do beyond an interface of ours (truncate, pad, drop merges at random) is switched off, and
nothing is put before or behind a text unless `prefix_ids` is asked for.
"""

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from multiprocessing import parent_process
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import tokenizers

from mlxllm.errors import DataError
from mlxllm.tokenizer.base import TokenArray, Tokenizer, utf8
from mlxllm.tokenizer.hub_checks import check_tokenizer_json
from mlxllm.tokenizer.hub_files import (
    ADDED_TOKENS_FILE,
    CONFIG_FILE,
    GENERATION_FILE,
    SENTENCEPIECE_MODEL,
    SPECIAL_TOKENS_FILE,
    TOKENIZER_JSON,
    extra_tokens,
    named_tokens,
    parse_object,
    quoted,
    spelling,
    token_ids_of,
)
from mlxllm.tokenizer.hub_prefix import put_before
from mlxllm.tokenizer.hub_readers import files_for_readers
from mlxllm.tokenizer.hub_sentencepiece import as_tokenizer_json, read_sentencepiece
from mlxllm.tokenizer.hub_spelling import BYTE_TOKEN, speller_of

_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>", "<|eot_id|>")
"""What ends a text where no file names it."""
_DECIDING = ("added_tokens_decoder", "add_bos_token", "add_eos_token", "add_prefix_space", "legacy")
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized")

Result = TypeVar("Result")


class HubTokenizer(Tokenizer):
    """A tokenizer.json or tokenizer.model with what its folder says about it."""

    kind = "hub"

    def __init__(self, files: Mapping[str, bytes], where: str = "the tokenizer") -> None:
        """Open a tokenizer.

        Args:
            files: name -> content, as `read_hub_files` gives them.
            where: their folder, for messages.

        Raises:
            DataError: a file is damaged, or of a kind that is not known here.
        """
        self._files = dict(files)
        self._where = where
        self._lock = threading.Lock()  # the library's switch for special tokens belongs to one caller at a time
        config, special_map, added, generation = (
            parse_object(files[name], f"{where}/{name}") if name in files else {}
            for name in (CONFIG_FILE, SPECIAL_TOKENS_FILE, ADDED_TOKENS_FILE, GENERATION_FILE)
        )
        named = named_tokens(config, special_map)
        special = {*named.values(), *extra_tokens(config, special_map)}
        content, raw = self._content(config, special)
        self._backend = self._opened(raw)
        self._add(config, added, special)
        self._read_tokens(content, special)
        self._choose_ends(generation, named)
        self._unknown_id = self.special_ids.get(named.get("unk_token", "")) if "unk_token" in named else None
        self._never = frozenset(self.special_ids.values()) - {self._unknown_id, self._model_unknown(content)}
        self.prefix_ids = tuple(i for i in put_before(content.get("post_processor")) if i in self._spelling)
        self._line = self.encode("\n")
        self.fingerprint = self._fingerprint(config, named, special)

    def model_files(self) -> dict[str, bytes]:
        """The files as they came, by name."""
        return dict(self._files)

    def files_for_readers(self) -> dict[str, bytes]:
        """The files, changed where other readers would find other ids in them; see `hub_readers.py`."""
        return files_for_readers(self._files)

    @property
    def learned_ids(self) -> Sequence[int]:
        """See `Tokenizer.learned_ids`."""
        return [i for i, value in self._spelling.items() if len(value) > 1 and i not in self._added]

    def encode_to_array(self, texts: Sequence[str]) -> list[TokenArray]:
        """See `Tokenizer.encode_to_array`; several texts are encoded on all cores."""
        texts = list(texts)
        if parent_process() is not None:
            os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one of several processes has one core
        encoded = self._ask(lambda: self._backend.encode_batch_fast(texts, add_special_tokens=False), texts, plain=True)
        return [
            np.array(self._without_specials(text, one.ids), dtype=np.uint32)
            for text, one in zip(texts, encoded, strict=True)
        ]

    def encode(self, text: str) -> list[int]:
        """See `Tokenizer.encode`."""
        encoded = self._ask(lambda: self._backend.encode(text, add_special_tokens=False), [text], plain=True)
        return self._without_specials(text, encoded.ids)

    def encode_words(self, text: str) -> list[list[int]]:
        """The ids of `text`, in stretches that no merge crosses: added tokens, and the words of its pre-tokenizer."""
        encoded = self._ask(lambda: self._backend.encode(text, add_special_tokens=False), [text], plain=True)
        words: dict[int, list[int]] = {}
        for number, word in zip(encoded.ids, encoded.word_ids, strict=True):
            words.setdefault(word, []).append(number)
        return list(words.values())

    def read_model(self) -> tuple[dict[str, Any], frozenset[int]]:
        """The model as a tokenizer.json has it, and the ids of tokens that were added to it."""
        model: dict[str, Any] = json.loads(self._backend.to_str())["model"]
        return model, self._added

    def encode_with_specials(self, text: str) -> list[int]:
        """See `Tokenizer.encode_with_specials`; as the model's own tokenizer does, without anything before the text."""
        return list(self._ask(lambda: self._backend.encode(text, add_special_tokens=False), [text], plain=False).ids)

    def encode_continued(self, text: str) -> list[int]:
        """See `Tokenizer.encode_continued`: the ids that `text` has behind a line break, if that stands by itself."""
        if not self.adds_space:
            return self.encode(text)
        ids = self.encode("\n" + text)
        return ids[len(self._line) :] if ids[: len(self._line)] == self._line else self.encode(text)

    def decode(self, ids: Iterable[int]) -> str:
        """See `Tokenizer.decode`; the space that `encode` puts before a text is taken away, where it does."""
        text = super().decode(ids)
        return text[1:] if self.adds_space and text.startswith(" ") else text

    def token_bytes(self, token_id: int) -> bytes:
        """See `Tokenizer.token_bytes`."""
        if token_id not in self._spelling:
            raise self._unknown(token_id)
        return self._token_bytes[token_id]

    def piece(self, token_id: int) -> str:
        """See `Tokenizer.piece`; bytes that are no whole characters as `<0xE2><0x82>`."""
        if token_id not in self._spelling:
            raise self._unknown(token_id)
        value = self._spelling[token_id]
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return "".join(f"<0x{byte:02X}>" for byte in value)

    def byte_lengths(self) -> npt.NDArray[np.int64]:
        """See `Tokenizer.byte_lengths`; where a space is put before each text, the token behind it takes its byte back."""
        lengths = super().byte_lengths()
        if self.adds_space:
            lengths[self.eot_id] = -1
        return lengths

    def _content(self, config: dict[str, Any], special: set[str]) -> tuple[dict[str, Any], bytes]:
        """The tokenizer.json, and its bytes as the library is to read them."""
        if TOKENIZER_JSON in self._files:
            where = f"{self._where}/{TOKENIZER_JSON}"
            raw = self._files[TOKENIZER_JSON]
            content = parse_object(raw, where)
            check_tokenizer_json(content, where)
        elif SENTENCEPIECE_MODEL in self._files:
            where = f"{self._where}/{SENTENCEPIECE_MODEL}"
            model = read_sentencepiece(self._files[SENTENCEPIECE_MODEL], where)
            content, raw = as_tokenizer_json(model, config, where), b""
        else:
            raise DataError(f"there is no {TOKENIZER_JSON} or {SENTENCEPIECE_MODEL} in {self._where}")
        unmarked = [t for t in content.get("added_tokens") or () if t["content"] in special and not t.get("special")]
        random = content["model"].get("dropout")
        if unmarked or random or not raw:
            for token in unmarked:
                token["special"] = True
            content["model"]["dropout"] = None
            raw = json.dumps(content).encode()
        return content, raw

    def _opened(self, raw: bytes) -> Any:
        try:
            backend = tokenizers.Tokenizer.from_buffer(raw)
            backend.no_truncation()
            backend.no_padding()
            backend.post_processor = None  # what it puts around a text is `prefix_ids`
            return backend
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of the library is no Exception
            raise DataError(
                f"the tokenizer in {self._where} cannot be opened ({_told(error)}); copy it again"
            ) from None

    def _add(self, config: Mapping[str, Any], added: Mapping[str, Any], special: set[str]) -> None:
        """Tokens that other files than tokenizer.json name, in the order of their ids."""
        wanted: dict[int, tuple[str, dict[str, Any]]] = {}
        for text, number in added.items():
            if type(number) is int:
                wanted[number] = (text, {"normalized": text not in special, "special": text in special})
        listed = config.get("added_tokens_decoder")
        for number, token in listed.items() if isinstance(listed, dict) else ():
            spelled = spelling(token) if isinstance(token, dict) else None
            if spelled and str(number).isdecimal():
                flags = {key: token[key] for key in (*_FLAGS, "special") if isinstance(token.get(key), bool)}
                wanted[int(number)] = (spelled, flags)
        there = {token.content for token in self._backend.get_added_tokens_decoder().values()}
        for number, (content, flags) in sorted(wanted.items()):
            if content in there or not content:
                continue
            known = self._backend.token_to_id(content)
            expected = self._backend.get_vocab_size() if known is None else known
            if number != expected:
                raise DataError(
                    f"{self._where} gives the added token {quoted(content)} the id {number:,}, and its vocabulary the id "
                    f"{expected:,}; the files do not belong together, copy them again"
                )
            flags["special"] = flags.get("special", False) or content in special
            self._backend.add_tokens([tokenizers.AddedToken(content, **flags)])
            there.add(content)
        missing = [text for text in sorted(special - there) if self._backend.token_to_id(text) is not None]
        self._backend.add_special_tokens([tokenizers.AddedToken(t, special=True, normalized=False) for t in missing])

    def _read_tokens(self, content: Mapping[str, Any], special: set[str]) -> None:
        where = f"{self._where}/{TOKENIZER_JSON if TOKENIZER_JSON in self._files else SENTENCEPIECE_MODEL}"
        spell, self.adds_space = speller_of(content, where)
        added = self._backend.get_added_tokens_decoder()
        vocab: dict[str, int] = self._backend.get_vocab(with_added_tokens=True)
        if not vocab:
            raise DataError(f"{where} is damaged: it has no tokens; copy it again")
        self._added = frozenset(added)
        self.vocab_size = max(vocab.values()) + 1
        self._learned = ()
        # Some have marked the 256 bytes as special, which they are not: texts are spelled with them.
        specials = ((i, token.content) for i, token in sorted(added.items()) if token.special)
        self.special_ids = {
            text: i for i, text in specials if not (BYTE_TOKEN.fullmatch(text) and len(spell(text)) == 1)
        }
        byte_level = spell("Ġ") == b" "
        self._token_bytes = [b""] * self.vocab_size
        self._spelling = {}
        for token, number in vocab.items():
            # In GPT-2's alphabet an added token stands as it is; its letters are no bytes.
            value = token.encode() if byte_level and number in added else spell(token)
            self._spelling[number] = value
            self._token_bytes[number] = value
        for number in self.special_ids.values():
            self._token_bytes[number] = b""

    def _choose_ends(self, generation: Mapping[str, Any], named: Mapping[str, str]) -> None:
        ends = token_ids_of(generation.get("eos_token_id"))
        if (eos := named.get("eos_token")) and (number := self._backend.token_to_id(eos)) is not None:
            ends.append(number)
        if not ends:
            ends = [self.special_ids[text] for text in _ENDS if text in self.special_ids][:1]
        ends = [i for i in dict.fromkeys(ends) if i in self._spelling]
        if not ends:
            raise DataError(
                f'no file in {self._where} names a token that ends a text; add "eos_token" to its {CONFIG_FILE}'
            )
        self.stop_ids = tuple(ends)
        specials = set(self.special_ids.values())
        self.eot_id = next((i for i in ends if i in specials), ends[0])

    def _model_unknown(self, content: Mapping[str, Any]) -> int | None:
        """The id for what no token covers; of all special ones only this may come out of a text."""
        model = content["model"]
        text = model.get("unk_token")
        if isinstance(text, str):
            number: int | None = self._backend.token_to_id(text)
            return number
        return model.get("unk_id") if isinstance(model.get("unk_id"), int) else None

    def _without_specials(self, text: str, ids: list[int]) -> list[int]:
        """`ids` of a text; where its pieces happen to make a special token, that is spelled letter by letter."""
        if self._never.isdisjoint(ids):
            return ids
        encoded = self._ask(lambda: self._backend.encode(text, add_special_tokens=False), [text], plain=True)
        out: list[int] = []
        for number, (start, end) in zip(encoded.ids, encoded.offsets, strict=True):
            if number not in self._never:
                out.append(number)
            elif end - start > 1:
                out += [i for letter in text[start:end] for i in self.encode_continued(letter)]
            else:
                raise DataError(
                    f"the tokenizer in {self._where} spells {quoted(text[start:end])} as the special token {number}, so "
                    f"that a text cannot be told from a command; it cannot be used"
                )
        return out

    def _ask(self, asked: Callable[[], Result], texts: Sequence[str], *, plain: bool) -> Result:
        """What the library answers, special tokens in a text being text like any other if `plain`."""
        with self._lock:
            try:
                self._backend.encode_special_tokens = plain
                return asked()
            except (KeyboardInterrupt, SystemExit, MemoryError):
                raise
            except BaseException as error:  # a panic of the library is no Exception
                for text in texts:
                    utf8(text)
                raise DataError(
                    f"the tokenizer in {self._where} cannot encode a text ({_told(error)}); take another tokenizer"
                ) from None

    def _fingerprint(self, config: Mapping[str, Any], named: Mapping[str, str], special: set[str]) -> str:
        """SHA-256 over what decides ids; a chat template may change without the data being others."""
        deciding = {key: config[key] for key in _DECIDING if key in config}
        ends = [self.eot_id, list(self.prefix_ids)]
        text = json.dumps([deciding, dict(named), sorted(special), ends], sort_keys=True)
        parts = [b"mlxllm hub tokenizer", text.encode()]
        names = (
            (TOKENIZER_JSON, ADDED_TOKENS_FILE)
            if TOKENIZER_JSON in self._files
            else (SENTENCEPIECE_MODEL, ADDED_TOKENS_FILE)
        )
        parts += [part for name in names if name in self._files for part in (name.encode(), self._files[name])]
        digest = hashlib.sha256()
        for part in parts:
            digest.update(len(part).to_bytes(8, "little") + part)
        return digest.hexdigest()

    def _unknown(self, token_id: Any) -> DataError:
        if isinstance(token_id, int) and 0 <= token_id < self.vocab_size:
            return DataError(
                f"token id {token_id} stands for nothing: the vocabulary of this tokenizer leaves it out; were the ids "
                f"made with another tokenizer?"
            )
        return super()._unknown(token_id)


def _told(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200].rstrip(".") if lines else type(error).__name__
