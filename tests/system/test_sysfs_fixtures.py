"""Accelerators on every bus, from sysfs trees: tests/boards/*/host.tree and other projects' own.

A board's expected/accelerators.txt was worked out by hand from the ids and links of its
host.tree, the contract and the catalogue. Tests of one rung change a copy of the tree.
"""

import collections
import shutil
import signal

import pytest

import foreign_fixtures
from conftest import BOARDS, HOSTS
from exporter import Exporter, wait_until
from scraped import LADDER, PREFIX, accelerator_labels, accelerators, expected_rows, node_labels, samples

COLLECTORS = {"devicetree", "pci", "usb", "device_nodes"}


def exporter_on(sysfs, *flags):
    return Exporter(f"--path.sysfs={sysfs}", *flags)


def expected(board):
    return expected_rows((BOARDS / board / "expected/accelerators.txt").read_text())


def with_steps(rows, address, **changed):
    """The rows, that of `address` with these changed."""
    assert address in [row.address for row in rows]
    return [row._replace(**changed) if row.address == address else row for row in rows]


def expected_labels(rows, state="enabled"):
    """Of the accelerators that are at or above that state; a display gives none."""
    counted = [row for row in rows if row.kind != "display" and (state == "described" or getattr(row, state) == "1")]
    labels = {}
    for kind, number in collections.Counter(row.kind for row in counted).items():
        labels |= {f"accelerator.{kind}": "1", f"accelerator.{kind}.count": str(number)}
    for row in counted:
        if row.vendor != "-":
            labels[f"accelerator.{row.kind}.vendor.{row.vendor}"] = "1"
        if row.bound == "1":
            labels[f"accelerator.{row.kind}.driver.{row.driver}"] = "1"
    return labels


def read_again(exporter):
    """Has the hardware read again, and waits for it."""

    def read_at():
        return samples(exporter.metrics(), "devicetree_snapshot_timestamp_seconds")

    before = read_at()
    exporter.send_signal(signal.SIGHUP)
    wait_until(lambda: read_at() != before, "a new snapshot")


def assert_every_collector_succeeds(exporter):
    found = samples(exporter.metrics(), "devicetree_collector_success")
    assert COLLECTORS <= {sample.labels["collector"] for sample in found}
    assert [sample for sample in found if sample.value != 1] == []


# Each host as a whole.


@pytest.mark.parametrize("board", HOSTS)
def test_the_fixture_itself_every_link_stays_in_the_sysfs_and_leads_somewhere(make_host, board):
    sysfs = make_host(board)
    links = [path for path in sysfs.rglob("*") if path.is_symlink()]
    assert links
    assert [link for link in links if sysfs not in link.resolve().parents or not link.exists()] == []


@pytest.mark.parametrize("board", HOSTS)
def test_its_accelerators(make_host, board):
    with exporter_on(make_host(board)) as exporter:
        assert accelerators(exporter.metrics()) == expected(board)


@pytest.mark.parametrize("state", ["described", *LADDER])
@pytest.mark.parametrize("board", HOSTS)
def test_its_labels_at_each_state(make_host, board, state):
    with exporter_on(make_host(board), f"--labels.accelerator-state={state}") as exporter:
        assert accelerator_labels(exporter.metrics()) == expected_labels(expected(board), state)


@pytest.mark.parametrize("board", HOSTS)
def test_enabled_is_the_default_state(make_host, board):
    with exporter_on(make_host(board)) as exporter:
        assert accelerator_labels(exporter.metrics()) == expected_labels(expected(board))


@pytest.mark.parametrize("board", HOSTS)
def test_the_label_key_of_each_accelerator_is_a_label(make_host, board):
    with exporter_on(make_host(board)) as exporter:
        labels = node_labels(exporter.metrics())
        for sample in samples(exporter.metrics(), "accelerator_info"):
            key = sample.labels.get("label_key", "")
            assert (key in labels) == (sample.labels["kind"] != "display"), sample


@pytest.mark.parametrize("board", HOSTS)
def test_a_bus_that_is_absent_is_no_failure(make_host, board):
    with exporter_on(make_host(board)) as exporter:
        assert_every_collector_succeeds(exporter)


