"""The labels of a real Node, on a real API server: put there, kept right, given up, removed.

What a board's labels are comes from its expected files in tests/boards.
"""

import http.server
import itertools
import json
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

import kubelet
from conftest import BOARDS, board_flags, board_names
from control_plane import NAME, PREFIX, ControlPlane, base64_of, issue_certificate, make_ca
from exporter import Exporter, binary, run, wait_until
from scraped import node_labels, samples

BOARD = "jetson-nano"
KEY = PREFIX + "nvidia-gm20b"  # one of its labels
OTHER_KEY = PREFIX + "nvidia-jetson-nano"  # another one
MOST_REPAIRS = 3  # of one key within an hour
SETTLE_SECONDS = 30  # generous: it backs off after an answer that it did not like
ABSENCE_SECONDS = 1.5  # shows that nothing happens: a watch acts within a second

WATCH = "--kubernetes.watch"
POLL = "--kubernetes.resync-interval=1s"
NO_DELAY = "--labels.removal-delay=0"
YIELD = "--kubernetes.on-conflict=yield"
ADOPT = "--kubernetes.adopt"
ONCE = "--once"

# exporter/METRICS.md
REASONS = set(
    "conflict credentials dns forbidden invalid network not_found server_error throttled timeout "
    "tls unauthorized".split()
)

GPU = {"vendor": "0x10de", "device": "0x2330", "class": "0x030200"}  # as sysfs shows a card
GPU_KEY = PREFIX + "accelerator.gpu"


def labels_of(board):
    lines = (BOARDS / board / "expected/dry_run.txt").read_text().splitlines()
    return dict(line.split(": ") for line in lines if line.startswith(PREFIX))


LABELS = labels_of(BOARD)


class Node:
    """One Node, and what others than the exporter do to it."""

    _numbers = itertools.count(1)

    def __init__(self, control_plane):
        self.plane = control_plane
        self.name = f"label-sink-{next(Node._numbers)}"
        self.create()

    def create(self):
        self.plane.create_node(self.name, {"example.org/rack": "7"})

    def delete(self):
        self.plane.delete_node(self.name)

    def get(self):
        return self.plane.node(self.name)

    @property
    def version(self):
        return self.get()["metadata"]["resourceVersion"]

    @property
    def labels(self):
        """Those under the prefix."""
        return self.plane.labels(self.name)

    def label(self, *changes):
        """`kubectl label`: KEY=VALUE sets, KEY- removes."""
        self.plane.kubectl("label", "--overwrite", "node", self.name, *changes)

    def wait_for(self, labels=LABELS, seconds=SETTLE_SECONDS):
        """Until it carries exactly these under the prefix; returns how long that took."""
        begin = time.monotonic()
        wait_until(lambda: self.labels == labels, f"labels {labels}", seconds)
        return time.monotonic() - begin

    def wait_for_rest(self):
        """Until nobody has changed it for a while."""

        def rests():
            version = self.version
            time.sleep(ABSENCE_SECONDS)
            return self.version == version

        wait_until(rests, "nobody changes the Node", SETTLE_SECONDS)

    def update(self, change):
        """change(labels), by a client that reads, changes and writes the whole Node."""
        path = f"/api/v1/nodes/{self.name}"
        headers = {"User-Agent": "k8s-dt-node-labeller/v0.1 (linux/arm64)"}
        conflict = 409
        status = conflict
        while status == conflict:
            node = self.plane.request("GET", path, headers=headers)[1]
            change(node["metadata"]["labels"])
            status, answer = self.plane.request("PUT", path, node, headers=headers)
        assert status == 200, answer

    def history(self, version):
        """values(key): each value that it took since that version, in order; None: away."""
        only_this = f"resourceVersion={version}&fieldSelector=metadata.name={self.name}"
        path = f"/api/v1/nodes?watch=true&timeoutSeconds=1&{only_this}"
        events = map(json.loads, self.plane.kubectl("get", "--raw", path).splitlines())
        states = [event["object"]["metadata"]["labels"] for event in events]
        return lambda key: [value for value, _ in itertools.groupby(s.get(key) for s in states)]


