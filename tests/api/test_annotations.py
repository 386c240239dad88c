"""Every annotation that has a meaning has a check: what it may say passes, nonsense is named."""

from enum import StrEnum

import pytest

from trimtab.api import annotations, names
from trimtab.targets.kubernetes.budget import Budget

SHA = "0123456789abcdef0123456789abcdef01234567"
DIGEST = "sha256:" + "ab" * 32
SAMPLES = {
    # name: (what makes sense, what does not)
    "trimtab.dev/drift": (["correct", "alert", "ignore"], ["maybe", "", "Correct", "correct "]),
    "trimtab.dev/gate": (["atomic", "each"], ["some", "", "true"]),
    "trimtab.dev/deletion-budget": (["20%", "15", "0", "100%", " 5 "], ["-3", "101%", "a lot", "", "1.5", "20 %", "²"]),
    "trimtab.dev/approve-prune": ([DIGEST, ""], ["yes", DIGEST[:-1], DIGEST.upper(), DIGEST + "\n"]),
    "trimtab.dev/allow-empty": (["true", "false"], ["sure", "", "True", "1"]),
    "trimtab.dev/depends-on": (
        ["HelmRelease/apps/redis", "Kustomization/a/b, Job/c/d", "ClusterRole//system:node"],
        ["redis", "", "apps/redis", "HelmRelease/apps/", "HelmRelease/apps/redis,", "a/b/c/d", "helm/apps/redis"],
    ),
    "trimtab.dev/wait-for-address": (["true", "false"], ["yes", "1"]),
    "trimtab.dev/verify": (["head", "strict", "first-parent"], ["HEAD", "", "tag"]),
    "trimtab.dev/allow-rollback": ([SHA, "ab" * 32], [SHA[:12], "main", "", f"sha1:{SHA}"]),
    "trimtab.dev/plaintext-secrets": (["allow", "warn", "refuse"], ["no", "", "Refuse"]),
    "trimtab.dev/helm-lookup": (["true", "false"], ["off", ""]),
    "trimtab.dev/write-secret": (["deploy-key", "a.b"], ["", "ns/name", "A", "a" * 64]),
    "trimtab.dev/policy": (["newest"], ["", "semver", "Newest"]),
    "trimtab.dev/hold": (["release 4.2 is broken"], [" "]),
    "trimtab.dev/lock": (["incident 17"], ["\t"]),
    "trimtab.dev/unhold": (["acme/app:1.2", "acme/app:1.2 after 1234567"], ["", " ", "a:1 after lunch", "a:1 b"]),
    "trimtab.dev/commits": (["run", "policy"], ["", "Policy", "each"]),
    "trimtab.dev/pull-request": (["github", "gitlab", "gitea", "forgejo"], ["", "true", "GitHub"]),
    "trimtab.dev/pull-request-secret": (["forge-token"], ["", "ns/name"]),
    "trimtab.dev/skip-ci": (["true", "false"], ["yes", ""]),
    "trimtab.dev/filter-glob": (["v1.*"], ["", " "]),
    "trimtab.dev/freeze": (
        ["0 18 * * fri 60h Europe/Berlin", "*/15 0-6,22 1 jan-mar 1-5 30m UTC; 0 0 24 12 * 72h Etc/GMT+1"],
        ["", "always", "0 18 * * 5 60h", "60 18 * * 5 60h UTC", "0 18 * * 5 soon UTC", "0 18 * * 5-1 1h UTC",
         "0 18 * * 5 0s UTC", "0 */0 * * * 1h UTC", "0 0 * * * 1h UTC;", "0 0 * * * 1h ../../etc"],
    ),
    "trimtab.dev/signer-matches-committer": (["true", "false"], ["yes", ""]),
    "trimtab.dev/template": (["chat/message.txt"], ["chat", "", "a/b/c"]),
    "trimtab.dev/allowed-namespaces": (["a, team-*", "*", ""], ["Team", "a b", "a/b"]),
    "trimtab.dev/allowed-kinds": (["ConfigMap, Deployment.apps", "*", ""], ["config maps", "apps/Deployment"]),
    "kustomize.toolkit.fluxcd.io/reconcile": (["enabled", "Disabled"], ["off", "false"]),
    "kustomize.toolkit.fluxcd.io/force": (["enabled", "disabled", "ENABLED"], ["true", "yes"]),
    "kustomize.toolkit.fluxcd.io/prune": (["enabled", "disabled"], ["disbled", "never"]),
    "kustomize.toolkit.fluxcd.io/substitute": (["enabled", "disabled"], ["none"]),
    "kustomize.toolkit.fluxcd.io/decrypt": (["enabled", "disabled"], ["none"]),
    "kustomize.toolkit.fluxcd.io/ssa": (["Override", "merge", "IFNOTPRESENT", "Ignore"], ["Sometimes", "apply"]),
    "helm.toolkit.fluxcd.io/driftDetection": (["enabled", "disabled", "Disabled"], ["off", "warn"]),
    "source.extensions.fluxcd.io/reconcile": (["enabled", "disabled", "Disabled"], ["off", "", "false"]),
}  # fmt: skip
FREE = {
    names.REQUESTED_AT: "any text asks",
    names.FORCE_AT: "any text asks",
    names.RESET_AT: "any text asks",
    names.Annotation.REQUESTED_BY: "any text is a name",
    names.Annotation.CORRECT_AT: "any text asks",
    names.EVENT_PREFIX: "any text is handed on",
}
NO_ANNOTATION = {
    "GENERATOR": "a label that we write",
    "MANAGED_BY": "a label that we write",
    "GENERATOR_FINALIZER": "a finalizer",
    "OWNER_NAME": "a label that we write",
    "OWNER_NAMESPACE": "a label that we write",
    "RELEASE_OWNER_NAME": "a label that we write",
    "RELEASE_OWNER_NAMESPACE": "a label that we write",
    "RECORD_OF": "a label that we write",
    "HOOK_OF": "ours, written and compared",
    "HELM_RESOURCE_POLICY": "of Helm, which passes over what it does not know",
    "HELM_RELEASE_NAME": "of Helm, written and compared",
    "HELM_RELEASE_NAMESPACE": "of Helm, written and compared",
    "WATCH_LABEL": "a label that selects: another value selects nothing",
    "SHARD_LABEL": "a label that selects: any value is a shard",
    "COMMIT_AUTHOR": "in the metadata of artifacts, for people",
    "COMMIT_SUBJECT": "in the metadata of artifacts, for people",
    "COMMIT_TIME": "in the metadata of artifacts, for people",
    "APPLIED": "the prefix of labels that we write",
    "APPLIED_RECORD": "a label that we write",
    "OURS": "the prefix of the others",
    "SHARED_SOURCES_LABEL": "a label on namespaces, read where they are",
    "KUBECTL_LAST_APPLIED": "of kubectl, removed and not read",
}


