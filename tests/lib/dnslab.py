#!/usr/bin/python3
"""A signed mini-Internet that is wrong in many ways, for the validator.

	dnslab.py [--algorithm rsa|ecdsa|ed25519] COMMAND [ARG...]

Runs COMMAND in a network namespace of its own with a root, three TLDs (NSEC3
with opt-out, NSEC, NSEC3), their domains served by NSD, Unbound as a plain
recursive resolver, and a proxy that tampers.  With DNSLAB_HOSTS=N there is a domain
big.nsec of N hosts.  Environment of COMMAND:

    DNSLAB_DIR       temporary directory, removed at the end
    DNSLAB_ANCHOR    trust anchor file
    DNSLAB_RESOLVER  address of the resolver
    DNSLAB_NAMES     file of "NAME TYPE" lines that are worth asking for; a
                     third word is what we say where libunbound differs:
                     Ed448 (Debian's lacks it), SHA-1, NSEC3 iterations,
                     CNAMEs made from a DNAME
    DNSLAB_TAMPER    file of "MODE ADDRESS" lines, one per way of tampering
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT_NS, TLD_NS, DOM_NS = "127.53.0.1", "127.53.0.2", "127.53.0.3"
RESOLVER = "127.53.0.53"
ALGORITHMS = {"rsa": "RSASHA256", "ecdsa": "ECDSAP256SHA256",
              "ed25519": "ED25519"}
TLDS = {"optout": ["-n", "-t", "0", "-p"], "nsec": [],
        "nsec3": ["-n", "-t", "3", "-s", "ab12"]}
TAMPER = ["strip-rrsig", "strip-denial", "empty-ds", "strip-all", "alter",
          "alter-key", "no-opt"]
SOA = "@ SOA ns.%s. h.%s. 1 3600 900 604800 60"

# What a domain holds.  ~ is the TLD.
RECORDS = """
@ MX 10 mx
@ MX 20 mx2
@ TXT "v=test"
@ A 192.0.2.1
mx A 192.0.2.2
mx AAAA 2001:db8::2
mx2 A 192.0.2.3
_25._tcp.mx TLSA 3 1 1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff
_25._tcp.mx2 CNAME _25._tcp.mx
alias CNAME mx
alias2 CNAME alias
out CNAME mx.unsigned.~.
outbad CNAME mx.expired.~.
outnx CNAME nothere.good3.~.
outnodata CNAME mx.good3.~.
dangling CNAME nothere
*.wild TXT "wild"
*.wild MX 5 mx
exact.wild A 192.0.2.4
*.wildalias CNAME mx
a.b.ent A 192.0.2.5
old DNAME new
x.new A 192.0.2.6
far DNAME good3.~.
loop1 CNAME loop2
loop2 CNAME loop1
sub NS ns.~.
insec NS ns.~.
""".strip().replace("~", "%(tld)s").split("\n")

ASKED = """
@ MX;@ TXT;@ A;@ AAAA;@ DS;@ DNSKEY;@ NS;@ SOA;mx A;mx AAAA;mx MX;mx DS
_25._tcp.mx TLSA;_25._tcp.mx A;_tcp.mx TLSA;_25._tcp.mx2 TLSA
_25._tcp.nothere TLSA;alias A;alias AAAA;alias MX;alias CNAME;alias2 A
out A;out MX;outbad A;outnx A;outnodata TXT;dangling A
x.wild TXT;x.wild MX;x.wild A;x.y.wild TXT;exact.wild A;exact.wild TXT
wild TXT;y.exact.wild TXT;x.wildalias A;x.wildalias TXT;b.ent A;ent A;ent MX
a.b.ent A;x.b.ent A;nothere A;nothere MX;a.b.c.nothere A;nothere DS
x.old A;x.old CNAME;y.old CNAME;y.old A;old A;old DNAME;mx.far A;nothere.far A;far TXT
sub DS;sub MX;mx.sub A;nothere.sub A;insec DS;insec MX;mx.insec A
nothere.insec A;nothere.insec DS;x.y.nothere.insec A
""".strip().replace("\n", ";").split(";")

FEW = "@ MX;mx A;mx AAAA;nothere A;_25._tcp.mx TLSA;@ DS;@ DNSKEY".split(";")


class Domain:
    def __init__(self, name, tld, **how):
        self.name, self.tld, self.how = name, tld, how
        self.key = None


def domains(tld, alg):
    """Each is wrong in one way, or right."""
    def d(label, **how):
        return Domain(label + "." + tld, tld, **how)
    hosts = int(os.environ.get("DNSLAB_HOSTS", "0"))
    return [d("big", hosts=hosts)] * (tld == "nsec" and hosts > 0) + [
        d("good"), d("good3", sign=["-n", "-t", "0"]),
        d("good3s", sign=["-n", "-t", "10", "-s", "beef"]),
        d("optout", sign=["-n", "-t", "0", "-p"]),
        d("sub.good"), d("insec.good", signed=False, ds=False),
        d("sub.good3", sign=["-n", "-t", "1"]),
        d("insec.good3", signed=False, ds=False),
        d("sub.good3s"), d("insec.good3s", signed=False, ds=False),
        d("sub.optout"), d("insec.optout", signed=False, ds=False),
        d("unsigned", signed=False, ds=False),
        d("island", ds=False),
        d("expired", dates=("20200101000000", "20210101000000")),
        d("future", dates=("20400101000000", "20410101000000")),
        d("altered", alter=True),
        d("nosig", signed=False, ds="other"),
        d("wrongds", ds="other"),
        d("unkalg", ds="algorithm"), d("unkdig", ds="digest"),
        d("sha1ds", ds="sha1"), d("sha384ds", ds="sha384"),
        d("twods", ds="both"),
        d("rsa", alg="RSASHA256"), d("rsa512", alg="RSASHA512"),
        d("p256", alg="ECDSAP256SHA256"), d("p384", alg="ECDSAP384SHA384"),
        d("ed25519", alg="ED25519"),
        d("iter", sign=["-n", "-t", "60", "-s", "aa"]),
        # What follows has its own expectation: libunbound differs.
        d("ed448", alg="ED448", expect="secure"),
        d("rsasha1", alg="RSASHA1-NSEC3-SHA1", expect="insecure"),
        d("iter200", sign=["-n", "-t", "200", "-s", "aa"], expect="secure",
          expect_no="indeterminate"),
        d("noproof", strip="NSEC"), d("noproof3", sign=["-n"], strip="NSEC3"),
    ]


class Lab:
    def __init__(self, directory, algorithm):
        self.dir = directory
        self.algorithm = ALGORITHMS[algorithm]
        self.processes = []

    def run(self, *argv):
        return subprocess.run(argv, cwd=self.dir, check=True, text=True,
                              stdin=subprocess.DEVNULL,
                              capture_output=True).stdout.strip()

    def path(self, name):
        return os.path.join(self.dir, name)

    def keygen(self, zone, algorithm):
        return self.run("ldns-keygen", "-a", algorithm, "-b", "2048", "-k",
                        "-r", "/dev/urandom", zone)

    def ds(self, key, digest="-2"):
        return self.run("ldns-key2ds", "-n", digest, key + ".key")

    def write(self, zone, body, key=None, sign=(), dates=None):
        """Writes ZONE.zone, signed when there is a key."""
        origin = zone.rstrip(".") + "."
        name = "root" if zone == "." else zone
        path = self.path(name + ".zone")
        with open(path, "w") as f:
            f.write("$ORIGIN %s\n$TTL 300\n%s\n" % (origin, "\n".join(body)))
        if key:
            extra = [] if dates is None else ["-i", dates[0], "-e", dates[1]]
            self.run("ldns-signzone", *sign, *extra, "-o", origin, "-f",
                     path + ".signed", path, key)
            os.rename(path + ".signed", path)
        return path

    # ---- zones -----------------------------------------------------------

    def ds_lines(self, d):
        """What the parent says of a domain."""
        want = d.how.get("ds", True)
        if not want:
            return []
        if want == "other":
            return [self.ds(self.keygen(d.name, self.algorithm))]
        right = self.ds(d.key)
        if want == "algorithm":
            return [re.sub(r"(DS\s+\d+) \d+", r"\1 99", right)]
        if want == "digest":
            return [re.sub(r"(DS\s+\d+ \d+) \d+", r"\1 99", right)]
        if want == "sha1":
            return [self.ds(d.key, "-1")]
        if want == "sha384":
            return [self.ds(d.key, "-4")]
        if want == "both":
            return [right, self.ds(self.keygen(d.name, self.algorithm))]
        return [right]

    def damage(self, d, path):
        if d.how.get("alter"):
            text = open(path).read()
            text = re.sub(r"(\sMX\s+)20 ", r"\g<1>21 ", text)
            text = text.replace("192.0.2.2", "192.0.2.66")
            open(path, "w").write(text)
        if d.how.get("strip"):
            kept = [x for x in open(path) if not re.search(
                r"\sIN\s+%s\s|RRSIG\s+%s\s" % ((d.how["strip"],) * 2), x)]
            open(path, "w").write("".join(kept))

    def domain_write(self, d, children):
        body = [SOA % (d.tld, d.tld), "@ NS ns.%s." % d.tld]
        body += [x % {"tld": d.tld} for x in RECORDS]
        for c in children:
            body += c.ds
        if d.how.get("hosts"):
            body += ["h%d A 192.0.2.%d" % (n, n % 256)
                     for n in range(d.how["hosts"])]
        if d.how.get("signed", True):
            d.key = self.keygen(d.name, d.how.get("alg", self.algorithm))
        d.ds = self.ds_lines(d)
        path = self.write(d.name, body, d.key, d.how.get("sign", ()),
                          d.how.get("dates"))
        self.damage(d, path)

    def build(self):
        self.domains, tops = [], []
        for tld, sign in TLDS.items():
            here = domains(tld, self.algorithm)
            for d in sorted(here, key=lambda d: -d.name.count(".")):
                children = [c for c in here
                            if c.name.endswith("." + d.name)]
                self.domain_write(d, children)
            body = [SOA % (tld, tld), "@ NS tld." + tld + ".",
                    "tld A " + TLD_NS, "ns A " + DOM_NS]
            for d in here:
                if d.name.count(".") == 1:
                    body += [d.name + ". NS ns." + tld + "."] + d.ds
            key = self.keygen(tld, self.algorithm)
            self.write(tld, body, key, sign)
            tops += ["%s. NS tld.%s." % (tld, tld),
                     "tld.%s. A %s" % (tld, TLD_NS), self.ds(key)]
            self.domains += here
        key = self.keygen(".", self.algorithm)
        tops += ["plain. NS ns.optout."]
        self.write("plain", [SOA % ("optout", "optout"), "@ NS ns.optout.",
                             "x MX 10 mx", "mx A 192.0.2.9"])
        self.write(".", [SOA % ("optout", "optout"), "@ NS a.root.optout.",
                         "a.root.optout. A " + ROOT_NS] + tops, key)
        with open(self.path("anchor.key"), "w") as f:
            f.write(open(self.path(key + ".key")).read())
        with open(self.path("root.hints"), "w") as f:
            f.write(". 3600 NS a.root.optout.\na.root.optout. 3600 A %s\n"
                    % ROOT_NS)

    def names(self):
        out = []
        for d in self.domains:
            label = d.name.rsplit(".", 1)[0]
            full = label in ("good", "good3", "good3s", "optout")
            for q in ASKED if full else FEW:
                owner, kind = q.split()
                expect = d.how.get("expect", "")
                if owner == "nothere":
                    expect = d.how.get("expect_no", expect)
                # Another limit of libunbound: CNAMEs that a DNAME made.
                if owner in ("x.old", "y.old") and kind == "CNAME":
                    expect = "secure"
                if expect and kind == "DS":
                    expect = "secure"
                out.append(" ".join((
                    ("" if owner == "@" else owner + ".") + d.name, kind,
                    expect)).strip())
        for t in TLDS:
            out += ["%s %s" % (t, k) for k in ("DS", "DNSKEY", "MX")]
            out += ["nothere.%s A" % t, "a.b.nothere.%s MX" % t,
                    "nothere.%s DS" % t]
        out += [". DNSKEY", ". MX", ". DS", "nothere A", "a.nothere MX",
                "plain DS", "x.plain MX", "mx.plain A", "nothere.plain A",
                "nothere DS"]
        return out

    # ---- servers ---------------------------------------------------------

    def spawn(self, *argv):
        self.processes.append(subprocess.Popen(
            argv, cwd=self.dir, stdin=subprocess.DEVNULL,
            stdout=open(self.path("servers.log"), "ab"),
            stderr=subprocess.STDOUT))

    def nsd(self, name, address, zones):
        text = """server:
	server-count: 1
	ip-address: %s
	username: ""
	zonesdir: "%s"
	zonelistfile: "%s.list"
	database: ""
	xfrdfile: "%s.xfrd"
	xfrdir: "%s"
	pidfile: "%s.pid"
	rrl-ratelimit: 0
	zonefiles-check: no
