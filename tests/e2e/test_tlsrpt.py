#!/usr/bin/python3
"""TLSRPT (RFC 8460): real servers misbehave in each of the eleven ways, and
what they did is found in reports that arrived: as signed mail in a Postfix
mailbox, and at an HTTPS server."""

import json
import os
import re
import signal
import time

import common		# noqa: F401
import lab
import lab_check
import lab_daemon
import lab_mta
import lab_report
import lab_sts
import tap
from lab_sts import policy, record
from lab_tlsa import tlsa

GOOD4, SELF4, EXPIRED4 = "198.51.100.10", "198.51.100.12", "198.51.100.13"
OTHER4, CLEAR4, WEB4 = "198.51.100.14", "198.51.100.11", "198.51.100.80"
ODD4, SINK4 = "198.51.100.81", "198.51.100.90"
SENDER = "alice@sender.test"
HOST = "report.sink.test"
URL = "https://%s:%d" % (HOST, lab_report.PORT)

net = lab.Lab()
web = lab_sts.PolicyHost(net, WEB4)
wrong = "_25._tcp.mx TLSA 3 1 1 " + "ab" * 32


def one(address, *more):
    return ["@ MX 10 mx", "mx A " + address, *more]


def sts(address, web_address=WEB4):
    return one(address, record(), "mta-sts A " + web_address)


# domain: (records, signed, what its report must have, does mail arrive)
STARTTLS = "starttls-not-supported"
TABLE = {
    "starttls.test": (sts(CLEAR4), False, ("sts", STARTTLS), False),
    "misnamed.test": (sts(OTHER4), False,
                      ("sts", "certificate-host-mismatch"), False),
    "expired.test": (sts(EXPIRED4), False, ("sts", "certificate-expired"),
                     False),
    "self.test": (sts(SELF4), False, ("sts", "certificate-not-trusted"),
                  False),
    "nomatch.test": (one(OTHER4, wrong), True,
                     ("tlsa", "validation-failure"), False),
    "unlisted.test": (sts(GOOD4), False, ("sts", "validation-failure"),
                      False),
    "short.test": (one(OTHER4, "_25._tcp.mx TLSA 3 1 1 abcdef"), True,
                   ("tlsa", "tlsa-invalid"), True),
    "lost.test": (one(OTHER4, "_25._tcp.mx CNAME mx.broken.test."), True,
                  ("tlsa", "dnssec-invalid"), False),
    "bogusmx.test": (one(GOOD4), True, ("tlsa", "dnssec-invalid"), False),
    "bogushost.test": (one(GOOD4), True, ("tlsa", "dnssec-invalid"), False),
    "rule.test": (one(GOOD4), True, ("tlsa", "dane-required"), False),
    "nofile.test": (sts(GOOD4), False, ("sts", "sts-policy-fetch-error"),
                    True),
    "badfile.test": (sts(GOOD4), False, ("sts", "sts-policy-invalid"), True),
    "webcert.test": (sts(GOOD4, ODD4), False,
                     ("sts", "sts-webpki-invalid"), True),
    "plainclear.test": (one(CLEAR4), False, ("no-policy-found", STARTTLS),
                        True),
}
REASONS = {"nomatch.test": "dane-no-match", "unlisted.test": "sts-mx-mismatch",
           "short.test": "tlsa-unusable", "lost.test": "tlsa-lookup",
           "self.test": "certificate-self-signed",
           "bogusmx.test": "dnssec-bogus", "bogushost.test": "dnssec-bogus",
           "starttls.test": "starttls-missing"}
DOMAIN_OF = {"bogusmx.test": "bogusmx.test",
             "bogushost.test": "mx.bogushost.test",
             "lost.test": "mx.lost.test"}
good = net.ca.cert("mx.both.test", "mx.unlisted.test", "mx.reports.test",
                   "mx.sender.test", "mx.fine.test")
