"""Small tokenizers of others, as models of the Hub have them, trained on the spot."""

import json
import random
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    "The quick brown fox jumps over the lazy dog. Hello world, it's 1234 and 5678!",
    "  two spaces def f(x):\n    return x + 42\n\n",
    "héllo wörld, ünïcode größer 日本語 русский",
] * 40
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN = LLAMA3.replace("{1,3}", "")
SPECIALS = ("<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>")
NAMED = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
KINDS = ("gpt2", "llama3", "qwen", "smollm", "llama2", "metaspace", "sentencepiece")


def write(kind: str, folder: Path, **config: Any) -> Path:
    """A folder with a tokenizer of one of `KINDS`; `config` goes into its tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    name = "LlamaTokenizer" if kind == "sentencepiece" else "PreTrainedTokenizerFast"
    if kind == "sentencepiece":
        (folder / "tokenizer.model").write_bytes(_sentencepiece(folder))
        config = {"add_bos_token": True, **config}
    else:
        tokenizer = _BACKENDS.get(kind) or _BACKENDS.setdefault(kind, _backend(kind).to_str())
        (folder / "tokenizer.json").write_text(tokenizer, "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name, **NAMED, **config}), "utf-8")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}), "utf-8")
    return folder


def texts(number: int, seed: int = 1) -> list[str]:
    """Random Unicode, words of the corpus and awkward white space; no special tokens."""
    draw = random.Random(seed)

    def one() -> str:
        out = []
        for _ in range(draw.randrange(0, 30)):
            kind = draw.random()
            if kind < 0.4:
                out.append(chr(draw.randrange(32, 127)))
            elif kind < 0.65:
                out.append(draw.choice([" ", "  ", "\n", "\t", "\r\n", "▁", "the", " quick", "1234", "it's", "größer"]))
            elif kind < 0.9:
                out.append(chr(draw.randrange(0x80, 0x3000)))
            else:
                out.append(chr(draw.choice([draw.randrange(0x3000, 0xD800), draw.randrange(0x1F300, 0x1FAFF)])))
        return "".join(out)

    return [one() for _ in range(number)]


_BACKENDS: dict[str, str] = {}


def _backend(kind: str) -> Tokenizer:
    if kind in ("llama2", "metaspace"):
        return _byte_fallback(kind)
    tokenizer = Tokenizer(models.BPE())
    if kind == "smollm":
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    else:
        split = pre_tokenizers.Split(Regex({"gpt2": GPT2, "llama3": LLAMA3, "qwen": QWEN}[kind]), "isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
    if kind == "qwen":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIALS])
    tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("   ", normalized=False)])
    if kind == "llama3":
        tokenizer.post_processor = _bos(tokenizer)
    return tokenizer


def _byte_fallback(kind: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    if kind == "llama2":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words = [each for text in CORPUS for each in text.split()]
    tokenizer.train_from_iterator(words, trainers.BpeTrainer(vocab_size=500, special_tokens=names, show_progress=False))
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = content["added_tokens"][:3]  # the bytes are no special tokens
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIALS])
    tokenizer.post_processor = _bos(tokenizer)
    return tokenizer


def _bos(tokenizer: Tokenizer) -> processors.TemplateProcessing:
    return processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )


def _sentencepiece(folder: Path) -> bytes:
    text, model = folder / "corpus.txt", folder / "trained"
    text.write_text("\n".join(CORPUS), "utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(model),
        vocab_size=400,
        model_type="bpe",
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        hard_vocab_limit=False,
        user_defined_symbols=["<|im_start|>", "<|im_end|>"],
        minloglevel=2,
    )
    content = model.with_suffix(".model").read_bytes()
    for path in (text, model.with_suffix(".model"), model.with_suffix(".vocab")):
        path.unlink()
    return content
