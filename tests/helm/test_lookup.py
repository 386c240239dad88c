"""What a chart may look up of a real cluster while the real helm renders it, in whose name, and what becomes of it."""

import asyncio
import json
import re
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from yarl import URL

from tests.helm.conftest import SHARED, config, seen, wish
from tests.kube.conftest import CONFIG_MAPS, NAMESPACES, config_map
from tests.kube.faults import Canned, Faults
from trimtab.base.errors import Terminal, Transient
from trimtab.base.http import Request
from trimtab.helm import looked, lookup
from trimtab.helm.looked import Api, Looked, Wanted
from trimtab.helm.lookup import Lookups
from trimtab.helm.template import Capabilities
from trimtab.helm.varying import may_ask
from trimtab.kube import config as kubeconfigs
from trimtab.kube.client import Client
from trimtab.kube.errors import Forbidden
from trimtab.kube.resource import Resource
from trimtab.manifests.refs import Body, Gvk

PODINFO = SHARED / "realworld" / "podinfo" / "charts" / "podinfo"
SECRETS = Resource(Gvk("", "v1", "Secret"), "secrets", True)
ROLES = Resource(Gvk("rbac.authorization.k8s.io", "v1", "Role"), "roles", True)
BINDINGS = Resource(Gvk("rbac.authorization.k8s.io", "v1", "RoleBinding"), "rolebindings", True)


@pytest.fixture
async def faults() -> AsyncIterator[Faults]:
    faults = Faults()
    yield faults
    faults.faults.clear()
    await faults.real.close()


@pytest.fixture
async def admin(kubeconfig, faults) -> Client:
    return Client(kubeconfigs.load(kubeconfig), faults, seed=1)


