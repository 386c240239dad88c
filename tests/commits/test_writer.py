"""Edits become commits: on a real server, by a real git, among people who push at the same time."""

import asyncio
import os
import random
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commits.conftest import put
from tests.crypto.signing import SshPair, needs_ssh
from tests.remotes.world import WHO, Authority, Sshd
from tests.remotes.world import Repository as Bare
from tests.runtime.clocks import ManualClock
from trimtab.base.errors import Terminal, Transient
from trimtab.base.http import AiohttpTransport
from trimtab.cluster.gitserver import GitServer
from trimtab.commits import (
    Already,
    Changes,
    Contended,
    Edit,
    Message,
    Nothing,
    Order,
    Person,
    Planned,
    Push,
    ReadOnly,
    Refused,
    Repository,
    SigningFailed,
    Snapshot,
    Writer,
    Writers,
    Written,
    reading,
    signing_key,
)
from trimtab.commits.writers import CLEAR_EVERY_S
from trimtab.remotes.git.address import parse_address
from trimtab.remotes.git.credentials import AuthenticationFailed, Credentials

ROBOT = Person("Robot", "robot@example.org")


def order(**more: object) -> Order:
    given = {"message": Message("Use web:2"), "author": ROBOT, "reads": lambda path: path.endswith(".yaml"), **more}
    return Order(**given)  # type: ignore[arg-type]


def replace(path: str, old: bytes, new: bytes) -> Edit:
    return lambda snapshot: Changes({path: snapshot.contents[path].replace(old, new)})


BUMP = replace("prod/web.yaml", b"web:1", b"web:2")


async def test_one_value_changes_and_every_other_byte_mode_and_link_stays(writer: Writer, bare: Bare):
    before = bare.git("ls-tree", "-r", "main").splitlines()
    written = await writer.write(BUMP, order(within="./prod"))
    assert isinstance(written, Written)
    assert written.paths == ("prod/web.yaml",)
    assert bare.git("rev-parse", "main") == written.commit
    assert bare.git("rev-parse", "main^") == written.parent
    after = bare.git("ls-tree", "-r", "main").splitlines()
    assert [line for line in before if "prod/web.yaml" not in line] == [
        line for line in after if "prod/web.yaml" not in line
    ]
    blob = subprocess.run(["git", "--git-dir", bare.path, "cat-file", "blob", "main:prod/web.yaml"], stdout=-1)
    assert blob.stdout == b"image: web:2 # {}\r\nreplicas: 1\r\n"
    assert bare.git("log", "-1", "--format=%an <%ae> %cn %s", "main") == "Robot <robot@example.org> Robot Use web:2"
    bare.git("fsck", "--strict")


async def test_an_edit_that_changes_nothing_makes_no_commit(writer: Writer, bare: Bare):
    head = bare.git("rev-parse", "main")
    assert await writer.write(replace("prod/web.yaml", b"none", b""), order()) == Nothing(head, "main")
    assert await writer.write(lambda _: Changes(), order()) == Nothing(head, "main")
    # Not read, so written without knowing: the tree is the same.
    same = Changes({"test/web.yaml": b"image: web:1\n"})
    assert await writer.write(lambda _: same, order(reads=lambda _: False)) == Nothing(head, "main")
    assert bare.git("rev-parse", "main") == head


async def test_what_was_done_before_a_crash_is_not_done_again(
    writers: Writers, server: GitServer, writer: Writer, bare: Bare
):
    first = await writer.write(BUMP, order(change="bump 7"))
    assert isinstance(first, Written)
    assert "Trimtab-Change: bump 7" in bare.git("log", "-1", "--format=%B", "main")
    bare.commit({"prod/web.yaml": b"image: web:1\n"})  # somebody undid it
    again = writers.of(Repository(parse_address(server.url("apps"))), "main")
    found = await again.write(BUMP, order(change="bump 7"))
    assert found == Already(first.commit, bare.git("rev-parse", "main"), "main")
    assert isinstance(await again.write(BUMP, order(change="bump 8")), Written)


async def test_a_dry_order_shows_the_difference_and_writes_nothing(writer: Writer, bare: Bare):
    head = bare.git("rev-parse", "main")
    planned = await writer.write(BUMP, order(dry=True))
    assert isinstance(planned, Planned)
    assert (planned.parent, planned.paths) == (head, ("prod/web.yaml",))
    assert "-image: web:1 # {}\r\n+image: web:2 # {}" in planned.diff
    assert bare.git("rev-parse", "main") == head


