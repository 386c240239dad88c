"""Encrypted repositories on a real API server: what is applied, what is not touched, and that no secret shows."""

import base64
import json
import os
import re
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.world import World, condition, until
from tests.sops.conftest import FIXTURES, KEYS

CANARY = FIXTURES / "canary"
SEALED = (CANARY / "secret.yaml").read_text()
DECRYPTION = {"provider": "sops", "secretRef": {"name": "sops-keys"}}
PLAIN = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: plain}\ndata: {colour: %s}\n"


def keys(world: World, ns: str, *names: str) -> None:
    """Put the keys into the Secret, in place of those that are there."""
    data = {name: base64.b64encode((KEYS / name).read_bytes()).decode() for name in names}
    path = f"/api/v1/namespaces/{ns}/secrets"
    world.api.delete(f"{path}/sops-keys")
    world.api.create(path, {"metadata": {"name": "sops-keys"}, "data": data})


def value(world: World, ns: str, secret: str, entry: str) -> str | None:
    found = world.api.get(f"/api/v1/namespaces/{ns}/secrets/{secret}")
    return base64.b64decode(found["data"][entry]).decode() if found and entry in found.get("data", {}) else None


def colour(world: World, ns: str) -> str | None:
    found = world.api.get(f"/api/v1/namespaces/{ns}/configmaps/plain")
    return found and found["data"]["colour"]


def test_an_app_waits_for_its_key_and_takes_the_one_that_comes(world, ns):
    repo = world.repo(ns)
    repo.commit({"app/secret.yaml": SEALED})
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app", decryption=DECRYPTION)
    world.failed(ns, "shop", "BuildFailed", f"Secret {ns}/sops-keys of spec.decryption.secretRef does not exist")
    keys(world, ns, "other.agekey")
    message = world.failed(ns, "shop", "BuildFailed", "app/secret.yaml cannot be decrypted")
    assert "age age1" in message
    assert "AGE-SECRET" not in message
    assert value(world, ns, "manifest", "token") is None
    keys(world, ns, "age.agekey")
    world.ready(ns, "shop")
    assert value(world, ns, "manifest", "token") == "canary-in-a-manifest"


def test_what_cannot_be_decrypted_touches_nothing(world, ns):
    repo = world.repo(ns)
    repo.commit({"app/secret.yaml": SEALED, "app/plain.yaml": PLAIN % "red"})
    world.source(ns, repo.url)
    keys(world, ns, "age.agekey")
    world.app(ns, "shop", "./app", decryption=DECRYPTION)
    before = world.ready(ns, "shop")["status"]
    repo.commit({"app/plain.yaml": PLAIN % "blue", "app/secret.yaml": SEALED.replace("name: manifest", "name: moved")})
    world.poke(ns)
    message = world.failed(ns, "shop", "BuildFailed", "its MAC does not fit")
    assert "canary" not in message
    assert colour(world, ns) == "red"
    # What was applied last stays enforced, and on record.
    world.api.delete(f"/api/v1/namespaces/{ns}/secrets/manifest")
    until(lambda: value(world, ns, "manifest", "token"), "the Secret is there again")
    after = world.get_app(ns, "shop")["status"]
    ids = [[entry["id"] for entry in status["inventory"]["entries"]] for status in (before, after)]
    assert ids[0] == ids[1]
    assert after["lastAppliedRevision"] == before["lastAppliedRevision"]


def test_a_key_that_changed_counts_at_the_next_reconcile(world, ns):
    repo = world.repo(ns)
    repo.commit({"app/secret.yaml": SEALED})
    world.source(ns, repo.url)
    keys(world, ns, "age.agekey", "other.agekey")
    world.app(ns, "shop", "./app", decryption=DECRYPTION)
    world.ready(ns, "shop")
    keys(world, ns, "other.agekey")
    world.poke_app(ns, "shop")
    world.failed(ns, "shop", "BuildFailed", "none of the age keys is its")
    assert value(world, ns, "manifest", "token") == "canary-in-a-manifest"
    keys(world, ns, "age.agekey")
    world.ready(ns, "shop")


