"""The Job and CronJob controllers of the simulated cluster."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.k8s.cron import times
from tests.k8s.objects import CRON_JOBS, JOBS, PODS, Clock, Object, Objects, suffix, timestamp

FINISHED = ("Succeeded", "Failed")
RETRY_DELAY = 0.5  # seconds before a failed pod's successor; a real cluster waits 10 s, doubling


def owner(item: Object) -> Object:
    """A controller's owner reference to `item`."""
    metadata = item["metadata"]
    return {
        "apiVersion": item["apiVersion"],
        "kind": item["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def verdict(rules: list[Object], pod: Object) -> str:
    """What the first matching rule of a pod failure policy says of a failed pod: Count, Ignore or FailJob."""
    status = pod.get("status") or {}
    codes = [s["state"].get("terminated", {}).get("exitCode") for s in status.get("containerStatuses") or []]
    conditions = [(c["type"], c["status"]) for c in status.get("conditions") or []]
    for rule in rules:
        exits = rule.get("onExitCodes")
        if exits and any(c not in (None, 0) and (c in exits["values"]) == (exits["operator"] == "In") for c in codes):
            return str(rule["action"])
        if any((c["type"], c.get("status", "True")) in conditions for c in rule.get("onPodConditions") or []):
            return str(rule["action"])
    return "Count"


@dataclass
class JobState:
    """What the controller remembers of a job between rounds."""

    started: float = field(default_factory=time.monotonic)
    judged: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    counted: int = 0
    condemned: bool = False
    next_pod: float = 0.0


@dataclass
class JobController:
    """One pod at a time until one succeeds, or more failed than `backoffLimit` allows, or time is up."""

    objects: Objects
    clock: Clock
    states: dict[str, JobState] = field(default_factory=dict)

    def reconcile(self) -> None:
        for job in self.objects.list(JOBS):
            conditions = (job.get("status") or {}).get("conditions")
            if conditions:
                self._expire(job)
            elif not job["spec"].get("suspend"):
                self._advance(job, self.states.setdefault(job["metadata"]["uid"], JobState()))

    def _advance(self, job: Object, state: JobState) -> None:
        namespace, name, uid = (job["metadata"][key] for key in ("namespace", "name", "uid"))
        pods = [p for p in self.objects.list(PODS, namespace, f"job-name={name}") if _controlled(p, uid)]
        self._judge(job, pods, state)
        phases = [(pod.get("status") or {}).get("phase", "Pending") for pod in pods]
        active, succeeded = sum(phase not in FINISHED for phase in phases), phases.count("Succeeded")
        limit = job["spec"].get("backoffLimit")
        deadline = job["spec"].get("activeDeadlineSeconds")
        if succeeded:
            self._finish(job, state, "Complete", "CompletionsReached", "Reached expected number of succeeded pods")
        elif state.condemned:
            self._finish(job, state, "Failed", "PodFailurePolicy", "A pod failure policy rule matched")
        elif state.counted > (6 if limit is None else limit):
            self._finish(job, state, "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
        elif deadline and time.monotonic() - state.started > deadline:
            for pod in pods:
                self.objects.update(PODS, namespace, pod["metadata"]["name"], _doom)
            self._finish(job, state, "Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
        else:
            if not active and time.monotonic() >= state.next_pod:
                state.seen.add(self._start(job)["metadata"]["uid"])
                active = 1
            self._status(job, state, {"active": active})

    def _judge(self, job: Object, pods: list[Object], state: JobState) -> None:
        """Count each failed pod once; a pod deleted before it finished has failed too."""
        rules = (job["spec"].get("podFailurePolicy") or {}).get("rules") or []
        here = {pod["metadata"]["uid"]: pod for pod in pods}
        for uid in state.seen - state.judged:
            pod = here.get(uid, {"metadata": {}, "status": {"phase": "Failed"}})
            if pod.get("status", {}).get("phase") != "Failed":
                continue
            state.judged.add(uid)
            state.next_pod = time.monotonic() + RETRY_DELAY
            action = verdict(rules, pod)
            state.counted += action == "Count"
            state.condemned |= action == "FailJob"

    def _start(self, job: Object) -> Object:
        template, name = job["spec"]["template"], job["metadata"]["name"]
        metadata = dict(template.get("metadata") or {})
        names = {"job-name": name, "batch.kubernetes.io/job-name": name}
        metadata["labels"] = {**(metadata.get("labels") or {}), **names}
        # The pod's name is its host name, so it must stay under 64 characters.
        metadata |= {"name": f"{name[:57]}-{suffix()}", "ownerReferences": [owner(job)]}
        pod = {"metadata": metadata, "spec": template["spec"], "status": {"phase": "Pending"}}
        return self.objects.create(PODS, job["metadata"]["namespace"], pod)

    def _status(self, job: Object, state: JobState, change: Object) -> None:
        name, now = job["metadata"]["name"], timestamp(self.clock.now())

        def apply(fresh: Object) -> None:
            status = {"startTime": now, **(fresh.get("status") or {}), **change}
            fresh["status"] = status | {"failed": len(state.judged)}

        status = job.get("status") or {}
        if any(status.get(key) != value for key, value in {**change, "failed": len(state.judged)}.items()):
            self.objects.update(JOBS, job["metadata"]["namespace"], name, apply)

    def _finish(self, job: Object, state: JobState, kind: str, reason: str, message: str) -> None:
        now = timestamp(self.clock.now())
        condition = {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now}
        done: Object = {"active": 0, "conditions": [condition]}
        self._status(job, state, done | ({"succeeded": 1, "completionTime": now} if kind == "Complete" else {}))

    def _expire(self, job: Object) -> None:
        seconds = job["spec"].get("ttlSecondsAfterFinished")
        ended = datetime.fromisoformat(job["status"]["conditions"][0]["lastTransitionTime"])
        if seconds is not None and self.clock.now() > ended + timedelta(seconds=seconds):
            self.objects.remove(JOBS, job["metadata"]["namespace"], job["metadata"]["name"])


@dataclass
class CronJobController:
    """Creates a job when a schedule's time has come; of several missed times only the last counts."""

    objects: Objects
    clock: Clock

    def reconcile(self) -> None:
        for cron in self.objects.list(CRON_JOBS):
            if not cron["spec"].get("suspend"):
                self._advance(cron)

    def _advance(self, cron: Object) -> None:
        last = (cron.get("status") or {}).get("lastScheduleTime") or cron["metadata"]["creationTimestamp"]
        now = self.clock.now().astimezone(UTC)
        due = times(cron["spec"]["schedule"], datetime.fromisoformat(last), now)
        if not due:
            return
        namespace, name = cron["metadata"]["namespace"], cron["metadata"]["name"]
        deadline = cron["spec"].get("startingDeadlineSeconds")
        late = deadline is not None and now > due[-1] + timedelta(seconds=deadline)
        active = [job for job in self.objects.list(JOBS, namespace) if _unfinished(job, cron)]
        policy = cron["spec"].get("concurrencyPolicy") or "Allow"
        if active and policy == "Forbid":
            return
        for job in active if policy == "Replace" else []:
            self.objects.remove(JOBS, namespace, job["metadata"]["name"])
        if not late:
            self.objects.create(JOBS, namespace, self._job(cron, due[-1]))
        moment = timestamp(due[-1])
        status = {**(cron.get("status") or {}), "lastScheduleTime": moment}
        self.objects.update(CRON_JOBS, namespace, name, lambda fresh: fresh | {"status": status})

    @staticmethod
    def _job(cron: Object, due: datetime) -> Object:
        template = cron["spec"]["jobTemplate"]
        given = template.get("metadata") or {}
        metadata = {key: given[key] for key in ("labels", "annotations") if given.get(key)}
        metadata |= {"name": f"{cron['metadata']['name'][:52]}-{int(due.timestamp() // 60)}"}
        return {"metadata": metadata | {"ownerReferences": [owner(cron)]}, "spec": template["spec"]}


def _controlled(item: Object, uid: str) -> bool:
    return any(ref["uid"] == uid and ref.get("controller") for ref in item["metadata"].get("ownerReferences") or [])


def _unfinished(job: Object, cron: Object) -> bool:
    return _controlled(job, cron["metadata"]["uid"]) and not (job.get("status") or {}).get("conditions")


def _doom(pod: Object) -> None:
    """Ask the kubelet to end a pod whose object stays."""
    pod["spec"]["activeDeadlineSeconds"] = 0
