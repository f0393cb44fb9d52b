"""A real Prometheus scrapes a real exporter: Debian's version, and version 3.

Every rule holds for the gzip body, which Prometheus asks for, and for the plain
one: a tap between the two records what is asked and answered, and for the
second target takes the request's Accept-Encoding away.
"""

import collections
import contextlib
import http.server
import subprocess
import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

import debian
from conftest import PROMETHEUS_VERSIONS, board_flags, board_names
from exporter import Exporter, wait_until
from prometheus_server import Prometheus

BOARD = "jetson-nano"
BOARD_MODEL = "NVIDIA Jetson Nano Developer Kit"
ENCODINGS = ["gzip", "plain"]
SERIES_BUDGET = 200
# Not a board that exists: its point is to break things, not to fit.
HOSTILE = "hostile"

CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- {{job_name: gzip, static_configs: [{{targets: ["127.0.0.1:{gzip}"]}}]}}
- {{job_name: plain, static_configs: [{{targets: ["127.0.0.1:{plain}"]}}]}}
"""

Exchange = collections.namedtuple("Exchange", "accept_encoding status headers")


class Tap(http.server.ThreadingHTTPServer):
    """Forwards GET requests to the exporter and remembers the exchanges."""

    daemon_threads = True

    def __init__(self, exporter, forward_accept_encoding):
        super().__init__(("127.0.0.1", 0), _TapHandler)
        self.exporter = exporter
        self.forward_accept_encoding = forward_accept_encoding
        self.exchanges = []

    @property
    def port(self):
        return self.server_address[1]


class _TapHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        headers = dict(self.headers.items())
        asked = headers.get("Accept-Encoding")
        if not self.server.forward_accept_encoding:
            headers.pop("Accept-Encoding", None)
        headers.pop("Host")
        headers.pop("Connection", None)
        answer = self.server.exporter.get(self.path, headers)
        self.server.exchanges.append(Exchange(asked, answer.status, answer.headers))
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_):
        pass


Scene = collections.namedtuple("Scene", "exporter prometheus taps")


@pytest.fixture(scope="module", params=PROMETHEUS_VERSIONS)
def scene(request, dtb, prometheus_program, tmp_path_factory):
    """The Jetson Nano's exporter after Prometheus has scraped it twice by each tap."""
    program = prometheus_program(request.param, "prometheus")
    folder = tmp_path_factory.mktemp(f"prometheus-{request.param}")
    with contextlib.ExitStack() as stack:
        exporter = stack.enter_context(
            Exporter(f"--path.devicetree={dtb(BOARD)}", "-n", "gpu")
        )
        taps = {name: Tap(exporter, name == "gzip") for name in ENCODINGS}
        for tap in taps.values():
            stack.enter_context(tap)
            threading.Thread(target=tap.serve_forever, daemon=True).start()
            stack.callback(tap.shutdown)
        config = CONFIG.format(**{name: tap.port for name, tap in taps.items()})
        prometheus = stack.enter_context(Prometheus(program, folder, config))
        wait_until(
            lambda: len(prometheus.query("count_over_time(up[1m]) >= 2")) == len(taps),
            "two scrapes of each target",
            seconds=30,
        )
        yield Scene(exporter, prometheus, taps)


@pytest.fixture(params=ENCODINGS)
def encoding(request):
    return request.param


def test_the_target_is_up(scene, encoding):
    (labels, value), = scene.prometheus.query(f'up{{job="{encoding}"}}')
    targets = scene.prometheus.api("targets", state="active")["activeTargets"]
    error = [target["lastError"] for target in targets if target["labels"]["job"] == encoding]
    assert value == 1, error


def test_prometheus_asks_for_gzip_and_gets_it(scene):
    last = scene.taps["gzip"].exchanges[-1]
    assert "gzip" in last.accept_encoding
    assert last.headers["Content-Encoding"] == "gzip"


def test_who_asks_for_no_encoding_gets_none(scene):
    assert "Content-Encoding" not in scene.taps["plain"].exchanges[-1].headers


