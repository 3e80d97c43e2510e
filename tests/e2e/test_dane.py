#!/usr/bin/python3
"""DANE and local rules: mail leaves only as securely as somebody demanded.

Each rule has its negative twin; what was not to arrive is judged by the
mailbox and by the receiving server's log."""

import hashlib

import common		# noqa: F401
import lab
import lab_check
import lab_daemon
import lab_mta
import tap
from lab_tlsa import der, tlsa

GOOD4, OTHER4, CLEAR4 = "198.51.100.10", "198.51.100.12", "198.51.100.11"
NAMED4, EXIM4 = "198.51.100.13", "198.51.100.20"
SENDER = "alice@sender.test"

net = lab.Lab()
good = net.ca.cert("mx.good.test", "mx.rule.test")
other = net.ca.cert("mx.other.test")
named = net.ca.cert("mx.named.test", "named.test")
gnutls = net.ca.cert("mx.exim.test")


def one(address, *records):
    """A domain with one MX on that address."""
    return ["@ MX 10 mx", "mx A " + address, *records]


WRONG = "_25._tcp.mx TLSA 3 1 1 " + "ab" * 32
ca = net.ca.file
domains = {
    "sender.test": one(GOOD4),
    "plain.test": one(GOOD4),
    # usage 3: neither names nor authority count
    "ee.test": one(OTHER4, tlsa(3, 1, 1, other[0])),
    "eecert.test": one(OTHER4, tlsa(3, 0, 2, other[0])),
    "eefull.test": one(OTHER4, tlsa(3, 1, 0, other[0])),
    "roll.test": one(OTHER4, WRONG, tlsa(3, 1, 1, other[0])),
    "wrong.test": one(OTHER4, WRONG),
    # digest agility: a matching SHA-256 does not outvote a wrong SHA-512
    "agile.test": one(OTHER4, tlsa(3, 1, 1, other[0]),
                      "_25._tcp.mx TLSA 3 1 2 " + "cd" * 64),
    # usage 2: chain and name
    "named.test": one(NAMED4, tlsa(2, 0, 1, ca)),
    "misnamed.test": one(OTHER4, tlsa(2, 1, 1, ca)),
    # nothing usable: TLS without a check, but TLS
    "pkixusage.test": one(OTHER4, tlsa(1, 1, 1, other[0])),
    "short.test": one(OTHER4, "_25._tcp.mx TLSA 3 1 1 abcdef"),
    "shortclear.test": one(CLEAR4, "_25._tcp.mx TLSA 3 1 1 abcdef"),
    # another server, with another TLS library
    "exim.test": one(EXIM4, tlsa(3, 1, 1, gnutls[0])),
    "eximwrong.test": one(EXIM4, WRONG),
    # STARTTLS missing or stripped
    "stripped.test": one(CLEAR4, tlsa(3, 1, 1, good[0])),
    # several hosts, each with its own decision
    "second.test": ["@ MX 10 bad", "@ MX 20 mx", "bad A " + OTHER4,
                    "mx A " + GOOD4, "_25._tcp.bad TLSA 3 1 1 " + "ab" * 32,
                    tlsa(3, 1, 1, good[0])],
    "allbad.test": ["@ MX 10 bad", "@ MX 20 mx", "bad A " + OTHER4,
                    "mx A " + CLEAR4, "_25._tcp.bad TLSA 3 1 1 " + "ab" * 32,
                    tlsa(3, 1, 1, good[0])],
    # the TLSA answer cannot be had: that is not "no TLSA"
    "lost.test": one(OTHER4, "_25._tcp.mx CNAME mx.broken.test."),
    "broken.test": None,
    # aliases
    "alias.test": ["@ MX 10 mx", "mx CNAME mx.ee.test."],
    "tlsaalias.test": one(OTHER4, "_25._tcp.mx CNAME _25._tcp.mx.ee.test."),
    # rules
    "rule.test": one(GOOD4), "rulewrong.test": one(OTHER4),
    "print.test": one(OTHER4), "printwrong.test": one(OTHER4),
    "daneonly.test": one(GOOD4), "strict.test": one(CLEAR4),
    "past.test": one(CLEAR4), "listed.test": one(CLEAR4),
    "avoid.test": one(NAMED4), "weak.test": one(OTHER4, WRONG),
    "weaker.test": one(OTHER4, WRONG),
    "floor.test": one(CLEAR4), "above.test": one(OTHER4),
    "hosted.test": one(CLEAR4), "ca.test": one(GOOD4),
}
unsigned = {
    # unsigned TLSA proves nothing
    "unsigned.test": one(OTHER4, WRONG),
    # unsigned MX, signed host
    "insecuremx.test": ["@ MX 10 mx.ee.test."],
    "insecurewrong.test": ["@ MX 10 mx.wrong.test."],
}
for name, records in domains.items():
    net.dns.domain(name, records)
