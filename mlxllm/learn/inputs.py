"""Chapters 3 and 4: what a token is to the model, and where it stands."""

from mlxllm.learn.chapter import Chapter, Experiment, Reference

EMBEDDINGS = Chapter(
    number=3,
    title="Embeddings",
    text="""
An id is a name, not a quantity: 300 is not nearer to 301 than to 700. So the first layer is a
table with a row of D numbers for each id, and a token enters the model as its row. Nothing in the
table is set by hand. It begins as noise, and is trained like every other weight: when a token
occurs, the gradient moves its row to where the rest of the model can make more of it.

Tokens that are followed by the same things are moved in the same directions. That is all there is
to "meaning" here, and it is enough that words which can replace each other end up close, by the
cosine of the angle between their rows. After a minute of training one sees it in names, animals
and verbs of the training text; before training, neighbours are chance.

At the other end the output head does the reverse: it compares the last vector of a position with
one row for each id, by a scalar product, and the results, the logits, become probabilities by a
softmax. Both tables are about the same tokens. Many models use one for both ("tied",
arXiv:1608.05859), which for a small model is a large part of all its weights.

The table is looked up, not multiplied. A product with a vector that is 1 at the id and 0
elsewhere would give the same row for V x D multiplications. For the same reason the embedding is
left out when the operations of a model are counted, while a head counts in full.
""",
    formula="x = E[id]\ncos(a, b) = a·b / (|a| |b|)\nlogits = h Eᵀ (tied)\np = softmax(logits)",
    references=(
        Reference("mlxllm/model/transformer.py", "Decoder.__call__"),
        Reference("mlxllm/model/transformer.py", "Transformer.logits"),
    ),
    experiments=(
        Experiment(
            'explain --model {model} "The cat was happy" --neighbours 6',
            "In the first table, behind each token stand the tokens whose rows are nearest to its own. Frequent words have "
            "neighbours that make sense first. The rows of ids that never occurred lie together at a cosine near 1 where "
            "table and head are one: as answers that are never right, all of them were pushed the same way. What the other "
            "tables mean, the next chapters tell.",
        ),
    ),
    question="A model has 8,192 ids and is 256 wide. How many weights has the table, and what does tying it save?",
    answer=(
        "8,192 x 256 = 2,097,152. An untied output head is a second matrix of that size; tied, both uses share one, and "
        "the 2.1 million weights, with their gradients and moments, are saved."
    ),
)

POSITIONS = Chapter(
    number=4,
    title="Positions",
    text="""
Attention, the next chapter, is a weighted sum over the tokens before. A sum has no order: from
"the dog bit the man" and "the man bit the dog" it would get the same. Where a token stands has to
be put into the numbers themselves. Three ways are common, and this project has all of them:

- a fixed table of sines and cosines that is added to the embeddings (arXiv:1706.03762);
- a table that is learned, one row a place, as GPT-2 has it; past its last row it knows nothing;
- a rotation of queries and keys (RoPE, arXiv:2104.09864), which nearly all models have today.

RoPE takes the numbers of a query or key in pairs, and turns each pair like the hand of a clock by
an angle that grows with the place: fast for the first pairs, slowly for the last. Turning does
not change a length. And when a query at place s meets a key at place t, only the difference of
their angles is left in their product, so what counts is how far apart they are, not where.

The fast pairs tell neighbours apart, the slow ones tell near from far. That is also why a model
can be stretched to longer texts than it was trained on by slowing the clock down (rope scaling):
places that it has never seen are brought among those it knows.

The experiment takes the positions away and shuffles the words before the last one. What it shows
is how much of the prediction was owed to their order.
""",
    formula=("(a, b) → (a cos φ − b sin φ, a sin φ + b cos φ),  φ = t / θ^(2i/d)\n⟨R(s) q, R(t) k⟩ = ⟨q, R(t − s) k⟩"),
    references=(
        Reference("mlxllm/model/positions.py", "rotate_plain"),
        Reference("mlxllm/model/positions.py", "rope_wavelengths"),
        Reference("mlxllm/model/positions.py", "sinusoidal_table"),
    ),
    experiments=(
        Experiment(
            'explain --model {model} "The little cat gave the old man a" --no-positions --shuffle 1',
            "The table of the next piece has the prediction before and after. The last one says what order is worth: how far "
            "a probability moves when the words are shuffled, with and without positions, with the mask and without. Where "
            "both are off, nothing is left but rounding.",
        ),
    ),
    question="Without any positions, does the order of earlier words still change what a model of several layers predicts?",
    answer=(
        "Yes, a little. In one layer the last token gets the same sum whatever the order before it. But the mask lets the "
        "third token see three and the ninth nine, so what the first layer writes there depends on the place, and the "
        "second layer reads it. Models trained without positions learn them that way (arXiv:2203.16634)."
    ),
)
