"""A fleet of devicetree-exporters on one machine, for Prometheus to scrape: see README.md.

What a node says is what the built program says. Each story below is one real exporter that
reads a board's sysfs, with or without a fault that really is in that sysfs; any number of
nodes tell the same story, each at a path of its own. With Kubernetes the exporters label
Nodes of a real API server, and kube_state_metrics.py tells of these.

    /node/NAME/metrics         what NAME says now
    /node/NAME/                its landing page
    /kube-state-metrics        with Kubernetes

Needs dtc, and what tests/system/requirements.txt names.
"""

import asyncio
import collections
import contextlib
import gzip
import ipaddress
import json
import pathlib
import re
import resource
import signal
import subprocess
import sys
import threading
import time

from aiohttp import web

TESTS = pathlib.Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS / "system"))

import host_tree
import kube_state_metrics
from control_plane import MANIFESTS
from exporter import Exporter, wait_until

JOB = "devicetree-exporter"
CLUSTER = "box"
PREFIX = "beta.devicetree.org/"
REFRESH = "10s"  # of the node that reads its hardware regularly
CACHE_SECONDS = 1
GZIP = b"\x1f\x8b"  # how it begins
LABEL_RIGHTS = MANIFESTS / "components/labels/rbac.yaml"
MOST_REPAIRS = 3  # exporter/LABELS.md: of one label within an hour

# A story: so many of each turn's nodes are this board, and something is wrong with it.
Story = collections.namedtuple("Story", "name board nodes fault", defaults=[None])
STORIES = [
    Story("jetson-nano", "jetson-nano", 4),
    Story("jetson-nano-updated", "jetson-nano", 1, "firmware updated"),
    Story("raspberry-pi-4", "raspberry-pi-4", 3),
    Story("raspberry-pi-4-contested", "raspberry-pi-4", 1, "others set a label"),
    Story("rock-5b", "rock-5b-host", 4),
    Story("rock-5b-unbound", "rock-5b-host", 1, "driver unbound"),
    Story("rock-5b-refused", "rock-5b-host", 1, "no right to label"),
    Story("imx8mp", "imx8mp-host", 2),
    Story("zynqmp", "zynqmp-zcu102", 1),
    Story("gpu-server", "gpu-server", 1),
    Story("gpu-server-broken", "gpu-server", 1, "bus unreadable"),
    Story("coral", "usb-host", 2),
    Story("coral-unplugged", "usb-host", 1, "unplugged"),
    Story("pc", "pc", 1),
    Story("pc-down", "pc", 1, "exporter down"),
    Story("pc-stale", "pc", 1, "textfile left behind"),
]
MOST_NODES = 500  # of a cluster
TURN = sum(story.nodes for story in STORIES)  # the least number of nodes

# What drives the boards of tests/boards that are a devicetree alone: the node, the driver, and
# what the kernel then registers (exporter/accelerators.yaml). Nothing drives the ZynqMP's DPU.
DRIVERS = {
    "jetson-nano": [("/gpu@57000000", "gk20a", None)],
    "raspberry-pi-4": [("/soc/v3d@7ec04000", "v3d", "drm/renderD128")],
    "zynqmp-zcu102": [
        ("/axi/gpu@fd4b0000", "lima", "drm/renderD128"),
        ("/firmware/zynqmp-firmware/pcap", "zynqmp_fpga_manager", "fpga_manager/fpga0"),
    ],
}

LABEL_FAULTS = ["others set a label", "no right to label"]  # with Kubernetes alone

# The Nodes of these stories are not ready: no pod may count on what they have.
NOT_READY = ["gpu-server", "gpu-server-broken"]

