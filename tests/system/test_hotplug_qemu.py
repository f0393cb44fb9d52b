"""Hotplug on a real kernel: PCI and USB devices come, go, and change their driver in a QEMU guest.

The guest is Debian's arm64 kernel on QEMU's virt machine, as in test_live_tree_qemu.py: the same
kernel, busybox and cross-built binary, in user space after 1.5 s. Its PCI functions lie below a
platform device, so that their sysfs paths are longer than a PC's. pciehp is built into that kernel.

Environment: DTE_ARM64_BINARY, the cross-built static devicetree-exporter.

Latencies are measured in the guest, in seconds of its own clock: from the kernel's uevent, as a
logger of its own sees it, to the end of the first scrape that shows the change. They are printed
(pytest -rP) and stand in the JUnit file.
"""

import contextlib
import os
import pathlib
import re

import pytest

import qemu
from exporter import request, wait_until
from scraped import Row, accelerators, node_labels, samples

LIMIT_SECONDS = 2  # after the uevent
UNPLUG_SECONDS = 60  # the kernel waits 5 s before it lets a PCI device go
QUIET_SECONDS = 6
PORTS = [1, 2, 3, 4]  # 0000:00:01.0 to 04.0; the kernel gives the bus behind each its number
ROOT_PORT, VIRTIO_GPU, XHCI = "0000:00:01.0", "0000:00:05.0", "0000:00:06.0"
STICK = "1-2"  # the keyboard is 1-1
DEVICES = [
    *[arg for n in PORTS for arg in ("-device", f"pcie-root-port,id=port{n},chassis={n},addr={n:02}.0")],
    "-device", "virtio-gpu-pci,addr=05.0",
    "-device", "qemu-xhci,id=xhci,addr=06.0",
    "-device", "usb-kbd,bus=xhci.0,port=1",
    "-chardev", "null,id=null",
]  # fmt: skip
# So that a USB device that QEMU has is an accelerator: its serial adapter, 0403:6001.
CATALOGUE = """\
version: 1
accelerators:
  - compatibles: ["usb403,6001"]
    kind: tpu
    vendor: acme
    model: stick
"""
# For `uevent`: when, what, which device.
STAMP = 'read -r up rest </proc/uptime; echo "$up $ACTION $DEVPATH" >>/tmp/uevents\n'
# until.sh present|absent REGEX [PREFIX...]: scrapes until the body has REGEX, or not; prints the
# uptime before and after that scrape. PREFIX is what runs wget, such as nsenter.
UNTIL = """\
want=$1 regex=$2 tries=0; shift 2
while [ $tries -lt 400 ]; do
  read -r begin rest </proc/uptime
  if body=$("$@" wget -qO- http://127.0.0.1:9931/metrics 2>/dev/null); then
    echo "$body" | grep -q "$regex" && now=present || now=absent
    [ $now = $want ] && { read -r end rest </proc/uptime; echo $begin $end; exit 0; }
  fi
  tries=$((tries + 1)); usleep 50000
done
echo "not $want: $regex"
exit 1
"""


@pytest.fixture(scope="module")
def guest(tmp_path_factory):
    binary = os.environ.get("DTE_ARM64_BINARY")
    assert binary, "DTE_ARM64_BINARY is not set: the path of the static arm64 devicetree-exporter"
    booted = qemu.boot(
        pathlib.Path(binary),
        None,
        tmp_path_factory.mktemp("guest"),
        ["id -u"],
        "--catalogue.file=/catalogue.yaml >/tmp/log 2>&1",
        devices=DEVICES,
        modules=["virtio_pci", "virtio-gpu", "xhci-pci", "usbhid", "hid-generic"],
        spare_modules=["bochs"],
        files={"/catalogue.yaml": CATALOGUE, "/stamp.sh": STAMP, "/until.sh": UNTIL},
    )
    with booted as guest:
        guest.free_ports = list(PORTS)
        root(guest, "uevent sh /stamp.sh >/dev/null 2>&1 &")
        wait_until(lambda: scrape(guest), "a scrape", qemu.DEADLINE_SECONDS)
        print(root(guest, "ls -l /sys/bus/pci/devices/*/driver /sys/bus/usb/devices/*/driver"))
        yield guest


def root(guest, command):
    """What the command writes; it must succeed."""
    result = guest.root(command)
    assert result.exit_code == 0, f"{command}: {result.output}\nthe log: {guest.root('cat /tmp/log').output}"
    return result.output.strip()


def scrape(guest):
    """The body of /metrics as the host gets it; None while nothing listens."""
    with contextlib.suppress(OSError):
        answer = request("127.0.0.1", guest.port, "GET", "/metrics", seconds=30)
        assert answer.status == 200
        return answer.body.decode()


