"""What is loaded: what a controller has no use for is memory of every installation, and of a command it is time."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from trimtab.cluster.plane import ControlPlane


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """The modules of a process that can run the controllers, before it has begun."""
    program = "import sys, trimtab.roles.process, trimtab.roles.assembly; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_the_libraries_of_expressions_come_with_the_first_expression(loaded: set[str]) -> None:
    assert loaded.isdisjoint({"cel", "prompt_toolkit", "pydantic_core", "rich", "typer"})


def test_controllers_that_were_not_asked_for_are_not_loaded(loaded: set[str]) -> None:
    assert loaded.isdisjoint(f"trimtab.cli.{name}" for name in ("automation", "reflecting", "telling", "webhooks"))


@pytest.fixture(scope="module")
def after(served: ControlPlane) -> Callable[..., set[str]]:
    """`after("get", "ks")`: what a command has loaded when it has answered."""

    def run(*arguments: str) -> set[str]:
        command = [*arguments, "-n", "default", "--kubeconfig", str(served.kubeconfig)]
        program = (
            "import contextlib, sys; from trimtab.cli.main import cli\n"
            f"with contextlib.suppress(SystemExit), contextlib.redirect_stdout(sys.stderr): cli.main({command!r})\n"
            "print(*sorted(sys.modules))"
        )
        done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
        assert "cannot be reached" not in done.stderr
        return set(done.stdout.split())

    return run


def test_a_list_is_printed_without_what_controllers_need(after: Callable[..., set[str]]) -> None:
    # aiohttp alone, with what it imports and reads, takes as long as all the rest
    found = after("get", "ks")
    assert "trimtab.kube.client" in found
    assert found.isdisjoint({"aiohttp", "attr", "rich", "prometheus_client", "cryptography"})
    packages = {name.split(".")[1] for name in found if name.startswith("trimtab.")}
    assert packages == {"api", "base", "cli", "kube", "manifests"}


@pytest.mark.parametrize("question", ["why", "tree", "wait"])
def test_a_question_about_an_app_needs_neither_git_nor_what_converges_apps(
    after: Callable[..., set[str]], question: str
) -> None:
    found = after("--timeout", "1s", question, "nothing-of-this-name")
    assert "trimtab.controllers.reading" in found
    assert found.isdisjoint({"aiohttp", "prometheus_client", "trimtab.controllers.app", "trimtab.remotes.git.history"})


def test_a_command_is_not_held_up_by_the_search_for_garbage() -> None:
    program = (
        "import contextlib, gc, sys; from trimtab.cli.main import main; sys.argv = ['trimtab', '--version']\n"
        "before = sum(one['collections'] for one in gc.get_stats())\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "kept = [[] for _ in range(50_000)]\n"
        "print(sum(one['collections'] for one in gc.get_stats()) - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.split()[-1] == "0"
