"""Stands in for the kubelet on the Nodes of a control plane: runs the exporter's Pods.

A container is the built program, or kubectl, as a process, with the arguments, the environment and the
token that its Pod says; init containers run first and to their end. Of the rest of a Pod
(image, users, limits, volumes) nothing is done: /host/sys is the folder given for the Node.
"""

import concurrent.futures
import re
import subprocess
import tempfile
import threading
import time

from control_plane import NAME, program
from exporter import Exporter, binary

POLL_SECONDS = 0.2
RUN_SECONDS = 120  # for a container that ends by itself

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
AS_IN_A_POD = f"""
mount -t tmpfs none /var/run && mkdir -p {SERVICE_ACCOUNT} &&
cp "$1" {SERVICE_ACCOUNT}/token && cp "$2" {SERVICE_ACCOUNT}/ca.crt && shift 2 && exec "$@"
"""


def has_mount_namespaces():
    return subprocess.run(["unshare", "--mount", "true"], check=False).returncode == 0


def in_a_pod(plane, token, folder, **environment):
    """The command that starts a program where a pod with this token would find it."""
    (folder / "token").write_text(token)
    return [
        "env",
        f"KUBERNETES_SERVICE_HOST={plane.host}",
        f"KUBERNETES_SERVICE_PORT={plane.port}",
        *(f"{name}={value}" for name, value in environment.items()),
        *("unshare", "--mount", "sh", "-c", AS_IN_A_POD, "sh"),
        *(str(folder / "token"), str(plane.ca_file)),
    ]


class Kubelet:
    """Runs the Pods of one namespace; a context manager.

    hosts says for each Node where its sysfs is. Pods on other Nodes stay Pending.
    """

    def __init__(self, plane, folder, hosts, namespace=NAME):
        self._plane = plane
        self._folder = folder
        self._hosts = hosts
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._namespace = namespace
        self._held = set()
        self._ends = {}  # by the Pod's uid
        self._stopped = threading.Event()
        self._threads = concurrent.futures.ThreadPoolExecutor(max_workers=64)
        self._running = []

    def __enter__(self):
        self._running.append(self._threads.submit(self._loop))
        return self

    def __exit__(self, *_):
        self._stopped.set()
        for end in self._ends.values():
            end.set()
        self._threads.shutdown()
        for thread in self._running:
            thread.result()  # what went wrong there is the test's failure

    def hold(self, *nodes):
        """Starts no Pod there until release(nodes), but those of Jobs."""
        self._held |= set(nodes)

    def release(self, *nodes):
        self._held -= set(nodes)

    def _loop(self):
        while not self._stopped.wait(POLL_SECONDS):
            for pod in self._plane.request("GET", self._pods)[1].get("items", []):
                uid, node = pod["metadata"]["uid"], pod["spec"].get("nodeName")
                if "deletionTimestamp" in pod["metadata"]:
                    if uid in self._ends:
                        self._ends[uid].set()  # its thread deletes it
                    elif node in self._hosts:
                        self._delete(pod)
                elif uid not in self._ends and node in self._hosts and not self._is_held(pod):
                    self._ends[uid] = threading.Event()
                    self._running.append(self._threads.submit(self._run, pod))

    def _is_held(self, pod):
        return pod["spec"]["nodeName"] in self._held and pod["spec"]["restartPolicy"] == "Always"

    def _run(self, pod):
        end = self._ends[pod["metadata"]["uid"]]
        folder = self._folder / pod["metadata"]["uid"]
        folder.mkdir()
        spec = pod["spec"]
        init_containers = spec.get("initContainers", [])
        (container,) = spec["containers"]
        if not all(self._run_to_the_end(pod, each, folder, end) for each in init_containers):
            pass  # it is to end before it has begun
        elif spec["restartPolicy"] == "Always":
            args, under = self._command(pod, container, folder)
            if not end.is_set():
                with Exporter(*args, under=under) as exporter:  # that is, until it is ready
                    self._report(pod, "Running", ready=True)
                    end.wait()
                    exporter.stop()
                self._log(pod, args, exporter.stderr)
        elif self._run_to_the_end(pod, container, folder, end):
            self._report(pod, "Succeeded", ready=False)
            end.wait()
        self._delete(pod)

    def _run_to_the_end(self, pod, container, folder, end):
        """Again and again. Whether it did it at last; the Pod's end ends it."""
        args, under = self._command(pod, container, folder)
        its_program = program("kubectl") if container.get("command") == ["kubectl"] else binary()
        while not end.is_set():
            with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
                process = subprocess.Popen(
                    [*under, its_program, *args], stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
                )
                deadline = time.monotonic() + RUN_SECONDS
                while process.poll() is None and not end.wait(POLL_SECONDS) and time.monotonic() < deadline:
                    pass
                is_ended = process.poll() is not None
                process.kill()
                process.wait()
                said.seek(0)
                self._log(pod, args, said.read())
            assert is_ended or end.is_set(), f"{args} runs for longer than {RUN_SECONDS} s"
            if process.returncode == 0:
                return True
            end.wait(POLL_SECONDS)
        return False

    def _log(self, pod, args, said):
        with open(self._folder / "containers.log", "a", encoding="utf-8") as log:
            log.write(f"{pod['spec']['nodeName']} {args}\n{said}\n")

    def _command(self, pod, container, folder):
        """(its arguments, what starts the program)"""
        environment = {entry["name"]: self._value(pod, entry) for entry in container.get("env", [])}
        args = [
            re.sub(r"\$\((\w+)\)", lambda match: environment[match[1]], arg).replace(
                "/host/sys", str(self._hosts[pod["spec"]["nodeName"]])
            )
            for arg in container["args"]
        ]
        if not pod["spec"]["automountServiceAccountToken"]:
            return args, ["env", *(f"{name}={value}" for name, value in environment.items())]
        token = self._plane.pod_token(pod)
        return args, in_a_pod(self._plane, token, folder, **environment)

    def _value(self, pod, entry):
        source = entry["valueFrom"]
        if "fieldRef" in source:
            assert source["fieldRef"]["fieldPath"] == "spec.nodeName"
            return pod["spec"]["nodeName"]
        wanted = source["configMapKeyRef"]
        path = f"/api/v1/namespaces/{self._namespace}/configmaps/{wanted['name']}"
        return self._plane.request("GET", path)[1]["data"][wanted["key"]]

    def _report(self, pod, phase, ready):
        status = {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": str(ready)}],
        }
        self._plane.request(
            "PATCH",
            f"{self._pods}/{pod['metadata']['name']}/status",
            {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status},
            headers={"Content-Type": "application/merge-patch+json"},
        )

    def _delete(self, pod):
        self._plane.request(
            "DELETE",
            f"{self._pods}/{pod['metadata']['name']}",
            {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}},
        )
