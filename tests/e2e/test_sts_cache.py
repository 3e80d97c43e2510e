#!/usr/bin/python3
"""The cache of MTA-STS policies (RFC 8461, 3.1, 3.3 and 5.1): what it
survives, and what changes it.  All domains are reached through an attacker;
what he could read, the policy host's log and the mailboxes are the judges."""

import itertools
import time

import common		# noqa: F401
import lab
import lab_check
import lab_daemon
import lab_mta
import lab_sts
import tap
from lab_attacker import Attacker
from lab_sts import policy, record

MX4, SENDER, ROAD4 = "198.51.100.10", "alice@sender.test", "198.51.100.60"
WEB4, FADES4 = "198.51.100.80", "198.51.100.81"

net = lab.Lab()
web = lab_sts.PolicyHost(net, WEB4)
fades = lab_sts.PolicyHost(net, FADES4, "nginx-fades")
TWO = [record("1"), record("2")]
DNS_FAILS = ["_mta-sts CNAME x.broken.test."]
MALFORMED = ['_mta-sts TXT "v=STSv1; id=not-alphanumeric;"']

# What DNS says at first (None: no record at all).
DOMAINS = {
    # these get a policy while all is well, and then DNS changes
    "gone.test": [record()], "twice.test": [record()],
    "broke.test": [record()], "fails.test": [record()],
    "newid.test": [record()], "sameid.test": [record()],
    "vanish.test": [record()], "expire.test": [record()],
    "withdrawn.test": [record()], "stale.test": [record()],
    "mended.test": [record()], "many.test": [record()],
    "fresh.test": [record()], "unused.test": [record()],
    # these are so from the beginning
    "open.test": [],
    "two.test": TWO, "malformed.test": MALFORMED,
    "noid.test": ['_mta-sts TXT "v=STSv1;"'],
    "version.test": ['_mta-sts TXT "v=STSv2; id=1;"'],
    "beside.test": ['_mta-sts TXT "something else"', record()],
    "strings.test": ['_mta-sts TXT "v=STSv1; i" "d=1;"'],
    "lost.test": DNS_FAILS, "lame.test": ["_mta-sts NS ns.nowhere.test."],
}
VALID = [d for d, x in DOMAINS.items() if x == [record()]]


def zone(name, announced=None):
    if announced is not None:
        DOMAINS[name] = announced
    net.dns.domain(name, ["@ MX 10 mx", "mx A " + ROAD4, "mta-sts A " + (
        FADES4 if name == "vanish.test" else WEB4), *DOMAINS[name]],
        signed=False)


for _name in DOMAINS:
    zone(_name)
    (fades if _name == "vanish.test" else web).serve(
        _name, policy("enforce", "mx." + _name))
net.dns.domain("broken.test", None)
net.dns.domain("sender.test", ["@ MX 10 mx", "mx A " + MX4], signed=False)
web.policy("expire.test", policy("enforce", "mx.expire.test", max_age=6))
web.policy("mended.test", policy("enforce", "mx.other.test"))
for _name in ("fresh.test", "unused.test"):
    web.policy(_name, policy("enforce", "mx." + _name, max_age=10))
net.start()
web.start()
fades.start()
postfix = lab_mta.Postfix(net, [SENDER] + ["ann@" + d for d in DOMAINS])
postfix.cert = net.ca.cert("mx.sender.test", *("mx." + d for d in DOMAINS))
postfix.listen(MX4)
postfix.start()
attacker = Attacker(net, ROAD4, MX4, "pass")


def new_daemon(name="daemon", port=lab_daemon.PORT, resolver=(), **sts):
    base = "%s/%s" % (net.dir, name)
    return lab_daemon.Daemon(
        net, lab_daemon.program(), name,
        listen={"unix:%s/submit" % base: {}, "127.0.0.1:%d" % port: {}},
        retry={"first": "10m", "max": "10m"}, resolver=dict(resolver),
        # Sessions are short: what the attacker does counts from now on.
        timeout={"idle": "10ms"},
        **{"mta-sts": {"fetch-timeout": "3s", "allow-private-addresses": True,
                       **sts}})


daemon = new_daemon()
daemon.start()
t = tap.Tap(on_fail=daemon.explain)
numbers = itertools.count(1)		# subjects


