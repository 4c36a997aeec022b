"""Files that others made and that are not as they should be: told in a sentence, before anything maps or computes them."""

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlxllm.conversation.template_files import load_chat_template
from mlxllm.errors import ModelError, UserError
from mlxllm.model.hf_folder import load_hf_folder
from mlxllm.model.loading import load_model
from mlxllm.model.safetensors_header import Tensor, read_header
from mlxllm.model.weight_files import inside, read_safetensors
from mlxllm.tokenizer import load_tokenizer
from mlxllm.tokenizer.byte import ByteTokenizer
from tests.export.tiny import save_folder
from tests.model.test_loading import split_into_shards
from tests.model.tiny import tiny_model

FUZZ = Path(__file__).resolve().parents[2] / "scripts/parity/foreign_files.py"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_folder(tiny_model(vocab_size=261), ByteTokenizer(), ("base",), tmp_path / "model")
    return tmp_path / "model"


def write(file: Path, header: object, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return file


def entry(begin: int, end: int, shape: list[Any], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_a_header_is_read(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "b": entry(8, 20, [2, 3, 2], "U8"),
        "a": entry(0, 8, [2]),
        "none": entry(20, 20, [0, 5]),
        "scalar": entry(20, 22, [], "BF16"),
    }
    found = read_header(write(tmp_path / "x", header, bytes(22)))
    assert found == {
        "a": Tensor("F32", (2,)),
        "b": Tensor("U8", (2, 3, 2)),
        "none": Tensor("F32", (0, 5)),
        "scalar": Tensor("BF16", ()),
    }
    assert next(iter(found)) == "a"
    assert found["b"].nbytes == 12
    assert read_header(write(tmp_path / "y", {"__metadata__": None})) == {}


@pytest.mark.parametrize(
    ("header", "data", "said"),
    [
        ({"a": entry(0, 8, [3])}, 8, r"a is F32 of shape \(3,\), which takes 12 bytes, and its header gives it 8"),
        ({"a": entry(0, 8, [-2])}, 8, r"a has the shape \[-2\]"),
        ({"a": entry(0, 8, [2.0])}, 8, r"a has the shape \[2.0\]"),
        ({"a": entry(0, 8, [True, 2])}, 8, r"a has the shape \[True, 2\]"),
        ({"a": entry(0, 8, "2")}, 8, r"a has the shape '2'"),
        ({"a": entry(0, 0, [0, 2**40])}, 0, r"more than can be in memory"),
        ({"a": entry(0, 8, [1] * 100 + [2])}, 8, r"a has the shape \[1, 1, .* \.\.\."),
        ({"a": entry(0, 8, [2], "F33")}, 8, r"a has the dtype 'F33'; known are BOOL, U8"),
        ({"a": entry(0, 8, [2], ["F32"])}, 8, r"a has the dtype \['F32'\]"),
        ({"a": entry(8, 0, [2])}, 8, r"a ends before it begins"),
        ({"a": entry(0, 8, [2]) | {"data_offsets": [0]}}, 8, r"a has the data_offsets \[0\]"),
        ({"a": entry(-8, 0, [2])}, 8, r"a has the data_offsets \[-8, 0\]"),
        ({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, 12, r"the numbers of b and of the tensor before it overlap"),
        ({"a": entry(0, 8, [2]), "b": entry(12, 20, [2])}, 20, r"of b and of the tensor before it leave a gap"),
        ({"a": entry(0, 8, [2])}, 7, r"it is cut off: 7 bytes follow its header, which describes 8"),
        ({"a": entry(0, 8, [2])}, 9, r"it has more than it says: 9 bytes follow"),
        ({"a": entry(0, 8, [2]) | {"x": 1}}, 8, r"a has not dtype, shape and data_offsets"),
        ({"a": 1}, 0, r"a has not dtype"),
        ({"__metadata__": {"a": 1}}, 0, r"__metadata__ in its header is not text by text"),
        ({"x" * 5_000: entry(0, 0, [0])}, 0, r"a name of 5,000 characters, xxx"),
        ({"a\n\x1b[2J": 1}, 0, r"a⏎\\x1b\[2J has not dtype"),
        ([], 0, r"its header is no JSON object"),
        (b'{"a": NaN}', 0, r"its header has NaN for a number"),
        (b'{"a": {}, "a": {}}', 0, r"its header has a key twice"),
        (b'{"a": ' + b"[" * 50_000, 0, r"its header is no JSON"),
        (b'{"a": ' + b"9" * 5_000 + b"}", 0, r"its header is no JSON"),
        (b"\xff{}", 0, r"its header is no JSON"),
    ],
)
def test_a_header_that_lies(header: object, data: int, said: str, tmp_path: Path) -> None:
    file = write(tmp_path / "x.safetensors", header, bytes(data))
    with pytest.raises(ModelError, match=rf"x.safetensors is not a usable .*{said}.*; download or copy it") as caught:
        read_header(file)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("dtype", ["F64", "F8_E5M2"])
def test_numbers_that_mlx_does_not_have(dtype: str, tmp_path: Path) -> None:
    size = 16 if dtype == "F64" else 2
    file = write(tmp_path / "x", {"a": entry(0, size, [2], dtype)}, bytes(size))
    with pytest.raises(ModelError, match=rf"holds a as {dtype}, which MLX does not have; take the model in bfloat16"):
        read_safetensors(file)


@pytest.mark.parametrize("length", [2**64 - 1, 2**63, 100_000_001, 100, 0])
def test_a_header_of_another_length(length: int, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(struct.pack("<Q", length) + b'{"a":1}')
    with pytest.raises(ModelError, match="is not a usable safetensors file"):
        read_header(tmp_path / "x")


def refused(folder: Path, said: str) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        load_model(str(folder))
    assert str(caught.value).isprintable()


def change(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"hidden_size": 64}, r"of shape \(261, 32\) where config.json makes it \(261, 64\)"),
        ({"num_hidden_layers": 3}, r"lacks model.layers.2.\S+; its config.json describes"),
        ({"num_hidden_layers": 1}, r"holds model.layers.1.\S+ and \d+ more, which a model of its config.json does not"),
        ({"num_hidden_layers": 9_000}, r"holds \d+ tensors, too few for the 9,000 layers of its config.json"),
        ({"num_hidden_layers": 10**6}, r"num_hidden_layers is 1000000; it should be less than"),
        ({"hidden_size": 10**9}, r"hidden_size is 1000000000; it should be less than"),
        ({"vocab_size": 10**400}, r"vocab_size is 1000.* \.\.\.; it should be"),
        ({"hidden_size": -1}, r"hidden_size is -1; it should be greater than 0"),
        ({"rms_norm_eps": float("nan")}, r"rms_norm_eps is nan; it should be a finite number"),
        ({"rope_theta": float("inf")}, r"rope_theta is inf; it should be a finite number"),
        ({"hidden_act": ["silu"]}, r"hidden_act = \['silu'\], which mlxllm cannot compute"),
        ({"hidden_size": {"a": [1]}}, r"hidden_size is \{'a': \[1\]\}; it should be a valid integer"),
        ({"architectures": [["a"]]}, r"config.json names no architecture"),
        ({"rope_scaling": [1]}, r"rope_scaling = \[1\], which mlxllm cannot compute"),
        ({"rope_scaling": {"type": [], "rope_type": 3}}, r"rope_scaling.rope_type = 3"),
        ({"rope_scaling": {"type": "linear", "factor": "wide"}}, r"factor is 'wide'; it should be a valid number"),
        ({"num_attention_heads": 9_999, "head_dim": 2**40}, r"head_dim is 1099511627776; it should be less than"),
        ({"quantization": {"bits": [4], "mode": {}}}, r"holds|quantization with mode"),
    ],
)
def test_a_config_that_lies(values: dict[str, Any], said: str, folder: Path) -> None:
    change(folder, rope_parameters=None, **values)
    # Told by the headers alone: the numbers are never read.
    size = (folder / "model.safetensors").stat().st_size
    header = int.from_bytes((folder / "model.safetensors").read_bytes()[:8], "little") + 8
    with open(folder / "model.safetensors", "r+b") as file:
        file.truncate(header)
        file.truncate(size)
    if "quantization" in values:
        load_hf_folder(folder)  # nothing in it is packed, so that its settings are idle
        return
    refused(folder, said)


def test_more_than_the_memory_of_the_machine(tmp_path: Path) -> None:
    """A sparse file of four tebibytes, which takes no room on the disk."""
    path, vocab, hidden = tmp_path / "model", 2**23, 2**17
    save_folder(tiny_model(vocab_size=261), ByteTokenizer(), ("base",), path)
    change(path, vocab_size=vocab, hidden_size=hidden, num_hidden_layers=1, num_attention_heads=1, head_dim=2)
    change(path, num_key_value_heads=1, intermediate_size=1)
    shapes = {"model.embed_tokens": [vocab, hidden], "model.norm": [hidden], "model.layers.0.input_layernorm": [hidden]}
    shapes |= {f"model.layers.0.self_attn.{n}_proj": [2, hidden] for n in "qkv"}
    shapes |= {"model.layers.0.self_attn.o_proj": [hidden, 2], "model.layers.0.post_attention_layernorm": [hidden]}
    shapes |= {f"model.layers.0.mlp.{n}_proj": [1, hidden] for n in ("gate", "up")}
    shapes |= {"model.layers.0.mlp.down_proj": [hidden, 1]}
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[f"{name}.weight"] = entry(at, at + size, shape)
        at += size
    file = write(path / "model.safetensors", header)
    try:
        os.truncate(file, file.stat().st_size + at)
    except OSError:
        pytest.skip("this file system has no sparse files of that size")
    refused(path, r"take 4,096.\d GiB, and this machine has [\d.,]+ GiB of memory; take a smaller model, or one")


def test_shards_that_contradict_their_index(folder: Path) -> None:
    weight_map = split_into_shards(folder)
    first, second, *_ = sorted(set(weight_map.values()))
    index = folder / "model.safetensors.index.json"
    name = next(name for name, file in weight_map.items() if file == first)
    index.write_text(json.dumps({"weight_map": weight_map | {name: second}}))
    refused(folder, rf"{second} lacks {name}, which model.safetensors.index.json says is there")
    index.write_text(json.dumps({"weight_map": weight_map}))
    (folder / second).write_bytes((folder / first).read_bytes())
    refused(folder, rf"holds \S+ twice, in {first} and {second}; remove one")
    (folder / second).unlink()
    refused(folder, rf"lacks {second}, one of the 3 files")


@pytest.mark.parametrize(
    "shard", ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "x.bin", "..", "", 3, "a\0b"]
)
def test_an_index_that_leads_elsewhere(shard: Any, folder: Path) -> None:
    weight_map = split_into_shards(folder)
    name = next(iter(weight_map))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {**weight_map, name: shard}}))
    refused(folder, "names no usable files in its weight_map")


