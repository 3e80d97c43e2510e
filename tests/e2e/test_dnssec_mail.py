#!/usr/bin/python3
"""What DNSSEC means for mail: the state of the resolver in the log and in
check, mail that waits for a resolver that is gone, lies or is mended."""

import json
import signal

import common		# noqa: F401
import lab_check
import lab_peer
import lab_world
import tap
from lab_world import SENDER

PEER4 = "198.51.100.30"
world = lab_world.World(domains={
    "peer.test": ["@ MX 10 mx", "mx A " + PEER4],
    "gone.test": ["@ MX 10 mx", "mx A " + PEER4],
    "late.test": ["@ MX 10 mx", "mx A " + PEER4],
    "bad.test": ["@ MX 10 mx", "mx A " + PEER4],
})
net = world.net
net.dns.domain("plain.test", ["@ MX 10 mx", "mx A " + PEER4], signed=False)
RETRY = {"first": "1s", "max": "2s"}
FAST = {"timeout": "300ms", "tries": 1, "lookup-timeout": "2s"}
daemon = world.daemon(retry=RETRY, resolver=FAST)
peer = lab_peer.Peer(net, PEER4)
unbound = net.dns.servers["unbound"]
t = tap.Tap(on_fail=world.explain)
lab_check.Check(daemon, "").follow(t)


def check(name, kind, config=None):
    done = daemon.run("check", "-c", config or daemon.config, "--json",
                      "--dns", name, kind)
    return done.returncode, json.loads(done.stdout)


@t.test("the log says that DNSSEC works, each worker once")
def _():
    net.wait("the probe is over", lambda: daemon.events("resolver"))
    states = {e["state"] for e in daemon.events("resolver")}
    tap.equal(states, {"validating"}, "states in the log")


@t.test("check --dns shows a secure answer and its chain")
def _():
    code, said = check("peer.test", "MX")
    tap.equal(code, 0, "exit")
    tap.equal(said["resolver"]["state"], "validating", "state")
    tap.equal(said["security"], "secure", "security")
    tap.equal(said["records"], ["10 mx.peer.test."], "records")
    tap.equal([z["name"] for z in said["zones"]], [".", "test", "peer.test"],
              "zones")
    tap.true(all(z["status"].startswith("secure") for z in said["zones"]),
             "all are secure")


@t.test("check --dns tells an insecure answer and a missing name")
def _():
    code, said = check("nothere.test", "A")
    tap.equal((code, said["result"]), (0, "nxdomain"), "a missing name")
    done = daemon.run("check", "-c", daemon.config, "--dns", "peer.test",
                      "NONSENSE")
    tap.equal(done.returncode, 65, "exit for a type that is none")


@t.test("mail waits while the resolver is silent, then goes")
def _():
    unbound.send_signal(signal.SIGSTOP)
    try:
        queue_id = daemon.mail(SENDER, "ann@gone.test")
        line = daemon.delivery(to="ann@gone.test", status="deferred")
        tap.equal(line["stage"], "dns", "stage=")
        tap.match(r"^4\.", line["dsn"], "dsn=")
        code, said = check("gone.test", "MX")
        tap.equal(code, 75, "exit of check")
        tap.equal(said["resolver"]["state"], "unreachable", "state")
    finally:
        unbound.send_signal(signal.SIGCONT)
    daemon.delivery(to="ann@gone.test", status="sent")
    daemon.settled(queue_id)


@t.test("a resolver that is killed and replaced costs no mail")
def _():
    unbound.kill()
    unbound.wait()
    queue_id = daemon.mail(SENDER, "bob@late.test")
    daemon.delivery(to="bob@late.test", status="deferred")
    net.dns.servers["unbound"] = net.spawn(
        ["unbound", "-d", "-c", net.dns.dir + "/unbound.conf"],
        name="unbound", internet=True)
    daemon.delivery(to="bob@late.test", status="sent")
    daemon.settled(queue_id)


@t.test("another trust anchor: said in the log, and mail waits")
def _():
    anchor = net.dir + "/other.key"
    with open(anchor, "w") as f:
        f.write(". IN DS 1 13 2 " + "00" * 32 + "\n")
    daemon.stop()		# they use one port
    other = world.daemon(retry=RETRY, resolver={**FAST,
                                                "trust-anchor": anchor})
    try:
        net.wait("the state is in the log", lambda: other.events(
            "resolver", state="anchor"))
        queue_id = other.mail(SENDER, "ann@bad.test")
        line = other.delivery(to="ann@bad.test", status="deferred")
        tap.equal(line["stage"], "dns", "stage=")
        # Mended by the operator and a reload.
        other.configure(resolver={"trust-anchor": net.dns.anchor})
        other.reload()
        other.delivery(to="ann@bad.test", status="sent")
        other.settled(queue_id)
    finally:
        other.stop()


@t.test("an unreadable trust anchor stops the start with exit 78")
def _():
    other = world.daemon(start=False,
                         resolver={"trust-anchor": "/nonexistent"})
    done = other.run("run", "-c", other.config)
    tap.equal(done.returncode, 78, "exit")
    tap.match(r"trust anchor /nonexistent: No such file",
              done.stderr.decode(), "sentence")


@t.test("check says of each domain what delivery did last")
def _():
    tap.true(lab_check.Check(daemon, "").same_all() >= 2, "domains")


t.run()
