"""Serving what was published to other processes, over HTTP, by the full and unguessable names only."""

import base64
from pathlib import Path

from aiohttp import web

from trimtab.artifacts.publish import FILE, published, record_of
from trimtab.artifacts.store import Store

_PART = "[a-z0-9][a-z0-9.-]*"
_ROUTE = f"/{{kind:[a-z]+}}/{{namespace:{_PART}}}/{{name:{_PART}}}/{{file:[A-Za-z0-9._+-]+}}"
_TYPES = {".gz": "application/gzip", ".tgz": "application/gzip", ".yaml": "application/yaml"}


def app(store: Store) -> web.Application:
    """An application that answers GET and HEAD for the archives of `store`; anything else is not found."""
    root = published(store)

    async def archive(request: web.Request) -> web.StreamResponse:
        found = request.match_info
        if not FILE.fullmatch(found["file"]):
            raise web.HTTPNotFound
        path = root / found["kind"] / found["namespace"] / found["name"] / found["file"]
        return _answer(path)

    application = web.Application()
    application.router.add_get(_ROUTE, archive)
    return application


def _answer(path: Path) -> web.StreamResponse:
    record = record_of(path)
    if record is None or not path.is_file():
        raise web.HTTPNotFound(text="no such artifact; the source's status has the current address\n")
    digest = base64.b64encode(bytes.fromhex(record.artifact.digest.removeprefix("sha256:"))).decode()
    return web.FileResponse(
        path,
        headers={
            "Content-Type": _TYPES[path.suffix],
            "Repr-Digest": f"sha-256=:{digest}:",
            "Cache-Control": "private, immutable",
        },
    )
