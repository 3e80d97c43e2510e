#!/usr/bin/python3
"""The spool when the disk is full or the database is damaged."""

import glob
import os
import pwd
import subprocess
import time

import common		# noqa: F401
import lab_check
import lab_peer
import lab_world
import tap
from lab_world import SENDER

PEER4 = "198.51.100.30"
world = lab_world.World(domains={"peer.test": ["@ MX 10 mx",
                                               "mx A " + PEER4]})
net = world.net
daemon = world.daemon(start=False, limit={"free-space": "1M"},
                      retry={"first": "1h", "max": "1h"})
SPOOL = daemon.dir + "/spool"
user = pwd.getpwnam("smtpd-out")
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m,uid=%d,mode=700"
                % user.pw_uid, "tmpfs", SPOOL], check=True)
t = tap.Tap(on_fail=world.explain)
lab_check.Check(daemon, "").follow(t)


class Later(lab_peer.Session):
    def on_mail(self, argument):
        self.reply("451 4.3.0 later")


peer = lab_peer.Peer(net, PEER4, Later)
TEXT = "Subject: x\n\n" + "0123456789\n" * 30000
kept = []


@t.test("mail is taken while there is room")
def _():
    daemon.start()
    for n in range(3):
        kept.append(daemon.mail(SENDER, "k%d@peer.test" % n, "kept"))
        daemon.delivery(id=kept[-1], status="deferred")


@t.test("a full disk refuses new mail with 452 4.3.1")
def _():
    reply = ""
    for _ in range(60):
        try:
            kept.append(daemon.send(SENDER, "b@peer.test", TEXT))
        except RuntimeError as e:
            reply = str(e)
            break
    tap.match(r"^452 b'4\.3\.1", reply, "reply")


def fill():
    with open(SPOOL + "/ballast", "ab", buffering=0) as f:
        try:
            while True:
                f.write(b"x" * 4096)
        except OSError:
            pass


@t.test("so does one that others have filled up to the last octet")
def _():
    fill()
    for _ in range(5):
        try:
            kept.append(daemon.send(SENDER, "b@peer.test", "Subject: x\n\n"))
        except RuntimeError as e:
            tap.match(r"^45\d b'4\.", str(e), "reply")
    tap.true(daemon.process.poll() is None, "the parent lives")


@t.test("with the command: exit 75")
def _():
    # The spool finds room again in its own log: that is taken as well.
    for _ in range(20):
        fill()
        done = daemon.run("submit", "-c", daemon.config, "-f", SENDER,
                          "b@peer.test", stdin=TEXT.encode())
        if done.returncode != 0:
            break
    tap.equal(done.returncode, 75, "exit: %r" % done.stderr)


@t.test("what is queued can be listed, and is delivered, on a full disk")
def _():
    tap.true(set(kept) <= set(daemon.queue_ids()), "all is listed")
    peer.session = lab_peer.Session
    daemon.queue("flush")
    time.sleep(1)
    os.unlink(SPOOL + "/ballast")
    daemon.queue("flush")
    net.wait("all has arrived", lambda: len(peer.messages()) >= len(kept),
             30)
    net.wait("the queue is empty", lambda: not daemon.queue_ids())


@t.test("with room again mail is taken again")
def _():
    queue_id = daemon.mail(SENDER, "c@peer.test", "again")
    daemon.delivery(id=queue_id, status="sent")


@t.test("it starts on a full disk, or says why it does not")
def _():
    peer.session = Later
    queue_id = daemon.mail(SENDER, "d@peer.test", "start")
    daemon.delivery(id=queue_id, status="deferred")
    daemon.stop()
    with open(SPOOL + "/ballast", "wb", buffering=0) as f:
        try:
            while True:
                f.write(b"x" * 4096)
        except OSError:
            pass
    daemon.start(wait=False)
    try:
        net.wait("it runs or ends", lambda: daemon.process.poll() is not None
                 or daemon.takes_mail())
    except RuntimeError:
        pass
    if daemon.process.poll() is not None:
        tap.true(daemon.process.returncode != 0, "exit")
    else:
        daemon.stop()
    os.unlink(SPOOL + "/ballast")
    peer.session = lab_peer.Session
    daemon.start()
    daemon.queue("flush")
    daemon.delivery(id=queue_id, status="sent")


def database():
    found = [f for f in glob.glob(SPOOL + "/*") if os.path.isfile(f)
             and open(f, "rb").read(15) == b"SQLite format 3"]
    tap.equal(len(found), 1, "databases")
    return found[0]


@t.test("a damaged database is reported and left as it is")
def _():
    peer.session = Later
    for n in range(20):
        kept.append(daemon.mail(SENDER, "e%d@peer.test" % n, "damaged"))
    daemon.stop()
    path = database()
    with open(path, "rb") as f:
        good = f.read()
    for name, bad in (
            ("overwritten header", b"garbage!" * 13 + good[104:]),
            ("overwritten pages", good[:100] + b"\xa5" * (len(good) - 100)),
            ("cut", good[:len(good) // 2 // 512 * 512 + 100])):
        for extra in glob.glob(path + "-*"):
            os.unlink(extra)
        with open(path, "wb") as f:
            f.write(bad)
        daemon.start(wait=False)
        code = daemon.process.wait(20)
        tap.true(code not in (0, None), "%s: exit %r" % (name, code))
        with open(path, "rb") as f:
            tap.true(f.read() == bad, name + ": the file is as it was")
        said = daemon.log().splitlines()[-6:]
        tap.match("(?i)damage|corrupt|malformed|not a database|integrity",
                  "\n".join(said), name + ": it is said")
    with open(path, "wb") as f:
        f.write(good)


@t.test("with the good copy back everything is there")
def _():
    daemon.start()
    peer.session = lab_peer.Session
    peer.forget()
    daemon.queue("flush")
    net.wait("20 messages", lambda: len(peer.messages()) >= 20)


t.run()
