"""A tokenizer as a GGUF file holds it, and our own three kinds as llama.cpp's SPM.

SPM starts from single characters, and of all neighbours that together are a token merges the pair whose token has the
highest score, the leftmost first; what is then no token becomes bytes. That is our BPE, and with no token longer than a
character it is our `char` and `byte`.

llama.cpp writes each space of a text as U+2581 before it begins, and each U+2581 of a token as a space when it prints
one. Tokens that it knows as "user-defined" are found before that and printed as they are: so that is what a space of
its own is in `char` and `byte`, and U+2581 there remains itself. The pieces of a BPE hold spaces and must be written
with U+2581; that character in a text is then read as a space, which is the one difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from mlxllm.tokenizer.base import FIRST_BYTE_ID, FIRST_LEARNED_ID, SPECIAL_TOKENS, Tokenizer

SPACE = "\u2581"
"""How SPM writes a space."""

READS_U2581_AS_SPACE = "llama.cpp reads the character U+2581 in a text as a space"
COMPOSES_NOTHING = "llama.cpp does not compose accents (NFC): ids are equal where the text has them composed"
ANOTHER_SPACE = "llama.cpp puts a space before a text that begins with one as well"
READS_NO_NUL = "a token of llama.cpp cannot hold U+0000, so it spells that character as a byte"
SPACE_BEHIND_SPECIALS = "llama.cpp puts a space behind each special token as well, not only before a text"


class TokenType(IntEnum):
    """What llama.cpp does with a token; the numbers are those of the file format."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    """Never found in a text unless special tokens are asked for; prints as nothing."""
    USER_DEFINED = 4
    """Found in a text before anything else, and printed as it is."""
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Vocabulary:
    """All that a GGUF file says of its tokenizer."""

    model: str
    """`llama` is SentencePiece (SPM), `gpt2` is byte-level BPE."""
    tokens: Sequence[str]
    """One for each row of the embedding, no two alike."""
    types: Sequence[TokenType]
    eos_id: int
    """Ends a text."""
    scores: Sequence[float] = ()
    """SPM: the higher is merged first."""
    merges: Sequence[str] = ()
    """BPE: pairs, the earlier is merged first."""
    pre: str = "default"
    """BPE: name of the rule that cuts a text into words."""
    bos_id: int | None = None
    unk_id: int | None = None
    pad_id: int | None = None
    eot_id: int | None = None
    """Ends a turn."""
    add_bos: bool = False
    """Whether `bos_id` goes before every text."""
    add_space_prefix: bool = False
    """SPM: whether a space goes before every text."""
    notes: tuple[str, ...] = field(default=())
    """What is otherwise than with us, a sentence each."""


def own_vocabulary(tokenizer: Tokenizer, rows: int) -> Vocabulary:
    """One of our own tokenizers as SPM.

    Args:
        tokenizer: of the kind char, byte or bpe.
        rows: of the embedding, which may have more than the tokenizer has ids.
    """
    learned = [tokenizer.piece(i) for i in range(FIRST_LEARNED_ID, tokenizer.vocab_size)]
    single = all(len(piece) == 1 for piece in learned)
    tokens = [*SPECIAL_TOKENS, *(f"<0x{byte:02X}>" for byte in range(256))]
    types = [TokenType.CONTROL] * FIRST_BYTE_ID + [TokenType.BYTE] * 256
    space_id = FIRST_BYTE_ID + ord(" ")
    if " " not in learned:  # spaces are then spelled as a byte, which llama.cpp would take for that of U+2581
        tokens[space_id] = " " if single else SPACE
        types[space_id] = TokenType.USER_DEFINED if single else TokenType.NORMAL
    taken = set(tokens)
    notes: list[str] = []
    lost = 0
    for piece in learned:
        kind = TokenType.NORMAL
        if single:
            spelled = piece
            if piece in (" ", SPACE):
                kind = TokenType.USER_DEFINED
        else:
            spelled = piece.replace(" ", SPACE)
        if "\0" in piece:
            spelled, kind = f"<unused {len(tokens)}>", TokenType.UNUSED
            notes += [] if READS_NO_NUL in notes else [READS_NO_NUL]
        elif spelled in taken or (SPACE in piece and not single):
            lost += 1
            spelled, kind = f"<unused {len(tokens)}>", TokenType.UNUSED
        taken.add(spelled)
        tokens.append(spelled)
        types.append(kind)
    if not single:
        notes.append(READS_U2581_AS_SPACE)
    if lost:
        notes.append(f"{lost:,} tokens with U+2581 in them print as nothing in llama.cpp")
    # As in SentencePiece's own files: the specials and bytes have 0, the pieces minus their rank.
    scores = [0.0] * FIRST_LEARNED_ID + [-float(rank) for rank in range(len(learned))]
    if met := [token for token in tokens[:FIRST_LEARNED_ID] if _reachable(token, taken)]:
        notes.append(f"llama.cpp reads a text that spells the token {' or '.join(met[:3])} as that token")
    padded(tokens, types, rows)
    scores += [scores[-1] - 1] * (rows - len(scores))
    eot = tokenizer.special_ids["<|end|>"]
    return Vocabulary(
        "llama",
        tokens,
        types,
        eos_id=tokenizer.eot_id,
        scores=scores,
        # Without these llama.cpp would take ids 1 and 2, which are <|system|> and <|user|> here.
        bos_id=tokenizer.eot_id,
        unk_id=tokenizer.eot_id,
        pad_id=tokenizer.eot_id,
        eot_id=eot,
        notes=tuple(notes),
    )


def padded(tokens: list[str], types: list[TokenType], rows: int) -> None:
    """Add tokens that stand for nothing, one for each row of the embedding that the tokenizer has no id for."""
    taken = set(tokens)
    for i in range(len(tokens), rows):
        name = f"[PAD{i}]"
        tokens.append(name if name not in taken else f"[PAD{i} of the embedding]")
        types.append(TokenType.UNUSED)


def _reachable(token: str, vocabulary: set[str]) -> bool:
    """Whether merging can put `token` together, since some cut of it leaves two tokens (or characters)."""
    return len(token) > 1 and any(
        (cut == 1 or token[:cut] in vocabulary) and (cut == len(token) - 1 or token[cut:] in vocabulary)
        for cut in range(1, len(token))
    )
