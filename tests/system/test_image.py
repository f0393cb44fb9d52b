"""The image that deploy/image/build makes: what is in it, and how it runs under Podman and runc.

Environment: DTE_IMAGE, its OCI layout; DTE_BINARY and the other programs that it was made of.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import subprocess
import time

import pytest
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

import debian
import exporter
import scraped
from exporter import LISTENING, request, wait_until
from oci_image import Layout

PROGRAM = "/devicetree-exporter"
SBOM = "/usr/share/doc/devicetree-exporter/sbom.spdx.json"
PLATFORMS = {"linux/amd64": "DTE_BINARY", "linux/arm64": "DTE_ARM64_BINARY", "linux/arm/v7": "DTE_ARMHF_BINARY"}
UID = 65534
MEMORY_LIMIT = 16 << 20
COMPRESSED_LIMIT = 4_000_000
SYSFS = ["firmware", "devices", "class", "bus"]  # what the DaemonSet mounts of /sys


@pytest.fixture(scope="module")
def layout():
    assert "DTE_IMAGE" in os.environ, "DTE_IMAGE is not set; see deploy/image/build"
    return Layout(os.environ["DTE_IMAGE"])


@pytest.fixture(params=PLATFORMS)
def platform(request):
    return request.param


@pytest.fixture
def image(layout, platform):
    return layout.images[platform]


@pytest.fixture
def sbom(image, tmp_path):
    path = tmp_path / "sbom.spdx.json"
    path.write_bytes(image.files()[SBOM][1])
    return path


def binary(platform):
    return pathlib.Path(os.environ[PLATFORMS[platform]]).read_bytes()


def test_has_these_platforms(layout):
    assert set(layout.images) == set(PLATFORMS)


def test_is_small(image):
    assert image.compressed_bytes <= COMPRESSED_LIMIT
    print(f"{image.compressed_bytes / 1e6:.2f} MB compressed")


def test_holds_the_program_and_its_papers_alone(image, platform):
    files = image.files()
    assert files[PROGRAM][1] == binary(platform)
    others = {path for path, (member, _) in files.items() if not member.isdir()} - {PROGRAM}
    assert {path for path in others if not path.startswith("/usr/share/doc/")} == set()


def test_files_are_roots_and_only_the_program_runs(image):
    for path, (member, _) in image.files().items():
        assert member.isdir() or member.isfile(), path
        assert (member.uid, member.gid) == (0, 0), path
        assert member.mode & 0o7777 == (0o644 if member.isfile() and path != PROGRAM else 0o755), path


def test_runs_as_nobody(image):
    assert image.config["User"] == f"{UID}:{UID}"
    assert image.config["Entrypoint"] == [PROGRAM]
    assert image.config.get("Cmd") is None
    assert image.config["ExposedPorts"] == {"9931/tcp": {}}


def test_says_what_it_is(image):
    git = ["git", "-C", debian.REPOSITORY]
    revision = subprocess.run([*git, "rev-parse", "HEAD"], check=True, stdout=subprocess.PIPE, text=True)
    labels = {key.rpartition(".")[2]: value for key, value in image.config["Labels"].items()}
    assert all(key.startswith("org.opencontainers.image.") for key in image.config["Labels"])
    version = exporter.run("--version").stdout
    assert labels.pop("version") in version
    assert labels.pop("revision") == revision.stdout.strip()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", labels.pop("created"))
    assert labels == {
        "title": "devicetree-exporter",
        "description": "Hardware inventory as Prometheus metrics and Kubernetes node labels",
        "licenses": "Apache-2.0",
    }


def test_builds_the_same_again(layout, tmp_path):
    """In another folder, at another time, with another umask and time zone."""
    builds = [pathlib.Path(os.environ[variable]).parent for variable in PLATFORMS.values()]
    script = debian.REPOSITORY / "deploy/image/build"
    subprocess.run(
        ["sh", "-c", 'umask 077; "$@"', "sh", script, tmp_path / "again", *builds],
        env={**os.environ, "TZ": "Pacific/Auckland"}, check=True,
    )  # fmt: skip
    again = {path.relative_to(tmp_path / "again"): path.read_bytes() for path in (tmp_path / "again").rglob("*") if path.is_file()}
    first = {path.relative_to(layout.folder): path.read_bytes() for path in layout.folder.rglob("*") if path.is_file()}
    assert again == first


def test_the_sbom_is_valid_spdx(sbom):
    assert validate_full_spdx_document(parse_file(str(sbom))) == []


def test_the_sbom_is_of_this_program(sbom, platform):
    (main,) = [package for package in json.loads(sbom.read_text())["packages"] if "checksums" in package]
    (checksum,) = main["checksums"]
    assert checksum["checksumValue"] == hashlib.sha256(binary(platform)).hexdigest()


@pytest.mark.parametrize("package", ["libssl-dev", "zlib1g-dev"])
def test_the_sbom_has_the_versions_that_are_linked_in(sbom, platform, package):
    """These libraries have their version as a string of their own, or as another's end, within the program."""
    versions = {entry["name"]: entry["versionInfo"] for entry in json.loads(sbom.read_text())["packages"]}
    upstream = re.match(r"(?:\d+:)?(\d+\.\d+\.\d+)", versions[package])[1]
    assert f"{upstream}\0".encode() in binary(platform)


