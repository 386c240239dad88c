"""P14: a history that was rewritten is reported once, and what it no longer has goes under the normal budget."""

from tests.e2e.test_main_job import config
from tests.e2e.test_prune import configs, held, names, start, there, warned
from tests.e2e.world import until

REWRITTEN = "HistoryRewritten"


def rewrite(repo, files):
    """Force the branch to a commit that has nothing to do with those before it."""
    repo._git("checkout", "-q", "--orphan", "fresh")
    repo._git("rm", "-rfq", ".")
    commit = repo.commit(files)
    repo._git("branch", "-qM", "fresh", "main")
    return commit


def reports(world, ns):
    events = world.api.get(f"/api/v1/namespaces/{ns}/events")["items"]
    return [(event["message"], event.get("count", 1)) for event in events if event["reason"] == REWRITTEN]


def move(world, ns, commit):
    world.poke(ns)
    world.ready(ns, "shop", commit)


def test_p14_a_forced_push_is_reported_once_and_pruned_within_the_budget(world, ns):
    repo = start(world, ns, configs(*names(3)))
    before = repo.commit(configs("more"))
    move(world, ns, before)
    after = rewrite(repo, configs("c0", "new"))
    move(world, ns, after)
    message = warned(world, ns, REWRITTEN, after)
    assert before in message
    until(lambda: set(there(world, ns)) == {"c0", "new"}, "what the new history does not have goes")
    third = repo.commit(configs("next"))
    move(world, ns, third)
    fourth = rewrite(repo, configs("c0"))
    move(world, ns, fourth)
    warned(world, ns, REWRITTEN, fourth)
    found = reports(world, ns)
    assert len(found) == 2, "the steps forward are not reported"
    assert [count for _, count in found] == [1, 1]


def test_p14_a_branch_set_back_to_an_older_commit_is_reported_and_more_than_the_budget_is_held(world, ns):
    repo = start(world, ns, configs("c"))
    first = repo._git("rev-parse", "HEAD")
    move(world, ns, repo.commit(configs(*names(11))))
    repo._git("reset", "-q", "--hard", first)
    repo._git("push", "-q", "--force", str(repo.bare), "HEAD:main")
    move(world, ns, first)
    assert "history was rewritten" in warned(world, ns, REWRITTEN, first)
    held(world, ns, words="11 deletions")
    assert len(there(world, ns)) == 12


def test_p14_a_history_that_was_rewritten_while_nobody_looked_is_reported_too(world, ns):
    repo = start(world, ns, configs("c", "d"))
    world.controller.stop()
    after = rewrite(repo, configs("c"))
    world.controller.start()
    move(world, ns, after)
    warned(world, ns, REWRITTEN, after)
    until(lambda: set(there(world, ns)) == {"c"}, "d goes")


def test_p14_another_branch_is_called_so(world, ns):
    repo = start(world, ns, configs("c"))
    repo._git("checkout", "-q", "--orphan", "other")
    repo._git("rm", "-rfq", ".")
    (repo.work / "app").mkdir(exist_ok=True)
    (repo.work / "app/o.yaml").write_text(config("o"))
    repo._git("add", "-A")
    repo._git("commit", "-qm", "other")
    repo._git("push", "-q", str(repo.bare), "HEAD:other")
    path = f"/apis/source.toolkit.fluxcd.io/v1/namespaces/{ns}/gitrepositories/repo"
    world.api.merge(path, {"spec": {"ref": {"branch": "other"}}})
    assert "another reference is followed now" in warned(world, ns, REWRITTEN, "other@sha1:")
    until(lambda: set(there(world, ns)) == {"o"}, "the app follows")
