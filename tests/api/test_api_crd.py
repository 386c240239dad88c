"""The generated definitions, looked at without a server: shape, words, and the agreement with the structs."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from trimtab.api.bucket import Bucket
from trimtab.api.crd import DEFINITIONS, PLANNED, Definition, crd, crds, has_status, schema_of
from trimtab.api.external import ExternalArtifact
from trimtab.api.generator import ArtifactGenerator
from trimtab.api.helm import HelmChart, HelmRepository
from trimtab.api.helmrelease import HelmRelease
from trimtab.api.image import ImagePolicy, ImageRepository
from trimtab.api.imageupdate import ImageUpdateAutomation
from trimtab.api.kustomize import Kustomization
from trimtab.api.notification import Alert, Provider
from trimtab.api.oci import OCIRepository
from trimtab.api.receiver import Receiver
from trimtab.api.source import GitRepository
from trimtab.manifests.refs import Body

GOLDEN = Path(__file__).parent / "golden"
DESIGN = Path(__file__).parents[2].parent / "shared" / "design" / "API.md"


def root(definition: Definition) -> Body:
    schema: Body = crd(definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def nodes(schema: Body, path: str = "") -> Iterator[tuple[str, Body]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}" if path else name)
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from nodes(schema["additionalProperties"], f"{path}{{}}")


def leaves(value: Any, path: str = "") -> Iterator[str]:
    match value:
        case dict():
            for name, child in value.items():
                yield from leaves(child, f"{path}.{name}" if path else name)
        case list():
            for child in value:
                yield from leaves(child, f"{path}[]")
        case _:
            yield path


both = pytest.mark.parametrize("definition", [*DEFINITIONS, *PLANNED], ids=lambda one: one.gvk.kind)


@both
def test_schemas_are_written_out_in_full_and_say_what_every_field_means(definition: Definition) -> None:
    assert "$ref" not in json.dumps(crd(definition))
    for path, node in nodes(root(definition)):
        assert node["type"] in {"object", "array", "string", "integer", "boolean"}, path
        if path != "metadata" and not path.endswith(("[]", "{}")):
            assert node.get("description"), f"{path} has no description"


_COMPARED = {
    f"{place}.{name}"
    for place, names in {
        "ignore[].target": ("name", "namespace"),
        "patches[].target": ("name", "namespace"),
        "images[]": ("name", "newName"),
        "driftDetection.ignore[].target": ("name", "namespace"),
        "postRenderers[].kustomize.patches[].target": ("name", "namespace"),
        "postRenderers[].kustomize.images[]": ("name", "newName"),
    }.items()
    for name in names
}
"""What is compared with names in manifests, and refers to nothing itself."""


@both
def test_every_text_that_can_name_something_has_an_end(definition: Definition) -> None:
    for path, node in nodes(root(definition)["properties"]["spec"]):
        named = path.endswith(("ame", "amespace", "interval", "timeout", "url", "Interval", "path"))
        if named and node["type"] == "string":
            assert "maxLength" in node or "enum" in node or path in _COMPARED, path


@both
def test_the_struct_s_own_default_is_the_server_s(definition: Definition) -> None:
    def check(info: Any, path: str) -> int:
        match info:
            case inspect.Metadata():
                return check(info.type, path)
            case inspect.UnionType(types=types):
                return sum(check(one, path) for one in types)
            case inspect.VarTupleType(item_type=item):
                return check(item, f"{path}[]")
            case inspect.StructType(fields=fields):
                count = 0
                for field in fields:
                    keywords = getattr(field.type, "extra_json_schema", None) or {}
                    if "default" in keywords:
                        served = msgspec.convert(keywords["default"], type(field.default))
                        assert field.default == served, f"{path}.{field.encode_name}"
                        count += 1
                    count += check(field.type, f"{path}.{field.encode_name}")
                return count
            case _:
                return 0

    without = definition.struct in (ExternalArtifact, ArtifactGenerator, Provider)
    assert (check(inspect.type_info(definition.struct), "") == 0) == without


def test_a_decision_that_deletes_has_no_default() -> None:
    spec = root(DEFINITIONS[1])["properties"]["spec"]
    assert "default" not in spec["properties"]["prune"]
    assert spec["required"] == ["interval", "prune", "sourceRef"]


@both
def test_a_new_object_has_never_been_observed(definition: Definition) -> None:
    if definition.struct is ExternalArtifact:
        # Its producers know no observedGeneration: one that stays at -1 would read as never ready.
        assert "default" not in root(definition)["properties"]["status"]
        assert "required" not in root(definition)
        return
    if not has_status(definition):
        assert "status" not in root(definition)["properties"]
        assert "subresources" not in crd(definition)["spec"]["versions"][0]
        return
    assert root(definition)["properties"]["status"]["default"] == {"observedGeneration": -1}
    assert root(definition)["required"] == ["spec"]


@both
def test_lists_are_replaced_whole(definition: Definition) -> None:
    # A list merged by key has an entry in managedFields for every item: for a thousand objects, half a megabyte.
    assert not {path for path, node in nodes(root(definition)) if "x-kubernetes-list-type" in node}


@both
def test_no_variable_of_a_build_is_looked_for_in_a_definition(definition: Definition) -> None:
    annotations = crd(definition)["metadata"]["annotations"]
    assert annotations == {"kustomize.toolkit.fluxcd.io/substitute": "disabled"}


def test_names_categories_and_columns_are_flux_s() -> None:
    names = {one["spec"]["names"]["kind"]: one["spec"]["names"] for one in crds()}
    assert names["GitRepository"]["shortNames"] == ["gitrepo"]
    assert names["Kustomization"]["shortNames"] == ["ks"]
    assert names["OCIRepository"]["shortNames"] == ["ocirepo"]
    assert names["Receiver"]["shortNames"] == []
    assert names["Receiver"]["categories"] == ["all", "fluxcd", "fluxcd-notifications"]
    assert names["HelmRepository"]["shortNames"] == ["helmrepo"]
    assert names["HelmChart"]["shortNames"] == ["hc"]
    assert (
        names["HelmRepository"]["categories"] == names["HelmChart"]["categories"] == ["all", "fluxcd", "fluxcd-sources"]
    )
    assert names["ExternalArtifact"]["shortNames"] == ["ea"]
    assert names["ArtifactGenerator"]["shortNames"] == ["ag"]
    assert names["ArtifactGenerator"]["categories"] == ["all", "fluxcd", "fluxcd-sources"]
    assert names["ExternalArtifact"]["categories"] == ["all", "fluxcd", "fluxcd-sources"]
    assert names["OCIRepository"]["categories"] == ["all", "fluxcd", "fluxcd-sources"]
    assert names["Bucket"]["shortNames"] == []
    assert names["Bucket"]["categories"] == ["all", "fluxcd", "fluxcd-sources"]
    assert names["GitRepository"]["categories"] == ["all", "fluxcd", "fluxcd-sources"]
    assert names["Kustomization"]["categories"] == ["all", "fluxcd", "fluxcd-appliers"]
    assert names["HelmRelease"]["shortNames"] == ["hr"]
    assert names["HelmRelease"]["categories"] == ["all", "fluxcd", "fluxcd-appliers"]
    columns = {
        one["spec"]["names"]["kind"]: [
            column["name"] for column in one["spec"]["versions"][0]["additionalPrinterColumns"]
        ]
        for one in crds()
    }
    assert columns == {
        "GitRepository": ["URL", "Age", "Ready", "Status"],
        "Kustomization": ["Age", "Ready", "Status"],
        "OCIRepository": ["URL", "Ready", "Status", "Age"],
        "Bucket": ["Endpoint", "Age", "Ready", "Status"],
        "Receiver": ["Age", "Ready", "Status"],
        "HelmRepository": ["URL", "Age", "Ready", "Status"],
        "HelmChart": ["Chart", "Version", "Source Kind", "Source Name", "Age", "Ready", "Status"],
        "ExternalArtifact": ["Age", "Ready", "Status", "Source"],
        "ArtifactGenerator": ["Age", "Ready", "Status"],
        "HelmRelease": ["Age", "Ready", "Status"],
        "ImageRepository": ["Image", "Tags", "Ready", "Status", "Last scan", "Age"],
        "ImagePolicy": ["Image", "Tag", "Ready", "Status", "Age"],
        "ImageUpdateAutomation": ["Ready", "Status", "Last run", "Age"],
        "Provider": ["Age"],
        "Alert": ["Age"],
    }


def test_a_type_without_words_is_an_error_and_no_hole_in_the_schema() -> None:
    class Odd(msgspec.Struct):
        number: float

    with pytest.raises(TypeError, match="no words for FloatType"):
        schema_of(Odd)


@pytest.mark.parametrize(
    ("file", "struct"),
    [
        ("gitrepository.json", GitRepository),
        ("kustomization.json", Kustomization),
        ("ocirepository.json", OCIRepository),
        ("bucket.json", Bucket),
        ("receiver.json", Receiver),
        ("provider.json", Provider),
        ("alert.json", Alert),
        ("helmrepository.json", HelmRepository),
        ("helmchart.json", HelmChart),
        ("externalartifact.json", ExternalArtifact),
        ("artifactgenerator.json", ArtifactGenerator),
        ("helmrelease.json", HelmRelease),
        ("imagerepository.json", ImageRepository),
        ("imagepolicy.json", ImagePolicy),
        ("imageupdateautomation.json", ImageUpdateAutomation),
    ],
)
def test_the_samples_of_the_other_tests_have_every_field(file: str, struct: type[Any]) -> None:
    definition = next(one for one in (*DEFINITIONS, *PLANNED) if one.struct is struct)
    schema = {
        path
        for path, node in nodes(root(definition))
        if node["type"] not in {"object", "array"} and not path.endswith(("{}", "[]")) and "{}." not in path
    }
    # Either of the two, never both.
    schema.discard("spec.kubeConfig.configMapRef.name")
    schema -= {path for path in schema if path.startswith("spec.chartRef.")}
    if struct is Bucket:
        schema.discard("spec.serviceAccountName")
    if struct is Receiver:
        schema.discard("spec.secretRef.name")
    sample = set(leaves(json.loads((GOLDEN / file).read_text())))
    assert schema - sample == set()


# --- the tables of the design


def parts(text: str) -> list[str]:
    """`text` split where a comma, semicolon or `xor` stands outside of braces."""
    found, depth, current = [], 0, ""
    for token in re.split(r"([{}();,]| xor )", text):
        depth += (token in "{(") - (token in "})") if token else 0
        if depth == 0 and token in {",", ";", " xor "}:
            found.append(current)
            current = ""
        else:
            current += token
    return [part.strip() for part in [*found, current] if part.strip()]


def expand(text: str) -> list[str]:
    """The paths that a cell or a sentence of API.md names."""
    text = text.replace("\\|", "|").replace("[]", "").strip()
    if " / " in text and "{" not in text:
        first, *others = text.split(" / ")
        prefix = first.rpartition(".")[0]
        return [first, *(f"{prefix}.{other}" if prefix else other for other in others)]
    matched = re.fullmatch(r"([A-Za-z.]+)[^{(]*?\s*(?:[{(](.*)[})])?", text, re.DOTALL)
    assert matched, text
    name, inner = matched.groups()
    inside = re.sub(r"^≤\d+:\s*", "", inner or "")
    return [name, *(f"{name}.{path}" for part in parts(inside) for path in expand(part))]


def section(title: str) -> str:
    if not DESIGN.exists():
        pytest.skip("the tables of API.md are not beside this repository")
    found = re.search(rf"^### {re.escape(title)}.*?$(.*?)^### ", DESIGN.read_text(), re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def has(schema: Body, path: str) -> bool:
    name, _, rest = path.partition(".")
    while schema["type"] == "array":
        schema = schema["items"]
    if isinstance(schema.get("additionalProperties"), dict):
        return True
    child = schema.get("properties", {}).get(name)
    return child is not None and (not rest or has(child, rest))


@pytest.mark.parametrize(
    ("title", "index", "least"),
    [("1.1 GitRepository", 0, 32), ("1.8 Kustomization", 1, 85)],
)
def test_every_field_of_the_design_s_tables_is_in_the_schema(title: str, index: int, least: int) -> None:
    text = section(title)
    rows = re.findall(r"^\| (?!spec field)([^|-](?:[^|\\]|\\\|)*?) \|", text, re.MULTILINE)
    spec = [path for row in rows for path in expand(row)]
    status = re.search(r"^status: (.*?)\.\n(?:\n|- )", text, re.MULTILINE | re.DOTALL)
    assert status
    observed = [path for part in parts(status[1].replace("\n", " ")) for path in expand(part)]
    properties = root(DEFINITIONS[index])["properties"]
    missing = [f"spec.{path}" for path in spec if not has(properties["spec"], path)]
    missing += [f"status.{path}" for path in observed if not has(properties["status"], path)]
    assert missing == []
    assert len(spec) + len(observed) >= least, "the tables were not read"


def test_every_field_of_an_oci_repository_is_in_the_schema() -> None:
    # The table of this kind is written more freely than the others: its rows are read here by a person.
    spec = """
        url ref.digest ref.semver ref.semverFilter ref.tag layerSelector.mediaType layerSelector.operation provider
        secretRef.name serviceAccountName verify.provider verify.secretRef.name verify.matchOIDCIdentity.issuer
        verify.matchOIDCIdentity.subject verify.trustedRootSecretRef.name certSecretRef.name proxySecretRef.name
        interval timeout ignore insecure suspend
    """
    status = "observedGeneration conditions artifact lastHandledReconcileAt url observedIgnore observedLayerSelector"
    properties = root(DEFINITIONS[2])["properties"]
    assert [path for path in spec.split() if not has(properties["spec"], path)] == []
    assert [path for path in status.split() if not has(properties["status"], path)] == []


def test_every_field_of_a_bucket_is_in_the_schema() -> None:
    spec = """
        provider bucketName endpoint sts.provider sts.endpoint sts.secretRef.name sts.certSecretRef.name insecure region
        prefix secretRef.name serviceAccountName certSecretRef.name proxySecretRef.name interval timeout ignore suspend
    """
    status = "observedGeneration conditions url artifact observedIgnore lastHandledReconcileAt"
    properties = root(next(one for one in DEFINITIONS if one.struct is Bucket))["properties"]
    assert [path for path in spec.split() if not has(properties["spec"], path)] == []
    assert [path for path in status.split() if not has(properties["status"], path)] == []
    assert properties["spec"]["required"] == ["bucketName", "endpoint", "interval"]


def test_every_field_of_a_receiver_is_in_the_schema() -> None:
    spec = """
        type interval events resources.apiVersion resources.kind resources.name resources.namespace
        resources.matchLabels resources.filter resourceFilter secretRef.name oidcProviders.issuerURL
        oidcProviders.audience oidcProviders.variables.name oidcProviders.variables.expression
        oidcProviders.validations.expression oidcProviders.validations.message suspend
    """
    properties = root(next(one for one in DEFINITIONS if one.struct is Receiver))["properties"]
    assert [path for path in spec.split() if not has(properties["spec"], path)] == []
    status = "observedGeneration conditions webhookPath lastHandledReconcileAt"
    assert [path for path in status.split() if not has(properties["status"], path)] == []
    assert len(properties["spec"]["properties"]["type"]["enum"]) == 13


def test_every_field_of_a_provider_and_of_an_alert_is_in_the_schema() -> None:
    fields: dict[type[Any], str] = {
        Provider: """
            type interval channel username address timeout proxy proxySecretRef.name secretRef.name serviceAccountName
            certSecretRef.name suspend commitStatusExpr
        """,
        Alert: """
            providerRef.name eventSeverity eventSources.apiVersion eventSources.kind eventSources.name
            eventSources.namespace eventSources.matchLabels inclusionList exclusionList eventMetadata summary suspend
        """,
    }
    for struct, spec in fields.items():
        properties = root(next(one for one in DEFINITIONS if one.struct is struct))["properties"]
        assert [path for path in spec.split() if not has(properties["spec"], path)] == []
    kinds = root(next(one for one in DEFINITIONS if one.struct is Provider))["properties"]["spec"]["properties"]["type"]
    assert len(set(kinds["enum"])) == 36


REPOSITORY_FIELDS = """
    url secretRef.name certSecretRef.name passCredentials interval insecure timeout suspend
    accessFrom.namespaceSelectors.matchLabels type provider