def test_the_sbom_names_every_library(sbom):
    document = json.loads(sbom.read_text())
    names = {entry["SPDXID"]: entry["name"] for entry in document["packages"]}
    linked = {names[relation["relatedSpdxElement"]] for relation in document["relationships"] if relation["relationshipType"] == "STATIC_LINK"}
    headers = {names[relation["relatedSpdxElement"]] for relation in document["relationships"] if relation["relationshipType"] == "CONTAINS"}
    without_arch = {re.sub(r"-(arm64|armhf)-cross$", "", name) for name in linked}
    assert without_arch >= {"libssl-dev", "libyaml-cpp-dev", "libfdt-dev", "zlib1g-dev", "libc6-dev", "prometheus-cpp", "libstdc++-12-dev"}
    assert headers >= {"libboost1.74-dev", "libcli11-dev", "nlohmann-json3-dev"}


def test_ships_the_licence_of_everything_in_it(image, sbom):
    """But Boost's, which asks for no notice with a program."""
    files = image.files()
    for package in json.loads(sbom.read_text())["packages"]:
        if package["name"].startswith("libboost"):
            continue
        folder = f"/usr/share/doc/{package['name']}"
        assert files.get(f"{folder}/copyright") or files.get(f"{folder}/LICENSE"), package["name"]


class Container:
    """The image, running under Podman and runc as the DaemonSet runs it; a context manager.

    On the host's network, because the only peers here are on loopback. sysfs: whose parts are mounted.
    """

    def __init__(self, store, sysfs, memory=MEMORY_LIMIT):
        self._podman = ["podman", "--cgroup-manager=cgroupfs", "--storage-driver=vfs", f"--root={store}", f"--runroot={store}-run"]
        mounts = [f"--volume={sysfs}/{part}:/host/sys/{part}:ro" for part in SYSFS if (sysfs / part).exists()]
        self._run = [
            "run", "--detach", "--runtime=runc", "--network=host", "--log-driver=k8s-file",
            "--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL", "--security-opt=no-new-privileges",
            f"--memory={memory}", "--ulimit=nofile=1024:1024", "--ulimit=nproc=512:512", *mounts,
            "localhost/devicetree-exporter", "--path.sysfs=/host/sys", "--web.listen-address=127.0.0.1:0",
        ]  # fmt: skip

    def podman(self, *arguments):
        ended = subprocess.run([*self._podman, *arguments], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, f"podman {arguments}: {ended.stderr}"
        return ended.stdout + ended.stderr if arguments[0] == "logs" else ended.stdout.strip()

    def __enter__(self):
        self._id = self.podman(*self._run)
        try:
            self.address = wait_until(self._find_address, "a Listening line", 60)
            wait_until(lambda: self.get("/-/ready").status == 200, "ready", 60)
        except BaseException as error:
            error.add_note(self.podman("logs", self._id))
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.podman("rm", "--force", "--time=1", self._id)

    def inspect(self, template):
        return self.podman("inspect", "--format", template, self._id)

    @property
    def pid(self):
        return int(self.inspect("{{.State.Pid}}"))

    def proc(self, name):
        return pathlib.Path(f"/proc/{self.pid}/{name}").read_text()

    def get(self, path):
        return request(*self.address, "GET", path)

    def metrics(self):
        return self.get("/metrics").body.decode()

    @property
    def cgroup(self):
        """The folder of its memory controller: version 1's, or the one of version 2."""
        paths = dict(re.findall(r"^\d+:([^:]*):(.*)$", self.proc("cgroup"), re.MULTILINE))
        root = pathlib.Path("/sys/fs/cgroup")
        return root / "memory" / paths["memory"].lstrip("/") if "memory" in paths else root / paths[""].lstrip("/")

    def memory(self, name_v1, name_v2):
        names = [self.cgroup / name for name in (name_v1, name_v2)]
        (path,) = [path for path in names if path.exists()]
        return path.read_text()

    def _find_address(self):
        assert self.inspect("{{.State.Status}}") in ("created", "running"), "it has ended"
        for line in self.podman("logs", self._id).splitlines():
            if match := LISTENING.search(line):
                return match[1], int(match[2])


@pytest.fixture(scope="module")
def store(layout, tmp_path_factory):
    """A store of Podman's with the image, and nothing of this machine's own."""
    folder = tmp_path_factory.mktemp("podman") / "store"
    podman = ["podman", "--storage-driver=vfs", f"--root={folder}", f"--runroot={folder}-run"]
    pulled = subprocess.run(
        [*podman, "pull", "--quiet", f"oci:{layout.folder}:latest"], check=True, stdout=subprocess.PIPE, text=True
    )
    subprocess.run([*podman, "tag", pulled.stdout.strip(), "localhost/devicetree-exporter"], check=True)
    return folder


@pytest.fixture(scope="module")
def container(store):
    """It runs here and sees this machine's hardware."""
    with Container(store, pathlib.Path("/sys")) as running:
        yield running


def test_runs_unprivileged(container):
    status = dict(line.split(":", 1) for line in container.proc("status").splitlines())
    assert status["Uid"].split() == status["Gid"].split() == [str(UID)] * 4
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]:
        assert int(status[name], 16) == 0, name
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"
    assert status["Groups"].split() in ([], [str(UID)])


