"""From a pod's manifest to what its process gets: environment, mounts, command, user."""

from __future__ import annotations

import base64
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.k8s.objects import CLAIMS, CONFIG_MAPS, SECRETS, SERVICE_ACCOUNTS, ApiError, Object, Objects

TOKENS = "/var/run/secrets/kubernetes.io/serviceaccount"


class Waiting(Exception):
    """The pod can't start now: reason and message, as a kubelet or scheduler gives them."""


class PodSpec:
    """One pod's manifest, resolved against the cluster's objects.

    The "image" is this machine: its system directories and this process's Python environment, read-only. Nothing
    of the checkout is in it.
    """

    def __init__(self, pod: Object, objects: Objects, directory: Path, claims: Path) -> None:
        self.pod, self.objects, self.directory, self.claims = pod, objects, directory, claims
        self.namespace, self.name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        containers = pod["spec"]["containers"]
        if len(containers) != 1 or pod["spec"].get("initContainers"):
            raise Waiting("CreateContainerConfigError", "the simulated kubelet runs one container per pod")
        self.container = containers[0]
        self.account = pod["spec"].get("serviceAccountName") or "default"

    def resolve(self, server: tuple[str, int], certificate: Path, token: Callable[[str, str], str]) -> Object:
        """What `pod_init.py` reads.

        Raises:
            Waiting: something that the pod refers to isn't there.
        """
        self._get(SERVICE_ACCOUNTS, self.account)
        host, port = server
        context = {**(self.pod["spec"].get("securityContext") or {}), **(self.container.get("securityContext") or {})}
        home = "/home/pod"
        environment = {
            "PATH": f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin",
            "HOME": home,
            "LANG": "C.UTF-8",
            "HOSTNAME": self.name,
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": str(port),
            **self._environment(),
        }
        return {
            "root": str(self._made("root")),
            "hostname": self.name,
            "binds": [
                *self._volumes(),  # first: one at /tmp must not hide an environment that lies below
                *([place, place, False] for place in dict.fromkeys((sys.base_prefix, sys.prefix))),
                [str(self._written("hosts", f"127.0.0.1 localhost {self.name}\n")), "/etc/hosts", False],
                [str(self._account_files(certificate, token)), TOKENS, False],
            ],
            "environment": environment,
            "directory": self.container.get("workingDir") or "/app",
            "user": context.get("runAsUser") or 0,
            "group": context.get("runAsGroup") or context.get("runAsUser") or 0,
            "command": [*(self.container.get("command") or []), *(self.container.get("args") or [])],
        }

    def _get(self, kind: Any, name: str) -> Object:
        try:
            return self.objects.get(kind, self.namespace, name)
        except ApiError as error:
            raise Waiting("CreateContainerConfigError", error.message) from None

    def _data(self, kind: Any, name: str) -> dict[str, str]:
        """A secret's or config map's texts."""
        item = self._get(kind, name)
        data = dict(item.get("data") or {})
        if kind == SECRETS:
            data = {key: base64.b64decode(value or "").decode() for key, value in data.items()}
            data |= item.get("stringData") or {}
        return data

    def _environment(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for source in self.container.get("envFrom") or []:
            for field, kind in (("secretRef", SECRETS), ("configMapRef", CONFIG_MAPS)):
                if field in source:
                    prefix = source.get("prefix", "")
                    found |= {prefix + key: value for key, value in self._data(kind, source[field]["name"]).items()}
        for variable in self.container.get("env") or []:
            found[variable["name"]] = self._value(variable)
        return found

    def _value(self, variable: Object) -> str:
        source = variable.get("valueFrom") or {}
        for field, kind in (("secretKeyRef", SECRETS), ("configMapKeyRef", CONFIG_MAPS)):
            if field in source:
                data, key = self._data(kind, source[field]["name"]), source[field]["key"]
                if key not in data:
                    raise Waiting("CreateContainerConfigError", f"no key {key} in {source[field]['name']}")
                return data[key]
        if "fieldRef" in source:
            found: Any = self.pod
            for part in source["fieldRef"]["fieldPath"].split("."):
                found = found[part]
            return str(found)
        if "resourceFieldRef" in source:
            part, _, resource = source["resourceFieldRef"]["resource"].partition(".")
            amount = str(self.container["resources"][part][resource])
            assert resource == "cpu", "other resources have other units"
            return str(math.ceil(float(amount[:-1]) / 1000 if amount.endswith("m") else float(amount)))
        return str(variable.get("value") or "")

    def _volumes(self) -> list[list[str | bool]]:
        """[source, target, writable] of each mount."""
        volumes = {volume["name"]: volume for volume in self.pod["spec"].get("volumes") or []}
        binds: list[list[str | bool]] = []
        for mounted in self.container.get("volumeMounts") or []:
            source = self._source(volumes[mounted["name"]])
            if mounted.get("subPath"):
                source = source / mounted["subPath"]
                source.mkdir(parents=True, exist_ok=True)
            binds.append([str(source), mounted["mountPath"], not mounted.get("readOnly")])
        return binds

    def _source(self, volume: Object) -> Path:
        name = volume["name"]
        if claim := volume.get("persistentVolumeClaim"):
            self._get(CLAIMS, claim["claimName"])
            return _world_writable(self.claims / self.namespace / claim["claimName"])
        if "emptyDir" in volume:
            return _world_writable(self._made(f"empty-{name}"))
        if "hostPath" in volume:
            return Path(volume["hostPath"]["path"])
        for field, kind, key in (("secret", SECRETS, "secretName"), ("configMap", CONFIG_MAPS, "name")):
            if field in volume:
                for file, text in self._data(kind, volume[field][key]).items():
                    self._written(f"{field}-{name}/{file}", text)
                return self._made(f"{field}-{name}")
        raise Waiting("CreateContainerConfigError", f"the simulated kubelet has no such volume: {volume}")

    def _account_files(self, certificate: Path, token: Callable[[str, str], str]) -> Path:
        self._written("account/token", token(self.namespace, self.account))
        self._written("account/namespace", self.namespace)
        self._written("account/ca.crt", certificate.read_text(encoding="utf-8"))
        return self._made("account")

    def _made(self, name: str) -> Path:
        path = self.directory / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _written(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path


def _world_writable(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    os.chmod(path, 0o777)
    return path
