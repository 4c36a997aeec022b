import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlxllm.data.sources.gitignore import MOST_RULES, IgnoreRules


def rules(**files: str) -> IgnoreRules:
    made = IgnoreRules()
    for folder, text in files.items():
        made.add("" if folder == "top" else folder.replace("_", "/"), text)
    return made


@pytest.mark.parametrize(
    ("text", "ignored", "kept"),
    [
        ("*.log", ["a.log", "x/y/b.log"], ["a.log2", "log"]),
        ("/a.py", ["a.py"], ["x/a.py"]),
        ("x/a.py", ["x/a.py"], ["y/x/a.py"]),
        ("build/", ["build/a.py", "x/build/a.py"], ["build", "x/build.py"]),
        ("*.py\n!a.py", ["b.py"], ["a.py", "x/a.py"]),
        ("x/\n!x/a.py", ["x/a.py"], []),
        ("x/*\n!x/a.py", ["x/b.py"], ["x/a.py"]),
        ("**/x", ["x", "a/b/x", "x/y"], ["ax"]),
        ("x/**", ["x/a", "x/b/c"], ["x", "y/x/a"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["a/xb"]),
        ("[ab].py\n[!ab].c", ["a.py", "c.c"], ["c.py", "a.c"]),
        ("# comment\n\\#a\n\\!b", ["#a", "!b"], ["# comment", "b"]),
        ("a  \nb\\ ", ["a", "b "], ["a  ", "b"]),
        ("?.c\r\n", ["a.c"], ["ab.c"]),
        ("foo[", [], ["foo"]),
        ("a\\", [], ["a", "a\\"]),
        ("\ufeff*.log", ["a.log"], []),
    ],
)
def test_patterns(text: str, ignored: list[str], kept: list[str]) -> None:
    found = rules(top=text)
    assert [path for path in ignored if not found.ignores(path)] == []
    assert [path for path in kept if found.ignores(path)] == []


def test_nested_files() -> None:
    found = rules(top="*.log\n/only.py", x="!keep.log\n/own.py", x_y="*.py\n")
    assert found.ignores("keep.log")
    assert not found.ignores("x/keep.log")
    assert not found.ignores("x/y/keep.log")
    assert found.ignores("x/own.py")
    assert found.ignores("x/y/a.py")
    assert not found.ignores("x/y/own.rs")
    assert not found.ignores("x/only.py")
    below = rules(top="x/\n*.log")
    assert below.ignores("x/a.py")
    assert not below.ignores("x/a.py", below="x")
    assert below.ignores("x/a.log", below="x")


def test_rules_are_bounded() -> None:
    found = rules(top="a.py\n" * (MOST_RULES + 5) + "b.py\n")
    assert found.ignores("a.py")
    assert not found.ignores("b.py")


NAMES = ["a", "b", "ab", "a.py", "b.py", "x"]
PIECES = [
    "a",
    "b",
    "x",
    "*",
    "**",
    "?",
    "/",
    ".py",
    "[ab]",
    "[!a]",
    "[^b]",
    "\\a",
    "!",
    "#",
    " ",
    "[",
    "]",
    "-",
    "[a-]",
]
patterns = st.lists(st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join), max_size=4).map("\n".join)


@pytest.mark.skipif(shutil.which("git") is None, reason="compares with git, which is not here")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(top=patterns, inner=patterns)
def test_as_git_says(tmp_path: Path, top: str, inner: str) -> None:
    tree = tmp_path / "tree"
    if not tree.exists():
        (tree / "x" / "a").mkdir(parents=True)
        subprocess.run(["git", "init", "-q", tree], check=True)
        (tree / ".git" / "info" / "exclude").write_text("")
        for folder in ("", "x", "x/a"):
            for name in NAMES:
                if not (tree / folder / name).is_dir():
                    (tree / folder / name).write_text("")
    (tree / ".gitignore").write_text(top)
    (tree / "x" / ".gitignore").write_text(inner)
    command = ["git", "-c", "core.excludesFile=/dev/null", "ls-files", "-z", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True).stdout
    found = rules(top=top, x=inner)
    paths = sorted(path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file())
    paths = [path for path in paths if not path.startswith(".git/")]
    assert [path for path in paths if not found.ignores(path)] == sorted(listed.split("\0")[:-1])
