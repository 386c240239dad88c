"""Scans and choices, hours in milliseconds: what is new is taken at once, and nothing is lost by a registry's fault."""

import asyncio
import base64
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.controllers.imageworld import HOME, POLICY, REPOSITORY, Answer, Images, listing

from trimtab.api.gvk import IMAGE_POLICY, IMAGE_REPOSITORY
from trimtab.base.http import Request
from trimtab.controllers import imagepolicy
from trimtab.kube.errors import ApiError
from trimtab.manifests.refs import Gvk, Key
from trimtab.runtime.controller import Again
from trimtab.runtime.shares import Crowded, Shares

NAMESPACE = Gvk("", "v1", "Namespace")
SECRET = Gvk("", "v1", "Secret")


@pytest.fixture
def images(tmp_path: Path) -> Images:
    images = Images(tmp_path, "1.0.0", "1.1.0", "latest", "sha256-abc.sig")
    images.repository()
    images.policy()
    return images


async def test_a_scan_is_one_request_and_says_what_it_found(images: Images) -> None:
    await images.look()
    assert images.registry.asked == ["GET app/tags/list"]
    status = images.status()
    assert status.canonical_image_name == "127.0.0.1:5000/app"
    assert status.observed_exclusion_list == ("^.*\\.sig$",)
    result = status.last_scan_result
    assert (result.tag_count, result.latest_tags) == (3, ("latest", "1.1.0", "1.0.0"))
    assert images.ready() == (
        "True",
        "Succeeded",
        f"successful scan: found 3 tags with checksum {result.revision}",
    )
    assert images.latest() == "1.1.0"
    assert images.ready(IMAGE_POLICY)[2] == "Latest image tag for 127.0.0.1:5000/app resolved to 1.1.0"


async def test_a_new_tag_is_chosen_and_the_one_before_is_told(images: Images) -> None:
    await images.look()
    images.registry.tags["1.2.0"] = "sha256:" + "b" * 64
    await images.look(asked=True)
    assert images.latest() == "1.2.0"
    status = images.status(IMAGE_POLICY)
    assert (status.observed_previous_ref.tag, status.latest_ref.name) == ("1.1.0", "127.0.0.1:5000/app")
    words = "Latest image tag for 127.0.0.1:5000/app resolved to 1.2.0 (previously 127.0.0.1:5000/app:1.1.0)"
    assert images.ready(IMAGE_POLICY) == ("True", "Succeeded", words)
    assert ("Succeeded", words) in images.told


async def test_the_tags_of_one_image_are_not_chosen_for_another(images: Images) -> None:
    images.policy(digestReflectionPolicy="Always", interval="1m")
    await images.look()
    before = images.status(IMAGE_POLICY).latest_ref
    images.registry.tags["1.1.0"] = "sha256:" + "b" * 64
    images.registry.asked.clear()
    images.repository(image="127.0.0.1:5000/other")
    await images.choose()
    assert images.ready(IMAGE_POLICY)[1] == "DependencyNotReady"
    assert (images.status(IMAGE_POLICY).latest_ref, images.registry.asked) == (before, [])
    await images.look()
    latest = images.status(IMAGE_POLICY).latest_ref
    assert (latest.name, latest.digest) == ("127.0.0.1:5000/other", "sha256:" + "b" * 64)


async def test_a_scan_that_finds_nothing_new_writes_nothing_to_the_cluster_for_ten_minutes(images: Images) -> None:
    await images.look()
    writes = images.cluster.writes
    for _ in range(9):
        images.clock.seconds += 60
        assert isinstance(await images.look(), Again)
    assert images.cluster.writes == writes
    images.clock.seconds += 120
    await images.look()
    assert images.cluster.writes == writes + 1, "the time of the last look"
    assert len(images.registry.asked) == 11


@pytest.mark.parametrize("killed", [False, True], ids=["refused", "killed"])
async def test_what_could_not_be_written_into_the_cluster_is_written_later(images: Images, killed: bool) -> None:
    await images.look()
    images.registry.tags["1.2.0"] = "sha256:" + "b" * 64
    images.cluster.refuses = True
    images.clock.seconds += 60
    assert isinstance(await images.look(), ApiError)
    images.cluster.refuses = False
    if killed:
        images.start()
    images.clock.seconds += 60
    await images.look()
    assert images.status().last_scan_result.latest_tags[:2] == ("latest", "1.2.0")
    await images.choose()
    assert images.latest() == "1.2.0"


