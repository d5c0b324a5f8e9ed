"""The real binary as a test's server: `HEDDLE_BIN`, with the plugins of the folder `HEDDLE_PLUGINS`."""

import os
import re
import subprocess
import sys
import threading
import unittest

# How long anything may take that the tests wait for, in seconds. The first start compiles the plugins.
START_TIMEOUT = 120
TIMEOUT = 30


class Server:
    """A running server process and its address. Its store is in the folder."""

    def __init__(self, folder, *arguments):
        self.log = []
        self.address = None
        self.listening = threading.Event()
        command = [os.environ["HEDDLE_BIN"], "serve", "--listen", "127.0.0.1:0"]
        command += ["--store", f"sqlite:{folder}/heddle.db", "--plugins", os.environ["HEDDLE_PLUGINS"]]
        command += arguments
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            env={**os.environ, "NO_COLOR": "1", "HEDDLE_LOG": "info"},
        )
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        if not self.listening.wait(START_TIMEOUT) or self.address is None:
            self.stop()
            raise RuntimeError("the server did not start; its output:\n" + "".join(self.log))

    def _read(self):
        for line in self.process.stdout:
            self.log.append(line)
            if found := re.search(r"listening on http://(127\.0\.0\.1:\d+)", line):
                self.address = found[1]
                self.listening.set()
        # The process ended: wake the waiting constructor.
        self.listening.set()

    def stop(self):
        """Terminates the process gracefully, and returns its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self.reader.join()
            self.process.stdout.close()


def main(case):
    """Runs the tests of a class, says how many passed as Rust's test runner does, and gives the exit code."""
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(case)
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    passed = max(result.testsRun - failed - len(result.skipped), 0)
    word = "FAILED" if failed else "ok"
    print(f"test result: {word}. {passed} passed; {failed} failed; {len(result.skipped)} ignored")
    return 1 if failed else 0
