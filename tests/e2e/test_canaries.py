"""No secret shows anywhere but where it belongs: canaries in every secret place, and one look at everything else.

A controller of the test's own runs at debug level, with a token in its kubeconfig, and with directories of its own for
what is kept and what is temporary. Each plant below puts canaries into secret places, sees them arrive, and then lets
everything go wrong that makes somebody say something: wrong keys and passwords, refusals of the API server in its own
words, drift, hooks and templates that fail, servers that are away or send us elsewhere. Meanwhile all children of the
controller and all its files are watched; at the end comes everything that it told anybody.

Values of fewer than six characters are not hidden (docs/substitution.md), so the canaries are longer.
"""

import itertools
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.canaries import Leak, Lookout, Needles, files_below
from tests.e2e.canary_ground import PLAIN, Ground, kubeconfig_of_account, sealed
from tests.e2e.canary_plants import PLANTS
from tests.e2e.releases import RELEASES
from tests.e2e.test_decryption import EVERYWHERE
from tests.e2e.world import APPS, EXTENSIONS, SOURCES, Api, Controller, World, free_port
from tests.remotes.world import Sshd
from tests.sops.conftest import KEYS
from trimtab.cli.main import _COMMANDS
from trimtab.toolchain import binaries

HOOKS = "/apis/notification.toolkit.fluxcd.io/v1"
OURS = [
    *(f"{SOURCES}/{plural}" for plural in ("gitrepositories", "ocirepositories", "buckets", "helmrepositories")),
    *(f"{SOURCES}/{plural}" for plural in ("helmcharts", "externalartifacts")),
    *(f"{APPS}/kustomizations", f"{RELEASES}/helmreleases", f"{HOOKS}/receivers"),
    f"{EXTENSIONS}/artifactgenerators",
]
WRITTEN_BY_US = ("helmcharts", "externalartifacts")


@pytest.fixture
def ground(world: World, api: Api, git_root: Path, git_url: str, tmp_path: Path) -> Iterator[Ground]:
    """The session's controller gives way to one that tells everything it would ever tell."""
    world.controller.stop()
    text, token = kubeconfig_of_account(api, "flux-system", "sings")
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_bytes(text)
    port = free_port()
    controller = Controller(
        kubeconfig,
        tmp_path / "trimtab",
        *("--log-level=debug", "--controllers=source,kustomize,helm,source-watcher,notification"),
        *("--sops-vault-configmap=canary-vaults", f"--receiver-addr=127.0.0.1:{port}", "--recheck-every=1m"),
    )
    for name in ("tmp", "home"):
        (tmp_path / name).mkdir()
    own = {"TMPDIR": str(tmp_path / "tmp"), "HOME": str(tmp_path / "home")}
    controller.environment = {**own, "XDG_CACHE_HOME": str(binaries.cache_root().parent)}
    controller.start()
    ground = Ground(api, git_url, git_root, controller, tmp_path)
    ground.port = port
    ground.needles.add("our own token", token)
    ground.needles.add("the signature of our own token", token.rpartition(".")[2])
    try:
        yield ground
    finally:
        for namespace in ground.namespaces:
            ground.let_go(namespace)
        controller.stop()
        ground.closing.close()
        api.delete("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/flux-system-sings")
        api.delete("/api/v1/namespaces/flux-system/serviceaccounts/sings")
        world.controller.start()


def told(ground: Ground) -> Iterator[tuple[str, str]]:
    """Everything that was told to anybody, and where."""
    api = ground.api
    lines: dict[str, list[str]] = {}
    for line in ground.controller.log.splitlines():
        logger = json.loads(line)["logger"] if line.startswith("{") else "nobody"
        lines.setdefault(logger, []).append(line)
    yield from ((f"the log of {logger}", "\n".join(all_)) for logger, all_ in lines.items())
    for path in ("metrics", "readyz", "readyz?verbose", "healthz"):
        url = f"http://127.0.0.1:{ground.controller.metrics_port}/{path}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                yield f"/{path}", answer.read().decode()
        except urllib.error.HTTPError as failure:
            yield f"/{path}", failure.read().decode()
    for events in ("/api/v1/events", "/apis/events.k8s.io/v1/events"):
        for item in api.get(events)["items"]:
            of = item.get("involvedObject") or item.get("regarding")
            if item["metadata"]["namespace"] in [*ground.namespaces, "flux-system"]:
                yield f"an event of {of['kind']}/{of.get('name')}", json.dumps(item)
    for place in OURS:
        for item in api.get(place)["items"]:
            # What a user wrote is his; what we wrote is everything else, and all of what we made.
            shown = item if place.endswith(WRITTEN_BY_US) else {k: v for k, v in item.items() if k != "spec"}
            meta = item["metadata"]
            yield f"{place.rpartition('/')[2]}/{meta['namespace']}/{meta['name']}", json.dumps(shown)
    for namespace in [*ground.namespaces, "flux-system"]:
        for plural in ("secrets", "configmaps"):
            for item in api.get(f"/api/v1/namespaces/{namespace}/{plural}")["items"]:
                meta = item["metadata"]
                yield f"the metadata of {plural}/{namespace}/{meta['name']}", json.dumps([meta, item.get("type")])
    for item in api.get("/apis/coordination.k8s.io/v1/leases")["items"]:
        yield "a Lease", json.dumps(item)


