"""A whole node in QEMU: the image under runc, exactly as the DaemonSet says, on a real kernel.

The host runs a Kubernetes control plane with deploy/kubernetes as shipped, and
Prometheus. The guest is the node: Debian's kernel with a board's devicetree or with
none, and Debian's runc in the place of a kubelet and its container runtime. The pod has
a network namespace of its own, its token, and the limits of its manifest.

    python3 tests/system/whole_node.py [jetson-nano|pc]     tells the story: deploy/image/demo

Environment: DTE_IMAGE, the OCI layout that deploy/image/build made; DTE_PEERS, the
folder that tests/peers/build filled.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile
import time
import typing

import debian
import pod_runtime
import qemu
from control_plane import NAME, PREFIX, ControlPlane
from exporter import request, wait_until
from oci_image import Layout
from prometheus_server import Prometheus

HOST = "10.0.2.2"  # the host's loopback, as QEMU's user network shows it to the guest
SERVICE_ACCOUNT = "/serviceaccount"  # on the node
POD_NETWORK = "/run/netns/pod"  # on the node
CONTAINER = "devicetree-exporter"
CGROUP = f"/sys/fs/cgroup/kubepods/{CONTAINER}"
PROMETHEUS_CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- {{job_name: {job}, static_configs: [{{targets: ["127.0.0.1:{port}"], labels: {{node: {node}}}}}]}}
"""

# runc changes a container's root with pivot_root, which an initramfs refuses: the
# node goes on in a tmpfs.
INIT = """#!/bin/busybox sh
/bin/busybox mount -t tmpfs tmpfs /new
/bin/busybox cp -a {folders} /start /new/
exec /bin/busybox switch_root /new /start
"""
START = f"""#!/bin/busybox sh
/bin/busybox --install -s /bin
mkdir -p /dev /proc /run/netns /sys /tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for module in {{modules}}; do insmod /modules/$module.ko; done
dmesg -n 1  # no kernel message within a command's output
# The pod's sandbox: a network namespace with the machine's only interface.
unshare -n sleep 1000000 &
until nsenter -t $! -n ip link show dev lo >/dev/null 2>&1 &&
  [ "$(readlink /proc/$!/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.1; done
touch {POD_NETWORK}
mount --bind /proc/$!/ns/net {POD_NETWORK}
ip link set eth0 netns $!
nsenter -t $! -n sh -c "ip link set lo up; ip address add 10.0.2.15/24 dev eth0
  ip link set eth0 up; ip route add default via {HOST}"
stty -echo
echo "@ready"
while read -r number line; do  # from the console: Guest.root
  echo "@root $number"
  eval "$line" </dev/null 2>&1
  echo "@root $number ended $?"
done
"""


@dataclasses.dataclass(frozen=True)
class Board:
    machine: qemu.Machine
    platform: str  # of the image
    node: str  # its name lets the exporter's first apply come within a second (--kubernetes.start-jitter)
    tree: typing.Callable  # a folder -> the path of a .dtb, or None


BOARDS = {
    "jetson-nano": Board(qemu.ARM64, "linux/arm64", "nano-11", qemu.jetson_nano_tree),
    "pc": Board(qemu.AMD64, "linux/amd64", "pc-0", lambda folder: None),
}


class WholeNode:
    """The running node and what is around it.

    plane       the ControlPlane, with the manifests in force
    node        the Node's name; token is the pod's
    pod         the DaemonSet's pod spec, as the API server gives it
    config      what runc runs: config.json
    guest       the qemu.Guest
    prometheus  scrapes the pod
    pid         of the exporter in the guest
    """

    def __init__(self, **parts):
        self.__dict__ |= parts
        self.pid = int(self.state()["pid"])

    def state(self):
        """What runc says of the container."""
        return json.loads(self.root(f"runc state {CONTAINER}"))

    def root(self, command):
        """The output of a command of the node's root, which must succeed."""
        result = self.guest.root(command)
        assert result.exit_code == 0, f"{command}: {result.output}\n{self.guest.console}"
        return result.output

    def log(self):
        """What the exporter wrote."""
        return self.root("cat /run/pod.log")

    def probe(self, name):
        """The status of that probe of the manifest, or None where nothing answers."""
        path = pod_runtime.probes(self.pod)[name]
        with contextlib.suppress(OSError):  # QEMU forwards before the exporter listens
            return request("127.0.0.1", self.guest.port, "GET", path, seconds=5).status

    def labels(self):
        """The Node's labels under our prefix, without it."""
        labels = self.plane.labels(self.node)
        return {key.removeprefix(PREFIX): value for key, value in labels.items()}


