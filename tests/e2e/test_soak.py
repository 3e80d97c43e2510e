#!/usr/bin/python3
"""Everything at once, at random, and then the books are balanced.

Mail is submitted, hosts fail in all their ways, the operator pauses, holds,
limits and reloads, the disk is full at times, and parent, workers and inject
are killed.  In the end all is well again, and then each recipient of each message that was acknowledged
has it or its sender has a bounce, and nothing is left.

SOAK_SEED makes another run; SOAK_SECONDS makes it longer.
"""

import collections
import json
import os
import pwd
import random
import re
import signal
import smtplib
import subprocess
import threading
import time

import common		# noqa: F401
import lab_mta
import lab_ns
import lab_world
import tap

SECONDS = int(os.environ.get("SOAK_SECONDS", "20"))
SEED = int(os.environ.get("SOAK_SEED", 1))
SUBMITTERS = 3
HOSTS = 5			# the last one is where notices go
SESSIONS = 4
RECIPIENTS = 4
ADDRESSES = ["198.51.100.%d" % (60 + n) for n in range(HOSTS)]
# Several domains share a host, and one has two.
DOMAINS = ["d%d.test" % n for n in range(8)]
BACK = "back.test"
LARGE = "x" * 70 + "\r\n"

world = lab_world.World(domains={
    BACK: ["@ MX 10 mx", "mx A " + ADDRESSES[-1]],
    **{d: ["@ MX 10 mx", "mx A " + ADDRESSES[n % (HOSTS - 1)],
           "@ MX 20 mx2", "mx2 A " + ADDRESSES[(n + n % 2) % (HOSTS - 1)]]
       for n, d in enumerate(DOMAINS)}})
net = world.net
books = os.path.join(net.dir, "books")
moods_file = os.path.join(net.dir, "moods")
for address in ADDRESSES:
    lab_ns.add_address(address)
net.spawn(["/usr/bin/python3", "-B", os.path.join(
    os.path.dirname(lab_mta.__file__), "lab_soak.py"), books, moods_file,
    str(SEED), *ADDRESSES], name="soak", internet=True)
net.wait("the hosts listen", lambda: all(map(lab_mta.accepts, ADDRESSES)))
SETTINGS = {"limit": {"destination-sessions": SESSIONS, "active": 200,
                      "free-space": "1M",
                      "sessions-per-client": 1000},
            "retry": {"first": "500ms", "max": "2s", "expire": "30s",
                      "delay-notice": "8s"},
            "timeout": {"connect": "1s", "command": "3s", "process": "2s"}}
daemon = world.daemon(start=False, **SETTINGS)
BALLAST = daemon.dir + "/spool/ballast"
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m,uid=%d,mode=700"
                % pwd.getpwnam("smtpd-out").pw_uid, "tmpfs",
                daemon.dir + "/spool"], check=True)
daemon.start()


def explain():
    """What was out of order; $SOAK_LOG gets all of the log."""
    log = daemon.log()
    if "SOAK_LOG" in os.environ:
        with open(os.environ["SOAK_LOG"], "w") as f:
            f.write(log)
    return "-- of the log of smtpd-out:\n" + "\n".join([
        x[:300] for x in log.splitlines()
        if re.search(r"\] (warn|error) ", x)][-25:])


t = tap.Tap(on_fail=explain)
rng = random.Random(SEED)
lock = threading.Lock()
owed = {}			# message: recipients, when acknowledged
attempted = {}			# message: recipients
running = threading.Event()
did = collections.Counter()
moods = {}


def set_mood(address, mood):
    moods[address] = mood
    with open(moods_file + ".new", "w") as f:
        json.dump(moods, f)
    os.rename(moods_file + ".new", moods_file)


# ---- submitters ----------------------------------------------------------

def submit_one(s, mine, name):
    rcpts = sorted({"%s%d@%s" % (
        "no" if mine.random() < 0.1 else "r", mine.randrange(3),
        mine.choice(DOMAINS)) for _ in range(mine.randint(1, RECIPIENTS))})
    size = mine.choice((1, 1, 1, 20, 200, 5000))
    body = "Message-ID: <%s>\r\nSubject: soak\r\n\r\n%s" % (
        name, LARGE * size)
    with lock:
        attempted[name] = rcpts
    s.sendmail("%s@%s" % (name, BACK), rcpts, body)
    with lock:
        owed[name] = rcpts


