"""Starts an installed `lyftdata quickstart` and waits until it reports both Workers online; run by CI."""

import os
import signal
import subprocess
import sys
import tempfile
import threading


def main(program: str) -> int:
    """Return 0 if both Workers came online within a minute and Ctrl-C ended it cleanly."""
    with tempfile.TemporaryDirectory() as home:
        environment = {"PATH": os.environ["PATH"], "HOME": home, "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            [program, "quickstart"], env=environment, stdout=subprocess.PIPE, text=True
        )
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        online = 0
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="")
            online += "online" in line and "press-" in line
            if online == 2:
                process.send_signal(signal.SIGINT)
                break
        rest = process.stdout.read()
        print(rest, end="")
        watchdog.cancel()
        return 0 if online == 2 and process.wait() == 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
