"""Whatever firmware and devices call themselves, each output stays what it is.

The strings are those that break terminals, logs, pages, the text format and file names. Each
output is read by an independent parser, and holds no raw control character, nor one that turns
the direction of writing. Expected texts come from tests/oracle.
"""

import html
import json
import os
import pathlib
import re
import subprocess
import sys
import unicodedata

import html5lib
import jsonschema
import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter import Exporter, binary, run, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/oracle"))

import expect

STRINGS = [
    b"\x1b[31mred\x1b[0m\x1b]0;title\x07",  # a terminal's colours and title
    b"\x1b[2J\x1b[1;1H\x1b[5i\x1bP+q\x1b\\\x1bc",  # it is cleared, prints, answers, is reset
    b"\xc2\x9b31m\xc2\x9d0;title\xc2\x9c",  # the same in C1
    b"line\nlevel=ERROR msg=forged",
    b"line\r\ntime=2026-01-01T00:00:00.000Z level=ERROR msg=forged",
    b'"} 1\ndevicetree_present 7\n# TYPE x counter\nx{a="',
    b'\\"} 1\\n',
    b"# +expiry-time=2020-01-01T00:00:00Z",
    b"\nexample.org/forged=1\n",
    b"</script><script>alert(1)</script>",
    b"<img src=x onerror=alert(1)>&lt;&#60;",
    b"\"' onmouseover='alert(1)",
    b"]]>--><!--",
    b'{"kind":"gpu"}',
    b"\xff\xfe\xc0\xaf\xed\xa0\x80\xf5\x80\x80\x80\xe2\x80",  # no UTF-8
    "\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe\N{POP DIRECTIONAL FORMATTING}\N{RIGHT-TO-LEFT ISOLATE}".encode(),
    "\N{LINE SEPARATOR}\N{PARAGRAPH SEPARATOR}\N{ZERO WIDTH NO-BREAK SPACE}".encode(),
    b"%s%n%x{{.}}${HOME}$(id)`id`;|&",
    b"\x01\x08\x0b\x0c\x7f\t ",
    b"..",
    b"-rf *",
    b"\\..\\..\\x00\\",
    b"=1+1",
]
LONG = b"acme,long-" + b"\x1b" * 5_000  # near the most that a property may hold
SERIAL = "SN-123456789"

