#!/usr/bin/python3
"""Where mail goes: hosts, addresses, names, and what is said about it."""

import re
import time

import common		# noqa: F401
import lab_check
import lab_peer
import lab_world
import tap
from lab_world import CLEAR4, DEAD4, DEAD6, REFUSE4, SENDER, TLS4, TLS6

PEER4 = "198.51.100.30"
SMALL4 = "198.51.100.31"
OLD4, ASCII4 = "198.51.100.32", "198.51.100.33"

world = lab_world.World(exim=True, users=[
    "ann@several.test", "ann@refuse.test", "ann@implicit.test",
    "ann@target.test", "ann@alias.test", "ann@mxalias.test", "ann@six.test",
    "ann@deadsix.test", "ann@broken.test", "ann@equal.test",
    "j\u00f6rg@good.test"], domains={
        "several.test": ["@ MX 10 dead", "@ MX 20 mx", "dead A " + DEAD4,
                         "mx A " + TLS4],
        "refuse.test": ["@ MX 10 no", "@ MX 20 mx", "no A " + REFUSE4,
                        "mx A " + TLS4],
        "equal.test": ["@ MX 10 a", "@ MX 10 b", "a A " + REFUSE4,
                       "b A " + TLS4],
        "implicit.test": ["@ A " + TLS4],
        "target.test": ["@ MX 10 mx", "mx A " + TLS4],
        "alias.test": ["@ A 198.51.100.77", "www CNAME target.test."],
        "mxalias.test": ["@ MX 10 mx", "mx CNAME mx.target.test."],
        "six.test": ["@ MX 10 mx", "mx AAAA " + TLS6],
        "deadsix.test": ["@ MX 10 mx", "mx AAAA " + DEAD6, "mx A " + TLS4],
        "null.test": ["@ MX 0 ."],
        "noaddress.test": ["@ MX 10 mx", "mx TXT nothing"],
        "loop.test": ["@ MX 10 mx", "mx A 192.0.2.25"],
        "loopback.test": ["@ MX 10 mx", "mx A 127.0.0.1"],
        "backup.test": ["@ MX 10 dead", "@ MX 20 mx", "dead A " + DEAD4,
                        "mx A 192.0.2.25"],
        "broken.test": None,
        "peer.test": ["@ MX 10 mx", "mx A " + PEER4],
        "old.test": ["@ MX 10 mx", "mx A " + OLD4],
        "ascii.test": ["@ MX 10 mx", "mx A " + ASCII4],
        "small.test": ["@ MX 10 mx", "mx A " + SMALL4],
        "twosize.test": ["@ MX 10 small", "@ MX 20 mx", "small A " + SMALL4,
                         "mx A " + PEER4],
    })
net, postfix = world.net, world.postfix
daemon = world.daemon()
t = tap.Tap(on_fail=world.explain)
# Which host takes it depends on the size of the message.
lab_check.Check(daemon, "").follow(t, but=("twosize.test",))


def deliver(to, status="sent", seconds=15):
    daemon.mail(SENDER, to, "to " + to)
    return daemon.delivery(seconds, to=to, status=status)


def bounce(to, code, seconds=15):
    """The message bounces with the code, which is in the notice as well."""
    line = deliver(to, "bounced", seconds)
    tap.equal(line["dsn"], code, "code in the log")
    text = lab_world.report(world.notice(to))
    tap.match(r"Action: failed", text, "notice")
    tap.match(r"Status: " + re.escape(code), text, "notice")
    return line


@t.test("over TLS to Postfix, with EHLO repeated after STARTTLS")
def _():
    line = deliver("ann@good.test")
    message = postfix.expect("ann@good.test")[0]
    tap.equal(message["Subject"], "to ann@good.test", "subject")
    tap.match(r"using TLSv1\.3", str(message.get_all("Received")[0]),
              "Received of Postfix")
    net.wait("a session with STARTTLS and two EHLOs ends", lambda: any(
        s.get("ehlo") == "2" and s.get("starttls") == "1"
        for s in postfix.sessions()))
    tap.equal(line["tls"], "encrypted", "tls=")
    tap.equal(line["proto"], "TLSv1.3", "proto=")
    tap.true("AES" in line["cipher"] or "CHACHA" in line["cipher"],
             "cipher= names one: " + line["cipher"])