def constants():
    """Every annotation or label that api/names.py has a name for."""
    for constant, value in vars(names).items():
        if isinstance(value, type) and issubclass(value, StrEnum):
            yield from ((f"{constant}.{member.name}", member.value) for member in value if "/" in member.value)
        elif (
            isinstance(value, str) and "/" in value and not constant.startswith("__") and constant not in NO_ANNOTATION
        ):
            yield constant, value


def test_every_name_has_a_rule_and_samples_so_that_a_new_one_cannot_be_forgotten():
    known = dict(constants())
    assert len(known) >= 26
    assert set(known.values()) == set(annotations.RULES), "a rule in api/annotations.py for every name, and back"
    assert set(SAMPLES) | set(FREE) == set(annotations.RULES), "samples above for every rule"


def kinds(name):
    return sorted(annotations.RULES[name].on)


def complaint(kind, name, value):
    if kind in (annotations.MANAGED, "Service", "Ingress", "Namespace"):
        return annotations.object_complaint(kind, {name: value}, {})
    return "; ".join(annotations.complaints(kind, {name: value}))


@pytest.mark.parametrize("name", SAMPLES)
def test_nonsense_is_named_with_what_is_allowed_and_sense_passes(name):
    for kind in kinds(name):
        for value in SAMPLES[name][0]:
            assert complaint(kind, name, value) == "", (kind, value)
        for value in SAMPLES[name][1]:
            if kind == annotations.MANAGED and (value == "" or value.strip().lower() in SAMPLES[name][0]):
                continue  # nothing is said, or the case does not matter
            said = complaint(kind, name, value)
            assert said.startswith(f"{name}: {value!r}"[:80]), (kind, value)
            assert annotations.RULES[name].allowed in said


