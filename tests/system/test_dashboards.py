"""The dashboards, the rules and the recipes, on what real Prometheus servers scraped from a fleet in a box.

What each query must give is worked out from the stories that the fleet tells, the expected files of
tests/boards and the drivers that the fleet binds: not from what a query gave.
"""

import collections
import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import pytest
import yaml

from conftest import BOARDS, PROMETHEUS_VERSIONS
from control_plane import ControlPlane
from exporter import request, wait_until
from prometheus_server import Prometheus
from scraped import LADDER, Row, expected_rows, node_labels

ROOT = pathlib.Path(__file__).resolve().parents[2]
DASHBOARDS = ROOT / "dashboards"
sys.path.insert(0, str(DASHBOARDS))

import fleet_in_a_box
from fleet_in_a_box import STORIES, WORKLOADS, Fleet

FILES = {name: json.loads((DASHBOARDS / f"{name}.json").read_text()) for name in ("fleet", "node")}
RULES = {name: yaml.safe_load((DASHBOARDS / f"rules/{name}.yaml").read_text()) for name in ("recording", "workloads", "alerts")}
README = (DASHBOARDS / "README.md").read_text()
INSTANCE = "raspberry-pi-4-contested-0"  # has something to show in every panel of the node dashboard
SCHEMA = pathlib.Path(__file__).with_name("grafana_schema")
HISTORY_SECONDS = 2 * 3600  # alerts look back an hour
SCRAPE = "2s"


def panels_of(name):
    return [panel for panel in FILES[name]["panels"] if panel["type"] != "row"]


PANELS = [(name, panel) for name in FILES for panel in panels_of(name)]
each_panel = pytest.mark.parametrize("name, panel", PANELS, ids=[f"{name}: {panel['title']}" for name, panel in PANELS])
each_file = pytest.mark.parametrize("name", FILES)


# The files.


def test_what_is_generated_is_what_stands_in_the_repository(tmp_path):
    subprocess.run([sys.executable, DASHBOARDS / "generate", tmp_path], check=True)
    made = [path.relative_to(tmp_path) for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    assert len(made) == 4
    for path in made:
        assert (tmp_path / path).read_text() == (ROOT / path).read_text(), f"{path}: run dashboards/generate"


@pytest.fixture(scope="module")
def tsc(tmp_path_factory):
    """tsc(dashboards) is what `tsc --strict` says of these: a list of the numbers of those that it refuses."""
    if not shutil.which("npm"):
        pytest.skip("npm, which fetches @grafana/schema and TypeScript, is not there")
    folder = pathlib.Path(os.environ["DTE_CACHE"]) / "npm/grafana_schema"
    folder.mkdir(parents=True, exist_ok=True)
    lock = (SCHEMA / "package-lock.json").read_bytes()
    installed = folder / "node_modules/lock"
    if not installed.exists() or installed.read_bytes() != lock:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SCHEMA / name, folder)
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, check=True, capture_output=True)
        installed.write_bytes(lock)
    work = tmp_path_factory.mktemp("tsc")
    (work / "node_modules").symlink_to(folder / "node_modules")
    shutil.copy(SCHEMA / "dashboard.ts", work)

    def check(dashboards):
        for number, dashboard in enumerate(dashboards):
            text = f"import type {{ Checked }} from './dashboard';\nexport const it: Checked = {json.dumps(dashboard)};\n"
            (work / f"{number}.ts").write_text(text)
        files = [f"{number}.ts" for number in range(len(dashboards))]
        options = ["--strict", "--noEmit", "--skipLibCheck", "--module", "nodenext"]
        ended = subprocess.run(
            ["node_modules/.bin/tsc", *options, *files], cwd=work, capture_output=True, text=True, check=False
        )
        print(ended.stdout)
        refused = {int(number) for number in re.findall(r"^(\d+)\.ts\(.*error TS", ended.stdout, re.M)}
        assert (ended.returncode == 0) == (not refused), ended.stdout
        return sorted(refused)

    return check


def test_grafanas_schema_takes_them(tsc):
    assert tsc(list(FILES.values())) == []


def test_grafanas_schema_refuses_what_it_does_not_know(tsc):
    wrong = []
    for path, value in {
        ("panels", 1, "options", "graphMode"): "areas",
        ("panels", 1, "gridPosition"): {"x": 0},
        ("panels", 1, "targets", 0, "exemplar"): "no",
        ("templating", "list", 0, "sort"): 99,
        ("schemaVersion",): "41",
        ("id",): 7,
    }.items():
        dashboard = json.loads(json.dumps(FILES["fleet"]))
        inner = dashboard
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        wrong.append(dashboard)
    assert tsc(wrong) == list(range(len(wrong)))


