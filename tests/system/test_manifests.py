"""deploy/kubernetes and the Helm chart are the same thing, and a real API server takes it.

kubectl's kustomize, helm, and a kube-apiserver that knows PodMonitors and PrometheusRules.
"""

import collections
import copy
import os
import pathlib
import re

import pytest
import yaml

from control_plane import CHART, DEPLOY, NAME

Case = collections.namedtuple("Case", "overlay components values", defaults=[[], []])
CASES = {
    "default": Case("default"),
    "metrics-only": Case("metrics-only", values=["labels.via=none"]),
    "nfd": Case("nfd", values=["labels.via=nfd"]),
    "watch": Case("default", ["labels-watch"], ["labels.watch=true"]),
    "pod-monitor": Case("default", ["pod-monitor"], ["podMonitor.enabled=true"]),
    "prometheus-rule": Case("default", ["prometheus-rule"], ["prometheusRule.enabled=true"]),
    "network-policy": Case("default", ["network-policy"], ["networkPolicy.enabled=true"]),
    "all metrics": Case(
        "metrics-only",
        ["pod-monitor", "prometheus-rule", "network-policy"],
        [
            *("labels.via=none", "podMonitor.enabled=true"),
            *("prometheusRule.enabled=true", "networkPolicy.enabled=true"),
        ],
    ),
}
VOLUMES = '(volumes "firmware", "devices", "class", "bus"'  # as the API server writes them
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def parsed(text):
    return [found for found in yaml.safe_load_all(text) if found]


def by_name(objects):
    named = {
        (found["kind"], found["metadata"].get("namespace"), found["metadata"]["name"]): found
        for found in objects
    }
    assert len(named) == len(objects)
    return named


def dump(objects):
    return yaml.safe_dump_all(objects)


def daemonset(objects):
    (found,) = [found for found in objects if found["kind"] == "DaemonSet"]
    return found


def template(plane, *flags, namespace=NAME):
    """(status, stdout, stderr) of `helm template`."""
    ended = plane.run("helm", "template", NAME, CHART, f"--namespace={namespace}", *flags)
    return ended.returncode, ended.stdout, ended.stderr


@pytest.fixture(scope="module")
def plane(control_plane):
    """With PodMonitors and PrometheusRules, and with our namespace as shipped."""
    peers = pathlib.Path(os.environ["DTE_PEERS"]).resolve()
    crds = [f"-f={peers}/monitoring.coreos.com_{kind}.yaml" for kind in ("podmonitors", "prometheusrules")]
    control_plane.kubectl("create", *crds)
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", *crds)
    manifests = parsed(control_plane.manifests(overlay="metrics-only"))
    control_plane.apply(dump([found for found in manifests if found["kind"] == "Namespace"]))
    yield control_plane
    control_plane.kubectl("delete", "namespace", NAME, "--wait=false")
    control_plane.kubectl("delete", *crds, "--wait=false")


# Kustomize and Helm.


@each_case
def test_the_chart_has_the_objects_of_kustomize(plane, case):
    """All but the namespace, which is Helm's own to create."""
    kustomize = by_name(parsed(plane.manifests(*case.components, overlay=case.overlay)))
    assert kustomize.pop(("Namespace", None, NAME))
    assert by_name(parsed(plane.chart(*case.values))) == kustomize


@pytest.mark.parametrize("name", ["default", "watch", "nfd"])
def test_the_chart_cleans_up_as_kustomize_does(plane, name):
    case = CASES[name]
    components = [*case.components, "cleanup"]
    expected = daemonset(parsed(plane.manifests(*components, overlay=case.overlay)))
    _, everything, _ = template(plane, *(f"--set={value}" for value in case.values))
    hooks = [o for o in parsed(everything) if "helm.sh/hook" in o["metadata"].get("annotations", {})]
    found = daemonset(hooks)
    del found["metadata"]["annotations"]
    assert found == expected
    assert sorted(hook["kind"] for hook in hooks) == sorted(
        ["DaemonSet", "Job", "Role", "RoleBinding", "ServiceAccount"]
    )


