"""The simulated cluster's objects: what a Kubernetes API server keeps in etcd, kept in memory."""

from __future__ import annotations

import copy
import random
import string
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

Object = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A resource type: where it lies in the API and what it is called."""

    group: str
    plural: str
    name: str
    namespaced: bool = True

    @property
    def version(self) -> str:
        return f"{self.group}/v1" if self.group else "v1"


RBAC = "rbac.authorization.k8s.io"
NAMESPACES = Kind("", "namespaces", "Namespace", namespaced=False)
PODS, SECRETS, CONFIG_MAPS = Kind("", "pods", "Pod"), Kind("", "secrets", "Secret"), Kind("", "configmaps", "ConfigMap")
SERVICE_ACCOUNTS, SERVICES = Kind("", "serviceaccounts", "ServiceAccount"), Kind("", "services", "Service")
CLAIMS = Kind("", "persistentvolumeclaims", "PersistentVolumeClaim")
JOBS, CRON_JOBS = Kind("batch", "jobs", "Job"), Kind("batch", "cronjobs", "CronJob")
ROLES, ROLE_BINDINGS = Kind(RBAC, "roles", "Role"), Kind(RBAC, "rolebindings", "RoleBinding")
KINDS = (
    *(NAMESPACES, PODS, SECRETS, CONFIG_MAPS, SERVICE_ACCOUNTS, SERVICES, CLAIMS),
    *(JOBS, CRON_JOBS, ROLES, ROLE_BINDINGS),
)


class ApiError(Exception):
    """An answer that is not a success."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


@dataclass
class Clock:
    """The cluster's time, which a test may advance."""

    offset: timedelta = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.offset

    def advance(self, step: timedelta) -> None:
        self.offset += step


def timestamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def suffix() -> str:
    """Five characters, as the API server appends them to `generateName`."""
    return "".join(random.choices(string.digits + "bcdfghjklmnpqrstvwxz", k=5))


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386. Strategic merge differs in lists of named things, which are merged by name here too."""
    if isinstance(patch, list) and isinstance(target, list) and all(_named(item) for item in [*target, *patch]):
        merged = {item["name"]: item for item in target}
        for item in patch:
            merged[item["name"]] = merge(merged.get(item["name"], {}), item)
        return list(merged.values())
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def _named(item: Any) -> bool:
    return isinstance(item, dict) and "name" in item


def json_patch(target: Object, operations: list[Object]) -> Object:
    """RFC 6902: add, replace, remove, test."""
    result = copy.deepcopy(target)
    for operation in operations:
        parts = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        node: Any = result
        for part in parts[:-1]:
            node = node[int(part) if isinstance(node, list) else part]
        key: Any = parts[-1]
        if isinstance(node, list):
            key = len(node) if key == "-" else int(key)
        if operation["op"] == "remove":
            del node[key]
        elif operation["op"] == "test":
            if node[key] != operation["value"]:
                raise ApiError(422, "Invalid", f"test of {operation['path']} failed")
        elif operation["op"] == "add" and isinstance(node, list):
            node.insert(key, operation["value"])
        elif operation["op"] in ("add", "replace"):
            node[key] = operation["value"]
        else:
            raise ApiError(422, "Invalid", f"unknown operation {operation['op']}")
    return result


def matches_labels(item: Object, selector: str) -> bool:
    """Equality-based selectors (`a=b,c!=d,e`), which is what clients of jobs and pods send."""
    labels = item["metadata"].get("labels") or {}
    for term in filter(None, selector.split(",")):
        name, sign, value = term.replace("==", "=").partition("=")
        if (not sign and name not in labels) or (sign and name.endswith("!") and labels.get(name[:-1]) == value):
            return False
        if sign and not name.endswith("!") and labels.get(name) != value:
            return False
    return True


def matches_fields(item: Object, selector: str) -> bool:
    for term in filter(None, selector.split(",")):
        path, _, value = term.replace("==", "=").partition("=")
        found: Any = item
        for part in path.removesuffix("!").split("."):
            found = (found or {}).get(part)
        if (found == value) == path.endswith("!"):
            return False
    return True


@dataclass
class Objects:
    """All objects by kind, namespace and name. Answers are copies; `update` changes one under the lock."""

    clock: Clock
    lock: threading.RLock = field(default_factory=threading.RLock)
    kept: dict[tuple[Kind, str, str], Object] = field(default_factory=dict)
    revision: int = 0

    def create(self, kind: Kind, namespace: str, body: Object) -> Object:
        item = copy.deepcopy(body)
        metadata = item.setdefault("metadata", {})
        with self.lock:
            if not metadata.get("name"):
                metadata["name"] = metadata.get("generateName", "")[:58] + suffix()
            if (kind, namespace, metadata["name"]) in self.kept:
                raise ApiError(409, "AlreadyExists", f'{kind.plural} "{metadata["name"]}" already exists')
            if kind.namespaced and (NAMESPACES, "", namespace) not in self.kept:
                raise ApiError(404, "NotFound", f'namespaces "{namespace}" not found')
            metadata |= {"uid": str(uuid4()), "creationTimestamp": timestamp(self.clock.now()), "generation": 1}
            if kind.namespaced:
                metadata["namespace"] = namespace
            item |= {"apiVersion": kind.version, "kind": kind.name}
            if kind in (PODS, JOBS, CRON_JOBS):
                item["status"] = {"phase": "Pending"} if kind == PODS else {}
            self._keep(kind, namespace, item)
            return copy.deepcopy(item)

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        with self.lock:
            if (kind, namespace, name) not in self.kept:
                raise ApiError(404, "NotFound", f'{kind.plural} "{name}" not found')
            return copy.deepcopy(self.kept[kind, namespace, name])

    def list(self, kind: Kind, namespace: str | None = None, labels: str = "", fields: str = "") -> list[Object]:
        with self.lock:
            chosen = [v for (k, n, _), v in self.kept.items() if k == kind and namespace in (None, n)]
            return copy.deepcopy([v for v in chosen if matches_labels(v, labels) and matches_fields(v, fields)])

    def update(self, kind: Kind, namespace: str, name: str, change: Callable[[Object], Object | None]) -> Object:
        """Apply a change (in place, or by what it returns); what identifies the object stays as it is."""
        with self.lock:
            old = self.get(kind, namespace, name)
            fresh = copy.deepcopy(old)
            fresh = change(fresh) or fresh
            kept = ("name", "namespace", "uid", "creationTimestamp", "generation")
            fresh["metadata"] |= {key: old["metadata"][key] for key in kept if key in old["metadata"]}
            self._keep(kind, namespace, fresh)
            return copy.deepcopy(fresh)

    def remove(self, kind: Kind, namespace: str, name: str) -> Object:
        """Take the object away, and whatever it owns."""
        with self.lock:
            gone = self.get(kind, namespace, name)
            del self.kept[kind, namespace, name]
            for other, where, what in list(self.kept):
                item = self.kept.get((other, where, what))
                owners = (item or {}).get("metadata", {}).get("ownerReferences") or []
                if any(owner["uid"] == gone["metadata"]["uid"] for owner in owners):
                    self.remove(other, where, what)
            return gone

    def _keep(self, kind: Kind, namespace: str, item: Object) -> None:
        self.revision += 1
        item["metadata"]["resourceVersion"] = str(self.revision)
        self.kept[kind, namespace, item["metadata"]["name"]] = item