own = net.ca.cert("mx.self.test", trusted=False)
expired = net.ca.cert("mx.expired.test", days=-1)
other = net.ca.cert("mx.other.test")
RUA = lab_report.record("mailto:tls@reports.test", URL + "/all")

for _name, (_records, _signed, *_) in TABLE.items():
    net.dns.domain(_name, _records + [RUA], signed=_signed)
    web.serve(_name, policy("enforce", "mx.else.test" if _name ==
                            "unlisted.test" else "mx." + _name))
web.policy("badfile.test", "version: STSv1\nmode: enforce\n")
# Both policies in one session, and both met.
net.dns.domain("both.test", sts(GOOD4) + [tlsa(3, 1, 1, good[0]), RUA])
web.serve("both.test", policy("testing", "mx.both.test"))
net.dns.domain("optional.test", sts(SELF4) + [
    lab_report.record("mailto:tls@reports.test")], signed=False)
web.serve("optional.test", policy("enforce", "mx.optional.test"))
net.dns.domain("optclear.test", one(CLEAR4) + [
    lab_report.record("mailto:tls@reports.test")], signed=False)
net.dns.domain("broken.test", None)
net.dns.domain("reports.test", one(GOOD4, RUA), signed=False)
net.dns.domain("sender.test", one(GOOD4), signed=False)
net.dns.domain("sink.test", ["report A " + SINK4], signed=False)
# Of these the way of the report is tested.
for _name, _rua in (
        ("excluded.test", "mailto:tls@reports.test"),
        ("norecord.test", None), ("malformed.test", "here-please"),
        ("ftp.test", "ftp://sink.test/"), ("later.test", URL + "/later"),
        ("crash.test", URL + "/crash"), ("private.test", URL + "/private"),
        ("off.test", "mailto:tls@reports.test"),
        ("mailcrash.test", "mailto:tls@reports.test"),
        ("good.test", "mailto:tls@reports.test")):
    net.dns.domain(_name, one(GOOD4) + (
        [lab_report.record(_rua)] if _rua else []), signed=False)
# What is long known of it outlives its TLSA records.
net.dns.domain("silent.test", one(GOOD4, "_25._tcp.mx 1 TLSA 3 1 1 " + "ab" * 32),
               signed=True, ttl=3600)


def spoil(domain, pattern, new):
    """A record is changed after it was signed."""
    path = os.path.join(net.dns.dir, domain + ".zone")
    with open(path) as f:
        text = f.read()
    changed = re.sub("(?m)^(%s)" % pattern, new, text)
    tap.true(changed != text, "spoiled " + domain)
    with open(path, "w") as f:
        f.write(changed)


net.dns.write()
spoil("bogusmx.test", r"bogusmx\.test\.\s.*\sMX\s+10 ",
      "bogusmx.test. IN MX 11 ")
spoil("bogushost.test", r"mx\.bogushost\.test\.\s.*\sA\s+\S+$",
      "mx.bogushost.test. IN A " + OTHER4)
net.start()
web.start()
os.unlink("%s/www/nofile.test%s" % (web.dir, lab_sts.PATH))
odd = lab_sts.OddHost(net, ODD4, {"webcert.test": lab_sts.respond("")},
                      cert=net.ca.cert("mta-sts.elsewhere.test"))
sink = lab_report.Sink(net, SINK4, HOST)
WAYS = ("excluded", "norecord", "malformed", "ftp", "later", "crash",
        "private", "off", "mailcrash", "good", "optional", "optclear",
        "silent")
postfix = lab_mta.Postfix(net, [SENDER, "tls@reports.test",
                                *("ann@" + d for d in (*TABLE, "both.test")),
                                *("ann@%s.test" % d for d in WAYS)])
for _address, _pair in ((GOOD4, good), (SELF4, own), (EXPIRED4, expired),
                        (OTHER4, other)):
    postfix.listen(_address, smtpd_tls_chain_files="%s,%s" % _pair[::-1])
postfix.listen(CLEAR4, smtpd_tls_security_level="none")
postfix.start()

