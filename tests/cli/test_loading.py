"""What a running process loads: what it has no use for is memory of every installation."""

import subprocess
import sys

import pytest


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
