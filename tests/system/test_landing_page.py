"""The page at /, opened by a real Chromium, with and without JavaScript.

axe-core comes from npm, into $DTE_CACHE.
"""

import base64
import contextlib
import hashlib
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

import html5lib
import pytest
from playwright.sync_api import expect as expect_page
from playwright.sync_api import sync_playwright

from conftest import BOARDS, MACHINES, board_names
from debian import CACHE
from exporter import Exporter

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))

import expect
import fdt
import labels as oracle_labels

AXE = "axe-core-4.14.1"
AXE_SHA256 = "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745"
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

WIDTHS = [360, 1920]
SCHEMES = ["light", "dark"]
NODE = "node.test"  # a name of this machine that is not localhost
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    f"--host-resolver-rules=MAP {NODE} 127.0.0.1",
]

# What the page says, read from its elements.
FACTS = """() => {
  const all = (root, selector) => [...root.querySelectorAll(selector)];
  const text = (root, selector) => all(root, selector).map((found) => found.textContent);
  const rows = (id) => all(document, `[aria-labelledby=${id}] tbody tr`);
  const treeNode = (item) => {
    const details = item.querySelector(':scope > details');
    const line = details ? details.querySelector(':scope > summary') : item;
    const pick = (name) => text(line, `:scope > ${name}`);
    const children = details ? all(details, ':scope > ul > li').map(treeNode) : [];
    return [pick('b')[0], pick('i'), pick('q'), pick('em'), children];
  };
  return {
    title: document.title,
    headings: text(document, 'h1'),
    compatible: text(document, '.facts div:first-child code'),
    time: all(document, 'time').map((time) => time.dateTime)[0],
    labels: text(document, '.label'),
    origins: rows('labels').map((row) => text(row, 'td code')),
    selector: text(document, '#selector')[0],
    accelerators: all(document, '.cards > li').map((card) => ({
      kind: text(card, '.kind')[0],
      name: text(card, 'h3')[0],
      place: text(card, '.place')[0],
      steps: text(card, '.ladder b'),
      reasons: text(card, '.ladder span'),
      more: Object.fromEntries(all(card, 'dt').map(
          (name) => [name.textContent, name.nextElementSibling.textContent])),
    })),
    rejected: rows('rejected').map((row) => text(row, 'th, td')),
    unrecognised: rows('unrecognised').map((row) => text(row, 'code')),
    collectors: rows('collectors').map((row) => text(row, 'th, td')),
    tree: all(document, '.tree > li').map(treeNode)[0],
    buttons: all(document, 'button').filter((button) => button.checkVisibility()).length,
  };
}"""

# Text that leaves the window, or the cell or block that it stands in.
CLIPPED = """() => {
  const BLOCKS = 'th, td, dd, dt, li, pre, p, button, h1, h2, h3, summary, footer';
  const clipped = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility()) continue;
    if (element.closest('.hidden, script')) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const block = element.closest(BLOCKS).getBoundingClientRect();
    for (const box of range.getClientRects()) {
      const left = Math.max(0, block.left - 1), right = Math.min(innerWidth, block.right + 1);
      if (box.left < left || box.right > right) clipped.push(node.data);
    }
  }
  return [document.documentElement.scrollWidth > innerWidth, clipped];
}"""


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        with contextlib.closing(
            playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        ) as running:
            yield running


@pytest.fixture(scope="module")
def axe():
    """The source of axe-core."""
    package = CACHE / "npm" / f"{AXE}.tgz"
    if not package.exists():
        if not shutil.which("npm"):
            pytest.skip("npm, which fetches axe-core, is not there")
        package.parent.mkdir(parents=True, exist_ok=True)
        name = "@".join(AXE.rsplit("-", 1))
        subprocess.run(
            ["npm", "pack", "--silent", name], cwd=package.parent, check=True, capture_output=True
        )
    assert hashlib.sha256(package.read_bytes()).hexdigest() == AXE_SHA256, f"another {package}"
    with tarfile.open(package) as files:
        return files.extractfile("package/axe.min.js").read().decode()


@pytest.fixture
def visit(browser):
    """visit(url, option=...) is a page in a context of its own, with these options.

    At the end of the test: it has asked for nothing but itself, and nothing has
    complained on the console.
    """
    complaints, requests, expected = [], [], []
    with contextlib.ExitStack() as stack:

        def open_page(url, **options):
            context = stack.enter_context(contextlib.closing(browser.new_context(**options)))
            page = context.new_page()
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("request", lambda request: requests.append(request.url))
            expected.append(f"{url}/")
            page.goto(url)
            return page

        yield open_page
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == expected


