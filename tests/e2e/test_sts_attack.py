#!/usr/bin/python3
"""Somebody in the middle of the SMTP session for a domain with an MTA-STS
policy.  He does what he likes to it: what counts is what he saw.  Nothing of
a message that is protected may come to him, and no word of his may end it for
good; in testing mode all goes as it would without a policy."""

import ssl
import time

import common		# noqa: F401
import lab
import lab_check
import lab_daemon
import lab_peer
import lab_sts
import tap
from lab_sts import policy, records

WEB4, SENDER = "198.51.100.80", "alice@sender.test"
MODES = ("enforce", "testing", "bare")
ATTACKS = {}		# name: (session, what a delivery line calls it)
STARTTLS, FAILED = "starttls-not-supported", "validation-failure"
MISNAMED = "certificate-host-mismatch"
UNTRUSTED = "certificate-not-trusted"


def attack(name, result="-"):
    """result "-": the session ends before it is a matter of TLS."""
    def add(kind):
        ATTACKS[name] = (kind, result)
        return kind
    return add


class Base(lab_peer.Session):
    """With nothing done to it: a host that would do."""
    tls = None		# set below, when the names are known
    domain = None

    def start_tls(self):
        self.heard = len(self.lines)
        super().start_tls()

    def on_message(self, text):
        super().on_message(text)
        self.where = self.tls_active


@attack("none")
class _(Base):
    pass


# ---- in clear text ----------------------------------------------------------

@attack("strip", STARTTLS)
class _(Base):
    def on_ehlo(self, argument):
        if self.tls_active:
            return super().on_ehlo(argument)
        for line in ("250-peer.test", "250-PIPELINING", "250 8BITMIME"):
            self.reply(line)


@attack("mask", STARTTLS)
class _(Base):
    banner = b"220 " + b"*" * 30 + b"\r\n"

    def on_ehlo(self, argument):
        self.reply("250-peer.test")
        self.reply("250 XXXXXXXA")


@attack("ehlo-5xx", STARTTLS)
class _(Base):
    def on_ehlo(self, argument):
        self.reply("502 5.5.1 what?")


@attack("ehlo-4xx")
class _(Base):
    def on_ehlo(self, argument):
        self.reply("451 4.3.0 not now")


@attack("ehlo-421")
class _(Base):
    def on_ehlo(self, argument):
        self.reply("421 4.3.0 go")
        self.close()


@attack("banner-554")
class _(Base):
    banner = b"554 5.7.1 no such service\r\n"


@attack("banner-421")
class _(Base):
    banner = b"421 4.7.0 go\r\n"


@attack("banner-close")
class _(Base):
    def on_connect(self):
        self.close()


@attack("ahead", STARTTLS)
class _(Base):
    """All replies of a session at once, before anybody asked."""
    banner = (b"220 peer.test\r\n250-peer.test\r\n250 8BITMIME\r\n"
              b"250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n221 bye\r\n")


@attack("drip")
class _(Base):
    """The greeting, an octet at a time, for longer than there is time."""
    def on_connect(self):
        for octet in b"220-" + b"x" * 500:
            self.send(bytes([octet]))
            time.sleep(0.1)


@attack("drip-ehlo")
class _(Base):
    def on_ehlo(self, argument):
        for octet in b"250-" + b"x" * 500:
            self.send(bytes([octet]))
            time.sleep(0.1)


@attack("454", STARTTLS)
class _(Base):
    def on_starttls(self, argument):
        self.reply("454 4.7.0 not available")


@attack("554", STARTTLS)
class _(Base):
    def on_starttls(self, argument):
        self.reply("554 5.7.3 never")


@attack("530-later", STARTTLS)
class _(Base):
    """Asks for TLS where none is offered, and refuses it then."""
    def on_ehlo(self, argument):
        self.reply("250 peer.test")

    def on_starttls(self, argument):
        self.reply("454 4.7.0 not available")


@attack("starttls-421")
class _(Base):
    def on_starttls(self, argument):
        self.reply("421 4.7.0 go")
        self.close()


@attack("starttls-334")
class _(Base):
    def on_starttls(self, argument):
        self.reply("334 what?")


@attack("starttls-close")
class _(Base):
    def on_starttls(self, argument):
        self.close()


@attack("starttls-mute")
class _(Base):
    def on_starttls(self, argument):
        time.sleep(8)
        self.close()


@attack("twice", FAILED)
class _(Base):
    """220 and, in one segment with it, what looks like the end of EHLO."""
    def on_starttls(self, argument):
        self.send(b"220 go\r\n250 8BITMIME\r\n")
        self.start_tls()


@attack("half", FAILED)
class _(Base):
    """The same, but the reply behind it is not whole yet."""
    def on_starttls(self, argument):
        self.send(b"220 go\r\n25")
        self.start_tls()


