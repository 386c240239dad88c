"""Files made by the real sops (make_fixtures.py), and the keys that open them."""

from pathlib import Path

import pytest

from trimtab.sops.keyring import Keyring

FIXTURES = Path(__file__).parent / "fixtures"
KEYS = FIXTURES / "keys"


def keyring(*names: str) -> Keyring:
    """The keys in the files with these names."""
    return Keyring.of({name: (KEYS / name).read_bytes() for name in names})


@pytest.fixture(scope="session")
def age() -> Keyring:
    return keyring("age.agekey")
