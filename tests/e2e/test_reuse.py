#!/usr/bin/python3
"""Connections shared by messages and by destinations, judged by what the
servers saw: how many connections, and what came over each."""

import socket
import time

import common		# noqa: F401
import lab
import lab_check
import lab_daemon
import lab_mta
import lab_peer
import lab_sts
import tap
from lab_tlsa import tlsa

POSTFIX4, PEER4, STS4 = "198.51.100.10", "198.51.100.30", "198.51.100.31"
TA4, WEB4 = "198.51.100.32", "198.51.100.80"
SENDER = "alice@sender.test"
MANY = 40

net = lab.Lab()
web = lab_sts.PolicyHost(net, WEB4)
pair = net.ca.cert("mx.hub.test", "mx.sts.test")
named = net.ca.cert("one.test")		# no name of the host
users = [u + "@" + d for u in ("ann",) for d in (
    ["d1.test", "d2.test"] + ["many%d.test" % n for n in range(MANY)])]
postfix = lab_mta.Postfix(net, users)
postfix.listen(POSTFIX4)
net.dns.domain("post.test", ["mx A " + POSTFIX4,
                             tlsa(3, 1, 1, postfix.cert[0])])
for user in users:
    net.dns.domain(user.split("@")[1], ["@ MX 10 mx.post.test."])

# One scripted host, under DANE where the MX record is signed.
net.dns.domain("hub.test", ["mx A " + PEER4, tlsa(3, 1, 1, pair[0])])
for name in ("s1", "s2", "s3", "rule", "rule2"):
    net.dns.domain(name + ".test", ["@ MX 10 mx.hub.test."])
for name in ("u1", "u2"):
    net.dns.domain(name + ".test", ["@ MX 10 mx.hub.test."], signed=False)
# One with a policy, and neighbours of the same host without.
net.dns.domain("sts.test", ["mx A " + STS4], signed=False)
for name in ("p1", "p2"):
    net.dns.domain(name + ".test", ["@ MX 10 mx.sts.test.", lab_sts.record(),
                                    "mta-sts A " + WEB4], signed=False)
    web.serve(name + ".test", lab_sts.policy("enforce", "mx.sts.test"))
# One whose policy does not name that host, one that changes its mind.
for name, said in (("p3", ("enforce", "mx.other.test")),
                   ("p4", ("testing", "mx.sts.test"))):
    net.dns.domain(name + ".test", ["@ MX 10 mx.sts.test.", lab_sts.record(),
                                    "mta-sts A " + WEB4], signed=False)
    web.serve(name + ".test", lab_sts.policy(*said))
net.dns.domain("plain.test", ["@ MX 10 mx.sts.test."], signed=False)
# A trust anchor, and a certificate for one of the destinations (RFC 7672
# 3.2.2: the next-hop domain is a reference name, too).
net.dns.domain("ta.test", ["mx A " + TA4, tlsa(2, 0, 1, net.ca.file)])
for name in ("one", "two"):
    net.dns.domain(name + ".test", ["@ MX 10 mx.ta.test."])
net.start()
postfix.start()
web.start()


class Tls(lab_peer.Session):
    tls = lab_peer.tls_context(pair)
    extensions = lab_peer.Session.extensions + ["REQUIRETLS"]


class Ta(lab_peer.Session):
    tls = lab_peer.tls_context(named)


with open(named[0] + ".chain", "w") as out:
    for part in (named[0], net.ca.file):
        out.write(open(part).read())
