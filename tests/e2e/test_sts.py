#!/usr/bin/python3
"""MTA-STS (RFC 8461): what a policy does to delivery, with an nginx as policy
host.  What arrived, and over what, is judged by the receiving servers."""

import re

import common		# noqa: F401
import lab
import lab_check
import lab_daemon
import lab_mta
import lab_peer
import lab_sts
import lab_world
import tap
from lab_sts import policy, record
from lab_tlsa import tlsa

GOOD4, SELF4, EXPIRED4 = "198.51.100.10", "198.51.100.12", "198.51.100.13"
OTHER4, COMMON4, CLEAR4 = "198.51.100.14", "198.51.100.15", "198.51.100.11"
EXIM4, WEB4, PEER4 = "198.51.100.20", "198.51.100.80", "198.51.100.30"
SENDER = "alice@sender.test"

# defect: (receiver, mx pattern, RFC 8460's name for it, clear text)
DEFECTS = {
    "good": (GOOD4, "mx.%s", None, False),
    "star": (GOOD4, "*.%s", None, False),
    "wrongmx": (GOOD4, "mx.other.test", "validation-failure", False),
    "deepstar": (GOOD4, "*.test", "validation-failure", False),
    "self": (SELF4, "mx.%s", "certificate-not-trusted", False),
    "expired": (EXPIRED4, "mx.%s", "certificate-expired", False),
    "misnamed": (OTHER4, "mx.%s", "certificate-host-mismatch", False),
    "cnonly": (COMMON4, "mx.%s", "certificate-host-mismatch", False),
    "clear": (CLEAR4, "mx.%s", "starttls-not-supported", True),
    "exim": (EXIM4, "mx.%s", None, False),
    "eximbad": (EXIM4, "mx.%s", "certificate-host-mismatch", False),
}
MODES = ("enforce", "testing", "none", "bare")
TABLE = {"%s-%s.test" % (m, d): (m, d) for m in MODES for d in DEFECTS}

net = lab.Lab()
web = lab_sts.PolicyHost(net, WEB4)
domains, unsigned = {}, {}


def one(address, *more):
    return ["@ MX 10 mx", "mx A " + address, *more]


def protected(name, records, *text, signed=False):
    """A domain with a policy at the policy host."""
    (domains if signed else unsigned)[name] = [
        *records, record(), "mta-sts A " + WEB4]
    web.serve(name, policy(*text))


for _name, (_mode, _defect) in TABLE.items():
    _address, _pattern, _, _ = DEFECTS[_defect]
    _mx = _pattern % _name if "%" in _pattern else _pattern
    if _mode == "bare":
        unsigned[_name] = one(_address)
    elif _mode == "none":
        protected(_name, one(_address), "none")
    else:
        protected(_name, one(_address), _mode, _mx)


def mx(name):
    return "mx." + name


good_names = ["mx.sender.test", "implicit.test", "implicit-star.test",
              "two.second.test", "*.wild.test"] + [
    mx(d) for d, x in TABLE.items() if DEFECTS[x[1]][0] == GOOD4] + [
    "mx.%s.test" % d for d in ("skip", "crlf", "req", "sub", "stsgood",
                               "byrule", "reqnone")]
good = net.ca.cert(*good_names)
own = net.ca.cert(*(mx(m + "-self.test") for m in MODES), trusted=False)
expired = net.ca.cert(*(mx(m + "-expired.test") for m in MODES), days=-1)
other = net.ca.cert("mx.other.test")
# A common name is no subjectAltName: each would fit by its common name.
cn_only = net.ca.cert("mx.enforce-cnonly.test", san=False)
gnutls = net.ca.cert(*(mx(m + "-exim.test") for m in MODES))

# Several hosts: each is judged on its own.
protected("skip.test", ["@ MX 10 out", "@ MX 20 mx", "out A " + SELF4,
                        "mx A " + GOOD4], "enforce", "mx.skip.test")
protected("second.test", ["@ MX 10 one", "@ MX 20 two", "one A " + OTHER4,
                          "two A " + GOOD4], "enforce", "*.second.test")
