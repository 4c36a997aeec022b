"""Chapters 5 and 6: the two sublayers of a block, and what holds them together."""

from mlxllm.learn.chapter import Chapter, Experiment, Reference

ATTENTION = Chapter(
    number=5,
    title="Attention",
    text="""
Up to here every token knows of itself only. Attention is the one place where tokens exchange
anything. From its vector each makes three shorter ones: a query (what do I look for), a key (what
can I be found by) and a value (what do I pass on). The query of a token is multiplied with the
keys of all tokens before it and its own; a softmax makes weights of the products, which sum to
one; and what comes out is the sum of the values with these weights.

The mask is what makes it a language model: a token may not look ahead, or it would only copy the
answer. Scores of later tokens become minus infinity, so their weight is exactly zero. That is why
one pass over a text of T tokens gives T predictions to learn from, and none of them cheats.

Several heads do this side by side, each with its own queries, keys and values, so that one may
look at the word before while another looks for the last name. In grouped-query attention
(arXiv:2305.13245) several query heads share a key and a value, which makes the cache smaller:
while text is generated, keys and values of all earlier tokens are kept, and only the new token is
computed.

The weights can be looked at, and heads that do something plain exist: the token before, the first
token (where a head with nothing to do puts its weight), the same word earlier. Be careful all the
same: a large weight says where a head looks, not what the model makes of it. To know whether a
head matters one has to switch it off, which the next chapter does with a whole sublayer.
""",
    formula="softmax(Q Kᵀ / √d + mask) V\nmask = 0 where the key is not later than the query, else −∞",
    references=(
        Reference("mlxllm/model/attention.py", "attention_weights"),
        Reference("mlxllm/model/attention.py", "causal_mask"),
        Reference("mlxllm/model/attention.py", "Attention.__call__"),
        Reference("mlxllm/model/kv_cache.py", "KVCache.update"),
    ),
    experiments=(
        Experiment(
            'explain --model {model} "Tom gave the hat to Ben. Ben thanked" --layer 0 --head 0',
            "A row is the token that looks, a column what it looks at; darker is more, and each row sums to one. "
            "Nothing stands above the diagonal: that is the mask. Try other layers and heads.",
        ),
    ),
    question="Why are the products divided by the root of d, the width of a head?",
    answer=(
        "Where the numbers of query and key have variance 1, their product, a sum of d terms, has variance d: at d = 64 "
        "values of 8 or 16 are usual. A softmax over these gives nearly all weight to one token and passes hardly any "
        "gradient. Divided by 8 they have variance 1 again."
    ),
)

BLOCKS = Chapter(
    number=6,
    title="Feed-forward, residuals, norms",
    text="""
After attention has gathered, each token is worked on by itself, by a feed-forward network: to a
wider layer, through a bend, and back. It is the same network at every place, and it has most of a
block's weights. Today's form is gated (SwiGLU, arXiv:2002.05202): one product decides how much of
another is let through. Much of what a model knows by heart seems to sit here (arXiv:2012.14913).

Neither sublayer replaces its input: it adds to it. This sum, the residual stream, runs from the
embedding to the head, D numbers wide, and every sublayer reads it and writes into it. So a layer
that has nothing to say writes little and does no harm, and the gradient reaches the first layer
by the additions alone, however many layers there are. Without residuals deep stacks hardly train.

What is added to again and again grows. A norm brings the vector to a fixed size before it is
read: RMSNorm (arXiv:1910.07467) divides by the root of the mean square and multiplies by a
learned weight for each of the D numbers. In 2017 the norm stood behind the sum, in the stream
itself; today it stands before each sublayer ("pre-norm", arXiv:2002.04745), and the stream is
never touched. That made training steady enough to do without a long warm-up.

Since all write to one stream, one can read it anywhere: put the last norm and the head behind
layer 2, and see what the model would say if it ended there (the logit lens). And one can leave a
sublayer out, as the experiment does: what changes is what it was good for.
""",
    formula=(
        "x ← x + Attention(norm(x))\n"
        "x ← x + W₃ (silu(W₁ n) ⊙ W₂ n),  n = norm(x)\n"
        "norm(x) = x / √(mean(x²) + ε) ⊙ weight"
    ),
    references=(
        Reference("mlxllm/model/transformer.py", "Block.__call__"),
        Reference("mlxllm/model/feed_forward.py", "FeedForward.__call__"),
        Reference("mlxllm/model/norms.py", "RMSNorm"),
        Reference("mlxllm/model/transformer.py", "init_weights"),
    ),
    experiments=(
        Experiment(
            'explain --model {model} "Once upon a time there was a little" --off mlp:0',
            "The table of the next piece has what was likely with the first feed-forward network, and what is without it. "
            '"If it stopped here" is the logit lens: it shows from which layer on the model knows what it will say.',
        ),
    ),
    question="A block's output matrices may begin at zero. How can such a model learn anything?",
    answer=(
        "At first every block adds nothing, and the model is embedding and head alone. But the gradient of an output matrix "
        "depends on what comes into it, which is not zero, so it moves in the first step, and the matrices before it in the "
        "second. Training then starts from a model that is simple, and not from one whose layers shout."
    ),
)
