#!/usr/bin/python3
"""Servers that misbehave cost one session each; all others get their mail."""

import ssl
import time

import common		# noqa: F401
import lab_check
import lab_peer
import lab_world
import tap
from lab_world import SENDER

FAULTS = {}			# name: (session class, statuses allowed)
S = lab_peer.Session


def fault(name, *statuses):
    def add(cls):
        FAULTS[name] = (cls, statuses or ("deferred",))
        return cls
    return add


@fault("endless-reply")
class _(S):
    def on_ehlo(self, argument):
        while True:
            self.send(b"250-and another thing\r\n" * 1000)


@fault("endless-line")
class _(S):
    def on_ehlo(self, argument):
        while True:
            self.send(b"250 " + b"x" * 65536)


@fault("endless-banner")
class _(S):
    def on_connect(self):
        while True:
            self.send(b"220-welcome\r\n" * 1000)


@fault("nul")
class _(S):
    def on_ehlo(self, argument):
        self.send(b"250-peer\0\0\0\r\n250 \0\0SIZE\r\n" + b"\0" * 5000)


@fault("binary")
class _(S):
    def on_connect(self):
        self.send(bytes(range(256)) * 20)
        time.sleep(20)


@fault("drip")
class _(S):
    def on_ehlo(self, argument):
        for _ in range(600):
            self.send(b"2")
            time.sleep(1)


@fault("drip-lines")
class _(S):
    def on_ehlo(self, argument):
        for _ in range(600):
            self.send(b"250-x\r\n")
            time.sleep(0.5)


@fault("silent")
class _(S):
    def on_connect(self):
        time.sleep(60)


@fault("not-smtp", "deferred", "bounced")
class _(S):
    def on_connect(self):
        self.send(b"SSH-2.0-OpenSSH_9.2\r\n")
        time.sleep(20)


@fault("code-999", "deferred", "bounced")
class _(S):
    def on_mail(self, argument):
        self.reply("999 huh")


@fault("mixed-codes", "deferred", "bounced")
class _(S):
    def on_mail(self, argument):
        self.send(b"250-yes\r\n550 no\r\n")


@fault("too-many-replies", "deferred", "bounced", "sent")
class _(S):
    def on_mail(self, argument):
        self.send(b"250 a\r\n250 b\r\n250 c\r\n354 d\r\n250 e\r\n250 f\r\n")


@fault("data-says-250", "deferred", "bounced")
class _(S):
    def on_data(self, argument):
        self.reply("250 what data?")


for verb in ("connect", "ehlo", "mail", "rcpt", "data", "message"):
    class Busy(S):
        pass

    def busy(self, *args):
        self.reply("421 4.3.2 later")
        self.close()

    def gone(self, *args):
        self.close()

    setattr(Busy, "on_" + verb, busy)
    FAULTS["busy-" + verb] = (Busy, ("deferred",))
    Gone = type("Gone", (S,), {"on_" + verb: gone})
    FAULTS["close-" + verb] = (Gone, ("deferred",))


@fault("close-in-data")
class _(S):
    def on_data(self, argument):
        self.reply("354 go")
        self.more()
        self.close()


@fault("hang-after-dot")
class _(S):
    def on_message(self, text):
        time.sleep(60)


@fault("refuses-banner", "deferred", "bounced")
class _(S):
    banner = b"554 5.7.1 no service for you\r\n"


# These are odd, and must work.
@fault("split", "sent")
class _(S):
    def reply(self, text):
        for octet in text.encode() + b"\r\n":
            self.send(bytes([octet]))
            time.sleep(0.001)


@fault("bare-lf", "sent", "deferred")
class _(S):
    def reply(self, text):
        self.send(text.encode() + b"\n")


@fault("no-text", "sent")
class _(S):
    def reply(self, text):
        self.send(text[:3].encode() + (text[3:4].encode()
                                       if text[3:4] == "-" else b"")
                  + (b"x" if text[3:4] == "-" else b"") + b"\r\n")

    def on_ehlo(self, argument):
        self.send(b"250\r\n")


@fault("long-text", "sent")
class _(S):
    def on_message(self, text):
        self.messages.append((self.sender, self.recipients, text))
        for n in range(20):
            self.reply("250-2.0.0 " + "y" * 400)
        self.reply("250 2.0.0 done")


NAMES = sorted(FAULTS)
ADDRESS = {name: "198.51.100.%d" % (100 + n) for n, name in enumerate(NAMES)}
TLS_PEERS = {name: "198.51.100.%d" % (200 + n) for n, name in enumerate(
    ("garbage", "old", "close", "hang", "refused", "injected", "changed"))}

world = lab_world.World(domains={
    name + ".test": ["@ MX 10 mx", "mx A " + address]
    for name, address in {**ADDRESS, **TLS_PEERS}.items()})
net = world.net
SHORT = {k: "2s" for k in ("banner", "command", "mail", "rcpt", "data",
                           "block", "data-end", "rset", "tls", "connect")}
daemon = world.daemon(timeout=dict(SHORT, quit="500ms"),
                      retry={"first": "1h", "max": "1h"})
t = tap.Tap(on_fail=world.explain)
lab_check.Check(daemon, "").follow(t)
peers = {name: lab_peer.Peer(net, ADDRESS[name], FAULTS[name][0])
         for name in NAMES}
ids = {}


@t.test("good mail flows while %d servers misbehave" % len(NAMES))
def _():
    for name in NAMES:
        ids[name] = daemon.mail(SENDER, "a@%s.test" % name, name)
    started = time.monotonic()
    for n in range(20):
        queue_id = daemon.mail(SENDER, "ann@good.test", "flow%d" % n)
        daemon.delivery(10, id=queue_id, status="sent")
    tap.true(time.monotonic() - started < 20, "20 messages within 20 s")


