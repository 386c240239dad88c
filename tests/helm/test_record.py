"""Helm's records: what the real helm wrote we read, and what we write the real helm reads and acts on."""

import base64
import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helm.conftest import write_chart
from trimtab.helm import output, record
from trimtab.helm.record import BadRecord, Hook, Info, Record, Status, TooLarge
from trimtab.helm.stored import stored_chart

NOW = datetime(2026, 11, 26, 12, 0, 0, tzinfo=UTC)
GOLDEN = Path(__file__).parent / "golden"


def a_record(version: int = 1, status: str = Status.DEPLOYED, **fields) -> Record:
    info = Info(first_deployed="2026-11-26T12:00:00Z", last_deployed="2026-11-26T12:00:00Z", status=status)
    return Record(name="app", namespace="apps", version=version, info=info, **fields)


def text_of(secret) -> bytes:
    return gzip.decompress(base64.b64decode(base64.b64decode(secret["data"]["release"])))


def secret_of(content: bytes, **fields):
    packed = base64.b64encode(base64.b64encode(content)).decode()
    metadata = {"name": "sh.helm.release.v1.app.v1", "namespace": "apps"}
    return {"type": record.SECRET_TYPE, "metadata": metadata, "data": {"release": packed}} | fields


def test_a_record_comes_back_as_it_was():
    one = a_record(
        config={"a": [1, None, {"b": "ü"}]},
        chart={"metadata": {"name": "app", "version": "1.0.0"}, "later": {"unknown": 1}},
        manifest="---\n# Source: x\n",
        hooks=(Hook(name="h", events=("test",), weight=3),),
        labels={"team": "blue"},
    )
    secret = record.encode(one, "store", NOW)
    assert record.decode(secret) == one
    assert secret["metadata"] == {
        "name": "sh.helm.release.v1.app.v1",
        "namespace": "store",
        "labels": {
            "team": "blue",
            "name": "app",
            "owner": "helm",
            "status": "deployed",
            "version": "1",
            "modifiedAt": "1795694400",
        },
    }
    assert record.encode(one, "store", NOW) == secret


def test_a_record_says_when_it_was_written():
    assert record.touched_at(record.encode(a_record(), "store", NOW)) == NOW.timestamp()
    assert record.touched_at({"metadata": {"labels": {"createdAt": "12"}}}) == 12.0
    assert [record.touched_at({"metadata": {"labels": {"modifiedAt": one}}}) for one in ("", "x", "9" * 400)] == [0] * 3
    assert record.touched_at({}) == 0


def test_what_helm_4_wrote_is_read():
    one = record.decode(json.loads((GOLDEN / "release.json").read_text()))
    assert (one.name, one.namespace, one.version, one.status) == ("golden", "default", 1, "deployed")
    assert (one.chart_name, one.chart_version, one.metadata["appVersion"]) == ("app", "1.0.0", "2.0")
    assert one.values == {"text": "set", "nothing": None, "list": [1, {"a": "b"}]}
    assert [(hook.name, hook.events, hook.last_run.phase) for hook in one.hooks] == [
        ("golden-late", ("post-install",), "Succeeded")
    ]
    assert one.info.description == "Install complete"
    assert one.info.notes.strip() == "Thank you for golden."
    assert [manifest.ref.name for manifest in output.objects(one.manifest)] == ["golden"]
    assert one.info.first_deployed.startswith("20")


def test_what_helm_4_wrote_is_written_again_without_a_loss():
    secret = json.loads((GOLDEN / "release.json").read_text())
    theirs, ours = (
        json.loads(text_of(secret)),
        json.loads(text_of(record.encode(record.decode(secret), "default", NOW))),
    )
    assert ours == theirs