def mail(name, d=None, seconds=20):
    """One message; its delivery line."""
    d, to = d or daemon, "ann@" + name
    seen, subject = len(d.deliveries(to=to)), str(next(numbers))
    done = d.run("submit", "-c", d.config, "-f", SENDER, to, stdin=(
        "Subject: %s\n\nsecret of %s\n" % (subject, to)).encode())
    tap.equal(done.returncode, 0, "exit, %r" % done.stderr)
    line = net.wait("a result for " + to,
                    lambda: d.deliveries(to=to)[seen:], seconds)[0]
    return dict(line, _subject=subject)


def box(name):
    return [str(m["Subject"]) for m in postfix.messages("ann@" + name)]


def arrives(name, line):
    net.wait("the message arrives", lambda: line["_subject"] in box(name), 15)


# Where requests are counted check makes none.
COUNTED = {"gone.test", "twice.test", "broke.test", "fails.test", "newid.test",
           "sameid.test", "stale.test", "unused.test", "fresh.test"}


def compared(name, line, d=None):
    """Check says what delivery did, while the world is still the same."""
    if name not in COUNTED:
        lab_check.Check(d or daemon, SENDER).same(name, line)


def verified(name, d=None):
    attacker.mode = "pass"
    line = mail(name, d)
    compared(name, line, d)
    tap.equal((line["status"], line["tls"], line["why"]),
              ("sent", "sts", "sts"), line["_line"])
    arrives(name, line)


def stripped(name, d=None):
    """The delivery line, and whether the attacker could read the message."""
    attacker.mode = "strip"
    attacker.clear.clear()
    line = mail(name, d)
    compared(name, line, d)
    attacker.mode = "pass"
    return line, b"MAIL FROM" in b"".join(attacker.clear)


def protected(name, d=None):
    line, read = stripped(name, d)
    tap.equal((line["status"], line.get("result_type")),
              ("deferred", "starttls-not-supported"), line["_line"])
    tap.true(not read, "the attacker read of it")
    tap.true(line["_subject"] not in box(name), "it has arrived")


def unprotected(name, d=None):
    line, read = stripped(name, d)
    tap.equal((line["status"], line["tls"]), ("sent", "none"), line["_line"])
    tap.true(read, "the attack was not real")
    arrives(name, line)
    return line


def dns_changes(seconds=5.2):
    """What a worker knows of a domain is good for five seconds at least."""
    net.dns.reload()
    time.sleep(seconds)


@t.test("one record and one policy: verified")
def _():
    for name in ("gone.test", "twice.test", "broke.test", "fails.test",
                 "newid.test", "sameid.test", "vanish.test", "beside.test",
                 "strings.test"):
        verified(name)


@t.test("and protected; what nobody protects is read")
def _():
    protected("gone.test")
    unprotected("open.test")


@t.test("a policy that forgets a host: mail to it waits")
def _():
    line = mail("mended.test")
    tap.equal((line["status"], line.get("result_type")),
              ("deferred", "validation-failure"), line["_line"])
    compared("mended.test", line)


@t.test("several records, or a malformed one, mean none")
def _():
    for name in ("two.test", "malformed.test", "noid.test", "version.test"):
        unprotected(name)
        tap.equal(web.fetches(name), [], "fetches of " + name)


@t.test("a record that cannot be looked up: mail waits")
def _():
    for name in ("lost.test", "lame.test"):
        before = attacker.connections
        line = mail(name)
        tap.equal(line["status"], "deferred", line["_line"])
        tap.match(r"^4\.[47]\.", line["dsn"], "dsn=")
        tap.match("MTA-STS", line["reply"], "what it says")
        compared(name, line)
        tap.equal(attacker.connections, before, "connections")


@t.test("... and the log says which option changes that")
def _():
    tap.equal([x["option"] for x in daemon.events("sts-dns-failure")][:1],
              ["mta-sts dns-failure"], "option=")


@t.test("... or goes, with dns-failure = ignore")
def _():
    ignore = new_daemon("ignore", 10026, **{"dns-failure": "ignore"})
    ignore.start()
    unprotected("lost.test", ignore)
    unprotected("lame.test", ignore)
    verified("sameid.test", ignore)
    ignore.stop()


@t.test("20 messages at once: one fetch")
def _():
    for n in range(20):
        daemon.mail(SENDER, "ann@many.test", "number %d" % n)
    postfix.expect("ann@many.test", 20)
    lines = daemon.deliveries(to="ann@many.test")
    tap.equal([(x["status"], x["tls"]) for x in lines],
              [("sent", "sts")] * 20, "status, tls")
    tap.equal(len(web.fetches("many.test")), 1, "fetches")


