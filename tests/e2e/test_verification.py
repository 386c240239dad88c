"""Only what is signed: a bad commit holds the last good one, and the status says which, by whom, and why."""

import base64
import shutil
from pathlib import Path

import pytest

from tests.crypto.signing import Gpg, SshPair, Work, needs_gpg, needs_ssh
from tests.e2e.test_main_job import config, settings
from tests.e2e.world import SOURCES, condition, until

pytestmark = needs_ssh


@pytest.fixture(scope="module")
def alice(tmp_path_factory) -> SshPair:
    return SshPair.create(tmp_path_factory.mktemp("keys") / "alice")


@pytest.fixture(scope="module")
def mallory(tmp_path_factory) -> SshPair:
    return SshPair.create(tmp_path_factory.mktemp("keys") / "mallory")


class Signed:
    """A repository on the server, and a person who works on it."""

    def __init__(self, world, ns: str, directory: Path) -> None:
        self.world, self.ns = world, ns
        self.repo = world.repo(ns)
        self.work = Work.create(directory / "work")

    def commit(self, pair, colour: str, **options) -> str:
        (self.work.path / "settings.yaml").write_text(config("settings", colour))
        return self.push(self.work.commit(pair, **options))

    def push(self, commit: str = "", *refs: str) -> str:
        self.work.git("push", "-q", "--force", str(self.repo.bare), "HEAD:main", *refs)
        return commit

    def keys(self, **files: bytes) -> None:
        """Make, or replace, the Secret with the keys that are trusted."""
        data = {name.replace("__", "."): base64.b64encode(content).decode() for name, content in files.items()}
        path = f"/api/v1/namespaces/{self.ns}/secrets"
        self.world.api.delete(f"{path}/keys")
        self.world.api.create(path, {"metadata": {"name": "keys"}, "data": data})

    def source(self, mode: str = "HEAD", **spec) -> None:
        verify = {"mode": mode, "secretRef": {"name": "keys"}}
        self.world.source(self.ns, self.repo.url, verify=verify, **spec)

    def annotate(self, **annotations: str | None) -> None:
        named = {f"trimtab.dev/{name.replace('_', '-')}": value for name, value in annotations.items()}
        self.change({"metadata": {"annotations": named}})

    def change(self, patch) -> None:
        self.world.api.merge(f"{SOURCES}/namespaces/{self.ns}/gitrepositories/repo", patch)

    def verified(self, commit: str) -> str:
        """Wait until `commit` is published and verified; the message."""
        self.world.poke(self.ns)

        def reached() -> str | None:
            source = self.world.get_source(self.ns)
            at = commit in ((source["status"].get("artifact") or {}).get("revision") or "")
            found = condition(source, "SourceVerified")
            good = found.get("status") == "True" and commit in found["message"]
            return found["message"] if at and good and condition(source, "Ready").get("status") == "True" else None

        message: str = until(reached, lambda: f"{commit} is not verified: {self.world.get_source(self.ns)}", 60)
        return message

    def refused(self, *words: str) -> str:
        """Wait until the source is not Ready for its signatures; the message."""
        self.world.poke(self.ns)

        def reached() -> str | None:
            source = self.world.get_source(self.ns)
            found, ready = condition(source, "SourceVerified"), condition(source, "Ready")
            bad = found.get("status") == "False" and all(word in found["message"] for word in words)
            same = ready.get("status") == "False" and ready["message"] == found.get("message")
            return found["message"] if bad and same and ready["reason"] == "VerificationError" else None

        message: str = until(reached, lambda: f"it is not refused so: {self.world.get_source(self.ns)}", 60)
        return message

    def warnings(self) -> list[str]:
        items = self.world.api.get(f"/api/v1/namespaces/{self.ns}/events")["items"]
        return [item["message"] for item in items if item["reason"] == "VerificationError"]


@pytest.fixture
def signed(world, ns, tmp_path) -> Signed:
    return Signed(world, ns, tmp_path)