def as_the_predecessor(labels):
    """k8s-dt-node-labeller: only its own labels stay, with counts; one of them is outdated."""
    for key in [key for key in labels if key.startswith(PREFIX)]:
        del labels[key]
    labels |= {OTHER_KEY: "1", PREFIX + "nvidia-tegra210": "2", KEY: "3", PREFIX + "acme-old": "4"}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch, tmp_path):
    """No way to this machine's own cluster."""
    for name in ["KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "NODE_NAME"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def node(control_plane):
    made = Node(control_plane)
    yield made
    control_plane.request("DELETE", f"/api/v1/nodes/{made.name}")


@pytest.fixture(scope="module")
def own_control_plane(tmp_path_factory):
    """For this file alone, with what deploy/kubernetes has for labels."""
    with ControlPlane(tmp_path_factory.mktemp("own-control-plane")) as running:
        running.deploy()
        yield running


@pytest.fixture
def own_node(own_control_plane):
    return Node(own_control_plane)


@pytest.fixture
def nano(dtb):
    """The hardware: a Jetson Nano, its GPU designated."""
    return [f"--path.devicetree={dtb(BOARD)}", "-n", "gpu"]


@pytest.fixture
def access(tmp_path):
    """access(node) are the flags by which the admin labels that Node, at once."""

    def flags(node, token=None):
        kubeconfig = node.plane.kubeconfig(tmp_path / f"{node.name}.kubeconfig", token)
        return [
            "--labels.kubernetes",
            f"--kubeconfig={kubeconfig}",
            f"--kubernetes.node-name={node.name}",
            "--kubernetes.start-jitter=0",
        ]

    return flags


@pytest.fixture
def flags(access, node, nano):
    """The flags that label `node` as a Jetson Nano."""
    return [*access(node), *nano]


@pytest.fixture
def powerless(control_plane):
    """A token that has no right to do anything."""
    return control_plane.service_account_token("nobody", "default")


def once(*flags):
    ended = run(*flags, ONCE, seconds=SETTLE_SECONDS)
    assert ended.returncode == 0, ended.stderr


def assert_refused(ended, code, *words):
    """One line that says why; nothing else."""
    assert ended.returncode == code, ended
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    for word in words:
        assert word in ended.stderr, ended.stderr


def metric(exporter, name, **labels):
    """The sample's value; None if there is none."""
    values = [s.value for s in samples(exporter.metrics(), name) if s.labels == labels]
    assert len(values) <= 1
    return values[0] if values else None


def applied(exporter):
    found = samples(exporter.metrics(), "devicetree_node_label_applied")
    return {sample.labels["key"]: sample.value for sample in found}


def repairs(exporter):
    return metric(exporter, "devicetree_label_drift_repairs_total")


def lines_about(exporter, *words):
    return [line for line in exporter.stderr.splitlines() if all(word in line for word in words)]


# What the labels are for.


class Pool:
    """Ten Nodes that no other test's Pods and Nodes get in the way of."""

    def __init__(self, control_plane):
        self.plane = control_plane
        self.nodes = [Node(control_plane) for _ in range(10)]
        self.name = self.nodes[0].name
        for node in self.nodes:
            node.label(f"example.org/pool={self.name}")

    def create_pod(self):
        pool = {"key": "example.org/pool", "operator": "In", "values": [self.name]}
        terms = {"nodeSelectorTerms": [{"matchExpressions": [pool]}]}
        affinity = {"requiredDuringSchedulingIgnoredDuringExecution": terms}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name},
            "spec": {
                "nodeSelector": {OTHER_KEY: "1", KEY: "1"},
                "affinity": {"nodeAffinity": affinity},
                "containers": [{"name": "main", "image": "none"}],
            },
        }
        self.plane.apply(json.dumps(pod))

    def pod(self):
        return self.plane.request("GET", f"/api/v1/namespaces/default/pods/{self.name}")[1]

    def pod_is_on(self, node):
        return self.pod()["spec"].get("nodeName") == node.name

    def pod_has_no_node(self):
        """So the scheduler has said."""
        conditions = self.pod()["status"].get("conditions", [])
        said = [(c["type"], c["status"], c.get("reason")) for c in conditions]
        return ("PodScheduled", "False", "Unschedulable") in said

    def close(self):
        # No grace: there is no kubelet that would end it.
        path = f"/api/v1/namespaces/default/pods/{self.name}?gracePeriodSeconds=0"
        self.plane.request("DELETE", path)
        for node in self.nodes:
            node.delete()


@pytest.fixture
def pool(control_plane, scheduler):
    made = Pool(control_plane)
    yield made
    made.close()


def test_a_pod_that_selects_the_labels_is_placed_on_the_node_that_has_them(pool, access, nano):
    once(*access(pool.nodes[6]), *nano)
    pool.create_pod()
    wait_until(lambda: pool.pod_is_on(pool.nodes[6]), "the Pod is placed", SETTLE_SECONDS)


def test_a_pod_that_selects_the_labels_waits_for_a_node_that_has_them(pool, access, nano):
    pool.create_pod()
    wait_until(pool.pod_has_no_node, "no Node for the Pod", SETTLE_SECONDS)
    assert "nodeName" not in pool.pod()["spec"]
    once(*access(pool.nodes[3]), *nano)
    wait_until(lambda: pool.pod_is_on(pool.nodes[3]), "the Pod is placed", SETTLE_SECONDS)


# The apply.


@pytest.mark.parametrize("board", board_names())
def test_the_first_apply_brings_all_labels_of_the_board(node, access, machine, board):
    once(*access(node), *machine(board), *board_flags(board))
    assert node.labels == labels_of(board)


def test_they_are_one_apply_of_a_field_manager_of_its_own(node, flags):
    once(*flags)
    fields = node.get()["metadata"]["managedFields"]
    (entry,) = [entry for entry in fields if entry["manager"] == NAME]
    assert entry["operation"] == "Apply"
    assert "subresource" not in entry
    assert entry["fieldsV1"] == {"f:metadata": {"f:labels": {f"f:{key}": {} for key in LABELS}}}


def test_nothing_else_of_the_node_changes(node, flags):
    node.plane.kubectl("annotate", "node", node.name, "example.org/note=kept")
    node.plane.kubectl("taint", "node", node.name, "example.org/taint=kept:NoSchedule")
    node.plane.kubectl("cordon", node.name)

    def rest():
        found = node.get()
        labels = found["metadata"]["labels"]
        for key in ["managedFields", "resourceVersion"]:
            del found["metadata"][key]
        found["metadata"]["labels"] = {k: v for k, v in labels.items() if not k.startswith(PREFIX)}
        return found

    before = rest()
    assert before["spec"]["unschedulable"] and before["spec"]["taints"]
    once(*flags)
    assert rest() == before


def test_an_apply_that_has_nothing_to_change_writes_nothing(node, flags):
    once(*flags)
    version = node.version
    once(*flags)
    assert node.version == version


