"""All sinks at work while the API server and Prometheus die at random: nothing lost, nothing wrong.

What the machine has comes and goes, labels are tampered with, tokens are rotated, peers are
rude, the configuration is read again. After each event everything comes right, and in the end
memory, descriptors and threads are where they were.

$DTE_SOAK_MINUTES says for how long; tests/soak MINUTES is the long run, whose figures stand in
tests/README.md. $DTE_SOAK_SEED repeats a run's events.
"""

import collections
import contextlib
import os
import random
import re
import shutil
import signal
import statistics
import time

import pytest

import host_tree
from control_plane import PREFIX, ControlPlane
from exporter import Exporter, wait_until
from prometheus_server import Prometheus
from test_abuse import open_files, peers, rss
from test_label_sink_faults import ACCESS, FOREIGN, WATCHER
from test_read_faults import HOST
from test_starvation import threads

pytestmark = pytest.mark.skipif("DTE_SOAK_MINUTES" not in os.environ, reason="a command of its own: tests/soak MINUTES")

MINUTES = float(os.environ.get("DTE_SOAK_MINUTES", "1"))
SEED = int(os.environ.get("DTE_SOAK_SEED", "0")) or random.randrange(1, 1 << 31)
NODE = "soak"
CONVERGE_SECONDS = 90  # the most that a backoff can be, and a busy machine
WARM = 0.2  # of the time: what is needed first is then there
GROWTH_BYTES = 1 << 20
GPU = "0000:03:00.0"  # the card that comes and goes

CONFIG = """
global: {{scrape_interval: 5s, scrape_timeout: 5s}}
scrape_configs: [{{job_name: soak, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}]
"""


class Soak:
    """Everything that runs, and what can happen to it."""

    def __init__(self, folder, stack, prometheus_program):
        self.random = random.Random(SEED)
        self.tampered = collections.Counter()
        self.folder = folder
        self.cluster = stack.enter_context(ControlPlane(_made(folder / "cluster")))
        self.cluster.apply(ACCESS)
        self.cluster.create_node(NODE, FOREIGN)
        self.token = folder / "token"
        self.rotate_the_token()
        text = folder / "host.tree"
        text.write_text(HOST)
        host_tree.expand(text, folder / "sysfs")
        kubeconfig = self.cluster.kubeconfig(folder / "kubeconfig", user={"tokenFile": str(self.token)})
        self.exporter = stack.enter_context(
            Exporter(
                f"--path.sysfs={folder}/sysfs", "-n", "gpu", "--labels.removal-delay=1s", "--web.enable-lifecycle",
                "--labels.kubernetes", f"--kubeconfig={kubeconfig}", f"--kubernetes.node-name={NODE}",
                "--kubernetes.resync-interval=5s", "--kubernetes.start-jitter=0", "--kubernetes.watch",
                f"--textfile.directory={_made(folder / 'textfiles')}", f"--nfd.feature-file={folder}/features.d/ours",
            )
        )
        self.prometheus = Prometheus(
            prometheus_program("debian", "prometheus"), _made(folder / "prometheus"), CONFIG.format(port=self.exporter.port)
        )
        stack.enter_context(self.prometheus)

    # What happens.

    def kill_the_api_server(self):
        self.cluster.stop_api_server()
        time.sleep(self.random.uniform(0, 5))
        self.cluster.start_api_server()

    def freeze_the_api_server(self):
        self.cluster.freeze()
        time.sleep(self.random.uniform(1, 20 if MINUTES > 5 else 3))
        self.cluster.thaw()

    def kill_prometheus(self):
        self.prometheus.kill()
        time.sleep(self.random.uniform(0, 3))
        self.prometheus.__enter__()

    def plug_or_unplug(self):
        link = self.folder / "sysfs/bus/pci/devices" / GPU
        if link.is_symlink():
            link.unlink()
        else:
            card = self.folder / "sysfs/devices/pci0000:00" / GPU
            if not card.exists():
                shutil.copytree(card.with_name("0000:00:02.0"), card, symlinks=True)
            link.symlink_to(f"../../../devices/pci0000:00/{GPU}")
        self.exporter.send_signal(signal.SIGHUP)

    def tamper_with_labels(self):
        # What is taken away again and again is left as others want it.
        keys = [key for key in sorted(self.wanted()) if self.tampered[key] < Soak.TAMPERINGS]
        keys = self.random.sample(keys, k=min(1, len(keys)))
        self.tampered.update(keys)
        status, answer = self.cluster.request(
            "PATCH",
            f"/api/v1/nodes/{NODE}",
            {"metadata": {"labels": dict.fromkeys(keys)}},
            headers={"Content-Type": "application/merge-patch+json"},
        )
        assert status == 200, answer

    def rotate_the_token(self):
        new = self.folder / "token.new"
        new.write_text(self.cluster.node_token(NODE, WATCHER))
        new.rename(self.token)

    def read_again(self):
        for _ in range(self.random.randrange(1, 50)):
            self.exporter.send_signal(signal.SIGHUP)

    def be_rude(self):
        half = b"GET /metrics HTTP/1.1\r\nHost: x\r\nA: "
        with peers(self.exporter, self.random.randrange(1, 300), self.random.choice([b"", half, half * 3])):
            assert self.exporter.get("/metrics").status == 200

    TAMPERINGS = 2  # with one label; three an hour are set right
    EVENTS = [kill_the_api_server, freeze_the_api_server, kill_prometheus, plug_or_unplug, tamper_with_labels,
              rotate_the_token, read_again, be_rude]

    # What must hold.

    def wanted(self):
        return dict(re.findall(r'^devicetree_node_label_info\{key="(.+)",value="(.+)"\} 1$', self.exporter.metrics(), re.M))

    def check(self):
        """All places say the same, and it is what the hardware says."""
        cards = 1 + (self.folder / "sysfs/bus/pci/devices" / GPU).is_symlink()

        def is_right():
            wanted = self.wanted()
            features = (self.folder / "features.d/ours").read_text().splitlines()
            return (
                wanted.get(f"{PREFIX}accelerator.gpu.count") == str(1 + cards)
                and self.cluster.labels(NODE) == {**wanted, f"{PREFIX}set-by-somebody-else": "yes"}
                and dict(line.split("=") for line in features if line[0] != "#") == wanted
                and all(f'key="{key}"' in self.textfile() for key in wanted)
            )

        wait_until(is_right, f"everything is right\n{self.exporter.stderr}", CONVERGE_SECONDS)
        labels = self.cluster.node(NODE)["metadata"]["labels"]
        assert {key: labels.get(key) for key in FOREIGN} == FOREIGN
        assert self.exporter.process.poll() is None

    def textfile(self):
        return (self.folder / "textfiles/devicetree-exporter.prom").read_text()

    def sample(self):
        """(resident KiB, descriptors, threads), once those of the last event are given back."""
        return [min(figures) for figures in zip(*(_sample(self.exporter) for _ in _for(2)))]


