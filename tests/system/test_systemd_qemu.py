"""The Debian package in a running Debian: dpkg installs it under systemd, on a real kernel.

Two guests: a Jetson Nano (arm64, its live devicetree) and a PC without a devicetree
(amd64). The service runs as its unit says, with the whole sandbox.
"""

import os
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

import debian
import qemu
import systemd_guest
from exporter import request, wait_until
from test_debian_package import build

SERVICE = "devicetree-exporter"
CONFIG = "/etc/devicetree-exporter/config.yaml"
DROP_IN = f"/etc/systemd/system/{SERVICE}.service.d/labels.conf"
SLEEP_SECONDS = 20
BOARDS = {"jetson-nano": qemu.ARM64, "pc": qemu.AMD64}
HOST = "apiserver.example.test"
NO_SERVER = f"https://{HOST}:6443"
KUBECONFIG = (
    "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}], "
    f"clusters: [{{name: c, cluster: {{server: {NO_SERVER}, insecure-skip-tls-verify: true}}}}], "
    "users: [{name: u, user: {token: secret}}]}"
)


class Node:
    """A guest with the package's service."""

    def __init__(self, guest):
        self._guest = guest

    def run(self, command):
        """What root's command wrote; it must succeed."""
        result = self._guest.root(command)
        assert result.exit_code == 0, (command, result, self.log())
        return result.output

    def fails(self, command):
        result = self._guest.root(command)
        assert result.exit_code != 0, (command, result)
        return result.output

    def log(self):
        return self._guest.root(f"journalctl -u {SERVICE} -o cat --no-pager").output

    def show(self, name):
        return self.run(f"systemctl show -P {name} {SERVICE}").strip()

    def scrape(self):
        """The samples by name, once there are some."""

        def answer():
            try:
                return request("127.0.0.1", self._guest.port, "GET", "/metrics", seconds=30)
            except OSError:
                return None

        response = wait_until(answer, f"a scrape; its log:\n{self.log()}", qemu.DEADLINE_SECONDS)
        assert response.status == 200
        samples = {}
        for family in text_string_to_metric_families(response.body.decode()):
            for sample in family.samples:
                samples.setdefault(sample.name, []).append(sample)
        return samples

    def wait_for_log(self, text):
        wait_until(lambda: text in self.log(), f"'{text}' in its log:\n{self.log()}", qemu.DEADLINE_SECONDS)


@pytest.fixture(scope="module", params=list(BOARDS))
def board(request):
    return request.param


@pytest.fixture(scope="module")
def node(board, tmp_path_factory):
    """A Node on which dpkg has just installed the package."""
    folder = tmp_path_factory.mktemp(board)
    payload = folder / "payload"
    payload.mkdir()
    (payload / "new.deb").write_bytes(build(BOARDS[board].arch).read_bytes())
    tree = qemu.jetson_nano_tree(folder) if board == "jetson-nano" else None
    with systemd_guest.boot(BOARDS[board], folder, payload, tree) as guest:
        node = Node(guest)
        node.run("dpkg -i /new.deb && rm /new.deb")
        yield node


def test_installing_starts_it_enabled(node):
    assert node.run(f"systemctl is-active {SERVICE}") == "active\n"
    assert node.run(f"systemctl is-enabled {SERVICE}") == "enabled\n"


def test_it_reads_the_machine_through_the_sandbox(node, board):
    samples = node.scrape()
    assert [sample.value for sample in samples["devicetree_present"]] == [board == "jetson-nano"]
    assert all(sample.value == 1 for sample in samples["devicetree_collector_success"])
    if board == "jetson-nano":
        (info,) = samples["devicetree_info"]
        assert info.labels["compatible"] == "nvidia,jetson-nano"
        directories = node.run("find /sys/firmware/devicetree/base -type d | wc -l")
        assert sum(sample.value for sample in samples["devicetree_nodes"]) == int(directories)
    # ProcSubset=pid leaves it its own facts.
    for name in ["process_cpu_seconds_total", "process_open_fds", "process_resident_memory_bytes", "process_start_time_seconds"]:
        assert [sample.value > 0 for sample in samples[name]] == [True], name


def test_it_hears_the_kernels_events(node):
    """A netlink socket of its own for NETLINK_KOBJECT_UEVENT (15), group 1."""
    sockets = [line.split() for line in node.run("cat /proc/net/netlink").splitlines()]
    assert [row[3] for row in sockets if row[1] == "15" and row[2] == node.show("MainPID")] == ["00000001"]
    assert "level=warn" not in node.log() and "level=error" not in node.log()


def test_it_runs_without_any_right(node):
    pid = node.show("MainPID")
    status = dict(line.split(":\t", 1) for line in node.run(f"cat /proc/{pid}/status").splitlines() if ":\t" in line)
    assert all(61184 <= int(uid) <= 65519 for uid in status["Uid"].split())  # DynamicUser's
    for kind in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]:
        assert int(status[kind], 16) == 0, kind
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"  # a filter
    mounts = {}
    for line in node.run(f"cat /proc/{pid}/mountinfo").splitlines():
        fields = line.split()
        mounts[fields[4]] = fields[5].split(",")
    assert "ro" in mounts["/"] and "noexec" in mounts["/"]
    assert "ro" in mounts["/sys"]
    assert not node.run(f"ls -A /proc/{pid}/root/root /proc/{pid}/root/home 2>&1 | grep -v -e : -e '^$' || true")