def test_a_start_that_has_nothing_to_change_writes_nothing(node, flags):
    once(*flags)
    version = node.version
    with Exporter(*flags, POLL, WATCH) as exporter:
        wait_until(lambda: set(applied(exporter).values()) == {1}, "all labels are seen")
        time.sleep(ABSENCE_SECONDS)
        exporter.stop()
    assert node.version == version


def test_another_prefix_is_another_set_of_labels(node, flags):
    once(*flags, "--labels.prefix=example.com")
    assert node.labels == {}
    wanted = {key.replace(PREFIX, "example.com/"): value for key, value in LABELS.items()}
    assert node.plane.labels(node.name, "example.com/") == wanted


def pci_function(sysfs, **files):
    folder = sysfs / "bus/pci/devices/0000:02:00.0"
    folder.mkdir(parents=True)
    for name, value in files.items():
        (folder / name).write_text(value + "\n")
    return folder


def test_what_the_hardware_newly_says_is_applied_at_once(node, access, tmp_path):
    with Exporter(*access(node), f"--path.sysfs={tmp_path}") as exporter:  # looks every 5 min
        pci_function(tmp_path, **GPU)
        exporter.send_signal(signal.SIGHUP)
        wait_until(lambda: node.labels.get(GPU_KEY) == "1", "the label is there")
        exporter.stop()


# A label that is no longer wanted.


def test_labels_of_what_the_devicetree_no_longer_says_go(node, flags, access, machine):
    once(*flags)
    board = "raspberry-pi-4"
    once(*access(node), *machine(board), *board_flags(board))
    assert node.labels == labels_of(board)


def without(*keys):
    return {key: value for key, value in LABELS.items() if key not in keys}


def test_a_label_that_is_excluded_goes(node, flags):
    once(*flags)
    once(*flags, "--labels.exclude=nvidia-gm20b")
    assert node.labels == without(KEY)


def test_a_running_exporter_drops_what_an_earlier_run_left(node, flags):
    once(*flags)
    with Exporter(*flags, NO_DELAY, "--labels.exclude=nvidia-gm20b") as exporter:
        node.wait_for(without(KEY))
        exporter.stop()


def test_a_label_of_what_was_unplugged_goes_after_the_removal_delay(node, access, tmp_path):
    card = pci_function(tmp_path / "sys", **GPU)
    delay = 2
    flags = [*access(node), f"--path.sysfs={tmp_path}/sys", f"--labels.removal-delay={delay}s"]
    with Exporter(*flags) as exporter:
        wait_until(lambda: node.labels.get(GPU_KEY) == "1", "the label is there")
        time.sleep(delay)  # of the start
        unplugged = time.monotonic()
        shutil.rmtree(card)
        exporter.send_signal(signal.SIGHUP)
        wait_until(lambda: node.labels == {}, "no label", SETTLE_SECONDS)
        assert time.monotonic() - unplugged >= delay
        exporter.stop()


def test_a_label_of_what_was_unplugged_meanwhile_goes_after_the_removal_delay(
    node, access, tmp_path
):
    sysfs = tmp_path / "sys"
    card = pci_function(sysfs, **GPU)
    flags = [*access(node), f"--path.sysfs={sysfs}"]
    once(*flags)
    before = node.labels
    assert GPU_KEY in before
    shutil.rmtree(card)
    delay = 3
    started = time.monotonic()
    with Exporter(*flags, WATCH, POLL, f"--labels.removal-delay={delay}s") as exporter:
        wait_until(lambda: node.labels == {}, "no label", SETTLE_SECONDS)
        assert time.monotonic() - started >= delay
        exporter.stop()


def break_pci(sysfs):
    """The file in the place of a directory is what even root cannot read."""
    devices = sysfs / "bus/pci/devices"
    shutil.rmtree(devices)
    devices.write_text("no directory\n")


def test_no_label_goes_while_its_collector_cannot_read(node, access, tmp_path):
    sysfs = tmp_path / "sys"
    pci_function(sysfs, **GPU)
    flags = [*access(node), f"--path.sysfs={sysfs}"]
    once(*flags)
    before = node.labels
    break_pci(sysfs)
    with Exporter(*flags, WATCH, POLL, NO_DELAY) as exporter:
        time.sleep(ABSENCE_SECONDS)
        assert node.labels == before
        (sysfs / "bus/pci/devices").unlink()  # this machine has no PCI, it turns out
        exporter.send_signal(signal.SIGHUP)
        node.wait_for({})
        exporter.stop()


def test_once_keeps_the_labels_of_a_collector_that_cannot_read_and_exits_with_1(
    node, access, tmp_path, nano
):
    sysfs = tmp_path / "sys"
    pci_function(sysfs, **GPU)
    flags = [*access(node), f"--path.sysfs={sysfs}"]
    once(*flags)
    before = node.labels
    break_pci(sysfs)
    ended = run(*flags, *nano, ADOPT, ONCE)
    assert ended.returncode == 1
    assert node.labels == before | LABELS, "and what could be read is applied"


# Labels of others.


@pytest.mark.parametrize("key", ["example.org/x", "beta.devicetree.org.evil/x", "devicetree.org/x"])
def test_a_label_outside_the_prefix_stays(node, flags, key):
    node.label(f"{key}=1")
    once(*flags, ADOPT)
    assert run(*flags, "--cleanup").returncode == 0
    assert node.get()["metadata"]["labels"][key] == "1"


def test_a_label_that_another_put_under_the_prefix_stays(node, flags):
    foreign = PREFIX + "mine"
    node.label(f"{foreign}=1")
    with Exporter(*flags, WATCH, NO_DELAY) as exporter:
        node.wait_for(LABELS | {foreign: "1"})
        node.label(f"{foreign}=2")
        time.sleep(ABSENCE_SECONDS)
        assert node.labels == LABELS | {foreign: "2"}
        assert metric(exporter, "devicetree_node_label_applied", key=foreign) is None
        exporter.stop()