# ---- the handshake ----------------------------------------------------------

@attack("late", FAILED)
class _(Base):
    """A reply in clear text where the answer to the client's hello is due."""
    def start_tls(self):
        self.more()
        self.send(b"250-peer.test\r\n250 8BITMIME\r\n")
        self.buffer = b""


@attack("shut", FAILED)
class _(Base):
    def start_tls(self):
        self.more()
        self.close()


@attack("alert", FAILED)
class _(Base):
    """A fatal alert: handshake_failure."""
    def start_tls(self):
        self.more()
        self.send(b"\x15\x03\x03\x00\x02\x02\x28")
        self.close()


@attack("half-hello", FAILED)
class _(Base):
    """Part of a server's hello, octet by octet, for longer than there is
    time."""
    def start_tls(self):
        self.more()
        for octet in b"\x16\x03\x03\x20\x00\x02" + b"\0" * 300:
            self.send(bytes([octet]))
            time.sleep(0.1)
        self.close()


@attack("mute", FAILED)
class _(Base):
    def start_tls(self):
        time.sleep(8)
        self.close()


@attack("tls11", FAILED)
class _(Base):
    options = {"maximum_version": ssl.TLSVersion.TLSv1_1,
               "minimum_version": ssl.TLSVersion.TLSv1}


@attack("misnamed", MISNAMED)
class _(Base):
    names = ["mx.evil.test"]


@attack("self", UNTRUSTED)
class _(Base):
    how = {"trusted": False}


@attack("cn", MISNAMED)
class _(Base):
    how = {"san": False}


@attack("address", MISNAMED)
class _(Base):
    """A certificate for the address that the name leads to."""
    names = ["IP"]


@attack("domain", MISNAMED)
class _(Base):
    """... for the recipient domain, whose mail host has another name."""
    names = ["DOMAIN"]


@attack("above", MISNAMED)
class _(Base):
    """... for all that is below the top: two labels for one star."""
    names = ["*.test"]


@attack("dotted", MISNAMED)
class _(Base):
    """... for a name that begins like the right one."""
    names = ["MX.evil.test"]


# ---- behind the handshake, the host itself ----------------------------------

@attack("ehlo2-421")
class _(Base):
    def on_ehlo(self, argument):
        if not self.tls_active:
            return super().on_ehlo(argument)
        self.reply("421 4.3.0 go")
        self.close()


@attack("ehlo2-close")
class _(Base):
    def on_ehlo(self, argument):
        if not self.tls_active:
            return super().on_ehlo(argument)
        self.close()


@attack("ehlo2-drip")
class _(Base):
    def on_ehlo(self, argument):
        if not self.tls_active:
            return super().on_ehlo(argument)
        for octet in b"250-" + b"x" * 500:
            self.send(bytes([octet]))
            time.sleep(0.1)


@attack("ehlo2-other")
class _(Base):
    """What was said in the clear must not count, least of all a limit."""
    def on_ehlo(self, argument):
        if self.tls_active:
            return self.reply("250 peer.test")
        for line in ("250-peer.test", "250-SIZE 10", "250-CHUNKING",
                     "250-SMTPUTF8", "250 STARTTLS"):
            self.reply(line)


@attack("by-sni")
class _(Base):
    """Has the certificate only for who asks for the host by its name."""


DELIVERED = ("none", "ehlo2-other", "by-sni")
NAMES = list(ATTACKS)
net = lab.Lab()
web = lab_sts.PolicyHost(net, WEB4)
ADDRESS = {n: "198.51.100.%d" % (100 + i) for i, n in enumerate(NAMES)}
peers = {}


def domain(mode, name):
    return "%s-%s.test" % (mode, name)


for _name in NAMES:
    for _mode in MODES:
        _domain = domain(_mode, _name)
        net.dns.domain(_domain, ["@ MX 10 mx", "mx A " + ADDRESS[_name], *(
            records(WEB4) if _mode != "bare" else [])], signed=False)
        if _mode != "bare":
            web.serve(_domain, policy(_mode, "mx." + _domain))
net.dns.domain("sender.test", ["@ A 198.51.100.1"], signed=False)
net.start()
web.start()
evil = lab_peer.tls_context(net.ca.cert("mx.evil.test"))


def pair_for(kind, name):
    named = ["mx." + domain(m, name) for m in MODES]
    words = {"IP": ["IP:" + ADDRESS[name]],
             "DOMAIN": [domain(m, name) for m in MODES],
             "MX.evil.test": [n + ".evil.test" for n in named]}
    for word in getattr(kind, "names", []):
        named = words.get(word, [word])
    return net.ca.cert(*named, **getattr(kind, "how", {}))


