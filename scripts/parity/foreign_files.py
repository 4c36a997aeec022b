#!/usr/bin/env python
"""Thousands of spoiled model files, read in a process of their own: each is used, or refused in one sentence.

What may not happen: a crash, an error that is none of ours, a sentence of several lines, a hang, memory without bound.
`--kind header` spoils safetensors files, `config` the config.json of a model, `index` the list of its shards, `adapter`
the settings and arrays of an adapter, `tokenizer` a tokenizer.json. Without --kind all of them.
"""

import argparse
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parents[1]))

from mutations import mutate_bytes, mutate_json, mutate_safetensors  # noqa: E402

KINDS = ("header", "config", "index", "adapter", "tokenizer")
HANG_SECONDS = 10
MEMORY_BYTES = 1 << 30
"""What the child may take beside what it has before the first file."""
LONGEST_SENTENCE = 1_500
SHOWN = 12

Try = Callable[[random.Random], bytes]
"""Spoils a file, reads it, and returns what it was; a UserError is what a refusal is."""


def main() -> int:
    """Run the kinds that are asked for; 1 where anything happened that may not."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--kind", choices=KINDS, help="by default all")
    made.add_argument("--count", type=int, default=5_000, metavar="N", help="files of each kind")
    made.add_argument("--seed", type=int, default=0, metavar="S", help="decides what is spoiled, and how")
    made.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    made.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = made.parse_args()
    if args.child:
        return child(args.kind, args.count, args.seed)
    reports = [run(kind, args.count, args.seed) for kind in ([args.kind] if args.kind else KINDS)]
    if args.json:
        print(json.dumps({report["kind"]: report for report in reports}))
    else:
        for report in reports:
            show(report)
    return int(any(report["failures"] for report in reports))


def run(kind: str, count: int, seed: int) -> dict[str, Any]:
    """Have a child read `count` files, and say what came of them."""
    command = [sys.executable, __file__, "--child", "--kind", kind, "--count", str(count), "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "MLX_DISABLE_COMPILE": "1"})
    ended: Counter[str] = Counter()
    failures: list[str] = []
    peak = 0
    for line in done.stdout.splitlines():
        event = json.loads(line)
        if "peak" in event:
            peak = event["peak"]
        elif "failure" in event:
            failures.append(f"file {event['i']}: {event['failure']}")
        else:
            ended[event["ended"]] += 1
    read = sum(ended.values()) + len(failures)
    if done.returncode or read < count:
        how = f"signal {signal.Signals(-done.returncode).name}" if done.returncode < 0 else f"code {done.returncode}"
        said = done.stderr.strip().splitlines()[-1:] or [""]
        failures.append(f"file {read}: the process ended with {how} {said[0]}".rstrip())
    if peak > MEMORY_BYTES:
        failures.append(f"{peak >> 20:,} MiB of memory were taken, and {MEMORY_BYTES >> 20:,} are the bound")
    return {
        "kind": kind,
        "files": count,
        "seed": seed,
        "used": ended.pop("used", 0),
        "refused": sum(ended.values()),
        "reasons": dict(ended.most_common()),
        "peak_bytes": peak,
        "failures": failures,
    }


def show(report: dict[str, Any]) -> None:
    """Print what came of one kind."""
    print(
        f"{report['kind']}: {report['files']:,} files (seed {report['seed']}): {report['used']:,} used, "
        f"{report['refused']:,} refused, {len(report['failures'])} failures, {report['peak_bytes'] >> 20:,} MiB more at most"
    )
    reasons = list(report["reasons"].items())
    for reason, number in reasons[:SHOWN]:
        print(f"  {number:5,}  {reason}")
    if len(reasons) > SHOWN:
        print(f"  {sum(n for _, n in reasons[SHOWN:]):5,}  in {len(reasons) - SHOWN} other ways")
    for failure in report["failures"]:
        print(f"  FAILED {failure}")


def child(kind: str, count: int, seed: int) -> int:
    """Read the files, one line on stdout for each."""
    from mlxllm.errors import UserError

    folder = Path(tempfile.mkdtemp(prefix="foreign-files-"))
    try:
        attempt = TRIES[kind](folder)
        before = resident_bytes()
        bound_memory()
        for i in range(count):
            signal.alarm(HANG_SECONDS)  # its default is to end the process
            try:
                attempt(random.Random(f"{kind} {seed} {i}"))
                told: dict[str, Any] = {"ended": "used"}
            except UserError as error:
                wrong = what_is_wrong(str(error))
                told = {"failure": wrong} if wrong else {"ended": sort_of(str(error), folder)}
            except BaseException as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                told = {"failure": f"{type(error).__name__}: {str(error)[:200]} ({where.filename}:{where.lineno})"}
            print(json.dumps({"i": i, **told}), flush=True)
        signal.alarm(0)
        print(json.dumps({"peak": resident_bytes() - before}), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def what_is_wrong(sentence: str) -> str:
    """Why this is not what a user should be told; empty where nothing is."""
    if not sentence.isprintable():
        return f"not one line that can be printed: {sentence!r}"
    if len(sentence) > LONGEST_SENTENCE:
        return f"{len(sentence):,} characters: {sentence[:100]!r} ..."
    return ""


def sort_of(sentence: str, folder: Path) -> str:
    """A refusal without what differs from file to file."""
    short = sentence.replace(str(folder), "").split("; ")[0]
    short = re.sub(r"'[^']*'?|\"[^\"]*\"", "'..'", short)
    short = re.sub(r"-?\d[\d,.e+]*", "N", short)
    return re.sub(r"\([^)]*\)|\[[^\]]*\]|\{[^}]*\}", "(..)", short)[:90]


def resident_bytes() -> int:
    """The most memory that this process has had."""
    if sys.platform.startswith("linux"):
        # ru_maxrss would begin with what the parent held.
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(status["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def bound_memory() -> None:
    """Let no allocation succeed that goes far beyond what is there; macOS has no such limit, there the peak is looked at."""
    if sys.platform.startswith("linux"):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def tiny_folder(path: Path) -> None:
    """A model of one layer with the byte tokenizer, in Hugging Face's form."""
    import mlxllm.runtime  # noqa: F401  (before MLX: it prepares BLAS)
    from mlxllm.config import ModelConfig
    from mlxllm.export.hf import write_hf
    from mlxllm.model.loading import LoadedModel
    from mlxllm.model.transformer import build_model
    from mlxllm.tokenizer.byte import ByteTokenizer

    tokenizer = ByteTokenizer()
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, intermediate_size=8, max_position_embeddings=32,
    )  # fmt: skip
    write_hf(LoadedModel(build_model(config, 0), config, tokenizer, path, "tiny", path, None, ("base",), ()), path)


