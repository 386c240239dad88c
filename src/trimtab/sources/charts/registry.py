"""Charts in registries: a repository for each chart, a tag for each version, the archive as a layer.

Tags have no `+`, which is why Helm writes `_` there.
"""

import asyncio
from typing import Final

from trimtab.api.oci import OciRef
from trimtab.manifests import semver
from trimtab.remotes.helm import catalogue
from trimtab.remotes.helm.catalogue import Entry
from trimtab.remotes.oci.reference import Repository, check_tag, parse_repository
from trimtab.sources.charts.build import BadReference
from trimtab.sources.charts.chart import MAX_BYTES
from trimtab.sources.oci import Access, OciSource, OciSpec

CONTENT: Final = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
"""Media type of the layer that is the chart's archive."""


def repository_of(url: str, chart: str, *, insecure: bool) -> Repository:
    """The repository of `chart` below the address of a HelmRepository. Raises Terminal (URLInvalid)."""
    return parse_repository(f"{url.rstrip('/')}/{chart.strip('/')}", insecure=insecure)


async def version_of(oci: OciSource, repository: Repository, access: Access, wanted: str, timeout_s: float) -> str:
    """The version of the chart that `wanted`, a version or a range, means now.

    An exact version is not looked for: to pull it is to see whether it is there. Raises BadReference and what
    `OciSource.look` raises.
    """
    if semver.Version.parse(wanted) is not None:
        return wanted
    try:
        semver.Constraint.parse(wanted or "*")
        tags = await oci.tags(OciSpec(repository, OciRef(), timeout_s=timeout_s), access)
        chosen = await asyncio.to_thread(_choose, tags, wanted)
    except ValueError as problem:
        raise BadReference(f"spec.version: {problem}") from problem
    if chosen is None:
        raise BadReference(f"{repository}: none of {len(tags)} tags is a version that {wanted!a} admits")
    return chosen.version


def _choose(tags: list[str], wanted: str) -> Entry | None:
    versions = [Entry(tag.replace("_", "+")) for tag in tags]
    return catalogue.choose([one for one in versions if semver.Version.parse(one.version)], wanted)


def spec_of(repository: Repository, version: str, timeout_s: float) -> OciSpec:
    """How the chart in `version` is pulled. Raises Terminal (URLInvalid) for what cannot be a tag."""
    tag = check_tag(version.replace("+", "_"))
    return OciSpec(repository, OciRef(tag=tag), media_type=CONTENT, copy=True, timeout_s=timeout_s, max_bytes=MAX_BYTES)
