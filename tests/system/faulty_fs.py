#!/usr/bin/env python3
"""A file system that fails as a test says: a folder shown again through FUSE.

Faults are of one path, below the folder and without a slash in front, and of one
operation: lookup (and stat), list (of a folder), readlink, open, read. The file system is
a process of its own, so that a reader that it keeps waiting holds up nobody else.

Needs Debian's fuse3, and /dev/fuse to be ours.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest

from exporter import wait_until

# Nobody waits longer, so that a test that fails ends.
MOST_SECONDS = 120

needs_fuse = pytest.mark.skipif(
    not os.access("/dev/fuse", os.R_OK | os.W_OK), reason="no /dev/fuse that is ours"
)


class FaultyFileSystem:
    """`folder` seen at `mount`, an empty folder; a context manager."""

    def __init__(self, folder, mount):
        self.folder = pathlib.Path(folder)
        self.mount = pathlib.Path(mount)

    def __enter__(self):
        self.mount.mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, __file__, self.folder, self.mount],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert self._answer() == "mounted"
            os.listdir(self.mount)  # it answers the kernel
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        subprocess.run(["fusermount3", "-u", "-z", self.mount], check=False)
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def fail(self, path, operation, error, times=None):
        """This operation on this path gives that errno, for so many times if they are given."""
        self._tell(do="fail", path=path, operation=operation, error=error, times=times)

    def hang(self, path, operation):
        """Whoever does that waits until mend(), and until then cannot even be killed."""
        self._tell(do="fail", path=path, operation=operation, error=0, times=None)

    def mend(self):
        self._tell(do="mend")

    def freeze(self):
        """Whoever wants anything waits until thaw(); killing it is the one thing that helps.

        Not even that helps who waits for what a thread here took just before it stopped: so all have
        stopped when this returns, and go on after MOST_SECONDS.
        """
        self._process.send_signal(signal.SIGSTOP)
        threads = pathlib.Path(f"/proc/{self._process.pid}/task")
        wait_until(lambda: all("\nState:\tT" in (thread / "status").read_text() for thread in threads.iterdir()), "frozen")
        self._thawing = threading.Timer(MOST_SECONDS, self.thaw)
        self._thawing.daemon = True
        self._thawing.start()

    def thaw(self):
        self._thawing.cancel()
        self._process.send_signal(signal.SIGCONT)

    def seen(self):
        """What was done since the last call: a list of (operation, path), each once, in order."""
        return [tuple(each) for each in self._tell(do="seen")]

    def _tell(self, **command):
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self):
        line = self._process.stdout.readline()
        assert line, "the file system has ended"
        return json.loads(line)


def serve(folder, mount):
    import mfusepy  # here alone: tests without FUSE need none

    lock = threading.Condition()
    faults = {}  # (operation, path) -> [errno or 0, times left or None]
    seen = {}

    def meet(operation, path):
        key = (operation, path.removeprefix("/"))
        with lock:
            seen[key] = None
            error, times = faults.get(key, (None, None))
            if error is None or times == 0:
                return
            if times is not None:
                faults[key][1] -= 1
            if error:
                raise mfusepy.FuseOSError(error)
            lock.wait_for(lambda: key not in faults, MOST_SECONDS)

    class Operations(mfusepy.Operations):
        use_ns = True

        def getattr(self, path, fh=None):
            meet("lookup", path)
            info = os.lstat(folder + path)
            return {name: getattr(info, name) for name in ("st_mode", "st_size", "st_nlink", "st_uid", "st_gid")}

        def readdir(self, path, fh):
            meet("list", path)
            return [".", "..", *os.listdir(folder + path)]

        def readlink(self, path):
            meet("readlink", path)
            return os.readlink(folder + path)

        def open(self, path, flags):
            meet("open", path)
            return 0

        def read(self, path, size, offset, fh):
            meet("read", path)
            with open(folder + path, "rb") as file:
                file.seek(offset)
                return file.read(size)

        def init(self, path):
            print(json.dumps("mounted"), flush=True)

    def control():
        for line in sys.stdin:
            command = json.loads(line)
            answer = None
            with lock:
                if command["do"] == "fail":
                    faults[command["operation"], command["path"]] = [command["error"], command["times"]]
                elif command["do"] == "mend":
                    faults.clear()
                    lock.notify_all()
                else:
                    answer = list(seen)
                    seen.clear()
            print(json.dumps(answer), flush=True)
        # Whoever started us is gone.
        subprocess.run(["fusermount3", "-u", "-z", mount], check=False)
        os._exit(0)

    threading.Thread(target=control, daemon=True).start()
    # Nothing is remembered by the kernel, as in sysfs.
    mfusepy.FUSE(
        Operations(), mount, foreground=True, attr_timeout=0, entry_timeout=0, negative_timeout=0
    )


if __name__ == "__main__":
    serve(*sys.argv[1:])
