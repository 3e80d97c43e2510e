#!/usr/bin/python3
"""What arrives is what was submitted, octet for octet."""

import hashlib
import os
import random
import socket

import common		# noqa: F401
import lab_check
import lab_peer
import lab_world
import tap
from lab_world import SENDER

PEER4, CHUNK4 = "198.51.100.30", "198.51.100.31"

world = lab_world.World(exim=True, domains={
    "peer.test": ["@ MX 10 mx", "mx A " + PEER4],
    "chunk.test": ["@ MX 10 mx", "mx A " + CHUNK4]})
daemon = world.daemon(limit={"message-size": "80M"})
t = tap.Tap(on_fail=world.explain)


class Chunking(lab_peer.Session):
    """Takes BDAT."""
    extensions = lab_peer.Session.extensions + ["CHUNKING"]
    text = b""

    def on_mail(self, argument):
        self.text = b""
        super().on_mail(argument)

    def on_bdat(self, argument):
        size, _, last = argument.partition(" ")
        while len(self.buffer) < int(size):
            self.more()
        self.text += self.buffer[:int(size)]
        self.buffer = self.buffer[int(size):]
        if last.upper() == "LAST":
            self.on_message(self.text)
        else:
            self.reply("250 2.0.0 more")


peer = lab_peer.Peer(world.net, PEER4)
chunk = lab_peer.Peer(world.net, CHUNK4, Chunking)
rng = random.Random(4711)


def eight_bit():
    # No CR, LF, NUL.
    octets = [x for x in range(1, 256) if x not in (10, 13)]
    return b"".join(bytes(rng.choice(octets) for _ in range(200)) + b"\r\n"
                    for _ in range(50))


