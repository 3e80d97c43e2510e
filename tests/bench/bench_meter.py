"""What a set of processes uses: CPU, memory, fsyncs, DNS packets.

Each set lives in a control group of its own (cgroup v2, whose cpu.stat needs
no controller), so that the CPU of processes that have ended is in the sum.
"""

import atexit
import os
import subprocess
import threading
import time

import lab_ns

EVENTS = "syscalls:sys_enter_fsync,syscalls:sys_enter_fdatasync"


def cgroup_root():
    with open("/proc/mounts") as f:
        for line in f:
            fields = line.split()
            if fields[2] == "cgroup2" and os.access(fields[1], os.W_OK):
                return fields[1]
    raise SystemExit("bench: no writable cgroup v2 hierarchy: CPU seconds "
                     "would not be exact")


class Group:
    """A control group; start processes with preexec_fn=group.enter."""

    made = 0

    def __init__(self, name):
        Group.made += 1
        self.name = "bench-%s-%d-%s" % (os.environ["LAB_PID"], Group.made,
                                        name)
        self.root = cgroup_root()
        self.path = os.path.join(self.root, self.name)
        os.mkdir(self.path)
        self.closed = False
        atexit.register(self.close)

    def enter(self):
        self.add(0)

    def add(self, pid):
        with open(self.path + "/cgroup.procs", "w") as f:
            f.write(str(pid))

    def cpu(self):
        """CPU seconds so far, those of ended processes included."""
        with open(self.path + "/cpu.stat") as f:
            return int(f.read().split()[1]) / 1e6

    def pids(self):
        if self.closed:
            return []
        with open(self.path + "/cgroup.procs") as f:
            return [int(x) for x in f.read().split() if x != "0"]

    def quiet(self, seconds=20):
        """Waits until the processes have nothing more to do."""
        end = time.monotonic() + seconds
        last = self.cpu()
        while time.monotonic() < end:
            time.sleep(0.4)
            now = self.cpu()
            if now - last < 0.008:
                return
            last = now

    def end(self):
        """Kills what is left; returns the CPU seconds of all."""
        for _ in range(200):
            pids = self.pids()
            if not pids:
                break
            for pid in pids:
                try:
                    os.kill(pid, 9)
                except ProcessLookupError:
                    pass
            time.sleep(0.02)
        used = self.cpu()
        self.close()
        return used

    def close(self):
        if self.closed:
            return
        self.closed = True
        try:
            os.rmdir(self.path)
        except OSError:	# processes that end in a moment
            pass


def pss_kb(pid):
    try:
        with open("/proc/%d/smaps_rollup" % pid) as f:
            for line in f:
                if line.startswith("Pss:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


class Memory:
    """Samples the proportional set size of a group; the samples take at most
    a twentieth of the time."""

    def __init__(self, group, shortest=0.2):
        self.group, self.shortest = group, shortest
        self.peak = self.single = 0		# MB: all, largest process
        self.processes = 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def sample(self):
        sizes = [pss_kb(p) / 1024 for p in self.group.pids()]
        self.peak = max(self.peak, sum(sizes))
        self.single = max(self.single, *sizes, 0)
        self.processes = max(self.processes, len(sizes))
        return sum(sizes)

    def run(self):
        while True:
            began = time.monotonic()
            self.sample()
            took = time.monotonic() - began
            if self.stop.wait(max(self.shortest, 20 * took)):
                return

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *unused):
        self.stop.set()
        self.thread.join()


class Syncs:
    """Counts fsync and fdatasync calls of a group with perf."""

    def __init__(self, group, path):
        self.path = path
        self.process = None
        try:
            self.process = subprocess.Popen(
                ["perf", "stat", "-a", "-x,", "-o", path, "-e", EVENTS,
                 "-G", "%s,%s" % (group.name, group.name), "cat"],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL)
            time.sleep(0.3)
        except FileNotFoundError:
            pass

    def finish(self):
        """The number, or None when perf cannot count here."""
        if self.process is None or self.process.poll() is not None:
            return None
        self.process.stdin.close()	# and cat ends
        self.process.wait()
        with open(self.path) as f:
            found = [x.split(",")[0] for x in f if "sys_enter" in x]
        return sum(map(int, found)) if all(
            x.isdigit() for x in found) and found else None


def udp_sent(internet=False):
    """UDP datagrams sent so far in one of the two networks: by the sender
    under test, or by all name servers and resolvers."""
    argv = ["cat", "/proc/net/snmp"]
    text = subprocess.run(lab_ns.internet_argv(argv) if internet else argv,
                          capture_output=True, text=True,
                          check=True).stdout
    names, values = [x.split() for x in text.splitlines()
                     if x.startswith("Udp:")]
    return int(values[names.index("OutDatagrams")])
