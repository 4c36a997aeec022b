"""Write a random Llama as a Hugging Face folder that we, mlx-lm and transformers all read.

Its tokenizer knows ASCII and as many other characters as fill the vocabulary: ours in tokenizer/, the same ids in
tokenizer.json. It names no end of text, so every side writes as many tokens as it is asked for.
"""

import argparse
import json
from pathlib import Path

import measure  # before MLX: it prepares BLAS
import mlx.core as mx
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from mlxllm.config import ModelConfig
from mlxllm.model.hf_config import architecture_of, config_to_hf
from mlxllm.model.hf_weights import weights_to_hf
from mlxllm.model.module import named_parameters
from mlxllm.model.transformer import build_model
from mlxllm.tokenizer import Tokenizer
from mlxllm.tokenizer.base import FIRST_LEARNED_ID
from mlxllm.tokenizer.char import CharTokenizer


def main() -> None:
    """One folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--kv-heads", type=int, default=4)
    parser.add_argument("--inner", type=int, default=1408)
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--std", type=float, default=0.02, help="standard deviation of the weights")
    args = parser.parse_args()
    mx.set_default_device(mx.cpu)  # the same draws on every machine
    config = ModelConfig(
        vocab_size=args.vocabulary,
        hidden_size=args.hidden,
        num_hidden_layers=args.layers,
        num_attention_heads=args.heads,
        num_key_value_heads=args.kv_heads,
        intermediate_size=args.inner,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        initializer_range=args.std,
    )
    args.out.mkdir(parents=True)
    model = build_model(config, seed=0)
    weights = weights_to_hf(config, named_parameters(model))
    mx.save_safetensors(str(args.out / "model.safetensors"), weights, {"format": "pt"})
    (args.out / "config.json").write_text(json.dumps({**config_to_hf(config), "dtype": "float32"}))
    tokenizer = char_tokenizer(args.vocabulary)
    tokenizer.save(args.out / "tokenizer")
    write_theirs(tokenizer, args.out)
    measure.report(architecture=architecture_of(config), parameters=sum(w.size for w in weights.values()))


def char_tokenizer(vocabulary: int) -> CharTokenizer:
    """A character tokenizer with exactly so many ids."""
    characters = ["\n", *map(chr, range(0x20, 0x7F))]
    characters += [chr(0x4E00 + i) for i in range(vocabulary - FIRST_LEARNED_ID - len(characters))]
    return CharTokenizer(characters[: vocabulary - FIRST_LEARNED_ID])


def write_theirs(tokenizer: Tokenizer, folder: Path) -> None:
    """tokenizer.json and its config: every character a token, with our ids."""
    vocabulary = {tokenizer.piece(i): i for i in range(tokenizer.vocab_size)}
    theirs = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=tokenizer.piece(0)))
    theirs.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex("(?m)."), "isolated")
    theirs.decoder = decoders.Fuse()
    theirs.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


if __name__ == "__main__":
    main()