async def test_what_could_not_be_kept_is_asked_for_again(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    await images.look()
    images.registry.tags["1.2.0"] = "sha256:" + "b" * 64

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(images.store, "keep", full)
        images.clock.seconds += 60
        failure = await images.look()
    assert failure.reason == "StorageOperationFailed"
    assert "No space left on device" in images.ready()[2]
    assert images.latest() == "1.1.0"
    images.clock.seconds += 60
    await images.look()
    assert (images.latest(), images.ready()[0]) == ("1.2.0", "True")


async def test_what_is_not_due_is_not_asked_for_also_after_a_restart(images: Images) -> None:
    await images.look()
    images.start()
    images.clock.seconds += 10
    result = await images.look()
    assert isinstance(result, Again)
    assert 40 < result.after <= 50
    assert len(images.registry.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500),
        Answer(429, headers={"Retry-After": "7"}),
        Answer(body=b"[]"),
        Answer(body=b'{"tags": ["1.0.0", "1.'),
        Answer(body=b'{"tags": ["1.0.0"]}', cut=True),
        Answer(404, b'{"errors": [{"code": "NAME_UNKNOWN"}]}'),
        Answer(401),
        Answer(302, headers={"Location": "http://169.254.169.254/latest/"}),
        Answer(401, headers={"WWW-Authenticate": 'Bearer realm="http://169.254.169.254/latest/meta-data",service="x"'}),
    ],
    ids=["500", "429", "a list", "half a page", "cut off", "404", "401", "redirect to metadata", "realm on metadata"],
)
async def test_what_is_no_list_leaves_the_last_in_force_and_is_told(images: Images, answer: Answer) -> None:
    await images.look()
    before = images.status().last_scan_result
    images.registry.says = answer
    images.clock.seconds += 60
    failure = await images.look()
    assert failure.reason in ("ReadOperationFailed", "AuthenticationFailed")
    ready, reason, message = images.ready()
    assert (ready, reason) == ("False", failure.reason)
    assert f"the 3 tags of {before.scan_time} stay in force" in message
    assert images.status().last_scan_result == before
    assert images.latest() == "1.1.0"
    if answer.status == 429:
        assert failure.retry_after == 7
    images.start()
    await images.choose()
    assert images.latest() == "1.1.0"
    images.registry.says = None
    images.clock.seconds += 400
    await images.look()
    assert images.ready()[0] == "True"


async def test_what_is_asked_for_while_a_registry_wants_patience_is_put_off_and_not_said_to_be_wrong(
    images: Images,
) -> None:
    other = Key(HOME, "other")
    images.repository(other, image="127.0.0.1:5000/other")
    await images.look()
    images.registry.says = Answer(429, headers={"Retry-After": "30"})
    images.clock.seconds += 60
    assert (await images.look()).retry_after == 30
    assert await images.look(other) == Again(30)
    assert images.ready(key=other) == ("", "", "")
    assert len(images.registry.asked) == 2
    images.registry.says = None
    images.clock.seconds += 31
    await images.look(other)
    assert images.ready(key=other)[0] == "True"


async def test_an_empty_list_is_never_believed(images: Images) -> None:
    await images.look()
    images.registry.says, images.registry.tags = listing(), {}
    for _ in range(3):
        images.clock.seconds += 60
        await images.look()
        ready, reason, message = images.ready()
        assert (ready, reason) == ("False", "ReadOperationFailed")
        assert "lists no tags, and there were 4: they stay in force" in message
    assert images.latest() == "1.1.0"


