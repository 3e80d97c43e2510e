#!/usr/bin/python3
"""smtpd-out report read: what it makes of good files, of bad ones, and of those
that somebody made on purpose."""

import gzip
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import foreign  # noqa: E402
import tap  # noqa: E402

SMTPD_OUT = os.environ["SMTPD_OUT"]
t = tap.Tap()
work = tempfile.mkdtemp(prefix="report-read-")


def few():
    # Sanitizers need more room than is there.
    with open(SMTPD_OUT, "rb") as f:
        if b"__asan_init" not in f.read():
            resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))


def read(*args, code=0):
    p = subprocess.run([SMTPD_OUT, "report", "read", *args], timeout=60,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       preexec_fn=few)
    err = p.stderr.decode()
    tap.equal(p.returncode, code, "exit (%s)" % err)
    return p.stdout.decode(), err


def put(name, content):
    path = os.path.join(work, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(content)
    return path


def one(**more):
    document = foreign.report("Org", "rcpt.example", foreign.LAST, [
        foreign.policy("sts", "rcpt.example", 10, [
            ("certificate-expired", 2, "mx1.rcpt.example"),
            ("sts-policy-fetch-error", 1, "mx2.rcpt.example")])])
    document.update(more)
    return document


def raw(document):
    return json.dumps(document).encode()


@t.test("json, gzip and mail say the same")
def _():
    want = None
    for name, content in (("a.json", raw(one())),
                          ("a.json.gz", gzip.compress(raw(one()))),
                          ("a.eml", foreign.mail(one(), "rcpt.example",
                                                 "org.example")),
                          ("noend", raw(one()))):
        out, err = read(put("same/" + name, content))
        tap.equal(err, "", "standard error")
        want = want or out
        tap.equal(out, want, name)
    tap.match("rcpt.example\n  10 sessions succeeded, 3 failed", want, "sum")
    tap.match("certificate-expired: 2 sessions, 2026-11-21\n"
              "      Seen: the certificate .*has expired\n"
              "      Where: mx1.rcpt.example\n"
              "      Reported by: Org\n"
              "      What to do: Renew the certificate", want, "words")
    tap.match("https://mta-sts.rcpt.example/.well-known", want, "remedy")
    tap.true(all(len(line) <= 78 for line in want.split("\n")), "width")


@t.test("a report that comes three times counts once")
def _():
    out, _ = read(os.path.join(work, "same"))
    tap.match("^1 report of 1 sender on 1 domain, 2026-11-21\n"
              "3 files held a report that was there already\n", out, "head")
    d = json.loads(read("--json", os.path.join(work, "same"))[0])
    tap.equal(d["duplicates"], 3, "duplicates")
    tap.equal(d["failed"], 3, "failed")


@t.test("a month of a folder, as JSON")
def _():
    folder = os.path.join(work, "month")
    os.mkdir(folder)
    foreign.write(folder)
    d = json.loads(read("--json", folder)[0])
    tap.equal(len(d["reports"]), 49, "reports")
    tap.equal(d["faults"], [], "faults")
    org = next(x for x in d["domains"] if x["domain"] == "example.org")
    tap.equal(len(org["days"]), 21, "days")
    tap.equal(org["days"], sorted(org["days"], key=lambda x: x["day"]),
              "order of days")
    tap.equal(sum(x["failed"] for x in org["days"]), org["failed"], "days")
    tap.equal(sum(x["successful"] for x in org["senders"]),
              org["successful"], "senders")
    tap.equal([(f["result-type"], f["failed"]) for f in org["failures"]],
              [("certificate-expired", 42), ("starttls-not-supported", 3)],
              "failures")
    net = next(x for x in d["domains"] if x["domain"] == "example.net")
    tap.equal(net["failures"][0]["reasons"], ["dane-no-match"], "reason")
    tap.match("^Publish TLSA records that match",
              net["failures"][0]["remedy"], "remedy")
    tap.equal(net["senders"][0]["sender"], "Verein f\u00fcr Post e.V.",
              "sender")


@t.test("each result type has a meaning and a remedy")
def _():
    types = ["starttls-not-supported", "certificate-host-mismatch",
             "certificate-expired", "certificate-not-trusted",
             "validation-failure", "tlsa-invalid", "dnssec-invalid",
             "dane-required", "sts-policy-fetch-error", "sts-policy-invalid",
             "sts-webpki-invalid"]
    document = one(policies=[foreign.policy(
        "sts", "rcpt.example", 0, [(x, 1, "mx") for x in types])])
    d = json.loads(read("--json", put("types.json", raw(document)))[0])
    rows = d["domains"][0]["failures"]
    tap.equal(sorted(x["result-type"] for x in rows), sorted(types), "types")
    tap.equal(len({x["meaning"] for x in rows}), 11, "meanings")
    tap.equal(len({x["remedy"] for x in rows}), 11, "remedies")
    tap.true(all("DOMAIN" not in x["remedy"] for x in rows), "domain")


@t.test("failures that the sender does not explain are there")
def _():
    p = foreign.policy("sts", "rcpt.example", 5, [])
    p["summary"]["total-failure-session-count"] = 4
    del p["failure-details"]
    out, _ = read(put("untold.json", raw(one(policies=[p]))))
    tap.match("not-specified: 4 sessions", out, "row")


@t.test("more kinds of failure than anybody wants to read")
def _():
    document = one(policies=[foreign.policy(
        "sts", "rcpt.example", 0, [("kind-%d" % i, 1, "mx%d" % i)
                                   for i in range(3000)])])
    path = put("kinds.json", raw(document))
    d = json.loads(read("--json", path)[0])
    rows = d["domains"][0]["failures"]
    tap.true(len(rows) <= 81, "rows: %d" % len(rows))
    tap.equal(rows[0]["result-type"], "other", "the rest")
    tap.equal(sum(x["failed"] for x in rows), 3000, "sum")
    tap.true(all(len(x["hosts"]) <= 12 for x in rows), "hosts")


@t.test("bad files are named, and the good ones are read")
def _():
    good = put("mixed/good.json", raw(one()))
    bad = {
        "mixed/empty": b"", "mixed/junk": b"junk\n\nmore junk",
        "mixed/list.json": b"[]", "mixed/cut.json": raw(one())[:-20],
        "mixed/cut.gz": gzip.compress(raw(one()))[:-30],
        "mixed/plain.eml": b"Subject: lunch\n\nAt noon?\n",
        "mixed/xml.gz": gzip.compress(b"<feedback/>"),
        "mixed/nodate.json": raw({"policies": []}),
    }
    for name, content in bad.items():
        put(name, content)
    os.mkfifo(os.path.join(work, "mixed/fifo"))
    out, err = read(os.path.join(work, "mixed"), "/nonexistent/x", code=65)
    tap.match("^1 report of 1 sender", out, "the good one")
    for name in [*bad, "mixed/fifo"]:
        tap.match(r"smtpd-out: %s/%s: \w" % (work, name), err, name)
    tap.match("/nonexistent/x: No such file", err, "missing")
    tap.equal(err.count("\n"), len(bad) + 2, "lines")
    d = json.loads(read("--json", os.path.join(work, "mixed"), code=65)[0])
    tap.equal(len(d["faults"]), len(bad) + 1, "faults in JSON")
    tap.equal(len(d["reports"]), 1, "reports in JSON")
    tap.equal(d["reports"][0]["source"], good, "source")


@t.test("a gigabyte of zeros in a small file")
def _():
    path = os.path.join(work, "bomb.json.gz")
    with gzip.open(path, "wb", compresslevel=9) as f:
        for _ in range(1024):
            f.write(bytes(1 << 20))
    started = time.monotonic()
    _, err = read(path, code=65)
    tap.match("larger than 10485760 bytes when unpacked", err, "words")
    tap.true(time.monotonic() - started < 20, "time")
    mail = foreign.mail(one(), "rcpt.example", "x.example")
    with open(path, "rb") as f:
        import base64
        bomb = base64.encodebytes(f.read())
    cut = mail.index(b"H4sI")
    _, err = read(put("bomb.eml", mail[:cut] + bomb), code=65)
    tap.match("larger than 10485760 bytes when unpacked", err, "words")


@t.test("nesting, width and size have ends")
def _():
    for name, content, words in (
            ("deep.json", b"{\"a\":" * 200000, "nested too deeply"),
            ("wide.json", b"[" + b"[]," * 1000000 + b"1]", "too many values"),
            ("large.json", b"[\"" + b"x" * (11 << 20) + b"\"]",
             "larger than 10485760")):
        _, err = read(put(name, content), code=65)
        tap.match(words, err, name)
    path = os.path.join(work, "sparse")
    with open(path, "wb") as f:
        f.truncate(1 << 40)
    _, err = read(path, code=65)
    tap.match("larger than 31457280 bytes", err, "sparse")


@t.test("counts end, and do not begin anew")
def _():
    most = (1 << 53) - 1
    row = [("certificate-expired", most, "mx%d" % (i % 9))
           for i in range(2600)]
    for n in range(2):
        p = foreign.policy("sts", "rcpt.example", most, row)
        p["summary"]["total-failure-session-count"] = most
        put("most/%d.json" % n, raw(one(**{
            "policies": [p, p, p], "report-id": "most-%d" % n})))
    folder = os.path.join(work, "most")
    d = json.loads(read("--json", folder)[0])
    org = d["domains"][0]
    for x in d, org, org["days"][0], org["senders"][0]:
        tap.equal((x["successful"], x["failed"]), (most, most), "sums")
    tap.equal([(f["result-type"], f["failed"]) for f in org["failures"]],
              [("certificate-expired", most)], "failures")
    p = subprocess.run([SMTPD_OUT, "report", "html", folder], timeout=60,
                       stdout=subprocess.PIPE, preexec_fn=few)
    tap.equal(p.returncode, 0, "exit")
    heights = re.findall(rb"height:([0-9.]+)%", p.stdout)
    tap.equal(len(heights), 2, "pieces of the bar")
    tap.true(sum(map(float, heights)) <= 100.1, "height of the bar")


@t.test("counts in any notation, of any size")
def _():
    for text in "-1", "1.5", "1e400", "9" * 30, "9007199254740993", "\"3\"", \
            "-0.1", "[]":
        document = raw(one()).replace(
            b'"total-successful-session-count": 10',
            b'"total-successful-session-count": ' + text.encode())
        _, err = read(put("count.json", document), code=65)
        tap.match("is not a count|JSON", err, text)
    for text in "10.0", "1e1":
        document = raw(one()).replace(
            b'"total-successful-session-count": 10',
            b'"total-successful-session-count": ' + text.encode())
        out, _ = read(put("count.json", document))
        tap.match("10 sessions succeeded", out, text)


@t.test("a folder of very many files")
def _():
    folder = os.path.join(work, "many")
    os.mkdir(folder)
    # A million is the same and takes the test itself a minute.
    for i in range(30000):
        os.symlink("/nonexistent", os.path.join(folder, "x%06d" % i))
    for i in range(3):
        os.symlink(".", os.path.join(folder, "loop%d" % i))
    started = time.monotonic()
    _, err = read(folder, folder, code=65)
    tap.match("too many files at once", err, "words")
    tap.true(err.count("\n") <= 20001, "lines: %d" % err.count("\n"))
    tap.true(time.monotonic() - started < 20, "time")
    shutil.rmtree(folder)


@t.test("many small files that are large inside")
def _():
    rows = [("certificate-expired", 1, "m" * 500, {
        "failure-reason-code": "r" * 60, "receiving-mx-helo": "h" * 500,
        "additional-information": "i" * 500})] * 5000
    p = foreign.policy("sts", "rcpt.example", 1, rows)
    p["policy"]["policy-string"] = ["s" * 4000] * 64
    for i in range(90):
        put("big/%03d.gz" % i, gzip.compress(raw(one(**{
            "policies": [p], "report-id": "big-%d" % i})), 1))
    started = time.monotonic()
    out, err = read(os.path.join(work, "big"), code=65)
    tap.match("too much at once", err, "words")
    tap.equal(err.count("\n"), 1, "lines")
    tap.match("5000 sessions|[0-9]+000 sessions", out, "what was read")
    tap.true(time.monotonic() - started < 40, "time")
    shutil.rmtree(os.path.join(work, "big"))


@t.test("no text reaches the terminal as a command")
def _():
    evil = "\x1b]0;owned\x07\x1b[2J\r\nfake line\x9b"
    document = foreign.report(evil, evil, foreign.LAST, [foreign.policy(
        "sts", evil, 1, [(evil, 1, evil, {"failure-reason-code": evil,
                                          "additional-information": evil})])])
    out, err = read(put("evil\x1b[2J.json", raw(document)))
    tap.true(all(c == "\n" or c.isprintable() for c in out), "output")
    _, err = read(put("evil\x1b[2J.txt", b"x"), code=65)
    tap.true(all(c == "\n" or c.isprintable() for c in err), "errors")


@t.test("wrong arguments")
def _():
    read(code=64)
    read("--unknown", code=64)
    for args in [], ["nonsense"], ["html", "-x"]:
        p = subprocess.run([SMTPD_OUT, "report", *args],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        tap.equal(p.returncode, 64, "exit")
        tap.match(r"usage: .*smtpd-out report read", p.stderr.decode(), "usage")


@t.test("a page of years, and of days far apart")
def _():
    import datetime
    for n, day in enumerate(("1970-01-01", "2026-11-20", "9999-12-31")):
        put("far/%d.json" % n, raw(foreign.report(
            "Org", "rcpt.example", day,
            [foreign.policy("sts", "rcpt.example", 10 ** (5 * n), [])])))
    for n in range(400):
        day = foreign.LAST - datetime.timedelta(n)
        put("years/%d.json" % n, raw(foreign.report(
            "Org", "rcpt.example", day,
            [foreign.policy("sts", "rcpt.example", n, [])])))
    # No sender hides the bars of others behind a day that is to come.
    for n in range(3):
        put("mixed-days/%d.json" % n, raw(foreign.report(
            "Org", "rcpt.example", ("1999-12-30", "1999-12-31",
                                    "9999-12-31")[n],
            [foreign.policy("sts", "rcpt.example", 7, [])])))
    for folder, bars in ("far", 92), ("years", 92), ("mixed-days", 2):
        p = subprocess.run([SMTPD_OUT, "report", "html",
                            os.path.join(work, folder)], timeout=60,
                           stdout=subprocess.PIPE, preexec_fn=few)
        tap.equal(p.returncode, 0, "exit")
        tap.equal(p.stdout.count(b'class="bar"'), bars, "bars")
        tap.true(len(p.stdout) < 200000, "size")


@t.test("the page is replaced whole or stays")
def _():
    page = os.path.join(work, "page.html")
    put("page.html", b"old")
    p = subprocess.run([SMTPD_OUT, "report", "html", "-o", page,
                        os.path.join(work, "same")])
    tap.equal(p.returncode, 0, "exit")
    with open(page) as f:
        tap.match("<!DOCTYPE html>.*</html>\n$", f.read(), "page")
    tap.true(not os.path.exists(page + ".new"), "nothing is left")
    p = subprocess.run([SMTPD_OUT, "report", "html", "-o",
                        "/nonexistent/page.html"], stderr=subprocess.DEVNULL)
    tap.equal(p.returncode, 73, "exit")


try:
    t.run()
finally:
    shutil.rmtree(work, ignore_errors=True)
