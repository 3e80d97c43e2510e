"""lint --json for inputs of every kind, good, doubtful and bad: an object by
the schema of its kind, and an exit status that agrees with it."""

import copy
import json
import os
import random
import subprocess
import sys

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(here), "lib"))

import tap		# noqa: E402

PROGRAM = os.environ["SMTPD_OUT"]
EX_OK, EX_DATAERR = 0, 65
AB = "ab" * 32
POLICY = "version: STSv1\nmode: enforce\nmx: mx.a.test\nmax_age: 604800\n"

# kind: [(argument or text of the file, valid, warnings), ...]
CASES = {
    "sts-policy": [
        (POLICY, True, False),
        (POLICY.replace("enforce", "testing"), True, True),
        (POLICY.replace("604800", "60"), True, True),
        (POLICY.replace("mx.a.test", "*.test"), True, True),
        ("version: STSv1\nmode: none\nmax_age: 86400\n", True, True),
        (POLICY.replace("enforce", "enforced"), False, None),
        ("", False, None), ("\0\xff\r", False, None),
        ("mode: enforce\n" * 1000, False, None)],
    "sts-record": [
        (["v=STSv1; id=20261121;"], True, False),
        (['"v=STSv1; " "id=a;"'], True, None),
        (["v=STSv1; id=a", "v=spf1 -all"], True, None),
        (["v=STSv1; id=a-b"], False, None), (["v=STSv1"], False, None),
        (["v=STSv1; id=a", "v=STSv1; id=b"], False, None),
        ([""], False, None), (["\x01\x7f"], False, None)],
    "sts-match": [
        (["*.a.test", "mx.a.test"], True, None),
        (["mx.a.test", "mx.b.test"], False, None),
        (["*.a.test", "x.y.a.test"], False, None),
        (["a*.test", "ab.test"], False, None), (["", ""], False, None)],
    "tlsrpt-record": [
        (["v=TLSRPTv1; rua=mailto:a@b.test"], True, None),
        (["v=TLSRPTv1; rua=mailto:a@b.test,https://c.test/x"], True, None),
        (["v=TLSRPTv1; rua=http://c.test/"], False, None),
        (["v=TLSRPTv1"], False, None), (["x"], False, None)],
    "tlsa": [
        (["3 1 1 " + AB], True, None), (["2", "0", "1", AB], True, None),
        (["_25._tcp.a.test. IN TLSA 3 1 1 " + AB], True, None),
        (["1 1 1 " + AB], False, None), (["3 1 2 " + AB], False, None),
        (["9 9 9 " + AB], False, None), (["3 1 0 " + AB], False, None),
        (["3 1 1 xyz"], False, None), (["300 1 1 " + AB], False, None)],
    "address": [
        (["ann@a.test"], True, None), (['"a b"@a.test'], True, None),
        (["änn@ä.test"], True, None), (["a@[192.0.2.1]"], True, None),
        (["a.test"], False, None), (["a@b@c"], False, None),
        (["@"], False, None), (["\x1b[2J@a.test"], False, None)],
    "config": [
        ('hostname = "a.test"\n', True, None),
        ('destination "a.test" { tls = none }\n', True, None),
        ('host "mx.a.test" { tls = dane-only }\n', True, None),
        ('destination "a.test" { tls = may until = "2020-01-01" }\n', True,
         True),
        ('nonsense = 1\n', False, None), ('hostname = "\n', False, None),
        ('\0', False, None)],
}

with open(os.path.join(here, "lint.json"), encoding="utf-8") as f:
    SCHEMA = json.load(f)
t = tap.Tap()


def validator(kind):
    try:
        import jsonschema
    except ImportError:
        raise tap.Skip("needs python3-jsonschema")
    return jsonschema.Draft7Validator({
        "definitions": SCHEMA["definitions"],
        "$ref": "#/definitions/" + kind})


def lint(kind, given):
    """(exit status, object) of a text for a file, or of arguments."""
    is_file = isinstance(given, str)
    done = subprocess.run(
        [PROGRAM, "lint", "--json", kind, *(["-"] if is_file else
                                            ["--", *given])],
        input=given.encode("utf-8", "surrogateescape") if is_file else b"",
        capture_output=True, timeout=20)
    tap.true(done.returncode in (EX_OK, EX_DATAERR), "%s %r: exit %d: %s" % (
        kind, given, done.returncode, done.stderr))
    return done.returncode, json.loads(done.stdout)


def judge(kind, given):
    code, found = lint(kind, given)
    error = next(validator(kind).iter_errors(found), None)
    tap.true(error is None, "%s %r: %s\n%r" % (kind, given, error, found))
    tap.equal(found["valid"], code == EX_OK, "%s %r" % (kind, given))
    return found


for kind, cases in CASES.items():
    @t.test(kind)
    def _(kind=kind, cases=cases):
        for given, valid, warned in cases:
            found = judge(kind, given)
            tap.equal(found["valid"], valid, "%r: %r" % (given, found))
            if warned is not None:
                tap.equal(found["warnings"] != [], warned, "%r: %r" % (
                    given, found))


@t.test("whatever is given is answered by the schema")
def _():
    numbers = random.Random(7)
    for kind, cases in CASES.items():
        for given, _, _ in cases:
            text = given if isinstance(given, str) else given[0]
            at = numbers.randrange(len(text) + 1)
            odd = text[:at] + numbers.choice(
                ["\x01", "é", ";", "=", '"', " ", "\n", "9" * 300, "*"]
            ) + text[at:]
            if isinstance(given, str):
                judge(kind, odd)
            elif not odd.startswith("-"):
                judge(kind, [odd, *given[1:]])


@t.test("the schema refuses what is not the output")
def _():
    for kind, cases in CASES.items():
        good = judge(kind, cases[0][0])
        for change in (lambda o: o.pop("valid"),
                       lambda o: o.update(valid="yes"),
                       lambda o: o.update(valid=False),
                       lambda o: o["errors"].append("no section"),
                       lambda o: o.update(more=1),
                       lambda o: o.pop("warnings")):
            bad = copy.deepcopy(good)
            change(bad)
            tap.true(not validator(kind).is_valid(bad), "%s: %r" % (kind,
                                                                    bad))


t.run()
