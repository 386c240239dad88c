"""What the benchmark of overlays makes of its figures."""

from bench.measure import Phase
from bench.overlays import Cost, files, missed


def cost(name: str, builds: int, *, done: int = 300, seconds: float = 1.0) -> Cost:
    figures = {"harness_s": 0.1, "cpu_s": 1.0, "rss_peak_mib": 50, "requests_per_app": 1.0, "api": {}}
    return Cost(Phase(phase=name, n=300, done=done, seconds=seconds, **figures), builds, 1.0, 1.0)


def test_a_run_that_builds_what_depends_on_a_commit_and_nothing_else_misses_nothing() -> None:
    builds = {"first": 300, "base": 300, "overlay": 1, "beside": 0, "noop": 0}
    assert missed([cost(name, number) for name, number in builds.items()], 300) == []


def test_every_budget_of_overlays_can_be_missed() -> None:
    costs = [cost("first", 301, done=299, seconds=26.0), cost("base", 300), cost("overlay", 300), cost("noop", 1)]
    assert missed(costs, 300) == [
        "first: 299 of 300",
        "first: 301 builds, 300 are needed",
        "overlay: 300 builds, 1 are needed",
        "noop: 1 builds, 0 are needed",
        "first: 26 s, budget 25 s",
    ]


def test_every_overlay_is_of_the_one_base() -> None:
    overlays = [text for path, text in files(3).items() if path.endswith("kustomization.yaml") and "app-" in path]
    assert [text.count("../base") for text in overlays] == [1, 1, 1]