@pytest.fixture
async def home(admin, namespace) -> str:
    """A namespace of the test's own, in which the account `app` may read ConfigMaps and Secrets."""
    name = namespace()
    await admin.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    rules = [{"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": ["get", "list"]}]
    role: Body = {"metadata": {"name": "reads"}, "rules": rules}
    await admin.create(ROLES, {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role"} | role, name)
    binding: Body = {
        "metadata": {"name": "reads"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reads"},
        "subjects": [{"kind": "ServiceAccount", "name": "app", "namespace": name}],
    }
    await admin.create(BINDINGS, {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding"} | binding, name)
    return name


@pytest.fixture
async def app(admin, home) -> Client:
    """A client in the name of the release's account."""
    await admin.discovery.served()
    account = admin.acting_as(f"system:serviceaccount:{home}:app")
    async with asyncio.timeout(60):  # the server's authorizer follows
        while True:
            with suppress(Forbidden):
                await account.list(SECRETS, home)
                return account
            await asyncio.sleep(0.05)


def secret(name: str, said: str) -> Body:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"said": said}}


def asked(faults: Faults) -> list[str]:
    """What reached the server, without discovery."""
    return [one.url.path for one in faults.requests if one.url.path not in {"/api", "/apis"}]


async def test_a_lookup_sees_what_the_account_sees_and_is_recorded(render, app, admin, home, faults):
    await admin.create(SECRETS, secret("mine", "hello"), home)
    faults.requests.clear()
    text = f'{{{{ (lookup "v1" "Secret" "{home}" "mine").data.said | b64dec }}}} {{{{ .Release.IsInstall }}}} '
    text += f'{{{{ range (lookup "v1" "Secret" "{home}" "").items }}}}{{{{ .metadata.name }}}},{{{{ end }}}}'
    rendering = await render({"a.yaml": config(text)}, lookup=app)
    assert rendering.manifests[0].body["data"]["seen"] == "hello true mine,"
    base = f"/api/v1/namespaces/{home}/secrets"
    assert [one.path for one in rendering.looked_up] == [f"{base}/mine", base]
    assert all(one.digest.startswith("sha256:") for one in rendering.looked_up)
    assert asked(faults) == [f"{base}/mine", base], "no request of helm's own reaches the server"
    assert {one.headers["Impersonate-User"] for one in faults.requests} == {app.user}


async def test_without_a_client_nothing_is_looked_up(render, home):
    rendering = await render({"a.yaml": config(f'\'{{{{ (lookup "v1" "Namespace" "" "{home}") | toJson }}}}\'')})
    assert (rendering.manifests[0].body["data"]["seen"], rendering.looked_up) == ("{}", ())
    assert rendering.digest == rendering.input_digest


async def test_what_is_not_there_is_an_empty_map(render, app, home):
    text = f'{{{{ (lookup "v1" "Secret" "{home}" "none") | toJson }}}}'
    rendering = await render({"a.yaml": config(f"'{text}'")}, lookup=app)
    assert rendering.manifests[0].body["data"]["seen"] == "{}"
    assert rendering.looked_up == (Looked(f"/api/v1/namespaces/{home}/secrets/none"),)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ('lookup "v1" "Secret" "kube-system" ""', 'cannot list resource "secrets" in API group "" in the namespace'),
        ('lookup "v1" "Secret" "kube-system" "a"', 'cannot get resource "secrets" in API group "" in the namespace'),
        ('lookup "v1" "Secret" "" ""', 'cannot list resource "secrets" in API group "" at the cluster scope'),
        ('lookup "v1" "Node" "" "a"', 'cannot get resource "nodes" in API group "" at the cluster scope'),
    ],
)
async def test_a_lookup_beyond_the_rights_of_the_account_fails_in_the_servers_words(render, app, call, says):
    with pytest.raises(Terminal, match=f'User "{app.user}" {re.escape(says)}') as told:
        await render({"a.yaml": config(f"'{{{{ {call} }}}}'")}, lookup=app)
    assert told.value.reason == "BuildFailed"
    assert "app/templates/a.yaml" in str(told.value)


async def test_a_kind_that_nobody_serves_is_an_error_that_names_it(render, app):
    with pytest.raises(Terminal, match=r"no API nowhere\.example\.com/v1"):
        await render({"a.yaml": config('\'{{ lookup "nowhere.example.com/v1" "Thing" "" "" }}\'')}, lookup=app)


async def test_podinfo_is_the_same_with_lookups_and_asks_the_server_nothing(
    template, store, chart_at, app, faults, tmp_path
):
    root = tmp_path / "podinfo"
    shutil.copytree(PODINFO, root)
    (root / "templates" / "asking.txt").write_text('{{ define "x" }}{{ lookup "v1" "Pod" "" "" }}{{ end }}')
    plain, asking = chart_at(PODINFO), chart_at(root)
    faults.requests.clear()
    capabilities = Capabilities.of("v1.36.3", [one.gvk for one in await app.discovery.served()])
    for upgrade in (False, True):
        wished = wish({"ingress": {"enabled": True}}, upgrade=upgrade, capabilities=capabilities)
        one = await template.render(store, plain, wished)
        other = await template.render(store, asking, wished, app)
        assert other.output.manifest == one.output.manifest
        assert [hook.kind for hook in other.output.hooks] == [hook.kind for hook in one.output.hooks]
        assert (other.looked_up, other.varies) == ((), ())
    assert asked(faults) == []


async def test_a_chart_that_asks_for_nothing_is_rendered_as_without_a_cluster(render, admin, faults):
    before = len(faults.requests)
    assert await seen(render({"a.yaml": config("{{ .Capabilities.KubeVersion }}")}, lookup=admin)) == "v1.36.3"
    assert len(faults.requests) == before


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        (b'{{ lookup "v1" "Secret" "" "" }}', True),
        (b'{{ .Capabilities.APIVersions.Has "apps/v1" }}', True),
        (b"{{ $known := .Capabilities }}", True),
        (b"{{ $.Capabilities.KubeVersion.Version }}", False),
        (b"lookup", False),
        (b"{{ .Values.a }}", False),
    ],
)
def test_it_is_known_what_only_a_cluster_can_tell(text, asks):
    assert may_ask([text]) is asks


