"""The lab's name service: signed root, TLD "test" and domains, served by NSD;
Unbound as the plain recursive resolver (it passes DNSSEC records on and
validates nothing).

    dns.domain("good.test", ["@ MX 10 mx", "mx A 198.51.100.10"])
    dns.domain("plain.test", [...], signed=False)
    dns.domain("broken.test", None)		# delegated, but SERVFAIL
    dns.start()
    dns.domain("broken.test", [...]); dns.reload()	# mended
"""

import glob
import os
import signal
import socket
import struct
import subprocess
import time

import lab_ns

ROOT_NS, TLD_NS, DOM_NS = "198.51.100.1", "198.51.100.2", "198.51.100.3"
RESOLVER = "198.51.100.53"
TTL = 60

SOA = "@ SOA ns.nic.test. hostmaster.nic.test. %d 3600 900 604800 5"

NSD_CONF = """
server:
	server-count: 1
	ip-address: {address}@53
	username: "nsd"
	zonesdir: "{dir}"
	zonelistfile: "{dir}/{name}.zonelist"
	database: ""
	xfrdfile: "{dir}/{name}.xfrd"
	xfrdir: "{dir}"
	pidfile: "{dir}/{name}.pid"
	logfile: "{dir}/{name}.log"
	rrl-ratelimit: 0
	hide-version: yes
remote-control:
	control-enable: no
"""

UNBOUND_CONF = """
server:
	module-config: "iterator"
	interface: {resolver}
	interface: {resolver}@5353
	access-control: 0.0.0.0/0 allow
	do-daemonize: no
	chroot: ""
	username: "unbound"
	directory: "{dir}"
	pidfile: "{dir}/unbound.pid"
	use-syslog: no
	logfile: "{dir}/unbound.log"
	root-hints: "{dir}/root.hints"
	local-zone: "test." nodefault
	infra-host-ttl: 1
	infra-keep-probing: yes
	cache-max-ttl: {ttl}
	cache-max-negative-ttl: 1
	num-threads: 1
	so-rcvbuf: 0
	edns-buffer-size: 1232
remote-control:
	control-enable: no
"""


class Zone:
    def __init__(self, name, records, signed, ttl):
        self.name, self.records, self.signed = name, records, signed
        self.ttl = ttl
        self.serial = 1
        self.key = None		# file name without extension
        self.foreign = False	# its file is made elsewhere

    @property
    def file(self):
        return (self.name if self.name != "." else "root") + ".zone"


