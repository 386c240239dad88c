"""`kill -9` in the middle of an action of a release: the next process ends it well, and nobody counts a failure."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.releases import Home, chart
from tests.e2e.test_helm_release import hook
from tests.e2e.test_restart import own
from tests.e2e.world import World, until

__all__ = ["own"]

HELD = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-held
  finalizers: [helm.example/held]
"""


@pytest.fixture
def home(own: World) -> Iterator[Home]:
    home = Home(own, "crash")
    own.controller.start()
    yield home
    own.let_go(home.ns)


def begun(home: Home, status: str, revision: int) -> None:
    """Wait until that is on record; then the process dies, without a word."""
    secret = f"/api/v1/namespaces/{home.ns}/secrets/sh.helm.release.v1.app.v{revision}"
    until(
        lambda: ((home.api.get(secret) or {}).get("metadata") or {}).get("labels", {}).get("status") == status,
        lambda: home.why("app"),
    )
    home.world.controller.kill()


def uncounted(item: Any) -> None:
    assert not {"failures", "installFailures", "upgradeFailures"} & item["status"].keys()


SLOW = hook("slow", "{{ .Values.slow }}").replace("activeDeadlineSeconds: 1", "suspend: true")
"""A Job that does not begin, and so does not end, while it is among the broken ones."""


def test_a_process_that_dies_in_an_install_leaves_one_that_the_next_brings_to_its_end(home: Home) -> None:
    home.charts(chart(files={"templates/slow.yaml": SLOW}))
    home.release(values={"slow": "post-install", "broken": ["slow"]})
    until(lambda: home.data("app"), lambda: home.why("app"))
    begun(home, "pending-install", 1)
    home.change(values={"slow": "post-install,post-upgrade", "broken": []})
    home.world.controller.start()
    item = home.ready(revision=2)
    uncounted(item)
    assert [one["status"] for one in home.helm_json("history", "app")] == ["failed", "deployed"]


def test_a_process_that_dies_in_an_install_goes_on_with_the_very_same_wish(home: Home) -> None:
    home.charts(chart(files={"templates/slow.yaml": SLOW}))
    home.release(values={"slow": "post-install,post-upgrade", "broken": ["slow"]})
    until(lambda: home.data("app"), lambda: home.why("app"))
    begun(home, "pending-install", 1)
    home.world.controller.start()
    secret = f"/api/v1/namespaces/{home.ns}/secrets/sh.helm.release.v1.app.v2"
    until(lambda: home.api.get(secret), lambda: home.why("app"))
    uncounted(home.get())
    home.change(values={"slow": "post-upgrade", "broken": []})
    uncounted(home.ready())


def test_a_process_that_dies_in_an_upgrade_leaves_one_that_the_next_brings_to_its_end(home: Home) -> None:
    home.charts(chart(files={"templates/slow.yaml": SLOW}))
    home.release(values={"slow": "post-upgrade"})
    home.ready(revision=1)
    home.change(values={"slow": "post-upgrade", "colour": "red", "broken": ["slow"]})
    until(lambda: home.data("app") == {"colour": "red"}, lambda: home.why("app"))
    begun(home, "pending-upgrade", 2)
    home.change(values={"slow": "post-upgrade", "colour": "green", "broken": []})
    home.world.controller.start()
    item = home.ready(revision=3)
    uncounted(item)
    assert home.data("app") == {"colour": "green"}
    found = [one["status"] for one in home.helm_json("history", "app")]
    assert found == ["superseded", "failed", "deployed"]


def test_a_process_that_dies_in_an_uninstall_leaves_nothing_behind(home: Home) -> None:
    home.charts(chart(files={"templates/held.yaml": HELD}))
    home.release()
    home.ready(revision=1)
    home.api.delete(home.path())
    begun(home, "uninstalling", 1)
    path = f"/api/v1/namespaces/{home.ns}/configmaps/app-held"
    home.api.merge(path, {"metadata": {"finalizers": None}})
    home.world.controller.start()
    home.gone()
    assert (home.data("app"), home.data("app-held")) == (None, None)
    secrets = home.api.get(f"/api/v1/namespaces/{home.ns}/secrets")["items"]
    assert [one["metadata"]["name"] for one in secrets if one["type"] == "helm.sh/release.v1"] == []
