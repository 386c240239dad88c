"""Files that the real sops encrypted: what is set in them still opens, and what would break them is refused."""

from pathlib import Path

import pytest

from tests.sops.conftest import FIXTURES, keyring
from trimtab.images.editing import Kind, edit
from trimtab.images.nodes import Scalar, parse
from trimtab.images.reference import Image
from trimtab.manifests.refs import Key
from trimtab.sops.formats import Format
from trimtab.sops.opening import open_file

MARKER = '# {"$imagepolicy": "ns:p"}'
WISH = {Key("ns", "p"): Image.of("app", "v2")}
RULES = sorted(path for path in (FIXTURES / "rules").glob("*.yaml") if not path.name.startswith("opened-"))


def marked(text: str, token: Scalar) -> bytes:
    return f"{text[: token.end]} {MARKER}{text[token.end :]}".encode()


async def test_a_plain_value_of_a_file_whose_mac_is_over_the_encrypted_ones_is_set_and_the_file_still_opens() -> None:
    text = (FIXTURES / "rules" / "mac-only-encrypted.yaml").read_text()
    result = edit(text.replace("tier: data", f"tier: data {MARKER}").encode(), WISH)
    assert [change.new for change in result.changes] == ["app:v2"]
    assert b"tier: app:v2" in await open_file(result.data, "x.yaml", Format.YAML, keyring("age.agekey"))


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_no_value_that_a_mac_is_over_is_changed(path: Path) -> None:
    text = path.read_text()
    lines = [token for token in parse(text).tokens if isinstance(token, Scalar) and not token.is_key and not token.block
             and not text[token.end :].partition("\n")[0].strip()]  # fmt: skip
    plain_may_change = "mac_only_encrypted: true" in text
    assert lines
    for token in lines[:30]:
        data = marked(text, token)
        result = edit(data, WISH)
        if plain_may_change and not token.value.startswith("ENC["):
            continue
        assert (result.data, [note.kind for note in result.notes]) == (data, [Kind.REFUSED])
        assert "would break its MAC" in result.notes[0].text
