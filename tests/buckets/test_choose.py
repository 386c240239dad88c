"""Whatever keys a bucket has: what becomes a path stays below the root, or nothing is taken at all."""

from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trimtab.remotes.s3.listing import Object
from trimtab.remotes.s3.place import parse_place
from trimtab.sources.bucket import BucketFailed, Wanted, _choose

WANTED = Wanted(parse_place("minio.store", "apps"), ignore="")
PART = st.one_of(
    st.sampled_from(["", ".", "..", "a", "A", "b.yaml", "a\\b", "\0", "\n"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
)
KEYS = st.lists(st.lists(PART, min_size=1, max_size=4).map("/".join).filter(bool), max_size=6, unique=True)


@given(KEYS)
@example(["a", "a/b"])
@example(["a/b", "a"])
@example(["a/B/c", "a/b"])
def test_every_path_is_plain_and_none_is_in_the_way_of_another(keys: list[str]) -> None:
    try:
        chosen = _choose(WANTED, [Object(key, "e", 1) for key in keys], None, b"")
    except BucketFailed:
        return
    paths = [one.key for one in chosen.objects]
    assert {*paths, *chosen.left_out} <= {key for key in keys if not key.endswith("/")}
    directories = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
    for path in paths:
        assert not path.startswith("/")
        assert not {"", ".", ".."} & set(path.split("/"))
        assert not set("\\\0\r\n") & set(path)
        assert path not in directories
    assert len({path.casefold() for path in paths}) == len(paths)


@pytest.mark.parametrize("key", ["a/../b", "/a", "a//b", "./a", "a\\b", "a\x1b[2J"])
def test_the_key_that_is_refused_is_named_so_that_it_can_be_shown(key: str) -> None:
    with pytest.raises(BucketFailed, match=r"bucket apps at minio\.store: the key ") as refused:
        _choose(WANTED, [Object(key, "e", 1)], None, b"")
    assert ascii(key)[1:-1] in refused.value.message
    assert refused.value.message.isascii()
