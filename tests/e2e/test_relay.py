#!/usr/bin/python3
"""Relays: TLS from the first byte, a password for those that are verified, and
a server that asks for TLS only when it is told of mail."""

import base64
import json
import os
import pwd

import common		# noqa: F401
import lab
import lab_check
import lab_daemon
import lab_mta
import tap
from lab_attacker import Attacker
from lab_peer import Peer, Session, tls_context

SENDER = "alice@sender.test"
EXIM4, TAP4, SCRIPT = "198.51.100.20", "198.51.100.21", "198.51.100.%d"
USER, PASSWORD, WRONG = "out@sender.test", "Tr0ub4:dor-%s", "Tr0ub4:dor-%x"

net = lab.Lab()
exim_names = ["%s.relay.test" % n for n in ("tap", "none", "wrong", "modes")]
good = net.ca.cert("peer.relay.test", "echo.relay.test", "strip.relay.test",
                   "noauth.relay.test")
misnamed = net.ca.cert("elsewhere.test")


def stranger(name):
    """A certificate with the right name, by nobody we know."""
    base = os.path.join(net.dir, name)
    net.ca.openssl("req", "-x509", *net.ca.EC, "-nodes", "-days", "30",
                   "-subj", "/CN=" + name, "-addext",
                   "subjectAltName=DNS:" + name, "-keyout", base + ".key",
                   "-out", base + ".pem")
    return base + ".pem", base + ".key"


# ---- the scripted relays and hosts ----------------------------------------

class Relay(Session):
    """Takes any password; its lines tell which it was told."""
    extensions = ["PIPELINING", "8BITMIME", "AUTH PLAIN LOGIN"]
    tls = tls_context(good)

    def on_auth(self, argument):
        self.reply("235 2.7.0 welcome")


class Echo(Relay):
    def on_auth(self, argument):
        self.reply("535 5.7.8 not %s, that is %s" % (argument.split()[1],
                                                     PASSWORD))


class Misnamed(Relay):
    tls = tls_context(misnamed)


class Stranger(Relay):
    tls = tls_context(stranger("strange.relay.test"))


class First(Misnamed):
    """The same, with TLS from the first byte."""

    def on_connect(self):
        self.start_tls()
        super().on_connect()


class Clear(Session):
    """Keeps what it is sent, whether that is a line or not.  It greets only
    then, as a greeting may well end the connection before that."""
    raw = b""

    def on_connect(self):
        self.more()
        super().on_connect()

    def more(self):
        held, self.buffer = self.buffer, b""
        try:
            super().more()
        finally:
            self.raw += self.buffer
            self.buffer = held + self.buffer


class Strip(Relay):
    tls = None


class NoAuth(Relay):
    extensions = ["PIPELINING", "8BITMIME"]


class Late(Session):
    """Does not offer STARTTLS, and wants it."""
    tls = tls_context(net.ca.cert("mx.late.test"))
    wants = "MAIL"

    def on_ehlo(self, argument):
        if self.wants == "EHLO" and not self.tls_active:
            return self.must()
        offer, self.tls = self.tls, None
        super().on_ehlo(argument)
        self.tls = offer

    def must(self):
        self.reply("530 5.7.0 Must issue a STARTTLS command first")

    def on_mail(self, argument):
        if not self.tls_active:
            return self.must()
        super().on_mail(argument)

    def on_rcpt(self, argument):
        if self.sender is None:
            return self.reply("503 5.5.1 MAIL first")
        super().on_rcpt(argument)

    def on_data(self, argument):
        if self.sender is None:
            return self.reply("503 5.5.1 MAIL first")
        super().on_data(argument)


class Slow(Late):
    extensions = ["8BITMIME"]		# no PIPELINING


class Early(Late):
    wants = "EHLO"


class Stubborn(Late):
    def on_starttls(self, argument):
        self.reply("454 4.7.0 not now")


RELAYS = {"peer": Relay, "echo": Echo, "misnamed": Misnamed,
          "strange": Stranger, "strip": Strip, "noauth": NoAuth,
          "clear": Clear, "first": First}
