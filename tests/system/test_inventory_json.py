"""/inventory.json: every machine's against the schema, the oracle and the metrics beside it."""

import json
import os
import pathlib
import sys

import jsonschema
import pytest

from conftest import BOARDS, HOSTS, MACHINES, board_flags
from scraped import Row, accelerators, expected_rows, node_labels, samples

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/oracle"))

import expect
import fdt
import labels as oracle_labels

SCHEMA = json.loads((ROOT / "exporter/inventory.schema.json").read_text())
BLOBS = [name for name in MACHINES if (BOARDS / name / "board.dts").exists()]


def inventory_of(exporter):
    answer = exporter.get("/inventory.json")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    return json.loads(answer.body, parse_constant=pytest.fail)


@pytest.fixture(params=MACHINES)
def seen(request, serve):
    """(what /inventory.json answers, the body of /metrics) of each machine"""
    exporter = serve(request.param)
    return inventory_of(exporter), exporter.metrics()


def read_blob(name, dtb):
    """(its root, the patterns that its flags designate nodes with)"""
    option, *patterns = board_flags(name)
    assert option == "-n"
    return fdt.parse(dtb(name).read_bytes()), [os.fsencode(pattern) for pattern in patterns]


def texts(strings):
    return [expect.printable(string) for string in strings]


def subschemas(schema):
    yield schema
    for part in ("properties", "$defs"):
        for child in schema.get(part, {}).values():
            yield from subschemas(child)
    if "items" in schema:
        yield from subschemas(schema["items"])


def test_the_schema_itself_describes_every_field_and_allows_no_other():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for schema in subschemas(SCHEMA):
        if schema.get("type") == "object":
            assert schema["additionalProperties"] is False, schema
        for name, child in schema.get("properties", {}).items():
            assert child.get("description"), name


