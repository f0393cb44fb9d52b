"""deploy/ lets the exporter label its own node under its prefix, and no more.

A real API server, the manifests as shipped, those of kustomize and those of the Helm
chart, and the tokens that their pods get.
"""

import collections
import time

import pytest

from control_plane import NAME, PREFIX, ControlPlane
from exporter import wait_until

OWN, OTHER = "own-node", "other-node"
FOREIGN = "example.org/foreign"  # a label of OWN that is not ours
SECONDS = 30  # for a change of a role to take effect
ABSENCE_SECONDS = 2  # shows that nothing happens: the server learns of a change within a second

Request = collections.namedtuple("Request", "method path body type", defaults=["application/json"])


def apply(node, subresource="", prefix=PREFIX, metadata=None, **fields):
    """As the exporter sends it: one label under the prefix, where no metadata is given."""
    metadata = metadata or {"labels": {f"{prefix}nvidia-jetson-nano": "1"}}
    return Request(
        "PATCH",
        f"/{node}{subresource}?fieldManager={NAME}&force=false&fieldValidation=Strict",
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node, **metadata}, **fields},
        "application/apply-patch+yaml",
    )


def merge(metadata):
    """A merge patch of OWN."""
    return Request("PATCH", f"/{OWN}", {"metadata": metadata}, "application/merge-patch+json")


def send(plane, request, token):
    path = f"/api/v1/nodes{request.path}"
    return plane.request(
        request.method, path, request.body, token, headers={"Content-Type": request.type}
    )


@pytest.fixture(scope="module", params=["kustomize", "helm"])
def source(request):
    return request.param


def shipped(plane, source, watch=False):
    """What adds the labels, as YAML."""
    if source == "kustomize":
        return plane.manifests(*(["labels-watch"] if watch else []))
    return plane.chart(f"labels.watch={str(watch).lower()}")


@pytest.fixture(scope="module")
def fenced(tmp_path_factory, source):
    """A control plane with the manifests as shipped, and two nodes."""
    with ControlPlane(tmp_path_factory.mktemp("fence")) as plane:
        plane.create_node(OWN, {FOREIGN: "1"})
        plane.create_node(OTHER)
        if source == "helm":
            plane.kubectl("create", "namespace", NAME)
        plane.deploy(shipped(plane, source))
        yield plane


@pytest.fixture(scope="module")
def token(fenced):
    """Of the exporter's pod on OWN."""
    return fenced.node_token(OWN)


@pytest.fixture
def all_rights(fenced, token):
    """Somebody gave every ServiceAccount every right: only the fence is left."""
    has_them = lambda: fenced.request("GET", "/api/v1/secrets", token=token)[0] == 200
    fenced.kubectl(
        *("create", "clusterrolebinding", "all-rights", "--clusterrole=cluster-admin"),
        "--group=system:serviceaccounts",
    )
    wait_until(has_them, "the rights are in force", SECONDS)
    yield
    fenced.kubectl("delete", "clusterrolebinding", "all-rights")
    wait_until(lambda: not has_them(), "the rights are gone", SECONDS)


def assert_denied(plane, token, asked, said):
    before = plane.node(OWN), plane.node(OTHER)
    status, answer = send(plane, asked, token)
    assert status == 403, answer
    assert answer["reason"] == "Forbidden"
    assert said in answer["message"]
    assert (plane.node(OWN), plane.node(OTHER)) == before


def test_allows_labels_under_the_prefix_on_the_own_node(fenced, token):
    status, answer = send(fenced, apply(OWN), token)
    assert status == 200, answer
    assert fenced.labels(OWN) == {f"{PREFIX}nvidia-jetson-nano": "1"}


def test_allows_removing_what_others_set_under_the_prefix(fenced, token):
    """What --cleanup does with the labels of the predecessor."""
    old = f"{PREFIX}nvidia-tegra210"
    fenced.kubectl("label", "node", OWN, f"{old}=1")
    status, answer = send(fenced, merge({"labels": {old: None}}), token)
    assert status == 200, answer
    assert old not in fenced.labels(OWN)


ROLE = "node-role.kubernetes.io/control-plane"
ALIKE = ["beta.devicetree.org.evil/x", "xbeta.devicetree.org/x", "beta.devicetree.org"]
TAINT = {"key": "example.org/x", "effect": "NoExecute"}
OWNER = {"apiVersion": "v1", "kind": "Node", "name": OTHER, "uid": "1"}
OTHER_NODE = f"only change the node that its pod runs on: {OWN}"
SPEC = "a node's spec or status"
METADATA = "a node's annotations, finalizers, generateName or owners"
# What is asked for, and what the answer says.
DENIED = {
    "another node": (apply(OTHER), OTHER_NODE),
    "a role": (apply(OWN, metadata={"labels": {ROLE: "1"}}), f"under {PREFIX}, not {ROLE}"),
    **{
        f"not the prefix: {key}": (
            apply(OWN, metadata={"labels": {key: "1"}}),
            f"under {PREFIX}, not {key}",
        )
        for key in ALIKE
    },
    "ours and a role": (merge({"labels": {f"{PREFIX}x": "1", ROLE: "1"}}), f"not {ROLE}"),
    "changing a label": (merge({"labels": {FOREIGN: "2"}}), f"not {FOREIGN}"),
    "removing a label": (merge({"labels": {FOREIGN: None}}), f"not {FOREIGN}"),
    "removing all labels": (merge({"labels": None}), f"not {FOREIGN}"),
    "unschedulable": (apply(OWN, spec={"unschedulable": True}), SPEC),
    "a taint": (apply(OWN, spec={"taints": [TAINT]}), SPEC),
    "an annotation": (apply(OWN, metadata={"annotations": {f"{PREFIX}x": "1"}}), METADATA),
    "a finalizer": (merge({"finalizers": ["example.org/x"]}), METADATA),
    "an owner": (merge({"ownerReferences": [OWNER]}), METADATA),
    "a generateName": (merge({"generateName": "x"}), METADATA),
    "the status": (apply(OWN, "/status"), 'cannot patch resource "nodes/status"'),
    "a node that is not there": (apply("no-node"), 'cannot create resource "nodes"'),
    "update": (Request("PUT", f"/{OWN}", {}), 'cannot update resource "nodes"'),
}


