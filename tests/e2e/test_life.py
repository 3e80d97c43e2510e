#!/usr/bin/python3
"""The life of the processes: start, reload, stop, sandbox, death of one."""

import os
import re
import signal
import subprocess
import time

import common		# noqa: F401
import lab_check
import lab_ns
import lab_peer
import lab_world
import tap
from lab_world import SENDER

SLOW4, PEER4 = "198.51.100.30", "198.51.100.31"
world = lab_world.World(domains={
    "slow.test": ["@ MX 10 mx", "mx A " + SLOW4],
    "peer.test": ["@ MX 10 mx", "mx A " + PEER4]})
net = world.net
daemon = world.daemon()
t = tap.Tap(on_fail=world.explain)
lab_check.Check(daemon, "").follow(t)
peer = lab_peer.Peer(net, PEER4)


class Slow(lab_peer.Session):
    delay = 2

    def on_message(self, text):
        time.sleep(self.delay)
        super().on_message(text)


slow = lab_peer.Peer(net, SLOW4, Slow)


def faulty(text, *command):
    path = os.path.join(net.dir, "faulty.conf")
    with open(path, "w") as f:
        f.write(text)
    done = subprocess.run([daemon.program, "run", *command, "-c", path],
                          capture_output=True, timeout=20)
    return done.returncode, done.stderr.decode(), path


GOOD = open(daemon.config).read()

for name, text, line, word in (
        ("unknown key", "# one\nhostnme = \"x.test\"\n", 2, "hostnme"),
        ("unknown section", "\n\nretri { first = \"1s\" }\n", 3, "retri"),
        ("unknown key in a section", "retry {\n\tfrist = \"1s\"\n}\n", 2,
         "frist"),
        ("bad duration", "retry {\n\tfirst = \"soon\"\n}\n", 2, "first"),
        ("bad number", "hostname = \"a.test\"\nworkers = many\n", 2,
         "workers"),
        ("bad address", "resolver {\n servers = {\"nowhere\"}\n}\n", 2,
         "servers"),
        ("bad network", "listen \"127.0.0.1:25\" {\n allow = "
         "{\"127.0.0.0/99\"}\n}\n", 2, "allow"),
        ("missing brace", "retry {\n first = \"1s\"\n", None, ""),
        ("no text at all but rubbish", "\0\1\2 {{{{\n", None, "")):
    @t.test("configuration: %s: exit 78, line and key" % name)
    def _(text=text, line=line, word=word):
        code, said, path = faulty(text)
        tap.equal(code, 78, "exit; it said %r" % said)
        tap.match(re.escape(path), said, "file name")
        if line:
            tap.match(r"faulty\.conf:%d: " % line, said, "line")
        tap.true(word in said, "%r in %r" % (word, said))


@t.test("--check-config says nothing about a good file and exits 0")
def _():
    code, said, _ = faulty(GOOD, "--check-config")
    tap.equal((code, said), (0, ""), "exit and words")
    tap.equal(faulty("x = y\n", "--check-config")[0], 78, "exit of a bad")


@t.test("the sample configuration is a good one")
def _():
    with open(os.path.join(lab_ns.TOP, "etc", "smtpd-out.conf")) as f:
        sample = f.read()
    code, said, _ = faulty(sample, "--check-config")
    tap.equal((code, said), (0, ""), "exit and words")


@t.test("a configuration file that is not there: exit 78")
def _():
    done = subprocess.run([daemon.program, "run", "-c", "/nonexistent"],
                          capture_output=True, timeout=20)
    tap.equal(done.returncode, 78, "exit")
    tap.match("/nonexistent", done.stderr.decode(), "it says which")


@t.test("a second daemon on the same spool is refused")
def _():
    done = subprocess.run([daemon.program, "run", "-c", daemon.config],
                          capture_output=True, timeout=20)
    tap.true(done.returncode != 0, "exit")
    tap.equal(daemon.delivery(id=daemon.mail(SENDER, "a@peer.test"))[
        "status"], "sent", "the first goes on")


@t.test("parent, inject and two workers, all unprivileged")
def _():
    roles = sorted(daemon.children().values())
    tap.equal(roles, ["inject", "worker", "worker"], "children")
    for pid in [daemon.process.pid, *daemon.children()]:
        status = daemon.status(pid)
        tap.true("0" not in status["Uid"].split(), "uid %s"
                 % status["Uid"])
        tap.true("0" not in status["Gid"].split(), "gid")
        tap.equal(int(status["CapEff"], 16), 0, "capabilities")


