#!/usr/bin/python3
"""Fetching MTA-STS policies (RFC 8461, 3.3) from hosts that fail in every way
we know.  Without a cached policy mail goes as if there were none (5), and the
failure is remembered; a cached one stays in force.  Judged by the policy
hosts' logs, the receiving server, and an attacker who strips STARTTLS."""

import time

import common		# noqa: F401
import lab
import lab_check
import lab_daemon
import lab_mta
import lab_sts
import tap
from lab_attacker import Attacker
from lab_sts import policy, records

MX4, SENDER = "198.51.100.10", "alice@sender.test"
ROAD4 = "198.51.100.60"		# the attacker, or nobody, before MX4
GOOD4, BAD4 = "198.51.100.80", "198.51.100.81"
ODD4, OLD4 = "198.51.100.82", "198.51.100.83"
REFUSE4, SILENT4 = "198.51.100.1", "203.0.113.80"
PRIVATE4 = "10.20.30.80"
TIMEOUT = 3

net = lab.Lab()
road = net.ca.cert("mx.sender.test", "mx.one.test")
good = lab_sts.PolicyHost(net, GOOD4)
bad = lab_sts.PolicyHost(net, BAD4, "nginx-bad")
LARGE = policy("enforce", "mx.one.test") + "x: " + "y" * 70 * 1024 + "\n"
# What goes before the bound is in itself a whole, valid policy.
TEXT = policy("enforce", "mx.one.test")
FETCH, INVALID, WEBPKI = ("sts-policy-fetch-error", "sts-policy-invalid",
                          "sts-webpki-invalid")
NGINX = {	# extra lines of nginx, text, certificate, RFC 8460's name
    "404": ("return 404;", TEXT, None, FETCH),
    "500": ("return 500;", TEXT, None, FETCH),
    "301": ("return 301 https://mta-sts.target.test%s;" % lab_sts.PATH, TEXT,
            None, FETCH),
    "302own": ('location = %s { return 302 /elsewhere.txt; }'
               % lab_sts.PATH, TEXT, None, FETCH),
    "html": ("default_type text/html; types { }", TEXT, None, FETCH),
    "large": ("", LARGE, None, FETCH),
    "empty": ("", "", None, INVALID),
    "nomode": ("", TEXT.replace("mode", "mood"), None, INVALID),
    "nomx": ("", policy("enforce"), None, INVALID),
    "nover": ("", TEXT.replace("STSv1", "STSv2"), None, INVALID),
    "selfcert": ("", TEXT, {"trusted": False}, WEBPKI),
    "oldcert": ("", TEXT, {"days": -1}, WEBPKI),
    "cncert": ("", TEXT, {"san": False}, WEBPKI),
    "namecert": ("", TEXT, "mta-sts.other.test", WEBPKI),
    # The wildcard of a certificate stands for one label too.
    "starcert": ("", TEXT, "*.test", WEBPKI),
}
ODD = {
    "chunked": (lab_sts.chunked(LARGE), FETCH),
    "drip": (lab_sts.drip(TEXT, 0.2), FETCH),
    "flood": (lab_sts.flood, FETCH),
    "cut": (lab_sts.cut(TEXT, 500), FETCH),
    "cutopen": (lab_sts.open_ended(TEXT, False), FETCH),
    "gzip": (lab_sts.respond(TEXT, headers=(
        "Content-Type: text/plain", "Content-Encoding: gzip")), FETCH),
    "notype": (lab_sts.respond(TEXT, headers=()), FETCH),
    "hang": (lambda sock: time.sleep(8), FETCH),
    # No status but 200 will do, whatever comes with it.
    "404plain": (lab_sts.respond(TEXT, "404 Not Found"), FETCH),
    "203plain": (lab_sts.respond(TEXT, "203 Transformed"), FETCH),
    "307plain": (lab_sts.respond(TEXT, "307 Elsewhere", headers=(
        "Content-Type: text/plain", "Location: https://mta-sts.target.test"
        + lab_sts.PATH)), FETCH),
    "http09": (lambda sock: sock.sendall(TEXT.encode()), FETCH),
}
# Those that fail by their address or version.
PLACES = {"tls11": (OLD4, FETCH), "refused": (REFUSE4, FETCH),
          "silent": (SILENT4, FETCH), "nowhere": (None, FETCH),
          "lost": ("CNAME mx.broken.test.", FETCH)}
