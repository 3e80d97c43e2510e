#!/usr/bin/python3
"""Messages with a demand of their own (RFC 8689), judged by what the servers
saw: REQUIRETLS and TLS-Required: No."""

import hashlib
import os
import pwd
import socket
import ssl
import subprocess
import time
import warnings

import common		# noqa: F401
import lab
import lab_check
import lab_daemon
import lab_mta
import lab_peer
import tap

POSTFIX4 = "198.51.100.10"
GOOD4, LACKS4, CLEAR4 = "198.51.100.30", "198.51.100.31", "198.51.100.32"
WRONG4, EARLY4, BACK4 = "198.51.100.33", "198.51.100.34", "198.51.100.35"
SENDER, DEAF = "alice@back.test", "bob@post.test"

net = lab.Lab()
names = ["mx." + d for d in (
    "peer.test", "pkix.test", "both.test", "back.test", "unsigned.test",
    "early.test", "wrong.test", "clear.test", "lacks.test")]
pair = net.ca.cert(*names)
other_pair = net.ca.cert("mx.other.test")


def tlsa(cert):
    """TLSA 3 1 1 of a certificate file."""
    key = subprocess.run(["openssl", "x509", "-in", cert, "-noout",
                          "-pubkey"], check=True, capture_output=True).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"],
                         input=key, check=True, capture_output=True).stdout
    return "TLSA 3 1 1 " + hashlib.sha256(der).hexdigest()


postfix = lab_mta.Postfix(net, [DEAF, "ann@post.test", "ann@both.test"])
postfix.listen(POSTFIX4)


def domain(name, address, record=None, signed=True, more=()):
    net.dns.domain(name, ["@ MX 10 mx", "mx A " + address, *more] + (
        ["_25._tcp.mx " + record] if record else []), signed=signed)


domain("post.test", POSTFIX4, tlsa(postfix.cert[0]))
domain("peer.test", GOOD4, tlsa(pair[0]))
domain("pkix.test", GOOD4)
domain("unsigned.test", GOOD4, signed=False)
domain("lacks.test", LACKS4, tlsa(pair[0]))
domain("clear.test", CLEAR4)
domain("stripped.test", CLEAR4, tlsa(pair[0]))
domain("wrong.test", WRONG4, tlsa(pair[0]))
domain("name.test", WRONG4)
domain("early.test", EARLY4, tlsa(pair[0]))
domain("back.test", BACK4, tlsa(pair[0]))
# Postfix, which lacks it, comes first.
domain("both.test", POSTFIX4, tlsa(postfix.cert[0]), more=[
    "@ MX 20 good", "good A " + GOOD4, "_25._tcp.good " + tlsa(pair[0])])
net.start()
postfix.start()


class Tls(lab_peer.Session):
    """Offers REQUIRETLS as it should be: under TLS."""
    tls = lab_peer.tls_context(pair)
    keyword, early = True, False

    def on_ehlo(self, argument):
        self.extensions = [x for x in self.extensions if x != "REQUIRETLS"]
        if self.early if not self.tls_active else self.keyword:
            self.extensions.append("REQUIRETLS")
        super().on_ehlo(argument)


class Lacks(Tls):
    keyword = False


class Early(Lacks):
    early = True		# said in the clear, and not under TLS


class Wrong(Tls):
    tls = lab_peer.tls_context(other_pair)


class Clear(lab_peer.Session):
    extensions = lab_peer.Session.extensions + ["REQUIRETLS"]


good = lab_peer.Peer(net, GOOD4, Tls)
back = lab_peer.Peer(net, BACK4, Tls)
lacks = lab_peer.Peer(net, LACKS4, Lacks)
early = lab_peer.Peer(net, EARLY4, Early)
wrong = lab_peer.Peer(net, WRONG4, Wrong)
clear = lab_peer.Peer(net, CLEAR4, Clear)
listen_pair = net.ca.cert("submit.test")
for path in listen_pair + (os.path.dirname(listen_pair[0]),):
    os.chown(path, pwd.getpwnam("smtpd-out").pw_uid, -1)
TLS_PORT, NO_FILE_PORT = 10465, 10466
daemon = lab_daemon.Daemon(net, lab_daemon.program(),
                           retry={"first": "1h", "max": "1h"})
daemon.configure(listen={
    "unix:%s/submit" % daemon.dir: {},
    "127.0.0.1:10025": {},
    "127.0.0.1:%d" % TLS_PORT: {"certificate": listen_pair[0],
                                "key": listen_pair[1]},
    "127.0.0.1:%d" % NO_FILE_PORT: {"certificate": "/nonexistent/cert",
                                    "key": "/nonexistent/key"}})