@contextlib.contextmanager
def boot(board, folder, prometheus_program="prometheus", say=lambda text: None):
    """Starts all of it for that one of BOARDS, yields the WholeNode once the pod runs, and ends it."""
    image = Layout(os.environ["DTE_IMAGE"]).images[board.platform]
    with contextlib.ExitStack() as stack:
        plane = stack.enter_context(ControlPlane(_subfolder(folder, "plane"), hosts=[HOST]))
        plane.create_node(board.node)
        plane.deploy()
        path = f"/apis/apps/v1/namespaces/{NAME}/daemonsets/{NAME}"
        pod = plane.request("GET", path)[1]["spec"]["template"]["spec"]
        say(f"Kubernetes {plane.request('GET', '/version')[1]['gitVersion']} runs, with deploy/kubernetes in force")

        token = plane.node_token(board.node)
        config = pod_runtime.runtime_spec(
            pod,
            image.config,
            arch=board.machine.arch,
            api=(HOST, plane.port),
            network_namespace=POD_NETWORK,
            node=board.node,
            config_map=lambda name: _config_map(plane, name),
            service_account=SERVICE_ACCOUNT,
        )
        kernel = debian.linux_image(board.machine.arch, board.machine.arch)
        account = {"token": token, "ca.crt": pathlib.Path(plane.ca_file).read_text(), "namespace": NAME}
        initrd = _initramfs(board, kernel, folder / "initramfs", image, config, account)
        tree = board.tree(folder)
        guest = stack.enter_context(qemu.start(board.machine, kernel, initrd, folder, tree))
        guest.wait_for("@ready")
        say(f"the node {board.node} runs {guest.root('uname -srm').output.strip()}")

        started = guest.root(f"runc run --detach --bundle /pod {CONTAINER} >/run/pod.log 2>&1 || cat /run/pod.log")
        assert started.output == "", started.output
        prometheus_config = PROMETHEUS_CONFIG.format(job=NAME, port=guest.port, node=board.node)
        prometheus = stack.enter_context(
            Prometheus(prometheus_program, _subfolder(folder, "prometheus"), prometheus_config)
        )
        parts = {"plane": plane, "node": board.node, "token": token, "pod": pod, "config": config}
        yield WholeNode(**parts, guest=guest, prometheus=prometheus)


def _initramfs(board, kernel, root, image, config, account):
    arch = board.machine.arch
    for name in ["bin", "modules", "new", "pod/rootfs", SERVICE_ACCOUNT[1:]]:
        (root / name).mkdir(parents=True)
    shutil.copy(debian.unpacked("busybox-static", arch) / "bin/busybox", root / "bin")
    shutil.copy(debian.unpacked("runc", arch) / "usr/sbin/runc", root / "bin")
    # What runc is linked to, at the places where its loader looks.
    for package, files in {"libc6": ["lib*/*/libc.so.*", "lib*/ld-*", "lib/*/ld-*"], "libseccomp2": ["usr/lib/*/*"]}.items():
        unpacked = debian.unpacked(package, arch)
        for path in (path for pattern in files for path in unpacked.glob(pattern)):
            target = root / path.relative_to(unpacked)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target, follow_symlinks=False)
    modules = qemu.module_paths(kernel, board.machine.network_modules)
    for module in modules:
        shutil.copy(module, root / "modules")
    image.extract(root / "pod/rootfs")
    (root / "pod/config.json").write_text(json.dumps(config, indent=2))
    for name, text in account.items():
        (root / SERVICE_ACCOUNT[1:] / name).write_text(text)
    folders = " ".join(f"/{path.name}" for path in root.iterdir() if path.name != "new")
    for name, text in {
        "init": INIT.format(folders=folders),
        "start": START.format(modules=" ".join(module.stem for module in modules)),
    }.items():
        (root / name).write_text(text)
        (root / name).chmod(0o755)
    return qemu.pack(root)


def _config_map(plane, name):
    return plane.request("GET", f"/api/v1/namespaces/{NAME}/configmaps/{name}")[1]["data"]


def _subfolder(folder, name):
    path = folder / name
    path.mkdir()
    return path


def main():
    name = sys.argv[1] if len(sys.argv) > 1 else "jetson-nano"
    if name not in BOARDS:
        sys.exit(f"whole_node: '{name}': expected {' or '.join(BOARDS)}")
    begin = time.monotonic()
    say = lambda text: print(f"[{time.monotonic() - begin:3.0f} s] {text}", flush=True)
    show = lambda text: print(re.sub(r"(?m)^", "        ", text.rstrip()), flush=True)
    with tempfile.TemporaryDirectory() as folder, boot(BOARDS[name], pathlib.Path(folder), say=say) as node:
        say(f"runc runs the pod's container on it: {' '.join(node.config['process']['args'])}")
        show(node.root(f"grep -E '^(Uid|CapBnd|NoNewPrivs|Seccomp):' /proc/{node.pid}/status"))
        wait_until(lambda: node.probe("readinessProbe") == 200, "ready", qemu.DEADLINE_SECONDS)
        say("it is ready; its log:")
        show(node.log())
        present = wait_until(lambda: node.prometheus.query("devicetree_present"), "a scrape", 60)[0][1]
        say(f"Prometheus scrapes it: devicetree_present {present:g}")
        for metric in ["devicetree_info", "accelerator_info"]:
            for labels, value in node.prometheus.query(metric):
                show(f"{metric}{json.dumps(labels)} {value:g}")
        if present:
            wait_until(node.labels, "labels", 60)
        say(f"kubectl get node {node.node}, its labels:")
        show(json.dumps(node.labels(), indent=2))
        peak = int(node.root(f"cat {CGROUP}/memory.peak")) / (1 << 20)
        limit = node.config["linux"]["resources"]["memory"]["limit"] >> 20
        say(f"memory: {peak:.1f} MiB at most, of a limit of {limit} MiB")


if __name__ == "__main__":
    main()