def test_a_bad_commit_holds_the_last_good_one_which_stays_enforced(world, ns, signed, alice, mallory):
    signed.keys(allowed_signers=alice.allowed())
    good = signed.commit(alice, "red")
    signed.source()
    world.app(ns, "app")
    world.ready(ns, "app", good)
    message = signed.verified(good)
    assert "alice@example.org" in message
    assert alice.fingerprint in message
    assert world.get_source(ns)["status"]["sourceVerificationMode"] == "HEAD"

    bad = signed.commit(mallory, "blue")
    message = signed.refused(bad, mallory.fingerprint, "not among the trusted", good)
    until(signed.warnings, "a Warning goes out")
    world.api.merge(f"/api/v1/namespaces/{ns}/configmaps/settings", {"data": {"colour": "green"}})
    until(lambda: settings(world, ns, "settings")["data"] == {"colour": "red"}, "the last good state is enforced")
    assert good in world.get_source(ns)["status"]["artifact"]["revision"]
    signed.refused(bad)
    assert len(signed.warnings()) == 1, "asked again, it says the same, and tells nobody twice"

    fixed = signed.commit(alice, "yellow")
    signed.verified(fixed)
    world.ready(ns, "app", fixed)
    assert settings(world, ns, "settings")["data"] == {"colour": "yellow"}


def test_a_first_commit_that_is_not_verified_publishes_nothing(world, ns, signed, alice):
    signed.keys(alice__sshpub=alice.public)
    unsigned = signed.commit(None, "red")
    signed.source()
    signed.refused(unsigned, "it is not signed", "there is no artifact yet")
    assert "artifact" not in world.get_source(ns)["status"]
    signed.verified(signed.commit(alice, "red"))


def test_missing_and_malformed_keys_publish_nothing_and_heal(world, ns, signed, alice):
    good = signed.commit(alice, "red")
    signed.source()
    signed.refused(f"Secret {ns}/keys", "does not exist")
    signed.keys(alice__sshpub=alice.public, broken__asc=b"-----BEGIN")
    signed.refused("broken.asc")
    signed.keys(password=b"secret words")
    assert "secret words" not in signed.refused("no keys in it", "password")
    assert "artifact" not in world.get_source(ns)["status"]
    signed.keys(alice__sshpub=alice.public)
    signed.verified(good)


def test_a_removed_key_takes_the_verification_away_and_holds(world, ns, signed, alice, mallory):
    signed.keys(alice__sshpub=alice.public)
    good = signed.commit(alice, "red")
    signed.source()
    signed.verified(good)
    signed.keys(other__sshpub=mallory.public)
    signed.refused(good, alice.fingerprint, "not among the trusted")
    assert good in world.get_source(ns)["status"]["artifact"]["revision"], "it stays in force"
    signed.verified(signed.commit(mallory, "blue"))


def test_a_rewound_branch_is_held_until_exactly_that_commit_is_allowed(world, ns, signed, alice):
    signed.keys(alice__sshpub=alice.public)
    old = signed.commit(alice, "red")
    new = signed.commit(alice, "blue")
    signed.source()
    signed.verified(new)
    signed.work.git("reset", "-q", "--hard", old)
    signed.push()
    message = signed.refused(old, new, "rewound")
    assert f"trimtab.dev/allow-rollback: {old}" in message
    signed.annotate(allow_rollback=new)
    signed.refused(old)
    signed.annotate(allow_rollback=old)
    signed.verified(old)
    signed.verified(signed.commit(alice, "green"))


def test_another_reference_in_the_spec_is_no_rollback(world, ns, signed, alice):
    """Who may write the spec decides what is followed; who may push to the repository does not."""
    signed.keys(alice__sshpub=alice.public)
    old = signed.commit(alice, "red")
    signed.work.git("push", "-q", str(signed.repo.bare), "HEAD:stable")
    signed.source()
    signed.verified(signed.commit(alice, "blue"))
    world.api.merge(
        f"/apis/source.toolkit.fluxcd.io/v1/namespaces/{ns}/gitrepositories/repo",
        {"spec": {"ref": {"branch": "stable"}}},
    )
    signed.verified(old)


