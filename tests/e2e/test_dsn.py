#!/usr/bin/python3
"""Notices: RFC 3461 and 3464, as the sender receives them."""

import common		# noqa: F401
import lab_check
import lab_peer
import lab_world
import tap
from lab_world import DEAD4, SENDER

PEER4 = "198.51.100.30"
DEFER4 = "198.51.100.32"


class Defers(lab_peer.Session):
    def on_rcpt(self, argument):
        self.reply("450 4.2.1 mailbox is resting")


class KnowsDsn(lab_peer.Session):
    extensions = lab_peer.Session.extensions + ["DSN"]


world = lab_world.World(domains={
    "peer.test": ["@ MX 10 mx", "mx A " + PEER4],
    "defer.test": ["@ MX 10 mx", "mx A " + DEFER4],
    "dead.test": ["@ MX 10 mx", "mx A " + DEAD4],
    "null.test": ["@ MX 0 ."]})
daemon = world.daemon(retry={"first": "1s", "max": "2s", "expire": "9s",
                             "delay-notice": "2s"})
t = tap.Tap(on_fail=world.explain)
peer = lab_peer.Peer(world.net, PEER4)
defers = lab_peer.Peer(world.net, DEFER4, Defers)
BODY = b"Subject: secret plans\r\nMessage-ID: <plan@sender.test>\r\n\r\n" \
    b"the text of it\r\n"


def ours(about):
    return [m for m in world.notices(about)
            if "machine.sender.test" in lab_world.report(m)]


def notice(about, pattern, seconds=20):
    return world.net.wait(
        "a notice about %s with %s" % (about, pattern),
        lambda: [m for m in ours(about)
                 if pattern in lab_world.report(m)], seconds)[-1]


@t.test("the form of a failure notice")
def _():
    daemon.send(SENDER, "nobody@good.test", BODY)
    m = notice("nobody@good.test", "Action: failed")
    tap.equal(m["Return-Path"] or "<>", "<>", "envelope sender")
    tap.equal(m.get_content_type(), "multipart/report", "content type")
    tap.equal(m.get_param("report-type"), "delivery-status", "report-type")
    tap.match("auto-(replied|generated)", str(m["Auto-Submitted"]),
              "Auto-Submitted")
    tap.match(SENDER, str(m["To"]), "To")
    tap.true(m["Date"] and m["Message-ID"] and m["From"], "Date, From, ID")
    parts = [p.get_content_type() for p in m.iter_parts()]
    tap.equal(parts[:2], ["text/plain", "message/delivery-status"], "parts")
    tap.match("message/rfc822|text/rfc822-headers", parts[2], "third part")
    tap.match("secret plans", m.as_string(), "the subject is quoted")
    text = lab_world.report(m)
    for pattern in (r"Reporting-MTA: dns; ?machine\.sender\.test",
                    r"Final-Recipient: rfc822; ?nobody@good\.test",
                    r"Action: failed", r"Status: 5\.1\.1",
                    r"Remote-MTA: dns; ?mx\.good\.test",
                    r"Diagnostic-Code: smtp; ?550",
                    r"Arrival-Date: ", r"Last-Attempt-Date: "):
        tap.match(pattern, text, "report")
    human = next(m.iter_parts()).get_content()
    tap.match("nobody@good.test", human, "text for people")


@t.test("RET=HDRS: headers alone; RET=FULL: the message")
def _():
    daemon.send(SENDER, "n1@good.test", BODY, ["RET=HDRS"])
    m = notice("n1@good.test", "failed")
    tap.true("the text of it" not in m.as_string(), "no body with HDRS")
    tap.match("secret plans", m.as_string(), "headers with HDRS")
    daemon.send(SENDER, "n2@good.test", BODY, ["RET=FULL"])
    m = notice("n2@good.test", "failed")
    tap.match("the text of it", m.as_string(), "body with FULL")


@t.test("ENVID and ORCPT come back")
def _():
    daemon.send(SENDER, "n3@good.test", BODY, ["ENVID=abc+2B42"],
                ["ORCPT=rfc822;orig@x.test", "NOTIFY=FAILURE"])
    text = lab_world.report(notice("n3@good.test", "failed"))
    tap.match(r"Original-Envelope-Id: abc\+42", text, "envelope id")
    tap.match(r"Original-Recipient: rfc822; ?orig@x\.test", text, "ORCPT")