async def test_what_charts_see_of_the_cluster_is_what_is_wished(render, app):
    text = "{{ .Capabilities.KubeVersion }} {{ .Capabilities.KubeVersion.Minor }}"
    for version in ("example.com/v1", "example.com/v1/Widget", "apps/v1", "v1", "policy/v1beta1", "batch/v1"):
        text += f' {{{{ .Capabilities.APIVersions.Has "{version}" }}}}'
    assert await seen(render({"a.yaml": config(text)}, lookup=app)) == "v1.36.3 36 true true true true false false"


async def test_whose_an_object_is_is_not_asked_while_it_is_rendered(render, app, admin, home, faults):
    await admin.create(CONFIG_MAPS, config_map("me", of="somebody else"), home)
    faults.requests.clear()
    rendering = await render({"a.yaml": config("{{ len .Capabilities.APIVersions }}")}, lookup=app, namespace=home)
    assert (len(rendering.manifests), asked(faults), rendering.looked_up) == (1, [], ())


async def test_objects_of_kinds_that_are_not_served_yet_are_rendered(render, template, app, monkeypatch):
    runs = []
    run = template._confined.run

    async def counted(task):
        runs.append(task)
        return await run(task)

    monkeypatch.setattr(template._confined, "run", counted)
    kinds = ("example.org/v1", "First"), ("example.org/v1beta1", "Second"), ("v7", "Third")
    texts = [f"apiVersion: {api}\nkind: {kind}\nmetadata: {{name: a}}\n" for api, kind in kinds]
    has = config('{{ .Capabilities.APIVersions.Has "example.org/v1" }}')
    files = {f"{number}.yaml": text for number, text in enumerate(texts)} | {"a.yaml": has}
    for expected in (2, 3):
        rendering = await render(files, lookup=app)
        assert [one.ref.kind for one in rendering.manifests] == ["ConfigMap", "First", "Second", "Third"]
        assert rendering.manifests[0].body["data"]["seen"] is False
        assert len(runs) == expected, "it is known the second time"


GENERATED = """apiVersion: v1
kind: Secret
metadata:
  name: generated
stringData:
  password: {{{{ with (lookup "v1" "Secret" "{home}" "generated").data }}}}{{{{ .password | b64dec }}}}{{{{ else -}}}}
    {{{{ randAlphaNum 16 }}}}{{{{ end }}}}
"""


async def test_a_generated_password_stays_once_it_can_be_looked_up(render, app, admin, home, faults):
    files = {"a.yaml": GENERATED.format(home=home)}
    first = await render(files, lookup=app)
    assert first.varies == ("app/templates/a.yaml",)
    [made] = first.manifests
    await admin.create(SECRETS, made.body, home)
    faults.requests.clear()
    for upgrade in (False, True):
        again = await render(files, lookup=app, upgrade=upgrade)
        assert again.manifests[0].body["stringData"] == made.body["stringData"]
        assert again.varies == ()
    assert len(asked(faults)) == 2, "a chart that may vary is rendered twice, and its lookups are asked once"
    assert first.looked_up != again.looked_up
    assert first.digest != again.digest


async def test_a_record_differs_when_the_object_does_and_not_when_its_version_moved(render, app, admin, home):
    async def apply(said: str, manager: str) -> None:
        await admin.apply(SECRETS, "mine", home, secret("mine", said), field_manager=manager)

    files = {"a.yaml": config(f'\'{{{{ len (lookup "v1" "Secret" "{home}" "") }}}}\'')}
    await apply("one", "a")
    one = await render(files, lookup=app)
    await apply("one", "b")
    same = await render(files, lookup=app)
    await apply("two", "a")
    other = await render(files, lookup=app)
    assert one.looked_up == same.looked_up != other.looked_up


