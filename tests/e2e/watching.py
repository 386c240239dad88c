"""What a test of alerts is made of: a real Prometheus, a real Alertmanager, a sink for what it delivers, and a wire.

Prometheus and Alertmanager are Debian's; the sink is a plain web server, and the wire a relay to the API server that
can be cut. All of them listen on loopback only.
"""

import asyncio
import contextlib
import json
import shutil
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.e2e.world import free_port, until
from trimtab.api.monitoring import rules


class Sink:
    """Takes what an Alertmanager delivers: every alert with its status, in the order of arrival."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                sink.alerts += body["alerts"]
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class has it so
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def heard(self, name: str, status: str, since: int = 0, **labels: str) -> dict[str, Any] | None:
        """The first delivery, from number `since` on, of that alert with that status and those labels."""
        for alert in self.alerts[since:]:
            found = alert["labels"]
            if (found["alertname"], alert["status"]) == (name, status) and labels.items() <= found.items():
                return alert
        return None

    def hear(self, name: str, status: str, since: int = 0, **labels: str) -> dict[str, Any]:
        """Wait for that delivery."""

        def why() -> str:
            told = [(one["labels"]["alertname"], one["status"]) for one in self.alerts[since:]]
            return f"{name} was not {status}: {told}"

        found: dict[str, Any] = until(lambda: self.heard(name, status, since, **labels), why)
        return found


class Wire:
    """A relay to the API server. While it is cut, it refuses every connection and ends those that are there."""

    def __init__(self, kubeconfig: Path, directory: Path, server: str) -> None:
        self._target = urllib.parse.urlsplit(server)
        self._port = free_port()
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.kubeconfig = directory / "kubeconfig"
        self.kubeconfig.write_text(kubeconfig.read_text().replace(server, f"https://127.0.0.1:{self._port}"))
        self.join()

    def join(self) -> None:
        asyncio.run_coroutine_threadsafe(self._join(), self._loop).result(10)

    def cut(self) -> None:
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(10)

    def close(self) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _join(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self._port)

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in tuple(self._open):
            writer.transport.abort()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=5)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, far_writer}
        self._open |= both
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        self._open -= both


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


class Prometheus:
    """A running Prometheus, asked by its API."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def ask(self, expression: str) -> list[tuple[Mapping[str, str], float]]:
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self._url}/api/v1/query?{query}", timeout=30) as answer:
            found = json.load(answer)["data"]["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]

    def told(self, expression: str) -> list[tuple[Mapping[str, str], float]]:
        """What the latest scrape that went well says: after one that did not, there is no answer until the next."""
        found: list[tuple[Mapping[str, str], float]] = until(lambda: self.ask(expression), f"no {expression}")
        return found

    def rule_problems(self) -> list[str]:
        """The names of rules that could not be evaluated."""
        with urllib.request.urlopen(f"{self._url}/api/v1/rules", timeout=30) as answer:
            groups = json.load(answer)["data"]["groups"]
        return [
            f"{rule['name']}: {rule.get('lastError')}" for g in groups for rule in g["rules"] if rule.get("lastError")
        ]


@contextmanager
def alertmanager(directory: Path, sink: str = "") -> Iterator[str]:
    """The address of an Alertmanager that tells `sink`, or nobody; nothing where there is none on this machine."""
    if shutil.which("prometheus-alertmanager") is None:
        yield ""
        return
    directory.mkdir(exist_ok=True)
    port = free_port()
    receiver = {"name": "sink", "webhook_configs": [{"url": sink, "send_resolved": True}] if sink else []}
    route = {
        "receiver": "sink",
        "group_by": ["..."],
        "group_wait": "0s",
        "group_interval": "1s",
        "repeat_interval": "1h",
    }
    (directory / "alertmanager.yaml").write_text(json.dumps({"route": route, "receivers": [receiver]}))
    with _running(
        directory,
        f"http://127.0.0.1:{port}/-/ready",
        "prometheus-alertmanager",
        "--config.file=alertmanager.yaml",
        "--storage.path=alerts",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ):
        yield f"http://127.0.0.1:{port}"


def active(address: str, namespace: str) -> list[dict[str, Any]]:
    """The alerts about objects of `namespace` that fire at an Alertmanager."""
    query = urllib.parse.urlencode({"active": "true", "filter": f'namespace="{namespace}"'})
    with urllib.request.urlopen(f"{address}/api/v2/alerts?{query}", timeout=30) as answer:
        found: list[dict[str, Any]] = json.load(answer)
    return found


@contextmanager
def prometheus(directory: Path, target: str, sink: str) -> Iterator[Prometheus]:
    """A Prometheus that scrapes `target`, with the shipped rules, and an Alertmanager that tells `sink`."""
    directory.mkdir()
    shipped = rules()
    for group in shipped["groups"]:
        for rule in group["rules"]:
            rule["for"] = "1s"
    (directory / "rules.yaml").write_text(json.dumps(shipped))
    port = free_port()
    with alertmanager(directory, sink) as alerts:
        (directory / "prometheus.yaml").write_text(
            json.dumps(
                {
                    "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
                    "rule_files": ["rules.yaml"],
                    "alerting": {
                        "alertmanagers": [{"static_configs": [{"targets": [alerts.removeprefix("http://")]}]}]
                    },
                    "scrape_configs": [
                        {"job_name": "trimtab", "honor_labels": True, "static_configs": [{"targets": [target]}]}
                    ],
                }
            )
        )
        with _running(
            directory,
            f"http://127.0.0.1:{port}/-/ready",
            "prometheus",
            "--config.file=prometheus.yaml",
            "--storage.tsdb.path=samples",
            f"--web.listen-address=127.0.0.1:{port}",
        ):
            yield Prometheus(port)


@contextmanager
def _running(directory: Path, ready: str, program: str, *arguments: str) -> Iterator[None]:
    log = directory / f"{program}.log"
    with log.open("wb") as out:
        process = subprocess.Popen([program, *arguments], cwd=directory, stdout=out, stderr=out)
    try:
        until(lambda: _answers(ready), lambda: f"{program} does not start: {log.read_text()[-2000:]}")
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except OSError:
        return False
    return True
