#!/usr/bin/python3
"""check --starttls: real servers of every protocol, and scripted ones that do
what no real one would."""

import concurrent.futures
import json
import os
import pwd
import re
import subprocess
import time

import common		# noqa: F401
import lab
import lab_check
import lab_daemon
import lab_mta
import lab_services
import tap
from lab_peer import Closed, Peer, Session, tls_context
from lab_tlsa import tlsa

DOVECOT4, PROSODY4, POSTGRES4, POSTFIX4, INN4 = (
    "198.51.100.%d" % n for n in (40, 41, 42, 43, 45))
PEER4, DEAD4 = "198.51.100.44", "203.0.113.9"
EX_OK, EX_USAGE, EX_UNAVAILABLE, EX_TEMPFAIL = 0, 64, 69, 75

net = lab.Lab()
dovecot = lab_services.Dovecot(net, DOVECOT4, "imap.good.test")
prosody = lab_services.Prosody(net, PROSODY4, "good.test", "xmpp.good.test")
postgres = lab_services.Postgres(net, POSTGRES4, "db.good.test")
inn = lab_services.Inn(net, INN4, "news.good.test")
postfix = lab_mta.Postfix(net, ["ann@good.test"], host="mx.good.test")
postfix.listen(POSTFIX4)
other = net.ca.cert("elsewhere.test")
services = (dovecot, prosody, postgres, inn)

net.dns.domain("good.test", [
    "imap A " + DOVECOT4, "db A " + POSTGRES4, "xmpp A " + PROSODY4,
    "mx A " + POSTFIX4, "alias CNAME imap", "dead A " + DEAD4,
    "news A " + INN4, tlsa(3, 1, 1, inn.cert[0], "_119._tcp.news"),
    "@ A " + PROSODY4,
    tlsa(3, 1, 1, dovecot.cert[0], "_143._tcp.imap"),
    tlsa(2, 0, 1, net.ca.file, "_110._tcp.imap"),
    tlsa(1, 1, 1, dovecot.cert[0], "_24._tcp.imap"),
    tlsa(0, 0, 1, net.ca.file, "_993._tcp.imap"),
    tlsa(3, 1, 1, other[0], "_5432._tcp.db"),
    tlsa(1, 1, 1, postfix.cert[0], "_25._tcp.mx"),
    tlsa(3, 1, 1, prosody.cert[0], "_5222._tcp.xmpp"),
    "_xmpp-client._tcp SRV 20 0 5269 nowhere",
    "_xmpp-client._tcp SRV 10 5 5222 xmpp",
    "_imap._tcp SRV 0 0 0 .",
])
net.dns.domain("plain.test", [
    "imap A " + DOVECOT4, tlsa(3, 1, 1, dovecot.cert[0], "_143._tcp.imap"),
    "_xmpp-client._tcp SRV 0 0 5222 xmpp.good.test."], signed=False)
net.dns.domain("broken.test", None)
net.start()
postfix.start()
for service in services:
    service.start()
for service in services:
    service.wait()

SHORT = {"connect": "2s", "banner": "2s", "command": "2s", "tls": "2s",
         "quit": "1s"}
daemon = lab_daemon.Daemon(net, lab_daemon.program(), timeout=SHORT)
t = tap.Tap()


def check(protocol, where, *more, code=EX_OK, verdict="ok"):
    done = daemon.run("check", "-c", daemon.config, "--json", "--starttls",
                      protocol, where, *more)
    out = done.stdout.decode()
    tap.equal(done.returncode, code, "exit code for %s %s: %s%s" % (
        protocol, where, out, done.stderr.decode()))
    found = json.loads(out)
    lab_check.valid(found, "starttls.json")
    tap.equal(found["verdict"], verdict, "verdict: " + out)
    return found


# ---- real servers ----------------------------------------------------------

