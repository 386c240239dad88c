"""The real helm as a confined worker: what it renders, what it may not reach, and what bounds it."""

import asyncio
import base64
import io
import json
import re
import subprocess
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from tests.helm.conftest import CAPABILITIES, SHARED, config, seen, wish, write_chart
from trimtab.base.confined import Bounds
from trimtab.base.errors import Terminal, Transient
from trimtab.base.process import Limits
from trimtab.helm.output import parts
from trimtab.helm.template import Capabilities, Template, clean
from trimtab.helm.values import Piece, compose
from trimtab.helm.varying import may_vary
from trimtab.manifests.refs import Gvk

PODINFO = SHARED / "realworld" / "podinfo" / "charts" / "podinfo"


async def test_podinfo_is_what_helm_renders_plainly(template, store, chart_at, helm, tmp_path):
    values = {"replicaCount": 3, "redis": {"enabled": True}, "ingress": {"enabled": True, "className": "nginx"}}
    (tmp_path / "values.json").write_text(json.dumps(values))
    chart = chart_at(PODINFO)
    for upgrade in (False, True):
        found = await template.render(store, chart, wish(values, upgrade=upgrade))
        plainly = helm(
            *("template", "me", PODINFO, "-n", "apps", "-f", tmp_path / "values.json", "--kube-version", "v1.36.3"),
            *(f"--api-versions={one}" for one in CAPABILITIES.api_versions),
            *(["--is-upgrade"] if upgrade else []),
        )
        hooks = "".join(f"---\n# Source: {hook.path}\n{hook.manifest}" for hook in found.output.hooks)
        assert lines(found.output.manifest + hooks) == lines(plainly)
        assert found.varies == ()
    assert {manifest.ref.kind for manifest in found.manifests} >= {"Deployment", "Service", "Ingress", "ConfigMap"}


def lines(text: str) -> list[str]:
    """Without the empty ones, and without the names that chance gives to podinfo's tests."""
    return [re.sub(r"-test-[a-z0-9]{5}$", "-test", line) for line in text.splitlines() if line]


async def test_a_chart_sees_its_release_and_the_cluster(render):
    text = "{{ .Release.Name }}/{{ .Release.Namespace }}/{{ .Release.IsUpgrade }}/{{ .Capabilities.KubeVersion }}"
    text += '/{{ .Capabilities.APIVersions.Has "example.com/v1/Widget" }}/{{ .Values.a.b }}'
    assert await seen(render({"a.yaml": config(text)}, {"a": {"b": 1}})) == "me/apps/false/v1.36.3/true/1"


async def test_definitions_come_apart_from_the_rest(render):
    crd = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: a.example.com}\n"
    found = await render({"a.yaml": config("x"), "crds/a.yaml": crd})
    assert [manifest.ref.kind for manifest in found.crds] == ["CustomResourceDefinition"]
    assert [manifest.ref.kind for manifest in found.manifests] == ["ConfigMap"]


async def test_values_are_in_no_file_no_argument_and_no_environment(store, chart_at, tmp_path):
    program, said = tmp_path / "helm", tmp_path / "said"
    spying = f'/usr/bin/env; echo "$@"; cd ..; /bin/grep -rs "" .; echo in: && /bin/cat > {tmp_path}/stdin'
    program.write_text(f"#!/bin/sh\n({spying}) > {said}\n")
    program.chmod(0o700)
    chart = chart_at(write_chart(tmp_path / "app", {"a.yaml": "x: {{ .Values.password }}\n"}))
    await Template(program, tmp_path / "work").render(store, chart, wish({"password": "c4nary"}))
    assert "c4nary" not in said.read_text()
    assert "x: {{ .Values.password }}" in said.read_text(), "the chart is there"
    assert json.loads((tmp_path / "stdin").read_text()) == {"password": "c4nary"}
    environment = set(re.findall(r"^([A-Z_]+)=", said.read_text(), re.MULTILINE))
    assert environment - {"PWD", "OLDPWD", "SHLVL", "_"} == {
        *("PATH", "HOME", "TMPDIR", "GOMEMLIMIT", "GOMAXPROCS", "GOTRACEBACK", "KUBECONFIG", "KUBECACHEDIR"),
        *("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME", "HELM_PLUGINS"),
    }
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize("name", ["--post-renderer=x", "a b", "A", "a/b", "", "a" * 54, "-a"])
async def test_a_name_that_is_no_release_is_refused_before_helm_runs(render, name):
    with pytest.raises(Terminal, match="cannot be the name of a release"):
        await render({"a.yaml": config("x")}, name=name)