def words(size):
    line = b"".join(rng.choice(b"abcdef .").to_bytes(1, "big")
                    for _ in range(76)) + b"\r\n"
    return line * (size // len(line))


BODIES = {
    "a plain line": b"hello\r\n",
    "no body at all": b"",
    "dots at line starts": b".\r\n..\r\n...\r\n.x\r\n..x\r\n\r\n.\r\n",
    "a dot as the first and the last line": b".\r\nmiddle\r\n.\r\n",
    "ten thousand dots": b".\r\n" * 10000,
    "lines of 998 octets": (b"x" * 998 + b"\r\n") * 20,
    "lines of 998 dots": (b"." * 998 + b"\r\n") * 20,
    "8-bit octets": eight_bit(),
    "many empty lines": b"\r\n" * 5000,
    "white space at line ends": b"tab\t\r\nspace \r\n \r\n\t\r\n",
    "two commands in the text": b"QUIT\r\nMAIL FROM:<x@y.test>\r\nRSET\r\n",
    "about the size of a buffer": b"".join(
        b"%d" % n + b"x" * (n % 70) + b"\r\n" for n in range(1700)),
    "one megabyte": words(1 << 20),
}
HEAD = b"From: <alice@sender.test>\r\nSubject: body\r\n" \
    b"Date: Sat, 21 Nov 2026 10:00:00 +0000\r\n" \
    b"Message-ID: <body@sender.test>\r\n\r\n"


def digest(data):
    return hashlib.sha256(data).hexdigest()


def same(got, sent, what):
    """got is sent with new headers in front."""
    at = got.find(HEAD[:20])
    tap.true(at >= 0, what + ": the header is there")
    if digest(got[at:]) != digest(sent):
        tail = next((i for i, (a, b) in enumerate(zip(got[at:], sent))
                     if a != b), min(len(got) - at, len(sent)))
        tap.fail("%s: %d octets sent, %d arrived, first differs at %d: "
                 "%r, not %r" % (what, len(sent), len(got) - at, tail,
                                 got[at:][tail - 10:tail + 20],
                                 sent[tail - 10:tail + 20]))


def arrives(server, to, sent, **options):
    server.forget()
    queue_id = daemon.send(SENDER, to, sent, ["BODY=8BITMIME"])
    daemon.delivery(60, id=queue_id, status="sent")
    tap.equal(len(server.messages()), 1, "messages")
    same(server.messages()[0][2], sent, to)


for name, body in BODIES.items():
    @t.test("by DATA: " + name)
    def _(body=body):
        arrives(peer, "a@peer.test", HEAD + body)

    @t.test("to a server with CHUNKING: " + name)
    def _(body=body):
        arrives(chunk, "a@chunk.test", HEAD + body)


@t.test("in a real Postfix and a real Exim")
def _():
    for name, body in BODIES.items():
        if name == "8-bit octets":	# both mend some control characters
            body = bytes(x for x in body if x in (10, 13) or x > 31)
        sent = HEAD + body
        queue_id = daemon.send(SENDER, ["ann@good.test", "ann@exim.test"],
                               sent, ["BODY=8BITMIME"])
        for server, to in ((world.postfix, "ann@good.test"),
                           (world.exim, "ann@exim.test")):
            daemon.delivery(30, id=queue_id, to=to, status="sent")
            server.expect(to)
            got = server.raw(server.mailbox(to)[0])
            same(got, sent.replace(b"\r\n", b"\n"), to + ", " + name)
            server.clear(to)


def bdat(recipient, *chunks):
    with socket.create_connection(("127.0.0.1", 10025), 20) as s:
        f = s.makefile("rb")
        f.readline()
        s.sendall(b"EHLO x.test\r\n")
        while f.readline()[3:4] == b"-":
            pass
        for line in (b"MAIL FROM:<%s> BODY=8BITMIME" % SENDER.encode(),
                     b"RCPT TO:<%s>" % recipient.encode()):
            s.sendall(line + b"\r\n")
            tap.match(rb"^250".decode(), f.readline().decode(), "reply")
        reply = ""
        for n, data in enumerate(chunks):
            last = b" LAST" if n + 1 == len(chunks) else b""
            s.sendall(b"BDAT %d%s\r\n" % (len(data), last) + data)
            reply = f.readline().decode()
            tap.match("^250", reply, "reply to BDAT")
        return tap.match(r"queued as (\S+)", reply, "the last reply")[1]


@t.test("submitted in chunks, with lines broken between them")
def _():
    sent = HEAD + b".\r\n..\r\nend\r\n"
    for size in (1, 2, 7, 50):
        peer.forget()
        parts = [sent[i:i + size] for i in range(0, len(sent), size)]
        daemon.delivery(id=bdat("a@peer.test", *parts), status="sent")
        same(peer.messages()[0][2], sent, "chunks of %d" % size)


@t.test("no newline at the end (chunk, and command)")
def _():
    peer.forget()
    daemon.delivery(id=bdat("a@peer.test", HEAD + b"end"), status="sent")
    same(peer.messages()[0][2], HEAD + b"end\r\n", "chunk")
    peer.forget()
    done = daemon.run("submit", "-c", daemon.config, "-i", "-f", SENDER,
                      "a@peer.test",
                      stdin=(HEAD + b"end").replace(b"\r\n", b"\n"))
    tap.equal(done.returncode, 0, "exit: %r" % done.stderr)
    world.net.wait("it arrives", lambda: peer.messages())
    same(peer.messages()[0][2], HEAD + b"end\r\n", "command")


@t.test("50 MB, and no process grows by much")
def _():
    before = {p: int(daemon.status(p)["VmHWM"].split()[0])
              for p in [daemon.process.pid, *daemon.children()]}
    sent = HEAD + words(50 * 1000 * 1000)
    arrives(peer, "a@peer.test", sent)
    grown = {}
    for pid, kb in before.items():
        role = daemon.children().get(pid, "parent")
        grown["%s %d" % (role, pid)] = \
            int(daemon.status(pid)["VmHWM"].split()[0]) - kb
    t.diag("growth in kB: %r" % grown)
    tap.true(max(grown.values()) < 16 * 1024, "less than 16 MB")


@t.test("nothing is left in the spool directory")
def _():
    world.net.wait("the queue is empty", lambda: not daemon.queue_ids())
    left = [os.path.join(d, f) for d, _, files in os.walk(
        daemon.dir + "/spool") for f in files]
    tap.true(len(left) < 6, "files: %r" % left)


@t.test("check says of each domain what delivery did last")
def _():
    tap.true(lab_check.Check(daemon, "").same_all() >= 2, "domains")


t.run()