# Pods: who owns them, how many, on which node (None: none yet), and what their nodeSelector asks for.
Workload = collections.namedtuple("Workload", "namespace kind name pods node phase selector")
WORKLOADS = [
    Workload("vision", "ReplicaSet", "detector", 2, "jetson-nano-0", "Running", {"accelerator.gpu": "1"}),
    Workload("vision", "StatefulSet", "captions", 1, "rock-5b-0", "Running", {"accelerator.npu": "1"}),
    Workload("vision", "ReplicaSet", "speech", 3, None, "Pending", {"accelerator.dsp": "1"}),
    Workload("batch", "Job", "encrypt", 1, None, "Pending", {"accelerator.crypto": "1"}),
    Workload("batch", "Job", "decrypt", 1, "gpu-server-0", "Succeeded", {"accelerator.dsp": "1"}),
    Workload("vision", "ReplicaSet", "legacy", 1, None, "Pending", {"nvidia-jetson-tx2": "1"}),
    Workload("radio", "DaemonSet", "radio", 1, "raspberry-pi-4-contested-0", "Running", {}),
    Workload("web", "ReplicaSet", "shop", 1, "pc-0", "Running", {}),
]

# What becomes of which files of the sysfs: their new content, or None: they are gone.
FAULTS = {
    "firmware updated": {"firmware/devicetree/base/serial@70006040/status": b"okay\0"},
    "driver unbound": {
        "class/accel/accel0": None,
        "devices/platform/fdab0000.npu/driver": None,
        "devices/platform/fdac0000.npu/driver": None,
        "devices/platform/fdad0000.npu/driver": None,
    },
    "bus unreadable": {"bus/pci/devices": b"not a folder"},
    "unplugged": {"bus/usb/devices/1-1.2": None, "bus/usb/devices/1-1.2:1.0": None},
}


def make_host(board, sysfs):
    """The sysfs of that board of tests/boards, with drivers for its accelerators."""
    folder = TESTS / "boards" / board
    sysfs.mkdir(parents=True)
    if (folder / "host.tree").exists():
        host_tree.expand(folder / "host.tree", sysfs)
    its_devicetree = folder / "devicetree"
    source = folder.parent / its_devicetree.read_text().strip() if its_devicetree.exists() else folder
    if (source / "board.dts").exists():
        blob = sysfs.with_suffix(".dtb")
        subprocess.run(["dtc", "-q", "-O", "dtb", "-o", blob, source / "board.dts"], check=True)
        base = sysfs / "firmware/devicetree/base"
        base.parent.mkdir(parents=True)
        subprocess.run([sys.executable, TESTS / "oracle/unpack.py", blob, base], check=True)
    for node, driver, registered in DRIVERS.get(board, []):
        _bind(sysfs, node, driver, registered)


def _bind(sysfs, node, driver, registered):
    """A platform device for that devicetree node, held by the driver."""
    name = node.rpartition("/")[2]
    lines = [
        f"devices/platform/{name}/of_node -> ../../../firmware/devicetree/base{node}",
        f"devices/platform/{name}/subsystem -> ../../../bus/platform",
        f"devices/platform/{name}/driver -> ../../../bus/platform/drivers/{driver}",
        f"bus/platform/devices/{name} -> ../../../devices/platform/{name}",
        f"bus/platform/drivers/{driver}/{name} -> ../../../../devices/platform/{name}",
    ]
    if registered:
        lines += [
            f"devices/platform/{name}/{registered}/device -> ../../../{name}",
            f"class/{registered} -> ../../devices/platform/{name}/{registered}",
        ]
    text = sysfs.with_suffix(".tree")
    text.write_text("\n".join(lines))
    host_tree.expand(text, sysfs)