key = os.path.join(net.dir, "dkim.pem")
dkim_record = lab_report.key(key, "smtpd-out")
TLSRPT = {"send": "yes", "organization": "Lab", "contact": "pm@sender.test",
          "allow-private-addresses": True, "exclude": ["excluded.test"],
          "retry": "1h"}
daemon = lab_daemon.Daemon(
    net, lab_daemon.program(), text='destination "rule.test" '
    '{ tls = dane-only }', retry={"first": "10m", "max": "10m"},
    dkim={"domain": "sender.test", "selector": "s1", "key-file": key},
    tlsrpt=TLSRPT, **{"mta-sts": {"fetch-timeout": "10s",
                                  "allow-private-addresses": True}})
daemon.start()
t = tap.Tap(on_fail=daemon.explain)
lab_check.Check(daemon, "").follow(t, not_after=("our own resolver",))


def report(*command, status=0):
    """The JSON of a report command."""
    done = daemon.run("report", command[0], "-c", daemon.config, "--json",
                      *command[1:])
    if status is not None:
        tap.equal(done.returncode, status, "exit of %r: %r" % (
            command, done.stderr))
    return json.loads(done.stdout or "{}").get("reports", [])


def mail(domain, status="sent"):
    seen = len(daemon.deliveries(to="ann@" + domain))
    daemon.mail(SENDER, "ann@" + domain, "for " + domain)
    line = net.wait("a result for " + domain, lambda: daemon.deliveries(
        to="ann@" + domain)[seen:])[0]
    tap.equal(line["status"], status, "status= of %r" % line["_line"])


def send(domain, status=0):
    rows = report("send", "--now", "--domain", domain, status=status)
    tap.equal(len(rows), 1, "reports of " + domain)
    return rows[0]


def mailed(domain):
    """(message, document) of each report by mail."""
    return [(m, lab_report.of_mail(m))
            for m in postfix.messages("tls@reports.test")
            if m["TLS-Report-Domain"] == domain]


def verify_dkim(raw):
    try:
        import dkim
    except ImportError:
        raise tap.Skip("needs python3-dkim")
    tap.true(dkim.DKIM(raw).verify(
        dnsfunc=lambda name, timeout=5: dkim_record), "the signature holds")


@t.test("servers misbehave, each in its way")
def _():
    for domain, (_, _, _, arrives) in TABLE.items():
        mail(domain, "sent" if arrives else "deferred")
    mail("both.test")
    time.sleep(1.2)		# workers tell once a second
    seen = {r["domain"]: r for r in report("list")}
    tap.equal(set(seen), {*TABLE, "both.test"}, "counted domains")
    tap.equal(seen["both.test"]["sessions"]["secured"], 1, "secured")
    tap.equal(seen["plainclear.test"]["sessions"]["clear"], 1, "clear")
    tap.equal(seen["nomatch.test"]["sessions"]["failed"], 1, "failed")


@t.test("check says of each what delivery did")
def _():
    tap.equal(lab_check.Check(daemon, SENDER).same_all(TABLE), len(TABLE),
              "domains")


@t.test("reports are sent, and every one had its way")
def _():
    rows = report("send", "--now")
    tap.equal(len(rows), len(TABLE) + 1, "reports")
    for row in rows:
        tap.equal([x["state"] for x in row["targets"]], ["sent"] * 2,
                  "targets of %r" % row)
    postfix.expect("tls@reports.test", len(rows), 40)