SCHEMA = '{"properties": {"port": {"type": "integer"}, "mode": {"pattern": "^[a-z]+$"}}}'


async def test_values_against_the_schema_are_refused_in_helms_words(render):
    files = {"a.yaml": config("x"), "/values.schema.json": SCHEMA}
    with pytest.raises(Terminal, match=r"helm cannot render the chart app 1\.0\.0: .*at '/port': got string") as told:
        await render(files, {"port": "s3cret-port", "mode": "S3CRET-mode"})
    assert told.value.reason == "BuildFailed"
    assert "3cret" not in str(told.value).lower()
    assert await seen(render(files, {"port": "x"}, skip_schema=True)) == "x"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{{ .Values.a.b.c }}", "a.yaml:6:.*nil pointer"),
        ("{{ required \"a.b is needed\" .Values.none }}", "a.b is needed"),
        ("{{ fail (printf \"no %s\" .Values.password) }}", "no …"),
        ("{{ fail (printf \"\\npanic: %s\" .Values.password) }}", "panic: …"),
        ("{{ include \"none\" . }}", "no template \"none\""),
        ("{{ if }}", "missing value for if"),
        ("a: b: c", "YAML parse error on app/templates/a.yaml"),
    ],
)  # fmt: skip
async def test_a_mistake_in_a_template_is_told_in_helms_words_without_values(render, text, says):
    with pytest.raises(Terminal, match=f"(?s)helm cannot render the chart app 1.0.0: .*{says}") as told:
        await render({"a.yaml": config(text)}, {"password": "hunter2-s3cret", "pin": 123456})
    assert "s3cret" not in str(told.value)
    assert "/tmp" not in str(told.value)


def test_what_is_a_value_is_not_in_a_message_whatever_form_it_has():
    values = compose([], {"a": "first line\nsecond line", "n": [123456, 1, True], "b": "line"})
    told = clean("Error: got second line and 123456, 1, cannot unmarshal !!str `abc...` true", Path("/x"), values)
    assert told == "got … and …, 1, cannot unmarshal !!str `…` true"


def test_a_value_in_base64_is_not_in_a_message_either():
    values = compose([], {"password": "hunter2-s3cret"})
    assert clean("Error: bad aHVudGVyMi1zM2NyZXQ= here", Path("/x"), values) == "bad … here"


@pytest.mark.parametrize(
    "form",
    [
        base64.b64encode(b"u:hunter2+s3cret").decode(),
        b"hunter2+s3cret".hex(),
        "hunter2%2Bs3cret",
        "hunter2&#43;s3cret",
        '\\"hunter2+s3cret\\"',
    ],
    ids=["base64 of more", "hex", "percent-encoded", "HTML", "quoted"],
)
def test_a_value_in_another_form_is_not_in_a_message_either(form: str) -> None:
    told = clean(f"Error: bad {form} here", Path("/x"), compose([], {"password": "hunter2+s3cret"}))
    assert re.fullmatch(r"bad \S{0,4}…\S{0,4} here", told)


def test_the_names_of_release_and_chart_are_told_though_a_value_is_the_same():
    values = compose([], {"fullnameOverride": "podinfo", "secret": "podinfo-s3cret"})
    told = clean("Error: podinfo/templates/a.yaml: podinfo-s3cret", Path("/x"), values, {"podinfo"})
    assert told == "podinfo/templates/a.yaml: …"