def row(guest, address):
    found = [row for row in accelerators(scrape(guest)) if row.address == address]
    return found[0] if found else None


def sysfs(guest, path):
    """A link's last part, or a file's text; "-" for what is not there, and for no NUMA node."""
    path = f"/sys/bus/{path}"
    text = root(guest, f"if [ -L {path} ]; then readlink {path}; elif [ -e {path} ]; then cat {path}; fi")
    return "-" if text in ("", "-1") else text.rpartition("/")[2]


def display(guest, address, vendor, **steps):
    """The Row of a display that the guest's sysfs shows, with its driver of now."""
    assert sysfs(guest, f"pci/devices/{address}/class") == "0x038000"
    driver, numa = (sysfs(guest, f"pci/devices/{address}/{name}") for name in ("driver", "numa_node"))
    steps = {"enabled": "1", "bound": "0", "ready": "0"} | steps
    return Row("display", "pci", address, vendor, "-", "pciclass,0380", driver, numa, **steps)


@pytest.fixture
def latency(guest, record_property):
    """latency(what, uevent, want, regex, [prefix]) waits for a scrape that shows the change.

    `uevent` is a regex on "ACTION DEVPATH"; of the events that match, the last one counts.
    """
    root(guest, ": >/tmp/uevents")

    def measure(what, uevent, want, regex, prefix=""):
        begin, end = map(float, root(guest, f"sh /until.sh {want} '{regex}' {prefix}").split())
        logged = re.compile(rf"^([\d.]+) {uevent}$", re.MULTILINE)
        # The driver's link is there before the kernel says so, and the logger takes its time.
        events = wait_until(lambda: logged.findall(root(guest, "cat /tmp/uevents")), f"uevent {uevent}")
        seconds = end - float(events[-1])
        record_property(f"{what}, seconds", f"{seconds:.2f}")
        print(f"{what}: {seconds:.2f} s after the uevent, of which the scrape took {end - begin:.2f} s")
        assert seconds <= LIMIT_SECONDS + (end - begin)

    return measure


@contextlib.contextmanager
def plugged(guest, directory, driver, **properties):
    """A device that QEMU adds and, at the latest at the end, takes away; its name in sysfs."""
    guest.qmp("device_add", driver=driver, id="hot", **properties)
    try:
        yield directory.rpartition("/")[2]
    finally:
        unplug(guest)
        gone = f"[ ! -e {directory} ]"
        wait_until(lambda: guest.root(gone).exit_code == 0, "the device to go", UNPLUG_SECONDS)


def unplug(guest):
    """Returns when QEMU has let go, which it does after the guest's kernel."""

    def is_plugged():
        return any(entry["name"] == "hot" for entry in guest.qmp("qom-list", path="/machine/peripheral"))

    with contextlib.suppress(AssertionError):  # not there, or going
        guest.qmp("device_del", id="hot")
    wait_until(lambda: not is_plugged(), "the device to go", UNPLUG_SECONDS)


def bochs(guest):
    """QEMU 7.2 keeps this device's memory and aborts if it comes back at its place: a port each."""
    port = guest.free_ports.pop(0)
    directory = f"/sys/bus/pci/devices/0000:{port:02}:00.0"
    return plugged(guest, directory, "bochs-display", bus=f"port{port}", romfile="")


def stick(guest):
    directory = f"/sys/bus/usb/devices/{STICK}"
    plug = {"bus": "xhci.0", "port": "2", "chardev": "null", "always-plugged": True}
    return plugged(guest, directory, "usb-serial", **plug)


def has(address, step="info", value="1"):
    """A basic regex on the body."""
    return f'^accelerator_{step}{{.*address="{address}".*}} {value}$'


# Without plugging.


def test_the_exporter_has_no_privilege(guest):
    status = root(guest, "cat /proc/$(pidof devicetree-exporter)/status")
    assert re.search(r"^Uid:\s+65534\s+65534\s+65534\s+65534$", status, re.MULTILINE)
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)


def test_cold_devices_are_as_the_guests_sysfs_says(guest):
    assert sysfs(guest, f"pci/devices/{ROOT_PORT}/driver") == "pcieport"
    assert sysfs(guest, f"pci/devices/{XHCI}/driver") == "xhci_hcd"
    assert sysfs(guest, "usb/devices/1-1:1.0/driver") == "usbhid"
    assert sysfs(guest, f"pci/devices/{VIRTIO_GPU}/driver") == "virtio-pci"
    cold = display(guest, VIRTIO_GPU, "red-hat", bound="1", ready="1")
    assert accelerators(scrape(guest)) == [cold]


