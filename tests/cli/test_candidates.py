"""What `trimtab release` shows to registries, with a double in the place of the way out."""

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trimtab.api.image import ImageRepository
from trimtab.cli import candidates
from trimtab.cli.candidates import Candidates
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


def policies(*, insecure: bool) -> Policies:
    spec = {"image": IMAGE, "interval": "1m", "insecure": insecure}
    metadata = {"name": "app", "namespace": "ns"}
    return Policies({}, {Key("ns", "app"): msgspec.convert({"metadata": metadata, "spec": spec}, ImageRepository)}, {})


@pytest.mark.parametrize("insecure", [False, True])
async def test_a_person_s_own_login_goes_nowhere_in_the_clear_because_an_object_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, insecure: bool
) -> None:
    login = base64.b64encode(b"ann:s3cret").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"registry.example:5000": {"auth": login}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    ways: list[Access] = []

    class Outbound:
        """Nobody answers."""

        def __init__(self, *_: Any, **__: Any) -> None: ...

        async def follow(self, _request: Any, way: Access, **_: Any) -> Any:
            ways.append(way)
            raise Unanswered("nobody is there")

    monkeypatch.setattr(candidates, "Outbound", Outbound)
    async with Candidates(policies(insecure=insecure), None, force=False) as asking:
        assert isinstance(await asking.exists(WORKLOAD, APP, "1.1.0"), Refusal)
    [way] = ways
    assert (way.logins.find("registry.example", 5000) is None) is insecure