# Drift.


def test_a_deleted_label_comes_back_by_polling(node, flags):
    with Exporter(*flags, POLL) as exporter:
        node.wait_for()
        node.label(f"{KEY}-")
        node.wait_for()
        wait_until(lambda: repairs(exporter) == 1, "the repair is counted")
        exporter.stop()


@pytest.mark.parametrize("change", [f"{KEY}-", f"{KEY}=7"], ids=["deleted", "overwritten"])
def test_with_a_watch_a_label_is_right_again_within_a_second(node, flags, change):
    with Exporter(*flags, WATCH) as exporter:
        node.wait_for()
        node.label(change)
        seconds = node.wait_for()
        print(f"repaired after {seconds:.3f} s")
        assert seconds <= 1
        wait_until(lambda: repairs(exporter) == 1, "the repair is counted")
        assert set(applied(exporter).values()) == {1}
        exporter.stop()


def test_an_overwritten_label_is_a_conflict_of_its_manager(node, flags):
    with Exporter(*flags, WATCH) as exporter:
        node.wait_for()
        node.label(f"{KEY}=7")
        node.wait_for()
        conflicts = "devicetree_label_conflicts_total"
        wait_until(
            lambda: metric(exporter, conflicts, manager="kubectl-label") == 1,
            "the conflict is counted",
        )
        assert len(lines_about(exporter, KEY, "kubectl-label")) == 1
        exporter.stop()


def test_a_label_that_another_held_before_is_taken(node, flags):
    node.label(f"{KEY}=7")
    once(*flags)
    assert node.labels == LABELS


def test_a_label_that_another_held_before_is_left_to_it_under_yield(node, flags):
    node.label(f"{KEY}=7")
    with Exporter(*flags, WATCH, POLL, YIELD) as exporter:
        node.wait_for(LABELS | {KEY: "7"})
        wait_until(lambda: applied(exporter) == dict.fromkeys(LABELS, 1) | {KEY: 0}, "it says so")
        time.sleep(ABSENCE_SECONDS)
        assert node.labels == LABELS | {KEY: "7"}
        exporter.stop()


def test_an_overwritten_label_is_left_as_it_is_under_yield(node, flags):
    with Exporter(*flags, WATCH, POLL, YIELD) as exporter:
        node.wait_for()
        node.label(f"{KEY}=7")
        wait_until(lambda: applied(exporter)[KEY] == 0, "the label is not applied")
        node.label(f"{OTHER_KEY}-")
        node.wait_for(LABELS | {KEY: "7"})  # the others stay right
        time.sleep(ABSENCE_SECONDS)
        assert node.labels == LABELS | {KEY: "7"}
        assert applied(exporter) == dict.fromkeys(LABELS, 1) | {KEY: 0}
        assert metric(exporter, "devicetree_node_labels_yielded") == 1
        assert len(lines_about(exporter, KEY)) == 1
        exporter.stop()


def test_a_label_that_we_yielded_is_ours_again_when_the_other_drops_it(node, flags):
    with Exporter(*flags, WATCH, YIELD) as exporter:
        node.wait_for()
        node.label(f"{KEY}=7")
        wait_until(lambda: applied(exporter)[KEY] == 0, "the label is not applied")
        node.label(f"{KEY}-")
        node.wait_for()
        wait_until(lambda: applied(exporter)[KEY] == 1, "the label is applied")
        assert metric(exporter, "devicetree_node_labels_yielded") == 0
        exporter.stop()


# No fight is endless.


def after(change):
    """The labels when `kubectl label` has made that change and nobody mends it."""
    key, _, value = change.partition("=")
    return LABELS | {key: value} if value else without(key.removesuffix("-"))


@pytest.mark.parametrize(
    "changes",
    [[f"{KEY}-"] * 4 + [f"{KEY}=1", f"{KEY}-"], [f"{KEY}={n}" for n in range(2, 8)]],
    ids=["deleted", "overwritten"],
)
def test_a_label_is_set_right_three_times_and_then_left(node, flags, changes):
    with Exporter(*flags, WATCH, POLL) as exporter:
        node.wait_for()
        for change in changes[:MOST_REPAIRS]:
            node.label(change)
            node.wait_for()
        for change in changes[MOST_REPAIRS:]:
            node.label(change)
            time.sleep(ABSENCE_SECONDS)
            assert node.labels == after(change)
        wait_until(lambda: applied(exporter)[KEY] == 0, "the label is not applied")
        assert repairs(exporter) == MOST_REPAIRS
        assert metric(exporter, "devicetree_node_labels_yielded") == 1
        assert len(lines_about(exporter, KEY, "leaving it")) == 1
        node.label(f"{OTHER_KEY}-")
        node.wait_for(after(changes[-1]))  # the others stay right
        exporter.stop()


@pytest.mark.parametrize(
    "one, other, contended",
    [
        (
            ["--labels.exclude=accelerator.*"],
            ["--labels.exclude=nvidia-*"],
            list(LABELS),
        ),
        (["-n", "cpu"], ["-n", "cpu", "--labels.value=count"], [PREFIX + "arm-cortex-a57"]),
    ],
    ids=["sets", "values"],
)
def test_two_exporters_that_want_different_labels_come_to_rest(
    node, flags, one, other, contended
):
    version = node.version
    with Exporter(*flags, WATCH, POLL, NO_DELAY, *one) as first:
        with Exporter(*flags, WATCH, POLL, NO_DELAY, *other) as second:
            node.wait_for_rest()
            for exporter in (first, second):
                assert repairs(exporter) <= MOST_REPAIRS * len(contended)
            values = node.history(version)
            for key in contended:
                # Each sets it once, and then repairs it.
                assert len(values(key)) <= 2 * (1 + MOST_REPAIRS) + 1, values(key)
            second.stop()
            first.stop()


