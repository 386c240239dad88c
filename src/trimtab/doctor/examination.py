"""All checks, one after the other; one that fails is unknown, and never the end."""

import asyncio
from collections.abc import Sequence
from typing import Final

from trimtab.base.errors import TrimtabError
from trimtab.base.http import TransportError
from trimtab.doctor.contract import Check, Finding, Outcome, Patient, unknown
from trimtab.doctor.definitions import definitions
from trimtab.doctor.leases import leases
from trimtab.doctor.objects import objects
from trimtab.doctor.references import references
from trimtab.doctor.rights import accounts, rights
from trimtab.doctor.server import apis, clocks, server
from trimtab.doctor.webhooks import webhooks
from trimtab.doctor.workload import ledger, storage, workload
from trimtab.kube.errors import ApiError, Forbidden, StaleGroup, UnknownKind, Unreachable

CHECKS: Final[dict[str, Check]] = {
    "server": server,
    "clocks": clocks,
    "apis": apis,
    "definitions": definitions,
    "workload": workload,
    "leases": leases,
    "rights": rights,
    "accounts": accounts,
    "references": references,
    "storage": storage,
    "ledger": ledger,
    "webhooks": webhooks,
    "objects": objects,
}
"""Every check there is, in the order they are told."""
_LONGEST_S: Final = 20.0
_NOT_ASKED: Final = unknown("not looked at, as the API server does not answer", "reach the API server first")


async def examine(patient: Patient, names: Sequence[str] = ()) -> list[Finding]:
    """What the checks of these `names` find; without any, all of them."""
    found: list[Finding] = []
    silent = False
    for name, check in CHECKS.items():
        if names and name not in names:
            continue
        if silent:
            found.append(Finding(name, _NOT_ASKED))
            continue
        try:
            found += await _checked(patient, name, check)
        except (Unreachable, TransportError) as failure:
            # whoever does not answer once is not waited for eleven times more
            silent = True
            way = "check the address in the kubeconfig, and the network to it"
            found.append(Finding(name, unknown(str(failure), way)))
    return found


async def _checked(patient: Patient, name: str, check: Check) -> list[Finding]:
    """What a check finds. Raises Unreachable, TransportError."""
    try:
        async with asyncio.timeout(_LONGEST_S):
            return [Finding(name, answer) for answer in await check(patient)]
    except Forbidden as failure:
        answer = unknown(str(failure), "ask with the rights of somebody who may read this, such as a cluster-admin")
    except TimeoutError:
        words = f"no answer within {_LONGEST_S:g} s"
        answer = unknown(words, "the API server is overloaded, or the network is slow: try again")
    except (ApiError, UnknownKind, StaleGroup, TrimtabError) as failure:
        answer = unknown(str(failure), "`kubectl get --raw /readyz?verbose` says how the API server is")
    except (Unreachable, TransportError):
        raise
    except Exception as failure:  # noqa: BLE001 - a boundary: objects of others may be odd, and the other checks go on
        words = f"the check failed with {type(failure).__name__}: it met something that it does not understand"
        answer = unknown(words, "look at the objects this check is about; this is a bug that is worth a report")
    return [Finding(name, answer)]


def verdict(findings: Sequence[Finding]) -> Outcome:
    """Of all together: unknown counts more than a problem, and notes do not count."""
    outcomes = {finding.answer.outcome for finding in findings}
    for worst in (Outcome.UNKNOWN, Outcome.PROBLEM):
        if worst in outcomes:
            return worst
    return Outcome.OK