LATE = {"late": Late, "slow": Slow, "early": Early, "stubborn": Stubborn,
        "demand": Late, "earlydemand": Early, "stubborndemand": Stubborn}

# ---- the lab --------------------------------------------------------------

hosts = ["@ A " + EXIM4, "tap A " + TAP4] + [
    "%s A %s" % (n.split(".")[0], EXIM4) for n in exim_names[1:]]
net.dns.domain("sender.test", ["@ MX 10 mx", "mx A " + EXIM4])
address = {}
for _n, _name in enumerate((*RELAYS, *LATE)):
    address[_name] = SCRIPT % (40 + _n)
    if _name in RELAYS:
        hosts.append("%s A %s" % (_name, address[_name]))
    else:
        net.dns.domain(_name + ".test", ["@ MX 10 mx",
                                         "mx A " + address[_name]])
net.dns.domain("relay.test", hosts)
net.start()

# Destinations: relay, and the rest of the rule; those of Exim first.
DESTINATIONS = {
    "smtps": ("smtps://tap.relay.test:465", ""),
    "notls": ("smtps://none.relay.test:25", ""),
    "plain": ("relay.test:587", "right"),
    "login": ("relay.test:588", "right"),
    "both": ("smtps://relay.test", "right"),
    "wrongplain": ("wrong.relay.test:587", "wrong"),
    "wronglogin": ("wrong.relay.test:588", "wrong"),
    "without": ("relay.test:587", ""),
    "modes": ("modes.relay.test:587", "modes"),
    "clear": ("smtps://clear.relay.test:25", ""),
    "told": ("peer.relay.test", "right"),
    "echo": ("echo.relay.test", "right"),
    "misnamed": ("misnamed.relay.test", "right"),
    "first": ("smtps://first.relay.test:25", "right"),
    "strange": ("strange.relay.test", "right"),
    "strip": ("strip.relay.test", "right"),
    "noauth": ("noauth.relay.test", "right"),
}
exim = lab_mta.Exim(net, EXIM4, [SENDER] + [
    "ann@%s.test" % d for d in DESTINATIONS], host="relay.test",
    names=exim_names)
exim.account = (USER, PASSWORD)
exim.start()
attacker = Attacker(net, TAP4, EXIM4, "tap", port=exim.smtps)
peers = {name: Peer(net, address[name], kind)
         for name, kind in {**RELAYS, **LATE}.items()}


def secret_file(name, password, mode=0o600):
    """A password for a relay, in a file of the service."""
    path = os.path.join(net.dir, name + ".auth")
    with open(path, "w") as f:
        f.write("%s:%s\n" % (USER, password))
    user = pwd.getpwnam("smtpd-out")
    os.chown(path, user.pw_uid, user.pw_gid)
    os.chmod(path, mode)
    return path


secret_file("right", PASSWORD)
secret_file("wrong", WRONG)
secret_file("modes", PASSWORD, 0o640)
RULES = ""
for _name, (_relay, _file) in DESTINATIONS.items():
    RULES += 'destination "%s.test" { relay = "%s"%s }\n' % (
        _name, _relay, ' tls = pkix auth-file = "%s/%s.auth"' % (
            net.dir, _file) if _file else "")
for _name in ("demand", "earlydemand", "stubborndemand"):
    RULES += 'destination "%s.test" { tls = encrypt }\n' % _name
daemon = lab_daemon.Daemon(net, lab_daemon.program(), text=RULES,
                           retry={"first": "10m", "max": "10m"},
                           **{"log-level": "debug"})
daemon.start()
check = lab_check.Check(daemon, SENDER)
t = tap.Tap(on_fail=daemon.explain)
# STARTTLS after MAIL: check says no MAIL.
lab_check.Check(daemon, "").follow(t, but=(
    "late.test", "slow.test", "stubborn.test"))


def deliver(name, status="sent", **want):
    """The delivery line of a new message; the mailbox tells whether it came."""
    to = "ann@%s.test" % name
    daemon.mail(SENDER, to, "to " + to, "a secret for %s\n" % to)
    line = daemon.delivery(20, to=to, status=status)
    for key, value in want.items():
        tap.equal(line[key], value, "%s= of %s" % (key, name))
    if name in DESTINATIONS:
        if status == "sent" and name != "told":
            exim.expect(to)
        else:
            tap.equal(exim.messages(to), [], "mailbox of " + name)
        lab_check.valid(check.same(name + ".test", line))
    return line


