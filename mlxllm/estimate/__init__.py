"""What a configuration will cost: parameters, operations, memory, tokens; arithmetic alone, so that anyone can ask."""

from mlxllm.estimate.costs import Costs, estimate
from mlxllm.estimate.counts import block_parameters, count_parameters, count_trained, parameters_by_part
from mlxllm.estimate.memory import Memory, Place, here, kv_cache_bytes, lanes_of, memory
from mlxllm.estimate.work import Flops, flops_by_part, flops_per_token, muon_flops

__all__ = [
    "Costs",
    "Flops",
    "Memory",
    "Place",
    "block_parameters",
    "count_parameters",
    "count_trained",
    "estimate",
    "flops_by_part",
    "flops_per_token",
    "here",
    "kv_cache_bytes",
    "lanes_of",
    "memory",
    "muon_flops",
    "parameters_by_part",
]
