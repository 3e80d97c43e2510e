#!/usr/bin/python3
"""Figures of accepting and draining, on loopback in a network namespace of its
own.  Run by hand, as root, from anywhere:

    make tests/bench/sink && tests/bench/bench_mail.py [-b BUILDDIR]
        [-n MESSAGES] [-q QUEUED] [-r RUNS]

Prints, as medians of RUNS: messages/s and CPU seconds per 1000 messages (all
processes of the daemon) for submitting with 1 and 50 sessions and for draining
to one sink in clear text and with STARTTLS, resident memory of each process,
and start with many messages queued.  Nothing is asserted: machines differ.
"""

import argparse
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

SIZE = 5120
TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
CONF = """
hostname = "bench.test"
spool = "sqlite:{dir}/spool"
control = "unix:{dir}/run/control"
user = "nobody"
resolver {{ servers = {{"127.0.0.1:1"}} dnssec = off }}
listen "unix:{dir}/run/submit" {{ }}
listen "127.0.0.1:10025" {{ }}
destination "sink.test" {{ relay = "[127.0.0.1]:2525" }}
retry {{ first = "1h" max = "1h" }}
"""


class Daemon:
    def __init__(self, program, base):
        self.program, self.dir = program, base
        self.conf = os.path.join(base, "conf")
        with open(self.conf, "w") as f:
            f.write(CONF.format(dir=base))

    def start(self):
        self.log = open(os.path.join(self.dir, "log"), "a")
        began = time.monotonic()
        self.process = subprocess.Popen(
            [self.program, "run", "-c", self.conf], stderr=self.log)
        while True:
            try:
                with socket.create_connection(("127.0.0.1", 10025), 1) as s:
                    if s.recv(100).startswith(b"220"):
                        return time.monotonic() - began
            except OSError:
                time.sleep(0.005)

    def pids(self):
        out = subprocess.run(["pgrep", "-P", str(self.process.pid)],
                             capture_output=True, text=True).stdout.split()
        return [self.process.pid] + [int(p) for p in out]

    def cpu(self):
        total = 0
        for pid in self.pids():
            with open("/proc/%d/stat" % pid) as f:
                fields = f.read().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")

    def memory(self):
        for pid in self.pids():
            with open("/proc/%d/cmdline" % pid) as f:
                name = " ".join(f.read().split("\0")[1:4])
            with open("/proc/%d/status" % pid) as f:
                rss = [x.split()[1] for x in f if x.startswith(
                    ("VmHWM", "VmRSS"))]
            yield name, int(rss[1]) // 1024, int(rss[0]) // 1024

    def stats(self, key):
        out = subprocess.run([self.program, "queue", "-c", self.conf,
                              "stats"], capture_output=True, text=True).stdout
        return next(int(x.split()[1]) for x in out.splitlines()
                    if x.startswith(key + " "))

    def queue(self, *words):
        subprocess.run([self.program, "queue", "-c", self.conf, *words],
                       check=True, stdout=subprocess.DEVNULL)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(90)


BODY = (b"Subject: bench\r\n\r\n" + (b"x" * 78 + b"\r\n") * 64)[:SIZE - 2] \
    + b"\r\n"


def session(count):
    """One submitter that pipelines nothing across messages, as most do."""
    with socket.create_connection(("127.0.0.1", 10025)) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        f = s.makefile("rb")
        f.readline()
        s.sendall(b"EHLO x\r\n")
        while f.readline()[3:4] == b"-":
            pass
        for _ in range(count):
            s.sendall(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@sink.test>\r\n"
                      b"DATA\r\n")
            for _ in range(3):
                f.readline()
            s.sendall(BODY + b".\r\n")
            if not f.readline().startswith(b"250"):
                raise RuntimeError("refused")


def submit(sessions, count):
    """By processes: one interpreter could not keep up."""
    pids = []
    share = min(sessions, 4)
    began = time.monotonic()
    for n in range(share):
        mine = sessions // share + (n < sessions % share)
        pid = os.fork()
        if pid == 0:
            threads = [threading.Thread(target=session,
                                        args=(count // sessions,))
                       for _ in range(mine)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    return time.monotonic() - began


def drain(daemon, argv, count):
    sink = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    time.sleep(0.3)
    cpu, sent = daemon.cpu(), daemon.stats("sent")
    began = time.monotonic()
    daemon.queue("flush")
    while daemon.stats("sent") - sent < count:
        time.sleep(0.02)
    seconds = time.monotonic() - began
    cpu = daemon.cpu() - cpu
    sink.terminate()
    return seconds, cpu, sink.communicate()[0].strip()


def show(name, count, runs):
    print("%-28s %8.0f msg/s  %6.3f CPU s per 1000   (%s)" % (
        name, count / statistics.median(r[0] for r in runs),
        statistics.median(r[1] for r in runs) / count * 1000,
        " ".join("%.0f" % (count / r[0]) for r in runs)), flush=True)


def certificate(base):
    cert, key = base + "/cert.pem", base + "/key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=sink", "-keyout", key, "-out", cert],
                   check=True, capture_output=True)
    return cert, key


def measure(options, base):
    daemon = Daemon(options.build + "/smtpd-out/smtpd-out", base)
    sink = [options.build + "/tests/bench/sink", "127.0.0.1", "2525"]
    tls = sink + list(certificate(base))
    n = options.messages - options.messages % 50
    daemon.start()
    runs = {"submit, 1 session": [], "submit, 50 sessions": [],
            "drain, clear text": [], "drain, STARTTLS": []}
    for _ in range(options.runs):
        for name, sessions, argv in (("submit, 1 session", 1, sink),
                                     ("submit, 50 sessions", 50, tls)):
            cpu = daemon.cpu()
            seconds = submit(sessions, n)
            # The first attempt of each fails at once: nobody listens.
            while daemon.stats("active"):
                time.sleep(0.1)
            runs[name].append((seconds, daemon.cpu() - cpu))
            way = "drain, STARTTLS" if argv is tls else "drain, clear text"
            *figures, said = drain(daemon, argv, n)
            runs[way].append(figures)
    for name, list_ in runs.items():
        show(name, n, list_)
    print("the sink saw last: " + said)
    for name, rss, peak in daemon.memory():
        print("%-28s %4d MB resident, %d MB at most" % (name, rss, peak))
    if options.queued:
        submit(50, options.queued)
        while daemon.stats("active"):
            time.sleep(0.2)
        daemon.stop()
        seconds = daemon.start()
        time.sleep(1)
        print("start with %d queued: %.2f s" % (daemon.stats("messages"),
                                                 seconds))
        for name, rss, peak in daemon.memory():
            print("%-28s %4d MB resident, %d MB at most" % (name, rss, peak))
    daemon.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("-b", "--build", default=os.path.join(TOP, "build"))
    parser.add_argument("-n", "--messages", type=int, default=5000)
    parser.add_argument("-q", "--queued", type=int, default=100000)
    parser.add_argument("-r", "--runs", type=int, default=3)
    parser.add_argument("--inside", action="store_true",
                        help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    if not options.inside:
        os.execvp("unshare", ["unshare", "--net", sys.executable, "-B",
                              os.path.abspath(__file__), "--inside",
                              *sys.argv[1:]])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    base = tempfile.mkdtemp(prefix="bench")
    os.chmod(base, 0o755)
    try:
        measure(options, base)
    finally:
        shutil.rmtree(base)


main()