@each_file
def test_it_imports_anywhere(name):
    """No id of one Grafana's database, no data source but the variable, all plugins named."""
    dashboard = FILES[name]
    assert "id" not in dashboard and "__inputs" not in dashboard
    assert dashboard["schemaVersion"] >= 41
    kinds = {panel["type"] for panel in panels_of(name)}
    needed = {("grafana", "grafana"), ("datasource", "prometheus"), *(("panel", kind) for kind in kinds)}
    assert {(needs["type"], needs["id"]) for needs in dashboard["__requires"]} == needed
    sources = re.findall(r'"datasource": (\{.*?"\})', json.dumps(dashboard))
    assert set(sources) == {'{"type": "prometheus", "uid": "${datasource}"}'}
    assert json.dumps(dashboard).count('"datasource": {') == len(sources)
    variables = dashboard["templating"]["list"]
    assert [variables[0]["name"], variables[0]["type"], variables[0]["query"]] == ["datasource", "datasource", "prometheus"]


@each_file
def test_no_panels_overlap_or_leave_the_grid(name):
    taken = {}
    for panel in FILES[name]["panels"]:
        at = {"x": 0, "y": 0, **panel["gridPos"]}
        assert at["x"] + at["w"] <= 24, panel["title"]
        for cell in [(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])]:
            assert cell not in taken, f"{panel['title']} on {taken[cell]}"
            taken[cell] = panel["title"]
    ids = [panel["id"] for panel in FILES[name]["panels"]]
    assert len(set(ids)) == len(ids)


@each_panel
def test_it_says_what_it_shows(name, panel):
    assert panel["title"] and len(panel["description"]) > 5
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["fieldConfig"]["defaults"]["noValue"]
    assert panel["targets"]


@each_panel
def test_a_rate_is_over_the_rate_interval(name, panel):
    for target in panel["targets"]:
        assert re.findall(r"\[([^]]*)\]", target["expr"]) == ["$__rate_interval"] * len(
            re.findall(r"\b(?:rate|increase)\(", target["expr"])
        )


def test_what_the_queries_name_is_documented():
    """A family of exporter/METRICS.md, of Prometheus, or of kube-state-metrics, or a recording rule."""
    documented = set(re.findall(r"`([a-z_]+)`", (ROOT / "exporter/METRICS.md").read_text()))
    documented |= {"up", "ALERTS", "kube_pod_info", "kube_pod_nodeselectors", "kube_pod_status_phase"}
    documented |= {"kube_node_info", "kube_node_status_condition"}
    recorded = {rule["record"] for rule in all_rules() if "record" in rule}
    exprs = [target["expr"] for _, panel in PANELS for target in panel["targets"]] + [rule["expr"] for rule in all_rules()]
    seen = set()
    for expr in exprs:
        expr = re.sub(r'"[^"]*"', '""', expr)
        seen |= set(re.findall(r"\b(?:accelerator|devicetree|process|kube)_[a-z_]+\b(?=[{\[ )]|$)", re.sub(r"[a-z_]+:[a-z_]+:[a-z0-9]+", "", expr)))
        for name in re.findall(r"[a-z_]+:[a-z_]+:[a-z0-9]+", expr):
            assert name in recorded, name
    assert seen - documented == set()
    assert {"accelerator_info", "devicetree_info", "kube_pod_info"} <= seen


def test_what_is_recorded_is_read():
    """By a dashboard, an alert, or another rule that is."""
    texts = [target["expr"] for _, panel in PANELS for target in panel["targets"]]
    texts += [rule["expr"] for rule in all_rules()]
    for rule in all_rules():
        assert "alert" in rule or any(rule["record"] in text for text in texts), rule["record"]


def all_rules():
    return [rule for rules in RULES.values() for group in rules["groups"] for rule in group["rules"]]


def test_there_is_a_rule_for_each_kind_of_the_catalogue():
    catalogue = (ROOT / "exporter/accelerators.yaml").read_text()
    kinds = set(re.findall(r"\bkind: ([a-z]+)", catalogue)) - {"display"}  # gives no label
    kinds |= set(re.findall(r"^#   ([a-z]+) {2,}", catalogue, re.M)) - {"display"}
    rules = [rule for group in RULES["workloads"]["groups"] for rule in group["rules"] if "labels" in rule]
    assert sorted(rule["labels"]["kind"] for rule in rules) == sorted(kinds)


# The fleet, and who watches it.