@t.test("real servers: TLS comes up, and the certificate is seen")
def _():
    for protocol, where, name, offers in (
            ("imap", "imap.good.test", "imap.good.test", "STARTTLS"),
            ("pop3", "imap.good.test:110", "imap.good.test", "STLS"),
            ("lmtp", "imap.good.test", "imap.good.test", "STARTTLS"),
            ("lmtp", "unix:" + dovecot.lmtp_socket, None, "STARTTLS"),
            ("none", "imap.good.test:993", "imap.good.test", None),
            ("nntp", "news.good.test", "news.good.test", "STARTTLS"),
            ("xmpp-client", "good.test", "good.test", "starttls"),
            ("xmpp-server", "good.test:5269", "good.test", "starttls"),
            ("postgres", "db.good.test", "db.good.test", None),
            ("smtp", "mx.good.test", "mx.good.test", "STARTTLS"),
            ("submission", "mx.good.test:25", "mx.good.test", "STARTTLS"),
            ("imap", DOVECOT4 + ":143", None, "STARTTLS")):
        found = check(protocol, where)
        tap.true(found["tls_active"], where)
        tap.true(found["tls"]["protocol"].startswith("TLSv1"), where)
        tap.equal(found["offered"], offers is not None, where)
        if offers:
            tap.true(offers in found["capabilities"], where)
            # Prosody wants a certificate of another server first.
            if protocol != "xmpp-server":
                tap.true(offers not in found["capabilities_tls"], where)
        if name:
            tap.equal(found["tls"]["pkix"]["name"], name, where)
            tap.true(found["tls"]["pkix"]["valid"], where)
        tap.true(not found["verified"], "nobody asked for that")


@t.test("the servers were left politely")
def _():
    with open(os.path.join(dovecot.dir, "dovecot.log")) as f:
        log = f.read()
    tap.true("Error" not in log and "Panic" not in log, log[-1000:])
    with open(net.log("postgres")) as f:
        log = f.read()
    tap.true("invalid length" not in log and "startup packet" not in log,
             log[-1000:])
    last = net.wait("Postfix tells of the end", lambda: [
        x for x in postfix.sessions() if "quit" in x])[-1]
    tap.equal((last["ehlo"], last["starttls"], last["quit"]),
              ("2", "1", "1"), "Postfix's last session")


@t.test("DANE: usages 3 and 2, an alias, and SRV (RFC 7671, 7673)")
def _():
    for protocol, where, name in (
            ("imap", "imap.good.test", "_143._tcp.imap.good.test"),
            ("pop3", "imap.good.test", None),
            ("imap", "alias.good.test", None),
            ("nntp", "news.good.test", None),
            ("xmpp-client", "good.test", None)):
        found = check(protocol, where, "--dane")
        tap.true(found["verified"], where)
        tap.equal([r["matches"] is not None for r in found["tlsa"]], [True],
                  where)
        tap.equal(found["dnssec"], "secure", where)


@t.test("DANE: usages 1 and 0 count where the protocol is not SMTP")
def _():
    for protocol, where in (("lmtp", "imap.good.test"),
                            ("none", "imap.good.test:993")):
        tap.true(check(protocol, where, "--dane")["verified"], protocol)
    config = daemon.config
    try:
        daemon.configure(tls={"ca-file": other[0]})
        for protocol, where in (("lmtp", "imap.good.test"),
                                ("none", "imap.good.test:993")):
            check(protocol, where, "--dane", code=EX_UNAVAILABLE,
                  verdict="unverified")
    finally:
        daemon.configure(tls={"ca-file": net.ca.file})
    tap.equal(daemon.config, config, "configuration")
    found = check("smtp", "mx.good.test", "--dane", code=EX_UNAVAILABLE,
                  verdict="no-tlsa")
    tap.true(not found["tlsa"][0]["usable"], "usage 1 for SMTP")


@t.test("DANE: what does not fit, is not there, or is not signed")
def _():
    found = check("postgres", "db.good.test", "--dane", code=EX_UNAVAILABLE,
                  verdict="unverified")
    tap.true(found["tls"]["certificates"], "the certificate is still shown")
    check("xmpp-server", "xmpp.good.test:5269", "--dane",
          code=EX_UNAVAILABLE, verdict="no-tlsa")
    check("imap", "imap.plain.test", "--dane", code=EX_UNAVAILABLE,
          verdict="no-tlsa")
    found = check("xmpp-client", "plain.test", "--dane", code=EX_UNAVAILABLE,
                  verdict="no-tlsa")
    tap.match("SRV", found["reason"], "reason")
    check("imap", "imap.broken.test", "--dane", code=EX_TEMPFAIL,
          verdict="dns")


@t.test("--pkix: the name counts, also with --dane")
def _():
    for more in ((), ("--dane",)):
        tap.true(check("imap", "imap.good.test", "--pkix", "imap.good.test",
                       *more)["verified"], "good name")
        found = check("imap", "imap.good.test", "--pkix", "mail.good.test",
                      *more, code=EX_UNAVAILABLE, verdict="unverified")
        tap.match("mail.good.test", found["reason"], "reason")