def test_the_overlay_for_clean_up_is_the_default_one_with_its_component(plane):
    expected = parsed(plane.manifests("cleanup"))
    assert parsed(plane.manifests(overlay="cleanup")) == expected


def test_what_cleans_up_is_what_wrote(plane):
    """In all but its name, and that it ends."""
    for name in ["default", "watch", "nfd"]:
        case = CASES[name]
        render = lambda *more: daemonset(
            parsed(plane.manifests(*case.components, *more, overlay=case.overlay))
        )["spec"]["template"]["spec"]
        (wrote,) = render()["containers"]
        (cleans,) = render("cleanup")["initContainers"]
        for field in ["ports", "readinessProbe", "livenessProbe"]:
            del wrote[field]
        assert cleans == {**wrote, "name": "cleanup", "args": [*wrote["args"], "--cleanup"]}
        (stays,) = render("cleanup")["containers"]
        base = daemonset(parsed(plane.manifests(overlay="metrics-only")))
        assert stays["args"] == base["spec"]["template"]["spec"]["containers"][0]["args"]


def test_nothing_is_cleaned_up_where_it_is_switched_off_or_nothing_is_written(plane):
    for value in ["cleanup.enabled=false", "labels.via=none"]:
        code, text, _ = template(plane, f"--set={value}")
        assert code == 0
        assert "helm.sh/hook" not in text
        assert "--cleanup" not in text


def test_the_chart_follows_its_namespace(plane):
    monitoring = "podMonitor.enabled=true,prometheusRule.enabled=true"
    everything = [f"--set={monitoring},networkPolicy.enabled=true,labels.watch=true"]
    _, here, _ = template(plane, *everything)
    _, elsewhere, _ = template(plane, *everything, namespace="elsewhere")
    moved = re.sub(f"(namespace: |--namespace=){NAME}\\b", r"\1elsewhere", here)
    assert here != moved
    assert parsed(moved) == parsed(elsewhere)


def test_the_fence_has_the_prefix_of_the_configmap(plane):
    """With kustomize: of the file in base/, or of what a component before labels makes of it."""
    folder = plane.folder / "prefix"
    (folder / "component").mkdir(parents=True)
    path = os.path.relpath(DEPLOY / "kubernetes", folder.resolve())
    change = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": NAME}}
    (folder / "component/kustomization.yaml").write_text(
        yaml.safe_dump(
            {
                "apiVersion": "kustomize.config.k8s.io/v1alpha1",
                "kind": "Component",
                "patches": [{"patch": yaml.safe_dump({**change, "data": {"prefix": "example.org"}})}],
            }
        )
    )
    components = [f"{path}/components/namespace", "component", f"{path}/components/labels"]
    (folder / "kustomization.yaml").write_text(
        yaml.safe_dump({"resources": [f"{path}/base"], "components": components})
    )
    kustomize = by_name(parsed(plane.kubectl("kustomize", folder)))
    (policy,) = [o for (kind, *_), o in kustomize.items() if kind == "ValidatingAdmissionPolicy"]
    assert policy["spec"]["variables"][0]["expression"] == "'example.org' + '/'"
    del kustomize[("Namespace", None, NAME)]
    assert by_name(parsed(plane.chart("labels.prefix=example.org"))) == kustomize


def test_one_version_everywhere(plane):
    project = (DEPLOY.parent / "CMakeLists.txt").read_text()
    version = re.search(r"project\(\S+\s+VERSION (\S+)", project)
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    image = re.findall(r"image: (\S+)", plane.manifests())
    assert (chart["version"], chart["appVersion"]) == (version[1], version[1])
    assert image == [f"{NAME}:{version[1]}"]