async def test_files_are_created_and_what_was_removed_comes_back(writer: Writer, bare: Bare):
    old = bare.git("rev-parse", "main")
    made = await writer.write(lambda _: Changes(created={"prod/new dir/$(id);.yaml": b"x\n"}), order())
    assert isinstance(made, Written)

    def back(snapshot: Snapshot) -> Changes:
        then = snapshot.past[old].entries
        paths = {*snapshot.entries, *then}
        return Changes(restored={path: then.get(path) for path in paths})

    undone = await writer.write(back, order(past=[old]))
    assert isinstance(undone, Written)
    assert undone.paths == ("prod/new dir/$(id);.yaml",)
    assert bare.git("rev-parse", "main^{tree}") == bare.git("rev-parse", f"{old}^{{tree}}")
    assert [one.commit for one in await writer.recent()] == bare.git("rev-list", "main").split()


async def test_a_commit_further_back_than_the_history_that_came_along_is_found(
    writers: Writers, server: GitServer, bare: Bare
):
    old = bare.git("rev-parse", "main")
    for number in range(5):
        bare.commit({"test/web.yaml": f"image: web:{number}\n".encode()})
    near = writers.of(Repository(parse_address(server.url("apps"))), "main", lookback=2)
    assert len(await near.recent()) == 2
    undone = await near.write(
        lambda snapshot: Changes(restored={"test/web.yaml": snapshot.past[old].entries["test/web.yaml"]}),
        order(past=[old]),
    )
    assert isinstance(undone, Written)
    assert bare.git("show", "main:test/web.yaml") == "image: web:1"
    with pytest.raises(Transient):
        await near.write(lambda _: Changes(), order(past=["1" * 40]))


async def test_what_commits_have_in_common_counts_once_and_all_that_is_read_is_bounded(
    writer: Writer, bare: Bare, monkeypatch: pytest.MonkeyPatch
):
    old, was = bare.git("rev-parse", "main"), b"image: web:1 # {}\r\nreplicas: 1\r\n"
    bare.commit({"prod/web.yaml": b"image: web:2\n"})
    seen: list[bytes] = []

    def look(snapshot: Snapshot) -> Changes:
        seen.append(snapshot.past[old].contents["prod/web.yaml"])
        return Changes()

    both = len(was) + 2 * len(b"image: web:1\n")
    monkeypatch.setattr(reading, "MOST_BYTES", both)
    assert isinstance(await writer.write(look, order(past=[old])), Nothing)
    monkeypatch.setattr(reading, "MOST_BYTES", both - 1)
    with pytest.raises(Terminal, match="with what differs in the commits it is compared with"):
        await writer.write(look, order(past=[old]))
    assert seen == [was]


async def test_a_refused_edit_leaves_the_branch_alone(writer: Writer, bare: Bare):
    head = bare.git("rev-parse", "main")
    for bad in (Changes({"test/web.yaml": b""}), Changes({"prod/link/web.yaml": b""})):
        with pytest.raises(Terminal, match="nothing is committed"):
            await writer.write(lambda _, bad=bad: bad, order(within="prod"))
    assert bare.git("rev-parse", "main") == head


@needs_ssh
async def test_git_itself_accepts_the_signature(writer: Writer, bare: Bare, tmp_path: Path):
    pair = SshPair.create(tmp_path / "key")
    written = await writer.write(BUMP, order(signer=signing_key(pair.path.read_bytes())))
    assert isinstance(written, Written)
    (tmp_path / "allowed").write_bytes(pair.allowed("robot@example.org"))
    config = ["-c", "gpg.format=ssh", "-c", f"gpg.ssh.allowedSignersFile={tmp_path / 'allowed'}"]
    argv = ["git", *config, "--git-dir", str(bare.path), "verify-commit", written.commit]
    verified = subprocess.run(argv, env=WHO, capture_output=True)
    assert verified.returncode == 0, verified.stderr
    assert b'Good "git" signature for robot@example.org' in verified.stderr


async def test_without_a_signature_there_is_no_commit(writer: Writer, bare: Bare):
    class Broken:
        fingerprint = "x"

        def sign(self, payload: bytes) -> bytes:
            raise SigningFailed("the key is broken")

    head = bare.git("rev-parse", "main")
    with pytest.raises(SigningFailed):
        await writer.write(BUMP, order(signer=Broken()))
    assert bare.git("rev-parse", "main") == head


