"""Templates of messages: what Go and sprig make of them, and that none runs for long, makes much, or is silent."""

import pytest

from trimtab.images.editing import Change
from trimtab.images.message import Message, RemovedField
from trimtab.images.templates.errors import TemplateError
from trimtab.manifests.refs import Key

DEPLOYMENT = "apps/v1/Deployment/shop/cart"
CHANGES = (
    ("b.yaml", Change(3, DEPLOYMENT, "spec.x", "app:1.9", "app:1.10", "ns:app")),
    ("a.yaml", Change(1, "v1/Pod/p", "spec.y", "1.9", "1.10", "ns:app:tag")),
    ("b.yaml", Change(9, DEPLOYMENT, "spec.z", "db:1", "db:2", "ns:db")),
)
VALUES = {"env": "prod", "empty": ""}


def made(template: str) -> str:
    return Message.of(template).written(Key("ns", "auto"), CHANGES, VALUES)


FLUX = """Automated image update

Automation name: {{ .AutomationObject }}

Files:
{{ range $filename, $_ := .Changed.FileChanges -}}
- {{ $filename }}
{{ end -}}

Objects:
{{ range $resource, $changes := .Changed.Objects -}}
- {{ $resource.Kind }} {{ $resource.Name }}
  Changes:
{{- range $_, $change := $changes }}
    - {{ $change.OldValue }} -> {{ $change.NewValue }}
{{ end -}}
{{ end -}}
"""


