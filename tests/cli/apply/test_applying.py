"""What two runs of `trimtab apply` make of each other, step by step."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.cli.apply.test_apply import config
from trimtab.base.errors import Terminal
from trimtab.base.http import AiohttpTransport
from trimtab.cli.apply.applying import Asked, Run, Terms, pass_over, running
from trimtab.cli.apply.origin import Whence
from trimtab.cli.connect import Code, Options
from trimtab.cli.render.rendering import Recipe
from trimtab.controllers.applyrecords import Moved
from trimtab.controllers.hiding import NOTHING
from trimtab.diff.compare import Difference
from trimtab.diff.report import Finding, State
from trimtab.kube import config as kubeconfigs
from trimtab.kube.client import Client
from trimtab.manifests.refs import Key, Ref

PLAIN = Recipe(None, None, (), (), True, (), ())


async def test_what_was_planned_is_not_done_where_somebody_else_came_first_and_another_look_finds_it_done(
    kubeconfig, kubectl, namespace, tmp_path: Path
):
    name = namespace()
    kubectl("create", "namespace", name)
    (tmp_path / "settings.yaml").write_text(json.dumps(config("settings")))
    options = Options(kubeconfig=kubeconfig, asked=name, timeout_s=30.0, quiet=True)
    asked = Asked(str(tmp_path), Whence(), "shop", PLAIN, options, yes=True, dry_run=False, terms=Terms(prune=True))
    transport = AiohttpTransport()
    try:
        client = Client(kubeconfigs.load(kubeconfig), transport)
        async with running(client, asked) as one, running(client, asked) as other:
            first, second = await one.propose(), await other.propose()
            assert await one.alone.run(lambda: one.carry_out(first), 10.0) == Code.OK
            with pytest.raises(Moved, match="was applied by somebody else"):
                await other.alone.run(lambda: other.carry_out(second), 10.0)
            assert await pass_over(other) == Code.OK
            assert (await other.propose()).on_record
    finally:
        await transport.close()


def test_what_is_told_of_a_secret_object_has_no_name_and_no_path_that_came_from_a_value():
    run = Run(cast("Any", SimpleNamespace(key=Key("shop", "shop"))), *cast("Any", (None,) * 4))
    run.strictly = replace(NOTHING, whole=frozenset({"hunter"}))
    run.secret = frozenset({Ref("", "ConfigMap", "", "hunter")})
    paths = (Difference("data.hunter", "changed", "a", "b"),)
    refs = [Ref("", "ConfigMap", "shop", "hunter"), Ref("", "Service", "shop", "hunter")]
    findings = [Finding(ref, State.DIFFERS, None, "", differences=paths) for ref in refs]
    report = run.report(cast("Any", SimpleNamespace(findings=findings)))
    told = {one.ref.kind: (one.ref.name, one.differences[0].path) for one in report.findings}
    assert "hunter" not in " ".join(told["ConfigMap"])
    # one that no value went into may be called so
    assert told["Service"] == ("hunter", "data.hunter")


def test_what_goes_wrong_is_told_without_parts_of_values_that_became_names():
    run = Run(cast("Any", SimpleNamespace(key=Key("shop", "shop"))), *cast("Any", (None,) * 4))
    run.hiding = NOTHING.cut({"hunt"})
    with pytest.raises(Terminal) as failed, run._hidden():
        raise Terminal("ReconciliationFailed", 'ConfigMap/shop/hunt: Invalid value: "hunt"')
    assert "hunt" not in failed.value.message
