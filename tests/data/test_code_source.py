import bz2
import gzip
import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from mlxllm.data.build import build_dataset
from mlxllm.data.clean.recipes import recipe
from mlxllm.data.sources import Document, open_source
from mlxllm.data.sources.base import Problems
from mlxllm.data.sources.code_files import LANGUAGES, file_reason, folder_reason, language_of
from mlxllm.data.sources.licences import licence_of
from mlxllm.data.sources.trees import FREE_BYTES
from mlxllm.errors import ConfigError, DataError
from mlxllm.tokenizer import train_tokenizer

# What their texts have in common with the real ones is what they are told by.
MIT = """The MIT License

Permission is hereby granted, free of charge, to any person obtaining a copy of this ... The above copyright notice and
this permission notice shall be included in all copies ...
"""
TREE = {
    ".gitignore": b"*.gen.py\n/out/\n",
    "LICENSE": MIT.encode(),
    "Makefile": b"all:\n\ttrue\n",
    "README.md": b"# Title\n",
    "a.gen.py": b"x = 1\n",
    "data.csv": b"1,2\n",
    "out/a.py": b"x = 1\n",
    "package-lock.json": b"{}",
    "picture.py": b"\x89PNG\0\0",
    "run": b"#!/usr/bin/env -S python3 -u\nprint()\n",
    "src/.gitignore": b"!keep.gen.py\n",
    "src/big.py": b"x" * (1 << 20) + b"y",
    "src/empty.py": b" \n",
    "src/keep.gen.py": b"kept = 1\n",
    "src/latin.py": b"# caf\xe9\n",
    "src/main.rs": b"// SPDX-License-Identifier: Apache-2.0 OR MIT\nfn main() {}\n",
    "src/marked.py": b"\xef\xbb\xbfx = 2\n",
    "src/node_modules/x/a.js": b"1;\n",
    "src/proto_pb2.py": b"x = 1\n",
    "src/sub/COPYING": b"GNU GENERAL PUBLIC LICENSE\n  Version 3, 29 June 2007\n",
    "src/sub/b.c": b"int b;\n",
    "src/utf16.py": "x = 3\n".encode("utf-16"),
    "words": b"only words\n",
}
READ = {
    "Makefile": ("all:\n\ttrue\n", "Makefile", "MIT"),
    "README.md": ("# Title\n", "Markdown", "MIT"),
    "run": ("#!/usr/bin/env -S python3 -u\nprint()\n", "Python", "MIT"),
    "src/keep.gen.py": ("kept = 1\n", "Python", "MIT"),
    "src/main.rs": ("// SPDX-License-Identifier: Apache-2.0 OR MIT\nfn main() {}\n", "Rust", "Apache-2.0 OR MIT"),
    "src/marked.py": ("x = 2\n", "Python", "MIT"),
    "src/sub/b.c": ("int b;\n", "C", "GPL-3.0"),
    "src/utf16.py": ("x = 3\n", "Python", "MIT"),
}
DROPPED = {"binary file": 1, "file too large": 1, "empty": 1, "undecodable file": 1}
PASSED_OVER = {
    "hidden": 2,
    "ignored by git": 2,
    "other file type": 4,
    "lock file": 1,
    "generated file": 1,
    "others' code": 1,
}