async def test_a_tag_that_is_not_listed_any_more_leaves_after_a_second_look_and_the_word_of_the_registry(
    images: Images,
) -> None:
    await images.look()
    images.registry.says = listing("1.0.0")
    images.clock.seconds += 60
    await images.look()
    assert "1.1.0, latest, sha256-abc.sig are not listed any more" in images.ready()[2]
    assert images.latest() == "1.1.0"
    images.clock.seconds += 60
    await images.look(asked=True)
    assert "1.1.0, latest, sha256-abc.sig are not" in images.ready()[2], "it is too early"
    images.clock.seconds += 300
    await images.look()
    assert images.registry.asked[-1] == "HEAD app/manifests/1.1.0", "and of no other"
    assert "1.1.0 is not listed any more" in images.ready()[2]
    assert images.latest() == "1.1.0", "the registry has it"
    assert images.status().last_scan_result.tag_count == 2
    images.registry.heads = Answer(503)
    images.clock.seconds += 60
    await images.look()
    assert images.latest() == "1.1.0", "that it says nothing is no answer"
    images.registry.heads = None
    del images.registry.tags["1.1.0"]
    images.clock.seconds += 400
    await images.look()
    assert images.latest() == "1.0.0", "somebody has withdrawn it"
    assert images.ready()[2].startswith("successful scan: found 1 tags")
    assert [reason for reason, _ in images.told].count("TagsMissing") == 1


async def test_old_tags_that_are_cleared_away_alarm_nobody(images: Images) -> None:
    await images.look()
    del images.registry.tags["1.0.0"]
    for _ in range(2):
        images.clock.seconds += 301
        await images.look()
    assert images.ready()[2].startswith("successful scan: found 2 tags with checksum")
    assert "TagsMissing" not in [reason for reason, _ in images.told]
    assert images.registry.asked == ["GET app/tags/list"] * 3


async def test_a_lost_cache_is_filled_again_and_nothing_older_is_chosen_meanwhile(images: Images) -> None:
    await images.look()
    images.start(lost=True)
    failure = await images.choose()
    assert failure.reason == "DependencyNotReady"
    assert "127.0.0.1:5000/app:1.1.0 stays chosen" in images.ready(IMAGE_POLICY)[2]
    images.registry.says = listing("1.0.0")
    await images.look()
    assert images.latest() == "1.1.0", "it was chosen, so that it was there"
    images.start()
    await images.look()
    assert images.latest() == "1.1.0", "and is not forgotten before the next look"
    images.registry.says = None
    images.clock.seconds += 60
    await images.look()
    assert (images.latest(), images.ready(IMAGE_POLICY)[0]) == ("1.1.0", "True")


async def test_what_one_policy_says_that_it_chose_is_put_before_no_other(images: Images) -> None:
    """Whoever may write a status must not make others choose a tag that is not there."""
    mine = Key(HOME, "mine")
    images.policy(mine)
    claim = {"name": "127.0.0.1:5000/app", "tag": "99.0.0"}
    images.cluster.bodies[IMAGE_POLICY, mine]["status"]["latestRef"] = claim
    images.start()
    for seconds in (0, 60, 301):
        images.clock.seconds += seconds
        await images.look(asked=True)
        assert images.latest() == "1.1.0"
        assert "99.0.0" not in json.dumps(images.cluster.bodies[IMAGE_REPOSITORY, REPOSITORY])
    assert images.registry.asked[-1] == "HEAD app/manifests/99.0.0"
    assert images.latest(mine) == "1.1.0"


async def test_what_is_chosen_by_those_who_may_not_is_not_even_asked_for(images: Images) -> None:
    stranger = Key("tenant", "app")
    images.cluster.bodies[NAMESPACE, Key("", "tenant")] = {"metadata": {"labels": {}}}
    images.policy(stranger, imageRepositoryRef={"name": "app", "namespace": HOME})
    claim = {"name": "127.0.0.1:5000/app", "tag": "99.0.0"}
    images.cluster.bodies[IMAGE_POLICY, stranger]["status"]["latestRef"] = claim
    images.start()
    for seconds in (0, 301, 301):
        images.clock.seconds += seconds
        await images.look(asked=True)
    assert images.registry.asked == ["GET app/tags/list"] * 3


async def test_tags_that_are_lost_while_running_are_asked_for_again(images: Images) -> None:
    await images.look()
    images.store.forget(REPOSITORY)
    failure = await images.choose()
    assert "were lost from the cache" in failure.message
    await images.look()
    assert (images.latest(), images.ready(IMAGE_POLICY)[0]) == ("1.1.0", "True")
    assert images.registry.asked == ["GET app/tags/list"] * 2