def test_can_write_nowhere(container):
    mounts = [line.split() for line in container.proc("mountinfo").splitlines()]
    read_only = {mount[4]: "ro" in mount[5].split(",") for mount in mounts}
    expected = ["/", *[f"/host/sys/{part}" for part in SYSFS if pathlib.Path("/sys", part).exists()]]
    assert {path: read_only[path] for path in expected} == dict.fromkeys(expected, True)


def test_sees_the_hosts_hardware(container):
    """As the program alone sees it, outside the container."""
    body = container.metrics()
    found = scraped.samples(body, "devicetree_collector_success")
    assert {sample.labels["collector"]: sample.value for sample in found} == {
        "devicetree": 1, "device_nodes": 1, "pci": 1, "usb": 1,
    }  # fmt: skip
    outside = exporter.run("--path.sysfs=/sys", "-d")
    labels = [line for line in outside.stdout.splitlines()[2:] if line]
    assert [f"{key}: {value}" for key, value in scraped.node_labels(body).items()] == labels
    (present,) = scraped.samples(body, "devicetree_present")
    assert present.value == pathlib.Path("/sys/firmware/devicetree/base/compatible").exists()


def test_sixteen_megabytes_are_enough(container):
    """The kernel holds it to them, and 2,000 scrapes after it has not come near."""
    assert int(container.memory("memory.limit_in_bytes", "memory.max")) == MEMORY_LIMIT
    for _ in range(2000):
        assert container.get("/metrics").status == 200
    peak = int(container.memory("memory.max_usage_in_bytes", "memory.peak"))
    killed = dict(line.split() for line in container.memory("memory.oom_control", "memory.events").splitlines())
    assert killed["oom_kill"] == "0"
    assert peak < MEMORY_LIMIT / 2
    print(f"{peak / (1 << 20):.1f} MiB at most")


def test_the_limit_is_in_force(store):
    """The same with less than the program needs: the kernel ends it."""
    with pytest.raises(AssertionError), Container(store, pathlib.Path("/sys"), memory=1 << 20):
        pass


@pytest.mark.parametrize("host", ["rock-5b-host", "usb-host"])
def test_sees_a_board(store, make_host, host):
    expected = scraped.expected_rows((scraped_board(host)).read_text())
    with Container(store, make_host(host)) as container:
        assert scraped.accelerators(container.metrics()) == expected


def scraped_board(host):
    return debian.REPOSITORY / "tests/boards" / host / "expected/accelerators.txt"


def test_ends_within_a_second(store):
    with Container(store, pathlib.Path("/sys")) as container:
        begin = time.monotonic()
        pid = container.pid
        container.podman("kill", "--signal=TERM", container._id)
        wait_until(lambda: not pathlib.Path(f"/proc/{pid}").exists(), "ended", 10)
        assert time.monotonic() - begin < 1.5  # one second, and Podman's own time
        wait_until(lambda: container.inspect("{{.State.Status}}") == "exited", "exited", 10)
        assert container.inspect("{{.State.ExitCode}}") == "0"
