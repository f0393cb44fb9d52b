"""A QEMU guest: Debian's arm64 kernel on a devicetree of our choosing.

The guest's initramfs holds busybox, the exporter and an init script that runs
the test's commands as an unprivileged user (uid 65534), then starts the exporter
as that user. The host reaches the exporter through a forwarded port, root's shell
through the console and the machine (to plug devices) through QMP. All work of the
guest is emulated: its times say nothing about speed.
"""

import contextlib
import dataclasses
import gzip
import json
import pathlib
import re
import shutil
import socket
import subprocess
import threading
import time

import debian

DEADLINE_SECONDS = 180  # boots in about 3 s here; generous for a busy CI machine
EXPORTER = "/bin/devicetree-exporter"
EXPORTER_PORT = 9931


@dataclasses.dataclass(frozen=True)
class Machine:
    """What QEMU emulates, and what of Debian's kernel it takes to reach its network."""

    arch: str  # as Debian calls it, also its kernel's flavour
    command: list
    console: str
    network_device: str
    network_modules: list


ARM64 = Machine(
    "arm64",
    ["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a57", "-smp", "1", "-m", "512"],
    "ttyAMA0",
    "virtio-net-device",
    ["virtio_mmio", "virtio_net"],
)
# A PC: it has no devicetree.
AMD64 = Machine(
    "amd64",
    ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-smp", "1", "-m", "512"],
    "ttyS0",
    "virtio-net-pci,romfile=",
    ["virtio_pci", "virtio_net"],
)

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
{{ su -s /bin/sh nobody -c '{exporter} {flags}'; echo "@exporter ended"; }} &
stty -echo
echo "@ready"
while read -r number line; do  # from the console: Guest.root
  echo "@root $number"
  eval "$line" </dev/null 2>&1
  echo "@root $number ended $?"