def test_the_key_of_one_tenant_does_not_open_the_files_of_another(world, ns):
    other = world.namespace("other-tenant")
    try:
        repo = world.repo(ns)
        repo.commit({"app/secret.yaml": SEALED})
        for namespace, key in ((ns, "age.agekey"), (other, "other.agekey")):
            world.source(namespace, repo.url)
            keys(world, namespace, key)
            world.app(namespace, "shop", "./app", decryption=DECRYPTION)
        world.ready(ns, "shop")
        world.failed(other, "shop", "BuildFailed", "none of the age keys is its")
    finally:
        world.let_go(other)


def test_a_secret_that_is_still_encrypted_is_never_applied(world, ns):
    repo = world.repo(ns)
    sealed = base64.b64encode((CANARY / "token.json").read_bytes()).decode()
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "entry"}, "data": {"token.json": sealed}}
    repo.commit({"whole/secret.yaml": SEALED, "entry/secret.yaml": json.dumps(body)})
    world.source(ns, repo.url)
    for app in ("whole", "entry"):
        world.app(ns, app, f"./{app}")
        world.failed(ns, app, "ValidationFailed", "still encrypted by SOPS")
    assert value(world, ns, "entry", "token.json") is None
    repo.commit({"entry/secret.yaml": json.dumps(body | {"metadata": {"name": "entry", "annotations": SWITCHED_OFF}})})
    world.poke(ns)
    world.ready(ns, "entry")
    assert "ENC[" in str(value(world, ns, "entry", "token.json"))


SWITCHED_OFF = {"kustomize.toolkit.fluxcd.io/decrypt": "disabled"}

EVERYWHERE = {
    "app/kustomization.yaml": "resources: [secret.yaml, config.yaml, patched.yaml]\n"
    "patches:\n- path: patch.yaml\nsecretGenerator:\n- name: sources\n  envs: [token.env]\n"
    "  files: [token.json, token.bin]\ngeneratorOptions: {disableNameSuffixHash: true}\n",
    "app/patched.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: patched}\n",
    **{f"app/{path.name}": path.read_bytes() for path in sorted(CANARY.iterdir())},
}


@contextmanager
def watched_children(pid: int, places: list[Path], words: list[bytes]) -> Iterator[list[str]]:
    """Look into all children of a process, and all files below `places`, as often as possible."""
    found: list[str] = []
    seen: set[bytes] = set()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            for child in _descendants(pid):
                for part in ("cmdline", "environ"):
                    try:
                        data = Path(f"/proc/{child}/{part}").read_bytes()
                    except OSError:
                        continue
                    seen.add(data.split(b"\0")[0])
                    found.extend(f"{part} of a child" for word in words if word in data)
            found.extend(_files_with(places, words))
            time.sleep(0.001)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()
    assert any(b"kustomize" in name for name in seen), "no child was seen at work"


