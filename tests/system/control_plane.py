"""A Kubernetes control plane without nodes: etcd, kube-apiserver, kube-scheduler, controllers.

The programs are those that tests/peers/build put into $DTE_PEERS. There is no
kubelet: a Node is what a test creates, with its status, and stays as it is; a Pod
never runs, unless kubelet.py runs it. Without start_controllers() nothing makes Pods
of a DaemonSet, and nothing is garbage-collected. All listen on loopback.

Needs openssl, for certificates.
"""

import base64
import collections
import contextlib
import http.client
import ipaddress
import json
import os
import pathlib
import secrets
import signal
import socket
import ssl
import subprocess

from exporter import wait_until

START_SECONDS = 120  # 3 s here; generous for a busy CI machine
REQUEST_SECONDS = 30
LOG_TAIL_BYTES = 4000

DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy"
MANIFESTS = DEPLOY / "kubernetes"
CHART = DEPLOY / "helm/devicetree-exporter"

PREFIX = "beta.devicetree.org/"
NAME = "devicetree-exporter"  # of the exporter's namespace and of its ServiceAccount

Certificate = collections.namedtuple("Certificate", "file key")  # paths of PEM files


def make_ca(folder, name="ca", signer=None):
    """A certificate authority of its own, or below that one, to sign with issue_certificate()."""
    return _certificate(
        pathlib.Path(folder),
        name,
        subject=f"/CN={name}",
        days=2,
        extensions=[
            "basicConstraints = critical, CA:TRUE",
            "keyUsage = critical, keyCertSign, cRLSign",
            "subjectKeyIdentifier = hash",
        ],
        ca=signer,
    )


def issue_certificate(ca, folder, name, hosts=(), days=2, organizations=(), names=()):
    """A certificate for the server on these hosts, or for the client called name.

    hosts are DNS names and IP addresses, names others such as "URI:spiffe://x". Kubernetes takes organizations as the
    groups of the user called name. days=-1: it expired a day ago.
    """
    names = [*(f"{'IP' if _is_address(host) else 'DNS'}:{host}" for host in hosts), *names]
    return _certificate(
        pathlib.Path(folder),
        name,
        subject="".join(f"/O={organization}" for organization in organizations) + f"/CN={name}",
        days=days,
        extensions=[
            "basicConstraints = critical, CA:FALSE",
            "keyUsage = critical, digitalSignature",
            "extendedKeyUsage = serverAuth, clientAuth",
            "authorityKeyIdentifier = keyid",
            *([f"subjectAltName = {', '.join(names)}"] if names else []),
        ],
        ca=ca,
    )


def program(name):
    """The path of a program that tests/peers/build made."""
    assert "DTE_PEERS" in os.environ, "DTE_PEERS is not set; see tests/peers/build"
    path = pathlib.Path(os.environ["DTE_PEERS"]).resolve() / name
    assert path.exists(), f"{path} is not there: tests/peers/build kubernetes {path.parent}"
    return str(path)


