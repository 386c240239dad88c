"""Builds of encrypted files: the shared cases, what is opened when, and what is left behind by it."""

import base64
import errno
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.sops.conftest import FIXTURES, keyring
from trimtab.base.errors import Terminal, TrimtabError
from trimtab.render.local import snapshot_of_directory
from trimtab.render.memory import MOST, in_memory
from trimtab.render.options import Options
from trimtab.render.render import Renderer
from trimtab.render.variables import Variables
from trimtab.sops.errors import NoKey, Undecryptable
from trimtab.sops.keyring import Keyring

from .conftest import SHARED, config_map, write

CASES = SHARED / "conformance" / "kustomize"
SEALED = (FIXTURES / "rules" / "encrypted-regex.yaml").read_text()
SEALED_ENV = (FIXTURES / "formats" / "values.env").read_text()
PASSWORD = "correct horse battery staple"

if CASES.is_dir():
    ALL = [case for case in json.loads((CASES / "cases.json").read_text()) if case["id"].startswith("sops-")]
else:
    ALL = []


def keys_of(case: dict) -> Keyring:
    entries = {}
    for files in (case["decryption"].get("keys", ()), case["decryption"].get("globalKeys", ())):
        for file in files:
            path = CASES / case["id"] / file
            entries[path.stem + {".txt": ".agekey"}.get(path.suffix, path.suffix)] = path.read_bytes()
    return Keyring.of(entries)


def values_of(body: dict) -> dict:
    """The data of a Secret or ConfigMap as text, as the server sees it."""
    encoded = body.get("data") or {}
    if body["kind"] == "Secret":
        encoded = {name: base64.b64decode(value).decode() for name, value in encoded.items()}
    return {**encoded, **(body.get("stringData") or {})}


@pytest.mark.skipif(not ALL, reason="the shared conformance cases are not there")
@pytest.mark.parametrize("case", ALL, ids=[case["id"] for case in ALL])
async def test_case(case, store, renderer):
    snapshot = snapshot_of_directory(store, CASES / case["id"] / "source")
    if case["expect"]["build"] == "fail":
        with pytest.raises(TrimtabError) as refused:
            await renderer.render(snapshot, "", Options(), keys=keys_of(case))
        assert refused.value.reason == "BuildFailed"
        assert "age1" in str(refused.value)
        return
    rendered = await renderer.render(snapshot, "", Options(), keys=keys_of(case))
    for kind, objects in case["expect"]["data"].items():
        for name, expected in objects.items():
            [body] = [one.body for one in rendered.manifests if (one.ref.kind, one.ref.name) == (kind, name)]
            assert values_of(body) == expected


@pytest.fixture
def age() -> Keyring:
    return keyring("age.agekey")


async def test_a_plain_directory_is_opened_without_a_process(artifact, tmp_path, age):
    rendered = await Renderer(None, None, tmp_path).render(
        artifact({"a/secret.yaml": SEALED}), "a", Options(), keys=age
    )
    [manifest] = rendered.manifests
    assert values_of(manifest.body)["password"] == PASSWORD
    assert manifest.origin.file == "a/secret.yaml"
    assert rendered.secret == {manifest.ref}


async def test_without_keys_nothing_is_opened(artifact, tmp_path):
    rendered = await Renderer(None, None, tmp_path).render(artifact({"secret.yaml": SEALED}), "", Options())
    assert "sops" in rendered.manifests[0].body
    assert not rendered.secret


async def test_a_manifest_in_json_is_opened_too(artifact, renderer, age):
    files = {"kustomization.yaml": "resources: [a.json]\nnamePrefix: p-\n"}
    files["a.json"] = (FIXTURES / "canary" / "manifest.json").read_text()
    [manifest] = (await renderer.render(artifact(files), "", Options(), keys=age)).manifests
    assert manifest.body["metadata"] == {"name": "p-json"}
    assert values_of(manifest.body) == {"token": "canary-in-json"}


