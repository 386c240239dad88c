"""What the tests of automations have in common: the kinds, policies whose choice the test makes, and repositories."""

import asyncio
import json
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.conftest import served_now
from tests.e2e.world import SOURCES, Repo, World, condition, until
from tests.remotes.pull_forge import PullForge

IMAGES = "/apis/image.toolkit.fluxcd.io/v1"
EMAIL = "robot@example.org"


def installed(api: Any) -> None:
    """Wait until the kinds of images are served."""
    for plural in ("imagerepositories", "imagepolicies", "imageupdateautomations"):
        until(lambda plural=plural: served_now(api, f"{IMAGES}/{plural}"), f"{plural} are served")


def key_pair(directory: Path, passphrase: str = "") -> tuple[str, str]:
    """A private key for SSH signatures, and its public one."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "robot", "-f", str(file)], check=True)
    return file.read_text(), file.with_suffix(".pub").read_text()


@contextmanager
def played(forge: PullForge) -> Iterator[PullForge]:
    """A double of a forge in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(forge.__aenter__(), loop).result(10)
    yield forge
    asyncio.run_coroutine_threadsafe(forge.__aexit__(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


class Automating(World):
    """A world in which images are written back."""

    def policy(self, namespace: str, name: str, image: str = "", **metadata: Any) -> None:
        self.api.create(
            f"{IMAGES}/namespaces/{namespace}/imagepolicies",
            {
                "apiVersion": "image.toolkit.fluxcd.io/v1",
                "kind": "ImagePolicy",
                "metadata": {"name": name, "namespace": namespace, **metadata},
                "spec": {"imageRepositoryRef": {"name": name}, "policy": {"semver": {"range": "*"}}, "suspend": True},
            },
        )
        if image:
            self.choose(namespace, name, image)

    def choose(self, namespace: str, name: str, image: str) -> float:
        """Have the policy choose; when that was."""
        head, _, digest = image.partition("@")
        where, _, tag = head.rpartition(":")
        ref = {"name": where, "tag": tag} | ({"digest": digest} if digest else {})
        path = f"{IMAGES}/namespaces/{namespace}/imagepolicies/{name}/status"
        self.api.merge(path, {"status": {"latestRef": ref}})
        return time.monotonic()

    def annotate_policy(self, namespace: str, name: str, **notes: str | None) -> None:
        annotations = {f"trimtab.dev/{key}": value for key, value in notes.items()}
        path = f"{IMAGES}/namespaces/{namespace}/imagepolicies/{name}"
        self.api.merge(path, {"metadata": {"annotations": annotations}})

    def automation(
        self, namespace: str, name: str = "auto", annotations: Mapping[str, str] | None = None, **spec: Any
    ) -> None:
        git = {"commit": {"author": {"name": "Robot", "email": EMAIL}, **spec.pop("commit", {})}}
        git |= {key: spec.pop(key) for key in ("push", "checkout") if key in spec}
        spec = {"sourceRef": {"kind": "GitRepository", "name": "repo"}, "interval": "60m", "git": git, **spec}
        self.api.create(
            f"{IMAGES}/namespaces/{namespace}/imageupdateautomations",
            {
                "apiVersion": "image.toolkit.fluxcd.io/v1",
                "kind": "ImageUpdateAutomation",
                "metadata": {"name": name, "namespace": namespace, "annotations": dict(annotations or {})},
                "spec": spec,
            },
        )

    def get_automation(self, namespace: str, name: str = "auto") -> Any:
        return self.api.get(f"{IMAGES}/namespaces/{namespace}/imageupdateautomations/{name}")

    def poke_automation(self, namespace: str, name: str = "auto") -> None:
        """Ask for a run now, and wait until it was."""
        moment = self._request(f"{IMAGES}/namespaces/{namespace}/imageupdateautomations/{name}")

        def handled() -> bool:
            return bool(self.get_automation(namespace, name)["status"].get("lastHandledReconcileAt") == moment)

        until(handled, lambda: json.dumps(self.get_automation(namespace, name)["status"]))

    def is_ready(self, namespace: str, name: str = "auto") -> Any:
        """Wait until the automation is Ready; its status."""

        def ready() -> Any:
            item = self.get_automation(namespace, name)
            return item["status"] if condition(item, "Ready").get("status") == "True" else None

        return until(ready, lambda: self.why(namespace, name))

    def fails(self, namespace: str, reason: str, name: str = "auto") -> str:
        """Wait until the automation is not Ready for that reason; the message."""

        def failed() -> str | None:
            ready = condition(self.get_automation(namespace, name), "Ready")
            return ready["message"] if (ready.get("status"), ready.get("reason")) == ("False", reason) else None

        message: str = until(failed, lambda: self.why(namespace, name))
        return message

    def told(self, namespace: str, kind: str, name: str = "auto") -> str:
        """Wait for a condition; its message."""
        message: str = until(
            lambda: condition(self.get_automation(namespace, name), kind).get("message"),
            lambda: self.why(namespace, name),
        )
        return message

    def runs(self, namespace: str, name: str = "auto") -> float:
        """How often there was a pass over the automation."""
        address = f"http://127.0.0.1:{self.controller.metrics_port}/metrics"
        with urllib.request.urlopen(address, timeout=5) as answer:
            text = answer.read().decode()
        subject = (f'name="{name}"', f'namespace="{namespace}"', "gotk_reconcile_duration_seconds_count")
        lines = [line for line in text.splitlines() if all(part in line for part in subject)]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def why(self, namespace: str, name: str = "auto") -> str:
        return f"{json.dumps(self.get_automation(namespace, name)['status'], indent=1)}\n{self.controller.log[-3000:]}"

    def events(self, namespace: str, reason: str) -> list[str]:
        items = self.api.get(f"/api/v1/namespaces/{namespace}/events")["items"]
        return [item["message"] for item in items if item["reason"] == reason]

    def secret(self, namespace: str, name: str, **data: str) -> None:
        body = {"metadata": {"name": name}, "stringData": {key.replace("__", "."): text for key, text in data.items()}}
        self.api.create(f"/api/v1/namespaces/{namespace}/secrets", body)

    def let_go(self, namespace: str) -> None:
        """Delete the automations and sources of a namespace."""
        inside = f"namespaces/{namespace}"
        for kinds in (f"{IMAGES}/{inside}/imageupdateautomations", f"{SOURCES}/{inside}/gitrepositories"):
            for item in self.api.get(kinds)["items"]:
                self.api.delete(f"{kinds}/{item['metadata']['name']}")


def head(repo: Repo, branch: str = "main") -> str:
    return git(repo, "rev-parse", f"refs/heads/{branch}")


def count(repo: Repo, branch: str = "main") -> int:
    return int(git(repo, "rev-list", "--count", branch))


def message(repo: Repo, branch: str = "main") -> str:
    return git(repo, "log", "-1", "--format=%B", branch)


def shown(repo: Repo, path: str, branch: str = "main") -> str:
    return git(repo, "show", f"{branch}:{path}")


def git(repo: Repo, *arguments: str) -> str:
    command = ["git", "--git-dir", str(repo.bare), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")