def write_tree(top: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_bytes(content)
    return top


def tar_of(files: dict[str, bytes], prefix: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path, content in files.items():
            info = tarfile.TarInfo(prefix + path)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zip_of(files: dict[str, bytes], prefix: str = "") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(prefix + path, content)
    return out.getvalue()


PACKED: dict[str, Callable[[], bytes]] = {
    "a.tar": lambda: tar_of(TREE, "./"),
    "a.tar.gz": lambda: gzip.compress(tar_of(TREE)),
    "a.tgz": lambda: gzip.compress(tar_of(dict(reversed(TREE.items())))),  # rules and licences stand last
    "a.tar.zst": lambda: zstandard.compress(tar_of(TREE)),
    "a.zip": lambda: zip_of(TREE),
    "archive": lambda: zip_of(dict(reversed(TREE.items()))),
}


def read(spec: str) -> tuple[dict[str, tuple[str, str, str]], Problems]:
    source = open_source(spec)
    assert open_source(source.spec).spec == source.spec
    again = pickle.loads(pickle.dumps(source))
    documents = list(source.documents())
    assert [d.text for d in again.documents()] == [d.text for d in documents]
    found = {d.metadata["path"]: (d.text, d.metadata["language"], d.metadata.get("licence", "")) for d in documents}
    assert len(found) == len(documents)
    return found, source.problems


def test_a_folder(tmp_path: Path) -> None:
    found, problems = read(f"code:{write_tree(tmp_path / 'project', TREE)}")
    assert found == READ
    assert list(found) == [
        "Makefile",
        "README.md",
        "run",
        *sorted(p for p in READ if p.startswith("src/") and "sub" not in p),
        "src/sub/b.c",
    ]
    assert problems.dropped == DROPPED
    assert problems.mended == PASSED_OVER
    assert problems.examples["others' code"] == [f"{tmp_path}/project/src/node_modules"]


@pytest.mark.parametrize("name", list(PACKED))
def test_an_archive(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(PACKED[name]())
    found, problems = read(f"code:{path}")
    assert found == READ
    assert problems.dropped == DROPPED
    assert problems.mended == PASSED_OVER
    assert [p.name for p in tmp_path.iterdir()] == [name], "nothing is unpacked"
    source = open_source(f"code:{path}")
    assert next(iter(source.documents())).id == f"{path}/{next(iter(found))}"


def test_by_language_and_licence(tmp_path: Path) -> None:
    place = write_tree(tmp_path / "project", TREE)
    assert list(read(f"code:{place},lang=rust+c")[0]) == ["src/main.rs", "src/sub/b.c"]
    permissive, problems = read(f"code:{place},licence=permissive")
    assert set(permissive) == set(READ) - {"src/sub/b.c"}
    assert problems.dropped["other licence"] == 1
    assert list(read(f"code:{place},licence=apache-2.0")[0]) == ["src/main.rs"]
    (place / "LICENSE").unlink()
    assert list(read(f"code:{place},licence=permissive")[0]) == ["src/main.rs"]
    with pytest.raises(ConfigError, match="did you mean 'permissive'"):
        open_source(f"code:{place},licence=permisive")


def test_a_folder_of_a_repository(tmp_path: Path) -> None:
    top = write_tree(tmp_path / "project", TREE)
    write_tree(top, {".git/info/exclude": b"sub/\n", "src/gone.gen.py": b"x = 1\n"})
    found, problems = read(f"code:{top}/src")
    assert set(found) == {p.removeprefix("src/") for p in READ if p.startswith("src/") and "sub" not in p}
    assert found["keep.gen.py"][2] == "MIT", "the licence of the repository"
    assert problems.mended["ignored by git"] == 2
    assert list(read(f"code:{top}/out")[0]) == ["a.py"], "what is named is meant"


def test_several(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"{number}.tar").write_bytes(tar_of({f"{number}.py": b"x\n"}))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.py").write_text("y\n")
    source = open_source(f"code:{tmp_path}/*")
    assert source.parts() == [f"{tmp_path}/{name}" for name in ("1.tar", "2.tar", "b")]  # type: ignore[attr-defined]
    assert [d.id for d in source.documents()] == [f"{tmp_path}/{n}" for n in ("1.tar/1.py", "2.tar/2.py", "b/c.py")]
    (tmp_path / "x.py").write_text("x")
    for spec, error, message in [
        ("code:", ConfigError, "needs a folder or an archive"),
        (f"code:{tmp_path}/none", DataError, "there is no folder or archive"),
        (
            f"code:{tmp_path}/x.py",
            DataError,
            "neither a folder nor a .* archive; a single file of text is given as text:",
        ),
    ]:
        with pytest.raises(error, match=message):
            open_source(spec)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no usable text: nothing in it"):
        read(f"code:{tmp_path}/empty")


def test_links_and_names_that_lead_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "secret.py").write_text("secret = 1\n")
    place = write_tree(tmp_path / "project", {"a.py": b"x = 1\n"})
    (place / "link.py").symlink_to(tmp_path / "secret.py")
    (place / "loop").symlink_to(place)
    os.mkfifo(place / "pipe.py")
    found, problems = read(f"code:{place}")
    assert list(found) == ["a.py"]
    assert problems.mended == {"link": 2}

    names = ["../up.py", "/root.py", "x/../../up.py", "fine.py"]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo("link.py")
            info.type, info.linkname = kind, "../../secret.py"
            tar.addfile(info)
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 4
            tar.addfile(info, io.BytesIO(b"x=1\n"))
    (tmp_path / "a.tar").write_bytes(archive.getvalue())
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        link = zipfile.ZipInfo("link.py")
        link.external_attr = 0o120777 << 16
        zipped.writestr(link, "../../secret.py")
        for name in names:
            zipped.writestr(name, "x=1\n")
    for name, links in (("a.tar", 3), ("a.zip", 1)):
        found, problems = read(f"code:{tmp_path / name}")
        assert list(found) == ["fine.py"]
        assert problems.mended == {"link": links, "name that leads elsewhere": 3}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar", "a.zip", "project", "secret.py"]


def test_damaged_archives(tmp_path: Path) -> None:
    files = {f"{n}.py": f"x = {n}\n".encode() * 500 for n in range(20)}
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(tar_of(files))[:-300])
    found, problems = read(f"code:{path}")
    assert 0 < len(found) < 20
    assert problems.mended["damaged file"] == 1
    path = tmp_path / "a.zip"
    data = bytearray(zip_of(files))
    data[40:46] = b"\xff" * 6  # inside the first file
    path.write_bytes(data)
    found, problems = read(f"code:{path}")
    assert len(found) == 19
    assert problems.dropped == {"damaged file": 1}
    path.write_bytes(zip_of(files)[:-40])
    with pytest.raises(
        DataError, match=r"holds no usable text: damaged file \(.*zip archive ends early.*fetch it again"
    ):
        read(f"code:{path}")
    path.write_bytes(bz2.compress(b"x" * 1000))
    with pytest.raises(DataError, match="neither a folder nor a"):
        read(f"code:{path}")


def test_archives_without_a_file_are_told(tmp_path: Path) -> None:
    for name, data in (
        ("a.tar", tar_of({})),
        ("a.tar.gz", gzip.compress(tar_of({}))),
        ("a.zip", zip_of({})),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=rf"nothing in it \(.*{name}: it holds no file\)"):
            list(open_source(f"code:{tmp_path / name}").documents())


def test_an_archive_with_a_password(tmp_path: Path) -> None:
    data = bytearray(zip_of({"a.py": b"x = 1\n"}))
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + offset] |= 1  # "encrypted"
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DataError, match=r"holds no usable text: damaged file .*password required"):
        read(f"code:{tmp_path / 'a.zip'}")