class Teller:
    """The exporter of one story. node is the Node that it labels, plane its API server, or None."""

    def __init__(self, story, folder, plane, kubeconfig):
        self.story = story
        self.node = f"{story.name}-0"
        self.faulty = False
        self.first_body = None  # before its fault
        self._sysfs = folder / story.name / "sys"
        self._aside = folder / story.name / "aside"
        self._textfile = folder / story.name / "textfile"
        self._plane = plane
        make_host(story.board, self._sysfs)
        self._aside.mkdir()
        self._textfile.mkdir()
        flags = [f"--path.sysfs={self._sysfs}", "--labels.removal-delay=0s"]
        under = []
        if story.fault == "textfile left behind":
            # In a user namespace of its own no event of the kernel comes: it reads regularly.
            under = ["unshare", "--user", "--map-root-user"]
            flags += [f"--refresh.interval={REFRESH}", f"--textfile.directory={self._textfile}"]
        if plane:
            if story.fault == "no right to label":
                plane.kubectl("apply", "-f", str(LABEL_RIGHTS))
                kubeconfig = plane.kubeconfig(self._aside / "kubeconfig", plane.service_account_token())
                flags += ["--kubernetes.resync-interval=1s"]
            else:
                flags += ["--kubernetes.watch"]
            flags += [
                *("--labels.kubernetes", "--kubernetes.start-jitter=0s"),
                f"--kubernetes.node-name={self.node}",
                f"--kubeconfig={kubeconfig}",
            ]
        self._cached = (0, None)
        self._lock = threading.Lock()
        self.exporter = Exporter(*flags, under=under)

    def start(self):
        self.exporter.__enter__()
        if self._plane:
            wait_until(self._is_labelled, f"{self.node} is labelled", 60)
        self.first_body = self.exporter.metrics()

    def stop(self):
        self.exporter.__exit__()

    def _is_labelled(self):
        return "\ndevicetree_label_last_success_timestamp_seconds " in self.exporter.metrics()

    @property
    def can_break(self):
        return self.story.fault is not None and (self.story.fault not in LABEL_FAULTS or self._plane is not None)

    def break_(self):
        """Its fault happens."""
        if not self.can_break or self.faulty:
            return
        self.faulty = True
        if self.story.fault in FAULTS:
            for number, (name, content) in enumerate(FAULTS[self.story.fault].items()):
                (self._sysfs / name).rename(self._aside / str(number))
                if content is not None:
                    (self._sysfs / name).write_bytes(content)
            self._read_again()
        elif self.story.fault == "others set a label":
            self._contest()
        elif self.story.fault == "no right to label":
            self._lose_the_right()
        elif self.story.fault == "textfile left behind":
            self.exporter.process.kill()

    def mend(self):
        """What a fault of the hardware has changed is as it was before; others stay."""
        if self.story.fault in FAULTS and self.faulty:
            for number, name in enumerate(FAULTS[self.story.fault]):
                (self._sysfs / name).unlink(missing_ok=True)
                (self._aside / str(number)).rename(self._sysfs / name)
            self._read_again()
            self.faulty = False

    def _read_again(self):
        before = self._snapshot_line()
        self.exporter.send_signal(signal.SIGHUP)
        wait_until(lambda: self._snapshot_line() != before, "a new snapshot", 60)

    def _snapshot_line(self):
        return re.search(r"^devicetree_snapshot_timestamp_seconds .*", self.exporter.metrics(), re.M)[0]

    def _contest(self):
        """Somebody sets one of its labels again and again, until it yields."""
        key = PREFIX + "accelerator.gpu"
        for number in range(2, MOST_REPAIRS + 3):
            self._plane.kubectl("label", "--overwrite", "node", self.node, f"{key}={number}")
            repairs = f"devicetree_label_drift_repairs_total {number - 1}\n"
            wait_until(
                lambda: repairs in self.exporter.metrics()
                or "devicetree_node_labels_yielded 1\n" in self.exporter.metrics(),
                f"{self.node}: {repairs}",
                60,
            )

    def _lose_the_right(self):
        """Somebody takes it away; the exporter sees that when it looks at its Node again."""
        self._plane.kubectl("delete", "-f", str(LABEL_RIGHTS))
        failed = re.compile(r'^devicetree_label_apply_failures_total\{reason="forbidden"\} [1-9]', re.M)
        wait_until(lambda: failed.search(self.exporter.metrics()), "a refused apply", 60)

    def body(self):
        """What Prometheus gets now; None where nobody answers."""
        if self.faulty and self.story.fault == "exporter down":
            return None
        if self.faulty and self.story.fault == "textfile left behind":
            return (self._textfile / "devicetree-exporter.prom").read_text()
        return self.exporter.metrics()

    def answer(self):
        """The same, compressed and a second old at most; None where nobody answers."""
        with self._lock:
            at, answer = self._cached
            if time.monotonic() - at > CACHE_SECONDS:
                if self.faulty and self.story.fault in ("exporter down", "textfile left behind"):
                    body = self.body()
                    answer = body and body.encode()
                else:
                    answer = self.exporter.get("/metrics", {"Accept-Encoding": "gzip"}).body
                self._cached = (time.monotonic(), answer)
            return answer