def test_strict_judges_every_commit_since_the_last_verified_one(world, ns, signed, alice, mallory):
    signed.keys(alice__sshpub=alice.public)
    signed.source()
    signed.annotate(verify="strict")
    good = signed.commit(alice, "red")
    signed.verified(good)
    hidden = signed.commit(mallory, "blue")
    head = signed.commit(alice, "green")
    signed.refused(hidden, mallory.fingerprint)
    signed.annotate(verify="head")
    signed.verified(head)
    signed.annotate(verify="strict")
    signed.verified(head)
    signed.verified(signed.commit(alice, "yellow"))


def test_what_was_verified_survives_a_restart_and_the_loss_of_the_disk(world, ns, signed, alice, tmp_path):
    """Its state is in the status: the last good commit is fetched again by its id, not the bad head."""
    signed.keys(alice__sshpub=alice.public)
    good = signed.commit(alice, "red")
    signed.source()
    world.app(ns, "app")
    world.ready(ns, "app", good)
    bad = signed.commit(None, "blue")
    signed.refused(bad)
    world.controller.kill()
    shutil.rmtree(world.controller.directory / "data")
    world.api.merge(f"/api/v1/namespaces/{ns}/configmaps/settings", {"data": {"colour": "green"}})
    world.controller.start()
    until(lambda: settings(world, ns, "settings")["data"] == {"colour": "red"}, "the last good state is enforced", 60)
    signed.refused(bad, good)


def test_tags_are_judged_by_their_own_signature_and_name(world, ns, signed, alice, mallory):
    signed.keys(alice__sshpub=alice.public)
    first = signed.commit(None, "red")
    signed.work.tag("v1.0.0", alice)
    signed.push("", "v1.0.0")
    signed.source("Tag", ref={"semver": "*"})
    signed.verified(first)
    signed.commit(alice, "blue")
    signed.work.git("tag", "v1.1.0")
    signed.push("", "v1.1.0")
    signed.refused("v1.1.0", "lightweight")
    assert condition(world.get_source(ns), "Stalled").get("status") == "True"
    third = signed.commit(None, "green")
    signed.work.tag("v1.2.0", alice)
    signed.push("", "v1.2.0")
    signed.verified(third)
    signed.change({"spec": {"verify": {"mode": "TagAndHEAD"}}})
    signed.refused(third, "it is not signed")
    fourth = signed.commit(alice, "yellow")
    signed.work.tag("v1.3.0", mallory)
    signed.push("", "v1.3.0")
    signed.refused("v1.3.0", mallory.fingerprint)
    signed.work.git("tag", "-d", "v1.3.0")
    signed.work.tag("v1.3.0", alice)
    signed.push("", "+refs/tags/v1.3.0")
    signed.verified(fourth)


@needs_gpg
def test_openpgp_keys_are_trusted_as_well(signed, alice, tmp_path_factory):
    gpg = Gpg.create(tmp_path_factory.mktemp("g") / "h")
    key = gpg.key("Bob <alice@example.org>", "ed25519")
    signed.keys(bob__asc=key.public)
    signed.source()
    signed.annotate(signer_matches_committer="true")
    assert key.fingerprint in signed.verified(signed.commit(key, "red"))
    signed.refused(signed.commit(alice, "blue"), "only OpenPGP keys are trusted")
    signed.work.address = "ceo@example.org"
    signed.refused(signed.commit(key, "green"), "'ceo@example.org' committed it", key.fingerprint)
    gpg.stop()


def test_a_demand_that_makes_no_sense_is_refused_and_says_why(world, ns, signed, alice):
    signed.keys(alice__sshpub=alice.public)
    signed.commit(alice, "red")
    signed.source("Tag")
    signed.refused("needs a tag")
    signed.annotate(verify="strict")
    until(lambda: "use TagAndHEAD" in condition(world.get_source(ns), "Ready").get("message", ""), "it says why")
    assert "artifact" not in world.get_source(ns)["status"]