@pytest.mark.parametrize("board", HOSTS)
def test_nothing_is_left_unrecognised(make_host, board):
    with exporter_on(make_host(board)) as exporter:
        assert samples(exporter.metrics(), "accelerator_unrecognised_info") == []


# PCI.


def test_a_display_gives_no_label(make_host):
    with exporter_on(make_host("gpu-server")) as exporter:
        names = " ".join(node_labels(exporter.metrics()))
        assert "accelerator.gpu" in names
        for word in ("display", "aspeed", "pci1a03", "pciclass-0300"):
            assert word not in names


def test_pci_compatibles_are_labels(make_host):
    with exporter_on(make_host("gpu-server")) as exporter:
        labels = node_labels(exporter.metrics())
        for name in ("pci10de-2330", "pciclass-0302", "pci8086-37c8", "pci1ac1-89a", "pci1022-17f0"):
            assert labels.get(PREFIX + name) == "1", name


@pytest.mark.parametrize(
    "revision, model", [("00", "npu2"), ("10", "npu4"), ("11", "npu5"), ("20", "npu6"), ("30", None)]
)
def test_the_revision_tells_the_xdna_generation(make_host, revision, model):
    sysfs = make_host("gpu-server")
    (sysfs / "bus/pci/devices/0000:c1:00.1/revision").write_text(f"0x{revision}\n")
    with exporter_on(sysfs) as exporter:
        (npu,) = [row for row in accelerators(exporter.metrics()) if row.kind == "npu"]
        assert npu.model == (f"xdna-{model}" if model else "xdna")


def test_a_broken_function_is_named_in_the_log_once(make_host):
    with exporter_on(make_host("gpu-server")) as exporter:
        read_again(exporter)
        read_again(exporter)
        assert exporter.stderr.count("0000:00:1f.2") == 1, exporter.stderr


# The ladder, rung by rung.


def remove(sysfs, *entries):
    """Each a link or a folder; a class entry with the folder that it leads to."""
    for entry in entries:
        path = sysfs / entry
        if path.is_symlink():
            if entry.startswith("class/"):
                shutil.rmtree(path.resolve())
            path.unlink()
        else:
            shutil.rmtree(path)


GPU, NPU = "/gpu@fb000000", "/npu@fdab0000"
CORES = ["fdab0000", "fdac0000", "fdad0000"]


def disable(sysfs, *nodes):
    for node in nodes:
        (sysfs / f"firmware/devicetree/base/{node}/status").write_bytes(b"disabled\0")


def test_described_a_disabled_node(make_host):
    """The kernel makes no device of such a node."""
    sysfs = make_host("rock-5b-host")
    disable(sysfs, *[f"npu@{core}" for core in CORES])
    remove(sysfs, "class/accel/accel0", *[f"devices/platform/{core}.npu" for core in CORES])
    remove(sysfs, *[f"bus/platform/devices/{core}.npu" for core in CORES])
    rows = with_steps(expected("rock-5b-host"), NPU, driver="-", enabled="0", bound="0", ready="0")
    for state in ("enabled", "described"):
        with exporter_on(sysfs, f"--labels.accelerator-state={state}") as exporter:
            assert accelerators(exporter.metrics()) == rows
            assert accelerator_labels(exporter.metrics()) == expected_labels(rows, state)


def test_described_below_a_disabled_bus(make_host):
    sysfs = make_host("imx8mp-host")
    disable(sysfs, "soc@0")
    with exporter_on(sysfs) as exporter:
        assert {row.enabled for row in accelerators(exporter.metrics())} == {"0"}
        assert accelerator_labels(exporter.metrics()) == {}


@pytest.mark.parametrize("off", CORES)
def test_one_disabled_core_leaves_the_npu_enabled(make_host, off):
    sysfs = make_host("rock-5b-host")
    disable(sysfs, f"npu@{off}")
    remove(sysfs, f"bus/platform/devices/{off}.npu", f"devices/platform/{off}.npu")
    with exporter_on(sysfs) as exporter:
        (npu,) = [row for row in accelerators(exporter.metrics()) if row.kind == "npu"]
        assert (npu.enabled, npu.bound, npu.ready, npu.driver) == ("1", "1", "1", "rocket")
        assert accelerator_labels(exporter.metrics())["accelerator.npu.count"] == "1"