for _name in TABLE:
    @t.test("%s: %s, by mail and by HTTPS" % (_name, TABLE[_name][2][1]))
    def _(name=_name):
        _, _, want, _ = TABLE[name]
        (_, by_mail), = mailed(name)
        (path, header, by_https), = sink.of(name)
        tap.equal(by_mail, by_https, "the documents are the same")
        tap.equal((path, header["method"]), ("/all", "POST"), "request")
        tap.equal(header["content-type"], "application/tlsrpt+gzip", "type")
        row = lab_report.failures(by_mail)[want]
        tap.equal(row["failed-session-count"], 1, "sessions")
        if name in DOMAIN_OF:
            tap.equal([p["policy"]["policy-domain"]
                       for p in by_mail["policies"]], [DOMAIN_OF[name]],
                      "policy-domain")
        if name in REASONS:
            tap.equal(row["failure-reason-code"], REASONS[name], "reason")
        if not want[1].startswith(("sts-", "dnssec", "dane-req")) and \
                name != "unlisted.test":
            tap.equal(row["receiving-mx-hostname"], "mx." + name, "host")
            tap.true(row["receiving-ip"] and row["sending-mta-ip"], "IPs")
            tap.equal(row["receiving-mx-helo"], "mx.postfix.test", "HELO")


@t.test("the eleven result types are all there")
def _():
    got = {want[1] for _, _, want, _ in TABLE.values()}
    tap.equal(len(got), 11, "result types")


@t.test("what arrived follows the schema")
def _():
    try:
        import jsonschema
    except ImportError:
        raise tap.Skip("needs python3-jsonschema")
    with open(os.path.join(lab.TOP, "tests", "schema", "tlsrpt.json")) as f:
        schema = json.load(f)
    for _, _, document in sink.posts:
        # Sent before the day was over, it ends when it was asked for.
        times = dict(document["date-range"])
        tap.match("^....-..-..T..:..:..Z$", times["end-datetime"], "end")
        times["end-datetime"] = times["start-datetime"][:11] + "23:59:59Z"
        document = dict(document, **{"date-range": times})
        jsonschema.validate(document, schema, cls=jsonschema.Draft7Validator)


@t.test("policies as found: TLSA records, policy lines, and both of a session")
def _():
    (_, doc), = mailed("both.test")
    found = {p["policy"]["policy-type"]: p for p in doc["policies"]}
    tap.equal(set(found), {"tlsa", "sts"}, "policies")
    for p in found.values():
        tap.equal(p["summary"], {"total-successful-session-count": 1,
                                 "total-failure-session-count": 0}, "summary")
    tap.equal(found["tlsa"]["policy"]["policy-domain"], "mx.both.test",
              "TLSA base domain")
    tap.match("^3 1 1 [0-9A-F]{64}$",
              found["tlsa"]["policy"]["policy-string"][0], "TLSA")
    tap.equal(found["sts"]["policy"]["policy-domain"], "both.test", "domain")
    tap.equal(found["sts"]["policy"]["mx-host"], ["mx.both.test"], "mx-host")
    tap.equal(found["sts"]["policy"]["policy-string"][:2],
              ["version: STSv1", "mode: testing"], "policy-string")


@t.test("the mail is signed, and says what RFC 8460 wants")
def _():
    message, doc = mailed("nomatch.test")[0]
    tap.equal(message["TLS-Report-Submitter"], "sender.test", "submitter")
    tap.equal(message["TLS-Required"], "No", "TLS-Required")
    tap.match("Report Domain: nomatch.test Submitter: sender.test",
              " ".join(message["Subject"].split()), "subject")
    tap.equal(doc["organization-name"], "Lab", "organization")
    tap.true(doc["report-id"] in message["Message-ID"], "id")
    for path in postfix.mailbox("tls@reports.test")[:3]:
        verify_dkim(postfix.raw(path))


@t.test("reports are not reported on")
def _():
    time.sleep(1.5)
    tap.equal([r for r in report("list") if r["domain"] == "reports.test"],
              [], "counted")


