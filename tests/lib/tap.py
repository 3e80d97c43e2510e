"""Tests that print TAP: one function per test, in order of writing.

	t = tap.Tap(on_fail=daemon.explain)

	@t.test("mail arrives")
	def _():
		tap.equal(len(box), 1, "messages in the mailbox")

	t.run()			# exits

on_fail() returns text that is printed after a failed test.
"""

import os
import re
import sys
import time
import traceback


class Failure(Exception):
    pass


class Skip(Exception):
    pass


def fail(message):
    raise Failure(message)


def true(value, message):
    if not value:
        raise Failure(message)
    return value


def equal(got, want, message):
    if got != want:
        raise Failure("%s: got %r, want %r" % (message, got, want))


def match(pattern, text, message):
    found = re.search(pattern, text, re.S)
    if not found:
        raise Failure("%s: %r does not match %r" % (message, text[-2000:],
                                                    pattern))
    return found


class Tap:
    def __init__(self, on_fail=None):
        self.tests = []
        self.after = []		# called with the name of a test that passed
        self.on_fail = on_fail
        self.failed = 0

    def test(self, name):
        def add(function):
            self.tests.append((name, function))
            return function
        return add

    def diag(self, text):
        for line in str(text).rstrip("\n").split("\n"):
            print("# " + line)

    def one(self, number, name, function):
        started = time.monotonic()
        try:
            function()
            for after in self.after:
                after(name)
            verdict, why, extra = "ok", None, ""
        except Skip as e:
            verdict, why, extra = "ok", None, " # SKIP %s" % e
        except Failure as e:
            verdict, why, extra = "not ok", str(e), ""
        except Exception:
            verdict, why, extra = "not ok", traceback.format_exc(), ""
        print("%s %d - %s%s" % (verdict, number, name, extra))
        if os.environ.get("TAP_TIMES"):
            self.diag("%.2f s" % (time.monotonic() - started))
        if verdict != "ok":
            self.failed += 1
            self.diag(why)
            if self.on_fail:
                self.diag(self.on_fail())
        sys.stdout.flush()

    def run(self):
        """Runs all tests, or those whose name holds a word given as an
        argument, and exits."""
        words = sys.argv[1:]
        chosen = [x for x in self.tests
                  if not words or any(w in x[0] for w in words)]
        print("1..%d" % len(chosen), flush=True)
        for number, (name, function) in enumerate(chosen, 1):
            self.one(number, name, function)
        sys.stdout.flush()
        sys.exit(1 if self.failed else 0)
