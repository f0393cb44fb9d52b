"""The exporter installed, rolled out and removed on nodes, by Helm and by kustomize.

A real API server, scheduler and controllers; helm and kubectl. The Pods run as processes
(kubelet.py), behind the fence and with the tokens that they get.
"""

import concurrent.futures
import json
import subprocess
import sys
import time

import pytest

from conftest import BOARDS, UNPACK
from control_plane import CHART, NAME, PREFIX, ControlPlane
from exporter import wait_until
from kubelet import Kubelet, has_mount_namespaces

SECONDS = 60  # for something to happen on all nodes; generous
ABSENCE_SECONDS = 5  # shows that nothing happens: that takes one or two

BOARD = "jetson-nano"
TAINTED = {  # Linux nodes, and what keeps other Pods away
    "control-plane": {"taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]},
    "edge": {"taints": [{"key": "example.org/edge", "value": "1", "effect": "NoExecute"}]},
    "not-ready": {"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]},
    "cordoned": {"unschedulable": True},
}
NO_DEVICETREE = "pc"
NODES = [*TAINTED, NO_DEVICETREE]
WINDOWS = "windows"
AT_ONCE = "--kubernetes.start-jitter=0"
VALUES = [f"--set=labels.nodes={{gpu}},extraArgs={{{AT_ONCE}}}"]
PATCH = [
    {"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": arg}
    for arg in ["--labels.nodes=gpu", AT_ONCE]
]


def board_labels():
    lines = (BOARDS / BOARD / "expected/dry_run.txt").read_text().splitlines()
    return dict(line.split(": ") for line in lines if line.startswith(PREFIX))


EXPECTED = {node: {} if node == NO_DEVICETREE else board_labels() for node in NODES}
CLEAN = dict.fromkeys(NODES, {})


class Cluster(ControlPlane):
    """A control plane and its nodes."""

    def pods(self):
        """Of the exporter, by node."""
        found = {}
        path = f"/api/v1/namespaces/{NAME}/pods?labelSelector=app.kubernetes.io/name={NAME}"
        for pod in self.request("GET", path)[1]["items"]:
            found.setdefault(pod["spec"].get("nodeName"), []).append(pod)
        return found

    def all_labels(self):
        return {node: self.labels(node) for node in NODES}

    def wait_for(self, labels):
        wait_until(lambda: self.all_labels() == labels, f"the labels are {labels}", SECONDS)

    def wait_for_roll_out(self):
        self.kubectl(
            *("-n", NAME, "rollout", "status", f"daemonset/{NAME}", f"--timeout={SECONDS}s")
        )

    def install(self, kubelet, *flags):
        """By Helm."""
        helm = lambda: self.helm("install", NAME, CHART, "-n", NAME, *VALUES, *flags)
        self.install_by(helm, kubelet)

    def install_by(self, install, kubelet):
        """No Pod starts before the fence stands: it would be denied, and try again after 5 min."""
        kubelet.hold(*NODES)
        install()
        self.wait_for_fence()
        kubelet.release(*NODES)
        self.wait_for_roll_out()

    def left(self):
        """What is called after us anywhere but the namespace, its Pods aside."""
        kinds = "daemonset,job,serviceaccount,configmap,secret,role,rolebinding"
        cluster_kinds = "clusterrole,clusterrolebinding"
        policies = "validatingadmissionpolicy,validatingadmissionpolicybinding"
        found = self.kubectl("get", "-A", "-o", "name", f"{kinds},{cluster_kinds},{policies}").split()
        return [name for name in found if NAME in name]

    def version(self):
        return self.request("GET", f"/api/v1/namespaces/{NAME}/pods")[1]["metadata"][
            "resourceVersion"
        ]

    def most_pods_at_once(self, version):
        """The most Pods of the exporter that any node had at one time since that version."""
        only_ours = f"labelSelector=app.kubernetes.io/name={NAME}"
        only_new = f"watch=true&timeoutSeconds=1&resourceVersion={version}"
        path = f"/api/v1/namespaces/{NAME}/pods?{only_ours}&{only_new}"
        there = {}
        most = 0
        for line in self.kubectl("get", "--raw", path).splitlines():
            event = json.loads(line)
            pod = event["object"]
            on_node = there.setdefault(pod["spec"].get("nodeName"), set())
            if event["type"] == "DELETED":
                on_node.discard(pod["metadata"]["uid"])
            elif "nodeName" in pod["spec"]:
                on_node.add(pod["metadata"]["uid"])
                most = max(most, len(on_node))
        return most


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, dtb):
    if not has_mount_namespaces():
        pytest.skip("no mount namespaces here")
    with Cluster(tmp_path_factory.mktemp("helm")) as running:
        for node in [*NODES, WINDOWS]:
            system = "windows" if node == WINDOWS else "linux"
            os_label = {"kubernetes.io/os": system, "kubernetes.io/hostname": node}
            running.create_node(node, os_label)
            if node in TAINTED:
                spec = json.dumps({"spec": TAINTED[node]})
                running.kubectl("patch", "node", node, "--type=merge", "-p", spec)
        running.start_scheduler()
        running.start_controllers("daemonset", "job", "garbagecollector")
        running.kubectl("create", "namespace", NAME)
        yield running


@pytest.fixture(scope="module")
def hosts(tmp_path_factory, dtb):
    """The sysfs of each node."""
    found = {}
    for node in NODES:
        found[node] = tmp_path_factory.mktemp(node)
        if node != NO_DEVICETREE:
            base = found[node] / "firmware/devicetree/base"
            base.parent.mkdir(parents=True)
            subprocess.run([sys.executable, UNPACK, dtb(BOARD), base], check=True)
    return found


@pytest.fixture
def kubelet(cluster, hosts, tmp_path):
    with Kubelet(cluster, tmp_path, hosts) as running:
        yield running
        cluster.run("helm", "uninstall", NAME, "-n", NAME, "--no-hooks")
        cluster.run("kubectl", "-n", NAME, "delete", f"daemonset/{NAME}", "--ignore-not-found")
        cluster.run("kubectl", "-n", NAME, "delete", f"job/{NAME}-cleanup", "--ignore-not-found")
        wait_until(lambda: not cluster.pods(), "the pods are gone", SECONDS)
        for node in NODES:
            keys = [f"{key}-" for key in cluster.labels(node)]
            if keys:
                cluster.kubectl("label", "node", node, *keys)


def test_it_lands_on_every_linux_node_and_labels_those_with_a_devicetree(cluster, kubelet):
    cluster.install(kubelet)
    cluster.wait_for(EXPECTED)
    pods = cluster.pods()
    assert sorted(pods) == sorted(NODES)
    assert {len(on_node) for on_node in pods.values()} == {1}
    assert cluster.labels(WINDOWS) == {}


def test_uninstall_waits_for_every_node_to_be_clean(cluster, kubelet):
    cluster.install(kubelet, "--set=labels.watch=true")
    cluster.wait_for(EXPECTED)
    version = cluster.version()
    last = "edge"
    kubelet.hold(last)
    with concurrent.futures.ThreadPoolExecutor() as threads:
        uninstall = threads.submit(
            cluster.helm, "uninstall", NAME, "-n", NAME, f"--timeout={SECONDS}s"
        )
        cluster.wait_for({**CLEAN, last: EXPECTED[last]})
        time.sleep(ABSENCE_SECONDS)
        assert not uninstall.done()
        assert f"clusterrole.rbac.authorization.k8s.io/{NAME}-labels" in cluster.left()
        kubelet.release(last)
        uninstall.result()
    assert cluster.all_labels() == CLEAN
    assert cluster.left() == []
    assert cluster.most_pods_at_once(version) == 1


def test_uninstall_keeps_the_labels_where_it_is_told_to(cluster, kubelet):
    cluster.install(kubelet, "--set=cleanup.enabled=false")
    cluster.wait_for(EXPECTED)
    cluster.helm("uninstall", NAME, "-n", NAME)
    assert cluster.left() == []
    wait_until(lambda: not cluster.pods(), "the pods are gone", SECONDS)
    assert cluster.all_labels() == EXPECTED


def test_an_uninstall_that_was_not_clean_in_time_can_be_repeated(cluster, kubelet):
    cluster.install(kubelet)
    cluster.wait_for(EXPECTED)
    kubelet.hold("edge")
    ended = cluster.run("helm", "uninstall", NAME, "-n", NAME, "--timeout=8s")
    assert ended.returncode != 0
    assert "timed out" in ended.stderr or "deadline" in ended.stderr, ended.stderr
    assert cluster.labels("edge") == EXPECTED["edge"]
    kubelet.release("edge")
    cluster.helm("uninstall", NAME, "-n", NAME, f"--timeout={SECONDS}s")
    assert cluster.all_labels() == CLEAN
    assert cluster.left() == []


def test_a_roll_out_never_has_two_on_a_node_and_keeps_the_labels(cluster, kubelet):
    cluster.install(kubelet)
    cluster.wait_for(EXPECTED)
    pods, version = cluster.version(), cluster.node("edge")["metadata"]["resourceVersion"]
    cluster.helm("upgrade", NAME, CHART, "-n", NAME, *VALUES, "--set=podAnnotations.a=b")
    cluster.wait_for_roll_out()
    annotations = [p["metadata"].get("annotations") for (p,) in cluster.pods().values()]
    assert annotations == [{"a": "b"}] * len(NODES)
    assert cluster.most_pods_at_once(pods) == 1
    assert cluster.node("edge")["metadata"]["resourceVersion"] == version


def test_kustomize_cleans_up_with_a_roll_out(cluster, kubelet):
    """What deploy/README.md says to type."""
    patch = [{"target": {"kind": "DaemonSet"}, "patch": json.dumps(PATCH)}]
    without_namespace = "\n$patch: delete\n".join(
        ["apiVersion: v1\nkind: Namespace", f"metadata: {{name: {NAME}}}"]
    )
    shipped = cluster.manifests(patches=[*patch, {"patch": without_namespace}])
    cluster.install_by(lambda: cluster.apply(shipped), kubelet)
    cluster.wait_for(EXPECTED)
    version = cluster.version()
    cluster.apply(cluster.manifests("cleanup"))
    cluster.wait_for_roll_out()
    assert cluster.all_labels() == CLEAN
    assert cluster.most_pods_at_once(version) == 1
    cluster.kubectl("delete", "-f", "-", input=shipped)
    assert cluster.left() == []