async def test_an_encrypted_file_outside_the_artifact_and_a_link_to_one_are_not_read(store, renderer, tmp_path, age):
    write(tmp_path, {"outside.env": SEALED_ENV, "root/inside.env": SEALED_ENV})
    (tmp_path / "root" / "link.env").symlink_to("inside.env")
    for path, told in (("../outside.env", "outside"), ("link.env", "link"), ("/etc/passwd", "not a relative path")):
        write(tmp_path / "root", {"kustomization.yaml": f"secretGenerator:\n- name: a\n  envs: [{path}]\n"})
        snapshot = snapshot_of_directory(store, tmp_path / "root")
        with pytest.raises(Terminal, match=told):
            await renderer.render(snapshot, "", Options(), keys=age)


async def test_what_may_have_been_moved_anywhere_is_told_of_as_made_of_it(artifact, renderer, age):
    moved = (
        "replacements:\n- source: {kind: Secret, name: db, fieldPath: data.readable_unencrypted}\n"
        "  targets: [{select: {kind: ConfigMap, name: c}, fieldPaths: [metadata.name]}]\n"
    )
    plain = "secretGenerator: [{name: db, envs: [values.env]}]\nresources: [c.yaml]\n"
    files = {"values.env": SEALED_ENV, "c.yaml": config_map("c")}
    for more, made in (("", False), (moved, True)):
        nested = {"base/kustomization.yaml": plain + more, **{f"base/{name}": text for name, text in files.items()}}
        snapshot = artifact({"kustomization.yaml": "resources: [base]\n", **nested})
        rendered = await renderer.render(snapshot, "", Options(), keys=age)
        names = {manifest.ref.name for manifest in rendered.manifests}
        assert names <= rendered.made if made else not rendered.made


async def test_an_overlay_over_an_encrypted_object_is_kept(artifact, renderer, age):
    files = artifact(
        {
            "kustomization.yaml": "resources: [secret.yaml]\nnamespace: apps\nnamePrefix: p-\n"
            "labels:\n- pairs: {a: b}\n"
            'patches:\n- patch: \'{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "database"}, '
            '"stringData": {"added": "by the overlay"}}\'\n',
            "secret.yaml": SEALED,
        }
    )
    [manifest] = (await renderer.render(files, "", Options(), keys=age)).manifests
    assert manifest.body["metadata"]["name"] == "p-database"
    assert manifest.body["metadata"]["namespace"] == "apps"
    assert values_of(manifest.body)["password"] == PASSWORD
    assert values_of(manifest.body)["added"] == "by the overlay"
    assert "sops" not in manifest.body


async def test_variables_are_filled_in_what_was_opened_and_it_stays_secret_by_its_new_name(artifact, renderer, age):
    overlay = "resources: [config.yaml, plain.yaml]\nnamePrefix: ${PREFIX}-\n"
    sealed = (FIXTURES / "canary" / "config.yaml").read_text()
    files = {"kustomization.yaml": overlay, "config.yaml": sealed, "plain.yaml": config_map("plain")}
    rendered = await renderer.render(artifact(files), "", Options(), Variables({"PREFIX": "blue"}), age)
    opened, plain = rendered.manifests
    assert opened.body["metadata"]["name"] == "blue-settings"
    assert plain.body["metadata"]["name"] == "blue-plain"
    assert rendered.secret == {opened.ref}


async def test_the_switch_of_an_object_leaves_it_encrypted_wherever_it_comes_from(artifact, renderer, age):
    switch = 'commonAnnotations: {kustomize.toolkit.fluxcd.io/decrypt: "Disabled"}\n'
    files = {"kustomization.yaml": "resources: [secret.yaml]\n" + switch, "secret.yaml": SEALED}
    rendered = await renderer.render(artifact(files), "", Options(), keys=age)
    assert "sops" in rendered.manifests[0].body
    assert not rendered.secret
    # Nobody needs the key of what stays closed.
    await renderer.render(artifact(files), "", Options(), keys=keyring("other.agekey"))


