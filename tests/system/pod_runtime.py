"""From a Pod to the configuration with which an OCI runtime (runc) runs its container.

What a kubelet and its container runtime do with the exporter's pod, and no more: a
field of the manifest that is not known here is an error, so that none is ignored.
The defaults are those of `runc spec` and, for seccomp's RuntimeDefault, the profile of
Debian's golang-github-containers-common, which Podman and CRI-O use.
"""

import json
import pathlib
import re
import subprocess

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
SECCOMP_PROFILE = pathlib.Path("/usr/share/containers/seccomp.json")
CPU_SHARES = 1024
UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}

# Of no consequence for the container: where and when the pod runs, names, API defaults.
SCHEDULING = {
    *("affinity", "nodeName", "nodeSelector", "priority", "priorityClassName", "preemptionPolicy"),
    *("restartPolicy", "schedulerName", "tolerations", "topologySpreadConstraints"),
    *("dnsPolicy", "serviceAccount", "serviceAccountName", "terminationGracePeriodSeconds"),
}
DESCRIPTION = {"image", "imagePullPolicy", "name", "ports", "terminationMessagePath", "terminationMessagePolicy"}
PROBES = {"livenessProbe", "readinessProbe", "startupProbe"}


def runtime_spec(pod, image, *, arch, api, network_namespace, node, config_map, service_account):
    """The runtime's config.json, as a dict, for the only container of this pod spec.

    image: the image's config. arch: Go's name of the machine's. api: host and port of the
    API server, as the kubelet puts them into the environment. network_namespace: the pod's,
    a path on the node. node: its name. config_map(name): that ConfigMap's data.
    service_account: the folder on the node with its token.
    """
    pod = dict(pod)
    (container,) = pod.pop("containers")
    container = dict(container)
    security = {**pod.pop("securityContext", {}), **container.pop("securityContext", {})}
    volumes = {volume["name"]: volume for volume in pod.pop("volumes", [])}
    mounts_token = pod.pop("automountServiceAccountToken", True)
    _expect(pod.pop("enableServiceLinks", True), False, "enableServiceLinks")
    _nothing_left(pod, SCHEDULING)

    environment = dict(entry.split("=", 1) for entry in image.get("Env") or [])
    environment |= {"KUBERNETES_SERVICE_HOST": api[0], "KUBERNETES_SERVICE_PORT": str(api[1])}
    for entry in container.pop("env", []):
        environment[entry["name"]] = _value(entry, node, config_map)
    arguments = [
        re.sub(r"\$\((\w+)\)", lambda found: environment.get(found[1], found[0]), argument)
        for argument in container.pop("args", [])
    ]
    command = container.pop("command", image["Entrypoint"])

    spec = json.loads(_default_spec())
    process = spec["process"]
    process |= {
        "terminal": False,
        "args": [*command, *arguments],
        "cwd": image.get("WorkingDir") or "/",
        "env": [f"{name}={value}" for name, value in environment.items()],
        "noNewPrivileges": not security.pop("allowPrivilegeEscalation", True),
    }
    process.pop("rlimits", None)
    uid = security.pop("runAsUser")
    process["user"] = {"uid": uid, "gid": security.pop("runAsGroup")}
    assert not (security.pop("runAsNonRoot", False) and uid == 0), "runAsNonRoot, but runAsUser is 0"
    _expect(security.pop("capabilities"), {"drop": ["ALL"]}, "capabilities")
    process["capabilities"] = {}
    spec["root"] = {"path": "rootfs", "readonly": security.pop("readOnlyRootFilesystem", False)}
    _expect(security.pop("seccompProfile"), {"type": "RuntimeDefault"}, "seccompProfile")
    _nothing_left(security)

    spec["hostname"] = node
    for mount in container.pop("volumeMounts", []):
        volume = dict(volumes[mount["name"]])
        host_path = volume.pop("hostPath")  # the only kind that we use
        spec["mounts"].append(_bind(host_path["path"], mount["mountPath"], mount.get("readOnly", False)))
    if mounts_token:
        spec["mounts"].append(_bind(service_account, SERVICE_ACCOUNT, True))
    for namespace in spec["linux"]["namespaces"]:
        if namespace["type"] == "network":
            namespace["path"] = network_namespace
    resources = container.pop("resources", {})
    spec["linux"]["resources"] |= {
        "memory": {"limit": _bytes(resources["limits"]["memory"])},
        "cpu": {"shares": max(2, int(_cores(resources["requests"]["cpu"]) * CPU_SHARES))},
    }
    spec["linux"]["cgroupsPath"] = f"/kubepods/{container['name']}"
    spec["linux"]["seccomp"] = _seccomp(arch)
    _nothing_left(container, DESCRIPTION | PROBES)
    return spec


def probes(pod):
    """{"livenessProbe": path, ...}: what the kubelet would GET on the container's port."""
    (container,) = pod["containers"]
    return {name: container[name]["httpGet"]["path"] for name in PROBES & set(container)}


def _value(entry, node, config_map):
    if "value" in entry:
        return entry["value"]
    ((kind, source),) = entry["valueFrom"].items()
    if kind == "configMapKeyRef":
        return config_map(source["name"])[source["key"]]
    _expect((kind, source["fieldPath"]), ("fieldRef", "spec.nodeName"), entry["name"])
    return node


def _bind(source, destination, read_only):
    options = ["rbind", "rprivate", "ro" if read_only else "rw"]
    return {"destination": destination, "type": "bind", "source": source, "options": options}


def _seccomp(arch):
    """The profile for a process without any capability on this architecture."""
    profile = json.loads(SECCOMP_PROFILE.read_text())
    native = {"amd64": "SCMP_ARCH_X86_64", "arm64": "SCMP_ARCH_AARCH64"}[arch]
    (family,) = [entry for entry in profile["archMap"] if entry["architecture"] == native]

    def applies(rule):
        includes, arches = rule.get("includes", {}), rule.get("includes", {}).get("arches")
        return not includes.get("caps") and (not arches or arch in arches)

    kept = ("names", "action", "args", "errnoRet")
    return {
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": [native, *family["subArchitectures"]],
        "syscalls": [
            {key: rule[key] for key in kept if rule.get(key)} for rule in profile["syscalls"] if applies(rule)
        ],
    }


def _default_spec():
    return subprocess.run(
        ["sh", "-c", 'cd "$(mktemp -d)" && runc spec && cat config.json && rm -r "$PWD"'],
        check=True, stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip


def _bytes(quantity):
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


def _cores(quantity):
    return int(quantity[:-1]) / 1000 if quantity.endswith("m") else int(quantity)


def _expect(found, wanted, what):
    assert found == wanted, f"{what}: {found}; only {wanted} is known here"


def _nothing_left(fields, harmless=frozenset()):
    left = {name: value for name, value in fields.items() if name not in harmless and value not in ({}, [], None)}
    assert not left, f"fields of the pod that are not known here: {left}"
