#!/usr/bin/python3
"""Figures of smtpd-out, run by hand: make tests/bench/sink, then

	SMTPD_OUT=... SINK=... tests/bench/bench.py [MESSAGES [QUEUED]]

Needs smtp-source and smtp-sink (in Debian's postfix package).  Prints
messages per second, CPU seconds per 1000, and memory; asserts nothing.
"""

import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "lib"))

import lab		# noqa: E402

lab.enter()

import lab_daemon	# noqa: E402
import lab_mta		# noqa: E402
import lab_ns		# noqa: E402

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
QUEUED = int(sys.argv[2]) if len(sys.argv) > 2 else 100000
SIZE = 5120
CLEAR4, TLS4 = "198.51.100.40", "198.51.100.41"
SINK = os.environ.get("SINK") or os.path.join(
    os.path.dirname(os.path.dirname(lab_daemon.program())), "tests", "bench",
    "sink")
TICK = os.sysconf("SC_CLK_TCK")

net = lab.Lab()
net.dns.domain("clear.test", ["@ MX 10 mx", "mx A " + CLEAR4])
net.dns.domain("tls.test", ["@ MX 10 mx", "mx A " + TLS4])
net.dns.domain("broken.test", None)
net.start()
for address in (CLEAR4, TLS4):
    lab_ns.add_address(address)
net.spawn(["smtp-sink", "-u", "mailbox", CLEAR4 + ":25", "1000"],
          name="smtp-sink", internet=True)
net.spawn([SINK, TLS4, "25", *net.ca.cert("mx.tls.test")], name="sink",
          internet=True)
net.wait("the sinks listen", lambda: lab_mta.accepts(CLEAR4)
         and lab_mta.accepts(TLS4))
names = iter(range(100))


def daemon(**settings):
    d = lab_daemon.Daemon(
        net, lab_daemon.program(), "bench%d" % next(names),
        **{"workers": os.cpu_count(), "log-level": "warn",
           "retry": {"first": "1d", "max": "1d", "expire": "5d"},
           "resolver": {"max-ttl": "1h"}, "timeout": {"idle": "5s"},
           **settings})
    d.start()
    return d


def cpu(d):
    """CPU seconds of the parent and its children."""
    total = 0
    for pid in [d.process.pid, *d.children()]:
        with open("/proc/%d/stat" % pid) as f:
            fields = f.read().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def memory(d):
    out = []
    for pid, role in [(d.process.pid, "parent"), *d.children().items()]:
        s = d.status(pid)
        out.append("%s %.1f (peak %.1f)" % (
            role, int(s["VmRSS"].split()[0]) / 1024,
            int(s["VmHWM"].split()[0]) / 1024))
    return "MB resident: " + ", ".join(out)


def source(d, sessions, count, domain, size=SIZE):
    subprocess.run(["smtp-source", "-s", str(sessions), "-m", str(count),
                    "-l", str(size), "-f", "a@sender.test", "-t",
                    "b@" + domain, "-M", "source.test", "-d",
                    "127.0.0.1:%d" % lab_daemon.PORT], check=True)


def timed(what, d, count, work):
    began, used = time.monotonic(), cpu(d)
    work()
    seconds, used = time.monotonic() - began, cpu(d) - used
    print("%-34s %8.0f messages/s   %6.2f CPU s per 1000" % (
        what, count / seconds, used / count * 1000))


def stats(d):
    return d.queue_json("stats")[-1]


def submit():
    for sessions in (1, 50):
        d = daemon()
        n = COUNT if sessions > 1 else COUNT // 5
        timed("submit, %d session(s)" % sessions, d, n,
              lambda: source(d, sessions, n, "broken.test"))
        print("    " + memory(d))
        d.stop()


def drain(name, domain):
    """Fills a queue that cannot move, then lets it go."""
    d = daemon(**{"smtp-port": 26})
    source(d, 50, COUNT, domain)
    net.wait("all were tried", lambda: stats(d)["deferred"] >= COUNT, 120,
             0.2)
    d.stop()
    d.configure(**{"smtp-port": 25})
    d.start()

    def work():
        d.queue("flush", "--all")
        net.wait("the queue is empty", lambda: stats(d)["messages"] == 0,
                 300, 0.05)

    timed("drain to a sink " + name, d, COUNT, work)
    print("    " + memory(d))
    d.stop()


def many():
    d = daemon()
    print("%-34s %s" % ("idle", memory(d)))
    timed("queue %d (1 KB)" % QUEUED, d, QUEUED,
          lambda: source(d, 50, QUEUED, "broken.test", 1024))
    print("    " + memory(d))
    net.wait("all were tried", lambda: stats(d)["deferred"] >= QUEUED, 600,
             1)
    d.stop()
    began = time.monotonic()
    d.start()
    print("start with %d queued: mail is taken after %.2f s" % (
        QUEUED, time.monotonic() - began))
    time.sleep(5)
    print("    " + memory(d))
    d.stop()


print("%d messages of %d octets, %d processors" % (COUNT, SIZE,
                                                   os.cpu_count()))
submit()
drain("in clear text (smtp-sink)", "clear.test")
drain("with STARTTLS", "tls.test")
many()
