"""Helm's records where they are kept: whose write it was, when the answer does not say."""

import pytest

from trimtab.base.clock import SystemClock
from trimtab.base.errors import Transient
from trimtab.base.http import AiohttpTransport
from trimtab.controllers.releaserecords import ReleaseRecords
from trimtab.helm import record
from trimtab.helm.record import Info, Record, Status
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.kube.resource import Resource
from trimtab.manifests.refs import Gvk

NAMESPACES = Resource(Gvk("", "v1", "Namespace"), "namespaces", False)
PENDING = Record(name="app", namespace="x", version=1, info=Info(status=Status.PENDING_INSTALL))


class OneMoment(SystemClock):
    """The same moment is written into a record again."""

    def now(self):
        return self._then

    _then = SystemClock().now()


@pytest.fixture
async def two(kubeconfig, namespace):
    """Two who look after the records of one release, each with what it has read and written itself."""
    transport, home = AiohttpTransport(), namespace()
    client, clock = Client(config.load(kubeconfig), transport), OneMoment()
    await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": home}})
    yield tuple(ReleaseRecords(client, clock, home, "app") for _ in range(2))
    await transport.close()


async def test_a_write_whose_answer_got_lost_is_our_own_when_it_is_found_again(two):
    one, other = two
    await one.create(PENDING)
    await other.read()
    done = record.settled(PENDING, Status.DEPLOYED, "Install complete")
    await other.update(done)
    await one.update(done)  # knows of the first version only
    assert (await one.read()).history == (done,)
    assert one.known() == await other.mark()


async def test_a_write_of_somebody_else_is_theirs(two):
    one, other = two
    await one.create(PENDING)
    await one.create(PENDING)  # the same once more: it was ours
    with pytest.raises(Transient, match="somebody else has written revision 1"):
        await other.create(record.settled(PENDING, Status.FAILED, "no"))
    await other.read()
    await other.update(record.settled(PENDING, Status.FAILED, "no"))
    with pytest.raises(Transient, match="somebody else has written revision 1"):
        await one.update(record.settled(PENDING, Status.DEPLOYED, "Install complete"))