def test_the_accept_header_of_prometheus_gets_the_text_format(scene, encoding):
    for exchange in scene.taps[encoding].exchanges:
        assert exchange.status == 200
        assert exchange.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize(
    "series",
    [
        "devicetree_present",
        f'devicetree_info{{model="{BOARD_MODEL}",compatible="nvidia,jetson-nano"}}',
        'devicetree_compatible_info{path="/",compatible="nvidia,jetson-nano",position="0",'
        'label_key="beta.devicetree.org/nvidia-jetson-nano"}',
        'devicetree_compatible_info{path=~"/.+",compatible="nvidia,gm20b"}',
        'devicetree_node_enabled{path=~"/.*gpu@57000000"}',
        'devicetree_node_label_info{key="beta.devicetree.org/nvidia-gm20b",value="1"}',
        'devicetree_collector_success{collector="devicetree"}',
        "devicetree_exporter_build_info",
    ],
)
def test_the_series_is_there_and_is_1(scene, encoding, series):
    name, _, matchers = series.rstrip("}").partition("{")
    results = scene.prometheus.query(f'{name}{{job="{encoding}",{matchers}}}')
    assert [value for _, value in results] == [1], results


@pytest.mark.parametrize(
    "name",
    [
        "devicetree_collector_duration_seconds",
        "devicetree_fingerprint_info",
        "devicetree_node_labels_rejected",
        "devicetree_nodes",
        "devicetree_snapshot_timestamp_seconds",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
    ],
)
def test_the_family_is_there(scene, encoding, name):
    assert scene.prometheus.query(f'{name}{{job="{encoding}"}}')


def test_prometheus_takes_every_sample_that_the_reference_parser_sees(scene, encoding):
    seen = samples(scene.exporter.metrics())
    for family in ("scrape_samples_scraped", "scrape_samples_post_metric_relabeling"):
        (_, scraped), = scene.prometheus.query(f'{family}{{job="{encoding}"}}')
        assert scraped == len(seen)


def test_prometheus_knows_the_type_and_help_of_every_family(scene):
    known = scene.prometheus.api("targets/metadata", match_target='{job="gzip"}', limit="1000")
    # One sample name per family here: we have no histogram and no summary.
    told = {entry["metric"]: entry for entry in known}
    for sample in samples(scene.exporter.metrics()):
        assert told[sample.name]["type"] in ("gauge", "counter")
        assert told[sample.name]["help"]


# Every machine of tests/boards, the one without a devicetree too.


def samples(body):
    families = list(text_string_to_metric_families(body))
    return [sample for family in families for sample in family.samples]


@pytest.fixture(scope="module", params=board_names())
def body(request, machine):
    """What /metrics says on this machine, with the board's own flags."""
    with Exporter(*machine(request.param), *board_flags(request.param)) as exporter:
        yield exporter.metrics()


@pytest.mark.parametrize("version", PROMETHEUS_VERSIONS)
def test_promtool_check_metrics_has_nothing_to_say(body, prometheus_program, version):
    checked = subprocess.run(
        [prometheus_program(version, "promtool"), "check", "metrics"],
        input=body.encode(),
        capture_output=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_the_reference_parser_accepts_the_body(body):
    families = list(text_string_to_metric_families(body))
    for family in families:
        assert family.type in ("gauge", "counter"), family.name
        assert family.documentation, family.name
        assert family.samples, family.name
    names = [family.name for family in families]
    assert len(names) == len(set(names)), "a family stands in two places"


def test_no_series_comes_twice(body):
    series = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in samples(body)]
    assert [key for key, n in collections.Counter(series).items() if n > 1] == []


def test_the_inventory_has_an_order_of_its_own(body, machine, request):
    """The same machine gives the same lines in the same order: a diff shows a change."""
    board = request.node.callspec.params["body"]
    with Exporter(*machine(board), *board_flags(board)) as again:
        lines = [series_of(again.metrics()), series_of(body)]
    assert lines[0] == lines[1]


def series_of(body):
    return [line.rpartition(" ")[0] for line in body.splitlines() if not line.startswith("#")]


@pytest.fixture(scope="module", params=[name for name in board_names() if name != HOSTILE])
def default_body(request, machine):
    with Exporter(*machine(request.param)) as exporter:
        yield exporter.metrics()


def test_a_board_stays_within_the_series_budget(default_body):
    assert len(samples(default_body)) <= SERIES_BUDGET


@pytest.mark.parametrize("flavour, arch", [("arm64", "arm64"), ("armmp", "armhf")])
def test_every_board_of_debians_kernel_stays_within_the_series_budget(flavour, arch):
    """And is scraped at all: the parser accepts what each of these boards says."""
    blobs = sorted(debian.linux_image(flavour, arch).rglob("*.dtb"))
    assert len(blobs) > 500
    counts = {}
    for blob in blobs:
        with Exporter(f"--path.devicetree={blob}") as exporter:
            counts[blob.name] = len(samples(exporter.metrics()))
    assert {board: n for board, n in counts.items() if n > SERIES_BUDGET} == {}
