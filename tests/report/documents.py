#!/usr/bin/python3
"""What the report code makes, read by programs that are not ours: json, gzip,
email, jsonschema, dkimpy.  And what others make, read by ours."""

import base64
import email
import email.generator
import email.policy
import email.utils
import gzip
import io
import json
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import tap  # noqa: E402

TOOL = os.environ["REPORT_TOOL"]
GOLDEN = os.path.join(HERE, "..", "golden")
SCHEMA = os.path.join(HERE, "..", "schema", "tlsrpt.json")
t = tap.Tap()


def tool(*args, given=b"", code=0):
    p = subprocess.run([TOOL, *args], input=given, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, timeout=60)
    tap.equal(p.returncode, code, "exit of %s (%r)" % (args[0], p.stderr))
    return p.stdout


def schema_check(document):
    try:
        import jsonschema
    except ImportError:
        raise tap.Skip("needs python3-jsonschema")
    with open(SCHEMA) as f:
        jsonschema.validate(document, json.load(f),
                            cls=jsonschema.Draft7Validator)


def golden(name, got):
    path = os.path.join(GOLDEN, name)
    if os.environ.get("GOLDEN_UPDATE"):
        with open(path, "wb") as f:
            f.write(got)
    with open(path, "rb") as f:
        tap.equal(got, f.read(), name)


@t.test("the document is the golden one")
def _():
    golden("report.json", tool("json"))


@t.test("the document follows the schema")
def _():
    schema_check(json.loads(tool("json")))


@t.test("the schema refuses what is wrong")
def _():
    import copy
    good = json.loads(tool("json"))
    schema_check(good)
    import jsonschema

    def refuse(change):
        bad = copy.deepcopy(good)
        change(bad)
        try:
            schema_check(bad)
        except jsonschema.ValidationError:
            return
        tap.fail("taken: %s" % bad)

    policy = 0
    refuse(lambda d: d.pop("report-id"))
    refuse(lambda d: d.update({"x": 1}))
    refuse(lambda d: d["date-range"].update(
        {"end-datetime": "2026-11-21T23:59:59+00:00"}))
    refuse(lambda d: d["policies"][policy]["policy"].update(
        {"mx-host": "*.rcpt.example"}))
    refuse(lambda d: d["policies"][policy]["summary"].update(
        {"total-failure-session-count": -1}))
    refuse(lambda d: d["policies"][policy]["failure-details"][0].update(
        {"result-type": "none"}))
    refuse(lambda d: d["policies"][policy]["failure-details"][0].update(
        {"additional-information": "plain words"}))


@t.test("the document says what happened")
def _():
    d = json.loads(tool("json"))
    tap.equal(d["date-range"], {"start-datetime": "2026-11-21T00:00:00Z",
              "end-datetime": "2026-11-21T23:59:59Z"}, "day")
    rows = {p["policy"]["policy-type"]: p for p in d["policies"]}
    tap.equal(sorted(rows), ["no-policy-found", "sts", "tlsa"], "types")
    tap.equal(rows["sts"]["policy"]["mx-host"], ["*.rcpt.example"], "hosts")
    tap.equal(rows["sts"]["summary"], {"total-successful-session-count": 120,
              "total-failure-session-count": 3}, "counts")
    tap.equal(sum(f["failed-session-count"]
                  for f in rows["sts"]["failure-details"]), 3, "rows")
    tap.equal(rows["tlsa"]["policy"]["policy-domain"], "mx1.rcpt.example",
              "policy domain of DANE")
    tap.true("additional-information" not in
             rows["sts"]["failure-details"][1], "words are no URI")


@t.test("gzip")
def _():
    tap.equal(gzip.decompress(tool("gzip")), tool("json"), "content")
    tap.equal(tool("gzip"), tool("gzip"), "the same bytes each time")


def parts(raw):
    m = email.message_from_bytes(raw, policy=email.policy.default)
    return m, list(m.iter_parts())


def form(raw):
    for line in raw.split(b"\r\n"):
        tap.true(b"\r" not in line and b"\n" not in line, "bare CR or LF")
        tap.true(len(line) <= 998, "line of %d" % len(line))
    tap.true(raw.endswith(b"\r\n"), "ends with CRLF")


@t.test("the mail is the golden one")
def _():
    # The compressed bytes are those of some version of zlib.
    raw = re.sub(rb"\r\n\r\nH4sI[^-]*\r\n", b"\r\n\r\n(gzip)\r\n\r\n",
                 tool("mail"))
    golden("report.eml", re.sub(rb"=_tlsrpt.[0-9a-f]{16}", b"BOUNDARY", raw))