# at: the moment that the tests ask about, so that they may take their time.
Scene = collections.namedtuple("Scene", "prometheus fleet view version at", defaults=[None])
KSM, NO_KSM, NO_KUBERNETES = "with kube-state-metrics", "without kube-state-metrics", "without Kubernetes"
EXPECTED_ALERTS = {
    **{("AcceleratorLost", "critical"): 1, ("AcceleratorNotBound", "warning"): 8},
    **{("DevicetreeChanged", "info"): 1, ("DevicetreeCollectorFailing", "warning"): 1},
    **{("DevicetreeExporterDown", "warning"): 1, ("DevicetreeSnapshotStale", "warning"): 1},
    **{("DevicetreeLabelApplyFailing", "warning"): 1, ("DevicetreeLabelConflict", "warning"): 1},
    **{("DevicetreeLabelsOutOfStep", "warning"): 1},
}
LABEL_ALERTS = {name for name in EXPECTED_ALERTS if "Label" in name[0]}


def alerts_in(view):
    if view == NO_KUBERNETES:
        return {name: count for name, count in EXPECTED_ALERTS.items() if name not in LABEL_ALERTS}
    return EXPECTED_ALERTS


@pytest.fixture(scope="module")
def scenes(prometheus_program, tmp_path_factory):
    """{(version, view): Scene} after all faults of the fleets have happened and are recorded."""
    # One story needs it. The kernel refuses new user namespaces in a chroot, and some systems everywhere.
    if subprocess.run(["unshare", "--user", "true"], check=False).returncode != 0:
        pytest.skip("no user namespaces here")
    folder = tmp_path_factory.mktemp("fleet")
    rules = sorted((DASHBOARDS / "rules").glob("[!t]*.yaml"))
    promtool = prometheus_program("debian", "promtool")
    made = {}
    with contextlib.ExitStack() as stack:
        for name in ("plane", "with", "without"):
            (folder / name).mkdir()
        plane = stack.enter_context(ControlPlane(folder / "plane"))
        fleets = {
            True: stack.enter_context(Fleet(folder / "with", plane=plane)),
            False: stack.enter_context(Fleet(folder / "without")),
        }
        for kubernetes, fleet in fleets.items():
            fleet.write_history(promtool, folder / f"history-{kubernetes}", HISTORY_SECONDS)
        for view in (KSM, NO_KSM, NO_KUBERNETES):
            fleet = fleets[view != NO_KUBERNETES]
            config = fleet.configuration(SCRAPE, rules, kube_state_metrics=view == KSM)
            for version in PROMETHEUS_VERSIONS:
                its_folder = folder / f"{version} {view}"
                shutil.copytree(folder / f"history-{fleet.plane is not None}", its_folder / "data")
                program = prometheus_program(version, "prometheus")
                prometheus = stack.enter_context(Prometheus(program, its_folder, config))
                made[version, view] = Scene(prometheus, fleet, view, version)
        for scene in made.values():
            # The history has no such series: a scrape has, and Prometheus then sees what goes.
            scraped = f"count(scrape_samples_scraped{{job='{fleet_in_a_box.JOB}'}} > 0)"
            wait_until(
                lambda: scene.prometheus.query(scraped) == [({}, len(scene.fleet.nodes))],
                "all nodes are scraped",
                seconds=120,
            )
        for fleet in fleets.values():
            fleet.break_()
        for name, scene in made.items():
            with contextlib.suppress(AssertionError):
                wait_until(lambda: alerts(scene) == alerts_in(scene.view), "the alerts", seconds=120)
            assert alerts(scene) == alerts_in(scene.view), f"{scene.version} {scene.view}"
            made[name] = scene._replace(at=time.time())
        yield made


def ask(scene, expression):
    return scene.prometheus.query(expression, at=scene.at)


def alerts(scene):
    found = scene.prometheus.query("count by (alertname, severity) (ALERTS)")
    return {(labels["alertname"], labels["severity"]): value for labels, value in found}


@pytest.fixture(params=PROMETHEUS_VERSIONS)
def version(request):
    return request.param


@pytest.fixture(params=[KSM, NO_KSM, NO_KUBERNETES])
def scene(request, version, scenes):
    return scenes[version, request.param]


# What the fleet is.

# Boards that are a devicetree alone in tests/boards, with the drivers of fleet_in_a_box.DRIVERS.
BOUND = {
    "jetson-nano": [
        Row("gpu", "devicetree", "/gpu@57000000", "nvidia", "gm20b", "nvidia,gm20b", "gk20a", "-", *"111"),
    ],
    "raspberry-pi-4": [
        Row("gpu", "devicetree", "/soc/v3d@7ec04000", "brcm", "videocore-v3d", "brcm,2711-v3d", "v3d", "-", *"111"),
    ],
    "zynqmp-zcu102": [
        Row("npu", "devicetree", "/amba_pl@80000000/dpu@8f000000", "xilinx", "dpuczdx8g", "xlnx,DPUCZDX8G-4.1", "-", "-", *"100"),
        Row("gpu", "devicetree", "/axi/gpu@fd4b0000", "arm", "mali-400", "arm,mali-400", "lima", "-", *"111"),
        Row("fpga", "devicetree", "/firmware/zynqmp-firmware/pcap", "xilinx", "zynqmp", "xlnx,zynqmp-pcap-fpga", "zynqmp_fpga_manager", "-", *"111"),
    ],
    "pc": [],
}
MODELS = {  # model and compatible of the board.dts
    "jetson-nano": ("NVIDIA Jetson Nano Developer Kit", "nvidia,jetson-nano"),
    "raspberry-pi-4": ("Raspberry Pi 4 Model B", "raspberrypi,4-model-b"),
    "rock-5b-host": ("Radxa ROCK 5B", "radxa,rock-5b"),
    "imx8mp-host": ("NXP i.MX8MPlus EVK board", "fsl,imx8mp-evk"),
    "zynqmp-zcu102": ("ZynqMP ZCU102 Rev1.0", "xlnx,zynqmp-zcu102-rev1.0"),
}
NO_TREE = ("no devicetree", "")
UP = {story.name: story.nodes for story in STORIES if story.fault != "exporter down"}


