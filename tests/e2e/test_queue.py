#!/usr/bin/python3
"""smtpd-out queue: what an operator does with mail that waits."""

import json

import common		# noqa: F401
import lab_check
import lab_peer
import lab_world
import tap
from lab_world import DEAD4, SENDER, TLS4

PEER4 = "198.51.100.30"
world = lab_world.World(domains={
    "wait.test": ["@ MX 10 mx", "mx A " + DEAD4],
    "waitb.test": ["@ MX 10 mx", "mx A " + DEAD4],
    "waitc.test": ["@ MX 10 mx", "mx A " + DEAD4],
    "peer.test": ["@ MX 10 mx", "mx A " + PEER4]})
daemon = world.daemon(retry={"first": "1h", "max": "1h"},
                      timeout={"connect": "300ms"})
t = tap.Tap(on_fail=world.explain)
lab_check.Check(daemon, "").follow(t)


# Mail that comes while its destination is down waits without an attempt, so
# that each test has a destination of its own.
def waiting(to="a@wait.test", sender=SENDER):
    queue_id = daemon.mail(sender, to, "wait")
    daemon.delivery(id=queue_id, to=to, status="deferred")
    return queue_id


def ids():
    return set(daemon.queue_ids())


first = []


@t.test("list shows what waits, for people and as JSON")
def _():
    first.append(waiting())
    text = daemon.queue("list").stdout.decode()
    tap.true(first[0] in text and "a@wait.test" in text + "a@wait.test",
             "the id is listed")
    tap.true(SENDER in text, "the sender is listed")
    entries = daemon.queue_list()
    tap.equal([str(e["id"]) for e in entries], first, "ids")
    tap.match(SENDER, json.dumps(entries[0]), "the sender")


@t.test("show tells the recipients, their state and the last reply")
def _():
    text = daemon.queue("show", first[0]).stdout.decode()
    tap.match("a@wait.test", text, "recipient")
    entry = json.dumps(daemon.queue_json("show", first[0]))
    for word in ("a@wait.test", "wait.test", SENDER):
        tap.true(word in entry, word + " in " + entry)


@t.test("cat prints the message")
def _():
    done = daemon.queue("cat", first[0])
    tap.equal(done.returncode, 0, "exit")
    tap.match(b"Subject: wait".decode(), done.stdout.decode(), "text")


@t.test("an id that is not there: an exit status and a word")
def _():
    for command in ("show", "cat", "hold", "release", "remove"):
        done = daemon.queue(command, "999999999")
        tap.true(done.returncode != 0 and done.stderr, command)
        tap.true(daemon.queue(command, "../../etc").returncode != 0,
                 command + " with nonsense")


@t.test("flush tries at once")
def _():
    before = len(daemon.deliveries(id=first[0]))
    tap.equal(daemon.queue("flush", first[0]).returncode, 0, "exit")
    world.net.wait("another attempt", lambda: len(
        daemon.deliveries(id=first[0])) > before)


@t.test("hold keeps it back, release lets it go")
def _():
    queue_id = waiting("b@waitb.test")
    tap.equal(daemon.queue("hold", queue_id).returncode, 0, "exit of hold")
    before = len(daemon.deliveries(id=queue_id))
    daemon.queue("flush")
    world.net.wait("the other one is tried", lambda: len(
        daemon.deliveries(id=first[0])) > 2)
    tap.equal(len(daemon.deliveries(id=queue_id)), before, "attempts")
    tap.match("(?i)held|hold", daemon.queue("list").stdout.decode(), "list")
    tap.equal(daemon.queue("release", queue_id).returncode, 0, "release")
    daemon.queue("flush", queue_id)
    world.net.wait("it is tried again", lambda: len(
        daemon.deliveries(id=queue_id)) > before)


@t.test("remove takes it out, without a notice")
def _():
    queue_id = waiting("c@waitc.test")
    tap.equal(daemon.queue("remove", queue_id).returncode, 0, "exit")
    tap.true(queue_id not in ids(), "gone")
    tap.equal(world.notices("c@waitc.test"), [], "notices")


@t.test("stats count")
def _():
    stats = daemon.queue_json("stats")
    tap.match(r"[1-9]", json.dumps(stats), "numbers")
    tap.equal(daemon.queue("stats").returncode, 0, "exit")


@t.test("a mended host and flush empty the queue")
def _():
    lab_peer.Peer(world.net, DEAD4)
    tap.equal(daemon.queue("flush").returncode, 0, "exit")
    world.net.wait("the queue is empty", lambda: not ids())


@t.test("an empty queue is said to be so")
def _():
    done = daemon.queue("list")
    tap.equal(done.returncode, 0, "exit")
    tap.equal(daemon.queue_list(), [], "list")


@t.test("no daemon: exit 75 and a word")
def _():
    daemon.stop()
    done = daemon.queue("list")
    tap.equal(done.returncode, 75, "exit")
    tap.true(done.stderr, "it says why")


t.run()