class Fleet:
    """The nodes and their server; a context manager.

    folder is empty and takes all that they write. nodes: their number, TURN at least; they come
    in turns of STORIES. plane, a running ControlPlane, has a Node for each; of more than MOST_NODES
    nodes, only for the first of each story, which an exporter labels.
    """

    def __init__(self, folder, nodes=TURN, plane=None):
        self.folder = pathlib.Path(folder)
        self.plane = plane
        kubeconfig = plane and plane.kubeconfig(self.folder / "kubeconfig")
        self.tellers = [Teller(story, self.folder, plane, kubeconfig) for story in STORIES]
        turn = [teller for teller in self.tellers for _ in range(teller.story.nodes)]
        self.nodes = {}  # name: Teller
        numbers = collections.Counter()
        for index in range(max(nodes, TURN)):
            teller = turn[index % TURN]
            self.nodes[f"{teller.story.name}-{numbers[teller.story.name]}"] = teller
            numbers[teller.story.name] += 1
        of_cluster = lambda name, teller: len(self.nodes) <= MOST_NODES or name == teller.node
        self._cluster = {name: teller for name, teller in self.nodes.items() if of_cluster(name, teller)}
        self._stack = contextlib.ExitStack()
        self._loop = asyncio.new_event_loop()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            stack.callback(self._stop_serving)
            if self.plane:
                self._create_cluster()
            for teller in self.tellers:
                stack.callback(teller.stop)
                teller.start()
            self._serve()
            self.copy_labels()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error):
        self._stack.close()

    def _create_cluster(self):
        for name, teller in self._cluster.items():
            self.plane.create_node(name)
            if teller.story.name in NOT_READY:
                condition = {"type": "Ready", "status": "False", "reason": "KubeletNotReady"}
                self._merge(f"/api/v1/nodes/{name}/status", {"status": {"conditions": [condition]}})
        addresses = ipaddress.ip_network("10.244.0.0/24").hosts()
        for workload in WORKLOADS:
            self.plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": workload.namespace}})
            for number in range(workload.pods):
                self._create_pod(workload, f"{workload.name}-{number}", next(addresses))

    def _create_pod(self, workload, name, address):
        owner = {"kind": workload.kind, "name": workload.name, "controller": True, "uid": workload.name}
        pod = {
            "metadata": {"name": name, "ownerReferences": [{"apiVersion": "apps/v1", **owner}]},
            "spec": {
                "nodeSelector": {PREFIX + key: value for key, value in workload.selector.items()},
                "containers": [{"name": "main", "image": "none"}],
                **({"nodeName": workload.node} if workload.node else {}),
            },
        }
        pods = f"/api/v1/namespaces/{workload.namespace}/pods"
        status, answer = self.plane.request("POST", pods, pod)
        assert status == 201, answer
        where = {"podIP": str(address), "podIPs": [{"ip": str(address)}]} if workload.node else {}
        self._merge(f"{pods}/{name}/status", {"status": {"phase": workload.phase, **where}})

    def _merge(self, path, change):
        headers = {"Content-Type": "application/merge-patch+json"}
        status, answer = self.plane.request("PATCH", path, change, headers=headers)
        assert status == 200, answer

    def break_(self):
        """All faults happen."""
        for teller in self.tellers:
            teller.break_()
        self.copy_labels()

    def copy_labels(self):
        """To the Nodes that tell the same story: only its first one has an exporter that labels it."""
        if not self.plane:
            return
        for name, teller in self._cluster.items():
            if name != teller.node:
                labels = self.plane.labels(teller.node)
                self._merge(f"/api/v1/nodes/{name}", {"metadata": {"labels": labels}})

    # The server: one thread, and a pool of threads that ask the exporters.

    def _serve(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # a connection for each node
        app = web.Application()
        app.router.add_get("/node/{name}/metrics", self._metrics)
        app.router.add_get("/node/{name}/", self._landing_page)
        app.router.add_get("/kube-state-metrics", self._kube_state_metrics)
        runner = web.AppRunner(app, access_log=None)
        started = threading.Event()

        async def start():
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
            await site.start()
            self.address = "127.0.0.1:%d" % runner.addresses[0][1]
            started.set()

        def run():
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(start())
            self._loop.run_forever()
            self._loop.run_until_complete(runner.cleanup())

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        assert started.wait(30), "the fleet's server does not start"

    def _stop_serving(self):
        if self._loop.is_running():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=30)

    def _teller(self, request):
        name = request.match_info["name"]
        if name not in self.nodes:
            raise web.HTTPNotFound(text=f"no node {name}\n")
        return self.nodes[name]

    async def _metrics(self, request):
        body = await asyncio.to_thread(self._teller(request).answer)
        if body is None:
            raise web.HTTPServiceUnavailable(text="the exporter is down\n")
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        if body.startswith(GZIP):
            if "gzip" in request.headers.get("Accept-Encoding", ""):
                headers["Content-Encoding"] = "gzip"
            else:
                body = gzip.decompress(body)
        return web.Response(body=body, headers=headers)

    async def _landing_page(self, request):
        page = await asyncio.to_thread(self._teller(request).exporter.get, "/")
        return web.Response(body=page.body, content_type="text/html", charset="utf-8")

    async def _kube_state_metrics(self, _):
        if not self.plane:
            raise web.HTTPNotFound(text="without Kubernetes\n")
        text = await asyncio.to_thread(kube_state_metrics.render, self.plane)
        return web.Response(text=text, headers={"Content-Type": "text/plain; version=0.0.4"})

    # Prometheus.

    def labels(self, name):
        """Of the target: as deploy/kubernetes' PodMonitor makes them, or as a static target has them."""
        return {"cluster": CLUSTER, "instance": name, "node": name} if self.plane else {"instance": name}

    def configuration(self, interval="5s", rules=(), kube_state_metrics=True):
        """A configuration of Prometheus that scrapes all of it."""
        targets = [
            {
                "targets": [self.address],
                "labels": {**self.labels(name), "__metrics_path__": f"/node/{name}/metrics"},
            }
            for name in self.nodes
        ]
        # Beside it and renamed: a Prometheus may be reading it already.
        fresh = self.folder / "targets.json.new"
        fresh.write_text(json.dumps(targets))
        fresh.rename(self.folder / "targets.json")
        jobs = [{"job_name": JOB, "file_sd_configs": [{"files": [str(self.folder / "targets.json")]}]}]
        if self.plane and kube_state_metrics:
            jobs.append(
                {
                    "job_name": "kube-state-metrics",
                    "honor_labels": True,
                    "metrics_path": "/kube-state-metrics",
                    "static_configs": [{"targets": [self.address], "labels": {"cluster": CLUSTER}}],
                }
            )
        timings = dict.fromkeys(["scrape_interval", "evaluation_interval"], interval)
        return json.dumps(
            {"global": timings, "rule_files": [str(rule) for rule in rules], "scrape_configs": jobs}
        )

    def write_history(self, promtool, data, seconds, step=60):
        """A past without faults of all nodes, into Prometheus' data folder, until a step ago.

        It is what each exporter said at first; the times that it tells are those of the beginning.
        """
        now = int(time.time())
        lines = self.folder / "history.txt"
        with lines.open("w") as out:
            for name, teller in self.nodes.items():
                past = _past(teller.first_body, self.labels(name), now - seconds)
                for at in range(now - seconds, now - step + 1, step):
                    out.writelines(f"{sample} {at}\n" for sample in past)
            out.write("# EOF\n")
        command = [promtool, "tsdb", "create-blocks-from", "openmetrics", lines, data]
        subprocess.run(command, check=True, capture_output=True)
        lines.unlink()


_SAMPLE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$")
_TIMES = re.compile(r"_timestamp_seconds$|^process_start_time_seconds$")


def _past(body, labels, begin):
    """Its samples, with the labels of the target, and with `begin` as each time that it tells."""
    target = ",".join(f'{key}="{value}"' for key, value in {"job": JOB, **labels}.items())
    samples = [f"up{{{target}}} 1"]
    for line in body.splitlines():
        if sample := _SAMPLE.match(line):
            name, its_labels, value = sample.groups()
            pairs = ",".join(filter(None, [target, its_labels]))
            samples.append(f"{name}{{{pairs}}} {begin if _TIMES.search(name) else value}")
    return samples
