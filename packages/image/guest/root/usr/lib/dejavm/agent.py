"""The exec agent: runs commands for the host over a virtio-console port.

docs/EXEC_AGENT.md in the project has the protocol. Started by agent-wait, with the open port's file
descriptor as its argument, when a host first wants it. One thread, one poll loop; every buffer is
bounded by the credit that the protocol grants.
"""

import binascii
import errno
import os
import select
import signal
import sys

VERSION = 1
FLAG, ESCAPE = b"\x7e", b"\x7d"
HELLO, EXEC, STDIN, STDIN_END, CREDIT, KILL, STDOUT, STDERR, EXIT = range(1, 10)
EXITED, SIGNALLED, NOT_STARTED = range(3)
MAX_BODY = 65536
MAX_COMMANDS = 32
WINDOW = 65536
CHUNK = 8192
# Frames waiting for a host that does not read; beyond it no more output is taken from commands.
MAX_BACKLOG = 262144
PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {
    b"HOME": b"/root",
    b"USER": b"root",
    b"LOGNAME": b"root",
    b"PATH": PATH,
    b"TERM": b"dumb",
}


class Malformed(Exception):
    """A frame whose checksum is right and whose content is not."""


class Command:
    """One running command: its pipes, its credit, what is still to be written to it."""

    def __init__(self, ident, pid, stdin, outputs):
        self.ident, self.pid = ident, pid
        self.pidfd = os.pidfd_open(pid)
        self.stdin = stdin
        self.stdin_queue = bytearray()
        self.stdin_ended = False
        self.outputs = outputs  # file descriptor -> STDOUT or STDERR
        self.credit = WINDOW
        self.status = None

    def signal(self, number):
        if self.status is None:
            try:
                os.killpg(self.pid, number)
            except OSError:
                pass


