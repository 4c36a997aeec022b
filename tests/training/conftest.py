"""A dataset for the tests of training, built once."""

from pathlib import Path

import pytest

from tests.training import tiny


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.dataset(tmp_path_factory.mktemp("data") / "squares")