protected("nonefits.test", ["@ MX 10 one", "@ MX 20 two", "one A " + GOOD4,
                            "two A " + CLEAR4], "enforce", "mx.nonefits.test",
          "two.nonefits.test")
protected("wild.test", ["@ MX 10 a.b", "a.b A " + GOOD4], "enforce",
          "*.wild.test")
# The policy is the recipient domain's alone (3.1): not of what is below,
protected("sub.test", one(CLEAR4, "deep MX 10 mx"), "enforce", "mx.sub.test")
# not of what an alias leads to, while one at _mta-sts itself is followed.
unsigned["alias.test"] = ["www CNAME enforce-clear.test."]
unsigned["record.test"] = one(
    CLEAR4, "_mta-sts CNAME _mta-sts.enforce-clear.test.",
    "mta-sts CNAME mta-sts.enforce-clear.test.")
web.serve("record.test", policy("enforce", "mx.record.test"))
protected("crlf.test", one(GOOD4), "enforce", "mx.crlf.test")
# A domain is one, however its name is written.
protected("xn--bcher-kva.test", one(CLEAR4), "enforce",
          "mx.xn--bcher-kva.test")
protected("ulabel.test", ["@ MX 10 mx.xn--bcher-kva.test."], "enforce",
          "mx.b\u00fccher.test")
# Without MX records the domain is its own host (RFC 5321 5.1).
protected("implicit.test", ["@ A " + GOOD4], "enforce", "implicit.test")
protected("implicit-star.test", ["@ A " + GOOD4], "enforce",
          "*.implicit-star.test")
protected("implicit-clear.test", ["@ A " + CLEAR4], "enforce",
          "implicit-clear.test")
# An alias of a mail host changes nothing: the MX record's name counts.
protected("alias-mx.test", ["@ MX 10 mx", "mx CNAME mx.other.test."],
          "enforce", "mx.alias-mx.test")
unsigned["other.test"] = ["mx A " + OTHER4]
# DANE decides where it is there (section 2).
protected("stsgood.test", one(GOOD4, "_25._tcp.mx TLSA 3 1 1 " + "ab" * 32),
          "enforce", "mx.stsgood.test", signed=True)
protected("danegood.test", one(SELF4, tlsa(3, 1, 1, own[0])), "enforce",
          "mx.danegood.test", signed=True)
protected("daneout.test", one(SELF4, tlsa(3, 1, 1, own[0])), "enforce",
          "mx.elsewhere.test", signed=True)
# ... but an unsigned MX could name any host that has TLSA records.
protected("unsignedmx.test", ["@ MX 10 mx.danegood.test."], "enforce",
          "mx.danegood.test")
protected("stolen.test", ["@ MX 10 mx.danegood.test."], "enforce",
          "mx.stolen.test")
# Messages with a demand of their own (RFC 8689), and local rules.
protected("req.test", one(PEER4), "enforce", "mx.req.test")
unsigned["reqnone.test"] = one(PEER4)
protected("byrule.test", one(CLEAR4), "enforce", "mx.byrule.test")
protected("override.test", one(CLEAR4), "enforce", "mx.override.test")
protected("floor.test", one(OTHER4), "enforce", "mx.floor.test")
protected("relayed.test", one(GOOD4), "enforce", "mx.relayed.test")
protected("off.test", one(CLEAR4), "enforce", "mx.off.test")

for _name, _records in {"sender.test": one(GOOD4), **unsigned}.items():
    net.dns.domain(_name, _records, signed=False)
for _name, _records in domains.items():
    net.dns.domain(_name, _records)
net.start()
web.policy("crlf.test", policy("enforce", "mx.crlf.test", end="\r\n"))
web.start()
users = [SENDER] + ["ann@" + d for d in (
    *domains, *unsigned, "www.alias.test", "deep.sub.test",
    "[%s]" % CLEAR4)]
exim_users = [u for u in users if "exim" in u]
postfix = lab_mta.Postfix(net, [u for u in users if u not in exim_users])
for _address, _pair in ((GOOD4, good), (SELF4, own), (EXPIRED4, expired),
                        (OTHER4, other), (COMMON4, cn_only)):
    postfix.listen(_address, smtpd_tls_chain_files="%s,%s" % _pair[::-1])
