"""What a body of /metrics says about accelerators and labels."""

import collections

from prometheus_client.parser import text_string_to_metric_families

PREFIX = "beta.devicetree.org/"
LADDER = ["enabled", "bound", "ready"]
INFO = ["vendor", "model", "compatible", "driver", "numa_node"]

# A line of a board's expected/accelerators.txt: "-" is not known, the steps are "0" or "1".
Row = collections.namedtuple("Row", ["kind", "bus", "address", *INFO, *LADDER])


def expected_rows(text):
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return [Row(*line) for line in lines]


def samples(body, name):
    return [s for family in text_string_to_metric_families(body) for s in family.samples if s.name == name]


def accelerators(body):
    """The Rows, by bus and address."""
    steps = {}
    for step in LADDER:
        for sample in samples(body, f"accelerator_{step}"):
            assert set(sample.labels) == {"kind", "bus", "address"}, sample
            key = tuple(sample.labels[name] for name in ("kind", "bus", "address"))
            steps[step, *key] = f"{sample.value:g}"
    rows = []
    for sample in samples(body, "accelerator_info"):
        assert sample.value == 1
        assert "" not in [sample.labels.get(name) for name in INFO], f"left out, not empty: {sample}"
        key = [sample.labels[name] for name in ("kind", "bus", "address")]
        info = [sample.labels.get(name, "-") for name in INFO]
        found = [steps.pop((step, *key), "no sample") for step in LADDER]
        rows.append(Row(*key, *info, *found))
    assert not steps, f"a ladder without an accelerator_info: {steps}"
    return sorted(rows, key=lambda row: (row.bus, row.address))


def node_labels(body):
    return {s.labels["key"]: s.labels["value"] for s in samples(body, "devicetree_node_label_info")}


def accelerator_labels(body):
    """The node labels accelerator.*, without the prefix."""
    names = {key.removeprefix(PREFIX): value for key, value in node_labels(body).items()}
    return {name: value for name, value in names.items() if name.startswith("accelerator.")}
