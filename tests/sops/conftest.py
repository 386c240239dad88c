"""Files made by the real sops (make_fixtures.py), the keys that open them, and servers of keys."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.remotes.world import Authority
from tests.sops import clouds_double
from tests.sops.clouds_double import CloudsDouble
from tests.sops.vault_double import VaultDouble, running
from trimtab.base.clock import SystemClock
from trimtab.base.http import AiohttpTransport
from trimtab.remotes.outbound import Outbound
from trimtab.sops.keyring import Keyring
from trimtab.toolchain import binaries

FIXTURES = Path(__file__).parent / "fixtures"
KEYS = FIXTURES / "keys"


def keyring(*names: str) -> Keyring:
    """The keys in the files with these names."""
    return Keyring.of({name: (KEYS / name).read_bytes() for name in names})


@pytest.fixture(scope="session")
def age() -> Keyring:
    return keyring("age.agekey")


@pytest.fixture
async def out() -> AsyncIterator[Outbound]:
    transport = AiohttpTransport()
    yield Outbound(transport, SystemClock())
    await transport.close()


@pytest.fixture
def vault() -> Iterator[VaultDouble]:
    with running() as double:
        yield double


@pytest.fixture
def clouds() -> Iterator[CloudsDouble]:
    with clouds_double.running() as double:
        yield double


@pytest.fixture
def certified(tmp_path: Path) -> Iterator[tuple[VaultDouble, bytes]]:
    """The double behind a certificate that only its own authority vouches for, and that authority in PEM."""
    authority = Authority.create(tmp_path)
    with running(authority.context) as double:
        yield double, authority.ca


@pytest.fixture(scope="session")
def sops() -> Path:
    """The real one, if it was built: that takes minutes, and the files it made are there without it."""
    found = binaries.present("secrets").get("sops")
    if found is None:
        pytest.skip("the real sops is not built (python -m trimtab.toolchain secrets)")
    return found