@t.test("the log line has every documented key")
def _():
    line = daemon.deliveries(to="ann@good.test")[0]
    for key in ("id from to destination mx ip tls why proto cipher status "
                "dsn attempt delay reply").split():
        tap.true(key in line, key + "= is there: " + line["_line"])
    tap.equal(line["from"], SENDER, "from=")
    tap.equal(line["destination"], "good.test", "destination=")
    tap.equal(line["mx"], "mx.good.test", "mx=")
    tap.equal(line["ip"], TLS4, "ip=")
    tap.equal(line["attempt"], "1", "attempt=")
    tap.match(r"^2\.", line["dsn"], "dsn=")
    tap.match(r"queued as", line["reply"], "reply=")


@t.test("a Received header is added, with the name of the machine")
def _():
    message = postfix.messages("ann@good.test")[0]
    ours = [r for r in map(str, message.get_all("Received"))
            if "by machine.sender.test" in r]
    tap.equal(len(ours), 1, "Received headers of ours")
    tap.match(r"with ESMTP", ours[0], "protocol in it")


@t.test("to Exim over TLS")
def _():
    line = deliver("ann@exim.test")
    tap.equal(line["tls"], "encrypted", "tls=")
    world.exim.expect("ann@exim.test")
    tap.true(world.exim.tls_lines(), "Exim saw TLS")


@t.test("in clear text to a server without STARTTLS, and logged as such")
def _():
    line = deliver("ann@clear.test")
    tap.equal(line["tls"], "none", "tls=")
    tap.equal(line["ip"], CLEAR4, "ip=")
    received = str(postfix.expect("ann@clear.test")[0]
                   .get_all("Received")[0])
    tap.true("TLS" not in received, "no TLS in " + received)


@t.test("each recipient has its own result")
def _():
    to = ["bob@good.test", "nobody@good.test", "bob@exim.test"]
    queue_id = daemon.mail(SENDER, to, "partial")
    for address, status in zip(to, ("sent", "bounced", "sent")):
        daemon.delivery(id=queue_id, to=address, status=status)
    postfix.expect("bob@good.test")
    world.exim.expect("bob@exim.test")
    text = lab_world.report(world.notice("nobody@good.test"))
    tap.match(r"Status: 5\.1\.1", text, "notice")
    tap.match(r"Remote-MTA: dns; ?mx\.good\.test", text, "notice")
    tap.match(r"Diagnostic-Code: smtp; ?550", text, "notice")
    tap.true("bob@good.test" not in text, "no word of those that arrived")
    daemon.settled(queue_id)


@t.test("the first MX is dead: the second takes it in the same attempt")
def _():
    line = deliver("ann@several.test")
    tap.equal((line["mx"], line["attempt"]), ("mx.several.test", "1"),
              "mx, attempt")


@t.test("the first MX refuses connections: the second takes it")
def _():
    line = deliver("ann@refuse.test")
    tap.equal((line["mx"], line["attempt"]), ("mx.refuse.test", "1"),
              "mx, attempt")


@t.test("of two equal MX hosts the one that is up takes it")
def _():
    tap.equal(deliver("ann@equal.test")["mx"], "b.equal.test", "mx=")


@t.test("implicit MX: no MX record, an address")
def _():
    tap.equal(deliver("ann@implicit.test")["mx"], "implicit.test", "mx=")


