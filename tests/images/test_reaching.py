"""What kustomizations lead to, where they are written to lead nowhere for ever."""

import pytest

from trimtab.images import reaching
from trimtab.images.reaching import Files

DEEP = {f"{at}/kustomization.yaml": f"resources: [../{at + 1}, ../{at + 1}]\n".encode() for at in range(40)}
ROUND = {
    f"{at}/kustomization.yaml": f"resources: [{', '.join(f'../{other}' for other in range(12))}]\n".encode()
    for at in range(12)
}


@pytest.mark.parametrize("files", [DEEP, ROUND], ids=["deep", "round"])
def test_too_many_ways_are_refused_also_if_there_is_no_file_at_their_end(
    files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaching, "MOST_REACHED", 500)
    with pytest.raises(ValueError, match="0 leads to more than 500 files"):
        list(Files(files).reach("0"))
