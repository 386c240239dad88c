"""Argo CD's cases of drift: what we say of them, and where we decided otherwise (docs/diff.md)."""

import json
from pathlib import Path

import pytest
from yaml import CSafeLoader

from trimtab.diff import fields
from trimtab.diff.declared import declared_changes

CASES = Path(__file__).parents[2].parent / "shared" / "conformance" / "diff"

# Argo CD says drift, or none, for a reason beyond the declared fields; we say otherwise, and why.
DECIDED = {
    "aggr-clusterrole-compared": "the rules of an aggregated ClusterRole are the aggregation controller's",
    "ssd-service-webhook-ignored": "what only the answer has, a default or a webhook's, is not ours",
    "ssd-service-webhook-included": "what only the answer has, a default or a webhook's, is not ours",
    "ssd-service-ignored-field": "what only the answer has, a default or a webhook's, is not ours",
}


def body(name):
    if name is None:
        return None
    loader = CSafeLoader((CASES / name).read_text())
    loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in CSafeLoader.yaml_implicit_resolvers.items()
    }
    return loader.get_single_data()


def cases():
    return [json.loads(line) for line in (CASES / "cases.jsonl").read_text().splitlines()] if CASES.is_dir() else []


def ours(case):
    """The differences we find: in what is declared or was owned, and in the server's answer where there is one."""
    config, live, manager = body(case["config"]), body(case["live"]), case.get("options", {}).get("manager", "")
    found = declared_changes(live, config, manager=manager)
    if predicted := body(case.get("predicted")):
        entry = fields.owned_entry(predicted, manager)
        assert entry
        found += [change for change in fields.changes(live, predicted, entry) if change not in found]
    return found


@pytest.mark.skipif(not CASES.is_dir(), reason=f"no conformance cases at {CASES}")
def test_all_cases_but_for_what_was_decided(capsys):
    agree, plain, differ = 0, 0, {}
    for case in cases():
        found = ours(case)
        plain += "beyondDeclared" not in case
        if bool(found) is case["drift"]:
            agree += 1
        else:
            differ[case["id"]] = (case["drift"], case.get("beyondDeclared"), [str(change) for change in found])
    with capsys.disabled():
        print(f"\ndiff: agrees on {agree} of {len(cases())} cases, {plain} of them by declared fields alone; differs:")
        for id_, (drift, why, _) in differ.items():
            print(f"  {id_}: {'drift' if drift else 'no drift'} by {why} ({DECIDED.get(id_, 'NOT DECIDED')})")
    assert differ.keys() == DECIDED.keys(), differ
    assert all(why is not None for _, why, _ in differ.values()), "what is declared is never decided otherwise"


@pytest.mark.skipif(not CASES.is_dir(), reason=f"no conformance cases at {CASES}")
def test_changes_are_shown_where_they_are_but_for_what_only_the_last_applied_annotation_knows():
    shown = 0
    for case in (case for case in cases() if "changes" in case):
        found = {change.path.replace('["', "").replace('"]', ""): change for change in ours(case)}
        for path, value in case["changes"]["added"].items():
            assert (found[path].kind, found[path].after) == ("added", value)
        for path, (before, after) in case["changes"]["changed"].items():
            assert (found[path].before, found[path].after) == (before, after)
        assert case["beyondDeclared"] == "lastApplied"
        assert not found.keys() & case["changes"]["removed"].keys()
        shown += 1
    assert shown