daemon.start()
t = tap.Tap(on_fail=daemon.explain)
lab_check.Check(daemon, "").follow(t, not_after=("asks for more",))
TEXT = "From: <%s>\nTo: <%s>\nSubject: s\n%s\nthe secret\n"


def send(to, *options, sender=SENDER, header=""):
    """Submits by command; returns what came of it: (delivery line, id)."""
    seen = len(daemon.deliveries(to=to))
    done = daemon.run("submit", "-c", daemon.config, "-f", sender, *options,
                      to, stdin=(TEXT % (sender, to, header)).encode())
    tap.equal(done.returncode, 0, "exit, %r" % done.stderr)
    net.wait("a delivery line", lambda: len(daemon.deliveries(to=to)) > seen)
    line = daemon.deliveries(to=to)[-1]
    return line


def required(to, **kw):
    return send(to, "--require-tls", **kw)


def nothing_at(peer):
    tap.equal([x for s in peer.sessions for x in s.verbs
               if x in ("MAIL", "RCPT", "DATA")], [], "said to the peer")


def only(peer):
    tap.equal(len(peer.messages()), 1, "messages at the peer")
    return peer.messages()[0]


def fresh(*peers):
    for peer in peers:
        peer.session = peer.kind	# ends what is open
        net.wait("sessions have ended", lambda p=peer: all(
            s.ended for s in p.sessions))
        peer.forget()


@t.test("a host with TLSA records and REQUIRETLS gets it, with REQUIRETLS")
def _():
    line = required("a@peer.test")
    tap.equal((line["status"], line["tls"], line["why"]),
              ("sent", "dane", "requiretls"), "delivery line")
    sender, _, text = only(good)
    tap.match(r"^<alice@back.test>.* REQUIRETLS\b", sender, "MAIL")
    tap.match(b"the secret".decode(), text.decode(), "text")
    tap.true(good.sessions[-1].tls_active, "TLS")


@t.test("its twin without the demand goes without the parameter")
def _():
    fresh(good)
    line = send("a@peer.test")
    tap.equal((line["status"], line["why"]), ("sent", "dane"), "line")
    tap.true("REQUIRETLS" not in only(good)[0], "MAIL")


@t.test("a signed MX and a certificate for its name will do")
def _():
    fresh(good)
    line = required("a@pkix.test")
    tap.equal((line["status"], line["tls"], line["why"]),
              ("sent", "pkix", "requiretls"), "delivery line")
    tap.match("REQUIRETLS", only(good)[0], "MAIL")


@t.test("an unsigned MX will not, whatever the host offers")
def _():
    fresh(good)
    line = required("a@unsigned.test")
    tap.equal((line["status"], line["dsn"]), ("bounced", "5.7.30"), "line")
    tap.equal(good.sessions, [], "connections")
    tap.equal(send("a@unsigned.test")["status"], "sent", "its twin")


def bounces(to, peer):
    line = required(to)
    tap.equal((line["status"], line["dsn"]), ("bounced", "5.7.30"), "line")
    nothing_at(peer)


@t.test("a host without the keyword: 5.7.30")
def _():
    bounces("a@lacks.test", lacks)
    tap.equal(send("a@lacks.test")["status"], "sent", "its twin")


@t.test("a keyword that was said in the clear does not count")
def _():
    bounces("a@early.test", early)
    tap.equal(send("a@early.test")["status"], "sent", "its twin")


@t.test("a host without STARTTLS: 5.7.30")
def _():
    bounces("a@clear.test", clear)
    tap.equal(send("a@clear.test")["status"], "sent", "its twin")


@t.test("without STARTTLS where DANE promises it: tried again")
def _():
    fresh(clear)
    line = required("a@stripped.test")
    tap.equal((line["status"], line["dsn"]), ("deferred", "4.7.10"), "line")
    nothing_at(clear)


@t.test("a certificate that does not match: tried again")
def _():
    for to in ("a@wrong.test", "a@name.test"):
        line = required(to)
        tap.equal((line["status"], line["dsn"]), ("deferred", "4.7.5"), to)
    nothing_at(wrong)


@t.test("Postfix lacks it: a bounce, and nothing in the mailbox")
def _():
    fresh(back)
    line = required("ann@post.test")
    tap.equal((line["status"], line["dsn"]), ("bounced", "5.7.30"), "line")
    tap.equal(postfix.mailbox("ann@post.test"), [], "mailbox")
    tap.equal(send("ann@post.test")["status"], "sent", "its twin")
    postfix.expect("ann@post.test")