@pytest.mark.parametrize("name", FREE)
def test_free_text_is_never_refused(name):
    for kind in kinds(name):
        assert annotations.complaints(kind, {name: "\x00 ünsinn " * 50}) == []


@pytest.mark.parametrize("name", [name for name in SAMPLES if "trimtab.dev" in name])
def test_a_name_of_ours_on_a_kind_where_it_means_nothing_is_no_error(name):
    for kind in ("GitRepository", "Kustomization"):
        if kind not in kinds(name):
            assert annotations.complaints(kind, {name: "nonsense"}) == []


def test_long_values_are_cut():
    [said] = annotations.complaints("Kustomization", {names.Annotation.GATE: "x" * 250_000})
    assert len(said) < 200
    assert "250000 characters" in said


def test_everything_that_makes_no_sense_is_named_at_once():
    said = annotations.complaints("Kustomization", {"trimtab.dev/gate": "a", "trimtab.dev/drift": "b", "other/x": "c"})
    assert [words.split(":")[0] for words in said] == ["trimtab.dev/drift", "trimtab.dev/gate"]


@pytest.mark.parametrize("name", [name for name in SAMPLES if name.startswith("kustomize")] + ["trimtab.dev/drift"])
def test_rules_of_objects_are_read_from_labels_too_and_the_annotation_wins(name):
    good, bad = SAMPLES[name][0][0], SAMPLES[name][1][0]
    assert name in annotations.object_complaint("ConfigMap", {}, {name: bad})
    assert annotations.object_complaint("ConfigMap", {name: good}, {name: bad}) == ""
    assert name in annotations.object_complaint("ConfigMap", {name: ""}, {name: bad})
    assert name in annotations.object_complaint("ConfigMap", {name: False}, {})


def test_what_a_child_app_is_told_is_for_the_child_to_refuse_but_not_how_its_parent_treats_it():
    assert annotations.object_complaint("Kustomization", {"trimtab.dev/gate": "some"}, {}) == ""
    assert "trimtab.dev/drift" in annotations.object_complaint("Kustomization", {"trimtab.dev/drift": "some"}, {})


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("Kustomization", "trimtab.dev/alow-empty", "is trimtab.dev/allow-empty meant?"),
        ("Kustomization", "trimtab.dev/deletion-buget", "is trimtab.dev/deletion-budget meant?"),
        ("Kustomization", "trimtab.dev/quantum", "'trimtab.dev/quantum' is not known"),
        ("GitRepository", "trimtab.dev/gate", "has no meaning on a GitRepository, only on HelmRelease and Kustom"),
        ("GitRepository", "trimtab.dev/allow-rolback", "is trimtab.dev/allow-rollback meant?"),
        ("Kustomization", "trimtab.dev/verify", "has no meaning on a Kustomization"),
    ],
)
def test_a_stranger_is_told_with_the_name_that_is_nearest(kind, name, words):
    [said] = annotations.strangers(kind, {name: "x", "example.com/verify": "x"})
    assert words in said


def test_what_is_known_is_no_stranger():
    for name in SAMPLES:
        for kind in {"GitRepository", "Kustomization"} & set(kinds(name)):
            assert annotations.strangers(kind, {name: "x"}) == []


@pytest.mark.parametrize(
    "value", [*SAMPLES["trimtab.dev/deletion-budget"][0], *SAMPLES["trimtab.dev/deletion-budget"][1]]
)
def test_what_passes_for_a_budget_is_one(value):
    passes = not annotations.complaints("Kustomization", {"trimtab.dev/deletion-budget": value})
    if passes:
        assert Budget.parse(value)
        return
    with pytest.raises(ValueError, match=r"neither|more than everything"):
        Budget.parse(value)
