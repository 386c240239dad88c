"""Which objects are reported as orphans: those that are ours by all signs, and on nobody's record."""

from types import SimpleNamespace

import pytest

from trimtab.base.clock import SystemClock
from trimtab.controllers.orphans import Orphans
from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Gvk, Key, Ref
from trimtab.targets.kubernetes.desired import PREFIX, Owner
from trimtab.targets.kubernetes.sighting import Sighting

SHOP = Key("team", "shop")
LIVE = Sighting(
    ref=Ref("", "Secret", "team", "db"),
    gvk=Gvk("", "v1", "Secret"),
    uid="1",
    version="1",
    owned="a digest",
    projection="a digest",
    verdict=Verdict(State.Current),
    owner=Owner(PREFIX, SHOP),
    controlled=False,
)


@pytest.fixture
def reported():
    """`reported(sighting)`: what is said of it after two looks."""

    def look(sighting: Sighting, recorded: tuple[Ref, ...] = ()) -> list[str]:
        watches = SimpleNamespace(sightings=lambda: [sighting])
        place = SimpleNamespace(cluster="home", home=True, target=SimpleNamespace(watches=watches))
        app = SimpleNamespace(place=place, inventory=dict.fromkeys(recorded), problem="")
        told: list[str] = []
        orphans = Orphans(
            [place], {SHOP: "the app"}, {SHOP: app}, lambda _app, words: told.append(words), SystemClock()
        )
        for _ in range(3):
            orphans.look()
        return told

    return look


def test_what_is_ours_and_on_no_record_is_reported_once(reported):
    [words] = reported(LIVE)
    assert "Secret/team/db" in words
    assert reported(LIVE, (LIVE.ref,)) == []


def test_what_another_object_controls_is_not_ours_whatever_labels_it_carries(reported):
    assert reported(LIVE._replace(controlled=True)) == []


def test_labels_of_ours_alone_mean_nothing(reported):
    assert reported(LIVE._replace(owned="")) == []
