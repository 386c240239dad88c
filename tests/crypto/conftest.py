"""Keys that the tests of this package share: making them takes longer than using them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crypto.signing import Gpg, SshPair, Work


@pytest.fixture(scope="session")
def alice(tmp_path_factory: pytest.TempPathFactory) -> SshPair:
    return SshPair.create(tmp_path_factory.mktemp("keys") / "alice")


@pytest.fixture(scope="session")
def mallory(tmp_path_factory: pytest.TempPathFactory) -> SshPair:
    return SshPair.create(tmp_path_factory.mktemp("keys") / "mallory")


@pytest.fixture(scope="session")
def gpg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gpg]:
    # The path of the agent's socket has to be short.
    gpg = Gpg.create(tmp_path_factory.mktemp("g") / "h")
    yield gpg
    gpg.stop()


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work.create(tmp_path / "work")