done
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

    def __init__(self, process, port, qmp_path):
        self._process = process
        self._qmp_path = qmp_path
        self._root_commands = 0
        self._console = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = port  # of 127.0.0.1, forwarded to the exporter
        self.results = []

    @property
    def console(self):
        return self._console.decode(errors="replace").replace("\r\n", "\n")

    def wait_for(self, marker, seconds=DEADLINE_SECONDS):
        """Waits for that line on the console."""
        deadline = time.monotonic() + seconds
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

    def root(self, command):
        """Runs one line of shell as the guest's root; REQUIRES: boot has yielded."""
        assert "\n" not in command and "\1" not in command, command  # \1 is QEMU's own escape
        number, self._root_commands = self._root_commands, self._root_commands + 1
        self._process.stdin.write(f"{number} {command}\n".encode())
        self._process.stdin.flush()
        pattern = re.compile(rf"^@root {number}\n(.*?)^@root {number} ended (\d+)$", re.M | re.S)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (found := pattern.search(self.console)):
            running = self._process.poll() is None
            assert running and time.monotonic() < deadline, (
                f"the guest did not end '{command}'; its console:\n{self.console}"
            )
            self._reader.join(0.02)
        return Result(found[1], int(found[2]))

    def qmp(self, command, **arguments):
        """One command to the machine: guest.qmp("device_add", driver="bochs-display", ...)."""
        with socket.socket(socket.AF_UNIX) as machine, machine.makefile("rw") as lines:
            machine.settimeout(DEADLINE_SECONDS)
            machine.connect(str(self._qmp_path))
            lines.readline()  # the greeting
            for request in [{"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}]:
                lines.write(json.dumps(request))
                lines.flush()
                while "event" in (answer := json.loads(lines.readline())):
                    pass
                assert "return" in answer, (request, answer)
            return answer["return"]

    def _read(self):
        while chunk := self._process.stdout.read1(4096):
            self._console += chunk


@contextlib.contextmanager
def boot(binary, tree, folder, commands, flags="", *, devices=(), modules=(), spare_modules=(), files=None):
    """Boots `tree` (a .dtb) with `binary` (static, arm64) as the guest's exporter.

    `folder` is the test's own; `commands` are shell commands without a single
    quote. Yields the Guest once the exporter has been started, and ends it after.

    Without a tree the machine has its own, with a PCI host. `devices` are further
    arguments of QEMU's. `modules` are names of further kernel modules, loaded with what
    they depend on before the commands run; `spare_modules` only lie in /modules, and
    what they depend on is loaded. `files` are further ones of the guest: path -> text.
    """
    kernel = debian.linux_image("arm64", "arm64")
    spare = module_paths(kernel, spare_modules)
    names = {name.replace("-", "_") for name in spare_modules}
    loaded = [
        path
        for path in module_paths(kernel, [*ARM64.network_modules, *modules, *spare_modules])
        if path.stem.replace("-", "_") not in names
    ]
    initrd = _initramfs(binary, folder, commands, flags, loaded, spare, files or {})
    network = "restrict=on,"  # the guest reaches nobody
    with start(ARM64, kernel, initrd, folder, tree, network=network, devices=devices) as guest:
        guest.wait_for("@ready")
        guest.read_results(len(commands))
        yield guest


@contextlib.contextmanager
def start(machine, kernel, initrd, folder, tree=None, *, network="", devices=(), append=""):
    """Starts `machine` with that unpacked kernel, and yields the Guest at once; ends it after.

    `network` are options of QEMU's user network; without restrict=on the host's loopback
    is 10.0.2.2 in the guest. `append` are further words for the kernel.
    """
    (vmlinuz,) = (kernel / "boot").glob("vmlinuz-*")
    port = _free_port()
    qmp_path = folder / "qmp"
    command = [
        *machine.command, "-nographic", "-no-reboot",
        "-kernel", vmlinuz, "-initrd", initrd, "-append", f"console={machine.console} quiet {append}",
        *(["-dtb", tree] if tree else []),
        "-netdev", f"user,id=net,{network}hostfwd=tcp:127.0.0.1:{port}-:{EXPORTER_PORT}",
        "-device", f"{machine.network_device},netdev=net",
        "-qmp", f"unix:{qmp_path},server=on,wait=off",
        *devices,
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            yield Guest(process, port, qmp_path)
        finally:
            process.kill()


def jetson_nano_tree(folder):
    """The virt machine's own tree under a Jetson Nano's names, with its GPU: a .dtb in `folder`."""
    tree = folder / "jetson-nano.dtb"
    # QEMU sizes the tree it dumps for itself: dtc packs it, fdtput then grows it.
    dump = folder / "virt.dtb"
    _run("qemu-system-aarch64", "-M", f"virt,dumpdtb={dump}", *ARM64.command[3:], "-nographic", "-nic", "none")
    _run("dtc", "-q", "-I", "dtb", "-O", "dtb", "-o", tree, dump)
    gpu = "/gpu@57000000"
    _run("fdtput", "-t", "s", tree, "/", "compatible", "nvidia,jetson-nano", "nvidia,tegra210")
    _run("fdtput", "-t", "s", tree, "/", "model", "NVIDIA Jetson Nano Developer Kit")
    _run("fdtput", "-c", tree, gpu)
    _run("fdtput", "-t", "s", tree, gpu, "compatible", "nvidia,tegra210-gm20b", "nvidia,gm20b")
    _run("fdtput", "-t", "s", tree, gpu, "status", "okay")
    return tree


def module_paths(kernel, names):
    """The files of these modules and of all that they depend on, in the order to load them."""
    by_name = {path.stem.replace("-", "_"): path for path in kernel.glob("lib/modules/*/kernel/**/*.ko")}
    ordered = []

    def add(name):
        path = by_name[name.replace("-", "_")]
        (depends,) = re.findall(rb"\0depends=([^\0]*)\0", path.read_bytes())
        for needed in filter(None, depends.decode().split(",")):
            add(needed)
        if path not in ordered:
            ordered.append(path)

    for name in names:
        add(name)
    return ordered


def pack(root):
    """The initramfs with the files below `root`, all of them root's: a file beside it."""
    files = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    cpio = subprocess.run(
        ["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"],
        cwd=root, input=files.encode(), stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    archive = root.with_suffix(".gz")
    archive.write_bytes(gzip.compress(cpio.stdout, 1))
    return archive


def _initramfs(binary, folder, commands, flags, loaded, spare, files):
    root = folder / "initramfs"
    for name in ["bin", "dev", "etc", "modules", "proc", "sys", "tmp"]:
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    for path, text in files.items():
        (root / path.lstrip("/")).write_text(text)
    shutil.copy(debian.unpacked("busybox-static", "arm64") / "bin/busybox", root / "bin/busybox")
    shutil.copy(binary, root / EXPORTER[1:])
    (root / EXPORTER[1:]).chmod(0o755)
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    for module in [*loaded, *spare]:
        shutil.copy(module, root / "modules")
    assert not any("'" in command for command in [*commands, flags]), "no single quotes, please"
    init = INIT.format(
        modules=" ".join(module.stem for module in loaded),
        commands="".join(COMMAND.format(number=n, command=c) for n, c in enumerate(commands)),
        exporter=EXPORTER,
        flags=flags,
    )
    (root / "init").write_text(init)
    (root / "init").chmod(0o755)
    return pack(root)


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def _run(*command):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
