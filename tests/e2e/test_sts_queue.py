#!/usr/bin/python3
"""`smtpd-out queue policies`, and lists of policies for domains that publish
none (the STARTTLS Everywhere format)."""

import datetime
import json
import os
import time

import common		# noqa: F401
import lab
import lab_check
import lab_daemon
import lab_mta
import lab_sts
import tap
from lab_sts import policy, record

GOOD4, CLEAR4, SENDER = "198.51.100.10", "198.51.100.11", "alice@sender.test"
OTHER4, WEB4 = "198.51.100.12", "198.51.100.80"

net = lab.Lab()
web = lab_sts.PolicyHost(net, WEB4)
# domain: its receiver, and whether it has a policy of its own
DOMAINS = {
    "own.test": (GOOD4, True), "second.test": (GOOD4, True),
    "bad.test": (GOOD4, True), "plain.test": (CLEAR4, False),
    "listed.test": (GOOD4, False), "clear.test": (CLEAR4, False),
    "alias.test": (CLEAR4, False), "testing.test": (CLEAR4, False),
    "wrongmx.test": (GOOD4, False), "misnamed.test": (OTHER4, False),
    "late.test": (CLEAR4, False), "short.test": (CLEAR4, False),
    # on the list as enforce, but publishes testing
    "both.test": (CLEAR4, True),
}
for _name, (_address, _policy) in DOMAINS.items():
    net.dns.domain(_name, ["@ MX 10 mx", "mx A " + _address] + (
        [record(), "mta-sts A " + WEB4] if _policy else []), signed=False)
    if _policy:
        web.serve(_name, policy("enforce", "mx." + _name))
net.dns.domain("sender.test", ["@ MX 10 mx", "mx A " + GOOD4], signed=False)
net.start()
web.policy("both.test", policy("testing", "mx.both.test"))
web.policy("bad.test", None)
web.start()
postfix = lab_mta.Postfix(net, [SENDER] + ["ann@" + d for d in DOMAINS])
postfix.cert = net.ca.cert("mx.sender.test", *("mx." + d for d in DOMAINS
                                               if d != "misnamed.test"))
postfix.listen(GOOD4)
other = net.ca.cert("mx.other.test")
postfix.listen(OTHER4, smtpd_tls_chain_files="%s,%s" % other[::-1])
postfix.listen(CLEAR4, smtpd_tls_security_level="none")
postfix.start()

# ---- the list ---------------------------------------------------------------

LIST = os.path.join(net.dir, "policies.json")


def stamp(seconds):
    return (datetime.datetime.now(datetime.timezone.utc)
            + datetime.timedelta(seconds=seconds)).isoformat()


def write_list(policies, seconds=86400, aliases=(), text=None):
    body = {"version": "0.1", "author": "lab", "timestamp": stamp(-60),
            "expires": stamp(seconds), "policy-aliases": dict(aliases),
            "policies": policies}
    with open(LIST + ".new", "w") as f:
        f.write(text if text is not None else json.dumps(body))
    os.chmod(LIST + ".new", 0o644)
    os.rename(LIST + ".new", LIST)


def enforce(*mx):
    return {"mode": "enforce", "mxs": list(mx)}


ALIASES = {"provider": enforce(".alias.test")}
POLICIES = {
    "listed.test": enforce("mx.listed.test"),
    "clear.test": enforce(".clear.test"),
    "alias.test": {"policy-alias": "provider"},
    "testing.test": {"mode": "testing", "mxs": ["mx.testing.test"]},
    "wrongmx.test": enforce("mx.other.test"),
    "misnamed.test": enforce("mx.misnamed.test"),
    "both.test": enforce("mx.both.test"),
}
write_list(POLICIES, aliases=ALIASES)
daemon = lab_daemon.Daemon(
    net, lab_daemon.program(), retry={"first": "10m", "max": "10m"},
    **{"mta-sts": {"fetch-timeout": "5s", "allow-private-addresses": True,
                   "lists": [LIST]}})
daemon.start()
check = lab_check.Check(daemon, SENDER)
t = tap.Tap(on_fail=daemon.explain)


def mail(name, compare=True):
    to = "ann@" + name
    seen = len(daemon.deliveries(to=to))
    daemon.mail(SENDER, to)
    line = net.wait("a result for " + to,
                    lambda: daemon.deliveries(to=to)[seen:], 15)[0]
    if compare:
        check.same(name, line)
    return line


def sent(name, tls, compare=True):
    before = len(postfix.mailbox("ann@" + name))
    line = mail(name, compare)
    tap.equal((line["status"], line["tls"]), ("sent", tls), line["_line"])
    postfix.expect("ann@" + name, before + 1)
    return line


def held(name, result):
    before = len(postfix.mailbox("ann@" + name))
    line = mail(name)
    tap.equal((line["status"], line.get("result_type")),
              ("deferred", result), line["_line"])
    tap.equal(len(postfix.mailbox("ann@" + name)), before, "messages")


def policies(*command):
    return daemon.queue_json("policies", *command)


def show(name):
    found = policies("show", name)
    tap.equal(len(found), 1, "entries of " + name)
    return found[0]


