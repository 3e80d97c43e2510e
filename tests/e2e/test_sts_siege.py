#!/usr/bin/python3
"""MTA-STS under siege: somebody who owns domains, their policy hosts and a way
to have us write to them wants mail to others to go unprotected, or to be
forgotten; and an operator who replaces a list without a word."""

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
from lab_sts import policy, records

MX4, CLEAR4, SENDER = "198.51.100.10", "198.51.100.11", "alice@sender.test"
WEB4, SLOW4 = "198.51.100.80", "198.51.100.81"

net = lab.Lab()
web = lab_sts.PolicyHost(net, WEB4)
SLOW = ["slow%d.test" % i for i in range(8)]
MANY = ["many%d.test" % i for i in range(12)]
GOOD = ["good.test", "late.test", "elder.test"]
for _name in SLOW:
    net.dns.domain(_name, ["@ MX 10 mx", "mx A " + MX4, *records(SLOW4)],
                   signed=False)
for _name in GOOD + MANY:
    net.dns.domain(_name, ["@ MX 10 mx", "mx A " + MX4, *records(WEB4)],
                   signed=False)
    web.serve(_name, policy("enforce", "mx." + _name))
LISTED = ["listed.test", "listed2.test"]
for _name in LISTED:
    net.dns.domain(_name, ["@ MX 10 mx", "mx A " + CLEAR4], signed=False)
net.dns.domain("sender.test", ["@ MX 10 mx", "mx A " + MX4], signed=False)
net.start()
web.start()
slow = lab_sts.OddHost(net, SLOW4, {n: lambda sock: time.sleep(9)
                                    for n in SLOW})
everyone = [*SLOW, *GOOD, *MANY, *LISTED]
postfix = lab_mta.Postfix(net, [SENDER] + ["ann@" + d for d in everyone])
postfix.cert = net.ca.cert("mx.sender.test", *(
    "mx." + d for d in SLOW + GOOD + MANY))
postfix.listen(MX4)
postfix.listen(CLEAR4, smtpd_tls_security_level="none")
postfix.start()

LIST = os.path.join(net.dir, "policies.json")


def write_list(seconds):
    now = datetime.datetime.now(datetime.timezone.utc)
    with open(LIST + ".new", "w") as f:
        json.dump({"version": "0.1", "timestamp": now.isoformat(),
                   "expires": (now + datetime.timedelta(
                       seconds=seconds)).isoformat(),
                   "policies": {n: {"mode": "enforce", "mxs": ["mx." + n]}
                                for n in LISTED}}, f)
    os.chmod(LIST + ".new", 0o644)
    os.rename(LIST + ".new", LIST)


def new_daemon(name, port, **sts):
    base = "%s/%s" % (net.dir, name)
    return lab_daemon.Daemon(
        net, lab_daemon.program(), name, workers=1,
        listen={"unix:%s/submit" % base: {}, "127.0.0.1:%d" % port: {}},
        retry={"first": "10m", "max": "10m"}, timeout={"idle": "10ms"},
        **{"mta-sts": {"fetch-timeout": "10s",
                       "allow-private-addresses": True, **sts}})


daemon = new_daemon("daemon", lab_daemon.PORT, **{
    "max-fetches": 2, "cache-size": 4})
narrow = new_daemon("narrow", lab_daemon.PORT + 1, **{"max-fetches": 1})
daemon.start()
t = tap.Tap(on_fail=daemon.explain)
lab_check.Check(daemon, "").follow(t)


def submit(name, d):
    to = "ann@" + name
    done = d.run("submit", "-c", d.config, "-f", SENDER, to,
                 stdin=b"Subject: s\n\nsecret\n")
    tap.equal(done.returncode, 0, "exit, %r" % done.stderr)


def result(name, d, seconds=20, seen=0):
    to = "ann@" + name
    return net.wait("a result for " + to,
                    lambda: d.deliveries(to=to)[seen:], seconds)[0]


def mail(name, d):
    seen = len(d.deliveries(to="ann@" + name))
    submit(name, d)
    return result(name, d, seen=seen)


def verified(line):
    tap.equal((line["status"], line["tls"]), ("sent", "sts"), line["_line"])


@t.test("hosts that do not answer hold all places: another gets its turn")
def _():
    for name in SLOW[:4]:
        submit(name, daemon)
    net.wait("they are asked", lambda: len(slow.seen) >= 2, 10)
    submit("good.test", daemon)
    verified(result("good.test", daemon))
    tap.equal([d.deliveries(to="ann@" + n) for d in (daemon,)
               for n in SLOW[2:4]], [[], []], "they are still asked")


@t.test("where it may get none in time its mail waits, or is protected")
def _():
    narrow.start()
    slow.seen.clear()
    for name in SLOW[:6]:
        submit(name, narrow)
    net.wait("one is asked", lambda: slow.seen, 10)
    submit("late.test", narrow)
    # The others end just before its own time is up.
    line = result("late.test", narrow)
    tap.true(line["tls"] == "sts" or (line["status"], line["dsn"][:4]) ==
             ("deferred", "4.7."), line["_line"])
    for name in SLOW[:6]:
        result(name, narrow, 30)
    time.sleep(5.2)		# so long nobody asks again
    verified(mail("late.test", narrow))
    narrow.ends_well()


@t.test("many domains with policies do not push out one known before")
def _():
    for name in SLOW[:4]:
        result(name, daemon)
    verified(mail("elder.test", daemon))
    time.sleep(1.2)		# until it is stored
    for name in MANY:
        verified(mail(name, daemon))
    known = net.wait("the cache is as large as it may be", lambda: [
        x["domain"] for x in daemon.queue_json("policies", "list")]
        if len(daemon.queue_json("policies", "list")) == 4 else None, 20)
    tap.true({"good.test", "elder.test"} & set(known), "known: %r" % known)
    tap.true("sts-cache-full" in daemon.log(), "no line in the log")


@t.test("check says of each domain what delivery did last")
def _():
    tap.true(lab_check.Check(daemon, SENDER).same_all() > 1, "domains")


def by_list(name, status, result):
    line = mail(name, listed)
    tap.equal((line["status"], line["result_type"]), (status, result),
              line["_line"])


listed = new_daemon("listed", lab_daemon.PORT + 2, lists=[LIST])


@t.test("a list that replaces one which expires needs no reload")
def _():
    tap.equal(daemon.stop(), 0, "exit")
    write_list(8)
    ends = time.monotonic() + 8
    listed.start()
    by_list("listed.test", "deferred", "starttls-not-supported")
    tap.true(time.monotonic() < ends, "the lab is too slow for this test")
    write_list(14)
    late = time.monotonic() + 14
    time.sleep(max(0, ends - time.monotonic()) + 1)
    by_list("listed.test", "deferred", "starttls-not-supported")
    tap.true(time.monotonic() < late, "the lab is too slow for this test")
    time.sleep(max(0, late - time.monotonic()) + 1)


@t.test("... nor does one that comes when the old one has long expired")
def _():
    by_list("listed.test", "sent", "-")
    write_list(3600)
    by_list("listed2.test", "deferred", "starttls-not-supported")
    listed.ends_well()


t.run()
