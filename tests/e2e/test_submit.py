#!/usr/bin/python3
"""Taking mail: the command, the listeners, and those who abuse them."""

import os
import re
import socket
import subprocess
import time

import common		# noqa: F401
import lab_check
import lab_peer
import lab_world
import tap
from lab_world import SENDER

PEER4 = "198.51.100.30"
OPEN, SHORT, LOOSE, LMTP = 10026, 10027, 10028, 10029
world = lab_world.World(domains={"peer.test": ["@ MX 10 mx",
                                               "mx A " + PEER4]})
daemon = None
daemon = world.daemon(start=False, limit={
    "message-size": "1M", "recipients": 20, "sessions-per-client": 30})
daemon.configure(listen={
    "unix:%s/submit" % daemon.dir: {},
    "127.0.0.1:10025": {"allow": ["127.0.0.0/8"]},
    "192.0.2.25:%d" % OPEN: {"allow": ["127.0.0.0/8"]},
    "127.0.0.1:%d" % LOOSE: {"allow": ["127.0.0.0/8"],
                             "bare-newline": "normalise"},
    "unix:%s/lmtp" % daemon.dir: {"protocol": "lmtp"}})
t = tap.Tap(on_fail=world.explain)
lab_check.Check(daemon, "").follow(t)
peer = lab_peer.Peer(world.net, PEER4)
HEAD = b"From: <alice@sender.test>\nSubject: s\n\n"


def submit(*options, text=HEAD + b"hello\n", **kw):
    return daemon.run("submit", "-c", daemon.config, *options, stdin=text,
                      **kw)


def arrives(count=1):
    world.net.wait("%d message(s) at the peer" % count,
                   lambda: len(peer.messages()) >= count)
    return peer.messages()


def taken(*options, **kw):
    """Submits by command; returns what arrives, as one message."""
    peer.forget()
    done = submit(*options, **kw)
    tap.equal(done.returncode, 0, "exit, %r" % done.stderr)
    return arrives()[0]


class Raw:
    """A session by hand."""

    def __init__(self, port=10025, host="127.0.0.1", path=None):
        if path:
            self.s = socket.socket(socket.AF_UNIX)
            self.s.connect(path)
        else:
            self.s = socket.create_connection((host, port), 20)
        self.s.settimeout(20)
        self.f = self.s.makefile("rb")

    def reply(self):
        while True:
            line = self.f.readline()
            if line[3:4] != b"-":
                return line.decode("latin-1")

    def do(self, data):
        if isinstance(data, str):
            data = data.encode()
        self.s.sendall(data + b"\r\n")
        return self.reply()

    def to_data(self, recipient="a@peer.test"):
        self.reply()
        for line in ("EHLO x.test", "MAIL FROM:<%s>" % SENDER,
                     "RCPT TO:<%s>" % recipient):
            tap.match("^250", self.do(line), line)
        tap.match("^354", self.do("DATA"), "DATA")
        return self

    def close(self):
        self.f.close()
        self.s.close()


# ---- before it runs ------------------------------------------------------

@t.test("submit exits 75 when the service is down")
def _():
    tap.equal(submit("-f", SENDER, "a@peer.test").returncode, 75, "exit")


@t.test("it starts")
def _():
    daemon.start()


# ---- the command ---------------------------------------------------------

@t.test("submit: sender, recipients, Date, Message-ID, Received")
def _():
    sender, to, text = taken("-f", "bob@sender.test", "a@peer.test",
                             "b@peer.test")
    tap.match("^<bob@sender.test>", sender, "MAIL FROM")
    tap.equal([re.match("<[^>]*>", x)[0] for x in to],
              ["<a@peer.test>", "<b@peer.test>"], "RCPT TO")
    for name in (b"Received", b"Date", b"Message-ID", b"From", b"Subject"):
        tap.equal(len(re.findall(b"(?mi)^" + name + b":", text)), 1,
                  name.decode())


@t.test("submit keeps Date and Message-ID that are there")
def _():
    text = taken("-f", SENDER, "a@peer.test", text=b"Date: Sat, 21 Nov 2026 "
                 b"10:00:00 +0000\nMessage-ID: <mine@x.test>\n" + HEAD)[2]
    tap.equal(len(re.findall(rb"(?mi)^(Date|Message-ID):", text)), 2,
              "headers")
    tap.true(b"Message-ID: <mine@x.test>" in text, "it is mine")