Ta.tls = lab_peer.tls_context((named[0] + ".chain", named[1]))
hub = lab_peer.Peer(net, PEER4, Tls)
sts = lab_peer.Peer(net, STS4, Tls)
ta = lab_peer.Peer(net, TA4, Ta)
SETTINGS = {
    "workers": 1,
    "timeout": {"idle": "4s"},
    "dane": {"insecure-mx": "may"},
    "mta-sts": {"allow-private-addresses": True},
    "resolver": {"min-ttl": "30s", "max-ttl": "1m"},
    "retry": {"first": "1h", "max": "1h"},
    "text": 'destination "rule.test" { tls = encrypt }\n'
            'destination "rule2.test" { tls = encrypt }\n',
}
daemon = lab_daemon.Daemon(net, lab_daemon.program(), **SETTINGS)
daemon.start()
t = tap.Tap(on_fail=daemon.explain)


def mail(to, header="", *options):
    done = daemon.run("submit", "-c", daemon.config, "-f", SENDER, *options,
                      to, stdin=("From: <%s>\nTo: <%s>\nSubject: x\n%s\nx\n"
                                 % (SENDER, to, header)).encode())
    tap.equal(done.returncode, 0, "exit, %r" % done.stderr)


def sent(to, header="", *options):
    before = len(daemon.deliveries(to=to))
    mail(to, header, *options)
    net.wait("a delivery line", lambda: len(
        daemon.deliveries(to=to)) > before, 10)
    line = daemon.deliveries(to=to)[-1]
    tap.equal(line["status"], "sent", "status, %s" % line["_line"])
    return line


def fresh(peer):
    peer.session = peer.kind		# ends what is open
    net.wait("sessions have ended", lambda: all(
        s.ended for s in peer.sessions))
    time.sleep(0.05)
    peer.sessions.clear()


def over(peer):
    """The destinations of the messages of each connection."""
    return [[m[1][0].split("@")[1].rstrip(">") for m in s.messages]
            for s in peer.sessions if s.messages]


def connects():
    return len(postfix.log_lines(r"smtpd\[\d+\]: connect from"))


@t.test("two domains with one MX under DANE: one connection of Postfix")
def _():
    before = connects()
    first, second = sent("ann@d1.test"), sent("ann@d2.test")
    tap.equal([first["tls"], second["tls"]], ["dane", "dane"], "tls")
    tap.equal(connects() - before, 1, "connections")
    tap.equal(len(postfix.tls_lines()), 1, "handshakes")


@t.test("forty domains at once share connections; each message once")
def _():
    before = connects()
    for n in range(MANY):
        daemon.mail(SENDER, "ann@many%d.test" % n)
    for n in range(MANY):
        postfix.expect("ann@many%d.test" % n)
    tap.true(connects() - before <= MANY // 2, "%d connections"
             % (connects() - before))
    lines = [x for x in daemon.deliveries(status="sent")
             if "@many" in x["to"]]
    tap.equal({x["tls"] for x in lines}, {"dane"}, "tls")
    tap.equal(len(lines), MANY, "deliveries")


@t.test("with room, what needs no certificate travels on what has one")
def _():
    fresh(hub)
    tap.equal(sent("a@s1.test")["tls"], "dane", "first")
    line = sent("a@u1.test")
    tap.equal([line["tls"], line["why"]], ["encrypted", "default"], "second")
    tap.equal(over(hub), [["s1.test", "u1.test"]], "connections")


@t.test("DANE never travels on a connection that was not verified")
def _():
    fresh(hub)
    tap.equal(sent("a@u1.test")["tls"], "encrypted", "first")
    tap.equal(sent("a@s1.test")["tls"], "dane", "second")
    tap.equal(over(hub), [["u1.test"], ["s1.test"]], "connections")


@t.test("nor when it comes by way of one that needed less")
def _():
    fresh(hub)
    sent("a@u1.test")
    sent("a@u2.test")
    sent("a@s2.test")
    tap.equal(over(hub), [["u1.test", "u2.test"], ["s2.test"]],
              "connections")
    # The other way round the proof stays with the connection.
    fresh(hub)
    for name in ("s1", "u1", "s2", "u2", "s3"):
        sent("a@%s.test" % name)
    tap.equal(over(hub), [["s1.test", "u1.test", "s2.test", "u2.test",
                           "s3.test"]], "connections")