def test_beside_the_predecessor_the_node_comes_to_rest(node, flags):
    with Exporter(*flags, WATCH, POLL) as exporter:
        node.wait_for()
        version = node.version
        for _ in range(8):
            node.update(as_the_predecessor)
            time.sleep(0.3)  # in which a watch lets us repair
        node.wait_for_rest()
        values = node.history(version)
        for key, value in LABELS.items():
            assert values(key).count(value) <= MOST_REPAIRS, values(key)
        right = {key: float(node.labels.get(key) == value) for key, value in LABELS.items()}
        assert applied(exporter) == right
        left = list(right.values()).count(0)
        assert metric(exporter, "devicetree_node_labels_yielded") == left
        assert repairs(exporter) <= MOST_REPAIRS * len(LABELS)
        exporter.stop()


# A Node that goes and comes.


@pytest.mark.parametrize("look", [WATCH, POLL])
def test_a_recreated_node_is_labelled_again_each_time(node, flags, look):
    with Exporter(*flags, look) as exporter:
        for _ in range(MOST_REPAIRS + 2):  # that is no fight
            node.wait_for()
            node.delete()
            node.create()
        node.wait_for()
        assert metric(exporter, "devicetree_node_labels_yielded") == 0
        exporter.stop()


def test_a_node_that_is_not_there_is_waited_for_and_never_created(node, flags):
    node.delete()
    not_found = lambda: metric(
        exporter, "devicetree_label_apply_failures_total", reason="not_found"
    )
    with Exporter(*flags, WATCH, POLL) as exporter:
        wait_until(lambda: (not_found() or 0) >= 2, "it looks again", SETTLE_SECONDS)
        assert node.plane.request("GET", f"/api/v1/nodes/{node.name}")[0] == 404
        assert set(applied(exporter).values()) == {0}
        assert exporter.get("/-/ready").status == 200
        assert len(lines_about(exporter, "not_found")) == 1
        node.create()
        node.wait_for()
        exporter.stop()


def test_a_deleted_node_is_told_by_the_watch_to_carry_no_label(node, flags):
    with Exporter(*flags, WATCH) as exporter:
        wait_until(lambda: set(applied(exporter).values()) == {1}, "all labels are seen")
        node.delete()
        wait_until(lambda: set(applied(exporter).values()) == {0}, "no label is applied")
        exporter.stop()


def test_once_waits_for_a_node_that_is_not_there_yet(node, flags):
    node.delete()
    with subprocess.Popen([binary(), *flags, ONCE, "--path.sysfs=/nonexistent"]) as process:
        time.sleep(ABSENCE_SECONDS)
        assert process.poll() is None
        assert node.plane.request("GET", f"/api/v1/nodes/{node.name}")[0] == 404
        node.create()
        assert process.wait(SETTLE_SECONDS) == 0
    assert node.labels == LABELS


# Taking over from the predecessor.


def test_adopting_takes_over_what_the_predecessor_left(node, flags):
    node.update(as_the_predecessor)
    once(*flags, ADOPT)
    assert node.labels == LABELS


def test_without_adopting_what_the_predecessor_left_stays(node, flags):
    node.update(as_the_predecessor)
    once(*flags)
    assert node.labels == LABELS | {PREFIX + "acme-old": "4"}


@pytest.mark.parametrize("later", [[ADOPT], []], ids=["adopting", "not adopting"])
def test_what_was_adopted_goes_when_it_is_no_longer_wanted(node, flags, later):
    node.update(as_the_predecessor)
    once(*flags, ADOPT)
    once(*flags, *later, "--labels.exclude=nvidia-*")
    assert node.labels == {k: v for k, v in LABELS.items() if "nvidia-" not in k}


def test_a_running_exporter_adopts_and_then_drops_what_is_no_longer_wanted(
    node, access, tmp_path
):
    sysfs = tmp_path / "sys"
    card = pci_function(sysfs, **GPU)
    node.update(lambda labels: labels.update({GPU_KEY: "1", PREFIX + "acme-old": "4"}))
    with Exporter(*access(node), f"--path.sysfs={sysfs}", WATCH, ADOPT, NO_DELAY) as exporter:
        wait_until(lambda: PREFIX + "acme-old" not in node.labels, "the old label goes")
        assert node.labels[GPU_KEY] == "1"
        shutil.rmtree(card)
        exporter.send_signal(signal.SIGHUP)
        node.wait_for({})
        exporter.stop()


# The end.


def test_the_labels_outlive_the_exporter(node, flags):
    with Exporter(*flags, WATCH) as exporter:
        node.wait_for()
        exporter.stop()
    assert node.labels == LABELS


@pytest.mark.parametrize("frozen", ["before the first apply", "later"])
def test_a_frozen_server_does_not_hold_up_the_end(own_node, access, nano, frozen):
    plane = own_node.plane
    flags = [*access(own_node), *nano, WATCH, POLL]
    if frozen == "later":
        once(*flags)
    else:
        plane.freeze()
    try:
        with Exporter(*flags) as exporter:
            if frozen == "later":
                wait_until(lambda: set(applied(exporter).values()) == {1}, "all labels are seen")
                plane.freeze()
            time.sleep(ABSENCE_SECONDS)  # now a request waits for its answer
            exporter.stop()
    finally:
        plane.thaw()
    assert own_node.labels == (LABELS if frozen == "later" else {})


