"""A chain on disk outlives whatever happens to the process and to the disk, and says what it cannot know."""

import os
import resource
from datetime import timedelta
from pathlib import Path

import pytest

from tests.audit.ground import Desk, settled
from trimtab.audit.book import stamp
from trimtab.audit.reading import records
from trimtab.audit.record import Began, Removed, Settled, Torn
from trimtab.audit.sealing import Seal
from trimtab.audit.verifying import Report, verify


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "ledger")


def only(desk: Desk) -> Report:
    [report] = verify(desk.directory)
    return report


def revisions(desk: Desk) -> list[str]:
    events = [line.record.event for line in records(desk.directory)]
    return [event.source.revision.rpartition(":")[2] for event in events if isinstance(event, Settled)]


def test_a_process_goes_on_where_the_one_before_it_ended(desk: Desk) -> None:
    for start in (0, 3):
        book = desk.book()
        desk.write(book, start, start + 1, start + 2)
        book.close()
    report = only(desk)
    assert (report.broken, report.records, report.last) == (None, 8, 8)
    assert revisions(desk) == list("012345")


def test_two_processes_write_two_chains_and_none_into_the_other(desk: Desk) -> None:
    one, two = desk.book(), desk.book()
    desk.write(one, 1)
    desk.write(two, 2)
    desk.write(one, 3)
    reports = verify(desk.directory)
    assert [report.broken for report in reports] == [None, None]
    assert sorted(report.records for report in reports) == [2, 3]


@pytest.mark.parametrize("cut", [1, 30, -1])
def test_a_line_that_a_crash_tore_is_set_apart_and_the_chain_goes_on(desk: Desk, cut: int) -> None:
    book = desk.book()
    desk.write(book, 1, 2)
    book.close()
    [file] = desk.files
    lines = file.read_bytes().splitlines(keepends=True)
    rest = lines[-1][:cut]
    file.write_bytes(b"".join(lines[:-1]) + rest)
    assert only(desk).broken is None
    assert "torn" in only(desk).notes[0]
    desk.write(desk.book(), 3)
    assert only(desk).broken is None
    [torn] = [line.record.event for line in records(desk.directory) if isinstance(line.record.event, Torn)]
    assert (file.parent / torn.file).read_bytes() == rest
    assert revisions(desk) == ["1", "3"]


def test_a_torn_line_stays_in_no_file_that_is_not_the_last(desk: Desk) -> None:
    book = desk.book()
    desk.write(book, 1, 2)
    book.close()
    [file] = desk.files
    file.write_bytes(file.read_bytes()[:-5])
    desk.write(desk.book(file_bytes=100), 3)  # the file is full: another one is begun
    assert len(desk.files) == 2
    assert only(desk).broken is None
    assert revisions(desk) == ["1", "3"]


def test_what_is_written_is_on_the_disk_when_that_is_said(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    reached: list[int] = []
    sync = os.fsync
    monkeypatch.setattr("os.fsync", lambda descriptor: (sync(descriptor), reached.append(os.fstat(descriptor).st_size)))
    book = desk.book()
    for number in range(3):
        desk.write(book, number)
        [file] = desk.files
        assert reached[-1] == file.stat().st_size


def test_a_chain_that_was_tampered_with_is_left_as_it_is_and_another_one_says_so(desk: Desk) -> None:
    book = desk.book()
    desk.write(book, 1, 2)
    book.close()
    [file] = desk.files
    file.write_bytes(file.read_bytes().replace(b"main@sha1:1", b"main@sha1:7"))
    before = file.read_bytes()
    desk.write(desk.book(), 3)
    assert file.read_bytes() == before
    [note] = [e.note for line in records(desk.directory) if isinstance(e := line.record.event, Began) and e.note]
    assert f"{file}:2" in note
    [bad] = [report for report in verify(desk.directory) if report.broken]
    assert (bad.broken.file, bad.broken.line) == (file, 2)


def test_files_are_ended_by_size_and_by_age(desk: Desk) -> None:
    book = desk.book(file_bytes=1500)
    desk.write(book, *range(8))
    assert len(desk.files) > 2
    small = len(desk.files)
    desk.clock.turn(days=32)
    desk.write(book, 8)
    assert len(desk.files) == small + 1
    assert (only(desk).broken, revisions(desk)) == (None, list("012345678"))


def test_what_is_too_old_goes_and_the_ledger_says_what_that_was(desk: Desk) -> None:
    book = desk.book(kept=timedelta(days=60))
    for number in range(6):
        desk.write(book, number)
        desk.clock.turn(days=32)
    desk.write(book, 6)
    report = only(desk)
    assert report.broken is None
    assert "removed for their age" in report.notes[0]
    gone = [line.record.event for line in records(desk.directory) if isinstance(line.record.event, Removed)]
    assert gone
    assert revisions(desk) == ["4", "5", "6"]
    desk.files[0].unlink()
    broken = only(desk).broken
    assert broken is not None
    assert "nothing says" in broken.why


def test_a_file_that_is_gone_from_the_middle_is_found(desk: Desk) -> None:
    book = desk.book(file_bytes=1500)
    desk.write(book, *range(8))
    desk.files[1].unlink()
    broken = only(desk).broken
    assert broken is not None
    assert broken.file == desk.files[1]
    assert broken.line == 1


def test_a_clock_that_goes_back_breaks_nothing_and_is_told(desk: Desk) -> None:
    book = desk.book()
    desk.write(book, 1)
    desk.clock.moment -= timedelta(hours=1)
    desk.write(book, 2)
    assert only(desk).broken is None
    assert "the clock went back" in only(desk).notes[0]


def test_a_disk_that_is_full_in_the_middle_of_a_line_leaves_nothing_of_it(desk: Desk) -> None:
    book = desk.book()
    desk.write(book, 1)
    [file] = desk.files
    many = [stamp(settled(number), desk.clock, "c") for number in range(2, 20)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 700, hard))  # as a full disk: a part is written
    try:
        with pytest.raises(OSError, match="too large"):
            book.append(many)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert only(desk).notes  # there is a torn line at the moment
    book.append(many)
    assert (only(desk).broken, only(desk).notes) == (None, ())
    assert revisions(desk) == [str(number) for number in range(1, 20)]


def test_digests_are_equal_for_equal_values_and_say_nothing_without_the_key(tmp_path: Path) -> None:
    seal = Seal.of(tmp_path / "key")
    assert seal.digest("a") == Seal.of(tmp_path / "key").digest("a") != seal.digest("b")
    assert Seal.passing().digest("a") != seal.digest("a")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
