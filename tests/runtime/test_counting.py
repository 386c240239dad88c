import pytest

from trimtab.base.telemetry import Telemetry
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.kube.errors import NotFound, Unreachable
from trimtab.runtime.counting import Counted
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
        LEASES.path(home), {"watch": "true", "timeoutSeconds": "1", "resourceVersion": "0"}, idle_timeout=5
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
