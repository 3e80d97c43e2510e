#!/usr/bin/python3
"""Reports as other systems write them, for tests: foreign.py FOLDER"""

import datetime
import gzip
import io
import json
import os
import sys
from email.generator import BytesGenerator
from email.message import EmailMessage
from email.policy import SMTP

LAST = datetime.date(2026, 11, 21)


def report(org, domain, day, policies, number=0):
    return {
        "organization-name": org,
        "date-range": {"start-datetime": "%sT00:00:00Z" % day,
                       "end-datetime": "%sT23:59:59Z" % day},
        "contact-info": "tls@%s.example" % org.split()[0].lower(),
        "report-id": "%s-%s-%d" % (day, domain, number),
        "policies": policies,
    }


def policy(kind, domain, good, failures, hosts="*.mail.example"):
    """failures: (result type, count, host) or more keys as a dict."""
    rows = []
    for f in failures:
        row = {"result-type": f[0], "failed-session-count": f[1],
               "sending-mta-ip": "198.51.100.7",
               "receiving-mx-hostname": f[2], "receiving-ip": "192.0.2.1"}
        row.update(f[3] if len(f) > 3 else {})
        rows.append(row)
    # mx-host as a text is what a peer of that size really sends.
    p = {"policy-type": kind, "policy-domain": domain}
    if kind == "sts":
        p["policy-string"] = ["version: STSv1", "mode: testing"]
        p["mx-host"] = hosts
    return {"policy": p, "summary": {
        "total-successful-session-count": good,
        "total-failure-session-count": sum(f[1] for f in failures)},
        "failure-details": rows}


def mail(document, domain, submitter):
    m = EmailMessage()
    m["From"] = "noreply@" + submitter
    m["To"] = "tls@" + domain
    m["Subject"] = "Report Domain: %s Submitter: %s" % (domain, submitter)
    m["TLS-Report-Domain"] = domain
    m["TLS-Report-Submitter"] = submitter
    m.set_content("This is a report.")
    m.add_attachment(gzip.compress(json.dumps(document).encode()),
                     maintype="application", subtype="tlsrpt+gzip",
                     filename="%s!%s!1!2.json.gz" % (submitter, domain))
    out = io.BytesIO()
    BytesGenerator(out, policy=SMTP).flatten(m)
    return out.getvalue()


def month(days=21):
    """Three senders, two domains; one host's certificate expires."""
    for back in range(days):
        day = LAST - datetime.timedelta(back)
        bad = [("certificate-expired", 9 + back, "mx2.example.org")] \
            if back < 4 else []
        if back == 11:
            bad.append(("starttls-not-supported", 3, "mx1.example.org"))
        yield "big", report("Big Mail Inc.", "example.org", day, [
            policy("sts", "example.org", 900 - 17 * back, bad)])
        yield "search", report("Search Company", "example.org", day, [
            policy("no-policy-found", "example.org", 210 + 5 * back, [])])
        if back % 3 == 0:
            yield "org", report("Verein f\u00fcr Post e.V.", "example.net",
                                day, [
                policy("tlsa", "mx.example.net", 40, [
                    ("validation-failure", 2, "mx.example.net",
                     {"failure-reason-code": "dane-no-match"})]
                    if back == 6 else []),
                policy("sts", "example.net", 38, [])])


def write(folder):
    for n, (who, document) in enumerate(month()):
        text = json.dumps(document).encode()
        path = os.path.join(folder, "%s-%03d" % (who, n))
        if who == "big":
            path, text = path + ".json", text
        elif who == "search":
            path, text = path + ".json.gz", gzip.compress(text)
        else:
            path, text = path + ".eml", mail(document, "example.net",
                                             "verein.example")
        with open(path, "wb") as f:
            f.write(text)


if __name__ == "__main__":
    os.makedirs(sys.argv[1], exist_ok=True)
    write(sys.argv[1])
