#!/usr/bin/python3
"""An attacker on the way to the mail server: whatever he does, protected mail
does not reach him, and unprotected mail shows that the attack is real."""

import common		# noqa: F401
import lab
import lab_check
import lab_daemon
import lab_mta
import tap
from lab_attacker import Attacker
from lab_tlsa import tlsa

MX4, SENDER = "198.51.100.10", "alice@sender.test"
MODES = ("pass", "strip", "mask", "454", "inject", "cut", "mitm", "tls11")
# What the delivery line calls it (RFC 8460); None: not a matter of TLS.
TYPES = {"strip": "starttls-not-supported", "mask": "starttls-not-supported",
         "454": "starttls-not-supported", "mitm": "validation-failure",
         "tls11": "validation-failure",
         "inject": "validation-failure"}
# What becomes of mail that nobody protects.
OPEN = {"pass": "encrypted", "strip": "none", "mask": "none", "454": "none",
        "mitm": "encrypted", "tls11": "none"}

net = lab.Lab()
cert = net.ca.cert("mx.sender.test", *("mx.rule-%s.test" % m for m in MODES))
evil = net.ca.cert("mx.evil.test")
users, attackers = [SENDER], {}
net.dns.domain("sender.test", ["@ MX 10 mx", "mx A " + MX4])
for number, mode in enumerate(MODES):
    address = "198.51.100.%d" % (60 + number)
    for kind in ("dane", "rule", "open"):
        name = "%s-%s.test" % (kind, mode)
        net.dns.domain(name, ["@ MX 10 mx", "mx A " + address] + (
            [tlsa(3, 1, 1, cert[0])] if kind == "dane" else []))
        users.append("ann@" + name)
net.start()
postfix = lab_mta.Postfix(net, users)
postfix.cert = cert
postfix.listen(MX4)
postfix.start()
for number, mode in enumerate(MODES):
    attackers[mode] = Attacker(net, "198.51.100.%d" % (60 + number), MX4, mode,
                               evil)
# "encrypt" asks for no certificate: a man in the middle needs "pkix".
RULES = "".join(
    'destination "rule-%s.test" { tls = %s }\n' % (
        m, 'pkix match-names = {"mx.rule-%s.test"}' % m
        if m in ("pass", "mitm") else "encrypt") for m in MODES)
daemon = lab_daemon.Daemon(net, lab_daemon.program(), text=RULES,
                           retry={"first": "10m", "max": "10m"})
daemon.start()
check = lab_check.Check(daemon, SENDER)
t = tap.Tap(on_fail=daemon.explain)


def attacked(kind, mode, status):
    """Sends a message with a secret; the delivery line, and whether the
    attacker could read any of it."""
    to = "ann@%s-%s.test" % (kind, mode)
    attackers[mode].clear.clear()
    daemon.mail(SENDER, to, "secret of " + to)
    line = daemon.delivery(20, to=to, status=status)
    text = b"".join(attackers[mode].clear)
    check.same("%s-%s.test" % (kind, mode), line)
    return to, line, b"MAIL FROM" in text or b"secret" in text


def protected(kind, mode):
    to, line, read = attacked(kind, mode, "deferred")
    tap.true(not read, "the attacker read of it")
    tap.equal(postfix.messages(to), [], "mailbox")
    if mode in TYPES:
        tap.equal(line["result_type"], TYPES[mode], "result_type=")


for _kind, _tls in (("dane", "dane"), ("rule", "pkix")):
    @t.test("nobody interferes, mail is delivered: " + _kind)
    def _(kind=_kind, tls=_tls):
        to, line, read = attacked(kind, "pass", "sent")
        tap.equal(line["tls"], tls, "tls=")
        tap.true(not read, "it could be read on the way")
        postfix.expect(to)

for _mode in MODES[1:]:
    @t.test("a DANE domain, attack %s: nothing arrives or leaks" % _mode)
    def _(mode=_mode):
        protected("dane", mode)

    if _mode != "mitm":
        @t.test("rule encrypt, attack %s: nothing arrives or leaks" % _mode)
        def _(mode=_mode):
            protected("rule", mode)

@t.test("rule pkix, attack mitm: nothing arrives or leaks")
def _():
    to, line, read = attacked("rule", "mitm", "deferred")
    tap.true(not read, "the attacker read of it")
    tap.equal(postfix.messages(to), [], "mailbox")
    tap.equal(line["result_type"], "certificate-host-mismatch",
              "result_type=")


for _mode in OPEN:
    @t.test("nobody protects it, attack %s: delivered" % _mode)
    def _(mode=_mode):
        to, line, read = attacked("open", mode, "sent")
        tap.equal(line["tls"], OPEN[mode], "tls=")
        tap.equal(read, mode != "pass", "the attacker read of it")
        postfix.expect(to)


t.run()
