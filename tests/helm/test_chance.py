"""What chance made: kept when the same is tried again, and not replaced by accident when something else is wished."""

from dataclasses import replace

import msgspec
import pytest

from tests.helm.conftest import config
from trimtab.base.errors import Terminal
from trimtab.helm.chance import pinned, refuse_rotation, repeats, rotated, told
from trimtab.helm.memory import Memory, Wish
from trimtab.helm.output import Output, Part, joined, parts
from trimtab.helm.record import Info, Record
from trimtab.helm.values import digest_of
from trimtab.manifests.refs import Ref

WISH = Wish(1, "app", "1.0.0", digest_of({"a": 1}), "sha256:1")
SECRET = "app/templates/secret.yaml"
POD = "app/templates/pod.yaml"


def record(manifest: str = "", **fields) -> Record:
    made = {"name": "me", "namespace": "apps", "version": 1, "info": Info(status="failed"), "config": {"a": 1}}
    made |= {"chart": {"metadata": {"name": "app", "version": "1.0.0"}}, "manifest": manifest}
    return Record(**made | fields)


def memory(of: Record, wish: Wish = WISH) -> Memory:
    return Memory().starting("upgrade", wish, of.version).made(of, 5)


def secret(name: str = "a", **fields: str) -> str:
    text = "".join(f"{field}: {value}\n" for field, value in fields.items())
    return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\n{text}"


def manifest(**parts_by_path: str) -> str:
    paths = {"secret": SECRET, "pod": POD}
    return joined(Part(paths[path], text) for path, text in parts_by_path.items())


def pod(note: str) -> str:
    return f"apiVersion: v1\nkind: Pod\nmetadata: {{name: a, annotations: {{roll: {note}}}}}\n"


def test_the_same_is_tried_again_if_nothing_was_wished_since():
    failed = record()
    assert repeats(failed, memory(failed), WISH)


@pytest.mark.parametrize(
    "wish",
    [
        WISH._replace(generation=2),
        WISH._replace(chart_version="1.0.1"),
        WISH._replace(chart_digest="sha256:2"),
        WISH._replace(config_digest=digest_of({"a": 2})),
    ],
    ids=["spec", "version", "chart", "values"],
)
def test_another_wish_is_no_repetition(wish):
    failed = record()
    assert not repeats(failed, memory(failed), wish)


@pytest.mark.parametrize(
    "change",
    [
        {"info": Info(status="uninstalled")},
        {"info": Info(status="deployed", rollback_revision=1)},
        {"config": {"a": 2}},
        {"chart": {"metadata": {"name": "app", "version": "0.9.0"}}},
    ],
    ids=["uninstalled", "rolled-back", "values", "chart"],
)
def test_a_revision_of_something_else_is_no_repetition(change):
    other = msgspec.structs.replace(record(), **change)
    assert not repeats(other, memory(other), WISH)


def test_a_revision_that_somebody_else_made_is_no_repetition():
    failed = record()
    assert not repeats(failed, replace(memory(failed), seen=(), begun=0), WISH)


def test_what_varies_is_taken_from_the_record_and_the_rest_is_new():
    before = record(manifest(secret=secret(data="{a: b2xk}"), pod=pod("old")))
    new = manifest(secret=secret(data="{a: bmV3}"), pod=pod("new"))
    found = pinned(Output(new, (), "crds"), (SECRET,), before)
    assert parts(found.manifest) == parts(manifest(secret=secret(data="{a: b2xk}"), pod=pod("new")))
    assert found.crds == "crds"
    assert pinned(Output(new, (), ""), (SECRET, POD), before).manifest == before.manifest


def test_all_objects_of_a_template_that_varies_are_taken_in_helms_order():
    def two(value: str) -> str:
        both = [Part(SECRET, secret("a", data=value)), Part(POD, pod("x")), Part(SECRET, pod(value))]
        return joined(both)

    before = record(two("old"))
    found = pinned(Output(two("new"), (), ""), (SECRET,), before)
    assert [one.path for one in parts(found.manifest)] == [SECRET, POD, SECRET]
    assert "new" not in found.manifest


def test_a_template_that_made_nothing_before_is_new():
    new = Output(manifest(secret=secret(data="{a: bmV3}")), (), "")
    assert pinned(new, (SECRET,), record(manifest(pod=pod("x")))) == new
    assert pinned(new, (), record(manifest(secret=secret(data="{a: b2xk}")))) == new


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"data": "{a: b2xk}"}, {"data": "{a: bmV3}"}),
        ({"data": "{a: b2xk}"}, {"stringData": "{a: new}"}),
        ({"data": "{a: b2xk, b: eA==}"}, {"data": "{a: bmV3, c: eA==}"}),
        ({"data": "{a: '%'}"}, {"data": "{a: bmV3}"}),
    ],
    ids=["data", "text", "other-keys", "no-base64"],
)
def test_a_secret_with_another_value_of_chance_is_named(before, after):
    names = rotated(manifest(secret=secret(**before)), manifest(secret=secret(**after)), (SECRET,))
    assert names == (Ref("", "Secret", "", "a"),)
    with pytest.raises(Terminal, match=r"new values of chance to Secret/a, .*helm-lookup.*values.*forceAt") as told_:
        refuse_rotation(names)
    assert told_.value.reason == "LookupUnsupported"
    assert "new" not in str(told_.value).replace("new values", "").replace("new ones", "")


@pytest.mark.parametrize(
    ("before", "after", "varies"),
    [
        (secret(data="{a: b2xk}"), secret(stringData="{a: old}"), (SECRET,)),
        (secret(data="{a: b2xk}"), secret(data="{b: bmV3}"), (SECRET,)),
        (secret("b", data="{a: b2xk}"), secret(data="{a: bmV3}"), (SECRET,)),
        (secret(data="{a: b2xk}"), secret(data="{a: bmV3}"), (POD,)),
        (secret(data="{a: b2xk}"), secret(data="{a: bmV3}"), ()),
        (pod("old"), pod("new"), (SECRET,)),
    ],
    ids=["same", "other-key", "other-name", "fixed-template", "fixed-chart", "no-secret"],
)
def test_what_is_no_rotation_by_chance_goes_on(before, after, varies):
    refuse_rotation(rotated(manifest(secret=before), manifest(secret=after), varies))


def test_many_secrets_are_counted():
    refs = tuple(Ref("", "Secret", "", f"s{number}") for number in range(8))
    with pytest.raises(Terminal, match="Secret/s4 and 3 more, because"):
        refuse_rotation(refs)
    assert told(("a", "b")).startswith("a, b of the chart render something else each time")


async def test_with_the_real_helm_a_password_stays_while_the_same_is_tried_and_is_held_after(render):
    text = config("x").replace("ConfigMap", "Secret").replace("\ndata:", "\nstringData:")
    files = {"a.yaml": text.replace("seen: x", "seen: {{ randAlphaNum 16 }}"), "b.yaml": config("{{ .Values.a }}")}
    one, other = [await render(files, {"a": value}) for value in ("'1'", "'2'")]
    assert one.varies == other.varies == ("app/templates/a.yaml",)
    failed = record(one.output.manifest)
    again = await render(files, {"a": "'1'"})
    assert again.output.manifest != one.output.manifest
    kept = pinned(again.output, again.varies, failed)
    assert kept.manifest == one.output.manifest
    assert rotated(failed.manifest, kept.manifest, again.varies) == ()
    assert rotated(failed.manifest, other.output.manifest, other.varies) == (Ref("", "Secret", "", "me"),)