@t.test("submit -t: To, Cc, Bcc; Bcc is not sent on")
def _():
    sender, to, text = taken(
        "-t", "-f", SENDER, text=b"To: A <a@peer.test>,\n \"B, b\" "
        b"<b@peer.test>\nCc: c@peer.test (see)\nBcc: d@peer.test\n" + HEAD)
    tap.equal(sorted(re.match("<[^>]*>", x)[0] for x in to),
              ["<%s@peer.test>" % x for x in "abcd"], "RCPT TO")
    tap.true(b"Bcc" not in text and b"d@peer.test" not in text, "no Bcc")


@t.test("submit: a dot alone ends the text, but not with -i or -oi")
def _():
    text = HEAD + b"one\n.\ntwo\n"
    tap.true(b"two" not in taken("-f", SENDER, "a@peer.test", text=text)[2],
             "without -i")
    for flag in ("-i", "-oi"):
        tap.true(b"\r\n.\r\ntwo" in taken(flag, "-f", SENDER, "a@peer.test",
                                          text=text)[2], flag)


@t.test("submit -F sets the name when From is missing")
def _():
    text = taken("-F", "Alice A.", "-f", SENDER, "a@peer.test",
                 text=b"Subject: x\n\ny\n")[2]
    tap.match(r"(?m)^From: .*Alice A\..*<alice@sender\.test>",
              text.decode(), "From")


@t.test("submit -f '<>': the null sender")
def _():
    tap.match("^<>", taken("-f", "<>", "a@peer.test")[0], "MAIL FROM")


@t.test("submit -N, -R, -V: DSN options")
def _():
    peer.session = type("Dsn", (lab_peer.Session,), {
        "extensions": lab_peer.Session.extensions + ["DSN"]})
    try:
        sender, to, _ = taken("-N", "success,failure", "-R", "hdrs", "-V",
                              "id42", "-f", SENDER, "a@peer.test")
        tap.match("RET=HDRS", sender, "MAIL")
        tap.match("ENVID=id42", sender, "MAIL")
        tap.match("(?i)NOTIFY=success,failure", to[0], "RCPT")
    finally:
        peer.session = lab_peer.Session


@t.test("submit: bare newlines and carriage returns become CRLF")
def _():
    text = taken("-f", SENDER, "a@peer.test",
                 text=HEAD + b"a\r\nb\nc\rd\r\n.\r\n")[2]
    tap.true(not re.search(rb"\r(?!\n)|(?<!\r)\n", text), "no bare one")


@t.test("submit takes the usual flags that mean nothing here")
def _():
    taken("-oem", "-oi", "-odb", "-B8BITMIME", "-v", "-f", SENDER, "--",
          "a@peer.test")


@t.test("submit says what is wrong with its use: 64")
def _():
    tap.equal(submit("-f", SENDER).returncode, 64, "no recipient")
    tap.equal(submit("--no-such-option", "a@peer.test").returncode, 64,
              "option")


@t.test("submit: no recipient in the header with -t is an error")
def _():
    tap.true(submit("-t", "-f", SENDER).returncode in (64, 65), "exit")


@t.test("submit: a message that is too large is refused, not deferred")
def _():
    done = submit("-f", SENDER, "a@peer.test",
                  text=HEAD + b"0123456789\n" * 200000)
    tap.true(done.returncode in (65, 69, 77), "exit %d" % done.returncode)
    tap.true(done.stderr, "it says why")


def linked(name, *argv, text=b""):
    path = os.path.join(daemon.dir, name)
    if not os.path.islink(path):
        os.symlink(daemon.program, path)
    return subprocess.run([path, *argv], input=text, capture_output=True,
                          timeout=30)


@t.test("as sendmail by its name, also -bs")
def _():
    peer.forget()
    done = linked("sendmail", "-c", daemon.config, "-f", SENDER,
                  "a@peer.test", text=HEAD + b"x\n")
    tap.equal(done.returncode, 0, "exit, %r" % done.stderr)
    done = linked("sendmail", "-c", daemon.config, "-bs", text=b"EHLO x\r\n"
                  b"MAIL FROM:<alice@sender.test>\r\n"
                  b"RCPT TO:<a@peer.test>\r\nDATA\r\nSubject: bs\r\n\r\nx\r\n"
                  b".\r\nQUIT\r\n")
    tap.equal(done.returncode, 0, "exit, %r" % done.stderr)
    tap.match(r"220 .*250 .*354.*250 2.*221", done.stdout.decode(),
              "dialogue")
    arrives(2)


