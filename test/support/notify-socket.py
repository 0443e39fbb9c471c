"""What systemd listens at for sd_notify(3): prints every datagram as a line of JSON, and how it is called before.

usage: notify-socket.py PATH        (a PATH that begins with @ is an abstract name)
"""

import json
import socket
import sys

path = sys.argv[1]
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind("\0" + path[1:] if path.startswith("@") else path)
print(json.dumps("bound"), flush=True)
while True:
    print(json.dumps(receiver.recv(4096).decode()), flush=True)