def test_enabled_without_a_driver(make_host):
    sysfs = make_host("rock-5b-host")
    remove(sysfs, "devices/platform/fb000000.gpu/driver", "class/drm/card1", "class/drm/renderD128")
    with exporter_on(sysfs) as exporter:
        assert accelerators(exporter.metrics()) == with_steps(
            expected("rock-5b-host"), GPU, driver="-", bound="0", ready="0"
        )


@pytest.mark.parametrize(
    "board, entry, addresses",
    [
        ("rock-5b-host", "class/drm/renderD128", [GPU]),  # below the device
        ("rock-5b-host", "class/accel/accel0", [NPU]),  # below a device without driver and node
        ("imx8mp-host", "class/drm/renderD128", ["/soc@0/gpu@38000000", "/soc@0/npu@38500000"]),
        ("gpu-server", "class/apex/apex_0", ["0000:b1:00.0"]),
        ("gpu-server", "class/accel/accel0", ["0000:c1:00.1"]),
    ],
)
def test_bound_without_its_interface(make_host, board, entry, addresses):
    sysfs = make_host(board)
    remove(sysfs, entry)
    rows = expected(board)
    for address in addresses:
        rows = with_steps(rows, address, ready="0")
    with exporter_on(sysfs) as exporter:
        assert accelerators(exporter.metrics()) == rows


def test_another_devices_render_node_makes_no_core_ready(make_host):
    sysfs = make_host("imx8mp-host")
    (sysfs / "devices/platform/etnaviv/driver").unlink()  # now some other platform device
    with exporter_on(sysfs) as exporter:
        assert {row.ready for row in accelerators(exporter.metrics())} == {"0"}


@pytest.mark.parametrize("driver", ["vfio-pci", "pci-stub"])
def test_given_away_is_not_bound(make_host, driver):
    sysfs = make_host("gpu-server")
    link = sysfs / "bus/pci/devices/0000:98:00.0/driver"
    link.unlink()
    link.symlink_to(f"../../../../bus/pci/drivers/{driver}")
    with exporter_on(sysfs) as exporter:
        (gpu,) = [row for row in accelerators(exporter.metrics()) if row.address == "0000:98:00.0"]
        assert (gpu.driver, gpu.enabled, gpu.bound, gpu.ready) == (driver, "1", "0", "0")


@pytest.mark.parametrize(
    "board, address, node",
    [
        ("rock-5b-host", GPU, "dri/renderD128"),
        ("rock-5b-host", NPU, "accel/accel0"),
        ("gpu-server", "0000:b1:00.0", "apex_0"),
    ],
)
def test_with_path_dev_ready_needs_the_device_node(make_host, tmp_path, board, address, node):
    sysfs, dev = make_host(board), tmp_path / "dev"

    def ready():
        with exporter_on(sysfs, f"--path.dev={dev}") as exporter:
            return {row.address: row.ready for row in accelerators(exporter.metrics())}[address]

    (dev / node).parent.mkdir(parents=True)
    assert ready() == "0"
    (dev / node).touch()
    assert ready() == "1"


# USB.


def test_a_coral_that_changes_its_id_keeps_its_labels(make_host):
    sysfs = make_host("usb-host")
    stick = sysfs / "bus/usb/devices/1-1.2"
    with exporter_on(sysfs) as exporter:
        before, rows = node_labels(exporter.metrics()), accelerators(exporter.metrics())
        (stick / "idVendor").write_text("18d1\n")
        (stick / "idProduct").write_text("9302\n")
        read_again(exporter)
        assert node_labels(exporter.metrics()) == before
        assert accelerators(exporter.metrics()) == rows


def test_a_program_that_uses_a_stick_changes_no_label(make_host):
    """libusb makes the kernel bind usbfs to the interface while a program has it open."""
    sysfs = make_host("usb-host")
    interface = sysfs / "bus/usb/devices/1-1.2:1.0"
    with exporter_on(sysfs) as exporter:
        before = node_labels(exporter.metrics())
        (interface / "driver").symlink_to("../../../../../../../bus/usb/drivers/usbfs")
        read_again(exporter)
        assert node_labels(exporter.metrics()) == before


