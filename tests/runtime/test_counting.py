import pytest
from yarl import URL

from trimtab.base.http import Request
from trimtab.base.telemetry import Telemetry
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.kube.errors import NotFound, Unreachable
from trimtab.runtime.counting import Counted, verb_of
from trimtab.runtime.lease import LEASES


async def test_requests_are_counted_by_verb_and_answer_lost_ones_too(kubeconfig, wire, home):
    telemetry = Telemetry()
    client = Client(config.load(kubeconfig), Counted(wire, telemetry))
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "x"}}
    await client.apply(LEASES, "x", home, body, field_manager="test")
    await client.merge_patch(LEASES, "x", home, {"spec": {"holderIdentity": "me"}})
    await client.delete(LEASES, "x", home)
    with pytest.raises(NotFound):
        await client.get(LEASES, "x", home)
    async for _ in client.stream(
        LEASES.path(home), {"watch": "true", "timeoutSeconds": "1", "resourceVersion": "0"}, idle_timeout=60
    ):
        pass
    wire.cut = True
    with pytest.raises(Unreachable):
        await client.create(LEASES, body, home)
    text = (await telemetry.render()).decode()
    for verb, code in [
        ("apply", 201),
        ("patch", 200),
        ("delete", 200),
        ("get", 404),
        ("watch", 200),
        ("create", "error"),
    ]:
        assert f'trimtab_api_requests_total{{code="{code}",verb="{verb}"}} 1.0' in text


@pytest.mark.parametrize(
    ("query", "verb"),
    [
        ("?watch=true", "watch"),
        ("?resourceVersion=0&watch=1&x=y", "watch"),
        ("", "get"),
        ("?labelSelector=watch=1,x-watch=1", "get"),
        ("?limit=5&unwatch=1", "get"),
    ],
)
def test_a_watch_is_told_from_what_only_reads_like_one(query: str, verb: str) -> None:
    assert verb_of(Request("GET", URL(f"https://a/api/v1/pods{query}", encoded=True))) == verb
