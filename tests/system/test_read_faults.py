"""Files that cannot be read: what was known stays, and a metric says so.

Expected: the contract, "Reading errors are not absence: the last good facts of that
collector stay, and a metric says so", and "All input is hostile".
"""

import contextlib
import errno
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

import host_tree
from exporter import STOP_SECONDS, Exporter, binary, run, wait_until
from faulty_fs import FaultyFileSystem, needs_fuse

HUGE = 4 << 30  # bytes of a file without blocks
SANITIZED = "DTE_SANITIZED" in os.environ  # which takes memory of its own
MEMORY_BYTES = (512 if SANITIZED else 32) << 20
SCRAPE_SECONDS = 3  # the promise of test_abuse.py

# One accelerator of each bus, with all that is read of one.
HOST = r"""
firmware/devicetree/base/
  compatible = nvidia,p3450-0000\0nvidia,tegra210\0\c
  model = NVIDIA Jetson Nano Developer Kit\0\c
firmware/devicetree/base/aliases/
  gpu = /gpu@57000000\0\c
firmware/devicetree/base/gpu@57000000/
  compatible = nvidia,gm20b\0\c
  status = okay\0\c
devices/platform/57000000.gpu/
  uevent = DRIVER=nouveau
  of_node -> ../../../firmware/devicetree/base/gpu@57000000
  driver -> ../../../bus/platform/drivers/nouveau
  drm/renderD128/uevent = MAJOR=226\nMINOR=128\nDEVNAME=dri/renderD128
devices/pci0000:00/0000:00:02.0/
  vendor = 0x1002
  device = 0x740f
  class = 0x038000
  revision = 0x02
  subsystem_vendor = 0x1002
  subsystem_device = 0x0c34
  numa_node = 0
  driver -> ../../../bus/pci/drivers/amdgpu
  drm/renderD129/uevent = MAJOR=226\nMINOR=129\nDEVNAME=dri/renderD129
devices/pci0000:00/0000:00:14.0/usb1/1-1/
  idVendor = 1a6e
  idProduct = 089a
  driver -> ../../../../../bus/usb/drivers/usb
  1-1:1.0/driver -> ../../../../../../bus/usb/drivers/usbfs
bus/pci/devices/0000:00:02.0 -> ../../../devices/pci0000:00/0000:00:02.0
bus/usb/devices/1-1 -> ../../../devices/pci0000:00/0000:00:14.0/usb1/1-1
bus/usb/devices/1-1:1.0 -> ../../../devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0
bus/platform/devices/57000000.gpu -> ../../../devices/platform/57000000.gpu
bus/platform/drivers/nouveau/
bus/pci/drivers/amdgpu/
bus/usb/drivers/usb/
bus/usb/drivers/usbfs/
class/drm/renderD128 -> ../../devices/platform/57000000.gpu/drm/renderD128
class/drm/renderD129 -> ../../devices/pci0000:00/0000:00:02.0/drm/renderD129
class/drm/version = drm 1.1.0 20060810
"""
BASE = "firmware/devicetree/base"
PCI = "devices/pci0000:00/0000:00:02.0"
USB = "devices/pci0000:00/0000:00:14.0/usb1/1-1"
PLATFORM = "devices/platform/57000000.gpu"
LADDER = ["described", "enabled", "bound", "ready"]


@pytest.fixture
def host(tmp_path):
    text = tmp_path / "host.tree"
    text.write_text(HOST)
    host_tree.expand(text, tmp_path / "sysfs")
    return tmp_path / "sysfs"


def expand_dev(folder):
    for name in ["renderD128", "renderD129"]:
        (folder / "dri").mkdir(parents=True, exist_ok=True)
        (folder / "dri" / name).touch()


VOLATILE = re.compile(r"#|process_|devicetree_(collector|snapshot_timestamp|exporter_config_last)_")


def facts(exporter):
    return [line for line in exporter.metrics().splitlines() if not VOLATILE.match(line)]


def troubles(exporter):
    """The collectors that say that something could not be read."""
    body = exporter.metrics()
    failed = re.findall(r'^devicetree_collector_success\{collector="(\w+)"\} 0$', body, re.M)
    return set(failed + re.findall(r'^devicetree_collector_skipped_devices\{collector="(\w+)"\} [^0]', body, re.M))


