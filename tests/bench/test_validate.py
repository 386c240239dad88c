"""The benchmark of `trimtab validate` measures what it says."""

import json

import pytest

from bench import validate


def test_what_the_documents_take_is_told_beside_the_start_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert validate.main(validate.parser().parse_args(["--documents", "8", "--runs", "1"])) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["documents"] == 8
    assert min(told["start_up_s"], told["all_s"], told["help_s"]) > 0
