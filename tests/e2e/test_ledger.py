"""The ledger as users meet it: what was meant, what became of it, whose wish it was, unchanged since."""

import json
from datetime import datetime

import pytest

from tests.cli.calling import called
from tests.e2e.releases import Home, chart
from tests.e2e.test_main_job import config, deployment, settings
from tests.e2e.world import SOURCES, until


class Book:
    """The ledger of the running controller, as one namespace sees it."""

    def __init__(self, world, ns):
        self.directory, self.ns = world.controller.directory / "data" / "ledger", ns

    def records(self, kind, *app):
        done = called("history", "--ledger", str(self.directory), *(app or ("shop",)), "-n", self.ns, "-o", "json")
        assert done.returncode == 0, done.stderr
        found = [one["record"] for one in json.loads(done.stdout)["records"]]
        return [one["event"] for one in found if one["event"]["kind"] == kind]

    def outcome(self, what, cause, effect):
        """The outcome in which that happened, and its intent."""

        def there():
            for one in reversed(self.records("outcome")):
                if one["cause"] == cause and any(thing["effect"] == effect for thing in one.get("objects", ())):
                    return one
            return None

        done = until(there, what)
        [intent] = [one for one in self.records("intent") if one["attempt"] == done["attempt"]]
        return intent, done


@pytest.fixture
def shop(world, ns):
    repo = world.repo(ns)
    repo.commit({"app/web.yaml": deployment(), "app/settings.yaml": config()})
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app")
    world.ready(ns, "shop")
    return repo


def named(event, stem):
    [found] = [one for one in event["objects"] if one["id"].startswith(stem)]
    return found


def test_a_push_a_drift_a_prune_and_a_failure_are_on_record_with_whose_wish_they_were(world, ns, shop):
    book = Book(world, ns)
    intent, first = book.outcome("the first apply is on record", "revision", "created")
    assert intent["actor"]["author"] == "t"
    assert intent["source"]["url"] == shop.url
    assert intent["source"]["revision"] == world.get_app(ns, "shop")["status"]["lastAppliedRevision"]
    assert {one["id"] for one in intent["objects"]} == {f"Deployment.apps/{ns}/web", f"ConfigMap/{ns}/settings"}
    assert "before" not in named(first, "ConfigMap")

    came = book.records("settled", "source", "git", "repo")
    assert [(one["result"], one["source"]["revision"]) for one in came] == [
        ("NewArtifact", intent["source"]["revision"])
    ]

    commit = shop.commit({"app/settings.yaml": config().replace("red", "green")})
    world.poke(ns)
    world.ready(ns, "shop", commit)
    intent, changed = book.outcome("the change is on record", "revision", "configured")
    assert commit in intent["source"]["revision"]
    was, now = named(first, "ConfigMap")["after"], named(changed, "ConfigMap")
    assert now["before"]["digest"] == was["digest"] != now["after"]["digest"]
    assert now["after"]["version"] == settings(world, ns)["metadata"]["resourceVersion"]

    path = f"/api/v1/namespaces/{ns}/configmaps/settings?fieldManager=painter"
    world.api.merge(path, {"data": {"colour": "blue"}})
    _, healed = book.outcome("the correction is on record", "drift", "corrected")
    drift = named(healed, "ConfigMap")
    assert (drift["drift"]["manager"], drift["drift"]["paths"]) == ("painter", ["data.colour"])
    assert drift["after"]["digest"] == now["after"]["digest"] != drift["before"]["digest"]
    assert "blue" not in str(book.records("outcome"))

    commit = shop.commit({"app/settings.yaml": None})
    world.poke(ns)
    world.ready(ns, "shop", commit)
    _, pruned = book.outcome("the prune is on record", "revision", "deleted")
    gone = named(pruned, "ConfigMap")
    assert (gone["before"]["digest"], "after" in gone) == (drift["after"]["digest"], False)

    world.api.merge(f"{SOURCES}/namespaces/{ns}/gitrepositories/repo", {"spec": {"suspend": True}})
    until(lambda: book.records("switched", "source", "git", "repo")[-1]["what"] == "suspended", "it is on record")
    world.api.merge(f"{SOURCES}/namespaces/{ns}/gitrepositories/repo", {"spec": {"suspend": False}})
    intents = book.records("intent")
    world.controller.stop()
    world.controller.start()
    moment = world.poke_app(ns, "shop")
    until(lambda: world.get_app(ns, "shop")["status"].get("lastHandledReconcileAt") == moment, "it is looked at")
    assert book.records("intent") == intents  # what was applied is looked at again, and that is no news
    until(lambda: [one for one in book.records("switched") if one["after"] == moment], "the request is on record")

    commit = shop.commit({"app/web.yaml": deployment().replace("replicas: 2", "replicas: many")})
    assert "many" in (shop.work / "app/web.yaml").read_text()
    world.poke(ns)
    world.failed(ns, "shop", "ValidationFailed")
    told = until(lambda: [one for one in book.records("settled") if commit in one["source"]["revision"]], "it is told")
    assert told[-1]["result"] == "ValidationFailed"
    tried = [one for one in book.records("outcome") if commit in one["source"]["revision"]]
    assert {one["result"] for one in tried} == {"failed"}
    assert {named(one, "Deployment")["effect"] for one in tried} == {"failed"}  # nothing was written

    text = called("history", "--ledger", str(book.directory), "shop", "-n", ns)
    assert f"-ConfigMap/{ns}/settings" in text.stdout
    assert "ValidationFailed" in text.stdout
    about = called("history", "--ledger", str(book.directory), "--object", f"ConfigMap/{ns}/settings", "-o", "json")
    times = [one["record"]["time"] for one in json.loads(about.stdout)["records"]]
    assert times == sorted(times)
    assert len(times) == 8  # an intent and an outcome each for apply, change, correction and prune
    assert datetime.fromisoformat(times[0])
    assert called("history", "--ledger", str(book.directory), "--verify").returncode == 0


def test_an_install_an_upgrade_and_an_uninstall_of_a_release_are_on_record(world):
    home = Home(world, "ledger")
    home.charts(chart())
    home.release(values={"colour": "red"})
    home.ready()
    home.change(values={"colour": "violet"})
    home.ready(revision=2)
    home.api.delete(home.path())
    home.gone()
    book = Book(world, home.ns)

    def told():
        found = book.records("outcome", "helmrelease", "app")
        return found if any(one.get("what", "").startswith("uninstall") for one in found) else None

    outcomes = until(told, "the end is on record")
    intents = {one["attempt"]: one for one in book.records("intent", "helmrelease", "app")}
    assert intents.keys() == {one["attempt"] for one in outcomes}
    actions = [one["what"].partition(" ")[0] for one in outcomes if "what" in one]
    assert actions == ["install", "upgrade", "uninstall"]
    effects = [(one["cause"], one["objects"][0]["effect"]) for one in outcomes if one.get("objects")]
    assert effects == [("install", "created"), ("upgrade", "configured"), ("uninstall", "deleted")]
    assert {one["source"]["chart"] for one in outcomes} == {"app@1.0.0"}
    assert len({one["source"]["values"] for one in outcomes if one["cause"] != "uninstall"}) == 2
    assert [one["result"] for one in book.records("settled", "helmrelease", "app")] == [
        "InstallSucceeded",
        "UpgradeSucceeded",
    ]
    assert "violet" not in str([*intents.values(), *outcomes])
