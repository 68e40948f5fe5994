#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a command on a terminal of its own and answers its questions.

usage: terminal.py [--stdout FILE] [EXPECTED ANSWER]... -- COMMAND...

Waits for each EXPECTED text and types ANSWER and a newline; "^C", "^D" are typed as these keys. Prints what appeared on
the terminal, then a line "[echo on]" or "[echo off]" with the state the terminal was left in; ends with the command's
status, 128 + signal if it was killed.
"""
import os
import pty
import select
import sys
import termios

args = sys.argv[1:]
stdout = None
if args[0] == "--stdout":
    stdout, args = args[1], args[2:]
split = args.index("--")
script, command = args[:split], args[split + 1 :]
keys = {"^C": b"\x03", "^D": b"\x04"}

pid, terminal = pty.fork()
if pid == 0:
    if stdout is not None:
        os.dup2(os.open(stdout, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 1)
    os.execvp(command[0], command)

seen, unread, echo = b"", b"", None
while True:
    ready, _, _ = select.select([terminal], [], [], 120)
    if not ready:
        sys.stdout.buffer.write(seen)
        sys.exit("terminal.py: nothing happened for 120 s")
    try:
        data = os.read(terminal, 65536)
    except OSError:
        break
    if not data:
        break
    seen += data
    unread += data
    while script and script[0].encode() in unread:
        unread = unread.split(script[0].encode(), 1)[1]
        os.write(terminal, keys.get(script[1], script[1].encode() + b"\n"))
        script = script[2:]
echo = termios.tcgetattr(terminal)[3] & termios.ECHO
_, status = os.waitpid(pid, 0)
sys.stdout.buffer.write(seen.replace(b"\r\n", b"\n"))
print("\n[echo on]" if echo else "\n[echo off]")
sys.exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
