"""`trimtab` starts quickly, explains itself, and keeps usage errors apart from findings."""

import subprocess
import sys

import click
import pytest

from trimtab import __version__
from trimtab.api.install import install_manifests
from trimtab.cli.main import cli
from trimtab.cli.run import run

COMMANDS = cli.list_commands(click.Context(cli))


def trimtab(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "trimtab.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_help_imports_neither_the_network_nor_the_event_loop() -> None:
    # that is what keeps it quick: about 0.1 s
    program = (
        "import sys; from trimtab.cli.main import cli; "
        "cli.main(['--help'], standalone_mode=False); "
        "sys.exit(', '.join(sorted({'aiohttp', 'msgspec', 'rich', 'yaml', 'asyncio'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == ""


def test_the_overview_names_every_command() -> None:
    overview = trimtab("--help").stdout
    assert [name for name in COMMANDS if f"  {name} " not in overview] == []


def test_without_a_command_the_overview_is_shown() -> None:
    done = trimtab()
    assert (done.returncode, done.stdout) == (0, trimtab("--help").stdout)


def test_the_version_is_printed() -> None:
    assert trimtab("--version").stdout == f"trimtab {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_loads_and_explains_itself(command: str) -> None:
    done = trimtab(command, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: trimtab {command}") or "python -m" in done.stdout.splitlines()[0]


@pytest.mark.parametrize("arguments", [("nonsense",), ("get", "--nonsense"), ("get", "pods"), ("reconcile",)])
def test_usage_errors_exit_with_1_and_never_with_2(arguments: tuple[str, ...]) -> None:
    assert trimtab(*arguments).returncode == 1


def test_a_bad_duration_is_a_usage_error_that_shows_a_good_one() -> None:
    done = trimtab("--timeout", "5 minutes", "get")
    assert done.returncode == 1
    assert "1h30m" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("--receiverAddr", ":9292", "--controllers", "webhooks"),
            "choose from source, kustomize, helm, source-watcher",
        ),
        (("--export-http-path-metrics", "true"), "the paths of webhooks are secrets"),
        (("--events-addr", ":9090"), "where events are taken is --events-listen-addr"),
    ],
)
def test_flags_of_flux_s_notification_controller_are_taken_or_refused_with_a_reason(
    arguments: tuple[str, ...], words: str
) -> None:
    done = trimtab("run", *arguments)
    assert done.returncode == 1
    assert words in done.stderr


@pytest.mark.parametrize(
    ("gates", "words"),
    [
        ("StrictPostBuildSubstitutions=no", "StrictPostBuildSubstitutions is true or false, not 'no'"),
        ("CacheSecretsAndConfigMaps=true", "the gate 'CacheSecretsAndConfigMaps' of Flux is not served"),
        ("DisableConfigWatchers=true,StrictPostBuildSubstitutions=false", "choose from source"),
    ],
)
def test_gates_of_flux_are_taken_or_refused_by_name(gates: str, words: str) -> None:
    done = trimtab("run", "--feature-gates", gates, "--controllers", "none")
    assert done.returncode == 1
    assert words in done.stderr


def test_no_flag_of_run_is_declared_twice() -> None:
    flags = [flag for parameter in run.params for flag in (*parameter.opts, *parameter.secondary_opts)]
    assert len(flags) == len(set(flags))


@pytest.mark.parametrize("multi_tenant", [False, True], ids=["one tenant", "tenants"])
def test_every_process_that_is_installed_understands_its_arguments(multi_tenant: bool) -> None:
    bodies = install_manifests(image="trimtab:test", multi_tenant=multi_tenant, deny_private=True)
    pods = [body["spec"]["template"]["spec"] for body in bodies if body["kind"] == "Deployment"]
    posting = []
    for pod in pods:
        name, *arguments = pod["containers"][0]["args"]
        assert name == "run"
        posting.append(bool(run.make_context("run", arguments).params["events_addr"]))
    assert posting == [True, True, False], "who takes events posts none"