def test_one_line_moves_every_image(plane):
    """`images:` of a kustomization, image.repository of the chart."""
    folder = plane.folder / "images"
    folder.mkdir()
    path = os.path.relpath(DEPLOY / "kubernetes/overlays/cleanup", folder.resolve())
    moved = "registry.example.org/hardware/devicetree-exporter"
    (folder / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {"resources": [path], "images": [{"name": NAME, "newName": moved, "newTag": "1.2.3"}]}
        )
    )
    kustomize = re.findall(r"image: (\S+)", plane.kubectl("kustomize", folder))
    _, chart, _ = template(plane, f"--set=image.repository={moved},image.tag=1.2.3")
    assert kustomize == [f"{moved}:1.2.3"] * 2
    ours = [image for image in re.findall(r"image: (\S+)", chart) if "kubectl" not in image]
    assert ours == [f"{moved}:1.2.3"] * 3
    digest = "sha256:" + "0" * 64
    _, chart, _ = template(plane, "--no-hooks", f"--set=image.repository={moved},image.digest={digest}")
    assert set(re.findall(r"image: (\S+)", chart)) == {f"{moved}@{digest}"}


# The chart's values.


def test_helm_lint_has_nothing_to_say(plane):
    said = plane.helm("lint", "--strict", CHART)
    assert "1 chart(s) linted, 0 chart(s) failed" in said
    assert "[WARNING]" not in said and "[ERROR]" not in said


# What is given, and what the answer names.
WRONG = {
    "label.via=none": "'label' not allowed",
    "labels.vias=none": "'vias' not allowed",
    "labels.via=api": "/labels/via",
    "labels.watch=1": "/labels/watch",
    "labels.prefix=Example.org": "/labels/prefix",
    "labels.prefix=example.org/x": "/labels/prefix",
    "labels.prefix=": "/labels/prefix",
    "labels.nodes=gpu": "/labels/nodes",
    "labels.watch=true,labels.via=nfd": "/labels/via",
    "image.repository=https://example.org/x": "/image/repository",
    "image.tag=a b": "/image/tag",
    "image.digest=0123": "/image/digest",
    "image.pullPolicy=Sometimes": "/image/pullPolicy",
    "image.name=x": "'name' not allowed",
    "cleanup.enabled=no-thanks": "/cleanup/enabled",
    "podMonitor.enabled=1": "/podMonitor/enabled",
    "prometheusRule.enabled=1": "/prometheusRule/enabled",
    "networkPolicy.apiServerPorts={0}": "/networkPolicy/apiServerPorts/0",
    "extraArgs={log.format=json}": "/extraArgs/0",
    "resources.limit.memory=1Gi": "'limit' not allowed",
    "nodeSelector.x=1": "/nodeSelector/x",
}


@pytest.mark.parametrize("value, named", WRONG.items(), ids=WRONG)
def test_a_wrong_value_is_refused_by_name(plane, value, named):
    code, _, said = template(plane, f"--set={value}")
    assert code != 0
    assert named in said


def test_the_values_as_they_stand_are_named_in_the_schema(plane):
    """So that a value that is added there cannot be forgotten here."""
    code, _, said = template(plane, f"--values={CHART}/values.yaml")
    assert code == 0, said


def test_values_reach_the_pod(plane):
    values = {
        "labels.nodes": "{gpu,npu*}",
        "extraArgs": "{--log.format=json,--labels.value=count}",
        "podAnnotations.a": "b",
        "priorityClassName": "system-node-critical",
        "image.pullSecrets[0].name": "s",
        "image.pullPolicy": "Always",
        "nodeSelector.example\\.org/pool": "edge",
    }
    made = daemonset(parsed(plane.chart(*(f"{key}={value}" for key, value in values.items()))))
    pod = made["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    given = ["--labels.nodes=gpu", "--labels.nodes=npu*", "--log.format=json", "--labels.value=count"]
    assert container["args"][-4:] == given
    assert container["imagePullPolicy"] == "Always"
    assert pod["metadata"]["annotations"] == {"a": "b"}
    assert pod["spec"]["priorityClassName"] == "system-node-critical"
    assert pod["spec"]["imagePullSecrets"] == [{"name": "s"}]
    assert pod["spec"]["nodeSelector"] == {"kubernetes.io/os": "linux", "example.org/pool": "edge"}


# The API server.


def dry_run(plane, text):
    """`kubectl apply`, with the server's every check but without a change."""
    return plane.run(
        "kubectl", *("apply", "--dry-run=server", "--validate=strict", "-f", "-"), input=text
    )


@each_case
@pytest.mark.parametrize("source", ["kustomize", "helm"])
def test_the_server_takes_every_field(plane, case, source):
    if source == "kustomize":
        text = plane.manifests(*case.components, overlay=case.overlay)
    else:
        text = template(plane, *(f"--set={value}" for value in case.values))[1]
    ended = dry_run(plane, text)
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout.splitlines()) == len(parsed(text))