def accelerators_of(story):
    """Its rows after its fault."""
    expected = BOARDS / story.board / "expected/accelerators.txt"
    rows = expected_rows(expected.read_text()) if expected.exists() else BOUND[story.board]
    if story.fault == "driver unbound":
        rows = [row._replace(driver="-", bound="0", ready="0") if row.kind == "npu" else row for row in rows]
    if story.fault == "unplugged":
        rows = [row for row in rows if row.address != "1-1.2"]
    return rows


def count_accelerators(state, *by):
    """How many of the whole fleet have come that far; described: all. Displays are no accelerators."""
    counts = collections.Counter()
    for story in STORIES:
        for row in accelerators_of(story):
            if story.name in UP and row.kind != "display":
                key = tuple("" if (text := getattr(row, name)) == "-" else text for name in by)
                counts[key] += story.nodes * (1 if state == "described" else int(getattr(row, state)))
    return {key[0] if len(key) == 1 else key: count for key, count in counts.items()}


def count_machines():
    """By model and compatible."""
    counts = collections.Counter()
    for story in STORIES:
        counts[MODELS.get(story.board, NO_TREE)] += UP.get(story.name, 0)
    return dict(counts)


def golden(board, family):
    """{label value: value} of a family with one label, from the board's expected metrics."""
    text = (BOARDS / board / "expected/metrics.prom").read_text()
    found = re.findall(rf'^{family}\{{[a-z_]+="([^"]*)"\}} (\S+)$', text, re.M)
    assert found, family
    return {name: float(value) for name, value in found}


def wanted_labels(scene):
    """The labels of all nodes, as their exporters say."""
    return sum(len(node_labels(teller.body() or "")) * teller.story.nodes for teller in scene.fleet.tellers)


# Predicates for what is a time or a rate.
def positive(value):
    return value > 0


def some_age(value):
    return 0 <= value < 3600


JETSON, RASPBERRY = MODELS["jetson-nano"][0], MODELS["raspberry-pi-4"][0]
[FINGERPRINT] = golden("jetson-nano", "devicetree_fingerprint_info")
[PI_FINGERPRINT] = golden("raspberry-pi-4", "devicetree_fingerprint_info")
LABELS = "raspberrypi-4-model-b brcm-bcm2711 brcm-2711-v3d accelerator.gpu accelerator.gpu.count accelerator.gpu.vendor.brcm accelerator.gpu.driver.v3d"
KEYS = {fleet_in_a_box.PREFIX + name for name in LABELS.split()}
CONTESTED = fleet_in_a_box.PREFIX + "accelerator.gpu"
COLLECTORS = ["devicetree", "pci", "usb", "device_nodes"]
REQUESTS = {
    ("vision", "ReplicaSet", "detector", "gpu"): 2,
    ("vision", "StatefulSet", "captions", "npu"): 1,
    ("vision", "ReplicaSet", "speech", "dsp"): 3,
    ("batch", "Job", "encrypt", "crypto"): 1,
}
ASKED = {"gpu": 2, "npu": 1, "dsp": 3, "crypto": 1}
# On ready Nodes: those of gpu-server are not.
HAVE = {"gpu": 5 + 4 + 6 + 2 + 1, "npu": 6 + 2 + 1, "fpga": 1, "tpu": 2, "vpu": 3}
MISSING = {key: count for key, count in REQUESTS.items() if key[3] in ("dsp", "crypto")}
WORKLOAD_LABELS = ["namespace", "created_by_kind", "created_by_name", "kind"]


class Values:
    """The labels of the keys, and what each value must be, or a predicate of it."""

    def __init__(self, labels, values):
        self.labels, self.values = labels, values

    def check(self, result):
        found = {}
        for labels, value in result:
            key = tuple(labels.get(name, "") for name in self.labels)
            key = key[0] if len(key) == 1 else key
            assert key not in found, f"twice: {key}"
            found[key] = value
        assert found.keys() == self.values.keys()
        for key, value in self.values.items():
            good = value(found[key]) if callable(value) else found[key] == pytest.approx(value)
            assert good, f"{key}: {found[key]}, expected {value}"