def test_links_that_leave_the_folder(folder: Path, tmp_path: Path) -> None:
    weights, elsewhere = folder / "model.safetensors", tmp_path / "secret.safetensors"
    weights.rename(elsewhere)
    weights.symlink_to(elsewhere)
    refused(folder, r"model.safetensors is a link to \S+secret.safetensors, outside of the model's folder")
    weights.unlink()
    weights.symlink_to(folder / "nothing")
    refused(folder, r"is missing, or a link to nothing")
    weights.unlink()
    elsewhere.rename(folder / "weights.safetensors")
    weights.symlink_to("weights.safetensors")
    load_model(str(folder))  # within the folder it may be
    (folder / "config.json").rename(tmp_path / "config.json")
    (folder / "config.json").symlink_to(tmp_path / "config.json")
    refused(folder, r"config.json is a link to \S+, outside")


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("chat_template.jinja", load_chat_template),
        ("tokenizer.json", load_tokenizer),
        ("tokenizer_config.json", load_tokenizer),
    ],
)
def test_words_that_are_a_link_to_what_is_none_of_the_models(
    name: str, read: Callable[[Path], object], folder: Path, tmp_path: Path
) -> None:
    """They would be shown, copied into exports and uploaded."""
    (tmp_path / "secret").write_text("key = 1")
    shutil.rmtree(folder / "tokenizer")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match=r"is a symbolic link to \S+secret, outside of the model's folder"):
        read(folder)


