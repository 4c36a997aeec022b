"""Chapters 7 and 8: reading until it can write, and teaching it manners with few weights."""

from mlxllm.learn.chapter import Chapter, Experiment, Reference

PRETRAINING = Chapter(
    number=7,
    title="Pre-training",
    text="""
The whole task is: say the next token. The loss of a place is minus the logarithm of the
probability that the model gave to the token that really came. A model that knows nothing gives
each of V ids 1/V, so every run begins near ln V. Backpropagation says how the loss changes with
each weight, the optimizer moves all of them a little, and that is a step. Nobody labels anything:
text is enough.

To say the next token well one has to know spelling, then grammar, then who is who in the story.
That is learned in this order, and the curve shows it: it falls steeply, then ever more slowly.
Loss falls as a power of compute (arXiv:2001.08361): each further step down costs several times
the one before.

What it costs can be counted. Each weight is multiplied and added once in the forward pass and
twice in the backward pass: 6 operations a weight and token, C = 6 N D in all, and attention's
products on top. For a given C a model of N weights should read about 20 N tokens
(arXiv:2203.15556).

Large models read trillions: Llama 3.1 405B 15.6 trillion tokens, which took 3.8 x 10^25
operations (arXiv:2407.21783). What comes after is small beside that: of DeepSeek-V3's 2,788
thousand GPU hours 2,664 went into pre-training, 119 into longer texts, and 5 into all that made
it an assistant (arXiv:2412.19437). Fine-tuning shows what is there already; what the model knows,
it knows from here.

The table shows your own run by the same count. The gap is in tokens and weights, not in the code.
""",
    formula="L = −(1/T) Σ log p(token t+1 | tokens 1 … t)\nC ≈ 6 N D\ncompute-optimal: D ≈ 20 N",
    references=(
        Reference("mlxllm/training/objectives.py", "next_token_loss"),
        Reference("mlxllm/training/step.py", "TrainStep.__call__"),
        Reference("mlxllm/training/optimizers.py", "apply_updates"),
        Reference("mlxllm/estimate/work.py", "flops_by_part"),
        Reference("mlxllm/estimate/spent.py", "spent_by"),
    ),
    experiments=(
        Experiment(
            "runs show {model} --compute",
            "Every stage that made your newest model, in tokens, operations and minutes; below it models whose numbers are "
            "published, and how long this machine would take for each at the same speed.",
        ),
    ),
    question="You have ten times the compute. How much larger should the model be, and how much more should it read?",
    answer=(
        "Both about 3.2 times, the root of ten: C = 6 N D, and at the optimum D stays about 20 N. A model that will be used "
        "a lot is better made smaller and fed longer, since every token it writes costs 2 N: Llama 3 8B has read 15 "
        "trillion tokens (arXiv:2407.21783), 1,875 a weight."
    ),
)

FINE_TUNING = Chapter(
    number=8,
    title="Fine-tuning and LoRA",
    text="""
A base model continues text; ask it something, and it may go on with more questions. Supervised
fine-tuning (SFT) is the same loss on other text: conversations, written with tokens that say who
speaks. Only what the assistant says is learned: the places of the user's words are masked out of
the loss, since the model is not to learn to ask. A thousand good examples can be enough
(arXiv:2305.11206), because little has to be learned but the manner.

Training all weights takes far more memory than using them. In float32 with AdamW each weight has
4 bytes itself, 4 of gradient and 8 of moments: 16, where using it in 16 bits takes 2. A model
that a machine can run with ease may be eight times too large to be trained on it.

LoRA (arXiv:2106.09685) leaves the matrix W alone and trains a correction beside it, the product
of two thin matrices: A from `in` to r, B from r to `out`. B begins at zero, so the first step is
the base model's. In a matrix that is 2,048 wide r = 8 is under a percent of the weights, in one
of 64 a quarter. Only these need gradients and moments; the frozen rest may even be packed into 4
bits (QLoRA, arXiv:2305.14314).

What stays is what has nothing to do with the number of weights: the activations, kept for the
backward pass. On a small model with long rows they are nearly all of the memory, and LoRA saves
little; on a large one it decides whether it can be done at all. Afterwards the correction is
added to W, and costs nothing in use; or it is kept as a small file, one for each task.
""",
    formula="y = W x + s·(x A) B\nA: in x r,  B: r x out,  B = 0 at first\nmerged: W + s (A B)ᵀ",
    references=(
        Reference("mlxllm/model/lora.py", "LoraLinear.__call__"),
        Reference("mlxllm/model/lora.py", "LoraLinear.merged"),
        Reference("mlxllm/conversation/masks.py", "encode_record"),
        Reference("mlxllm/estimate/memory.py", "memory"),
        Reference("mlxllm/planning/overview.py", "tunings"),
    ),
    experiments=(
        Experiment(
            "plan --preset sft-lora --model {model}",
            "The last table is about your model on this machine: how many weights each way of tuning it trains, what their "
            "gradients and moments take, and the memory at its peak, activations and all.",
        ),
    ),
    question="W is 2,048 x 2,048. How many weights does LoRA of rank 8 train beside it?",
    answer=(
        "8 x (2,048 + 2,048) = 32,768, of 4,194,304: 0.78 %. In float32 with AdamW that is 0.5 MiB of weights, gradients and "
        "moments instead of 64 MiB, beside the 16 MiB of the frozen W itself."
    ),
)
