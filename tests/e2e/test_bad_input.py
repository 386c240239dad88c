"""Bad input: Ready=False with the cause, the file and line; the last good state untouched; other apps go on."""

import pytest

from tests.e2e.test_main_job import config, settings
from tests.e2e.world import ApiFailure, condition, free_port, until

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(8)
)


@pytest.fixture
def pair(world, ns):
    """Two good apps of one repository."""
    repo = world.repo(ns)
    repo.commit({"bad/settings.yaml": config("victim"), "good/settings.yaml": config("witness")})
    world.source(ns, repo.url)
    world.app(ns, "bad", "./bad")
    world.app(ns, "good", "./good")
    world.ready(ns, "bad")
    world.ready(ns, "good")
    return repo


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x\n", "bad/x.yaml:"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  a: '1'\n  a: '2'\n", "bad/x.yaml:6"),
        (BOMB, "bad/x.yaml"),
        ("[" * 50_000, "bad/x.yaml"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n", "bad/x.yaml:1"),
        ("apiVersion: none.example.org/v1\nkind: Nothing\nmetadata: {name: x}\n", "Nothing"),
        (config("n" * 254), "bad/x.yaml"),
    ],
    ids=["syntax", "duplicate-keys", "alias-bomb", "brackets", "no-name", "unknown-kind", "long-name"],
)
def test_a_bad_file_fails_its_app_only_and_names_the_place(world, ns, pair, content, words):
    commit = pair.commit({"bad/x.yaml": content, "good/more.yaml": config("more")})
    world.poke(ns)
    message = world.failed(ns, "bad", words=words)
    assert message
    assert settings(world, ns, "victim")["data"] == {"colour": "red"}
    world.api.merge(f"/api/v1/namespaces/{ns}/configmaps/victim", {"data": {"colour": "green"}})
    until(lambda: settings(world, ns, "victim")["data"]["colour"] == "red", "the last good state is enforced", 10)
    world.ready(ns, "good", commit)
    assert settings(world, ns, "more")
    fixed = pair.commit({"bad/x.yaml": None})
    world.poke(ns)
    world.ready(ns, "bad", fixed)


def test_one_invalid_object_among_fifty_holds_everything_back_and_drift_is_still_corrected(world, ns, pair):
    files = {f"bad/c{i:02}.yaml": config(f"c{i:02}") for i in range(50)}
    files["bad/invalid.yaml"] = config("invalid").replace("{colour: red}", "[not, a, map]")
    files["bad/settings.yaml"] = config("victim", "blue")
    pair.commit(files)
    world.poke(ns)
    message = world.failed(ns, "bad", "ValidationFailed", "bad/invalid.yaml:1")
    assert "nothing was applied" in message
    assert f"ConfigMap/{ns}/invalid" in message
    assert settings(world, ns, "c00") is None
    assert settings(world, ns, "victim")["data"] == {"colour": "red"}
    world.api.merge(f"/api/v1/namespaces/{ns}/configmaps/victim", {"data": {"colour": "green"}})
    until(lambda: settings(world, ns, "victim")["data"]["colour"] == "red", "the last good state is enforced", 10)


def test_an_invalid_object_in_a_namespace_of_the_same_commit_holds_everything_back(world, ns, pair):
    namespace = f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {ns}-fresh}}\n"
    broken = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: x, namespace: {ns}-fresh}}\ndata: [1]\n"
    world.app(ns, "fresh", "./fresh", targetNamespace=None)
    pair.commit({"fresh/ns.yaml": namespace, "fresh/x.yaml": broken})
    world.poke(ns)
    world.failed(ns, "fresh", "ValidationFailed", "fresh/x.yaml:1")
    assert world.api.get(f"/api/v1/namespaces/{ns}-fresh") is None


def test_all_refusals_are_named_at_once(world, ns, pair):
    broken = {f"bad/{name}.yaml": config(name).replace("{colour: red}", "[1]") for name in ("one", "two")}
    pair.commit(broken)
    world.poke(ns)
    message = world.failed(ns, "bad", "ValidationFailed", "2 objects were refused")
    assert "bad/one.yaml:1" in message
    assert "bad/two.yaml:1" in message


def test_a_missing_path_is_an_error_and_prunes_nothing(world, ns, pair):
    pair.commit({"bad/settings.yaml": None})
    world.poke(ns)
    message = world.failed(ns, "bad", "ArtifactFailed", "bad")
    assert "not found" in message
    assert settings(world, ns, "victim") is not None


@pytest.mark.parametrize("url", ["file:///etc", "ext::sh -c id", "git://127.0.0.1/x", "ftp://127.0.0.1/x"])
def test_a_foreign_scheme_is_refused_at_admission(world, ns, url):
    with pytest.raises(ApiFailure, match=r"spec\.url"):
        world.source(ns, url)