async def test_another_image_is_another_repository(images: Images) -> None:
    await images.look()
    images.repository(image="127.0.0.1:5000/other")
    images.registry.says = Answer(500)
    await images.look()
    assert "stay in force" not in images.ready()[2]
    assert images.latest() == "1.1.0", "until there is something to choose"
    images.registry.says = listing("0.9.0")
    await images.look()
    assert images.latest() == "0.9.0"
    assert images.status(IMAGE_POLICY).latest_ref.name == "127.0.0.1:5000/other"


async def test_a_tag_that_is_excluded_now_leaves_at_once(images: Images) -> None:
    await images.look()
    images.repository(exclusionList=["^1\\.1"])
    await images.look()
    assert images.latest() == "1.0.0"
    assert images.status().observed_exclusion_list == ("^1\\.1",)


async def test_an_etag_saves_the_list(images: Images) -> None:
    images.registry.says = listing("1.0.0", ETag='"one"')
    await images.look()
    images.registry.says = Answer(304)
    images.clock.seconds += 60
    assert isinstance(await images.look(), Again)
    assert images.registry.headers[-1]["If-None-Match"] == '"one"'
    assert (images.latest(), images.ready()[0]) == ("1.0.0", "True")


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("https://ghcr.io/acme/app", "without a scheme"),
        ("ghcr.io/acme/app:1.0", "without one, and without a digest"),
        ("ghcr.io/acme/app@sha256:" + "a" * 64, "without one, and without a digest"),
        ("ghcr.io/Acme/App", "not the name of a repository"),
        ("u:p@ghcr.io/acme/app", "not the name of a repository"),
    ],
    ids=["scheme", "tag", "digest", "capitals", "credentials"],
)
async def test_what_names_no_repository_is_refused_and_nothing_is_asked(images: Images, image: str, words: str) -> None:
    images.repository(image=image)
    failure = await images.look()
    assert failure.reason == "ImageURLInvalid"
    assert words in failure.message
    assert images.ready()[:2] == ("False", "ImageURLInvalid")
    assert images.registry.asked == []
    assert "u:p@" not in failure.message


@pytest.mark.parametrize("provider", ["aws", "azure", "gcp"])
async def test_the_identity_of_a_cloud_is_refused_clearly(images: Images, provider: str) -> None:
    images.repository(provider=provider)
    failure = await images.look()
    assert f"does not serve spec.provider {provider} of an ImageRepository" in failure.message
    assert images.registry.asked == []


async def test_what_is_suspended_is_not_looked_at_and_its_tags_are_chosen_from(images: Images) -> None:
    await images.look()
    images.repository(suspend=True)
    images.start()
    await images.look(asked=True)
    assert len(images.registry.asked) == 1
    images.policy(policy={"semver": {"range": "1.0.x"}})
    await images.choose()
    assert images.latest() == "1.0.0"
    images.policy(suspend=True)
    await images.choose()
    assert images.latest() == "1.0.0"


