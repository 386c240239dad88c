"""Every way around a signature that is known (SECURITY.md, 1.4), tried with real keys; and that the good ones pass."""

import random
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.crypto.signing import Gpg, SshPair, Work, needs_gpg, needs_ssh
from tests.sources.test_git import repository, server, source, spec, store, transport
from trimtab.api.names import AncestryMode
from trimtab.api.source import VerifyMode
from trimtab.base.errors import Transient
from trimtab.crypto.keyring import Keyring
from trimtab.sources import trust as module
from trimtab.sources.git import ANONYMOUS
from trimtab.sources.trust import Refused, Terms, gather, judge

__all__ = ["repository", "server", "source", "store", "transport"]
pytestmark = needs_ssh
NOW = datetime(2026, 6, 1, tzinfo=UTC)
STRICT, FIRST = Terms(ancestry=AncestryMode.STRICT), Terms(ancestry=AncestryMode.FIRST_PARENT)
TAG, BOTH = Terms(mode=VerifyMode.TAG), Terms(mode=VerifyMode.TAG_AND_HEAD)


@pytest.fixture(scope="module")
def alice(tmp_path_factory) -> SshPair:
    return SshPair.create(tmp_path_factory.mktemp("keys") / "alice")


@pytest.fixture(scope="module")
def mallory(tmp_path_factory) -> SshPair:
    return SshPair.create(tmp_path_factory.mktemp("keys") / "mallory")


class Bench:
    """A repository on a server, somebody who works on it, and what Trimtab thinks of it."""

    def __init__(self, server, repository, source, directory: Path) -> None:
        self.source, self.server, self.bare = source, server, repository.path
        self.repository = repository
        self.work = Work.create(directory / "work")

    async def signer(self, *keys: bytes, terms=Terms(), trusted="", rollback="", seen=NOW, files=None, **ref: str):  # noqa: B008
        """Who answers for what `ref` is now. Raises Refused."""
        self.work.git("push", "-q", "--force", "--all", str(self.bare))
        self.work.git("push", "-q", "--force", "--tags", str(self.bare))
        wanted = spec(self.server.url("apps"), **ref)
        head = await self.source.look(wanted)
        evidence = await gather(
            self.source, wanted, ANONYMOUS, head, terms, trusted=trusted, must_follow=bool(trusted), rollback=rollback
        )
        keyring = Keyring.from_secret(files or {"allowed_signers": b"".join(keys)})
        return await judge(evidence, terms, keyring, seen)


@pytest.fixture
def bench(server, repository, source, tmp_path) -> Bench:
    return Bench(server, repository, source, tmp_path)


# Commits


async def test_a_signed_head_is_accepted_whatever_came_before_it(bench, alice):
    bench.work.commit(None)
    bench.work.commit(alice)
    signer = await bench.signer(alice.allowed())
    assert (signer.name, signer.fingerprint) == ("alice@example.org", alice.fingerprint)


async def test_an_unsigned_head_and_a_stranger_are_refused_by_name(bench, alice, mallory):
    commit = bench.work.commit(None)
    with pytest.raises(Refused, match=f"'{commit}' failed: it is not signed"):
        await bench.signer(alice.allowed())
    commit = bench.work.commit(mallory)
    with pytest.raises(Refused, match=f"'{commit}' failed: the key {mallory.fingerprint.replace('+', '.')} is not"):
        await bench.signer(alice.allowed())


async def test_a_signed_merge_does_not_cover_an_unsigned_commit_inside_where_all_are_demanded(bench, alice):
    base = bench.work.commit(alice)
    bench.work.git("checkout", "-q", "-b", "side")
    hidden = bench.work.commit(None)
    bench.work.git("checkout", "-q", "main")
    bench.work.commit(alice)
    bench.work.merge("side", alice)
    with pytest.raises(Refused, match=f"'{hidden}' failed: it is not signed"):
        await bench.signer(alice.allowed(), terms=STRICT, trusted=base)
    assert await bench.signer(alice.allowed(), terms=FIRST, trusted=base), "the first parents are all signed"
    assert await bench.signer(alice.allowed(), trusted=base), "head is weaker, as documented"


async def test_an_unsigned_commit_among_the_first_parents_is_refused(bench, alice):
    base = bench.work.commit(alice)
    hidden = bench.work.commit(None)
    bench.work.commit(alice)
    with pytest.raises(Refused, match=hidden):
        await bench.signer(alice.allowed(), terms=FIRST, trusted=base)


