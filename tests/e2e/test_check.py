#!/usr/bin/python3
"""smtpd-out check: what it reports of a dozen domains (golden outputs), JSON
by its schema, and that its verdict is what delivery then does."""

import fcntl
import json
import os
import pty
import pwd
import re
import socket
import struct
import subprocess
import termios
import threading
import time

import common		# noqa: F401
import lab
import lab_check
import lab_daemon
import lab_dns
import lab_mta
import lab_ns
import lab_sts
import tap
from lab_peer import Peer, Session
from lab_tlsa import tlsa

GOOD4, OTHER4, CLEAR4 = "198.51.100.10", "198.51.100.12", "198.51.100.11"
STS4, BUSY4, DEAD4 = "198.51.100.80", "198.51.100.30", "198.51.100.1"
SENDER = "alice@sender.test"
WRONG = "_25._tcp.mx TLSA 3 1 1 " + "ab" * 32
TLSRPT = '_smtp._tls TXT "v=TLSRPTv1; rua=mailto:tls@reports.test"'

net = lab.Lab()
good = net.ca.cert("mx.good.test", "mx.sts.test", "mx.pkix.test")
other = net.ca.cert("mx.other.test")


def one(address, *records):
    return ["@ MX 10 mx", "mx A " + address, *records]


signed = {
    "sender.test": one(GOOD4),
    "good.test": one(GOOD4, tlsa(3, 1, 1, good[0]), TLSRPT),
    "broken.test": one(OTHER4, WRONG, TLSRPT),
    "mixed.test": ["@ MX 10 bad", "@ MX 20 mx", "bad A " + OTHER4,
                   "mx A " + GOOD4, "_25._tcp.bad TLSA 3 1 1 " + "ab" * 32,
                   "_25._tcp.bad TLSA 0 0 1 " + "cd" * 32,
                   tlsa(3, 1, 1, good[0])],
    "plain.test": one(GOOD4),
    "clear.test": one(CLEAR4),
    "unusable.test": one(OTHER4, "_25._tcp.mx TLSA 3 1 1 abcdef"),
    "nullmx.test": ["@ MX 0 ."],
    "nohost.test": ["@ MX 10 nowhere"],
    "lost.test": one(OTHER4, "_25._tcp.mx CNAME mx.failing.test."),
    "failing.test": None,
    "ruled.test": one(CLEAR4),
    "past.test": one(CLEAR4),
    "pkix.test": one(GOOD4),
    "relayed.test": [],
    "busy.test": one(BUSY4),
    "dead.test": one(DEAD4),
    "implicit.test": ["@ A " + GOOD4],
    "bogus.test": one(GOOD4),
}
unsigned = {
    "sts.test": one(GOOD4, *lab_sts.records(STS4), TLSRPT),
    "stsbad.test": one(OTHER4, *lab_sts.records(STS4)),
    "stsother.test": one(GOOD4, *lab_sts.records(STS4)),
    "ststesting.test": one(OTHER4, *lab_sts.records(STS4)),
    "stsgone.test": one(GOOD4, *lab_sts.records(STS4)),
    "unsigned.test": one(GOOD4),
}
for name, records in signed.items():
    net.dns.domain(name, records)
for name, records in unsigned.items():
    net.dns.domain(name, records, signed=False)
DOMAINS = [d for d in (*signed, *unsigned)
           if d not in ("sender.test", "failing.test")] + ["missing.test"]


def spoil(domain):
    """Its signatures do not verify: an address was changed after signing."""
    path = os.path.join(net.dns.dir, domain + ".zone")
    with open(path) as f:
        text = f.read()
    with open(path, "w") as f:
        f.write(re.sub(r"(?m)^(%s\.\s.*\sMX\s+)10 " % re.escape(domain),
                       r"\g<1>11 ", text))


net.dns.write()
spoil("bogus.test")
net.start()
users = ["ann@" + d for d in DOMAINS]
postfix = lab_mta.Postfix(net, [SENDER, *users], host="mx.good.test")


