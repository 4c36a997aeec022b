"""Uploads by the real huggingface_hub to a server on loopback: what arrives, and each refusal as one sentence."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxllm.errors import ConfigError, UserError
from mlxllm.export.upload import check_repository, upload
from tests.export.tiny import random_model, save_folder
from tests.export.upload_server import TOKEN, Store, serve_store
from tests.training.tiny import call, json_lines, sentence, succeeded

# huggingface_hub sends LFS objects in a way that httpx would have otherwise.
pytestmark = pytest.mark.filterwarnings("ignore:Use .content=:DeprecationWarning")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the server has LFS only, as Hubs of one's own
    with serve_store() as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.address)
        yield served


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "export"
    (made / "tokenizer").mkdir(parents=True)
    (made / "model.safetensors").write_bytes(bytes(range(256)) * 40)
    (made / "config.json").write_text("{}")
    (made / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    (made / "tokenizer" / "tokenizer_config.json").write_text('{"a": 1}')
    return made


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_all_files_arrive_in_a_private_repository(
    store: Store, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told = upload(folder, "anna/small")
    assert store.repositories == {"anna/small": contents(folder)}
    assert store.private == {"anna/small": True}
    assert told.url == f"{store.address}/anna/small"
    assert (told.files, told.bytes, told.private) == (4, sum(map(len, contents(folder).values())), True)
    assert told.commit == f"{1:040x}"
    assert capfd.readouterr() == ("", ""), "no bars unless they are wanted"


def test_a_single_file(store: Store, folder: Path) -> None:
    told = upload(folder / "model.safetensors", "anna/file")
    assert list(store.repositories["anna/file"]) == ["model.safetensors"]
    assert told.files == 1


def test_an_upload_replaces_the_weights_of_the_one_before(store: Store, folder: Path) -> None:
    store.repositories["anna/small"] = {"model-00001-of-00002.safetensors": b"old", "notes.txt": b"mine"}
    store.private["anna/small"] = True
    upload(folder, "anna/small")
    assert store.repositories["anna/small"] == {**contents(folder), "notes.txt": b"mine"}
    assert store.commits == 1, "nobody ever sees half of it"


def test_a_public_repository_takes_a_word(store: Store, folder: Path) -> None:
    store.repositories["anna/open"], store.private["anna/open"] = {}, False
    with pytest.raises(ConfigError, match="anna/open is there already and everybody can read it; add --public"):
        upload(folder, "anna/open")
    assert store.repositories["anna/open"] == {}
    assert not upload(folder, "anna/open", private=False).private
    assert upload(folder, "anna/new", private=False).private is False


@pytest.mark.parametrize(
    ("part", "status", "said"),
    [
        ("repos/create", 401, r"does not know this login \(401\); run `hf auth login` again"),
        ("repos/create", 403, r"this login may not write there \(403\); take a token with write access"),
        ("/preupload/", 403, r"this login may not write there \(403\)"),
        ("/commit/", 404, r"there is no such repository, or this login may not see it \(404\)"),
        ("/objects/", 413, "larger than the Hub takes there"),
        ("/commit/", 429, r"too many requests \(429\)"),
        ("/commit/", 500, r"a trouble of its own \(500\); try again later"),
    ],
)
def test_what_the_hub_refuses(store: Store, folder: Path, part: str, status: int, said: str) -> None:
    store.refuse[part] = status
    with pytest.raises(UserError, match=f"^cannot upload to anna/small: .*{said}") as caught:
        upload(folder, "anna/small")
    assert "\n" not in str(caught.value)
    assert not store.repositories.get("anna/small")


def test_a_wrong_token(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(UserError, match=r"does not know this login \(401\)"):
        upload(folder, "anna/small")


def test_no_login(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ConfigError, match=r"without a login: run `hf auth login`, or set HF_TOKEN"):
        upload(folder, "anna/small")
    assert store.asked == []


@pytest.mark.parametrize("name", ["small", "anna/", "/small", "a/b/c", "anna/../x", "anna small/x", ""])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ConfigError, match=r"names no repository of the Hub; write owner/name"):
        check_repository(name)


def test_nobody_there(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:9 cannot be reached \(.*the export stays where it is"):
        upload(folder, "anna/small")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="because HF_HUB_OFFLINE is set; unset it"):
        upload(folder, "anna/small")


def test_the_command_writes_and_sends(store: Store, tmp_path: Path) -> None:
    source = random_model("qwen3")
    save_folder(source.model, source.tokenizer, ("base",), tmp_path / "model")
    ask = ("export", "--model", tmp_path / "model", "--no-verify", "--out")
    told = succeeded(call(*ask, tmp_path / "out", "--upload", "anna/small"))
    assert store.repositories["anna/small"] == contents(tmp_path / "out")
    assert "uploaded" in told.stderr
    assert f"files to {store.address}/anna/small; only you see it" in " ".join(told.stderr.split())
    [sent] = json_lines(succeeded(call(*ask, tmp_path / "more", "--upload", "anna/open", "--public", "--json")).stdout)
    assert sent["uploaded"]["private"] is False
    # Nothing is begun for an upload that cannot be, and a refused one leaves the export where it is.
    assert "names no repository" in sentence(call(*ask, tmp_path / "no", "--upload", "small"), 2)
    assert "--public is about --upload" in sentence(call(*ask, tmp_path / "no", "--public"), 2)
    assert not (tmp_path / "no").exists()
    store.refuse["/commit/"] = 403
    assert "may not write there (403)" in sentence(call(*ask, tmp_path / "kept", "--upload", "anna/small"), 1)
    assert (tmp_path / "kept" / "config.json").is_file()
