"""Spans of a pass: how they lie in one another, what they say of a failure, and that nobody's cost nothing."""

import asyncio
import hashlib

import pytest

from trimtab.base.clock import SystemClock
from trimtab.base.errors import Terminal
from trimtab.base.traces import (
    LONGEST_ERROR,
    MOST_SPANS,
    found,
    here,
    nothing,
    passage,
    span,
    then,
    trace_of,
    traceparent,
)

TRACE = trace_of("uid", "main@sha1:1")


def told(begun, hide=nothing):
    return {one.name: one for one in begun.told(TRACE, hide)}


def test_the_ids_are_those_of_the_source_and_its_revision_for_everybody():
    digest = hashlib.sha256(b"uid:main@sha1:1").hexdigest()
    assert f"{TRACE.id:032x}" == digest[:32]
    assert f"{TRACE.root:016x}" == digest[:16]


def test_a_span_is_a_part_of_the_one_around_it_also_in_other_tasks():
    async def work():
        with passage(SystemClock()) as begun:
            with span("outer"):
                async with asyncio.TaskGroup() as group:
                    group.create_task(inner("one"))
                    group.create_task(inner("two"))
            return begun

    async def inner(name):
        with span(name):
            await asyncio.sleep(0)

    begun = asyncio.run(work())
    spans = told(begun)
    assert spans["outer"].parent == begun.head
    assert spans["one"].parent == spans["two"].parent == spans["outer"].id


def test_one_span_after_another_in_one_block_are_beside_each_other():
    with passage(SystemClock()) as begun, span("apply"):
        with span("object"):
            pass
        then("prune", objects=2)
        with span("late"):
            pass
    spans = told(begun)
    assert spans["apply"].parent == spans["prune"].parent == begun.head
    assert spans["late"].parent == spans["prune"].id
    assert spans["apply"].ended <= spans["prune"].began <= spans["prune"].ended
    assert spans["prune"].attributes == {"trimtab.objects": 2}


def test_a_failure_is_told_without_what_is_secret_before_it_is_cut():
    secret = "hunter2" * 30
    with passage(SystemClock()) as begun, pytest.raises(Terminal), span("gate", path=f"for {secret}"):
        raise Terminal("Refused", "x" * (LONGEST_ERROR - 100) + f"{secret}\nhttps://me:pass@host/")
    (one,) = begun.told(TRACE, lambda text: text.replace(secret, "***"))
    assert one.error == "Refused"
    assert one.message.endswith("***\\nhttps://me:***@host/")
    assert one.attributes == {"trimtab.path": "for ***"}


def test_of_an_error_that_nobody_has_foreseen_its_name_is_told_and_not_its_words():
    with passage(SystemClock()) as begun, pytest.raises(KeyError), span("render"):
        raise KeyError("a value of a Secret")
    (one,) = begun.told(TRACE, nothing)
    assert (one.error, one.message) == ("KeyError", "")


def test_a_pass_tells_so_many_spans_and_counts_the_rest():
    with passage(SystemClock()) as begun:
        for number in range(MOST_SPANS + 3):
            with span(f"step {number}"):
                pass
    assert begun.left_out == 3
    assert len(told(begun)) == MOST_SPANS


def test_without_a_passage_there_is_nothing_to_do_and_nothing_to_tell():
    with span("render", path="./app") as one:
        one.say(objects=3)
        then("next")
        found("main@sha1:1", "uid")
    assert here() is None
    assert span("one") is span("two")
    assert traceparent() == ""


def test_an_event_learns_the_trace_and_the_span_once_they_are_known():
    with passage(SystemClock()) as begun:
        assert traceparent() == ""
        found("main@sha1:1", "uid")
        assert traceparent() == f"00-{TRACE.id:032x}-{TRACE.root:016x}-01"
        begun.head = 5
        assert traceparent() == f"00-{TRACE.id:032x}-0000000000000005-01"
