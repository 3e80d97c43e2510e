#!/usr/bin/python3
"""smtpd-out queue policies, and the operator's policy lists: what is shown,
forgotten, refused and kept over a restart."""

import json
import os
import re
import sqlite3
import time

import common		# noqa: F401
import lab_ns
import lab_world
import tap

TEXT = ("version: STSv1\r\nmode: enforce\r\nmx: mx.a.test\r\n"
        "mx: *.b.test\r\nmax_age: 86400\r\n")
NOW = int(time.time())
world = lab_world.World()
net = world.net
daemon = world.daemon(start=False)
LIST = os.path.join(daemon.dir, "list.json")
daemon.configure(**{"mta-sts": {"lists": [LIST]}})
t = tap.Tap(on_fail=world.explain)


def write_list(policies, **more):
    with open(LIST, "w") as f:
        json.dump({"version": "0.1", "timestamp": NOW, "author": "Tester",
                   "expires": NOW + 3600, "policies": policies, **more}, f)


def store(*rows):
    """Rows as the daemon writes them: domain, id, fetched, expires, used,
    tried, next try, failures, failure, error, text."""
    path = os.path.join(daemon.dir, "spool", "queue.db")
    owner = os.stat(path)
    with sqlite3.connect(path) as db:
        db.executemany("INSERT INTO sts_policy (domain, policy_id, fetched_s,"
                       " expires_s, used_s, tried_s, next_try_s, failures,"
                       " failure, error, text) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
                       rows)
    db.close()
    for end in ("", "-wal", "-shm"):
        if os.path.exists(path + end):
            os.chown(path + end, owner.st_uid, owner.st_gid)


def show(domain):
    return daemon.queue_json("policies", "show", domain)[0]


def restart():
    tap.equal(daemon.stop(), 0, "stops in order")
    daemon.start()


@t.test("nothing is known at first; a missing list is said")
def _():
    daemon.start()
    tap.equal(daemon.queue_json("policies"), [], "no rows")
    tap.match("No policy", daemon.queue("policies").stdout.decode(), "text")
    said = daemon.events("sts-list")
    tap.equal(said[-1]["used"], "no list of this file", "log")
    tap.equal(daemon.queue("policies", "show", "a.test").returncode, 69,
              "exit status of show")


@t.test("list and show: what was fetched, and what failed")
def _():
    tap.equal(daemon.stop(), 0, "stops in order")
    store(("a.test", "id7", NOW - 60, NOW + 86340, NOW - 50, 0, 0, 0, 0, "",
           TEXT.encode()),
          ("failed.test", "", 0, 0, NOW, NOW, NOW + 300, 2, 5,
           "no certificate", None),
          ("gone.test", "old", NOW - 99, NOW - 1, NOW, NOW, NOW + 300, 1, 5,
           "timeout", TEXT.encode()),
          ("odd.test", "x", NOW, NOW + 99, NOW, 0, 0, 0, 0, "",
           b"version: STSv1\xff\x1b[2J\n\0"))
    daemon.start()
    rows = {x["domain"]: x for x in daemon.queue_json("policies", "list")}
    tap.equal(sorted(rows), ["a.test", "failed.test", "gone.test",
                             "odd.test"], "domains")
    tap.equal(rows["a.test"]["mode"], "enforce", "mode")
    tap.equal(rows["a.test"]["mx"], ["mx.a.test", "*.b.test"], "mx")
    tap.equal((rows["failed.test"]["failures"],
               rows["failed.test"]["error"]), (2, "no certificate"),
              "failures")
    tap.true("id" not in rows["gone.test"], "expired is not in force")
    tap.true("invalid" in rows["odd.test"], "not a policy")
    one = show("A.test")
    tap.equal((one["id"], one["text"], one["expires"]),
              ("id7", TEXT, NOW + 86340), "show")
    text = daemon.queue("policies", "show", "a.test").stdout.decode()
    for word in ("enforce", "id7", "*.b.test", "version: STSv1"):
        tap.true(word in text, word + " in " + text)
    odd = daemon.queue("policies", "show", "odd.test").stdout
    tap.true(b"\x1b" not in odd and b"\xff" not in odd, "printable")
    text = daemon.queue("policies", "list").stdout.decode()
    tap.match("failed.test .*no certificate", text, "list for people")