remote-control:
	control-enable: no
""" % (address, self.dir, self.path(name), self.path(name), self.dir,
       self.path(name))
        for z in zones:
            text += 'zone:\n\tname: "%s"\n\tzonefile: "%s.zone"\n' % (
                z, "root" if z == "." else z)
        with open(self.path(name + ".conf"), "w") as f:
            f.write(text)
        self.spawn("nsd", "-d", "-c", self.path(name + ".conf"))

    def unbound(self):
        text = """server:
	module-config: "iterator"
	interface: %s
	access-control: 0.0.0.0/0 allow
	do-daemonize: no
	chroot: ""
	username: ""
	directory: "%s"
	pidfile: "unbound.pid"
	use-syslog: no
	root-hints: "root.hints"
	do-not-query-localhost: no
	do-ip6: no
	num-threads: 1
	so-rcvbuf: 0
	edns-buffer-size: 1232
	outgoing-range: 900
	num-queries-per-thread: 400
	unwanted-reply-threshold: 0
remote-control:
	control-enable: no
""" % (RESOLVER, self.dir)
        with open(self.path("unbound.conf"), "w") as f:
            f.write(text)
        self.spawn("unbound", "-d", "-c", self.path("unbound.conf"))

    def start(self):
        self.nsd("rootserver", ROOT_NS, ["."])
        self.nsd("tldserver", TLD_NS, list(TLDS))
        self.nsd("domainserver", DOM_NS,
                 [d.name for d in self.domains] + ["plain"])
        self.unbound()
        with open(self.path("names"), "w") as f:
            f.write("\n".join(self.names()) + "\n")
        with open(self.path("tamper"), "w") as f:
            for n, mode in enumerate(TAMPER):
                f.write("%s 127.53.1.%d\n" % (mode, n + 1))
        proxy = os.environ.get("DNSLAB_PROXY")
        if proxy:
            self.spawn(proxy, RESOLVER, self.path("tamper"))
        end = time.monotonic() + 20
        while subprocess.run(["drill", "@" + RESOLVER, "mx.good.nsec", "A"],
                             capture_output=True, text=True,
                             ).stdout.find("192.0.2.2") < 0:
            if time.monotonic() > end:
                sys.exit("dnslab: the servers do not answer:\n" +
                         open(self.path("servers.log")).read()[-2000:])
            time.sleep(0.05)


def main(argv):
    algorithm = "ecdsa"
    if argv[0] == "--algorithm":
        algorithm = argv[1]
        argv = argv[2:]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    directory = tempfile.mkdtemp(prefix="dnslab.")
    os.chmod(directory, 0o755)
    lab = Lab(directory, algorithm)
    code = 1
    try:
        lab.build()
        lab.start()
        env = dict(os.environ, DNSLAB_DIR=directory, DNSLAB_RESOLVER=RESOLVER,
                   DNSLAB_ANCHOR=lab.path("anchor.key"),
                   DNSLAB_NAMES=lab.path("names"),
                   DNSLAB_TAMPER=lab.path("tamper"))
        code = subprocess.run(argv, env=env, check=False).returncode
    except subprocess.CalledProcessError as e:
        print("dnslab: %s: %s" % (" ".join(e.cmd), e.stderr), file=sys.stderr)
    finally:
        for p in lab.processes:
            p.send_signal(signal.SIGTERM)
        for p in lab.processes:
            try:
                p.wait(5)
            except subprocess.TimeoutExpired:
                p.kill()
        shutil.rmtree(directory, ignore_errors=True)
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if os.environ.get("DNSLAB_INSIDE"):
        main(sys.argv[1:])
    os.environ["DNSLAB_INSIDE"] = "1"
    os.execvp("unshare", ["unshare", "--net", "--pid", "--fork",
                          "--kill-child", "--mount-proc", "/usr/bin/python3", "-B",
                          os.path.abspath(__file__)] + sys.argv[1:])
