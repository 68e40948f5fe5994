# SPDX-License-Identifier: Apache-2.0
"""A software TPM for measurements and for the test of memory."""
import socket
import subprocess
import sys
import time


def answers(path):
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect_ex(str(path)) == 0


def start(place):
    """Starts swtpm with its state and sockets in an existing directory; returns the process and its TCTI."""
    tpm = subprocess.Popen(["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={place}", "--server",
                            f"type=unixio,path={place}/sock", "--ctrl", f"type=unixio,path={place}/sock.ctrl",
                            "--flags", "not-need-init,startup-clear"], stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
    for _ in range(600):
        if all(map(answers, (place / "sock.ctrl", place / "sock"))):
            return tpm, f"swtpm:path={place}/sock"
        time.sleep(0.05)
    tpm.kill()
    sys.exit("swtpm does not start")
