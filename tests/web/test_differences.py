"""What a comparison that is made again and again shows, above all when it cannot be made."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from trimtab.base.comparisons import Comparisons
from trimtab.base.errors import Transient
from trimtab.diff.report import Finding, Report, State, gathered
from trimtab.manifests.refs import Ref
from trimtab.web import differences
from trimtab.web.differences import Watch
from trimtab.web.server import Listener, listen

DOCS = Path(__file__).parents[2] / "docs" / "diff.md"
START = datetime(2026, 1, 1, tzinfo=UTC)


class Hands:
    """A clock that is moved by hand; who sleeps is woken by the next move."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []
        self.moved = asyncio.Event()

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.moved.clear()
        await self.moved.wait()

    def move(self, seconds: float) -> None:
        self.seconds += seconds
        self.moved.set()


def report(*states: State) -> Report:
    refs = (Ref("", "ConfigMap", "shop", f"c{number}") for number in range(len(states)))
    return gathered("shop", START, (Finding(ref, state) for ref, state in zip(refs, states, strict=True)))


class Served:
    """A watch and its pages."""

    def __init__(self) -> None:
        self.clock = Hands()
        self.answer: Report | Exception = report(State.SAME)
        self.metrics = Comparisons(self.clock, complete=("same", "differs"), same="same")
        self.watch = Watch(self.look, "the shop", self.clock, self.metrics, every_s=60, longest_s=30)
        self.port = 0

    async def look(self) -> Report:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def once(self, answer: Report | Exception) -> None:
        self.answer = answer
        await self.watch.once()

    async def get(self, path: str, **headers: str) -> tuple[int, str, dict[str, str]]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.port}{path}", headers=headers) as response,
        ):
            return response.status, await response.text(), dict(response.headers)

    async def samples(self) -> dict[str, float]:
        """The metrics by name and labels."""
        lines = (await self.get("/metrics"))[1].splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line.startswith("trimtab")}


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    found = Served()
    listener: Listener = await listen(differences.app(found.watch, "127.0.0.1:0"), "127.0.0.1:0")
    found.port = listener.port
    yield found
    await listener.close()


async def test_before_the_first_comparison_nothing_looks_as_if_all_were_well(served: Served) -> None:
    assert "Nothing has been compared yet" in (await served.get("/"))[1]
    assert (await served.get("/readyz"))[:2] == (503, "nothing has been compared yet\n")
    assert '"verdict":"unknown"' in (await served.get("/report.json"))[1]
    samples = await served.samples()
    assert samples["trimtab_diff_last_success_timestamp_seconds"] == 0.0
    assert not any(name.startswith("trimtab_diff_objects") for name in samples)


async def test_what_was_found_is_told_in_every_form(served: Served) -> None:
    served.clock.move(100)
    await served.once(report(State.SAME, State.DIFFERS, State.MISSING))
    status, text, _ = await served.get("/")
    assert (status, "There are differences: 3 compared" in text) == (200, True)
    assert '<meta http-equiv="refresh" content="60">' in text
    assert '"verdict":"differs"' in (await served.get("/report.json"))[1]
    assert (await served.get("/readyz"))[0] == 200
    samples = await served.samples()
    assert samples['trimtab_diff_objects{state="differs"}'] == 1.0
    assert samples['trimtab_diff_objects{state="unknown"}'] == 0.0
    assert samples['trimtab_diff_runs_total{verdict="differs"}'] == 1.0
    assert samples["trimtab_diff_last_success_timestamp_seconds"] == START.timestamp() + 100
    assert samples["trimtab_diff_last_same_timestamp_seconds"] == 0.0


async def test_what_is_unknown_is_no_success(served: Served) -> None:
    await served.once(report(State.SAME))
    before = (await served.samples())["trimtab_diff_last_success_timestamp_seconds"]
    served.clock.move(60)
    await served.once(report(State.SAME, State.UNKNOWN))
    samples = await served.samples()
    assert samples["trimtab_diff_last_success_timestamp_seconds"] == before
    assert samples["trimtab_diff_last_run_timestamp_seconds"] == before + 60
    assert samples['trimtab_diff_objects{state="unknown"}'] == 1.0


@pytest.mark.parametrize(
    "failure",
    [Transient("BuildFailed", "apps/a.yaml:3: no"), OSError("no disk"), TimeoutError()],
    ids=["a build", "a disk", "a deadline"],
)
async def test_a_comparison_that_fails_leaves_no_numbers_of_an_older_one(served: Served, failure: Exception) -> None:
    await served.once(report(State.SAME))
    await served.once(failure)
    samples = await served.samples()
    assert not any(name.startswith("trimtab_diff_objects") for name in samples)
    assert samples['trimtab_diff_runs_total{verdict="failed"}'] == 1.0
    text = (await served.get("/"))[1]
    assert "Unknown: the last comparison failed" in text
    assert 'class="verdict same"' not in text
    assert (await served.get("/readyz"))[0] == 503
    assert '"verdict":"unknown"' in (await served.get("/report.json"))[1]


async def test_an_unforeseen_failure_is_told_as_well_and_ends_in_the_log(served: Served) -> None:
    await served.once(report(State.SAME))
    with pytest.raises(ZeroDivisionError):
        await served.once(ZeroDivisionError("secret words"))
    text = (await served.get("/"))[1]
    assert "an internal error, ZeroDivisionError" in text
    assert "secret words" not in text


async def test_a_result_that_grows_old_holds_no_longer(served: Served) -> None:
    await served.once(report(State.SAME))
    served.clock.move(200)
    assert (await served.get("/readyz"))[0] == 200
    served.clock.move(100)
    assert "nothing has been compared for 300 s" in (await served.get("/"))[1]
    assert not any(name.startswith("trimtab_diff_objects") for name in await served.samples())


async def test_comparisons_are_apart_from_start_to_start(served: Served) -> None:
    async def look() -> Report:
        served.clock.seconds += 20
        return report(State.SAME)

    served.watch.look = look
    task = asyncio.get_running_loop().create_task(served.watch.run())
    try:
        async with asyncio.timeout(60):
            while not served.clock.slept:
                await asyncio.sleep(0)
    finally:
        task.cancel()
    assert served.clock.slept == [40.0]


@pytest.mark.parametrize(
    ("host", "status"), [("localhost:1", 200), ("127.0.0.1", 200), ("[::1]:9", 200), ("evil.example.org", 403)]
)
async def test_on_loopback_names_of_other_hosts_are_refused(served: Served, host: str, status: int) -> None:
    assert (await served.get("/", Host=host))[0] == status


async def test_every_answer_has_the_policy_and_nothing_can_be_sent(served: Served) -> None:
    await served.once(report(State.DIFFERS))
    for path in ("/", "/report.json", "/metrics", "/nothing"):
        headers = (await served.get(path))[2]
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Server"] == "trimtab"
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://127.0.0.1:{served.port}/", data=b"x") as response,
    ):
        assert response.status == 405


async def test_kubediff_6_every_metric_that_the_documented_alerts_use_is_there(served: Served) -> None:
    await served.once(report(State.DIFFERS, State.UNKNOWN))
    rendered = await served.samples()
    used = set(re.findall(r"trimtab_diff_[a-z_]+", DOCS.read_text()))
    assert len(used) >= 5
    assert used <= {name.partition("{")[0] for name in rendered}
    [selected] = re.findall(r'state=~"([a-z|]+)"', DOCS.read_text())
    assert set(selected.split("|")) == {"differs", "missing", "extra"} < {state.value for state in State}
