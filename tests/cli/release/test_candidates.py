"""What `trimtab release` shows to registries, with a double in the place of the way out."""

import base64
import json
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from trimtab.api.image import ImageRepository
from trimtab.cli.release import candidates
from trimtab.cli.release.candidates import Candidates
from trimtab.controllers import registryaccess
from trimtab.images.deciding import Policies
from trimtab.images.places import InWorkload
from trimtab.images.releasing import Refusal
from trimtab.images.workloads import Container, Slot, Workload
from trimtab.manifests.refs import Key
from trimtab.remotes.oci.wire import Access
from trimtab.remotes.outbound import Unanswered

IMAGE = "registry.example:5000/acme/app"
APP = Container("app", f"{IMAGE}:1.0.0", 1, Slot("app.yaml", InWorkload("Deployment", "ns", "app", "app"), IMAGE))
WORKLOAD = Workload("", "app.yaml", 1, "Deployment", "ns", "app", {}, (APP,))


def repository(**spec: Any) -> ImageRepository:
    body = {"metadata": {"name": "app", "namespace": "ns"}, "spec": {"image": IMAGE, "interval": "1m", **spec}}
    return msgspec.convert(body, ImageRepository)


def policies(*, insecure: bool) -> Policies:
    return Policies({}, {Key("ns", "app"): repository(insecure=insecure)}, {})


class Outbound:
    """In the place of the way out: nobody answers, and what was sent is kept."""

    ways: ClassVar[list[Access]] = []

    def __init__(self, *_: Any, **__: Any) -> None:
        self.ways.clear()

    async def follow(self, _request: Any, way: Access, **_: Any) -> Any:
        self.ways.append(way)
        raise Unanswered("nobody is there")


@pytest.mark.parametrize("insecure", [False, True])
async def test_a_person_s_own_login_goes_nowhere_in_the_clear_because_an_object_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, insecure: bool
) -> None:
    login = base64.b64encode(b"ann:s3cret").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"registry.example:5000": {"auth": login}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(candidates, "Outbound", Outbound)
    async with Candidates(policies(insecure=insecure), None, force=False) as asking:
        assert isinstance(await asking.exists(WORKLOAD, APP, "1.1.0"), Refusal)
    [way] = Outbound.ways
    assert (way.logins.find("registry.example", 5000) is None) is insecure


@pytest.mark.parametrize("live", [False, True], ids=["only in git", "in the cluster"])
async def test_which_secret_is_read_is_nothing_that_git_alone_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, live: bool
) -> None:
    read: list[Key] = []

    async def of(_client: Any, item: ImageRepository, _timeout_s: float) -> Access:
        read.append(item.metadata.key)
        return Access()

    monkeypatch.setattr(registryaccess, "of", of)
    monkeypatch.setattr(candidates, "Outbound", Outbound)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    said = {Key("ns", "app"): repository(secretRef={"name": "pull"}, insecure=True)}
    known = Policies({}, said, {}).over({}, said if live else {})
    client: Any = object()
    async with Candidates(known, client, force=False) as asking:
        assert isinstance(await asking.exists(WORKLOAD, APP, "1.1.0"), Refusal)
    assert read == ([Key("ns", "app")] if live else [])
    assert len(Outbound.ways) == 1