def test_links_of_a_hub_cache_are_right(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "models--owner--name"
    snapshot = cache / "snapshots" / ("a" * 40)
    snapshot.parent.mkdir(parents=True)
    folder.rename(snapshot)
    (cache / "blobs").mkdir()
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).rename(cache / "blobs" / name)
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    load_model(str(snapshot))
    (cache / "blobs/config.json").rename(tmp_path / "config.json")
    (cache / "blobs/config.json").symlink_to(tmp_path / "config.json")
    with pytest.raises(ModelError, match="outside of the model's folder"):
        inside(snapshot, "config.json")


def test_pickles_are_refused_with_the_way_to_convert_them(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model-00001-of-00002.bin").write_bytes(b"")
    refused(folder, r"weights as a pickle \(pytorch_model-00001-of-00002.bin\).*never read.*safe_serialization=True")


def test_bits_that_flipped_in_a_header(folder: Path) -> None:
    """Numbers may flip unseen, nobody says what they were; what a header says of them may not."""
    file = folder / "model.safetensors"
    good = file.read_bytes()
    length = int.from_bytes(good[:8], "little")
    told = good.index(b"}", good.index(b"__metadata__")) if b"__metadata__" in good[: 8 + length] else 8
    for at in [*range(8), *range(told + 1, 7 + length, 37)]:
        file.unlink()
        file.write_bytes(good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :])
        refused(folder, r"is not a usable safetensors file|lacks|holds")


