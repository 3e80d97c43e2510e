"""The world of the benches: the sink, the name service with many signed
domains, and two resolvers, one that validates and one that does not."""

import mmap
import os
import struct
import subprocess

import bench_meter
import lab
import lab_dns
import lab_ns
import lab_tlsa

CLEAR4, TLS4 = "198.18.255.1", "198.18.255.2"
DANE_FIRST = "198.18.0.1"
SLOW_NET, SLOW_BITS = "198.19.0.0", 17
HOLD_NET, HOLD_BITS = "198.19.128.0", 17
HOLE4 = "203.0.113.25"			# nobody answers there
PLAIN, VALIDATING = lab_dns.RESOLVER, "198.51.100.54"

UNBOUND = """
server:
	module-config: "{modules}"
	{anchor}
	interface: {address}
	access-control: 0.0.0.0/0 allow
	do-daemonize: no
	chroot: ""
	username: "unbound"
	directory: "{dir}"
	pidfile: "{dir}/{name}.pid"
	use-syslog: no
	logfile: "{dir}/{name}.log"
	root-hints: "{dir}/root.hints"
	local-zone: "test." nodefault
	num-threads: 1
	so-rcvbuf: 0
	edns-buffer-size: 1232
remote-control:
	control-enable: no
"""


class Dns(lab_dns.Dns):
    """As the lab's, with resolvers that can be made to forget."""

    def start(self):
        self.write()
        rest = [z for z in self.zones.values() if z.name not in (".", "test")]
        self.nsd("root", lab_dns.ROOT_NS, [self.zones["."]])
        self.nsd("tld", lab_dns.TLD_NS, [self.zones["test"]])
        self.nsd("domains", lab_dns.DOM_NS, rest)
        self.groups = {}
        for address in (PLAIN, VALIDATING):
            lab_ns.add_address(address)
            self.fresh(address)

    def fresh(self, address):
        """Starts the resolver anew, with nothing in its cache."""
        name = "unbound-" + address
        if name in self.servers:
            self.servers[name].kill()
            self.servers[name].wait()
            self.groups[address].end()
        path = os.path.join(self.dir, name + ".conf")
        validating = address == VALIDATING
        with open(path, "w") as f:
            f.write(UNBOUND.format(
                dir=self.dir, name=name, address=address,
                modules="validator iterator" if validating else "iterator",
                anchor='trust-anchor-file: "%s"' % self.anchor
                if validating else ""))
        group = self.groups[address] = bench_meter.Group("resolver")
        self.servers[name] = self.lab.spawn(
            ["unbound", "-d", "-c", path], name=name, internet=True,
            preexec_fn=group.enter)
        self.lab.wait("the resolver answers",
                      lambda: self.query("test", 6, address) == 0)


class Net(lab.Lab):
    Dns = Dns


class Sink:
    """The sink's counters, as it keeps them in a file."""

    NAMES = ("connections", "handshakes", "resumed", "messages", "octets",
             "first_ns", "last_ns", "greeted", "greeted_peak", "stamped")
    DELAYS = 65536

    def __init__(self, path):
        self.bytes = 8 * (len(self.NAMES) + self.DELAYS)
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), self.bytes)

    def __getattr__(self, name):
        return struct.unpack_from("Q", self.map,
                                  8 * self.NAMES.index(name))[0]

    def reset(self):
        """All counters to 0, but for the sessions that are there."""
        keep = self.greeted
        self.map[:8 * len(self.NAMES)] = bytes(8 * len(self.NAMES))
        struct.pack_into("QQ", self.map, 8 * self.NAMES.index("greeted"),
                         keep, keep)

    def delays(self):
        """Seconds from stamp to dot of the stamped messages, in order of
        arrival."""
        count = min(self.stamped, self.DELAYS)
        return [x / 1e9 for x in struct.unpack_from(
            "%dQ" % count, self.map, 8 * len(self.NAMES))]


class World:
    def __init__(self, programs, dane, slow, hold):
        """slow, hold: (hosts, milliseconds)."""
        self.programs = programs
        self.net = Net()
        self.dir = self.net.dir
        cert = self.net.ca.cert("mx.tls.test")
        self.add_zones(cert, dane, slow[0], hold[0])
        self.net.start()
        subprocess.run(lab_ns.internet_argv(
            ["ip", "route", "add", "local", "198.18.0.0/15", "dev", "lo"]),
            check=True)
        path = os.path.join(self.dir, "counters")
        self.net.spawn([programs["sink"], path, *cert,
                        CLEAR4 + "/32=clear",
                        "%s/%d=slow:%d" % (SLOW_NET, SLOW_BITS, slow[1]),
                        "%s/%d=hold:%d" % (HOLD_NET, HOLD_BITS, hold[1])],
                       name="sink", internet=True)
        self.net.wait("the sink is there", lambda: os.path.exists(path)
                      and os.path.getsize(path) > 0)
        self.sink = Sink(path)

    def add_zones(self, cert, dane, slow, hold):
        dns = self.net.dns
        dns.domain("sender.test", ["@ MX 10 mx", "mx A " + CLEAR4])
        dns.domain("clear.test", ["@ MX 10 mx", "mx A " + CLEAR4])
        dns.domain("tls.test", ["@ MX 10 mx", "mx A " + TLS4])
        for name, count, block in (("slow", slow, 0), ("hold", hold, 128)):
            dns.domain(name + ".test", [
                line for n in range(count) for line in (
                    "s%d MX 10 mx.s%d" % (n, n), "mx.s%d A 198.19.%d.%d" % (
                        n, block + n // 250, n % 250 + 1))], signed=False)
        key = lab_tlsa.tlsa(3, 1, 1, cert[0]).split()[-1]
        subprocess.run([self.programs["zones"], dns.dir, str(dane),
                        DANE_FIRST, key], check=True)
        with open(os.path.join(dns.dir, "delegations")) as f:
            dns.delegations = f.read().splitlines()
        for n in range(dane):
            name = "d%d.test" % n
            dns.zones[name] = lab_dns.Zone(name, None, False, 3600)
            dns.zones[name].foreign = True

    def resolve_by(self, address):
        """What /etc/resolv.conf says in the namespaces."""
        with open("/etc/resolv.conf", "w") as f:
            f.write("nameserver %s\noptions trust-ad\n" % address)

    def source(self, port, sessions, messages, size, to, *options,
               address="127.0.0.1", internet=False, wait=True):
        """Runs the bare client; what it says, or the process."""
        argv = [self.programs["source"], *options, address, str(port),
                str(sessions), str(messages), str(size), "a@sender.test", to]
        if internet:
            argv = lab_ns.internet_argv(argv)
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        if not wait:
            return process
        return self.finish(process)

    @staticmethod
    def finish(process):
        import json
        out = json.loads(process.communicate()[0])
        if out["failed"]:
            raise lab.LabError("%d messages were not taken" % out["failed"])
        return out