def test_the_server_takes_the_clean_up(plane):
    ended = dry_run(plane, plane.manifests(overlay="cleanup"))
    assert ended.returncode == 0, ended.stderr


def test_the_server_refuses_a_field_that_it_does_not_know(plane):
    objects = parsed(plane.manifests("pod-monitor", "prometheus-rule"))
    for found in objects:
        if found["kind"] in ["DaemonSet", "PodMonitor", "PrometheusRule"]:
            wrong = copy.deepcopy(found)
            wrong["spec"]["selektor"] = {}
            ended = dry_run(plane, dump([wrong]))
            assert ended.returncode != 0
            assert 'unknown field "spec.selektor"' in ended.stderr


# Pod Security.


def warnings(plane, text):
    """What the server says of pods that do not meet the level "restricted"."""
    ended = dry_run(plane, text)
    assert ended.returncode == 0, ended.stderr
    said = re.findall(r'would violate PodSecurity "restricted:latest": (.*)', ended.stderr)
    return said, ended.stderr.count("Warning:")


@pytest.mark.parametrize("source", ["kustomize", "helm"])
@pytest.mark.parametrize("name", ["default", "metrics-only", "watch"])
def test_only_the_hostpath_volumes_are_more_than_restricted_allows(plane, name, source):
    case = CASES[name]
    text = (
        plane.manifests(*case.components, overlay=case.overlay)
        if source == "kustomize"
        else plane.chart(*case.values)
    )
    said, count = warnings(plane, text)
    assert said == [f'restricted volume types {VOLUMES} use restricted volume type "hostPath")']
    assert count == 1


def test_what_cleans_up_has_no_more_than_what_wrote(plane):
    said, _ = warnings(plane, plane.manifests(overlay="cleanup"))
    assert said == [f'restricted volume types {VOLUMES} use restricted volume type "hostPath")']


def test_the_job_that_waits_is_restricted(plane):
    _, text, _ = template(plane)
    jobs = [found for found in parsed(text) if found["kind"] == "Job"]
    assert len(jobs) == 1
    assert warnings(plane, dump(jobs)) == ([], 0)


def test_with_nfd_uid_0_is_all_else(plane):
    ((said,), _) = warnings(plane, plane.manifests(overlay="nfd"))
    features = VOLUMES.replace(', "class", "bus"', ', "class", "bus", "features"')
    assert said == (
        f'restricted volume types {features} use restricted volume type "hostPath"), '
        "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false), "
        "runAsUser=0 (pod must not set runAsUser=0)"
    )


def test_another_level_would_refuse_the_pod(plane):
    """That is why the namespace says privileged."""
    pod = daemonset(parsed(plane.manifests()))["spec"]["template"]
    body = {"apiVersion": "v1", "kind": "Pod", **pod}
    body["metadata"]["name"] = "x"
    answers = {}
    for level in ["privileged", "baseline"]:
        namespace = f"level-{level}"
        plane.kubectl("create", "namespace", namespace)
        label = f"pod-security.kubernetes.io/enforce={level}"
        plane.kubectl("label", "namespace", namespace, label)
        path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
        answers[level] = plane.request("POST", path, body)
        plane.kubectl("delete", "namespace", namespace, "--wait=false")
    assert answers["privileged"][0] == 201, answers
    status, answer = answers["baseline"]
    assert status == 403
    assert f"hostPath volumes {VOLUMES}" in answer["message"]
