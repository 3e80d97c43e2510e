#!/usr/bin/python3
"""remember-tls: a host that had STARTTLS and then does not offer it.

Judged by what the server saw: under "require" no MAIL may reach it in the
clear, whatever happens in between."""

import os
import signal

import common		# noqa: F401
import lab_check
import lab_peer
import lab_world
import tap

HOST4, OTHER4 = "198.51.100.30", "198.51.100.31"
HOST = "mx.mem.test"

world = lab_world.World(domains={
    "mem.test": ["@ MX 10 mx", "mx A " + HOST4],
    "two.test": ["@ MX 10 mx.mem.test.", "@ MX 20 mx", "mx A " + OTHER4],
    "also.test": ["@ MX 10 mx.mem.test."],
    "rule.test": ["@ MX 10 mx.mem.test."],
})
net = world.net


class Tls(lab_peer.Session):
    tls = lab_peer.tls_context(net.ca.cert("mx.mem.test"))


class Stripped(lab_peer.Session):
    """No STARTTLS among the extensions, as behind a box that removes it."""


class Refuses(Tls):
    def on_starttls(self, argument):
        self.reply("454 4.7.0 TLS not available")


host = lab_peer.Peer(net, HOST4, Tls)
other = lab_peer.Peer(net, OTHER4, Stripped)
daemon = world.daemon(**{"remember-tls": "require", "text":
                         'destination "rule.test" '
                         '{ tls = may override = yes }\n'})
t = tap.Tap(on_fail=world.explain)
# also.test waits, and is tried again while the host changes; it is compared
# below.
lab_check.Check(daemon, "").follow(t, but=("also.test",))


def remembered():
    return {x["host"]: x["tls"] for x in daemon.queue_json("tls", "list")}


def wait_remembered(want, name=HOST):
    net.wait("%s is remembered as %s" % (name, want),
             lambda: remembered().get(name) == want, 10)


def in_clear():
    """MAIL commands without TLS, at the remembered host."""
    return [s for s in host.sessions
            if "MAIL" in s.verbs and not s.tls_active]


def mail(to, **want):
    number = len(daemon.deliveries(to=to))
    daemon.mail(lab_world.SENDER, to)
    return net.wait("a result for " + to,
                    lambda: daemon.deliveries(to=to)[number:], 20)[0]


@t.test("nothing is known of a host at first")
def _():
    tap.equal(remembered(), {}, "remembered hosts")
    tap.true(b"No host" in daemon.queue("tls").stdout, "says so")


@t.test("a session with TLS is remembered, in one commit")
def _():
    line = mail("ann@mem.test")
    tap.equal((line["status"], line["tls"], line["why"]),
              ("sent", "encrypted", "default"), "delivery")
    wait_remembered("encrypted")
    last = daemon.queue_json("tls")[0]["last"]
    before = daemon.queue_json("stats")[0]["commits"]
    for i in range(5):
        mail("ann%d@mem.test" % i)
    after = daemon.queue_json("stats")[0]["commits"]
    tap.true(after - before <= 15, "%d commits" % (after - before))
    tap.equal(daemon.queue_json("tls")[0]["last"], last, "date")


@t.test("stripped: deferred, nothing arrives, and the log says why")
def _():
    host.session = Stripped
    host.forget()
    line = mail("bob@mem.test")
    tap.equal((line["status"], line["why"], line["tls"]),
              ("deferred", "remembered", "none"), "delivery")
    tap.equal(line["result_type"], "starttls-not-supported", "result type")
    down = daemon.events("tls-downgrade", host=HOST)
    tap.equal(len(down), 1, "warnings")
    tap.equal((down[0]["had"], down[0]["has"], down[0]["action"]),
              ("encrypted", "none", "refused"), "warning")
    tap.match(r"^20\d\d-\d\d-\d\dT", down[0]["since"], "since")
    tap.equal((in_clear(), host.messages()), ([], []), "what it saw")