@pytest.mark.parametrize("name", ["mine", ""], ids=["object", "list"])
async def test_what_a_secret_holds_is_in_no_message(render, app, admin, home, name):
    await admin.create(SECRETS, secret("mine", "c4nary-c4nary"), home)
    found = f'(lookup "v1" "Secret" "{home}" "{name}")'
    data = f"{found}.data.said" if name else f"(index {found}.items 0).data.said"
    with pytest.raises(Terminal, match="I saw … and …") as told:
        await render(
            {"a.yaml": config(f'{{{{ fail (printf "I saw %s and %s" {data} ({data} | b64dec)) }}}}')}, lookup=app
        )
    assert "c4nary" not in str(told.value)


@pytest.mark.parametrize(
    ("status", "error"), [(503, Transient), (500, Transient), (429, Transient), (400, Terminal), (401, Terminal)]
)
async def test_a_server_that_fails_is_no_fault_of_the_chart(render, app, home, faults, status, error):
    said = json.dumps({"kind": "Status", "status": "Failure", "message": "not today", "code": status}).encode()
    path = f"/api/v1/namespaces/{home}/secrets/a"
    faults.answer(*[Canned(status, said, {"Retry-After": "60"})] * 9, path=path)
    with pytest.raises(error, match="not today"):
        await render({"a.yaml": config(f'\'{{{{ lookup "v1" "Secret" "{home}" "a" }}}}\'')}, lookup=app)


async def test_a_server_that_does_not_answer_in_time_is_no_fault_of_the_chart(render, app, home, faults, monkeypatch):
    monkeypatch.setattr(lookup, "ANSWER_S", 0.2)

    async def hang(request: Request) -> None:
        if request.url.path.endswith("/secrets/a"):
            await asyncio.Event().wait()

    faults.faults.append(hang)
    with pytest.raises(Transient, match=r"did not answer GET .*/secrets/a in time"):
        await render({"a.yaml": config(f'\'{{{{ lookup "v1" "Secret" "{home}" "a" }}}}\'')}, lookup=app)


async def test_lookups_that_take_too_long_together_are_no_fault_of_the_chart(render, app, home, faults, monkeypatch):
    monkeypatch.setattr(lookup, "ANSWERS_S", 1e-6)
    text = f'{{{{ range tuple "a" "b" }}}}{{{{ lookup "v1" "Secret" "{home}" . }}}}{{{{ end }}}}'
    with pytest.raises(Transient, match=r"did not answer GET .*/secrets/a in time"):
        await render({"a.yaml": config(f"'{text}'")}, lookup=app)
    lookups = Lookups(app, await app.discovery.served(), "v1.36.3", ())
    lookups._seconds = 1.0
    async with answering(lookups) as (address, session):
        answer = await session.get(f"{address}/api/v1/namespaces/{home}/secrets/a")
        assert (answer.status, "takes longer than 1e-06 s" in (await answer.json())["message"]) == (504, True)
    assert lookups.trouble


async def test_the_201st_lookup_is_refused(render, app, home, faults):
    text = f'\'{{{{ range until 201 }}}}{{{{ lookup "v1" "Secret" "{home}" (printf "a-%d" .) }}}}{{{{ end }}}}\''
    faults.requests.clear()
    with pytest.raises(Terminal, match=r"a chart may look up 200 things, and .*/secrets/a-200 is one more"):
        await render({"a.yaml": config(text)}, lookup=app)
    assert len(asked(faults)) == 200


@pytest.mark.parametrize(("limit", "says"), [("MAX_ANSWER", "what is at"), ("MAX_ANSWERS", "what the chart looked up")])
async def test_an_answer_that_is_too_large_is_refused(render, app, admin, home, monkeypatch, limit, says):
    monkeypatch.setattr(lookup, limit, 64 << 10)
    await admin.create(CONFIG_MAPS, config_map("large", x="x" * (100 << 10)), home)
    with pytest.raises(Terminal, match=f"{says} .* is larger than 0 MiB; look up single objects"):
        await render({"a.yaml": config(f'\'{{{{ lookup "v1" "ConfigMap" "{home}" "" }}}}\'')}, lookup=app)