@pytest.mark.parametrize("asked, said", DENIED.values(), ids=DENIED)
def test_denies(fenced, token, asked, said):
    assert_denied(fenced, token, asked, said)


def test_denies_a_token_that_is_bound_to_no_pod(fenced):
    unbound = fenced.service_account_token()
    assert_denied(fenced, unbound, apply(OWN), "its token is bound to no pod")


ONLY_UPDATE = "only update a node, and no subresource"
DENIED_TO_ALL_RIGHTS = {
    "another node": (apply(OTHER), OTHER_NODE),
    "the status": (apply(OWN, "/status"), ONLY_UPDATE),
    "a node that is not there": (apply("no-node"), ONLY_UPDATE),
    "create": (Request("POST", "", {"metadata": {"name": "no-node"}}), ONLY_UPDATE),
    "delete": (Request("DELETE", f"/{OWN}", None), ONLY_UPDATE),
    "delete all": (Request("DELETE", "", None), ONLY_UPDATE),
    "the kubelet": (Request("GET", f"/{OWN}/proxy/pods", None), ONLY_UPDATE),
}


@pytest.mark.usefixtures("all_rights")
@pytest.mark.parametrize("asked, said", DENIED_TO_ALL_RIGHTS.values(), ids=DENIED_TO_ALL_RIGHTS)
def test_denies_whatever_the_rights(fenced, token, asked, said):
    assert_denied(fenced, token, asked, said)


@pytest.mark.usefixtures("all_rights")
def test_holds_in_every_namespace(fenced):
    elsewhere = fenced.node_token(OWN, namespace="elsewhere")
    assert_denied(fenced, elsewhere, apply(OTHER), OTHER_NODE)


@pytest.mark.usefixtures("all_rights")
def test_holds_for_nobody_else(fenced):
    somebody = fenced.service_account_token("somebody")
    status, answer = send(fenced, merge({"annotations": {"example.org/x": "1"}}), somebody)
    assert status == 200, answer


def test_nobody_else_is_denied_when_the_namespace_is_gone(fenced, token):
    """The fence stands without it, and is in no kubelet's way."""
    path = f"/api/v1/namespaces/{NAME}/configmaps/{NAME}"
    shipped_configmap = fenced.request("GET", path)[1]
    assert fenced.request("DELETE", path)[0] == 200
    try:
        time.sleep(ABSENCE_SECONDS)
        assert_denied(fenced, token, apply(OTHER), OTHER_NODE)
        fenced.kubectl("label", "node", OTHER, "example.org/x=1")
        fenced.kubectl("label", "node", OTHER, "example.org/x-")
    finally:
        del shipped_configmap["metadata"]["resourceVersion"]
        assert fenced.request("POST", path.removesuffix(f"/{NAME}"), shipped_configmap)[0] == 201


def test_stands_again_when_it_is_removed_and_installed_again(fenced, token, source):
    manifests = shipped(fenced, source)
    fenced.kubectl(
        *("delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", NAME)
    )
    fenced.deploy(manifests)
    test_allows_labels_under_the_prefix_on_the_own_node(fenced, token)
    assert_denied(fenced, token, apply(OTHER), OTHER_NODE)


def rights(plane, token):
    """The (verb, resource) that RBAC allows."""
    body = {"spec": {"namespace": NAME}}
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    _, answer = plane.request("POST", path, body, token)
    rules = answer["status"]["resourceRules"]
    return {(verb, resource) for rule in rules for verb in rule["verbs"] for resource in rule["resources"]}


def test_the_rights_are_to_get_and_to_patch(fenced, token):
    of_every_service_account = rights(fenced, fenced.service_account_token("somebody"))
    # Kubernetes' own (system:basic-user, system:cluster-trust-bundle-discovery), and none of ours.
    kubernetes_own = {"selfsubjectaccessreviews", "selfsubjectreviews", "selfsubjectrulesreviews", "clustertrustbundles"}
    assert {resource for _, resource in of_every_service_account} <= kubernetes_own
    assert rights(fenced, token) - of_every_service_account == {("get", "nodes"), ("patch", "nodes")}


def test_the_watch_adds_list_and_watch(fenced, token, source):
    before = rights(fenced, token)
    fenced.apply(shipped(fenced, source, watch=True))
    wait_until(lambda: rights(fenced, token) != before, "the role is in force", SECONDS)
    assert rights(fenced, token) - before == {("list", "nodes"), ("watch", "nodes")}
    name = f"{NAME}-labels-watch"
    fenced.kubectl("delete", f"clusterrole/{name}", f"clusterrolebinding/{name}")
    wait_until(lambda: rights(fenced, token) == before, "the role is gone", SECONDS)
