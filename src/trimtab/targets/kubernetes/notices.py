"""What an app should be told once, however often it is found: kept until somebody takes it. No I/O."""

from collections.abc import Iterable
from typing import NamedTuple

from trimtab.manifests.refs import Key

_MOST = 200


class Notice(NamedTuple):
    """A Warning about an app; `reason` is that of the event."""

    reason: str
    words: str


class Notices:
    """For each app what was said, and what nobody has taken yet. The same words about one topic are said once."""

    def __init__(self) -> None:
        self._said: dict[Key, dict[str, str]] = {}
        self._fresh: dict[Key, list[Notice]] = {}

    def say(self, app: Key, topic: str, notice: Notice) -> None:
        """Tell `app`, unless this is what it was told last about `topic`."""
        said = self._said.setdefault(app, {})
        if said.get(topic) == notice.words or len(said) >= _MOST:
            return
        said[topic] = notice.words
        self._fresh.setdefault(app, []).append(notice)

    def say_all(self, app: Key, notices: Iterable[Notice]) -> None:
        """Tell `app` each of `notices`, which are topics of their own."""
        for notice in notices:
            self.say(app, notice.words, notice)

    def over(self, app: Key, topic: str) -> None:
        """What was said about `topic` does not hold any more: the next time is news."""
        self._said.get(app, {}).pop(topic, None)

    def take(self, app: Key) -> list[Notice]:
        """What is to be told now."""
        return self._fresh.pop(app, [])
