"""`--deny-private-addresses`: sources at private addresses stall, and nobody there hears of it."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.world import SOURCES, Controller, World, condition, until
from tests.remotes.listener import Listener


@pytest.fixture(scope="module")
def denying(
    world: World,
    api: Any,
    kubeconfig: Any,
    git_root: Any,
    git_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    world.controller.stop()
    controller = Controller(kubeconfig, tmp_path_factory.mktemp("denying"), "--deny-private-addresses")
    controller.start()
    yield World(api, git_url, git_root, controller)
    assert controller.stop() == 0
    assert "Traceback" not in controller.log, controller.log[-4000:]
    world.controller.start()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "GitRepository": ("gitrepositories", {"url": "http://HOST/repo.git"}),
    "OCIRepository": ("ocirepositories", {"url": "oci://HOST/app", "insecure": True}),
}


def test_without_the_flag_the_owner_of_the_object_is_believed(world: World, ns: str, listener: Listener) -> None:
    # before the other controller runs: it is the flag that keeps packets away
    world.source(ns, f"http://127.1:{listener.port}/repo.git")
    until(lambda: listener.accepted, lambda: str(world.get_source(ns)["status"]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_at_a_private_address_stalls_and_gets_no_packet(denying: World, listener: Listener, kind: str) -> None:
    ns = denying.namespace(f"denied-{kind.lower()}")
    plural, spec = KINDS[kind]
    path = f"{SOURCES}/namespaces/{ns}/{plural}"
    hosts = {"plain": "127.0.0.1", "short": "127.1", "number": "2130706433", "name": "localhost"}
    for name, host in hosts.items():
        filled = {
            key: value.replace("HOST", f"{host}:{listener.port}") if isinstance(value, str) else value
            for key, value in spec.items()
        }
        body = {"metadata": {"name": name}, "spec": {"interval": "1h", **filled}}
        denying.api.create(path, {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": kind, **body})
    for name in hosts:
        item = until(
            lambda name=name: stalled(denying.api.get(f"{path}/{name}")),  # type: ignore[misc]
            lambda name=name: str(denying.api.get(f"{path}/{name}")["status"]),  # type: ignore[misc]
        )
        ready = condition(item, "Ready")
        assert (ready["status"], ready["reason"]) == ("False", "URLInvalid")
        assert "which is never contacted" in ready["message"]
    assert listener.accepted == 0
    denying.let_go(ns)


def stalled(item: Any) -> Any:
    return item if condition(item, "Stalled").get("status") == "True" else None