@t.test("show: words, states, and the page")
def _():
    done = daemon.run("report", "show", "-c", daemon.config, "nomatch.test")
    tap.equal(done.returncode, 0, "exit")
    for word in (b"dane-no-match", b"mx.nomatch.test", b"sent", b"/all"):
        tap.true(word in done.stdout, "%r in %r" % (word, done.stdout))
    page = daemon.run("report", "html", "-c", daemon.config).stdout
    tap.true(b"nomatch.test" in page, "own data on the page")
    listed = daemon.run("report", "list", "-c",
                        daemon.config).stdout.decode().splitlines()
    tap.match(r"^day +domain +secured +encrypted +clear +failed +report$",
              listed[0], "head")
    for line in listed[1:]:
        tap.match(r"^20\d\d-\d\d-\d\d \S+ +\d+ +\d+ +\d+ +\d+  \w+$", line,
                  "row")
        tap.equal([line[i - 1].isdigit() for i in (47, 57, 64, 71)],
                  [True] * 4, "columns of " + line)
    # RFC 8460 wants a URI in additional-information: our sentence about it
    # is in the mail, on the page and in our own JSON, not in the document.
    words = "matches none of the TLSA records"
    message, doc = mailed("nomatch.test")[0]
    tap.true(words in " ".join(message.get_body(("plain",)).get_content()
                               .split()), "the sentence in the mail")
    tap.true(words.encode() in page, "the sentence on the page")
    row, = report("show", "nomatch.test")
    failure, = row["failures"]
    tap.match(words, failure["information"], "information")
    tap.equal((failure["result-type"], failure["reason"], failure["failed"],
               failure["policy-type"], failure["host"]),
              ("validation-failure", "dane-no-match", 1, "tlsa",
               "mx.nomatch.test"), "failure")
    tap.equal(row["report"], doc, "the document, as it was sent")
    tap.true("additional-information" not in json.dumps(doc), "no URI")
    done = daemon.run("report", "show", "-c", daemon.config, "no.test")
    tap.equal(done.returncode, 69, "exit")


@t.test("nothing goes where nobody asked, or asked in vain")
def _():
    for name, why in (("norecord.test", "no record"),
                      ("malformed.test", "not a URI"), ("ftp.test", ""),
                      ("excluded.test", "excluded")):
        mail(name)
        row = send(name)
        tap.equal((row["state"], row["targets"]), ("done", []), name)
        tap.match(why, row["note"], "note of " + name)
    tap.equal(mailed("excluded.test"), [], "mail")


@t.test("TLS-Required: No: a session without a policy, and it counts")
def _():
    for domain, ended, want in (
            ("optional.test", "encrypted", {}),
            ("optclear.test", "clear", {("no-policy-found", STARTTLS): 1})):
        to = "ann@" + domain
        daemon.send(SENDER, to, "Subject: x\nTLS-Required: No\n\nx\n")
        line = net.wait("a result", lambda: daemon.deliveries(to=to))[0]
        tap.equal(line["status"], "sent", "status")
        row = send(domain)
        tap.equal(row["sessions"][ended], 1, "sessions of " + domain)
        net.wait("the report", lambda: mailed(domain), 30)
        (_, doc), = mailed(domain)
        tap.equal([p["policy"]["policy-type"] for p in doc["policies"]],
                  ["no-policy-found"], "policies of " + domain)
        tap.equal({k: v["failed-session-count"]
                   for k, v in lab_report.failures(doc).items()}, want,
                  "failures of " + domain)
    time.sleep(1.5)		# nor do these mails count themselves
    tap.equal([r for r in report("list") if r["domain"] == "reports.test"],
              [], "counted")


@t.test("what the server refuses is tried again, with the same id")
def _():
    sink.answer["/later"] = 503
    mail("later.test")
    row = send("later.test", status=75)
    tap.equal(row["targets"][0]["state"], "waiting", "state")
    tap.match("503", row["targets"][0]["note"], "note")
    sink.answer["/later"] = 204
    rows = report("send", "--domain", "later.test")
    tap.equal(rows[0]["state"], "done", "state")
    ids = {doc["report-id"] for _, _, doc in sink.of("later.test")}
    tap.equal((len(sink.of("later.test")), len(ids)), (2, 1), "posts, ids")


