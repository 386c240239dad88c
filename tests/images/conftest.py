"""Shared by the tests of images: where the conformance cases lie."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2].parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of cases beside this repository."""
    if not SHARED.exists():
        pytest.skip("the shared cases are not beside this repository")
    return SHARED