@t.test("no such host, no such service, no answer")
def _():
    check("imap", "none.good.test", code=EX_TEMPFAIL, verdict="unreachable")
    check("imap", "good.test", code=EX_UNAVAILABLE, verdict="absent")
    check("imap", DOVECOT4 + ":1", code=EX_TEMPFAIL, verdict="unreachable")
    check("imap", "imap.broken.test", code=EX_TEMPFAIL, verdict="dns")
    check("imap", "dead.good.test", code=EX_TEMPFAIL, verdict="timeout")
    check("lmtp", "unix:/nonexistent", code=EX_TEMPFAIL,
          verdict="unreachable")


@t.test("arguments that make no sense")
def _():
    for args in (("imap",), ("gopher", "a.test:70"), ("imap", "a.test:x"),
                 ("none", "a.test"), ("imap", "[::1"),
                 ("imap", "192.0.2.1:143", "--dane"),
                 ("imap", "a.test", "--pkix", "*")):
        done = daemon.run("check", "-c", daemon.config, "--starttls", *args)
        tap.equal(done.returncode, EX_USAGE, args)
        tap.equal(done.stdout, b"", args)


@t.test("the text is aligned, says the verdict first, and has no colour")
def _():
    done = daemon.run("check", "-c", daemon.config, "--starttls", "imap",
                      "imap.good.test", "--dane")
    lines = done.stdout.decode().splitlines()
    tap.equal(lines[0], "imap.good.test (imap): ok", "first line")
    tap.true(all(re.match(r"  (\S.{10} |\S.{11}|  \S.{9}| {12})", x + 9 * " ")
                 for x in lines[1:]), lines)
    tap.true("\033" not in done.stdout.decode(), "no colour")
    for word in ("verdict", "resolver", "greeting", "offers", "certificate",
                 "under TLS", "TLSA", "times"):
        tap.match(r"\n  " + word, done.stdout.decode(), word)


# ---- scripted ones ---------------------------------------------------------

CRLF = b"\r\n"
XML = (b"<?xml version='1.0'?><stream:stream from='good.test' id='1' "
       b"version='1.0' xmlns='jabber:client' "
       b"xmlns:stream='http://etherx.jabber.org/streams'>")
XTLS = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
HEAD = rb"<\?xml[^>]*><stream:stream[^>]*>"


def lines(*texts):
    return b"".join(x + CRLF for x in texts)


class Script(Session):
    """greeting; question -> answer; start: the question and the go-ahead."""
    tls = tls_context(other)
    greeting, offer = b"", b"STARTTLS"
    offered, blot, go, extra = True, None, True, b""

    def hello(self):
        """What it can do, as a list of words."""
        words = [b"ONE", b"TWO 2"]
        if self.blot:
            words.append(self.blot)
        if self.offered and not self.tls_active:
            words.append(self.offer)
        return words

    def answer(self, question, reply):
        self.send(reply)

    def run(self):
        try:
            self.send(self.greeting)
            while True:
                for pattern, name in self.dialogue:
                    found = re.match(pattern, self.buffer, re.S)
                    if found:
                        break
                else:
                    self.more()
                    continue
                self.buffer = self.buffer[found.end():]
                self.verbs.append(name)
                self.answer(name, getattr(self, name)())
                if name == "start" and self.go:
                    self.start_tls()
                if name == "bye":
                    return
        except Closed:
            pass
        finally:
            self.ended = True
            self.sock.close()

    def start(self):
        return (self.yes if self.go else self.no) + self.extra


class Smtp(Script):
    greeting, yes, no = b"220 hi\r\n", b"220 go\r\n", b"454 no\r\n"
    dialogue = ((rb"[EL]HLO \S+\r\n", "list"), (rb"STARTTLS\r\n", "start"),
                (rb"QUIT\r\n", "bye"))
    turned_away = b"554 go away\r\n"

    def list(self):
        words = [b"peer"] + self.hello()
        return b"".join(b"250-%s\r\n" % w for w in words[:-1]) + (
            b"250 %s\r\n" % words[-1])

    def bye(self):
        return b"221 bye\r\n"


class Imap(Script):
    greeting, yes, no = b"* OK hi\r\n", b"a2 OK go\r\n", b"a2 NO no\r\n"
    dialogue = ((rb"a[13] CAPABILITY\r\n", "list"),
                (rb"a2 STARTTLS\r\n", "start"), (rb"a4 LOGOUT\r\n", "bye"))
    turned_away = b"* PREAUTH hello root\r\n"

    def list(self):
        words = [w.replace(b" ", b"=") for w in self.hello()]
        return lines(b"* CAPABILITY IMAP4rev1 " + b" ".join(words),
                     b"a%d OK done" % (3 if self.tls_active else 1))

    def bye(self):
        return lines(b"* BYE", b"a4 OK bye")