def chain(pair):
    return {"smtpd_tls_chain_files": lab_check.chain(net, pair)}


postfix.listen(GOOD4, **chain(good))
postfix.listen(OTHER4, **chain(other))
postfix.listen(CLEAR4, smtpd_tls_security_level="none")
postfix.start()
web = lab_sts.PolicyHost(net, STS4)
for name in unsigned:
    if name.startswith("sts"):
        web.serve(name, lab_sts.policy(
            "testing" if name == "ststesting.test" else "enforce",
            "mx.elsewhere.test" if name == "stsother.test"
            else "mx." + name))
web.start()
web.policy("stsgone.test", None)


class Busy(Session):
    banner = b"421 4.3.2 \x1b[31mtoo\xff busy\r\n"


peer = Peer(net, BUSY4, Busy)

RULES = """
destination "ruled.test" { tls = encrypt until = "2099-12-31" }
destination "past.test" { tls = encrypt until = "2020-02-29" }
destination "pkix.test" { tls = pkix match-names = {"mx.pkix.test"} }
destination "relayed.test" { relay = "mx.clear.test" }
"""
daemon = lab_daemon.Daemon(
    net, lab_daemon.program(), text=RULES,
    retry={"first": "10m", "max": "10m"},
    **{"mta-sts": {"allow-private-addresses": True}})
check = lab_check.Check(daemon, SENDER)
t = tap.Tap(on_fail=daemon.explain)
GOLDEN = os.path.join(lab_ns.TOP, "tests", "golden", "check")

VERDICTS = {
    "good.test": "dane", "broken.test": "deferred", "mixed.test": "dane",
    "plain.test": "encrypted", "clear.test": "plain",
    "unusable.test": "encrypted", "nullmx.test": "bounced",
    "nohost.test": "bounced", "lost.test": "deferred",
    "ruled.test": "deferred", "past.test": "plain", "pkix.test": "pkix",
    "relayed.test": "plain", "busy.test": "deferred",
    "dead.test": "deferred", "implicit.test": "encrypted",
    "bogus.test": "deferred", "sts.test": "sts", "stsbad.test": "deferred",
    "stsother.test": "deferred", "ststesting.test": "encrypted",
    "stsgone.test": "encrypted", "unsigned.test": "encrypted",
    "missing.test": "bounced",
}
CODES = {"deferred": 75, "bounced": 69}


def golden(name, text):
    """Compares with the file kept; UPDATE=1 writes it."""
    path = os.path.join(GOLDEN, name)
    text = lab_check.normal(text)
    if os.environ.get("UPDATE"):
        os.makedirs(GOLDEN, exist_ok=True)
        with open(path, "w") as f:
            f.write(text)
    with open(path) as f:
        tap.equal(text, f.read(), "output for " + name)


for _name in DOMAINS:
    @t.test("verdict, report and JSON without a daemon: " + _name)
    def _(name=_name):
        found = check.json(name)
        tap.equal(found["verdict"], VERDICTS[name], "verdict")
        tap.equal(check.code, CODES.get(VERDICTS[name], 0), "exit code")
        tap.equal(found["exit"], check.code, "exit code in JSON")
        lab_check.valid(found)
        done = check.run(name)
        tap.equal(done.returncode, check.code, "exit code of the report")
        tap.equal(done.stderr, b"", "standard error")
        golden(name + ".txt", done.stdout.decode())


@t.test("nobody heard a MAIL command")
def _():
    tap.true("ann@" not in postfix.log_text(), "a recipient in the log")


@t.test("an address is its domain")
def _():
    found = check.json("Ann+x@Good.TEST.".rstrip("."))
    tap.equal((found["domain"], found["verdict"]), ("good.test", "dane"),
              "found")


@t.test("what is no domain: exit 65, and a sentence")
def _():
    for text in ("two words", "a..b", "@", "", "x" * 300, "\x1b[31m"):
        done = check.run(text)
        tap.equal(done.returncode, 65, "exit code of %r" % text)
        tap.match("not a domain", done.stderr.decode(), "standard error")


