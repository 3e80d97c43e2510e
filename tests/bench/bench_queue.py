#!/usr/bin/python3
"""A queue of very many messages: what the parent and the operator feel.

    bench_queue.py BUILDDIR [MESSAGES [DESTINATIONS]]

Fills a spool, starts the daemon on it with every destination paused (so that
only the queue is measured), and prints one line for each thing that must not
depend on the queue's size."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

build = os.path.abspath(sys.argv[1])
messages = int(sys.argv[2]) if len(sys.argv) > 2 else 1000000
destinations = int(sys.argv[3]) if len(sys.argv) > 3 else 20000
program = build + "/smtpd-out/smtpd-out"
base = tempfile.mkdtemp(prefix="bench-queue-", dir=os.environ.get("BENCH_DIR"))
CONF = """
hostname = "bench.test"
spool = "sqlite:%(base)s/spool"
control = "unix:%(base)s/control"
user = "%(user)s"
postmaster = "postmaster@bench.test"
workers = 1
sandbox = %(sandbox)s
listen "unix:%(base)s/submit" { }
resolver { servers = {"127.0.0.1:9"} dnssec = off }
"""


def say(name, value):
    print("%-44s %s" % (name, value), flush=True)


def timed(name, *command, quiet=True):
    start = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    say(name, "%.2f s" % (time.monotonic() - start))
    return done.stdout


def queue(name, *words):
    return timed(name, program, "queue", "-c", conf, *words)


def memory(pid):
    with open("/proc/%d/status" % pid) as status:
        found = dict(line.split(":", 1) for line in status)
    return "%.1f MB now, %.1f MB at most" % tuple(
        int(found[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM"))


def stats():
    done = subprocess.run([program, "queue", "-c", conf, "--json", "stats"],
                          stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def turn(name):
    found = stats()
    say("worst turn so far, " + name,
        "%.1f ms (%s), %d above 100 ms; processor %.1f ms (%s), %d" % (
            found["worst_turn_us"] / 1000, found["worst_turn_in"],
            found["slow_turns"], found["worst_turn_cpu_us"] / 1000,
            found["worst_turn_cpu_in"], found["slow_turns_cpu"]))


def wait_for_control(process):
    start = time.monotonic()
    while subprocess.run([program, "queue", "-c", conf, "stats"],
                         stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL).returncode != 0:
        if process.poll() is not None or time.monotonic() - start > 120:
            sys.exit("the daemon does not answer: see %s/log" % base)
        time.sleep(0.01)
    say("start, until the operator is answered", "%.2f s" %
        (time.monotonic() - start))


def size():
    return os.path.getsize(base + "/spool/queue.db")


conf = base + "/conf"
with open(conf, "w") as out:
    out.write(CONF % {"base": base, "user": subprocess.check_output(
        ["id", "-un"], text=True).strip(),
        "sandbox": os.environ.get("BENCH_SANDBOX", "yes")})
try:
    say("messages, destinations", "%d, %d" % (messages, destinations))
    timed("fill", build + "/tests/bench/fill_spool", base + "/spool",
          str(messages), str(destinations), "bench.test")
    say("spool on disk", "%.0f MB" % (size() / 1e6))
    with open(base + "/log", "w") as log:
        daemon = subprocess.Popen([program, "run", "-c", conf], stderr=log,
                                  stdout=log)
    wait_for_control(daemon)
    queue("pause of all", "pause", ".bench.test")
    time.sleep(8)
    turn("after the start")
    queue("stats", "stats")
    queue("stats of one destination", "stats", "--destination",
          "d7.bench.test")
    rows = queue("list", "--json", "list").count(b"\n")
    say("rows listed", rows)
    queue("list of one destination", "list", "--destination",
          "d7.bench.test")
    turn("after the lists")
    for word in ("hold", "release", "flush"):
        queue(word + " of all", word, "--destination", ".bench.test")
    turn("after actions on all")
    say("parent's memory", memory(daemon.pid))
    queue("remove of all", "remove", "--all")
    turn("after the removal")
    before = size()
    deadline = time.monotonic() + 300
    while size() > before / 20 + 20e6 and time.monotonic() < deadline:
        time.sleep(1)
    say("space given back after", "%.0f s: %.0f MB of %.0f MB left" % (
        time.monotonic() - deadline + 300, size() / 1e6, before / 1e6))
    turn("at the end")
    say("parent's memory", memory(daemon.pid))
    daemon.send_signal(signal.SIGTERM)
    daemon.wait(70)
finally:
    if "daemon" in globals() and daemon.poll() is None:
        daemon.kill()
    if "BENCH_KEEP" not in os.environ:
        shutil.rmtree(base)
