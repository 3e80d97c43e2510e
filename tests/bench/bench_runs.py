"""The benches.  Each measures one sender once and returns figures; bench.py
interleaves the rounds."""

import os
import pwd
import shutil
import statistics
import subprocess
import tempfile
import time

import bench_meter
import bench_peers
import bench_world
import lab

SIZE = 5120


class Skip(Exception):
    """This sender has no part in this bench; the text says why."""


class Phase:
    """What the sender, its resolver and the sink do from now on; the sender
    may still have to be started."""

    def __init__(self, world, sender):
        self.world, self.sender = world, sender
        self.cpu = sender.cpu() if sender.group else 0
        self.resolver = world.net.dns.groups[sender.resolver]
        self.resolver_cpu = self.resolver.cpu()
        self.udp, self.udp_all = (bench_meter.udp_sent(),
                                  bench_meter.udp_sent(True))
        world.sink.reset()
        self.memory = None
        self.began_ns = time.monotonic_ns()

    def watch(self):
        self.memory = bench_meter.Memory(self.sender.group)
        self.memory.__enter__()
        return self

    def finish(self, messages, seconds, quiet=20):
        """Waits until the sender has nothing more to do; its figures."""
        self.sender.group.quiet(quiet)
        self.memory.__exit__()
        sink = self.world.sink
        cpu = self.sender.cpu() - self.cpu
        resolver = self.resolver.cpu() - self.resolver_cpu
        asked = bench_meter.udp_sent() - self.udp
        return {
            "messages_per_s": messages / seconds,
            "cpu_per_1000": cpu * 1000 / messages,
            "resolver_per_1000": resolver * 1000 / messages,
            "all_cpu_per_1000": (cpu + resolver) * 1000 / messages,
            "pss_mb": self.memory.peak, "largest_mb": self.memory.single,
            "processes": self.memory.processes,
            "connections": sink.connections, "handshakes": sink.handshakes,
            "resumed": sink.resumed, "dns_asked": asked,
            "dns_all": bench_meter.udp_sent(True) - self.udp_all + asked,
        }


def accept(world, sender, sessions, messages):
    """Takes messages and sends none."""
    sender.take()
    world.source(bench_peers.PORT, sessions, sessions * 2, SIZE,
                 "b@clear.test")	# so that all its processes are there
    phase = Phase(world, sender).watch()
    done = world.source(bench_peers.PORT, sessions, messages, SIZE,
                        "b@clear.test")
    return phase.finish(messages, done["seconds"])


def fill(world, sender, messages, to, size=SIZE):
    sender.take()
    world.source(bench_peers.PORT, 20, messages, size, to)
    sender.stop()
    time.sleep(1.5)	# what was under way at the stop is due again


def arrive(world, count, seconds, idle=40):
    """Waits for messages in the sink, as long as some come; how many came."""
    sink = world.sink
    now = since = time.monotonic()
    end, last = now + seconds, 0
    while last < count and now < end and now - since < idle:
        time.sleep(0.02)
        now = time.monotonic()
        if sink.messages != last:
            last, since = sink.messages, now
    return last


def drain(world, sender, tls, messages, to):
    """Sends what is queued.  CPU counts from the start of the sender on, the
    rate from the first message that arrives."""
    if tls not in sender.tls:
        raise Skip("no TLS of this kind")
    fill(world, sender, messages, to)
    world.net.dns.fresh(sender.resolver)
    phase = Phase(world, sender)
    sender.deliver(tls)
    phase.watch()
    sender.flush()
    came = arrive(world, messages, 600)
    seconds = (world.sink.last_ns - world.sink.first_ns) / 1e9
    figures = phase.finish(max(came, 1), max(seconds, 1e-3))
    if came < messages:
        figures["missing"] = messages - came
    return figures


def ceiling(world, tls, messages):
    """What the sink takes from a client that only speaks SMTP."""
    world.sink.reset()
    done = world.source(25, 20, messages, SIZE, "b@sink.test",
                        *(["-t"] if tls else []), internet=False,
                        address=bench_world.TLS4 if tls
                        else bench_world.CLEAR4)
    return {"messages_per_s": messages / done["seconds"],
            "cpu_per_1000": done["cpu"] * 1000 / messages,
            "handshakes": world.sink.handshakes,
            "connections": world.sink.connections}


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


