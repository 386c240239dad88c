"""The variables of an app, read where its `spec.postBuild` says, once per pass."""

from trimtab.api.kustomize import Kustomization, SubstituteRef
from trimtab.api.names import Reason
from trimtab.base.errors import Terminal, Transient, TrimtabError
from trimtab.controllers.holders import CONFIG_MAP, SECRET, Holder, Holders
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError
from trimtab.manifests.refs import Key
from trimtab.render.variables import Found, Variables, collected


class Substituting:
    """Reads variables, and remembers for whom. `strict`: a variable that is not set is an error."""

    def __init__(self, client: Client, *, strict: bool = True) -> None:
        self._holders = Holders(client)
        self._strict = strict

    async def variables(self, ks: Kustomization) -> Variables:
        """What the expressions in the objects of `ks` are filled with.

        Raises Transient (BuildFailed) for a source that is missing or cannot be read, Terminal for names that no
        variable can have.
        """
        post_build = ks.spec.post_build
        refs = post_build.substitute_from if post_build is not None else ()
        self._holders.expect(ks.key, frozenset(_holder(ks, ref) for ref in refs))
        found = [one for ref in refs if (one := await self._look(ks, ref)) is not None]
        return collected(post_build, found, strict=self._strict)

    def stirred(self, holder: Holder, version: str) -> list[Key]:
        """The apps to whom `version` of `holder` is news."""
        return self._holders.stirred(holder, version)

    def forget(self, key: Key) -> None:
        """The app `key` is gone."""
        self._holders.forget(key)

    async def _look(self, ks: Kustomization, ref: SubstituteRef) -> Found | None:
        holder = _holder(ks, ref)
        named = f"{holder}, which spec.postBuild.substituteFrom names,"
        secret = ref.kind == SECRET.kind
        if not secret and ref.kind != CONFIG_MAP.kind:
            raise Terminal(Reason.BUILD_FAILED, f"{named} is neither a ConfigMap nor a Secret")
        try:
            entries = await self._holders.read(ks.key, holder)
        except ApiError as failure:
            raise Transient(Reason.BUILD_FAILED, f"{named} cannot be read: {failure}") from failure
        if entries is None and not ref.optional:
            raise Transient(Reason.BUILD_FAILED, f"{named} does not exist: create it, or say `optional: true`")
        return None if entries is None else Found(str(holder), entries, confidential=secret)


def lasting(ks: Kustomization, failure: TrimtabError, *, elsewhere: bool = False) -> TrimtabError:
    """`failure`, which must not be final where what caused it may change without anybody telling us.

    `elsewhere`: some of what was built is from other repositories.
    """
    post_build = ks.spec.post_build
    unseen = elsewhere or (post_build is not None and bool(post_build.substitute_from))
    if isinstance(failure, Terminal) and unseen:
        return Transient(failure.reason, failure.message, hopeless=True)
    return failure


def _holder(ks: Kustomization, ref: SubstituteRef) -> Holder:
    return Holder(ref.kind, Key(ks.metadata.namespace, ref.name))
