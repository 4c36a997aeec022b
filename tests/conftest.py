"""What every test starts from: an empty home, no colours, no network for the Hub, compilation off, one BLAS thread."""

import gc
import itertools
import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

# Before anything imports them: MLX, Hugging Face's libraries and Typer look at the environment once.
os.environ["MLX_DISABLE_COMPILE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["NO_COLOR"] = "1"
# Test processes share the cores, and matrices are tiny: threads of BLAS and of torch would mostly wait for each other,
# and do so by spinning.
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
# Hundreds of processes are started, and each would compile the whole project anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# What a power cut would take, no test can see; waiting for the disk took a tenth of the time of tests that train.
os.fsync = lambda _: None
for _name in "FORCE_COLOR CLICOLOR_FORCE PY_COLORS GITHUB_ACTIONS TERM_PROGRAM COLUMNS LINES".split():
    os.environ.pop(_name, None)

# A shell's background job begins with Ctrl-C ignored, and all that it starts would ignore it as well.
signal.signal(signal.SIGINT, signal.default_int_handler)

import hypothesis
import pytest

import mlxllm.runtime  # noqa: F401  (OpenBLAS has to be there before anything imports mlx.core)

import mlx.core as mx  # isort: skip

from mlxllm.cpu_kernels import FOLDER_VARIABLE  # isort: skip
from tests.data.hub_server import Hub, serve_hub  # isort: skip

hypothesis.settings.register_profile("default", deadline=None)
# The same examples on each run: a change that is red in CI is red for the reason that it names.
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")

TESTS = Path(__file__).parent
TEST_DATA = os.environ.get("MLXLLM_TEST_DATA")

LONG = """
cli/test_quickstart_cli.py bench/test_bench.py training/test_process.py training/test_finetune_resume.py
tui/test_app.py tui/test_end_to_end.py tui/test_monitor.py tui/test_new_run.py training/test_finetune_peers.py
tui/test_data.py bench/test_tuning_bench.py tui/test_chat.py training/test_resume.py tui/test_chat_compare.py
training/test_kernels.py test_readme.py tui/test_runs_actions.py training/test_references.py tui/test_themes.py
test_readme_path.py export/test_roundtrip_peers.py cli/test_serve_cli.py model/test_foreign_files.py
cli/test_main_cli.py tui/test_preferences_screen.py tui/test_runs_screen.py model/test_families_peers.py
export/test_export_peers.py evaluation/test_lm_eval_peers.py
""".split()
"""Files that take more than fifteen seconds, the longest first: begun last, one would keep one worker busy alone."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--peers", action="store_true", help="also run what needs torch, transformers or trl")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if TEST_DATA and not Path(TEST_DATA).is_dir():
        raise pytest.UsageError(f"MLXLLM_TEST_DATA names {TEST_DATA!r}, which is not a folder")
    for item in items:
        if item.get_closest_marker("peers") and not config.getoption("--peers"):
            item.add_marker(pytest.mark.skip(reason="needs the peers: scripts/test --peers"))
        if item.get_closest_marker("data") and not TEST_DATA:
            item.add_marker(pytest.mark.skip(reason="needs the data that MLXLLM_TEST_DATA names"))
    turn = {TESTS / name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: turn.get(item.path, len(turn)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where what the test needs was promised."""
    report = yield
    peers_promised = item.get_closest_marker("peers") and item.config.getoption("--peers")
    data_promised = item.get_closest_marker("data") and TEST_DATA
    if report.skipped and not hasattr(report, "wasxfail") and (peers_promised or data_promised):
        report.outcome = "failed"
        report.longrepr = f"must not skip when its data or peers are there: {report.longrepr}"
    return report


def pytest_collection_finish() -> None:
    _set_aside()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None]:
    yield
    if nextitem is None or nextitem.path != item.path:
        _set_aside()


def _set_aside() -> None:
    """Have the collector pass over what is there: modules and tests live to the end, and going through them took half
    of the time of tests that make many objects.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def test_data() -> Path:
    """The folder that MLXLLM_TEST_DATA names; for tests marked `data`."""
    assert TEST_DATA, "mark this test with pytest.mark.data"
    return Path(TEST_DATA)


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders with numbers; pytest's own would look through all that are there, thousands in the end, before each."""
    parent = tmp_path_factory.mktemp("homes")
    return (parent / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def mlxllm_home(homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty $MLXLLM_HOME for each test; the processes that it starts see it as well."""
    home = next(homes)
    home.mkdir()
    monkeypatch.setenv("MLXLLM_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all tests of a process keep compiler and kernels: a home of its own would make them anew for each."""
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(autouse=True)
def compile_mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """mx.compile is on in tests marked `compiled` and in the processes that they start, and off elsewhere."""
    if request.node.get_closest_marker("compiled") is None:
        yield
        return
    monkeypatch.delenv("MLX_DISABLE_COMPILE")
    monkeypatch.setenv(FOLDER_VARIABLE, str(request.getfixturevalue("kernels")))
    mx.enable_compile()
    yield
    mx.disable_compile()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub on this machine, which everything that this process asks of the Hub goes to."""
    # Here and not above: most tests need none of them.
    from huggingface_hub import constants

    from mlxllm.data import download
    from mlxllm.data.hub import requests

    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "users-cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(requests, "WAITS", (0.01, 0.01))
    monkeypatch.setattr(download, "PATIENCE", download.Patience(stall=0.5, waits=(0.01, 0.01)))
    monkeypatch.chdir(tmp_path)
    with serve_hub() as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.address)
        template = served.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield served