@t.test("nothing is known at first")
def _():
    tap.equal([x for x in policies("list") if x.get("id")], [], "policies")
    tap.true(daemon.queue("policies", "show", "own.test").returncode != 0,
             "show of an unknown domain succeeds")


@t.test("what was fetched is listed, and what could not be")
def _():
    sent("own.test", "sts")
    sent("second.test", "sts")
    sent("bad.test", "encrypted")
    sent("plain.test", "none")
    found = {x["domain"]: x for x in policies("list")}
    tap.equal((found["own.test"]["mode"], found["own.test"]["id"]),
              ("enforce", "1"), "own.test")
    tap.true("second.test" in found and "plain.test" not in found,
             "domains: %r" % sorted(found))
    tap.equal(found["bad.test"]["result_type"], "sts-policy-fetch-error",
              "bad.test")


@t.test("show: the text as it was fetched, its times, the last error")
def _():
    known = show("own.test")
    tap.equal(known["text"], policy("enforce", "mx.own.test"), "text")
    tap.equal(known["mx"], ["mx.own.test"], "mx")
    age = known["expires"] - known["fetched"]
    tap.true(86395 <= age <= 86405, "life of %r s" % age)
    tap.match("404", show("bad.test")["error"], "last error")


@t.test("without --json it is to be read by people")
def _():
    text = daemon.queue("policies", "list").stdout.decode()
    tap.match(r"own\.test.*enforce", text, "list")
    text = daemon.queue("policies", "show", "own.test").stdout.decode()
    tap.match(r"mx: mx\.own\.test", text, "show")


@t.test("refresh: fetched now, whatever the id says")
def _():
    web.policy("own.test", policy("testing", "mx.own.test"))
    before = len(web.fetches("own.test"))
    done = daemon.queue("policies", "refresh", "own.test")
    tap.equal(done.returncode, 0, "exit, %r" % done.stderr)
    net.wait("the new mode is listed",
             lambda: show("own.test")["mode"] == "testing", 10)
    tap.equal(len(web.fetches("own.test")), before + 1, "fetches")


@t.test("refresh of a domain that has lost its policy keeps the old one")
def _():
    web.policy("second.test", None)
    daemon.queue("policies", "refresh", "second.test")
    net.wait("the failure is listed",
             lambda: show("second.test").get("error"), 10)
    tap.equal(show("second.test")["mode"], "enforce", "mode")
    sent("second.test", "sts")


@t.test("forget: nothing is known, until mail comes")
def _():
    web.policy("second.test", policy("enforce", "mx.second.test"))
    done = daemon.queue("policies", "forget", "second.test")
    tap.equal(done.returncode, 0, "exit, %r" % done.stderr)
    tap.true("second.test" not in {x["domain"] for x in policies("list")},
             "it is still listed")
    before = len(web.fetches("second.test"))
    sent("second.test", "sts", False)	# check fetches, too
    tap.equal(len(web.fetches("second.test")), before + 1, "fetches")


@t.test("a list protects the domains that are on it")
def _():
    sent("listed.test", "sts")
    held("clear.test", "starttls-not-supported")
    held("alias.test", "starttls-not-supported")
    held("wrongmx.test", "validation-failure")
    held("misnamed.test", "certificate-host-mismatch")


@t.test("... not those that are not, or that it only tests")
def _():
    sent("plain.test", "none")
    sent("testing.test", "none")


@t.test("a domain's own policy counts instead of the list's")
def _():
    sent("both.test", "none")


def refused(before):
    """The line of the log that speaks of the list."""
    return net.wait("a line about the list", lambda: [
        x for x in daemon.log()[before:].splitlines()
        if LIST in x and (" warn " in x or " error " in x)], 10)


def reloaded():
    before = len(daemon.log())
    old = daemon.pids("worker")
    daemon.reload()
    net.wait("new workers", lambda: daemon.pids("worker") and not set(
        daemon.pids("worker")) & set(old), 20)
    net.wait("smtpd-out takes mail", daemon.takes_mail)
    return before


@t.test("a malformed list is refused at a reload, the last good one stays")
def _():
    for text in ('{"version": "0.1", "policies": {', '[]', '{}',
                 '{"version": "0.1", "expires": "soon", "policies": {}}'):
        write_list(None, text=text)
        refused(reloaded())
        held("clear.test", "starttls-not-supported")


@t.test("... also after a restart")
def _():
    daemon.stop()
    daemon.start()
    held("clear.test", "starttls-not-supported")
    held("alias.test", "starttls-not-supported")


@t.test("a list that has expired is refused likewise")
def _():
    write_list({"late.test": enforce("mx.late.test")}, seconds=-5)
    refused(reloaded())
    sent("late.test", "none")
    held("clear.test", "starttls-not-supported")


@t.test("a new good list replaces the old one, until it expires")
def _():
    ends = time.monotonic() + 6
    write_list({"short.test": enforce("mx.short.test")}, seconds=6)
    reloaded()
    held("short.test", "starttls-not-supported")
    tap.true(time.monotonic() < ends, "the lab is too slow for this test")
    sent("clear.test", "none")		# no longer on it
    time.sleep(max(0, ends - time.monotonic()) + 0.5)
    sent("short.test", "none")


@t.test("no process has died, and it stops in order")
def _():
    daemon.ends_well()


t.run()