async def test_all_commits_since_the_last_verified_one_are_accepted_if_all_are_signed(bench, alice, mallory):
    bench.work.commit(None)
    base = bench.work.commit(alice)
    bench.work.git("checkout", "-q", "-b", "side")
    bench.work.commit(mallory)
    bench.work.git("checkout", "-q", "main")
    bench.work.commit(alice)
    bench.work.merge("side", alice)
    keys = (alice.allowed(), mallory.allowed("mallory@example.org"))
    assert await bench.signer(*keys, terms=STRICT, trusted=base)
    with pytest.raises(Refused, match="it is not signed"):
        await bench.signer(*keys, terms=STRICT)


async def test_who_signed_is_the_key_and_not_what_the_commit_says(bench, alice):
    bench.work.name, bench.work.address = "The Boss", "ceo@example.org"
    commit = bench.work.commit(alice)
    signer = await bench.signer(alice.allowed())
    assert signer.name == "alice@example.org"
    with pytest.raises(Refused, match=f"'{commit}' failed: it was signed by alice@example.org .*'ceo@example.org'"):
        await bench.signer(alice.allowed(), terms=Terms(committer=True))
    assert await bench.signer(alice.allowed("*@example.org"), terms=Terms(committer=True))
    with pytest.raises(Refused, match=r"ceo@example\.org"):
        await bench.signer(terms=Terms(committer=True), files={"alice.sshpub": alice.public})


async def test_a_backdated_commit_by_an_expired_key_is_judged_by_when_it_was_first_seen(bench, alice):
    bench.work.commit(alice, date="2019-05-01T12:00:00Z")
    expired = alice.allowed(options='valid-before="20200101Z"')
    with pytest.raises(Refused, match="was valid until 2020-01-01"):
        await bench.signer(expired)
    assert await bench.signer(expired, seen=datetime(2019, 6, 1, tzinfo=UTC)), "seen while the key was valid"


async def test_a_key_for_another_purpose_is_refused(bench, alice):
    bench.work.commit(alice)
    with pytest.raises(Refused, match="not for git"):
        await bench.signer(alice.allowed(options='namespaces="file"'))


async def test_a_replaced_object_is_judged_as_what_was_pushed(bench, alice):
    """`git replace` on the server, or in the work tree, shows a signed commit in the place of an unsigned one."""
    good = bench.work.commit(alice)
    bad = bench.work.commit(None)
    bench.work.git("replace", bad, good)
    bench.work.git("push", "-q", str(bench.bare), f"refs/replace/{bad}")
    with pytest.raises(Refused, match=f"'{bad}' failed: it is not signed"):
        await bench.signer(alice.allowed())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda raw: raw.replace(b"\nchange", b"\nChange", 1), "does not fit"),
        (lambda raw: raw.replace(b"author Alice", b"author Mallory"), "does not fit"),
        (lambda raw: raw.replace(b"-----END SSH SIGNATURE-----", b"-----END SSH SIGNATURE-----\n more"), "follows the"),
        (lambda raw: raw.replace(b"\n -----END SSH SIGNATURE-----", b""), "cut off"),
        (lambda raw: raw.replace(b"gpgsig ", b"gpgsig-sha256 "), "not signed"),
        (lambda raw: raw[: raw.index(b"gpgsig")] + b"gpgsig \n" + raw[raw.index(b"\n\n") + 1 :], "empty"),
    ],
)
async def test_a_commit_whose_content_or_signature_was_changed_is_refused(bench, alice, change, words):
    bench.work.commit(alice)
    forged = bench.work.put("commit", change(bench.work.object("HEAD")))
    bench.work.git("update-ref", "refs/heads/main", forged)
    with pytest.raises(Refused, match=words):
        await bench.signer(alice.allowed())


async def test_a_commit_with_two_signatures_is_refused(bench, alice, mallory):
    bench.work.commit(alice)
    raw = bench.work.object("HEAD")
    start, end = raw.index(b"gpgsig"), raw.index(b"\n\n") + 1
    forged = bench.work.put("commit", raw[:end] + raw[start:end] + raw[end:])
    bench.work.git("update-ref", "refs/heads/main", forged)
    with pytest.raises(Refused, match="2 headers gpgsig"):
        await bench.signer(alice.allowed())


