"""Where the shared cases lie."""

from pathlib import Path

import pytest

CONFORMANCE = Path(__file__).parents[2].parent / "shared" / "conformance"


@pytest.fixture(scope="session")
def conformance():
    if not CONFORMANCE.is_dir():
        pytest.skip(f"no conformance cases at {CONFORMANCE}")
    return CONFORMANCE