@t.test("MTA-STS never travels on a connection that was not verified")
def _():
    fresh(sts)
    tap.equal(sent("a@plain.test")["tls"], "encrypted", "first")
    tap.equal(sent("a@p1.test")["tls"], "sts", "second")
    tap.equal(over(sts), [["plain.test"], ["p1.test"]], "connections")


@t.test("two policies, one host: one connection, verified for its name")
def _():
    fresh(sts)
    tap.equal(sent("a@p1.test")["tls"], "sts", "first")
    tap.equal(sent("a@p2.test")["tls"], "sts", "second")
    sent("a@plain.test")
    tap.equal(over(sts), [["p1.test", "p2.test", "plain.test"]],
              "connections")


def held(to, result):
    before = len(daemon.deliveries(to=to))
    mail(to)
    net.wait("a delivery line", lambda: len(
        daemon.deliveries(to=to)) > before, 10)
    line = daemon.deliveries(to=to)[-1]
    tap.equal((line["status"], line["result_type"]), ("deferred", result),
              line["_line"])


@t.test("... and none for who names another host, however well it is verified")
def _():
    fresh(sts)
    sent("a@p1.test")
    held("a@p3.test", "validation-failure")
    sent("a@p2.test")
    tap.equal(over(sts), [["p1.test", "p2.test"]], "connections")
    tap.equal(len(sts.sessions), 1, "connections, with and without mail")


def changes(name, *said):
    """While its connection is idle, and before DNS says so."""
    web.policy(name, lab_sts.policy(*said))
    before = len(web.fetches(name))
    daemon.queue("policies", "refresh", name)
    tap.equal(len(web.fetches(name)), before + 1, "fetches")


@t.test("a policy that changes counts for a connection that is open")
def _():
    fresh(sts)
    tap.equal(sent("a@p4.test")["tls"], "encrypted", "testing")
    changes("p4.test", "enforce", "mx.sts.test")
    tap.equal(sent("a@p4.test")["tls"], "sts", "enforce")
    tap.equal(over(sts), [["p4.test"], ["p4.test"]], "connections")
    changes("p4.test", "enforce", "mx.other.test")
    held("a@p4.test", "validation-failure")
    sent("a@p1.test")
    tap.equal(over(sts), [["p4.test"], ["p4.test", "p1.test"]],
              "connections")


@t.test("REQUIRETLS by a policy has one of its own, and gives none away")
def _():
    fresh(sts)
    sent("a@p1.test")
    tap.equal(sent("a@p2.test", "", "--require-tls")["tls"], "pkix", "tls=")
    sent("a@plain.test")
    tap.equal(over(sts), [["p1.test", "plain.test"], ["p2.test"]],
              "connections")


@t.test("REQUIRETLS has a connection of its own kind")
def _():
    fresh(hub)
    sent("a@s1.test")
    sent("a@s2.test", "", "--require-tls")
    sent("a@s3.test", "", "--require-tls")
    tap.equal(over(hub), [["s1.test"], ["s2.test", "s3.test"]],
              "connections")
    for session in hub.sessions:
        for sender, _, _ in session.messages:
            tap.equal("REQUIRETLS" in sender, session is hub.sessions[1],
                      "keyword")


@t.test("so has TLS-Required: No, and nothing follows on it")
def _():
    fresh(hub)
    sent("a@s1.test", "TLS-Required: No\n")
    tap.equal(sent("a@s2.test")["tls"], "dane", "second")
    tap.equal(over(hub), [["s1.test"], ["s2.test"]], "connections")


