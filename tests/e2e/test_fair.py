#!/usr/bin/python3
"""Fairness between destinations; pause, resume, limits; what stats say."""

import threading

import common		# noqa: F401
import lab_check
import lab_peer
import lab_world
import tap
from lab_world import DEAD4, SENDER

SLOW4, QUICK4 = "198.51.100.30", "198.51.100.31"
world = lab_world.World(domains={
    "wait.test": ["@ MX 10 mx", "mx A " + DEAD4],
    "slow.test": ["* A " + SLOW4, "@ MX 10 mx", "mx A " + SLOW4],
    "quick.test": ["@ MX 10 mx", "mx A " + QUICK4]})
daemon = world.daemon(retry={"first": "1h", "max": "1h"},
                      timeout={"connect": "5s", "banner": "1m",
                               "command": "1m"},
                      limit={"active": 100})
t = tap.Tap(on_fail=world.explain)
go_on = threading.Event()


class Slow(lab_peer.Session):
    def on_ehlo(self, argument):
        go_on.wait(60)
        return super().on_ehlo(argument)


slow = lab_peer.Peer(world.net, SLOW4, Slow)
quick = lab_peer.Peer(world.net, QUICK4)


def stats():
    return daemon.queue_json("stats")[0]


def destination(name):
    row = daemon.queue_json("stats", "--destination", name)[0]
    return row["destinations"][0]


def flood(to, count):
    with daemon.smtp() as smtp:
        for number in range(count):
            smtp.sendmail(SENDER, [to], "Subject: %d\r\n\r\nx\r\n" % number)


def gone(queue_id):
    return not daemon.queue_json("show", queue_id)


@t.test("one destination with a thousand messages delays no other")
def _():
    flood("a@slow.test", 1000)
    queue_id = daemon.mail(SENDER, "b@quick.test")
    daemon.delivery(id=queue_id, status="sent", seconds=5)
    tap.true(0 < destination("slow.test")["active"] <= 25, "its share")


@t.test("sixty hosts that do not answer delay no other")
def _():
    for number in range(60):
        flood("a@h%d.slow.test" % number, 4)
    queue_id = daemon.mail(SENDER, "b@quick.test")
    daemon.delivery(id=queue_id, status="sent", seconds=5)
    tap.true(stats()["active"] >= 60, "all of them are out")


@t.test("when they answer, everything arrives")
def _():
    go_on.set()
    world.net.wait("the queue is empty", lambda: stats()["messages"] == 0, 60)
    tap.true(len(slow.messages()) == 1240, "each message once")


@t.test("pause keeps mail of a destination and those below one")
def _():
    for name in ("quick.test", ".slow.test"):
        tap.equal(daemon.queue("pause", name).returncode, 0, "exit")
    kept.append(daemon.mail(SENDER, "b@quick.test"))
    kept.append(daemon.mail(SENDER, "b@h1.slow.test"))
    free = daemon.mail(SENDER, "b@slow.test")
    daemon.delivery(id=free, status="sent", seconds=5)
    daemon.queue("flush")
    tap.equal([len(daemon.deliveries(id=i)) for i in kept], [0, 0], "tried")
    tap.true(destination("quick.test")["paused"], "stats say so")
    tap.match("paused", daemon.queue("list").stdout.decode(), "list")
    tap.match("paused +quick.test", daemon.queue("stats").stdout.decode(),
              "stats for people")


@t.test("a pause survives a restart; resume ends it")
def _():
    daemon.stop()
    daemon.start()
    daemon.queue("flush")
    tap.equal([len(daemon.deliveries(id=i)) for i in kept], [0, 0], "tried")
    daemon.queue("resume", "quick.test")
    daemon.delivery(id=kept[0], status="sent", seconds=5)
    tap.equal(len(daemon.deliveries(id=kept[1])), 0, "the other one")
    daemon.queue("resume", ".slow.test")
    daemon.delivery(id=kept[1], status="sent", seconds=5)


@t.test("limits are shown, survive a restart, and end")
def _():
    done = daemon.queue("limit", "quick.test", "connections=3", "rate=100/1m")
    tap.equal(done.returncode, 0, "exit")
    tap.equal(daemon.queue("limit", "host", "mx.quick.test",
                           "connections=7").returncode, 0, "exit, host")
    daemon.stop()
    daemon.start()
    rows = daemon.queue_json("limits")[0]["limits"]
    tap.equal(sorted(r["connections"] for r in rows), [3, 7], "rules")
    row = destination("quick.test")
    tap.equal((row["connections"], row["rate"]), (3, "100/60s"), "bounds")
    tap.match("rate 100/60s", daemon.queue("limits").stdout.decode(), "text")
    daemon.queue("limit", "quick.test", "connections=0", "rate=0")
    daemon.queue("limit", "host", "mx.quick.test", "connections=0")
    tap.equal(daemon.queue_json("limits")[0]["limits"], [], "no rules")
    for words in (["limit", "quick.test"], ["limit", "quick.test", "x=1"],
                  ["limit", "quick.test", "rate=5"], ["pause"],
                  ["limit", "quick.test", "connections=-1"],
                  ["pause", "a b"]):
        tap.equal(daemon.queue(*words).returncode, 64, " ".join(words))


@t.test("actions on very many: counted, and nothing is held up")
def _():
    daemon.queue("pause", "quick.test")
    flood("a@quick.test", 2000)
    for word in ("hold", "release", "flush"):
        done = daemon.queue(word, "--destination", "quick.test")
        tap.match("2000 deliveries", done.stdout.decode(), word)
    tap.equal(stats()["messages"], 2000, "queued")
    tap.equal(len(daemon.queue_list()), 2000, "listed")
    done = daemon.queue("remove", "--destination", ".test")
    tap.match("2000 deliveries", done.stdout.decode(), "remove")
    tap.equal(stats()["messages"], 0, "nothing is left")
    tap.true("worst_turn_us" in stats(), "the worst turn is told")


@t.test("check says of each domain what delivery did last")
def _():
    tap.true(lab_check.Check(daemon, "").same_all() >= 3, "domains")


kept = []
t.run()