class Pop3(Script):
    greeting, yes, no = b"+OK hi\r\n", b"+OK go\r\n", b"-ERR no\r\n"
    offer = b"STLS"
    dialogue = ((rb"CAPA\r\n", "list"), (rb"STLS\r\n", "start"),
                (rb"QUIT\r\n", "bye"))
    turned_away = b"-ERR go away\r\n"

    def list(self):
        return lines(b"+OK", *self.hello(), b".")

    def bye(self):
        return b"+OK bye\r\n"


class Nntp(Script):
    greeting, yes, no = b"200 hi\r\n", b"382 go\r\n", b"580 no\r\n"
    dialogue = ((rb"CAPABILITIES\r\n", "list"), (rb"STARTTLS\r\n", "start"),
                (rb"QUIT\r\n", "bye"))
    turned_away = b"502 go away\r\n"

    def list(self):
        return lines(b"101 list", b"VERSION 2", *self.hello(), b".")

    def bye(self):
        return b"205 bye\r\n"


class Xmpp(Script):
    offer = b"starttls"
    yes = b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
    no = (b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
          b"</stream:stream>")
    dialogue = ((HEAD, "list"), (rb"<starttls[^>]*/>", "start"),
                (rb"</stream:stream>", "bye"))
    turned_away = None

    def list(self):
        words = [b"<%s xmlns='x:y'><a><b/></a></%s>"
                 % (w.split()[0].lower(), w.split()[0].lower())
                 for w in self.hello() if w != self.offer]
        if self.offer in self.hello():
            words.append(XTLS)
        return XML + (b"<stream:features>" + b"".join(words)
                      + b"</stream:features>")

    def bye(self):
        return b"</stream:stream>"


class Postgres(Script):
    yes, no = b"S", b"N"
    dialogue = ((b"\0\0\0\x08\x04\xd2\x16\x2f", "start"),)
    turned_away = None


PROTOCOLS = {"smtp": Smtp, "submission": Smtp, "lmtp": Smtp, "imap": Imap,
             "pop3": Pop3, "nntp": Nntp, "xmpp-client": Xmpp,
             "xmpp-server": Xmpp, "postgres": Postgres}
LISTS = [p for p in PROTOCOLS if p != "postgres"]
ports = iter(range(2000, 4000))


def peer(kind, **changes):
    return Peer(net, PEER4, type("Changed", (kind,), changes), next(ports))


def each(names, code, verdict, judge=None, **changes):
    """Looks at a peer of each protocol, several at a time."""
    def one(name):
        p = peer(PROTOCOLS[name], **changes)
        port = p.sock.getsockname()[1]
        found = check(name, "%s:%d" % (PEER4, port), code=code,
                      verdict=verdict)
        if judge:
            net.wait("the peer sees the end", lambda: p.sessions[0].ended, 5)
            judge(name, found, p.sessions[0])
        p.close()
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        list(pool.map(one, names))


@t.test("scripted: all goes well, and to its polite end")
def _():
    def judge(name, found, session):
        want = ["start"] if name == "postgres" else [
            "list", "start", "list", "bye"]
        tap.equal(session.verbs, want, name)
        if name != "postgres":
            tap.equal([x.lower() for x in found["capabilities"]][-1],
                      PROTOCOLS[name].offer.decode().lower(), name)
            tap.equal(len(found["capabilities"]),
                      len(found["capabilities_tls"]) + 1, name)
    each(PROTOCOLS, EX_OK, "ok", judge)


@t.test("no STARTTLS: absent, and nothing but politeness follows")
def _():
    def judge(name, found, session):
        tap.true(not found["offered"] and not found["tls_active"], name)
        tap.equal(session.verbs, ["start"] if name == "postgres" else [
            "list", "start", "bye"][:2 if "xmpp" in name else 3], name)
    each(PROTOCOLS, EX_UNAVAILABLE, "absent", judge, offered=False, go=False)


@t.test("STARTTLS offered and refused")
def _():
    each(LISTS, EX_UNAVAILABLE, "refused", go=False)


@t.test("STARTTLS taken out of the list: stripped")
def _():
    def judge(name, found, session):
        tap.true(found["tls_active"] and not found["offered"], name)
    each(LISTS, EX_UNAVAILABLE, "stripped", judge, offered=False)