KINDS = [*NGINX, *ODD, *PLACES]
WANT = {k: v[-1] for d in (NGINX, ODD, PLACES) for k, v in d.items()}


def place(kind):
    """Where the broken policy host of that kind is."""
    if kind in PLACES:
        return PLACES[kind][0]
    return BAD4 if kind in NGINX else ODD4


def zone(address, number="1"):
    """What DNS has of a domain, its policy host being there."""
    mail = ["@ MX 10 mx.one.test."]
    if address is None:
        return mail + [lab_sts.record(number)]
    if " " in address:
        return mail + [lab_sts.record(number), "mta-sts " + address]
    return mail + records(address, number)


names = ["new-%s.test" % k for k in KINDS] + ["old-%s.test" % k
                                              for k in KINDS]
for _kind, (_extra, _text, _cert, _) in NGINX.items():
    for _name in ("new-%s.test" % _kind, "old-%s.test" % _kind):
        if isinstance(_cert, dict):
            _cert_pair = net.ca.cert("mta-sts." + _name, **_cert)
        else:
            _cert_pair = net.ca.cert(_cert) if _cert else None
        bad.serve(_name, _text, cert=_cert_pair, extra=_extra)
for _name in names:
    if _name.startswith("old-"):
        good.serve(_name, TEXT)
        net.dns.domain(_name, zone(GOOD4), signed=False)
    else:
        net.dns.domain(_name, zone(place(_name[4:-5])), signed=False)
for _name in ("target.test", "again.test", "fine.test"):
    good.serve(_name, TEXT)
# What is odd, and no fault.
FINE = {"ended.test": lab_sts.open_ended(TEXT, True),
        "chunks.test": lab_sts.chunked(TEXT, 10),
        "slow.test": lab_sts.drip(TEXT, 0.01),
        "charset.test": lab_sts.respond(TEXT, headers=(
            "content-type:Text/Plain; charset=utf-8",))}
for _name in FINE:
    net.dns.domain(_name, zone(ODD4), signed=False)
net.dns.domain("fine.test", zone(GOOD4), signed=False)
net.dns.domain("again.test", zone(BAD4), signed=False)
bad.serve("again.test", TEXT, extra="return 404;")
net.dns.domain("broken.test", None)
net.dns.domain("sender.test", ["@ MX 10 mx", "mx A " + MX4], signed=False)
net.dns.domain("one.test", ["mx A " + ROAD4], signed=False)
private = lab_sts.PolicyHost(net, PRIVATE4, "nginx-private")
for _name in ("inner.test", "seen.test"):
    private.serve(_name, TEXT)
    net.dns.domain(_name, zone(PRIVATE4), signed=False)
net.start()
for _host in (good, bad, private):
    _host.start()
odd = lab_sts.OddHost(net, ODD4, {**FINE, **{
    n: ODD[n[4:-5]][0] for n in names if n[4:-5] in ODD}})
old = lab_sts.OddHost(net, OLD4, {n: lab_sts.respond(TEXT) for n in names
                                  if n[4:-5] == "tls11"}, tls11=True)
users = [SENDER] + ["ann@" + d for d in (
    *names, *FINE, "again.test", "fine.test", "inner.test", "seen.test")]
postfix = lab_mta.Postfix(net, users)
postfix.cert = road
postfix.listen(MX4)
postfix.start()
attacker = Attacker(net, ROAD4, MX4, "pass")


def new_daemon(name="daemon", port=lab_daemon.PORT, **sts):
    base = "%s/%s" % (net.dir, name)
    return lab_daemon.Daemon(
        net, lab_daemon.program(), name,
        listen={"unix:%s/submit" % base: {}, "127.0.0.1:%d" % port: {}},
        retry={"first": "10m", "max": "10m"},
        # Sessions are short: what the attacker does counts from now on.
        timeout={"idle": "10ms"},
        **{"mta-sts": {"fetch-timeout": "%ds" % TIMEOUT,
                       "allow-private-addresses": True, **sts}})


