#!/usr/bin/python3
"""Our validator and libunbound must say the same, straight and through a
resolver that tampers, in mini-Internets of three algorithms."""

import os
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
LIB = os.path.join(TOP, "tests", "lib")
sys.path.insert(0, LIB)
import lab_ns		# noqa: E402

lab_ns.enter()
SMTPD_OUT = os.environ.get("SMTPD_OUT") or sys.exit("SMTPD_OUT is not set")
BUILD = os.path.dirname(os.path.dirname(os.path.abspath(SMTPD_OUT)))
TOOLS = os.path.join(BUILD, "tests", "lib")

# Prints "MODE EXIT" and the differences; every fourth name when tampered.
# Without EDNS we take no answer at all.
STRAIGHT = '''
"$TOOLS/dnslab_diff" $DNSLAB_RESOLVER $DNSLAB_ANCHOR $DNSLAB_NAMES
echo "result straight $?"
'''
TAMPERED = '''
awk 'NF == 2 && NR % 4 == 0' $DNSLAB_NAMES >$DNSLAB_DIR/some
sed 's/$/ indeterminate/' $DNSLAB_DIR/some >$DNSLAB_DIR/none
while read mode address; do
	names=$DNSLAB_DIR/some
	[ $mode != no-opt ] || names=$DNSLAB_DIR/none
	"$TOOLS/dnslab_diff" $address $DNSLAB_ANCHOR $names
	echo "result $mode $?"
done <$DNSLAB_TAMPER
'''
RUNS = [("rsa", STRAIGHT, 1), ("ed25519", STRAIGHT, 1),
        ("ecdsa", STRAIGHT + TAMPERED, 8)]
number = failed = 0


def run(algorithm, script, count):
    global number, failed
    env = dict(os.environ, DNSLAB_INSIDE="1", TOOLS=TOOLS,
               DNSLAB_PROXY=os.path.join(TOOLS, "dnslab_proxy"))
    done = subprocess.run(
        [sys.executable, "-B", os.path.join(LIB, "dnslab.py"), "--algorithm",
         algorithm, "sh", "-c", script], env=env, text=True, timeout=200,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
    seen = 0
    for line in done.stdout.splitlines():
        if not line.startswith("result "):
            print(line)
            continue
        mode, code = line.split()[1:]
        number, seen = number + 1, seen + 1
        failed += code != "0"
        print("%sok %d - %s, %s" % ("" if code == "0" else "not ", number,
                                    algorithm, mode))
    for _ in range(seen, count):
        number, failed = number + 1, failed + 1
        print("not ok %d - %s: did not run" % (number, algorithm))


print("1..%d" % sum(x[2] for x in RUNS))
if not os.path.exists(os.path.join(TOOLS, "dnslab_diff")):
    for n in range(sum(x[2] for x in RUNS)):
        print("ok %d # SKIP dnslab_diff was not built (make check TESTS= "
              "does, with libunbound)" % (n + 1))
    sys.exit(0)
for one in RUNS:
    run(*one)
sys.exit(1 if failed else 0)