@pytest.mark.parametrize("name", ["hold", "lock"])
async def test_who_holds_a_policy_keeps_what_was_chosen_and_sees_what_would_be(images: Images, name: str) -> None:
    note = {f"trimtab.dev/{name}": "the launch is on Monday"}
    images.policy(annotations=note)
    failure = await images.look()
    assert images.latest() is None
    assert images.ready(IMAGE_POLICY)[:2] == ("False", "OnHold")
    images.policy()
    await images.choose()
    images.registry.tags["2.0.0"] = "sha256:" + "c" * 64
    images.policy(annotations=note)
    await images.look(asked=True)
    word = {"hold": "on hold", "lock": "locked"}[name]
    words = f"Latest image tag for 127.0.0.1:5000/app stays 1.1.0: {word}: the launch is on Monday"
    assert images.latest() == "1.1.0"
    assert images.ready(IMAGE_POLICY) == (
        "True",
        "Succeeded",
        f"{words} (127.0.0.1:5000/app:2.0.0 would be chosen)",
    )
    images.policy()
    await images.choose()
    assert images.latest() == "2.0.0"
    assert not isinstance(failure, Exception)


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        ({"policy": {}}, "InvalidPolicy", "spec.policy says nothing"),
        ({"policy": {"semver": {"range": ">>1"}}}, "InvalidPolicy", "spec.policy.semver.range"),
        ({"filterTags": {"pattern": "("}}, "InvalidPolicy", "spec.filterTags.pattern"),
        ({"policy": {"numerical": {"order": "asc"}}}, "InvalidPolicy", "no number"),
        ({"policy": {"semver": {"range": "9.x"}}}, "Failure", "none of 4 tags is left"),
        ({"digestReflectionPolicy": "Always"}, "IntervalNotConfigured", "spec.interval is missing"),
        ({"imageRepositoryRef": {"name": "other"}}, "DependencyNotReady", "flux-system/other does not exist"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_policy_that_chooses_nothing_says_why_and_keeps_what_it_chose(
    images: Images, spec: dict[str, object], reason: str, words: str
) -> None:
    await images.look()
    images.policy(**spec)
    failure = await images.choose()
    assert failure.reason == reason
    ready, told, message = images.ready(IMAGE_POLICY)
    assert (ready, told) == ("False", reason)
    assert words in message
    assert message.endswith("127.0.0.1:5000/app:1.1.0 stays chosen")
    assert images.latest() == "1.1.0"


async def test_an_expression_that_would_take_for_ever_elsewhere_takes_no_time(images: Images) -> None:
    images.registry.tags |= dict.fromkeys(["a" * 127 + "b", "a" * 128], "sha256:" + "d" * 64)
    images.policy(filterTags={"pattern": "^(a+)+$"}, policy={"alphabetical": {"order": "asc"}})
    await images.look()
    assert images.latest() == "a" * 128


async def test_names_that_are_no_tags_are_left_out_and_counted(images: Images) -> None:
    bad = ['"; rm -rf /', "a\nb", "1.0.0:x", "x" * 10_000, "é", "../x"]
    images.registry.says = listing("1.0.0", *bad)
    images.policy(policy={"alphabetical": {"order": "asc"}})
    await images.look()
    assert images.latest() == "1.0.0"
    assert images.ready()[2].endswith("; 6 names in the list are no tags, and left out")
    assert "rm -rf" not in json.dumps(images.cluster.bodies[IMAGE_REPOSITORY, REPOSITORY])


async def test_the_digest_is_looked_up_once_or_each_interval(images: Images) -> None:
    digest = images.registry.tags["1.1.0"]
    images.policy(digestReflectionPolicy="IfNotPresent")
    await images.look()
    assert images.status(IMAGE_POLICY).latest_ref.digest == digest
    await images.choose()
    assert images.registry.asked.count("HEAD app/manifests/1.1.0") == 1
    images.policy(digestReflectionPolicy="Always", interval="10m")
    images.registry.tags["1.1.0"] = "sha256:" + "e" * 64
    assert await images.choose() == Again(600)
    assert images.status(IMAGE_POLICY).latest_ref.digest == "sha256:" + "e" * 64
    images.policy(digestReflectionPolicy="Always", interval="1s")
    assert await images.choose() == Again(60), "no registry is asked each second"
    images.registry.heads = Answer(500)
    failure = await images.choose()
    assert failure.reason == "ReadOperationFailed"
    assert images.status(IMAGE_POLICY).latest_ref.digest == "sha256:" + "e" * 64
    images.registry.heads = None
    images.policy()
    await images.choose()
    assert images.status(IMAGE_POLICY).latest_ref.digest == ""


async def test_a_registry_that_never_answers_ends_the_pass_and_stops_no_policy_on_another(
    images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    images.policy(digestReflectionPolicy="IfNotPresent")
    await images.look()
    honest, stuck = images.registry.send, asyncio.Event()

    async def send(request: Request) -> Answer:
        if request.method == "HEAD":
            stuck.set()
            await asyncio.Event().wait()
        return await honest(request)

    monkeypatch.setattr(images.registry, "send", send)
    monkeypatch.setattr(imagepolicy, "_LONGEST_PASS_S", 0.2)
    images.choosing._shares = Shares(1, images.woken.add)
    other = Key(POLICY.namespace, "other")
    images.policy(digestReflectionPolicy="Always", interval="10m")
    images.policy(other, digestReflectionPolicy="Always", interval="10m")
    passing = asyncio.ensure_future(images.choose())
    await stuck.wait()
    writes = images.cluster.writes
    assert isinstance(await images.choose(other), Crowded)
    assert images.cluster.writes == writes
    failure = await passing
    assert (failure.reason, images.woken) == ("ReadOperationFailed", {other})
    assert "the registry has not said all that was asked in 0.2 s" in images.ready(IMAGE_POLICY)[2]


async def test_a_registry_that_never_answers_leaves_room_for_looks_at_others(
    images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, stuck, honest = asyncio.Event(), asyncio.Event(), images.registry.send

    async def send(request: Request) -> Answer:
        stuck.set()
        await answer.wait()
        return await honest(request)

    monkeypatch.setattr(images.registry, "send", send)
    images.looking._shares = Shares(1, images.let_in.add)
    other, elsewhere = Key(REPOSITORY.namespace, "other"), Key("tenant", "elsewhere")
    images.repository(other)
    images.repository(elsewhere, image="127.0.0.1:5001/app")
    looking = asyncio.ensure_future(images.look())
    await stuck.wait()
    writes = images.cluster.writes
    assert isinstance(await images.look(other), Crowded)
    assert (images.cluster.writes, images.let_in) == (writes, set())
    third = asyncio.ensure_future(images.look(elsewhere))
    await asyncio.sleep(0)
    answer.set()
    assert isinstance(await looking, Again)
    assert not isinstance(await third, Crowded)
    assert images.let_in == {other}
    assert isinstance(await images.look(other), Again)


async def test_another_namespace_chooses_only_where_its_labels_are_selected(images: Images) -> None:
    tenant = Key("tenant", "app")
    images.cluster.bodies[NAMESPACE, Key("", "tenant")] = {"metadata": {"labels": {"team": "shop"}}}
    await images.look()
    images.policy(tenant, imageRepositoryRef={"name": "app", "namespace": HOME})
    assert await images.choose(tenant) == Again(60)
    assert images.ready(IMAGE_POLICY, tenant)[:2] == ("False", "AccessDenied")
    assert images.latest(tenant) is None
    for selectors, allowed in (([{"matchLabels": {"team": "cart"}}], False), ([{"matchLabels": {}}], True)):
        images.repository(accessFrom={"namespaceSelectors": selectors})
        await images.choose(tenant)
        assert (images.ready(IMAGE_POLICY, tenant)[0] == "True") is allowed


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            {"certSecretRef": {"name": "x"}},
            "Secret flux-system/x does not exist: create it, or change spec.certSecretRef",
        ),
        (
            {"proxySecretRef": {"name": "x"}},
            "Secret flux-system/x does not exist: create it, or change spec.proxySecretRef",
        ),
        ({"serviceAccountName": "x"}, "ServiceAccount flux-system/x does not exist"),
    ],
    ids=["certificates", "proxy", "account"],
)
async def test_what_is_named_and_not_there_is_said_and_nothing_is_asked_without_it(
    images: Images, spec: dict[str, object], words: str
) -> None:
    images.repository(**spec)
    failure = await images.look()
    assert failure.reason == "AuthenticationFailed"
    assert words in failure.message
    assert images.registry.asked == []