@t.test("NOTIFY=NEVER: no notice")
def _():
    queue_id = daemon.send(SENDER, "n4@good.test", BODY, [], ["NOTIFY=NEVER"])
    daemon.delivery(id=queue_id, status="bounced")
    daemon.settled(queue_id)
    daemon.send(SENDER, "n5@good.test", BODY)
    notice("n5@good.test", "failed")
    tap.equal(world.notices("n4@good.test"), [], "notices")


@t.test("NOTIFY=SUCCESS alone: no notice of failure")
def _():
    queue_id = daemon.send(SENDER, "n6@good.test", BODY, [],
                           ["NOTIFY=SUCCESS"])
    daemon.delivery(id=queue_id, status="bounced")
    daemon.settled(queue_id)
    daemon.send(SENDER, "n7@good.test", BODY)
    notice("n7@good.test", "failed")
    tap.equal(world.notices("n6@good.test"), [], "notices")


@t.test("success where the next hop lacks DSN: relayed")
def _():
    daemon.send(SENDER, "s1@peer.test", BODY, [], ["NOTIFY=SUCCESS"])
    text = lab_world.report(notice("s1@peer.test", "Action: relayed"))
    tap.match(r"Status: 2\.", text, "status")


@t.test("the next hop has DSN: parameters go there, no notice from us")
def _():
    peer.session = KnowsDsn
    try:
        queue_id = daemon.send(
            SENDER, "s2@peer.test", BODY, ["RET=HDRS", "ENVID=xyz+2B1"],
            ["NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;a+2Bb@x.test"])
        daemon.delivery(id=queue_id, status="sent")
        lines = b"\n".join(peer.sessions[-1].lines).decode()
        for pattern in (r"MAIL FROM:.* RET=HDRS", r"MAIL .*ENVID=xyz\+2B1",
                        r"RCPT TO:.* NOTIFY=(SUCCESS,DELAY|DELAY,SUCCESS)",
                        r"RCPT .*ORCPT=rfc822;a\+2Bb@x\.test"):
            tap.match(pattern, lines, "command")
        daemon.settled(queue_id)
        tap.equal(ours("s2@peer.test"), [], "notices of ours")
    finally:
        peer.session = lab_peer.Session


@t.test("no NOTIFY: success is silent")
def _():
    queue_id = daemon.send(SENDER, "s3@peer.test", BODY)
    daemon.delivery(id=queue_id, status="sent")
    daemon.settled(queue_id)
    tap.equal(ours("s3@peer.test"), [], "notices")


@t.test("a delay notice, one, then expiry")
def _():
    queue_id = daemon.send(SENDER, "d1@defer.test", BODY)
    text = lab_world.report(notice("d1@defer.test", "Action: delayed"))
    tap.match(r"Status: 4\.", text, "status")
    tap.match(r"Will-Retry-Until: ", text, "how long")
    text = lab_world.report(notice("d1@defer.test", "Action: failed", 30))
    tap.match(r"Status: [45]\.", text, "status")
    tap.equal(len([m for m in ours("d1@defer.test")
                   if "delayed" in lab_world.report(m)]), 1,
              "delay notices")
    daemon.settled(queue_id)


@t.test("expiry also where nothing answers")
def _():
    queue_id = daemon.send(SENDER, "x1@dead.test", BODY, [],
                           ["NOTIFY=FAILURE"])
    notice("x1@dead.test", "Action: failed", 30)
    daemon.settled(queue_id)
    tap.equal([m for m in ours("x1@dead.test")
               if "delayed" in lab_world.report(m)], [], "delay notices")


@t.test("never a notice for a notice")
def _():
    queue_id = daemon.send("", "n8@good.test", BODY)
    daemon.delivery(id=queue_id, status="bounced")
    daemon.settled(queue_id)
    world.net.wait("the queue is empty", lambda: not daemon.queue_ids(), 40)


@t.test("a notice that cannot be delivered ends there")
def _():
    daemon.send("carol@null.test", "n9@good.test", BODY)
    daemon.delivery(to="carol@null.test", status="bounced")
    world.net.wait("the queue is empty", lambda: not daemon.queue_ids(), 40)


@t.test("one notice for several recipients of one attempt")
def _():
    before = len(world.notices())
    daemon.send(SENDER, ["m1@good.test", "m2@good.test"], BODY)
    text = lab_world.report(notice("m1@good.test", "failed"))
    tap.match("m2@good.test", text, "both in one")
    tap.equal(len(world.notices()), before + 1, "notices")


@t.test("check says of each domain what delivery did last")
def _():
    tap.true(lab_check.Check(daemon, "").same_all() >= 3, "domains")


t.run()
