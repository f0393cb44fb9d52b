"""Runs that write files and end, and runs that take them away again: NFD's feature file, the textfile.

The format of the feature file is NFD's local source; its life while the exporter runs is in test_write_faults.py.
"""

import signal
import subprocess

import pytest

from exporter import Exporter, binary, run, wait_until

LABEL = "beta.devicetree.org/nvidia-jetson-nano=1"
KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
"""


@pytest.fixture
def board(dtb):
    return f"--path.devicetree={dtb('jetson-nano')}"


@pytest.fixture
def kubeconfig(tmp_path):
    path = tmp_path / "kubeconfig"
    path.write_text(KUBECONFIG)
    return f"--kubeconfig={path}"


def test_f_writes_the_feature_file_once_without_an_expiry(board, tmp_path):
    file = tmp_path / "features.d/devicetree-features"
    ended = run(board, "-f", f"--nfd.feature-file={file}")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    lines = file.read_text().splitlines()
    assert LABEL in lines
    assert [line for line in lines if "expiry" in line] == []
    assert file.stat().st_mode & 0o777 == 0o644


def test_f_alone_writes_where_nfd_reads(board, tmp_path):
    """In /etc/kubernetes, here of a mount namespace of its own."""
    seen = tmp_path / "seen"
    script = (f'mount -t tmpfs none /etc && "{binary()}" --path.sysfs="{tmp_path}" {board} -f && '
              f'cat /etc/kubernetes/node-feature-discovery/features.d/devicetree-features >"{seen}"')
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
    if subprocess.run([*unshare[:-3], "true"], check=False).returncode != 0:
        pytest.skip("no user namespaces here")
    subprocess.run(unshare, check=True)
    assert LABEL in seen.read_text().splitlines()


def test_a_feature_file_may_be_named_from_where_the_run_is(board, tmp_path):
    command = [binary(), f"--path.sysfs={tmp_path}", board, "-f", "--nfd.feature-file=features"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert LABEL in (tmp_path / "features").read_text()
    command = [*command[:-2], "--web.listen-address=127.0.0.1:0", "--nfd.feature-file=features"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as running:
        wait_until(lambda: "expiry" in (tmp_path / "features").read_text(), "it is kept")
        running.terminate()


def test_once_says_which_of_the_files_is_not_written_and_writes_the_other(board, tmp_path):
    (tmp_path / "features").mkdir()
    ended = run(board, "--once", f"--nfd.feature-file={tmp_path}/features", f"--textfile.directory={tmp_path}")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1 and f"{tmp_path}/features" in ended.stderr
    assert "devicetree_present 1" in (tmp_path / "devicetree-exporter.prom").read_text()


def test_a_directory_of_the_textfile_that_is_not_there_is_said(board, tmp_path):
    with Exporter(board, f"--textfile.directory={tmp_path}/none") as running:
        wait_until(lambda: f"{tmp_path}/none" in running.stderr, "it says so")
        assert running.stderr.count("A file is not written") == 1


def test_cleanup_removes_the_files_that_the_flags_name(board, tmp_path):
    flags = [f"--nfd.feature-file={tmp_path}/features", f"--textfile.directory={tmp_path}"]
    assert run(board, "--once", *flags).returncode == 0
    assert len(list(tmp_path.iterdir())) == 2
    for _ in range(2):  # the second time there is nothing to remove
        ended = run(board, "--cleanup", *flags)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
        assert list(tmp_path.iterdir()) == []


def test_cleanup_names_a_file_that_it_cannot_remove(board, tmp_path):
    (tmp_path / "features").mkdir()
    ended = run(board, "--cleanup", f"--nfd.feature-file={tmp_path}/features")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1 and f"{tmp_path}/features" in ended.stderr


def test_a_feature_file_of_before_that_cannot_be_read_is_said(board, tmp_path):
    (tmp_path / "features").mkdir()
    with Exporter(board, f"--nfd.feature-file={tmp_path}/features") as running:
        assert "NFD's feature file cannot be read; labels of an earlier run" in running.stderr


def test_labels_that_change_are_written_at_once(board, tmp_path):
    config, file = tmp_path / "config.yaml", tmp_path / "features"
    config.write_text("{}")
    with Exporter(board, f"--nfd.feature-file={file}", f"--config.file={config}") as running:
        wait_until(lambda: file.exists() and LABEL in file.read_text(), "the labels")
        config.write_text("labels: {nodes: [gpu]}")
        running.send_signal(signal.SIGHUP)
        wait_until(lambda: "nvidia-gm20b=1" in file.read_text(), "the label of the gpu")


def test_two_ways_to_the_node_are_warned_of(board, kubeconfig, tmp_path):
    flags = ["--labels.kubernetes", kubeconfig, f"--nfd.feature-file={tmp_path}/features"]
    with Exporter(board, *flags) as running:
        assert "Both --labels.kubernetes and --nfd.feature-file are on" in running.stderr


def test_a_node_name_of_the_environment_that_is_none_is_refused(board, kubeconfig, monkeypatch):
    monkeypatch.setenv("NODE_NAME", "Not_A_Name")
    ended = run(board, "--labels.kubernetes", kubeconfig, "--once")
    assert ended.returncode == 2
    assert '"Not_A_Name"' in ended.stderr


def test_an_empty_node_name_of_the_environment_counts_as_none(board, kubeconfig, monkeypatch):
    monkeypatch.setenv("NODE_NAME", "")
    with Exporter(board, "--labels.kubernetes", kubeconfig) as running:
        assert running.get("/-/ready").status == 200


def test_a_machine_without_labels_has_a_feature_file_too(tmp_path):
    """Or NFD would keep what an earlier run wrote."""
    file = tmp_path / "features"
    with Exporter(f"--nfd.feature-file={file}"):
        wait_until(file.exists, "the file")
    assert [line for line in file.read_text().splitlines() if not line.startswith("#")] == []
