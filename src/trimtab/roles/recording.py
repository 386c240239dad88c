"""Whether and how this process records traces (`trimtab run --tracing`)."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from trimtab.base.errors import Terminal
from trimtab.base.telemetry import Telemetry
from trimtab.roles.settings import Settings

if TYPE_CHECKING:
    from trimtab.runtime.tracing import Exporting

_NEEDED: Final = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


def obstacle(environment: Mapping[str, str]) -> str:
    """Why no traces can be recorded here, and the way out; empty if they can be."""
    if not all(map(_installed, _NEEDED)):
        return "it needs packages that are not installed: pip install 'trimtab[tracing]'"
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    if exporter not in ("", "otlp", "none"):
        return f"OTEL_TRACES_EXPORTER is {exporter!r}, and only otlp is served: unset it"
    name = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
    name = name if name in environment else "OTEL_EXPORTER_OTLP_PROTOCOL"
    protocol = environment.get(name, "")
    if protocol not in ("", "http/protobuf"):
        return f"{name} is {protocol!r}, and only http/protobuf is served: unset it, and name a collector's port 4318"
    return ""


def recording(
    settings: Settings, telemetry: Telemetry, identity: str, environment: Mapping[str, str]
) -> "Exporting | None":
    """Who records traces in this process; None for nobody."""
    off = (
        environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none"
    )
    if not settings.tracing or off:
        return None
    from trimtab.runtime.tracing import Exporting

    try:
        return Exporting(identity=identity, cluster=settings.cluster_name, dropped=telemetry.spans_dropped)
    except (OSError, ValueError) as problem:
        raise Terminal("BadTracing", f"--tracing: a variable OTEL_* cannot be used: {problem}") from problem


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False