@needs_gpg
async def test_openpgp_and_ssh_are_told_apart(bench, alice, tmp_path_factory):
    gpg = Gpg.create(tmp_path_factory.mktemp("g") / "h")
    key = gpg.key("Bob <bob@example.org>", "rsa2048")
    bench.work.commit(key)
    with pytest.raises(Refused, match="only SSH keys are trusted"):
        await bench.signer(alice.allowed())
    signer = await bench.signer(files={"bob.asc": key.public, "alice.sshpub": alice.public})
    assert signer.fingerprint == key.fingerprint
    gpg.stop()


# What came before


async def test_a_branch_that_went_back_is_refused_unless_that_commit_is_allowed(bench, alice):
    old = bench.work.commit(alice)
    new = bench.work.commit(alice)
    assert await bench.signer(alice.allowed(), trusted=old)
    bench.work.git("reset", "-q", "--hard", old)
    with pytest.raises(Refused, match=f"'{old}' does not follow '{new}'"):
        await bench.signer(alice.allowed(), trusted=new)
    with pytest.raises(Refused, match="does not follow"):
        await bench.signer(alice.allowed(), trusted=new, rollback=new)
    assert await bench.signer(alice.allowed(), trusted=new, rollback=old)


async def test_a_history_without_the_commit_that_was_trusted_is_refused(bench, alice):
    bench.work.commit(alice)
    with pytest.raises(Refused, match="rewound or rewritten"):
        await bench.signer(alice.allowed(), trusted="1" * 40)


@pytest.mark.parametrize("filters", ["true", "false"])
async def test_the_commit_that_was_trusted_is_found_near_and_far(bench, alice, monkeypatch, filters):
    monkeypatch.setattr(module, "_NEAR", 3)
    bench.repository.git("config", "uploadpack.allowFilter", filters)
    commits = [bench.work.commit(alice) for _ in range(8)]
    for trusted in (commits[-2], commits[0], commits[-1]):
        assert await bench.signer(alice.allowed(), terms=STRICT, trusted=trusted)
    bad = bench.work.commit(None)
    bench.work.commit(alice)
    with pytest.raises(Refused, match=bad):
        await bench.signer(alice.allowed(), terms=STRICT, trusted=commits[0])


async def test_more_history_than_is_looked_at_is_refused_and_says_the_way_out(bench, alice, monkeypatch):
    monkeypatch.setattr(module, "_NEAR", 2)
    monkeypatch.setattr(module, "MAX_COMMITS", 4)
    commits = [bench.work.commit(alice) for _ in range(8)]
    with pytest.raises(Refused, match=r"cannot all be judged from the first commit on.*verify: head"):
        await bench.signer(alice.allowed(), terms=STRICT)
    with pytest.raises(Refused, match="does not follow"):
        await bench.signer(alice.allowed(), terms=STRICT, trusted=commits[0])
    assert await bench.signer(alice.allowed(), terms=STRICT, trusted=commits[-3])


async def test_a_remote_that_fails_during_the_judgement_proves_nothing(bench, alice):
    bench.work.commit(alice)
    assert await bench.signer(alice.allowed())
    bench.work.commit(None)
    bench.work.git("push", "-q", str(bench.bare), "main")
    wanted = spec(bench.server.url("apps"))
    head = await bench.source.look(wanted)
    await bench.server.stop()
    with pytest.raises(Transient) as failure:
        await gather(bench.source, wanted, ANONYMOUS, head, Terms())
    assert not isinstance(failure.value, Refused)


# Tags


async def test_a_signed_tag_is_accepted_also_on_an_unsigned_commit_if_only_the_tag_counts(bench, alice):
    bench.work.commit(None)
    bench.work.tag("v1.0.0", alice)
    assert (await bench.signer(alice.allowed(), terms=TAG, tag="v1.0.0")).name == "alice@example.org"
    with pytest.raises(Refused, match=r"commit '.*' failed: it is not signed"):
        await bench.signer(alice.allowed(), terms=BOTH, tag="v1.0.0")
    bench.work.commit(alice)
    bench.work.tag("v1.1.0", alice)
    assert await bench.signer(alice.allowed(), terms=BOTH, semver="1.x")
    assert await bench.signer(alice.allowed(), terms=BOTH, name="refs/tags/v1.1.0")


