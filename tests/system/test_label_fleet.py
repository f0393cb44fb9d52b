"""A fleet of label sinks against one API server: what it costs, and that none starves.

The sinks are the program's own (label_fleet.cc), each with its own jitter, in a few
processes. The figures are printed: run with -s.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

from control_plane import ControlPlane
from exporter import wait_until

NODES = 1000
PROCESSES = 4
JITTER_SECONDS = 30  # the default
RESYNC_SECONDS = 60  # the default is five times as much: so is the load that is measured
STEADY_SECONDS = 75  # until every sink has looked again
SETTLE_SECONDS = 120
MANIFESTS = pathlib.Path(__file__).resolve().parents[2] / "deploy/kubernetes"
LABELS = {f"beta.devicetree.org/vendor-device-{i}": "1" for i in range(20)}


def fleet_program():
    path = pathlib.Path(os.environ["DTE_BINARY"]).resolve().parent / "tests/system/label_fleet"
    assert path.exists(), f"{path}: cmake --build --preset release --target label_fleet"
    return path


class Gauge:
    """Requests, refusals and processor time of the API server since the last look."""

    def __init__(self, control_plane):
        self._control_plane = control_plane
        self._last = self._read()

    def _read(self):
        _, text = self._control_plane.request("GET", "/metrics")
        requests = {}
        for line in text.splitlines():
            if line.startswith("apiserver_request_total{") and 'resource="nodes"' in line:
                verb = re.search(r'verb="(\w+)"', line)[1]
                requests[verb] = requests.get(verb, 0) + float(line.rsplit(" ", 1)[1])
        rejected = sum(
            float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if line.startswith("apiserver_flowcontrol_rejected_requests_total{")
        )
        fields = pathlib.Path(f"/proc/{self._control_plane.api_server_pid}/stat").read_text()
        ticks = sum(int(field) for field in fields.rsplit(")", 1)[1].split()[11:13])
        return time.monotonic(), requests, rejected, ticks / os.sysconf("SC_CLK_TCK")

    def look(self):
        """(seconds, requests by verb, rejected, CPU seconds) since the last look."""
        before, self._last = self._last, self._read()
        requests = {
            verb: count - before[1].get(verb, 0)
            for verb, count in self._last[1].items()
            if count != before[1].get(verb, 0)
        }
        seconds, rejected, cpu = (self._last[i] - before[i] for i in (0, 2, 3))
        return seconds, requests, rejected, cpu


class Fleet:
    """NODES sinks in PROCESSES processes."""

    def __init__(self, kubeconfig, mode):
        each = NODES // PROCESSES
        self._processes = []
        for i in range(PROCESSES):
            process = subprocess.Popen(
                [fleet_program(), kubeconfig, f"fleet-{i}", str(each), str(RESYNC_SECONDS)]
                + [str(JITTER_SECONDS), mode],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            process.stdin.write("".join(f"{key}={value}\n" for key, value in LABELS.items()))
            process.stdin.close()
            self._processes.append(process)

    def resident_bytes(self):
        pages = sum(
            int(pathlib.Path(f"/proc/{process.pid}/statm").read_text().split()[1])
            for process in self._processes
        )
        return pages * os.sysconf("SC_PAGE_SIZE")

    def stop(self):
        """The sums of what the sinks report."""
        total = {}
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            for name, count in json.loads(process.stdout.read()).items():
                total[name] = total.get(name, 0) + count
            process.stdout.close()
            process.wait()
        return total


def labelled(control_plane):
    """How many Nodes carry all labels."""
    _, answer = control_plane.request(
        "GET",
        "/api/v1/nodes?resourceVersion=0",
        headers={"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"},
    )
    return sum(
        LABELS.items() <= node["metadata"].get("labels", {}).items() for node in answer["items"]
    )


def say(phase, look):
    seconds, requests, rejected, cpu = look
    total = sum(requests.values())
    verbs = ", ".join(f"{verb} {count:.0f}" for verb, count in sorted(requests.items()))
    print(
        f"{phase}: {seconds:.0f} s, {total / seconds:.1f} requests/s ({verbs}), "
        f"{rejected:.0f} rejected, API server {cpu / seconds:.2f} cores"
    )


@pytest.mark.parametrize("mode", ["poll", "watch"])
def test_a_thousand_nodes_are_labelled_and_then_cost_little(tmp_path, mode):
    with ControlPlane(tmp_path) as control_plane:
        names = [f"fleet-{i % PROCESSES}-{i // PROCESSES:04d}" for i in range(NODES)]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(control_plane.create_node, names))
        # As pods would: subject to the server's priority and fairness, all in one flow.
        # The fence stays out: it would want a pod and a token for each Node.
        token = control_plane.service_account_token()
        for component in ("labels", "labels-watch"):
            rights = MANIFESTS / "components" / component / "rbac.yaml"
            control_plane.kubectl("apply", "-f", str(rights))
        kubeconfig = control_plane.kubeconfig(tmp_path / "fleet.kubeconfig", token)
        gauge = Gauge(control_plane)
        gauge.look()
        fleet = Fleet(kubeconfig, mode)
        begin = time.monotonic()
        try:
            wait_until(
                lambda: time.sleep(0.5) or labelled(control_plane) == NODES,
                "every Node carries its labels",
                JITTER_SECONDS + SETTLE_SECONDS,
            )
            print(f"\n{mode}: {NODES} Nodes labelled after {time.monotonic() - begin:.1f} s")
            say("roll-out", gauge.look())
            time.sleep(STEADY_SECONDS)
            steady = gauge.look()
            say("steady", steady)
            print(f"memory of the sinks: {fleet.resident_bytes() / NODES / 1024:.0f} KiB each")
        finally:
            report = fleet.stop()
        print(report)
        assert report["settled"] == NODES
        assert report["applies"] == NODES  # one each, and no more
        assert report["throttled"] == 0
        assert steady[2] == 0
        # A look at each Node every RESYNC_SECONDS, give or take a fifth, and no write.
        assert steady[1]["GET"] == pytest.approx(NODES * steady[0] / RESYNC_SECONDS, rel=0.25)
        assert not {"APPLY", "PATCH", "LIST"} & steady[1].keys()