def submitter(number):
    mine, n = random.Random(SEED * 100 + number), 0
    while running.is_set():
        try:
            s = smtplib.SMTP("127.0.0.1", 10025, "x.test", timeout=10)
            for _ in range(mine.randint(1, 20)):
                n += 1
                submit_one(s, mine, "m%d-%d" % (number, n))
                time.sleep(mine.choice((0, 0, 0.02, 0.1)))
                if not running.is_set():
                    break
            s.quit()
        except (OSError, smtplib.SMTPException):
            time.sleep(0.05)


# ---- what goes wrong -----------------------------------------------------

def kill(role, how=signal.SIGKILL):
    pids = [daemon.process.pid] if role == "parent" else daemon.pids(role)
    if not pids:
        return
    try:
        os.kill(rng.choice(pids), how)
    except ProcessLookupError:
        return
    did[("kill " if how == signal.SIGKILL else "hang ") + role] += 1
    if role == "parent":
        daemon.process.wait()
        daemon.start(wait=False)


def change_mood():
    n = rng.randrange(HOSTS)
    # Where notices go nothing lasts until they expire, too.
    words = ["good", "flaky", "slow"] if n == HOSTS - 1 else [
        "good", "flaky", "flaky", "slow", "down", "shut"]
    set_mood(ADDRESSES[n], rng.choice(words))
    did["mood"] += 1


def reload():
    daemon.configure(workers=rng.randint(1, 3), limit={
        "active": rng.choice((1, 5, 40, 200)),
        "destination-sessions": rng.randint(1, SESSIONS)})
    if daemon.children():	# else it is no program of ours yet
        daemon.reload()
        did["reload"] += 1


def fill():
    """Little or nothing is left of the disk."""
    least = rng.choice((1 << 20, 1 << 16, 1 << 12))
    with open(BALLAST, "ab", buffering=0) as f:
        for block in (1 << 20, 1 << 16, 1 << 12):
            try:
                while block >= least:
                    f.write(b"x" * block)
            except OSError:
                pass
    did["fill"] += 1


def unfill():
    if os.path.exists(BALLAST):
        os.unlink(BALLAST)


def come_back():
    """On a full disk it may say that it cannot start, and end."""
    if not os.path.exists(BALLAST) or daemon.process.returncode != 74:
        tap.fail("the parent ended with %d" % daemon.process.returncode)
    unfill()
    daemon.start(wait=False)
    did["refused to start"] += 1


def wake():
    """Who hangs would stop late, at the end and at a reload."""
    for pid in daemon.children():
        subprocess.run(["kill", "-CONT", str(pid)], capture_output=True,
                       timeout=5)


def stop():
    wake()
    return daemon.stop(70)


def stop_and_start():
    # By the signal itself: it had not even begun.
    if stop() not in (0, -signal.SIGTERM):
        come_back()
    else:
        daemon.start(wait=False)
    did["stop"] += 1


def operate():
    # All of .test only where notices do not suffer.
    name, more = rng.choice(DOMAINS), rng.choice(DOMAINS + [".test"])
    words = rng.choice([
        ("pause", name), ("resume", name), ("resume", more), ("flush",),
        ("hold", "--destination", name), ("release", "--destination", more),
        ("release", "--all"), ("flush", "--destination", more),
        ("limit", name, "connections=%d" % rng.randint(0, 2)),
        ("limit", name, "rate=%s" % rng.choice(("0", "50/1s", "1/1s"))),
        ("limit", "host", "mx." + name.strip("."), "connections=%d"
         % rng.randint(0, 2)), ("stats",), ("list",)])
    daemon.queue(*words)
    did[words[0]] += 1


def hang():
    kill(rng.choice(("worker", "inject")), signal.SIGSTOP)


ACTS = ([lambda: kill("worker")] * 4 + [lambda: kill("inject")] * 2
        + [lambda: kill("parent")] * 3 + [change_mood] * 8 + [reload] * 2
        + [hang] + [stop_and_start] + [operate] * 12 + [fill] + [unfill] * 4)


