"""Every technical word that stands on a screen, in one plain sentence, with its scale where it is a number."""

from collections.abc import Iterable

WORDS = {
    "A/B": "Two answers side by side, names hidden; which one you choose becomes a preference pair.",
    "adapter": "A few thin matrices that are trained beside a frozen model (LoRA); 1 to 5 % of its weights, so less memory is needed.",
    "attempt": "One life of the trainer of a run; a run that was stopped and resumed has several.",
    "base model": "A model that has only read text: it continues what you write and does not know that it could answer.",
    "baseline": "The run that others are compared with.",
    "batch": "The rows of text that one step reads side by side; larger is steadier and needs more memory.",
    "beta": "How tightly DPO holds the model to the one before: 0.01 lets it move far, 0.1 is usual, 0.5 keeps it close.",
    "bits per byte": "How surprised the model is by a byte of text that it has never seen, whatever its tokenizer; 1.8 is a small model, below 1 a good one, guessing is 8.",
    "BPE": "A tokenizer of word pieces that were learned from text: common words are one token, rare ones several.",
    "checkpoint": "Everything needed to go on from a step: weights, optimizer and position in the data, as files.",
    "chosen": "The answer of a preference pair that you liked better.",
    "coin": "How often a toss of coins would give so clear a result by chance; below 5 % is taken for a real difference.",
    "context": "How many tokens the model can look back on; what is further away it cannot see.",
    "data label": "What a dataset is made of: sources, what was kept, what was dropped and why.",
    "dataset": "Text that has been split, turned into tokens and written as files that training reads.",
    "decay": "The end of training, in which the learning rate falls and the loss with it.",
    "DPO": "Direct preference optimisation: teaches a model from pairs of a better and a worse answer, without a reward model.",
    "EMA": "The line through the noise: an average in which newer steps count more.",
    "epoch": "One time through all of the data; after a few, a model begins to learn it by heart.",
    "ETA": "When it will be done, if the speed stays as it is.",
    "fingerprint": "A hash of all weights: equal fingerprints are equal models.",
    "gradient norm": "How hard a step pulls at the weights; 0.1 to 2 is usual, sudden tens mean trouble.",
    "heartbeat": "The trainer says once a second that it lives; without it for two minutes it counts as gone.",
    "KV cache": "What the model has computed of the text so far and keeps, so that each new token costs one position and not all.",
    "learning rate": "How far each step moves the weights: 1e-2 to 1e-3 for small models, 1e-5 for fine-tuning; too high and the loss jumps.",
    "logprob": "The logarithm of the probability that the model gave to a token; 0 is certain, -2.3 is one in ten.",
    "LoRA": "Fine-tuning through thin extra matrices while the model itself stays frozen; the rank says how thin.",
    "loss": "How surprised the model is by the next token, in nats; it begins near the logarithm of the vocabulary (guessing) and falls.",
    "loss mask": "Which tokens count: the answers are learned, the questions around them are only read.",
    "margin": "How much likelier DPO has made the chosen answer than the rejected one, against the model before; 0 at the start, 1 to 5 at the end.",
    "max tokens": "The longest answer that is allowed.",
    "memory": "What training holds at its peak; above 70 % of the machine's, a Mac begins to swap and slows down.",
    "min-p": "Only tokens at least so likely, as a share of the likeliest, may be drawn; 0 is off, 0.05 is mild.",
    "mixture": "The sources of a dataset and how much of each: weight 2 reads a source twice, 0.5 takes half of it.",
    "model": "The network and its weights: numbers that training moves until the text is well predicted.",
    "nats": "The unit of loss: one nat is 1.44 bits.",
    "non-finite": "A loss that is not a number any more; the step is left out, and several in a row end the run.",
    "overlay": "Curves of several runs in one chart.",
    "packing": "Laying texts of many lengths side by side in rows of one length, so that little is padding.",
    "parameters": "The weights of the model, counted: 0.5M learns a small world in minutes, 124M needs days.",
    "perplexity": "Between how many tokens the model hesitates on average: 1 is certain, the size of the vocabulary is guessing.",
    "preference pair": "A prompt with two answers, one of them better; DPO learns from some hundreds of these.",
    "preset": "A recipe by name: a model's shape and how to train it, from which you can depart.",
    "pretrain": "Learning to continue text, from nothing but text.",
    "rejected": "The answer of a preference pair that you liked less.",
    "reward": "How much likelier an answer has become than under the model before, times beta; it is read off, there is no reward model.",
    "run": "One training with all that it left: settings, events, checkpoints, in one folder.",
    "sample": "What the model writes when it is asked during training.",
    "seed": "The number that decides all chance: the same seed gives the same result.",
    "SFT": "Supervised fine-tuning: learning to answer, by conversations to imitate.",
    "shard": "One file of tokens of a dataset.",
    "spike": "A loss far above what it was; most runs recover, repeated ones ask for a lower learning rate.",
    "stall": "Nothing has been heard of the trainer for far longer than a step takes.",
    "step": "One update of the weights, from one batch.",
    "system prompt": "What the model is told before the conversation begins.",
    "temperature": "How daring the draw of the next token is: 0 always takes the likeliest, 0.7 is lively, above 1.5 is nonsense.",
    "time to first token": "How long the model reads your text before it begins to answer.",
    "tok/s": "Tokens a second, trained or written; you read about 5 to 10 a second.",
    "token": "What the model reads and writes: a character, a piece of a word or a word; about 4 letters of English.",
    "tokenizer": "What turns text into tokens and back: by character, by byte, or BPE.",
    "top-k": "Only the k likeliest tokens may be drawn; 0 is off, 40 is usual.",
    "top-p": "Only the fewest tokens that hold this much probability may be drawn; 1 is off, 0.9 is usual.",
    "validation": "Text that is held out and never trained on: its loss says how well the model does on what is new.",
    "warm-up": "The first steps, in which the learning rate rises from nothing so that training begins gently.",
}


def explain(words: Iterable[str]) -> list[tuple[str, str]]:
    """The words with their sentences, by alphabet.

    Raises:
        KeyError: a word has none; a test looks at the words of every screen.
    """
    return [(word, WORDS[word]) for word in sorted(set(words), key=str.lower)]