async def test_entries_of_a_secret_that_are_encrypted_files_are_opened_by_their_names(artifact, tmp_path, age):
    formats = FIXTURES / "formats"
    names = {"values.json": "values.json", "a.ini": "values.ini", "blob": "blob.bin", "x.yaml": "values.yaml"}
    data = {entry: base64.b64encode((formats / file).read_bytes()).decode() for entry, file in names.items()}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": {**data, "other": "AAAA"}}
    rendered = await Renderer(None, None, tmp_path).render(
        artifact({"s.yaml": json.dumps(body)}), "", Options(), keys=age
    )
    opened = rendered.manifests[0].body["data"]
    for entry, file in names.items():
        assert base64.b64decode(opened[entry]) == (formats / f"opened-{file}").read_bytes()
    assert opened["other"] == "AAAA"


@pytest.mark.parametrize(
    "change",
    [
        ("tier: data", "tier: evil"),
        ("mac: ENC", "mac: XNC"),
        ("password: ENC[AES256_GCM,data:", "password: ENC[AES256_GCM,data:A"),
    ],
)
async def test_one_file_that_was_changed_fails_the_whole_build(artifact, renderer, age, change):
    files = artifact({"good.yaml": SEALED, "bad.yaml": SEALED.replace("database", "other").replace(*change)})
    with pytest.raises(Undecryptable, match=r"^bad\.yaml") as refused:
        await renderer.render(files, "", Options(), keys=age)
    assert PASSWORD not in str(refused.value)


MAC = re.compile(r"\n[^\n]*\bmac\b[^\n]*ENC\[[^\n]*")


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("token.env", "secretGenerator:\n- name: a\n  envs: [token.env]\n"),
        ("token.json", "secretGenerator:\n- name: a\n  files: [token.json]\n"),
        ("token.bin", "secretGenerator:\n- name: a\n  files: [token.bin]\n"),
        ("patch.yaml", "resources: [a.yaml]\npatches:\n- path: patch.yaml\n"),
        ("secret.yaml", "resources: [secret.yaml]\n"),
    ],
)
async def test_a_file_whose_mac_was_taken_away_is_not_taken_for_a_plain_one(artifact, renderer, age, name, where):
    sealed = (FIXTURES / "canary" / name).read_text()
    stripped = MAC.sub("", sealed).replace("sops_mac", "sops_no")
    assert stripped != sealed
    plain = "apiVersion: v1\nkind: Secret\nmetadata: {name: patched}\n"
    files = artifact({"kustomization.yaml": where, name: stripped, "a.yaml": plain})
    with pytest.raises(Undecryptable, match=f"{name}.* cannot be decrypted"):
        await renderer.render(files, "", Options(), keys=age)


async def test_an_overlay_cannot_make_up_an_encrypted_object(artifact, renderer, age):
    stolen = SEALED.split("sops:\n")[1]
    block = "\n".join("    " + line for line in stolen.splitlines()).replace(
        "mac: ENC[AES256_GCM,data:", "mac: ENC[AES256_GCM,data:AA"
    )
    patch = f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\nsops:\n{block}\n"
    files = artifact(
        {
            "kustomization.yaml": "resources: [a.yaml]\npatches:\n- path: p.yaml\n",
            "a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
            "p.yaml": patch,
        }
    )
    with pytest.raises(TrimtabError, match="cannot be decrypted"):
        await renderer.render(files, "", Options(), keys=age)


async def test_the_wrong_key_is_told_with_the_right_one_and_may_change(artifact, renderer):
    with pytest.raises(NoKey, match=r"secret\.yaml cannot be decrypted: .*age1") as refused:
        await renderer.render(artifact({"secret.yaml": SEALED}), "", Options(), keys=keyring("other.agekey"))
    assert refused.value.hopeless


