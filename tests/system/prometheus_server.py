"""A Prometheus server that runs for a test."""

import contextlib
import json
import socket
import subprocess
import urllib.parse

from exporter import request, wait_until

API_SECONDS = 120  # its own limit for a query
STOP_SECONDS = 300  # it writes its head, which of a large fleet takes a while


class Prometheus:
    """A running Prometheus; a context manager.

    program: its path. folder takes all that it writes. config: the text of its configuration.
    """

    def __init__(self, program, folder, config):
        self._config = folder / "prometheus.yml"
        self._config.write_text(config)
        self._log = folder / "log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._command = [
            program,
            f"--config.file={self._config}",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--log.level=warn",
        ]

    def __enter__(self):
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            wait_until(self._is_ready, "Prometheus is ready", seconds=60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(timeout=STOP_SECONDS)

    def kill(self):
        """Ends it without a word, as a crash does; `with` starts it again on the same data."""
        self._process.kill()
        self._process.wait()

    def _is_ready(self):
        assert self._process.poll() is None, self._log.read_text()
        with contextlib.suppress(OSError):
            return request("127.0.0.1", self._port, "GET", "/-/ready").status == 200

    def api(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        answer = request("127.0.0.1", self._port, "GET", f"/api/v1/{path}?{query}", seconds=API_SECONDS)
        reply = json.loads(answer.body)
        assert reply["status"] == "success", reply
        return reply["data"]

    @property
    def url(self):
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self):
        return self._process.pid

    def query(self, expression, at=None):
        """The samples of an instant query, now if not at another time: a list of (labels, value)."""
        when = {} if at is None else {"time": at}
        result = self.api("query", query=expression, **when)["result"]
        return [(sample["metric"], float(sample["value"][1])) for sample in result]

    def query_range(self, expression, end, seconds, step):
        """The same over the seconds before end: a list of (labels, values)."""
        result = self.api("query_range", query=expression, start=end - seconds, end=end, step=step)["result"]
        return [(series["metric"], [float(value) for _, value in series["values"]]) for series in result]
