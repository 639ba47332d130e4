"""A small hub on loopback, in the forms that the real client of the Hugging Face Hub speaks.

It has what our commands use: model info with sizes and digests, files behind redirects to another
path with ETags, ranges and commit headers, gated and missing models, and for sending: creating a
repository, the question how a file is to be sent, LFS, and commits. Faults are asked for by name.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

LFS_SUFFIXES = (".safetensors", ".bin", ".gguf", ".onnx")
TOKEN = "hf_standInTokenThatIsNeverShown"
_INFO = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)(?:/revision/(?P<revision>.+))?")
_FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)")
_SEND = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/(?P<what>preupload|commit)/(?P<revision>.+)")
_LFS = re.compile(r"/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch")
_BRANCH = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/branch/(?P<revision>.+)")
OWNER = "org"
"""Whose repositories the token may write to."""


def _commit_of(files: dict[str, bytes], number: int) -> str:
    names = json.dumps([number, sorted((n, hashlib.sha1(c).hexdigest()) for n, c in files.items())])
    return hashlib.sha1(names.encode()).hexdigest()


def git_digest(content: bytes) -> str:
    """What git calls a file."""
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


@dataclass
class Repository:
    """A model: commits, the first one first, and branches."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Add a commit with exactly these files."""
        name = _commit_of(files, len(self.commits))
        self.commits[name] = dict(files)
        self.branches[branch] = name
        return name

    def found(self, revision: str) -> str | None:
        """The commit that a revision is."""
        commit = self.branches.get(revision, revision)
        return commit if commit in self.commits else None


@dataclass
class Fault:
    """What goes wrong, and how often."""

    kind: str
    """`cut` (the connection ends half way), `flip` (a byte differs), `503`; of uploads
    `cut upload`, `quota` (no storage left), `413` (a file is too large)."""
    times: int
    after: int = 0
    """Files that arrive before it happens."""