@t.test("--no-connect: DNS and policies alone")
def _():
    seen = len(postfix.log_text())
    for name, verdict in (("good.test", "dane"), ("sts.test", "sts"),
                          ("stsother.test", "deferred"),
                          ("broken.test", "dane"), ("plain.test", "plain")):
        found = check.json("--no-connect", name)
        lab_check.valid(found)
        tap.equal(found["verdict"], verdict, "verdict of " + name)
        tap.equal([h["sessions"] for h in found["mx"]], [[]], "sessions")
    tap.equal(postfix.log_text()[seen:], "", "what Postfix saw")


@t.test("--mx: one of the hosts alone")
def _():
    found = check.json("--mx", "bad.mixed.test", "mixed.test")
    tap.equal([h["host"] for h in found["mx"]], ["bad.mixed.test"], "hosts")
    tap.equal(found["verdict"], "deferred", "verdict")
    found = check.json("--mx", "mx.good.test", "mixed.test")
    tap.equal((found["mx"], check.code), ([], 65), "of no such host")
    tap.match("by --mx is not one of the mail hosts", found["reason"],
              "reason")
    tap.match("name one of those", found["next"], "next")


@t.test("--json: one line, whatever is asked")
def _():
    for arguments in (("good.test",), ("--dns", "good.test", "MX"),
                      ("--starttls", "smtp", "mx.good.test")):
        done = check.run("--json", *arguments)
        tap.equal(done.stdout.count(b"\n"), 1, "lines of %r" % (arguments,))
        json.loads(done.stdout)


@t.test("many domains: one object a line, in their order, worst exit code")
def _():
    names = ["good.test", "missing.test", "no domain".split()[0] + "..x",
             "# a comment", "", "sts.test"] * 10
    done = check.run("--json", "-", stdin="\n".join(names).encode() + b"\n")
    tap.equal(done.returncode, 69, "exit code")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for document in found:
        lab_check.valid(document)
    tap.equal([f["verdict"] for f in found],
              ["dane", "bounced", "bounced", "sts"] * 10, "verdicts")
    tap.equal(done.stderr, b"", "standard error, which is no terminal")
    done = check.run("--json", "dead.test", "good.test")
    tap.equal([json.loads(x)["domain"] for x in done.stdout.splitlines()],
              ["dead.test", "good.test"], "order of arguments")
    tap.equal(done.returncode, 75, "exit code")


