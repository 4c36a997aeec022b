"""Damaged GGUF files: told in a sentence, whatever byte is another one."""

import random
from pathlib import Path

from mlxllm.errors import ModelError
from mlxllm.export.gguf import vocabulary_of, write_gguf
from mlxllm.export.gguf_reading import file_format, read_model, tokens_equal
from tests.export.tiny import random_model


def test_cut_and_changed_files(tmp_path: Path) -> None:
    """Each of 60 damaged files is read as if it were another model, or refused; nothing else is raised."""
    loaded = random_model("llama", "char")
    write_gguf(loaded, tmp_path / "m.gguf", dtype="q8_0")
    whole, vocabulary, draw = (tmp_path / "m.gguf").read_bytes(), vocabulary_of(loaded), random.Random(0)
    damaged, refused = tmp_path / "x.gguf", []
    for number in range(60):
        content = bytearray(whole)
        if number % 3 == 0:
            del content[draw.randrange(len(content)) :]
        else:
            reach = len(content) if number % 3 == 1 else 9000  # the header is in the first bytes
            for _ in range(draw.randrange(1, 4)):
                content[draw.randrange(reach)] = draw.randrange(256)
        damaged.write_bytes(content)
        try:
            file_format(damaged)
            tokens_equal(damaged, vocabulary)
            read_model(damaged, loaded.config)
        except ModelError as error:
            refused.append(str(error))
    assert len(refused) > 25
    assert not any("\n" in said for said in refused)
