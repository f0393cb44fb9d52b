"""A QEMU guest: Debian's arm64 kernel on a devicetree of our choosing.

The guest's initramfs holds busybox, the exporter and an init script that runs
the test's commands as an unprivileged user (uid 65534), then starts the exporter
as that user. The host reaches the exporter through a forwarded port. All work
of the guest is emulated: its times say nothing about speed.
"""

import contextlib
import dataclasses
import gzip
import pathlib
import re
import shutil
import socket
import subprocess
import threading
import time

import debian

DEADLINE_SECONDS = 180  # boots in about 3 s here; generous for a busy CI machine
MACHINE = ["-M", "virt", "-cpu", "cortex-a57", "-smp", "1", "-m", "512"]
EXPORTER = "/bin/devicetree-exporter"
EXPORTER_PORT = 9931
# In the order in which they depend on each other; all are modules in Debian's kernel.
NETWORK_MODULES = [
    "drivers/virtio/virtio_mmio",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
]

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in {modules}; do insmod /modules/$module.ko; done
dmesg -n 1  # no kernel message within a command's output
ip link set lo up
ip link set eth0 up
ip address add 10.0.2.15/24 dev eth0
{commands}
su -s /bin/sh nobody -c '{exporter} {flags}' &
echo "@ready"
wait
echo "@exporter ended"
sleep 1000000
"""
# One begin marker, the command's two streams, one end marker with its exit code.
COMMAND = """echo "@begin {number}"
su -s /bin/sh nobody -c '{command}' </dev/null
echo "@end {number} $?"
"""


@dataclasses.dataclass
class Result:
    """What a command in the guest wrote (both streams), and how it ended."""

    output: str
    exit_code: int


class Guest:
    """A running guest. `results` are the commands' results, in their order."""

    def __init__(self, process, port):
        self._process = process
        self._console = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = port  # of 127.0.0.1, forwarded to the exporter
        self.results = []

    @property
    def console(self):
        return self._console.decode(errors="replace").replace("\r\n", "\n")

    def wait_for(self, marker):
        """Waits for that line on the console."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while f"\n{marker}\n" not in f"\n{self.console}":
            running = self._process.poll() is None
            assert running and time.monotonic() < deadline, (
                f"the guest {'did not say' if running else 'ended before'} '{marker}'; its console:\n{self.console}"
            )
            self._reader.join(0.05)

    def read_results(self, count):
        for number in range(count):
            pattern = rf"^@begin {number}\n(.*?)^@end {number} (\d+)$"
            found = re.search(pattern, self.console, re.MULTILINE | re.DOTALL)
            assert found, f"no result of command {number} on the console:\n{self.console}"
            self.results.append(Result(found[1], int(found[2])))

    def _read(self):
        while chunk := self._process.stdout.read1(4096):
            self._console += chunk


@contextlib.contextmanager
def boot(binary, tree, folder, commands, flags=""):
    """Boots `tree` (a .dtb) with `binary` (static, arm64) as the guest's exporter.

    `folder` is the test's own; `commands` are shell commands without a single
    quote. Yields the Guest once the exporter has been started, and ends it after.
    """
    kernel = debian.linux_image("arm64", "arm64")
    (vmlinuz,) = (kernel / "boot").glob("vmlinuz-*")
    initrd = _initramfs(kernel, binary, folder, commands, flags)
    port = _free_port()
    command = [
        "qemu-system-aarch64", *MACHINE, "-nographic", "-no-reboot",
        "-kernel", vmlinuz, "-dtb", tree, "-initrd", initrd, "-append", "console=ttyAMA0 quiet",
        "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:{EXPORTER_PORT}",
        "-device", "virtio-net-device,netdev=net",
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            guest = Guest(process, port)
            guest.wait_for("@ready")
            guest.read_results(len(commands))
            yield guest
        finally:
            process.kill()


def jetson_nano_tree(folder):
    """The virt machine's own tree under a Jetson Nano's names, with its GPU: a .dtb in `folder`."""
    tree = folder / "jetson-nano.dtb"
    # QEMU sizes the tree it dumps for itself: dtc packs it, fdtput then grows it.
    dump = folder / "virt.dtb"
    _run("qemu-system-aarch64", "-M", f"virt,dumpdtb={dump}", *MACHINE[2:], "-nographic")
    _run("dtc", "-q", "-I", "dtb", "-O", "dtb", "-o", tree, dump)
    gpu = "/gpu@57000000"
    _run("fdtput", "-t", "s", tree, "/", "compatible", "nvidia,jetson-nano", "nvidia,tegra210")
    _run("fdtput", "-t", "s", tree, "/", "model", "NVIDIA Jetson Nano Developer Kit")
    _run("fdtput", "-c", tree, gpu)
    _run("fdtput", "-t", "s", tree, gpu, "compatible", "nvidia,tegra210-gm20b", "nvidia,gm20b")
    _run("fdtput", "-t", "s", tree, gpu, "status", "okay")
    return tree


def _initramfs(kernel, binary, folder, commands, flags):
    root = folder / "initramfs"
    for name in ["bin", "dev", "etc", "modules", "proc", "sys", "tmp"]:
        (root / name).mkdir(parents=True)
    shutil.copy(debian.unpacked("busybox-static", "arm64") / "bin/busybox", root / "bin/busybox")
    shutil.copy(binary, root / EXPORTER[1:])
    (root / EXPORTER[1:]).chmod(0o755)
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    for module in NETWORK_MODULES:
        (found,) = kernel.glob(f"lib/modules/*/kernel/{module}.ko")
        shutil.copy(found, root / "modules")
    assert not any("'" in command for command in [*commands, flags]), "no single quotes, please"
    init = INIT.format(
        modules=" ".join(pathlib.Path(module).name for module in NETWORK_MODULES),
        commands="".join(COMMAND.format(number=n, command=c) for n, c in enumerate(commands)),
        exporter=EXPORTER,
        flags=flags,
    )
    (root / "init").write_text(init)
    (root / "init").chmod(0o755)

    files = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    cpio = subprocess.run(
        ["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"],
        cwd=root, input=files.encode(), stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    archive = folder / "initrd.gz"
    archive.write_bytes(gzip.compress(cpio.stdout, 1))
    return archive


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def _run(*command):
    subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