def reload(exporter):
    """Returns once the hardware has been read again."""
    answer = exporter.request("POST", "/-/reload", {"Content-Length": "0"})
    assert answer.status == 200, answer


@contextlib.contextmanager
def serve(sysfs, *flags):
    # Nothing but a test's word has it read again; -n gpu designates the node.
    with Exporter(f"--path.sysfs={sysfs}", "--web.enable-lifecycle", "--refresh.interval=1h", "-n", "gpu", *flags) as it:
        yield it


def assert_knows_all(exporter):
    body = exporter.metrics()
    for bus in ["devicetree", "pci", "usb"]:
        for step in LADDER[1:]:
            assert re.search(rf'^accelerator_{step}\{{.*bus="{bus}".*\}} 1$', body, re.M), (bus, step, body)
    assert not troubles(exporter)


# One read that fails, of each that there is.


@needs_fuse
@pytest.mark.parametrize("error", [errno.EIO, errno.EACCES], ids=errno.errorcode.get)
def test_whatever_cannot_be_read_nothing_is_forgotten(host, tmp_path, error):
    expand_dev(host / "dev")
    with FaultyFileSystem(host, tmp_path / "mount") as files:
        with serve(files.mount, f"--path.dev={files.mount}/dev") as exporter:
            assert_knows_all(exporter)
            before = facts(exporter)
            files.seen()
            reload(exporter)
            reads = files.seen()
            assert len(reads) > 100
            silent, forgotten = [], []
            for operation, path in reads if error == errno.EIO else reads[::7]:
                files.fail(path, operation, error)
                reload(exporter)
                if facts(exporter) != before:
                    forgotten.append((operation, path))
                if not troubles(exporter):
                    silent.append((operation, path))
                files.mend()
            assert (forgotten, silent) == ([], [])
            reload(exporter)
            assert facts(exporter) == before and not troubles(exporter), "mended"
            exporter.stop()


@needs_fuse
def test_whatever_is_gone_between_two_reads_does_no_harm(host, tmp_path):
    """ENOENT after the folder's list has named it: a device that is unplugged just now."""
    with FaultyFileSystem(host, tmp_path / "mount") as files:
        with serve(files.mount) as exporter:
            before = facts(exporter)
            files.seen()
            reload(exporter)
            for operation, path in files.seen():
                if operation == "list":
                    continue
                files.fail(path, operation, errno.ENOENT)
                reload(exporter)
                assert exporter.get("/-/ready").status == 200
                files.mend()
            reload(exporter)
            assert facts(exporter) == before and not troubles(exporter)
            exporter.stop()


@needs_fuse
def test_a_property_that_is_gone_for_a_moment_is_read_again(host, tmp_path):
    """The kernel removes a property's file, and makes it anew, to change it."""
    with FaultyFileSystem(host, tmp_path / "mount") as files:
        with serve(files.mount) as exporter:
            before = facts(exporter)
            places = [BASE + "/compatible", BASE + "/gpu@57000000", BASE + "/gpu@57000000/compatible"]
            for path in places:
                for operation in ["lookup", "read"] if path.endswith("compatible") else ["lookup"]:
                    files.fail(path, operation, errno.ENOENT, times=2)
                    reload(exporter)
                    assert facts(exporter) == before, (operation, path)
                    files.mend()
            exporter.stop()


@needs_fuse
def test_what_cannot_be_read_at_the_start_is_not_invented(host, tmp_path):
    with FaultyFileSystem(host, tmp_path / "mount") as files:
        files.fail(BASE + "/compatible", "read", errno.EIO)
        files.fail(PCI + "/vendor", "read", errno.EIO)
        files.fail(USB + "/driver", "readlink", errno.EIO)
        with Exporter(f"--path.sysfs={files.mount}", "-n", "gpu") as exporter:
            body = exporter.metrics()
            assert troubles(exporter) == {"devicetree", "pci", "usb"}
            assert "devicetree_present" not in body, "it is not known"
            assert "accelerator_info" not in body
            for path in [BASE + "/compatible", "0000:00:02.0/vendor", "1-1/driver"]:
                assert f"{path}: Input/output error" in exporter.stderr
            files.mend()
            # Nobody tells it: what could not be read is tried again.
            wait_until(lambda: not troubles(exporter), "all is read", seconds=30)
            assert_knows_all(exporter)
            exporter.stop()


# A read that takes its time.