@t.test("a rule of the operator is for what it names")
def _():
    fresh(hub)
    sent("a@u1.test")
    sent("a@rule.test", "TLS-Required: No\n")
    daemon.configure(dane={"insecure-mx": "may"}, text=SETTINGS["text"] +
                     'destination "u2.test" { tls = encrypt }\n')
    daemon.reload()
    time.sleep(0.5)
    fresh(hub)
    sent("a@u1.test")
    sent("a@u2.test")		# by a rule: encrypt
    sent("a@u1.test")
    tap.true(["u2.test"] in over(hub), "over %r" % over(hub))


@t.test("a certificate for one domain is none for the other")
def _():
    fresh(ta)
    tap.equal(sent("a@one.test")["tls"], "dane", "its own")
    mail("a@two.test")
    line = daemon.delivery(to="a@two.test")
    tap.equal([line["status"], line["result_type"]],
              ["deferred", "certificate-host-mismatch"], "the other")
    tap.equal(over(ta), [["one.test"]], "over")


class Bored(Tls):
    """Leaves without a word after its first message."""
    def on_message(self, text):
        super().on_message(text)
        time.sleep(0.05)
        self.close()


class Sulky(Tls):
    """And this one says so, but only when it is spoken to."""
    def on_mail(self, argument):
        if self.messages:
            self.reply("421 4.4.2 too long")
            self.close()
        super().on_mail(argument)


@t.test("a connection that dies between messages costs no attempt")
def _():
    for kind in (Bored, Sulky):
        hub.session = kind
        fresh(hub)
        for name in ("s1", "s2", "s3", "s1", "u1"):
            tap.equal(sent("a@%s.test" % name)["attempt"], "1", "attempt")
        tap.equal(sum(len(x) for x in over(hub)), 5, "messages")
    hub.session = Tls


def resumed(to, at=hub):
    fresh(at)
    line = sent(to)
    tap.equal(line["attempt"], "1", "attempt")
    tap.equal(len(at.sessions), 1, "connections")
    net.wait("QUIT", lambda: at.sessions[0].ended)
    return line["tls"], at.sessions[0].resumed


@t.test("TLS sessions are resumed under an equal demand, and no other")
def _():
    daemon.stop()
    # What ends without a word between them is not resumed: QUIT, at once.
    daemon.configure(text='destination "rule.test" { tls = encrypt }\n',
                     timeout={"idle": "10ms"})
    daemon.start()
    tap.equal(resumed("a@u1.test"), ("encrypted", False), "first")
    tap.equal(resumed("a@u1.test"), ("encrypted", True), "the same")
    tap.equal(resumed("a@u2.test"), ("encrypted", True), "its like")
    tap.equal(resumed("a@s1.test"), ("dane", False), "DANE has none yet")
    tap.equal(resumed("a@s1.test"), ("dane", True), "now it has")
    tap.equal(resumed("a@rule.test")[1], False, "a rule of the operator")
    daemon.configure(tls={"session-cache-timeout": "0s"})
    daemon.reload()
    time.sleep(0.5)
    tap.equal([resumed("a@s1.test")[1] for _ in range(2)], [False, False],
              "switched off")
    daemon.configure(tls={"session-cache-timeout": "1h"})
    daemon.reload()
    time.sleep(0.5)


class Evil(Tls):
    """Somebody else, with a good certificate of his own."""
    tls = lab_peer.tls_context(net.ca.cert("mx.evil.test"))


@t.test("for MTA-STS only what was verified for it; nobody else takes it up")
def _():
    changes("p4.test", "testing", "mx.sts.test")
    for expected in (False, True):
        tap.equal(resumed("a@p4.test", sts), ("encrypted", expected),
                  "testing")
    changes("p4.test", "enforce", "mx.sts.test")
    for expected in (False, True):
        tap.equal(resumed("a@p4.test", sts), ("sts", expected), "enforce")
    sts.session = Evil
    fresh(sts)
    held("a@p4.test", "certificate-host-mismatch")
    tap.equal([("MAIL" in s.verbs, s.messages) for s in sts.sessions],
              [(False, [])] * 2, "with a session, and in full")
    sts.session = Tls
    tap.equal(resumed("a@p4.test", sts), ("sts", False), "the right one")
    changes("p4.test", "enforce", "mx.other.test")
    fresh(sts)
    held("a@p4.test", "validation-failure")
    tap.equal(sts.sessions, [], "connections")


