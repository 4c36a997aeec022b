"""A tokenizer of the `tokenizers` library, as a model of the Hub has it, with what a template format asks for."""

import hashlib
from collections.abc import Sequence

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers


class HubTokenizer:
    """Satisfies `ChatTokenizer`."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.special_ids = {t.content: i for i, t in tokenizer.get_added_tokens_decoder().items() if t.special}
        self.fingerprint = hashlib.sha256(tokenizer.to_str().encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        self.tokenizer.encode_special_tokens = True
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        self.tokenizer.encode_special_tokens = False
        return ids

    def encode_with_specials(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=False)


CORPUS = ["the quick brown fox jumps over the lazy dog\n\nuser\nassistant\nsystem hello there"] * 40


def byte_level(specials: Sequence[str], vocab_size: int = 600) -> HubTokenizer:
    """Byte-level BPE, as Llama 3 and Qwen have it: line breaks and spaces merge with what follows."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([*CORPUS, "\n\n\n \n\n  \n" * 50], trainer)
    tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in specials])
    return HubTokenizer(tokenizer)


def sentence_piece(specials: Sequence[str]) -> HubTokenizer:
    """As Llama 2 and Mistral have it: a space is put before the beginning of every text."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<0x00>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=[f"<0x{b:02X}>" for b in range(256)], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in specials])
    return HubTokenizer(tokenizer)