@t.test("the record vanishes, doubles, breaks or fails: still protected")
def _():
    zone("gone.test", [])
    zone("twice.test", TWO)
    zone("broke.test", MALFORMED)
    zone("fails.test", DNS_FAILS)
    zone("newid.test", [record("2")])
    zone("lost.test", [record()])	# mended
    zone("mended.test", [record("2")])
    web.policy("mended.test", policy("enforce", "mx.mended.test"))
    for name in ("newid.test", "sameid.test"):
        web.policy(name, policy("testing", "mx." + name))
    dns_changes()
    for name in ("gone.test", "twice.test", "broke.test", "fails.test"):
        protected(name)
        verified(name)
        tap.equal(len(web.fetches(name)), 1, "fetches of " + name)


@t.test("what waited for the record or the policy goes when it is mended")
def _():
    for name in ("lost.test", "mended.test"):
        line = daemon.deliveries(to="ann@" + name)[-1]
        daemon.queue("flush", line["id"])
        line = daemon.delivery(to="ann@" + name, status="sent")
        tap.equal((line["tls"], line["attempt"]), ("sts", "2"),
                  line["_line"])


@t.test("a new id: fetched at once, and the new policy is in force")
def _():
    unprotected("newid.test")
    tap.equal(len(web.fetches("newid.test")), 2, "fetches")


@t.test("... and with the old id it is not")
def _():
    before = len(web.fetches("sameid.test"))
    protected("sameid.test")
    tap.equal(len(web.fetches("sameid.test")), before, "fetches")
    COUNTED.difference_update({"gone.test", "twice.test", "broke.test",
                               "fails.test", "newid.test", "sameid.test"})
    for name in ("twice.test", "broke.test", "newid.test", "sameid.test"):
        (unprotected if name == "newid.test" else protected)(name)


@t.test("the policy host vanishes, smtpd-out starts again: still protected")
def _():
    fades.stop()
    tap.equal(daemon.stop(), 0, "exit")
    daemon.start()
    protected("vanish.test")
    verified("vanish.test")
    unprotected("open.test")
    protected("fails.test")		# nor is its record to be had
    verified("fails.test")


@t.test("... also after kill -9, and without a record as well")
def _():
    zone("vanish.test", [])
    dns_changes()
    daemon.kill()
    daemon.start()
    protected("vanish.test")
    protected("gone.test")
    protected("fails.test")
    verified("vanish.test")


@t.test("the id is looked up anew before mail fails by a policy (5.1)")
def _():
    # This one believes its own cache for an hour.
    slow = new_daemon("slow", 10027, {"max-ttl": "1h"})
    slow.start()
    verified("withdrawn.test", slow)
    verified("stale.test", slow)
    zone("withdrawn.test", [record("2")])
    for name in ("withdrawn.test", "stale.test"):
        web.policy(name, policy("none"))
    dns_changes(0)
    line = unprotected("withdrawn.test", slow)
    tap.equal(line["attempt"], "1", "attempt=")
    protected("stale.test", slow)		# no new id
    tap.equal(len(web.fetches("stale.test")), 1, "fetches")
    slow.stop()


@t.test("a policy that has expired protects no more")
def _():
    verified("expire.test")
    began = time.monotonic()
    web.policy("expire.test", None)		# 404
    protected("expire.test")
    time.sleep(max(0, 7 - (time.monotonic() - began)))
    unprotected("expire.test")


@t.test("policies in use are renewed before they expire, others not")
def _():
    renew = new_daemon("renew", 10028, **{"refresh-check": "200ms"})
    idle = new_daemon("idle", 10029, **{"refresh-check": "200ms",
                                        "unused": "1s"})
    renew.start()
    idle.start()
    verified("fresh.test", renew)
    verified("unused.test", idle)
    began = time.monotonic()
    net.wait("it is fetched again", lambda: len(
        web.fetches("fresh.test")) > 1, 11)
    web.policy("fresh.test", None)		# the fetched one lasts
    time.sleep(max(0, 10.5 - (time.monotonic() - began)))
    tap.equal(len(web.fetches("unused.test")), 1, "fetches of unused.test")
    protected("fresh.test", renew)
    renew.stop()
    idle.stop()


@t.test("no process has died, and it stops in order")
def _():
    daemon.ends_well()


t.run()