def test_nothing_is_read_again_while_nothing_happens(guest):
    def quiet_time():
        """When the hardware was read, before and after; None if the kernel had something to say."""
        root(guest, ": >/tmp/uevents")
        before = samples(scrape(guest), "devicetree_snapshot_timestamp_seconds")
        root(guest, f"sleep {QUIET_SECONDS}")
        after = samples(scrape(guest), "devicetree_snapshot_timestamp_seconds")
        return None if root(guest, "cat /tmp/uevents") else (before, after)

    before, after = wait_until(quiet_time, "a quiet time after booting", qemu.DEADLINE_SECONDS)
    assert before == after != []


# PCI.


def test_a_hotplugged_function_comes_and_goes(guest, latency):
    with bochs(guest) as hot:
        latency("PCI device_add", f"add .*/{hot}", "present", has(hot))
        assert row(guest, hot) == display(guest, hot, "-")
        guest.qmp("device_del", id="hot")
        latency("PCI device_del", f"remove .*/{hot}", "absent", has(hot))
    assert [found.address for found in accelerators(scrape(guest))] == [VIRTIO_GPU]


def test_a_driver_that_is_loaded_later(guest, latency):
    with bochs(guest) as hot:
        root(guest, f"sh /until.sh present '{has(hot, 'bound', 0)}'")
        root(guest, "insmod /modules/bochs.ko")
        try:
            latency("insmod", f"bind .*/{hot}", "present", has(hot, "bound"))
            assert row(guest, hot) == display(guest, hot, "-", bound="1", ready="1")
            assert row(guest, hot).driver == "bochs-drm"
        finally:
            unplug(guest)
            root(guest, "rmmod bochs")


def test_unbind_and_bind(guest, latency):
    driver = "/sys/bus/pci/drivers/virtio-pci"
    root(guest, f"echo {VIRTIO_GPU} >{driver}/unbind")
    try:
        latency("unbind", f"unbind .*/{VIRTIO_GPU}", "present", has(VIRTIO_GPU, "bound", 0))
        assert row(guest, VIRTIO_GPU) == display(guest, VIRTIO_GPU, "red-hat")
    finally:
        root(guest, f"echo {VIRTIO_GPU} >{driver}/bind")
    latency("bind", f"bind .*/{VIRTIO_GPU}", "present", has(VIRTIO_GPU, "bound"))
    assert row(guest, VIRTIO_GPU) == display(guest, VIRTIO_GPU, "red-hat", bound="1", ready="1")


# USB.


def test_a_usb_stick_comes_and_goes(guest, latency):
    with stick(guest) as hot:
        latency("USB device_add", f"add .*/{hot}", "present", has(hot))
        found = row(guest, hot)
        assert found[:6] == ("tpu", "usb", hot, "acme", "stick", "usb403,6001")
        assert found.enabled == "1"
        assert "beta.devicetree.org/accelerator.tpu" in node_labels(scrape(guest))
        guest.qmp("device_del", id="hot")
        latency("USB device_del", f"remove .*/{hot}", "absent", has(hot))
        # For --labels.removal-delay, 30 s.
        assert "beta.devicetree.org/accelerator.tpu" in node_labels(scrape(guest))


# In namespaces of its own.


@contextlib.contextmanager
def exporter_in(guest, namespaces, flags=""):
    """A second exporter; yields the prefix that enters its network namespace."""
    command = f'exec {qemu.EXPORTER} --catalogue.file=/catalogue.yaml {flags} >/tmp/log2 2>&1'
    if "-U" not in namespaces:  # there it has no other user than the one that is mapped
        command = f'exec su -s /bin/sh nobody -c "{command}"'
    started = f"unshare {namespaces} sh -c 'ip link set lo up; {command}' >/dev/null 2>&1 & echo $!"
    root(guest, ": >/tmp/log2; chmod 666 /tmp/log2")
    pid = int(root(guest, started))
    enter = f"nsenter -t {pid} -n"
    try:
        root(guest, f"sh /until.sh present ^process_start_time_seconds {enter}")
        assert root(guest, f"readlink /proc/{pid}/ns/net") != root(guest, "readlink /proc/1/ns/net")
        yield enter
    finally:
        guest.root(f"kill {pid}")


def test_events_arrive_in_a_network_namespace_of_its_own(guest, latency):
    with exporter_in(guest, "-n") as enter, bochs(guest) as hot:
        latency("own network namespace", f"add .*/{hot}", "present", has(hot), enter)
        guest.qmp("device_del", id="hot")
        latency("own network namespace, gone", f"remove .*/{hot}", "absent", has(hot), enter)


def test_in_a_user_namespace_where_no_events_arrive_it_polls_and_says_so(guest):
    with exporter_in(guest, "-U -r -n", "--refresh.interval=1s") as enter, bochs(guest) as hot:
        root(guest, f"sh /until.sh present '{has(hot)}' {enter}")
        assert "uevent" in root(guest, "cat /tmp/log2")