postfix.listen(CLEAR4, smtpd_tls_security_level="none")
postfix.start()
exim = lab_mta.Exim(net, EXIM4, exim_users)
exim.cert = gnutls
exim.start()


class Strict(lab_peer.Session):
    """Offers REQUIRETLS, which neither Postfix nor Exim know."""
    tls = lab_peer.tls_context(good)
    extensions = lab_peer.Session.extensions + ["REQUIRETLS"]


peer = lab_peer.Peer(net, PEER4, Strict)
RULES = """
destination "byrule.test" { tls = may }
destination "override.test" { tls = may override = yes }
destination "floor.test" { tls = encrypt }
destination "relayed.test" { relay = "mx.off.test:25" }
"""
STS = {"fetch-timeout": "10s", "allow-private-addresses": True}
daemon = lab_daemon.Daemon(net, lab_daemon.program(), text=RULES,
                           retry={"first": "10m", "max": "10m"},
                           **{"mta-sts": STS})
daemon.start()
t = tap.Tap(on_fail=daemon.explain)


def mail(to, status, seconds=20):
    seen = len(daemon.deliveries(to=to))
    daemon.mail(SENDER, to, "secret of " + to)
    line = net.wait("a result for " + to, lambda: daemon.deliveries(
        to=to)[seen:], seconds)[0]
    tap.equal(line["status"], status, "status= of %r" % line["_line"])
    return line


def box(to):
    return (exim if to in exim_users else postfix).messages(to)


def arrived(to):
    """How the receiving server says that it came: True is over TLS."""
    server = exim if to in exim_users else postfix
    found = server.expect(to)
    tap.equal(len(found), 1, "messages of " + to)
    received = str(found[0].get_all("Received")[0])
    return bool(re.search(r"using TLS|\(TLS|esmtps", received))


def delivered(to, tls, sts=True):
    line = mail(to, "sent")
    tap.equal((line["tls"], line["why"] == "sts"), (tls, sts),
              "tls= and why=sts of %r" % line["_line"])
    tap.equal(arrived(to), tls != "none", "TLS at the receiver")
    return line


def held(to, result):
    line = mail(to, "deferred")
    tap.equal((line["result_type"], line["dsn"][:4]), (result, "4.7."),
              "result_type= and dsn= of %r" % line["_line"])
    tap.equal(box(to), [], "mailbox")
    return line


# All at once, so that one slow handshake does not hold up the others.
@t.test("mail to %d domains, each with one property" % len(TABLE))
def _():
    for name in TABLE:
        daemon.mail(SENDER, "ann@" + name)
    net.wait("all are tried", lambda: len(
        {x["to"] for x in daemon.deliveries()}) >= len(TABLE), 40, 0.2)


def judge(name, mode, defect):
    to = "ann@" + name
    _, _, result, clear = DEFECTS[defect]
    line = daemon.delivery(to=to)
    if mode == "enforce" and result:
        tap.equal((line["status"], line.get("result_type"), line["dsn"][:4]),
                  ("deferred", result, "4.7."), line["_line"])
        tap.equal(line.get("why"), "sts", "why= of %r" % line["_line"])
        tap.equal(box(to), [], "mailbox")
        return
    if mode == "testing":
        said = daemon.events("sts-testing", domain=name)
        tap.equal([x["result_type"] for x in said], [result] if result
                  else [], "what testing mode found")
    tap.equal(line["status"], "sent", line["_line"])
    tap.equal(arrived(to), not clear, "TLS at the receiver")
    if mode == "enforce":
        tap.equal((line["tls"], line["why"]), ("sts", "sts"), line["_line"])
    elif mode in ("none", "bare") or result:
        tap.equal(line["tls"], "none" if clear else "encrypted",
                  line["_line"])


for _name, (_mode, _defect) in TABLE.items():
    @t.test("%s, %s" % ({"bare": "no policy", "none": "mode none"}.get(
        _mode, _mode), _defect))
    def _(name=_name, mode=_mode, defect=_defect):
        judge(name, mode, defect)