@t.test("killed after the post, before the mark: it goes again, as the same")
def _():
    sink.answer["/crash"] = None
    mail("crash.test")
    time.sleep(1.2)
    net.spawn(daemon.argv("report", "send", "-c", daemon.config, "--now",
                          "--domain", "crash.test"), name="send")
    net.wait("the post", lambda: sink.of("crash.test"))
    daemon.kill()
    sink.answer["/crash"] = 200
    daemon.start()
    rows = report("send", "--domain", "crash.test")
    tap.equal(rows[0]["state"], "done", "state")
    ids = {doc["report-id"] for _, _, doc in sink.of("crash.test")}
    tap.equal((len(sink.of("crash.test")), len(ids)), (2, 1), "posts, ids")


@t.test("killed while its mail is on the way: one mail")
def _():
    mail("mailcrash.test")
    send("mailcrash.test")
    daemon.kill()
    page = os.path.join(net.dir, "page.html")
    done = daemon.run("report", "html", "-c", daemon.config, "-o", page)
    tap.equal((done.returncode, os.path.exists(page)), (75, False),
              "a page without the daemon")
    daemon.start()
    net.wait("the mail", lambda: mailed("mailcrash.test"), 30)
    tap.equal(report("send", "--domain", "mailcrash.test"), [], "again")
    ids = {m["Message-ID"] for m, _ in mailed("mailcrash.test")}
    tap.equal(len(ids), 1, "reports")


@t.test("no post to an address that is not public, unless it is allowed")
def _():
    reconfigure(tlsrpt={"allow-private-addresses": False})
    before = sink.connections
    mail("private.test")
    row = send("private.test", status=75)
    tap.match("documentation|own network|private", row["targets"][0]["note"],
              "note")
    tap.equal(sink.connections, before, "connections at the sink")
    reconfigure(tlsrpt={"allow-private-addresses": True})
    rows = report("send", "--domain", "private.test")
    tap.equal(rows[0]["state"], "done", "state")
    tap.equal(len(sink.of("private.test")), 1, "posts")


@t.test("switched off, it counts and sends nothing; without a key no mail")
def _():
    reconfigure(tlsrpt={"send": "no"})
    mail("off.test")
    row = send("off.test")
    tap.match("off", row["note"], "note")
    tap.equal(row["sessions"]["encrypted"], 1, "counted")
    tap.equal(mailed("off.test"), [], "mail")
    daemon.settings.pop("dkim")
    reconfigure(tlsrpt={"send": "yes"})
    mail("good.test")
    row = send("good.test")
    tap.equal(row["targets"][0]["state"], "dropped", "state")
    tap.match("no key", row["targets"][0]["note"], "note")


def reconfigure(**settings):
    seen = len(daemon.events("reloaded"))
    daemon.configure(**settings)
    daemon.reload()
    net.wait("the reload", lambda: len(daemon.events("reloaded")) > seen)
    time.sleep(0.5)


@t.test("that our own resolver is silent is not their failure")
def _():
    daemon.kill()
    daemon.configure(resolver={"max-ttl": "1h"})
    daemon.start()
    mail("silent.test", "deferred")
    time.sleep(2.5)		# the TLSA records are gone, all else is kept
    before, = report("list", "--domain", "silent.test")
    unbound = net.dns.servers["unbound"]
    unbound.send_signal(signal.SIGSTOP)
    try:
        daemon.run("queue", "flush", "-c", daemon.config)
        lines = net.wait("another attempt", lambda: daemon.deliveries(
            to="ann@silent.test")[1:], 40)
    finally:
        unbound.send_signal(signal.SIGCONT)
    tap.equal(lines[0]["status"], "deferred", "status")
    tap.match("TLSA records .* resolvers of this system fail",
              lines[0]["reply"], "reply")
    tap.equal(lines[0]["result_type"], "-", "result_type")
    time.sleep(1.5)
    after, = report("list", "--domain", "silent.test")
    tap.equal((before["failed"], after["failed"]), (1, 1), "failures")


@t.test("the daemon ends well")
def _():
    daemon.ends_well()


t.run()