@t.test("a word of the list is blotted out")
def _():
    def judge(name, found, session):
        tap.match("blotted", "".join(found["notes"]), name)
    each(LISTS, EX_UNAVAILABLE, "absent", judge, offered=False, go=False,
         blot=b"XXXXXXXA")


@t.test("octets between go-ahead and handshake: injection, no ClientHello")
def _():
    def judge(name, found, session):
        tap.true(not found["tls_active"] and found["tls"] is None, name)
        tap.equal(session.buffer, b"", name + ": nothing came after that")
    each(PROTOCOLS, EX_UNAVAILABLE, "injected", judge, extra=b"250 OK\r\n",
         start_tls=lambda self: (self.more(), self.close()))


@t.test("an answer before the question: the same")
def _():
    each(["smtp"], EX_UNAVAILABLE, "injected",
         greeting=b"220 hi\r\n250-x\r\n250 STARTTLS\r\n220 go\r\n")


@t.test("turned away by the greeting")
def _():
    for name in LISTS:
        kind = PROTOCOLS[name]
        if kind.turned_away:
            each([name], EX_TEMPFAIL, "turned-away",
                 greeting=kind.turned_away)


@t.test("garbage, another protocol, NULs, lines and answers without end")
def _():
    for text in (b"SSH-2.0-OpenSSH_9.2\r\n", bytes(range(256)),
                 b"x" * 9000 + CRLF, b"\0\0\0\0\r\n"):
        each(PROTOCOLS if text[0] != ord("S") else LISTS, EX_UNAVAILABLE,
             "garbage", greeting=text)
    for name, text in (("smtp", b"250-more\r\n"), ("imap", b"* more\r\n"),
                       ("pop3", b"more\r\n"), ("nntp", b"more\r\n"),
                       ("xmpp-client", b"<more/>")):
        head = {"pop3": b"+OK\r\n", "nntp": b"101 x\r\n",
                "xmpp-client": XML}.get(name, b"")
        each([name], EX_UNAVAILABLE, "garbage",
             list=lambda self, x=head + text * 8000: x)


@t.test("while a peer speaks: no root, and the filter is on")
def _():
    p = peer(Smtp, list=lambda self: (time.sleep(1), b"")[1])
    process = subprocess.Popen(
        daemon.argv("check", "-c", daemon.config, "--starttls", "smtp",
                    "%s:%d" % (PEER4, p.sock.getsockname()[1])),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)
    net.wait("it has spoken", lambda: p.sessions and p.sessions[0].verbs)
    status = daemon.status(process.pid)
    tap.equal(process.wait(10), EX_TEMPFAIL, "exit code")
    tap.equal(status["Uid"].split()[0],
              str(pwd.getpwnam("smtpd-out").pw_uid), "user")
    tap.equal(status["Seccomp"], "2", "filter")
    p.close()


@t.test("the end of the connection, at each step")
def _():
    def close(self, *args):
        self.close()
    each(PROTOCOLS, EX_TEMPFAIL, "closed", run=lambda self: (
        self.sock.close(), setattr(self, "ended", True)))
    each(LISTS, EX_TEMPFAIL, "closed", list=close)
    each(PROTOCOLS, EX_TEMPFAIL, "closed", start=close)
    each(PROTOCOLS, EX_UNAVAILABLE, "handshake-failed", start_tls=close)
    each(LISTS, EX_OK, "ok", bye=close)


@t.test("slow: silent, and one octet at a time")
def _():
    def drip(self, question, reply):
        for octet in reply:
            self.send(bytes([octet]))
            time.sleep(0.2)
    began = time.monotonic()
    each(PROTOCOLS, EX_TEMPFAIL, "timeout", answer=lambda *args: None,
         go=False)
    each(LISTS, EX_TEMPFAIL, "timeout", answer=drip)
    tap.true(time.monotonic() - began < 20, "time is bounded")


@t.test("what is not TLS after the go-ahead")
def _():
    each(PROTOCOLS, EX_UNAVAILABLE, "handshake-failed",
         start_tls=lambda self: (self.more(), self.send(b"HTTP/1.1 400\r\n"),
                                 self.close()))


@t.test("TLS fails or says nothing after TLS: bounded, and said")
def _():
    each(LISTS, EX_TEMPFAIL, "timeout", answer=lambda self, q, reply:
         self.send(reply) if not self.tls_active else None)


t.run()
