"""Adapters that leave: the layouts of PEFT and mlx-lm, read again by us and by them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlxllm.config import LoraConfig, RunConfig
from mlxllm.errors import ConfigError, ModelError, UserError
from mlxllm.export.adapters import write_mlx_adapter, write_peft_adapter
from mlxllm.model.adapter_files import ADAPTER_CONFIG_FILE
from mlxllm.model.adapters import adapters
from mlxllm.model.loading import LoadedModel, load_model
from mlxllm.tokenizer.byte import ByteTokenizer
from tests.export.tiny import save_folder
from tests.model.test_hf_folder import VOCAB, adapted
from tests.model.tiny import VARIANTS, max_difference, tiny_model, token_ids

LORAS = {
    "lora": LoraConfig(rank=4),
    "rslora-last-block": LoraConfig(rank=4, alpha=3, rslora=True, layers=1),
    "dora": LoraConfig(method="dora", rank=3, targets=("q_proj", "down_proj")),
}
WRITERS = {"peft": write_peft_adapter, "mlx-lm": write_mlx_adapter}


def tuned(folder: Path, variant: str = "llama", lora: LoraConfig | None = None, **more: Any) -> LoadedModel:
    """A model in `folder`, and what a run that trained adapters on it would be loaded as."""
    changes = {"intermediate_size": 48, **VARIANTS[variant]}
    save_folder(tiny_model(vocab_size=VOCAB, **changes), ByteTokenizer(), ("base",), folder)
    base = load_model(str(folder))
    config = None
    if lora is not None:
        adapted(base.model, lora)
        raw = {"method": "sft", "model": base.config, "lora": lora, "base_model": str(folder)}
        raw |= {"data": {"max_seq_len": 64}}
        config = RunConfig.model_validate(raw | {"base_fingerprint": base.fingerprint, **more})
    return replace(base, history=("base", "sft"), run_config=config)


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("case", LORAS)
def test_what_is_written_comes_back(layout: str, case: str, tmp_path: Path) -> None:
    run, ids = tuned(tmp_path / "base", lora=LORAS[case]), token_ids(2, 9)
    told = WRITERS[layout](run, tmp_path / "deep" / "adapter")
    again = load_model(str(tmp_path / "base"), adapter=str(tmp_path / "deep" / "adapter"))
    assert max_difference(again.model(ids), run.model(ids)) < 1e-5
    assert max_difference(again.model(ids), load_model(str(tmp_path / "base")).model(ids)) > 0.1
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["adapter"], "nothing half-made stays"
    assert (told.layout, told.matrices, told.base) == (layout, len(adapters(run.model)), str(tmp_path / "base"))
    assert told.notes == (
        f"its base is the folder {tmp_path / 'base'}, which the files call base: give it along, or say where it is had",
    )
    # Stacked, it leaves again, in the other layout as well.
    for name, write in WRITERS.items():
        write(again, tmp_path / name)
        back = load_model(str(tmp_path / "base"), adapter=str(tmp_path / name))
        assert max_difference(back.model(ids), run.model(ids)) < 1e-5


def test_the_words_of_peft(tmp_path: Path) -> None:
    run = tuned(tmp_path / "base", lora=LORAS["rslora-last-block"])
    write_peft_adapter(run, tmp_path / "adapter")
    said = json.loads((tmp_path / "adapter" / ADAPTER_CONFIG_FILE).read_text())
    expected = {"peft_type": "LORA", "r": 4, "lora_alpha": 3, "use_rslora": True, "layers_to_transform": [1]}
    assert said.items() >= expected.items()
    assert said["target_modules"] == ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]


@pytest.mark.parametrize(
    ("base", "named"),
    [
        ("/home/anna/models/small", {"base_model_name_or_path": "small"}),
        ("owner/name@0123abc", {"base_model_name_or_path": "owner/name", "revision": "0123abc"}),
        ("first@200", {"base_model_name_or_path": "first@200"}),
    ],
)
def test_how_files_call_the_base(base: str, named: dict[str, str], tmp_path: Path) -> None:
    run = tuned(tmp_path / "base", lora=LORAS["lora"])
    assert run.run_config is not None
    run = replace(run, run_config=run.run_config.model_copy(update={"base_model": base}))
    assert write_peft_adapter(run, tmp_path / "peft").base == base
    write_mlx_adapter(run, tmp_path / "mlx")
    said = json.loads((tmp_path / "peft" / ADAPTER_CONFIG_FILE).read_text())
    assert {key: said[key] for key in ("base_model_name_or_path", "revision") if key in said} == named
    said = json.loads((tmp_path / "mlx" / ADAPTER_CONFIG_FILE).read_text())
    assert said["model"] == named["base_model_name_or_path"]


def test_experts_leave_for_mlx_lm_only(tmp_path: Path) -> None:
    run, ids = tuned(tmp_path / "base", "experts", LORAS["lora"]), token_ids(2, 9)
    with pytest.raises(ModelError, match=r"adapters on experts \(model.layers.1.mlp.experts.down_proj\), which PEFT"):
        write_peft_adapter(run, tmp_path / "peft")
    write_mlx_adapter(run, tmp_path / "mlx")
    again = load_model(str(tmp_path / "base"), adapter=str(tmp_path / "mlx"))
    assert max_difference(again.model(ids), run.model(ids)) < 1e-5
    attention = LoraConfig(rank=4, targets=("q_proj", "v_proj"))
    write_peft_adapter(tuned(tmp_path / "other", "experts", attention), tmp_path / "attention")


def test_what_has_to_be_known_about_the_base(tmp_path: Path) -> None:
    lora = LoraConfig(rank=4, quantize="nvfp4", targets=("q_proj",))
    run = tuned(tmp_path / "base", lora=lora, base_adapter="first")
    for layout, write in WRITERS.items():
        rounding, merged = write(run, tmp_path / layout).notes
        assert "trained on a base held in nvfp4" in rounding
        assert "with the adapter first merged into it" in merged


def test_a_base_that_is_a_run_has_to_be_given_along(tmp_path: Path) -> None:
    """Its name means nothing to anybody else; names of the Hub do."""
    run = tuned(tmp_path / "base", lora=LORAS["lora"])
    assert run.run_config is not None
    (tmp_path / "mine/checkpoints/step-00000017").mkdir(parents=True)
    base = f"{tmp_path / 'mine'}@17"
    for named, said in ((base, f"`mlxllm export --model {base} --out BASE`"), ("owner/name@abc", "")):
        changed = replace(run, run_config=run.run_config.model_copy(update={"base_model": named}))
        notes = write_peft_adapter(changed, tmp_path / f"out{len(said)}").notes
        assert said in " ".join(notes)
        assert bool(notes) is bool(said)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_refusals(write: Any, tmp_path: Path) -> None:
    plain = tuned(tmp_path / "plain")
    with pytest.raises(ConfigError, match="has no adapters to write: its weights are plain"):
        write(plain, tmp_path / "out")
    gpt2 = tuned(tmp_path / "gpt2", "gpt2", LORAS["lora"])
    with pytest.raises(ModelError, match="is a GPT-2, in whose files queries, keys and values are one matrix"):
        write(gpt2, tmp_path / "out")
    run = tuned(tmp_path / "base", lora=LORAS["lora"])
    with pytest.raises(ModelError, match="plain exists already; name a new folder"):
        write(run, tmp_path / "plain")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write the (model|adapter) to \S+file/out: .*choose another folder"):
        write(run, tmp_path / "file" / "out")

    def fails(folder: Path) -> None:
        assert (folder / ADAPTER_CONFIG_FILE).is_file()
        raise UserError("it is not the same")

    with pytest.raises(UserError, match="it is not the same"):
        write(run, tmp_path / "out", check=fails)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "file", "gpt2", "plain"]


# With the peers.


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # PEFT asks transformers
@pytest.mark.parametrize("variant", ["llama", "qwen3"])
@pytest.mark.parametrize("case", LORAS)
def test_peft_computes_our_model(variant: str, case: str, tmp_path: Path) -> None:
    peft, torch = pytest.importorskip("peft"), pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    run, ids = tuned(tmp_path / "base", variant, LORAS[case]), token_ids(2, 9)
    write_peft_adapter(run, tmp_path / "adapter")
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base", attn_implementation="eager")
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    with torch.no_grad():
        logits = theirs(torch.tensor(np.array(ids))).logits.numpy()
    assert np.abs(np.array(run.model(ids)) - logits).max() < 1e-4


@pytest.mark.peers
@pytest.mark.parametrize("variant", ["llama", "experts"])
@pytest.mark.parametrize("case", LORAS)
def test_mlx_lm_computes_our_model(variant: str, case: str, tmp_path: Path) -> None:
    utils = pytest.importorskip("mlx_lm.utils")
    lora = LORAS[case]
    if variant == "experts" and lora.method == "dora":
        lora = LoraConfig(method="dora", rank=3, targets=("q_proj", "o_proj"))
    run, ids = tuned(tmp_path / "base", variant, lora), token_ids(2, 9)
    write_mlx_adapter(run, tmp_path / "adapter")
    theirs, _ = utils.load_model(tmp_path / "base")
    theirs = utils.load_adapters(theirs, str(tmp_path / "adapter"))
    theirs.eval()
    assert max_difference(theirs(ids), run.model(ids)) < 1e-4