async def test_the_proxy_and_the_certificates_of_the_secrets_are_used(images: Images) -> None:
    address = base64.b64encode(b"http://127.0.0.1:3128").decode()
    images.cluster.bodies[SECRET, Key(HOME, "way")] = {"data": {"address": address}}
    images.repository(proxySecretRef={"name": "way"})
    await images.look()
    assert str(images.registry.ways[-1].proxy) == "http://127.0.0.1:3128/"
    rubbish = base64.b64encode(b"rubbish").decode()
    images.cluster.bodies[SECRET, Key(HOME, "way")] = {"data": {"ca.crt": rubbish}}
    images.repository(certSecretRef={"name": "way"}, insecure=False)
    failure = await images.look()
    assert failure.reason == "AuthenticationFailed"
    assert "ca.crt in the Secret is not a certificate" in failure.message


async def test_credentials_come_from_the_secret_and_not_from_another_registry_s_entry(images: Images) -> None:
    config = {"auths": {"127.0.0.1:5000": {"username": "reader", "password": "right"}}}
    encoded = base64.b64encode(json.dumps(config).encode()).decode()
    images.repository(secretRef={"name": "pull"})
    failure = await images.look()
    assert failure.reason == "AuthenticationFailed"
    assert "Secret flux-system/pull does not exist" in failure.message
    images.cluster.bodies[SECRET, Key(HOME, "pull")] = {"data": {".dockerconfigjson": encoded}}
    images.registry.says = Answer(401, headers={"WWW-Authenticate": 'Basic realm="x"'})
    failure = await images.look()
    assert images.registry.headers[-1]["Authorization"].startswith("Basic ")
    assert "refuses these credentials" in failure.message
    assert "right" not in json.dumps(images.cluster.bodies[IMAGE_REPOSITORY, REPOSITORY])


