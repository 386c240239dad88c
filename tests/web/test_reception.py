"""The story of a delivery: who is meant, is it they, who is asked for a look then, and how often."""

import asyncio
import logging
from collections import Counter

import pytest

from tests.web.deliveries import GCR_PUSH, GITHUB_PUSH, PUSHES, TOKEN, encoded, sign
from tests.web.ground import Ground
from tests.web.issuer import ISSUER, Key
from trimtab.kube.errors import Forbidden, ServerError
from trimtab.web import filters
from trimtab.web.delivery import Refused, Why

REPO = ("GitRepository", "ns", "repo")


async def refused(ground: Ground, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Refused:
    with pytest.raises(Refused) as refusal:
        await ground.take(path, body, headers)
    assert TOKEN.decode() not in str(refusal.value)
    return refusal.value


async def status(ground: Ground, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> int:
    return (await refused(ground, path, body, headers)).status


@pytest.mark.parametrize("sender", PUSHES)
async def test_a_delivery_of_every_kind_makes_what_is_named_look(ground: Ground, sender: str) -> None:
    body, headers = PUSHES[sender]
    path = ground.receiver(type=sender)
    await ground.take(path, body, headers)
    assert await ground.settled() == [REPO]


async def test_whom_an_issuer_vouches_for_needs_no_secret(ground: Ground) -> None:
    key = Key()
    ground.issuer.keys.append(key)
    provider = {"issuerURL": ISSUER, "validations": [{"expression": "claims.who == 'ci'", "message": "only the CI"}]}
    path = ground.receiver(type="generic-oidc", secretRef=None, oidcProviders=[provider])
    now = ground.clock.now().timestamp()
    claims = {"iss": ISSUER, "aud": "notification-controller", "exp": now + 60, "who": "ci"}
    await ground.take(path, b"", {"Authorization": f"Bearer {key.token(claims)}"})
    assert await ground.settled() == [REPO]
    refusal = await refused(ground, path, b"", {"Authorization": f"Bearer {key.token(claims | {'who': 'me'})}"})
    assert (refusal.status, refusal.words) == (401, "only the CI")
    assert await status(ground, path) == 401
    assert ground.cluster.asked["get"] == 0


async def test_whom_nobody_vouches_for_may_not_even_send_a_body(ground: Ground) -> None:
    provider = {"issuerURL": ISSUER, "validations": [{"expression": "true", "message": "no"}]}
    path = ground.receiver(type="generic-oidc", secretRef=None, oidcProviders=[provider])

    async def read() -> bytes:
        raise AssertionError("the body was read")

    with pytest.raises(Refused) as refusal:
        await ground.reception.take(path, (), read)
    assert refusal.value.status == 401


async def test_strangers_do_not_use_up_what_friends_may_have(ground: Ground) -> None:
    key = Key()
    ground.issuer.keys.append(key)
    provider = {"issuerURL": ISSUER, "validations": [{"expression": "true", "message": "no"}]}
    path = ground.receiver(type="generic-oidc", secretRef=None, oidcProviders=[provider])
    claims = {"iss": ISSUER, "aud": "notification-controller", "exp": ground.clock.now().timestamp() + 60}
    stranger, friend = Key().token(claims), key.token(claims)
    for _ in range(300):
        assert await status(ground, path, b"", {"Authorization": f"Bearer {stranger}"}) == 401
    for _ in range(100):
        await ground.take(path, b"", {"Authorization": f"Bearer {friend}"})
    assert await status(ground, path, b"", {"Authorization": f"Bearer {friend}"}) == 429
    assert len(ground.issuer.asked) == 2


async def test_a_push_of_google_s_registry_is_checked_against_the_account_of_the_secret(ground: Ground) -> None:
    ground.cluster.secrets["ns", "token"] = {"token": TOKEN}
    path = ground.receiver(type="gcr")
    assert await status(ground, path, GCR_PUSH) == 503
    await ground.clock.advance(6)
    ground.cluster.secrets["ns", "token"] |= {"email": b"bot@team.example", "audience": b"hook"}
    assert await status(ground, path, GCR_PUSH) == 401
    assert await ground.settled() == []


# Paths


async def test_a_path_that_is_nobody_s_is_not_found_and_costs_the_cluster_nothing(ground: Ground) -> None:
    path = ground.receiver()
    for other in ("/", "/hook/", "/hook/" + "0" * 64, path + "/", path + "?x=1", path.upper(), path[:-1], "", "/é\x00"):
        assert await status(ground, other) == 404
    assert not ground.cluster.asked


async def test_before_all_receivers_are_known_a_path_is_not_called_unknown(ground: Ground) -> None:
    path = ground.receiver()
    ground.hooks._complete = lambda: False
    await ground.take(path)
    assert await status(ground, "/hook/" + "0" * 64) == 503


async def test_a_receiver_that_is_gone_takes_nothing_any_more(ground: Ground) -> None:
    path = ground.receiver()
    ground.gone()
    assert await status(ground, path) == 404


async def test_a_token_that_was_taken_back_is_worth_nothing_seconds_later(ground: Ground) -> None:
    path = ground.receiver(type="gitlab")
    headers = {"X-Gitlab-Token": TOKEN.decode()}
    await ground.take(path, b"", headers)
    ground.cluster.secrets["ns", "token"] = {"token": b"new"}
    await ground.clock.advance(5.1)
    assert await status(ground, path, b"", headers) == 404
    ground.cluster.secrets["ns", "token"] = {"token": b""}
    await ground.clock.advance(5.1)
    assert await status(ground, path, b"", headers) == 503
    del ground.cluster.secrets["ns", "token"]
    await ground.clock.advance(5.1)
    assert await status(ground, path, b"", headers) == 503


async def test_a_status_that_somebody_wrote_takes_no_path_from_its_owner(ground: Ground) -> None:
    path = ground.receiver()
    ground.cluster.secrets["ns", "other"] = {"token": b"other"}
    ground.receiver("a-thief", path=path, secretRef={"name": "other"})
    await ground.take(path)
    assert await ground.settled() == [REPO]
    ground.gone()
    assert await status(ground, path) == 404


@pytest.mark.parametrize("thief", [{"secretRef": {"name": "gone"}}, {"type": "generic-oidc", "secretRef": None}])
async def test_a_claim_whose_secret_is_not_there_or_that_needs_none_stops_nobody(
    ground: Ground, thief: dict[str, object]
) -> None:
    path = ground.receiver()
    ground.receiver("a-thief", path=path, **thief)
    await ground.take(path)
    assert await ground.settled() == [REPO]


async def test_a_rate_is_that_of_the_path_and_not_of_who_claims_it(ground: Ground) -> None:
    path = ground.receiver()
    for _ in range(100):
        await ground.take(path)
    assert await status(ground, path) == 429
    ground.receiver("a-thief", path=path, secretRef={"name": "gone"})
    assert await status(ground, path) == 429


async def test_of_two_whose_names_make_the_same_path_each_gets_what_is_meant_for_it(ground: Ground) -> None:
    key = Key()
    ground.issuer.keys.append(key)
    ground.cluster.secrets["ns", "token"] = {"token": b"hoo"}
    ground.cluster.objects["GitRepository", "s", "repo"] = {}

    def oidc(who: str) -> dict[str, object]:
        validations = [{"expression": f"claims.who == '{who}'", "message": "no"}]
        return {
            "type": "generic-oidc",
            "secretRef": None,
            "oidcProviders": [{"issuerURL": ISSUER, "validations": validations}],
        }

    path = ground.receiver("hookn", namespace="s", **oidc("own"))
    # Before it in order: one that another identity may call, and one that anybody may who knows the path.
    assert ground.receiver("hook", **oidc("other")) == path
    assert ground.receiver("k") == path
    claims = {"iss": ISSUER, "aud": "notification-controller", "exp": ground.clock.now().timestamp() + 60, "who": "own"}
    await ground.take(path, b"", {"Authorization": f"Bearer {key.token(claims)}"})
    assert await ground.settled() == [("GitRepository", "s", "repo")]


async def test_an_empty_token_opens_nothing(ground: Ground) -> None:
    ground.cluster.secrets["ns", "token"] = {"token": b""}
    path = ground.receiver()
    assert await status(ground, path) == 503


@pytest.mark.parametrize("changed", [{"suspend": True}, {"ready": "False"}, {"ready": "Unknown"}, {"type": "novel"}])
async def test_who_is_not_ready_says_so_and_nothing_else(ground: Ground, changed: dict[str, object]) -> None:
    path = ground.receiver(**changed)
    assert await status(ground, path) == 503
    assert await ground.settled() == []


async def test_while_the_cluster_is_away_a_delivery_is_not_taken(ground: Ground) -> None:
    path = ground.receiver()
    ground.cluster.away = True
    assert await status(ground, path) == 503


# Resources


async def test_all_that_have_the_labels_are_asked(ground: Ground) -> None:
    for name, labels in (("a", {"team": "shop"}), ("b", {"team": "shop", "x": "y"}), ("c", {"team": "docs"})):
        ground.cluster.objects["OCIRepository", "ns", name] = {"labels": labels}
    resource = {"kind": "OCIRepository", "name": "*", "matchLabels": {"team": "shop"}}
    await ground.take(ground.receiver(resources=[resource, {"kind": "Kustomization", "name": "app"}]))
    assert sorted(await ground.settled()) == [("OCIRepository", "ns", "a"), ("OCIRepository", "ns", "b")]


async def test_expressions_see_the_body_and_the_metadata_and_both_have_to_be_true(ground: Ground) -> None:
    for name, stage in (("shop", "live"), ("shop-test", "test"), ("docs", "live")):
        ground.cluster.objects["ImageThing", "ns", name] = {}
        ground.cluster.objects["OCIRepository", "ns", name] = {"labels": {"stage": stage, "all": "yes"}}
    resource = {
        "kind": "OCIRepository",
        "name": "*",
        "matchLabels": {"all": "yes"},
        "filter": "res.metadata.labels['stage'] == 'live'",
    }
    path = ground.receiver(resourceFilter="req.name.contains(res.metadata.name)", resources=[resource])
    headers = {"Content-Type": "application/json"}
    await ground.take(path, encoded({"name": "team/shop"}), headers)
    assert await ground.settled() == [("OCIRepository", "ns", "shop")]
    refusal = await refused(ground, path, encoded({"other": 1}), headers)
    assert (refusal.status, refusal.why) == (500, Why.RESOURCES)
    assert "no such key: name" in str(refusal)
    assert "name" not in refusal.words
    assert await status(ground, path, b"{", headers) == 400
    assert await status(ground, path, b'{"name": "\\ud800"}', headers) == 400


async def test_a_body_too_large_for_expressions_is_refused_only_where_there_are_some(ground: Ground) -> None:
    headers = {"Content-Type": "application/json"}
    body = encoded({"name": "x" * (256 << 10)})
    await ground.take(ground.receiver(), body, headers)
    assert await ground.settled() == [REPO]
    by_resource = [{"kind": "GitRepository", "name": "repo", "filter": "true"}]
    for asked in ({"resourceFilter": "true"}, {"resources": by_resource}):
        refusal = await refused(ground, ground.receiver(**asked), body, headers)
        assert (refusal.status, refusal.why) == (413, Why.SIZE)


async def test_others_have_their_turn_between_objects_that_expressions_are_asked_about(ground: Ground) -> None:
    for number in range(200):
        ground.cluster.objects["OCIRepository", "ns", f"r{number}"] = {"labels": {"a": "b"}}
    resource = {"kind": "OCIRepository", "name": "*", "matchLabels": {"a": "b"}}
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await ground.take(ground.receiver(resourceFilter="false", resources=[resource]))
    task.cancel()
    assert turns >= 200


async def test_all_expressions_of_a_delivery_have_one_budget(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "MOST_STEPS", 1000)
    for number in range(40):
        ground.cluster.objects["OCIRepository", "ns", f"r{number}"] = {"labels": {"a": "b"}}
    many = {"kind": "OCIRepository", "name": "*", "matchLabels": {"a": "b"}}
    one = {"kind": "GitRepository", "name": "repo"}
    await ground.take(ground.receiver(resourceFilter="true", resources=[one]))
    refusal = await refused(ground, ground.receiver(resourceFilter="true", resources=[many, one]))
    assert (refusal.status, refusal.why) == (500, Why.RESOURCES)
    assert "spec.resources[0]: an expression has no answer: all evaluations together take more than 1000" in str(
        refusal
    )
    assert "spec.resources[1]: an expression has no answer: all evaluations" in str(refusal)


async def test_claims_are_for_expressions_too(ground: Ground) -> None:
    key = Key()
    ground.issuer.keys.append(key)
    provider = {"issuerURL": ISSUER, "validations": [{"expression": "true", "message": "no"}]}
    path = ground.receiver(
        type="generic-oidc",
        secretRef=None,
        oidcProviders=[provider],
        resourceFilter="claims.source == res.metadata.name",
    )
    for source in ("other", "repo"):
        claims = {"iss": ISSUER, "aud": "notification-controller", "exp": ground.clock.now().timestamp() + 9}
        token = key.token(claims | {"source": source})
        await ground.take(path, b"", {"Authorization": f"Bearer {token}"})
    assert await ground.settled() == [REPO]


async def test_one_resource_s_trouble_is_its_own(ground: Ground) -> None:
    ground.denied.add("theirs")
    resources = [
        {"kind": "GitRepository", "name": "repo", "namespace": "theirs"},
        {"kind": "ImageRepository", "name": "*", "matchLabels": {"a": "b"}},
        {"kind": "GitRepository", "name": "repo"},
    ]
    refusal = await refused(ground, ground.receiver(resources=resources))
    assert refusal.status == 500
    assert "spec.resources[0]: objects of namespace theirs may not be named" in str(refusal)
    assert "spec.resources[1]: there is no ImageRepository" in str(refusal)
    assert "theirs" not in refusal.words
    assert await ground.settled() == [REPO]


async def test_what_does_not_exist_harms_nobody(ground: Ground, caplog: pytest.LogCaptureFixture) -> None:
    resources = [{"kind": "GitRepository", "name": "gone"}, {"kind": "ImageRepository", "name": "x"}]
    await ground.take(ground.receiver(resources=resources))
    assert await ground.settled() == []
    assert "GitRepository/ns/gone is named by a Receiver and does not exist" in caplog.text


# How often


async def test_a_flood_is_one_look_at_once_and_then_one_every_few_seconds(ground: Ground) -> None:
    path = ground.receiver(type="github")
    headers = {"X-Hub-Signature-256": sign(GITHUB_PUSH)}
    answers: Counter[int] = Counter()
    for _ in range(600):  # a minute
        for _ in range(100):
            try:
                await ground.take(path, GITHUB_PUSH, headers)
                answers[200] += 1
            except Refused as refusal:
                answers[refusal.status] += 1
            assert ground.hints.waiting <= 1
        await ground.clock.advance(0.1)
    looks = len(await ground.settled())
    assert 12 <= looks <= 18
    assert set(answers) == {200, 429}
    assert answers[200] == pytest.approx(100 + 60 * 50, abs=60)
    assert ground.cluster.asked["get"] <= 13, "the Secret is read every five seconds at most"


async def test_after_a_flood_a_single_push_is_seen_at_once_again(ground: Ground) -> None:
    path = ground.receiver()
    for _ in range(50):
        await ground.take(path)
        await ground.clock.advance(0.1)
    await ground.clock.advance(30)
    before = len(await ground.settled())
    await ground.take(path)
    assert len(await ground.settled()) == before + 1
    await ground.clock.advance(0.1)
    await ground.take(path)
    await ground.clock.advance(0.3)
    assert len(await ground.settled()) == before + 2, "two pushes in a second are both seen"


async def test_a_flood_with_expressions_is_one_list_a_second(ground: Ground) -> None:
    path = ground.receiver(resourceFilter="true")
    for _ in range(50):
        await ground.take(path)
        await ground.clock.advance(0.02)
    assert ground.cluster.asked["list"] <= 2


async def test_what_waits_is_bounded() -> None:
    ground = Ground(most_hints=10)
    try:
        ground.cluster.refusal = ServerError(503, "ServiceUnavailable", "later")
        resources = [{"kind": "GitRepository", "name": f"r{number}"} for number in range(50)]
        for number in range(50):
            ground.cluster.objects["GitRepository", "ns", f"r{number}"] = {}
        assert await status(ground, ground.receiver(resources=resources)) == 503
        await ground.settled()
        assert ground.hints.waiting <= 10
    finally:
        await ground.close()


async def test_a_hint_waits_for_the_api_server_and_is_given_once(ground: Ground) -> None:
    path = ground.receiver()
    ground.cluster.refusal = ServerError(503, "ServiceUnavailable", "later")
    for _ in range(5):
        await ground.take(path)
        await ground.clock.advance(1)
    assert await ground.settled() == []
    ground.cluster.refusal = None
    await ground.clock.advance(61)
    assert await ground.settled() == [REPO]


async def test_a_right_that_is_missing_is_said_and_not_tried_for_ever(
    ground: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    ground.cluster.refusal = Forbidden(403, "Forbidden", "cannot patch")
    await ground.take(ground.receiver())
    await ground.clock.advance(600)
    assert ground.cluster.asked["patch"] == 1
    assert "GitRepository/ns/repo cannot be asked for a look: cannot patch" in caplog.text


async def test_the_same_delivery_again_has_no_effect_and_is_answered_as_good(ground: Ground) -> None:
    path = ground.receiver(type="github")
    headers = {"X-Hub-Signature-256": sign(GITHUB_PUSH), "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958"}
    await ground.take(path, GITHUB_PUSH, headers)
    assert len(await ground.settled()) == 1
    await ground.clock.advance(20)
    assert "before" in await ground.take(path, GITHUB_PUSH, headers)
    assert len(await ground.settled()) == 1
    await ground.take(path, GITHUB_PUSH, headers | {"X-GitHub-Delivery": "another"})
    await ground.clock.advance(5)
    assert len(await ground.settled()) == 2
    await ground.clock.advance(61)
    await ground.take(path, GITHUB_PUSH, headers)
    assert len(await ground.settled()) == 3, "much later it is a wish of somebody's"


async def test_a_forged_delivery_does_not_make_the_real_one_a_replay(ground: Ground) -> None:
    path = ground.receiver(type="github")
    real = {"X-Hub-Signature-256": sign(GITHUB_PUSH), "X-GitHub-Delivery": "one"}
    assert await status(ground, path, b"forged", real) == 401
    await ground.take(path, GITHUB_PUSH, real)
    assert await ground.settled() == [REPO]


async def test_bodies_in_memory_are_bounded_by_path_and_in_all(ground: Ground) -> None:
    paths = [ground.receiver(f"hook-{number}") for number in range(3)]
    gate = asyncio.Event()

    async def slow() -> bytes:
        await gate.wait()
        return b""

    async def call(path: str) -> int:
        try:
            await ground.reception.take(path, (), slow)
        except Refused as refusal:
            return refusal.status
        return 200

    calls = [asyncio.ensure_future(call(path)) for path in paths for _ in range(20)]
    await ground.settled()
    early = [one.result() for one in calls if one.done()]
    assert early.count(429) == 8
    assert early.count(503) == 20
    gate.set()
    assert sum(answer == 200 for answer in await asyncio.gather(*calls)) == 32
    await ground.take(paths[2])


async def test_a_refusal_is_told_once_in_a_while_without_what_was_sent(
    ground: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    path = ground.receiver(type="github")
    for _ in range(40):
        await refused(ground, path, b"secret body", {"X-Hub-Signature-256": "sha256=" + "5" * 64, "X-Odd": "hd"})
    told = [record.getMessage() for record in caplog.records if "refuses" in record.getMessage()]
    assert told == [
        "Receiver ns/hook refuses a delivery: the signature is not one of the body by the token of the Secret"
    ]
    for word in (path, TOKEN.decode(), "secret body", "5555", "hd"):
        assert word not in caplog.text