async def test_what_is_rendered_shows_itself_nowhere(render):
    secret = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: a\nstringData:\n  a: {{ .Values.a }}\n"
    hook = secret.replace("  name: a\n", "  name: b\n  annotations: {helm.sh/hook: test}\n")
    wished = wish({"a": "s3cret"})
    found = await render({"a.yaml": secret, "b.yaml": hook}, {"a": "s3cret"})
    assert "s3cret" in found.output.manifest
    assert "s3cret" not in repr(found) + repr(wished) + repr(found.output.hooks) + repr(parts(found.output.manifest))
    assert "s3cret" not in repr(Piece("x", b"s3cret"))


def test_capabilities_are_what_helm_would_find():
    kinds = [Gvk("", "v1", "Pod"), Gvk("apps", "v1", "Deployment"), Gvk("apps", "v1", "DaemonSet")]
    assert Capabilities.of("v1.36.3", kinds).api_versions == (
        "apps/v1",
        "apps/v1/DaemonSet",
        "apps/v1/Deployment",
        "v1",
        "v1/Pod",
    )


async def test_a_template_reads_no_file_but_the_charts_own(render, tmp_path):
    (tmp_path / "secret").write_text("s3cret")
    probes = ["/etc/passwd", "../../../../../../etc/passwd", str(tmp_path / "secret"), "/proc/self/environ"]
    text = "".join(f'{{{{ .Files.Get "{probe}" }}}}' for probe in probes)
    text += '{{ range $path, $_ := .Files.Glob "**" }}{{ $path }},{{ end }}'
    assert await seen(render({"a.yaml": config(f"'{text}'"), "docs/x.txt": "x"})) == "docs/x.txt,"


async def test_there_is_no_dns_and_a_lookup_finds_nothing(render):
    text = '\'{{ getHostByName "localhost" }}{{ (lookup "v1" "Secret" "kube-system" "") | toJson }}\''
    assert await seen(render({"a.yaml": config(text)})) == "{}"


async def test_chance_is_seen_and_the_template_named(render):
    found = await render({"a.yaml": config("{{ randAlphaNum 16 }}"), "b.yaml": config("fixed")})
    assert found.varies == ("app/templates/a.yaml",)
    assert (await render({"a.yaml": config("{{ tpl .Values.t . }}")}, {"t": "{{ uuidv4 }}"})).varies
    assert not (await render({"a.yaml": config('{{ now | date "2006" }}')})).varies


async def test_hooks_may_have_names_of_chance(render):
    hook = config("x").replace("}}\n", "}}-{{ randAlphaNum 5 | lower }}\n  annotations: {helm.sh/hook: test}\n", 1)
    found = await render({"a.yaml": config("x"), "h.yaml": hook})
    assert (len(found.output.hooks), found.varies) == (1, ())


async def test_a_chart_is_rendered_twice_once_and_never_if_it_cannot_vary(
    template, store, chart_at, monkeypatch, tmp_path
):
    runs = []
    run = template._confined.run

    async def counted(task):
        runs.append(task)
        return await run(task)

    monkeypatch.setattr(template._confined, "run", counted)

    async def took(chart, wished):
        before = len(runs)
        await template.render(store, chart, wished)
        return len(runs) - before

    fixed = chart_at(write_chart(tmp_path / "fixed", {"a.yaml": config("x")}))
    chance = chart_at(write_chart(tmp_path / "chance", {"a.yaml": config("{{ now }}")}))
    assert [await took(fixed, wish()), await took(chance, wish()), await took(chance, wish(name="b"))] == [1, 2, 1]
    assert await took(chance, wish({"other": 1})) == 2
    assert await took(fixed, wish({"t": "{{ now }}"})) == 2


async def test_releases_of_one_chart_that_come_at_once_are_rendered_twice_once(
    helm_binary, store, chart_at, monkeypatch, tmp_path
):
    runs = []
    template = Template(helm_binary, tmp_path / "work", began=lambda: runs.append(1))
    chart = chart_at(write_chart(tmp_path / "chance", {"a.yaml": config("{{ now | unixEpoch | quote }}")}))
    read, count = store.read, Counter()

    def counted(digest):
        count[digest] += 1
        return read(digest)

    monkeypatch.setattr(store, "read", counted)
    async with asyncio.TaskGroup() as group:
        names = [f"release-{number}" for number in range(5)]
        done = [group.create_task(template.render(store, chart, wish(name=name))) for name in names]
    assert [[one.ref.name for one in task.result().manifests] for task in done] == [[name] for name in names]
    assert len(runs) == 6
    assert set(count.values()) == {1}, "the files were read once for all"


