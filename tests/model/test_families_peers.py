"""Random small models that transformers made and saved: the same logits here, in one pass and through the cache."""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlxllm.model.hf_config import architecture_of, config_to_hf
from mlxllm.model.hf_folder import read_hf_config
from mlxllm.model.hf_weights import weights_to_hf
from mlxllm.model.kv_cache import make_cache
from mlxllm.model.loading import load_hf_folder

pytestmark = pytest.mark.peers

LENGTH = 40
TOLERANCE = 1e-4

LLAMA: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "intermediate_size": 80,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,  # large weights: errors of position or mask must show
    "bos_token_id": 0,
    "eos_token_id": 0,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 5000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
GPT2 = {"vocab_size": 96, "n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 64, "initializer_range": 0.2}
GPT2 |= {"bos_token_id": 0, "eos_token_id": 0}
MOE = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 24}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", LLAMA),
    "llama-tied": ("Llama", {**LLAMA, "tie_word_embeddings": True}),
    "llama-multi-head-biases": (
        "Llama",
        {**LLAMA, "num_key_value_heads": 6, "attention_bias": True, "mlp_bias": True},
    ),
    "llama-multi-query-head-dim": ("Llama", {**LLAMA, "num_key_value_heads": 1, "head_dim": 16}),
    "llama3-scaling": ("Llama", {**LLAMA, "rope_parameters": LLAMA3_ROPE}),
    "llama-linear-scaling": (
        "Llama",
        {**LLAMA, "rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.5}},
    ),
    "smollm3": ("SmolLM3", {**LLAMA, "num_hidden_layers": 4, "pad_token_id": 0}),
    "smollm3-listed-untied": (
        "SmolLM3",
        {**LLAMA, "no_rope_layers": [0, 1, 0], "tie_word_embeddings": False, "pad_token_id": 0},
    ),
    "mistral-window": ("Mistral", {**LLAMA, "sliding_window": 9}),
    "mistral-no-window": ("Mistral", {**LLAMA, "sliding_window": None}),
    "qwen2": ("Qwen2", LLAMA),
    "qwen2-window-tied": (
        "Qwen2",
        {
            **LLAMA,
            "tie_word_embeddings": True,
            "use_sliding_window": True,
            "sliding_window": 7,
            "max_window_layers": 0,
        },
    ),
    "qwen3": ("Qwen3", {**LLAMA, "head_dim": 12}),
    "qwen3-tied-bias": (
        "Qwen3",
        {**LLAMA, "head_dim": 12, "tie_word_embeddings": True, "attention_bias": True},
    ),
    "qwen3-moe": ("Qwen3Moe", {**LLAMA, **MOE, "norm_topk_prob": True}),
    "qwen3-moe-unnormalised": ("Qwen3Moe", {**LLAMA, **MOE, "norm_topk_prob": False, "num_experts_per_tok": 3}),
    "mixtral": ("Mixtral", {**LLAMA, "num_local_experts": 4}),
    "mixtral-window": ("Mixtral", {**LLAMA, "num_local_experts": 4, "sliding_window": 9}),
    "gpt2": ("GPT2", GPT2),
    "gpt2-untied-inner": ("GPT2", {**GPT2, "tie_word_embeddings": False, "n_inner": 100}),
}


