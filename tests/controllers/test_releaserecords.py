"""Helm's records on a real API server: read, written, and guarded against others who write them as well."""

import base64
from datetime import datetime

import pytest

from trimtab.api.names import Reason
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Transient
from trimtab.controllers.releaserecords import ReleaseRecords
from trimtab.helm import record
from trimtab.helm.record import Info, Record, Status
from trimtab.kube.client import Client
from trimtab.manifests.refs import Body, Gvk

SECRET = Gvk("", "v1", "Secret")
PENDING = Record(name="app", namespace="ns", version=1, info=Info(status=Status.PENDING_INSTALL))


def rev(version: int, status: str = Status.DEPLOYED) -> Record:
    return Record(name="app", namespace="ns", version=version, info=Info(status=status), manifest="x")


class OneMoment(SystemClock):
    """A clock that stands still: the same record written again is the same to the last bit."""

    def now(self) -> datetime:
        return self._then

    _then = SystemClock().now()


def shelf(client: Client, home: str) -> ReleaseRecords:
    return ReleaseRecords(client, OneMoment(), home, "app")


async def patched(client: Client, home: str, version: int, patch: Body) -> None:
    resource = await client.discovery.find(SECRET)
    await client.merge_patch(resource, record.secret_name("app", version), home, patch, field_manager="helm")


async def test_records_come_back_as_they_were_written_the_newest_first(client: Client, home: str) -> None:
    records = shelf(client, home)
    for version in (1, 2, 10):
        await records.create(rev(version))
    found = await shelf(client, home).read()
    assert [one.version for one in found.history] == [10, 2, 1]
    assert found.history[0].manifest == "x"
    assert found.touched_at == int(OneMoment().now().timestamp())


async def test_as_long_as_nobody_writes_the_mark_is_what_was_read_or_written_last(client: Client, home: str) -> None:
    records = shelf(client, home)
    await records.create(rev(1))
    await records.create(rev(2))
    await records.update(record.settled(rev(1), Status.SUPERSEDED, ""))
    assert await records.mark() == records.known()
    await records.delete(rev(1))
    assert await records.mark() == records.known()
    other = shelf(client, home)
    await other.read()
    assert other.known() == records.known()
    await patched(client, home, 2, {"metadata": {"labels": {"status": "failed"}}})
    assert await records.mark() != records.known()


async def test_a_revision_that_somebody_else_has_made_is_not_written_over(client: Client, home: str) -> None:
    await shelf(client, home).create(rev(1))
    with pytest.raises(Transient, match="somebody else has written revision 1") as caught:
        await shelf(client, home).create(rev(1, Status.PENDING_INSTALL))
    assert caught.value.reason == Reason.STATE_ERROR


async def test_a_record_that_somebody_has_changed_or_deleted_meanwhile_is_looked_at_again(
    client: Client, home: str
) -> None:
    records = shelf(client, home)
    await records.create(rev(1))
    await patched(client, home, 1, {"metadata": {"labels": {"status": "failed"}}})
    with pytest.raises(Transient, match="somebody else has written"):
        await records.update(rev(1))
    await records.read()
    await records.update(rev(1))
    await shelf(client, home).delete(rev(1))
    with pytest.raises(Transient, match="somebody else has written"):
        await records.update(rev(1))
    await records.delete(rev(1))  # what is gone is as good as deleted
    assert records.known() == frozenset()


async def test_a_write_whose_answer_got_lost_is_our_own_when_it_is_found_again(client: Client, home: str) -> None:
    one, other, done = shelf(client, home), shelf(client, home), record.settled(PENDING, Status.DEPLOYED, "done")
    await one.create(PENDING)
    await one.create(PENDING)
    await other.read()
    await other.update(done)
    await one.update(done)  # knows of the first version only
    assert (await one.read()).history == (done,)
    assert one.known() == await other.mark()


async def test_another_write_is_of_somebody_else(client: Client, home: str) -> None:
    one, other, bad = shelf(client, home), shelf(client, home), record.settled(PENDING, Status.FAILED, "no")
    await one.create(PENDING)
    with pytest.raises(Transient, match="somebody else has written revision 1"):
        await other.create(bad)
    await other.read()
    await other.update(bad)
    with pytest.raises(Transient, match="somebody else has written revision 1"):
        await one.update(record.settled(PENDING, Status.DEPLOYED, "Install complete"))


async def test_a_record_that_cannot_be_read_is_looked_at_again_for_nobody_tells_when_it_is_mended(
    client: Client, home: str
) -> None:
    records = shelf(client, home)
    await records.create(rev(1))
    canary = base64.b64encode(b"hunter2-canary").decode()
    await patched(client, home, 1, {"data": {"release": canary}})
    with pytest.raises(Transient, match="delete it to go on from what was before it") as caught:
        await records.read()
    assert caught.value.hopeless
    assert "hunter2" not in caught.value.message
    await patched(client, home, 1, {"data": record.encode(rev(1), home, SystemClock().now())["data"]})
    assert len((await records.read()).history) == 1


async def test_records_of_other_releases_are_none_of_ours(client: Client, home: str) -> None:
    other = ReleaseRecords(client, SystemClock(), home, "app-2")
    await other.create(Record(name="app-2", namespace="ns", version=1, info=Info(status=Status.DEPLOYED)))
    assert (await shelf(client, home).read()).history == ()
    assert await shelf(client, home).mark() == frozenset()
