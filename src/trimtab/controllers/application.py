"""An app that has no object of its own: a directory, a name, and a cluster to put it into (`trimtab apply`).

What a Kustomization is to the controllers, this is to `proposing`, `departing` and `carrying`, which tell its story:
the same target, the same guards, the same order of writes. The record is a Secret (`applyrecords`), and who else wants
what is found out from the records of others (`rivals`). Whatever happens in between, the next run reads the record and
goes on.

Objects carry labels of their own (`apply.trimtab.dev/…`), so that controllers do not take them for objects of theirs,
but the field manager is that of the controllers: whoever applies an object last has all of it, labels included, so an
app can move to a Kustomization and back without a trace.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from trimtab.api import names
from trimtab.api.installed import DEFAULT_NAMESPACE
from trimtab.api.kustomize import IgnoreRule
from trimtab.base.clock import Clock
from trimtab.base.tasks import Tasks
from trimtab.controllers.applyrecords import ApplyRecords
from trimtab.controllers.freeze import Freeze
from trimtab.kube.client import Client
from trimtab.manifests.refs import Key, Ref
from trimtab.render.render import Rendered
from trimtab.targets.kubernetes import ignore
from trimtab.targets.kubernetes.budget import Budget
from trimtab.targets.kubernetes.desired import Desired, Owner, placed, prepare
from trimtab.targets.kubernetes.inventory import Entry
from trimtab.targets.kubernetes.scopes import scopes
from trimtab.targets.kubernetes.target import KubernetesTarget
from trimtab.targets.kubernetes.tracking import News
from trimtab.targets.kubernetes.wish import Wish

PROTECTED = DEFAULT_NAMESPACE
"""No app harms the namespace of the controllers."""


class Terms(NamedTuple):
    """How an app is applied. `approval` is the digest of deletions that somebody has approved.

    `heir_of` is the app whose objects it may take although that one declares them: it was called so before. What apps
    of `disregarded` have on record keeps nothing from being deleted.
    """

    prune: bool = False
    allow_empty: bool = False
    budget: Budget = Budget()
    approval: str = ""
    force: bool = False
    timeout_s: float = 300.0
    heir_of: Key | None = None
    disregarded: frozenset[Key] = frozenset()


@dataclass(slots=True)
class Application:
    """One app in one cluster. `remaining` says for how many seconds nobody else can have begun to write.

    `pulse` is set when something moved that matters to the app, `disturbed` when an object is not as it was applied;
    `told` hears what is waited for, where that takes long. What may not be watched is read every `interval_s`.
    """

    client: Client
    clock: Clock
    tasks: Tasks
    records: ApplyRecords
    key: Key
    remaining: Callable[[], float]
    told: Callable[[str], None]
    interval_s: float = 10.0
    target: KubernetesTarget = field(init=False)
    pulse: asyncio.Event = field(default_factory=asyncio.Event)
    disturbed: asyncio.Event = field(default_factory=asyncio.Event)
    _freezes: tuple[Freeze, ...] = ()

    def __post_init__(self) -> None:
        self.target = KubernetesTarget(
            self.client,
            self.tasks,
            self.clock,
            tell=self._heard,
            protected_namespace=PROTECTED,
            remaining=self.remaining,
            veto=lambda _ref, _app: self.frozen,
            prefix=names.APPLIED,
        )

    @property
    def owner(self) -> Owner:
        """Whose the objects are, as their labels say."""
        return Owner(names.APPLIED, self.key)

    async def prepare(self, rendered: Rendered, rules: Sequence[IgnoreRule] = ()) -> tuple[Desired, ...]:
        """What was rendered, as it is sent; what names no namespace goes to that of the app. Raises Terminal."""
        namespaced = await scopes(self.client, rendered.manifests)
        found = [placed(one, self.key.namespace, namespaced=namespaced.get(one.gvk)) for one in rendered.manifests]
        pairs = zip(rendered.manifests, found, strict=True)
        items = prepare(
            found,
            self.owner,
            namespaced=namespaced,
            protected_namespace=PROTECTED,
            secret={now.ref for was, now in pairs if was.ref in rendered.secret},
        )
        return tuple(ignore.marked(items, ignore.compiled(rules)))

    def wish(self, items: Sequence[Desired], inventory: Mapping[Ref, Entry], terms: Terms) -> Wish:
        """`items` as a wish of the target, which deletes nothing by itself."""
        owner, interval_s = self.owner, self.interval_s
        return Wish(owner, self.client, tuple(items), inventory, False, force=terms.force, interval_s=interval_s)

    def unwatched(self, items: Sequence[Desired]) -> bool:
        """Whether no event tells of some of `items`, since their kind may not be watched."""
        return any(self.target.watches.forbidden(item.gvk) for item in items)

    # --- the switch that stops every deletion (ENGINE.md, P15)

    async def watch_the_switch(self) -> None:
        """From now on it is known at once when somebody freezes deletions: here, or where the controllers are."""
        if not self._freezes:
            namespaces = sorted({self.key.namespace, DEFAULT_NAMESPACE})
            self._freezes = tuple(Freeze(self.client, namespace, lambda: None) for namespace in namespaces)
            await asyncio.gather(*(freeze.start(self.tasks) for freeze in self._freezes))

    @property
    def frozen(self) -> str:
        """Why nothing may be deleted now; empty when it may."""
        return next((freeze.why for freeze in self._freezes if freeze.why), "")

    def _heard(self, _app: Key, news: News) -> None:
        self.pulse.set()
        if news is News.DISTURBED:
            self.disturbed.set()