@t.test("the sandbox is on in every role")
def _():
    for pid in [daemon.process.pid, *daemon.children()]:
        status = daemon.status(pid)
        role = daemon.children().get(pid, "parent")
        tap.equal((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"),
                  "NoNewPrivs and Seccomp of " + role)


@t.test("no role holds descriptors that it does not need")
def _():
    for pid, role in daemon.children().items():
        links = [os.readlink("/proc/%d/fd/%s" % (pid, n))
                 for n in os.listdir("/proc/%d/fd" % pid)]
        tap.true(not [x for x in links if "/spool/" in x],
                 "%s has %r" % (role, links))


@t.test("idle workers are small")
def _():
    for pid, role in daemon.children().items():
        kb = int(daemon.status(pid)["VmRSS"].split()[0])
        t.diag("%s: %d kB resident" % (role, kb))
        tap.true(kb < 20 * 1024, "%s under 20 MB" % role)


for role in ("worker", "inject"):
    @t.test("kill -9 of each %s: nothing is lost, the service goes on" % role)
    def _(role=role):
        peer.forget()
        sent = []
        for pid in daemon.pids(role):
            sent += [daemon.mail(SENDER, "k@slow.test", "%s%d" % (role, n))
                     for n in range(3)]
            time.sleep(0.5)
            os.kill(pid, signal.SIGKILL)
            net.wait("a new %s" % role, lambda: pid not in daemon.pids(role)
                     and len(daemon.pids(role)) >= (2 if role == "worker"
                                                    else 1))
            net.wait("mail is taken", daemon.takes_mail)
            sent.append(daemon.mail(SENDER, "n@peer.test", "after"))
        for queue_id in sent:
            daemon.delivery(40, id=queue_id, status="sent")
            daemon.settled(queue_id)


@t.test("a process that hangs is ended; its mail goes all the same")
def _():
    daemon.configure(timeout={"process": "1s"})
    daemon.stop()
    daemon.start()
    for role in ("worker", "inject"):
        hanging = daemon.pids(role)
        net.wait("they are up", lambda: all(
            daemon.events("child-up", pid=str(pid)) for pid in hanging))
        for pid in hanging:
            os.kill(pid, signal.SIGSTOP)
        queue_id = (daemon.mail(SENDER, "n@peer.test", "hang")
                    if role == "worker" else None)
        net.wait("they are gone", lambda: not set(hanging)
                 & set(daemon.pids(role)), 10)
        tap.true(daemon.events("child-died", reason="does not answer"),
                 "it is said why")
        net.wait("mail is taken", daemon.takes_mail)
        if queue_id is None:
            queue_id = daemon.mail(SENDER, "n@peer.test", "hang")
        daemon.delivery(id=queue_id, status="sent")
    died = len(daemon.events("child-died"))
    time.sleep(3)
    tap.equal(len(daemon.events("child-died")), died, "idle ones answer")
    daemon.configure(timeout={"process": "2m"})
    daemon.stop()
    daemon.start()


@t.test("the parent dies while its children hang: it starts again")
def _():
    children = daemon.children()
    for pid in children:
        os.kill(pid, signal.SIGSTOP)
    daemon.process.kill()
    daemon.process.wait()
    net.wait("they are gone, too", lambda: not any(
        os.path.exists("/proc/%d" % p) for p in children), 5)
    daemon.start()
    queue_id = daemon.mail(SENDER, "n@peer.test", "after")
    daemon.delivery(id=queue_id, status="sent")


@t.test("SIGHUP reloads: a new size limit is announced")
def _():
    daemon.configure(limit={"message-size": "123456"})
    daemon.reload()
    net.wait("the new limit", lambda: daemon.smtp().esmtp_features.get(
        "size") == "123456")
    tap.equal(daemon.delivery(id=daemon.mail(SENDER, "a@peer.test"))[
        "status"], "sent", "mail flows")


@t.test("SIGHUP with a bad file: the old one stays, and it is said")
def _():
    good = open(daemon.config).read()
    with open(daemon.config, "w") as f:
        f.write("hostnme = \"x\"\n")
    daemon.reload()
    net.wait("a log line about it", lambda: [
        e for e in daemon.events() if "hostnme" in e["_line"]])
    tap.equal(daemon.delivery(id=daemon.mail(SENDER, "a@peer.test"))[
        "status"], "sent", "mail flows")
    with open(daemon.config, "w") as f:
        f.write(good)


@t.test("SIGTERM finishes what waits for the final reply, then stops")
def _():
    slow.forget()
    queue_id = daemon.mail(SENDER, "a@slow.test", "stop")
    net.wait("it is being sent", lambda: slow.sessions and
             "DATA" in slow.sessions[-1].verbs)
    time.sleep(0.3)
    started = time.monotonic()
    tap.equal(daemon.stop(), 0, "exit status")
    tap.true(time.monotonic() - started < 10, "in bounded time")
    tap.equal(daemon.deliveries(id=queue_id)[-1]["status"], "sent", "status")
    tap.equal(len(slow.messages()), 1, "messages")


@t.test("SIGTERM with a server that never ends: stops within its bound")
def _():
    Slow.delay = 60
    daemon.start()
    queue_id = daemon.mail(SENDER, "b@slow.test", "never")
    net.wait("it is being sent", lambda: slow.sessions and
             "DATA" in slow.sessions[-1].verbs)
    started = time.monotonic()
    tap.equal(daemon.stop(45), 0, "exit status")
    t.diag("stopped after %.1f s" % (time.monotonic() - started))
    Slow.delay = 0
    daemon.start()
    daemon.delivery(30, id=queue_id, status="sent")


@t.test("what is queued survives a restart")
def _():
    daemon.queue("flush")
    class Later(lab_peer.Session):
        def on_mail(self, argument):
            self.reply("451 4.3.0 later")

    peer.session = Later
    queue_id = daemon.mail(SENDER, "r@peer.test", "survives")
    daemon.delivery(id=queue_id, status="deferred")
    daemon.stop()
    peer.session = lab_peer.Session
    daemon.start()
    daemon.delivery(30, id=queue_id, status="sent")


t.run()