def test_times_that_helm_3_wrote_as_nothing_are_read():
    info = {"first_deployed": "", "deleted": "", "status": "deployed"}
    text = {"name": "app", "version": 1, "namespace": "apps", "info": info, "hooks": None, "config": None}
    one = record.decode(secret_of(json.dumps(text).encode()))
    assert (one.status, one.values) == ("deployed", {})


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(b"s3cret", "no JSON", id="words"),
        pytest.param(gzip.compress(b"s3cret"), "no JSON", id="packed words"),
        pytest.param(gzip.compress(b'{"name": "app"}'), "missing required field", id="a field missing"),
        pytest.param(gzip.compress(b'{"name": {"s3cret": 1}}'), "Expected `str`", id="another type"),
        pytest.param(gzip.compress(b"{}")[:-4], "ends too early", id="cut off"),
        pytest.param(b"\x1f\x8b\x08s3cret", "not base64 of gzip", id="broken gzip"),
        pytest.param(gzip.compress(b'{"config": {"a":' + b"[" * 100_000), "no JSON", id="deep"),
        pytest.param(gzip.compress(b" " * (record.MAX_UNPACKED + 1)), "larger than 64 MiB", id="bomb"),
    ],
)
def test_what_is_no_record_is_refused_without_showing_it(data, says):
    with pytest.raises(BadRecord, match=f"Secret apps/sh.helm.release.v1.app.v1 .*{says}") as problem:
        record.decode(secret_of(data))
    assert problem.value.reason == "StateError"
    assert "s3cret" not in str(problem.value)


def test_a_record_under_another_name_is_refused():
    secret = record.encode(a_record(2), "apps", NOW)
    secret["metadata"]["name"] = "sh.helm.release.v1.app.v1"
    with pytest.raises(BadRecord, match="another revision"):
        record.decode(secret)
    with pytest.raises(BadRecord, match="type is not"):
        record.decode(secret_of(b"", type="Opaque"))
    with pytest.raises(BadRecord, match="no entry"):
        record.decode(secret_of(b"", data={}))
    with pytest.raises(BadRecord, match="not base64"):
        record.decode(secret_of(b"", data={"release": "*"}))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_refused(data):
    for form in (data, gzip.compress(data), b"\x1f\x8b\x08" + data):
        with pytest.raises(BadRecord):
            record.decode(secret_of(form))


def test_what_does_not_fit_is_kept_without_files_and_then_without_templates():
    noise = base64.b64encode(Random(1).randbytes(900_000)).decode()
    chart = {"metadata": {"name": "app"}, "templates": [{"name": "t", "data": "eA=="}], "files": [{"data": noise}]}
    kept = record.decode(record.encode(a_record(chart=chart, manifest="m"), "apps", NOW))
    assert (kept.chart["files"], kept.chart["templates"]) == (None, chart["templates"])
    chart = {"metadata": {"name": "app"}, "templates": [{"name": "t", "data": noise}], "files": []}
    kept = record.decode(record.encode(a_record(chart=chart, manifest="m"), "apps", NOW))
    assert kept.chart["templates"] is None
    assert record.fingerprint(kept) == record.fingerprint(a_record(chart=chart, manifest="m"))
    with pytest.raises(TooLarge, match="split the chart"):
        record.encode(a_record(chart=chart, manifest=noise), "apps", NOW)


def test_the_fingerprint_changes_with_what_is_written():
    one = a_record(config={"a": 1})
    assert record.fingerprint(one) == record.fingerprint(record.decode(record.encode(one, "apps", NOW)))
    assert record.fingerprint(one) != record.fingerprint(record.settled(one, Status.FAILED, "no"))
    assert record.fingerprint(one) != record.fingerprint(msgspec.structs.replace(one, config={"a": 2}))


@pytest.mark.parametrize(
    ("statuses", "limit", "gone"),
    [
        (["superseded", "superseded", "deployed"], 2, [1]),
        (["superseded", "superseded", "deployed"], 0, []),
        (["superseded", "deployed", "failed", "failed"], 2, [1, 3]),
        (["deployed", "failed", "failed"], 1, [2]),
        (["failed", "failed"], 1, [1]),
        (["deployed"], 1, []),
    ],
)
def test_the_oldest_go_but_never_what_is_deployed_nor_the_newest(statuses, limit, gone):
    revisions = [a_record(number, status) for number, status in enumerate(statuses, start=1)]
    assert [one.version for one in record.surplus(revisions[::-1], limit)] == gone


def test_a_representation_of_a_record_shows_no_values():
    assert "s3cret" not in repr(a_record(config={"a": "s3cret"}, manifest="s3cret"))


TEMPLATES = {
    "config.yaml": """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
data:
  text: {{ .Values.text | quote }}
""",
    "late.yaml": """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-late
  annotations:
    helm.sh/hook: post-install
""",
    "NOTES.txt": "Thank you for {{ .Release.Name }}.\n",
    "docs/README.md": "Read me.",
    "/values.schema.json": '{"type": "object"}',
}


