#!/usr/bin/python3
"""The demonstration: see ../../demo, which builds and then runs this."""

import os
import re
import sys
import time

import lab
import lab_daemon
import lab_mta
import lab_report
import lab_sts
from lab_attacker import Attacker
from lab_tlsa import tlsa

lab.enter()

MX_TLS, MX_CLEAR, MX_EXIM = "198.51.100.10", "198.51.100.11", "198.51.100.20"
DEAD = "203.0.113.25"		# nobody answers there
ATTACKER = "198.51.100.66"	# on the way to MX_TLS
ROAD = "198.51.100.67"		# there he is too, but idle at first
POLICY_HOST = "198.51.100.80"
SENDER = "alice@sender.test"
REPORTS = "tls-reports@good.test"	# where attacked.test wants them
USERS = [SENDER, "dora@dane.test", "dora@attacked.test", "ann@good.test",
         "bob@several.test", "carol@clear.test", "sam@sts.test",
         "sue@sts.test", REPORTS]

# recipient, what is special, status that is expected, where it arrives
CASES = [
    ("dora@dane.test", "DANE: the certificate matches its TLSA record",
     "sent", "postfix"),
    ("dora@attacked.test", "the same, but an attacker strips STARTTLS",
     "deferred", "attacker"),
    ("sam@sts.test", "MTA-STS: the certificate fits the policy, by HTTPS",
     "sent", "postfix"),
    ("ann@good.test", "no DANE: a Postfix with STARTTLS, opportunistic",
     "sent", "postfix"),
    ("bob@several.test", "three MX hosts, the first is dead", "sent",
     "postfix"),
    ("dave@exim.test", "an Exim with STARTTLS", "sent", "exim"),
    ("carol@clear.test", "a Postfix without STARTTLS", "sent", "postfix"),
    ("nobody@good.test", "no such user there", "bounced", "notice"),
    ("eve@nosuch.test", "no such domain", "bounced", "notice"),
    ("frank@null.test", "a domain that takes no mail (null MX)", "bounced",
     "notice"),
]
LATER = [
    ("sue@sts.test", "the same domain, but now the attacker strips STARTTLS",
     "deferred", "road"),
]

MESSAGE = """From: Alice <%s>
To: several people
Subject: the demonstration

Hello from the queue of smtpd-out.
""" % SENDER


def build_lab():
    net = lab.Lab()
    cert = net.ca.cert("mx.postfix.test", "mx.good.test", "mx.sts.test")
    record = tlsa(3, 1, 1, cert[0])
    for name, records in {
            "dane.test": ["@ MX 10 mx", "mx A " + MX_TLS, record],
            "attacked.test": ["@ MX 10 mx", "mx A " + ATTACKER, record,
                              lab_report.record("mailto:" + REPORTS)],
            "sender.test": ["@ MX 10 mx", "mx A " + MX_TLS],
            "good.test": ["@ MX 10 mx", "mx A " + MX_TLS],
            "several.test": ["@ MX 10 dead", "@ MX 20 refuses", "@ MX 30 mx",
                             "dead A " + DEAD, "refuses A 198.51.100.1",
                             "mx A " + MX_TLS],
            "clear.test": ["@ MX 10 mx", "mx A " + MX_CLEAR],
            "exim.test": ["@ MX 10 mx", "mx A " + MX_EXIM],
            "sts.test": ["@ MX 10 mx", "mx A " + ROAD,
                         *lab_sts.records(POLICY_HOST)],
            "null.test": ["@ MX 0 ."]}.items():
        net.dns.domain(name, records)
    web = lab_sts.PolicyHost(net, POLICY_HOST)
    web.serve("sts.test", lab_sts.policy("enforce", "mx.sts.test"))
    net.start()
    web.start()
    postfix = lab_mta.Postfix(net, USERS)
    postfix.cert = cert
    postfix.listen(MX_TLS)
    postfix.listen(MX_CLEAR, smtpd_tls_security_level="none")
    postfix.start()
    exim = lab_mta.Exim(net, MX_EXIM, ["dave@exim.test"])
    exim.start()
    attackers = {"attacker": Attacker(net, ATTACKER, MX_TLS, "strip"),
                 "road": Attacker(net, ROAD, MX_TLS, "pass")}
    return net, postfix, exim, attackers, web