async def test_an_unsigned_tag_and_one_by_a_stranger_are_refused(bench, alice, mallory):
    bench.work.commit(alice)
    bench.work.tag("v1", None)
    bench.work.tag("v2", mallory)
    with pytest.raises(Refused, match="tag 'v1' failed: it is not signed"):
        await bench.signer(alice.allowed(), terms=TAG, tag="v1")
    with pytest.raises(Refused, match="tag 'v2' failed: the key SHA256"):
        await bench.signer(alice.allowed(), terms=BOTH, tag="v2")


async def test_a_signed_tag_under_another_name_is_refused(bench, alice):
    bench.work.commit(alice)
    oid = bench.work.tag("v1.0.0", alice)
    bench.work.commit(alice)
    bench.work.git("update-ref", "refs/tags/v9.9.9", oid)
    with pytest.raises(Refused, match=r"tag 'v9\.9\.9' failed: it was made as the tag 'v1\.0\.0'"):
        await bench.signer(alice.allowed(), terms=TAG, tag="v9.9.9")


async def test_a_lightweight_tag_cannot_be_good_and_says_so(bench, alice):
    bench.work.commit(alice)
    bench.work.git("tag", "v1")
    with pytest.raises(Refused, match="lightweight") as refusal:
        await bench.signer(alice.allowed(), terms=TAG, tag="v1")
    assert refusal.value.hopeless
    with pytest.raises(Refused, match="needs a tag") as refusal:
        await bench.signer(alice.allowed(), terms=TAG, branch="main")
    assert refusal.value.hopeless


async def test_a_signed_tag_of_a_tag_is_refused(bench, alice):
    bench.work.commit(alice)
    bench.work.tag("inner", alice)
    bench.work.tag("outer", alice, "inner")
    with pytest.raises(Refused, match="it was made for tag"):
        await bench.signer(alice.allowed(), terms=TAG, tag="outer")


async def test_a_tag_with_text_after_its_signature_or_two_of_them_is_refused(bench, alice):
    bench.work.commit(alice)
    bench.work.tag("v1", alice)
    raw = bench.work.object("refs/tags/v1")
    signature = raw[raw.index(b"-----BEGIN") :]
    for number, (forged, words) in enumerate([(raw + b"more\n", "follows the end"), (raw + signature, "2 signatures")]):
        name = f"f{number}"
        oid = bench.work.put("tag", forged.replace(b"\ntag v1\n", f"\ntag {name}\n".encode()))
        bench.work.git("update-ref", f"refs/tags/{name}", oid)
        with pytest.raises(Refused, match=words):
            await bench.signer(alice.allowed(), terms=TAG, tag=name)


async def test_the_tag_on_the_branch_is_judged_by_the_one_who_made_it(bench, alice):
    bench.work.commit(alice)
    bench.work.address = "ceo@example.org"
    bench.work.tag("v1", alice)
    with pytest.raises(Refused, match=r"'ceo@example\.org' made it"):
        await bench.signer(alice.allowed(), terms=Terms(mode=VerifyMode.TAG, committer=True), tag="v1")


# What is fetched for it


async def test_no_file_is_fetched_to_look_into_the_past(bench, alice, tmp_path):
    bench.repository.git("config", "uploadpack.allowFilter", "true")
    base = bench.work.commit(alice)
    for number in range(5):
        bench.work.commit(alice, content=random.Random(number).randbytes(50_000).hex())
    assert await bench.signer(alice.allowed(), terms=STRICT, trusted=base)
    packs = [path.stat().st_size for path in (tmp_path / "cache" / "mirrors").glob("*-history.git/objects/pack/*.pack")]
    assert packs
    assert sum(packs) < 20_000


async def test_what_git_itself_thinks_of_the_good_ones(bench, alice):
    """The same commit by `git verify-commit`: what we accept is no invention of ours."""
    bench.work.commit(alice)
    assert await bench.signer(alice.allowed())
    allowed = bench.work.path.parent / "allowed"
    allowed.write_bytes(alice.allowed())
    verify = ["git", "-C", str(bench.work.path), "-c", f"gpg.ssh.allowedSignersFile={allowed}", "verify-commit", "HEAD"]
    assert subprocess.run(verify, capture_output=True).returncode == 0
