"""What kube-state-metrics would say of an API server's Nodes and Pods.

Its module cannot be had here, so that this renders the families that the dashboards join with,
in its documented text format (docs/metrics/cluster/node-metrics.md, docs/metrics/workload/pod-metrics.md of
kubernetes/kube-state-metrics 2.x), with --metric-labels-allowlist=nodes=[*] and
--metric-opt-in-list=kube_pod_nodeselectors.
"""

import collections
import re

PHASES = ["Pending", "Succeeded", "Failed", "Running", "Unknown"]
STATUSES = ["true", "false", "unknown"]


def folded(prefix, names):
    """{NAME: PREFIX_NAME}, as a label's name may be; those that fold together end in _conflictN."""
    made = {}
    for name in sorted(names):
        # "aB" becomes "a_b": its lint asks for lower case with underscores.
        snake = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", re.sub(r"[^a-zA-Z0-9_]", "_", name)).lower()
        made[name] = f"{prefix}_{snake}"
    counts = collections.Counter(made.values())
    seen = collections.Counter()
    for name, label in made.items():
        if counts[label] > 1:
            seen[label] += 1
            made[name] = f"{label}_conflict{seen[label]}"
    return made


def folded_map(prefix, values):
    names = folded(prefix, values)
    return {names[name]: value for name, value in values.items()}


def render(plane):
    """Of a running ControlPlane."""
    nodes = plane.request("GET", "/api/v1/nodes")[1]["items"]
    pods = plane.request("GET", "/api/v1/pods")[1]["items"]
    return render_objects(nodes, pods)


def render_objects(nodes, pods):
    families = collections.defaultdict(list)  # name: [(labels, value)]
    for node in nodes:
        _add_node(families, node)
    for pod in pods:
        _add_pod(families, pod)
    lines = []
    for name, samples in families.items():
        lines += [f"# HELP {name} [STABLE]", f"# TYPE {name} gauge"]
        lines += [f"{name}{{{_pairs(labels)}}} {value:g}" for labels, value in samples]
    return "".join(line + "\n" for line in lines)


def _add_node(families, node):
    name = {"node": node["metadata"]["name"]}
    info = node["status"].get("nodeInfo", {})
    families["kube_node_info"].append(
        (
            {
                **name,
                "kernel_version": info.get("kernelVersion", ""),
                "os_image": info.get("osImage", ""),
                "container_runtime_version": info.get("containerRuntimeVersion", ""),
                "kubelet_version": info.get("kubeletVersion", ""),
                "kubeproxy_version": info.get("kubeProxyVersion", ""),
                "provider_id": node["spec"].get("providerID", ""),
                "pod_cidr": node["spec"].get("podCIDR", ""),
                "system_uuid": info.get("systemUUID", ""),
                "internal_ip": "",
            },
            1,
        )
    )
    labels = folded_map("label", node["metadata"].get("labels", {}))
    families["kube_node_labels"].append(({**name, **labels}, 1))
    for condition in node["status"].get("conditions", []):
        for status in STATUSES:
            families["kube_node_status_condition"].append(
                (
                    {**name, "condition": condition["type"], "status": status},
                    condition["status"].lower() == status,
                )
            )


def _add_pod(families, pod):
    metadata, spec, status = pod["metadata"], pod["spec"], pod["status"]
    this = {"namespace": metadata["namespace"], "pod": metadata["name"], "uid": metadata["uid"]}
    owners = metadata.get("ownerReferences", [])
    owner = next((owner for owner in owners if owner.get("controller")), {})
    families["kube_pod_info"].append(
        (
            {
                **this,
                "host_ip": status.get("hostIP", ""),
                "pod_ip": status.get("podIP", ""),
                "node": spec.get("nodeName", ""),
                "created_by_kind": owner.get("kind", ""),
                "created_by_name": owner.get("name", ""),
                "priority_class": spec.get("priorityClassName", ""),
                "host_network": str(spec.get("hostNetwork", False)).lower(),
            },
            1,
        )
    )
    families["kube_pod_owner"].append(
        (
            {
                **this,
                "owner_kind": owner.get("kind", ""),
                "owner_name": owner.get("name", ""),
                "owner_is_controller": "true" if owner else "",
            },
            1,
        )
    )
    selectors = folded_map("nodeselector", spec.get("nodeSelector", {}))
    families["kube_pod_nodeselectors"].append(({**this, **selectors}, 1))
    for phase in PHASES:
        families["kube_pod_status_phase"].append(({**this, "phase": phase}, status["phase"] == phase))


def _pairs(labels):
    escape = lambda value: value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return ",".join(f'{name}="{escape(value)}"' for name, value in labels.items())