def test_the_template_of_fluxs_documentation_gives_what_flux_gives() -> None:
    assert made(FLUX) == (
        "Automated image update\n\nAutomation name: ns/auto\n\nFiles:\n- a.yaml\n- b.yaml\nObjects:\n"
        "- Deployment cart\n  Changes:\n    - app:1.9 -> app:1.10\n\n    - db:1 -> db:2\n"
        "- Pod p\n  Changes:\n    - 1.9 -> 1.10"
    )


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("", "Update from image update automation"),
        ("{{ .AutomationObject.Name }}@{{ .AutomationObject.Namespace }}", "auto@ns"),
        ("{{ range .Changed.Changes }}{{ .Setter }} {{ end }}", "ns:app ns:app:tag ns:db"),
        ("{{ range $i, $c := .Changed.Changes }}{{ if $i }},{{ end }}{{ $c.NewValue }}{{ end }}", "app:1.10,1.10,db:2"),
        ("{{ len .Changed.Changes }} {{ (index .Changed.Changes 1).OldValue }}", "3 1.9"),
        ("{{ .Values.env | upper | quote }} {{ .Values.no }}", '"PROD" <no value>'),
        ('{{ .Values.no | default "x" }}{{ default "y" .Values.empty }}', "xy"),
        ("{{ with .Values.env }}<{{ . }}>{{ else }}none{{ end }}{{ with .Values.no }}a{{ else }}b{{ end }}", "<prod>b"),
        ("{{ if eq .Values.env `a` `prod` }}yes{{ else }}no{{ end }}", "yes"),
        ("{{ if and .Values.env (not .Values.empty) }}1{{ else if true }}2{{ end }}", "1"),
        ("{{ if or .Values.empty .Values.no }}1{{ else if gt 2 1 }}2{{ else }}3{{ end }}", "2"),
        (
            '{{ $n := 1 }}{{ range 3 }}{{ $n = add $n . }}{{ end }}{{ printf "%03d|%-4s|%.2s|%q" $n "a" "bcd" "e" }}',
            '004|a   |bc|"e"',
        ),
        (
            "{{ range 9 }}{{ if eq . 1 }}{{ continue }}{{ end }}{{ if eq . 4 }}{{ break }}{{ end }}{{ . }}{{ end }}",
            "023",
        ),
        ("a {{- /* a comment */ -}} b {{- ` c ` -}} d", "ab c d"),
        ('{{ "abcdef" | trunc 3 }}{{ trunc -2 "abcdef" }}{{ " x " | trim }}{{ "a-b" | replace "-" "+" }}', "abcefxa+b"),
        (
            '{{ join ", " (list "a" 1 true) }} {{ splitList "/" "a/b" | last }} {{ true | ternary 1 2 }}',
            "a, 1, true b 1",
        ),
        (
            "{{ .Changed.FileChanges | len }} {{ index .Changed.FileChanges `a.yaml` }}",
            "2 map[{v1 Pod p }:[{1.9 1.10 ns:app:tag}]]",
        ),
        (
            "{{ range $k, $v := .Values }}{{ $k }}={{ $v }};{{ end }}{{ range .Values.no }}x{{ else }}none{{ end }}",
            "empty=;env=prod;none",
        ),
    ],
)
def test_what_a_template_makes(template: str, text: str) -> None:
    assert made(template) == text


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("a\n{{ now }}", r"line 2: there is no function 'now'; the time, chance and the environment"),
        ("{{ uper .Values.env }}", r"no function 'uper': is upper meant"),
        ("\n\n{{ .Change }}", r"line 3: a template has no 'Change': is Changed meant"),
        ("{{ range .Changed.Changes }}{{ .New }}{{ end }}", r"a change has no 'New'"),
        ("{{ if .Values }}", r"line 1: \{\{if\}\} has no \{\{end\}\}"),
        ("{{ end }}", "nothing that it ends"),
        ("a {{ .Values", "not closed"),
        ("{{ $x }}", r"no variable \$x here"),
        ("{{ range .Values }}{{ $x := . }}{{ end }}{{ $x }}", r"no variable \$x here"),
        ('{{ template "x" }}', "is not served here"),
        ("{{ .Values.env .Values.env }}", "only functions get something"),
        ("{{ index .Changed.Changes 7 }}", "index: there is no item 7: there are 3"),
        ('{{ printf "%d" "x" }}', "printf: %d wants a number, not a text"),
        ('{{ "x" | ternary 1 2 }}', "ternary: wants true or false, not a text"),
        ("{{ upper }}", "upper: does not take 0 values"),
        ("{{ 'x' }}", "is not understood in an action"),
        ('{{ eq 1 "a" }}', "eq: cannot compare a number with a text"),
        ("{{ range .Values.env }}{{ end }}", "a range goes over lists, maps and numbers, not over a text"),
        ("  \n ", "an empty message"),
        ("{{ range 1000000 }}{{ end }}", "more than 100,000 steps are not made"),
        ("{{ range 400 }}{{ range 400 }}{{ end }}{{ end }}", "more than 100,000 steps"),
        ("{{ range 9000 }}{{ repeat 100 `x` }}{{ end }}", "makes more than 65,536 characters"),
        ("{{ $x := `xxxxxxxxxx` }}{{ range 60 }}{{ $x = cat $x $x }}{{ end }}", "makes more than 65,536 characters"),
        ("{{ $x := list 1 }}{{ range 60 }}{{ $x = list $x $x }}{{ end }}{{ $x }}", "nested more than 3 deep"),
        ("{{ join (repeat 9000 `x`) (splitList `` (repeat 9000 `y`)) }}", "join: makes more than 65,536 characters"),
        ("{{ range 1000 }}{{ $x := upper (repeat 9000 `y`) }}{{ end }}", "more than 100,000 steps"),
        ("{{ int (repeat 400 `9`) }}", "int: wants a number that is not too large"),
        ("{{ printf `%1000000d` 1 }}", "is wider than 1000"),
        ("(" * 3 + "{{ " + "(" * 60 + "1" + ")" * 60 + " }}", "nested more than 50 deep"),
        ("{{ if 1 }}" * 60 + "{{ end }}" * 60, "blocks are nested more than 50 deep"),
        ("x" * 70_000, "more than 65,536 characters"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else None,
)
def test_what_cannot_be_served_is_an_error_with_its_line(template: str, words: str) -> None:
    with pytest.raises(TemplateError, match=words) as failure:
        made(template)
    assert not isinstance(failure.value, RemovedField)


@pytest.mark.parametrize(
    "template",
    [
        "{{ range .Updated.Images }}{{ end }}",
        "{{ .Changed.ImageResult.Images }}",
        "{{ range .Changed.Changes }}{{ with $.Updated }}{{ end }}{{ end }}",
        "{{ len (print .Updated.Files) }}",
    ],
)
def test_what_flux_took_away_is_told_before_anything_is_run(template: str) -> None:
    with pytest.raises(RemovedField, match=r"was removed: write \.Changed\.FileChanges"):
        Message.of(template)


def test_a_field_of_that_name_in_something_else_is_no_removed_field() -> None:
    with pytest.raises(TemplateError, match="a change has no 'Updated'"):
        made("{{ range .Changed.Changes }}{{ .Updated }}{{ end }}")
