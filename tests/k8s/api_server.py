"""A simulated Kubernetes API over HTTPS: discovery, CRUD, patches, selectors, pod logs. No watches."""

from __future__ import annotations

import itertools
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.k8s.access import Access
from tests.k8s.objects import JOBS, KINDS, NAMESPACES, PODS, ApiError, Kind, Object, Objects, json_patch, merge

VERSION = {"major": "1", "minor": "30", "gitVersion": "v1.30.0-simulated"}
VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Target:
    """What a path names: a kind, and maybe a namespace, an object and a part of it."""

    def __init__(self, path: str) -> None:
        parts = [part for part in path.split("/") if part]
        group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
        self.namespace: str | None = None
        if len(rest) > 2 and rest[0] == "namespaces":
            self.namespace, rest = rest[1], rest[2:]
        known: dict[tuple[str, str], Kind] = {(kind.group, kind.plural): kind for kind in KINDS}
        if not rest or (group, rest[0]) not in known:
            raise ApiError(404, "NotFound", f"the server could not find the requested resource: {path}")
        self.kind = known[group, rest[0]]
        self.name = rest[1] if len(rest) > 1 else ""
        self.part = rest[2] if len(rest) > 2 else ""


def discovery(path: str) -> Object | None:
    """The answers that tell a client which resources there are, or None for other paths."""
    groups = sorted({kind.group for kind in KINDS if kind.group})
    if path == "/version":
        return VERSION
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        listed = []
        for group in groups:
            version = {"groupVersion": f"{group}/v1", "version": "v1"}
            listed.append({"name": group, "versions": [version], "preferredVersion": version})
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
    for group, root in {"": "/api/v1", **{group: f"/apis/{group}/v1" for group in groups}}.items():
        if path == root:
            kinds = [kind for kind in KINDS if kind.group == group]
            verbs = ["create", "delete", "get", "list", "patch", "update"]
            resources = [
                {"name": k.plural, "singularName": "", "namespaced": k.namespaced, "kind": k.name, "verbs": verbs}
                for k in kinds
            ]
            return {"kind": "APIResourceList", "groupVersion": kinds[0].version, "resources": resources}
    return None


def admit(kind: Kind, item: Object) -> Object:
    """Defaults that the API server fills in, and what this simulation does not do."""
    if kind == JOBS:
        spec = item["spec"]
        if (spec.get("parallelism") or 1) > 1 or (spec.get("completions") or 1) > 1:
            raise ApiError(422, "Invalid", "the simulated cluster runs one pod a job")
        for rule in (spec.get("podFailurePolicy") or {}).get("rules") or []:
            for condition in rule.get("onPodConditions") or []:
                condition.setdefault("status", "True")  # the client refuses to read a rule without it
    return item