def unfold(page):
    """By the button, as the tree may have a thousand nodes; and the other folded part."""
    for button in page.locator("#unfold").all():
        button.click()
    for summary in page.locator("section > details > summary").all():
        summary.click()
    assert page.locator("details:not([open])").count() == 0


# What it says.


@pytest.mark.parametrize("scripts", [True, False], ids=["javascript", "no-javascript"])
@pytest.mark.parametrize("name", MACHINES)
def test_it_says_what_was_found(serve, visit, dtb, name, scripts):
    exporter = serve(name)
    while True:  # a device that cannot be read is tried again, each time a new snapshot
        inventory = json.loads(exporter.get("/inventory.json").body)
        page = visit(exporter.url, java_script_enabled=scripts)
        if json.loads(exporter.get("/inventory.json").body) == inventory:
            break
    facts = page.evaluate(FACTS)

    devicetree = inventory["devicetree"]
    model = devicetree.get("model", "A machine without a devicetree")
    assert facts["headings"] == [model]
    assert facts["title"] == re.sub(r"[ \t\n\f\r]+", " ", f"{model} · devicetree-exporter")
    assert facts["time"] == inventory["snapshot_time"]
    assert facts["labels"] == [f"{label['key']}={label['value']}" for label in inventory["labels"]]
    assert facts["origins"] == [
        [*([label["compatible"]] if "compatible" in label else []), *label["from"]]
        for label in inventory["labels"]
    ]
    assert [found | {"reasons": found["reasons"][1:]} for found in facts["accelerators"]] == [
        card(found) for found in inventory["accelerators"]
    ]
    assert facts["rejected"] == [
        [
            entry.get("compatible", "no list of strings"),
            entry["path"],
            f"{entry['reason']}: {entry['detail']}",
        ]
        for entry in inventory["rejected"]
    ]
    assert facts["unrecognised"] == [
        [entry["compatible"], entry["path"]] for entry in inventory["unrecognised_nodes"]
    ]
    rows = []
    for entry in inventory["collectors"]:
        result = "good" if entry["success"] else "failed"
        rows.append(
            [
                entry["name"],
                result,
                str(entry["skipped_devices"]),
                f"{entry['duration_seconds'] * 1000:.3f} ms",
            ]
        )
        rows += (
            [["\n" + "".join(f"{problem}\n" for problem in entry["problems"])]]
            if entry["problems"]
            else []
        )
    assert facts["collectors"] == rows
    if devicetree["present"]:
        assert facts["compatible"] == devicetree["compatible"]
        assert facts["tree"] == tree_node(fdt.parse(dtb(board_of(name)).read_bytes()))
        assert devicetree["fingerprint"] in page.locator(".facts").inner_text()
    else:
        assert facts["tree"] is None
    assert (facts["buttons"] > 0) == (scripts and (bool(facts["labels"]) or devicetree["present"]))


def board_of(name):
    of_host = BOARDS / name / "devicetree"
    return of_host.read_text().strip() if of_host.exists() else name


def card(found):
    """An accelerator of /inventory.json as the page has it."""
    names = [found[name] for name in ("vendor", "model") if name in found]
    steps = {step: found[step] for step in ("described", "enabled", "bound", "ready")}
    more = {
        "Compatible": found["compatible"],
        "Driver": found.get("driver"),
        "NUMA node": str(found["numa_node"]) if "numa_node" in found else None,
        "Label": found.get("label_key"),
    }
    return {
        "kind": found["kind"],
        "name": " ".join(names) or found["compatible"],
        "place": f"{found['bus']} {found['address']}",
        "steps": [step if reached else f"not {step}" for step, reached in steps.items()],
        "reasons": [found[f"{step}_reason"] for step in list(steps)[1:]],
        "more": {name: value for name, value in more.items() if value},
    }


def tree_node(node):
    """[name, compatible, model, status, children] of the oracle's node."""
    compatibles = oracle_labels.compatibles(node)
    model = fdt.string_of(node.properties[b"model"]) if b"model" in node.properties else None
    status = oracle_labels.effective_status(node)
    remarks = ["compatible is malformed"] * (compatibles is None) + [status] * (status != "okay")
    return [
        expect.printable(node.name) or "/",
        [expect.printable(compatible) for compatible in compatibles or []],
        [] if model is None else [expect.printable(model)],
        remarks,
        [tree_node(child) for child in sorted(node.children, key=lambda child: child.name)],
    ]


