"""The configuration file at work: reloads, the textfile, logs, and what the process gives up."""

import ctypes
import json
import pathlib
import re
import signal
import stat
import subprocess
import threading

import pytest

import exporter
from exporter import Exporter, wait_until

GOOD = "labels:\n  prefix: example.org\n"


def value(body, metric):
    return float(re.search(rf"^{re.escape(metric)} (\S+)$", body, re.M)[1])


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(GOOD)
    return path


@pytest.fixture
def running(dtb, config):
    flags = [f"--path.devicetree={dtb('jetson-nano')}", f"--config.file={config}"]
    with Exporter(*flags) as process:
        yield process


def reloads(process):
    return process.stderr.count("Read the configuration and the hardware again")


def reload(process):
    before = reloads(process)
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: reloads(process) > before, "the configuration is read again")


def test_a_change_is_taken_at_sighup(running, config):
    assert 'key="example.org/nvidia-jetson-nano"' in running.metrics()
    config.write_text("labels: {prefix: other.example, nodes: [gpu]}\n")
    reload(running)
    body = running.metrics()
    assert 'key="other.example/nvidia-jetson-nano"' in body
    assert 'key="other.example/nvidia-gm20b"' in body
    assert "example.org/" not in body
    assert value(body, "devicetree_exporter_config_last_reload_successful") == 1


def test_an_address_on_the_command_line_wins_at_a_reload_too(running, config):
    config.write_text(GOOD + "web: {listen-address: ['127.0.0.1:9']}\n")
    reload(running)  # the command line wins: nothing has changed
    assert "needs a restart" not in running.stderr


def test_an_address_of_the_file_that_changes_waits_for_a_restart_and_says_so(dtb, config, tmp_path):
    config.write_text("web: {listen-address: ['127.0.0.1:0']}\n")
    command = [exporter.binary(), f"--path.devicetree={dtb('jetson-nano')}", f"--path.sysfs={tmp_path}",
               f"--config.file={config}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        port = int(exporter.LISTENING.search(process.stderr.readline())[2])
        config.write_text("web: {listen-address: ['127.0.0.1:9']}\n")
        process.send_signal(signal.SIGHUP)
        lines = iter(process.stderr.readline, "")
        assert any("--web.listen-address has changed: it needs a restart" in line for line in lines)
        assert exporter.request("127.0.0.1", port, "GET", "/-/ready").status == 200
        process.terminate()


def test_the_sinks_may_change_at_a_reload(running, config, tmp_path):
    config.write_text(GOOD + f"textfile: {{directory: {tmp_path}}}\nrefresh: {{interval: '0'}}\n")
    reload(running)
    # Landlock let it write nowhere, as it was started; it says so, as for any file.
    wait_until(lambda: "A file is not written" in running.stderr or list(tmp_path.glob("*.prom")), "the new sink")
    config.write_text(GOOD)
    reload(running)
    assert "file_last_write_successful" not in running.metrics()


def test_a_wrong_file_changes_nothing_and_is_named(running, config):
    before = value(
        running.metrics(), "devicetree_exporter_config_last_reload_success_timestamp_seconds"
    )
    config.write_text("labels: {prefix: other.example, nodez: [gpu]}\n")
    running.send_signal(signal.SIGHUP)
    failed = "devicetree_exporter_config_last_reload_successful"
    wait_until(lambda: value(running.metrics(), failed) == 0, "the metric says so")
    body = running.metrics()
    assert 'key="example.org/nvidia-jetson-nano"' in body  # nor the good half of the file
    assert f"{config}:1:33: unknown key" in running.stderr
    assert (
        value(body, "devicetree_exporter_config_last_reload_success_timestamp_seconds") == before
    )
    config.write_text(GOOD)
    reload(running)
    assert value(running.metrics(), failed) == 1


def test_a_wrong_catalogue_is_refused_with_all_else(running, config, tmp_path):
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text("nonsense\n")
    config.write_text(f"labels: {{prefix: other.example}}\ncatalogue: {{file: {catalogue}}}\n")
    running.send_signal(signal.SIGHUP)
    wait_until(lambda: "catalogue.yaml:1:1" in running.stderr, "the catalogue's fault is logged")
    assert 'key="example.org/nvidia-jetson-nano"' in running.metrics()


def test_no_scrape_fails_while_the_configuration_is_read_again(running, config):
    done = threading.Event()
    answers = []

    def scrape():
        while not done.is_set():
            response = running.get("/metrics")
            answers.append((response.status, b"devicetree_exporter_build_info" in response.body))

    scrapers = [threading.Thread(target=scrape) for _ in range(4)]
    for scraper in scrapers:
        scraper.start()
    turn = 0
    while len(answers) < 10_000:
        config.write_text(f"labels: {{prefix: p{turn % 7}.example, nodes: [gpu]}}\n")
        reload(running)
        turn += 1
    done.set()
    for scraper in scrapers:
        scraper.join()
    assert set(answers) == {(200, True)}
    assert turn > 20


# POST /-/reload, as Prometheus has it.


def test_a_reload_over_http_is_forbidden_unless_it_is_enabled(running):
    answer = running.request("POST", "/-/reload", {"Content-Length": "0"})
    assert (answer.status, answer.body) == (403, b"Lifecycle API is not enabled.\n")
    assert reloads(running) == 0


def test_a_reload_over_http_answers_when_it_is_done(dtb, config):
    flags = [f"--path.devicetree={dtb('jetson-nano')}", f"--config.file={config}"]
    with Exporter(*flags, "--web.enable-lifecycle") as it:
        for method in ["POST", "PUT"]:
            config.write_text(f"labels: {{prefix: {method.lower()}.example}}\n")
            assert it.request(method, "/-/reload", {"Content-Length": "0"}).status == 200
            assert f'key="{method.lower()}.example/nvidia-jetson-nano"' in it.metrics()
        config.write_text("labels: {prefix: other.example, nodez: [gpu]}\n")
        answer = it.request("POST", "/-/reload", {"Content-Length": "0"})
        assert answer.status == 500
        assert f"{config}:1:33: unknown key" in answer.body.decode()
        assert 'key="put.example/nvidia-jetson-nano"' in it.metrics()
        assert it.get("/-/reload").status == 405
        posted = subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST",
                                 f"{it.url}/-/reload"], capture_output=True, text=True, check=True)
        assert posted.stdout == "500"
        config.write_text("web: {enable-lifecycle: false}\n")
        assert it.request("POST", "/-/reload", {"Content-Length": "0"}).status == 200
        # The command line wins: it stays enabled.
        assert it.request("POST", "/-/reload", {"Content-Length": "0"}).status == 200
        it.stop()