def arrival(line):
    """What Exim says about the arrival of the message of a delivery line."""
    number = tap.match(r" id=(\S+)", line["reply"], "reply")[1]
    return tap.true(exim.log_lines(r" %s <= " % number), "arrival")[0]


def secrets():
    """All forms in which a password may be seen."""
    out = []
    for word in (PASSWORD, WRONG):
        out += [word, base64.b64encode(word.encode()).decode(),
                base64.b64encode(("\0%s\0%s" % (USER, word)).encode())
                .decode()]
    return out


def nothing_told(name):
    """The relay was spoken to, but got neither mail nor password."""
    peer = peers[name]
    tap.true(peer.sessions, "%s was never asked" % name)
    tap.equal(peer.messages(), [], "messages at " + name)
    lines = b"\n".join(x for s in peer.sessions for x in s.lines).decode(
        "utf-8", "replace")
    for word in ("AUTH", "MAIL FROM", "secret", USER, *secrets()):
        tap.true(word not in lines, "%s was told %r" % (name, word))


# ---- TLS from the first byte ----------------------------------------------

@t.test("smtps relay: delivered, and nothing in the clear")
def _():
    line = deliver("smtps", tls="encrypted", mx="tap.relay.test")
    seen = b"".join(attacker.clear)
    tap.equal(seen[:2], b"\x16\x03", "first bytes on the wire")
    for word in (b"EHLO", b"MAIL", b"ann@", b"secret", b"QUIT"):
        tap.true(word not in seen, "%r could be read" % word)
    tap.match(" X=TLS", arrival(line), "TLS")


@t.test("smtps relay whose port speaks clear text: nothing arrives")
def _():
    line = deliver("notls", "deferred")
    tap.match(r"^4\.", line["dsn"], "code")
    tap.true("ann@notls" not in exim.log_text(), "Exim heard of it")


@t.test("... nor is a word of SMTP said to it")
def _():
    deliver("clear", "deferred")
    peer = peers["clear"]
    tap.true(peer.sessions, "it was never asked")
    net.wait("the end of the connection",
             lambda: all(s.ended for s in peer.sessions))
    text = b"".join(s.raw for s in peer.sessions)
    tap.equal(text[:2], b"\x16\x03", "first bytes")
    for word in (b"EHLO", b"HELO", b"MAIL", b"secret", b"QUIT"):
        tap.true(word not in text, "%r was said" % word)


# ---- AUTH -----------------------------------------------------------------

for _name in ("plain", "login"):
    @t.test("AUTH %s: the right password, delivered" % _name.upper())
    def _(name=_name):
        line = deliver(name, tls="pkix", mx="relay.test")
        tap.match(" X=TLS.* A=%s:%s" % (name, USER), arrival(line), "AUTH")

    @t.test("AUTH %s: a wrong password defers, nothing arrives"
            % _name.upper())
    def _(name=_name):
        line = deliver("wrong" + name, "deferred", dsn="4.7.8")
        tap.match("535", line["reply"], "reply")
        tap.true(exim.log_lines(name + " authenticator failed"),
                 "Exim refused it")
        tap.true("ann@wrong" not in exim.log_text(), "Exim heard of mail")
        tap.equal(daemon.deliveries(to="ann@wrong%s.test" % name,
                                    status="bounced"), [], "bounces")


@t.test("AUTH PLAIN in TLS from the first byte, on port 465: delivered")
def _():
    line = deliver("both", tls="pkix", mx="relay.test")
    tap.match(" X=TLS.* A=plain:" + USER, arrival(line), "AUTH")


@t.test("without a password that relay takes nothing")
def _():
    line = deliver("without", "bounced")
    tap.match("authentication required", line["reply"], "reply")


@t.test("a password file that others may read: nothing arrives, and the log "
        "says why")