@t.test("forget: gone, also after a restart")
def _():
    done = daemon.queue("policies", "forget", "odd.test")
    tap.equal(done.returncode, 0, "exit")
    tap.equal(daemon.queue("policies", "forget", "odd.test").returncode, 69,
              "nothing there")
    restart()
    tap.true("odd.test" not in [x["domain"] for x in
                                daemon.queue_json("policies")], "gone")


@t.test("nonsense is refused, by the command and by the daemon")
def _():
    for words in (["show"], ["show", "a..test"], ["show", "a", "b"],
                  ["refresh", "[192.0.2.1]"], ["drop", "a.test"]):
        done = daemon.queue("policies", *words)
        tap.equal(done.returncode, 64, str(words))
    import socket
    for domain in ("", "a..test", "[192.0.2.1]", 7, None):
        for cmd in ("show", "refresh", "forget"):
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(5)
                s.connect(daemon.dir + "/control")
                s.sendall(json.dumps({"cmd": "policies-" + cmd, "domain":
                                      domain}).encode() + b"\n")
                tap.match("not a domain", s.recv(1000).decode(), cmd)
    tap.equal(daemon.events("child-died"), [], "no child ended")


@t.test("a list is read at a reload, and shown")
def _():
    write_list({"l.test": {"mode": "enforce", "mxs": ["mx.l.test",
                                                      ".big.test"]}})
    daemon.reload()
    net.wait("the list is read", lambda: any(
        e.get("author") == "Tester" for e in daemon.events("sts-list")))
    net.wait("the daemon is back", daemon.takes_mail)
    tap.equal(show("l.test")["lists"], [{
        "file": LIST, "mode": "enforce", "mx": ["mx.l.test", ".big.test"],
        "expires": NOW + 3600}], "lists")
    tap.match("list +" + LIST, daemon.queue(
        "policies", "show", "l.test").stdout.decode(), "for people")


@t.test("a bad list is refused with a line; the last good one stays")
def _():
    for bad, word in (("{", "line 1"), ('{"version": "0.1"}', "expires")):
        with open(LIST, "w") as f:
            f.write(bad)
        checked = daemon.run("run", "-c", daemon.config, "--check-config")
        tap.equal(checked.returncode, 78, "--check-config")
        tap.match(LIST + ": .*" + word, checked.stderr.decode(), "its word")
        seen = len(daemon.events("sts-list"))
        daemon.reload()
        net.wait("a line", lambda: any(
            "until" in e.get("used", "")
            for e in daemon.events("sts-list")[seen:]))
        net.wait("the daemon is back", daemon.takes_mail)
        tap.equal(show("l.test")["lists"][0]["mode"], "enforce", "kept")
        restart()
        tap.equal(show("l.test")["lists"][0]["mode"], "enforce",
                  "kept over a restart")


@t.test("with a bad list the systemd unit starts all the same")
def _():
    with open(os.path.join(lab_ns.TOP, "etc", "smtpd-out.service.in")) as f:
        commands = re.findall(r"(?m)^Exec\w+=@bindir@/smtpd-out (.*)$",
                              f.read())
    tap.equal(commands[-1:], ["run"], "what it runs")
    for command in commands[:-1]:
        done = daemon.run(*command.split(), "-c", daemon.config)
        tap.equal(done.returncode, 0, command)


@t.test("a stale list is refused; a new one replaces the old")
def _():
    write_list({"l.test": {"mode": "testing", "mxs": ["x.l.test"]}},
               expires=NOW - 1)
    restart()
    tap.equal(show("l.test")["lists"][0]["mode"], "enforce", "kept")
    write_list({"l.test": {"mode": "testing", "mxs": ["x.l.test"]}},
               timestamp=NOW - 9)
    restart()
    tap.equal(show("l.test")["lists"][0]["mode"], "enforce", "not older")
    write_list({"l.test": {"policy-alias": "one"}}, **{"policy-aliases": {
        "one": {"mode": "testing", "mxs": ["x.l.test"]}}})
    checked = daemon.run("run", "-c", daemon.config, "--check-config")
    tap.equal(checked.returncode, 0, "--check-config")
    restart()
    tap.equal(show("l.test")["lists"][0]["mode"], "testing", "the new one")


t.run()