ACTIONS = st.lists(
    st.one_of(
        st.sampled_from(["wait", "error", "empty", "shrink", "honest", "restart", "lose", "silent", "half", "choose"]),
        st.tuples(st.just("push"), st.integers(0, 9)),
        st.tuples(st.just("delete"), st.integers(0, 9)),
        st.tuples(st.just("hide"), st.integers(0, 9)),
    ),
    max_size=20,
)


@settings(max_examples=60)
@given(ACTIONS)
async def test_whatever_a_registry_says_nothing_older_is_chosen_while_what_was_chosen_is_there(
    tmp_path_factory: pytest.TempPathFactory, actions: list[str | tuple[str, int]]
) -> None:
    """The property: a choice goes down only from a tag whose manifest is not in the registry any more."""
    images = Images(tmp_path_factory.mktemp("images"), "1.0.3")
    images.repository()
    images.policy()
    await images.look()
    hidden: set[str] = set()
    for action in actions:
        registry, before = images.registry, images.latest()
        match action:
            case ("push", number):
                registry.tags[f"1.0.{number}"] = "sha256:" + "a" * 64
            case ("delete", number):
                registry.tags.pop(f"1.0.{number}", None)
            case ("hide", number):
                hidden.add(f"1.0.{number}")
                registry.says = listing(*(registry.tags.keys() - hidden))
            case "shrink":
                registry.says = listing(*sorted(registry.tags)[:1])
            case "honest":
                hidden.clear()
                registry.says = registry.heads = None
            case "empty":
                registry.says = listing()
            case "half":
                registry.says = Answer(body=b'{"tags": ["1.0.0"', cut=True)
            case "error":
                registry.says = Answer(502)
            case "silent":
                registry.heads = Answer(502)
            case "restart":
                images.start()
                await images.look()
            case "lose":
                images.start(lost=True)
            case "wait":
                images.clock.seconds += 301
            case "choose":
                await images.choose()
        await images.look(asked=True)
        after = images.latest()
        assert after is not None
        if before is not None and after < before:
            assert before not in registry.tags, f"{before} is there, and {after} was chosen"
    # and what is new is never missed once the registry is honest again
    images.registry.says = images.registry.heads = None
    for _ in range(3):
        images.clock.seconds += 400
        await images.look(asked=True)
    if images.registry.tags:
        assert images.latest() == max(images.registry.tags)


async def test_twenty_thousand_tags_are_scanned_and_chosen_from_within_a_second(tmp_path: Path) -> None:
    images = Images(tmp_path, *(f"main-{number:040x}-{number}" for number in range(20_000)))
    images.repository()
    images.policy(
        POLICY,
        filterTags={"pattern": "^main-[0-9a-f]+-(?P<ts>[0-9]+)$", "extract": "$ts"},
        policy={"numerical": {"order": "asc"}},
    )
    await images.look()
    assert images.latest() == f"main-{19_999:040x}-19999"
    assert (tmp_path / "tags.db").stat().st_size < 2 << 20