for _name, (_kind, _) in ATTACKS.items():
    _kind.tls = lab_peer.tls_context(pair_for(_kind, _name),
                                     **getattr(_kind, "options", {}))
    if "tls11" == _name:
        _kind.tls.set_ciphers("ALL:@SECLEVEL=0")
    peers[_name] = lab_peer.Peer(net, ADDRESS[_name], _kind)


def choose(sock, name, context):
    sock.context = right if name and name.startswith("mx.") else evil


right = ATTACKS["by-sni"][0].tls
ATTACKS["by-sni"][0].tls = lab_peer.tls_context(net.ca.cert("mx.evil.test"))
ATTACKS["by-sni"][0].tls.sni_callback = choose
TIMES = {k: "3s" for k in ("banner", "command", "tls", "connect", "mail",
                           "rcpt", "data", "data-end", "rset")}
daemon = lab_daemon.Daemon(
    net, lab_daemon.program(), timeout=dict(TIMES, idle="10ms", quit="1s"),
    retry={"first": "10m", "max": "10m"}, **{"mta-sts": {
        "fetch-timeout": "10s", "allow-private-addresses": True}})
daemon.start()
t = tap.Tap(on_fail=daemon.explain)
lab_check.Check(daemon, "").follow(t)
seen = {}		# (mode, attack): (delivery line, sessions)


def mail_all(mode):
    for peer in peers.values():
        peer.sessions.clear()
    for name in NAMES:
        daemon.mail(SENDER, "ann@" + domain(mode, name), "secret text")
    net.wait("all are tried", lambda: all(
        daemon.deliveries(to="ann@" + domain(mode, n)) for n in NAMES), 60,
        0.2)
    for name in NAMES:
        lines = daemon.deliveries(to="ann@" + domain(mode, name))
        tap.equal(len(lines), 1, "attempts of " + domain(mode, name))
        seen[mode, name] = lines[0], list(peers[name].sessions)


def heard(session):
    """What the peer was told: verbs of a transaction, and any text."""
    verbs = [v for v in session.verbs if v in ("MAIL", "RCPT", "DATA",
                                               "BDAT", "HELO")]
    text = b"\n".join(session.lines)
    return verbs, b"secret" in text or b"alice@" in text or b"ann@" in text


@t.test("a message to each of %d domains with a policy" % len(NAMES))
def _():
    mail_all("enforce")


for _name in NAMES:
    if _name in DELIVERED:
        continue

    @t.test("enforce, %s: he saw nothing, and the message waits" % _name)
    def _(name=_name):
        line, sessions = seen["enforce", name]
        tap.true(sessions, "nobody came")
        for session in sessions:
            tap.equal(heard(session), ([], False), "what he heard")
            tap.equal(session.messages, [], "messages")
        tap.equal(line["status"], "deferred", line["_line"])
        tap.equal(line["dsn"][:2], "4.", line["_line"])
        tap.equal(line["result_type"], ATTACKS[name][1], line["_line"])
        tap.equal(line["why"], "sts", line["_line"])


for _name in DELIVERED:
    @t.test("enforce, %s: delivered, all of it behind the handshake" % _name)
    def _(name=_name):
        line, sessions = seen["enforce", name]
        tap.equal((line["status"], line["tls"], line["why"]),
                  ("sent", "sts", "sts"), line["_line"])
        tap.equal([len(s.messages) for s in sessions], [1], "messages")
        tap.equal((sessions[0].where, sessions[0].verbs[:2]),
                  (True, ["EHLO", "STARTTLS"]), "where it came")
        tap.equal(sessions[0].heard, 2, "lines before the handshake")


@t.test("the same for domains in testing mode, and without a policy")
def _():
    mail_all("testing")
    mail_all("bare")


for _name in NAMES:
    @t.test("testing, %s: as without a policy" % _name)
    def _(name=_name):
        found = []
        for mode in ("testing", "bare"):
            line, sessions = seen[mode, name]
            found.append([line["status"], line["tls"], line["why"]] + [
                (len(s.messages), s.tls_active) for s in sessions])
        tap.equal(*found, "what came of it, by mode")
        if name in DELIVERED:
            tap.equal(found[0][:2], ["sent", "encrypted"], "twin")


@t.test("the attacks are real: most open mail can be read")
def _():
    read = [n for n in NAMES if any(not s.tls_active and s.messages
                                    for s in seen["bare", n][1])]
    tap.true({"strip", "mask", "454", "554", "530-later", "late", "shut",
              "alert", "ehlo-5xx", "tls11"} <= set(read), "read: %r" % read)


@t.test("check says of each what delivery did")
def _():
    some = [n for n in NAMES if "drip" not in n and "mute" not in n and
            n != "half-hello"]
    tap.equal(lab_check.Check(daemon, SENDER).same_all(
        [domain("enforce", n) for n in some]), len(some), "domains")


@t.test("no process has died, and it stops in order")
def _():
    daemon.ends_well()


t.run()