def anew(file: Path, content: bytes) -> None:
    """A new file in the place of the old one, which MLX may have mapped; it is quicker, too, than to write it over."""
    file.unlink(missing_ok=True)
    file.write_bytes(content)


def try_header(folder: Path) -> Try:
    """Spoil model.safetensors; what is used is computed with, and the safetensors package has to take it as well."""
    tiny_folder(folder / "model")
    import mlx.core as mx
    from safetensors import safe_open

    from mlxllm.model.weight_files import read_safetensors

    good, file = (folder / "model/model.safetensors").read_bytes(), folder / "model.safetensors"

    def attempt(chance: random.Random) -> bytes:
        content = mutate_safetensors(good, chance)
        anew(file, content)
        arrays = read_safetensors(file)
        mx.eval([array.astype(mx.float32).sum() for array in arrays.values() if array.dtype != mx.complex64])
        with safe_open(file, framework="numpy") as theirs:
            assert set(theirs.keys()) == set(arrays), "the safetensors package reads other names"
        return content

    return attempt


def try_config(folder: Path) -> Try:
    """Spoil config.json, of several families, and look at the folder as before loading; every fourth time load it as well."""
    tiny_folder(folder / "model")
    from mlxllm.model.hf_folder import check_hf_folder, load_hf_folder

    file = folder / "model/config.json"
    llama = json.loads(file.read_text())
    rope = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    rope["original_max_position_embeddings"] = 16
    starts = [
        llama,
        {**llama, "rope_scaling": rope},
        {**llama, "rope_parameters": {**rope, "rope_theta": 500.0}, "layer_types": ["full_attention"]},
        {**llama, "architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 8},
        {**llama, "architectures": ["Qwen2ForCausalLM"], "use_sliding_window": True, "max_window_layers": 0},
        {**llama, "architectures": ["MixtralForCausalLM"], "num_local_experts": 2, "num_experts_per_tok": 1},
        {**llama, "quantization": {"bits": 4, "group_size": 32, "model.norm": {"bits": 8, "group_size": 64}}},
    ]

    def attempt(chance: random.Random) -> bytes:
        content = mutate_json(chance.choice(starts[:1] * 3 + starts), chance)
        anew(file, content)
        check_hf_folder(folder / "model")
        if chance.random() < 0.25:
            load_hf_folder(folder / "model")
        return content

    return attempt


def try_index(folder: Path) -> Try:
    """Spoil the list of shards."""
    tiny_folder(folder / "model")
    import mlx.core as mx

    from mlxllm.model.weight_files import read_headers, weight_files

    whole = folder / "model/model.safetensors"
    arrays = mx.load(str(whole))
    assert isinstance(arrays, dict)
    names = sorted(arrays)
    shards = {f"model-{i + 1:05}-of-00003.safetensors": names[i::3] for i in range(3)}
    for shard, held in shards.items():
        mx.save_safetensors(str(folder / "model" / shard), {name: arrays[name] for name in held})
    whole.unlink()
    index = {"metadata": {"total_size": 1}, "weight_map": {n: shard for shard, held in shards.items() for n in held}}

    def attempt(chance: random.Random) -> bytes:
        content = mutate_json(index, chance)
        anew(folder / "model/model.safetensors.index.json", content)
        read_headers(folder / "model", weight_files(folder / "model"))
        return content

    return attempt


def try_adapter(folder: Path) -> Try:
    """Spoil the settings or the arrays of an adapter, in our form or in PEFT's, and put it on its model."""
    tiny_folder(folder / "model")
    import mlx.core as mx

    from mlxllm.config import LoraConfig
    from mlxllm.model.adapter_files import load_adapter, save_adapter
    from mlxllm.model.adapters import adapt
    from mlxllm.model.hf_folder import load_hf_folder

    model, _, _ = load_hf_folder(folder / "model")
    adapt(model, LoraConfig(rank=2))
    ours = folder / "ours"
    save_adapter(model, ours)
    held = mx.load(str(ours / "adapters.safetensors"))
    assert isinstance(held, dict)
    peft = folder / "peft"
    peft.mkdir()
    leaf = {"lora_a": "lora_A.weight", "lora_b": "lora_B.weight"}
    named = {
        f"base_model.model.{n.rpartition('.')[0]}.{leaf[n.rpartition('.')[2]]}": mx.contiguous(array.T)
        for n, array in held.items()
    }
    mx.save_safetensors(str(peft / "adapter_model.safetensors"), named)
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "lora_dropout": 0.0, "target_modules": ["q_proj"]}
    (peft / "adapter_config.json").write_text(json.dumps({**settings, "layers_to_transform": [0]}))
    good = {path: path.read_bytes() for each in (ours, peft) for path in each.iterdir()}

    def attempt(chance: random.Random) -> bytes:
        path = chance.choice(sorted(good))
        settings = path.suffix == ".json"
        content = mutate_json(json.loads(good[path]), chance) if settings else mutate_safetensors(good[path], chance)
        anew(path, content)
        try:
            load_adapter(load_hf_folder(folder / "model")[0], path.parent)
        finally:
            anew(path, good[path])
        return content

    return attempt