class ControlPlane:
    """etcd and kube-apiserver, running; a context manager.

    folder is empty and takes all that they write. flags are added to kube-apiserver's.
    hosts: by what other names clients call it, for its certificate.

    server, host, port   where the API is; ca_file verifies it
    ca                   signs client certificates that the API accepts
    admin_token          may do everything
    """

    def __init__(self, folder, *flags, hosts=()):
        self.folder = pathlib.Path(folder)
        self.host = "127.0.0.1"
        self.ca = make_ca(self.folder)
        self.ca_file = self.ca.file
        self.admin_token = secrets.token_hex(16)
        self._flags = flags
        self._hosts = hosts
        self._processes = {}

    def __enter__(self):
        # A port that we hold, bound but not listening, is refused to clients while its
        # server is down, and goes to nobody else: both servers are told to share theirs.
        self._ports = [socket.socket() for _ in range(3)]
        for port in self._ports:
            port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            port.bind((self.host, 0))
        self.port, client, peer = (port.getsockname()[1] for port in self._ports)
        self._etcd = f"http://{self.host}:{client}"
        self.server = f"https://{self.host}:{self.port}"
        self._tls = ssl.create_default_context(cafile=self.ca_file)
        self._tls_files = issue_certificate(
            self.ca, self.folder, "kube-apiserver", hosts=[self.host, "localhost", *self._hosts]
        )
        self._service_account_key = self.folder / "service-accounts.key"
        _openssl("genrsa", "-out", self._service_account_key, "2048")
        (self.folder / "tokens.csv").write_text(f"{self.admin_token},admin,1,system:masters\n")
        self._admin_kubeconfig = self.kubeconfig(self.folder / "admin.kubeconfig")
        try:
            self._start(
                "etcd",
                f"--data-dir={self.folder}/etcd",
                "--unsafe-no-fsync",
                "--socket-reuse-port",
                f"--listen-client-urls={self._etcd}",
                f"--advertise-client-urls={self._etcd}",
                f"--listen-peer-urls=http://{self.host}:{peer}",
                f"--initial-advertise-peer-urls=http://{self.host}:{peer}",
                f"--initial-cluster=default=http://{self.host}:{peer}",
            )
            self.start_api_server()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(self, _type, error, _traceback):
        if error:
            error.add_note(self.log_tails())
        for name in list(self._processes):
            self._stop(name)
        for port in self._ports:
            port.close()

    def start_api_server(self):
        """Starts kube-apiserver, again on the same port and data, and waits until it is ready."""
        self._start(
            "kube-apiserver",
            f"--etcd-servers={self._etcd}",
            f"--bind-address={self.host}",
            f"--secure-port={self.port}",
            "--permit-port-sharing",
            # Nothing connects there; without these it needs a network interface.
            "--advertise-address=192.0.2.1",
            "--endpoint-reconciler-type=none",
            f"--tls-cert-file={self._tls_files.file}",
            f"--tls-private-key-file={self._tls_files.key}",
            f"--client-ca-file={self.ca_file}",
            f"--token-auth-file={self.folder}/tokens.csv",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self._service_account_key}",
            f"--service-account-signing-key-file={self._service_account_key}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            # The first waits for a controller to make ServiceAccounts, the second
            # taints a new Node until a controller sees it ready.
            "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
            *self._flags,
        )
        wait_until(self._is_ready, "kube-apiserver is ready", START_SECONDS)

    def stop_api_server(self):
        """Kills kube-apiserver. Its port refuses connections then."""
        self._stop("kube-apiserver")

    @property
    def api_server_pid(self):
        return self._processes["kube-apiserver"].pid

    def freeze(self):
        """Suspends kube-apiserver: connections are accepted, nothing answers."""
        self._processes["kube-apiserver"].send_signal(signal.SIGSTOP)

    def thaw(self):
        self._processes["kube-apiserver"].send_signal(signal.SIGCONT)

    def start_scheduler(self):
        self._start(
            "kube-scheduler",
            f"--kubeconfig={self._admin_kubeconfig}",
            "--leader-elect=false",
            "--secure-port=0",
        )

    def stop_scheduler(self):
        self._stop("kube-scheduler")

    def start_controllers(self, *names):
        """Those of kube-controller-manager with these names, such as "daemonset"."""
        self._start(
            "kube-controller-manager",
            f"--kubeconfig={self._admin_kubeconfig}",
            f"--controllers={','.join(names)}",
            "--leader-elect=false",
            "--secure-port=0",
        )

    def log_tails(self):
        """The end of each program's log."""
        tails = []
        for log in sorted(self.folder.glob("*.log")):
            tail = log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
            tails.append(f"--- {log} ends:\n{tail}")
        return "\n".join(tails)

    def kubeconfig(
        self, path, token=None, *, user=None, cluster=None, context="test", namespace="default"
    ):
        """Writes a kubeconfig and returns its path.

        token: the admin's if not given. user, a dict, stands for the token; cluster, a
        dict, for this server and its CA. Their values are strings or booleans.
        """
        user = user or {"token": token or self.admin_token}
        cluster = cluster or {
            "server": self.server,
            "certificate-authority-data": base64_of(self.ca_file),
        }
        lines = lambda fields: "\n".join(f"    {k}: {json.dumps(v)}" for k, v in fields.items())
        path = pathlib.Path(path)
        path.write_text(f"""\
apiVersion: v1
kind: Config
current-context: {context}
contexts:
- name: {context}
  context:
    cluster: {context}
    user: {context}
    namespace: {namespace}
clusters:
- name: {context}
  cluster:
{lines(cluster)}
users:
- name: {context}
  user:
{lines(user)}
""")
        return path

    def request(
        self, method, path, body=None, token=None, headers=None, seconds=REQUEST_SECONDS
    ):
        """(status, body) of the answer; the body is parsed if it is JSON, else text.

        body: sent as JSON, unless it is a string. token: the admin's if not given.
        """
        connection = http.client.HTTPSConnection(
            self.host, self.port, timeout=seconds, context=self._tls
        )
        with contextlib.closing(connection):
            connection.request(
                method,
                path,
                body if body is None or isinstance(body, str) else json.dumps(body),
                {
                    "Authorization": f"Bearer {token or self.admin_token}",
                    "Content-Type": "application/json",
                    **(headers or {}),
                },
            )
            response = connection.getresponse()
            text = response.read().decode("utf-8")
        is_json = response.headers.get_content_type() == "application/json"
        return response.status, json.loads(text) if is_json else text

    def create_node(self, name, labels=None):
        """A Node on which the scheduler places pods. Returns it."""
        resources = {"cpu": "4", "memory": "8Gi", "pods": "110"}
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        return self._done(
            "POST",
            "/api/v1/nodes",
            {
                "metadata": {"name": name, "labels": labels or {}},
                "status": {
                    "capacity": resources,
                    "allocatable": resources,
                    "conditions": [ready],
                },
            },
        )

    def delete_node(self, name):
        self._done("DELETE", f"/api/v1/nodes/{name}")

    def node(self, name):
        """The Node as it is now."""
        return self._done("GET", f"/api/v1/nodes/{name}")

    def labels(self, name, prefix=PREFIX):
        """That Node's labels whose keys start with prefix, which stays on the keys."""
        labels = self.node(name)["metadata"].get("labels", {})
        return {key: value for key, value in labels.items() if key.startswith(prefix)}

    def node_token(self, node, service_account=NAME, namespace=NAME):
        """The token that a pod of this ServiceAccount on this node would find in its file.

        Makes the namespace, the ServiceAccount and the pod where they are missing;
        the token dies with the pod, which is called SERVICE_ACCOUNT-NODE.
        """
        self._ensure_service_account(service_account, namespace)
        pod = f"{service_account}-{node}"
        self._ensure(
            f"/api/v1/namespaces/{namespace}/pods",
            {
                "metadata": {"name": pod},
                "spec": {
                    "nodeName": node,
                    "serviceAccountName": service_account,
                    "containers": [{"name": "main", "image": "none"}],
                },
            },
        )
        found = self._done("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}")
        return self.pod_token(found)

    def pod_token(self, pod):
        """The token that this Pod would find in its file."""
        metadata, service_account = pod["metadata"], pod["spec"]["serviceAccountName"]
        bound = {"kind": "Pod", "apiVersion": "v1", "name": metadata["name"], "uid": metadata["uid"]}
        return self._token(service_account, metadata["namespace"], {"boundObjectRef": bound})

    def service_account_token(self, service_account=NAME, namespace=NAME):
        """A token of this ServiceAccount that is bound to no pod."""
        self._ensure_service_account(service_account, namespace)
        return self._token(service_account, namespace, {})

    def run(self, name, *args, input=None):
        """`name args`, a program of $DTE_PEERS, as the admin. Has returncode, stdout, stderr."""
        return subprocess.run(
            [program(name), *args],
            env={"KUBECONFIG": self._admin_kubeconfig, "HOME": self.folder},
            input=input,
            capture_output=True,
            text=True,
            check=False,
        )

    def kubectl(self, *args, input=None):
        """What `kubectl args` prints."""
        return self._output("kubectl", *args, input=input)

    def helm(self, *args):
        """What `helm args` prints."""
        return self._output("helm", *args)

    def _output(self, name, *args, input=None):
        ended = self.run(name, *args, input=input)
        assert ended.returncode == 0, f"{name} {' '.join(map(str, args))}: {ended.stderr}"
        return ended.stdout

    def apply(self, manifest):
        """`kubectl apply` of this YAML."""
        return self.kubectl("apply", "-f", "-", input=manifest)

    def manifests(self, *components, overlay="default", patches=()):
        """That overlay of deploy/kubernetes with more of its components, as YAML."""
        folder = self.folder / "-".join(["overlay", overlay, *components])
        folder.mkdir(exist_ok=True)
        path = os.path.relpath(MANIFESTS, folder.resolve())
        kustomization = {
            "resources": [f"{path}/overlays/{overlay}"],
            "components": [f"{path}/components/{component}" for component in components],
            "patches": list(patches),
        }
        (folder / "kustomization.yaml").write_text(json.dumps(kustomization))
        return self.kubectl("kustomize", folder)

    def chart(self, *values, namespace=NAME):
        """What the Helm chart installs with these values ("KEY=VALUE"), as YAML."""
        sets = [f"--set={value}" for value in values]
        return self.helm("template", NAME, CHART, "--no-hooks", f"--namespace={namespace}", *sets)

    def deploy(self, manifests=None):
        """Applies these, the default overlay if not given, and waits until the fence is in force."""
        self.apply(manifests or self.manifests())
        self.wait_for_fence()

    def wait_for_fence(self):
        """The server learns of a new policy, and of its ConfigMap, within a second or two."""
        self.create_node("fence-probe")
        token = self.service_account_token()

        def is_fenced():
            _, answer = self.request(
                "PATCH",
                "/api/v1/nodes/fence-probe?dryRun=All",
                {"metadata": {"labels": {f"{PREFIX}probe": "1"}}},
                token=token,
                headers={"Content-Type": "application/merge-patch+json"},
            )
            return "its token is bound to no pod" in answer.get("message", "")

        wait_until(is_fenced, "the fence is in force", START_SECONDS)
        self.delete_node("fence-probe")

    def _is_ready(self):
        process = self._processes["kube-apiserver"]
        assert process.poll() is None, "kube-apiserver has ended"
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.request("GET", "/readyz", seconds=1)[0] == 200

    def _start(self, name, *flags):
        with open(self.folder / f"{name}.log", "ab") as log:
            self._processes[name] = subprocess.Popen(
                [program(name), *flags], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _stop(self, name):
        # Their data is thrown away or in etcd, so that no grace is needed.
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def _done(self, method, path, body=None):
        status, answer = self.request(method, path, body)
        assert status < 300, f"{method} {path}: {status} {answer}"
        return answer

    def _ensure(self, path, body):
        status, answer = self.request("POST", path, body)
        already_there = 409
        assert status < 300 or status == already_there, f"POST {path}: {status} {answer}"

    def _ensure_service_account(self, name, namespace):
        self._ensure("/api/v1/namespaces", {"metadata": {"name": namespace}})
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        self._ensure(path, {"metadata": {"name": name}})

    def _token(self, service_account, namespace, spec):
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        return self._done("POST", path, {"spec": spec})["status"]["token"]


def base64_of(path):
    """A file's content as kubeconfig's *-data fields have it."""
    return base64.b64encode(pathlib.Path(path).read_bytes()).decode()


def _is_address(host):
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _certificate(folder, name, subject, days, extensions, ca=None):
    """Signed by ca, or by itself."""
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    config, request = folder / f"{name}.cnf", folder / f"{name}.csr"
    config.write_text("\n".join(["[req]", "distinguished_name = req", "[extensions]", *extensions]))
    _openssl(
        *("req", "-new", "-config", config, "-subj", subject, "-out", request),
        *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-keyout", made.key),
    )
    signer = ["-CA", ca.file, "-CAkey", ca.key] if ca else ["-key", made.key]
    _openssl(
        *("x509", "-req", "-in", request, *signer, "-days", str(days), "-out", made.file),
        *("-extfile", config, "-extensions", "extensions"),
    )
    return made


def _openssl(*args):
    subprocess.run(["openssl", *args], check=True, capture_output=True)
