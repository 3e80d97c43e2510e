#!/usr/bin/python3
"""kill -9 of parent, worker and inject at random, under load.

Every message that was acknowledged arrives; what arrives twice was in flight
when something was killed.
"""

import collections
import os
import random
import re
import signal
import smtplib
import threading
import time

import common		# noqa: F401
import lab_check
import lab_mta
import lab_ns
import lab_world
import tap
from lab_world import SENDER

KILLS = int(os.environ.get("CRASH_KILLS", "36"))
SUBMITTERS = 6
DOMAINS = 4
SESSIONS = 5			# per destination
ADDRESSES = ["198.51.100.%d" % (40 + n) for n in range(DOMAINS)]
DELAY_MS = 10

world = lab_world.World(domains={
    "sink%d.test" % n: ["@ MX 10 mx", "mx A " + a]
    for n, a in enumerate(ADDRESSES)})
net = world.net
arrived_file = os.path.join(net.dir, "arrived")
for address in ADDRESSES:
    lab_ns.add_address(address)
net.spawn(["/usr/bin/python3", "-B", os.path.join(
    os.path.dirname(lab_mta.__file__), "lab_sink.py"), arrived_file,
    str(DELAY_MS), *ADDRESSES], name="sink", internet=True)
net.wait("the sink listens", lambda: all(map(lab_mta.accepts, ADDRESSES)))
daemon = world.daemon(limit={"destination-sessions": SESSIONS,
                             "sessions-per-client": 1000},
                      retry={"first": "1s", "max": "1s"})
t = tap.Tap(on_fail=world.explain)
lab_check.Check(daemon, "").follow(t)
rng = random.Random(int(os.environ.get("CRASH_SEED", time.time_ns())))
lock = threading.Lock()
acknowledged, attempted = set(), set()
running = threading.Event()
killed = collections.Counter()


def submit_one(s, number, n):
    name = "%d-%d-%d@sender.test" % (number, n, time.monotonic_ns())
    domain = "sink%d.test" % (n % DOMAINS)
    with lock:
        attempted.add(name)
    lines = (1, 10, 300) if n % 20 else (30000, 100000)	# in files
    body = "Message-ID: <%s>\r\nSubject: crash\r\n\r\n%s" % (
        name, "0123456789abcdef\r\n" * rng.choice(lines))
    s.sendmail(SENDER, ["a@" + domain], body)
    with lock:
        acknowledged.add(name)


def submitter(number):
    n = 0
    while running.is_set():
        try:
            s = smtplib.SMTP("127.0.0.1", 10025, "x.test", timeout=10)
            for _ in range(20):
                n += 1
                submit_one(s, number, n)
                if not running.is_set():
                    break
            s.quit()
        except (OSError, smtplib.SMTPException):
            time.sleep(0.05)


def kill_one():
    """Kills a process of ours at random; a parent is started again."""
    children = daemon.children()
    role = rng.choice(["parent", "worker", "inject", "worker"])
    pids = [daemon.process.pid] if role == "parent" else [
        p for p, r in children.items() if r == role]
    if not pids:
        return
    pid = rng.choice(pids)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    killed[role] += 1
    if role == "parent":
        daemon.process.wait()
        daemon.start(wait=False)


def arrivals():
    with open(arrived_file) as f:
        return collections.Counter(f.read().split())


@t.test("%d times kill -9 under load" % KILLS)
def _():
    running.set()
    threads = [threading.Thread(target=submitter, args=(n,))
               for n in range(SUBMITTERS)]
    for thread in threads:
        thread.start()
    try:
        while sum(killed.values()) < KILLS:
            time.sleep(rng.uniform(0.05, 0.8))
            if daemon.process.poll() is not None:
                tap.fail("the parent ended with %d"
                         % daemon.process.returncode)
            kill_one()
        time.sleep(1)
    finally:
        running.clear()
        for thread in threads:
            thread.join()
    t.diag("killed: %s; %d submitted, %d acknowledged" % (
        dict(killed), len(attempted), len(acknowledged)))
    tap.true(len(acknowledged) > 100, "there was a load")
    tap.true(all(killed[r] for r in ("parent", "worker", "inject")),
             "each role was killed")


@t.test("the service is up and the queue drains")
def _():
    net.wait("mail is taken", daemon.takes_mail, 30)
    net.wait("the queue is empty", lambda: not daemon.queue_ids(), 60, 0.5)


@t.test("every acknowledged message has arrived")
def _():
    lost = acknowledged - set(arrivals())
    tap.equal(len(lost), 0, "lost messages, such as %s" % sorted(lost)[:5])


@t.test("nothing arrived that nobody sent")
def _():
    tap.equal(sorted(set(arrivals()) - attempted)[:5], [], "unknown")


@t.test("duplicates were in flight when something was killed")
def _():
    twice = {k: n for k, n in arrivals().items() if n > 1}
    extra = sum(twice.values()) - len(twice)
    bound = (killed["parent"] + killed["worker"]) * DOMAINS * SESSIONS
    t.diag("%d duplicates; bound %d (kills of parent and workers, times "
           "connections)" % (extra, bound))
    tap.true(extra <= bound, "%d duplicates, at most %d" % (extra, bound))


@t.test("the database is sound and nothing is left in the spool")
def _():
    tap.equal(daemon.stop(), 0, "exit status")
    spool = daemon.dir + "/spool"
    left = [f for d, _, files in os.walk(spool) for f in files
            if not re.search(r"\.db|sqlite|lock|reserve", f)]
    daemon.start()
    tap.true(len(left) < 3, "files: %r" % left[:20])


t.run()