@t.test("as mailq by its name")
def _():
    done = linked("mailq", "-c", daemon.config)
    tap.equal(done.returncode, 0, "exit, %r" % done.stderr)


# ---- SMTP ----------------------------------------------------------------

@t.test("EHLO names the extensions")
def _():
    s = daemon.smtp()
    for name in ("pipelining", "8bitmime", "smtputf8", "size", "dsn",
                 "chunking", "enhancedstatuscodes"):
        tap.true(s.has_extn(name), name)
    tap.equal(s.esmtp_features["size"], str(1 << 20), "SIZE")
    s.quit()


@t.test("not a relay for others")
def _():
    r = Raw(OPEN, "192.0.2.25")
    answers = [r.reply()]
    for line in ("EHLO x.test", "MAIL FROM:<%s>" % SENDER,
                 "RCPT TO:<a@peer.test>"):
        try:
            answers.append(r.do(line))
        except OSError:
            break
    tap.true(any(a.startswith("5") for a in answers), "refused: %r"
             % answers)
    tap.true(not any(a.startswith("250 2.1.5") for a in answers),
             "no recipient taken")
    r.close()


# Ends of data that some servers take for one: RFC 5321 4.1.1.4 knows only
# CRLF.CRLF.
SMUGGLE = [b"\n.\r\n", b"\n.\n", b"\r\n.\n", b"\r.\r\n", b"\r.\r",
           b"\r\n.\r", b"\n.\r", b"\r\r\n.\r\r\n", b"\r\n\0.\r\n",
           b"\n\n.\r\n"]

for mark in SMUGGLE:
    @t.test("no end of data: %r" % mark)
    def _(mark=mark):
        peer.forget()
        r = Raw().to_data()
        r.s.sendall(b"Subject: one\r\n\r\nfirst" + mark
                    + b"MAIL FROM:<evil@x.test>\r\nRCPT TO:<b@peer.test>\r\n"
                    b"DATA\r\nSubject: two\r\n\r\nsmuggled\r\n.\r\n")
        tap.match("^5[05]", r.reply(), "refused")
        r.close()
        time.sleep(0.3)
        tap.equal(peer.messages(), [], "nothing arrives")


@t.test("bare-newline = normalise: one message, clean")
def _():
    for mark in (b"\n.\r\n", b"\n.\n", b"\r\n.\n"):
        peer.forget()
        r = Raw(LOOSE).to_data()
        r.s.sendall(b"Subject: one\r\n\r\nfirst" + mark + b"second\r\n.\r\n")
        tap.match("^250", r.reply(), "taken")
        r.close()
        text = arrives()[0][2]
        tap.true(b"second" in text, "all of it: %r" % mark)
        tap.true(not re.search(rb"\r(?!\n)|(?<!\r)\n", text), "no bare one")
        tap.equal(len(peer.messages()), 1, "messages")


@t.test("pipelined commands, and several messages in one session")
def _():
    peer.forget()
    r = Raw()
    r.reply()
    one = b"MAIL FROM:<alice@sender.test>\r\nRCPT TO:<a@peer.test>\r\n" \
        b"DATA\r\n"
    r.do("EHLO x.test")
    for n in range(3):
        r.s.sendall(one)
        tap.equal([r.reply()[:3] for _ in range(3)], ["250", "250", "354"],
                  "replies")
        tap.match("^250", r.do(b"Subject: %d\r\n\r\nx\r\n." % n), "taken")
    r.close()
    arrives(3)


@t.test("too many recipients: 452 for those, the rest are taken")
def _():
    r = Raw()
    r.reply()
    r.do("EHLO x.test")
    r.do("MAIL FROM:<%s>" % SENDER)
    codes = [r.do("RCPT TO:<r%d@peer.test>" % n)[:3] for n in range(25)]
    tap.equal(codes, ["250"] * 20 + ["452"] * 5, "codes")
    r.close()


@t.test("size: refused at MAIL when announced, at the end when not")
def _():
    r = Raw()
    r.reply()
    r.do("EHLO x.test")
    tap.match("^552", r.do("MAIL FROM:<%s> SIZE=9999999" % SENDER), "MAIL")
    r.close()
    r = Raw().to_data()
    r.s.sendall(b"Subject: x\r\n\r\n" + b"0123456789\r\n" * 200000
                + b".\r\n")
    tap.match("^552", r.reply(), "end of data")
    tap.match("^250", r.do("NOOP"), "the session goes on")
    r.close()