@t.test("the policy host saw one request for each, and nothing more")
def _():
    asked = [f for f in web.fetches() if f["sni"][8:] in TABLE]
    tap.equal(sorted(f["sni"] for f in asked), sorted(
        "mta-sts." + d for d, (m, _) in TABLE.items() if m != "bare"),
        "names")
    for f in asked:
        tap.equal((f["host"], f["request"], f["cookie"]), (
            f["sni"], "GET /.well-known/mta-sts.txt HTTP/1.1", "-"),
            "request")
        tap.match(r"^TLSv1\.[23]$", f["tls"], "protocol")


@t.test("check says of each what delivery did")
def _():
    check = lab_check.Check(daemon, SENDER)
    tap.equal(check.same_all(TABLE), len(TABLE), "domains")
    net.wait("its sessions end", lambda: len(postfix.log_lines(
        r": connect from")) == len(postfix.log_lines(r"disconnect from")))
    check.follow(t)		# no request is counted from here on


@t.test("a host outside the policy is skipped, and not even asked")
def _():
    net.wait("the sessions above end", lambda: len(postfix.log_lines(
        r"\]: connect from")) == len(postfix.log_lines(r"disconnect from")))
    before = len(postfix.log_lines(r"disconnect from"))
    line = delivered("ann@skip.test", "sts")
    tap.equal(line["mx"], "mx.skip.test", "mx=")
    tap.equal(line["ip"], GOOD4, "ip=")
    net.wait("the session ends", lambda: len(postfix.log_lines(
        r"disconnect from")) > before)
    tap.equal(len(postfix.log_lines(r"disconnect from")), before + 1,
              "sessions")


@t.test("a host with a bad certificate: the next one gets it")
def _():
    line = delivered("ann@second.test", "sts")
    tap.equal(line["mx"], "two.second.test", "mx=")


@t.test("one host outside the policy, the other in clear text: deferred")
def _():
    held("ann@nonefits.test", "starttls-not-supported")


@t.test("a wildcard stands for one label")
def _():
    held("ann@wild.test", "validation-failure")


@t.test("the policy of a domain is not that of the domains below it")
def _():
    held("ann@sub.test", "starttls-not-supported")
    delivered("ann@deep.sub.test", "none", sts=False)


@t.test("a recipient domain that is an alias has no policy by it")
def _():
    delivered("ann@www.alias.test", "none", sts=False)


@t.test("an alias at _mta-sts is followed")
def _():
    held("ann@record.test", "starttls-not-supported")
    tap.equal(len(web.fetches("record.test")), 1, "fetches")


@t.test("a domain in capitals, with a dot behind it, in U-labels, or with "
        "U-labels in its policy")
def _():
    for to, name in (("ann@ENFORCE-Clear.TEST", "enforce-clear.test"),
                     ("ann@b\u00fccher.test", "xn--bcher-kva.test"),
                     ("ann@B\u00dcCHER.test", "xn--bcher-kva.test"),
                     ("ann@ulabel.test", "ulabel.test"),
                     ("ann@enforce-clear.test.", "enforce-clear.test")):
        seen = len(daemon.deliveries(destination=name))
        done = daemon.run("submit", "-c", daemon.config, "-f", SENDER, to,
                          stdin=b"Subject: s\n\nsecret\n")
        tap.equal(done.returncode, 0, "exit, %r" % done.stderr)
        line = net.wait("a result for " + to, lambda: daemon.deliveries(
            destination=name)[seen:], 20)[0]
        tap.equal((line["status"], line["result_type"], line["why"]),
                  ("deferred", "starttls-not-supported", "sts"),
                  line["_line"])


@t.test("without MX records the policy must name the domain itself")
def _():
    tap.equal(delivered("ann@implicit.test", "sts")["mx"], "implicit.test",
              "mx=")
    held("ann@implicit-star.test", "validation-failure")
    held("ann@implicit-clear.test", "starttls-not-supported")


@t.test("a mail host that is an alias must have its own name's certificate")
def _():
    held("ann@alias-mx.test", "certificate-host-mismatch")


@t.test("an address literal has no policy, and none is asked for")
def _():
    before = len(web.fetches())
    line = mail("ann@[%s]" % CLEAR4, "sent")
    tap.equal((line["tls"], line["why"]), ("none", "default"), line["_line"])
    tap.equal(len(web.fetches()), before, "fetches")


