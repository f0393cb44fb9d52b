"""The Debian package as shipped: lintian, a bare Debian that installs it, man page, completion.

Needs root or sudo, for the chroot.
"""

import contextlib
import os
import pty
import re
import select
import subprocess
import time

import pytest

import exporter
from debian import REPOSITORY
from test_live_tree_qemu import TRANSCRIPT

DEPLOY = REPOSITORY / "deploy"
CONFFILE = "etc/devicetree-exporter/config.yaml"
SERVICE = "devicetree-exporter.service"
ENABLED = f"etc/systemd/system/multi-user.target.wants/{SERVICE}"
MASKED = f"etc/systemd/system/{SERVICE}"
MOST_EXPOSED = 2.0  # by systemd-analyze security, which goes from 0 to 10
# Said on the command line alone: exporter/options.cc, kActions.
ACTIONS = {"config.file", "config.check", "dry-run", "explain", "snapshot", "nfd.write-once", "once", "cleanup",
           "version", "help"}  # fmt: skip


def as_root(*command, **options):
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    return subprocess.run([*sudo, *command], stdin=subprocess.DEVNULL, check=True, text=True, **options)


def said(*command, **options):
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options)
    assert run.returncode == 0, (command, run.stdout, run.stderr)
    return run.stdout


def build(arch=None, environment=None):
    """The package of that architecture, by default this machine's."""
    arch = arch or said("dpkg", "--print-architecture").strip()
    said(DEPLOY / "debian/build", arch, env={**os.environ, **(environment or {})})
    (package,) = (REPOSITORY / "build/debian").glob(f"devicetree-exporter_*_{arch}.deb")
    return package


@pytest.fixture(scope="module")
def package():
    return build()


@pytest.fixture(scope="module")
def files(package, tmp_path_factory):
    """What the package installs, unpacked."""
    folder = tmp_path_factory.mktemp("package")
    said("dpkg-deb", "-x", package, folder)
    return folder


