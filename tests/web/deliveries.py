"""Deliveries as the documentation of each forge and registry describes them, and the secrets they are signed with."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from trimtab.web.delivery import Delivery

TOKEN = b"a-token-that-is-long-enough"


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def delivery(body: bytes = b"{}", headers: Mapping[str, str | bytes] | None = None) -> Delivery:
    """A call with those headers and that body."""
    pairs = []
    for name, value in (headers or {}).items():
        pairs.append((name.lower().encode(), value if isinstance(value, bytes) else value.encode()))
    return Delivery(tuple(pairs), body)


def sign(body: bytes, algorithm: str = "sha256", token: bytes = TOKEN) -> str:
    return f"{algorithm}={hmac.new(token, body, algorithm).hexdigest()}"


GITHUB_PUSH = encoded(
    {
        "ref": "refs/heads/main",
        "before": "6113728f27ae82c7b1a177c8d03f9e96e0adf246",
        "after": "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c",
        "repository": {"id": 186853002, "name": "shop", "full_name": "team/shop", "private": True},
        "pusher": {"name": "ada", "email": "ada@example.org"},
        "commits": [{"id": "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c", "message": "Ümläuts are bytes", "added": []}],
    }
)
GITHUB_PING = encoded({"zen": "Design for failure.", "hook_id": 109948940, "hook": {"type": "Repository"}})
GITLAB_PUSH = encoded(
    {
        "object_kind": "push",
        "event_name": "push",
        "ref": "refs/heads/main",
        "checkout_sha": "da1560886d4f094c3e6c9ef40349f7d38b5d27d7",
        "project": {"id": 15, "path_with_namespace": "team/shop"},
        "total_commits_count": 1,
    }
)
BITBUCKET_PUSH = encoded(
    {
        "eventKey": "repo:refs_changed",
        "date": "2026-01-13T22:26:25+1100",
        "repository": {"slug": "shop", "project": {"key": "TEAM"}},
        "changes": [{"ref": {"id": "refs/heads/main", "type": "BRANCH"}, "toHash": "178864a7", "type": "UPDATE"}],
    }
)
HARBOR_PUSH = encoded(
    {
        "type": "PUSH_ARTIFACT",
        "occur_at": 1680502893,
        "operator": "robot$ci",
        "event_data": {
            "resources": [
                {"digest": "sha256:954b", "tag": "1.2.0", "resource_url": "harbor.example.org/team/shop:1.2.0"}
            ],
            "repository": {"namespace": "team", "name": "shop", "repo_full_name": "team/shop", "repo_type": "private"},
        },
    }
)
DOCKERHUB_PUSH = encoded(
    {
        "callback_url": "https://registry.hub.docker.com/u/team/shop/hook/2141b5bi5i5b02bec211i4eeih0242eg11000a/",
        "push_data": {"pushed_at": 1417566161, "pusher": "ada", "tag": "latest"},
        "repository": {"name": "shop", "namespace": "team", "repo_url": "https://registry.hub.docker.com/u/team/shop/"},
    }
)
QUAY_PUSH = encoded(
    {
        "name": "shop",
        "repository": "team/shop",
        "namespace": "team",
        "docker_url": "quay.io/team/shop",
        "homepage": "https://quay.io/repository/team/shop",
        "updated_tags": ["latest"],
    }
)
ACR_PUSH = encoded(
    {
        "id": "cb8c3971-9adc-488b-xxxx-43cbb4974ff5",
        "timestamp": "2026-11-17T16:52:01.343145347Z",
        "action": "push",
        "target": {
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "repository": "shop",
            "tag": "v1",
        },
        "request": {"host": "team.azurecr.io", "method": "PUT"},
    }
)
GCR_EVENT = {"action": "INSERT", "digest": "gcr.io/team/shop@sha256:6ec1", "tag": "gcr.io/team/shop:v1"}
GCR_PUSH = encoded(
    {
        "message": {
            "data": base64.b64encode(encoded(GCR_EVENT)).decode(),
            "messageId": "2070443601311540",
            "publishTime": "2026-02-26T19:13:55.749Z",
        },
        "subscription": "projects/team/subscriptions/shop",
    }
)
NEXUS_PUSH = encoded(
    {
        "timestamp": "2026-11-10T23:57:49.664+0000",
        "nodeId": "7FFA7361-6ED33978-36997BD4-47095CC4-331356BE",
        "initiator": "anonymous/127.0.0.1",
        "repositoryName": "shop",
        "action": "CREATED",
        "component": {"format": "docker", "name": "shop", "version": "1.2.0"},
    }
)
CDEVENT: dict[str, Any] = {
    "context": {
        "version": "0.4.1",
        "id": "271069a8-fc18-44f1-b38f-9d70a1695819",
        "source": "/event/source/123",
        "type": "dev.cdevents.change.merged.0.2.0",
        "timestamp": "2026-03-20T14:27:05.315384Z",
    },
    "subject": {
        "id": "mySubject123",
        "source": "/event/source/123",
        "type": "change",
        "content": {"repository": {"id": "team/shop"}},
    },
}
CDEVENTS_MERGED = encoded(CDEVENT)


def bare(body: bytes) -> str:
    return hmac.new(TOKEN, body, hashlib.sha1).hexdigest()


PUSHES: dict[str, tuple[bytes, dict[str, str]]] = {
    "generic": (b"", {}),
    "generic-hmac": (b"anything at all", {"X-Signature": sign(b"anything at all")}),
    "github": (GITHUB_PUSH, {"X-GitHub-Event": "push", "X-Hub-Signature-256": sign(GITHUB_PUSH)}),
    "gitlab": (GITLAB_PUSH, {"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": TOKEN.decode()}),
    "bitbucket": (BITBUCKET_PUSH, {"X-Event-Key": "repo:refs_changed", "X-Hub-Signature": sign(BITBUCKET_PUSH)}),
    "harbor": (HARBOR_PUSH, {"Authorization": TOKEN.decode()}),
    "dockerhub": (DOCKERHUB_PUSH, {}),
    "quay": (QUAY_PUSH, {}),
    "acr": (ACR_PUSH, {}),
    "nexus": (NEXUS_PUSH, {"X-Nexus-Webhook-Signature": bare(NEXUS_PUSH)}),
    "cdevents": (CDEVENTS_MERGED, {"Ce-Type": "dev.cdevents.change.merged.0.2.0"}),
}
"""By type of Receiver: a push, and the headers that prove it. Those that an issuer vouches for are elsewhere."""