@pytest.mark.parametrize("name", board_names())
def test_its_labels_are_those_of_the_golden_file(serve, visit, name):
    _, _, lines = (BOARDS / name / "expected/dry_run.txt").read_text().partition("\n\n")
    found = visit(serve(name).url).locator(".label").all_text_contents()
    assert found == [line.replace(": ", "=") for line in lines.splitlines()]


def test_a_machine_without_a_devicetree_is_nothing_to_worry_about(serve, visit):
    page = visit(serve("pc").url)
    assert page.get_by_role("heading", level=1).inner_text() == "A machine without a devicetree"
    assert "usual for a PC or a server" in page.locator("header").inner_text()
    assert page.locator("strong").count() == 0


def test_its_links_lead_to_the_other_pages(serve, visit):
    exporter = serve("jetson-nano")
    links = visit(exporter.url).get_by_role("navigation").get_by_role("link")
    found = [links.nth(i).evaluate("link => link.href") for i in range(links.count())]
    assert found == [
        exporter.url + path for path in ("/metrics", "/inventory.json", "/-/healthy", "/-/ready")
    ]
    assert [exporter.get(url.removeprefix(exporter.url)).status for url in found] == [200] * 4


# How it is served.


@pytest.mark.parametrize("name", MACHINES)
def test_it_is_html_without_a_parse_error(serve, name):
    answer = serve(name).get("/")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    html5lib.HTMLParser(strict=True).parse(answer.body.decode("utf-8"))


def test_the_policy_allows_its_own_style_and_script_and_nothing_else(serve):
    answer = serve("hostile").get("/")
    directives = dict(
        part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; ")
    )
    body = answer.body.decode("utf-8")
    for name in ("style", "script"):
        (text,) = re.findall(rf"<{name}>(.*?)</{name}>", body, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert directives.pop(f"{name}-src") == f"'sha256-{digest}'"
    assert directives == {
        "default-src": "'none'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


def test_a_script_or_a_style_that_got_into_it_would_do_nothing(serve, browser):
    with contextlib.closing(browser.new_context()) as context:
        page = context.new_page()
        page.goto(serve("hostile").url)
        assert page.locator("script").count() == 1
        page.evaluate("""() => {
          const button = document.createElement('button');
          button.setAttribute('onclick', 'window.evil = true');
          button.setAttribute('style', 'color: rgb(1, 2, 3)');
          const script = document.createElement('script');
          script.textContent = 'window.evil = true';
          document.body.append(button, script);
          button.click();
          window.colour = getComputedStyle(button).color;
        }""")
        assert page.evaluate("[window.evil, window.colour !== 'rgb(1, 2, 3)']") == [None, True]


# How it looks and is used.


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", MACHINES)
def test_nothing_is_cut_off_and_nothing_scrolls_sideways(serve, visit, name, width):
    page = visit(serve(name).url, viewport={"width": width, "height": 800})
    unfold(page)
    assert page.evaluate(CLIPPED) == [False, []]


def test_the_deepest_tree_that_is_read_fits_a_narrow_screen(visit, tmp_path):
    depth = 62  # and the root; one more is refused
    nodes = (
        "".join(f'n{level} {{ compatible = "acme,level-{level}";' for level in range(depth))
        + "};" * depth
    )
    source = f'/dts-v1/; / {{ compatible = "acme,deep"; {nodes} }};'
    blob = tmp_path / "deep.dtb"
    subprocess.run(["dtc", "-q", "-O", "dtb", "-o", blob], input=source.encode(), check=True)
    with Exporter(f"--path.devicetree={blob}") as exporter:
        page = visit(exporter.url, viewport={"width": 360, "height": 800})
        unfold(page)
        assert page.locator(".tree li").count() == depth + 1
        assert page.evaluate(CLIPPED) == [False, []]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["hostile", "rock-5b-host", "gpu-server", "pc"])
def test_axe_finds_nothing(serve, visit, axe, name, width, scheme):
    page = visit(serve(name).url, viewport={"width": width, "height": 800}, color_scheme=scheme)
    unfold(page)
    page.evaluate(axe)
    result = page.evaluate("tags => axe.run(document, {runOnly: tags})", AXE_TAGS)
    found = result["violations"] + result["incomplete"]
    assert [
        (rule["id"], node["html"], node["failureSummary"])
        for rule in found
        for node in rule["nodes"]
    ] == []
    assert {"color-contrast", "landmark-one-main", "page-has-heading-one"} <= {
        rule["id"] for rule in result["passes"]
    }


def test_dark_and_light_differ(serve, visit):
    colours = {
        visit(serve("pc").url, color_scheme=scheme).evaluate(
            "getComputedStyle(document.body).backgroundColor"
        )
        for scheme in SCHEMES
    }
    assert len(colours) == 2


@pytest.mark.parametrize("scripts", [True, False], ids=["javascript", "no-javascript"])
def test_the_tree_folds_by_mouse_and_by_keyboard(serve, visit, scripts):
    page = visit(serve("jetson-nano").url, java_script_enabled=scripts)
    root, bus = page.locator(".tree > li > details"), page.locator(".tree details details").first
    is_open = lambda details: details.get_attribute("open") is not None
    summary = bus.locator("> summary")
    assert is_open(root)
    assert not is_open(bus)
    summary.click()
    assert is_open(bus)
    assert bus.locator("> ul > li").first.is_visible()
    for key in ("Enter", "Space"):
        before = is_open(bus)
        summary.press(key)
        assert is_open(bus) != before
    summary.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    assert summary.evaluate(
        "summary => summary === document.activeElement && summary.matches(':focus-visible')"
    )


def test_a_button_unfolds_and_folds_the_whole_tree(serve, visit):
    page = visit(serve("jetson-nano").url)
    folded = page.locator(".tree details:not([open])")
    assert folded.count() > 0
    page.get_by_role("button", name="Unfold all").click()
    assert folded.count() == 0
    page.get_by_role("button", name="Fold all", exact=True).click()
    assert folded.count() == page.locator(".tree details").count() - 1


# The copy buttons.


def pods(snippets):
    """Manifests of Pods with these parts of their spec."""
    return "---\n".join(
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: pod-{number}}}\nspec:\n"
        "  containers: [{name: main, image: none}]\n"
        + "".join(f"  {line}\n" for line in snippet.splitlines())
        for number, snippet in enumerate(snippets)
    )