@t.test("seed %d: %d s of trouble" % (SEED, SECONDS))
def _():
    running.set()
    threads = [threading.Thread(target=submitter, args=(n,))
               for n in range(SUBMITTERS)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + SECONDS
    try:
        while time.monotonic() < end:
            time.sleep(rng.uniform(0, 0.3))
            if daemon.process.poll() is not None:
                come_back()
            rng.choice(ACTS)()
    finally:
        running.clear()
        for thread in threads:
            thread.join()
    t.diag("%s" % dict(sorted(did.items())))
    t.diag("%d submitted, %d acknowledged" % (len(attempted), len(owed)))
    tap.true(len(owed) > 50, "there was a load")


def stats():
    return daemon.queue_json("stats")[0]


def left():
    s = stats()
    return [s[k] for k in ("messages", "deliveries", "recipients", "held",
                           "bytes", "active", "due")]


@t.test("when all is well again, the queue drains")
def _():
    unfill()
    if daemon.process.poll() is not None:
        daemon.start()
    for address in ADDRESSES:
        set_mood(address, "good")
    wake()
    net.wait("mail is taken", daemon.takes_mail, 30)
    daemon.configure(workers=2, limit=SETTINGS["limit"])
    daemon.reload()
    for rule in daemon.queue_json("limits")[0]["limits"]:
        if rule["host_rule"]:
            daemon.queue("limit", "host", rule["host"], "connections=0")
            continue
        daemon.queue("resume", rule["destination"])
        daemon.queue("limit", rule["destination"], "connections=0",
                     "rate=0")
    daemon.queue("release", "--all")
    net.wait("the queue is empty", lambda: not any(left()), 45, 0.5)


def balance():
    """{"took": {(message, recipient): times}, ...}."""
    out = {k: collections.Counter() for k in ("took", "maybe", "bounced")}
    with open(books) as f:
        for line in f:
            word, one, rcpt = line.split()
            if word != "bounced" and rcpt.endswith("@" + BACK):
                continue
            out[word][one.partition("@")[0], rcpt] += 1
    return out


@t.test("each recipient has the message, or its sender a bounce")
def _():
    b = balance()
    # Where they go it is not always calm, too: what expires there is said.
    dropped = {e["to"].partition("@")[0]
               for e in daemon.events("notice-dropped")}
    lost = [(m, r) for m, rcpts in owed.items() for r in rcpts
            if (m, r) not in b["took"] and (m, r) not in b["bounced"]
            and m not in dropped]
    wrong = [(m, r) for m, rcpts in owed.items() for r in rcpts
             if r.startswith("no") and (m, r) not in b["bounced"]
             and m not in dropped]
    t.diag("%d delivered, %d bounced, notices of %d dropped" % (
        len(b["took"]), len(b["bounced"]), len(dropped)))
    tap.equal(lost[:5], [], "lost, of %d" % len(lost))
    tap.equal(wrong[:5], [], "refused and not told")


@t.test("nothing that nobody sent; twice only what was in flight")
def _():
    b = balance()
    known = {(m, r) for m, rcpts in attempted.items() for r in rcpts}
    for word, seen in b.items():
        tap.equal(sorted(set(seen) - known)[:5], [], "unknown, " + word)
    kills = did["kill parent"] + did["kill worker"] + did["hang worker"]
    extra = sum(b["took"].values()) - len(b["took"])
    bound = kills * HOSTS * SESSIONS * 2 * RECIPIENTS
    t.diag("%d duplicates; bound %d" % (extra, bound))
    tap.true(extra <= bound, "%d duplicates" % extra)
    both = [k for k in b["bounced"] if k in b["took"]]
    t.diag("%d delivered and bounced" % len(both))
    tap.true(len(both) <= bound, "delivered and bounced: %r" % both[:5])


@t.test("nobody but us killed anybody, and the counts were right")
def _():
    died = len(daemon.events("child-died"))
    tap.true(died <= sum(n for k, n in did.items()
                         if k.startswith(("kill", "hang"))),
             "%d children died" % died)
    for event in ("queue-counts", "result-not-stored", "queue-walk",
                  "unreadable-message"):
        tap.equal([e["_line"] for e in daemon.events(event)][:3], [], event)
    tap.equal([x for x in daemon.log().splitlines() if re.search(
        "Sanitizer|runtime error|Assertion", x)][:3], [], "log")
    worst = stats()
    t.diag("worst turn %d ms in %s, of the processor %d ms in %s" % (
        worst["worst_turn_us"] // 1000, worst["worst_turn_in"],
        worst["worst_turn_cpu_us"] // 1000, worst["worst_turn_cpu_in"]))


@t.test("the spool is sound and empty")
def _():
    tap.equal(stop(), 0, "exit status")
    files = os.listdir(daemon.dir + "/spool/body")
    tap.equal(files[:5], [], "bodies")


t.run()
