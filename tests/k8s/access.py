"""Who may do what in the simulated cluster: bearer tokens, Roles and RoleBindings, as RBAC has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from secrets import token_hex

from tests.k8s.objects import RBAC, ROLE_BINDINGS, ROLES, ApiError, Kind, Object, Objects

READ = ("get", "list", "watch")
ALL: Object = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
WORKLOADS: Object = {"apiGroups": ["", "batch"], "resources": ["*"], "verbs": ["*"]}
CLUSTER_ROLES: dict[str, list[Object]] = {
    "cluster-admin": [ALL],
    "admin": [ALL],
    "edit": [WORKLOADS],
    "view": [WORKLOADS | {"verbs": list(READ)}],
}


@dataclass
class Access:
    """Tokens and what they allow. The administrator's token is in the kubeconfig, the others in pods."""

    objects: Objects
    administrator: str = field(default_factory=lambda: token_hex(16))
    accounts: dict[str, tuple[str, str]] = field(default_factory=dict)

    def token(self, namespace: str, account: str) -> str:
        """A token of a service account."""
        token = token_hex(16)
        self.accounts[token] = (namespace, account)
        return token

    def check(self, header: str, verb: str, kind: Kind, namespace: str, subresource: str = "") -> None:
        """Raise 401 for a stranger, 403 for what no binding allows."""
        token = header.rpartition(" ")[2]  # clients in a cluster say "bearer", others "Bearer"
        if token == self.administrator:
            return
        if token not in self.accounts:
            raise ApiError(401, "Unauthorized", "Unauthorized")
        home, account = self.accounts[token]
        resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
        if not any(self._allows(rule, verb, kind.group, resource) for rule in self._rules(home, account, namespace)):
            who, where = f"system:serviceaccount:{home}:{account}", f'in the namespace "{namespace}"'
            message = f'{resource} is forbidden: User "{who}" cannot {verb} resource "{resource}" {where}'
            raise ApiError(403, "Forbidden", message)

    def _rules(self, home: str, account: str, namespace: str) -> list[Object]:
        rules: list[Object] = []
        for binding in self.objects.list(ROLE_BINDINGS, namespace):
            subjects = [(s.get("namespace", namespace), s["name"]) for s in binding.get("subjects") or []]
            if (home, account) in subjects:
                role = binding["roleRef"]
                if role["kind"] == "ClusterRole":
                    rules += CLUSTER_ROLES.get(role["name"], [])
                else:
                    rules += self.objects.get(ROLES, namespace, role["name"]).get("rules") or []
        return rules

    @staticmethod
    def _allows(rule: Object, verb: str, group: str, resource: str) -> bool:
        if group == RBAC and "*" not in rule["apiGroups"] and RBAC not in rule["apiGroups"]:
            return False
        asked = {"apiGroups": group, "resources": resource, "verbs": verb}
        return all("*" in rule.get(part, []) or value in rule.get(part, []) for part, value in asked.items())