class Seen:
    """What happened, from the log of smtpd-out and from the receivers."""

    def __init__(self, daemon, postfix, exim, attackers):
        self.daemon, self.postfix, self.exim = daemon, postfix, exim
        self.attackers = attackers

    def last(self, to):
        lines = self.daemon.deliveries(to=to)
        return lines[-1] if lines else None

    def said(self, to):
        line = self.last(to)
        if line is None:
            return "nothing"
        words = [line["status"], line.get("dsn", "")]
        if line["status"] == "sent":
            words += ["by", line["mx"]]
            words += ["in clear text"] if line["tls"] == "none" else [
                "over", line["proto"]]
            words += [", verified by DANE"] * (line["tls"] == "dane")
            words += [", verified by MTA-STS"] * (line["tls"] == "sts")
        else:
            words.append(": " + line.get("reply", "")[:160])
            words += ["(MTA-STS demands it)"] * (line.get("why") == "sts")
        return " ".join(words).replace(" :", ":").replace(" ,", ",")

    def saw(self, to, where):
        """(it was as expected, what the receiver saw)."""
        if where == "notice":
            found = [m for m in self.postfix.messages(SENDER)
                     if "Final-Recipient: rfc822; " + to
                     in m.as_string().replace("rfc822;" + to,
                                              "rfc822; " + to)]
            if not found:
                return False, "no notice for the sender"
            return True, "a notice is in the sender's mailbox"
        if where in self.attackers:
            read = b"".join(self.attackers[where].clear)
            box = self.postfix.messages(to)
            return (not box and b"MAIL" not in read and b"EHLO" in read,
                    "nothing arrived; all the attacker could read is: "
                    + ", ".join(sorted({x.split()[0].decode() for x in
                                        read.splitlines() if x.split()})))
        receiver = self.postfix if where == "postfix" else self.exim
        box = receiver.messages(to)
        if len(box) != 1:
            return False, "%d messages in the mailbox" % len(box)
        received = str(box[0].get_all("Received")[0])
        tls = re.search(r"using (TLS\S+)|\((TLS[\d.]+)\)", received)
        words = ["in the mailbox",
                 "over " + (tls[1] or tls[2]) if tls else "in clear text"]
        if where == "postfix" and tls:
            words.append("EHLO %s times, STARTTLS once" % self.ehlo(to))
        good = bool(tls) == (to != "carol@clear.test") and (
            where != "postfix" or not tls or self.ehlo(to) == "2")
        return good, ", ".join(words)

    def ehlo(self, to):
        """How many EHLOs Postfix saw where this one came (at its end)."""
        line = self.last(to) or {}
        queued = re.search(r"queued as (\w+)", line.get("reply", ""))
        session = self.postfix.session_of(queued[1]) if queued else {}
        return session.get("ehlo", "?") if "starttls" in session else "?"

    def wait(self, cases):
        end = time.monotonic() + 30
        while not self.complete(cases) and time.monotonic() < end:
            time.sleep(0.1)

    def complete(self, cases):
        return all(self.last(to) and self.last(to)["status"] == status
                   and self.saw(to, where)[0]
                   for to, _, status, where in cases)


def show(seen, cases):
    """Prints the table; True when all is as expected."""
    fine = True
    for to, special, status, where in cases:
        line = seen.last(to)
        good, saw = seen.saw(to, where)
        good = good and line is not None and line["status"] == status
        fine = fine and good
        print("\n%s %-19s %s" % ("ok " if good else "BAD", to, special))
        print("      smtpd-out   %s" % seen.said(to))
        print("      receiver    %s" % saw)
    return fine