for name in NAMES:
    @t.test("server with fault: " + name)
    def _(name=name):
        statuses = FAULTS[name][1]
        line = daemon.delivery(30, id=ids[name])
        tap.true(line["status"] in statuses, "status=%s, expected %s: %s" % (
            line["status"], " or ".join(statuses), line["_line"]))
        tap.equal(line["attempt"], "1", "attempt=")
        tap.true(len(peers[name].sessions) <= 2, "%d sessions"
                 % len(peers[name].sessions))
        if line["status"] == "sent":
            tap.equal(len(peers[name].messages()), 1, "messages there")
        tap.true(len(line["reply"]) <= 1024 and "\0" not in line["reply"],
                 "reply= is short and clean")


@t.test("check says of each server what delivery did, and does not die")
def _():
    check = lab_check.Check(daemon, SENDER)
    tap.equal(check.same_all({n + ".test" for n in NAMES}), len(NAMES),
              "domains")


@t.test("a message that may have arrived is marked so")
def _():
    for name in ("hang-after-dot", "close-message"):
        line = daemon.deliveries(id=ids[name])[-1]
        tap.match(r"may arrive twice", line["reply"], name)


@t.test("no process died")
def _():
    tap.true(daemon.process.poll() is None, "the parent lives")
    bad = [e for e in daemon.events() if e["_event"] in (
        "child-died", "child-exit", "child-killed")]
    tap.equal(bad, [], "children that died")


@t.test("all sessions with misbehaving servers are closed")
def _():
    def closed():
        with open("/proc/net/tcp") as f:
            return not [x for x in f if x.split()[2].endswith(":0019")
                        and x.split()[3] == "01"]
    net.wait("no connection to port 25 is left", closed, 15)


# ---- TLS -----------------------------------------------------------------

PAIR = net.ca.cert("peer.test")
GOOD = lab_peer.tls_context(PAIR)


class Tls(S):
    tls = GOOD


class Garbage(Tls):
    def start_tls(self):
        self.more()		# what it says before is another fault
        self.send(b"this is not TLS\r\n" * 20)
        self.close()


class Old(Tls):
    tls = lab_peer.tls_context(
        PAIR, maximum_version=ssl.TLSVersion.TLSv1_1,
        minimum_version=ssl.TLSVersion.TLSv1)


class CloseTls(Tls):
    def start_tls(self):
        self.close()


class Hang(Tls):
    def start_tls(self):
        time.sleep(30)
        self.close()


class Refused(Tls):
    def on_starttls(self, argument):
        self.reply("454 4.7.0 not now")


class Injected(Tls):
    def on_starttls(self, argument):
        self.send(b"220 go ahead\r\n250 SIZE 1\r\n")
        self.start_tls()


class Changed(Tls):
    """What it says in clear text must be forgotten."""

    def on_ehlo(self, argument):
        self.extensions = S.extensions if self.tls_active else [
            "SIZE 10", "DSN", "CHUNKING"]
        super().on_ehlo(argument)

    def on_rcpt(self, argument):
        super().on_rcpt(argument)


CLASSES = {"garbage": Garbage, "old": Old, "close": CloseTls, "hang": Hang,
           "refused": Refused, "injected": Injected, "changed": Changed}
tls_peers = {name: lab_peer.Peer(net, TLS_PEERS[name], cls)
             for name, cls in CLASSES.items()}

for name in ("garbage", "old", "close", "hang"):
    @t.test("TLS fails (%s): clear text on a new connection, and logged"
            % name)
    def _(name=name):
        queue_id = daemon.mail(SENDER, "a@%s.test" % name, name)
        line = daemon.delivery(id=queue_id)
        tap.equal((line["status"], line["tls"], line["attempt"]),
                  ("sent", "none", "1"), "status, tls, attempt")
        sessions = tls_peers[name].sessions
        tap.equal(len(sessions), 2, "connections")
        tap.true("STARTTLS" in sessions[0].verbs
                 and "MAIL" not in sessions[0].verbs, "first: STARTTLS only")
        tap.true("STARTTLS" not in sessions[1].verbs
                 and sessions[1].messages, "second: without")
        tap.match(r"(?i)tls", "\n".join(
            e["_line"] for e in daemon.events()
            if e["_event"] != "delivery" and name + ".test" in e["_line"]
            and e["_level"] in ("warn", "info")), "a log line says so")


@t.test("STARTTLS refused: clear text on the same connection")
def _():
    queue_id = daemon.mail(SENDER, "a@refused.test")
    line = daemon.delivery(id=queue_id)
    tap.equal((line["status"], line["tls"]), ("sent", "none"), "status, tls")


@t.test("octets injected after the 220 are never believed")
def _():
    queue_id = daemon.mail(SENDER, "a@injected.test")
    daemon.delivery(id=queue_id)
    first = tls_peers["injected"].sessions[0]
    tap.true("MAIL" not in first.verbs, "no mail on that connection")
    tap.true(not first.tls_active or first.verbs.count("EHLO") < 2,
             "it was dropped")


@t.test("what was said in clear text is forgotten after TLS")
def _():
    queue_id = daemon.mail(SENDER, "a@changed.test")
    line = daemon.delivery(id=queue_id)
    tap.equal((line["status"], line["tls"]), ("sent", "encrypted"),
              "status, tls")
    session = tls_peers["changed"].sessions[0]
    tap.equal(session.verbs.count("EHLO"), 2, "EHLO commands")
    text = b"\n".join(session.lines)
    tap.true(b"BDAT" not in text and b"RET=" not in text, "no old extension")


t.run()
