"""AWS KMS, by moto's server and AWS's own client: which key, which region, and whose credentials."""

import base64
import os
import subprocess

import pytest
from yarl import URL

from tests.buckets.store import REGION, Moto
from trimtab.base.clock import SystemClock
from trimtab.sops import awskms
from trimtab.sops.awskms import CREDENTIALS, AwsKms, endpoint
from trimtab.sops.errors import BadKeys, Locked
from trimtab.sops.formats import Format
from trimtab.sops.keyring import Keyring
from trimtab.sops.metadata import Wrapped
from trimtab.sops.opening import open_file

HELD = {CREDENTIALS: b"aws_access_key_id: writer\naws_secret_access_key: very-secret\n"}
DATA_KEY = b"k" * 32


@pytest.fixture(scope="module")
def moto():
    server = Moto()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def arn(moto):
    client = moto.service("kms")
    made = client.create_key()["KeyMetadata"]["Arn"]
    client.close()
    return made


@pytest.fixture
def kms(out, moto):
    made = AwsKms.of(out, SystemClock(), HELD)
    assert made
    return AwsKms(made.out, made.clock, made.keys, lambda _partition, _region: URL(f"http://{moto.host}/"))


def wrapped(moto, arn, context=None, **details):
    client = moto.service("kms")
    sealed = client.encrypt(KeyId=arn, Plaintext=DATA_KEY, EncryptionContext=context or {})["CiphertextBlob"]
    client.close()
    return Wrapped("kms", arn, base64.b64encode(sealed).decode(), {"context": context, **details})


async def test_what_the_client_of_aws_encrypts_is_opened(kms, moto, arn):
    assert await kms.unlock(wrapped(moto, arn)) == DATA_KEY


async def test_the_context_of_an_encryption_counts(kms, moto, arn):
    assert await kms.unlock(wrapped(moto, arn, {"team": "one"})) == DATA_KEY
    other = wrapped(moto, arn, {"team": "one"})._replace(details={"context": {"team": "two"}})
    with pytest.raises(Locked, match="InvalidCiphertext"):
        await kms.unlock(other)


async def test_the_real_sops_and_we_agree_on_a_kms(kms, moto, arn, sops, tmp_path):
    plain = tmp_path / "plain.yaml"
    plain.write_text("a: secret\n")
    environment = {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "AWS_ENDPOINT_URL": f"http://{moto.host}",
        "AWS_ACCESS_KEY_ID": "writer",
        "AWS_SECRET_ACCESS_KEY": "writer",
        "AWS_REGION": REGION,
    }
    done = subprocess.run([sops, "encrypt", "--kms", arn, plain], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    keys = Keyring.of({}, {"kms": kms})
    assert await open_file(done.stdout, "x.yaml", Format.YAML, keys) == b"a: secret\n"


def test_the_server_is_that_of_the_region_and_amazons():
    assert str(endpoint("aws", "eu-west-1")) == "https://kms.eu-west-1.amazonaws.com/"
    assert str(endpoint("aws-cn", "cn-north-1")) == "https://kms.cn-north-1.amazonaws.com.cn/"
    with pytest.raises(Locked, match="aws-iso"):
        endpoint("aws-iso", "us-iso-east-1")


@pytest.mark.parametrize(
    "name",
    [
        "arn:aws:kms:attacker.example.com/:1:key/x",
        "arn:aws:kms:eu-west-1@attacker.example.com:1:key/x",
        "arn:aws:kms:eu-west-1:1:key/x\r\ny",
        "arn:aws:s3:::bucket",
        "mrk-1",
        "",
    ],
)
async def test_a_name_that_is_no_arn_leads_nowhere(out, name):
    service = AwsKms.of(out, SystemClock(), HELD)
    assert service
    with pytest.raises(Locked, match="ARN"):
        await service.unlock(Wrapped("kms", name, "x", {}))


async def test_no_other_role_is_taken_on(kms, moto, arn):
    with pytest.raises(Locked, match="role"):
        await kms.unlock(wrapped(moto, arn, role="arn:aws:iam::1:role/admin"))


@pytest.mark.parametrize(
    "text", [b"", b"a: [", b"just text", b"aws_access_key_id: x", b"aws_access_key_id: 1\naws_secret_access_key: 2"]
)
def test_bad_credentials_are_told_by_the_entry(out, text):
    with pytest.raises(BadKeys, match=r"sops\.aws-kms") as refused:
        AwsKms.of(out, SystemClock(), {CREDENTIALS: text})
    assert "just text" not in str(refused.value)


def test_credentials_do_not_show(out):
    assert "very-secret" not in repr(AwsKms.of(out, SystemClock(), HELD))
    assert awskms.CREDENTIALS == "sops.aws-kms"