def offers_session(hello):
    """True for a ClientHello with the extension pre_shared_key."""
    at = 5 + 4 + 2 + 32
    at += 1 + hello[at]
    at += 2 + int.from_bytes(hello[at:at + 2], "big")
    at += 1 + hello[at]
    at += 2
    while at < len(hello):
        if hello[at:at + 2] == b"\0\x29":
            return True
        at += 4 + int.from_bytes(hello[at + 2:at + 4], "big")
    return False


class Allergic(Tls):
    """Breaks off when a session is offered."""
    broken = 0

    def start_tls(self):
        self.sock.settimeout(5)
        if offers_session(self.sock.recv(1 << 14, socket.MSG_PEEK)):
            Allergic.broken += 1
            self.close()
        super().start_tls()


@t.test("a resumption that fails is no failure, and no way to clear text")
def _():
    hub.session = hub.kind = Allergic
    for to, tls in (("a@u1.test", "encrypted"), ("a@s1.test", "dane")):
        Allergic.broken = 0
        resumed(to)
        fresh(hub)
        line = sent(to)
        tap.equal([line["tls"], line["attempt"]], [tls, "1"], "delivery")
        tap.equal(Allergic.broken, 1, "handshakes broken off")
        tap.equal([(s.tls_active, len(s.messages)) for s in hub.sessions],
                  [(False, 0), (True, 1)], "connections")
        # It gave a session again, which is not offered.
        tap.equal(resumed(to), (tls, False), "the next")
        tap.equal(Allergic.broken, 1, "handshakes broken off")
    hub.session = hub.kind = Tls


class Mute(Tls):
    """TLS from the first byte; does not greet who resumes."""
    mute = 0

    def on_connect(self):
        self.start_tls()
        if self.resumed:
            Mute.mute += 1
            self.close()
        super().on_connect()


@t.test("... nor is the host down that does not greet after it")
def _():
    daemon.configure(text='destination "u1.test" { relay = '
                     '"smtps://mx.hub.test:25" }\n')
    daemon.reload()
    time.sleep(0.5)
    hub.session = hub.kind = Mute
    tap.equal(resumed("a@u1.test")[1], False, "first")
    fresh(hub)
    tap.equal(sent("a@u1.test")["attempt"], "1", "attempt")
    tap.equal([(Mute.mute, len(s.messages)) for s in hub.sessions],
              [(1, 0), (1, 1)], "connections")
    tap.equal(daemon.events("host-down"), [], "hosts that are down")
    hub.session = hub.kind = Tls
    daemon.configure(timeout={"idle": "4s"}, text="")
    daemon.reload()
    time.sleep(0.5)
    fresh(hub)
    sent("a@u1.test")			# as check sees it, too


@t.test("messages and age of a connection are limits")
def _():
    daemon.configure(limit={"session-messages": 3}, text="")
    daemon.reload()
    time.sleep(0.5)
    fresh(hub)
    for n in range(7):
        sent("a@s%d.test" % (n % 3 + 1))
    tap.equal([len(x) for x in over(hub)], [3, 3, 1], "messages of each")
    daemon.configure(limit={"session-messages": 0}, timeout={"reuse": "0s"})
    daemon.reload()
    time.sleep(0.5)
    fresh(hub)
    for n in range(3):
        sent("a@s1.test")
    tap.equal([len(x) for x in over(hub)], [1, 1, 1], "messages of each")


@t.test("check says of each domain what delivery did last")
def _():
    tap.true(lab_check.Check(daemon, SENDER).same_all() > 3, "domains")


@t.test("it ends in peace")
def _():
    daemon.ends_well()


t.run()
