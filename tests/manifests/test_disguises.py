"""The forms in which a value turns up in other people's words."""

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest

from trimtab.manifests.disguises import disguises


def _json(value):
    return json.dumps(value, ensure_ascii=False)


def _of_go(value):
    return _json(value).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


VALUES = ["a-plain-password", "odd/+\"'\\&<?>~ pass", "höflich", "two\nlines", "123456"]
WAYS = {
    "as it is": lambda value: value,
    "JSON": _json,
    "JSON in JSON": lambda value: _json(_json(value)),
    "JSON of Go": _of_go,
    "hex": lambda value: value.encode().hex(),
    "upper-case hex": lambda value: value.encode().hex().upper(),
    "in a query": quote_plus,
    "in a path": lambda value: quote(value, safe=""),
    "in an address": lambda value: f"https://bot:{quote(value, safe='')}@host/",
    "HTML in JSON of Go": lambda value: _of_go(html.escape(value)),
    "in HTML": lambda value: html.escape(value, quote=False).replace('"', "&#34;").replace("'", "&#39;"),
}


@pytest.mark.parametrize("value", VALUES, ids=["plain", "odd", "umlaut", "lines", "digits"])
@pytest.mark.parametrize("way", WAYS)
def test_a_value_is_known_in_all_its_forms(value, way):
    written = WAYS[way](value)
    assert any(form in written for form in disguises(value))


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("after", range(4))
def test_base64_hides_a_value_nowhere(encode, before, after):
    for value in VALUES:
        written = encode(b"x" * before + value.encode() + b"y" * after).decode()
        assert any(form in written for form in disguises(value) if len(form) >= 6), (value, written)


def test_a_long_text_is_known_in_its_usual_forms_only():
    long = "x" * 20_000
    assert long in disguises(long)
    assert long.encode().hex() not in disguises(long)