def one(value):
    return Values([], {(): value})


def by(labels, values):
    return Values(labels.split(), values)


class Check:
    """What a function says of the result."""

    def __init__(self, function):
        self.check = function


EMPTY = by("instance", {})


def ten_ages(result):
    assert len(result) == 10
    assert all(some_age(value) for _, value in result)


def two_fingerprints_of_the_jetson(result):
    """Four as in tests/boards, and the one whose firmware was updated."""
    assert {labels["board"] for labels, _ in result} == {JETSON}
    counts = {labels["fingerprint"]: value for labels, value in result}
    assert sorted(counts.values()) == [1, 4]
    assert counts[FINGERPRINT] == 4


def fleet_expectations(scene):
    """{title: [of each target]}"""
    kube, ksm = scene.view != NO_KUBERNETES, scene.view == KSM
    down = {"pc-down-0": 0}
    total = {state: sum(count_accelerators(state, "kind").values()) for state in ["described", *LADDER]}
    wanted = wanted_labels(scene)
    states = ["described", *LADDER]
    if_kube = lambda expected: expected if kube else EMPTY
    if_ksm = lambda expected: expected if ksm else EMPTY
    without_tree = [f"{story.name}-{i}" for story in STORIES if story.board not in MODELS for i in range(UP.get(story.name, 0))]
    return {
        "Machines": [one(25)],
        "Models": [one(5)],
        "Without a devicetree": [one(7)],
        "Accelerators": [one(total["described"])],
        "Not ready": [one(total["enabled"] - total["ready"])],
        "Labels out of step": [one(1 if kube else 0)],
        "Models that drift": [one(1)],
        "Exporters down": [one(1)],
        "Alerts": [by("alertname severity", alerts_in(scene.view))],
        "Machines by model": [by("board compatible", count_machines())],
        "Accelerators by kind and state": [by("kind", count_accelerators(state, "kind")) for state in states],
        "Accelerators by kind, vendor and model": [
            by("kind vendor model", count_accelerators(state, "kind", "vendor", "model")) for state in states
        ],
        "Accelerators by vendor": [by("vendor", count_accelerators("described", "vendor"))],
        "Accelerators that are ready, by kind": [by("kind", count_accelerators("ready", "kind"))],
        "Machines whose labels are out of step": [if_kube(by("instance", {INSTANCE: 1}))],
        "Labels wanted and applied": [one(wanted), if_kube(one(wanted - 1))],
        "What the label sinks do": [
            if_kube(one(positive)),
            if_kube(one(positive)),
            if_kube(by("reason", {"forbidden": positive})),
        ],
        "Devicetrees of models that drift": [Check(two_fingerprints_of_the_jetson)],
        "Machines unlike most of their model": [by("instance board", {("jetson-nano-updated-0", JETSON): 1})],
        "Machines without a devicetree": [by("instance", dict.fromkeys(without_tree, 1))],
        "Exporters, and those that answer": [one(26), one(25)],
        "Exporters that do not answer": [by("instance", down)],
        "Collectors that cannot read": [by("instance collector", {("gpu-server-broken-0", "pci"): 0})],
        "Versions": [by("version", {project_version(): 25})],
        "Failing collectors over time": [by("collector", {**dict.fromkeys(COLLECTORS, 0), "pci": 1})],
        "Oldest snapshots": [Check(ten_ages)],
        "Stale snapshots": [by("instance", {"pc-stale-0": lambda age: 30 < age < 3600})],
        "Workloads that ask for hardware that no ready node has": [if_ksm(by(" ".join(WORKLOAD_LABELS), MISSING))],
        "Pods that ask, and ready nodes that have": [if_ksm(by("kind", ASKED)), if_ksm(by("kind", HAVE))],
        "Nodes without an exporter that answers": [if_ksm(by("node", {"pc-down-0": 1}))],
    }