def delays(world, messages, seconds=60):
    world.net.wait("all messages arrive",
                   lambda: world.sink.stamped >= messages, seconds)
    got = world.sink.delays()
    return {"delay_ms": statistics.median(got) * 1e3,
            "delay_99_ms": percentile(got, 0.99) * 1e3,
            "delay_max_ms": max(got) * 1e3}


def fsync_ms(count=40):
    """What the disk of the spools takes to keep two pages, at rest."""
    took = []
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(count):
            file.write(bytes(16384))
            began = time.monotonic()
            os.fsync(file.fileno())
            took.append((time.monotonic() - began) * 1e3)
            time.sleep(0.02)
    return statistics.median(took)


def latency(world, sender, messages):
    """One message at a time through an idle system: from the connection of
    the submitter to the final dot in the sink."""
    sender.deliver("none")
    world.source(bench_peers.PORT, 1, 3, SIZE, "b@clear.test", "-d")
    arrive(world, 3, 20)
    time.sleep(1)
    phase = Phase(world, sender).watch()
    world.source(bench_peers.PORT, 1, messages, SIZE, "b@clear.test",
                 "-d", "-s", "-i", "150")
    return {**phase.finish(messages, messages * 0.15),
            **delays(world, messages), "fsync_ms": fsync_ms()}


def large(world, sender, count, octets):
    """Large messages at a time, and how long small ones take meanwhile."""
    sender.deliver("none")
    world.source(bench_peers.PORT, 1, 3, SIZE, "b@clear.test")
    arrive(world, 3, 20)
    phase = Phase(world, sender).watch()
    big = world.source(bench_peers.PORT, count, count, octets,
                       "b@clear.test", wait=False)
    sent = 0
    while big.poll() is None or world.sink.octets < octets * count * 0.99:
        world.source(bench_peers.PORT, 1, 10, SIZE, "b@tls.test",
                     "-s", "-i", "30")
        sent += 10
        if time.monotonic_ns() - phase.began_ns > 180e9:
            raise lab.LabError("large messages take more than 180 s")
    world.finish(big)
    figures = delays(world, sent)
    arrive(world, count + sent, 60)
    seconds = (world.sink.last_ns - phase.began_ns) / 1e9
    return {**phase.finish(count, seconds), **figures}


def slow(world, sender, destinations, delay_s, window):
    """How many of many slow hosts are served at once, in what memory."""
    sender.slow = True
    fill(world, sender, destinations, "b@s%d.slow.test")
    phase = Phase(world, sender)
    sender.deliver("none")
    phase.watch()
    sender.flush()
    came = arrive(world, destinations, window, window)
    seconds = (time.monotonic_ns() - phase.began_ns) / 1e9
    peak = world.sink.greeted_peak
    figures = phase.finish(max(came, 1), seconds, 1)
    return {"at_once": peak, "arrived": came, "seconds": seconds,
            "pss_mb": figures["pss_mb"],
            "processes": figures["processes"],
            "cpu_seconds": figures["cpu_per_1000"] * max(came, 1) / 1000}