class HubStandIn:
    """The repositories, and a record of what was asked."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.stored: dict[str, bytes] = {}
        """Large files by SHA-256, sent or about to be fetched."""
        self.asked: list[tuple[str, str]] = []
        """Method and path of each request."""
        self.ranges: list[str] = []
        self.tokens: set[str] = set()
        self.fault = Fault("", 0)
        self.url = ""
        self.store_url = ""
        """Another server under another name, which must not get the token."""
        self.stored_with_token = False

    def add(self, name: str, files: Mapping[str, bytes], folder: Path | None = None) -> str:
        """A repository with these files, and those of a folder; returns the commit."""
        content = dict(files)
        for path in sorted(folder.rglob("*")) if folder is not None else ():
            if path.is_file():
                content[path.relative_to(folder or path).as_posix()] = path.read_bytes()
        return self.repositories.setdefault(name, Repository()).commit(content)

    def fetched(self) -> list[str]:
        """Names of the files that were asked for, in order, each once."""
        names = [path.split("/resolve/")[1] for _, path in self.asked if "/resolve/" in path]
        return list(dict.fromkeys(name.partition("/")[2] for name in names))

    def strikes(self, kind: str) -> bool:
        """Whether a fault is due, which uses it up."""
        if self.fault.kind != kind or not self.fault.times or len(self.stored) < self.fault.after:
            return False
        self.fault.times -= 1
        return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubStandIn

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        """Answer without content."""
        self.do_GET()

    def do_GET(self) -> None:
        """Info, or a file."""
        path = self._record()
        if self.hub.strikes("503"):
            return self._refuse(503, "")
        if (found := _FILE.fullmatch(path)) is not None:
            return self._file(found["repo"], found["revision"], unquote(found["name"]))
        if (found := _INFO.fullmatch(path)) is not None:
            return self._info(found["repo"], unquote(found["revision"] or "main"))
        if path.startswith("/cdn/"):
            self.hub.stored_with_token |= self._token() is not None
            return self._content(self.hub.stored[path.removeprefix("/cdn/")], {})
        if path == "/api/whoami-v2":
            return self._json({"name": "org", "type": "user", "orgs": []})
        return self._refuse(404, "")

    def do_PUT(self) -> None:
        """Keep a large file."""
        path = self._record()
        if self.hub.strikes("cut upload"):
            self.rfile.read(int(self.headers.get("Content-Length") or 0) // 2)
            self.close_connection = True
            return None
        body = self._body()
        if self.hub.strikes("413"):
            return self._refuse(413, "")
        self.hub.stored[path.removeprefix("/upload/")] = body
        self.hub.stored_with_token |= self._token() is not None
        return self._json({})

    def do_POST(self) -> None:
        """Create, ask, commit."""
        path, body = self._record(), self._body()
        if path == "/api/validate-yaml":
            is_broken = b"broken" in body
            errors = [{"message": "not a mapping"}] if is_broken else []
            return self._json({"errors": errors, "warnings": []}, 400 if is_broken else 200)
        if self._token() != TOKEN:
            return self._refuse(401, "")
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if _LFS.fullmatch(path) is not None:
            if self.hub.strikes("quota"):
                return self._refuse(403, "", "Private repository storage limit reached")
            return self._batch(json.loads(body))
        if path == "/verify":
            return self._json({})
        return self._change(path, body)

    def _change(self, path: str, body: bytes) -> None:
        """A branch, a question about files, or a commit."""
        found = _SEND.fullmatch(path) or _BRANCH.fullmatch(path)
        if found is None or found["repo"] not in self.hub.repositories:
            return self._refuse(404, "RepoNotFound")
        if not found["repo"].startswith(f"{OWNER}/"):
            return self._refuse(403, "", "Forbidden: you must be a member")
        repository, revision = self.hub.repositories[found["repo"]], unquote(found["revision"])
        if found.re is _BRANCH:
            return self._branch(repository, revision)
        if found["what"] == "preupload":
            return self._json({"files": [_mode(each) for each in json.loads(body)["files"]]})
        return self._commit(found["repo"], repository, revision, body)

    # ---- Fetching --------------------------------------------------------------------------------

    def _readable(self, name: str) -> Repository | None:
        """A repository that this request may read; otherwise it is answered."""
        repository = self.hub.repositories.get(name)
        is_known = self._token() == TOKEN
        if repository is None or (repository.private and not is_known):
            # The real hub does not tell whether it is there.
            self._refuse(404 if is_known else 401, "RepoNotFound")
            return None
        if self._token() not in (None, TOKEN):
            self._refuse(401, "", "Invalid credentials in Authorization header")
            return None
        return repository

    def _info(self, name: str, revision: str) -> None:
        repository = self._readable(name)
        if repository is None:
            return None
        commit = repository.found(revision)
        if commit is None:
            return self._refuse(404, "RevisionNotFound")
        files = repository.commits[commit]
        return self._json(
            {
                "id": name,
                "sha": commit,
                "private": repository.private,
                "siblings": [_sibling(each, files[each]) for each in sorted(files)],
            }
        )

    def _file(self, name: str, revision: str, file: str) -> None:
        repository = self._readable(name)
        if repository is None:
            return None
        if repository.gated and self._token() != TOKEN:
            return self._refuse(401, "GatedRepo")
        commit = repository.found(revision)
        if commit is None:
            return self._refuse(404, "RevisionNotFound")
        content = repository.commits[commit].get(file)
        if content is None:
            return self._refuse(404, "EntryNotFound")
        headers = {"X-Repo-Commit": commit}
        if not file.endswith(LFS_SUFFIXES):
            return self._content(content, {**headers, "ETag": f'"{git_digest(content)}"'})
        digest = hashlib.sha256(content).hexdigest()
        self.hub.stored[digest] = content
        headers |= {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        headers["Location"] = f"{self.hub.store_url}/cdn/{digest}"
        return self._send(302, b"", headers)

    def _content(self, content: bytes, headers: dict[str, str]) -> None:
        asked, status = self.headers.get("Range"), 200
        whole = len(content)
        if asked is not None:
            self.hub.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").split("-")[0])
            content, status = content[start:], 206
            headers["Content-Range"] = f"bytes {start}-{whole - 1}/{whole}"
        is_body = self.command == "GET" and whole > 1000
        if is_body and self.hub.strikes("flip"):
            content = bytes([content[0] ^ 1]) + content[1:]
        if is_body and self.hub.strikes("cut"):
            self._send(status, content[: len(content) // 2], headers, length=len(content))
            self.close_connection = True
            return
        self._send(status, content, headers)

    # ---- Sending ---------------------------------------------------------------------------------

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if asked["organization"] != OWNER:
            return self._refuse(403, "", "You don't have the rights to create a model there")
        if name in self.hub.repositories:
            return self._json({"error": "exists", "url": f"{self.hub.url}/{name}"}, 409)
        is_private = asked.get("visibility", asked.get("private")) in ("private", True)
        self.hub.repositories[name] = Repository(private=is_private)
        self.hub.repositories[name].commit({".gitattributes": b"*.safetensors filter=lfs\n"})
        return self._json({"url": f"{self.hub.url}/{name}", "id": name})

    def _branch(self, repository: Repository, branch: str) -> None:
        if branch in repository.branches:
            return self._json({"error": "exists"}, 409)
        repository.branches[branch] = repository.branches["main"]
        return self._json({})

    def _batch(self, asked: dict[str, Any]) -> None:
        objects = []
        for each in asked["objects"]:
            actions = {
                "upload": {"href": f"{self.hub.store_url}/upload/{each['oid']}"},
                "verify": {"href": f"{self.hub.url}/verify"},
            }
            known = each["oid"] in self.hub.stored
            objects.append({**each, **({} if known else {"actions": actions})})
        self._json({"transfer": "basic", "objects": objects})

    def _commit(self, name: str, repository: Repository, revision: str, body: bytes) -> None:
        files = dict(repository.commits[repository.branches.get(revision, "main")])
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                repository.messages.append(value["summary"])
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
            elif entry["key"] == "deletedFile":
                files.pop(value["path"], None)
        commit = repository.commit(files, revision)
        url = f"{self.hub.url}/{name}/commit/{commit}"
        self._json({"success": True, "commitOid": commit, "commitUrl": url})

    # ---- Plumbing --------------------------------------------------------------------------------

    def _record(self) -> str:
        path = urlsplit(self.path).path
        self.hub.asked.append((self.command, path))
        token = self._token()
        if token is not None:
            self.hub.tokens.add(token)
        return path

    def _token(self) -> str | None:
        header: str | None = self.headers.get("Authorization")
        return None if header is None else header.removeprefix("Bearer ")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _refuse(self, status: int, code: str, message: str = "") -> None:
        headers = {
            name: v for name, v in (("X-Error-Code", code), ("X-Error-Message", message)) if v
        }
        self._send(status, b"{}", headers)

    def _json(self, value: dict[str, Any], status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(
        self, status: int, content: bytes, headers: dict[str, str], length: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _sibling(name: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": git_digest(content)}
    if name.endswith(LFS_SUFFIXES):
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 130}
    return entry


def _mode(asked: dict[str, Any]) -> dict[str, Any]:
    is_large = asked["path"].endswith(LFS_SUFFIXES)
    mode = "lfs" if is_large else "regular"
    return {"path": asked["path"], "uploadMode": mode, "shouldIgnore": False}


@contextmanager
def _served(hub: HubStandIn) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def running_hub() -> Iterator[HubStandIn]:
    """A hub on a free port of loopback, and its store of large files on another."""
    hub = HubStandIn()
    with _served(hub) as hub.url, _served(hub) as store:
        hub.store_url = store.replace("127.0.0.1", "localhost")
        yield hub
