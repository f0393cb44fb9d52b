"""The dashboard "Node": one machine, from its own series alone; no recording rule is needed."""

from panels import LADDER, LADDER_COLORS, bars, board, curves, link, number, row, rows, states, text, values_of

IN = 'cluster=~"$cluster", instance="$instance"'
NO_SINK = "no label sink"
NO_TREE = "no devicetree"
DEVICE = "on (cluster, job, instance, kind, bus, address)"
STEPS = f"accelerator_enabled{{{IN}}} + {DEVICE} accelerator_bound{{{IN}}} + {DEVICE} accelerator_ready{{{IN}}}"
BY_STEP = dict(enumerate(zip(LADDER, LADDER_COLORS)))


def dashboard():
    made = board(
        "Node hardware",
        "devicetree-node",
        "One machine: what it is, how far its accelerators have come, and whether its Node carries its labels.",
    )
    made = made.with_variable(values_of("cluster", "Cluster", "devicetree_exporter_build_info", "cluster"))
    of_cluster = 'devicetree_exporter_build_info{cluster=~"$cluster"}'
    made = made.with_variable(values_of("instance", "Machine", of_cluster, "instance", all_values=False))
    fleet = "/d/devicetree-fleet?${datasource:queryparam}&${cluster:queryparam}"
    made = made.link(link("Fleet", fleet, "All machines"))
    landing = "Where instance is the exporter's address. In Kubernetes: kubectl port-forward POD 9931"
    made = made.link(link("Its own page", "http://${instance}/", landing))
    for part in (overview, inventory, labels, exporter, kubernetes):
        made = part(made)
    return made


def overview(made):
    made = made.with_row(row("Overview"))
    for panel in [
        text("Model", "Of the devicetree's root.", f"devicetree_info{{{IN}}}", "model", no_value=NO_TREE),
        text(
            "Compatible",
            "The root's most specific one.",
            f"devicetree_info{{{IN}}}",
            "compatible",
            width=4,
            no_value=NO_TREE,
        ),
        text(
            "Fingerprint",
            "Of names, compatibles and statuses: equal on equal boards.",
            f"devicetree_fingerprint_info{{{IN}}}",
            "fingerprint",
            width=4,
            no_value=NO_TREE,
        ),
        number(
            "Accelerators",
            "That the hardware describes.",
            f'count(accelerator_enabled{{{IN}, kind!="display"}}) or vector(0)',
            width=2,
        ),
        number("Ready", "Accelerators ready for use.", f'sum(accelerator_ready{{{IN}, kind!="display"}}) or vector(0)', width=2),
        number(
            "Missing",
            "Labels that its Node does not carry as the hardware says.",
            f"count(devicetree_node_label_applied{{{IN}}} == 0) or 0 * count(devicetree_node_label_applied{{{IN}}})",
            width=2,
            bad_from=1,
            no_value=NO_SINK,
        ),
        number(
            "Snapshot",
            "How long ago the hardware was last read.",
            f"time() - max(devicetree_snapshot_timestamp_seconds{{{IN}}})",
            width=2,
            unit="s",
            no_value="none",
        ),
        text("Exporter", "Its version.", f"devicetree_exporter_build_info{{{IN}}}", "version", width=2),
    ]:
        made = made.with_panel(panel)
    return made