def test_it_is_as_the_schema_has_it(seen):
    inventory, _ = seen
    validator = jsonschema.Draft202012Validator(
        SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    assert [error.message for error in validator.iter_errors(inventory)] == []


def test_what_is_not_known_is_left_out(seen):
    inventory, _ = seen

    def values(json_value):
        yield json_value
        children = json_value.values() if isinstance(json_value, dict) else json_value
        if isinstance(json_value, (dict, list)):
            for child in children:
                yield from values(child)

    assert [value for value in values(inventory) if value in (None, "", -1)] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"unknown": 1},
        {"schema_version": 2},
        {"devicetree": {"present": True}},
        {"devicetree": {"present": False, "model": "none"}},
        {"labels": [{"key": "no-prefix", "value": "1", "from": ["/"]}]},
        {"rejected": [{"path": "/", "reason": "other", "detail": "?"}]},
        {"unrecognised_nodes": [{"path": "/npu", "compatible": ""}]},
        {"unrecognised_nodes": [{"path": "/npu", "compatible": "a\u0085b"}]},
        {"collectors": None},
    ],
)
def test_the_schema_itself_refuses_what_is_wrong(wrong, serve):
    inventory = inventory_of(serve("rock-5b"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(inventory | wrong, SCHEMA)


@pytest.mark.parametrize("name", BLOBS)
def test_a_board_is_what_the_oracle_reads(name, serve, dtb):
    root, patterns = read_blob(name, dtb)
    board = expect.all_labels(root, patterns)
    found = inventory_of(serve(name))
    statuses = [oracle_labels.effective_status(node) for node in root.walk()]
    assert found["devicetree"] == {
        "present": True,
        "model": expect.printable(fdt.string_of(root.properties[b"model"])),
        "compatible": texts(oracle_labels.compatibles(root)),
        "fingerprint": f"{expect.fingerprint(root):016x}",
        "nodes": {status: statuses.count(status) for status in expect.STATUSES},
    }
    assert [(label["key"], label["value"]) for label in found["labels"]] == [
        (key.decode(), value.decode()) for key, value in board.items()
    ]
    assert {
        entry["compatible"]: entry["reason"] for entry in found["rejected"] if "compatible" in entry
    } == {expect.printable(compatible): reason for compatible, reason in board.rejected.items()}
    assert [
        entry["path"] for entry in found["rejected"] if entry["reason"] == "malformed"
    ] == texts(board.malformed)
    designated = [node for node in oracle_labels.designated(root, patterns) if node is not root]
    assert [(node["path"], node["enabled"]) for node in found["designated_nodes"]] == [
        (expect.printable(node.path), oracle_labels.enabled(node)) for node in designated
    ]
    assert [
        [entry["compatible"] for entry in node.get("compatibles", [])]
        for node in found["designated_nodes"]
    ] == [texts(oracle_labels.compatibles(node) or []) for node in designated]
    assert [(entry["path"], entry["compatible"]) for entry in found["unrecognised_nodes"]] == [
        (expect.printable(node.path), expect.printable(oracle_labels.compatibles(node)[0]))
        for node in expect.accelerators.unrecognised(root)
    ]
    enabled = [root, *(node for node in designated if oracle_labels.enabled(node))]
    assert [label["from"] for label in found["labels"]] == [
        texts(sorted(places(key.removeprefix(oracle_labels.PREFIX), board, enabled, root)))
        for key, _ in board.items()
    ]


def places(name, board, nodes, root):
    """The nodes' paths and the enabled accelerators' addresses that give this label."""
    devices = [device for device in expect.accelerators.find(root)[0] if device.enabled]
    compatible = board.names[name]
    if compatible is None:  # accelerator.KIND, and more behind it
        _, kind, *more = name.decode().split(".")
        vendor = more[1] if more[:1] == ["vendor"] else None
        return {
            device.address
            for device in devices
            if device.kind == kind and vendor in (None, device.vendor)
        }
    has = lambda node: compatible in (oracle_labels.compatibles(node) or [])
    by_path = {node.path: node for node in root.walk()}
    return {node.path for node in nodes if has(node)} | {
        device.address for device in devices if any(has(by_path[path]) for path in device.paths)
    }


def rows(inventory):
    """The accelerators as a board's expected/accelerators.txt has them."""

    def text(value):
        if value is None:
            return "-"
        return str(int(value) if isinstance(value, bool) else value)

    return [
        Row(*[text(found.get(field)) for field in Row._fields])
        for found in inventory["accelerators"]
    ]


def test_its_accelerators_are_those_of_the_metrics(seen):
    inventory, metrics = seen
    assert rows(inventory) == accelerators(metrics)
    for found in inventory["accelerators"]:
        assert found["described"] is True
        assert found["compatible"] in found["compatibles"]
        assert found["ready"] <= found["bound"] <= found["enabled"]


@pytest.mark.parametrize("name", HOSTS)
def test_a_hosts_accelerators_are_the_expected_ones(name, serve):
    found = rows(inventory_of(serve(name)))
    assert found == expected_rows((BOARDS / name / "expected/accelerators.txt").read_text())


def test_its_labels_and_collectors_are_those_of_the_metrics(seen):
    inventory, metrics = seen
    assert {label["key"]: label["value"] for label in inventory["labels"]} == node_labels(metrics)
    (version,) = samples(metrics, "devicetree_exporter_build_info")
    assert inventory["build"] == version.labels
    for field, family in [
        ("success", "devicetree_collector_success"),
        ("skipped_devices", "devicetree_collector_skipped_devices"),
        ("duration_seconds", "devicetree_collector_duration_seconds"),
    ]:
        found = {sample.labels["collector"]: sample.value for sample in samples(metrics, family)}
        assert {entry["name"]: entry[field] for entry in inventory["collectors"]} == pytest.approx(
            found
        ), field


def test_a_machine_without_a_devicetree_says_so(serve):
    assert inventory_of(serve("pc"))["devicetree"] == {"present": False}


def test_a_snapshot_is_answered_with_the_same_bytes(serve):
    exporter = serve("hostile")
    first, second = (exporter.get("/inventory.json").body for _ in range(2))
    assert first == second
