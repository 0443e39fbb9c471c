"""Types at a terminal: typist.py '[["question", "answer"], ...]' COMMAND... Shows all that the terminal shows."""
import json, os, pty, select, sys, time

steps = json.loads(sys.argv[1])
child, terminal = pty.fork()
if child == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
shown = b""
seen = 0
until = time.time() + 30
while time.time() < until:
    if not select.select([terminal], [], [], 0.2)[0]:
        continue
    try:
        data = os.read(terminal, 65536)
    except OSError:
        break
    if not data:
        break
    shown += data
    if steps and steps[0][0].encode() in shown[seen:]:
        seen = len(shown)
        # The question is shown a moment before the answer is waited for.
        time.sleep(0.05)
        os.write(terminal, (steps.pop(0)[1] + "\r").encode())
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
