"""A double of the APIs that pull requests are made by: GitHub's, GitLab's and Gitea's, as their documentation has them.

It is real HTTPS on loopback. It keeps one list of pull requests, and answers in the words of the forge it plays; fields
that clients of ours do not read are there as well, so that nobody relies on their absence.
"""

import ssl
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

TOKEN = "forge-token"
NAMES = {"github": "/api/v3", "gitlab": "/api/v4", "gitea": "/api/v1"}


@dataclass
class PullForge:
    """`branches` are those that differ from main; a pull request with `copy` is from a copy of the repository.

    `says` answers in place of what is done next, if it is set. `comments` are those of every pull request; `me` is who
    has the token, None for a token that may not ask. What `locked` people wrote nobody else may change.
    """

    kind: str
    tls: ssl.SSLContext
    branches: set[str] = field(default_factory=lambda: {"trimtab/shop"})
    pulls: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    says: web.Response | None = None
    comments: list[dict[str, Any]] = field(default_factory=list)
    me: str | None = "trimtab-bot"
    locked: bool = True
    hides: int = 0  # so many times what is open is not shown
    port: int = 0
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}{NAMES[self.kind]}"

    async def __aenter__(self) -> "PullForge":
        application = web.Application()
        root = NAMES[self.kind]
        if self.kind == "gitlab":
            requests = f"{root}/projects/{{project:[^/]+}}/merge_requests"
            routes = [("GET", requests), ("POST", requests), ("PUT", f"{requests}/{{number}}")]
            notes = f"{requests}/{{number}}/notes"
            talk = [("GET", notes), ("POST", notes), ("PUT", f"{notes}/{{comment}}")]
        else:
            requests = f"{root}/repos/{{owner}}/{{name}}/pulls"
            routes = [("GET", requests), ("POST", requests), ("PATCH", f"{requests}/{{number}}")]
            issues = f"{root}/repos/{{owner}}/{{name}}/issues"
            notes = f"{issues}/{{number}}/comments"
            talk = [("GET", notes), ("POST", notes), ("PATCH", f"{issues}/comments/{{comment}}")]
        for method, path in routes:
            application.router.add_route(method, path, self._answer)
        for method, path in talk:
            application.router.add_route(method, path, self._talk)
        application.router.add_get(f"{root}/user", self._who)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self.tls).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner
        await self._runner.cleanup()

    def _signed_in(self, headers: Any) -> bool:
        match self.kind:
            case "github":
                return headers.get("Authorization") == f"Bearer {TOKEN}" and "X-GitHub-Api-Version" in headers
            case "gitlab":
                return headers.get("PRIVATE-TOKEN") == TOKEN
            case _:
                return headers.get("Authorization") == f"token {TOKEN}"

    async def _who(self, request: web.Request) -> web.Response:
        if not self._signed_in(request.headers) or self.me is None:
            return web.json_response({"message": "Resource not accessible by integration"}, status=403)
        return web.json_response({"id": 1, "username" if self.kind == "gitlab" else "login": self.me})

    async def _talk(self, request: web.Request) -> web.Response:
        self.asked.append(request.method)
        said, self.says = self.says, None
        if said is not None:
            return said
        if not self._signed_in(request.headers):
            return web.json_response({"message": "Bad credentials"}, status=401)
        where = request.match_info.get("project") or "{owner}/{name}".format(**request.match_info)
        if where != "acme/shop" or request.match_info.get("number", "12") != "12":
            return web.json_response({"message": "Not Found"}, status=404)
        if request.method == "GET":
            start = 0 if self.kind == "gitea" else (int(request.query["page"]) - 1) * int(request.query["per_page"])
            end = None if self.kind == "gitea" else start + int(request.query["per_page"])
            return web.json_response(self.comments[start:end])
        text = (await request.json())["body"].replace("\n", "\r\n")
        if request.method == "POST":
            self.remark(self.me or "github-actions[bot]", text)
            return web.json_response(self.comments[-1], status=201)
        one = next(found for found in self.comments if str(found["id"]) == request.match_info["comment"])
        author = one["author"]["username"] if self.kind == "gitlab" else one["user"]["login"]
        if self.locked and author not in (self.me, "github-actions[bot]"):
            return web.json_response({"message": "Must have admin rights"}, status=403)
        one["body"] = text
        return web.json_response(one)

    def remark(self, author: str, text: str) -> None:
        """Somebody says something."""
        who = {"author": {"username": author}} if self.kind == "gitlab" else {"user": {"login": author}}
        self.comments.append({"id": 100 + len(self.comments), "body": text, **who})

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.method)
        said, self.says = self.says, None
        if said is not None:
            return said
        if not self._signed_in(request.headers):
            return web.json_response({"message": "401 Unauthorized"}, status=401)
        where = request.match_info.get("project") or "{owner}/{name}".format(**request.match_info)
        if where != "acme/shop":
            return web.json_response({"message": "Not Found"}, status=404)
        if request.method == "GET":
            if self.hides:
                self.hides -= 1
                return web.json_response([])
            return web.json_response([self._shown(pull) for pull in self.pulls if self._asked_for(pull, request.query)])
        wanted = await request.json()
        if request.method == "POST":
            return self._create(wanted)
        pull = next(one for one in self.pulls if one["number"] == int(request.match_info["number"]))
        pull.update(title=wanted["title"], body=wanted["description" if self.kind == "gitlab" else "body"])
        return web.json_response(self._shown(pull), status=201 if self.kind == "gitea" else 200)

    def _asked_for(self, pull: dict[str, Any], query: Any) -> bool:
        match self.kind:
            case "github":
                owner = "mallory" if pull.get("copy") else "acme"
                wanted = {"state": "all", "head": f"{owner}:{pull['head']}", "base": pull["base"]}
            case "gitlab":
                wanted = {"state": "all", "source_branch": pull["head"], "target_branch": pull["base"]}
            case _:
                wanted = {"state": "all"}
        return all(query.get(key) == value for key, value in wanted.items())

    def _create(self, wanted: dict[str, Any]) -> web.Response:
        head, base, body = (
            ("source_branch", "target_branch", "description") if self.kind == "gitlab" else ("head", "base", "body")
        )
        open_ = [one for one in self.pulls if not one.get("closed") and not one.get("copy")]
        there = next((one for one in open_ if (one["head"], one["base"]) == (wanted[head], wanted[base])), None)
        if there is not None:
            match self.kind:
                case "github":
                    errors = [{"resource": "PullRequest", "code": "custom", "message": "A pull request already exists"}]
                    return web.json_response({"message": "Validation Failed", "errors": errors}, status=422)
                case "gitlab":
                    words = f"Another open merge request already exists for this source branch: !{there['number']}"
                    return web.json_response({"message": [words]}, status=409)
                case _:
                    return web.json_response({"message": "pull request already exists for these targets"}, status=409)
        if wanted[head] not in self.branches:
            errors = [
                {"resource": "PullRequest", "code": "custom", "message": f"No commits between {wanted[base]} and x"}
            ]
            return web.json_response({"message": "Validation Failed", "errors": errors}, status=422)
        pull = {
            "number": 7 + len(self.pulls),
            "head": wanted[head],
            "base": wanted[base],
            "title": wanted["title"],
            "body": wanted[body],
        }
        self.pulls.append(pull)
        return web.json_response(self._shown(pull), status=201)

    def _shown(self, pull: dict[str, Any]) -> dict[str, Any]:
        number, title, body = pull["number"], pull["title"], pull["body"].replace("\n", "\r\n")
        if self.kind == "gitlab":
            return {
                "id": number + 9000,
                "iid": number,
                "project_id": 3,
                "source_project_id": 4 if pull.get("copy") else 3,
                "target_project_id": 3,
                "title": title,
                "description": body,
                "state": "closed" if pull.get("closed") else "opened",
                "target_branch": pull["base"],
                "source_branch": pull["head"],
                "web_url": f"https://forge.example/acme/shop/-/merge_requests/{number}",
                "author": {"id": 1, "username": "bot"},
                "labels": [],
            }
        there = {"full_name": "mallory/shop" if pull.get("copy") else "acme/shop"}
        return {
            "id": number + 9000,
            "url": f"{self.url}/repos/acme/shop/pulls/{number}",
            "html_url": f"https://forge.example/acme/shop/pull/{number}",
            "number": number,
            "state": "closed" if pull.get("closed") else "open",
            "title": title,
            "body": body or None,
            "user": {"login": "bot", "id": 1},
            "head": {"label": pull["head"], "ref": pull["head"], "sha": "a" * 40, "repo": there},
            "base": {"label": pull["base"], "ref": pull["base"], "sha": "b" * 40, "repo": {"full_name": "acme/shop"}},
        }