async def test_somebody_who_was_faster_is_kept_and_the_edit_is_made_again(writer: Writer, bare: Bare):
    pushed: list[str] = []

    def edit(snapshot: Snapshot) -> Changes:
        if not pushed:
            pushed.append(bare.commit({"prod/web.yaml": b"image: web:1\nreplicas: 5\n"}))
        return BUMP(snapshot)

    written = await writer.write(edit, order())
    assert isinstance(written, Written)
    assert (written.attempts, written.parent) == (2, pushed[0])
    assert bare.git("show", "main:prod/web.yaml") == "image: web:2\nreplicas: 5"


async def test_a_commit_that_somebody_took_away_does_not_come_back(writer: Writer, bare: Bare):
    good = bare.git("rev-parse", "main")
    bad = bare.commit({"test/web.yaml": b"secret\n"})

    def edit(snapshot: Snapshot) -> Changes:
        bare.git("update-ref", "refs/heads/main", good)
        return BUMP(snapshot)

    written = await writer.write(edit, order())
    assert isinstance(written, Written)
    assert written.parent == good
    assert bad not in bare.git("rev-list", "main").split()


async def test_a_race_that_is_lost_each_time_ends(writer: Writer, bare: Bare):
    counted = iter(range(100))

    def edit(snapshot: Snapshot) -> Changes:
        bare.commit({"test/web.yaml": str(next(counted)).encode()})
        return BUMP(snapshot)

    with pytest.raises(Contended, match="moved 3 times"):
        await writer.write(edit, order(attempts=3))
    assert next(counted) == 3


RACES = int(os.environ.get("TRIMTAB_RACES", "4"))