def test_many_reloads_at_once_are_all_answered(dtb, config):
    flags = [f"--path.devicetree={dtb('jetson-nano')}", f"--config.file={config}"]
    with Exporter(*flags, "--web.enable-lifecycle") as it:
        answers = []

        def ask():
            for _ in range(10):
                answers.append(it.request("POST", "/-/reload", {"Content-Length": "0"}).status)

        askers = [threading.Thread(target=ask) for _ in range(8)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        assert answers == [200] * 80
        it.stop()


def test_a_check_reads_all_files_and_starts_nothing(config):
    assert exporter.run(f"--config.file={config}", "--config.check").returncode == 0
    config.write_text("labels: {prefix: UPPER}\n")
    checked = exporter.run(f"--config.file={config}", "--config.check")
    assert checked.returncode == 2
    assert checked.stderr.count("\n") == 1 and f"{config}:1:18:" in checked.stderr


def test_the_textfile_is_whole_readable_by_all_and_good(dtb, tmp_path, prometheus_program):
    with Exporter(f"--path.devicetree={dtb('rock-5b')}", f"--textfile.directory={tmp_path}") as it:
        path = tmp_path / "devicetree-exporter.prom"
        wait_until(path.exists, "the file")
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        text = path.read_text()
        assert "process_" not in text
        scraped = it.metrics()
        inventory = [line for line in text.splitlines() if line.startswith("accelerator_")]
        assert inventory and all(line in scraped for line in inventory)
        promtool = prometheus_program("debian", "promtool")
        checked = subprocess.run(
            [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=True
        )
        assert checked.stdout + checked.stderr == ""
        path.unlink()
        it.send_signal(signal.SIGHUP)
        wait_until(path.exists, "the file is written again")
    assert [entry.name for entry in tmp_path.iterdir()] == ["devicetree-exporter.prom"]


def test_once_writes_the_textfile_and_ends(dtb, tmp_path):
    flags = [f"--path.devicetree={dtb('rock-5b')}", f"--textfile.directory={tmp_path}", "--once"]
    assert exporter.run(*flags).returncode == 0
    assert "devicetree_present 1" in (tmp_path / "devicetree-exporter.prom").read_text()
    missing = exporter.run(flags[0], f"--textfile.directory={tmp_path}/none", "--once")
    assert missing.returncode == 1
    assert missing.stderr.count("\n") == 1 and f"{tmp_path}/none" in missing.stderr


def test_the_log_is_json_where_that_is_asked_for(dtb):
    with Exporter(f"--path.devicetree={dtb('jetson-nano')}", "--log.format=json") as it:
        lines = [json.loads(line) for line in it.stderr.splitlines()]
    assert {"time", "level", "msg"} <= lines[0].keys()
    assert lines[0]["level"] == "INFO"


def test_it_gives_up_what_it_does_not_need(dtb, tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    with Exporter(f"--path.devicetree={dtb('jetson-nano')}", f"--textfile.directory={inside}") as it:
        proc = pathlib.Path(f"/proc/{it.pid}")
        assert re.search(r"^NoNewPrivs:\s+1$", (proc / "status").read_text(), re.M)
        limits = (proc / "limits").read_text()
        assert re.search(r"^Max core file size\s+0\s+0\s", limits, re.M)
        if not landlock_is_there():
            pytest.skip("this kernel has no Landlock")
        # Another folder of the same name: the right to write went with the first.
        inside.rename(tmp_path / "moved")
        inside.mkdir()
        it.send_signal(signal.SIGHUP)
        wait_until(lambda: "Permission denied" in it.stderr, "the write is refused")
        assert not list(inside.iterdir())


def landlock_is_there():
    create_ruleset = 444  # the same number on every architecture
    return ctypes.CDLL(None).syscall(create_ruleset, None, 0, 1) > 0