@t.test("lines of the policy may end in CRLF")
def _():
    delivered("ann@crlf.test", "sts")


@t.test("DANE fails, MTA-STS would do: nothing arrives")
def _():
    line = mail("ann@stsgood.test", "deferred")
    tap.equal(line["result_type"], "validation-failure", line["_line"])
    tap.equal(box("ann@stsgood.test"), [], "mailbox")


@t.test("DANE fits, MTA-STS would fail: delivered by DANE")
def _():
    for to in ("ann@danegood.test", "ann@daneout.test"):
        tap.equal(delivered(to, "dane", sts=False)["why"], "dane", "why=")


@t.test("... but unsigned MX records must name a host of the policy too")
def _():
    tap.equal(delivered("ann@unsignedmx.test", "dane", sts=False)["why"],
              "dane", "why=")
    held("ann@stolen.test", "validation-failure")


@t.test("a relay of our own is not the domain's to name")
def _():
    delivered("ann@relayed.test", "none", sts=False)
    tap.equal(web.fetches("relayed.test"), [], "fetches")


def require(to, *options, header=""):
    done = daemon.run("submit", "-c", daemon.config, "-f", SENDER, *options,
                      to, stdin=("From: <%s>\nTo: <%s>\nSubject: s\n%s\nx\n"
                                 % (SENDER, to, header)).encode())
    tap.equal(done.returncode, 0, "exit, %r" % done.stderr)


@t.test("REQUIRETLS: an enforced policy proves an unsigned MX")
def _():
    require("ann@req.test", "--require-tls")
    line = daemon.delivery(to="ann@req.test", status="sent")
    tap.equal((line["tls"], line["why"]), ("pkix", "requiretls"),
              line["_line"])
    tap.match("REQUIRETLS", peer.messages()[0][0], "MAIL")
    tap.true(peer.sessions[-1].tls_active, "TLS")


@t.test("... and without one it is not")
def _():
    before = len(peer.messages())
    require("ann@reqnone.test", "--require-tls")
    line = daemon.delivery(to="ann@reqnone.test")
    tap.true(line["status"] in ("deferred", "bounced"), line["_line"])
    tap.equal(len(peer.messages()), before, "messages")


@t.test("TLS-Required: No outweighs a policy, for that message")
def _():
    held("ann@off.test", "starttls-not-supported")
    require("ann@off.test", header="TLS-Required: No\n")
    daemon.delivery(to="ann@off.test", status="sent", tls="none")
    tap.equal(arrived("ann@off.test"), False, "TLS at the receiver")


@t.test("a rule does not weaken a policy, unless it says override")
def _():
    held("ann@byrule.test", "starttls-not-supported")
    held("ann@floor.test", "certificate-host-mismatch")
    delivered("ann@override.test", "none", sts=False)


@t.test("notices say in words that it was MTA-STS")
def _():
    short = lab_daemon.Daemon(
        net, lab_daemon.program(), "short", listen={
            "unix:%s/short/submit" % net.dir: {},
            "127.0.0.1:10026": {}}, retry={
            "first": "1s", "max": "1s", "delay-notice": "2s",
            "expire": "5s"}, **{"mta-sts": STS})
    short.start()
    done = short.run("submit", "-c", short.config, "-f", SENDER,
                     "ann@enforce-misnamed.test", stdin=b"Subject: s\n\nx\n")
    tap.equal(done.returncode, 0, "exit")
    for action in ("delayed", "failed"):
        notice = net.wait("a notice: " + action, lambda a=action: [
            m for m in postfix.messages(SENDER)
            if "Action: " + a in lab_world.report(m)], 20)[0]
        text = notice.get_body() or next(notice.iter_parts())
        tap.match("MTA-STS", text.get_content(), "text of the notice")
        tap.match("enforce-misnamed.test", lab_world.report(notice),
                  "report")
    short.stop()
    tap.equal(box("ann@enforce-misnamed.test"), [], "mailbox")


@t.test("no process has died, and it stops in order")
def _():
    daemon.ends_well()


t.run()