@t.test("lines over 998 octets are refused")
def _():
    r = Raw().to_data()
    tap.match("^5", r.do(b"Subject: x\r\n\r\n" + b"x" * 1100 + b"\r\n."),
              "refused")
    r.close()


@t.test("a message that went round too often is refused")
def _():
    r = Raw().to_data()
    tap.match("^554 5.4.6", r.do(b"Received: from a by b; now\r\n" * 60
                                 + b"\r\nx\r\n."), "refused")
    r.close()


@t.test("commands in the wrong order or form get 5xx and no harm")
def _():
    r = Raw()
    r.reply()
    for line, want in (("MAIL FROM:<a@x.test>", "^[25]"), ("DATA", "^5"),
                       ("EHLO x.test", "^250"), ("RCPT TO:<a@b.test>", "^503"),
                       ("MAIL", "^50"),
                       ("MAIL FROM:<%s>" % ("x" * 400 + "@x.test"), "^5"),
                       ("MAIL FROM:<a@x.test> BODY=9BIT", "^5"),
                       ("MAIL FROM:<a@x.test> NOSUCH=1", "^55"),
                       ("FROB", "^500"), ("VRFY a", "^25"),
                       ("MAIL FROM:<a@x.test>", "^250"),
                       ("RCPT TO:<nodomain>", "^5"), ("RCPT TO:<>", "^5"),
                       ("RCPT TO:<a@b.test", "^50"),
                       ("RCPT TO:<a@b_\u00e4.test>", "^5"),
                       ("DATA", "^50"), ("RSET", "^250"), ("QUIT", "^221")):
        tap.match(want, r.do(line), line)
    r.close()


@t.test("8-bit addresses need SMTPUTF8")
def _():
    r = Raw()
    r.reply()
    r.do("EHLO x.test")
    r.do("MAIL FROM:<%s>" % SENDER)
    tap.match("^5", r.do("RCPT TO:<j\u00f6rg@peer.test>"), "without")
    r.do("RSET")
    r.do("MAIL FROM:<%s> SMTPUTF8" % SENDER)
    tap.match("^250", r.do("RCPT TO:<j\u00f6rg@peer.test>"), "with")
    r.close()


@t.test("junk ends the session, not the service")
def _():
    for junk in (os.urandom(100000), b"\0" * 100000, b"x" * 1000000,
                 b"EHLO " + b"y" * 100000 + b"\r\n", b"NOPE\r\n" * 5000):
        r = Raw()
        try:
            r.s.sendall(junk)
            r.s.shutdown(socket.SHUT_WR)
            while r.s.recv(65536):
                pass
        except OSError:
            pass
        r.close()
    tap.match("^220", Raw().reply(), "greeting")


@t.test("slow submitters are sent away, others are served")
def _():
    daemon.configure(limit={"submit-idle": "2s"})
    daemon.reload()
    time.sleep(1)
    slow = [Raw() for _ in range(10)]
    middle = Raw().to_data()
    tap.equal(submit("-f", SENDER, "a@peer.test").returncode, 0, "exit")
    for r in slow:
        r.reply()
        tap.match("^(421|$)", r.reply(), "slow one")
        r.close()
    middle.s.sendall(b"half a message")
    tap.match("^(421|$)", middle.reply(), "stuck in its text")
    middle.close()


@t.test("too many sessions of one client: 421, then served again")
def _():
    held = [Raw() for _ in range(40)]
    greetings = [r.reply()[:3] for r in held]
    tap.true(greetings.count("220") <= 30 and "421" in greetings,
             "greetings: %r" % greetings)
    for r in held:
        r.close()
    world.net.wait("served again", lambda: Raw().reply()[:3] == "220")


@t.test("LMTP: one reply per recipient")
def _():
    peer.forget()
    r = Raw(path=daemon.dir + "/lmtp")
    r.reply()
    tap.match("^5", r.do("EHLO x.test"), "EHLO")
    tap.match("^250", r.do("LHLO x.test"), "LHLO")
    r.do("MAIL FROM:<%s>" % SENDER)
    r.do("RCPT TO:<a@peer.test>")
    r.do("RCPT TO:<b@peer.test>")
    r.do("DATA")
    tap.match("^250", r.do(b"Subject: x\r\n\r\nx\r\n."), "first")
    tap.match("^250", r.reply(), "second")
    r.close()
    tap.equal(len(arrives()[0][1]), 2, "recipients")


t.run()
