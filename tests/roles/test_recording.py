"""What `--tracing` needs is asked for before anything begins, and said with the way out."""

import sys

import pytest
from click.testing import CliRunner

from trimtab.cli.run import run
from trimtab.roles import recording


def refused(**environment):
    done = CliRunner().invoke(run, ["--tracing"], env=environment)
    assert done.exit_code == 2
    return " ".join(done.output.split())


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    assert "pip install 'trimtab[tracing]'" in refused()


@pytest.mark.parametrize(
    ("variable", "value"),
    [("OTEL_TRACES_EXPORTER", "console"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
)
def test_a_way_that_is_not_served_is_refused_by_the_name_of_its_variable(variable, value):
    said = refused(**{variable: value})
    assert variable in said
    assert repr(value) in said


def test_the_protocol_of_traces_counts_more_than_that_of_all():
    environment = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}
    assert recording.obstacle(environment) == ""