@t.test("the mail, read by python")
def _():
    raw = tool("mail")
    form(raw)
    tap.true(all(b < 128 for b in raw), "7bit")
    m, (words, doc) = parts(raw)
    tap.equal(m.defects, [], "defects")
    tap.equal(m.get_content_type(), "multipart/report", "type")
    tap.equal(m.get_param("report-type"), "tlsrpt", "report-type")
    tap.equal(m["TLS-Report-Domain"], "rcpt.example", "domain")
    tap.equal(m["TLS-Report-Submitter"], "sender.example", "submitter")
    tap.equal(m["TLS-Required"], "No", "TLS-Required")
    tap.equal(m["Auto-Submitted"], "auto-generated", "Auto-Submitted")
    tap.equal(m["From"].addresses[0].addr_spec, "reports@sender.example",
              "From")
    tap.equal([a.addr_spec for a in m["To"].addresses],
              ["tls-reports@rcpt.example", "other@collector.example"], "To")
    tap.equal(m["Date"].datetime.isoformat(), "2026-11-22T01:00:00+00:00",
              "Date")
    report_id = json.loads(tool("json"))["report-id"]
    tap.equal(m["Subject"], "Report Domain: rcpt.example Submitter: "
              "sender.example Report-ID: <%s>" % report_id, "Subject")
    tap.equal(m["Message-ID"], "<%s>" % report_id, "Message-ID")
    tap.equal(words.get_content_type(), "text/plain", "words")
    tap.match("certificate-expired, 2 sessions", words.get_content(), "words")
    tap.equal(doc.get_content_type(), "application/tlsrpt+gzip", "document")
    tap.equal(doc.get_filename(), "sender.example!rcpt.example!1795219200!"
              "1795305599.json.gz", "file name")
    d = json.loads(gzip.decompress(doc.get_content()))
    schema_check(d)
    tap.equal(d["report-id"], report_id, "report-id")


@t.test("the mail with words that are not ASCII")
def _():
    raw = tool("international")
    form(raw)
    tap.true(all(b < 128 for b in raw), "7bit")
    m, (words, doc) = parts(raw)
    tap.match("Details: \u00e9t\u00e9", words.get_content(), "words")


def keys(folder, kind):
    path = os.path.join(folder, kind + ".pem")
    what = {"rsa": ["rsa", "-pkeyopt", "rsa_keygen_bits:2048"],
            "weak": ["rsa", "-pkeyopt", "rsa_keygen_bits:768"],
            "ed25519": ["ed25519"],
            "ec": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]}[kind]
    subprocess.run(["openssl", "genpkey", "-out", path, "-algorithm", *what],
                   check=True, stderr=subprocess.DEVNULL)
    os.chmod(path, 0o600)
    der = subprocess.run(["openssl", "pkey", "-in", path, "-pubout",
                          "-outform", "DER"], check=True,
                         stdout=subprocess.PIPE).stdout
    if kind == "ed25519":
        return path, b"v=DKIM1; k=ed25519; s=tlsrpt; p=" + base64.b64encode(der[-32:])
    return path, b"v=DKIM1; s=tlsrpt; p=" + base64.b64encode(der)


def verify(raw, record):
    try:
        import dkim
    except ImportError:
        raise tap.Skip("needs python3-dkim")
    asked = []

    def dns(name, timeout=5):
        asked.append(name)
        return record

    try:
        result = dkim.DKIM(raw, tlsrpt="strict").verify(dnsfunc=dns)
    except dkim.ValidationError as e:
        print("# %s" % e)
        result = False
    tap.equal(asked, [b"sel._domainkey.sender.example."], "question")
    return result


def signed(kind):
    with tempfile.TemporaryDirectory() as folder:
        path, record = keys(folder, kind)
        return tool("sign", path, "sel", "sender.example",
                    given=tool("mail")), record


@t.test("an rsa-sha256 signature is verified by dkimpy")
def _():
    raw, record = signed("rsa")
    form(raw)
    tap.true(raw.endswith(tool("mail")), "the message is as it was")
    tap.match(rb"a=rsa-sha256; c=relaxed/relaxed; d=sender.example", raw,
              "tags")
    tap.true(b"; l=" not in raw, "no l=")
    tap.true(verify(raw, record), "signature")


