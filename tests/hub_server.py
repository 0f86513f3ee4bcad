# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""A Hub in memory, on loopback: what `huggingface_hub` uses of its HTTP API for models, and faults on demand.

    with HubServer() as hub:  # hub.url is what HF_ENDPOINT would be
        hub.fail("PUT", "/lfs/", cut=1000)  # the next upload of a large file breaks off after 1000 bytes
        ...
        hub.files("me/crop")  # {"config.json": b"{...", ...}

A commit is made whole or not at all; files are kept by the hash of their content, as on the Hub. Weights are uploaded
by LFS, in parts when they are larger than `part_size`, and downloaded through a redirect. Xet is not offered.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

# The tokens that the Hub knows: who they are, and whether they may write.
TOKENS = {"hf_writer": ("me", True), "hf_reader": ("me", False), "hf_stranger": ("other", True)}
LFS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
ROUTES: list[tuple[str, re.Pattern[str], str]] = []


@dataclass
class Repo:
    """Branches and tags point to commits; a commit is a name for a set of files: `{path: sha256}`."""

    private: bool
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, str]] = field(default_factory=dict)

    def resolve(self, revision: str) -> str:
        found = self.branches.get(revision) or self.tags.get(revision)
        if found is None and revision in self.commits:
            found = revision
        if found is None:
            raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found


@dataclass
class Fault:
    """What befalls the next `times` requests whose method and path fit."""

    method: str
    path: str
    status: int | None
    cut: int | None
    lose: int
    times: int


class HubError(Exception):
    """An answer that is an error, with the headers by which the client tells which one."""

    def __init__(self, status: int, code: str | None = None, message: str = ""):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def route(method: str, pattern: str) -> Callable:
    """Marks the method of `Handler` that answers requests to paths of this pattern."""

    def mark(handler: Callable) -> Callable:
        ROUTES.append((method, re.compile(pattern + "$"), handler.__name__))
        return handler

    return mark


class HubServer:
    """Starts and stops with `with`; `url` is its address."""

    def __init__(self, part_size: int = 100_000):
        self.part_size = part_size
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}  # whole contents, by their sha256
        self.parts: dict[str, dict[int, bytes]] = {}  # of uploads that are not yet complete
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, int]] = []  # method, path, status
        self.lock = threading.RLock()
        hub = self

        class BoundHandler(Handler):
            server_state = hub

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), BoundHandler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        # Another host, as on the Hub: only then does the client take a redirect for one to the storage.
        self.cdn_url = self.url.replace("127.0.0.1", "localhost")

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def fail(
        self,
        method: str,
        path: str,
        *,
        status: int | None = None,
        cut: int | None = None,
        lose: int = 0,
        times: int = 1,
    ) -> None:
        """What befalls the next requests whose path contains `path`.

        Args:
            status: the answer.
            cut: the connection ends after so many bytes of the request's body, or of the answer to a GET.
            lose: so many bytes are missing at the end of the answer, whose length says nothing of it.
            times: how many requests.
        """
        self.faults.append(Fault(method, path, status, cut, lose, times))

    def heal(self) -> None:
        self.faults.clear()

    def take_fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and fault.method == method and fault.path in path:
                    fault.times -= 1
                    return fault
        return None

    def create(self, repo_id: str, files: Mapping[str, bytes], private: bool = False) -> Repo:
        """A repository with these files."""
        repo = self.repos[repo_id] = Repo(private)
        self.commit(repo, "main", {path: self.store(content) for path, content in files.items()}, "initial commit")
        return repo

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        """All files of a revision."""
        repo = self.repos[repo_id]
        return {path: self.blobs[sha] for path, sha in repo.commits[repo.resolve(revision)].items()}

    def commit(self, repo: Repo, branch: str, files: Mapping[str, str], title: str) -> str:
        with self.lock:
            name = f"{branch}{title}{sorted(files.items())}{len(repo.commits)}"
            oid = hashlib.sha1(name.encode()).hexdigest()
            repo.commits[oid] = dict(files)
            repo.branches[branch] = oid
        return oid

    def store(self, content: bytes) -> str:
        sha = hashlib.sha256(content).hexdigest()
        self.blobs[sha] = content
        return sha