@t.test("the same host under another domain, and another host of that")
def _():
    line = mail("bob@also.test")
    tap.equal((line["status"], line["why"]), ("deferred", "remembered"),
              "one host")
    line = mail("bob@two.test")
    tap.equal((line["status"], line["mx"]), ("sent", "mx.two.test"),
              "the next host, unknown, takes it")
    tap.equal(in_clear(), [], "what it saw")


@t.test("check knows what is remembered")
def _():
    check = lab_check.Check(daemon, lab_world.SENDER)
    tap.equal(check.same_all(("mem.test", "also.test", "two.test")), 3,
              "domains")


@t.test("454 to STARTTLS: no clear text either")
def _():
    host.session = Refuses
    host.forget()
    line = mail("carl@mem.test")
    tap.equal((line["status"], line["why"]), ("deferred", "remembered"),
              "delivery")
    tap.equal((in_clear(), host.messages()), ([], []), "what it saw")


@t.test("a rule that may override does")
def _():
    host.session = Stripped
    line = mail("dora@rule.test")
    tap.equal((line["status"], line["why"], line["tls"]),
              ("sent", "override", "none"), "delivery")


@t.test("a killed worker and a restart forget nothing")
def _():
    host.forget()
    for pid in daemon.pids("worker"):
        os.kill(pid, signal.SIGKILL)
    net.wait("the workers are back",
             lambda: len(daemon.pids("worker")) == 2, 20)
    tap.equal(mail("emil@mem.test")["why"], "remembered", "after a crash")
    daemon.kill()
    daemon.start()
    tap.equal(remembered(), {HOST: "encrypted"}, "remembered hosts")
    line = mail("fred@mem.test")
    tap.equal((line["status"], line["why"]), ("deferred", "remembered"),
              "after a restart")
    tap.equal((in_clear(), host.messages()), ([], []), "what it saw")


@t.test("warn: delivered in the clear, with the warning")
def _():
    daemon.stop()
    daemon.configure(**{"remember-tls": "warn"})
    daemon.start()
    before = len(daemon.events("tls-downgrade", action="continued"))
    line = mail("gina@mem.test")
    tap.equal((line["status"], line["tls"], line["why"]),
              ("sent", "none", "default"), "delivery")
    down = daemon.events("tls-downgrade", action="continued")[before:]
    tap.equal([(d["had"], d["has"]) for d in down],
              [("encrypted", "none")], "warnings")
    tap.equal(remembered(), {HOST: "encrypted"}, "still remembered")


@t.test("off: neither warned nor learned")
def _():
    daemon.stop()
    daemon.configure(**{"remember-tls": "off"})
    daemon.start()
    before = len(daemon.events("tls-downgrade"))
    tap.equal(mail("hugo@mem.test")["tls"], "none", "delivery")
    tap.equal(mail("ann@good.test")["tls"], "encrypted", "delivery")
    tap.equal(len(daemon.events("tls-downgrade")), before, "warnings")
    tap.equal(remembered(), {HOST: "encrypted"}, "remembered hosts")


@t.test("forget lets it go, at once and for all workers")
def _():
    daemon.stop()
    daemon.configure(**{"remember-tls": "require"})
    daemon.start()
    host.forget()
    tap.equal(mail("ida@mem.test")["status"], "deferred", "before")
    tap.true(daemon.queue("tls", "forget", "x.test").returncode != 0,
             "a host that is not known")
    tap.equal(daemon.queue("tls", "forget", "MX.mem.test.").returncode, 0,
              "forget")
    tap.equal(remembered().get(HOST), None, "remembered")
    daemon.delivery(to="ida@mem.test", status="sent", tls="none")
    line = mail("jan@mem.test")
    tap.equal((line["status"], line["tls"], line["why"]),
              ("sent", "none", "default"), "delivery")


@t.test("and it is learned again")
def _():
    host.session = Tls
    tap.equal(mail("kay@mem.test")["tls"], "encrypted", "delivery")
    wait_remembered("encrypted")


t.run()