def sessions(world, sender, tls, count):
    """So many hosts in session at a time in one worker, in what memory: each
    has its greeting, and TLS, and lets MAIL wait for long."""
    if not isinstance(sender, bench_peers.Ours):
        raise Skip("a process for each session")
    fill(world, sender, count, "b@s%d.hold.test", 1024)
    sender.extra = "workers = 1\nlimit { active = %d }\n" % (count * 6 // 5)
    world.net.dns.fresh(sender.resolver)
    sink = world.sink
    phase = Phase(world, sender)
    sender.deliver("may" if tls else "none")
    began = time.monotonic()
    phase.watch()
    while (sink.handshakes if tls else sink.greeted) < count and \
            sink.messages == 0 and time.monotonic() < began + 180:
        time.sleep(0.1)
    seconds, open_now = time.monotonic() - began, sink.greeted
    if tls:
        open_now = min(open_now, sink.handshakes)
    time.sleep(1)
    phase.memory.sample()
    largest, whole = phase.memory.single, phase.memory.peak
    cpu = sender.cpu() - phase.cpu
    came = arrive(world, count, 300, 150)
    phase.finish(max(came, 1), 1, 1)
    return {"at_once": open_now, "arrived": came, "seconds": seconds,
            "cpu_seconds": cpu, "pss_mb": whole, "largest_mb": largest,
            "session_kb": largest * 1024 / max(open_now, 1),
            "connections": sink.connections, "handshakes": sink.handshakes}


# ---- a long queue --------------------------------------------------------

def timed(argv):
    began = time.monotonic()
    process = subprocess.Popen(argv, stdout=subprocess.PIPE)
    process.stdout.read(1)
    first = time.monotonic() - began
    for _ in iter(lambda: process.stdout.read(1 << 20), b""):
        pass
    if process.wait() != 0:
        raise lab.LabError("%s: exit %d" % (argv, process.returncode))
    return first, time.monotonic() - began


def queued_ours(world, sender, count):
    """Start, memory and answers with a long queue of mail that waits."""
    shutil.rmtree(sender.spool)
    subprocess.run([world.programs["bench_spool"], "-f", sender.dir,
                    str(count)], check=True)
    os.rename(sender.dir + "/bench-spool", sender.spool)
    user = pwd.getpwnam("smtpd-out")
    for top, _, names in os.walk(sender.spool):
        for name in [".", *names]:
            os.chown(os.path.join(top, name), user.pw_uid, user.pw_gid)
    began = time.monotonic()
    sender.deliver("none")
    start = time.monotonic() - began
    memory = bench_meter.Memory(sender.group)
    time.sleep(3)
    rest = memory.sample()
    ask = [sender.program, "queue", "-c", sender.config]
    with memory:
        _, stats = timed([*ask, "stats"])
        first, whole = timed([*ask, "list"])
    return {"queued": count, "start_s": start, "pss_rest_mb": rest,
            "pss_mb": memory.peak, "largest_mb": memory.single,
            "stats_s": stats, "list_first_s": first, "list_s": whole}


def queued_postfix(world, sender, count):
    """The same; Postfix looks at all of its deferred queue at a start, and
    the mail waits because its time has not come."""
    sender.take()
    for _ in range(0, count, 20000):
        world.source(bench_peers.PORT, 50, min(count, 20000), 1024,
                     "b@clear.test")
        sender.relieve()
    sender.stop()
    sender.defer_all()
    began = time.monotonic()
    sender.deliver("none")
    start = time.monotonic() - began
    memory = bench_meter.Memory(sender.group)
    time.sleep(3)
    rest = memory.sample()
    with memory:
        first, whole = timed(["postqueue", "-c", sender.dir + "/conf", "-p"])
    return {"queued": count, "start_s": start, "pss_rest_mb": rest,
            "pss_mb": memory.peak, "largest_mb": memory.single,
            "list_first_s": first, "list_s": whole}


def queued(world, sender, count, most_of_peers):
    if isinstance(sender, bench_peers.Ours):
        return queued_ours(world, sender, count)
    if sender.name != "Postfix" or count > most_of_peers:
        raise Skip("not measured")
    return queued_postfix(world, sender, count)


# ---- fsync ---------------------------------------------------------------

def syncs(world, sender, sessions, messages):
    """Calls of fsync and fdatasync for each message: taken, then sent."""
    sender.take()
    world.source(bench_peers.PORT, sessions, sessions, SIZE, "b@clear.test")
    path = os.path.join(world.dir, "perf.out")
    counter = bench_meter.Syncs(sender.group, path)
    world.source(bench_peers.PORT, sessions, messages, SIZE, "b@clear.test")
    taken = counter.finish()
    sender.stop()
    world.sink.reset()
    sender.deliver("none")
    counter = bench_meter.Syncs(sender.group, path)
    sender.flush()
    arrive(world, messages + sessions, 120)
    sender.group.quiet()
    sent = counter.finish()
    if taken is None or sent is None:
        raise Skip("perf cannot count here")
    return {"fsyncs_taking": taken / messages, "fsyncs_sending":
            sent / messages}