KEY = re.compile(r"beta\.devicetree\.org/[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
VALUE = re.compile(r"[0-9]+")
# What go-logfmt and Loki read: a bare value, or one in quotes with \" and \\ escaped.
LOGFMT = re.compile(r'time=\S+ level=(DEBUG|INFO|WARN|ERROR)( [a-z_]+=([^\s"=\\]+|"([^"\\]|\\["\\])*"))+')
FIELD = re.compile(r'([a-z_]+)=([^\s"=\\]+|"(?:[^"\\]|\\.)*")')
NODES = ["-n", "gpu*"]


def as_name(string):
    """A file's name that is as near to it as there can be one."""
    return string.replace(b"/", b"\xe2\x88\x95").replace(b"\0", b"")[:200]


def write(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


def link(path, target):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.symlink(target, path)


def make_sysfs(folder):
    """Paths are bytes: names may be anything."""
    base = os.fsencode(folder) + b"/"
    tree = base + b"firmware/devicetree/base/"
    write(tree + b"model", b"".join(STRINGS) + b"\0")
    write(tree + b"serial-number", SERIAL.encode() + b"\0")
    write(tree + b"compatible", b"\0".join([*STRINGS, LONG, b"acme,board", b""]))
    for number, string in enumerate(STRINGS):
        # a designated node called so, one that says so, an accelerator called so
        name = as_name(string)
        write(tree + b"soc/gpu@%d," % number + name + b"/compatible", b"acme,gpu\0" + string + b"\0")
        write(tree + b"soc/gpu%d/compatible" % number, string + b"\0")
        write(tree + b"soc/gpu%d/status" % number, string + b"\0")
        write(tree + b"soc/engine@%d," % number + name + b"/compatible", b"nvidia,gm20b\0")
        write(tree + b"soc/npu%d@" % number + name + b"/compatible", string + b"\0acme,unheard-of\0")
        write(tree + b"aliases/alias%d" % number, b"/soc/" + string + b"\0")

        pci = base + b"bus/pci/devices/" + name
        for attribute, value in [(b"vendor", b"0x10de"), (b"device", b"0x2330"), (b"class", b"0x030200")]:
            write(pci + b"/" + attribute, value + b"\n")
        link(pci + b"/driver", b"../../drivers/" + name)
        write(base + b"bus/pci/devices/bad%d/class" % number, string + b"\n")

        usb = base + b"bus/usb/devices/" + name.replace(b":", b";")
        write(usb + b"/idVendor", b"1a6e\n")
        write(usb + b"/idProduct", b"089a\n")
        for attribute in [b"manufacturer", b"product", b"serial"]:
            write(usb + b"/" + attribute, string + SERIAL.encode() + b"\n")
        link(usb + b"/driver", b"../../drivers/" + name)
        write(base + b"bus/usb/devices/bad%d/idVendor" % number, string + b"\n")

        drm = base + b"class/drm/" + name
        write(drm + b"/uevent", b"MAJOR=1\nDEVNAME=../../" + string + b"\n")
        platform = base + b"bus/platform/devices/" + name
        link(platform + b"/of_node", b"../../../../firmware/devicetree/base/soc/" + name)
        link(platform + b"/driver", b"../../drivers/" + name)


@pytest.fixture(scope="module")
def sysfs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile") / "sysfs"
    make_sysfs(folder)
    return folder


def dirt(text):
    """The characters of it that no output may hold."""
    marks = "\N{ARABIC LETTER MARK}\N{LEFT-TO-RIGHT MARK}\N{RIGHT-TO-LEFT MARK}"
    turning = {"RLE", "LRE", "PDF", "RLO", "LRO", "RLI", "LRI", "FSI", "PDI"}
    return {
        character
        for character in set(text) - {"\n"}
        if unicodedata.category(character) in ("Cc", "Cs") or character in marks
        or unicodedata.bidirectional(character) in turning
    }


def clean(data):
    """It as text; bytes that are no UTF-8 are an error."""
    text = data.decode("utf-8", "strict") if isinstance(data, bytes) else data
    assert not dirt(text), dirt(text)
    return text


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    return tmp_path_factory.mktemp("dev")


@pytest.fixture(scope="module", params=["logfmt", "json"])
def running(request, sysfs, dev, tmp_path_factory):
    """(the exporter, the folder that it writes into)"""
    folder = tmp_path_factory.mktemp("written")
    flags = [f"--path.sysfs={sysfs}", f"--path.dev={dev}", *NODES, f"--log.format={request.param}",
             f"--textfile.directory={folder}", f"--nfd.feature-file={folder}/features.d/ours"]
    with Exporter(*flags) as exporter:
        wait_until((folder / "features.d/ours").exists, "the feature file")
        yield exporter, folder


def check_exposition(text):
    clean(text)
    families = list(text_string_to_metric_families(text))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    assert all(re.fullmatch("(accelerator|devicetree|process)_[a-z_]+", name) for name in names), names
    samples = [sample for family in families for sample in family.samples]
    for sample in samples:
        assert not dirt("".join(sample.labels.values()).replace("\n", "\x1b")), sample
    return samples


def test_the_exposition_holds_what_the_oracle_says_and_no_more(running):
    exporter, _ = running
    samples = check_exposition(exporter.metrics())
    info, = [sample for sample in samples if sample.name == "devicetree_info"]
    assert info.labels["model"] == expect.printable(b"".join(STRINGS))
    assert info.labels["compatible"] == expect.printable(STRINGS[0])
    shown = {sample.labels["compatible"] for sample in samples if sample.name == "devicetree_compatible_info"}
    assert {expect.printable(string) for string in STRINGS} <= shown
    assert [sample.value for sample in samples if sample.name == "devicetree_present"] == [1]
    count = lambda bus: len([s for s in samples if s.name == "accelerator_info" and s.labels["bus"] == bus])
    assert count("pci") == count("usb") == len(STRINGS) - 1, "all but the one called .."


@pytest.mark.parametrize("version", ["debian", "v3"])
def test_promtool_has_nothing_to_say(running, prometheus_program, version):
    exporter, _ = running
    checked = subprocess.run([prometheus_program(version, "promtool"), "check", "metrics"],
                             input=exporter.metrics().encode(), capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_labels_are_ones_that_kubernetes_takes(running):
    exporter, folder = running
    samples = check_exposition(exporter.metrics())
    labels = {s.labels["key"]: s.labels["value"] for s in samples if s.name == "devicetree_node_label_info"}
    assert labels["beta.devicetree.org/acme-board"] == "1"
    for key, value in labels.items():
        assert KEY.fullmatch(key) and VALUE.fullmatch(value), (key, value)
    features = clean((folder / "features.d/ours").read_bytes())
    comments = [line for line in features.splitlines() if line.startswith("#")]
    assert len(comments) == 2 and comments[1].startswith("# +expiry-time=")
    assert features.endswith("\n")
    assert dict(line.split("=") for line in features.splitlines()[2:]) == labels


def test_the_textfile_is_the_same_exposition(running):
    exporter, folder = running
    written = check_exposition((folder / "devicetree-exporter.prom").read_text("utf-8"))
    scraped = check_exposition(exporter.metrics())
    facts = lambda samples: {(s.name, *sorted(s.labels.items())) for s in samples if s.name.startswith("accelerator")}
    assert facts(written) == facts(scraped)


def test_nothing_else_is_written(running):
    _, folder = running
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) == [
        "devicetree-exporter.prom", "features.d", "features.d/ours"]


def test_the_page_holds_no_element_that_is_not_ours(running, serve):
    exporter, _ = running
    text = clean(exporter.get("/").body)
    page = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)
    plain = html5lib.parse(serve("jetson-nano").get("/").body.decode(), namespaceHTMLElements=False)
    scripts = lambda tree: ["".join(script.itertext()) for script in tree.iter("script")]
    assert scripts(page) == scripts(plain)
    tags = lambda tree: {element.tag for element in tree.iter() if isinstance(element.tag, str)}
    assert tags(page) <= tags(plain) | {"details", "summary", "em", "strong", "code", "span", "p", "ul", "li"}
    handlers = [name for element in page.iter() for name in element.attrib if name.startswith("on")]
    assert not handlers
    assert html.escape(expect.printable(STRINGS[9]), quote=False) in text.replace("&quot;", '"').replace("&#39;", "'")


def test_the_inventory_is_json_of_its_schema(running):
    exporter, _ = running
    answer = exporter.get("/inventory.json")
    clean(answer.body)
    inventory = json.loads(answer.body, parse_constant=pytest.fail)
    schema = json.loads((ROOT / "exporter/inventory.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(inventory)

    def strings(value):
        children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
        return [value] if isinstance(value, str) else [string for child in children for string in strings(child)]

    found = strings(inventory)
    assert expect.printable(b"".join(STRINGS)) in found
    assert not dirt("".join(found).replace("\n", "\x1b"))


def test_the_log_has_lines_of_ours_alone(running):
    exporter, _ = running
    lines = clean(exporter.stderr).split("\n")[:-1]
    if lines[0].startswith("{"):
        parsed = [json.loads(line) for line in lines]
    else:
        assert [line for line in lines if not LOGFMT.fullmatch(line)] == []
        parsed = [dict(FIELD.findall(line)) for line in lines]
    assert all({"time", "level", "msg"} <= line.keys() and line["msg"] != "forged" for line in parsed)
    problems = [line for line in parsed if "/bad" in line.get("problem", "")]
    assert len(problems) == 2 * len(STRINGS), "each device that says no number"


def test_serial_numbers_are_nowhere(running):
    exporter, folder = running
    shown = exporter.metrics() + exporter.stderr + exporter.get("/").body.decode() + exporter.get("/inventory.json").body.decode()
    shown += "".join(path.read_text() for path in folder.rglob("*") if path.is_file())
    assert SERIAL not in shown


# The terminal.


def printed(*args):
    ended = subprocess.run([binary(), *args], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=30)
    return ended.returncode, clean(ended.stdout), clean(ended.stderr)


def test_the_dry_run_prints_labels_alone(sysfs):
    code, out, err = printed(f"--path.sysfs={sysfs}", *NODES, "-d")
    heading, empty, *lines = out.split("\n")
    assert (code, heading, empty, lines.pop()) == (0, "Discovered the following devicetree properties:", "", "")
    for line in lines:
        key, _, value = line.partition(": ")
        assert KEY.fullmatch(key) and VALUE.fullmatch(value), line
    assert [line for line in err.split("\n")[:-1] if not LOGFMT.fullmatch(line)] == []


def test_explanations_are_clean(sysfs):
    code, out, _ = printed(f"--path.sysfs={sysfs}", *NODES, "--explain")
    assert code == 0
    assert expect.printable(STRINGS[0]) in out


@pytest.mark.parametrize("string", [s for s in STRINGS if not s.startswith(b"-")], ids=repr)
def test_what_it_is_asked_comes_back_clean(sysfs, string):
    """A label's key is copied from somewhere to the command line; so is a flag's value."""
    argument = os.fsdecode(string)
    for args in [["--explain", argument], [f"--config.file={argument}"], [f"--path.devicetree=/nowhere/{argument}", "-d"],
                 [f"--labels.prefix={argument}"], [f"--{argument}"], ["-d", f"--catalogue.file={argument}"],
                 ["--path.snapshot", argument], ["--textfile.directory", f"/nowhere/{argument}", "--once"],
                 ["--snapshot", f"/nowhere/{argument}"], ["--web.config.file", argument],
                 ["--labels.kubernetes", "--kubeconfig", argument, "--kubernetes.context", argument, "--once"]]:
        code, _, err = printed(f"--path.sysfs={sysfs}" if "--path.snapshot" not in args else "-d", *args)
        assert code in (0, 1, 2), args
        assert err.count("\n") <= 1 or "level=" in err, err


def test_a_snapshot_is_printable_and_gives_the_same_again(sysfs, tmp_path):
    file = tmp_path / "hostile.snapshot"
    code, _, _ = printed(f"--path.sysfs={sysfs}", *NODES, "--snapshot", str(file))
    assert code == 0
    text = file.read_bytes()
    assert re.fullmatch(rb"[ -~\n]+", text)
    assert SERIAL.encode() not in text
    assert printed(f"--path.snapshot={file}", *NODES, "-d")[:2] == printed(f"--path.sysfs={sysfs}", *NODES, "-d")[:2]