async def test_lookups_work_where_no_network_of_ones_own_is_to_be_had(render, app, admin, home, monkeypatch):
    monkeypatch.setattr("trimtab.base.process._unshare", lambda flags: -1)
    await admin.create(CONFIG_MAPS, config_map("mine", said="hello"), home)
    text = f'{{{{ (lookup "v1" "ConfigMap" "{home}" "mine").data.said }}}}'
    assert await seen(render({"a.yaml": config(text)}, lookup=app)) == "hello"


async def test_there_is_no_dns_with_lookups_either(render, app):
    assert (
        await seen(render({"a.yaml": config("'{{ getHostByName \"localhost\" }}{{/* lookup */}}'")}, lookup=app)) == ""
    )


@asynccontextmanager
async def answering(lookups: Lookups) -> AsyncIterator[tuple[str, aiohttp.ClientSession]]:
    """Where it answers, and who asks."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        told = json.loads(lookups.files(listener.getsockname()[1])["kubeconfig"])
        async with lookups.serving(listener), aiohttp.ClientSession() as session:
            yield told["clusters"][0]["cluster"]["server"], session


@pytest.fixture
async def lookups(app) -> Lookups:
    return Lookups(app, await app.discovery.served(), "v1.36.3", ("v1", "v1/Pod"))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/namespaces/{home}/secrets"),
        ("DELETE", "/api/v1/namespaces/{home}/secrets/a"),
        ("PATCH", "/api/v1/namespaces/{home}/secrets/a"),
        ("HEAD", "/api/v1/namespaces/{home}/secrets/a"),
        ("GET", "/api/v1/namespaces/{home}/secrets?watch=true"),
        ("GET", "/api/v1/namespaces/{home}/secrets?labelSelector=a"),
        ("GET", "/api/v1/namespaces/{home}/pods/a/log"),
        ("GET", "/api/v1/namespaces/{home}/pods/a/exec"),
        ("GET", "/api/v1/namespaces/{home}/services/a/proxy/x"),
        ("GET", "/api/v1/nodes/a/proxy/metrics"),
        ("GET", "/apis/apps/v1/namespaces/{home}/deployments/a/scale"),
        ("GET", "/openapi/v2"),
        ("GET", "/metrics"),
        ("GET", "/healthz"),
        ("GET", "/api/v1//secrets"),
        ("GET", "/api/v1/namespaces/{home}/secrets/..%2f..%2fa"),
        ("GET", "/api/v1/namespaces/%2e%2e/secrets"),
        ("GET", "/"),
    ],
)
async def test_whatever_is_no_object_and_no_list_is_refused_and_not_asked(lookups, home, faults, method, path):
    faults.requests.clear()
    async with answering(lookups) as (address, session):
        answer = await session.request(method, URL(address + path.format(home=home), encoded=True))
        assert answer.status == 403
        if method != "HEAD":
            said = await answer.json()
            assert (said["kind"], said["code"], said["reason"]) == ("Status", 403, "Forbidden")
            assert method in said["message"]
    assert asked(faults) == []


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/{home}/nothings/a",
        "/api/v1/watch/secrets",
        "/api/v1/namespaces/{home}/status",
        "/api/v1/namespaces/{home}/namespaces/a",
        "/api/v1/secrets/a",
        "/apis/authorization.k8s.io/v1/namespaces/{home}/localsubjectaccessreviews/a",
    ],
)
async def test_what_is_no_object_of_a_kind_that_can_be_read_is_not_there(lookups, home, faults, path):
    faults.requests.clear()
    async with answering(lookups) as (address, session):
        assert (await session.get(address + path.format(home=home))).status == 404
    assert asked(faults) == []


async def test_nobody_who_was_not_told_the_address_gets_an_answer(lookups, home, faults):
    faults.requests.clear()
    async with answering(lookups) as (address, session):
        for path in ("", "/", f"/{'0' * 32}", "/api/v1"):
            for more in ("/version", f"/api/v1/namespaces/{home}/secrets"):
                answer = await session.get(address.rpartition("/")[0] + path + more)
                assert (answer.status, (await answer.json())["reason"]) == (401, "Unauthorized")
        assert (await session.get(address + "/version")).status == 200
    assert asked(faults) == []


async def test_the_address_is_another_each_time_and_all_that_is_told(lookups):
    one, other = (lookups.files(1234)["kubeconfig"].decode() for _ in range(2))
    assert one != other
    assert re.sub(r"[0-9a-f]{32}", "", one) == re.sub(r"[0-9a-f]{32}", "", other)
    assert json.loads(one)["users"] == [{"name": "it", "user": {}}]


async def test_when_helm_reads_the_kinds_again_nothing_is_looked_up_any_more(lookups, home, admin, faults):
    await admin.create(CONFIG_MAPS, config_map("mine"), home)
    path = f"/api/v1/namespaces/{home}/configmaps/mine"
    async with answering(lookups) as (address, session):
        for expected in (200, 404):
            for document in ("/api", "/apis"):
                assert (await session.get(address + document)).status == 200
            assert (await session.get(address + path)).status == expected
    assert [one.path for one in lookups.looked_up] == [path]


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/api/v1", Api("", "v1")),
        ("/apis/apps/v1", Api("apps", "v1")),
        ("/apis/apps/v1/deployments", Wanted(Api("apps", "v1"), "deployments")),
        ("/api/v1/namespaces/a", Wanted(Api("", "v1"), "namespaces", name="a")),
        ("/api/v1/namespaces/a/secrets", Wanted(Api("", "v1"), "secrets", "a")),
        ("/api/v1/namespaces/a/secrets/b%3Ac", Wanted(Api("", "v1"), "secrets", "a", "b:c")),
        ("/api/v1/namespaces/a/pods/b/log", None),
        ("/api/v1/", None),
        ("/apis", None),
        ("/logs", None),
    ],
)
def test_a_path_is_understood_or_refused(path, meant):
    assert looked.wanted(path) == meant


def test_capabilities_are_taken_apart():
    found = looked.wished(["v1", "v1/Pod", "apps/v1", "apps/v1/Deployment", "v1beta1/X", "a/b/c/d"])
    assert found.apis == (Api("", "v1"), Api("apps", "v1"))
    assert found.kinds == (Gvk("", "v1", "Pod"), Gvk("apps", "v1", "Deployment"), Gvk("", "v1beta1", "X"))


@pytest.mark.parametrize(
    "answer",
    [b"{", b"[]", b"1", b'{"items": 1, "metadata": 2}', b'{"a":' * 5_000 + b"1" + b"}" * 5_000],
    ids=["cut", "list", "number", "odd", "deep"],
)
def test_an_answer_that_makes_no_sense_has_a_digest_too(answer):
    assert looked.digest_of(answer).startswith("sha256:")


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b'{"kind": "Secret", "data": {"a": "Yg==", "c": "%", "d": 1}}', ["Yg==", "b", "%", ""]),
        (b'{"kind": "SecretList", "items": [{"data": {"a": "Yg=="}}, 1, {"data": 2}]}', ["Yg==", "b"]),
        (b'{"kind": "SecretList", "items": 1}', []),
        (b'{"kind": "ConfigMap", "data": {"a": "b"}}', []),
        (b"{", []),
    ],
    ids=["object", "list", "odd", "no-secret", "cut"],
)
def test_the_values_of_secrets_are_found_in_answers(answer, found):
    assert list(looked.secrets_in(answer)) == found