class Agent:
    def __init__(self, port):
        self.port = port
        os.set_blocking(port, False)
        self.incoming = bytearray()
        self.skipping = False
        self.backlog = bytearray()
        self.commands = {}
        self.orphans = []

    def run(self):
        while True:
            for descriptor, _events in self.armed().poll():
                if descriptor == self.port:
                    self.flush()
                    self.receive()
                else:
                    self.serve(descriptor)
            for command in list(self.commands.values()):
                self.finish(command)
            self.orphans = [p for p in self.orphans if os.waitpid(p, os.WNOHANG)[0] == 0]

    def armed(self):
        """Asks the kernel only about what could go on now, so that waiting never spins."""
        poll = select.poll()
        poll.register(self.port, select.POLLIN | (select.POLLOUT if self.backlog else 0))
        room = len(self.backlog) < MAX_BACKLOG
        for command in self.commands.values():
            if command.status is None:
                poll.register(command.pidfd, select.POLLIN)
            if command.stdin is not None and command.stdin_queue:
                poll.register(command.stdin, select.POLLOUT)
            if room and command.credit > 0:
                for descriptor in command.outputs:
                    poll.register(descriptor, select.POLLIN)
        return poll

    # Frames

    def send(self, kind, ident, payload=b""):
        body = bytes((kind,)) + ident.to_bytes(4, "little") + payload
        body += binascii.crc32(body).to_bytes(4, "little")
        body = body.replace(ESCAPE, b"\x7d\x5d").replace(FLAG, b"\x7d\x5e")
        self.backlog += FLAG + body + FLAG

    def flush(self):
        while self.backlog:
            try:
                count = os.write(self.port, self.backlog[:CHUNK])
            except BlockingIOError:
                return
            del self.backlog[:count]

    def receive(self):
        try:
            data = os.read(self.port, 4 * CHUNK)
        except BlockingIOError:
            return
        if not data:
            # The host has gone; agent-wait starts again and waits for the next one.
            self.hang_up()
            sys.exit(0)
        self.incoming += data
        while (end := self.incoming.find(FLAG)) >= 0:
            escaped = bytes(self.incoming[:end])
            del self.incoming[: end + 1]
            if escaped and not self.skipping:
                self.handle_frame(escaped)
            self.skipping = False
        if len(self.incoming) > 2 * MAX_BODY:
            self.incoming.clear()
            self.skipping = True

    def handle_frame(self, escaped):
        """Damaged and unknown frames are dropped: a frame that the host needs is answered."""
        body = escaped.replace(b"\x7d\x5e", FLAG).replace(b"\x7d\x5d", ESCAPE)
        if len(body) < 9 or binascii.crc32(body[:-4]) != int.from_bytes(body[-4:], "little"):
            return
        ident = int.from_bytes(body[1:5], "little")
        try:
            self.handle(body[0], ident, body[5:-4])
        except Malformed:
            pass

    def handle(self, kind, ident, payload):
        command = self.commands.get(ident)
        if kind == HELLO:
            reader = Reader(payload)
            reader.number(2)
            nonce = reader.number(4)
            self.hang_up()
            self.send(HELLO, 0, VERSION.to_bytes(2, "little") + nonce.to_bytes(4, "little"))
        elif kind == EXEC:
            if command is None:
                self.execute(ident, Reader(payload))
        elif command is None:
            return  # It ended while the host was still speaking to it.
        elif kind == STDIN:
            if command.stdin is None or command.stdin_ended:
                self.grant(command, len(payload))
            elif len(command.stdin_queue) + len(payload) > WINDOW:
                command.signal(signal.SIGKILL)
            else:
                command.stdin_queue += payload
        elif kind == STDIN_END:
            command.stdin_ended = True
            self.feed(command)
        elif kind == CREDIT:
            command.credit = min(command.credit + Reader(payload).number(4), WINDOW)
        elif kind == KILL:
            command.signal(Reader(payload).number(1))

    def grant(self, command, count):
        if count > 0:
            self.send(CREDIT, command.ident, count.to_bytes(4, "little"))

    # Commands

    def execute(self, ident, reader):
        argv = [reader.text() for _ in range(reader.number(2))]
        env = dict(ENVIRONMENT)
        for _ in range(reader.number(2)):
            name, _equals, value = reader.text().partition(b"=")
            env[name] = value
        directory = reader.text() or b"/root"
        if not argv or len(self.commands) >= MAX_COMMANDS:
            self.send_exit(ident, NOT_STARTED, errno.EAGAIN if argv else errno.EINVAL)
            return
        pipes = [os.pipe() for _ in range(3)]
        theirs = [pipes[0][0], pipes[1][1], pipes[2][1]]
        ours = [pipes[0][1], pipes[1][0], pipes[2][0]]
        try:
            os.chdir(directory)
            pid = os.posix_spawnp(
                argv[0],
                argv,
                env,
                file_actions=[(os.POSIX_SPAWN_DUP2, theirs[n], n) for n in range(3)],
                setsid=True,
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
            )
        except (OSError, ValueError) as error:
            for descriptor in ours:
                os.close(descriptor)
            self.send_exit(ident, NOT_STARTED, getattr(error, "errno", None) or errno.EINVAL)
            return
        finally:
            os.chdir("/")
            for descriptor in theirs:
                os.close(descriptor)
        for descriptor in ours:
            os.set_blocking(descriptor, False)
        outputs = {ours[1]: STDOUT, ours[2]: STDERR}
        self.commands[ident] = Command(ident, pid, ours[0], outputs)

    def send_exit(self, ident, kind, value):
        self.send(EXIT, ident, bytes((kind,)) + value.to_bytes(4, "little"))

    def serve(self, descriptor):
        """Does what poll said is possible for the command that owns the descriptor."""
        for command in self.commands.values():
            if descriptor == command.pidfd:
                _pid, command.status = os.waitpid(command.pid, 0)
            elif descriptor == command.stdin:
                self.feed(command)
            elif descriptor in command.outputs:
                self.drain(command, descriptor)
            else:
                continue
            return

    def feed(self, command):
        if command.stdin is None:
            return
        try:
            while command.stdin_queue:
                count = os.write(command.stdin, command.stdin_queue[:CHUNK])
                del command.stdin_queue[:count]
                self.grant(command, count)
        except BlockingIOError:
            return
        except OSError:
            # Nobody reads any more; what still comes is thrown away, as a closed pipe would.
            self.grant(command, len(command.stdin_queue))
            command.stdin_queue.clear()
            command.stdin_ended = True
        if command.stdin_ended:
            os.close(command.stdin)
            command.stdin = None

    def drain(self, command, descriptor):
        """Takes one chunk; True if there may be more now."""
        if command.credit == 0:
            return False
        try:
            data = os.read(descriptor, min(CHUNK, command.credit))
        except BlockingIOError:
            return False
        if not data:
            os.close(descriptor)
            del command.outputs[descriptor]
            return False
        command.credit -= len(data)
        self.send(command.outputs[descriptor], command.ident, data)
        return True

    def finish(self, command):
        """After a command's end: sends what is left in its pipes, then how it ended.

        A child that it left behind may hold the pipes open for ever; nobody waits for that.
        """
        if command.status is None:
            return
        for descriptor in list(command.outputs):
            while descriptor in command.outputs and self.drain_allowed(command):
                if not self.drain(command, descriptor):
                    break
            if descriptor in command.outputs:
                if not self.drain_allowed(command):
                    return
                os.close(descriptor)
                del command.outputs[descriptor]
        if os.WIFSIGNALED(command.status):
            self.send_exit(command.ident, SIGNALLED, os.WTERMSIG(command.status))
        else:
            self.send_exit(command.ident, EXITED, os.WEXITSTATUS(command.status))
        self.forget(command)

    def drain_allowed(self, command):
        return command.credit > 0 and len(self.backlog) < MAX_BACKLOG

    def forget(self, command):
        for descriptor in (command.stdin, command.pidfd, *command.outputs):
            if descriptor is not None:
                os.close(descriptor)
        del self.commands[command.ident]

    def hang_up(self):
        for command in list(self.commands.values()):
            command.signal(signal.SIGHUP)
            command.signal(signal.SIGCONT)
            if command.status is None:
                self.orphans.append(command.pid)
            self.forget(command)


class Reader:
    """Little-endian numbers and counted strings; Malformed past the end."""

    def __init__(self, data):
        self.data = data
        self.offset = 0

    def take(self, count):
        end = self.offset + count
        if end > len(self.data):
            raise Malformed
        taken = self.data[self.offset : end]
        self.offset = end
        return taken

    def number(self, size):
        return int.from_bytes(self.take(size), "little")

    def text(self):
        return self.take(self.number(2))


if __name__ == "__main__":
    os.environb[b"PATH"] = PATH
    Agent(int(sys.argv[1])).run()