def _made(folder):
    folder.mkdir()
    return folder


def _for(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.2)


def _sample(exporter):
    return rss(exporter) >> 10, open_files(exporter), threads(exporter)


def test_it_lives_through_whatever_dies_around_it(tmp_path, prometheus_program):
    with contextlib.ExitStack() as stack:
        soak = Soak(tmp_path, stack, prometheus_program)
        soak.check()
        counts = dict.fromkeys((event.__name__ for event in Soak.EVENTS), 0)
        rows = []
        begin = time.monotonic()
        pending = []
        while (passed := time.monotonic() - begin) < 60 * MINUTES or not all(counts.values()):
            # Each once, in a new order, and so on.
            pending = pending or soak.random.sample(Soak.EVENTS, k=len(Soak.EVENTS))
            event = pending.pop()
            event(soak)
            counts[event.__name__] += 1
            soak.check()
            rows.append((passed, *soak.sample()))
        print_table(rows, counts)

        # Prometheus saw it alive, and one and the same, whenever it looked.
        seconds = int(time.monotonic() - begin) + 60
        for expression, expected in [
            (f'count_over_time((up{{job="soak"}} == 0)[{seconds}s:1s])', []),
            (f"changes(process_start_time_seconds[{seconds}s])", [0]),
            (f"resets(devicetree_label_applies_total[{seconds}s])", [0]),
        ]:
            assert [value for _, value in soak.prometheus.query(expression)] == expected, expression
        errors = [line for line in soak.exporter.stderr.splitlines() if "level=ERROR" in line]
        assert not errors
        settled = [row[1:] for row in rows if row[0] >= WARM * rows[-1][0]]
        third = len(settled) // 3
        first, last = settled[:third], settled[-third:]
        middle = lambda samples, column: statistics.median(sample[column] for sample in samples)
        assert (middle(last, 0) - middle(first, 0)) * 1024 < GROWTH_BYTES
        assert middle(last, 1) <= middle(first, 1) + 1
        assert middle(last, 2) == middle(first, 2)
        soak.exporter.stop()


def print_table(rows, counts):
    print(f"\nseed {SEED}: {sum(counts.values())} events, " + ", ".join(f"{n} x {name}" for name, n in counts.items()))
    print("| minute | resident KiB | descriptors | threads |\n|---|---|---|---|")
    step = max(1, len(rows) // 15)
    for passed, *figures in [*rows[::step], rows[-1]]:
        print(f"| {passed / 60:.1f} | " + " | ".join(str(figure) for figure in figures) + " |")
    for name, column in [("resident KiB", 1), ("descriptors", 2), ("threads", 3)]:
        figures = [row[column] for row in rows]
        print(f"{name}: {min(figures)} to {max(figures)}")