class Dns:
    def __init__(self, lab):
        self.lab = lab
        self.dir = os.path.join(lab.dir, "dns")
        os.mkdir(self.dir)
        os.chmod(self.dir, 0o777)
        self.zones = {}
        self.servers = {}
        self.dirty = set()
        self.delegations = []	# of zones made elsewhere
        self.anchor = os.path.join(self.dir, "anchor.key")

    def domain(self, name, records, signed=True, ttl=TTL):
        """Sets all records of a domain ("OWNER TYPE DATA", relative to it);
        None: it is delegated, and its server fails."""
        zone = self.zones.get(name)
        if zone is None:
            zone = self.zones[name] = Zone(name, records, signed, ttl)
        else:
            zone.records, zone.serial = records, zone.serial + 1
        self.dirty.add(name)

    # ---- zone files ------------------------------------------------------

    def run(self, *argv):
        return subprocess.run(argv, cwd=self.dir, check=True, text=True,
                              stdin=subprocess.DEVNULL,
                              capture_output=True).stdout.strip()

    def make_key(self, zone):
        if zone.signed and zone.key is None:
            zone.key = self.run("ldns-keygen", "-a", "ECDSAP256SHA256", "-k",
                                "-r", "/dev/urandom", zone.name)

    def ds(self, zone):
        return self.run("ldns-key2ds", "-n", "-2", zone.key + ".key")

    def write_zone(self, zone, body, opt_out=False):
        path = os.path.join(self.dir, zone.file)
        origin = zone.name.rstrip(".") + "."
        text = "$ORIGIN %s\n$TTL %d\n%s\n%s\n" % (
            origin, zone.ttl, SOA % zone.serial, "\n".join(body))
        with open(path + ".tmp", "w") as f:
            f.write(text)
        if zone.signed:
            self.run("ldns-signzone", "-n", "-t", "0",
                     *(["-p"] if opt_out else []), "-o", origin,
                     "-f", path + ".signed", path + ".tmp", zone.key)
            os.rename(path + ".signed", path)
        else:
            os.rename(path + ".tmp", path)

    def write_domain(self, zone):
        if zone.records is None:
            return
        self.make_key(zone)
        self.write_zone(zone, ["@ NS ns.nic.test."] + zone.records)

    def write_tld(self):
        zone = self.zones.setdefault("test", Zone("test", [], True, TTL))
        self.make_key(zone)
        body = ["@ NS ns.nic.test.", "ns.nic A " + DOM_NS,
                "@ NS tld.nic.test.", "tld.nic A " + TLD_NS]
        body[0:1] = []
        body += self.delegations
        for other in self.zones.values():
            if other.name in (".", "test") or other.foreign:
                continue
            label = other.name[:-len(".test")]
            body.append(label + " NS ns.nic.test.")
            if other.signed and other.key:
                body.append(self.ds(other))
        zone.serial += 1
        self.write_zone(zone, body, opt_out=True)

    def write_root(self):
        zone = self.zones.setdefault(".", Zone(".", [], True, TTL))
        self.make_key(zone)
        tld = self.zones["test"]
        self.write_zone(zone, [
            "@ NS a.root.test.", "a.root.test. A " + ROOT_NS,
            "test. NS tld.nic.test.", "tld.nic.test. A " + TLD_NS,
            self.ds(tld)])
        with open(self.anchor, "w") as f:
            f.write(self.ds(zone) + "\n")
        with open(os.path.join(self.dir, "root.hints"), "w") as f:
            f.write(". 3600 NS a.root.test.\na.root.test. 3600 A %s\n"
                    % ROOT_NS)

    def write(self):
        fresh = False
        for name in sorted(self.dirty):
            zone = self.zones[name]
            fresh |= zone.key is None
            self.write_domain(zone)
        self.dirty.clear()
        if fresh or "test" not in self.zones:
            self.write_tld()
            self.write_root()
        for path in glob.glob(self.dir + "/*"):
            os.chmod(path, 0o644)

    # ---- servers ---------------------------------------------------------

    def nsd(self, name, address, zones):
        lab_ns.add_address(address)
        text = NSD_CONF.format(address=address, dir=self.dir, name=name)
        for zone in zones:
            text += 'zone:\n\tname: "%s"\n\tzonefile: "%s"\n' % (zone.name,
                                                                 zone.file)
        path = os.path.join(self.dir, name + ".conf")
        with open(path, "w") as f:
            f.write(text)
        self.servers[name] = self.lab.spawn(
            ["nsd", "-d", "-c", path], name=name, internet=True)

    def start(self):
        self.write()
        rest = [z for z in self.zones.values() if z.name not in (".", "test")]
        self.nsd("root", ROOT_NS, [self.zones["."]])
        self.nsd("tld", TLD_NS, [self.zones["test"]])
        self.nsd("domains", DOM_NS, rest)
        lab_ns.add_address(RESOLVER)
        path = os.path.join(self.dir, "unbound.conf")
        with open(path, "w") as f:
            f.write(UNBOUND_CONF.format(resolver=RESOLVER, dir=self.dir,
                                        ttl=TTL))
        self.servers["unbound"] = self.lab.spawn(
            ["unbound", "-d", "-c", path], name="unbound", internet=True)
        self.lab.wait("the name service answers",
                      lambda: self.query("test", 6) == 0)

    def reload(self):
        """Serves zones changed by domain(), forgets what was cached.  New
        domains need a start."""
        self.write()
        for name in ("tld", "root", "domains"):
            self.servers[name].send_signal(signal.SIGHUP)
        time.sleep(0.3)
        self.forget()

    def forget(self):
        self.servers["unbound"].send_signal(signal.SIGHUP)
        time.sleep(0.2)
        self.lab.wait("the resolver answers again",
                      lambda: self.query("test", 6) == 0)

    @staticmethod
    def query(name, rrtype, resolver=RESOLVER):
        """The rcode that the resolver gives; -1: no answer."""
        packet = struct.pack(">HHHHHH", 4711, 0x0100, 1, 0, 0, 0)
        for label in name.split("."):
            packet += bytes([len(label)]) + label.encode()
        packet += struct.pack(">BHH", 0, rrtype, 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(1)
            try:
                s.connect((resolver, 53))
                s.send(packet)
                return s.recv(4096)[3] & 15
            except OSError:
                return -1
