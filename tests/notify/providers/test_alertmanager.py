"""The type `alertmanager`, against a real one: what begins fires once, and its end resolves it."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from yarl import URL

from tests.e2e.world import free_port
from tests.notify.providers.notices import NOTICES, SETTINGS
from tests.notify.providers.sink import delivered
from trimtab.base.http import AiohttpTransport, Request, TransportError
from trimtab.notify.notice import Notice, Phase
from trimtab.notify.provider import Delivered

PROGRAM = shutil.which("prometheus-alertmanager")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="apt-get install prometheus-alertmanager: not installed")


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    port = free_port()
    (tmp_path / "config.yaml").write_text(json.dumps({"route": {"receiver": "x"}, "receivers": [{"name": "x"}]}))
    process = subprocess.Popen(
        [
            *(str(PROGRAM), "--config.file=config.yaml", "--storage.path=alerts", "--cluster.listen-address="),
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(60):
            while await _asked(f"http://127.0.0.1:{port}") is None:
                await asyncio.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


async def _asked(address: str) -> list[dict[str, Any]] | None:
    transport = AiohttpTransport()
    try:
        response = await transport.send(Request("GET", URL(f"{address}/api/v2/alerts?active=true")))
        found = json.loads(await response.read())
        return found if isinstance(found, list) else None
    except (TransportError, ValueError):
        return None
    finally:
        await transport.close()


def _now(notice: Notice, since: timedelta) -> Notice:
    moment = (datetime.now(UTC) - since).isoformat().replace("+00:00", "Z")
    return replace(notice, event=msgspec.structs.replace(notice.event, timestamp=moment))


async def test_what_begins_fires_and_its_end_resolves_it(address: str) -> None:
    settings = replace(SETTINGS["alertmanager"], address=address, username="", password="")
    opened = _now(NOTICES["opened"], timedelta(minutes=20))
    strange = {"app.kubernetes.io/env": "eu", "drift-age": "3s", "2nd": "x", "é": "y"}
    opened = replace(opened, fields={**opened.fields, **strange})
    assert await delivered(opened, settings) == Delivered()
    (alert,) = await _asked(address) or []
    names = {"app_kubernetes_io_env", "drift_age", "_2nd", "_"}
    assert names <= alert["annotations"].keys(), "what Prometheus takes for no name is written so that it is one"
    again = replace(_now(opened, timedelta(minutes=2)), phase=Phase.REPEATED, count=3, over_s=300.0)
    assert await delivered(again, settings) == Delivered()
    (alert,) = await _asked(address) or []
    assert alert["labels"]["alertname"] == "TrimtabKustomization"
    assert alert["annotations"]["message"].endswith("(×3 in 5m)")
    assert alert["startsAt"][:19] == opened.event.timestamp[:19]
    assert alert["endsAt"] > (datetime.now(UTC) + timedelta(days=29)).isoformat()
    assert await delivered(_now(NOTICES["closed"], timedelta()), settings) == Delivered()
    assert await _asked(address) == []
    assert await delivered(_now(NOTICES["once"], timedelta()), settings) == Delivered()
    assert await _asked(address) == []