class Api:
    """The verbs, free of HTTP."""

    def __init__(self, objects: Objects, access: Access, logs: Callable[[str, str], Path]) -> None:
        self.objects, self.access, self.logs = objects, access, logs
        self.on_delete: Callable[[Object, int], None] = lambda pod, grace: None

    def answer(self, verb: str, target: Target, query: dict[str, str], body: Any, content_type: str) -> Object:
        kind, namespace, name = target.kind, target.namespace or "", target.name
        if query.get("watch") in ("1", "true"):
            raise ApiError(400, "BadRequest", "the simulated API has no watches")
        if verb == "create":
            return self.objects.create(kind, namespace, admit(kind, body))
        if verb == "get" and not name:
            found = self.objects.list(
                kind, target.namespace, query.get("labelSelector", ""), query.get("fieldSelector", "")
            )
            metadata = {"resourceVersion": str(self.objects.revision)}
            return {"kind": f"{kind.name}List", "apiVersion": kind.version, "metadata": metadata, "items": found}
        if verb == "get":
            return self.objects.get(kind, namespace, name)
        if verb == "update":
            return self.objects.update(kind, namespace, name, lambda _: admit(kind, body))
        if verb == "patch":
            change = json_patch if "json-patch" in content_type else merge
            return self.objects.update(kind, namespace, name, lambda old: admit(kind, change(old, body)))
        return self._delete(kind, namespace, name, query, body or {})

    def _delete(self, kind: Kind, namespace: str, name: str, query: dict[str, str], body: Object) -> Object:
        policy = query.get("propagationPolicy") or body.get("propagationPolicy") or "Background"
        gone = self.objects.get(kind, namespace, name)
        if policy == "Orphan":
            raise ApiError(422, "Invalid", "the simulated API deletes what an object owns")
        grace = query.get("gracePeriodSeconds") or body.get("gracePeriodSeconds")
        doomed = [gone] if kind == PODS else self._pods_under(gone)
        for pod in doomed:
            asked = (pod.get("spec") or {}).get("terminationGracePeriodSeconds") or 30
            self.on_delete(pod, int(asked if grace is None else grace))
        self.objects.remove(kind, namespace, name)
        return {"kind": "Status", "apiVersion": "v1", "status": "Success", "metadata": {}, "details": {"name": name}}

    def _pods_under(self, owner: Object) -> list[Object]:
        """Pods that go when `owner` goes: directly owned, or through jobs."""
        found, owners = [], {owner["metadata"]["uid"]}
        for kind in (JOBS, JOBS, PODS):  # a cron job's jobs, their jobs (an orchestrator owns its steps), pods
            for item in self.objects.list(kind, owner["metadata"].get("namespace")):
                if owners & {ref["uid"] for ref in item["metadata"].get("ownerReferences") or []}:
                    owners.add(item["metadata"]["uid"])
                    found += [item] if kind == PODS else []
        return found

    def log(self, target: Target, query: dict[str, str]) -> Iterator[bytes]:
        """A pod's output so far; with `follow`, until it ends."""
        namespace, name = target.namespace or "", target.name
        path = self.logs(namespace, self.objects.get(PODS, namespace, name)["metadata"]["uid"])
        if not path.exists():
            raise ApiError(400, "BadRequest", f'container of "{name}" is waiting to start')
        with path.open("rb") as stream:
            while True:
                phase = self.objects.get(PODS, namespace, name)["status"].get("phase")
                while piece := stream.read(65536):
                    yield piece
                if query.get("follow", "").lower() != "true" or phase in ("Succeeded", "Failed"):
                    return
                time.sleep(0.1)


class Handler(BaseHTTPRequestHandler):
    """Requests to verbs, answers to JSON."""

    protocol_version = "HTTP/1.1"
    api: Api

    def log_message(self, *_: Any) -> None:
        pass

    def _handle(self) -> None:
        address = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        try:
            if (known := discovery(address.path.rstrip("/"))) is not None:
                return self._send(200, known)
            target, query = Target(address.path), {k: v[0] for k, v in parse_qs(address.query).items()}
            verb = "list" if self.command == "GET" and not target.name else VERBS[self.command]
            header = self.headers.get("Authorization", "")
            where = "" if target.kind == NAMESPACES else target.namespace or ""
            self.api.access.check(header, verb, target.kind, where, target.part)
            if target.part == "log":
                return self._stream(self.api.log(target, query))
            body, kind = json.loads(raw) if raw else None, self.headers.get("Content-Type", "")
            answer = self.api.answer(VERBS[self.command], target, query, body, kind)
            return self._send(201 if self.command == "POST" else 200, answer)
        except ApiError as error:
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "metadata": {}}
            return self._send(
                error.status, status | {"code": error.status, "reason": error.reason, "message": error.message}
            )

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def _send(self, status: int, answer: Object) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, pieces: Iterator[bytes]) -> None:
        first = next(pieces, b"")  # an error shows here, before the status is sent
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in itertools.chain([first], pieces):
            if piece:
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


def serve(api: Api, certificate: Path, key: Path) -> ThreadingHTTPServer:
    """Serve in the background on a free port of the loopback interface."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"api": api}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    return server