SLOW = [
    ("list", BASE),
    ("read", BASE + "/compatible"),
    ("read", PCI + "/vendor"),
    ("readlink", PLATFORM + "/driver"),
    ("lookup", "class/drm/renderD128"),
]


@needs_fuse
@pytest.mark.parametrize(("operation", "path"), SLOW, ids=[f"{o} {p.split('/')[-1]}" for o, p in SLOW])
def test_a_read_that_hangs_holds_up_no_scrape(host, tmp_path, operation, path):
    with FaultyFileSystem(host, tmp_path / "mount") as files:
        with Exporter(f"--path.sysfs={files.mount}", "-n", "gpu") as exporter:
            before = facts(exporter)
            files.hang(path, operation)
            files.seen()
            exporter.send_signal(signal.SIGHUP)
            wait_until(lambda: (operation, path) in files.seen(), "it hangs")
            for where in ["/metrics", "/", "/inventory.json", "/-/ready", "/-/healthy"]:
                begin = time.monotonic()
                assert exporter.get(where).status == 200
                assert time.monotonic() - begin < SCRAPE_SECONDS
            assert facts(exporter) == before
            files.mend()
            wait_until(lambda: "Read the configuration" in exporter.stderr, "it goes on")
            assert facts(exporter) == before
            exporter.stop()


def waits_for_files(process):
    return lambda: pathlib.Path(f"/proc/{process.pid}/wchan").read_text() == "request_wait_answer"


@needs_fuse
def test_a_read_that_hangs_does_not_hold_up_the_end(host, tmp_path):
    with FaultyFileSystem(host, tmp_path / "mount") as files:
        with Exporter(f"--path.sysfs={files.mount}") as exporter:
            files.freeze()
            exporter.send_signal(signal.SIGHUP)
            wait_until(waits_for_files(exporter), "it hangs")
            assert exporter.get("/-/ready").status == 200
            exporter.stop()  # within a second, with exit code 0
        files.thaw()


@needs_fuse
@pytest.mark.parametrize(("mode", "code"), [([], 0), (["-d"], -signal.SIGTERM), (["--snapshot", "-"], -signal.SIGTERM)], ids=str)
def test_a_first_read_that_hangs_can_be_ended(host, tmp_path, mode, code):
    command = [binary(), f"--path.sysfs={tmp_path}/mount", "--web.listen-address=127.0.0.1:0", *mode]
    with FaultyFileSystem(host, tmp_path / "mount") as files:
        files.freeze()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                wait_until(waits_for_files(process), "it hangs")
                process.terminate()
                assert process.wait(timeout=STOP_SECONDS) == code
            finally:
                process.kill()
        files.thaw()


@needs_fuse
def test_a_slow_read_is_waited_for(host, tmp_path):
    with FaultyFileSystem(host, tmp_path / "mount") as files:
        with serve(files.mount) as exporter:
            before = facts(exporter)
            (host / PCI / "numa_node").write_text("1\n")
            files.hang(PCI + "/vendor", "read")
            files.seen()
            exporter.send_signal(signal.SIGHUP)
            wait_until(lambda: ("read", PCI + "/vendor") in files.seen(), "it hangs")
            assert facts(exporter) == before
            files.mend()
            wait_until(lambda: 'numa_node="1"' in exporter.metrics(), "the new facts")
            exporter.stop()


# Files that are something else.


def sparse(path):
    path.unlink()
    with path.open("wb") as file:
        file.truncate(HUGE)


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def loop(path):
    path.unlink()
    path.symlink_to(path.name)


def folder(path):
    path.unlink()
    path.mkdir()


REPLACED = [
    (sparse, BASE + "/compatible", "devicetree", "a kept property has 8193 bytes; at most 8192 expected"),
    (sparse, BASE + "/gpu@57000000/status", "devicetree", "a kept property has 8193 bytes; at most 8192 expected"),
    (sparse, PCI + "/vendor", "pci", "more than 4096 bytes"),
    (sparse, PCI + "/numa_node", "pci", "more than 4096 bytes"),
    (sparse, USB + "/idVendor", "usb", "more than 4096 bytes"),
    (sparse, PLATFORM + "/drm/renderD128/uevent", "device_nodes", "more than 4096 bytes"),
    (pipe, PCI + "/vendor", "pci", "expected a number"),
    (pipe, USB + "/idProduct", "usb", "expected a number"),
    (folder, PCI + "/vendor", "pci", "Is a directory"),
    (loop, PCI + "/vendor", "pci", "Too many levels of symbolic links"),
    (loop, "bus/pci/devices/0000:00:02.0", "pci", "Too many levels of symbolic links"),
    (loop, "bus/usb/devices/1-1", "usb", "Too many levels of symbolic links"),
    (loop, "bus/usb/devices/1-1:1.0", "usb", "Too many levels of symbolic links"),
    (loop, "class/drm/renderD128", "device_nodes", "Too many levels of symbolic links"),
    (loop, "bus/platform/devices/57000000.gpu", "device_nodes", "Too many levels of symbolic links"),
]