@pytest.mark.parametrize(("spoil", "said"), [("cut", "is cut off"), ("config", "of shape"), ("shard", "lacks model-")])
@pytest.mark.parametrize("command", [["sample", "--prompt", "x"], ["sft", "--run", "new"]])
def test_the_command_line_says_it_in_a_sentence(spoil: str, said: str, command: list[str], folder: Path) -> None:
    if command[0] == "sft":
        file = folder.parent / "talk.jsonl"
        file.write_text('{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n')
        command = [*command, "--data", str(file)]
    if spoil == "cut":
        os.truncate(folder / "model.safetensors", (folder / "model.safetensors").stat().st_size - 5)
    elif spoil == "config":
        change(folder, intermediate_size=41)
    else:
        (folder / split_into_shards(folder).popitem()[1]).unlink()
    done = subprocess.run(
        [sys.executable, "-m", "mlxllm", *command, "--model", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode in (1, 2), done.stderr
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not done.stdout


@pytest.mark.parametrize(
    ("kind", "count", "used"),
    [
        ("header", 5_000, 0.04),
        ("config", 5_000, 0.15),
        ("index", 300, 0.1),
        ("adapter", 300, 0.1),
        ("tokenizer", 1_000, 0.3),
    ],
)
def test_thousands_of_spoiled_files(kind: str, count: int, used: float) -> None:
    """Each is used or refused in a sentence: no crash, no hang, no memory beyond a bound."""
    done = subprocess.run(
        [sys.executable, str(FUZZ), "--kind", kind, "--count", str(count), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)[kind]
    assert report["failures"] == []
    assert done.returncode == 0
    assert report["used"] + report["refused"] == count
    assert used < report["used"] / count < 0.6, "spoiled, but not so that nothing is left to look at"
    assert len(report["reasons"]) > 15