def test_its_exposure_is_low(node):
    overall = node.run(f"systemd-analyze security --no-pager {SERVICE} | tail -n 1")
    print(overall)
    assert float(re.search(r"exposure level for \S+ ([\d.]+)", overall)[1]) <= 2.0


def test_the_unit_is_well_formed(node):
    assert node.run(f"systemd-analyze verify --man=no {SERVICE}.service 2>&1") == ""


def test_it_goes_on_when_the_machine_has_slept(node, board):
    """Suspended to RAM; the machine's clock wakes it up."""
    if board != "pc":
        pytest.skip("QEMU's arm64 machine cannot be suspended to RAM")
    before = float(node.run("date +%s"))
    pid = node.show("MainPID")
    node.run(f"echo +{SLEEP_SECONDS} >/sys/class/rtc/rtc0/wakealarm && echo deep >/sys/power/mem_sleep && echo mem >/sys/power/state")
    assert "PM: suspend exit" in node.run("dmesg")
    assert float(node.run("date +%s")) - before >= SLEEP_SECONDS
    node.wait_for_log("the machine has slept")
    (read_at,) = node.scrape()["devicetree_snapshot_timestamp_seconds"]
    assert read_at.value >= before + SLEEP_SECONDS
    assert node.show("MainPID") == pid


def test_reload_reads_the_configuration(node, board):
    node.run(f"echo 'labels: {{prefix: reloaded.example.org, nodes: [gpu]}}' >{CONFIG}")
    pid = node.show("MainPID")
    node.run(f"systemctl reload {SERVICE}")
    keys = lambda: {sample.labels["key"] for sample in node.scrape().get("devicetree_node_label_info", [])}
    if board == "jetson-nano":
        wait_until(lambda: "reloaded.example.org/nvidia-gm20b" in keys(), "the new prefix", qemu.DEADLINE_SECONDS)
    assert node.show("MainPID") == pid


def test_a_wrong_configuration_fails_the_reload_and_it_goes_on(node):
    node.run(f"echo 'lables: {{prefix: x.example.org}}' >{CONFIG}")
    pid = node.show("MainPID")
    node.fails(f"systemctl reload {SERVICE}")
    assert f"{CONFIG}:1:" in node.log()
    assert node.run(f"systemctl is-active {SERVICE}") == "active\n"
    assert node.show("MainPID") == pid
    assert node.scrape()["devicetree_present"]


def test_it_does_not_start_over_and_over_with_a_wrong_configuration(node):
    node.run(f"systemctl stop {SERVICE}")
    node.run(f"systemctl start {SERVICE}")  # Type=exec: it could be executed
    wait_until(lambda: node.show("ActiveState") == "failed", "failed", qemu.DEADLINE_SECONDS)
    assert node.show("ExecMainStatus") == "2"
    assert node.show("NRestarts") == "0"


def test_it_comes_back_after_a_crash(node):
    node.run(f"echo >{CONFIG}; systemctl start {SERVICE}")
    node.scrape()
    node.run(f"kill -SEGV {node.show('MainPID')}")
    wait_until(lambda: node.show("NRestarts") == "1" and node.show("ActiveState") == "active", "restarted", qemu.DEADLINE_SECONDS)
    assert node.scrape()["devicetree_present"]


def test_the_kubeconfig_stays_roots(node):
    """The drop-in of deploy/systemd/README.md, to the letter; and the API server is found by its name."""
    readme = (debian.REPOSITORY / "deploy/systemd/README.md").read_text()
    drop_in = re.search(r"^    \[Service\]\n(?:    .*\n)*?    Environment=KUBECONFIG=.*\n", readme, re.M)[0]
    lines = " ".join(f"'{line.strip()}'" for line in drop_in.splitlines())
    node.run(f"mkdir -p {os.path.dirname(DROP_IN)}; printf '%s\\n' {lines} >{DROP_IN}")
    kubeconfig = "/etc/devicetree-exporter/kubeconfig"
    node.run(f"echo 127.0.0.1 {HOST} >>/etc/hosts; umask 077; echo '{KUBECONFIG}' >{kubeconfig}")
    node.run(f"echo 'labels: {{kubernetes: true}}' >{CONFIG}; echo 'kubernetes: {{start-jitter: 0s}}' >>{CONFIG}")
    node.run(f"systemctl daemon-reload; systemctl restart {SERVICE}")
    node.wait_for_log("Connection refused")  # it has read whom to ask, and nobody listens there
    node.run(f"rm -r {os.path.dirname(DROP_IN)} {kubeconfig}; echo >{CONFIG}; systemctl daemon-reload; systemctl restart {SERVICE}")


def test_it_stops_at_once_and_cleanly(node):
    node.scrape()
    node.run(f"systemctl stop {SERVICE}")
    assert node.show("Result") == "success"
    assert node.show("ExecMainStatus") == "0"


def test_purging_leaves_nothing(node):
    node.run(f"systemctl start {SERVICE}")
    pid = node.show("MainPID")
    node.run(f"dpkg --purge {SERVICE}")
    assert node.run(f"ls -d /proc/{pid} 2>/dev/null || true") == ""
    assert node.show("LoadState") == "not-found"
    left = node.run("find / -xdev -path /proc -prune -o -name '*devicetree-exporter*' -print")
    assert left == ""