def node_expectations(scene):
    kube, ksm = scene.view != NO_KUBERNETES, scene.view == KSM
    if_kube = lambda expected: expected if kube else EMPTY
    device = ("gpu", "/soc/v3d@7ec04000")
    applied = {key: int(key != CONTESTED) for key in KEYS} if kube else dict.fromkeys(KEYS, 2)
    return {
        "Model": [by("model", {RASPBERRY: 1})],
        "Compatible": [by("compatible", {MODELS["raspberry-pi-4"][1]: 1})],
        "Fingerprint": [by("fingerprint", {PI_FINGERPRINT: 1})],
        "Accelerators": [one(1)],
        "Ready": [one(1)],
        "Missing": [if_kube(one(1))],
        "Snapshot": [one(some_age)],
        "Exporter": [by("version", {project_version(): 1})],
        "Accelerators and their states": [by("kind vendor model driver bus address compatible", {
            ("gpu", "brcm", "videocore-v3d", "v3d", "devicetree", device[1], "brcm,2711-v3d"): 3
        })],
        "States over time": [by("kind address", {device: 3})],
        "Compatibles": [by("path position compatible label_key", {
            ("/", "0", "raspberrypi,4-model-b", fleet_in_a_box.PREFIX + "raspberrypi-4-model-b"): 1,
            ("/", "1", "brcm,bcm2711", fleet_in_a_box.PREFIX + "brcm-bcm2711"): 1,
        })],
        "Devicetree nodes by status": [by("status", golden("raspberry-pi-4", "devicetree_nodes"))],
        "Labels": [by("key", applied)],
        "Rejected": [by("reason", dict.fromkeys(["collision", "empty", "malformed", "too_long"], 0))],
        "Wanted and applied": [one(7), if_kube(one(6))],
        "Applies and failures": [
            if_kube(one(positive)),
            if_kube(one(positive)),
            if_kube(by("reason", dict.fromkeys(FAILURES, 0))),
        ],
        "Collectors": [by("collector", dict.fromkeys(COLLECTORS, 1))],
        "Duration of the last read": [by("collector", dict.fromkeys(COLLECTORS, positive))],
        "Processor": [one(lambda value: 0 <= value < 1)],
        "Memory": [one(lambda value: 1e6 < value < 64e6)],
        "Workloads on this node": [by("created_by_name", {"radio": 1}) if ksm else EMPTY],
    }


FAILURES = re.search(
    r"devicetree_label_apply_failures_total` \| `reason` \| [^:]*: (.*) \|", (ROOT / "exporter/METRICS.md").read_text()
)[1].replace("`", "").split(", ")


