"""The dashboard "Fleet hardware": all machines on one page."""

from panels import bars, board, curves, grouped_bars, link, number, row, rows, values_of

NODE = "/d/devicetree-node?${datasource:queryparam}&var-instance=${__data.fields.Machine}&${__url_time_range}"
TO_NODE = {"Machine": ("This machine", NODE)}

IN = 'cluster=~"$cluster"'
OF_MODEL = f'{IN}, board=~"$model"'
MACHINES = f"board:devicetree_machines:count{{{OF_MODEL}}}"
JOIN = "on (cluster, job, instance)"
EVERY_MACHINE = f"instance:devicetree_board:info{{{OF_MODEL}}}"


def accelerators(state):
    chosen = f'{OF_MODEL}, kind=~"$kind", kind!="display", vendor=~"$vendor", state="{state}"'
    return f"board_kind_vendor_model:accelerators:sum{{{chosen}}}"


def dashboard():
    made = board(
        "Fleet hardware",
        "devicetree-fleet",
        "What hardware the fleet has, how far its accelerators have come, and whether the nodes' labels agree. "
        "Needs the recording rules of devicetree-exporter.",
    )
    made = made.with_variable(values_of("cluster", "Cluster", "board:devicetree_machines:count", "cluster"))
    made = made.with_variable(values_of("model", "Model", f"board:devicetree_machines:count{{{IN}}}", "board"))
    of_model = f"board_kind_vendor_model:accelerators:sum{{{OF_MODEL}}}"
    made = made.with_variable(values_of("kind", "Kind", of_model, "kind"))
    made = made.with_variable(values_of("vendor", "Vendor", of_model, "vendor"))
    node = "/d/devicetree-node?${datasource:queryparam}&${cluster:queryparam}"
    made = made.link(link("Node", node, "One machine"))
    for part in (overview, hardware, agreement, coverage, kubernetes):
        made = part(made)
    return made


def overview(made):
    made = made.with_row(row("Overview"))
    for panel in [
        number("Machines", "Machines whose exporter has told what they are.", f"sum({MACHINES})"),
        number(
            "Models",
            "Different models, by the root of the devicetree.",
            f'count(count by (board) ({MACHINES[:-1]}, board!="no devicetree"}}))',
        ),
        number(
            "Without a devicetree",
            "Machines whose firmware gives Linux no devicetree: ordinary on a PC.",
            f'sum({MACHINES[:-1]}, board="no devicetree"}}) or vector(0)',
        ),
        number("Accelerators", "Accelerators that the hardware describes.", f"sum({accelerators('described')})"),
        number(
            "Not ready",
            "Accelerators that are enabled but not ready for use. Those given away to a virtual machine are among them.",
            f"sum({accelerators('enabled')}) - sum({accelerators('ready')})",
            bad_from=1,
        ),
        number(
            "Labels out of step",
            "Machines whose Node does not carry the labels that its hardware stands for.",
            f"count(instance:devicetree_node_labels_out_of_step:count{{{IN}}}) or vector(0)",
            bad_from=1,
        ),
        number(
            "Models that drift",
            "Models whose machines have different devicetrees.",
            f"count(count by (cluster, board) (board_fingerprint:devicetree_machines:count{{{OF_MODEL}}}) > 1) or vector(0)",
            bad_from=1,
        ),
        number(
            "Exporters down",
            "Targets that Prometheus cannot scrape.",
            f"sum(cluster:devicetree_exporters:count{{{IN}}}) - sum(cluster:devicetree_exporters_up:sum{{{IN}}})",
            bad_from=1,
        ),
        rows(
            "Alerts",
            "Of devicetree-exporter's rules, pending and firing; each has its runbook in dashboards/README.md.",
            [f'count by (alertname, severity, alertstate) (ALERTS{{{IN}, alertname=~"Accelerator.+|Devicetree.+"}})'],
            {"alertname": "Alert", "severity": "Severity", "alertstate": "State", "Value": "Machines and devices"},
            width=24,
            height=7,
        ),
    ]:
        made = made.with_panel(panel)
    return made