"""
CHART_FIELDS = """
    chart version sourceRef.apiVersion sourceRef.kind sourceRef.name interval reconcileStrategy valuesFiles
    ignoreMissingValuesFiles suspend verify.provider verify.secretRef.name verify.matchOIDCIdentity.issuer
    verify.trustedRootSecretRef.name
"""
OF_EVERY_SOURCE = "observedGeneration conditions artifact url lastHandledReconcileAt"
OF_CHARTS = f"{OF_EVERY_SOURCE} observedSourceArtifactRevision observedChartName observedValuesFiles"


@pytest.mark.parametrize(
    ("struct", "spec", "status"),
    [(HelmRepository, REPOSITORY_FIELDS, OF_EVERY_SOURCE), (HelmChart, CHART_FIELDS, OF_CHARTS)],
)
def test_every_field_of_the_kinds_of_helm_is_in_the_schema(struct: type[Any], spec: str, status: str) -> None:
    properties = root(next(one for one in DEFINITIONS if one.struct is struct))["properties"]
    assert [path for path in spec.split() if not has(properties["spec"], path)] == []
    assert [path for path in status.split() if not has(properties["status"], path)] == []


def test_every_field_of_an_artifact_is_in_the_schema() -> None:
    text = re.search(r"^artifact: (\{.*?\})", section("1.7 Source status.artifact"), re.MULTILINE)
    assert text
    artifact = root(DEFINITIONS[0])["properties"]["status"]["properties"]["artifact"]
    paths = expand(f"artifact {text[1]}")[1:]
    assert len(paths) == 7
    assert all(has(artifact, path.removeprefix("artifact.")) for path in paths)


def test_a_kind_without_a_controller_is_not_installed() -> None:
    assert not {one.gvk.kind for one in PLANNED} & {one["spec"]["names"]["kind"] for one in crds()}


def test_every_field_of_a_release_is_in_the_schema() -> None:
    action = "timeout disableWait disableWaitForJobs disableHooks"
    change = f"{action} strategy.name strategy.retryInterval remediation.retries remediation.ignoreTestFailures"
    change += " remediation.remediateLastFailure disableTakeOwnership disableOpenAPIValidation disableSchemaValidation"
    change += " crds serverSideApply"
    spec = {
        "chart": """
            metadata.labels metadata.annotations spec.chart spec.version spec.sourceRef.kind spec.sourceRef.namespace
            spec.interval spec.reconcileStrategy spec.valuesFiles spec.ignoreMissingValuesFiles spec.verify.provider
        """,
        "chartRef": "kind name namespace",
        "driftDetection": "mode ignore.paths ignore.target.kind",
        "install": f"{change} replace skipCRDs createNamespace",
        "upgrade": f"{change} force preserveValues cleanupOnFail chartNameChangeStrategy remediation.strategy",
        "test": "enable timeout ignoreFailures filters.name filters.exclude",
        "rollback": f"{action} recreate force cleanupOnFail serverSideApply",
        "uninstall": "timeout disableHooks keepHistory disableWait deletionPropagation",
        "valuesFrom": "kind name valuesKey targetPath optional literal",
        "commonMetadata": "labels annotations",
        "postRenderers": "kustomize.patches.patch kustomize.images.newTag",
        "waitStrategy": "name",
        "healthCheckExprs": "apiVersion kind current inProgress failed",
        "dependsOn": "name namespace readyExpr",
        "kubeConfig": "secretRef.name secretRef.key configMapRef.name",
    }
    plain = """
        interval timeout suspend serviceAccountName releaseName targetNamespace storageNamespace maxHistory
        persistentClient values postRenderStrategy
    """
    paths = [*plain.split(), *(f"{name}.{path}" for name, text in spec.items() for path in text.split())]
    status = """
        observedGeneration observedPostRenderersDigest observedCommonMetadataDigest lastAttemptedGeneration conditions
        helmChart storageNamespace history.apiVersion history.digest history.name history.namespace history.version
        history.status history.action history.chartName history.chartVersion history.appVersion history.configDigest
        history.firstDeployed history.lastDeployed history.deleted history.testHooks history.ociDigest inventory.entries
        lastAttemptedReleaseAction lastAttemptedReleaseActionDuration failures installFailures upgradeFailures
        lastAttemptedRevision lastAttemptedRevisionDigest lastAttemptedValuesChecksum lastReleaseRevision
        lastAttemptedConfigDigest lastHandledReconcileAt lastHandledForceAt lastHandledResetAt
    """
    properties = root(next(one for one in DEFINITIONS if one.struct is HelmRelease))["properties"]
    assert [path for path in paths if not has(properties["spec"], path)] == []
    assert [path for path in status.split() if not has(properties["status"], path)] == []
    assert properties["spec"]["properties"]["values"]["x-kubernetes-preserve-unknown-fields"] is True


@pytest.mark.parametrize(
    ("struct", "spec", "status"),
    [
        (
            ImageRepository,
            """
            image interval timeout secretRef.name proxySecretRef.name serviceAccountName certSecretRef.name suspend
            accessFrom.namespaceSelectors.matchLabels exclusionList provider insecure
            """,
            """
            canonicalImageName lastScanResult.revision lastScanResult.tagCount lastScanResult.scanTime
            lastScanResult.latestTags observedExclusionList observedGeneration conditions lastHandledReconcileAt
            """,
        ),
        (
            ImagePolicy,
            """
            imageRepositoryRef.name imageRepositoryRef.namespace policy.semver.range policy.alphabetical.order
            policy.numerical.order filterTags.pattern filterTags.extract digestReflectionPolicy interval suspend
            """,
            "latestRef.name latestRef.tag latestRef.digest observedPreviousRef.tag conditions observedGeneration",
        ),
        (
            ImageUpdateAutomation,
            """
            sourceRef.apiVersion sourceRef.kind sourceRef.name sourceRef.namespace git.checkout.ref.branch
            git.commit.author.name git.commit.author.email git.commit.signingKey.secretRef.name
            git.commit.signingKey.type git.commit.messageTemplate git.commit.messageTemplateValues git.push.branch
            git.push.refspec git.push.options interval policySelector.matchLabels policySelector.matchExpressions.key
            update.strategy update.path suspend
            """,
            """
            lastAutomationRunTime lastPushCommit lastPushTime observedPolicies observedSourceRevision conditions
            observedGeneration lastHandledReconcileAt
            """,
        ),
    ],
    ids=["ImageRepository", "ImagePolicy", "ImageUpdateAutomation"],
)
def test_every_field_of_the_kinds_of_images_is_in_the_schema(struct: type[Any], spec: str, status: str) -> None:
    properties = root(next(one for one in (*DEFINITIONS, *PLANNED) if one.struct is struct))["properties"]
    assert [path for path in spec.split() if not has(properties["spec"], path)] == []
    assert [path for path in status.split() if not has(properties["status"], path)] == []


def test_the_kinds_of_images_have_flux_s_names_and_columns() -> None:
    shown = {}
    for definition in (*DEFINITIONS, *PLANNED):
        spec = crd(definition)["spec"]
        if spec["names"]["categories"][-1] == "fluxcd-images":
            columns = spec["versions"][0]["additionalPrinterColumns"]
            wide = [column["name"] for column in columns if column.get("priority")]
            shown[spec["names"]["kind"]] = (spec["names"]["shortNames"], [one["name"] for one in columns], wide)
    assert shown == {
        "ImageRepository": (
            ["imgrepo", "imagerepo"],
            ["Image", "Tags", "Ready", "Status", "Last scan", "Age"],
            ["Last scan"],
        ),
        "ImagePolicy": (["imgpol", "imagepol"], ["Image", "Tag", "Ready", "Status", "Age"], []),
        "ImageUpdateAutomation": (["iua", "imgupd", "imgauto"], ["Ready", "Status", "Last run", "Age"], ["Last run"]),
    }
