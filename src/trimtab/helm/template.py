"""`helm template` as a confined worker: it sees the files of one chart and, on its standard input, the values.

No plugins, no DNS, and no network but what answers `lookup`, where it is asked for (`helm/lookup.py`): then Helm runs
with `--dry-run=server`, without it nothing is found. As with every `helm template`, `.Release.Revision` is always 1,
and the notes are left out.

What `--dry-run=server` changes, as observed of 4.3.1. It asks for `/version` twice, for the kinds, and for each lookup
the kinds of its version and then the object. `--kube-version` and `--api-versions` are passed over, and
`.Capabilities` is what the server says: so ours says what the wish does, and the built-in list that Helm adds
otherwise (`policy/v1beta1` and others that no server has any more) is not in it. After rendering, each object is
validated by the server's OpenAPI, which `--disable-openapi-validation` turns off; its kind is looked for, which cannot
be turned off; and for an installation each object is read, to see whether it is somebody else's, which cannot be
turned off either. What is printed is the same, hooks and definitions included. Helm's own limit of five requests a
second is lifted: ours counts.
"""

import asyncio
import contextlib
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from weakref import WeakValueDictionary

from trimtab.artifacts.store import Store
from trimtab.base.confined import REMEMBERED, Bounds, Confined, Task, without_place
from trimtab.base.errors import Terminal, Transient
from trimtab.base.process import Limits
from trimtab.helm import output
from trimtab.helm.looked import Looked
from trimtab.helm.lookup import KUBECONFIG, Lookups
from trimtab.helm.output import Output
from trimtab.helm.unpacked import REASON, Unpacked, Unpacking, digest_of
from trimtab.helm.values import Values, scalars
from trimtab.helm.varying import may_ask, may_vary
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, CredentialError, Unreachable
from trimtab.manifests import codec
from trimtab.manifests.disguises import disguises
from trimtab.manifests.refs import Gvk, Manifest
from trimtab.sources.charts.chart import Chart

_T = TypeVar("_T")

MAX_MESSAGE: Final = 2_000
BOUNDS: Final = Bounds(
    max_output=50 << 20,
    limits=Limits(memory_bytes=2_560 << 20, cpu_s=120, file_bytes=1 << 20, offline=True),
)

_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_LONGEST_NAME: Final = 53
_CHART: Final = "chart"
_PROXY = re.compile(r"http://127\.0\.0\.1:[0-9]+/[0-9a-f]{32}")
_QUOTED = re.compile(r"`[^`]*`")
_LEAST_HIDDEN: Final = 4
_WARNING = re.compile(r"^(?:WARNING: |level=|time=|walk\.go:|coalesce\.go:|\d{4}/\d\d/\d\d ).*$", re.MULTILINE)


class Capabilities(NamedTuple):
    """What the cluster can: the version of its API server, and all `group/version` and `group/version/Kind`."""

    kube_version: str
    api_versions: tuple[str, ...] = ()

    @classmethod
    def of(cls, kube_version: str, kinds: Iterable[Gvk]) -> "Capabilities":
        """Those of a server of that version that serves `kinds`, as Helm finds them itself."""
        versions = {version for gvk in kinds for version in (gvk.api_version, f"{gvk.api_version}/{gvk.kind}")}
        return cls(kube_version, tuple(sorted(versions)))


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be rendered, but for the chart."""

    name: str
    namespace: str
    values: Values
    capabilities: Capabilities
    upgrade: bool = False
    skip_schema: bool = False

    def digest(self, chart: Chart) -> str:
        """Equal where the same comes out, unless the chart leaves it to chance."""
        flags = [self.name, self.namespace, self.upgrade, self.skip_schema, *self.capabilities]
        return codec.digest([self.kin(chart), flags])

    def kin(self, chart: Chart) -> str:
        """Equal for all releases of one chart with the same values."""
        return codec.digest([digest_of(chart), self.values.digest])


@dataclass(frozen=True, slots=True)
class Rendering:
    """What came out. `varies` names the templates whose objects were others the second time.

    Hooks do not count: they are made anew with every action, and many a chart gives its tests names of chance.
    `looked_up` is what the chart saw of the cluster; nothing without a client to look it up with.
    """

    output: Output
    input_digest: str
    unpacked: Unpacked
    varies: tuple[str, ...] = ()
    looked_up: tuple[Looked, ...] = ()

    @property
    def digest(self) -> str:
        """Equal where the same comes out, unless the chart leaves it to chance; what it looked up counts."""
        return codec.digest([self.input_digest, self.looked_up]) if self.looked_up else self.input_digest

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        """The objects of the release, in Helm's order. Raises Terminal."""
        return output.objects(self.output.manifest)

    @property
    def crds(self) -> tuple[Manifest, ...]:
        """What is in `crds/` of the chart and of its enabled subcharts. Raises Terminal."""
        return output.objects(self.output.crds)


