#!/usr/bin/python3
"""Notices with a DKIM signature, as they arrive in a real mailbox; the key of
root, which the daemon can read at its start only; and reloads."""

import base64
import os
import pwd
import subprocess

import common		# noqa: F401
import lab_check
import lab_world
import tap
from lab_world import SENDER

world = lab_world.World()
key = os.path.join(world.net.dir, "dkim.pem")
user = pwd.getpwnam("smtpd-out")


def make_key(path):
    subprocess.run(["openssl", "genpkey", "-algorithm", "rsa", "-pkeyopt",
                    "rsa_keygen_bits:2048", "-out", path], check=True,
                   stderr=subprocess.DEVNULL)
    os.chmod(path, 0o600)
    der = subprocess.run(["openssl", "pkey", "-in", path, "-pubout",
                          "-outform", "DER"], check=True,
                         stdout=subprocess.PIPE).stdout
    return b"v=DKIM1; p=" + base64.b64encode(der)


record = make_key(key)
daemon = world.daemon(
    dkim={"domain": "sender.test", "selector": "s1", "key-file": key,
          "sign-notices": "yes"},
    retry={"first": "1s", "max": "2s", "expire": "1h"})
t = tap.Tap(on_fail=world.explain)
lab_check.Check(daemon, "").follow(t)


def next_notice():
    """The raw bytes of the notice about one more lost message."""
    world.postfix.clear(SENDER)
    daemon.send(SENDER, "nobody@good.test", b"Subject: x\r\n\r\nhello\r\n")
    world.notice("nobody@good.test")
    return world.postfix.raw(world.postfix.mailbox(SENDER)[0])


def verify(raw, want=True):
    try:
        import dkim
    except ImportError:
        raise tap.Skip("needs python3-dkim")
    asked = []

    def dns(name, timeout=5):
        asked.append(name)
        return record

    tap.equal(dkim.DKIM(raw).verify(dnsfunc=dns), want, "signature")
    tap.equal(asked, [b"s1._domainkey.sender.test."] * want, "question")


@t.test("a bounce is signed, and the signature holds where it arrives")
def _():
    verify(next_notice())


@t.test("the key of root is kept over a reload")
def _():
    tap.equal(os.stat(key).st_uid, 0, "owner")
    tap.true(daemon.status(daemon.process.pid)["Uid"].split()[0] != "0",
             "the daemon is not root")
    daemon.reload()
    world.net.wait("the reload", lambda: daemon.events("reloaded"))
    tap.match("kept", str(daemon.events("reload")[-1]), "said so")
    verify(next_notice())


@t.test("a key that can be read is read anew")
def _():
    global record
    new = key + ".new"
    record = make_key(new)
    os.chown(new, user.pw_uid, user.pw_gid)
    os.rename(new, key)
    before = len(daemon.events("reloaded"))
    daemon.reload()
    world.net.wait("the reload",
                   lambda: len(daemon.events("reloaded")) > before)
    verify(next_notice())


@t.test("a key that others can read stops a reload, and a start")
def _():
    os.chmod(key, 0o644)
    daemon.reload()
    world.net.wait("a refusal", lambda: [
        e for e in daemon.events("reload") if "0600" in e.get("reason", "")])
    verify(next_notice())
    p = daemon.run("run", "-c", daemon.config, "--check-config")
    tap.equal(p.returncode, 78, "exit")
    os.chmod(key, 0o600)


@t.test("switched off, nothing is signed")
def _():
    daemon.configure(dkim={"sign-notices": "no"})
    before = len(daemon.events("reloaded"))
    daemon.reload()
    world.net.wait("the reload",
                   lambda: len(daemon.events("reloaded")) > before)
    raw = next_notice()
    tap.true(b"DKIM-Signature" not in raw, "no signature")


t.run()