@pytest.fixture
def cluster(helm, kubectl, kubeconfig, namespace):
    """A namespace, and helm and kubectl in it."""
    name = namespace()[:50]
    kubectl("create", "namespace", name)

    class Cluster:
        namespace = name

        def helm(self, *arguments):
            return helm(*arguments, "--kubeconfig", kubeconfig, "-n", name)

        def secret(self, release, version):
            return json.loads(kubectl("-n", name, "get", "secret", record.secret_name(release, version), "-ojson"))

        def write(self, one):
            kubectl("-n", name, "apply", "-f", "-", stdin=json.dumps(record.encode(one, name, NOW)))

        def data(self, config):
            return json.loads(kubectl("-n", name, "get", "configmap", config, "-ojson"))["data"]

    return Cluster()


def test_we_read_what_the_real_helm_keeps_in_a_cluster(cluster, tmp_path):
    chart = write_chart(tmp_path / "app", TEMPLATES, values="text: default\n")
    cluster.helm("install", "theirs", chart, "--set", "text=one", "--labels", "team=blue")
    cluster.helm("upgrade", "theirs", chart, "--set", "text=two")
    newest, oldest = record.history([cluster.secret("theirs", 1), cluster.secret("theirs", 2)])
    assert [one.status for one in (newest, oldest)] == ["deployed", "superseded"]
    assert newest.labels == oldest.labels == {"team": "blue"}
    assert [one.values for one in (newest, oldest)] == [{"text": "two"}, {"text": "one"}]
    assert newest.manifest == cluster.helm("get", "manifest", "theirs").removesuffix("\n")
    assert newest.apply_method == "ssa"
    files = {str(path.relative_to(chart)): path.read_bytes() for path in chart.rglob("*") if path.is_file()}
    assert without_times(stored_chart(files)) == without_times(newest.chart)
    # Written again by us, it still is a release of theirs.
    cluster.write(record.settled(newest, Status.DEPLOYED, "seen by another"))
    assert json.loads(cluster.helm("history", "theirs", "-ojson"))[-1]["description"] == "seen by another"


def test_the_real_helm_reads_what_we_keep_and_goes_on_from_there(cluster, tmp_path):
    chart = write_chart(tmp_path / "app", TEMPLATES, values="text: default\n")
    files = {str(path.relative_to(chart)): path.read_bytes() for path in chart.rglob("*") if path.is_file()}
    for version, text, status in ((1, "one", Status.SUPERSEDED), (2, "two", Status.DEPLOYED)):
        out = output.split(cluster.helm("template", "ours", chart, "--include-crds", "--set", f"text={text}").encode())
        one = a_record(
            version, status, manifest=out.manifest, hooks=out.hooks, config={"text": text}, chart=stored_chart(files)
        )
        cluster.write(msgspec.structs.replace(one, name="ours", namespace=cluster.namespace))
    [listed] = json.loads(cluster.helm("list", "-ojson"))
    assert (listed["name"], listed["revision"], listed["status"]) == ("ours", "2", "deployed")
    assert (listed["chart"], listed["app_version"]) == ("app-1.0.0", "2.0")
    assert [one["status"] for one in json.loads(cluster.helm("history", "ours", "-ojson"))] == [
        "superseded",
        "deployed",
    ]
    assert cluster.helm("get", "manifest", "ours").removesuffix("\n") == out.manifest
    assert json.loads(cluster.helm("get", "values", "ours", "-ojson")) == {"text": "two"}
    assert json.loads(cluster.helm("get", "values", "ours", "--all", "-ojson")) == {"text": "two"}
    assert "ours-late" in cluster.helm("get", "hooks", "ours")
    cluster.helm("rollback", "ours", "1")
    assert cluster.data("ours") == {"text": "one"}
    third, second, _ = record.history([cluster.secret("ours", number) for number in (1, 2, 3)])
    assert (third.status, third.info.rollback_revision, second.status) == ("deployed", 1, "superseded")
    cluster.helm("upgrade", "ours", chart, "--reuse-values")
    assert record.decode(cluster.secret("ours", 4)).values == {"text": "one"}
    cluster.helm("uninstall", "ours")


def without_times(chart):
    """A chart without when its files were written, which is chance in a directory."""
    if isinstance(chart, dict):
        return {key: without_times(value) for key, value in chart.items() if key not in ("modtime", "schemamodtime")}
    return [without_times(one) for one in chart] if isinstance(chart, list) else chart