def test_bombs(tmp_path: Path) -> None:
    """Archives that unpack to a thousand times their size are left where that shows."""
    zeros = b" " * (1 << 20)
    number = 2 * FREE_BYTES // len(zeros)
    many = {f"{n}.py": zeros for n in range(number)}
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(tar_of({"first.py": b"x = 1\n", **many}), 9))
    (tmp_path / "a.zip").write_bytes(zip_of({"first.py": b"x = 1\n", **many}))
    for name in ("a.tar.gz", "a.zip"):
        assert (tmp_path / name).stat().st_size < 1 << 18
        found, problems = read(f"code:{tmp_path / name}")
        assert list(found) == ["first.py"]
        assert "unpacks to more than 100 times its size" in problems.examples["damaged file"][-1]
        assert problems.dropped["empty"] < number


def test_it_is_built_as_code(tmp_path: Path) -> None:
    source = open_source(f"code:{write_tree(tmp_path / 'project', TREE)}")
    manifest = build_dataset(
        tmp_path / "built", [(source, None)], train_tokenizer("byte", []), recipes=[recipe("code")], val_split=0.0
    )
    (entry,) = manifest.sources.values()
    assert entry.documents_read == len(READ) + sum(DROPPED.values())
    assert entry.documents_kept == len(READ)


