r"""Learning the pieces of a BPE tokenizer with SentencePiece's trainer.

The trainer treats spaces, tabs, line ends and a few other characters in ways of its own. It never sees them
here: it is given stretches of text with their counts (see `pretokens.py`), white space written in stand-ins.
That keeps "\n    " or "  " learnable like any word, makes training fast (distinct words only), and leaves
one rule for all text.
"""

import io
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise

import sentencepiece

from mlxllm.errors import ConfigError, DataError
from mlxllm.tokenizer.base import FIRST_LEARNED_ID, check_characters
from mlxllm.tokenizer.bpe import BpeTokenizer
from mlxllm.tokenizer.pretokens import count_pretokens, sample_texts

DEFAULT_VOCAB_SIZE = 8192
MAX_VOCAB_SIZE = 1 << 20
SAMPLE_CHARS = 32_000_000
"""Larger training texts are sampled down to about this many characters: more would change few pieces."""
CHARACTER_COVERAGE = 0.9995
"""Share of the text whose characters become pieces; rarer ones are left to bytes."""
MAX_PIECE_CHARS = 16

_STAND_INS = {" ": "\ue000", "\n": "\ue001", "\t": "\ue002", "\r": "\ue003"}
_ORIGINALS = str.maketrans({stand_in: char for char, stand_in in _STAND_INS.items()})
# Besides the stand-ins: what SentencePiece's trainer keeps for itself (end of text, word mark, unknown mark).
_RESERVED = {"\0", "\u2581", "\u2585", *_STAND_INS.values()}


def train_bpe(
    texts: Iterable[str], vocab_size: int | None = None, *, seed: int = 0, sample_chars: int = SAMPLE_CHARS
) -> BpeTokenizer:
    """Learn a BPE tokenizer. The same texts, size and seed give the same one on every machine.

    Args:
        texts: training texts, read once; memory stays bounded however many there are.
        vocab_size: ids in all, the 261 special tokens and bytes included. A text with fewer pieces to learn
        gives
            a smaller vocabulary: compare the result's `vocab_size`.
        seed: of the sample that is drawn from texts longer than `sample_chars`.
        sample_chars: how many characters to learn from at most.

    Raises:
        ConfigError: `vocab_size` is out of range.
        DataError: there is no text, or it holds a lone surrogate.
    """
    size = DEFAULT_VOCAB_SIZE if vocab_size is None else vocab_size
    if not FIRST_LEARNED_ID < size <= MAX_VOCAB_SIZE:
        raise ConfigError(
            f"a bpe tokenizer cannot have a vocabulary of {size:,}: 5 special tokens and 256 bytes are "
            f"always in it; choose {FIRST_LEARNED_ID + 1} to {MAX_VOCAB_SIZE:,}"
        )
    pretokens = count_pretokens(sample_texts(texts, sample_chars, seed))
    if not pretokens:
        raise DataError("there is no text to learn a vocabulary from: the input is empty")
    alphabet = _alphabet(pretokens, limit=(size - FIRST_LEARNED_ID + 1) // 2)
    words = _words(pretokens, alphabet)
    learned = _learn(words, size) if words else []
    return BpeTokenizer([piece.translate(_ORIGINALS) for piece in _useful(learned, words, size)])


def _alphabet(pretokens: Mapping[str, int], limit: int) -> set[str]:
    """The characters that become pieces: the most frequent to CHARACTER_COVERAGE, and all ASCII there is."""
    counts: Counter[str] = Counter()
    for pretoken, count in pretokens.items():
        for char in pretoken:
            counts[char] += count
    check_characters(counts)
    total, covered = counts.total(), 0
    alphabet: set[str] = set()
    for char, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if len(alphabet) == limit:
            break
        if (covered < CHARACTER_COVERAGE * total or char.isascii()) and char not in _RESERVED:
            alphabet.add(char)
        covered += count
    return alphabet


def _words(pretokens: Mapping[str, int], alphabet: set[str]) -> dict[str, int]:
    """What the trainer is given: stretches of the alphabet with their counts, white space in stand-ins."""
    # Characters outside the alphabet part a stretch: no piece holds one.
    table = {ord(char): " " for char in set().union(*pretokens) - alphabet}
    table |= {ord(char): stand_in for char, stand_in in _STAND_INS.items() if char in alphabet}
    words: Counter[str] = Counter()
    for pretoken, count in pretokens.items():
        for word in pretoken.translate(table).split(" "):
            words[word] += count
    words.pop("", None)
    return dict(sorted(words.items()))


def _learn(words: Mapping[str, int], vocab_size: int) -> list[str]:
    """The trainer's pieces, strongest first; there may be fewer than asked for."""
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(f"{word}\t{count}" for word, count in words.items()),
            input_format="tsv",
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            # Our 5 special tokens: the trainer only has to leave room for them.
            control_symbols=["<a>", "<b>", "<c>", "<d>"],
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            byte_fallback=True,
            character_coverage=1.0,
            max_sentencepiece_length=MAX_PIECE_CHARS,
            # By default longer lines are dropped with a line in the log.
            max_sentence_length=1 << 20,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            split_by_whitespace=False,
            split_by_number=False,
            split_by_unicode_script=False,
            num_threads=1,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise DataError(
            f"SentencePiece could not learn a vocabulary of {vocab_size:,} from this text: {error}"
        ) from error
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return [processor.id_to_piece(i) for i in range(FIRST_LEARNED_ID, processor.vocab_size())]


def _useful(learned: list[str], words: Collection[str], vocab_size: int) -> list[str]:
    """`learned` without the pieces that the trainer fills up with once it has run out of pairs.

    Those are made of pairs that earlier merges have used up: no text that we know would ever use them.
    """
    merged = [piece for piece in learned if len(piece) > 1]
    tokenizer = BpeTokenizer(learned)
    if merged and len(learned) == vocab_size - FIRST_LEARNED_ID:
        # The last pair that occurred is still whole in the text: no later merge has taken it up.
        last = merged[-1]
        last_id = FIRST_LEARNED_ID + learned.index(last)
        if any(last_id in tokenizer.encode(word) for word in words if last in word):
            return learned
    used = {tokenizer.piece(i) for ids in tokenizer.encode_to_array(list(words)) for i in set(ids.tolist())}
    rank = {piece: i for i, piece in enumerate(learned)}
    needed = {step for piece in used for step in _merge_steps(piece, rank)}
    return [piece for piece in learned if len(piece) == 1 or piece in needed]


def _merge_steps(piece: str, rank: Mapping[str, int]) -> list[str]:
    """All that is merged on the way from single characters to `piece`, itself included."""
    symbols, steps = list(piece), []
    while len(symbols) > 1:
        pairs = [(rank.get(left + right, len(rank)), i) for i, (left, right) in enumerate(pairwise(symbols))]
        best, i = min(pairs)
        if best == len(rank):
            break
        symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]
        steps.append(symbols[i])
    return steps