GENERATOR = {
    "kustomization.yaml": "secretGenerator:\n- name: env\n  envs: [values.env]\n"
    "- name: file\n  files: [token=token.bin]\n",
    "values.env": SEALED_ENV,
}


async def test_what_was_decrypted_for_kustomize_is_kept_nowhere(store, artifact, kustomize, tmp_path, age):
    seen = tmp_path / "seen"
    spy = tmp_path / "kustomize"
    spy.write_text(f'#!/bin/sh\n/bin/cp -rP . {seen}\n/usr/bin/env > {seen}.env\nexec {kustomize} "$@"\n')
    spy.chmod(0o755)
    files = {**GENERATOR, "token.bin": (FIXTURES / "formats" / "values.json").read_text()}
    files["kustomization.yaml"] = files["kustomization.yaml"].replace("token=", "token.json=")
    renderer = Renderer(store, spy, tmp_path / "work")
    rendered = await renderer.render(artifact(files), "", Options(), keys=age)
    assert b"multi\\nline" in base64.b64decode(rendered.manifests[0].body["data"]["B"])
    assert stat.S_ISLNK(os.lstat(seen / "values.env").st_mode)
    assert str((seen / "values.env").readlink()).startswith("/proc/self/fd/")
    assert not [*(tmp_path / "work" / "results").iterdir()]
    assert not [*(tmp_path / "work" / "builds").iterdir()]
    for path in tmp_path.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert b"seen by all" not in path.read_bytes().replace(SEALED_ENV.encode(), b"")
    # An encrypted manifest goes through kustomize as it is, and what comes out may be kept.
    overlay = {"kustomization.yaml": "resources: [secret.yaml]\nnamePrefix: p-\n", "secret.yaml": SEALED}
    await renderer.render(artifact(overlay), "", Options(), keys=age)
    assert len([*(tmp_path / "work" / "results").iterdir()]) == 1
    again = await renderer.render(artifact(overlay), "", Options(), keys=age)
    assert values_of(again.manifests[0].body)["password"] == PASSWORD


async def test_what_is_built_with_a_decrypted_patch_is_secret_as_a_whole(artifact, renderer, age):
    sealed = (FIXTURES / "canary" / "patch.yaml").read_text()
    overlay = "resources: [a.yaml, b.yaml]\npatches:\n- path: patch.yaml\n  target: {kind: ConfigMap, name: a}\n"
    files = {"kustomization.yaml": overlay, "patch.yaml": sealed, "a.yaml": config_map("a"), "b.yaml": config_map("b")}
    rendered = await renderer.render(artifact(files), "", Options(), keys=age)
    assert rendered.secret == {one.ref for one in rendered.manifests}


KILLED = """
import asyncio, sys
from pathlib import Path
from tests.sops.conftest import keyring
from trimtab.render.local import LocalFiles
from trimtab.render.options import Options
from trimtab.render.render import Renderer

async def main():
    renderer = Renderer(None, Path(sys.argv[1]), Path(sys.argv[2]))
    await renderer.render(LocalFiles(Path(sys.argv[3])), "", Options(), keys=keyring("age.agekey"))

asyncio.run(main())
"""


def test_after_a_kill_nothing_that_was_decrypted_is_left(tmp_path):
    program, source, work = tmp_path / "kustomize", tmp_path / "source", tmp_path / "work"
    program.write_text(f"#!/bin/sh\n/bin/cp values.env {tmp_path}/seen\n: > {tmp_path}/there\nexec /bin/sleep 60\n")
    program.chmod(0o755)
    write(source, {**GENERATOR, "token.bin": "plain"})
    command = [sys.executable, "-c", KILLED, str(program), str(work), str(source)]
    child = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 60
    while not (tmp_path / "there").exists():
        assert time.monotonic() < deadline
        assert child.poll() is None
    assert (tmp_path / "seen").read_bytes().startswith(b"# about A\nA=1\n")
    (tmp_path / "seen").unlink()
    helper = int(Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()[0])
    child.kill()
    child.wait(60)
    os.kill(helper, signal.SIGKILL)
    left = [path for path in work.rglob("*") if path.name == "values.env"]
    assert [path.is_symlink() for path in left] == [True]
    for path in work.rglob("*"):
        if path.is_file():
            assert b"B=multi" not in path.read_bytes()


