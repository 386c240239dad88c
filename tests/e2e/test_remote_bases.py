"""Bases in other repositories, through a controller that may fetch some."""

import pytest

from tests.e2e.test_main_job import config, settings
from tests.e2e.world import APPS, Controller, World, until


@pytest.fixture(scope="module")
def fetching(world, api, kubeconfig, git_root, git_url, tmp_path_factory):
    """A controller that may fetch from two repositories."""
    world.controller.stop()
    controller = Controller(
        kubeconfig,
        tmp_path_factory.mktemp("bases"),
        *("--remote-bases", f"{git_url}/base-a", "--remote-bases", f"{git_url}/base-b.git"),
    )
    controller.start()
    yield World(api, git_url, git_root, controller)
    assert controller.stop() == 0
    assert "Traceback" not in controller.log, controller.log[-4000:]
    world.controller.start()


@pytest.fixture(scope="module")
def base(fetching):
    repo = fetching.repo("base-a")
    repo.commit({"base/kustomization.yaml": "resources: [settings.yaml]\n", "base/settings.yaml": config()})
    return repo


def overlay(reference):
    return {"app/kustomization.yaml": f"resources: ['{reference}']\n"}


@pytest.fixture
def place(fetching, request):
    ns = fetching.namespace(request.node.name.removeprefix("test_").replace("_", "-"))
    yield ns
    fetching.let_go(ns)


def app(world, ns, reference, **spec):
    repo = world.repo(ns)
    repo.commit(overlay(reference))
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app", **spec)
    return repo


def bases(world, ns):
    return world.get_app(ns, "shop")["status"].get("remoteBases")


def test_without_leave_nothing_is_fetched_and_the_way_out_is_told(world, ns):
    other = world.repo(f"{ns}-base")
    app(world, ns, f"{other.url}//base")
    assert f"--remote-bases {other.url}" in world.failed(ns, "shop", "BuildFailed", "another repository")


def test_a_base_that_is_allowed_is_applied_and_its_commit_is_told(fetching, place, base):
    commit = base.commit({"base/settings.yaml": config()})
    app(fetching, place, f"{base.url}//base?ref=main")
    fetching.ready(place, "shop")
    assert settings(fetching, place)["data"]["colour"] == "red"
    assert bases(fetching, place) == [{"url": base.url, "ref": "main", "commit": commit}]


def test_a_new_commit_of_the_base_is_applied_at_a_request_and_in_the_apps_own_time(fetching, place, base):
    app(fetching, place, f"{base.url}//base")
    fetching.ready(place, "shop")
    second = base.commit({"base/settings.yaml": config(colour="blue")})
    fetching.poke_app(place, "shop")
    until(lambda: settings(fetching, place)["data"]["colour"] == "blue", "it is applied")
    until(lambda: bases(fetching, place)[0]["commit"] == second, "it is told")
    fetching.api.merge(f"{APPS}/namespaces/{place}/kustomizations/shop", {"spec": {"interval": "1s"}})
    base.commit({"base/settings.yaml": config(colour="green")})
    until(lambda: settings(fetching, place)["data"]["colour"] == "green", "it is applied")


def test_a_base_is_named_by_a_tag_or_a_commit(fetching, place, base):
    commit = base.commit({"base/settings.yaml": config(colour="tagged")})
    base._git("tag", "-a", "-m", "x", "v1")
    base._git("push", "-q", str(base.bare), "v1")
    base.commit({"base/settings.yaml": config(colour="later")})
    repo = app(fetching, place, f"{base.url}//base?ref=v1")
    fetching.ready(place, "shop")
    assert settings(fetching, place)["data"]["colour"] == "tagged"
    pinned = repo.commit(overlay(f"{base.url}//base?ref={commit}"))
    fetching.poke(place)
    fetching.ready(place, "shop", pinned)
    assert bases(fetching, place) == [{"url": base.url, "ref": commit, "commit": commit}]


def test_a_base_may_name_another_one_that_is_allowed_and_no_other(fetching, place, base):
    second = fetching.repo("base-b")
    second.commit({"kustomization.yaml": f"resources: ['{base.url}//base']\nnamePrefix: b-\n"})
    repo = app(fetching, place, second.url)
    fetching.ready(place, "shop")
    assert settings(fetching, place, "b-settings")
    assert [one["url"] for one in bases(fetching, place)] == [base.url, second.url]
    stranger = fetching.repo(f"{place}-stranger")
    stranger.commit({"kustomization.yaml": "resources: []\n"})
    second.commit({"kustomization.yaml": f"resources: ['{stranger.url}//x']\n"})
    fetching.poke_app(place, "shop")
    told = fetching.failed(place, "shop", "BuildFailed", "another repository")
    assert f"--remote-bases {stranger.url}" in told
    assert ".trimtab-remote/" in told, "the file that names it"
    assert settings(fetching, place, "b-settings"), "the last good state stays"
    repo.commit(overlay(f"{base.url}//base"))
    fetching.poke(place)
    fetching.ready(place, "shop")
    assert [one["url"] for one in bases(fetching, place)] == [base.url]


def test_a_base_that_cannot_be_had_is_told_and_had_later(fetching, place, base):
    app(fetching, place, f"{base.url}//base?ref={place}")
    told = fetching.failed(place, "shop", words="not found")
    assert base.url in told
    base._git("branch", place)
    base._git("push", "-q", str(base.bare), place)
    fetching.ready(place, "shop")