@t.test("the notice has the header alone and the same demand")
def _():
    net.wait("a notice", lambda: any(b"ann@post.test" in m[2]
                                     for m in back.messages()))
    sender, _, text = [m for m in back.messages()
                       if b"ann@post.test" in m[2]][0]
    tap.match(r"^<>.* REQUIRETLS\b", sender, "MAIL of the notice")
    tap.match("5\\.7\\.30", text.decode(), "the code")
    tap.true(b"the secret" not in text, "the body is not sent back")


@t.test("a notice that finds no such host is dropped, and logged")
def _():
    send("a@lacks.test", "--require-tls", "-R", "full", sender=DEAF)
    found = net.wait("a word in the log", lambda: daemon.events(
        "notice-dropped", to=DEAF))
    tap.equal(found[0]["require_tls"], "yes", "demand")
    tap.equal(postfix.mailbox(DEAF), [], "mailbox")


@t.test("the next MX that has it gets it")
def _():
    fresh(good)
    line = required("ann@both.test")
    tap.equal((line["status"], line["mx"]), ("sent", "good.both.test"),
              "line")
    tap.equal(postfix.mailbox("ann@both.test"), [], "mailbox")
    only(good)
    tap.equal(send("ann@both.test")["mx"], "mx.both.test", "its twin")


@t.test("messages with and without never share a session")
def _():
    fresh(good)
    for i in range(9):
        send("a@peer.test", *(["--require-tls"] if i % 3 == 1 else []),
             header="TLS-Required: No\n" if i % 3 == 2 else "")
    tap.equal(len(good.messages()), 9, "messages")
    for session in good.sessions:
        tap.equal(len({" REQUIRETLS" in m[0] for m in session.messages}), 1,
                  "kinds on one session")


@t.test("TLS-Required: No gets past a certificate that does not match")
def _():
    fresh(wrong)
    tap.equal(send("b@wrong.test")["status"], "deferred", "its twin")
    nothing_at(wrong)
    line = send("c@wrong.test", header="TLS-Required: No\n")
    tap.equal((line["status"], line["why"]), ("sent", "tls-required-no"),
              "line")
    tap.match("TLS-Required: No", only(wrong)[2].decode(), "header")


@t.test("but not past REQUIRETLS")
def _():
    fresh(wrong)
    line = required("d@wrong.test", header="TLS-Required: No\n")
    tap.equal(line["status"], "deferred", "status")
    nothing_at(wrong)


@t.test("the operator sees and changes it")
def _():
    fresh(wrong)
    queue_id = required("e@wrong.test")["id"]
    row = daemon.queue_json("show", queue_id)[0]
    tap.equal((row["require_tls"], row["tls_optional"]), (True, False),
              "show")
    tap.match("REQUIRETLS", daemon.queue("show", queue_id).stdout.decode(),
              "for people")
    for words in ((), ("maybe",), (queue_id,), ("none", queue_id)):
        tap.equal(daemon.queue("demand", *words).returncode, 64, words)
    done = daemon.queue("demand", queue_id, "none")
    tap.equal((done.returncode, done.stdout), (0, b"1 message\n"), "none")
    row = daemon.queue_json("show", queue_id)[0]
    tap.equal((row["require_tls"], row["tls_optional"]), (False, True),
              "show")
    tap.true(daemon.events("operator", action="demand", demand="none",
                           id=queue_id), "a word in the log")
    daemon.queue("flush", queue_id)
    daemon.delivery(id=queue_id, status="sent", why="tls-required-no")
    tap.true("REQUIRETLS" not in only(wrong)[0], "MAIL")


@t.test("and asks for more: mail that waits is then kept back")
def _():
    queue_id = send("f@stripped.test")["id"]
    tap.equal(daemon.queue("demand", "require", "--rcpt",
                           "f@stripped.test").returncode, 0, "exit")
    clear.session = Lacks
    daemon.queue("flush", queue_id)
    line = daemon.delivery(id=queue_id, status="bounced")
    tap.equal((line["dsn"], line["why"]), ("5.7.30", "requiretls"), "line")
    nothing_at(clear)


@t.test("a TCP listener neither offers nor takes it")
def _():
    s = daemon.smtp()
    tap.true(not s.has_extn("requiretls"), "EHLO")
    code, text = s.mail(SENDER, ["REQUIRETLS"])
    tap.equal((code, text[:6]), (555, b"5.7.10"), "MAIL")
    tap.equal(s.mail(SENDER)[0], 250, "its twin")
    s.close()


