"""Who gets its pass first when a source has moved: whom the commit touches, after what that depends on. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from trimtab.api.gvk import KUSTOMIZATION
from trimtab.api.kustomize import Kustomization
from trimtab.controllers import dependencies
from trimtab.manifests.refs import Key
from trimtab.render.files import normal, parent
from trimtab.runtime.queue import Priority


def outside(files: Iterable[str], path: str) -> Iterator[str]:
    """The directories of those `files` that do not lie below `path`."""
    own = normal(path)
    for file in files:
        if own and not file.startswith(f"{own}/"):
            yield parent(file)


def lineup(
    apps: Mapping[Key, Kustomization], touched: frozenset[str] | None, beside: Callable[[Key], frozenset[str]]
) -> Iterator[tuple[Key, Priority]]:
    """All of `apps`, which have one source, in the order and with the urgency of their passes.

    `touched` are the directories in or below which the source has changed, None where nothing was known before;
    `beside` tells which directories an app reads outside its own.
    """
    seen: set[Key] = set()

    def after_needs(first: Key) -> Iterator[Key]:
        """`first`, after all that it depends on and that has the same source."""
        path = [(first, iter(dependencies.needs(apps[first])))]
        seen.add(first)
        while path:
            key, needs = path[-1]
            node = next(needs, None)
            if node is None:
                path.pop()
                yield key
            elif node.kind == KUSTOMIZATION.kind and node.key in apps and node.key not in seen:
                seen.add(node.key)
                path.append((node.key, iter(dependencies.needs(apps[node.key]))))

    for key, ks in apps.items():
        if key not in seen and (touched is None or normal(ks.spec.path) in touched or beside(key) & touched):
            for each in after_needs(key):
                yield each, Priority.EVENT
    for key in apps:
        if key not in seen:
            yield key, Priority.ASIDE