async def test_many_writers_and_people_at_once_lose_nothing(
    writers: Writers, transport: object, tmp_path: Path, server: GitServer, bare: Bare
):
    """Two of ours, which share nothing, count up in one file while a person counts up in another."""
    bare.commit({"prod/a": b"0", "prod/b": b"0"})
    first = bare.git("rev-parse", "main")
    others = Writers(tmp_path / "other", transport, writers._clock)  # type: ignore[arg-type]
    address = Repository(parse_address(server.url("apps")))
    done, turns = threading.Event(), threading.Semaphore(0)
    chance = random.Random(7)
    people = 0

    def human() -> None:
        """As people do: on what they saw, and once more if that is no longer the head."""
        nonlocal people
        while turns.acquire() and not done.is_set():
            done.wait(chance.random() / 4)
            pushed = False
            while not pushed:
                seen = bare.git("rev-parse", "main")
                blob = bare.blob(str(people + 1).encode())
                listed = [line for line in bare.git("ls-tree", seen).splitlines() if not line.endswith("\thuman")]
                tree = bare.tree(*listed, f"100644 blob {blob}\thuman")
                commit = bare.git("commit-tree", "-p", seen, "-m", "human", tree)
                argv = ["git", "--git-dir", str(bare.path), "update-ref", "refs/heads/main", commit, seen]
                pushed = subprocess.run(argv, env=WHO, capture_output=True).returncode == 0
            people += 1

    def count(path: str) -> Edit:
        seen: list[str] = []

        def edit(snapshot: Snapshot) -> Changes:
            if not seen:
                turns.release()  # while this one is on its way
            seen.append(snapshot.commit)
            return Changes({path: str(int(snapshot.contents[path]) + 1).encode()})

        return edit

    async def ours(writer: Writer, path: str) -> int:
        attempts = 0
        for number in range(RACES // 2):
            wish = order(reads=lambda read: read == path, change=f"{path} {number}", attempts=50)
            written = await writer.write(count(path), wish)
            assert isinstance(written, Written)
            attempts += written.attempts
        return attempts

    thread = threading.Thread(target=human)
    thread.start()
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(ours(one.of(address, "main"), path))
                for one, path in ((writers, "prod/a"), (others, "prod/b"))
            ]
    finally:
        done.set()
        turns.release()
        thread.join()
    attempts = sum(task.result() for task in tasks)
    print(f"{RACES} writes in {attempts} attempts beside {people} commits of a person")
    assert bare.git("show", "main:prod/a") == bare.git("show", "main:prod/b") == str(RACES // 2)
    assert int(bare.git("show", "main:human")) == people
    log = bare.git("log", "--format=%s", f"{first}..main").splitlines()
    assert sorted(log) == ["Use web:2"] * RACES + ["human"] * people
    assert len(bare.git("log", "--first-parent", "--format=%H", f"{first}..main").splitlines()) == RACES + people
    assert attempts > RACES


async def test_our_own_branch_is_made_anew_and_another_never(writer: Writer, bare: Bare):
    own = order(push=Push(branch="trimtab/bump"))
    first = await writer.write(BUMP, own)
    assert isinstance(first, Written)
    assert isinstance(await writer.write(BUMP, own), Nothing)
    head = bare.commit({"test/web.yaml": b"image: web:9\n"})
    second = await writer.write(BUMP, own)
    assert isinstance(second, Written)
    assert second.parent == head
    assert bare.git("rev-parse", "trimtab/bump") == second.commit
    assert bare.git("rev-parse", "main") == head
    # A branch of somebody else's name only ever goes forward, and from the head again once it is merged.
    other = order(push=Push(branch="updates"))
    third = await writer.write(BUMP, other)
    bare.commit({"test/web.yaml": b"image: web:10\n"})
    fourth = await writer.write(replace("prod/web.yaml", b"replicas: 1", b"replicas: 2"), other)
    assert isinstance(third, Written)
    assert isinstance(fourth, Written)
    assert fourth.parent == third.commit
    bare.git("update-ref", "refs/heads/main", fourth.commit)
    merged = bare.commit({"test/web.yaml": b"image: web:11\n"})
    fifth = await writer.write(replace("prod/web.yaml", b"replicas: 2", b"replicas: 3"), other)
    assert isinstance(fifth, Written)
    assert fifth.parent == merged


async def test_options_and_a_second_reference_are_pushed_along(writer: Writer, bare: Bare):
    hook = bare.path / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\necho "$GIT_PUSH_OPTION_0" > options\n')
    hook.chmod(0o755)
    bare.git("config", "receive.advertisePushOptions", "true")
    wish = order(push=Push(options={"ci.skip": "", "topic": "a b"}, refspec="HEAD:refs/heads/copy"))
    written = await writer.write(BUMP, wish)
    assert isinstance(written, Written)
    assert written.notes == ()
    assert (bare.path / "options").read_text() == "ci.skip\n"
    assert bare.git("rev-parse", "copy") == written.commit


async def test_a_protected_branch_refuses_in_its_own_words(writer: Writer, bare: Bare):
    hook = bare.path / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'changes to main need a review' >&2\nexit 1\n")
    hook.chmod(0o755)
    head = bare.git("rev-parse", "main")
    with pytest.raises(Refused, match="changes to main need a review"):
        await writer.write(BUMP, order())
    assert bare.git("rev-parse", "main") == head


async def test_a_branch_that_is_not_there_is_said_and_a_bad_name_too(
    writers: Writers, server: GitServer, writer: Writer, bare: Bare
):
    with pytest.raises(Transient, match="no branch gone"):
        await writers.of(Repository(parse_address(server.url("apps"))), "gone").write(BUMP, order())
    for name in ("--upload-pack=x", "a b", "a..b"):
        with pytest.raises(Terminal):
            writers.of(Repository(parse_address(server.url("apps"))), name)
        with pytest.raises(Terminal):
            await writer.write(BUMP, order(push=Push(branch=name)))


async def test_over_https_a_reader_is_told_so_and_a_wrong_password_too(
    writers: Writers, tmp_path: Path, server: GitServer, bare: Bare
):
    authority = Authority.create(tmp_path)
    accounts = {"reader": "r", "robot": "w"}
    async with GitServer(server.root, accounts=accounts, readers={"reader"}, tls=authority.context) as secured:
        address = parse_address(secured.url("apps"))
        reader = Credentials(username="reader", password="r", ca=authority.ca)
        with pytest.raises(ReadOnly):
            await writers.of(Repository(address, reader), "main").probe()
        with pytest.raises(ReadOnly, match="may read and not write"):
            await writers.of(Repository(address, reader), "main").write(BUMP, order())
        wrong = Credentials(username="robot", password="x", ca=authority.ca)
        with pytest.raises(AuthenticationFailed) as failure:
            await writers.of(Repository(address, reader, write=wrong), "main").write(BUMP, order())
        assert "robot:x" not in str(failure.value)
        robot = Credentials(username="robot", password="w", ca=authority.ca)
        await writers.of(Repository(address, reader, write=robot), "main").probe()
        written = await writers.of(Repository(address, reader, write=robot), "main").write(BUMP, order())
        assert isinstance(written, Written)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], tuple[Sshd, Path]]]:
    if not Sshd.available():
        pytest.skip("no sshd on this machine: apt-get install openssh-server")
    started = Sshd.start(directory := tmp_path_factory.mktemp("sshd"))
    yield lambda command: _allowing(started, directory, command)
    started.stop()