@pytest.mark.parametrize("field", ["interval", "timeout", "retryInterval"])
def test_a_bad_duration_is_refused_at_admission(world, ns, field):
    with pytest.raises(ApiFailure, match=field):
        world.app(ns, "x", "./x", **{field: "soon"})


def test_a_name_too_long_for_a_label_is_refused_at_admission(world, ns):
    with pytest.raises(ApiFailure, match="63"):
        world.app(ns, "x" * 64, "./x")


def source_message(world, ns, reason, words):
    def reached():
        found = condition(world.get_source(ns), "Ready")
        return found.get("status") == "False" and reason in found["reason"] and words in found["message"]

    until(reached, lambda: f"{condition(world.get_source(ns), 'Ready')}", 30)
    return condition(world.get_source(ns), "Ready")["message"]


def test_an_unreachable_host_is_named_with_the_cause(world, ns):
    port = free_port()
    world.source(ns, f"http://127.0.0.1:{port}/x.git")
    assert f"127.0.0.1:{port}" in source_message(world, ns, "GitOperationFailed", "127.0.0.1")


def test_a_missing_branch_is_told_with_what_there_is(world, ns):
    repo = world.repo(ns)
    repo.commit({"a/a.yaml": config()})
    world.source(ns, repo.url, ref={"branch": "mian"})
    assert "main" in source_message(world, ns, "GitOperationFailed", "mian")


def test_a_missing_secret_is_named(world, ns):
    repo = world.repo(ns)
    repo.commit({"a/a.yaml": config()})
    world.source(ns, repo.url, secretRef={"name": "none"})
    source_message(world, ns, "AuthenticationFailed", f"Secret {ns}/none does not exist")


def test_a_private_repository_without_credentials_says_what_it_needs(world, ns, private_git_url):
    repo = world.repo(ns)
    repo.commit({"a/a.yaml": config()})
    world.source(ns, f"{private_git_url}/{repo.bare.name}")
    assert "spec.secretRef" in source_message(world, ns, "AuthenticationFailed", "")


def test_credentials_are_never_sent_over_plain_http(world, ns, private_git_url):
    repo = world.repo(ns)
    repo.commit({"a/a.yaml": config()})
    secret = {"metadata": {"name": "key"}, "stringData": {"username": "reader", "password": "hunter2-canary"}}
    world.api.create(f"/api/v1/namespaces/{ns}/secrets", secret)
    world.source(ns, f"{private_git_url}/{repo.bare.name}", secretRef={"name": "key"})
    assert "https" in source_message(world, ns, "", "plain")
    assert "hunter2-canary" not in world.controller.log + str(world.get_source(ns))


def test_an_app_whose_source_has_no_artifact_waits_and_says_so(world, ns):
    world.app(ns, "shop", "./app")
    world.failed(ns, "shop", "ArtifactFailed", "has no artifact yet")


def test_the_last_artifact_stays_in_force_while_the_remote_fails(world, ns, pair):
    path = f"/apis/source.toolkit.fluxcd.io/v1/namespaces/{ns}/gitrepositories/repo"
    world.api.merge(path, {"spec": {"url": f"http://127.0.0.1:{free_port()}/gone.git"}})
    source_message(world, ns, "GitOperationFailed", "127.0.0.1")
    world.api.merge(f"/api/v1/namespaces/{ns}/configmaps/victim", {"data": {"colour": "green"}})
    until(lambda: settings(world, ns, "victim")["data"]["colour"] == "red", "the last state is enforced", 10)
    assert condition(world.get_app(ns, "bad"), "Ready")["status"] == "True"


@pytest.mark.parametrize(
    "spec",
    [
        {"decryption": {"provider": "sops", "serviceAccountName": "someone"}},
        {"kubeConfig": {"configMapRef": {"name": "x"}}},
    ],
)
def test_what_this_version_does_not_serve_is_refused_and_not_ignored(world, ns, spec):
    repo = world.repo(ns)
    repo.commit({"app/settings.yaml": config()})
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app", **spec)
    world.failed(ns, "shop", "FeatureGateDisabled", f"spec.{next(iter(spec))}")
    assert settings(world, ns) is None


def test_more_objects_than_can_be_recorded_are_refused_before_anything_is_written(world, ns):
    repo = world.repo(ns)
    document = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{:05}}}\n"
    files = {
        f"app/{part}.yaml": "---\n".join(document.format(part * 900 + i) for i in range(900)) for part in range(23)
    }
    repo.commit(files)
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app")
    message = world.failed(ns, "shop", "BuildFailed", "20700 objects", timeout=90)
    assert "split it" in message
    assert settings(world, ns, "c00000") is None