def hardware(made):
    by_kind = lambda state: f"sum by (kind) ({accelerators(state)})"
    by_model = lambda state: f"sum by (kind, vendor, model) ({accelerators(state)})"
    made = made.with_row(row("Hardware"))
    for panel in [
        rows(
            "Machines by model",
            "The root's model and its most specific compatible.",
            [f"sum by (board, compatible) ({MACHINES})"],
            {"board": "Model", "compatible": "Compatible", "Value": "Machines"},
            width=12,
        ),
        grouped_bars(
            "Accelerators by kind and state",
            "Described by the hardware, enabled, bound to a driver, ready for use: each state counts those that have come further too.",
            {state.capitalize(): by_kind(state) for state in ("described", "enabled", "bound", "ready")},
            "kind",
            width=12,
        ),
        rows(
            "Accelerators by kind, vendor and model",
            "And how many have come how far.",
            [by_model(state) for state in ("described", "enabled", "bound", "ready")],
            {
                **{"kind": "Kind", "vendor": "Vendor", "model": "Model"},
                **{"Value #A": "Described", "Value #B": "Enabled", "Value #C": "Bound", "Value #D": "Ready"},
            },
            width=12,
        ),
        bars(
            "Accelerators by vendor",
            "Described by the hardware; the vendor is not known of all.",
            f"sum by (vendor) ({accelerators('described')})",
            "{{vendor}}",
            width=4,
        ),
        curves(
            "Accelerators that are ready, by kind",
            "A step down is a device that was lost, or a driver that let go.",
            {"{{kind}}": by_kind("ready")},
            width=8,
        ),
    ]:
        made = made.with_panel(panel)
    return made


def agreement(made):
    fingerprints = f"board_fingerprint:devicetree_machines:count{{{OF_MODEL}}}"
    most = f"on (cluster, board) group_left () max by (cluster, board) ({fingerprints})"
    made = made.with_row(row("Agreement: labels with the inventory, machines of one model with each other"))
    for panel in [
        rows(
            "Machines whose labels are out of step",
            "How many labels the Node does not carry as the hardware says.",
            [f"instance:devicetree_node_labels_out_of_step:count{{{IN}}}"],
            {"instance": "Machine", "Value": "Labels"},
            width=8,
            links=TO_NODE,
        ),
        curves(
            "Labels wanted and applied",
            "They part where an API server refuses, cannot be reached, or others change the labels.",
            {
                "wanted": f"sum(cluster:devicetree_node_labels_wanted:count{{{IN}}})",
                "applied": f"sum(cluster:devicetree_node_labels_applied:sum{{{IN}}})",
            },
            width=8,
            no_value="no label sink",
        ),
        curves(
            "What the label sinks do",
            "Applies follow changes of the hardware; repairs mean that others change our labels; the rest are failures, by reason.",
            {
                "applies": f"sum(cluster:devicetree_label_applies:rate5m{{{IN}}})",
                "repairs": f"sum(cluster:devicetree_label_drift_repairs:rate5m{{{IN}}})",
                "{{reason}}": f"sum by (reason) (cluster_reason:devicetree_label_apply_failures:rate5m{{{IN}}}) > 0",
            },
            width=8,
            unit="ops",
            no_value="no label sink",
        ),
        rows(
            "Devicetrees of models that drift",
            "Machines by fingerprint, of the models that have more than one: another firmware, an overlay, or hardware that failed.",
            [f"{fingerprints} and on (cluster, board) (count by (cluster, board) ({fingerprints}) > 1)"],
            {"board": "Model", "fingerprint": "Fingerprint", "Value": "Machines"},
            width=8,
        ),
        rows(
            "Machines unlike most of their model",
            "Whose fingerprint is not the most frequent one of their model; 100 at most.",
            [
                f"topk(100, (devicetree_fingerprint_info{{{IN}}} * {JOIN} group_left (board) {EVERY_MACHINE})"
                f" and on (cluster, board, fingerprint) ({fingerprints} < {most}))"
            ],
            {"instance": "Machine", "board": "Model", "fingerprint": "Fingerprint"},
            width=8,
            links=TO_NODE,
        ),
        rows(
            "Machines without a devicetree",
            "Their accelerators are found on PCI and USB; 100 at most.",
            [f'topk(100, {EVERY_MACHINE[:-1]}, board="no devicetree"}})'],
            {"instance": "Machine"},
            width=8,
            links=TO_NODE,
        ),
    ]:
        made = made.with_panel(panel)
    return made