daemon = new_daemon()
daemon.start()
t = tap.Tap(on_fail=daemon.explain)


def submit(to, d=daemon):
    done = d.run("submit", "-c", d.config, "-f", SENDER, to,
                 stdin=b"Subject: s\n\nsecret of %s\n" % to.encode())
    tap.equal(done.returncode, 0, "exit, %r" % done.stderr)


def mail_all(recipients, d=daemon, seconds=40):
    """One message to each; their delivery lines."""
    seen = {to: len(d.deliveries(to=to)) for to in recipients}
    for to in recipients:
        submit(to, d)

    def lines():
        found = {to: d.deliveries(to=to)[n:] for to, n in seen.items()}
        return all(found.values()) and {to: x[0] for to, x in found.items()}
    return net.wait("results for all", lines, seconds, 0.2)


def entry(domain, d=daemon):
    """What the cache has of a domain."""
    found = d.queue_json("policies", "show", domain)
    tap.equal(len(found), 1, "entries of " + domain)
    return found[0]


def failure_of(domain, d=daemon):
    return entry(domain, d).get("result_type")


def requests(name):
    return len(bad.fetches(name)) + len(odd.fetches(name))


@t.test("no policy can be had: %d ways, mail is delivered" % len(KINDS))
def _():
    began = time.monotonic()
    lines = mail_all(["ann@new-%s.test" % k for k in KINDS])
    for to, line in lines.items():
        tap.equal((line["status"], line["tls"], line["why"]),
                  ("sent", "encrypted", "default"), line["_line"])
    tap.true(time.monotonic() - began < 20, "it took too long")
    for k in KINDS:
        postfix.expect("ann@new-%s.test" % k)


for _kind in KINDS:
    @t.test("%s: the failure is remembered as %s" % (_kind, WANT[_kind]))
    def _(kind=_kind):
        tap.equal(failure_of("new-%s.test" % kind), WANT[kind],
                  "result_type")
        if kind in ODD or kind in NGINX and WANT[kind] != WEBPKI:
            tap.equal(requests("new-%s.test" % kind), 1, "requests")


@t.test("what is odd, and no fault, is a policy")
def _():
    for line in mail_all(["ann@" + d for d in FINE]).values():
        tap.equal((line["status"], line["tls"]), ("sent", "sts"),
                  line["_line"])


@t.test("a redirection is not followed, nobody speaks TLS 1.1")
def _():
    tap.equal(good.fetches("target.test"), [], "at the target")
    tap.equal([f["request"] for f in bad.fetches("new-302own.test")],
              ["GET %s HTTP/1.1" % lab_sts.PATH], "at the host itself")
    tap.true(old.connections > 0, "it was asked")
    tap.equal(old.seen, [], "requests over TLS 1.1")


@t.test("the name of a bad certificate heard no request")
def _():
    for k in KINDS:
        if WANT[k] == WEBPKI:
            tap.equal(bad.fetches("new-%s.test" % k), [], k)


@t.test("a slow drip ended with the time for a fetch")
def _():
    line = daemon.delivery(to="ann@new-drip.test")
    tap.true(float(line["delay"].rstrip("s")) < TIMEOUT + 4, line["_line"])


@t.test("they are not fetched again while the pause lasts")
def _():
    some = [k for k in KINDS if k not in PLACES]
    before = {k: requests("new-%s.test" % k) for k in some}
    lines = mail_all(["ann@new-%s.test" % k for k in KINDS])
    tap.equal({x["status"] for x in lines.values()}, {"sent"}, "status")
    tap.equal({k: requests("new-%s.test" % k) for k in some}, before,
              "requests")


@t.test("check says of each what delivery did")
def _():
    tap.equal(lab_check.Check(daemon, SENDER).same_all(
        ["new-%s.test" % k for k in KINDS] + list(FINE)),
        len(KINDS) + len(FINE), "domains")