class Template:
    """Runs `helm template`, a few at a time."""

    def __init__(
        self, program: Path, work_dir: Path, bounds: Bounds = BOUNDS, *, began: Callable[[], None] = lambda: None
    ) -> None:
        """`work_dir` is private to us. `began` is called for every process."""
        self._began = began
        self._confined = Confined(program, work_dir, reason=REASON, bounds=bounds, environment=_environment)
        self._unpacking = Unpacking()
        self._sights: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._varies: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._missing: OrderedDict[str, frozenset[Gvk]] = OrderedDict()

    @property
    def identity(self) -> str:
        """Differs when another helm would run."""
        return self._confined.identity

    async def render(self, store: Store, chart: Chart, wish: Wish, lookup: Client | None = None) -> Rendering:
        """Render `chart`, whose files are in `store`: twice on first sight, to see whether the same comes out again.

        First sight is of the chart with these values and with what it looks up; its other releases are rendered once.
        `lookup` asks in the name of the release's account, on its cluster; without it nothing is looked up. A chart
        that asks for nothing (neither `lookup` nor API versions) is rendered as without it, in two thirds of the time.
        Raises Terminal with reason BuildFailed for what chart or values are to blame for, in Helm's words, or for what
        the account may not look up; Transient if the worker died or could not be started, or the cluster did not
        answer; Corrupt for a damaged store.
        """
        _check(wish)
        unpacked, kin = await self._unpacking.of(store, chart), wish.kin(chart)
        may_ask, may_vary = await asyncio.to_thread(_inspect, unpacked, wish)
        lookups = await _lookups(lookup if may_ask else None, wish.capabilities)
        async with self._first_sight(kin):
            if lookups is not None:
                lookups.tell_of(self._missing.get(kin, ()))
            printed = await self._run(unpacked.files, chart, wish, lookups)
            found = await asyncio.to_thread(output.split, printed)
            looked_up = lookups.looked_up if lookups is not None else ()
            # Without the paths: they have the release's name in them, and releases that all find nothing are alike.
            alike = codec.digest([kin, [one.digest for one in looked_up]]) if looked_up else kin
            if (varies := self._varies.get(alike)) is None:
                varies = ()
                if may_vary:
                    again = await self._run(unpacked.files, chart, wish, lookups)
                    varies = _differing(found, await asyncio.to_thread(output.split, again))
                _remember(self._varies, alike, varies)
            if lookups is not None and lookups.missing:
                _remember(self._missing, kin, lookups.missing)
        return Rendering(found, wish.digest(chart), unpacked, varies, looked_up)

    @contextlib.asynccontextmanager
    async def _first_sight(self, kin: str) -> AsyncIterator[None]:
        """Whoever is the first to come with a chart and its values goes alone: what it finds out, others need not.

        Hundreds that come at once would all be rendered twice, for none of them has been seen yet.
        """
        with contextlib.ExitStack() as stack:
            if kin not in self._seen:
                lock = self._sights.setdefault(kin, asyncio.Lock())
                await lock.acquire()
                stack.callback(lock.release)
                if kin in self._seen:
                    stack.close()
            yield
            _remember(self._seen, kin, None)

    async def _run(self, files: Mapping[str, bytes], chart: Chart, wish: Wish, lookups: Lookups | None) -> bytes:
        def fill(tree: Path) -> None:
            for path, data in files.items():
                target = tree / _CHART / path
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                target.write_bytes(data)

        shown = f"{chart.metadata.name} {chart.metadata.version}"
        stdin = codec.encode(wish.values.body)
        arguments = _arguments(wish, server=lookups is not None)
        task = Task(arguments, fill, wish.digest(chart), f"render the chart {shown}", stdin=stdin, service=lookups)
        self._began()
        done, tree = await self._confined.run(task)
        said = done.stderr.decode(errors="replace")
        if done.code != 0 and lookups is not None and lookups.learn(said):
            self._began()
            done, tree = await self._confined.run(task)
            said = done.stderr.decode(errors="replace")
        if done.code == 0:
            return done.stdout
        public = {wish.name, wish.namespace, chart.metadata.name}
        secrets = lookups.secrets() if lookups is not None else ()
        message = f"helm cannot render the chart {shown}: {clean(said, tree, wish.values, public, secrets)}"
        if lookups is not None and lookups.trouble:
            raise Transient(REASON, message)
        raise Terminal(REASON, message)