def coverage(made):
    made = made.with_row(row("Coverage and freshness"))
    for panel in [
        curves(
            "Exporters, and those that answer",
            "Targets of the job devicetree-exporter.",
            {
                "exporters": f"sum(cluster:devicetree_exporters:count{{{IN}}})",
                "up": f"sum(cluster:devicetree_exporters_up:sum{{{IN}}})",
            },
            width=8,
        ),
        rows(
            "Exporters that do not answer",
            "100 at most.",
            [f'topk(100, up{{{IN}, job="devicetree-exporter"}} == 0)'],
            {"instance": "Machine"},
            width=4,
            links=TO_NODE,
        ),
        rows(
            "Collectors that cannot read",
            "What they last read well stays in the inventory; 100 at most.",
            [f"topk(100, devicetree_collector_success{{{IN}}} == 0)"],
            {"instance": "Machine", "collector": "Collector"},
            width=6,
            links=TO_NODE,
        ),
        bars(
            "Versions",
            "Exporters by version.",
            f"count by (version) (devicetree_exporter_build_info{{{IN}}})",
            "{{version}}",
            width=6,
        ),
        curves(
            "Failing collectors over time",
            "How many machines' collectors cannot read, by collector.",
            {"{{collector}}": f"sum by (collector) (collector:devicetree_collector_failing:count{{{IN}}})"},
            width=8,
        ),
        rows(
            "Oldest snapshots",
            "How long ago the hardware was last read. Where the kernel's events tell of changes, an old one is as good as a new one.",
            [f"topk(10, time() - devicetree_snapshot_timestamp_seconds{{{IN}}})"],
            {"instance": "Machine", "Value": "Age"},
            width=8,
            unit="s",
            links=TO_NODE,
        ),
        rows(
            "Stale snapshots",
            "Where events cannot be had, and the hardware should have been read three times since; 100 at most.",
            [
                f"topk(100, time() - devicetree_snapshot_timestamp_seconds{{{IN}}}"
                f" > {JOIN} 3 * devicetree_refresh_interval_seconds)"
            ],
            {"instance": "Machine", "Value": "Age"},
            width=8,
            unit="s",
            links=TO_NODE,
        ),
    ]:
        made = made.with_panel(panel)
    return made


def kubernetes(made):
    requests = f"namespace_workload:accelerator_requests:count{{{IN}}}"
    nodes = f"kind:accelerator_nodes_ready:count{{{IN}}}"
    missing = "no kube-state-metrics"
    made = made.with_row(row("Kubernetes workloads: with kube-state-metrics"))
    for panel in [
        rows(
            "Workloads that ask for hardware that no ready node has",
            "By the kinds of accelerator in their pods' nodeSelector. They wait until such a node comes.",
            [f"{requests} unless on (cluster, kind) {nodes}"],
            {
                **{"namespace": "Namespace", "created_by_kind": "Owner", "created_by_name": "Workload"},
                **{"kind": "Kind", "Value": "Pods"},
            },
            width=10,
            no_value="none, or no kube-state-metrics",
        ),
        grouped_bars(
            "Pods that ask, and ready nodes that have",
            "By kind of accelerator.",
            {"Pods": f"sum by (kind) ({requests})", "Nodes": f"sum by (kind) ({nodes})"},
            "kind",
            width=7,
            no_value=missing,
        ),
        rows(
            "Nodes without an exporter that answers",
            "Nodes of the cluster that no scrape covers; 100 at most.",
            [f'topk(100, kube_node_info{{{IN}}} unless on (cluster, node) (up{{job="devicetree-exporter"}} == 1))'],
            {"node": "Node"},
            width=7,
            no_value="none, or no kube-state-metrics",
        ),
    ]:
        made = made.with_panel(panel)
    return made