@pytest.fixture(params=CASES, name="case")
def saved_model(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Path]:
    """(torch model in evaluation mode, folder that it was saved to)."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    kind, values = CASES[request.param]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**values)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():  # biases and norms start at 0 and 1, where a swapped one would not show
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    return model, tmp_path


def token_ids(rows: int = 2) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 96, size=(rows, LENGTH))


def their_logits(model: Any, ids: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        return np.asarray(model(torch.tensor(ids)).logits.numpy())


def assert_close(found: mx.array, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert expected.std() > 0.1  # so that the tolerance says something
    assert np.abs(np.array(found) - expected).max() < TOLERANCE


def test_logits_equal_in_one_pass(case: tuple[Any, Path]) -> None:
    theirs, folder = case
    ours, _, _ = load_hf_folder(folder)
    ids = token_ids()
    assert_close(ours(mx.array(ids)), their_logits(theirs, ids))


def test_logits_equal_token_by_token(case: tuple[Any, Path]) -> None:
    theirs, folder = case
    ours, config, _ = load_hf_folder(folder)
    ids = token_ids()
    cache = make_cache(config)
    steps = [ours(mx.array(ids[:, t : t + 1]), cache) for t in range(LENGTH)]
    assert_close(mx.concatenate(steps, axis=1), their_logits(theirs, ids))


def test_greedy_tokens_equal_through_the_cache(case: tuple[Any, Path]) -> None:
    """32 tokens, each chosen by the logits of all before it on their side, and of the last one on ours."""
    import torch

    theirs, folder = case
    ours, config, _ = load_hf_folder(folder)
    wanted = token_ids(1)[:, :8]
    for _ in range(32):
        with torch.no_grad():
            last = theirs(torch.tensor(wanted)).logits[:, -1]
        wanted = np.concatenate([wanted, last.argmax(-1, keepdim=True).numpy()], axis=1)
    cache = make_cache(config)
    logits = ours(mx.array(wanted[:, :8]), cache)
    found = []
    for _ in range(32):
        found.append(int(mx.argmax(logits[0, -1])))
        logits = ours(mx.array([[found[-1]]]), cache)
    assert found == wanted[0, 8:].tolist()


def test_a_config_as_transformers_4_writes_it(case: tuple[Any, Path]) -> None:
    """`rope_theta` beside `rope_scaling`, `torch_dtype`, no `layer_types`, Qwen's own word for experts: the same model."""
    _, folder = case
    raw = json.loads((folder / "config.json").read_text())
    config = read_hf_config(folder)
    assert "torch_dtype" not in raw
    old = {key: value for key, value in raw.items() if key not in ("rope_parameters", "dtype", "layer_types")}
    old["torch_dtype"] = raw["dtype"]
    if rope := raw.get("rope_parameters"):
        assert "rope_theta" not in raw
        old["rope_theta"] = rope["rope_theta"]
        kind = rope["rope_type"]
        named = "rope_type" if kind == "llama3" else "type"  # linear scaling is older than the newer name
        rest = {key: value for key, value in rope.items() if key not in ("rope_theta", "rope_type")}
        old["rope_scaling"] = None if kind == "default" else {named: kind, **rest}
    if raw["model_type"] == "qwen3_moe":
        old["num_experts"] = old.pop("num_local_experts", None) or old["num_experts"]
    (folder / "config.json").write_text(json.dumps(old))
    assert read_hf_config(folder) == config
    (folder / "config.json").write_text(json.dumps({**old, "rope_parameters": rope} if rope else old))
    assert read_hf_config(folder) == config, "both ways at once, as exports for several readers have them"


def test_config_and_weights_written_by_us_are_theirs(case: tuple[Any, Path], tmp_path: Path) -> None:
    """config_to_hf and weights_to_hf make a folder that transformers opens, with equal logits."""
    import transformers

    theirs, folder = case
    ours, config, _ = load_hf_folder(folder)
    assert architecture_of(config) is not None
    exported = tmp_path / "exported"
    exported.mkdir()
    (exported / "config.json").write_text(json.dumps(config_to_hf(config)))
    weights = weights_to_hf(config, dict(tree_flatten(ours.parameters())))
    mx.save_safetensors(str(exported / "model.safetensors"), weights, {"format": "pt"})
    reopened, report = transformers.AutoModelForCausalLM.from_pretrained(
        exported, attn_implementation="eager", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    ids = token_ids()
    assert np.abs(their_logits(reopened.eval(), ids) - their_logits(theirs, ids)).max() < 1e-5


def test_sharded_folder_loads(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_config(transformers.LlamaConfig(**LLAMA)).float().eval()
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    ours, _, files = load_hf_folder(tmp_path)
    assert len(files) > 1
    ids = token_ids()
    assert_close(ours(mx.array(ids)), their_logits(model, ids))
