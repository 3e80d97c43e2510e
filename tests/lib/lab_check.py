"""smtpd-out check in the lab, and whether it says what delivery then does.

	check = lab_check.Check(daemon, "alice@sender.test")
	check.json("good.test")["verdict"]	# check.code: its exit code
	check.agree("good.test")		# mail is sent to ann@good.test
	check.follow(t)				# compares after each test
"""

import json
import os
import re

import lab_ns
import tap

SCHEMAS = os.path.join(lab_ns.TOP, "tests", "schema")


def chain(lab, pair):
    """A file with key, certificate and the lab's authority."""
    whole = pair[0] + ".chain"
    with open(whole, "w") as out:
        for part in (*pair[::-1], lab.ca.file):
            with open(part) as f:
                out.write(f.read())
    return whole


def valid(document, schema="check.json"):
    """By the schema that is kept."""
    import jsonschema	# python3-jsonschema: see ../../packages
    with open(os.path.join(SCHEMAS, schema)) as f:
        jsonschema.validate(document, json.load(f),
                            cls=jsonschema.Draft7Validator)


def normal(text):
    """Without what changes from run to run: times, dates, keys."""
    text = re.sub(r"\b\d+ ms\b", "N ms", text)
    text = re.sub(r"(?<![\d.])20[2-3]\d-\d\d-\d\d( \d\d:\d\d:\d\d UTC)?(?! *\()",
                  "DATE", text)
    text = re.sub(r"(?<!ab)[0-9a-f]{32}(\.\.\.|[0-9a-f]{32})",
                  lambda m: m[0] if m[0].startswith("abab") else "HASH", text)
    return re.sub(r"tag \d+", "tag N", text)


class Check:
    def __init__(self, daemon, sender):
        self.daemon, self.sender = daemon, sender
        self.code = None

    def run(self, *arguments, stdin=b"", env=None):
        return self.daemon.run("check", "-c", self.daemon.config, *arguments,
                               stdin=stdin, env=env)

    def json(self, *arguments):
        """The object of one domain."""
        done = self.run("--json", *arguments)
        self.code = done.returncode
        if done.stderr or not done.stdout:
            raise RuntimeError("check %r: %d %s" % (arguments, self.code,
                                                    done.stderr.decode()))
        return json.loads(done.stdout)

    def same(self, domain, line, found=None):
        """Asserts that a delivery line is what check says (now, or found),
        which tries passwords of relays, too."""
        found = found or self.json("--auth", domain)
        verdict = found["verdict"]
        where = "of %s (check: %s)" % (domain, found["reason"])
        status = verdict if verdict in ("deferred", "bounced") else "sent"
        # What comes after the second EHLO check cannot know.
        beyond = line["stage"] in ("mail", "rcpt", "data", "eom") and \
            line["status"] != status
        tap.equal("sent" if beyond else line["status"], status,
                  "status= " + where)
        if status == "sent":
            tap.equal(line["tls"], "none" if verdict == "plain" else verdict,
                      "tls= " + where)
            tap.equal(line["mx"], found["host"], "mx= " + where)
        if not beyond:
            tap.equal(line["result_type"], found["result_type"] or "-",
                      "result_type= " + where)
        return found

    def same_all(self, domains=None, but=()):
        """The same for the last delivery of each (of all), with one run of
        check; messages that ask for more or less themselves, and those that
        are too old, do not count."""
        return self.compare(self.daemon.deliveries(), domains, but)

    def compare(self, deliveries, domains=None, but=()):
        lines = {}
        for line in deliveries:
            name = line["destination"]
            if name not in but and (domains is None or name in domains) and \
                    line["why"] not in ("requiretls", "tls-required-no") \
                    and line["stage"] != "queue":
                lines[name] = line
        if not lines:
            return 0
        done = self.run("--json", "--auth", "-",
                        stdin="".join(d + "\n" for d in lines).encode())
        documents = [json.loads(x) for x in done.stdout.splitlines()]
        tap.equal([d["domain"] for d in documents], list(lines), "domains")
        for found in documents:
            self.same(found["domain"], lines[found["domain"]], found)
        return len(lines)

    def follow(self, t, but=(), not_after=()):
        """After each test that passed, check must say of every destination
        what its last delivery of that test did.  but: domains where it cannot
        know; not_after: words of the names of tests that leave behind another
        world than the one they delivered in."""
        seen = 0

        def after(name):
            nonlocal seen
            if self.daemon.process is None or self.daemon.process.poll() \
                    is not None:
                return
            found = self.daemon.deliveries()
            new, seen = found[seen:], len(found)
            if not any(word in name for word in not_after):
                self.compare(new, but=but)

        t.after.append(after)

    def agree(self, domain, seconds=20):
        """Checks, then sends mail to ann@DOMAIN; both must say the same."""
        to = "ann@" + domain
        seen = len(self.daemon.deliveries(to=to))
        self.daemon.mail(self.sender, to, "to " + to)
        line = self.daemon.lab.wait(
            "the delivery line of " + to,
            lambda: self.daemon.deliveries(to=to)[seen:], seconds)[0]
        return self.same(domain, line)
