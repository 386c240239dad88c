"""After a restore: when it is noticed, and who may delete again."""

import pytest

from tests.targets.conftest import desired
from trimtab.kube.horizon import Horizon
from trimtab.manifests.refs import Key
from trimtab.targets.kubernetes import cautions
from trimtab.targets.kubernetes.epoch import Epoch
from trimtab.targets.kubernetes.notices import Notice, Notices

SHOP, OTHER = Key("flux-system", "shop"), Key("flux-system", "other")


def test_versions_that_grow_or_stay_are_no_news_and_lower_ones_are_once():
    horizon = Horizon()
    assert [horizon.rewound(version) for version in ("5", "5", "9", "7", "8", "9")] == [False] * 3 + [True] + [
        False
    ] * 2


def test_a_version_that_is_no_number_says_nothing():
    horizon = Horizon()
    horizon.rewound("9")
    assert not horizon.rewound("")
    assert not horizon.rewound("abc")
    assert horizon.rewound("8")


def test_a_forgotten_horizon_takes_any_version():
    horizon = Horizon()
    horizon.rewound("9")
    horizon.forget()
    assert not horizon.rewound("3")


def test_nothing_is_held_before_the_first_restore():
    assert Epoch().holds(SHOP) == ""


def test_after_a_restore_each_app_is_held_until_its_own_clean_pass():
    epoch = Epoch()
    epoch.clean(SHOP)
    epoch.begin()
    assert epoch.holds(SHOP)
    epoch.clean(SHOP)
    assert epoch.holds(SHOP) == ""
    assert epoch.holds(OTHER)
    epoch.begin()
    assert epoch.holds(SHOP)


def test_a_notice_is_given_once_until_it_is_over_or_other_words():
    notices = Notices()
    for words in ("a", "a", "b"):
        notices.say(SHOP, "topic", Notice("Reason", words))
    assert [notice.words for notice in notices.take(SHOP)] == ["a", "b"]
    assert notices.take(SHOP) == []
    notices.say(SHOP, "topic", Notice("Reason", "b"))
    assert notices.take(SHOP) == []
    notices.over(SHOP, "topic")
    notices.say(SHOP, "topic", Notice("Reason", "b"))
    assert notices.take(SHOP)


def webhook(**config):
    hook = {"name": "x.example.org", "clientConfig": {"service": {"name": "x", "namespace": "shop"}, **config}}
    return {"kind": "ValidatingWebhookConfiguration", "webhooks": [hook]}


@pytest.mark.parametrize(
    ("body", "warned"),
    [
        (webhook(caBundle=""), True),
        (webhook(caBundle=None), True),
        (webhook(caBundle="Zm9v"), False),
        (webhook(), False),
        ({"kind": "APIService", "spec": {"caBundle": ""}}, True),
        (
            {
                "kind": "CustomResourceDefinition",
                "spec": {"conversion": {"webhook": {"clientConfig": {"caBundle": ""}}}},
            },
            True,
        ),
    ],
)
def test_d8_a_declared_empty_ca_bundle_is_warned_of_where_it_was_written(body, warned):
    item = desired({"apiVersion": "example.org/v1", "metadata": {"name": "x"}, **body})
    told = [notice.words for notice in cautions.of([item])]
    assert bool(told) == warned
    assert all("app/x.yaml:3" in words for words in told)
