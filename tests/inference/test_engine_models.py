"""The models that the engine holds: found again, replaced when their files change, gone when others need the room."""

import shutil
from pathlib import Path

import mlx.core as mx
import pytest

from mlxllm.config import LoraConfig, SampleConfig
from mlxllm.conversation import OwnFormat
from mlxllm.errors import RunError
from mlxllm.inference.engine_models import MOST_MODELS, HeldModel, Models
from mlxllm.inference.engine_requests import About, Said
from mlxllm.model.adapter_files import save_adapter
from mlxllm.model.adapters import adapt
from mlxllm.model.checkpoint_files import MODEL_FILE, checkpoint_path
from mlxllm.model.loading import load_model
from mlxllm.tokenizer import train_tokenizer
from tests.cli.tuned import tuned_run
from tests.inference.tiny import TOKENIZER, tiny, write_folder
from tests.model.adapted import moved

GREEDY = SampleConfig(temperature=0, max_tokens=12)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    parent = tmp_path_factory.mktemp("models")
    return [str(write_folder(parent / f"m{n}", tiny(n))) for n in range(MOST_MODELS + 1)]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tuned_run(tmp_path_factory.mktemp("tuned"))


@pytest.fixture
def run(tuned: Path, tmp_path: Path) -> Path:
    """A run of one's own to change."""
    return Path(shutil.copytree(tuned, tmp_path / "mine"))


def written(held: HeldModel, text: str = "Once") -> str:
    prompt = held.prompt(About(id="", model="", text=text))
    return "".join(t.text for t in held.session.generate(prompt.ids, GREEDY, stop_ids=()))


def test_the_least_recently_used_one_leaves(folders: list[str]) -> None:
    models = Models()
    held = [models.load(folder) for folder in folders[:MOST_MODELS]]
    assert models.get(folders[0]) is held[0], "which makes the second one the oldest"
    models.load(folders[-1])
    assert models.get(folders[0]) is held[0]
    assert models.load(folders[2]) is held[2]
    again = models.get(folders[1])
    assert again is not held[1]
    assert written(again) == written(held[1])
    assert len(models) == MOST_MODELS


def test_they_leave_when_memory_demands_it(folders: list[str]) -> None:
    size = Models().load(folders[0]).nbytes
    models = Models(room_bytes=2 * size + size // 2)
    for folder in folders[:2]:
        models.load(folder)
    assert len(models) == 2
    models.load(folders[2])
    assert len(models) == 2
    narrow = Models(room_bytes=1)
    assert written(narrow.load(folders[0])) == written(models.load(folders[0])), "one is always held"
    assert len(narrow) == 1


def test_a_run_goes_on_and_a_conversation_stays_where_it_is(run: Path) -> None:
    models = Models()
    first = models.load(str(run))
    shutil.copytree(checkpoint_path(run, 1), checkpoint_path(run, 2))
    assert models.get(str(run)) is first
    assert models.get(f"{run}@1") is models.get(first.loaded.address) is first
    newer = models.load(str(run))
    assert (first.loaded.step, newer.loaded.step) == (1, 2)
    assert models.get(str(run)) is newer
    assert models.get(f"{run}@1") is first


def test_a_damaged_checkpoint_is_passed_over_or_refused(run: Path) -> None:
    models = Models()
    shutil.copytree(checkpoint_path(run, 1), checkpoint_path(run, 2))
    file = checkpoint_path(run, 2) / MODEL_FILE
    file.write_bytes(bytes(reversed(file.read_bytes())))
    held = models.load(str(run))
    assert held.loaded.step == 1
    assert "the checkpoint of step 1 is used" in held.loaded.note
    with pytest.raises(RunError, match="checkpoint 2 of run 'mine' cannot be used"):
        models.load(f"{run}@2")
    assert len(models) == 1


def test_an_adapter_makes_another_model(folders: list[str], tmp_path: Path) -> None:
    base = load_model(folders[0])
    adapt(base.model, LoraConfig(rank=2), 0)
    save_adapter(moved(base.model), tmp_path / "adapter", base_name=folders[0])
    models, adapter = Models(), str(tmp_path / "adapter")
    plain, adapted = models.load(folders[0]), models.load(folders[0], adapter)
    assert written(plain) != written(adapted)
    assert adapted.loaded.adapter == tmp_path / "adapter"
    assert adapted.chat_format is not None, "what others train adapters for is to answer"
    assert models.get(folders[0], adapter) is adapted
    assert models.get(folders[0]) is plain


def test_what_was_cut_off_goes_on_with_the_ids_that_were_written(tmp_path: Path) -> None:
    pieces = train_tokenizer("bpe", ["the cat and the hat and the cat " * 40], vocab_size=300)
    folder = write_folder(tmp_path / "bpe", tiny(vocab_size=pieces.vocab_size))
    pieces.save(folder / "tokenizer")
    held = Models().load(str(folder))
    letters = [TOKENIZER.encode(char)[0] for char in " hat"]  # as bytes, though the tokenizer has learned pieces
    assert letters != pieces.encode(" hat")

    about = About(id="", model="", text="the")
    held.remember(held.prompt(about), " hat", letters)
    assert held.prompt(About(id="", model="", text="the hat")).ids == pieces.encode("the") + letters
    more = About(id="", model="", text="the hat and")
    assert held.prompt(more).ids == pieces.encode("the hat and"), "with more behind it it is spelled as in training"
    assert held.prompt(about).ids == pieces.encode("the")

    answering = HeldModel(held.loaded, held.session, OwnFormat(pieces), held.length, held.signature)
    question, answer = Said(role="user", content="who"), Said(role="assistant", content=" hat")
    asked = About(id="", model="", messages=[question])
    answering.remember(answering.prompt(asked), " hat", letters)
    going_on = answering.prompt(About(id="", model="", messages=[question, answer]), go_on=True)
    assert going_on.ids == answering.prompt(asked).ids + letters
    other = [Said(role="user", content="what"), answer]
    assert answering.prompt(About(id="", model="", messages=other), go_on=True).spelled == pieces.encode(" hat")
    assert answering.prompt(About(id="", model="", text=" hat")).ids == pieces.encode(" hat")


def test_a_new_text_begins_where_documents_do(folders: list[str]) -> None:
    held = Models().load(folders[0])
    start = held.prompt(About(id="", model="", text=""))
    assert start.ids == [TOKENIZER.eot_id]
    first = int(mx.argmax(held.loaded.model(mx.array([start.ids]))[0, -1]))
    assert written(held, "")[:1] == TOKENIZER.decode([first])[:1]