def _allowing(sshd: Sshd, directory: Path, command: str) -> tuple[Sshd, Path]:
    """The key without a passphrase may only run `command`, as deploy keys of forges do; the other may do all."""
    restricted = f'command="{command}" '.encode() + (directory / "identity.pub").read_bytes()
    (directory / "authorized_keys").write_bytes(restricted + (directory / "locked.pub").read_bytes())
    return sshd, directory


async def test_over_ssh_one_key_reads_and_another_writes(writers: Writers, sshd, tmp_path: Path, bare: Bare):
    guard = tmp_path / "guard"
    guard.write_text(
        '#!/bin/sh\ncase "$SSH_ORIGINAL_COMMAND" in git-upload-pack*) exec sh -c "$SSH_ORIGINAL_COMMAND" ;; esac\n'
        'echo "ERROR: The key you are authenticating with has been marked as read only." >&2\nexit 1\n'
    )
    guard.chmod(0o755)
    server, _ = sshd(str(guard))
    user = os.environ.get("USER") or "root"
    address = parse_address(f"ssh://{user}@127.0.0.1:{server.port}{bare.path}")
    reading = Credentials(identity=server.identity, known_hosts=server.known_hosts)
    with pytest.raises(ReadOnly, match="marked as read only"):
        await writers.of(Repository(address, reading), "main").write(BUMP, order())
    writing = Credentials(identity=server.locked_identity, passphrase=server.passphrase, known_hosts=server.known_hosts)
    written = await writers.of(Repository(address, reading, write=writing), "main").write(BUMP, order())
    assert isinstance(written, Written)
    assert bare.git("rev-parse", "main") == written.commit


async def test_a_commit_whose_answer_got_lost_is_found_on_the_branch(
    writer: Writer, bare: Bare, monkeypatch: pytest.MonkeyPatch
):
    from trimtab.commits import writer as module
    from trimtab.commits.pushing import Fate, Told

    monkeypatch.setattr(module, "told", lambda _done, _branch: Told(Fate.FAILED, "the remote end hung up"))
    written = await writer.write(BUMP, order())
    assert isinstance(written, Written)
    assert bare.git("rev-parse", "main") == written.commit


async def test_the_log_tells_who_and_what(writer: Writer, bare: Bare):
    put(bare, f"100644 blob {bare.blob(b'x')}\ttest/other")
    await writer.write(BUMP, order(change="7"))
    logged = await writer.recent(5)
    assert logged[0].author == "Robot <robot@example.org>"
    assert logged[0].message == "Use web:2\n\nTrimtab-Change: 7\n"
    assert [one.commit for one in logged] == bare.git("rev-list", "main").split()
    assert (await writer.recent(5, "prod"))[0].message.startswith("Use web:2")
    assert await writer.head() == logged[0].commit


async def test_the_log_goes_further_back_than_what_comes_along_where_that_is_asked_for(
    writers: Writers, server: GitServer, bare: Bare
):
    for number in range(5):
        bare.commit({"test/web.yaml": f"image: web:{number}\n".encode()})
    near = writers.of(Repository(parse_address(server.url("apps"))), "main", lookback=2)
    assert len(await near.recent()) == 2
    assert [one.commit for one in await near.further(4)] == bare.git("rev-list", "-4", "main").split()
    assert [one.commit for one in await near.further(100)] == bare.git("rev-list", "main").split()
    assert isinstance(await near.write(BUMP, order()), Written)


async def test_mirrors_that_nobody_uses_any_more_are_removed(writers: Writers, writer: Writer, tmp_path: Path):
    await writer.head()
    await writer.recent()
    assert await writers.sweep() == 0
    for lock in (tmp_path / "cache" / "commits").glob("*.lock"):
        os.utime(lock, (0, 0))
    assert await writers.sweep() == 1
    assert list((tmp_path / "cache" / "commits").iterdir()) == []
    assert isinstance(await writer.write(BUMP, order()), Written)


async def test_they_are_removed_without_anybody_asking_for_it(transport: AiohttpTransport, tmp_path: Path):
    clock = ManualClock()
    clearing = asyncio.ensure_future(Writers(tmp_path, transport, clock).clear())
    old, new = (tmp_path / "commits" / f"{name}.lock" for name in ("old", "new"))
    old.parent.mkdir()
    for lock in (old, new):
        lock.touch()
    os.utime(old, (0, 0))
    await clock.advance(CLEAR_EVERY_S)
    async with asyncio.timeout(60):
        while old.exists():
            await asyncio.sleep(0)
    assert new.exists()
    clearing.cancel()