def test_cleanup_removes_all_labels_under_the_prefix_and_no_other(node, flags):
    node.update(as_the_predecessor)
    node.label(f"{PREFIX}mine=1", "beta.devicetree.org.evil/x=1")
    once(*flags)
    for _ in range(2):  # the second time there is nothing to do
        ended = run(*flags, "--cleanup")
        assert (ended.returncode, ended.stderr) == (0, "")
        assert node.labels == {}
    left = node.get()["metadata"]["labels"]
    assert left == {"example.org/rack": "7", "beta.devicetree.org.evil/x": "1"}


def test_cleanup_needs_no_hardware_and_no_sink(node, flags, access):
    once(*flags)
    only_access = [flag for flag in access(node) if flag != "--labels.kubernetes"]
    assert run(*only_access, "--cleanup").returncode == 0
    assert node.labels == {}


def test_cleanup_of_a_node_that_is_not_there_is_done(node, flags):
    node.delete()
    assert run(*flags, "--cleanup").returncode == 0
    assert node.plane.request("GET", f"/api/v1/nodes/{node.name}")[0] == 404


def test_cleanup_without_the_right_is_one_line_and_1(node, access, nano, powerless):
    ended = run(*access(node, powerless), *nano, "--cleanup")
    assert_refused(ended, 1, "403", "cannot get resource", node.name)


# Exit codes of --once.


def test_once_without_the_right_is_one_line_and_1(node, access, nano, powerless):
    ended = run(*access(node, powerless), *nano, ONCE)
    assert_refused(ended, 1, "403", "cannot get resource", node.name)
    assert node.labels == {}