@pytest.mark.parametrize(
    ("name", "begin", "language"),
    [
        ("a.py", b"", "Python"),
        ("A.PY", b"", "Python"),
        ("CMakeLists.txt", b"", "CMake"),
        ("x.h", b"", "C"),
        ("tool", b"#!/bin/bash\n", "Shell"),
        ("tool", b"#! /usr/bin/env -S node --x\n", "JavaScript"),
        ("tool", b"#!/usr/bin/python3.11\n", "Python"),
        ("tool", b"words", ""),
        ("a.txt", b"#!/bin/sh", ""),
        (".py", b"", ""),
        ("a.", b"", ""),
    ],
)
def test_languages(name: str, begin: bytes, language: str) -> None:
    assert language_of(name, begin) == language


def test_rules_by_name() -> None:
    suffixes = [suffix for each in LANGUAGES.values() for suffix in each.split()]
    assert len(suffixes) == len(set(suffixes)), "a suffix has one language"
    for name in ("jquery.min.js", "a-min.css", "x.pb.go", "x_pb2.py", "Form.Designer.cs", "zz_generated.deepcopy.go"):
        assert file_reason(name) == "generated file"
    for name in ("admin.js", "pb.go", "main.py", "lock.py", "generated.py"):
        assert file_reason(name) is None
    assert folder_reason("node_modules") == folder_reason("Pods") == "others' code"
    assert folder_reason(".git") == "hidden"
    assert folder_reason("src") is None


BSD = "Redistribution and use in source and binary forms ... in the documentation and/or other materials"


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        (MIT, "MIT"),
        (MIT.replace("shall be included in all", ""), "MIT-0"),
        ("                Apache License\n            Version 2.0, January 2004", "Apache-2.0"),
        ("# Licensed under the Apache License, Version 2.0 (the License)", "Apache-2.0"),
        (BSD, "BSD-2-Clause"),
        (f"{BSD} ... Neither the name of", "BSD-3-Clause"),
        ("GNU GENERAL PUBLIC LICENSE\nVersion 2, June 1991", "GPL-2.0"),
        ("GNU LESSER GENERAL PUBLIC LICENSE\n   Version 3\n incorporates GNU General Public License", "LGPL-3.0"),
        ("GNU AFFERO GENERAL PUBLIC LICENSE\nVersion 3", "AGPL-3.0"),
        ("Mozilla Public License Version 2.0\n====", "MPL-2.0"),
        ("This is free and unencumbered software released into the public domain.", "Unlicense"),
        ("Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby "
         "granted, provided that the above copyright notice and this permission notice appear", "ISC"),
        ("/* SPDX-License-Identifier: GPL-2.0-or-later */", "GPL-2.0-or-later"),
        ("All rights reserved.", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_licences_by_their_text(text: str, licence: str) -> None:
    assert licence_of(text) == licence


def test_documents_are_documents(tmp_path: Path) -> None:
    (document,) = open_source(f"code:{write_tree(tmp_path, {'a.py': b'x = 1'})}").documents()
    metadata = {"language": "Python", "path": "a.py"}
    assert document == Document("x = 1", f"{tmp_path}/a.py", tmp_path.name, metadata=metadata)