async def _lookups(client: Client | None, capabilities: Capabilities) -> Lookups | None:
    if client is None:
        return None
    try:
        served = await client.discovery.served()
    except (ApiError, Unreachable, CredentialError) as failure:
        raise Transient(REASON, f"what the cluster serves cannot be read: {failure}") from failure
    return Lookups(client, served, *capabilities)


def _remember(among: OrderedDict[str, _T], key: str, value: _T) -> None:
    among[key] = value
    if len(among) > REMEMBERED:
        among.popitem(last=False)


def clean(message: str, tree: Path, values: Values, public: Collection[str] = (), secrets: Collection[str] = ()) -> str:
    """What helm said, without warnings, our paths, `secrets`, and what is among the values and not `public` anyway."""
    text = _WARNING.sub("", message).strip().removeprefix("Error: ")
    text = text.partition("\n\nUse --debug")[0]
    text = _PROXY.sub("", text)
    text = without_place(text, tree / _CHART, "the chart")
    text = without_place(text, tree, "the chart")
    text = _QUOTED.sub("`…`", text)
    # The longest first, so that none of it is left over of a value that contains another.
    leaves = [*(leaf for leaf in _leaves(values.body) if leaf not in public), *_leaves([*secrets])]
    hidden = {form for leaf in leaves for form in disguises(leaf) if len(form) >= _LEAST_HIDDEN}
    for form in sorted(hidden, key=len, reverse=True):
        text = text.replace(form, "…")
    text = re.sub(r"\s*\n\s*", "; ", text.strip())
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"


def _leaves(value: Any) -> Iterator[str]:
    """What in `value` is long enough to be told from chance: texts and their lines, and numbers."""
    for text in scalars(value):
        yield from (part for part in dict.fromkeys((text, *text.splitlines())) if len(part.strip()) >= _LEAST_HIDDEN)


def _arguments(wish: Wish, *, server: bool) -> tuple[str, ...]:
    return (
        "template",
        *(["--dry-run=server", "--disable-openapi-validation", "--qps=-1"] if server else []),
        f"--namespace={wish.namespace}",
        f"--kube-version={wish.capabilities.kube_version}",
        *(f"--api-versions={version}" for version in wish.capabilities.api_versions),
        "--values=-",
        "--include-crds",
        *(["--is-upgrade"] if wish.upgrade else []),
        *(["--skip-schema-validation"] if wish.skip_schema else []),
        "--",
        wish.name,
        f"./{_CHART}",
    )


def _environment(home: Path) -> Mapping[str, str]:
    """Every place Helm looks into is in its own empty home: no plugins, no repositories, no credentials."""
    names = ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME", "HELM_PLUGINS")
    # Where nothing can be kept, the kinds are read again after rendering, and the lookups are known to be over.
    return {name: str(home) for name in names} | {"KUBECONFIG": str(home / KUBECONFIG), "KUBECACHEDIR": "/dev/null"}


def _check(wish: Wish) -> None:
    if not _NAME.fullmatch(wish.name) or len(wish.name) > _LONGEST_NAME:
        raise Terminal(
            REASON,
            f"{wish.name[:100]!a} cannot be the name of a release: lower-case letters, digits, `-` and `.`, at most "
            f"{_LONGEST_NAME} characters",
        )


def _inspect(unpacked: Unpacked, wish: Wish) -> tuple[bool, bool]:
    """Whether what is rendered may ask the cluster, and whether it may vary. Raises Terminal for what Helm never gets.

    Values may be templates too.
    """
    unpacked.inspect(skip_schema=wish.skip_schema)
    leaves = [leaf.encode(errors="surrogatepass") for leaf in _leaves(wish.values.body)]
    return unpacked.may_ask or may_ask(leaves), unpacked.may_vary or may_vary(leaves)


def _differing(one: Output, other: Output) -> tuple[str, ...]:
    """The templates whose objects are not the same in both."""

    def texts(found: Output) -> dict[str, list[str]]:
        by_path: dict[str, list[str]] = {}
        for part in output.parts(found.manifest):
            by_path.setdefault(part.path, []).append(part.text)
        return by_path

    first, second = texts(one), texts(other)
    return tuple(sorted(path for path in first.keys() | second.keys() if first.get(path) != second.get(path)))