def project_version():
    return re.search(r"project\(\S+\s+VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1]


def filled_in(expr):
    """As Grafana does: All of each variable, but one machine."""
    values = {**dict.fromkeys(["cluster", "model", "kind", "vendor"], ".*"), "instance": INSTANCE, "__rate_interval": "1m"}
    return re.sub(r"\$(\w+)", lambda match: values[match[1]], expr)


def asked(scene, target):
    """An instant query's result; of a range query the last value, of a rate the largest."""
    expr = filled_in(target["expr"])
    if target["instant"]:
        return ask(scene, expr)
    pick = max if "rate" in expr else lambda values: values[-1]
    return [(labels, pick(values)) for labels, values in scene.prometheus.query_range(expr, scene.at, 300, 5)]


@each_panel
def test_each_query_gives_what_is_so(scene, name, panel):
    expectations = {"fleet": fleet_expectations, "node": node_expectations}[name](scene)
    expected = expectations[panel["title"]]
    assert len(expected) == len(panel["targets"])
    for target, value in zip(panel["targets"], expected):
        value.check(asked(scene, target))


@each_file
def test_each_variable_offers_what_there_is(scene, name):
    offered = {
        ("fleet", "cluster"): [] if scene.view == NO_KUBERNETES else [fleet_in_a_box.CLUSTER],
        ("fleet", "model"): sorted({model for model, _ in count_machines()}),
        ("fleet", "kind"): sorted([*count_accelerators("described", "kind"), "display"]),
        ("fleet", "vendor"): sorted([*filter(None, count_accelerators("described", "vendor")), "aspeed"]),
        ("node", "cluster"): [] if scene.view == NO_KUBERNETES else [fleet_in_a_box.CLUSTER],
        ("node", "instance"): sorted(scene.fleet.nodes),  # one that is down may be looked at too
    }
    for variable in FILES[name]["templating"]["list"][1:]:
        series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
        found = scene.prometheus.api(f"label/{label}/values", **{"match[]": filled_in(series), "start": scene.at - 60})
        assert found == offered[name, variable["name"]], variable["name"]


def test_the_links_lead_to_the_other_dashboard_and_to_the_page_of_the_machine(scenes):
    uids = {name: FILES[name]["uid"] for name in FILES}
    urls = {name: [link["url"] for link in FILES[name]["links"]] for name in FILES}
    assert urls["fleet"][0].startswith(f"/d/{uids['node']}?")
    assert urls["node"][0].startswith(f"/d/{uids['fleet']}?")
    to_node = set(re.findall(r'"url": "(/d/[^"]*Machine[^"]*)"', json.dumps(panels_of("fleet"))))
    assert len(to_node) == 1 and to_node.pop().startswith(f"/d/{uids['node']}?")
    # Without relabelling, instance is the exporter's address.
    exporter = scenes["v3", KSM].fleet.tellers[0].exporter
    url = urls["node"][1].replace("${instance}", f"{exporter.host}:{exporter.port}")
    page = request(exporter.host, exporter.port, "GET", url.removeprefix(exporter.url))
    assert page.status == 200 and b"NVIDIA Jetson Nano" in page.body


@pytest.mark.parametrize("filters", [{"kind": "npu"}, {"vendor": "rockchip|amd"}, {"model": "Radxa ROCK 5B"}])
def test_the_variables_choose(scenes, version, filters):
    """The panel "Accelerators", with all but one variable at All."""
    panel = next(panel for panel in panels_of("fleet") if panel["title"] == "Accelerators")
    expr = panel["targets"][0]["expr"]
    for name, value in filters.items():
        assert f"${name}" in expr
        expr = expr.replace(f"${name}", value)
    chosen = 0
    for story in STORIES:
        for row in accelerators_of(story):
            of_it = {"kind": row.kind, "vendor": row.vendor, "model": MODELS.get(story.board, NO_TREE)[0]}
            wanted = all(of_it[name] in value.split("|") for name, value in filters.items())
            chosen += UP.get(story.name, 0) * (wanted and row.kind != "display")
    one(chosen).check(ask(scenes[version, KSM], filled_in(expr)))


# The rules.

UNBOUND = [
    *(("gpu-server-0", "0000:9a:00.0"), ("gpu-server-0", "0000:b2:00.0"), ("gpu-server-broken-0", "0000:9a:00.0")),
    *(("gpu-server-broken-0", "0000:b2:00.0"), ("imx8mp-0", "/soc@0/gpu@38008000"), ("imx8mp-1", "/soc@0/gpu@38008000")),
    *(("rock-5b-unbound-0", "/npu@fdab0000"), ("zynqmp-0", "/amba_pl@80000000/dpu@8f000000")),
]


def alert_expectations(scene):
    labels = {
        "DevicetreeLabelsOutOfStep": by("instance", {INSTANCE: 1}),
        "DevicetreeLabelApplyFailing": by("instance reason", {("rock-5b-refused-0", "forbidden"): positive}),
        "DevicetreeLabelConflict": by("instance", {INSTANCE: 1}),
    }
    return {
        "AcceleratorLost": by("instance kind bus address", {("coral-unplugged-0", "tpu", "usb", "1-1.2"): 1}),
        "AcceleratorNotBound": by("instance address", dict.fromkeys(UNBOUND, 0)),
        **(dict.fromkeys(labels, EMPTY) if scene.view == NO_KUBERNETES else labels),
        "DevicetreeChanged": by("instance", {"jetson-nano-updated-0": 1}),
        "DevicetreeExporterDown": by("instance", {"pc-down-0": 0}),
        "DevicetreeCollectorFailing": by("instance collector", {("gpu-server-broken-0", "pci"): 0}),
        "DevicetreeSnapshotStale": by("instance", {"pc-stale-0": lambda age: 30 < age < 3600}),
    }


def record_expectations(scene):
    kube, ksm = scene.view != NO_KUBERNETES, scene.view == KSM
    models = {model: count for (model, _), count in count_machines().items()}
    boards = {f"{story.name}-{i}": 1 for story in STORIES for i in range(UP.get(story.name, 0))}
    states = {state: sum(count_accelerators(state, "kind").values()) + 2 for state in ["described", *LADDER]}  # displays
    wanted = wanted_labels(scene)
    labels = {
        "instance:devicetree_node_labels_out_of_step:count": by("instance", {INSTANCE: 1}),
        "cluster:devicetree_node_labels_applied:sum": one(wanted - 1),
        "cluster:devicetree_label_applies:rate5m": one(positive),
        "cluster:devicetree_label_drift_repairs:rate5m": one(positive),
        "cluster_reason:devicetree_label_apply_failures:rate5m": by("reason", {**dict.fromkeys(FAILURES, 0), "forbidden": positive}),
    }
    workloads = {
        "kind:accelerator_nodes_ready:count": by("kind", HAVE),
        "namespace_workload:accelerator_requests:count": by(" ".join(WORKLOAD_LABELS), REQUESTS),
    }
    return {
        "instance:devicetree_board:info": by("instance", boards),
        "board:devicetree_machines:count": by("board", models),
        "sum by (board) (board_fingerprint:devicetree_machines:count)": by(
            "board", {model: count for model, count in models.items() if model != NO_TREE[0]}
        ),
        "cluster:devicetree_exporters:count": one(26),
        "cluster:devicetree_exporters_up:sum": one(25),
        "collector:devicetree_collector_failing:count": by("collector", {**dict.fromkeys(COLLECTORS, 0), "pci": 1}),
        "sum by (state) (board_kind_vendor_model:accelerators:sum)": by("state", states),
        "cluster:devicetree_node_labels_wanted:count": one(wanted),
        **(labels if kube else dict.fromkeys(labels, EMPTY)),
        **(workloads if ksm else dict.fromkeys(workloads, EMPTY)),
    }


def test_each_alert_finds_what_is_wrong_and_nothing_else(scene):
    alerts = {rule["alert"]: rule["expr"] for rule in all_rules() if "alert" in rule}
    expected = alert_expectations(scene)
    assert alerts.keys() == expected.keys()
    for name, expr in alerts.items():
        expected[name].check(ask(scene, expr))


def test_each_recording_rule_records_what_is_so(scene):
    expected = record_expectations(scene)
    recorded = {rule["record"] for rule in all_rules() if "record" in rule}
    assert {re.search(r"\w+:\w+:\w+", expr)[0] for expr in expected} == recorded
    for expr, value in expected.items():
        value.check(ask(scene, expr))


def test_no_rule_fails(scene):
    for group in scene.prometheus.api("rules")["groups"]:
        for rule in group["rules"]:
            assert (rule["health"], rule.get("lastError", "")) == ("ok", ""), rule["name"]


# The recipes of dashboards/README.md.

RECIPES = re.findall(r"^```promql\n(.*?)^```", README, re.M | re.S)


def placed_pods():
    return [(workload, f"{workload.name}-{i}") for workload in WORKLOADS for i in range(workload.pods) if workload.node]


def story_of(node):
    return next(story for story in STORIES if node.rpartition("-")[0] == story.name)


def recipe_expectations():
    boards = {pod: MODELS.get(story_of(workload.node).board, NO_TREE)[0] for workload, pod in placed_pods()}
    counts = collections.Counter((workload.namespace, workload.name, boards[pod]) for workload, pod in placed_pods())
    unready = {
        pod: 1
        for workload, pod in placed_pods()
        if any((row.enabled, row.ready) == ("1", "0") for row in accelerators_of(story_of(workload.node)))
    }
    assert unready  # one runs on a GPU server
    return [
        by("pod board", dict.fromkeys(boards.items(), 1)),
        by("pod", unready),
        by("namespace created_by_name board", dict(counts)),
        by("node", {INSTANCE: 1}),
        by("pod", {"legacy-0": 1}),
        by(" ".join(WORKLOAD_LABELS), MISSING),
    ]


def test_each_recipe_gives_what_is_so(scenes, version):
    *recipes, attached = RECIPES
    expected = recipe_expectations()
    assert len(recipes) == len(expected) and "accelerator_gpu" in attached
    for recipe, value in zip(recipes, expected):
        value.check(ask(scenes[version, KSM], recipe))


def test_without_kube_state_metrics_a_recipe_is_empty_and_no_error(scenes, version):
    for recipe in RECIPES[:-1]:
        for view in (NO_KSM, NO_KUBERNETES):
            found = ask(scenes[version, view], recipe)
            assert found == [] or recipe.startswith("devicetree_node_label_info")  # all disagree with nothing


def test_attach_metadata_puts_a_nodes_labels_on_its_pods(scenes, prometheus_program, tmp_path):
    """The recipe's own configuration, in version 3: Debian builds its Prometheus without Kubernetes' discovery."""
    scene = scenes["v3", KSM]
    (recipe,) = [text for text in re.findall(r"^```yaml\n(.*?)^```", README, re.M | re.S) if "attach_metadata" in text]
    config = yaml.safe_load(recipe)
    (job,) = config["scrape_configs"]
    plane = scene.fleet.plane
    for discovery in job["kubernetes_sd_configs"]:
        discovery |= {"api_server": plane.server, "authorization": {"credentials": plane.admin_token}}
        discovery["tls_config"] = {"ca_file": str(plane.ca_file)}
    # All pods answer at the fleet's own address; those that nothing runs have none.
    host, port = scene.fleet.address.split(":")
    job["relabel_configs"] += [
        {"target_label": "__address__", "replacement": f"{host}:{port}"},
        {"target_label": "__metrics_path__", "replacement": f"/node/{scene.fleet.tellers[0].node}/metrics"},
        {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
        {"source_labels": ["node"], "regex": ".+", "action": "keep"},
    ]
    config["global"] = {"scrape_interval": "1s"}
    gpus = collections.Counter(
        "1" if any(row.kind == "gpu" for row in accelerators_of(story_of(workload.node))) else "" for workload, _ in placed_pods()
    )
    # One of them is on the node whose label somebody else has set.
    gpus["1"] -= 1
    gpus["5"] += 1
    with Prometheus(prometheus_program("v3", "prometheus"), tmp_path, json.dumps(config)) as prometheus:
        total = sum(gpus.values())
        wait_until(lambda: prometheus.query("count(up)") == [({}, total)], "all pods are scraped", seconds=60)
        by("accelerator_gpu", dict(gpus)).check(prometheus.query(RECIPES[-1]))
