"""What one Alert has told about one object, and so what it tells next: each thing once, each state with an end."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from trimtab.notify.meaning import Effect, Meaning, Topic, closed_by_success
from trimtab.notify.notice import Phase, key_of

FIRST_WINDOW_S: Final = 300.0
LONGEST_WINDOW_S: Final = 6 * 3600.0
_CHANGED_S: Final = 60.0
"""Another failure of what fails already is told at once, unless something was told just now: longer ago each time, as
the window grows, for the words of some failures are never the same twice."""
MOST_OTHERS: Final = 10
"""Other drift is told at once in any case, so often in one window: what else somebody changed is in no later event."""


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """A state that was told and has not ended. Times are Unix seconds, wall time: they outlive a process."""

    words: str
    since: float
    told: float
    window_s: float = FIRST_WINDOW_S
    count: int = 0
    """Repeats that were not told yet."""
    others: int = 0
    """What was told of other drift in this window."""
    revision: str = ""
    """The revision it was told of last."""


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    open: Mapping[str, Open] = msgspec.field(default_factory=dict)
    revision: str = ""
    """The last one whose success was told."""


class Telling(NamedTuple):
    """What is told: which part of which state. `since` tells one state from the next of the same topic."""

    phase: Phase
    topic: Topic | None = None
    since: float = 0.0
    times: int = 1
    over_s: float = 0.0


class Turn(NamedTuple):
    """The story after an event, and what is told of it."""

    story: Story
    told: tuple[Telling, ...]


_decoder = msgspec.json.Decoder(Story)


def read(body: bytes) -> Story:
    """A story from the journal; an empty one where it cannot be read: then it is told again."""
    try:
        return _decoder.decode(body) if body else Story()
    except msgspec.DecodeError:
        return Story()


def write(story: Story) -> bytes:
    """The story for the journal; nothing for one that says nothing."""
    return msgspec.json.encode(story) if story.open or story.revision else b""


def turn(
    story: Story,
    meaning: Meaning,
    *,
    kind: str,
    words: str,
    revision: str,
    now: float,
    news: bool = True,
    times: int = 1,
    each: bool = False,
) -> Turn:
    """What is told of an event with `words` that came `times` times until `now`.

    `news`: the Alert tells of the event by itself. What it opened it closes in any case, also one of errors only.
    `each`: of each revision that fails it is told at once, as a forge has to hear.
    """
    match meaning.effect:
        case Effect.OPENS if meaning.topic is not None:
            if not news or (meaning.derived and meaning.topic in story.open):
                return Turn(story, ())
            return _opened(story, meaning.topic, key_of(words), revision, now, times, each=each)
        case Effect.CLOSES if meaning.topic is not None:
            return _closed(story, (meaning.topic,))
        case Effect.SUCCEEDS:
            ended = _closed(story, closed_by_success(kind))
            after = msgspec.structs.replace(ended.story, revision=revision) if revision and news else ended.story
            if ended.told or not news:
                return Turn(after, ended.told)
            if revision and revision == story.revision:
                return Turn(after, ())
            return Turn(after, (Telling(Phase.ONCE),))
        case Effect.MOVES:
            if not news or revision == story.revision:
                return Turn(story, ())
            return Turn(msgspec.structs.replace(story, revision=revision), (Telling(Phase.ONCE),))
        case _:
            return Turn(story, (Telling(Phase.ONCE),) if news else ())


def _opened(story: Story, topic: Topic, words: str, revision: str, now: float, times: int, *, each: bool) -> Turn:
    state = story.open.get(topic)
    if state is None:
        opened = Open(words=words, since=now, told=now, revision=revision)
        return Turn(_with(story, topic, opened), (Telling(Phase.OPENED, topic, now),))
    counted = msgspec.structs.replace(state, count=state.count + times)
    different = words != state.words
    if each and revision and revision != state.revision:
        # It is news of its own, and so does not make the window longer.
        told = msgspec.structs.replace(state, words=words, told=now, count=0, revision=revision)
        return Turn(_with(story, topic, told), (_repeated(topic, counted, now),))
    if different and topic is Topic.DRIFT and state.others < MOST_OTHERS:
        told = msgspec.structs.replace(state, words=words, told=now, count=0, others=state.others + 1)
        return Turn(_with(story, topic, told), (_repeated(topic, counted, now),))
    patience_s = _CHANGED_S * state.window_s / FIRST_WINDOW_S
    another = different and now - state.told >= patience_s
    if not another and 0 <= now - state.told < state.window_s:
        return Turn(_with(story, topic, counted), ())
    return Turn(_with(story, topic, _after(state, words, revision, now)), (_repeated(topic, counted, now),))


def _closed(story: Story, topics: tuple[Topic, ...]) -> Turn:
    ended = [topic for topic in topics if topic in story.open]
    if not ended:
        return Turn(story, ())
    left = {topic: state for topic, state in story.open.items() if topic not in ended}
    told = tuple(Telling(Phase.CLOSED, topic, story.open[topic].since) for topic in ended)
    return Turn(msgspec.structs.replace(story, open=left), told)


def _repeated(topic: Topic, state: Open, now: float) -> Telling:
    return Telling(Phase.REPEATED, topic, state.since, state.count, max(now - state.told, 0.0))


def _after(state: Open, words: str, revision: str, now: float) -> Open:
    window_s = min(2 * state.window_s, LONGEST_WINDOW_S)
    others = state.others if 0 <= now - state.told < state.window_s else 0
    return Open(words=words, since=state.since, told=now, window_s=window_s, others=others, revision=revision)


def _with(story: Story, topic: Topic, state: Open) -> Story:
    return msgspec.structs.replace(story, open={**story.open, topic.value: state})