@t.test("a domain that is an alias (CNAME)")
def _():
    daemon.mail(SENDER, "ann@www.alias.test", "alias")
    line = daemon.delivery(to="ann@www.alias.test")
    tap.equal(line["mx"], "mx.target.test", "mx=")
    tap.match(r"5\.[17]\.1|sent", line["dsn"] + line["status"],
              "the server was asked")


@t.test("an MX host that is an alias (CNAME)")
def _():
    tap.equal(deliver("ann@mxalias.test")["ip"], TLS4, "ip=")


@t.test("a server with IPv6 alone")
def _():
    tap.equal(deliver("ann@six.test")["ip"], TLS6, "ip=")


@t.test("dead IPv6 costs neither the delivery nor much time")
def _():
    started = time.monotonic()
    line = deliver("ann@deadsix.test")
    tap.equal((line["ip"], line["attempt"]), (TLS4, "1"), "ip, attempt")
    tap.true(time.monotonic() - started < 2.5, "within 2.5 s")


@t.test("null MX bounces with 5.1.10")
def _():
    bounce("frank@null.test", "5.1.10")


@t.test("a domain that does not exist bounces")
def _():
    line = deliver("eve@nosuch.test", "bounced")
    tap.match(r"^5\.(1\.2|4\.4|1\.10)$", line["dsn"], "dsn=")
    text = lab_world.report(world.notice("eve@nosuch.test"))
    tap.match(r"Action: failed", text, "notice")


@t.test("an MX host without address is no reason to bounce at once or loop")
def _():
    daemon.mail(SENDER, "ann@noaddress.test")
    line = daemon.delivery(to="ann@noaddress.test")
    tap.true(line["status"] in ("deferred", "bounced"), line["status"])


@t.test("an MX that is this machine is a loop")
def _():
    line = bounce("ann@loop.test", "5.4.6")
    tap.equal(line["attempt"], "1", "attempt=")


@t.test("an MX on loopback is a loop as well")
def _():
    line = deliver("ann@loopback.test", "bounced")
    tap.match(r"^5\.4\.", line["dsn"], "dsn=")


@t.test("as backup MX of a domain we try only better hosts")
def _():
    line = deliver("ann@backup.test", "deferred")
    tap.true(line["ip"] not in ("192.0.2.25", "127.0.0.1"),
             "not to ourselves: " + line["ip"])


@t.test("SERVFAIL defers; mended and flushed it arrives")
def _():
    queue_id = daemon.mail(SENDER, "ann@broken.test", "patience")
    line = daemon.delivery(id=queue_id, status="deferred")
    tap.match(r"^4\.4\.", line["dsn"], "dsn=")
    tap.true(queue_id in daemon.queue_ids(), "in the queue")
    net.dns.domain("broken.test", ["@ MX 10 mx", "mx A " + TLS4])
    net.dns.reload()
    tap.equal(daemon.queue("flush").returncode, 0, "exit of flush")
    daemon.delivery(id=queue_id, status="sent")
    postfix.expect("ann@broken.test")
    daemon.settled(queue_id)


peer = lab_peer.Peer(net, PEER4)


@t.test("the client says what the extensions allow, and no more")
def _():
    queue_id = daemon.send(SENDER, "a@peer.test",
                           b"Subject: x\r\n\r\n\xc3\xa4\r\n",
                           ["BODY=8BITMIME"])
    daemon.delivery(id=queue_id, status="sent")
    lines = b"\n".join(peer.sessions[-1].lines).decode()
    tap.match(r"EHLO machine\.sender\.test", lines, "EHLO")
    tap.match(r"MAIL FROM:<alice@sender\.test>.* SIZE=\d+", lines, "MAIL")
    tap.match(r"BODY=8BITMIME", lines, "MAIL")
    tap.true("RET=" not in lines and "NOTIFY=" not in lines, "no DSN")


@t.test("one transaction for all recipients of a destination")
def _():
    peer.forget()
    queue_id = daemon.mail(SENDER, ["a@peer.test", "b@peer.test"], "both")
    for to in ("a@peer.test", "b@peer.test"):
        daemon.delivery(id=queue_id, to=to, status="sent")
    tap.equal([len(m[1]) for m in peer.messages()], [2], "recipients")


