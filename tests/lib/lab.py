"""The lab: a mini-Internet in namespaces of its own.

	#!/usr/bin/python3
	import lab
	lab.enter()			# runs the script again, inside
	net = lab.Lab()
	net.dns.domain("good.test", [...])
	postfix = lab_mta.Postfix(net, ...)
	net.start()

Everything it starts is a child in its own process namespace and ends with the
script, however that ends.
"""

import os
import subprocess
import sys
import time

import lab_dns
import lab_ns

enter = lab_ns.enter
TOP = lab_ns.TOP


class LabError(Exception):
    pass


class Lab:
    Dns = lab_dns.Dns

    def __init__(self):
        self.dir = os.environ["LAB_DIR"]
        self.processes = []
        self.dns = self.Dns(self)
        self.ca = Ca(self)

    def start(self):
        self.dns.start()

    def log(self, name):
        return os.path.join(self.dir, name + ".log")

    def spawn(self, argv, name, internet=False, **kw):
        """Starts a server; its output goes to NAME.log."""
        if internet:
            argv = lab_ns.internet_argv(argv)
        with open(self.log(name), "ab") as out:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                                       stdout=out, stderr=out, **kw)
        process.lab_log = self.log(name)
        self.processes.append(process)
        return process

    def wait(self, what, test, seconds=20, step=0.02):
        """Waits until test() is true (then returns what it returned)."""
        end = time.monotonic() + seconds
        while True:
            result = test()
            if result:
                return result
            if time.monotonic() > end:
                raise LabError("waited %ds in vain: %s%s" % (
                    seconds, what, self.ended()))
            time.sleep(step)

    def ended(self):
        """What the servers that have ended said last."""
        text = ""
        for process in self.processes:
            if process.poll():
                with open(process.lab_log, errors="replace") as f:
                    text += "\n%s: exit %d: %s" % (
                        process.args[-3:], process.returncode,
                        f.read()[-500:])
        return text

    def stop(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Ca:
    """The lab's certificate authority; cert() makes a server certificate."""

    def __init__(self, lab):
        self.dir = os.path.join(lab.dir, "ca")
        os.mkdir(self.dir)
        self.file = os.path.join(self.dir, "ca.pem")
        self.key = os.path.join(self.dir, "ca.key")
        self.made = 0

    def openssl(self, *argv):
        done = subprocess.run(["openssl", *argv], cwd=self.dir, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True)
        if done.returncode != 0:
            raise LabError("openssl: " + done.stderr)

    EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")

    def cert(self, *names, days=30, san=True, trusted=True):
        """Returns (certificate file, key file) for the names (or addresses,
        as "IP:192.0.2.1").  days may be negative: expired; san=False: the first name is but the subject's
        common name; trusted=False: signed by itself."""
        if not os.path.exists(self.file):
            self.openssl("req", "-x509", *self.EC, "-nodes", "-days", "30",
                         "-subj", "/CN=Lab CA", "-keyout", self.key,
                         "-out", self.file)
        self.made += 1
        base = os.path.join(self.dir, "%d-%s" % (self.made, names[0]))
        alt = ["-addext", "subjectAltName=" + ",".join(
            n if n.startswith("IP:") else "DNS:" + n for n in names)] * san
        subject = "/CN=" + (names[0] if len(names[0]) < 64 else "long")
        # OpenSSL 3.0 signs with another key only by way of a request.
        self.openssl("req", "-new", *self.EC, "-nodes", "-subj", subject,
                     *alt, "-keyout", base + ".key", "-out", base + ".csr")
        self.openssl("x509", "-req", "-in", base + ".csr", *(
            ["-CA", self.file, "-CAkey", self.key, "-CAcreateserial"]
            if trusted else ["-key", base + ".key"]), "-days", str(days),
                     "-copy_extensions", "copy", "-out", base + ".pem")
        return base + ".pem", base + ".key"


def die(message):
    print("lab: " + message, file=sys.stderr)
    sys.exit(1)