def try_tokenizer(folder: Path) -> Try:
    """Spoil a tokenizer.json of the tokenizers package, or what lies beside it, and read a text with it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    from mlxllm.tokenizer import load_tokenizer

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(["the fox and the hen and the fen"] * 3, trainer)
    files = {
        "tokenizer.json": json.loads(made.to_str()),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": "<|endoftext|>",
            "bos_token": None,
            "chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}",
            "added_tokens_decoder": {"0": {"content": "<|endoftext|>", "special": True}},
        },
    }
    path = folder / "tokenizer"
    path.mkdir()

    def attempt(chance: random.Random) -> bytes:
        for name, value in files.items():
            anew(path / name, json.dumps(value).encode())
        name = chance.choice(sorted(files))
        content = mutate_json(files[name], chance)
        anew(path / name, mutate_bytes(content, chance) if chance.random() < 0.1 else content)
        tokenizer = load_tokenizer(path)
        tokenizer.decode(tokenizer.encode("the fox, \N{GRINNING FACE} <|endoftext|>"))
        return content

    return attempt


TRIES: dict[str, Callable[[Path], Try]] = {
    "header": try_header,
    "config": try_config,
    "index": try_index,
    "adapter": try_adapter,
    "tokenizer": try_tokenizer,
}


if __name__ == "__main__":
    sys.exit(main())
