"""How a command reaches a cluster, and the one place where failures become exit codes."""

import functools
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from trimtab.kube.client import Client
    from trimtab.kube.errors import ApiError

DEFAULT_NAMESPACE = "flux-system"
DEFAULT_TIMEOUT_S = 300.0


class Code(IntEnum):
    """Exit codes of every command. UNKNOWN is never to be mistaken for "no difference"."""

    OK = 0
    WRONG = 1  # usage, or an internal error
    DIFFERS = 2  # difference, drift, or not ready
    UNKNOWN = 3  # unreachable, forbidden
    INTERRUPTED = 130


class Failure(Exception):
    """A command ends with `code` and says why."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Options:
    """The global options: which cluster, which namespace, how long to wait (seconds).

    `asked` is the namespace as far as one was named.
    """

    kubeconfig: Path | None = None
    context: str | None = None
    namespace: str = DEFAULT_NAMESPACE
    timeout_s: float = DEFAULT_TIMEOUT_S
    quiet: bool = False
    asked: str = ""

    @classmethod
    def given(
        cls,
        kubeconfig: Path | None,
        context: str | None,
        namespace: str | None,
        timeout: str | None,
        quiet: bool = False,
        *,
        before: "Options | None" = None,
    ) -> "Options":
        """What was given here, else what was given `before` the command's name, else the defaults."""
        base = before or cls()
        return cls(
            kubeconfig=kubeconfig or base.kubeconfig,
            context=context or base.context,
            namespace=namespace or base.namespace,
            timeout_s=_seconds(timeout) if timeout else base.timeout_s,
            quiet=quiet or base.quiet,
            asked=namespace or base.asked,
        )


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let `command(options, …)` take the global options also after its name, as kubectl and flux do."""

    @click.option("--kubeconfig", type=click.Path(path_type=Path), help="The kubeconfig to use ($KUBECONFIG).")
    @click.option("--context", help="The context of the kubeconfig to use.")
    @click.option("-n", "--namespace", help=f"The namespace of the objects ({DEFAULT_NAMESPACE}).")
    @click.option("--timeout", help="How long to wait, such as 90s (5m).")
    def with_options(
        context_: click.Context,
        kubeconfig: Path | None,
        context: str | None,
        namespace: str | None,
        timeout: str | None,
        **rest: Any,
    ) -> Any:
        before = context_.find_object(Options)
        return command(Options.given(kubeconfig, context, namespace, timeout, before=before), **rest)

    return click.pass_context(functools.update_wrapper(with_options, command))


def perform(options: Options, work: "Callable[[Client], Awaitable[int]]") -> None:
    """Run `work` with a client for the cluster of `options`, and leave with its code or the code of its failure."""
    perform_alone(lambda: _connected(options, work))


def perform_alone(work: Callable[[], Awaitable[int]]) -> None:
    """As `perform`, for commands that need no cluster or make their own."""

    # Here, because the help must not wait for it.
    import asyncio

    async def alone() -> int:
        return await work()

    sys.exit(_code_of(lambda: asyncio.run(alone())))


async def _connected(options: Options, work: "Callable[[Client], Awaitable[int]]") -> int:
    from trimtab.base.direct import Direct
    from trimtab.kube import config
    from trimtab.kube.client import Client

    transport = Direct()
    try:
        return await work(Client(config.load(options.kubeconfig, options.context), transport))
    finally:
        await transport.close()


def _code_of(run: Callable[[], int]) -> int:
    """The result of `run`, or the exit code of what it raised, said on stderr."""
    from trimtab.base.errors import TrimtabError
    from trimtab.base.logs import escape, redact

    try:
        return run()
    except KeyboardInterrupt:
        return Code.INTERRUPTED
    except BrokenPipeError:
        # whoever reads has seen enough, as `head` does; nothing more may be written, not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Code.OK
    except Failure as failure:
        code, message = failure.code, failure.message
    except TrimtabError as failure:
        code, message = _kind_of(failure), str(failure)
    # what these names stand for is imported when something has failed: the network's part of it takes half a second
    except _no_answer() as failure:
        code, message = Code.UNKNOWN, f"the cluster cannot be reached: {failure}"
    except _unknown_kind() as failure:
        code, message = Code.WRONG, f"{failure}: `trimtab install` adds the kinds to the cluster"
    except _refusal() as failure:
        code, message = _judge(failure.status), str(failure)
    except (OSError, ValueError) as failure:
        code, message = _kind_of(failure), str(failure)
    for line in message.splitlines() or [""]:
        click.echo(f"✗ {escape(redact(line))}", err=True)
    return code


def _not_written() -> tuple[type[Exception], ...]:
    """What is raised of a commit that was not made, or not taken: there all that had to be asked has answered."""
    from trimtab.commits import Contended, ReadOnly, Refused, SigningFailed

    return ReadOnly, Refused, Contended, SigningFailed


def _no_answer() -> tuple[type[Exception], ...]:
    from trimtab.base.http import TransportError
    from trimtab.kube.errors import Unreachable

    return Unreachable, TransportError


def _unknown_kind() -> type[Exception]:
    from trimtab.kube.errors import UnknownKind

    return UnknownKind


def _refusal() -> "type[ApiError]":
    from trimtab.kube.errors import ApiError

    return ApiError


def _judge(status: int) -> Code:
    """Whether an answer of the API server means that nothing is known (3), or that the request was wrong (1)."""
    return Code.UNKNOWN if status in (401, 403, 408, 429) or status >= 500 else Code.WRONG


def _kind_of(failure: Exception) -> Code:
    from trimtab.base.errors import Transient, Waiting

    match failure:
        case Transient():
            return Code.WRONG if isinstance(failure, _not_written()) else Code.UNKNOWN
        case Waiting():
            return Code.DIFFERS
        case _:
            return Code.WRONG


def _seconds(text: str) -> float:
    from trimtab.base.durations import parse_duration

    try:
        return parse_duration(text)
    except ValueError as wrong:
        raise click.BadParameter(str(wrong), param_hint="--timeout") from None
