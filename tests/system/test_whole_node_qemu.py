"""The image on a whole node in QEMU, confined as the DaemonSet says: a Jetson Nano, and a PC without a devicetree.

Environment: DTE_IMAGE and DTE_PEERS, as whole_node.py has them.
"""

import pytest

import qemu
import whole_node
from control_plane import PREFIX
from exporter import wait_until

SECONDS = 120  # for what an emulated node does while a machine is busy
MEMORY_LIMIT = 16 << 20  # what the program keeps to, whatever the manifest allows
LIVE_TREE = "/sys/firmware/devicetree/base"
OTHER_NODE = "other-node"
JETSON_NANO_LABELS = {"nvidia-jetson-nano", "nvidia-tegra210"}
JETSON_NANO_GPU = {"nvidia-tegra210-gm20b", "nvidia-gm20b", "accelerator.gpu", "accelerator.gpu.count", "accelerator.gpu.vendor.nvidia"}


@pytest.fixture(scope="module", params=whole_node.BOARDS)
def node(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(f"whole-node-{request.param}")
    with whole_node.boot(whole_node.BOARDS[request.param], folder) as node:
        node.is_jetson_nano = request.param == "jetson-nano"
        yield node


def query(node, expression):
    """Its samples once there are any."""
    return wait_until(lambda: node.prometheus.query(expression), expression, SECONDS)


def proc(node, name):
    return node.root(f"cat /proc/{node.pid}/{name}")


def test_becomes_ready(node):
    for probe in ["readinessProbe", "livenessProbe"]:
        wait_until(lambda probe=probe: node.probe(probe) == 200, f"{probe}\n{node.log()}", SECONDS)


def test_runs_with_the_manifests_arguments(node):
    arguments = proc(node, "cmdline").rstrip("\n\0").split("\0")
    (container,) = node.pod["containers"]
    assert arguments == ["/devicetree-exporter", *(a.replace("$(PREFIX)", PREFIX.rstrip("/")) for a in container["args"])]
    assert "--labels.kubernetes" in arguments


def test_has_no_privilege(node):
    status = dict(line.split(":", 1) for line in proc(node, "status").splitlines())
    assert status["Uid"].split() == status["Gid"].split() == ["65534"] * 4
    assert {name: int(status[name], 16) for name in status if name.startswith("Cap")} == {
        "CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapBnd": 0, "CapAmb": 0,
    }  # fmt: skip
    assert (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2")


def test_has_namespaces_of_its_own(node):
    read = "for n in cgroup ipc mnt net pid uts; do readlink /proc/{}/ns/$n; done"
    own, nodes = (node.root(read.format(pid)).split() for pid in (node.pid, 1))
    shared = set(own) & set(nodes)
    assert {name.partition(":")[0] for name in shared} <= {"cgroup"}, "runc spec's default leaves that one"


def test_sees_its_files_read_only(node):
    mounts = {line.split()[4]: line.split()[5].split(",") for line in proc(node, "mountinfo").splitlines()}
    wanted = ["/", "/host/sys/firmware", "/host/sys/devices", "/host/sys/class", "/host/sys/bus"]
    assert [path for path in wanted if "ro" not in mounts[path]] == []
    assert not [path for path in mounts if path.startswith("/host") and path not in wanted]


def test_is_labelled(node):
    """As the exporter says, and for the Jetson Nano as its published labels have it."""
    applied = f'devicetree_node_label_applied{{node="{node.node}"}}'
    if node.is_jetson_nano:
        wait_until(node.labels, f"labels\n{node.log()}", SECONDS)
        assert set(node.labels()) >= JETSON_NANO_LABELS | JETSON_NANO_GPU
        query(node, f"{applied} == 1")
        assert node.prometheus.query(f"{applied} == 0") == []
        found = node.plane.kubectl("get", "nodes", "-l", f"{PREFIX}nvidia-jetson-nano=1", "-o", "name")
        assert found == f"node/{node.node}\n"
    else:
        query(node, "devicetree_label_last_success_timestamp_seconds > 0")
    should = query(node, "devicetree_node_label_info") if node.labels() else []
    assert node.labels() == {
        labels["key"].removeprefix(PREFIX): labels["value"] for labels, _ in should
    }


def test_is_scraped(node):
    query(node, "up == 1")
    ((_, present),) = query(node, "devicetree_present")
    assert present == node.is_jetson_nano
    models = [labels["model"] for labels, _ in node.prometheus.query("devicetree_info")]
    assert models == (["NVIDIA Jetson Nano Developer Kit"] if node.is_jetson_nano else [])
    assert all(value == 1 for _, value in query(node, "devicetree_collector_success"))


def test_counts_the_nodes_of_the_kernels_live_tree(node):
    """Read through the mounts, though a container sees /sys/firmware masked at its own place."""
    query(node, "up == 1")
    ((_, counted),) = query(node, "sum(devicetree_nodes) or vector(0)")
    assert counted == int(node.root(f"find {LIVE_TREE} -type d 2>/dev/null | wc -l"))
    assert node.root(f"ls /proc/{node.pid}/root/sys/firmware") == ""


def test_its_token_opens_no_other_node(node):
    node.plane.create_node(OTHER_NODE)
    status, answer = node.plane.request(
        "PATCH",
        f"/api/v1/nodes/{OTHER_NODE}",
        {"metadata": {"labels": {f"{PREFIX}x": "1"}}},
        token=node.token,
        headers={"Content-Type": "application/merge-patch+json"},
    )
    assert status == 403
    assert f"only change the node that its pod runs on: {node.node}" in answer["message"]


def test_keeps_within_its_memory(node):
    limit = node.config["linux"]["resources"]["memory"]["limit"]
    assert int(node.root(f"cat {whole_node.CGROUP}/memory.max")) == limit
    peak = int(node.root(f"cat {whole_node.CGROUP}/memory.peak"))
    print(f"{peak / (1 << 20):.1f} MiB at most")
    assert peak < MEMORY_LIMIT
    assert "oom_kill 0\n" in node.root(f"cat {whole_node.CGROUP}/memory.events")


def test_was_never_restarted(node):
    """By a kubelet it would be: nothing here starts it again. After all of the above."""
    state = node.state()
    assert (state["status"], state["pid"]) == ("running", node.pid), node.log()


def test_ends_when_asked_and_leaves_its_labels(node):
    """As when the node's pod is replaced; --cleanup is what removes them."""
    before = node.labels()
    assert node.root(f"runc kill {whole_node.CONTAINER} TERM") == ""
    wait_until(lambda: node.state()["status"] == "stopped", f"it ends\n{node.log()}", SECONDS)
    assert node.labels() == before
