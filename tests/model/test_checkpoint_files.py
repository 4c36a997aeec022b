"""Which checkpoints a run has, which are whole, and which one is meant."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from mlxllm.errors import RunError
from mlxllm.model.checkpoint_files import (
    CHECKPOINT_FILES,
    MANIFEST_FILE,
    MODEL_FILE,
    OPTIMIZER_FILE,
    best_path,
    checkpoint_path,
    find_checkpoint,
    list_checkpoints,
    verify_checkpoint,
)


def write_checkpoint(run: Path, step: int) -> Path:
    path = checkpoint_path(run, step)
    path.mkdir(parents=True)
    files = {}
    for name in CHECKPOINT_FILES:
        content = f"{name} of step {step}".encode() * 50
        (path / name).write_bytes(content)
        files[name] = {"sha256": sha256(content).hexdigest(), "bytes": len(content)}
    (path / MANIFEST_FILE).write_text(json.dumps({"files": files}))
    return path


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "my-run"
    for step in (1000, 500, 100_000_000):
        write_checkpoint(path, step)
    return path


def test_names_have_eight_digits(tmp_path: Path) -> None:
    assert checkpoint_path(tmp_path, 1000) == tmp_path / "checkpoints" / "step-00001000"


def test_listed_by_step_without_what_is_no_checkpoint(run: Path) -> None:
    for name in (".step-00002000.tmp", "step-00002000.partial", "step-x", "step-12"):
        (run / "checkpoints" / name).mkdir()
    (run / "checkpoints" / "step-00000007").write_text("a file")
    assert [c.step for c in list_checkpoints(run)] == [500, 1000, 100_000_000]
    assert all(c.path == checkpoint_path(run, c.step) for c in list_checkpoints(run))
    assert list_checkpoints(run / "nothing") == []


def test_whole_checkpoint_is_valid(run: Path) -> None:
    assert verify_checkpoint(checkpoint_path(run, 500)) is None


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (lambda p: p.rename(p.with_name("elsewhere")), "is missing"),
    "no manifest": (lambda p: (p / MANIFEST_FILE).unlink(), "manifest.json is missing"),
    "half a manifest": (lambda p: (p / MANIFEST_FILE).write_text('{"files": {'), "is not valid JSON"),
    "another manifest": (lambda p: (p / MANIFEST_FILE).write_text("[1]"), "does not list model.safetensors"),
    "empty manifest": (lambda p: (p / MANIFEST_FILE).write_text('{"files": {}}'), "does not list"),
    "no hash": (
        lambda p: (p / MANIFEST_FILE).write_text(json.dumps({"files": dict.fromkeys(CHECKPOINT_FILES, 1)})),
        "no usable entry for 'model.safetensors'",
    ),
    "no model": (lambda p: (p / MODEL_FILE).unlink(), "model.safetensors is missing"),
    "short model": (lambda p: (p / MODEL_FILE).write_bytes(b"abc"), "has 3 bytes where the manifest says"),
    "flipped bit": (lambda p: flip_a_bit(p / MODEL_FILE), "SHA-256 is not the manifest's"),
    "flipped bit of the optimizer": (lambda p: flip_a_bit(p / OPTIMIZER_FILE), "optimizer.safetensors is damaged"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_and_named(run: Path, damage: str) -> None:
    do, reason = DAMAGE[damage]
    path = checkpoint_path(run, 1000)
    do(path)
    found = verify_checkpoint(path)
    assert found is not None
    assert reason in found
    assert "\n" not in found


def test_a_manifest_cannot_point_outside(run: Path) -> None:
    path = checkpoint_path(run, 500)
    manifest = json.loads((path / MANIFEST_FILE).read_text())
    manifest["files"]["../../config.json"] = {"sha256": "0", "bytes": 1}
    (path / MANIFEST_FILE).write_text(json.dumps(manifest))
    assert "no usable entry for '../../config.json'" in str(verify_checkpoint(path))


def test_only_the_files_asked_for_are_hashed_but_all_are_measured(run: Path) -> None:
    path = checkpoint_path(run, 500)
    flip_a_bit(path / OPTIMIZER_FILE)
    assert verify_checkpoint(path, hashed=(MODEL_FILE,)) is None
    (path / OPTIMIZER_FILE).write_bytes(b"")
    assert "has 0 bytes" in str(verify_checkpoint(path, hashed=(MODEL_FILE,)))


def test_last_is_the_newest_valid_one(run: Path) -> None:
    assert find_checkpoint(run).step == 100_000_000
    flip_a_bit(checkpoint_path(run, 100_000_000) / MODEL_FILE)
    assert find_checkpoint(run, "last").step == 1000
    (checkpoint_path(run, 1000) / MANIFEST_FILE).unlink()
    assert find_checkpoint(run).step == 500
    flip_a_bit(checkpoint_path(run, 500) / MODEL_FILE)
    with pytest.raises(RunError, match=r"no checkpoint of run 'my-run' is whole; the newest .*step-100000000"):
        find_checkpoint(run)


def test_a_run_without_checkpoints_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="has no checkpoint yet"):
        find_checkpoint(tmp_path)


def test_a_step_is_taken_at_its_word(run: Path) -> None:
    assert find_checkpoint(run, 500).path == checkpoint_path(run, 500)
    with pytest.raises(RunError, match=r"no checkpoint of step 7; there are the steps 500, 1000, 100000000"):
        find_checkpoint(run, 7)
    flip_a_bit(checkpoint_path(run, 500) / MODEL_FILE)
    with pytest.raises(RunError, match=r"checkpoint 500 .* cannot be used: .*; there are the steps 1000, 1"):
        find_checkpoint(run, 500)


def test_best_is_what_was_noted(run: Path) -> None:
    with pytest.raises(RunError, match=r"no best checkpoint yet; leave @best out"):
        find_checkpoint(run, "best")
    best_path(run).write_text('{"step": 1000, "val_loss": 1.5}')
    assert find_checkpoint(run, "best").step == 1000
    best_path(run).write_text('{"step": 30, "val_loss": 1.5}')
    with pytest.raises(RunError, match="no checkpoint of step 30"):
        find_checkpoint(run, "best")
    best_path(run).write_text('{"val_loss": 1.5}')
    with pytest.raises(RunError, match="names no step"):
        find_checkpoint(run, "best")
