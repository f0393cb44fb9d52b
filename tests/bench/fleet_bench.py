#!/usr/bin/env python3
"""What a fleet costs one Prometheus: series, samples, memory, and the time of the dashboard's queries.

    tests/bench/fleet_bench.py [--nodes 1000 10000] [--interval 60s] [--prometheus FILE]

Each step starts the fleet in a box (dashboards/fleet_in_a_box.py) with so many nodes and a real
Prometheus with the rules, waits until each node has been scraped twice, and asks each query
of the fleet dashboard: as it stands, and with each recorded series in it replaced by the expression
that records it, as it would be without the rules. Prints the table of dashboards/README.md. Of queries
it tells the processor time of Prometheus too, which says more on a machine that is busy with other things.

Environment: DTE_BINARY, the release build; DTE_PEERS, with the Kubernetes programs.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import sys
import tempfile
import time

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "dashboards"), str(ROOT / "tests/system")]

from fleet_in_a_box import JOB, Fleet

from control_plane import ControlPlane
from exporter import request, wait_until
from prometheus_server import API_SECONDS, Prometheus

RULES = [ROOT / f"dashboards/rules/{name}.yaml" for name in ("recording", "workloads", "alerts")]
REPEATS = 2
SCRAPES = 2


def queries():
    """[(title, expression, whether it is over time)] of the fleet dashboard, all variables at All."""
    dashboard = json.loads((ROOT / "dashboards/fleet.json").read_text())
    found = []
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            found.append((panel["title"], re.sub(r"\$\w+", ".*", target["expr"]), not target["instant"]))
    return found


def without_rules(expr, rules):
    """The expression with what is recorded in its place."""

    def raw(match):
        name, matchers = match[1], match[2] or ""
        its_rules = [rule for rule in rules if rule.get("record") == name]
        matching = [rule for rule in its_rules if all(f'{key}="{value}"' in matchers for key, value in rule.get("labels", {}).items())]
        # Of several rules, such as one for each kind, all that the selector leaves open.
        return "(" + " or ".join(f"({rule['expr'].strip()})" for rule in matching or its_rules) + ")"

    while (replaced := re.sub(r"\b([a-z_]+:[a-z_]+:[a-z0-9]+)(\{[^}]*\})?", raw, expr)) != expr:
        expr = replaced
    return expr


def ask(prometheus, expr, over_time):
    begin = time.monotonic()
    if over_time:
        prometheus.query_range(expr, time.time(), 600, 15)
    else:
        prometheus.query(expr)
    return time.monotonic() - begin


def processor_seconds(prometheus):
    fields = pathlib.Path(f"/proc/{prometheus.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(field) for field in fields[11:13]) / os.sysconf("SC_CLK_TCK")


def seconds(prometheus, asked):
    """Of all queries once: elapsed, of the processor, of the slowest alone, and which that is."""
    before = processor_seconds(prometheus)
    times = [min(ask(prometheus, expr, over) for _ in range(REPEATS)) for _, expr, over in asked]
    used = (processor_seconds(prometheus) - before) / REPEATS
    return sum(times), used, max(times), asked[times.index(max(times))][0]


def own_metrics(prometheus):
    host, port = prometheus.url.removeprefix("http://").split(":")
    text = request(host, int(port), "GET", "/metrics", seconds=API_SECONDS).body.decode()
    values = re.findall(r"^([a-z_]+)(?:\{[^}]*\})? (\S+)$", text, re.M)
    sums = {}
    for name, value in values:
        sums[name] = sums.get(name, 0) + float(value)
    return sums


def measure(program, nodes, interval):
    rules = [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
    asked = queries()
    raw = [(title, without_rules(expr, rules), over) for title, expr, over in asked]
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet-bench-")))
        for name in ("plane", "fleet", "prometheus"):
            (folder / name).mkdir()
        plane = stack.enter_context(ControlPlane(folder / "plane"))
        fleet = stack.enter_context(Fleet(folder / "fleet", nodes, plane))
        fleet.break_()
        config = fleet.configuration(f"{interval}s", RULES)
        prometheus = stack.enter_context(Prometheus(program, folder / "prometheus", config))
        done = lambda: prometheus.query(f'count(count_over_time(up{{job="{JOB}"}}[1h]) >= {SCRAPES})')
        wait_until(lambda: time.sleep(1) or done() == [({}, nodes)], "all nodes are scraped", SCRAPES * interval + 1800)
        before, begin = own_metrics(prometheus), time.monotonic()
        time.sleep(interval)
        after = own_metrics(prometheus)
        grown = lambda name: (after[name] - before[name]) / (time.monotonic() - begin)
        (_, up), = prometheus.query(f'sum(up{{job="{JOB}"}})')
        (_, slowest), = prometheus.query(f'max(scrape_duration_seconds{{job="{JOB}"}})')
        evaluation = max(
            float(group["evaluationTime"]) for group in prometheus.api("rules")["groups"]
        )
        row = {
            "nodes": nodes,
            "scraped": int(up),
            "series": int(after["prometheus_tsdb_head_series"]),
            "series per node": round(after["prometheus_tsdb_head_series"] / nodes),
            "samples/s": round(grown("prometheus_tsdb_head_samples_appended_total")),
            "RSS MiB": round(after["process_resident_memory_bytes"] / 2**20),
            "RSS KiB per node": round(after["process_resident_memory_bytes"] / nodes / 2**10),
            "cores": round(grown("process_cpu_seconds_total"), 2),
            "slowest scrape s": round(slowest, 2),
            "slowest rule group s": round(evaluation, 2),
        }
        for name, its in (("with rules", asked), ("without rules", raw)):
            total, used, most, title = seconds(prometheus, its)
            row[f"all queries {name} s"] = round(total, 2)
            row[f"of the processor {name} s"] = round(used, 2)
            row[f"slowest query {name} s"] = f"{most:.2f} ({title})"
        return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--interval", type=int, default=60, help="seconds between two scrapes of a node")
    parser.add_argument("--prometheus", default="/usr/bin/prometheus")
    args = parser.parse_args()
    rows = []
    for nodes in args.nodes:
        rows.append(measure(args.prometheus, nodes, args.interval))
        print(json.dumps(rows[-1], indent=1), flush=True)
    for name in rows[0]:
        print(f"| {name} | " + " | ".join(str(row[name]) for row in rows) + " |")


if __name__ == "__main__":
    main()