def terminal(*arguments, env=None):
    """Output on a terminal."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    with subprocess.Popen(
            daemon.argv("check", "-c", daemon.config, *arguments),
            stdin=subprocess.DEVNULL, stdout=side, stderr=side,
            env=dict(os.environ, TERM="xterm", **(env or {}))) as process:
        os.close(side)
        text = b""
        try:
            while data := os.read(main, 65536):
                text += data
        except OSError:
            pass
        os.close(main)
        process.wait(20)
    return text.decode()


@t.test("colours on a terminal, none with NO_COLOR; a bar for many")
def _():
    tap.match(r"\x1b\[32mdane", terminal("good.test"), "terminal")
    tap.true("\x1b" not in terminal("good.test", env={"NO_COLOR": "1"}),
             "NO_COLOR")
    text = terminal("good.test", "sts.test", "dead.test",
                    env={"NO_COLOR": "1"})
    for line in re.sub(r"\r(?!\n)[^\n]*\x1b\[K", "", text).splitlines():
        tap.true(len(line) <= 80 or len(line.split()) == 1, line)
    tap.match(r"\[[#.]{30}\] \d of 3", text, "bar")


@t.test("-v tells every link; twice, the dialogue")
def _():
    tap.match(r"zones .*\n.*good\.test", check.run(
        "-v", "good.test").stdout.decode(), "report")
    done = check.run("-vv", "good.test")
    tap.match("EHLO machine.sender.test", done.stderr.decode(), "dialogue")


@t.test("without DNS: deferred, and says that no resolver answers")
def _():
    path = daemon.dir + "/lost.conf"
    with open(daemon.config) as f:
        text = f.read().replace(lab_dns.RESOLVER + ":53", "127.0.0.1:9")
    with open(path, "w") as f:
        f.write(text)
    done = daemon.run("check", "--from", path, "--json", "good.test")
    found = json.loads(done.stdout)
    lab_check.valid(found)
    tap.equal((done.returncode, found["verdict"],
               found["resolver"]["state"]), (75, "deferred", "unreachable"),
              "found")


def impostor(path, answer):
    """Somebody at the control socket, who says that (None: nothing)."""
    def serve(sock):
        while True:
            client, _ = sock.accept()
            clients.append(client)
            if answer is not None:
                client.recv(4096)
                client.sendall(answer)
                client.close()
    clients = []
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    os.chmod(path, 0o666)
    sock.listen(8)
    threading.Thread(target=serve, args=(sock,), daemon=True).start()


@t.test("a daemon that is silent or talks nonsense holds nothing up")
def _():
    for number, answer in enumerate((
            None, b"", b"nonsense\n", b"[1,2]\n", b'{"end":true}' * 9,
            b'{"state":7,"next":"x","reason":[],"mx":{}}\n{"end":true}\n')):
        path = "%s/impostor%d" % (daemon.dir, number)
        impostor(path, answer)
        with open(daemon.config) as f:
            text = f.read().replace("unix:%s/control" % daemon.dir,
                                    "unix:" + path)
        with open(path + ".conf", "w") as f:
            f.write(text)
        began = time.monotonic()
        done = daemon.run("check", "-c", path + ".conf", "--json", "-",
                          stdin=b"good.test\nsts.test\nbroken.test\n")
        tap.true(time.monotonic() - began < 8, "%r takes long" % answer)
        found = [json.loads(x) for x in done.stdout.splitlines()]
        for document in found:
            lab_check.valid(document)
        tap.equal([x["verdict"] for x in found],
                  ["dane", "sts", "deferred"], "verdicts after %r" % answer)


class Hostile(Session):
    """Everything that a server must not do, one after the other."""
    turn = 0
    ways = [b"\0" * 5000, b"220-" + b"x" * 100000, b"999 \r\n", b"",
            b"220 \xff\xfe\x1b]0;title\x07\r\n",
            b"220-a\r\n221 b\r\n", b"220 a\n" * 300]

    def on_connect(self):
        way = self.ways[Hostile.turn % len(self.ways)]
        Hostile.turn += 1
        self.send(way)
        if not way:
            self.close()

    def on_ehlo(self, argument):
        self.send(b"250-\xff\x1b[2J\r\n" + b"250-X\x07" * 1 + b"\r\n" +
                  b"250-KEY\r\n" * 200 + b"250 STARTTLS\r\n")

    def on_starttls(self, argument):
        self.send(b"220 go\r\n\x16\x03\x01\x02\x00" + b"\xff" * 512)
        self.close()


@t.test("hostile servers: no crash, nothing that is not printable")
def _():
    peer.session = Hostile
    for _ in Hostile.ways:
        found = check.json("busy.test")
        lab_check.valid(found)
        text = check.run("-v", "busy.test").stdout.decode()
        tap.true(not re.search(r"[^\n -~\u00a0-\uffff]", text),
                 "control characters in %r" % text)
    peer.session = Busy


class Silent(Session):
    def on_connect(self):
        time.sleep(1)


@t.test("it is not root, and has a filter, when it talks to a server")
def _():
    peer.session = Silent
    seen = len(peer.sessions)
    with subprocess.Popen(daemon.argv("check", "-c", daemon.config,
                                      "busy.test"),
                          stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL) as process:
        net.wait("it connects", lambda: len(peer.sessions) > seen)
        status = daemon.status(process.pid)
    peer.session = Busy
    tap.equal(status["Uid"].split(), [str(pwd.getpwnam(
        "smtpd-out").pw_uid)] * 4, "users")
    tap.equal(status["Seccomp"], "2", "filter")


# ---- with a daemon ----------------------------------------------------------

@t.test("the daemon starts")
def _():
    daemon.start()


for _name in DOMAINS:
    @t.test("what check says is what delivery does: " + _name)
    def _(name=_name):
        found = check.agree(name)
        tap.equal(found["verdict"], VERDICTS[name], "verdict")
        tap.equal(found["queue"]["daemon"], "asked", "daemon")


@t.test("queued mail: how much, the next attempt, the last error")
def _():
    found = check.json("broken.test")["queue"]
    tap.equal((found["waiting"], found["held"]), (1, 0), "counts")
    tap.match("none of the TLSA records", found["last_error"], "last error")
    tap.true(found["next"] > 0, "next attempt")
    text = check.run("broken.test").stdout.decode()
    tap.match(r"queue +1 waiting.*next attempt 20", text, "report")
    tap.match(r"\n  last error  \S", text, "its column")


@t.test("queued mail of a destination that is down: until when, and why")
def _():
    found = check.json("dead.test")["queue"]
    tap.equal((found["waiting"], found["paused"]), (1, False), "counts")
    tap.true(found["hold_until"] and found["next"] >= found["hold_until"],
             "next attempt")
    tap.match(r"\n {14}down, waits until 20\d\d-.* UTC: connection to",
              check.run("dead.test").stdout.decode(), "report")


@t.test("a destination that is paused: said first, queued mail or not")
def _():
    for pause, name, waiting in (("good.test", "good.test", 0),
                                 ("broken.test", "broken.test", 1),
                                 (".test", "plain.test", 0)):
        tap.equal(daemon.queue("pause", pause).returncode, 0, "pause")
        found = check.json(name)
        lab_check.valid(found)
        tap.equal((found["queue"]["paused"], found["queue"]["waiting"],
                   found["queue"]["next"]), (True, waiting, None), name)
        tap.match("^its mail is paused", found["next"], "next")
        tap.match(r"\n {14}paused by the operator",
                  check.run(name).stdout.decode(), "report")
        tap.match("neither paused nor limited",
                  daemon.queue("resume", pause).stdout.decode(), "resume")
        tap.equal(check.json(name)["queue"]["paused"], False, "resumed")


@t.test("the cached policy decides, the live one is shown beside it")
def _():
    found = check.json("sts.test")["mta_sts"]
    tap.equal((found["source"], found["policy"]["mode"]),
              ("cache", "enforce"), "cached")
    web.policy("sts.test", lab_sts.policy("none"))
    document = check.json("sts.test")
    lab_check.valid(document)
    found = document["mta_sts"]
    tap.equal((found["source"], found["policy"]["mode"],
               found["live"]["policy"]["mode"]), ("cache", "enforce", "none"),
              "cached and live")
    web.policy("sts.test", None)
    tap.equal(check.json("sts.test")["mta_sts"]["live"]["result_type"],
              "sts-policy-fetch-error", "live policy that is gone")
    check.agree("sts.test")


@t.test("a policy that changed before mail fails is tried anew, as delivery does")
def _():
    if check.json("stsother.test")["mta_sts"]["source"] != "cache":
        check.agree("stsother.test")
    web.policy("stsother.test", lab_sts.policy("none"))
    tap.equal(check.json("stsother.test")["verdict"], "deferred",
              "with the old id")
    net.dns.domain("stsother.test", one(GOOD4, *lab_sts.records(STS4, "2")))
    net.dns.reload()
    found = check.json("stsother.test")
    tap.equal(found["verdict"], "encrypted", "verdict")
    check.agree("stsother.test")


@t.test("another user: no queue, and everything else")
def _():
    done = daemon.run("check", "-c", daemon.config, "--json", "good.test",
                      user="nobody", group="nogroup", extra_groups=[])
    found = json.loads(done.stdout)
    lab_check.valid(found)
    tap.equal(found["verdict"], "dane", "verdict")
    tap.equal(found["queue"]["daemon"], "denied", "daemon")


t.run()
