"""moto's server in a thread, and a writer that is AWS's own client: neither is under test."""

import json
import logging
import time
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import boto3
from moto.server import ThreadedMotoServer

REGION = "us-east-1"


class Moto:
    """A server of buckets. It takes any keys; without keys what is public is read."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        name, self.port = self._server.get_host_and_port()
        self.host = f"{name}:{self.port}"
        self._reset()
        self.client: Any = self.service("s3")

    def _reset(self, tries: int = 3) -> None:
        """What moto holds is of the process, not of the server: another test's buckets would be this one's."""
        try:
            urlopen(f"http://{self.host}/moto-api/reset", data=b"", timeout=30).close()
        except HTTPError:  # on a busy machine the first answer has been a 500
            if tries == 1:
                raise
            time.sleep(1)
            self._reset(tries - 1)

    def service(self, name: str) -> Any:
        return boto3.client(
            name,
            endpoint_url=f"http://{self.host}",
            region_name=REGION,
            aws_access_key_id="writer",
            aws_secret_access_key="writer",
        )

    def reader(self) -> tuple[str, str]:
        """The keys of a user who may read buckets, for when it checks signatures."""
        iam = self.service("iam")
        allowed = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        iam.create_user(UserName="reader")
        iam.put_user_policy(UserName="reader", PolicyName="reads", PolicyDocument=policy)
        made = iam.create_access_key(UserName="reader")["AccessKey"]
        iam.close()
        return made["AccessKeyId"], made["SecretAccessKey"]

    def stop(self) -> None:
        self.client.close()
        self._server.stop()

    def bucket(self, name: str, files: Mapping[str, str | bytes] | None = None) -> str:
        self.client.create_bucket(Bucket=name)
        for key, content in (files or {}).items():
            self.put(name, key, content)
        return name

    def put(self, bucket: str, key: str, content: str | bytes, *, public: bool = True) -> str:
        """Its ETag, with quotes. What is not public is read by those who sign only."""
        acl = "public-read" if public else "private"
        said: str = self.client.put_object(Bucket=bucket, Key=key, Body=content, ACL=acl)["ETag"]
        return said

    def remove(self, bucket: str, key: str) -> None:
        self.client.delete_object(Bucket=bucket, Key=key)
