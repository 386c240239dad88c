"""Which releases wait for which others, and what is said of it."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from trimtab.api.helmrelease import HelmRelease
from trimtab.base.errors import Terminal, Waiting
from trimtab.controllers.releasedependencies import check, find_cycle, needs
from trimtab.manifests.refs import Key


def release(
    name: str, *depends_on: Any, status: Any = None, deleted: bool = False, namespace: str = "ns"
) -> HelmRelease:
    source = {"kind": "GitRepository", "name": "repo"}
    chart = {"spec": {"chart": "app", "sourceRef": source}}
    wanted = [{"name": one} if isinstance(one, str) else one for one in depends_on]
    gone = {"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleted else {}
    meta = {"name": name, "namespace": namespace, "uid": name, **gone}
    spec = {"interval": "2m", "chart": chart, "dependsOn": wanted}
    return msgspec.convert({"metadata": meta, "spec": spec, "status": status or {}}, HelmRelease)


class Access:
    """A double that lets nobody know of the namespace `shut`."""

    async def check_dependency(self, _own: str, other: Key) -> None:
        if other.namespace == "shut":
            raise Terminal("AccessDenied", f"{other} may not be depended on")


async def checked(hr: HelmRelease, *others: HelmRelease, ready: Callable[[Key], bool] = lambda _: True) -> None:
    store = {one.key: one for one in (hr, *others)}
    await check(hr, store, ready, Access())  # type: ignore[arg-type]


async def test_what_depends_on_nothing_or_on_what_is_ready_goes_on() -> None:
    await checked(release("a"))
    await checked(release("a", "b"), release("b"))


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ((), "dependency ns/b does not exist"),
        ((release("b", deleted=True),), "dependency ns/b is being deleted"),
        ((release("b"),), "dependency ns/b is not ready"),
    ],
    ids=["missing", "going", "not-ready"],
)
async def test_what_is_waited_for_is_named(others: tuple[HelmRelease, ...], words: str) -> None:
    with pytest.raises(Waiting, match=words) as caught:
        await checked(release("a", "b"), *others, ready=lambda _: False)
    assert caught.value.after == 120


async def test_a_dependency_that_failed_is_quoted() -> None:
    ready = {
        "type": "Ready",
        "status": "False",
        "reason": "InstallFailed",
        "message": "no image",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    with pytest.raises(Waiting, match="is not ready: no image"):
        await checked(release("a", "b"), release("b", status={"conditions": [ready]}), ready=lambda _: False)


async def test_an_expression_takes_the_place_of_the_built_in_check() -> None:
    expression = {"name": "b", "readyExpr": "dep.metadata.name == 'b' && self.metadata.name == 'a'"}
    await checked(release("a", expression), release("b"), ready=lambda _: False)
    with pytest.raises(Waiting, match=r"spec\.dependsOn\[0\]\.readyExpr is false"):
        await checked(release("a", {"name": "b", "readyExpr": "false"}), release("b"))
    with pytest.raises(Terminal, match=r"spec\.dependsOn\[0\]\.readyExpr"):
        await checked(release("a", {"name": "b", "readyExpr": "dep.("}), release("b"))
    with pytest.raises(Waiting, match="has no answer for ns/b"):
        await checked(release("a", {"name": "b", "readyExpr": "dep.status.nothing.at.all == 1"}), release("b"))


async def test_another_namespace_is_asked_for_first() -> None:
    with pytest.raises(Terminal, match="may not be depended on"):
        await checked(release("a", {"name": "b", "namespace": "shut"}), release("b", namespace="shut"))


async def test_a_circle_is_told_in_its_order() -> None:
    circle = (release("a", "b"), release("b", "c"), release("c", "a"))
    with pytest.raises(Terminal, match="ns/a → ns/b → ns/c → ns/a"):
        await checked(*circle)
    store = {one.key: one for one in (*circle, release("d", "a"))}
    assert find_cycle(Key("ns", "d"), store) == []
    assert find_cycle(Key("ns", "e"), store) == []
    assert needs(store[Key("ns", "d")]) == [Key("ns", "a")]