def _():
    deliver("modes", "deferred", dsn="4.7.8")
    for match in ({"destination": "modes.test"}, {"host": "modes.relay.test"}):
        line = daemon.events("auth-file", _level="error", **match)
        tap.true(line, "an error about %r" % match)
        tap.match(r"modes\.auth can be used by others: .*0600",
                  line[0]["reason"], "reason")
    tap.equal(daemon.events("auth-file", destination="plain.test"), [],
              "errors about a good file")


@t.test("... until it is mended: it is read anew")
def _():
    secret_file("modes", PASSWORD)
    tap.equal(daemon.queue("flush").returncode, 0, "exit status")
    daemon.delivery(20, to="ann@modes.test", status="sent")
    exim.expect("ann@modes.test")


@t.test("a scripted relay with a good certificate is told the password")
def _():
    deliver("told", tls="pkix")
    session = peers["peer"].sessions[0]		# check has one more
    tap.true(session.tls_active, "TLS")
    tap.equal([x for x in session.lines if x.startswith(b"AUTH")],
              [b"AUTH PLAIN " + base64.b64encode(
                  ("\0%s\0%s" % (USER, PASSWORD)).encode())], "AUTH")
    tap.equal(len(session.messages), 1, "messages")


for _name, _result in (("misnamed", "certificate-host-mismatch"),
                       ("first", "certificate-host-mismatch"),
                       ("strange", "certificate-not-trusted"),
                       ("strip", "starttls-not-supported")):
    @t.test("a relay that is not verified is not told it: " + _name)
    def _(name=_name, result=_result):
        deliver(name, "deferred", result_type=result)
        nothing_told(name)


@t.test("a relay that offers no AUTH gets nothing")
def _():
    deliver("noauth", "deferred", dsn="4.7.8")
    nothing_told("noauth")


@t.test("a relay that repeats the password in its reply: deferred")
def _():
    line = deliver("echo", "deferred", dsn="4.7.8")
    tap.match(r"535 not \*+, that is \*+", line["reply"], "reply")


# ---- STARTTLS on demand of the server -------------------------------------

def late(name, **want):
    deliver(name, tls="encrypted", **want)
    session = peers[name].sessions[-1]
    tap.true(session.tls_active, "TLS")
    tap.equal(len(session.messages), 1, "messages")
    verbs = session.verbs
    tap.true("STARTTLS" in verbs, "STARTTLS was said")
    after = verbs[verbs.index("STARTTLS") + 1:]
    tap.equal(after[:2], ["EHLO", "MAIL"], "verbs under TLS")
    return verbs[:verbs.index("STARTTLS")]


def nothing_in_clear(name):
    peer = peers[name]
    tap.true(peer.sessions, "it was never asked")
    tap.equal(peer.messages(), [], "messages")
    for session in peer.sessions:
        tap.true("MAIL" not in session.verbs, "MAIL was said")


for _name, _how in (("late", "pipelined"), ("slow", "not pipelined")):
    @t.test("530 to MAIL, STARTTLS not offered: over TLS all the same, "
            + _how)
    def _(name=_name):
        clear = late(name)
        tap.equal(clear[:2], ["EHLO", "MAIL"], "verbs in the clear")


@t.test("530 to EHLO: over TLS")
def _():
    tap.equal(late("early"), ["EHLO"], "verbs in the clear")


@t.test("530 to EHLO under a demand: over TLS")
def _():
    tap.equal(late("earlydemand", why="local"), ["EHLO"],
              "verbs in the clear")


@t.test("STARTTLS not offered under a demand: MAIL is never said")
def _():
    deliver("demand", "deferred", why="local",
            result_type="starttls-not-supported")
    nothing_in_clear("demand")


@t.test("530, and STARTTLS is refused: deferred")
def _():
    deliver("stubborn", "deferred")
    tap.equal(peers["stubborn"].messages(), [], "messages")


@t.test("... under a demand: MAIL is never said")
def _():
    deliver("stubborndemand", "deferred", why="local")
    nothing_in_clear("stubborndemand")


# Without --auth: the verdict, what is said of the password, and the exit code.
UNTRIED = {"plain": ("pkix", "not-tried", 0),
           "wrongplain": ("pkix", "not-tried", 0),
           "echo": ("pkix", "not-tried", 0),
           "noauth": ("deferred", "not-tried", 75),
           "misnamed": ("deferred", "not-tried", 75),
           "modes": ("deferred", "unusable", 75),
           "without": ("encrypted", None, 0)}


