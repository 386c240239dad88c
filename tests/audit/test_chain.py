"""A chain of lines says where it was tampered with, whatever was done to it but cutting off its end."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.audit.ground import settled
from trimtab.audit.chain import Broken, Link, check, forge
from trimtab.audit.record import Record, Settled, Unfamiliar, Written, read
from trimtab.manifests import codec

BEGINNING = Link()


def forged(count: int, after: Link = BEGINNING) -> list[bytes]:
    lines = []
    for _ in range(count):
        event = msgspec.Raw(codec.canonical(settled(after.seq)))
        record = Written(
            seq=after.seq + 1, prev=after.hash.hex(), time="2026-11-27T01:00:00.000000Z", mono=1.5, run="r",
            version="0", event=event,
        )  # fmt: skip
        line, after = forge(after, record)
        lines.append(line.removesuffix(b"\n"))
    return lines


def fits(lines: list[bytes]) -> int:
    """How many lines fit, from the first on."""
    link, count = Link(), 0
    for line in lines:
        try:
            link = check(link, line).link
        except Broken:
            return count
        count += 1
    return count


LINES = forged(8)


def test_what_was_written_fits_and_is_read_as_it_was() -> None:
    assert fits(LINES) == len(LINES)
    record = read(check(None, LINES[3]).record)
    assert (record.seq, record.event) == (4, settled(3))


def test_equal_records_have_equal_bytes() -> None:
    assert forged(3) == forged(3)


def test_a_digit_of_a_hash_in_the_other_case_is_a_change() -> None:
    line = LINES[0].replace(LINES[0][9:73], LINES[0][9:73].upper())
    assert line != LINES[0]
    assert fits([line, *LINES[1:]]) == 0


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 7), st.data())
def test_a_changed_byte_is_found_in_its_line(at: int, data: st.DataObject) -> None:
    line = bytearray(LINES[at])
    where = data.draw(st.integers(0, len(line) - 1))
    line[where] ^= data.draw(st.integers(1, 255))
    assert fits([*LINES[:at], bytes(line), *LINES[at + 1 :]]) == at


@settings(max_examples=100, deadline=None)
@given(st.permutations(range(8)))
def test_any_other_order_is_found_at_the_first_line_that_moved(order: list[int]) -> None:
    first = next((place for place, index in enumerate(order) if place != index), len(order))
    assert fits([LINES[index] for index in order]) == first


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 6), st.integers(1, 7))
def test_what_is_gone_from_the_middle_or_the_beginning_is_found_where_it_was(start: int, count: int) -> None:
    rest = LINES[start + count :]
    if rest:
        assert fits([*LINES[:start], *rest]) == start


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 7), st.integers(0, 7))
def test_a_line_that_is_there_twice_is_found(which: int, where: int) -> None:
    assert fits([*LINES[:where], LINES[which], *LINES[where:]]) <= max(where, which + 1)


def test_a_chain_that_was_forged_anew_from_the_middle_fits_nowhere_but_there() -> None:
    other = forged(8, Link(2, b"x" * 32))
    assert fits([*LINES[:2], *other]) == 2


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([LINES[0], LINES[2]], "what was between is gone"),
        ([LINES[0], LINES[0]], "written twice"),
        ([LINES[0], LINES[1].replace(b"Ada", b"Eve")], "it was changed"),
        ([LINES[0], b"{}"], "no line of a ledger"),
        ([LINES[0], *forged(1, Link(1, b"y" * 32))], "after another one"),
    ],
    ids=["gone", "twice", "changed", "nonsense", "other"],
)
def test_what_is_wrong_is_said(lines: list[bytes], why: str) -> None:
    with pytest.raises(Broken, match=why):
        check(check(Link(), lines[0]).link, lines[1])


def test_an_event_of_a_newer_program_does_not_break_the_chain() -> None:
    event = msgspec.Raw(b'{"kind":"blessed","by":"somebody"}')
    fields = {"seq": 1, "prev": Link().hash.hex(), "time": "t", "mono": 0.0, "run": "r", "version": "9"}
    line, _ = forge(Link(), Written(**fields, event=event))
    record = read(check(Link(), line.removesuffix(b"\n")).record)
    assert record == Record(**fields, event=Unfamiliar(kind="blessed"))
    assert not isinstance(record.event, Settled)
