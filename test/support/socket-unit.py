"""What systemd does with a .socket unit and Restart=always: binds the sockets, and keeps starting the program with them.

usage: socket-unit.py --socket NAME=PATH|ADDRESS:PORT [--socket ...]... PROGRAM [ARGUMENT]...

Descriptors go by sd_listen_fds(3): from 3 on, LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES. Every pid is a line on stdout.
"""

import argparse
import os
import signal
import socket
import sys
import time

FIRST = 3
# A program that ends at once must not keep a CPU busy.
PAUSE = 0.05

parser = argparse.ArgumentParser()
parser.add_argument("--socket", action="append", required=True)
parser.add_argument("program", nargs=argparse.REMAINDER)
options = parser.parse_args()

names = []
listening = []
for each in options.socket:
    name, place = each.split("=", 1)
    if place.startswith("/"):
        bound = socket.socket(socket.AF_UNIX)
        bound.bind(place)
    else:
        host, port = place.rsplit(":", 1)
        bound = socket.socket(socket.AF_INET)
        bound.bind((host, int(port)))
    bound.listen(128)
    names.append(name)
    listening.append(bound)

serving = 0


def end(*_):
    if serving:
        os.kill(serving, signal.SIGKILL)
        os.waitpid(serving, 0)
    os._exit(0)


signal.signal(signal.SIGTERM, end)

while True:
    serving = os.fork()
    if serving == 0:
        # Out of the way first: a target may be another one's source.
        spare = [os.dup2(bound.fileno(), 100 + index) for index, bound in enumerate(listening)]
        for index, descriptor in enumerate(spare):
            os.dup2(descriptor, FIRST + index)
            os.close(descriptor)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.environ.update(
            LISTEN_PID=str(os.getpid()),
            LISTEN_FDS=str(len(listening)),
            LISTEN_FDNAMES=":".join(names),
        )
        os.execvp(options.program[0], options.program)
    print(serving, flush=True)
    os.waitpid(serving, 0)
    serving = 0
    sys.stderr.write("socket-unit: the program has ended\n")
    time.sleep(PAUSE)
