"""Commits and tags as git stores them: what was signed is found byte for byte, what can be read in two ways refused."""

import contextlib
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.crypto.signing import Gpg, SshPair, Work, needs_gpg, needs_ssh
from trimtab.crypto.keyring import Keyring
from trimtab.remotes.git import objects
from trimtab.remotes.git.objects import BadObject, parse_commit, parse_tag

NOW = datetime(2026, 6, 1, tzinfo=UTC)
OID = b"1" * 40
HEAD = b"tree %b\nauthor A <a@x> 1 +0000\ncommitter C <c@x> 2 +0000\n" % OID
TAG = b"object %b\ntype commit\ntag v1\ntagger T <t@x> 1 +0000\n" % OID
SIGNATURE = b"-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----"
SSHSIG = b"gpgsig " + SIGNATURE.replace(b"\n", b"\n ") + b"\n"


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work.create(tmp_path / "work")


@pytest.fixture(scope="module")
def alice(tmp_path_factory: pytest.TempPathFactory) -> SshPair:
    return SshPair.create(tmp_path_factory.mktemp("keys") / "alice")


@needs_ssh
def test_what_git_signs_by_ssh_is_found_byte_for_byte(work, alice):
    keyring = Keyring.from_secret({"a.sshpub": alice.public})
    work.commit(alice)
    commit = parse_commit(work.object("HEAD"))
    assert keyring.judge(commit.payload, commit.signature, NOW)
    assert commit.committer == "alice@example.org"
    work.tag("v1", alice)
    tag = parse_tag(work.object("v1"))
    assert keyring.judge(tag.payload, tag.signature, NOW)
    assert (tag.name, tag.kind, tag.target) == ("v1", "commit", work.head)


@needs_gpg
def test_what_git_signs_by_gpg_is_found_byte_for_byte(work, tmp_path_factory):
    gpg = Gpg.create(tmp_path_factory.mktemp("g") / "h")
    key = gpg.key("Git <git@example.org>", "ed25519")
    keyring = Keyring.from_secret({"a.asc": key.public})
    work.commit(key)
    commit = parse_commit(work.object("HEAD"))
    assert keyring.judge(commit.payload, commit.signature, NOW).fingerprint == key.fingerprint
    work.tag("v1", key)
    tag = parse_tag(work.object("v1"))
    assert keyring.judge(tag.payload, tag.signature, NOW)
    gpg.stop()


@needs_ssh
def test_a_signed_merge_of_a_signed_tag_is_found_byte_for_byte(work, alice):
    """The tag that was merged is in a header of the commit, with its own signature inside."""
    work.commit(alice)
    work.git("checkout", "-q", "-b", "side")
    work.commit(alice)
    work.tag("side-1", alice)
    work.git("checkout", "-q", "main")
    work.commit(alice)
    work.merge("side-1", alice)
    raw = work.object("HEAD")
    assert b"\nmergetag object " in raw
    commit = parse_commit(raw)
    assert len(commit.parents) == 2
    assert Keyring.from_secret({"a.sshpub": alice.public}).judge(commit.payload, commit.signature, NOW)


def test_unsigned_objects_have_no_signature():
    assert parse_commit(HEAD + b"\nmessage\n").signature is None
    assert parse_tag(TAG + b"\nmessage\n").signature is None


def test_words_of_a_signature_in_a_message_are_not_one():
    message = b"\nsubject\n\ngpgsig x\n" + SIGNATURE + b"\n"
    assert parse_commit(HEAD + message).signature is None


def test_the_signature_for_the_other_hash_is_neither_used_nor_part_of_what_is_signed():
    commit = parse_commit(HEAD + SSHSIG.replace(b"gpgsig ", b"gpgsig-sha256 ") + b"\nm\n")
    assert (commit.signature, commit.payload) == (None, HEAD + b"\nm\n")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (HEAD + SSHSIG + SSHSIG + b"\nm\n", "2 headers gpgsig"),
        (HEAD + SSHSIG + b"x 1\n" + SSHSIG + b"\nm\n", "2 headers gpgsig"),
        (HEAD + SSHSIG.replace(b"gpgsig ", b"gpgsig-new ") + b"\nm\n", "gpgsig-new"),
        (b"tree %b\n" % OID + HEAD + b"\nm\n", "does not begin with"),
        (HEAD + b"parent %b\n\nm\n" % OID, "does not begin with|parents"),
        (HEAD.replace(b"tree 1", b"tree x") + b"\nm\n", "not 40 hexadecimal"),
        (HEAD + b"committer D <d@x> 2 +0000\n\nm\n", "2 headers committer"),
        (HEAD + b"evil\0x y\n\nm\n", "zero byte"),
        (b" continued\n" + HEAD + b"\nm\n", "continues another"),
        (HEAD + b"nothing\n\nm\n", "no value"),
        (b"", "no end"),
        (HEAD + b"\n" + b"x" * objects.MAX_BYTES, "the limit is"),
    ],
)
def test_a_commit_that_can_be_read_in_two_ways_is_refused(raw, words):
    with pytest.raises(BadObject, match=words):
        parse_commit(raw)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (TAG + b"\nm\n" + SIGNATURE + b"\n" + SIGNATURE + b"\n", "2 signatures"),
        (TAG + b"\nm\n" + SIGNATURE + b"\n-----BEGIN PGP MESSAGE-----\n", "2 signatures"),
        (TAG + b"tag v2\n\nm\n", "once and in this order"),
        (TAG + SSHSIG + b"\nm\n", "once and in this order"),
        (TAG.replace(b"tag v1", b"tag \xff") + b"\nm\n", "not text"),
        (TAG.replace(b"object 1", b"object x") + b"\nm\n", "not 40 hexadecimal"),
    ],
)
def test_a_tag_that_can_be_read_in_two_ways_is_refused(raw, words):
    with pytest.raises(BadObject, match=words):
        parse_tag(raw)


def test_a_person_that_can_be_read_in_two_ways_is_nobody():
    raw = HEAD.replace(b"C <c@x>", b"C <ceo@x> <c@x>") + b"\nm\n"
    assert parse_commit(raw).committer == ""


@settings(deadline=None)
@given(st.integers(min_value=0), st.binary(min_size=1, max_size=12), st.booleans())
def test_whatever_is_changed_is_read_or_refused_cleanly(at, junk, insert):
    for raw, parse in ((HEAD + SSHSIG + b"\nm\n", parse_commit), (TAG + b"\nm\n" + SIGNATURE + b"\n", parse_tag)):
        place = at % len(raw)
        with contextlib.suppress(BadObject):
            found = parse(raw[:place] + junk + raw[place if insert else place + len(junk) :])
            assert not re.search(rb"^gpgsig", found.payload.partition(b"\n\n")[0], re.MULTILINE)