for name, records in unsigned.items():
    net.dns.domain(name, records, signed=False)
net.start()
users = ["ann@" + d for d in (*domains, *unsigned)]
postfix = lab_mta.Postfix(net, [SENDER, *users], host="mx.good.test")


def chain(pair):
    """Key, certificate and the authority's own, which usage 2 looks for."""
    whole = pair[0] + ".chain"
    with open(whole, "w") as out:
        for part in (*pair[::-1], ca):
            with open(part) as f:
                out.write(f.read())
    return {"smtpd_tls_chain_files": whole}


postfix.listen(GOOD4, **chain(good))
postfix.listen(OTHER4, **chain(other))
postfix.listen(NAMED4, **chain(named))
postfix.listen(CLEAR4, smtpd_tls_security_level="none")
postfix.start()
exim = lab_mta.Exim(net, EXIM4, ["ann@exim.test", "ann@eximwrong.test"],
                    host="mx.exim.test")
exim.cert = gnutls
exim.start()

PRINT = hashlib.sha256(der(other[0], 0)).hexdigest()
KEYPRINT = hashlib.sha256(der(other[0], 1)).hexdigest()
RULES = """
hosts-require-tls = {"mx.listed.test"}
hosts-avoid-tls = {"%s"}
destination "rule.test" { tls = pkix match-names = {"mx.rule.test"} }
destination "rulewrong.test" { tls = pkix }
destination "print.test" { tls = fingerprint fingerprints = {"%s"} }
destination "printwrong.test" { tls = fingerprint fingerprints = {"%s"} }
destination "daneonly.test" { tls = dane-only }
destination "strict.test" { tls = encrypt }
destination "past.test" { tls = encrypt until = "2020-02-29" }
destination "weak.test" { tls = may }
destination "weaker.test" { tls = may override = yes }
destination "ca.test" { tls = pkix ca-file = "%s" }
host "mx.hosted.test" { tls = encrypt }
""" % (NAMED4, KEYPRINT.upper(), "ab" * 32, other[0])

daemon = lab_daemon.Daemon(net, lab_daemon.program(), text=RULES,
                           retry={"first": "10m", "max": "10m"})
daemon.start()
check = lab_check.Check(daemon, SENDER)
t = tap.Tap(on_fail=daemon.explain)
lab_check.Check(daemon, "").follow(t)


def deliver(domain, status="sent", **want):
    """The delivery line of a new message; what was deferred did not arrive,
    and the server was told nothing of it."""
    to = "ann@" + domain
    daemon.mail(SENDER, to, "to " + to)
    line = daemon.delivery(15, to=to, status=status)
    for key, value in want.items():
        tap.equal(line[key], value, key + "= of " + domain)
    if status == "sent":
        postfix.expect(to)
    else:
        tap.equal(postfix.messages(to), [], "mailbox of " + domain)
        tap.true(to not in postfix.log_text(), "Postfix heard of " + to)
    check.same(domain, line)
    return line


@t.test("a domain without TLSA records is opportunistic")
def _():
    deliver("plain.test", tls="encrypted", why="default")


for _name in ("ee.test", "eecert.test", "eefull.test", "roll.test",
              "named.test", "alias.test", "tlsaalias.test",
              "insecuremx.test"):
    @t.test("DANE verified: " + _name)
    def _(name=_name):
        deliver(name, tls="dane", why="dane")


for _name, _type in (("wrong.test", "validation-failure"),
                     ("agile.test", "validation-failure"),
                     ("misnamed.test", "certificate-host-mismatch"),
                     ("insecurewrong.test", "validation-failure"),
                     ("weak.test", "validation-failure")):
    @t.test("DANE not met, nothing arrives: " + _name)
    def _(name=_name, result=_type):
        line = deliver(name, "deferred", why="dane", result_type=result)
        tap.match(r"^4\.7\.", line["dsn"], "code")


@t.test("DANE verified with Exim")
def _():
    daemon.mail(SENDER, "ann@exim.test", "to Exim")
    line = daemon.delivery(15, to="ann@exim.test", status="sent")
    tap.equal(line["tls"], "dane", "tls=")
    exim.expect("ann@exim.test")