def context(**options):
    c = ssl.create_default_context(cafile=net.ca.file)
    c.check_hostname = False
    for key, v in options.items():
        setattr(c, key, v)
    return c


@t.test("a listener with a certificate offers STARTTLS, then REQUIRETLS")
def _():
    fresh(good)
    s = daemon.smtp(TLS_PORT)
    tap.true(s.has_extn("starttls") and not s.has_extn("requiretls"), "EHLO")
    tap.equal(s.mail(SENDER, ["REQUIRETLS"])[0], 555, "in the clear")
    tap.equal(s.starttls(context=context())[0], 220, "STARTTLS")
    tap.equal(s.mail(SENDER)[0], 503, "MAIL before EHLO")
    s.ehlo()
    tap.true(s.has_extn("requiretls") and not s.has_extn("starttls"),
             "EHLO under TLS")
    tap.equal(s.docmd("STARTTLS")[0], 503, "twice")
    text = TEXT % (SENDER, "tls@peer.test", "") + "x" * 60 + "\n"
    text += ("y" * 70 + "\n") * 20000		# many records
    s.sendmail(SENDER, "tls@peer.test", text, mail_options=["REQUIRETLS"])
    s.quit()
    daemon.delivery(to="tls@peer.test", status="sent", why="requiretls")
    sender, _, text = only(good)
    tap.match("REQUIRETLS", sender, "MAIL")
    tap.match(r"with ESMTPS id", text[:600].decode(), "Received")
    tap.equal(text.count(b"y" * 70), 20000, "lines")


@t.test("commands behind STARTTLS in the clear: the connection ends")
def _():
    with socket.create_connection(("127.0.0.1", TLS_PORT), 10) as s:
        f = s.makefile("rb")
        f.readline()
        s.sendall(b"EHLO x.test\r\nSTARTTLS\r\nEHLO evil.test\r\n"
                  b"MAIL FROM:<evil@x.test>\r\n")
        lines = f.read().split(b"\r\n")
    tap.equal(lines[-2][:4], b"220 ", "the last reply, to STARTTLS")
    tap.true(daemon.events("inject_starttls_injected"), "a word in the log")


@t.test("what is no handshake, and old TLS, end the connection")
def _():
    with socket.create_connection(("127.0.0.1", TLS_PORT), 10) as s:
        f = s.makefile("rb")
        f.readline()
        s.sendall(b"EHLO x.test\r\n")
        while f.readline()[3:4] == b"-":
            pass
        s.sendall(b"STARTTLS\r\n")
        tap.equal(f.readline()[:4], b"220 ", "STARTTLS")
        s.sendall(b"MAIL FROM:<evil@x.test>\r\n" * 3)
        try:
            tap.true(b"250" not in f.read(), "nothing is taken")
        except ConnectionResetError:
            pass
    old = context()
    old.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")		# it is old indeed
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    s = daemon.smtp(TLS_PORT)
    try:
        s.starttls(context=old)
        tap.fail("TLS 1.1 was spoken")
    except (ssl.SSLError, OSError):
        pass
    tap.true(daemon.events("inject_tls_failed",
                           reason="unsupported protocol"),
             "a word in the log")
    s = daemon.smtp(TLS_PORT)
    tap.equal(s.starttls(context=context(
        maximum_version=ssl.TLSVersion.TLSv1_2))[0], 220, "TLS 1.2")
    s.close()


def cpu_ticks(pid):
    with open("/proc/%d/stat" % pid) as f:
        return sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13]))


@t.test("a part of a TLS record keeps nobody busy")
def _():
    pid = daemon.pids("inject")[0]
    s = daemon.smtp(TLS_PORT)
    tap.equal(s.starttls(context=context())[0], 220, "STARTTLS")
    raw = socket.socket(fileno=os.dup(s.sock.fileno()))
    raw.sendall(b"\x17\x03\x03\x01\x00half of it")
    time.sleep(0.2)
    before = cpu_ticks(pid)
    time.sleep(1)
    tap.true(cpu_ticks(pid) - before < 20, "inject waits")
    raw.close()
    s.sock.close()


@t.test("a certificate that cannot be read: no STARTTLS, and an error")
def _():
    tap.true(daemon.events("inject_tls", _level="error"), "in the log")
    tap.true(not daemon.smtp(NO_FILE_PORT).has_extn("starttls"), "EHLO")


@t.test("check says of each domain what delivery did last")
def _():
    # These are other servers by now.
    tap.true(lab_check.Check(daemon, "").same_all(
        but=("clear.test", "stripped.test")) >= 3, "domains")


t.run()
