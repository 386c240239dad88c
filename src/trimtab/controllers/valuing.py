"""The values of a release, read where `spec.valuesFrom` says, once per pass, with those of the object on top."""

from collections.abc import Iterator
from typing import NamedTuple

from trimtab.api.helmrelease import HelmRelease, ValuesReference
from trimtab.api.names import Reason
from trimtab.base.errors import Terminal, Transient, TrimtabError
from trimtab.controllers.holders import SECRET, Holder, Holders
from trimtab.helm.values import VALUES_KEY, Piece, Values, compose, scalars
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError
from trimtab.manifests.refs import Key
from trimtab.manifests.yaml import YamlError, load


class Composed(NamedTuple):
    """Values, and the texts among them that came out of Secrets and are never told."""

    values: Values
    secret: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Composed({self.values.digest})"


class Valuing:
    """Reads values, and remembers for whom."""

    def __init__(self, client: Client) -> None:
        self._holders = Holders(client)

    async def values(self, hr: HelmRelease) -> Composed:
        """What `hr` is to be rendered with.

        Raises Transient (ValuesError) for a piece that is missing or cannot be read, Terminal for one that is none.
        """
        refs = hr.spec.values_from
        self._holders.expect(hr.key, frozenset(_holder(hr, ref) for ref in refs))
        pieces: list[Piece] = []
        secret: list[str] = []
        for ref in refs:
            piece = await self._piece(hr, ref)
            if piece is not None:
                pieces.append(piece)
                secret += _texts(piece) if ref.kind == SECRET.kind else ()
        return Composed(compose(pieces, hr.spec.values), tuple(secret))

    def stirred(self, holder: Holder, version: str) -> list[Key]:
        """The releases to which `version` of `holder` is news."""
        return self._holders.stirred(holder, version)

    def forget(self, key: Key) -> None:
        """The release `key` is gone."""
        self._holders.forget(key)

    async def _piece(self, hr: HelmRelease, ref: ValuesReference) -> Piece | None:
        holder, entry = _holder(hr, ref), ref.values_key or VALUES_KEY
        named = f"{holder}, which spec.valuesFrom names,"
        try:
            entries = await self._holders.read(hr.key, holder)
        except ApiError as failure:
            raise Transient(Reason.VALUES_ERROR, f"{named} cannot be read: {failure}") from failure
        data = None if entries is None else entries.get(entry)
        if data is None and ref.optional:
            return None
        if data is None:
            what = "does not exist" if entries is None else f"has no entry {entry}"
            raise Transient(Reason.VALUES_ERROR, f"{named} {what}: create it, or say `optional: true`")
        raw = data.encode() if isinstance(data, str) else data
        return Piece(f"{holder}, entry {entry}", raw, ref.target_path, ref.literal)


def lasting(hr: HelmRelease, failure: TrimtabError) -> TrimtabError:
    """`failure`, which is not final where values that are read elsewhere may change without anybody telling us."""
    if hr.spec.values_from and isinstance(failure, Terminal):
        return Transient(failure.reason, failure.message, hopeless=True)
    return failure


def _texts(piece: Piece) -> Iterator[str]:
    text = piece.data.decode(errors="replace")
    if piece.target_path:
        yield text
        return
    try:
        documents = load(piece.data, piece.where, dialect="kubernetes")
    except YamlError:
        return  # whoever composes says so
    for document in documents:
        yield from scalars(document.value)


def _holder(hr: HelmRelease, ref: ValuesReference) -> Holder:
    return Holder(ref.kind, Key(hr.metadata.namespace, ref.name))
