"""How far a list of tags is believed, where registries try to be believed without end."""

import pytest

from trimtab.images import believing
from trimtab.images.believing import believe


def test_a_registry_that_lists_others_each_time_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(believing, "MOST_TAGS", 5)
    first = believe(frozenset(), {}, {"a", "b", "c"}, {"a"}, 0.0)
    second = believe(first.tags, first.doubts, {"d", "e", "f"}, {"a"}, 1.0)
    assert second.tags == {"d", "e", "f", "a", "b"}
    third = believe(second.tags, second.doubts, {"g", "h"}, {"a"}, 2.0)
    assert third.tags == {"g", "h", "a", "d", "e"}, "what is chosen, and what was missed last"
    assert third.doubts == {"a": 1.0, "d": 2.0, "e": 2.0}
    full = believe(third.tags, third.doubts, set("ghijk"), {"a"}, 3.0)
    assert full.tags == {*"ghijk", "a"}, "what is chosen leaves by the word of the registry alone"