# Never flap.


def test_an_unplugged_stick_leaves_the_metrics_at_once_and_the_labels_after_the_delay(make_host):
    sysfs = make_host("usb-host")
    with exporter_on(sysfs, "--labels.removal-delay=2s") as exporter:
        assert "accelerator.vpu" in accelerator_labels(exporter.metrics())
        remove(sysfs, "bus/usb/devices/1-3", "bus/usb/devices/1-3:1.0")
        read_again(exporter)
        assert [row.kind for row in accelerators(exporter.metrics())] == ["tpu"]
        assert "accelerator.vpu" in accelerator_labels(exporter.metrics())
        wait_until(lambda: "accelerator.vpu" not in accelerator_labels(exporter.metrics()), "the label to go")


def test_a_stick_that_comes_back_within_the_delay_loses_no_label(make_host):
    sysfs = make_host("usb-host")
    with exporter_on(sysfs) as exporter:
        before, rows = node_labels(exporter.metrics()), accelerators(exporter.metrics())
        (sysfs / "bus/usb/devices/1-3").rename(sysfs / "away")
        read_again(exporter)
        assert node_labels(exporter.metrics()) == before
        (sysfs / "away").rename(sysfs / "bus/usb/devices/1-3")
        read_again(exporter)
        assert node_labels(exporter.metrics()) == before
        assert accelerators(exporter.metrics()) == rows


@pytest.mark.parametrize("board, bus", [("gpu-server", "pci"), ("usb-host", "usb")])
def test_a_bus_that_cannot_be_read_keeps_its_accelerators(make_host, board, bus):
    sysfs = make_host(board)
    devices = sysfs / f"bus/{bus}/devices"
    success = f'devicetree_collector_success{{collector="{bus}"}}'
    with exporter_on(sysfs, "--labels.removal-delay=0s") as exporter:
        before = node_labels(exporter.metrics())
        devices.rename(devices.with_name("away"))
        devices.symlink_to("devices")  # ELOOP, which root gets too
        exporter.send_signal(signal.SIGHUP)
        wait_until(lambda: f"{success} 0\n" in exporter.metrics(), "a failed collector")
        assert accelerators(exporter.metrics()) == expected(board)
        assert node_labels(exporter.metrics()) == before
        devices.unlink()
        devices.with_name("away").rename(devices)
        exporter.send_signal(signal.SIGHUP)
        wait_until(lambda: f"{success} 1\n" in exporter.metrics(), "a collector that works again")
        assert accelerators(exporter.metrics()) == expected(board)


# Other projects' fixtures.

NFD = """\
display pci 0000:02:00.0 aspeed - pciclass,0300 - 0 1 0 0
crypto pci 0000:3b:00.0 intel qat-c62x pci8086,37c8 - 0 1 0 0
"""


def foreign(get, directory):
    try:
        return get(directory)
    except foreign_fixtures.Missing as reason:
        pytest.skip(str(reason))


def test_node_exporters_fixture_has_no_accelerator(tmp_path):
    """Three functions, a port, an NVMe with a link to no physfn and a NIC; class drm is absent."""
    sysfs = foreign(foreign_fixtures.node_exporter, tmp_path)
    assert len(list((sysfs / "bus/pci/devices").iterdir())) == 3
    with exporter_on(sysfs) as exporter:
        assert accelerators(exporter.metrics()) == []
        assert accelerator_labels(exporter.metrics()) == {}
        assert_every_collector_succeeds(exporter)


def test_nfds_fixture_has_a_bmcs_display_and_quickassist(tmp_path):
    """Eleven functions, folders and not links; one has no ids, none has a driver."""
    sysfs = foreign(foreign_fixtures.nfd, tmp_path)
    assert len(list((sysfs / "bus/pci/devices").iterdir())) == 11
    rows = expected_rows(NFD)
    with exporter_on(sysfs) as exporter:
        assert accelerators(exporter.metrics()) == rows
        assert accelerator_labels(exporter.metrics()) == expected_labels(rows)
