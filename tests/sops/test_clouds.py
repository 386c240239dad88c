"""What holds for each cloud that is asked with a token, Google's and Microsoft's, by a double of them."""

import subprocess

import pytest

from tests.remotes.listener import Listener
from tests.sops import clouds_double as double
from tests.sops.conftest import FIXTURES
from trimtab.base.clock import SystemClock
from trimtab.manifests.yaml import load
from trimtab.sops import azurekv, gcpkms
from trimtab.sops.errors import NoKey, Undecryptable
from trimtab.sops.formats import Format
from trimtab.sops.keyring import Keyring
from trimtab.sops.opening import open_file

AZURE = f"tenantId: {double.TENANT}\nclientId: {double.CLIENT}\nclientSecret: {double.CLIENT_SECRET}\n"
SERVERS = {"gcp_kms": (double.GOOGLE, double.KMS), "azure_kv": (double.MICROSOFT, double.VAULT)}
NAMES = {"gcp_kms": ("cryptoKeys/key", "cryptoKeys/"), "azure_kv": ("name: fixtures", "name: ")}
ENTRIES = {"gcp_kms": gcpkms.CREDENTIALS, "azure_kv": azurekv.CREDENTIALS}
OPENED = FIXTURES / "clouds" / "opened-both.yaml"
KINDS = pytest.mark.parametrize("kind", ["gcp_kms", "azure_kv"])


def held():
    return {gcpkms.CREDENTIALS: double.google_credentials(), azurekv.CREDENTIALS: AZURE.encode()}


def ring(out, clouds, *kinds, entries=None):
    """The keys of a Secret that has credentials for `kinds`."""
    have = {ENTRIES[kind]: (entries or held())[ENTRIES[kind]] for kind in kinds}
    found = {
        "gcp_kms": gcpkms.GcpKms.of(out, SystemClock(), have, clouds.to),
        "azure_kv": azurekv.AzureKeyVault.of(out, SystemClock(), have, clouds.to),
    }
    return Keyring.of(have, {kind: service for kind, service in found.items() if service})


def sealed(kind):
    return (FIXTURES / "clouds" / f"{kind}.yaml").read_bytes()


def of_key(kind, name):
    """The file, as if it had been encrypted with another key."""
    before, after = NAMES[kind]
    data = sealed(kind).replace(f"{before}\n".encode(), f"{after}{name}\n".encode())
    assert data != sealed(kind)
    return data


async def refusal(data, keys):
    with pytest.raises(NoKey) as refused:
        await open_file(data, "apps/secret.yaml", Format.YAML, keys)
    said = str(refused.value)
    assert "apps/secret.yaml" in said
    secret = (double.GOOGLE_TOKEN, double.MICROSOFT_TOKEN, double.CLIENT_SECRET, "correct horse", "PRIVATE KEY")
    assert not [word for word in secret if word in said]
    return refused.value


@KINDS
async def test_a_file_of_the_real_sops_is_opened_by_the_credentials_of_the_secret(clouds, out, kind):
    opened = await open_file(sealed(kind), "x.yaml", Format.YAML, ring(out, clouds, kind))
    assert [one.value for one in load(opened, "x")] == [one.value for one in load(OPENED.read_bytes(), "x")]
    assert [one[0] for one in clouds.asked] == [*SERVERS[kind]]
    assert {one.scheme for one in clouds.meant} == {"https"}


