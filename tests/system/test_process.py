"""The process: how it starts, ends, reads again, and refuses what it cannot use."""

import os
import shutil
import signal
import socket
import subprocess

import pytest

from exporter import Exporter, run, wait_until

BOARD = "jetson-nano"


# Its end.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_within_a_second(dtb, number):
    with Exporter(f"--path.devicetree={dtb(BOARD)}") as exporter:
        exporter.get("/metrics")
        exporter.stop(number)
        assert exporter.stdout == ""


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTT"])
def test_silent_peers_do_not_hold_up_the_end(dtb, sent):
    with Exporter(f"--path.devicetree={dtb(BOARD)}") as exporter:
        with exporter.connect() as one, exporter.connect() as other:
            one.sendall(sent)
            other.sendall(sent)
            exporter.get("/metrics")  # by now the server has seen both
            exporter.stop()


def test_silent_peers_do_not_hold_up_a_scrape(dtb):
    with Exporter(f"--path.devicetree={dtb(BOARD)}") as exporter:
        with exporter.connect(), exporter.connect():
            assert exporter.get("/metrics").status == 200


# SIGHUP.


def make_node(folder, **properties):
    """A node as sysfs shows it: a directory with a file for each property."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in properties.items():
        beside = folder / f"{name}.new"
        beside.write_bytes(value)
        beside.rename(folder / name)


@pytest.fixture
def tree(tmp_path):
    make_node(tmp_path / "base", model=b"Acme One\0", compatible=b"acme,one\0acme,soc\0")
    make_node(tmp_path / "base" / "gpu@1000", compatible=b"acme,gpu\0", status=b"okay\0")
    return tmp_path / "base"


def says(exporter, text):
    return lambda: text in exporter.metrics()


def test_sighup_reads_the_hardware_again(tree):
    with Exporter(f"--path.devicetree={tree}", "-n", "gpu") as exporter:
        before = exporter.metrics()
        assert 'model="Acme One"' in before
        assert 'key="beta.devicetree.org/acme-gpu"' in before
        make_node(tree, model=b"Acme Two\0", compatible=b"acme,two\0acme,soc\0")
        make_node(tree / "gpu@1000", status=b"disabled\0")
        assert 'model="Acme One"' in exporter.metrics(), "not before it is told to"
        exporter.send_signal(signal.SIGHUP)
        wait_until(says(exporter, 'model="Acme Two"'), "the new model")
        after = exporter.metrics()
        assert 'key="beta.devicetree.org/acme-two"' in after
        assert "acme,one" not in after
        assert 'key="beta.devicetree.org/acme-gpu"' not in after
        exporter.stop()


def test_sighup_on_a_tree_that_cannot_be_read_keeps_the_last_good_facts(tree):
    success = 'devicetree_collector_success{collector="devicetree"}'
    with Exporter(f"--path.devicetree={tree}") as exporter:
        assert f"{success} 1\n" in exporter.metrics()
        deep = "/".join(["deeper"] * 80)  # dt/tree.h: at most 64 levels
        (tree / deep).mkdir(parents=True)
        exporter.send_signal(signal.SIGHUP)
        wait_until(says(exporter, f"{success} 0\n"), "a failed collector")
        assert 'key="beta.devicetree.org/acme-one"' in exporter.metrics()
        assert exporter.get("/-/ready").status == 200
        for depth in range(80, 0, -1):
            os.rmdir(tree / "/".join(["deeper"] * depth))
        exporter.send_signal(signal.SIGHUP)
        wait_until(says(exporter, f"{success} 1\n"), "a collector that works again")
        exporter.stop()


def test_what_could_not_be_read_is_tried_again_without_being_told(tree):
    success = 'devicetree_collector_success{collector="devicetree"}'
    compatible = (tree / "compatible").read_bytes()
    with Exporter(f"--path.devicetree={tree}") as exporter:
        make_node(tree, compatible=b"x" * 70_000)  # dt/tree.h: at most 65,536
        exporter.send_signal(signal.SIGHUP)
        wait_until(says(exporter, f"{success} 0\n"), "a failed collector")
        make_node(tree, compatible=compatible)
        wait_until(says(exporter, f"{success} 1\n"), "a collector that works again", seconds=30)
        exporter.stop()


def test_many_sighups_do_no_harm(tree):
    with Exporter(f"--path.devicetree={tree}") as exporter:
        for _ in range(100):
            exporter.send_signal(signal.SIGHUP)
        assert exporter.get("/metrics").status == 200
        exporter.stop()


# Without the kernel's events: they do not reach a user namespace of one's own.


def pci_function(sysfs, address, **files):
    for name, value in files.items():
        path = sysfs / "bus/pci/devices" / address / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value + "\n")


def unplug(sysfs, address):
    shutil.rmtree(sysfs / "bus/pci/devices" / address)


# The kernel refuses new user namespaces in a chroot, and some systems everywhere.
@pytest.mark.skipif(subprocess.run(["unshare", "--user", "true"], check=False).returncode != 0,
                    reason="no user namespaces here")
def test_in_a_user_namespace_of_its_own_it_reads_the_hardware_regularly(tmp_path):
    pci_function(tmp_path, "0000:01:00.0", vendor="0x8086", device="0x1521", **{"class": "0x020000"})
    with Exporter(f"--path.sysfs={tmp_path}", "--refresh.interval=500ms",
                  under=["unshare", "--user", "--map-root-user"]) as exporter:
        wait_until(lambda: "hardware events cannot be had" in exporter.stderr, "it says so")
        assert "\ndevicetree_refresh_interval_seconds 0.5\n" in exporter.metrics()
        assert "accelerator_info" not in exporter.metrics()
        pci_function(tmp_path, "0000:02:00.0", vendor="0x10de", device="0x2330", **{"class": "0x030200"})
        wait_until(says(exporter, 'address="0000:02:00.0"'), "the new function")
        exporter.stop()


def test_hardware_that_changes_unseen_may_be_read_at_a_reload_alone(tmp_path):
    snapshot = tmp_path / "board.snapshot"
    assert run("--snapshot", str(snapshot)).returncode == 0
    with Exporter(f"--path.snapshot={snapshot}", "--refresh.interval=0") as exporter:
        wait_until(lambda: "reading it at a reload alone" in exporter.stderr, "it says so")
        assert "refresh_interval" not in exporter.metrics()


def test_where_the_kernel_tells_of_changes_no_interval_is_told(tmp_path):
    """So that an old snapshot counts as stale only where it should have been read again."""
    with Exporter(f"--path.sysfs={tmp_path}") as exporter:
        if "hardware events cannot be had" in exporter.stderr:
            pytest.skip("the kernel's events cannot be had here")
        assert "devicetree_refresh_interval_seconds" not in exporter.metrics()
        exporter.stop()


# What was unplugged.


def test_labels_of_what_was_unplugged_stay_for_the_removal_delay(tmp_path):
    key = 'devicetree_node_label_info{key="beta.devicetree.org/accelerator.gpu"'
    pci_function(tmp_path, "0000:02:00.0", vendor="0x10de", device="0x2330", **{"class": "0x030200"})
    with Exporter(f"--path.sysfs={tmp_path}", "--labels.removal-delay=3s") as exporter:
        assert key in exporter.metrics()
        unplug(tmp_path, "0000:02:00.0")
        exporter.send_signal(signal.SIGHUP)
        wait_until(lambda: "accelerator_info" not in exporter.metrics(), "no accelerator")
        assert key in exporter.metrics(), "its label stays"
        # Nothing else happens: the delay alone takes the label away.
        wait_until(lambda: key not in exporter.metrics(), "no label", seconds=20)
        exporter.stop()


def test_labels_of_what_is_plugged_in_again_in_time_never_go(tmp_path):
    key = 'devicetree_node_label_info{key="beta.devicetree.org/accelerator.gpu"'
    gpu = {"vendor": "0x10de", "device": "0x2330", "class": "0x030200"}
    pci_function(tmp_path, "0000:02:00.0", **gpu)
    with Exporter(f"--path.sysfs={tmp_path}", "--labels.removal-delay=1h") as exporter:
        unplug(tmp_path, "0000:02:00.0")
        exporter.send_signal(signal.SIGHUP)
        wait_until(lambda: "accelerator_info" not in exporter.metrics(), "no accelerator")
        pci_function(tmp_path, "0000:03:00.0", **gpu)  # in another slot
        exporter.send_signal(signal.SIGHUP)
        wait_until(says(exporter, 'address="0000:03:00.0"'), "the same card elsewhere")
        text = exporter.metrics()
        assert key in text
        assert 'key="beta.devicetree.org/accelerator.gpu.count",value="1"' in text
        exporter.stop()


def test_a_standing_fault_is_logged_once(tmp_path):
    pci_function(tmp_path, "0000:02:00.0", vendor="no number", device="0x2330", **{"class": "0x030200"})
    with Exporter(f"--path.sysfs={tmp_path}") as exporter:
        for _ in range(3):
            exporter.send_signal(signal.SIGHUP)
            wait_until(says(exporter, 'skipped_devices{collector="pci"} 1'), "a skipped device")
        exporter.stop()
        assert exporter.stderr.count("0000:02:00.0/vendor") == 1


# No devicetree: ordinary on a PC.


def test_without_a_devicetree_it_runs_and_says_so(tmp_path):
    with Exporter(f"--path.sysfs={tmp_path}", "-n", "gpu") as exporter:
        assert "\ndevicetree_present 0\n" in "\n" + exporter.metrics()
        assert exporter.get("/-/ready").status == 200
        exporter.stop()


def test_without_a_devicetree_the_dry_run_says_so_in_one_line(tmp_path):
    ended = run(f"--path.sysfs={tmp_path}", "-d", "-n", "gpu")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(ended.stdout.splitlines()) == 1
    assert "devicetree" in ended.stdout


def test_a_disabled_collector_has_no_use_for_its_path(tmp_path):
    ended = run("--no-collector.devicetree", f"--path.devicetree={tmp_path}/none", "--dry-run")
    assert ended.returncode == 0, ended


def test_what_cannot_be_read_fails_the_dry_run_after_what_can(dtb, tmp_path):
    (tmp_path / "bus/pci").mkdir(parents=True)
    (tmp_path / "bus/pci/devices").symlink_to("devices")  # round and round
    ended = run(f"--path.sysfs={tmp_path}", f"--path.devicetree={dtb(BOARD)}", "--dry-run")
    assert ended.returncode == 1
    assert "beta.devicetree.org/nvidia-jetson-nano: 1" in ended.stdout
    assert "bus/pci/devices" in ended.stderr


def test_an_explanation_of_what_is_not_there_is_one_line_and_1(dtb):
    ended = run(f"--path.devicetree={dtb(BOARD)}", "--explain", "acme,none")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == 'devicetree-exporter: nothing here is about "acme,none"\n'


def test_a_catalogue_of_the_users_own_names_its_accelerators(dtb, tmp_path):
    catalogue = tmp_path / "ours.yaml"
    catalogue.write_text("version: 1\naccelerators:\n"
                         "  - {compatibles: ['nvidia,gm20b'], kind: ours, vendor: acme}\n")
    ended = run(f"--path.devicetree={dtb(BOARD)}", f"--catalogue.file={catalogue}", "--explain", "nvidia,gm20b")
    assert ended.returncode == 0
    assert f"matched: nvidia,gm20b at {catalogue}:3" in ended.stdout


def test_the_dry_run_prints_the_predecessors_format(dtb):
    ended = run("-d", f"--path.devicetree={dtb(BOARD)}", "-n", "gpu")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(
        "Discovered the following devicetree properties:\n"
        "\n"
        "beta.devicetree.org/nvidia-jetson-nano: 1\n"
        "beta.devicetree.org/nvidia-tegra210: 1\n"
        "beta.devicetree.org/nvidia-tegra210-gm20b: 1\n"
        "beta.devicetree.org/nvidia-gm20b: 1\n"
    )


# Wrong usage.


@pytest.mark.parametrize("flag, word", [("--help", "--path.devicetree"), ("--version", "version")])
def test_help_and_version_are_no_errors(flag, word):
    ended = run(flag)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert word in ended.stdout
    assert "devicetree-exporter" in ended.stdout


def assert_refused(ended, code, words):
    """One line that names the thing; nothing else."""
    assert ended.returncode == code, ended
    assert ended.stdout == ""
    assert ended.stderr.endswith("\n"), ended.stderr
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    for word in words:
        assert word in ended.stderr, ended.stderr


BAD_FLAGS = [
    (["--no-such-flag"], ["--no-such-flag"]),
    (["--path.devicetre=/x"], ["--path.devicetre"]),
    (["-x"], ["-x"]),
    (["stray"], ["stray"]),
    (["--path.devicetree"], ["--path.devicetree"]),
    (["-n"], ["--labels.nodes", "NAME"]),
    (["--labels.prefix=Foo_Bar"], ["--labels.prefix", "Foo_Bar"]),
    (["--labels.prefix="], ["--labels.prefix"]),
    (["--labels.prefix=" + "a" * 254], ["--labels.prefix", "253"]),
    (["--labels.prefix=example.org/"], ["--labels.prefix", "example.org/"]),
    (["--labels.prefix=-a.org"], ["--labels.prefix", "-a.org"]),
    (["--labels.prefix=a..org"], ["--labels.prefix", "a..org"]),
    (["--log.level=loud"], ["--log.level"]),
    (["--labels.value=maybe"], ["--labels.value", "maybe", "count"]),
    (["--labels.value="], ["--labels.value", "count"]),
    (["--web.listen-address=nonsense"], ["--web.listen-address", "nonsense"]),
    (["--web.listen-address="], ["--web.listen-address"]),
    (["--web.listen-address=127.0.0.1"], ["--web.listen-address", "127.0.0.1"]),
    (["--web.listen-address=:99999"], ["--web.listen-address", ":99999"]),
    (["--web.listen-address=:-1"], ["--web.listen-address", ":-1"]),
    (["--web.listen-address=:1x"], ["--web.listen-address", ":1x"]),
    (["--web.listen-address=::1:9931"], ["--web.listen-address", "::1:9931"]),
    (["--web.listen-address=[::1:9931"], ["--web.listen-address", "[::1:9931"]),
    (["--web.listen-address=300.0.0.1:9931"], ["--web.listen-address", "300.0.0.1:9931"]),
]


@pytest.mark.parametrize("flags, words", BAD_FLAGS, ids=lambda value: value[0][:40])
def test_wrong_usage_is_one_line_and_2(flags, words):
    assert_refused(run("--web.listen-address=127.0.0.1:0", *flags), 2, words)


@pytest.fixture
def bad_devicetree(request, tmp_path, dtb):
    blob = dtb(BOARD).read_bytes()
    path = tmp_path / "bad.dtb"
    content = {
        "missing": None,
        "text": b"/dts-v1/;\n/ { compatible = \"acme,one\"; };\n",
        "empty": b"",
        "half a header": blob[:20],
        "header alone": blob[:40],
        "truncated": blob[: len(blob) // 2],
        "one byte short": blob[:-1],
    }[request.param]
    if content is not None:
        path.write_bytes(content)
    return path


@pytest.mark.parametrize("mode", [[], ["-d"]], ids=["serve", "dry-run"])
@pytest.mark.parametrize(
    "bad_devicetree",
    ["missing", "text", "empty", "half a header", "header alone", "truncated", "one byte short"],
    indirect=True,
)
def test_a_devicetree_that_cannot_be_read_is_one_line_and_2(bad_devicetree, mode):
    ended = run(f"--path.devicetree={bad_devicetree}", "--web.listen-address=127.0.0.1:0", *mode)
    assert_refused(ended, 2, [str(bad_devicetree)])


def test_a_host_that_is_none_of_this_machine_is_one_line_and_1(dtb):
    ended = run(f"--path.devicetree={dtb(BOARD)}", "--web.listen-address=no-such-host.invalid:9931", seconds=60)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1 and "no-such-host.invalid:9931" in ended.stderr


def test_a_busy_port_is_one_line_and_1(dtb):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = f"127.0.0.1:{busy.getsockname()[1]}"
        ended = run(f"--path.devicetree={dtb(BOARD)}", f"--web.listen-address={address}")
    assert_refused(ended, 1, [address])


def test_a_second_address_that_is_busy_is_one_line_and_1(dtb):
    """Nothing is half served."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = f"127.0.0.1:{busy.getsockname()[1]}"
        ended = run(
            f"--path.devicetree={dtb(BOARD)}",
            "--web.listen-address=127.0.0.1:0",
            f"--web.listen-address={address}",
        )
    assert_refused(ended, 1, [address])
