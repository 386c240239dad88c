"""Whose schemas manifests are judged by: those of a cluster that can be reached, else those that come along."""

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from trimtab.cli.connect import Code, Failure, Options

if TYPE_CHECKING:
    from trimtab.api.kubernetes import Bundle
    from trimtab.kube.client import Client
    from trimtab.manifests.refs import Body, Gvk

_PATIENCE_S: Final = 5.0
_BUILT_IN: Final = "io.k8s."


class Known(NamedTuple):
    """The built-in kinds, definitions of others, and whose they are in words."""

    bundle: "Bundle"
    definitions: "list[Body]"
    whose: str


async def schemas(options: Options, bodies: "Iterable[Body]", *, offline: bool, version: str | None) -> Known:
    """By what `bodies` are judged. Raises Failure for a version that nobody has."""
    from trimtab.api.gvk import SOURCE_GROUP
    from trimtab.api.kubernetes import LATEST, bundled
    from trimtab.manifests.refs import Gvk

    gvks = {Gvk.of(body["apiVersion"], body["kind"]) for body in bodies}
    if not offline and version is None and (found := await _of_cluster(options, gvks)) is not None:
        return found
    try:
        bundle = bundled(".".join((version or LATEST).removeprefix("v").split(".")[:2]))
    except ValueError as wrong:
        raise Failure(Code.WRONG, f"--kubernetes-version: {wrong}") from wrong
    toolkit = SOURCE_GROUP.partition(".")[2]
    ours = _ours() if any(gvk.group.endswith((toolkit, "fluxcd.io")) for gvk in gvks) else []
    return Known(bundle, ours, f"by the schemas of Kubernetes {bundle.version}")


def _ours() -> "list[Body]":
    from trimtab.api.crd import PLANNED, crd, crds

    return [*crds(), *map(crd, PLANNED)]


async def _of_cluster(options: Options, gvks: "set[Gvk]") -> Known | None:
    """What a cluster serves; None where none can be asked, which is told if one was meant."""
    from trimtab.base.http import AiohttpTransport, TransportError
    from trimtab.kube import config
    from trimtab.kube.client import Client
    from trimtab.kube.errors import NO_ANSWER, ConfigError, NoCluster
    from trimtab.manifests import codec

    meant = options.kubeconfig is not None or options.context is not None
    transport = AiohttpTransport()
    try:
        client = Client(config.load(options.kubeconfig, options.context), transport)
        async with asyncio.timeout(_PATIENCE_S):
            version = codec.decode(await client.request("GET", "/version"))["gitVersion"]
        return await _asked(client, gvks, str(version).removeprefix("v"))
    except NoCluster:
        return None
    except ConfigError as failure:
        if meant:
            raise
        click.echo(f"! {failure}: judged by the schemas that come along", err=True)
        return None
    except (*NO_ANSWER, TransportError, TimeoutError) as failure:
        words = str(failure) or f"the cluster does not answer within {_PATIENCE_S:g} s"
        click.echo(f"! {words}: judged by the schemas that come along (--offline asks no cluster)", err=True)
        return None
    finally:
        await transport.close()


async def _asked(client: "Client", gvks: "set[Gvk]", version: str) -> Known:
    """What the cluster says of the groups of `gvks`, and which kinds it serves at all."""
    from trimtab.api.kubernetes import Bundle, Kind
    from trimtab.manifests import codec
    from trimtab.manifests.documents import choices, reduced
    from trimtab.manifests.refs import Gvk

    served = await client.discovery.served()
    paths = {f"apis/{gvk.group}/{gvk.version}" if gvk.group else f"api/{gvk.version}" for gvk in gvks}
    index = codec.decode(await client.request("GET", "/openapi/v3"))["paths"]
    documents = {
        path: codec.decode(await client.request("GET", f"/openapi/v3/{path}")) for path in sorted(paths & index.keys())
    }
    kept = reduced(documents, choices(documents))
    named = {Gvk(*kind[:3]): kind[-1] for kind in kept["kinds"]}
    kinds = {
        one.gvk: Kind(one.gvk, one.plural, one.namespaced, named.get(one.gvk, ""))
        for one in served
        if named.get(one.gvk, _BUILT_IN).startswith(_BUILT_IN)
    }
    described = (
        _definition(one.gvk, one.plural, one.namespaced, documents)
        for one in served
        if not named.get(one.gvk, _BUILT_IN).startswith(_BUILT_IN)
    )
    definitions = [one for one in described if one is not None]
    bundle = Bundle(version, kinds, kept["schemas"])
    return Known(bundle, definitions, f"by the schemas of {client.server}, Kubernetes {version}")


def _definition(gvk: "Gvk", plural: str, namespaced: bool, documents: dict[str, Any]) -> "Body | None":
    """The definition of a kind, as far as a server's documents tell; None where they do not: it stays unknown."""
    document = documents.get(f"apis/{gvk.group}/{gvk.version}") or {}
    schemas = (document.get("components") or {}).get("schemas") or {}
    wanted = {"group": gvk.group, "version": gvk.version, "kind": gvk.kind}
    schema = next((one for one in schemas.values() if wanted in one.get("x-kubernetes-group-version-kind", ())), None)
    if schema is None:
        return None
    return {
        "kind": "CustomResourceDefinition",
        "spec": {
            "group": gvk.group,
            "scope": "Namespaced" if namespaced else "Cluster",
            "names": {"kind": gvk.kind, "plural": plural},
            "versions": [{"name": gvk.version, "served": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
