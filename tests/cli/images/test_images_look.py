"""What `trimtab images` says where the registry cannot be asked, and of what runs."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from tests.e2e.world import free_port
from trimtab.api.image import ImagePolicy, ImageRepository
from trimtab.base.clock import SystemClock
from trimtab.base.http import AiohttpTransport
from trimtab.cli.images.look import Explained, Row, distance, explain
from trimtab.images.choosing import Rules
from trimtab.images.running import Running
from trimtab.images.scanning import Scanner
from trimtab.remotes.outbound import Outbound

METADATA = {"name": "shop", "namespace": "flux-system"}


def policy(**spec: Any) -> ImagePolicy:
    wanted = {"imageRepositoryRef": {"name": "shop"}, "policy": {"semver": {"range": "1.x"}}, **spec}
    return msgspec.convert({"metadata": METADATA, "spec": wanted}, ImagePolicy)


def row(version: str) -> Row:
    return Row(Running("shop", "Deployment/cart", "app", "ghcr.io/acme/shop", version), policy())


async def test_a_registry_that_does_not_answer_is_told_and_the_tags_of_the_status_are_judged() -> None:
    port = free_port()
    spec = {"image": f"127.0.0.1:{port}/shop", "interval": "1m", "insecure": True}
    result = {"tagCount": 40, "latestTags": ["2.0.0", "1.1.0", "1.0.0"]}
    body = {"metadata": METADATA, "spec": spec, "status": {"lastScanResult": result}}
    repository = msgspec.convert(body, ImageRepository)
    transport, clock = AiohttpTransport(), SystemClock()
    scanner, client = Scanner(Outbound(transport, clock), clock), SimpleNamespace()
    found = await explain(client, scanner, policy(), repository, 5, set())  # type: ignore[arg-type]
    assert found.choice is not None
    assert found.choice.tag == "1.1.0"
    assert found.note.startswith(f"the registry cannot be asked from here: oci://127.0.0.1:{port}/shop: ")
    assert found.note.endswith("judged by the 3 tags of the status")
    wrong = await explain(client, scanner, policy(policy={}), repository, 5, set())  # type: ignore[arg-type]
    assert wrong.choice is None
    assert "spec.policy says nothing" in wrong.note
    await transport.close()


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("1.1.0", "runs 1.1.0, the one that is chosen"),
        ("1.0.1", "runs 1.0.1; 1 candidate is better, 31 days between them"),
        ("1.0.0@sha256:abc", "runs 1.0.0; 2 candidates are better"),
        ("2.0.0", "runs 2.0.0, which is no candidate: spec.policy: '2.0.0' is not in the range 1.x"),
        ("@sha256:abc", "runs @sha256:abc, which is no candidate: the registry does not list it"),
        ("", "runs latest, which is no candidate: the registry does not list it"),
    ],
    ids=["chosen", "one", "two", "beyond", "digest", "nothing"],
)
def test_how_far_behind_a_workload_is(version: str, words: str) -> None:
    choice = Rules.of(policy()).choose(["1.0.0", "1.0.1", "1.1.0", "2.0.0"])
    created = {"1.1.0": datetime(2026, 2, 1, tzinfo=UTC), "1.0.1": datetime(2026, 1, 1, tzinfo=UTC)}
    assert distance(row(version), Explained(choice, created, "")) == f"\nDeployment/cart {words}"