@t.test("check without --auth tells no password, and says so")
def _():
    told = [len(exim.log_lines("authenticator failed")),
            [len(p.sessions) for p in peers.values()]]
    secret_file("modes", PASSWORD, 0o640)
    for name, want in UNTRIED.items():
        found = check.json(name + ".test")
        lab_check.valid(found)
        tap.equal((found["verdict"], found["mx"][0]["password"], check.code),
                  want, name)
        if want[1] == "not-tried" and want[2] == 0:
            tap.match("if it takes the password, which was not tried",
                      found["reason"], name)
    secret_file("modes", PASSWORD)
    tap.equal(len(exim.log_lines("authenticator failed")), told[0], "Exim")
    for (name, peer), seen in zip(peers.items(), told[1]):
        for session in peer.sessions[seen:]:
            tap.true("AUTH" not in session.verbs, name)


@t.test("check --auth: accepted, refused, cannot be used")
def _():
    secret_file("modes", PASSWORD, 0o640)
    for name, verdict, password, cure in (
            ("plain", "pkix", "accepted", None),
            ("login", "pkix", "accepted", None),
            ("both", "pkix", "accepted", None),
            ("wrongplain", "deferred", "refused", "compare name and"),
            ("wronglogin", "deferred", "refused", "compare name and"),
            ("noauth", "deferred", "not-tried", "takes AUTH PLAIN or LOGIN"),
            ("modes", "deferred", "unusable", "auth-file must be mended: .*"
             "modes.auth can be used by others"),
            ("misnamed", "deferred", "not-tried", None)):
        found = check.json("--auth", name + ".test")
        lab_check.valid(found)
        tap.equal((found["verdict"], found["mx"][0]["password"]),
                  (verdict, password), name)
        if cure:
            tap.match(cure, found["next"], name)
        tap.equal("auth" in found["mx"][0]["sessions"][0]["times_ms"],
                  password in ("accepted", "refused"), "time of " + name)
    secret_file("modes", PASSWORD)
    nothing_told("misnamed")


@t.test("check by a user who may not read the password: not judged")
def _():
    for option in ("--auth", "-v"):
        done = daemon.run("check", "-c", daemon.config, "--json", option,
                          "plain.test", user="nobody", group="nogroup",
                          extra_groups=[])
        found = json.loads(done.stdout)
        tap.equal((found["verdict"], found["mx"][0]["password"],
                   done.returncode), ("pkix", "not-tried", 0), option)


@t.test("check shows no password, not even with all it can say")
def _():
    for name in ("plain", "login", "wrongplain", "wronglogin", "echo"):
        done = check.run("-vv", "--auth", name + ".test")
        shown = done.stdout.decode() + done.stderr.decode()
        tap.match("a response that is not shown", shown, "dialogue")
        for word in secrets():
            tap.true(word not in shown, "%r is shown" % word)


@t.test("check --auth with what it cannot go with: wrong usage")
def _():
    for words in (("--no-connect", "plain.test"), ("--dns", "a.test", "MX"),
                  ("--starttls", "smtp", "relay.test")):
        tap.equal(check.run("--auth", *words).returncode, 64, words)


@t.test("no password stands in the log, the queue or the spool")
def _():
    tap.true(daemon.events("command", _level="debug"), "debugging lines")
    shown = daemon.log()
    for one in tap.true(daemon.queue_ids(), "messages in the queue"):
        text = daemon.queue("show", one).stdout.decode()
        shown += tap.true(text, "queue show")
    shown += daemon.queue("list", "--json").stdout.decode()
    shown = shown.encode()
    for top, _, files in os.walk(os.path.join(daemon.dir, "spool")):
        for name in files:
            with open(os.path.join(top, name), "rb") as f:
                shown += f.read()
    tap.true(b"a secret for ann@echo.test" in shown, "the spool was read")
    for word in secrets():
        tap.true(word.encode() not in shown, "%r is shown" % word)


t.run()