def explore(net, daemon, postfix):
    outside = os.environ["LAB_PID"]
    print("""
It is all still up, in %s:
  a shell inside     nsenter -a -t $(pgrep -P %s)
  its log            %s
  configuration      %s
  the queue          %s queue -c %s list
  explanations       %s check -c %s attacked.test
  send more          %s submit -c %s -f %s ann@good.test <FILE
                     (or by SMTP inside: 127.0.0.1 port %d)
  mailboxes          %s/DOMAIN/USER/new
  Postfix's log      %s
  end it             ./demo --stop
""" % (net.dir, outside, daemon.log_file, daemon.config, daemon.program,
       daemon.config, daemon.program, daemon.config, daemon.program,
       daemon.config, SENDER,
       lab_daemon.PORT, postfix.mail, postfix.log_file))


def submit(daemon, cases):
    done = daemon.run("submit", "-c", daemon.config, "-f", SENDER,
                      *[c[0] for c in cases], stdin=MESSAGE.encode())
    if done.returncode != 0:
        print("submit: exit %d: %s" % (done.returncode,
                                       done.stderr.decode()))


def vanish(net, web, road):
    """What the attacker can do to a domain with MTA-STS."""
    web.stop()
    net.dns.domain("sts.test", ["@ MX 10 mx", "mx A " + ROAD])
    net.dns.reload()
    road.mode = "strip"
    road.clear.clear()


def report(daemon, postfix):
    """What attacked.test is told of this day (RFC 8460); True when it arrived
    and says what happened."""
    sent = daemon.run("report", "send", "-c", daemon.config, "--now",
                      "--domain", "attacked.test")
    end = time.monotonic() + 20
    while not postfix.messages(REPORTS) and time.monotonic() < end:
        time.sleep(0.1)
    found = postfix.messages(REPORTS)
    shown = daemon.run("report", "show", "-c", daemon.config,
                       "attacked.test")
    print("\nThe report of this day to attacked.test, %s by mail:\n" % (
        "arrived" if found else "NOT arrived"))
    print(shown.stdout.decode())
    if sent.returncode != 0 or len(found) != 1:
        print(sent.stdout.decode() + sent.stderr.decode())
        return False
    return ("tlsa", "starttls-not-supported") in lab_report.failures(
        lab_report.of_mail(found[0]))


def main():
    print("Starting a private Internet: root, test., %d mail domains, a "
          "resolver,\nPostfix, Exim, an nginx with a policy, an attacker ..."
          % 9)
    net, postfix, exim, attackers, web = build_lab()
    key = os.path.join(net.dir, "dkim.pem")
    lab_report.key(key, "smtpd-out")
    daemon = lab_daemon.Daemon(
        net, lab_daemon.program(), timeout={"idle": "10ms"},
        dkim={"domain": "sender.test", "selector": "s1", "key-file": key},
        tlsrpt={"contact": "postmaster@sender.test"},
        **{"mta-sts": {"allow-private-addresses": True}})
    daemon.start()
    print("Submitting one message to %d recipients ..." % len(CASES))
    submit(daemon, CASES)
    seen = Seen(daemon, postfix, exim, attackers)
    seen.wait(CASES)
    fine = show(seen, CASES)
    print("\nThe policy host and the record of sts.test vanish, smtpd-out "
          "starts again,\nand the attacker awakes ...")
    daemon.stop()
    vanish(net, web, attackers["road"])
    daemon.start()
    submit(daemon, LATER)
    seen.wait(LATER)
    fine = show(seen, LATER) and fine
    tls = postfix.tls_lines()
    print("\nPostfix's own words:")
    for line in (tls[-1:] + postfix.log_lines("ehlo=2.*starttls=1")[-1:]):
        print("  " + line.split(": ", 1)[1])
    fine = report(daemon, postfix) and fine
    if not fine:
        print("\nNot everything went as expected.\n" + daemon.explain())
    if "--keep" in sys.argv:
        explore(net, daemon, postfix)
        with open(sys.argv[-1], "w") as f:
            f.write("0\n" if fine else "1\n")
        daemon.process.wait()
    else:
        status = daemon.stop()
        print("\nsmtpd-out stopped with status %d. %s" % (
            status, "All as expected." if fine and status == 0 else ""))
        fine = fine and status == 0
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    try:
        main()
    except lab.LabError as e:
        lab.die(str(e))