@pytest.mark.parametrize(
    "wrong",
    [
        [ONCE],
        [ONCE, "--labels.kubernetes", "--kubeconfig=/nonexistent/kubeconfig"],
        [ONCE, "--labels.kubernetes"],  # there is no ~/.kube/config
        ["--kubernetes.node-name=Not_A_Name"],
        ["--kubernetes.resync-interval=0"],
        ["--kubernetes.on-conflict=win"],
        [ONCE, "--cleanup"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_and_2(wrong):
    assert_refused(run("--web.listen-address=127.0.0.1:0", *wrong), 2)


# The Node's name.


@pytest.fixture
def nameless(flags):
    return [flag for flag in flags if not flag.startswith("--kubernetes.node-name")]


def test_the_environment_names_the_node(node, nameless, monkeypatch):
    monkeypatch.setenv("NODE_NAME", node.name)
    once(*nameless)
    assert node.labels == LABELS


def test_the_flag_for_the_nodes_name_wins(node, flags, monkeypatch):
    monkeypatch.setenv("NODE_NAME", "somebody-else")
    once(*flags)
    assert node.labels == LABELS


def test_the_host_name_is_the_nodes_name_if_none_is_given(control_plane, nameless):
    name = socket.gethostname().lower()
    control_plane.create_node(name)
    try:
        once(*nameless)
        assert control_plane.labels(name) == LABELS
    finally:
        control_plane.delete_node(name)


# The kubeconfig.


def token(plane, folder):
    return {"token": plane.admin_token}


def token_file(plane, folder):
    (folder / "token").write_text(plane.admin_token + "\n")
    return {"tokenFile": str(folder / "token")}


def relative_token_file(plane, folder):
    return {"tokenFile": pathlib.Path(token_file(plane, folder)["tokenFile"]).name}


def client_certificate(plane, folder):
    made = issue_certificate(plane.ca, folder, "somebody", organizations=["system:masters"])
    return {"client-certificate": str(made.file), "client-key": str(made.key)}


def client_certificate_data(plane, folder):
    files = client_certificate(plane, folder)
    return {f"{key}-data": base64_of(file) for key, file in files.items()}


def ca_data(plane, folder):
    return {"server": plane.server, "certificate-authority-data": base64_of(plane.ca_file)}


def ca_file(plane, folder):
    return {"server": plane.server, "certificate-authority": str(plane.ca_file)}


def relative_ca_file(plane, folder):
    shutil.copy(plane.ca_file, folder / "its-ca.pem")
    return {"server": plane.server, "certificate-authority": "its-ca.pem"}


def by_host_name(plane, folder):
    return ca_file(plane, folder) | {"server": f"https://localhost:{plane.port}"}


def tls_server_name(plane, folder):
    return ca_file(plane, folder) | {"tls-server-name": "localhost"}


def another_tls_server_name(plane, folder):
    return ca_file(plane, folder) | {"tls-server-name": "example.org"}


def another_ca(plane, folder):
    return ca_file(plane, folder) | {"certificate-authority": str(make_ca(folder, "another").file)}


def no_ca(plane, folder):
    return {"server": plane.server}


def unverified(plane, folder):
    return {"server": plane.server, "insecure-skip-tls-verify": True}


@pytest.fixture
def run_with(node, nano, tmp_path):
    """run_with(user=, cluster=, flags=) applies once, with what these functions give."""

    def ended(user=token, cluster=ca_data, more=()):
        made = {"user": user(node.plane, tmp_path), "cluster": cluster(node.plane, tmp_path)}
        kubeconfig = node.plane.kubeconfig(tmp_path / "kubeconfig", **made)
        name = f"--kubernetes.node-name={node.name}"
        return run(*nano, "--labels.kubernetes", f"--kubeconfig={kubeconfig}", name, ONCE, *more)

    return ended


@pytest.mark.parametrize(
    "user", [token, token_file, relative_token_file, client_certificate, client_certificate_data]
)
def test_the_kubeconfig_says_who_we_are(node, run_with, user):
    ended = run_with(user=user)
    assert ended.returncode == 0, ended.stderr
    assert node.labels == LABELS


@pytest.mark.parametrize(
    "cluster", [ca_data, ca_file, relative_ca_file, by_host_name, tls_server_name]
)
def test_the_kubeconfig_says_whom_we_trust(node, run_with, cluster):
    ended = run_with(cluster=cluster)
    assert ended.returncode == 0, ended.stderr
    assert node.labels == LABELS


@pytest.mark.parametrize("cluster", [another_tls_server_name, another_ca, no_ca])
def test_a_server_that_cannot_be_verified_is_one_line_and_1(node, run_with, cluster):
    ended = run_with(cluster=cluster)
    assert_refused(ended, 1, "certificate")
    assert node.labels == {}


def test_a_server_that_is_not_to_be_verified_is_warned_about(node, run_with):
    ended = run_with(cluster=unverified)
    assert ended.returncode == 0, ended.stderr
    assert node.labels == LABELS
    assert "insecure-skip-tls-verify" in ended.stderr


REFUSED = {
    "exec": {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "aws"}},
    "auth-provider": {"auth-provider": {"name": "gcp"}},
    "username": {"username": "admin", "password": "secret-word"},
    "as": {"token": "t", "as": "admin"},
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_way_to_log_in_that_is_not_supported_is_refused_by_name(run_with, name):
    ended = run_with(user=lambda plane, folder: REFUSED[name])
    assert_refused(ended, 2, f"{name} is not supported", "kubeconfig:")
    assert "secret-word" not in ended.stderr


def test_a_proxy_in_the_kubeconfig_is_refused_by_name(run_with):
    proxy = {"proxy-url": "http://127.0.0.1:1"}
    ended = run_with(cluster=lambda plane, folder: ca_data(plane, folder) | proxy)
    assert_refused(ended, 2, "proxy-url is not supported", "kubeconfig:")


@pytest.mark.parametrize("place", ["$KUBECONFIG", "~/.kube/config"])
def test_the_kubeconfig_is_found_where_kubectl_finds_it(node, nano, tmp_path, monkeypatch, place):
    path = tmp_path / ".kube/config"
    path.parent.mkdir()
    if place == "$KUBECONFIG":
        path = tmp_path / "elsewhere"
        monkeypatch.setenv("KUBECONFIG", str(path))
    node.plane.kubeconfig(path)
    once(*nano, "--labels.kubernetes", f"--kubernetes.node-name={node.name}")
    assert node.labels == LABELS


def test_the_flag_for_the_context_wins(node, tmp_path, flags):
    path = node.plane.kubeconfig(tmp_path / "contexts")
    path.write_text(path.read_text().replace("current-context: test", "current-context: gone"))
    flags = [flag for flag in flags if not flag.startswith("--kubeconfig")]
    assert_refused(run(*flags, f"--kubeconfig={path}", ONCE), 2, "gone")
    once(*flags, f"--kubeconfig={path}", "--kubernetes.context=test")
    assert node.labels == LABELS


# In a pod, behind the fence.

@pytest.fixture
def pod(own_node, tmp_path):
    """What starts the exporter as its pod on own_node would; needs a mount namespace."""
    if not kubelet.has_mount_namespaces():
        pytest.skip("no mount namespaces here")
    token = own_node.plane.node_token(own_node.name)
    return kubelet.in_a_pod(own_node.plane, token, tmp_path, NODE_NAME=own_node.name)


IN_A_POD = ["--labels.kubernetes", "--kubernetes.start-jitter=0"]


def test_in_a_pod_it_labels_the_pods_node(own_node, pod, nano):
    own_node.update(as_the_predecessor)
    with Exporter(*IN_A_POD, *nano, POLL, ADOPT, NO_DELAY, under=pod) as exporter:
        own_node.wait_for()
        own_node.label(f"{KEY}-")
        own_node.wait_for()
        exporter.stop()


def test_without_the_right_to_watch_it_polls_and_says_so_once(own_node, pod, nano):
    with Exporter(*IN_A_POD, *nano, POLL, WATCH, under=pod) as exporter:
        wait_until(lambda: lines_about(exporter, "watch", "403"), "it says so")
        own_node.wait_for()
        own_node.label(f"{KEY}-")
        own_node.wait_for()
        assert len(lines_about(exporter, "watch", "403")) == 1
        exporter.stop()


def test_with_the_watch_component_it_repairs_within_a_second(own_node, pod, nano):
    plane = own_node.plane
    plane.apply(plane.manifests("labels-watch"))
    token = plane.node_token(own_node.name)
    may_list = lambda: plane.request("GET", "/api/v1/nodes", token=token)[0] == 200
    wait_until(may_list, "the rights are in force", SETTLE_SECONDS)
    try:
        with Exporter(*IN_A_POD, *nano, WATCH, under=pod) as exporter:
            own_node.wait_for()
            own_node.label(f"{KEY}-")
            assert own_node.wait_for() <= 1
            exporter.stop()
    finally:
        name = f"{NAME}-labels-watch"
        plane.kubectl("delete", f"clusterrole/{name}", f"clusterrolebinding/{name}")


# The metrics and the log.


def test_before_the_first_apply_all_is_zero_and_no_success_is_claimed(node, flags):
    waiting = [flag for flag in flags if not flag.startswith("--kubernetes.start-jitter")]
    with Exporter(*waiting, "--kubernetes.start-jitter=10h") as exporter:
        wait_until(lambda: applied(exporter) == dict.fromkeys(LABELS, 0), "nothing is applied")
        found = samples(exporter.metrics(), "devicetree_label_apply_failures_total")
        assert {s.labels["reason"]: s.value for s in found} == dict.fromkeys(REASONS, 0)
        for name in ["applies", "drift_repairs"]:
            assert metric(exporter, f"devicetree_label_{name}_total") == 0
        assert metric(exporter, "devicetree_label_last_success_timestamp_seconds") is None
        exporter.stop()
    assert node.labels == {}


def test_after_the_first_apply_each_desired_label_is_applied(node, flags):
    begin = time.time()
    with Exporter(*flags) as exporter:
        wait_until(lambda: applied(exporter) == dict.fromkeys(LABELS, 1), "all are applied")
        assert node_labels(exporter.metrics()) == LABELS == node.labels
        assert metric(exporter, "devicetree_label_applies_total") == 1
        last = metric(exporter, "devicetree_label_last_success_timestamp_seconds")
        assert begin <= last <= time.time()
        exporter.stop()


def test_a_missing_right_is_a_metric_and_a_line_and_no_unreadiness(node, access, nano, powerless):
    with Exporter(*access(node, powerless), *nano) as exporter:
        failures = "devicetree_label_apply_failures_total"
        wait_until(lambda: metric(exporter, failures, reason="forbidden") == 1, "a failure")
        assert applied(exporter) == dict.fromkeys(LABELS, 0)
        assert metric(exporter, "devicetree_label_last_success_timestamp_seconds") is None
        assert exporter.get("/-/ready").status == 200
        assert len(lines_about(exporter, "forbidden", "cannot get resource")) == 1
        exporter.stop()


def test_promtool_check_metrics_has_nothing_to_say(node, flags, prometheus_program):
    with Exporter(*flags, WATCH) as exporter:
        node.wait_for()
        node.label(f"{KEY}=7")  # for a conflict
        wait_until(lambda: repairs(exporter) == 1, "the repair is counted")
        body = exporter.metrics()
        exporter.stop()
    assert "devicetree_label_conflicts_total{" in body
    checked = subprocess.run(
        [prometheus_program("debian", "promtool"), "check", "metrics"],
        input=body,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_the_log_tells_of_each_change_once(node, access, tmp_path):
    sysfs = tmp_path / "sys"
    card = pci_function(sysfs, **GPU)
    flags = [*access(node), f"--path.sysfs={sysfs}", WATCH, POLL, NO_DELAY]
    changes = lambda exporter: len(lines_about(exporter, "Applied the Node's labels"))
    with Exporter(*flags) as exporter:
        wait_until(lambda: GPU_KEY in node.labels, "the label is there")
        shutil.rmtree(card)
        exporter.send_signal(signal.SIGHUP)
        node.wait_for({})
        node.label("example.org/x=1")  # not ours
        time.sleep(ABSENCE_SECONDS)
        assert changes(exporter) == 2
        exporter.stop()
    with Exporter(*flags) as exporter:
        time.sleep(ABSENCE_SECONDS)
        assert changes(exporter) == 0
        exporter.stop()


def test_the_token_is_in_no_log_and_no_metric(node, flags, access, nano, powerless):
    secrets = [node.plane.admin_token, powerless]
    for its_flags in [flags, [*access(node, powerless), *nano]]:
        with Exporter(*its_flags, WATCH, "--log.level=debug") as exporter:
            wait_until(lambda: applied(exporter), "the sink's metrics")
            time.sleep(ABSENCE_SECONDS)
            said = exporter.metrics() + exporter.stdout
            exporter.stop()
            said += exporter.stderr
        assert [secret for secret in secrets if secret in said] == []


# An API server that is reached by an IPv6 address, as kubeconfigs of dual-stack clusters name it.


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_may_be_an_ipv6_address(tmp_path, status):
    """One that refuses: then there is no use in trying again, and the run ends."""
    ca = make_ca(tmp_path)
    certificate = issue_certificate(ca, tmp_path, "server", ["::1"])
    asked = []

    class Refuses(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.headers["Host"])
            self.send_error(status)

    class Server(http.server.HTTPServer):
        address_family = socket.AF_INET6

    with Server(("::1", 0), Refuses) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.file, certificate.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(json.dumps({
            "clusters": [{"name": "c", "cluster": {"server": f"https://[::1]:{server.server_port}",
                                                   "certificate-authority": str(ca.file)}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x"}))
        ended = run("--once", "--labels.kubernetes", f"--kubeconfig={kubeconfig}", "--kubernetes.node-name=n",
                    "--kubernetes.start-jitter=0s")
        server.shutdown()
        thread.join()
    assert ended.returncode == 1 and str(status) in ended.stderr
    assert set(asked) == {f"[::1]:{server.server_port}"}  # after a 401 once more, with the token as it is by then


@pytest.mark.parametrize("field", ["certificate-authority-data", "client-certificate-data"])
def test_a_credential_in_the_kubeconfig_that_is_none_is_named(tmp_path, field):
    (tmp_path / "nonsense").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    nonsense = base64_of(tmp_path / "nonsense")
    cluster = {"server": "https://127.0.0.1:1"} | ({field: nonsense} if "authority" in field else {})
    user = {"token": "t"} if "authority" in field else {field: nonsense, "client-key-data": nonsense}
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps({
        "clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "current-context": "x"}))
    ended = run("--once", "--labels.kubernetes", f"--kubeconfig={kubeconfig}", "--kubernetes.node-name=n")
    assert ended.returncode == 1
    assert "the kubeconfig: " in ended.stderr and "in PEM" in ended.stderr
