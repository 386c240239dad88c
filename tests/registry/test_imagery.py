"""Whether images exist, asked of real registries: as a node would, and never taken for there without an answer."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.e2e.world import free_port
from tests.registry.server import RegistryServer
from trimtab.base.clock import SystemClock
from trimtab.base.http import AiohttpTransport
from trimtab.cli.preview.imagery import Asked, Imagery
from trimtab.manifests.refs import Body, Ref
from trimtab.preview.needs import Image
from trimtab.preview.verdict import Verdict
from trimtab.remotes.oci.registry import Registry
from trimtab.remotes.oci.wire import Wire
from trimtab.remotes.outbound import Outbound


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    transport = AiohttpTransport()
    yield Registry(Wire(Outbound(transport, SystemClock()), SystemClock()))
    await transport.close()


def logins(host: str, password: str = "right") -> bytes:  # noqa: S107
    auth = base64.b64encode(f"reader:{password}".encode()).decode()
    return json.dumps({"auths": {host: {"auth": auth}}}).encode()


def pod(*secrets: str, account: str = "") -> Body:
    spec: Body = {"containers": [{"name": "a"}], "imagePullSecrets": [{"name": name} for name in secrets]}
    if account:
        spec["serviceAccountName"] = account
    return {"apiVersion": "v1", "kind": "Pod", "spec": spec}


def pull_secret(config: bytes) -> Body:
    return {"data": {".dockerconfigjson": base64.b64encode(config).decode()}}


async def judged(registry: Registry, server: RegistryServer, name: str, body: Body | None = None, **more: Any) -> Any:
    imagery = Imagery(registry, None, more.pop("bodies", {}), {server.host}, **more)
    [found] = await imagery.judge([Asked(Image(name, "spec.x"), body or pod(), "shop")])
    assert found.path == "spec.x"
    return found


async def test_an_image_is_there_by_its_tag_and_by_its_digest_or_it_is_not(
    registry: Registry, public: RegistryServer
) -> None:
    digest = public.push("team/web", "1", {"version": "1"})
    for version in (":1", f"@{digest}", f":gone@{digest}"):
        found = await judged(registry, public, f"{public.host}/team/web{version}")
        assert (found.verdict, found.digest) == (Verdict.FINE, digest)
    for missing in ("team/web:2", "team/web", "team/other:1", f"team/web@sha256:{'0' * 64}"):
        found = await judged(registry, public, f"{public.host}/{missing}")
        assert (found.verdict, found.digest) == (Verdict.IMAGE_MISSING, "")
        assert f"{public.host}/{missing} is not in its registry" in found.message


@pytest.mark.parametrize(
    "name", ["Web:1", "a/b:c/d", "web:", "web:-x", "web@sha256:1", "a b", "x" * 600, "-/x", "web@md5:0"]
)
async def test_what_is_no_name_of_an_image_will_never_start(
    registry: Registry, public: RegistryServer, name: str
) -> None:
    found = await judged(registry, public, name)
    assert found.verdict is Verdict.IMAGE_MISSING
    assert "is not the name of an image" in found.message


async def test_a_registry_that_does_not_answer_is_unknown(registry: Registry, public: RegistryServer) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    imagery = Imagery(registry, None, {}, {nobody})
    names = [f"{nobody}/web:1", f"{public.host}/web:1", "169.254.169.254/web:1"]  # the second does not speak TLS
    for found in await imagery.judge([Asked(Image(name, ""), pod(), "shop") for name in names]):
        assert found.verdict is Verdict.UNKNOWN
        assert found.message.startswith("whether ")


async def test_a_private_registry_is_asked_with_pull_secrets_and_else_with_the_logins_of_docker(
    registry: Registry, private: RegistryServer
) -> None:
    digest = private.push("team/web", "1", {"version": "1"})
    name, ref = f"{private.host}/team/web:1", Ref("", "Secret", "shop", "pull")
    account = Ref("", "ServiceAccount", "shop", "robot")
    right, wrong = pull_secret(logins(private.host)), pull_secret(logins(private.host, "wrong"))
    ways: list[dict[str, Any]] = [
        {"body": pod("pull"), "bodies": {ref: right}},
        {"body": pod(account="robot"), "bodies": {ref: right, account: {"imagePullSecrets": [{"name": "pull"}]}}},
        {"config": logins(private.host)},
        {"body": pod("none"), "config": logins(private.host)},
    ]
    for way in ways:
        found = await judged(registry, private, name, **way)
        assert (found.verdict, found.digest) == (Verdict.FINE, digest)
    for refused in ({}, {"body": pod("pull"), "bodies": {ref: wrong}}, {"config": logins("elsewhere.example.org")}):
        found = await judged(registry, private, name, **refused)
        assert found.verdict is Verdict.UNKNOWN
    for broken in ({"data": {".dockerconfigjson": "%"}}, pull_secret(b"nonsense"), {"data": {}}, {}):
        found = await judged(registry, private, name, pod("pull"), bodies={ref: broken})
        assert found.verdict is Verdict.UNKNOWN
        assert "dockerconfigjson" in found.message
    missing = await judged(registry, private, f"{private.host}/team/web:9", config=logins(private.host))
    assert missing.verdict is Verdict.IMAGE_MISSING


async def test_one_image_of_many_objects_is_asked_for_once(registry: Registry, public: RegistryServer) -> None:
    public.push("team/web", "1", {"version": "1"})
    asked: list[str] = []

    class Counting:
        async def digest(self, repository: Any, access: Any, version: str) -> str:
            asked.append(version)
            return await registry.digest(repository, access, version)

    imagery = Imagery(Counting(), None, {}, {public.host})  # type: ignore[arg-type]
    image = f"{public.host}/team/web:1"
    found = await imagery.judge([Asked(Image(image, f"spec.{n}"), pod(), "shop") for n in range(20)])
    assert [one.path for one in found] == [f"spec.{n}" for n in range(20)]
    assert asked == ["1"]
