"""The rules of dashboards/rules, by promtool of both generations: good, and doing what they say.

That they find what is wrong on a scraped fleet: test_dashboards.py.
"""

import pathlib
import re
import subprocess

import pytest
import yaml

import kube_state_metrics
from conftest import PROMETHEUS_VERSIONS

DASHBOARDS = pathlib.Path(__file__).resolve().parents[2] / "dashboards"
FILES = [DASHBOARDS / f"rules/{name}.yaml" for name in ("recording", "workloads", "alerts")]
RULES = [rule for path in FILES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
TESTS = yaml.safe_load((DASHBOARDS / "rules/tests.yaml").read_text())["tests"]
each_version = pytest.mark.parametrize("version", PROMETHEUS_VERSIONS)


@each_version
def test_promtool_has_nothing_to_say(prometheus_program, version):
    command = [prometheus_program(version, "promtool"), "check", "rules", "--lint=all", "--lint-fatal", *FILES]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout


@each_version
def test_the_rules_pass_their_unit_tests(prometheus_program, version):
    command = [prometheus_program(version, "promtool"), "test", "rules", DASHBOARDS / "rules/tests.yaml"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_each_alert_is_tested_for_firing_and_for_not_firing():
    fires = {}
    for test in TESTS:
        for case in test.get("alert_rule_test", []):
            fires.setdefault(case["alertname"], set()).add(bool(case["exp_alerts"]))
    assert fires == dict.fromkeys(ALERTS, {True, False})


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_has_a_severity_and_a_runbook(name):
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    path, anchor = alert["annotations"]["runbook_url"].split("#")
    assert path == "dashboards/README.md"
    assert anchor == name.lower()
    runbook = re.search(rf"^### {name}$\n(.*?)(?=^##)", (DASHBOARDS / "README.md").read_text(), re.M | re.S)
    assert runbook, f"no section '### {name}' in dashboards/README.md"
    assert "What to do" in runbook[1]
    assert f"`{alert['labels']['severity']}`" in runbook[1]


# The stand-in for kube-state-metrics says what the real one's documentation and tests say.


def test_names_are_folded_as_kube_state_metrics_does():
    names = {"beta.devicetree.org/accelerator.gpu": "1", "a/b": "2", "a.b": "3", "fooBar-v2": "4"}
    assert kube_state_metrics.folded_map("nodeselector", names) == {
        "nodeselector_beta_devicetree_org_accelerator_gpu": "1",
        "nodeselector_a_b_conflict1": "3",  # in the order of the names
        "nodeselector_a_b_conflict2": "2",
        "nodeselector_foo_bar_v2": "4",
    }


def test_its_samples_are_those_of_kube_state_metrics():
    node = {
        "metadata": {"name": "127.0.0.1", "labels": {"type": "master"}},
        "spec": {"providerID": "provider://i-uniqueid", "podCIDR": "172.24.10.0/24"},
        "status": {
            "nodeInfo": {"kernelVersion": "kernel", "kubeletVersion": "kubelet", "osImage": "osimage"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
    pod = {
        "metadata": {"name": "pod1", "namespace": "ns1", "uid": "uid1"},
        "spec": {"nodeSelector": {"a": "b"}, "nodeName": "node1"},
        "status": {"phase": "Running"},
    }
    text = kube_state_metrics.render_objects([node], [pod])
    for line in [
        'kube_node_labels{node="127.0.0.1",label_type="master"} 1',
        'kube_node_status_condition{node="127.0.0.1",condition="Ready",status="true"} 1',
        'kube_node_status_condition{node="127.0.0.1",condition="Ready",status="false"} 0',
        'kube_node_status_condition{node="127.0.0.1",condition="Ready",status="unknown"} 0',
        'kube_pod_nodeselectors{namespace="ns1",pod="pod1",uid="uid1",nodeselector_a="b"} 1',
        'kube_pod_status_phase{namespace="ns1",pod="pod1",uid="uid1",phase="Running"} 1',
        'kube_pod_status_phase{namespace="ns1",pod="pod1",uid="uid1",phase="Pending"} 0',
    ]:
        assert line in text.splitlines(), line
    (info,) = re.findall(r"^kube_pod_info\{(.*)\} 1$", text, re.M)
    labels = "created_by_kind created_by_name host_ip host_network namespace node pod pod_ip priority_class uid"
    assert sorted(re.findall(r'(\w+)="', info)) == labels.split()