@KINDS
async def test_the_real_sops_and_we_agree_on_a_cloud(out, sops, tmp_path, kind):
    plain = tmp_path / "plain.yaml"
    plain.write_text("a: secret\n")
    context, authority = double.certificate(tmp_path)
    with double.running(context) as clouds:
        environment = double.environment(clouds, authority, tmp_path)
        command = [sops, "encrypt", *double.KEYS_OF_SOPS[kind], plain]
        done = subprocess.run(command, env=environment, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert await open_file(done.stdout, "x.yaml", Format.YAML, ring(out, clouds, kind)) == b"a: secret\n"


@KINDS
async def test_a_token_is_asked_for_once_in_a_pass(clouds, out, kind):
    keys = ring(out, clouds, kind)
    for _ in range(3):
        await open_file(sealed(kind), "x.yaml", Format.YAML, keys)
    assert [one[0] for one in clouds.asked].count(SERVERS[kind][0]) == 1


@KINDS
@pytest.mark.parametrize("lasts", [0, 30, "soon", None, True])
async def test_a_token_that_ends_soon_is_not_used_again(clouds, out, kind, lasts):
    sign_in, _ = SERVERS[kind]
    token = double.GOOGLE_TOKEN if kind == "gcp_kms" else double.MICROSOFT_TOKEN
    clouds.answers[sign_in] = (200, {"access_token": token, "token_type": "bearer", "expires_in": lasts})
    keys = ring(out, clouds, kind)
    for _ in range(2):
        await open_file(sealed(kind), "x.yaml", Format.YAML, keys)
    assert [one[0] for one in clouds.asked].count(sign_in) == 2


@KINDS
async def test_without_credentials_nobody_is_asked_and_the_entry_is_named(clouds, out, kind):
    failure = await refusal(sealed(kind), ring(out, clouds))
    assert ENTRIES[kind] in str(failure)
    assert failure.hopeless
    assert not clouds.asked


@KINDS
@pytest.mark.parametrize("works", ["gcp_kms", "azure_kv"])
async def test_one_key_that_works_is_enough_beside_one_that_does_not(clouds, out, kind, works):
    """The other one is without credentials, or refuses."""
    keys = ring(out, clouds, *{kind, works})
    other = next(one for one in SERVERS if one != works)
    clouds.answers[SERVERS[other][1]] = (403, {"error": {"code": 403, "status": "PERMISSION_DENIED"}})
    assert await open_file(sealed("both"), "x.yaml", Format.YAML, keys) == OPENED.read_bytes()


async def test_every_key_that_was_tried_is_told(clouds, out):
    for kind in SERVERS:
        clouds.answers[SERVERS[kind][1]] = (403, {})
    said = str(await refusal(sealed("both"), ring(out, clouds, *SERVERS)))
    assert f"GCP KMS {double.RESOURCE}: GCP KMS answers 403" in said
    assert f"Azure Key Vault {double.KEY}: https://{double.VAULT} answers 403" in said


@KINDS
@pytest.mark.parametrize(
    ("name", "gcp", "azure"),
    [
        ("another", "400 INVALID_ARGUMENT", "404 KeyNotFound"),
        ("denied", "403 PERMISSION_DENIED", "403 Forbidden ForbiddenByRbac"),
        ("missing", "404 NOT_FOUND", "404 KeyNotFound"),
    ],
    ids=["another", "denied", "missing"],
)
async def test_a_refusal_is_told_by_its_code_and_not_by_what_it_repeats(clouds, out, kind, name, gcp, azure):
    failure = await refusal(of_key(kind, name), ring(out, clouds, kind))
    assert f"answers {gcp if kind == 'gcp_kms' else azure}" in str(failure)
    assert name in str(failure)
    assert failure.hopeless


@KINDS
async def test_what_was_locked_for_a_key_may_not_be_damaged(clouds, out, kind):
    at = sealed(kind).index(b"enc: ") + 9
    data = sealed(kind)
    changed = data[:at] + (b"A" if data[at : at + 1] != b"A" else b"B") + data[at + 1 :]
    assert "answers 400" in str(await refusal(changed, ring(out, clouds, kind)))


@KINDS
async def test_credentials_that_are_refused_are_shown_once_and_never_told(clouds, out, kind):
    wrong = {
        gcpkms.CREDENTIALS: double.google_credentials(client_email="other@fixtures.iam.gserviceaccount.com"),
        azurekv.CREDENTIALS: AZURE.replace(double.CLIENT_SECRET, "wrong-secret").encode(),
    }
    keys = ring(out, clouds, kind, entries=wrong)
    for _ in range(2):
        failure = await refusal(sealed(kind), keys)
        assert "gives no token for the credentials" in str(failure)
        assert ("400 invalid_grant" if kind == "gcp_kms" else "401 invalid_client") in str(failure)
        assert "wrong-secret" not in str(failure)
        assert failure.hopeless
    assert [one[0] for one in clouds.asked] == [SERVERS[kind][0]]


@KINDS
@pytest.mark.parametrize("which", [0, 1], ids=["sign-in", "keys"])
@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_cloud_that_is_busy_is_asked_again(clouds, out, kind, which, status):
    keys = ring(out, clouds, kind)
    clouds.answers[SERVERS[kind][which]] = (status, "<html>busy</html>")
    failure = await refusal(sealed(kind), keys)
    assert str(status) in str(failure)
    assert not failure.hopeless
    clouds.answers.clear()
    assert await open_file(sealed(kind), "x.yaml", Format.YAML, keys)


@KINDS
async def test_a_cloud_that_is_away_is_asked_again(clouds, out, kind):
    listener = Listener()
    listener.close()
    clouds.port = listener.port
    failure = await refusal(sealed(kind), ring(out, clouds, kind))
    assert "does not answer" in str(failure)
    assert not failure.hopeless


@KINDS
@pytest.mark.parametrize("which", [0, 1], ids=["sign-in", "keys"])
async def test_a_redirect_is_not_followed(clouds, out, kind, which):
    clouds.answers[SERVERS[kind][which]] = (307, {})
    assert "307" in str(await refusal(sealed(kind), ring(out, clouds, kind)))


@KINDS
@pytest.mark.parametrize(
    "answer",
    [
        "",
        "[]",
        "{",
        {},
        {"access_token": 7, "token_type": "Bearer"},
        {"access_token": "a b", "token_type": "Bearer"},
        {"access_token": "a\r\nX-Evil: 1", "token_type": "Bearer"},
        {"access_token": "", "token_type": "Bearer"},
        {"access_token": "a", "token_type": "pop"},
        {"access_token": "a" * 20000, "token_type": "Bearer"},
    ],
    ids=[f"odd-{number}" for number in range(10)],
)
async def test_an_odd_token_is_none(clouds, out, kind, answer):
    clouds.answers[SERVERS[kind][0]] = (200, answer)
    assert "no token" in str(await refusal(sealed(kind), ring(out, clouds, kind)))
    assert [one[0] for one in clouds.asked] == [SERVERS[kind][0]]


@KINDS
@pytest.mark.parametrize(
    "answer",
    [{}, {"plaintext": 7, "value": 7}, {"plaintext": "!", "value": "!"}, {"plaintext": "AAAA", "value": "AAAA"}, "["],
    ids=["nothing", "number", "mark", "short", "no-json"],
)
async def test_an_odd_answer_opens_nothing(clouds, out, kind, answer):
    clouds.answers[SERVERS[kind][1]] = (200, answer)
    await refusal(sealed(kind), ring(out, clouds, kind))


@KINDS
async def test_a_key_of_somebody_else_opens_no_value(clouds, out, kind):
    value = {"plaintext": "A" * 43 + "=", "value": "A" * 43}
    clouds.answers[SERVERS[kind][1]] = (200, value)
    with pytest.raises(Undecryptable):
        await open_file(sealed(kind), "x.yaml", Format.YAML, ring(out, clouds, kind))


@KINDS
async def test_codes_that_are_none_are_left_out(clouds, out, kind):
    said = "a sentence that repeats token-of-the-double"
    clouds.answers[SERVERS[kind][1]] = (403, {"error": {"code": said, "status": said, "innererror": {"code": said}}})
    assert "sentence" not in str(await refusal(sealed(kind), ring(out, clouds, kind)))
    clouds.answers = {SERVERS[kind][0]: (403, {"error": said})}
    assert "sentence" not in str(await refusal(sealed(kind), ring(out, clouds, kind)))


@KINDS
def test_credentials_do_not_show(clouds, out, kind):
    shown = repr(ring(out, clouds, kind)) + repr(ring(out, clouds, kind).services)
    assert double.CLIENT_SECRET not in shown
    assert "PRIVATE" not in shown
