"""What the benchmark of releases makes of its figures."""

from bench.measure import Phase
from bench.releases import Cost, missed


def cost(name: str, seconds: float, *, done: int = 300, helm: int = 0) -> Cost:
    figures = {"harness_s": 0.1, "cpu_s": 1.0, "rss_peak_mib": 50, "requests_per_app": 1.0, "api": {}}
    return Cost(Phase(phase=name, n=300, done=done, seconds=seconds, **figures), helm, 1.0, 0.0, {})


def test_releases_that_cost_what_they_may_miss_nothing() -> None:
    assert missed([cost("first", 59.0, helm=301), cost("noop", 2.4), cost("idle", 10.0)], 199.0) == ()


def test_every_budget_of_releases_can_be_missed() -> None:
    costs = [cost("first", 61.0, done=299), cost("noop", 2.6, helm=1), cost("idle", 10.0, helm=2)]
    assert missed(costs, 201.0) == (
        "first: 299 of 300",
        "first: 61 s, budget 60 s",
        "noop: 2.6 s, budget 2.5 s",
        "noop: 1 runs of helm, budget 0",
        "idle: 2 runs of helm, budget 0",
        "memory: 201 MiB, budget 200 MiB",
    )