class Handler(BaseHTTPRequestHandler):
    """One request: find its route, act, answer in JSON or bytes."""

    server_state: HubServer
    protocol_version = "HTTP/1.1"
    # Two small writes, headers and body, would otherwise wait for each other's acknowledgement.
    disable_nagle_algorithm = True

    # Plumbing

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def log_message(self, *args: Any) -> None:
        pass

    def _answer(self, method: str) -> None:
        self.cut, self.lose = None, 0
        self.body = b""
        split = urlsplit(self.path)
        path = split.path
        self.query = {name: values[0] for name, values in parse_qs(split.query).items()}
        try:
            fault = self.server_state.take_fault(method, path)
            if fault is not None and fault.cut is not None and method in ("PUT", "POST"):
                self.rfile.read(fault.cut)
                self.server_state.requests.append((method, path, 0))
                return self._hang_up()
            self.body = self._read_body()
            if fault is not None and fault.status is not None:
                raise HubError(fault.status, None, "Fault on demand")
            self.cut, self.lose = (fault.cut, fault.lose) if fault is not None else (None, 0)
            for route_method, pattern, name in ROUTES:
                match = pattern.match(path)
                if match and method in (route_method, "HEAD" if route_method == "GET" else ""):
                    arguments = {key: unquote(value) for key, value in match.groupdict().items() if value}
                    return getattr(self, name)(**arguments)
            raise HubError(404, None, f"no such route: {method} {path}")
        except HubError as error:
            headers = {"X-Error-Message": error.message} | ({"X-Error-Code": error.code} if error.code else {})
            self._send(error.status, json.dumps({"error": error.message}).encode(), headers)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.server_state.requests.append((self.command, urlsplit(self.path).path, status))
        body = body[: len(body) - self.lose]
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.cut is not None:
            self.wfile.write(body[: self.cut])
            return self._hang_up()
        self.wfile.write(body)

    def _hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(2)

    def _json(self, content: Any, status: int = 200) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    # Who may do what

    def _user(self) -> tuple[str, bool] | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in TOKENS:
            raise HubError(401, None, "Invalid credentials in Authorization header")
        return TOKENS.get(token)

    def _repo(self, repo_id: str, write: bool = False) -> Repo:
        repo, user = self.server_state.repos.get(repo_id), self._user()
        owner = repo_id.split("/")[0]
        if repo is None or (repo.private and (user is None or user[0] != owner)):
            raise HubError(404 if user else 401, "RepoNotFound", "Repository not found")
        if write and user is None:
            raise HubError(401, None, "Invalid username or password.")
        if write and user is not None and (user[0] != owner or not user[1]):
            raise HubError(403, None, "You don't have the rights to write to this repository")
        return repo

    # Accounts and repositories

    @route("GET", "/api/whoami-v2")
    def whoami(self) -> None:
        user = self._user()
        if user is None:
            raise HubError(401, None, "Invalid username or password.")
        self._json({"type": "user", "name": user[0], "orgs": [], "auth": {"accessToken": {"role": "write"}}})

    @route("POST", "/api/validate-yaml")
    def validate_yaml(self) -> None:
        content = json.loads(self.body)["content"]
        header = re.match(r"---\r?\n(.*?)\r?\n---", content, flags=re.DOTALL)
        try:
            data = yaml.safe_load(header.group(1)) if header else {}
        except yaml.YAMLError as error:
            data = str(error)
        if not isinstance(data, dict):
            return self._json({"errors": [{"message": str(data)}], "warnings": []}, status=400)
        self._json({"errors": [], "warnings": []})

    @route("POST", "/api/repos/create")
    def create_repo(self) -> None:
        user, asked = self._user(), json.loads(self.body)
        if user is None:
            raise HubError(401, None, "Invalid username or password.")
        owner = asked.get("organization") or user[0]
        repo_id = f"{owner}/{asked['name']}"
        answer = {"url": f"{self.server_state.url}/{repo_id}", "name": repo_id, "id": repo_id}
        if owner != user[0] or not user[1]:
            raise HubError(403, None, f"You don't have the rights to create a model under the namespace {owner!r}")
        if repo_id in self.server_state.repos:
            return self._json({**answer, "error": "You already created this model repo"}, status=409)
        private = bool(asked.get("private") or asked.get("visibility") == "private")
        attributes = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"
        self.server_state.create(repo_id, {".gitattributes": attributes}, private)
        self._json(answer)

    @route("GET", "/api/models/(?P<repo_id>[^/]+/[^/]+)")
    def model_info(self, repo_id: str) -> None:
        self.revision_info(repo_id, "main")

    @route("GET", "/api/models/(?P<repo_id>[^/]+/[^/]+)/revision/(?P<revision>[^/]+)")
    def revision_info(self, repo_id: str, revision: str) -> None:
        repo = self._repo(repo_id)
        sha = repo.resolve(revision)
        siblings = [{"rfilename": path} for path in sorted(repo.commits[sha])]
        self._json({"id": repo_id, "sha": sha, "private": repo.private, "tags": [], "siblings": siblings})

    @route("GET", "/api/models/(?P<repo_id>[^/]+/[^/]+)/refs")
    def refs(self, repo_id: str) -> None:
        repo = self._repo(repo_id)

        def listed(kind: str, refs: Mapping[str, str]) -> list[dict[str, str]]:
            return [{"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": oid} for n, oid in refs.items()]

        self._json({"branches": listed("heads", repo.branches), "tags": listed("tags", repo.tags), "converts": []})

    @route("POST", "/api/models/(?P<repo_id>[^/]+/[^/]+)/(?P<kind>branch|tag)/(?P<name>[^/]+)")
    def create_ref(self, repo_id: str, kind: str, name: str) -> None:
        repo, asked = self._repo(repo_id, write=True), json.loads(self.body or b"{}")
        refs, start = (repo.branches, asked.get("startingPoint") or "main")
        if kind == "tag":  # here the path says where, and the body what
            refs, start, name = repo.tags, name, asked["tag"]
        if name in refs:
            raise HubError(409, None, f"Reference {name} exists already")
        refs[name] = repo.resolve(start)
        self._json({})

    # Listing files

    def _describe(self, path: str, sha: str) -> dict[str, Any]:
        content = self.server_state.blobs[sha]
        described = {"type": "file", "path": path, "size": len(content), "oid": _git_oid(content)}
        if path.endswith(LFS_SUFFIXES):
            pointer = _lfs_pointer(sha, len(content))
            described |= {"oid": _git_oid(pointer)}
            described |= {"lfs": {"oid": sha, "size": len(content), "pointerSize": len(pointer)}}
        return described

    @route("GET", "/api/models/(?P<repo_id>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)(?:/(?P<folder>.+))?")
    def tree(self, repo_id: str, revision: str, folder: str = "") -> None:
        repo = self._repo(repo_id)
        files = repo.commits[repo.resolve(revision)]
        inside = {path: sha for path, sha in files.items() if path.startswith(f"{folder}/" if folder else "")}
        if folder and not inside:
            raise HubError(404, "EntryNotFound", f"{folder} does not exist on {revision}")
        recursive = self.query.get("recursive", "").lower() in ("true", "1")
        depth = folder.count("/") + 1 if folder else 0
        entries = [self._describe(p, sha) for p, sha in inside.items() if recursive or p.count("/") == depth]
        folders = sorted({"/".join(p.split("/")[: depth + 1]) for p in inside if p.count("/") > depth})
        self._json(entries + [{"type": "directory", "path": p, "oid": _git_oid(p.encode())} for p in folders])

    @route("POST", "/api/models/(?P<repo_id>[^/]+/[^/]+)/paths-info/(?P<revision>[^/]+)")
    def paths_info(self, repo_id: str, revision: str) -> None:
        repo = self._repo(repo_id)
        files = repo.commits[repo.resolve(revision)]
        as_json = "json" in self.headers.get("Content-Type", "")
        paths = json.loads(self.body)["paths"] if as_json else parse_qs(self.body.decode()).get("paths", [])
        self._json([self._describe(path, files[path]) for path in paths if path in files])

    # Uploading: ask how, send large files, then commit

    @route("POST", "/api/models/(?P<repo_id>[^/]+/[^/]+)/preupload/(?P<revision>[^/]+)")
    def preupload(self, repo_id: str, revision: str) -> None:
        repo = self._repo(repo_id, write=True)
        files = repo.commits[repo.resolve(revision)]
        answers = []
        for file in json.loads(self.body)["files"]:
            path = file["path"]
            mode = "lfs" if path.endswith(LFS_SUFFIXES) else "regular"
            sha = files.get(path)
            oid = None if sha is None else (sha if mode == "lfs" else _git_oid(self.server_state.blobs[sha]))
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self._json({"files": answers})

    @route("POST", "/(?P<repo_id>[^/]+/[^/]+).git/info/lfs/objects/batch")
    def lfs_batch(self, repo_id: str) -> None:
        self._repo(repo_id, write=True)
        hub, objects = self.server_state, []
        for item in json.loads(self.body)["objects"]:
            oid, size = item["oid"], item["size"]
            if oid in hub.blobs:  # nothing to do
                objects.append({"oid": oid, "size": size})
                continue
            upload: dict[str, Any] = {"href": f"{hub.url}/lfs/{oid}"}
            if size > hub.part_size:
                parts = range(1, -(-size // hub.part_size) + 1)
                urls = {str(part): f"{hub.url}/lfs/{oid}/{part}" for part in parts}
                upload = {
                    "href": f"{hub.url}/lfs/{oid}/complete",
                    "header": {"chunk_size": str(hub.part_size), **urls},
                }
            verify = {"href": f"{hub.url}/{repo_id}.git/info/lfs/verify"}
            objects.append({"oid": oid, "size": size, "actions": {"upload": upload, "verify": verify}})
        self._json({"transfer": "basic", "objects": objects})

    @route("PUT", "/lfs/(?P<oid>[0-9a-f]{64})")
    def lfs_upload(self, oid: str) -> None:
        self._keep(oid, self.body)
        self._send(200, b"", {"ETag": f'"{oid}"'})

    @route("PUT", "/lfs/(?P<oid>[0-9a-f]{64})/(?P<part>[0-9]+)")
    def lfs_upload_part(self, oid: str, part: str) -> None:
        self.server_state.parts.setdefault(oid, {})[int(part)] = self.body
        self._send(200, b"", {"ETag": f'"{hashlib.md5(self.body).hexdigest()}"'})

    @route("POST", "/lfs/(?P<oid>[0-9a-f]{64})/complete")
    def lfs_complete(self, oid: str) -> None:
        sent = {part["partNumber"]: part["etag"].strip('"') for part in json.loads(self.body)["parts"]}
        parts = self.server_state.parts.pop(oid, {})
        if sent != {number: hashlib.md5(part).hexdigest() for number, part in parts.items()}:
            raise HubError(400, None, "The parts do not match")
        self._keep(oid, b"".join(parts[number] for number in sorted(parts)))
        self._json({})

    def _keep(self, oid: str, content: bytes) -> None:
        if hashlib.sha256(content).hexdigest() != oid:
            raise HubError(400, None, "The content does not have the hash that was announced")
        self.server_state.store(content)

    @route("POST", "/(?P<repo_id>[^/]+/[^/]+).git/info/lfs/verify")
    def lfs_verify(self, repo_id: str) -> None:
        self._repo(repo_id, write=True)
        asked = json.loads(self.body)
        if len(self.server_state.blobs.get(asked["oid"], b"")) != asked["size"]:
            raise HubError(404, None, "No such object")
        self._json({})

    @route("POST", "/api/models/(?P<repo_id>[^/]+/[^/]+)/commit/(?P<revision>[^/]+)")
    def commit(self, repo_id: str, revision: str) -> None:
        repo, hub = self._repo(repo_id, write=True), self.server_state
        if revision not in repo.branches:
            raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        lines = [json.loads(line) for line in self.body.splitlines() if line.strip()]
        with hub.lock:
            files = dict(repo.commits[repo.branches[revision]])
            for line in lines[1:]:
                self._apply(line["key"], line["value"], files)
            oid = hub.commit(repo, revision, files, lines[0]["value"]["summary"])
        url = f"{hub.url}/{repo_id}/commit/{oid}"
        self._json({"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})

    def _apply(self, key: str, value: Mapping[str, Any], files: dict[str, str]) -> None:
        path = value["path"]
        if key == "file":
            files[path] = self.server_state.store(base64.b64decode(value["content"]))
        elif key == "lfsFile":
            if value["oid"] not in self.server_state.blobs:
                raise HubError(400, None, f"The content of {path} was never uploaded")
            files[path] = value["oid"]
        elif key == "deletedFile":
            files.pop(path)
        else:
            raise HubError(400, None, f"Unknown operation {key}")

    # Downloading

    @route("GET", "/(?P<repo_id>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
    def resolve(self, repo_id: str, revision: str, path: str) -> None:
        repo = self._repo(repo_id)
        commit = repo.resolve(revision)
        sha = repo.commits[commit].get(path)
        if sha is None:
            raise HubError(404, "EntryNotFound", "Entry not found")
        content = self.server_state.blobs[sha]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{_git_oid(content)}"', "Last-Modified": formatdate()}
        if not path.endswith(LFS_SUFFIXES):
            return self._send_range(content, headers)
        headers |= {"X-Linked-Etag": f'"{sha}"', "X-Linked-Size": str(len(content))}
        self._send(302, b"", {**headers, "Location": f"{self.server_state.cdn_url}/cdn/{sha}"})

    @route("GET", "/cdn/(?P<sha>[0-9a-f]{64})")
    def cdn(self, sha: str) -> None:
        if sha not in self.server_state.blobs:
            raise HubError(404, None, "No such object")
        self._send_range(self.server_state.blobs[sha], {"ETag": f'"{sha}"', "Accept-Ranges": "bytes"})

    def _send_range(self, content: bytes, headers: Mapping[str, str]) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            return self._send(200, content, headers)
        first, last = int(asked[1]), min(int(asked[2] or len(content) - 1), len(content) - 1)
        if first > last:
            raise HubError(416, None, "Range not satisfiable")
        content_range = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
        self._send(206, content[first : last + 1], {**headers, **content_range})


def _git_oid(content: bytes) -> str:
    """The name that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _lfs_pointer(sha: str, size: int) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize {size}\n".encode()
