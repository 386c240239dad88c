from collections.abc import AsyncIterator

import pytest

from tests.web.ground import Ground


@pytest.fixture
async def ground() -> AsyncIterator[Ground]:
    ground = Ground()
    yield ground
    await ground.close()
