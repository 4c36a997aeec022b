"""Floating-point operations, by part: a multiplication and an addition count as two."""

from dataclasses import asdict, dataclass

from mlxllm.config import ModelConfig, RunConfig
from mlxllm.estimate.counts import count_trained, matrices, parameters_by_part

_MUON_ITERATIONS = 5


@dataclass(frozen=True)
class Flops:
    """Operations a token, of one part or of all."""

    forward: int
    backward: int

    @property
    def both(self) -> int:
        """Of a training step."""
        return self.forward + self.backward

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return asdict(self)


def flops_by_part(config: RunConfig) -> dict[str, Flops]:
    """Operations a token of a row of `data.max_seq_len`, forward and backward (PaLM, arXiv:2204.02311, appendix B).

    A weight is multiplied once forward; backward once for the gradient of its input, and once for its own if it is
    trained. `attention_scores` is the part that grows with the square of the context: two products a head, over the half
    of T^2 that a causal mask leaves. A table of embeddings is looked up, which is no operation; a tied head multiplies.
    """
    model = config.model
    weights = parameters_by_part(model, active=True)
    table = model.vocab_size * model.hidden_size
    parts = {"attention": weights["attention"], "feed_forward": weights["feed_forward"], "norms": weights["norms"]}
    parts |= {"head": table}
    own = 2 if config.lora is None else 1
    found = {name: Flops(2 * count, 2 * own * count) for name, count in parts.items()}
    if config.lora is not None:
        trained = count_trained(config)
        found["adapters"] = Flops(2 * trained, 4 * trained)
    scores = 2 * model.num_hidden_layers * model.num_attention_heads * model.resolved_head_dim * config.data.max_seq_len
    return {**found, "attention_scores": Flops(scores, 2 * scores)}


def flops_per_token(config: RunConfig) -> int:
    """Operations of forward and backward pass, a token."""
    return sum(part.both for part in flops_by_part(config).values())


def muon_flops(model: ModelConfig) -> int:
    """Floating-point operations of one orthogonalisation of every matrix of the blocks: what an update by Muon adds.

    Each of the five iterations multiplies an m x n matrix (m <= n) with its transpose, the m x m product with itself,
    and that with the matrix: 4 m^2 n + 2 m^3.
    """
    total = 0
    for count, out, width in matrices(model).values():
        m, n = sorted((out, width))
        total += count * _MUON_ITERATIONS * (4 * m * m * n + 2 * m**3)
    return total * model.num_hidden_layers