@pytest.fixture(scope="module")
def newer_package(package, tmp_path_factory):
    """The same as a later version, with a line more in its configuration."""
    root = tmp_path_factory.mktemp("newer") / "root"
    said("dpkg-deb", "-R", package, root)
    control = root / "DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*$", "Version: 99.0-1", control.read_text(), flags=re.M))
    with open(root / CONFFILE, "a", encoding="ascii") as conffile:
        conffile.write("# new in 99.0\n")
    newer = root.with_suffix(".deb")
    said("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "-b", root, newer)
    return newer


def flags():
    """Every long flag of --help."""
    found = re.findall(r"^ +(?:-[a-z],)?--([a-z_.-]+)", exporter.run("--help").stdout, re.M)
    assert len(found) > 30
    return set(found)


def settings():
    """The flags that can stand in the configuration file."""
    return {flag for flag in flags() if not flag.startswith("no-")} - ACTIONS


def test_the_same_sources_give_the_same_bytes(package):
    first = package.read_bytes()
    package.unlink()
    assert build().read_bytes() == first
    assert build(environment={"SOURCE_DATE_EPOCH": "1000000000"}).read_bytes() != first  # it heeds the time
    assert build().read_bytes() == first


def test_lintian_has_nothing_to_say(package):
    lintian = ["lintian", "--display-info", "--pedantic", "--fail-on", "info", "--info"]
    # That one takes machine code for words.
    lintian += ["--suppress-tags", "spelling-error-in-binary"]
    if os.geteuid() == 0:
        lintian.append("--allow-root")
    assert said(*lintian, package) == ""


def test_the_program_is_the_tested_one(files):
    assert said(files / "usr/bin/devicetree-exporter", "--version") == exporter.run("--version").stdout
    assert said(files / "usr/bin/devicetree-exporter", "--help") == exporter.run("--help").stdout


def test_each_linked_library_has_its_licence(files):
    texts = {path.name: path.read_text() for path in (files / "usr/share/doc/devicetree-exporter/linked-in").iterdir()}
    linked = said(DEPLOY / "install-packages", "--print", "libraries").split()
    assert set(texts) == {*linked, "libstdc++", "prometheus-cpp"} - {"libboost-dev"}
    assert all("icense" in text for text in texts.values())


# The sandbox.


def test_service_is_shut_off(files):
    unit = files / "usr/lib/systemd/system" / SERVICE
    answer = said("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
    overall = answer.splitlines()[-1]
    print(overall)
    assert float(re.search(r"exposure level for devicetree-exporter.service: ([\d.]+)", overall)[1]) <= MOST_EXPOSED


# The configuration.


def test_shipped_configuration_is_good_and_says_nothing(files):
    config = files / CONFFILE
    assert exporter.run(f"--config.file={config}", "--config.check").returncode == 0
    assert all(line == "" or line.startswith("#") for line in config.read_text().splitlines())


def test_every_setting_stands_in_the_shipped_configuration(files, tmp_path):
    text = re.sub(r"^#( *[a-z_-]+:)", r"\1", (files / CONFFILE).read_text(), flags=re.M)
    config = tmp_path / "config.yaml"
    config.write_text(text)
    checked = exporter.run(f"--config.file={config}", "--config.check")
    assert checked.returncode == 0, checked.stderr

    keys, path = set(), []
    for indent, key, value in re.findall(r"^( *)([a-z_-]+):(.*)$", text, re.M):
        del path[len(indent) // 2 :]
        path.append(key)
        if value:
            keys.add(".".join(path))
    assert keys == settings()


def test_its_values_are_the_defaults(files, tmp_path, dtb):
    """With all of it in force the program prints the same labels as with none."""
    text = re.sub(r"^#( *[a-z_-]+:)", r"\1", (files / CONFFILE).read_text(), flags=re.M)
    config = tmp_path / "config.yaml"
    config.write_text(re.sub(r"^ *devicetree: \"\".*$|^ *sysfs:.*$", "", text, flags=re.M))
    board = f"--path.devicetree={dtb('jetson-nano')}"
    assert exporter.run(board, "-d", f"--config.file={config}").stdout == exporter.run(board, "-d").stdout


# The man page.


@pytest.fixture(scope="module")
def man_page(files):
    return files / "usr/share/man/man1/devicetree-exporter.1.gz"


def test_man_page_is_well_formed(man_page):
    groff = subprocess.run(
        ["man", "--warnings=all", "--local-file", man_page],
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "MANWIDTH": "80"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert groff.stderr == ""
    for heading in ["NAME", "SYNOPSIS", "OPTIONS", "EXIT STATUS", "SIGNALS", "FILES"]:
        assert f"\n{heading}\n" in f"\n{groff.stdout}"


def test_man_page_has_every_flag_and_no_other(man_page):
    text = said("gzip", "-dc", man_page).replace("\\-", "-")
    options = text[text.index(".SH OPTIONS") : text.index(".SH CONFIGURATION FILE")]
    listed = set()
    for entry in re.findall(r"^\.TP\n(.*)$", options, re.M):
        listed.update(re.findall(r"--([a-z_.-]+(?:NAME)?)", entry))
    collectors = {flag for flag in flags() if "collector." in flag}  # in one row, by name
    assert listed - {"collector.NAME", "no-collector.NAME"} == flags() - collectors
    assert all(f"\\fB{name}\\fR" in options for name in {flag.rpartition(".")[2] for flag in collectors})


# Completion, in the shells themselves.


class Terminal:
    """An interactive shell on a terminal of its own."""

    def __init__(self, command, environment):
        self.output = ""
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.execvpe(command[0], command, {**os.environ, "TERM": "dumb", "PS1": "", **environment})

    def type(self, text, until):
        """Types that and waits until the pattern is on the screen after it."""
        begin = len(self.output)
        os.write(self._fd, text.encode())
        deadline = time.monotonic() + exporter.START_SECONDS * 3
        while not (found := re.search(until, self.output[begin:])):
            assert time.monotonic() < deadline, f"no '{until}' after '{text}':\n{self.output}"
            if select.select([self._fd], [], [], 0.1)[0]:
                self.output += os.read(self._fd, 65536).decode(errors="replace")
        return found

    def close(self):
        os.close(self._fd)
        os.waitpid(self._pid, 0)


@pytest.fixture
def terminal(files):
    """terminal(shell) is that shell with the packaged program and completion."""
    share = files / "usr/share"
    shells = {
        "bash": (["bash", "--norc", "--noprofile", "-i"], f"source {share}/bash-completion/completions/devicetree-exporter"),
        "zsh": (["zsh", "-f", "-i"], f"fpath=({share}/zsh/vendor-completions $fpath); autoload -U compinit; compinit -u -D"),
    }
    with contextlib.ExitStack() as stack:

        def start(shell):
            command, setup = shells[shell]
            shell = Terminal(command, {"PATH": f"{files}/usr/bin:{os.environ['PATH']}"})
            stack.callback(shell.close)
            shell.type(f"{setup}; echo rea''dy\n", "ready")
            return shell

        yield start


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completes(shell, terminal):
    shell = terminal(shell)
    clear = "\x15"  # Control-U: an empty line again
    shell.type("devicetree-exporter --log.l\t", r"--log\.level")
    shell.type(f"{clear}devicetree-exporter --log.format j\t", r"--log\.format json")
    shell.type(f"{clear}devicetree-exporter --log.format=j\t", r"--log\.format=json")
    shell.type(f"{clear}devicetree-exporter --labels.accelerator-state re\t", "ready")
    shell.type(f"{clear}devicetree-exporter --path.sysfs /pro\t", "/proc/")
    shell.type(f"{clear}devicetree-exporter -n gpu --collector.de\t\t\t", "device_nodes")  # the list of what fits


def test_bash_completes_every_flag(files):
    script = files / "usr/share/bash-completion/completions/devicetree-exporter"
    offered = said(
        "bash", "-euc", 'source "$1"; COMP_WORDS=("$2" --) COMP_CWORD=1; compopt() { :; }; '
        '_devicetree_exporter "$2" -- "$2"; printf "%s\\n" "${COMPREPLY[@]}"',
        "bash", script, files / "usr/bin/devicetree-exporter",
    )  # fmt: skip
    assert {line.removeprefix("--") for line in offered.split()} == flags()


def test_fish_completes_every_flag_and_its_values(files):
    script = files / "usr/share/fish/vendor_completions.d/devicetree-exporter.fish"

    def offered(line):
        environment = {**os.environ, "PATH": f"{files}/usr/bin:{os.environ['PATH']}", "HOME": str(files)}
        answer = said("fish", "--no-config", "-c", f"source {script}; complete -C '{line}'", env=environment)
        return {each.split("\t")[0] for each in answer.splitlines()}

    assert {flag.removeprefix("--") for flag in offered("devicetree-exporter --")} == flags()
    assert offered("devicetree-exporter --log.level ") == {"debug", "info", "warn", "error"}
    assert offered("devicetree-exporter --log.format=") == {"--log.format=json", "--log.format=logfmt"}


# A bare Debian.


class Chroot:
    def __init__(self, folder):
        self.folder = folder

    def run(self, *command, ok=True):
        run = subprocess.run(
            [*([] if os.geteuid() == 0 else ["sudo", "-n"]), REPOSITORY / "tests/chroot/enter", self.folder, *command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        assert not ok or run.returncode == 0, (command, run.stdout)
        return run.stdout

    def install(self, package):
        as_root("cp", package, self.folder / "tmp/new.deb")
        # As apt does where nobody can be asked.
        self.run("env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--force-confdef", "--force-confold", "-i", "/tmp/new.deb")
        as_root("rm", self.folder / "tmp/new.deb")

    def exists(self, path):
        return os.path.lexists(self.folder / path)

    def contents(self):
        """Every file with its content's hash, but for dpkg's own books and logs."""
        return set(self.run("sh", "-c", r"""
            find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /var/lib/dpkg -o -path /var/log \) -prune \
              -o \( -type f -exec sha256sum {} + -o -printf '%y %p %l\n' \)""").splitlines())  # fmt: skip


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A bare Debian 12 that every test of the module shares: each purges what it installs."""
    folder = tmp_path_factory.mktemp("chroot") / "bookworm"
    as_root("env", *[f"{key}={os.environ[key]}" for key in ["DTE_CACHE"] if key in os.environ],
            REPOSITORY / "tests/chroot/bare", "bookworm", folder)  # fmt: skip
    yield Chroot(folder)
    as_root("rm", "-rf", "--one-file-system", folder)


@pytest.fixture
def chroot(bare):
    yield bare
    bare.run("dpkg", "--purge", "devicetree-exporter")


def test_installs_without_anything_else_and_runs(chroot, package, dtb):
    chroot.install(package)
    as_root("cp", dtb("jetson-nano"), chroot.folder / "tmp/board.dtb")
    as_nobody = ["runuser", "-u", "nobody", "--"]
    program = ["devicetree-exporter", "--path.devicetree=/tmp/board.dtb", f"--config.file=/{CONFFILE}"]
    assert chroot.run(*as_nobody, *program, "-d", "-n", "gpu").startswith(TRANSCRIPT)
    as_root("rm", chroot.folder / "tmp/board.dtb")
    assert chroot.exists(ENABLED)
    assert chroot.run("dpkg", "--verify", "devicetree-exporter") == ""


def test_purge_leaves_nothing(chroot, package, newer_package):
    before = chroot.contents()
    chroot.install(package)
    assert len(chroot.contents() - before) > 15  # the comparison sees what is installed
    chroot.install(newer_package)
    chroot.run("dpkg", "--purge", "devicetree-exporter")
    assert chroot.contents() == before
    assert "devicetree" not in chroot.run("cat", "/var/lib/dpkg/status")
    assert "devicetree" not in chroot.run("ls", "/var/lib/dpkg/info")


def test_upgrade_keeps_a_changed_configuration(chroot, package, newer_package):
    chroot.install(package)
    mine = "log:\n  level: debug\n"
    subprocess.run([*([] if os.geteuid() == 0 else ["sudo", "-n"]), "tee", chroot.folder / CONFFILE],
                   input=mine, stdout=subprocess.DEVNULL, text=True, check=True)  # fmt: skip
    chroot.install(newer_package)
    assert "Version: 99.0-1" in chroot.run("dpkg", "-s", "devicetree-exporter")
    assert (chroot.folder / CONFFILE).read_text() == mine
    chroot.run("dpkg", "--remove", "devicetree-exporter")
    assert (chroot.folder / CONFFILE).read_text() == mine


def test_upgrade_brings_an_unchanged_configuration_up_to_date(chroot, package, newer_package):
    chroot.install(package)
    chroot.install(newer_package)
    assert (chroot.folder / CONFFILE).read_text().endswith("# new in 99.0\n")


def test_upgrade_does_not_enable_what_was_disabled(chroot, package, newer_package):
    chroot.install(package)
    as_root("rm", chroot.folder / ENABLED)  # what systemctl disable does
    chroot.install(newer_package)
    assert not chroot.exists(ENABLED)


def test_what_is_removed_cannot_be_started_until_it_is_back(chroot, package):
    chroot.install(package)
    chroot.run("dpkg", "--remove", "devicetree-exporter")
    assert not chroot.exists("usr/bin/devicetree-exporter")
    assert os.readlink(chroot.folder / MASKED) == "/dev/null"
    chroot.install(package)
    assert not chroot.exists(MASKED)
    assert chroot.exists(ENABLED)
