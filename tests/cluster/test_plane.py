"""The control plane is a real one: it authenticates, authorizes, controls, schedules, and runs Pods."""

import asyncio
import json
import os
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import aiohttp
import pytest
from tests.e2e.world import until

from trimtab.base.errors import Terminal
from trimtab.cluster import children, components, pki
from trimtab.cluster.layout import Layout


async def ask(plane, path, token=""):
    tls = ssl.create_default_context(cadata=plane.ca.decode())
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession() as session, session.get(plane.server + path, ssl=tls, headers=headers) as answer:
        return answer.status


async def test_the_admin_token_opens_it_and_a_wrong_one_does_not(plane):
    assert await ask(plane, "/api/v1/secrets", plane.token) == 200
    assert await ask(plane, "/api/v1/secrets", "wrong") == 401
    assert await ask(plane, "/api/v1/secrets") == 403


async def test_its_certificate_is_not_trusted_without_its_authority(plane):
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        async with aiohttp.ClientSession() as session, session.get(plane.server + "/readyz"):
            pass


def test_rbac_decides_what_another_user_may(plane, kubectl, namespace, tmp_path):
    home = namespace()
    kubectl("create", "namespace", home)
    kubectl("-n", home, "create", "rolebinding", "readers", "--clusterrole=view", "--group=readers")
    file = tmp_path / "kubeconfig"
    file.write_bytes(plane.kubeconfig_for("jane", ["readers"]))

    def allowed(*question):
        command = [plane.binaries["kubectl"], f"--kubeconfig={file}", "auth", "can-i", *question]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    until(lambda: allowed("list", "pods", "-n", home) == "yes", "the server's authorizer follows")
    assert allowed("delete", "pods", "-n", home) == "no"
    assert allowed("list", "pods", "-n", "kube-system") == "no"


def test_a_deployment_becomes_available_and_a_namespace_goes_away(kubectl, namespace):
    home = namespace()
    kubectl("create", "namespace", home)
    kubectl("-n", home, "create", "deployment", "web", "--image=example/web", "--replicas=5")
    kubectl("-n", home, "wait", "--for=condition=Available", "deployment/web", "--timeout=60s")
    placed = kubectl("-n", home, "get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}")
    assert placed.split() == [components.NODE] * 5
    kubectl("delete", "namespace", home, "--timeout=60s")


def test_service_accounts_get_tokens_that_work(plane, kubectl, namespace, tmp_path):
    home = namespace()
    kubectl("create", "namespace", home)
    kubectl("-n", home, "create", "serviceaccount", "robot")
    token = kubectl("-n", home, "create", "token", "robot").strip()
    (tmp_path / "ca").write_bytes(plane.ca)
    command = [plane.binaries["kubectl"], "--kubeconfig=/dev/null", f"--server={plane.server}", f"--token={token}"]
    command += [f"--certificate-authority={tmp_path / 'ca'}", "auth", "whoami", "-o", "json"]
    said = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert said["status"]["userInfo"]["username"] == f"system:serviceaccount:{home}:robot"


def test_a_request_is_in_the_audit_log_with_its_user_once_it_is_answered(plane, kubectl, namespace):
    name = namespace()
    kubectl("create", "namespace", name)
    events = [json.loads(line) for line in plane.audit_log.read_text().splitlines(keepends=True) if line.endswith("\n")]
    made = [event for event in events if event["verb"] == "create" and event["objectRef"].get("name") == name]
    assert [event["user"]["username"] for event in made if event["objectRef"]["resource"] == "namespaces"] == ["admin"]


def test_only_this_user_can_read_what_opens_it(plane):
    assert plane.layout.root.stat().st_mode & 0o077 == 0
    secrets = [plane.kubeconfig, plane.layout.tokens, *plane.layout.pki.glob("*.key"), *plane.layout.config.iterdir()]
    assert len(secrets) > 6
    assert [file.name for file in secrets if file.stat().st_mode & 0o077] == []


def test_no_secret_is_in_a_command_line(plane):
    secret = [plane.token, (plane.layout.pki / "ca.key").read_text()]
    for pid in plane.pids.values():
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
        assert not [part for part in secret if part in words]


def test_components_are_not_started_from_a_thread_whose_end_would_end_them(tmp_path):
    raised = []

    def run():
        try:
            children.start("true", ["/bin/true"], cwd=tmp_path, env={}, log=tmp_path / "log")
        except RuntimeError as failure:
            raised.append(str(failure))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert raised == ["true must be started from the main thread"]


async def test_a_component_that_ignores_the_request_to_end_is_ended(tmp_path):
    child = children.start(
        "stubborn",
        ["/bin/sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        log=tmp_path / "log",
    )
    while "deaf" not in (tmp_path / "log").read_text():
        await asyncio.sleep(0.01)
    await children.end([child], patience_s=0.3)
    assert child.code == -9
    assert not child.identity.alive


def test_a_process_is_not_taken_for_an_earlier_one_of_the_same_number():
    me = children.Identity.mine()
    assert me.alive
    assert not me._replace(started="0").alive
    assert children.Identity.of(2**22 + 1) is None


def test_a_process_that_is_dead_but_not_reaped_is_dead():
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.DEVNULL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    try:
        assert children.Identity.of(process.pid) is None
    finally:
        process.wait()


def test_the_authority_stays_over_starts_and_so_does_what_it_issued(tmp_path):
    layout = Layout(tmp_path)
    layout.make()
    assert pki.authority(layout).pem == pki.authority(layout).pem
    assert pki.admin_token(layout) == pki.admin_token(layout)
    keys = [path.read_bytes() for path in pki.service_account_keys(layout)]
    assert keys == [path.read_bytes() for path in pki.service_account_keys(layout)]


def test_certificates_satisfy_the_strictest_check_of_openssl(tmp_path):
    layout = Layout(tmp_path)
    layout.make()
    authority = pki.authority(layout)
    for name, pair in (
        ("server", authority.server("kube-apiserver", components.SERVICE_HOSTS)),
        ("client", authority.client("jane", ["readers", "writers"])),
    ):
        (tmp_path / "leaf").write_bytes(pair.certificate)
        command = ["openssl", "verify", "-x509_strict", "-purpose", f"ssl{name}", "-CAfile", str(layout.pki / "ca.crt")]
        try:
            done = subprocess.run([*command, str(tmp_path / "leaf")], capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip("openssl is not installed")
        assert done.returncode == 0, done.stdout + done.stderr


async def test_what_a_component_said_is_in_the_error_when_it_does_not_come_up(plane, tmp_path):
    from trimtab.cluster.plane import ControlPlane

    broken = tmp_path / "kube-apiserver"
    broken.write_text("#!/bin/sh\necho the dog ate the certificate; exit 7\n")
    broken.chmod(0o755)
    doomed = ControlPlane(tmp_path / "plane", binaries={**plane.binaries, "kube-apiserver": broken})
    with pytest.raises(
        Terminal, match=r"kube-apiserver ended with 7: the dog ate the certificate .*kube-apiserver\.log"
    ):
        await doomed.start()
    assert doomed.pids == {}