@t.test("an ed25519-sha256 signature is verified by dkimpy")
def _():
    raw, record = signed("ed25519")
    form(raw)
    tap.match(b"a=ed25519-sha256", raw, "tags")
    tap.true(verify(raw, record), "signature")


@t.test("no changed message passes")
def _():
    raw, record = signed("rsa")
    tap.true(verify(raw, record), "unchanged")
    changes = [
        (b"TLS-Report-Domain: rcpt", b"TLS-Report-Domain: evil"),
        (b"Report Domain: rcpt", b"Report Domain: evil"),
        (b"From: TLS", b"From: SSL"),
        (b"    Seen:", b"    Unseen:"),
        (b"H4sI", b"H4sJ"),
        (b"\r\nTLS-Required: No", b"\r\nTLS-Required: Xy"),
        (b"\r\nDate:", b"\r\nTLS-Report-Domain: evil.example\r\nDate:"),
        (b"\r\nDate:", b"\r\nFrom: evil@evil.example\r\nDate:"),
    ]
    for old, new in changes:
        changed = raw.replace(old, new, 1)
        tap.true(changed != raw, "%r is there" % old)
        tap.true(not verify(changed, record), "%r passes" % new)


@t.test("a key that signs nothing good is refused")
def _():
    with tempfile.TemporaryDirectory() as folder:
        for kind in "weak", "ec":
            path, _ = keys(folder, kind)
            tool("sign", path, "sel", "sender.example", given=tool("mail"),
                 code=1)
        path, _ = keys(folder, "rsa")
        for mode in 0o640, 0o604, 0o660:
            os.chmod(path, mode)
            tool("sign", path, "sel", "sender.example", given=tool("mail"),
                 code=1)


def foreign(encoding, content_type, name, nested=0, eol="\n"):
    """A report's mail as some other program makes it."""
    from email.message import EmailMessage
    m = EmailMessage()
    m["From"] = "noreply@other.example"
    m["To"] = "tls@rcpt.example"
    m["Subject"] = "Report Domain: rcpt.example"
    m["TLS-Report-Domain"] = "RCPT.example."
    m["TLS-Report-Submitter"] = "other.example"
    m.set_content("see attachment")
    data = tool("json" if encoding == "quoted-printable" else "gzip")
    main, sub = content_type.split("/")
    m.add_attachment(data, maintype=main, subtype=sub, filename=name,
                     cte=encoding)
    for _ in range(nested):
        outer = EmailMessage()
        outer["From"] = "someone@rcpt.example"
        outer["Subject"] = "Fwd"
        outer.set_content("look at this")
        outer.add_attachment(m)
        m = outer
    out = io.BytesIO()
    email.generator.BytesGenerator(
        out, policy=email.policy.SMTP.clone(linesep=eol)).flatten(m)
    return out.getvalue()


@t.test("the mail of others is read")
def _():
    tap.equal(tool("find", given=tool("mail"))[:2], b"\x1f\x8b", "our own")
    for mail, want in (
            (foreign("base64", "application/tlsrpt+gzip", "x.json.gz"), "z"),
            (foreign("base64", "application/tlsrpt+gzip", "x.json.gz",
                     eol="\r\n"), "z"),
            (foreign("base64", "application/gzip", "a!b!1!2.json.gz"), "z"),
            (foreign("base64", "application/octet-stream", "x.JSON.GZ"), "z"),
            (foreign("quoted-printable", "application/tlsrpt+json",
                     "x.json"), "j"),
            (foreign("base64", "application/tlsrpt+gzip", "x", nested=2),
             "z"),
            (b"From x Sat Nov 21 2026\n" +
             foreign("base64", "application/tlsrpt+gzip", "x"), "z")):
        got = tool("find", given=mail)
        if want == "z":
            got = gzip.decompress(got)
        tap.equal(got.replace(b"\r\n", b"\n"), tool("json"), "document")


@t.test("a mail without a report has none")
def _():
    tool("find", given=b"Subject: x\n\nno report\n", code=1)
    tool("find", given=b"", code=1)
    tool("find", given=foreign("base64", "application/gzip", "x.tar.gz"),
         code=1)
    tool("find", given=foreign("base64", "application/tlsrpt+gzip", "x",
                               nested=20), code=1)


@t.test("a gzip bomb ends at the bound")
def _():
    z = io.BytesIO()
    with gzip.GzipFile(fileobj=z, mode="wb", compresslevel=9) as f:
        block = bytes(1 << 20)
        for _ in range(1024):
            f.write(block)
    tool("gunzip", str(10 << 20), given=z.getvalue(), code=3)


t.run()
