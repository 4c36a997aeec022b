"""What each idea bought: the same budget, data and seeds for variants of one configuration, and their paired differences."""

from mlxllm.ablation.record import Ablation, all_names, read_ablation
from mlxllm.ablation.results import Results, VariantResult, results
from mlxllm.ablation.shipped import SHIPPED, Shipped, shipped_called
from mlxllm.ablation.variants import BASE, Variant, variants_of
from mlxllm.ablation.words import WORDS

__all__ = [
    "BASE",
    "SHIPPED",
    "WORDS",
    "Ablation",
    "Results",
    "Shipped",
    "Variant",
    "VariantResult",
    "all_names",
    "read_ablation",
    "results",
    "shipped_called",
    "variants_of",
]
