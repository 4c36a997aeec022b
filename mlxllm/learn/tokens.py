"""Chapters 1 and 2: from a text to numbers, by character and by pieces that were learned."""

from mlxllm.learn.chapter import Chapter, Experiment, Reference

CHARACTERS = Chapter(
    number=1,
    title="Characters",
    text="""
A model computes with numbers, so a text has to become numbers, and numbers a text again. The
simplest way gives each character one: collect the characters that occur, sort them, count them
off. Tiny Shakespeare has 65, so a model of it chooses one of 65 next characters at each step.

Here the first ids are taken: 0 to 4 are special tokens (the end of a text, who speaks in a chat),
5 to 260 the 256 bytes. Characters begin at 261. One that did not occur in the training text is
spelled in its UTF-8 bytes. So no text is unknown, and every text comes back exactly as it was.

A special token is put in by the program, never by a text: a document that merely contains the
letters <|endoftext|> is spelled letter by letter, and cannot end the document for the model.

What characters cost is length. A step of the model is spent on every token, and attention
compares each with all before it: a text cut into four times as many tokens takes four times the
steps and sixteen times the comparisons. And a model of characters has to learn spelling before it
can learn anything else, since "dog" is for it a d, then an o, then a g.

It is the best first model all the same: the whole vocabulary fits on a screen, and nothing about
it is hidden. The next chapter shortens the text.
""",
    formula="id(c) = 261 + rank of c among the sorted characters\ndecode(encode(text)) = text",
    references=(
        Reference("mlxllm/tokenizer/char.py", "CharTokenizer.train"),
        Reference("mlxllm/tokenizer/char.py", "_spell_in_bytes"),
        Reference("mlxllm/tokenizer/base.py", "Tokenizer.decode"),
    ),
    experiments=(
        Experiment(
            'tokenizer show {char} "The cat said: café!"',
            "Each character stands above its id. é stands there twice over, as two bytes, unless the text that "
            "this tokenizer learned from has it.",
            only_with="model",
        ),
        Experiment(
            "tokenizer train {letters} --kind char --input stories:200",
            "It reads 200 stories and keeps their characters: the number of ids is 261 and one for each. Run the "
            "experiment once more, and it spells a text with them.",
            only_with="model",
        ),
        Experiment(
            "quickstart --minutes 1 --corpus stories --no-chat --run {new}",
            "You have no model yet, and this makes one: it writes stories, learns a tokenizer, and trains for the rest "
            "of a minute. The loss falls from the logarithm of the number of ids, where every token is equally likely.",
        ),
    ),
    question='How many tokens is "café" for a tokenizer of characters that has never met an é?',
    answer=(
        "Five: c, a and f are one each, and é is spelled in its two UTF-8 bytes, C3 and A9. Decoding puts the bytes "
        "together again."
    ),
)

BPE = Chapter(
    number=2,
    title="Byte-pair encoding",
    text="""
Frequent strings deserve a number of their own. Byte-pair encoding (arXiv:1508.07909) finds them:
begin with single characters, count all pairs of neighbours, make the most frequent pair a new
piece, and go on until the vocabulary is as large as was asked for. "t" and "h" become "th", later
"th" and "e" become "the". What is frequent ends as one token, what is rare stays in parts.

To spell a text, the same merges are done in the same order: of all neighbours that together are a
piece, the pair that was learned first is merged, the leftmost of equals before the others, until
no pair is left. What no piece covers is spelled in bytes, as in chapter 1.

How large the vocabulary should be is a bargain. More pieces make texts shorter, so that the same
context holds more and every step of the model covers more text. But each id has a row in the
embedding and one in the output head, V x D weights each, and a rare piece is met too seldom to be
learned well. Small models do well with a thousand pieces or a few; Llama 3 has 128,000
(arXiv:2407.21783). There a token is about four bytes of English.

Pieces never reach from one word into the next, but may hold the space before a word: " dog" in
the middle of a sentence and "dog" at its start are two tokens that have nothing in common but
what training teaches. Digits stay single here, so that all numbers are spelled alike; where they
are merged, 127 may be one token and 128 two. Much of what is odd in a model's spelling and
arithmetic comes from here: it has never seen the letters.
""",
    formula="next piece = the pair (a, b) with the largest count(a b)\nV = 261 + number of pieces",
    references=(
        Reference("mlxllm/tokenizer/pretokens.py", "count_pretokens"),
        Reference("mlxllm/tokenizer/bpe_training.py", "train_bpe"),
        Reference("mlxllm/tokenizer/bpe.py", "BpeTokenizer.encode"),
        Reference("mlxllm/tokenizer/merging.py", "merges_of"),
    ),
    experiments=(
        Experiment(
            'tokenizer show {bpe} "The little cat. Unbelievable!" --merges',
            "Line by line the next merge is done, the one that was learned first before the others. Words of the training "
            'text end whole, "Unbelievable" in parts; "bytes a token" says how much shorter the text became.',
        ),
        Experiment(
            "tokenizer train {pieces} --kind bpe --vocab-size 512 --input stories:500",
            "It learns 251 pieces from 500 stories. Run the experiment once more, and it cuts a text into them.",
        ),
    ),
    question=(
        "Two models have the same loss, 1.5 nats a token: one reads characters, one pieces of four bytes. Which one "
        "predicts better?"
    ),
    answer=(
        "The second one. 1.5 nats are 1.5 / ln 2 = 2.16 bits. Of a character (one byte of English) these are 2.16 bits per "
        "byte, of a piece of four bytes 0.54. Losses of different tokenizers can only be compared per byte: chapter 10."
    ),
)
