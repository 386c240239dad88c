"""What leaves an app of `trimtab apply`."""

from trimtab.controllers.departing import Departure, as_proposed
from trimtab.manifests.refs import Ref
from trimtab.targets.kubernetes.inventory import Entry


def entry(name: str) -> Entry:
    return Entry(Ref("", "ConfigMap", "team", name), "v1", name)


def test_nothing_goes_that_was_not_shown_to_go() -> None:
    one, other = entry("one"), entry("other")
    frozen = Departure(held="deletions are frozen")
    late = as_proposed(Departure((one, other)), frozen)
    assert late.go == ()
    assert late.held.startswith("ConfigMap/team/one, ConfigMap/team/other: may be deleted by now")
    assert as_proposed(Departure((one, other)), Departure((one,))).go == (one,)
    less = Departure((one,), held="the rest is held")
    assert as_proposed(less, Departure((one, other))) is less