def allow_clipboard(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])


def clipboard(page):
    return page.evaluate("navigator.clipboard.readText()")


@pytest.mark.parametrize("name", ["hostile", "rock-5b-host", "gpu-server"])
def test_what_is_copied_is_a_node_selector_that_kubernetes_takes(serve, visit, control_plane, name):
    exporter = serve(name)
    page = visit(exporter.url)
    allow_clipboard(page)
    labels = [label.split("=") for label in page.locator(".label").all_text_contents()]
    copied = []
    for button in [page.get_by_role("button", name="Copy all"), *page.locator("td button").all()]:
        button.click()
        expect_page(button).to_contain_class("done")
        assert page.get_by_role("status").inner_text() == "Copied"
        copied.append(clipboard(page))
    made = json.loads(
        control_plane.kubectl(
            "apply", "--dry-run=server", "-o", "json", "-f", "-", input=pods(copied)
        )
    )
    assert [pod["spec"]["nodeSelector"] for pod in made["items"]] == [
        dict(labels),
        *({key: value} for key, value in labels),
    ]


def test_a_node_selector_can_be_read_without_javascript(serve, visit, control_plane):
    page = visit(serve("rock-5b-host").url, java_script_enabled=False)
    page.get_by_text("As a nodeSelector").click()
    shown = page.locator("#selector").inner_text()
    made = json.loads(
        control_plane.kubectl(
            "apply", "--dry-run=server", "-o", "json", "-f", "-", input=pods([shown])
        )
    )
    labels = page.locator(".label").all_text_contents()
    assert made["spec"]["nodeSelector"] == dict(label.split("=") for label in labels)


def test_it_copies_over_plain_http_from_another_machine_too(serve, visit):
    exporter = serve("jetson-nano")
    page = visit(f"http://{NODE}:{exporter.port}")
    assert page.evaluate("!isSecureContext && navigator.clipboard === undefined")
    page.locator("td button").first.click()
    page.get_by_role("status").get_by_text("Copied").wait_for()
    reader = page.context.new_page()
    reader.goto(exporter.url)
    allow_clipboard(reader)
    assert (
        clipboard(reader).strip() == 'nodeSelector:\n  beta.devicetree.org/nvidia-jetson-nano: "1"'
    )


def test_where_nothing_may_be_copied_the_text_is_shown_and_selected(serve, visit):
    page = visit(f"http://{NODE}:{serve('jetson-nano').port}")
    page.evaluate("document.execCommand = () => false")
    page.locator("td button").first.click()
    page.get_by_role("status").get_by_text("Ctrl+C").wait_for()
    wanted = 'nodeSelector:\n  beta.devicetree.org/nvidia-jetson-nano: "1"'
    assert page.evaluate("getSelection().toString()").strip() == wanted
    assert page.locator("#selector").is_visible()