@pytest.mark.parametrize(("make", "path", "collector", "says"), REPLACED,
                         ids=[f"{m.__name__} {p.rpartition('/')[2]}" for m, p, _, _ in REPLACED])
def test_what_is_no_file_of_its_kind_is_told_and_the_last_facts_stay(host, tmp_path, make, path, collector, says):
    expand_dev(tmp_path / "dev")
    with serve(host, f"--path.dev={tmp_path}/dev") as exporter:
        assert_knows_all(exporter)
        before = facts(exporter)
        make(host / path)
        reload(exporter)
        assert facts(exporter) == before
        assert collector in troubles(exporter)
        place = path.rpartition("/")[2] if collector != "devicetree" else BASE
        told = rf"collector={collector} .*{re.escape(place)}\S*: .*{re.escape(says)}"
        wait_until(lambda: re.search(told, exporter.stderr), f"{told} in {exporter.stderr}")
        assert peak(exporter) < MEMORY_BYTES
        exporter.stop()


def peak(exporter):
    status = pathlib.Path(f"/proc/{exporter.pid}/status").read_text()
    return int(re.search(r"^VmHWM:\s+(\d+) kB$", status, re.M)[1]) << 10


# What the operator names.


NAMED = {
    "config.file": ["--config.check"],
    "web.config.file": ["--config.check"],
    "catalogue.file": ["--config.check"],
    "path.snapshot": ["--config.check"],
    "path.devicetree": ["-d"],
    "kubeconfig": ["--labels.kubernetes", "--once"],
}


@pytest.mark.parametrize("make", [sparse, pipe, loop, folder])
@pytest.mark.parametrize("flag", NAMED)
def test_a_file_that_is_none_is_refused_at_once(tmp_path, flag, make):
    if flag == "path.devicetree" and make is folder:
        pytest.skip("a devicetree may be a folder")
    path = tmp_path / "named"
    path.touch()
    make(path)
    # Whoever read all of 4 GB would find no memory for it.
    ended = run(f"--{flag}={path}", *NAMED[flag], under=[] if SANITIZED else ["prlimit", f"--as={128 << 20}"])
    assert (ended.returncode, ended.stdout) == (2, ""), ended
    assert len(ended.stderr.splitlines()) == 1
    assert str(path) in ended.stderr


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null"])
def test_an_endless_file_is_read_to_its_bound(path):
    assert run(f"--config.file={path}", "--config.check").returncode == (2 if path == "/dev/zero" else 0)


@needs_fuse
@pytest.mark.parametrize("error", [errno.EIO, errno.EACCES], ids=errno.errorcode.get)
def test_a_configuration_that_cannot_be_read_again_stays(tmp_path, host, error):
    folder_ = tmp_path / "config"
    folder_.mkdir()
    (folder_ / "config.yaml").write_text("labels: {prefix: example.org}\n")
    with FaultyFileSystem(folder_, tmp_path / "mount") as files:
        with Exporter(f"--path.sysfs={host}", f"--config.file={files.mount}/config.yaml") as exporter:
            for operation in ["lookup", "open", "read"]:
                if (operation, error) == ("read", errno.EACCES):
                    continue
                files.fail("config.yaml", operation, error)
                exporter.send_signal(signal.SIGHUP)
                failed = "devicetree_exporter_config_last_reload_successful 0"
                wait_until(lambda: failed in exporter.metrics(), "the metric says so")
                assert 'key="example.org/nvidia-p3450-0000"' in exporter.metrics()
                assert os.strerror(error) in exporter.stderr
                files.mend()
                exporter.send_signal(signal.SIGHUP)
                wait_until(lambda: failed not in exporter.metrics(), "it is read again")
            exporter.stop()