def inventory(made):
    made = made.with_row(row("Inventory"))
    for panel in [
        rows(
            "Accelerators and their states",
            "What the catalogue and the kernel know of each, and how far it has come.",
            [f"accelerator_info{{{IN}}} * {DEVICE} group_left () ({STEPS})"],
            {
                **{"kind": "Kind", "vendor": "Vendor", "model": "Model", "driver": "Driver", "bus": "Bus"},
                **{"address": "Address", "compatible": "Compatible", "Value": "State"},
            },
            width=14,
            mappings=BY_STEP,
            unit="none",
        ),
        states(
            "States over time",
            "Of each accelerator. A gap: it was gone.",
            STEPS,
            "{{kind}} {{address}}",
            BY_STEP,
            width=10,
        ),
        rows(
            "Compatibles",
            "Of the root and of the designated nodes, and the node label that each gives.",
            [f"devicetree_compatible_info{{{IN}}}"],
            {"path": "Path", "position": "Position", "compatible": "Compatible", "label_key": "Label"},
            width=14,
            no_value=NO_TREE,
        ),
        bars(
            "Devicetree nodes by status",
            "An ancestor's status counts too.",
            f"devicetree_nodes{{{IN}}}",
            "{{status}}",
            width=10,
            no_value=NO_TREE,
        ),
    ]:
        made = made.with_panel(panel)
    return made


def labels(made):
    wanted = f"devicetree_node_label_info{{{IN}}}"
    applied = f"on (cluster, job, instance, key) group_left () devicetree_node_label_applied{{{IN}}}"
    made = made.with_row(row("Node labels"))
    for panel in [
        rows(
            "Labels",
            "What the Node should carry, and whether the API server was last seen to hold it.",
            [f"{wanted} * {applied} or {wanted} + 1"],
            {"key": "Label", "value": "Value", "Value": "State"},
            width=10,
            unit="none",
            mappings={0: ("not applied", "red"), 1: ("applied", "green"), 2: ("wanted", "text")},
        ),
        bars(
            "Rejected",
            "Compatibles that give no label, by reason; --explain names them.",
            f"devicetree_node_labels_rejected{{{IN}}}",
            "{{reason}}",
            width=4,
        ),
        curves(
            "Wanted and applied",
            "Of the labels.",
            {"wanted": f"count({wanted})", "applied": f"sum(devicetree_node_label_applied{{{IN}}})"},
            width=5,
        ),
        curves(
            "Applies and failures",
            "Applies that the API server took, repairs of what others changed, and failures by reason.",
            {
                "applies": f"rate(devicetree_label_applies_total{{{IN}}}[$__rate_interval])",
                "repairs": f"rate(devicetree_label_drift_repairs_total{{{IN}}}[$__rate_interval])",
                "{{reason}}": f"rate(devicetree_label_apply_failures_total{{{IN}}}[$__rate_interval])",
            },
            width=5,
            unit="ops",
            no_value=NO_SINK,
        ),
    ]:
        made = made.with_panel(panel)
    return made


def exporter(made):
    made = made.with_row(row("The exporter itself"))
    for panel in [
        states(
            "Collectors",
            "Whether the last read succeeded.",
            f"devicetree_collector_success{{{IN}}}",
            "{{collector}}",
            {0: ("failed", "red"), 1: ("read", "green")},
            width=8,
        ),
        curves(
            "Duration of the last read",
            "By collector.",
            {"{{collector}}": f"devicetree_collector_duration_seconds{{{IN}}}"},
            width=6,
            unit="s",
        ),
        curves(
            "Processor",
            "Of one core.",
            {"used": f"rate(process_cpu_seconds_total{{{IN}}}[$__rate_interval])"},
            width=5,
            unit="percentunit",
        ),
        curves(
            "Memory",
            "Resident.",
            {"resident": f"process_resident_memory_bytes{{{IN}}}"},
            width=5,
            unit="bytes",
        ),
    ]:
        made = made.with_panel(panel)
    return made


def kubernetes(made):
    pods = 'kube_pod_info{cluster=~"$cluster", node="$instance"}'
    made = made.with_row(row("Kubernetes: with kube-state-metrics"))
    return made.with_panel(
        rows(
            "Workloads on this node",
            "Pods by owner.",
            [f"count by (namespace, created_by_kind, created_by_name) ({pods})"],
            {"namespace": "Namespace", "created_by_kind": "Owner", "created_by_name": "Workload", "Value": "Pods"},
            width=24,
            height=6,
            no_value="none, or no kube-state-metrics",
        )
    )
