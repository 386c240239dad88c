"""What moves an object into the queue, and what starts its backoff anew."""

import msgspec

from trimtab.api.kustomize import Kustomization, KustomizationSpec, SourceRef
from trimtab.api.meta import ObjectMeta
from trimtab.base.clock import SystemClock
from trimtab.kube.informer import Applied
from trimtab.roles.attach import feed
from trimtab.runtime.controller import Controller, Done


async def reconcile(_key):
    return Done()


def app(generation=1, **annotations):
    spec = KustomizationSpec(interval="1m", prune=True, source_ref=SourceRef(kind="GitRepository", name="repo"))
    meta = ObjectMeta(name="shop", namespace="ns", uid="u", generation=generation, annotations=annotations)
    return Kustomization(metadata=meta, spec=spec)


def after(old, new):
    """Failures on the count, and whether a pass is due, after an event for an app that failed three times."""
    controller = Controller("app", reconcile, clock=SystemClock(), backoff_cap=600.0)
    for _ in range(3):
        controller.queue.retry(new.key)
    feed(controller)(Applied(old, new))
    return controller.queue.failures(new.key), len(controller.queue)


def test_a_change_or_a_request_starts_the_backoff_anew():
    assert after(app(), app(generation=2)) == (0, 1)
    assert after(app(), app(**{"reconcile.fluxcd.io/requestedAt": "now"})) == (0, 1)


def test_our_own_status_writes_do_not():
    busy = msgspec.structs.replace(app(), metadata=msgspec.structs.replace(app().metadata, resource_version="2"))
    assert after(app(), busy) == (3, 0)


def test_an_object_that_is_listed_again_keeps_its_backoff():
    assert after(None, app()) == (3, 1)