async def test_who_comes_after_one_that_failed_at_first_sight_is_rendered(helm_binary, store, chart_at, tmp_path):
    template = Template(helm_binary, tmp_path / "work")
    text = '{{ if eq .Release.Name "bad" }}{{ fail "no" }}{{ end }}{{ now | unixEpoch | quote }}'
    chart = chart_at(write_chart(tmp_path / "chance", {"a.yaml": config(text)}))
    both = (template.render(store, chart, wish(name=name)) for name in ("bad", "good"))
    bad, good = await asyncio.gather(*both, return_exceptions=True)
    assert isinstance(bad, Terminal)
    assert [one.ref.name for one in good.manifests] == ["good"]


@pytest.mark.parametrize(
    ("text", "varies"),
    [
        (b"{{ randAlpha 5 }}", True),
        (b'{{- $ca := genCA "x" 3 }}', True),
        (b'{{ keys .Values.map | join "," }}', True),
        (b"{{ .Values.updateStrategy }} {{ .Values.keys }} {{ .Values.date }}", False),
        (b"{{ (now) }}", True),
        (b"what is known now", False),
        (b'{{ mustDateModify "-1h" .x }}', True),
        (b"{{ toYaml .Values.x | nindent 4 }}", False),
    ],
)
def test_the_functions_of_chance_are_known_by_name(text, varies):
    assert may_vary([text]) is varies


SMALL = Bounds(timeout_s=60, max_output=50 << 20, limits=Limits(memory_bytes=2_560 << 20, cpu_s=4, offline=True))


@pytest.mark.parametrize(
    "text",
    [
        "{{ range until 100000000 }}{{ . }}{{ end }}",
        "{{ range until 100000 }}{{ range until 100000 }}{{ end }}{{ end }}",
        "{{ define \"a\" }}{{ include \"a\" . }}{{ end }}{{ include \"a\" . }}",
        "{{ define \"a\" }}{{ tpl \"{{ include \\\"a\\\" . }}\" . }}{{ end }}{{ include \"a\" . }}",
        "{{ repeat 2000000000 \"x\" }}",
        "{{ range until 100000 }}{{ genPrivateKey \"rsa\" }}{{ end }}",
    ],
)  # fmt: skip
async def test_an_endless_template_ends_and_the_others_go_on(render, helm_binary, tmp_path, text):
    bounded = Template(helm_binary, tmp_path / "bounded", SMALL)
    with pytest.raises((Terminal, Transient)) as ended:
        await render({"a.yaml": config(text)}, template=bounded)
    assert ended.value.reason == "BuildFailed"
    assert await seen(render({"a.yaml": config("fine")}, template=bounded)) == "fine"
    assert list((tmp_path / "bounded").iterdir()) == []


async def test_51_mebibytes_are_too_much(render):
    text = "'{{ repeat 1048576 \"x\" }}'"
    with pytest.raises(Terminal, match="what came out is larger than 50 MiB; split it"):
        await render({f"{number}.yaml": config(text) for number in range(51)})


async def test_input_that_crashes_helm_three_times_is_not_given_to_it_again(store, chart_at, tmp_path):
    program = tmp_path / "helm"
    program.write_text("#!/bin/sh\nkill -SEGV $$\n")
    program.chmod(0o700)
    template = Template(program, tmp_path / "work")
    chart = chart_at(write_chart(tmp_path / "app", {"a.yaml": config("x")}))
    for _ in range(3):
        with pytest.raises(Transient, match=r"killed by signal 11 trying to render the chart app 1\.0\.0"):
            await template.render(store, chart, wish())
    with pytest.raises(Transient, match="given the same input again after 60 minutes only"):
        await template.render(store, chart, wish())
    with pytest.raises(Transient):
        await template.render(store, chart, wish({"other": 1}))