class Old(lab_peer.Session):
    def on_ehlo(self, argument):
        self.reply("502 what is that?")


@t.test("HELO after EHLO is refused")
def _():
    old = lab_peer.Peer(net, OLD4, Old)
    daemon.delivery(id=daemon.mail(SENDER, "b@old.test"), status="sent")
    tap.equal(old.sessions[-1].verbs[:3], ["EHLO", "HELO", "MAIL"], "verbs")
    tap.true(all(b"SIZE" not in x and b"BODY" not in x
                 for x in old.sessions[-1].lines), "bare commands")


@t.test("SMTPUTF8 goes to a server that has it")
def _():
    daemon.delivery(id=send_utf8("j\u00f6rg@good.test"), status="sent")
    postfix.expect("j\u00f6rg@good.test")


def send_utf8(to):
    s = daemon.smtp()
    s.command_encoding = "utf-8"
    for line in ("MAIL FROM:<%s> SMTPUTF8 BODY=8BITMIME" % SENDER,
                 "RCPT TO:<%s>" % to):
        code, text = s.docmd(line)
        tap.equal(code, 250, "%s: %r" % (line, text))
    code, text = s.data("Subject: Gr\u00fc\u00dfe\r\n\r\nhello\r\n".encode())
    tap.equal(code, 250, "DATA: %r" % text)
    s.quit()
    return re.search(r"queued as (\S+)", text.decode())[1]


class Ascii(lab_peer.Session):
    extensions = ["PIPELINING", "8BITMIME", "SIZE 1000000"]


@t.test("SMTPUTF8 to a server without it bounces, nothing is sent")
def _():
    ascii_peer = lab_peer.Peer(net, ASCII4, Ascii)
    line = daemon.delivery(id=send_utf8("j\u00f6rg@ascii.test"))
    tap.match(r"^5\.6\.[79]$|^5\.6\.10$", line["dsn"], "dsn=")
    tap.true(all("MAIL" not in s.verbs and not s.messages
                 for s in ascii_peer.sessions), "the server saw no MAIL")
    tap.true(ascii_peer.sessions, "the server was asked")


class Small(lab_peer.Session):
    extensions = ["PIPELINING", "8BITMIME", "SIZE 2000"]


small = lab_peer.Peer(net, SMALL4, Small)
BIG = "Subject: big\n\n" + "0123456789\n" * 1000


@t.test("larger than the server's SIZE: bounces with 5.3.4, no data sent")
def _():
    queue_id = daemon.send(SENDER, "a@small.test", BIG)
    line = daemon.delivery(id=queue_id, status="bounced")
    tap.equal(line["dsn"], "5.3.4", "dsn=")
    tap.true(all("DATA" not in s.verbs for s in small.sessions), "no DATA")
    world.notice("a@small.test")


@t.test("larger than the first host's SIZE: the next host takes it")
def _():
    queue_id = daemon.send(SENDER, "a@twosize.test", BIG)
    line = daemon.delivery(id=queue_id)
    tap.equal((line["status"], line["mx"]), ("sent", "mx.twosize.test"),
              "status, mx")


@t.test("a connection is used again")
def _():
    peer.forget()
    for n in range(5):
        daemon.delivery(id=daemon.mail(SENDER, "c@peer.test", "n%d" % n),
                        status="sent")
    tap.true(len(peer.sessions) < 5, "%d connections for 5 messages"
             % len(peer.sessions))
    tap.equal(len(peer.messages()), 5, "messages")


@t.test("check says of each domain what delivery did last")
def _():
    check = lab_check.Check(daemon, lab_world.SENDER)
    # The size of a message, which decides there, is not known to check.
    tap.true(check.same_all(but=("twosize.test",)) > 10, "domains")


t.run()