async def test_what_kustomize_says_of_a_decrypted_file_is_not_repeated(artifact, tmp_path, age):
    program = tmp_path / "kustomize"
    program.write_text('#!/bin/sh\necho "Error: line $(/bin/grep ^B= values.env) is \\"bad\\"" >&2\nexit 1\n')
    program.chmod(0o755)
    renderer = Renderer(None, program, tmp_path / "work")
    files = {**GENERATOR, "token.bin": "plain"}
    with pytest.raises(Terminal, match="cannot build") as refused:
        await renderer.render(artifact(files), "", Options(), keys=age)
    assert "multi" not in str(refused.value)
    program.write_text("#!/bin/sh\necho 'Error: no such patch target' >&2\nexit 1\n")
    with pytest.raises(Terminal, match="no such patch target"):
        await renderer.render(artifact(files), "", Options(), keys=age)


async def test_the_digest_of_a_build_is_bound_to_the_keys(artifact, tmp_path):
    renderer, files = Renderer(None, None, tmp_path), artifact({"secret.yaml": SEALED})
    one = await renderer.render(files, "", Options(), keys=keyring("age.agekey"))
    two = await renderer.render(files, "", Options(), keys=keyring("age.agekey", "other.agekey"))
    again = await renderer.render(files, "", Options(), keys=keyring("age.agekey"))
    assert [manifest.body for manifest in one.manifests] == [manifest.body for manifest in two.manifests]
    assert one.digest != two.digest
    assert one == again


async def test_a_config_map_keeps_an_encrypted_file_that_no_secret_is_made_of(artifact, renderer, age):
    files = {"kustomization.yaml": "configMapGenerator:\n- name: a\n  files: [values.json]\n"}
    files["values.json"] = (FIXTURES / "formats" / "values.json").read_text()
    [manifest] = (await renderer.render(artifact(files), "", Options(), keys=age)).manifests
    assert manifest.body["data"]["values.json"] == files["values.json"]


def test_files_in_memory_are_gone_when_they_are_let_go_and_cannot_be_changed():
    with in_memory({"a": b"secret", "b": b""}) as descriptors:
        path = Path("/proc/self/fd") / str(descriptors["a"])
        assert path.read_bytes() == b"secret"
        assert path.read_bytes() == b"secret"
        with pytest.raises(OSError, match="not permitted"):
            path.write_bytes(b"x")
        assert str(path.readlink()).startswith("/memfd:")
    for descriptor in descriptors.values():
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
    with pytest.raises(Terminal, match="split"), in_memory(dict.fromkeys(map(str, range(MOST + 1)), b"")):
        pass


@pytest.mark.parametrize("refused", [errno.EINVAL, 0])
def test_kernels_that_do_not_know_a_flag_do_without_it(monkeypatch, refused):
    asked, real = [], os.memfd_create

    def create(name, flags):
        asked.append(flags)
        if refused and flags & 8:
            raise OSError(refused, "unknown flag")
        return real(name, flags & ~8)

    monkeypatch.setattr(os, "memfd_create", create)
    with in_memory({"a": b"secret"}) as descriptors:
        assert Path(f"/proc/self/fd/{descriptors['a']}").read_bytes() == b"secret"
    assert len(asked) == (2 if refused else 1)


def test_where_there_is_no_such_memory_the_build_fails_and_says_so(monkeypatch):
    def create(_name, _flags):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "memfd_create", create)
    with pytest.raises(Terminal, match="Operation not permitted"), in_memory({"a": b"secret"}):
        pass
    monkeypatch.delattr(os, "memfd_create")
    with pytest.raises(Terminal, match="only Linux can"), in_memory({"a": b"secret"}):
        pass