def commands(ground: Ground) -> Iterator[tuple[str, str]]:
    """What the command line says of all of it; only `build` shows values, and only those that it opened."""
    known = {name for section in _COMMANDS.values() for name in section}
    started: list[tuple[tuple[str, ...], bool, subprocess.Popen[str]]] = []

    def run(*arguments: str, stdout: bool = True) -> None:
        command = [sys.executable, "-m", "trimtab", *arguments]
        environment = {**os.environ, **ground.controller.environment}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        started.append((arguments, stdout, process))

    to = ("--kubeconfig", str(ground.controller.kubeconfig))
    for form in ("text", "json"):
        run("get", "all", "-A", "-o", form, *to)
    for item in ground.api.get(f"{APPS}/kustomizations")["items"]:
        ns, name = item["metadata"]["namespace"], item["metadata"]["name"]
        if ns not in ground.namespaces or name not in ("app", "refused", "odd", "bad", "values"):
            continue
        for verb in ("tree", "inventory", "diff", "events", "logs"):
            if verb in known:
                run(verb, name, "-n", ns, *to)
    for item in ground.api.get(f"{RELEASES}/helmreleases")["items"]:
        for verb in ("tree", "inventory", "diff", "events", "logs") if "HelmRelease" in str(_COMMANDS) else ():
            if verb in known:
                run(verb, "helmrelease", item["metadata"]["name"], "-n", item["metadata"]["namespace"], *to)
    tree = ground.directory / "build"
    for path, content in {**EVERYWHERE, "bad/token.env": sealed("token.env").replace("TOKEN", "OTHER")}.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    (tree / "bad" / "kustomization.yaml").write_text("secretGenerator: [{name: s, envs: [token.env]}]\n")
    for path in ("app", "bad"):
        run("build", str(tree / path))
        run("build", str(tree / path), "--age-key", str(KEYS / "other.agekey"))
        run("build", str(tree / path), "--age-key", str(KEYS / "age.agekey"), stdout=path == "bad")
    for arguments, stdout, process in started:
        printed, said = process.communicate(timeout=120)
        # As on the server: an address with a password was written so by its owner.
        printed = _WRITTEN.sub("", printed) if "json" in arguments else printed
        yield f"trimtab {' '.join(arguments)}", (printed if stdout else "") + said


_WRITTEN = re.compile(r'"(?:url|endpoint)": "[^"]*"')


def by_place(leaks: list[Leak]) -> str:
    """What leaked where, one line for each place and secret."""
    lines = sorted({f"- {str(leak)[:400]}" for leak in leaks})
    return f"{len(lines)} leaks:\n" + "\n".join(lines[:80])


@pytest.mark.timeout(400)
def test_no_canary_sings_where_it_should_not(ground: Ground) -> None:
    assert ground.controller.process
    pid = ground.controller.process.pid
    assert re.search(r"Max core file size +0 +0 ", Path(f"/proc/{pid}/limits").read_text())
    storage, shm = ground.controller.directory / "data", Path("/dev/shm")
    places = [storage, ground.directory / "tmp", ground.directory / "home"]
    growing = [plant(ground) for plant in PLANTS]
    with Lookout(pid, places, ground.needles) as lookout:
        lookout.look_at(pid)
        while growing:
            growing = [plant for plant in growing if next(plant, growing) is not growing]
        spoken = [*told(ground), *commands(ground)]
    leaks = list(lookout.leaks.values())
    for place, text in spoken:
        leaks += ground.needles.leaks(place, text)
    plain = Needles({"a value of a Secret in git": PLAIN})
    private = Needles({f"the path of a webhook {number}": path for number, path in enumerate(ground.paths)})
    for place, text in spoken:
        leaks += [leak for leak in plain.leaks(place, text) if leak.secret != "a canary"]
        if not place.startswith(("receivers/", "trimtab get")):
            leaks += [leak for leak in private.leaks(place, text) if leak.secret != "a canary"]
    for path in files_below([*places, shm]):
        leaks += ground.needles.leaks_of(path)
    assert not leaks, by_place(leaks)
    programs = {"git", "git-remote-https", "kustomize", "helm"} | ({"ssh"} if Sshd.available() else set())
    assert {name for name in programs if not any(name in seen for seen in lookout.seen)} == set(), lookout.seen
    assert "Traceback" not in ground.controller.log, ground.controller.log[-4000:]


def test_a_secret_may_be_added_while_somebody_looks() -> None:
    needles = Needles()

    class Growing(bytes):
        def find(self, *arguments: Any) -> int:
            needles.add("another", f"secret {next(numbers)}")
            return super().find(*arguments)

    numbers = itertools.count()
    assert needles.leaks("here", Growing(b"secret 0")) == []
    assert [leak.secret for leak in needles.leaks("here", b"secret 0")] == ["another"]