def _descendants(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _files_with(places: list[Path], words: list[bytes]) -> list[str]:
    found = []
    for place in places:
        # Not rglob: it fails where something goes away under it.
        for path in (Path(folder, name) for folder, _, names in os.walk(place) for name in names):
            try:
                if path.is_symlink() or not path.is_file() or path.stat().st_size > 64 << 20:
                    continue
                data = path.read_bytes()
            except OSError:
                continue
            found += [f"{path}: {word!r}" for word in words if word in data]
    return found


def test_no_secret_shows_anywhere_but_in_the_objects_themselves(world, ns):
    plain = [
        *(b"canary-in-a-manifest", b"canary-in-a-config-map", b"canary-in-a-patch"),
        *(b"canary-in-an-env-file", b"canary-in-a-json-file", b"canary-in-a-binary-file"),
        (KEYS / "age.agekey").read_bytes().split(b"\n")[1],
    ]
    # In base64 a text looks differently at each of three offsets; what is sure of it is the middle.
    encoded = [base64.b64encode(b"x" * shift + word)[4:-4] for word in plain for shift in range(3)]
    words = plain + encoded
    repo = world.repo(ns)
    repo.commit(EVERYWHERE)
    world.source(ns, repo.url)
    keys(world, ns, "age.agekey")
    data, process = world.controller.directory, world.controller.process
    assert process
    assert re.search(r"Max core file size +0 +0 ", Path(f"/proc/{process.pid}/limits").read_text())
    with watched_children(process.pid, [data / "data" / "render"], words) as leaks:
        for number in range(5):
            world.app(ns, f"shop-{number}", "./app", decryption=DECRYPTION, namePrefix=f"a{number}-")
        for number in range(5):
            world.ready(ns, f"shop-{number}")
    assert not leaks
    # They arrived, each in its place.
    assert value(world, ns, "a0-manifest", "token") == "canary-in-a-manifest"
    assert value(world, ns, "a0-patched", "token") == "canary-in-a-patch"
    assert value(world, ns, "a0-sources", "TOKEN") == "canary-in-an-env-file"
    assert value(world, ns, "a0-sources", "token.bin") == "canary-in-a-binary-file"
    settings = f"/api/v1/namespaces/{ns}/configmaps/a0-settings"
    assert world.api.get(settings)["data"] == {"setting": "canary-in-a-config-map"}
    # Drift of what was decrypted is told, without what it was and is.
    world.api.merge(settings, {"data": {"setting": "somebody-was-here"}})
    until(lambda: world.api.get(settings)["data"]["setting"] == "canary-in-a-config-map", "drift is corrected")
    events = f"/api/v1/namespaces/{ns}/events"
    until(lambda: "a0-settings" in json.dumps(world.api.get(events)), "it is told")
    # A failure, too.
    repo.commit({"app/token.env": (CANARY / "token.env").read_text().replace("TOKEN", "OTHER")})
    world.poke(ns)
    world.failed(ns, "shop-0", "BuildFailed", "token.env cannot be decrypted")
    metrics = urllib.request.urlopen(f"http://127.0.0.1:{world.controller.metrics_port}/metrics", timeout=30)
    apps = f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{ns}/kustomizations"
    told = {
        "log": world.controller.log.encode(),
        "events": json.dumps(world.api.get(events)).encode(),
        "status": json.dumps(world.api.get(apps)).encode(),
        "metrics": metrics.read(),
    }
    for where, text in told.items():
        for word in [*words, b"somebody-was-here"]:
            assert word not in text, where
    assert not _files_with([data, Path("/dev/shm")], words)
    assert condition(world.get_app(ns, "shop-0"), "Ready")["status"] == "False"


def test_what_the_server_refuses_of_a_decrypted_object_is_told_without_its_values(world, ns):
    repo = world.repo(ns)
    repo.commit({"app/refused.yaml": (CANARY / "refused.yaml").read_text()})
    before = len(world.controller.log)  # some digest of the tests before may have these digits
    world.source(ns, repo.url)
    keys(world, ns, "age.agekey")
    world.app(ns, "shop", "./app", decryption=DECRYPTION)
    message = world.failed(ns, "shop", "ValidationFailed", "spec.sessionAffinity: Unsupported value")
    assert "spec.ports[0].port: Invalid value" in message
    for value_ in ("canary", "7654321"):
        assert value_ not in message
        assert value_ not in world.controller.log[before:]
        assert value_ not in json.dumps(world.api.get(f"/api/v1/namespaces/{ns}/events"))


def test_an_account_without_a_vault_to_sign_in_to_is_refused_by_name(world, ns):
    repo = world.repo(ns)
    repo.commit({"app/secret.yaml": SEALED})
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app", decryption={"provider": "sops", "serviceAccountName": "someone"})
    world.failed(ns, "shop", "FeatureGateDisabled", "spec.decryption.serviceAccountName")