@t.test("with a cached policy: first it is there, and verified")
def _():
    lines = mail_all(["ann@old-%s.test" % k for k in KINDS])
    for to, line in lines.items():
        tap.equal((line["status"], line["tls"]), ("sent", "sts"),
                  line["_line"])


@t.test("then its host fails in all these ways, with a new id: still verified")
def _():
    for k in KINDS:
        net.dns.domain("old-%s.test" % k, zone(place(k), "2"))
    net.dns.reload()
    time.sleep(5.2)		# what is known is good for so long
    lines = mail_all(["ann@old-%s.test" % k for k in KINDS])
    for to, line in lines.items():
        tap.equal((line["status"], line["tls"]), ("sent", "sts"),
                  line["_line"])
        postfix.expect(to, 2)
    for k in ODD:
        tap.equal(requests("old-%s.test" % k), 1, "requests for " + k)


@t.test("... and a stripping attacker gets nothing")
def _():
    attacker.mode = "strip"
    attacker.clear.clear()
    lines = mail_all(["ann@old-%s.test" % k for k in KINDS])
    for to, line in lines.items():
        tap.equal((line["status"], line.get("result_type")),
                  ("deferred", "starttls-not-supported"), line["_line"])
        tap.equal(len(postfix.messages(to)), 2, "messages of " + to)
    read = b"".join(attacker.clear)
    tap.true(b"EHLO" in read and b"MAIL" not in read, "what he read")
    for k in KINDS:
        tap.equal(failure_of("old-%s.test" % k), WANT[k], "result_type " + k)
    tap.equal(lab_check.Check(daemon, SENDER).same_all(
        ["old-%s.test" % k for k in KINDS]), len(KINDS), "check agrees")


@t.test("... while mail to a domain without a policy shows that he is real")
def _():
    attacker.clear.clear()
    line = mail_all(["ann@new-404.test"])["ann@new-404.test"]
    tap.equal((line["status"], line["tls"]), ("sent", "none"), line["_line"])
    tap.true(b"secret" in b"".join(attacker.clear), "what he read")
    attacker.mode = "pass"


@t.test("pauses: fetched again after one, and each is longer")
def _():
    again = new_daemon("again", 10026, retry="4s", **{"max-retry": "1h"})
    again.start()
    times = []

    def fetched():
        mail_all(["ann@again.test"], again)
        times[:] = [f["at"] for f in bad.fetches("again.test")]
        return len(times) >= 3
    net.wait("three fetches", fetched, 30, 0.5)
    again.stop()
    first, second = times[1] - times[0], times[2] - times[1]
    tap.true(first >= 3.9 and second >= 7.9, "pauses: %r" % times)


@t.test("private addresses are asked only where that is allowed")
def _():
    strict = new_daemon("strict", 10027, **{"allow-private-addresses": False})
    strict.start()
    line = mail_all(["ann@inner.test"], strict)["ann@inner.test"]
    tap.equal((line["status"], line["why"]), ("sent", "default"), "line")
    tap.equal(failure_of("inner.test", strict), FETCH, "result_type")
    strict.stop()
    tap.equal(private.fetches(), [], "requests")
    line = mail_all(["ann@seen.test"])["ann@seen.test"]
    tap.equal((line["status"], line["tls"]), ("sent", "sts"), line["_line"])
    tap.equal(len(private.fetches()), 1, "requests")


@t.test("no proxy of the environment is asked, no file of the user read")
def _():
    names = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
             "ALL_PROXY")
    saved = {n: lab.os.environ.get(n) for n in names}
    lab.os.environ.update({n: "http://127.0.0.1:9" for n in names})
    other = new_daemon("proxy", 10028)
    other.start()
    for n, v in saved.items():
        if v is None:
            del lab.os.environ[n]
        else:
            lab.os.environ[n] = v
    line = mail_all(["ann@fine.test"], other)["ann@fine.test"]
    other.stop()
    tap.equal((line["status"], line["tls"]), ("sent", "sts"), line["_line"])
    tap.equal(len(good.fetches("fine.test")), 1, "requests")


@t.test("no process has died, and it stops in order")
def _():
    daemon.ends_well()


t.run()