OUTSIDE = [
    '{"$ref": "file:///etc/passwd"}',
    '{"$ref": "/etc/passwd"}',
    '{"$ref": "http://127.0.0.1:1/x"}',
    '{"properties": {"a": {"items": [{"$ref": "other.json#/x"}]}}}',
    '{"$schema": "http://127.0.0.1:1/x"}',
    '{"$id": "http://127.0.0.1:1/x", "$ref": "http://127.0.0.1:1/y"}',
    '{"$dynamicRef": "https://example.com/x"}',
]


@pytest.mark.parametrize("schema", OUTSIDE)
async def test_a_schema_that_leads_out_of_the_chart_is_refused(render, schema, tmp_path):
    with pytest.raises(Terminal, match=r"values\.schema\.json refers to .*disableSchemaValidation"):
        await render({"a.yaml": config("x"), "/values.schema.json": schema})
    sub = {"charts/sub/Chart.yaml": "apiVersion: v2\nname: sub\nversion: 1.0.0\n"}
    (tmp_path / "app" / "values.schema.json").unlink()
    with pytest.raises(Terminal, match=r"charts/sub/values\.schema\.json refers to"):
        await render({"a.yaml": config("x"), "charts/sub/values.schema.json": schema, **sub})


async def test_a_schema_in_a_packed_subchart_is_looked_at_too(render, store, chart_at, template, tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        files = {"sub/Chart.yaml": "apiVersion: v2\nname: sub\nversion: 1.0.0\n", "sub/values.schema.json": OUTSIDE[0]}
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    root = write_chart(tmp_path / "app", {"a.yaml": config("x")})
    (root / "charts").mkdir()
    (root / "charts" / "sub-1.0.0.tgz").write_bytes(buffer.getvalue())
    with pytest.raises(Terminal, match=r"charts/sub-1\.0\.0\.tgz/values\.schema\.json refers to"):
        await template.render(store, chart_at(root), wish())


async def test_a_schema_that_refers_to_itself_works(render):
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "https://example.com/app",
        "definitions": {"port": {"type": "integer"}},
        "properties": {"port": {"$ref": "#/definitions/port"}, "$ref": {"type": "string", "default": "file:///x"}},
    }
    files = {"a.yaml": config("x"), "/values.schema.json": json.dumps(schema)}
    assert await seen(render(files, {"port": 1})) == "x"
    with pytest.raises(Terminal, match="at '/port'"):
        await render(files, {"port": "x"})


async def test_a_schema_ten_thousand_levels_deep_is_refused(render):
    schema = '{"not":' * 10_000 + "{}" + "}" * 10_000
    with pytest.raises(Terminal, match=r"no JSON, or too deep|levels deep"):
        await render({"a.yaml": config("x"), "/values.schema.json": schema})


async def test_a_chart_for_another_kubernetes_says_so(render):
    with pytest.raises(Terminal, match=r"chart requires kubeVersion: >=1\.99\.0"):
        await render({"a.yaml": config("x")}, more="kubeVersion: '>=1.99.0'\n")


async def test_the_digest_of_the_input_changes_with_each_part_of_it(store, chart_at, tmp_path):
    chart = chart_at(write_chart(tmp_path / "one", {"a.yaml": config("x")}))
    other = chart_at(write_chart(tmp_path / "two", {"a.yaml": config("y")}))
    different = [
        wish(),
        wish({"a": 1}),
        wish(name="b"),
        wish(namespace="b"),
        wish(upgrade=True),
        wish(skip_schema=True),
    ]
    different.append(wish(capabilities=Capabilities("v1.35.0")))
    assert len({one.digest(chart) for one in different} | {wish().digest(other)}) == len(different) + 1
    assert wish({"a": 1.0}).digest(chart) == wish({"a": 1}).digest(chart)


async def test_the_binary_is_what_the_rest_is_tested_with(helm_binary):
    said = await asyncio.to_thread(subprocess.run, [helm_binary, "version", "--short"], capture_output=True, text=True)
    assert said.stdout.startswith("v4.")