@t.test("DANE not met by Exim: nothing arrives")
def _():
    daemon.mail(SENDER, "ann@eximwrong.test", "to Exim")
    line = daemon.delivery(15, to="ann@eximwrong.test", status="deferred")
    tap.equal(line["result_type"], "validation-failure", "result_type=")
    tap.equal(exim.messages("ann@eximwrong.test"), [], "mailbox")
    tap.true("ann@eximwrong.test" not in exim.log_text(), "Exim heard of it")


@t.test("STARTTLS stripped from a DANE domain: nothing arrives")
def _():
    line = deliver("stripped.test", "deferred", why="dane",
                   result_type="starttls-not-supported")
    tap.match("TLS is required", line["reply"], "reply")


for _name in ("pkixusage.test", "short.test"):
    @t.test("no usable TLSA record: encrypted all the same: " + _name)
    def _(name=_name):
        deliver(name, tls="encrypted", why="dane-unusable")


@t.test("no usable TLSA record and no TLS: nothing arrives")
def _():
    deliver("shortclear.test", "deferred", why="dane-unusable")


@t.test("a host that fails DANE is passed by, the next one takes the mail")
def _():
    line = deliver("second.test", tls="dane", why="dane")
    tap.equal(line["mx"], "mx.second.test", "mx=")


@t.test("every host fails DANE: nothing arrives")
def _():
    deliver("allbad.test", "deferred", why="dane")


@t.test("TLSA records that cannot be looked up are not absent")
def _():
    deliver("lost.test", "deferred", result_type="dnssec-invalid")


@t.test("unsigned TLSA records are ignored")
def _():
    deliver("unsigned.test", tls="encrypted", why="default")


@t.test("rule pkix: certificate by name and authority")
def _():
    deliver("rule.test", tls="pkix", why="local")


@t.test("rule pkix, another name: nothing arrives")
def _():
    deliver("rulewrong.test", "deferred", why="local",
            result_type="certificate-host-mismatch")


@t.test("rule pkix, another authority: nothing arrives")
def _():
    deliver("ca.test", "deferred", why="local",
            result_type="certificate-not-trusted")


@t.test("rule fingerprint, of the public key")
def _():
    deliver("print.test", tls="fingerprint", why="local")


@t.test("rule fingerprint, another one: nothing arrives")
def _():
    deliver("printwrong.test", "deferred", why="local")


@t.test("rule dane-only without TLSA records: nothing arrives")
def _():
    deliver("daneonly.test", "deferred", why="local",
            result_type="dane-required")


@t.test("rule encrypt without STARTTLS: nothing arrives")
def _():
    deliver("strict.test", "deferred", why="local")


@t.test("a rule past its date is ignored, with a warning")
def _():
    deliver("past.test", tls="none", why="default")
    tap.true(daemon.events("rule-expired", rule="past.test"), "warning")


@t.test("hosts-require-tls: nothing arrives in the clear")
def _():
    deliver("listed.test", "deferred", why="hosts-require-tls")


@t.test("hosts-avoid-tls: no TLS, but only where nobody demands it")
def _():
    deliver("avoid.test", tls="none", why="hosts-avoid-tls")


@t.test("a host rule")
def _():
    deliver("hosted.test", "deferred", why="local")


@t.test("override weakens DANE, and says so")
def _():
    deliver("weaker.test", tls="encrypted", why="override")
    tap.true(daemon.events("policy-overridden", destination="weaker.test"),
             "warning")


@t.test("require-tls, after a reload: nothing arrives in the clear")
def _():
    daemon.configure(**{"require-tls": True})
    daemon.reload()
    net.wait("the reload", lambda: daemon.events("reloaded"))
    deliver("floor.test", "deferred", why="require-tls",
            result_type="starttls-not-supported")
    deliver("above.test", tls="encrypted", why="require-tls")


@t.test("require-tls holds for TLS-Required: No as well")
def _():
    to = "ann@floor.test"
    seen = len(daemon.deliveries(to=to))
    daemon.send(SENDER, to, "Subject: x\nTLS-Required: No\n\nsecret\n")
    line = net.wait("the delivery line",
                    lambda: daemon.deliveries(to=to)[seen:])[0]
    tap.equal((line["status"], line["why"]), ("deferred", "require-tls"),
              "delivery")


t.run()
