#!/usr/bin/python3
"""Measures smtpd-out beside its peers; started by tests/bench/run.

usage: bench.py [--quick] [--rounds N] [--out DIR] [--only SENDER,...]
		[--keep] [BENCH...]
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "lib")]

import lab		# noqa: E402

lab.enter()

import bench_peers	# noqa: E402
import bench_runs	# noqa: E402
import bench_world	# noqa: E402
import lab_daemon	# noqa: E402

# bench: (rounds, size and more) in full and in quick mode
SIZES = {
    "accept-1": ((3, 1000), (1, 150)),
    "accept-50": ((3, 10000), (1, 1000)),
    "drain-clear": ((3, 10000), (1, 1000)),
    "drain-tls": ((3, 10000), (1, 1000)),
    "dane": ((3, 2000), (1, 200)),
    "latency": ((3, 40), (1, 10)),
    "slow": ((1, 1000, 5, 60), (1, 100, 1, 10)),
    "sessions": ((1, 10000, 60), (1, 500, 5)),
    "large": ((1, 20, 50000000), (1, 4, 10000000)),
    "queued": ((1, 100000, 1000000), (1, 10000)),
    "fsync": ((1, 500), (1, 100)),
}
# The slowest are spared: they get this part of the messages.
SHARE = {"Exim": 5, "OpenSMTPD": 10}


def jobs(bench, size, world):
    """(name, function of a sender) of a bench, in the order of running."""
    runs = bench_runs

    def part(sender, count):
        return max(count // SHARE.get(sender.name, 1), 1)

    def dane(s):
        return runs.drain(world, s, "dane", size[0], "b@d%d.test")

    def queued(count):
        return lambda s: runs.queued(world, s, count, 100000)

    return {
        "accept-1": [("", lambda s: runs.accept(world, s, 1, size[0]))],
        "accept-50": [("", lambda s: runs.accept(world, s, 50,
                                                 part(s, size[0])))],
        "drain-clear": [("", lambda s: runs.drain(
            world, s, "none", part(s, size[0]), "b@clear.test"))],
        "drain-tls": [("", lambda s: runs.drain(
            world, s, "may", part(s, size[0]), "b@tls.test"))],
        "dane": [("", dane)],
        "latency": [("", lambda s: runs.latency(world, s, size[0]))],
        "slow": [("", lambda s: runs.slow(world, s, *size))],
        "sessions": [(" in " + way, lambda s, tls=tls: runs.sessions(
            world, s, tls, size[0])) for way, tls in (
                ("clear text", False), ("TLS", True))],
        "large": [("", lambda s: runs.large(world, s, *size))],
        "queued": [(" %d" % n, queued(n)) for n in size],
        "fsync": [(" %d session(s)" % n, lambda s, n=n: runs.syncs(
            world, s, n, size[0])) for n in (1, 50)],
    }[bench]


def note(text):
    print(time.strftime("%H:%M:%S ") + text, file=sys.stderr, flush=True)


def once(sender, job, what):
    """The figures of one round; None where the sender has no part."""
    began = time.monotonic()
    try:
        figures = job(sender)
    except bench_runs.Skip:
        return None
    except Exception as e:	# a peer that fails ends no run of hours
        note(traceback.format_exc())
        figures = {"error": repr(e)[:100]}
    finally:
        sender.clear()
    note("%s: %s (%.0f s)" % (what, ", ".join(
        "%s %s" % (k, round(v, 3) if isinstance(v, float) else v)
        for k, v in list(figures.items())[:4]), time.monotonic() - began))
    return figures


def median(rounds):
    """Median of each figure over the rounds that gave it."""
    out = {}
    for figure in {k: 0 for r in rounds for k in r}:
        values = [r[figure] for r in rounds if figure in r]
        out[figure] = values[-1] if figure == "error" else \
            statistics.median(values)
    return out


def measure(bench, size, world, senders):
    rows = []
    rounds, size = size[0], size[1:]
    for suffix, job in jobs(bench, size, world):
        got = {s.name: [] for s in senders}
        sink = []
        for number in range(rounds):
            for s in senders:
                figures = once(s, job, "%s%s, %s, round %d" % (
                    bench, suffix, s.name, number + 1))
                if figures is not None:
                    got[s.name].append(figures)
            if bench in ("drain-clear", "drain-tls"):
                sink.append(bench_runs.ceiling(world, bench == "drain-tls",
                                               size[0]))
        if sink:
            got["(sink's ceiling)"] = sink
        rows += [{"bench": bench + suffix, "sender": name,
                  "rounds": len(all_rounds), "all": all_rounds,
                  **median(all_rounds)}
                 for name, all_rounds in got.items() if all_rounds]
    return rows


# ---- what is printed -----------------------------------------------------

# figure: (heading, format, ratio: +1 more is better, -1 less is better)
COLUMNS = {
    "messages_per_s": ("msg/s", "%.0f", 1),
    "cpu_per_1000": ("CPU s/1000", "%.3f", -1),
    "resolver_per_1000": ("resolver", "%.3f", 0),
    "all_cpu_per_1000": ("with it", "%.3f", -1),
    "delay_ms": ("delay ms", "%.1f", -1),
    "delay_99_ms": ("99 %", "%.1f", 0), "delay_max_ms": ("max", "%.1f", 0),
    "fsync_ms": ("a bare fsync", "%.1f", 0),
    "at_once": ("at once", "%d", 0), "arrived": ("arrived", "%d", 0),
    "session_kb": ("KB a session", "%.1f", 0),
    "seconds": ("s", "%.0f", 0), "cpu_seconds": ("CPU s", "%.2f", 0),
    "start_s": ("start s", "%.2f", 0), "stats_s": ("stats s", "%.3f", 0),
    "list_first_s": ("list: first s", "%.3f", 0),
    "list_s": ("list: all s", "%.2f", 0),
    "pss_rest_mb": ("PSS at rest", "%.1f", 0), "pss_mb": ("PSS MB", "%.1f", 0),
    "largest_mb": ("largest", "%.1f", 0),
    "processes": ("processes", "%d", 0),
    "connections": ("connections", "%d", 0),
    "handshakes": ("handshakes", "%d", 0), "resumed": ("resumed", "%d", 0),
    "dns_asked": ("DNS asked", "%d", 0), "dns_all": ("DNS all", "%d", 0),
    "fsyncs_taking": ("fsyncs/message, taking", "%.2f", 0),
    "fsyncs_sending": ("sending", "%.2f", 0),
    "missing": ("missing", "%d", 0), "error": ("error", "%s", 0),
}
IDLE = {"accept-1": ("handshakes", "connections", "resumed", "dns_asked",
                     "dns_all", "resolver_per_1000", "all_cpu_per_1000")}
IDLE["accept-50"] = IDLE["accept-1"]
IDLE["latency"] = ("messages_per_s", *IDLE["accept-1"])
PEERS = ("Postfix", "Postfix tuned")


def best(rows, figure, sign):
    """The better figure of Postfix as it is and tuned."""
    values = [r[figure] for r in rows if r["sender"] in PEERS
              and r.get(figure)]
    return (max if sign > 0 else min)(values) if values else None


def cell(row, figure, rows):
    heading, form, sign = COLUMNS[figure]
    if figure not in row:
        return ""
    text = form % row[figure]
    peer = best(rows, figure, sign) if sign else None
    if peer and row[figure] and row["sender"] not in PEERS:
        ratio = row[figure] / peer if sign > 0 else peer / row[figure]
        text += " (%.1fx)" % ratio
    return text


def table(rows):
    out = []
    for bench in {r["bench"]: 0 for r in rows}:
        mine = [r for r in rows if r["bench"] == bench]
        hidden = IDLE.get(bench, ())
        figures = [f for f in COLUMNS if f not in hidden
                   and any(f in r for r in mine)]
        out += ["", "### %s (median of %d)" % (
            bench, max(r["rounds"] for r in mine)), "",
            "| sender | " + " | ".join(COLUMNS[f][0] for f in figures) + " |",
            "|---" * (len(figures) + 1) + "|"]
        out += ["| %s | " % r["sender"] + " | ".join(
            cell(r, f, mine) for f in figures) + " |" for r in mine]
    return "\n".join(out) + "\n"


def machine():
    with open("/proc/cpuinfo") as f:
        model = [x.split(":")[1].strip() for x in f
                 if x.startswith("model name")][:1]
    with open("/proc/meminfo") as f:
        memory = int(f.readline().split()[1]) // 1024
    return {"date": datetime.date.today().isoformat(),
            "processors": os.cpu_count(), "model": "".join(model),
            "memory_mb": memory, "kernel": platform.release(),
            "versions": {p: bench_peers.debian_version(p) for p in (
                "postfix", "exim4-daemon-light", "opensmtpd", "unbound",
                "nsd", "openssl", "libc6")}}


def arguments():
    a = argparse.ArgumentParser()
    a.add_argument("--quick", action="store_true")
    a.add_argument("--rounds", type=int)
    a.add_argument("--out", default=".")
    a.add_argument("--only", default="")
    a.add_argument("--keep", action="store_true")
    a.add_argument("bench", nargs="*")
    return a.parse_args()


def main():
    args = arguments()
    benches = args.bench or list(SIZES)
    sizes = {b: SIZES[b][1 if args.quick else 0] for b in benches}
    if args.rounds:
        sizes = {b: (args.rounds, *s[1:]) for b, s in sizes.items()}
    about = machine()
    top = os.path.dirname(os.path.dirname(lab_daemon.program()))
    programs = {p: os.path.join(top, "tests", "bench", p)
                for p in ("sink", "source", "zones", "bench_spool")}
    slow = sizes.get("slow", (1, 10, 5))
    hold = sizes.get("sessions", (1, 10, 5))
    world = bench_world.World(programs, sizes.get("dane", (1, 1))[1],
                              (slow[1], slow[2] * 1000),
                              (hold[1], hold[2] * 1000))
    only = [x for x in args.only.split(",") if x]
    senders = [c(world) for c in bench_peers.ALL
               if not only or c.name in only]
    rows = []
    began = time.monotonic()
    for bench in benches:
        rows += measure(bench, sizes[bench], world, senders)
        with open(os.path.join(args.out, "results.json"), "w") as f:
            json.dump({"machine": about, "quick": args.quick,
                       "sizes": sizes, "rows": rows}, f, indent=1)
    text = "%s\n%s" % (json.dumps(about), table(rows))
    with open(os.path.join(args.out, "results.md"), "w") as f:
        f.write(text)
    print(text)
    if args.keep:	# logs, configurations, zones
        shutil.copytree(world.dir, os.path.join(args.out, "lab"),
                        symlinks=True, ignore_dangling_symlinks=True,
                        ignore=shutil.ignore_patterns("queue", "spool"))
    note("%.0f s in all" % (time.monotonic() - began))


main()
