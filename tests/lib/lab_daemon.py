"""smtpd-out as the lab runs it: configuration, process, log, commands."""

import json
import os
import pwd
import re
import signal
import smtplib
import socket
import subprocess
import time

import lab_dns
import lab_ns

SENDER_HOST = "machine.sender.test"
PORT = 10025

# Times are short, so that a retry is seen within a test.
SETTINGS = {
    "resolver": {"timeout": "1s", "lookup-timeout": "6s", "tries": 1,
                 "min-ttl": "0s", "max-ttl": "1s"},
    "retry": {"first": "1s", "max": "2s", "expire": "10m",
              "delay-notice": "0s"},
    "timeout": {"connect": "2s", "banner": "4s", "command": "4s",
                "mail": "4s", "rcpt": "4s", "data": "4s", "block": "4s",
                "data-end": "10s", "rset": "4s", "quit": "1s", "tls": "4s",
                "idle": "1s"},
    "limit": {},
}


def value(v):
    if isinstance(v, bool):
        return "yes" if v else "no"
    if isinstance(v, int):
        return str(v)
    if isinstance(v, (list, tuple)):
        return "{%s}" % ", ".join('"%s"' % x for x in v)
    return '"%s"' % v


def configuration(lab, base, settings):
    """The text of a configuration file for the lab: see smtpd-out.conf(5).
    settings overrides what is here: {"retry": {"first": "1m"}, ...}."""
    top = {"hostname": SENDER_HOST, "spool": "sqlite:%s/spool" % base,
           "control": "unix:%s/control" % base, "user": "smtpd-out",
           "workers": 2, "local-addresses": [lab_ns.MACHINE4,
                                             lab_ns.MACHINE6]}
    sections = {k: dict(v) for k, v in SETTINGS.items()}
    sections["resolver"].update({"servers": [lab_dns.RESOLVER + ":53"],
                                 "trust-anchor": lab.dns.anchor})
    sections["tls"] = {"ca-file": lab.ca.file}
    listens = {"unix:%s/submit" % base: {},
               "127.0.0.1:%d" % PORT: {"allow": ["127.0.0.0/8"]}}
    extra = ""
    for key, v in settings.items():
        if key == "listen":
            listens = v
        elif key == "text":
            extra = v
        elif isinstance(v, dict):
            sections.setdefault(key, {}).update(v)
        else:
            top[key] = v
    out = ["%s = %s" % (k, value(v)) for k, v in top.items()
           if v is not None]
    for name, body in sections.items():
        out.append("%s {" % name)
        out += ["\t%s = %s" % (k, value(v)) for k, v in body.items()]
        out.append("}")
    for title, body in listens.items():
        out.append('listen "%s" {' % title)
        out += ["\t%s = %s" % (k, value(v)) for k, v in body.items()]
        out.append("}")
    return "\n".join(out) + "\n" + extra


def parse_line(line):
    """(event, {key: value}) of a log line; (None, {}) when it is none."""
    head = re.match(r"\S+Z (\S+)\[(\d+)\] (\w+) (\S+)(.*)", line)
    if not head:
        return None, {}
    fields = {"_role": head[1], "_pid": int(head[2]), "_level": head[3]}
    for key, quoted, plain in re.findall(
            r' ([\w-]+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))', head[5]):
        fields[key] = re.sub(r"\\(.)", r"\1", quoted) if quoted else plain
    return head[4], fields


class Daemon:
    def __init__(self, lab, program, name="daemon", **settings):
        self.lab, self.program = lab, program
        self.dir = os.path.join(lab.dir, name)
        self.settings = settings
        self.log_file = lab.log(name)
        self.config = os.path.join(self.dir, "smtpd-out.conf")
        self.socket = os.path.join(self.dir, "submit")
        self.process = None
        user = pwd.getpwnam("smtpd-out")
        for path in (self.dir, self.dir + "/spool"):
            os.makedirs(path, exist_ok=True)
            os.chown(path, user.pw_uid, user.pw_gid)
        os.chmod(self.dir, 0o755)
        self.configure()

    def configure(self, **settings):
        for key, v in settings.items():
            if isinstance(v, dict) and key != "listen":
                v = {**self.settings.get(key, {}), **v}
            self.settings[key] = v
        with open(self.config, "w") as f:
            f.write(configuration(self.lab, self.dir, self.settings))

    # ---- life ------------------------------------------------------------

    def argv(self, *command):
        return [self.program, *command]

    def start(self, wait=True):
        self.process = self.lab.spawn(self.argv("run", "-c", self.config),
                                      name=os.path.basename(self.dir))
        if wait:
            self.lab.wait("smtpd-out takes mail", self.takes_mail, 20)

    def takes_mail(self):
        if self.process.poll() is not None:
            raise RuntimeError("smtpd-out ended with %d"
                               % self.process.returncode)
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(5)
                s.connect(self.socket)
                return s.recv(100).startswith(b"220")
        except OSError:
            return False

    def stop(self, seconds=20):
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def ends_well(self):
        """Stops it; raises unless it and its children lived in peace."""
        status, log = self.stop(), self.log()
        for word in ("child-died", "Sanitizer", "runtime error"):
            if word in log:
                raise RuntimeError("%s in the log" % word)
        if status != 0:
            raise RuntimeError("exit %d" % status)

    def kill(self):
        """SIGKILL; waits for the children, which notice a moment later."""
        children = self.children()
        self.process.kill()
        self.process.wait()
        self.lab.wait("the orphans end", lambda: not any(
            os.path.exists("/proc/%d" % p) for p in children), 10)

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def children(self):
        """{pid: role} of the processes below the parent."""
        found = {}
        for pid in os.listdir("/proc"):
            if not pid.isdigit():
                continue
            try:
                with open("/proc/%s/stat" % pid) as f:
                    fields = f.read().rpartition(")")[2].split()
                with open("/proc/%s/cmdline" % pid, "rb") as f:
                    argv = f.read().decode(errors="replace").split("\0")
            except OSError:
                continue
            if fields[1] == str(self.process.pid) and fields[0] != "Z":
                found[int(pid)] = self.role(argv)
        return found

    @staticmethod
    def role(argv):
        text = " ".join(argv)
        for name in ("inject", "worker"):
            if name in text:
                return name
        return text

    def pids(self, role):
        return sorted(p for p, r in self.children().items() if r == role)

    @staticmethod
    def status(pid):
        with open("/proc/%d/status" % pid) as f:
            return dict(line.rstrip("\n").split(":\t", 1)
                        for line in f if ":\t" in line)

    # ---- log -------------------------------------------------------------

    def log(self):
        with open(self.log_file, encoding="utf-8",
                  errors="replace") as f:
            return f.read()

    def events(self, name=None, **match):
        """Log lines as dicts (plus "_event"), those whose fields match."""
        out = []
        for line in self.log().splitlines():
            event, fields = parse_line(line)
            if event is None or (name and event != name):
                continue
            if all(fields.get(k.rstrip("_")) == v for k, v in match.items()):
                out.append(dict(fields, _event=event, _line=line))
        return out

    def deliveries(self, **match):
        return self.events("delivery", **match)

    def delivery(self, seconds=15, **match):
        """Waits for a delivery line that matches; returns the last one.
        from is a word of Python: write from_."""
        found = self.lab.wait("a delivery line with %r" % (match,),
                              lambda: self.deliveries(**match), seconds)
        return found[-1]

    def settled(self, queue_id, seconds=20):
        """Waits until the message is gone from the queue."""
        self.lab.wait("message %s leaves the queue" % queue_id,
                      lambda: queue_id not in self.queue_ids(), seconds,
                      step=0.1)

    def explain(self, lines=15):
        try:
            return "-- end of the log of smtpd-out:\n" + "\n".join(
                x[:400] for x in self.log().splitlines()[-lines:])
        except OSError:
            return "no log"

    # ---- use -------------------------------------------------------------

    def run(self, *command, stdin=b"", env=None, **kw):
        """One of the commands; returns the finished process."""
        return subprocess.run(self.argv(*command), input=stdin,
                              capture_output=True, timeout=60,
                              env=dict(os.environ, **(env or {})), **kw)

    def queue(self, *command):
        return self.run("queue", "-c", self.config, *command)

    def queue_json(self, *command):
        done = self.queue(*command, "--json")
        if done.returncode != 0:
            raise RuntimeError("queue %s: exit %d: %s" % (
                command, done.returncode, done.stderr.decode()))
        return [json.loads(line) for line in done.stdout.splitlines()]

    def queue_list(self):
        return [x for x in self.queue_json("list") if "id" in x]

    def queue_ids(self):
        return [str(m["id"]) for m in self.queue_list()]

    def smtp(self, port=PORT, host="127.0.0.1"):
        s = smtplib.SMTP(host, port, "submitter.test", timeout=30)
        s.ehlo()
        return s

    def send(self, sender, recipients, body, mail_options=(),
             rcpt_options=()):
        """Submits over SMTP; returns the queue id."""
        if isinstance(recipients, str):
            recipients = [recipients]
        if isinstance(body, str):
            body = body.replace("\n", "\r\n").encode()
        s = self.smtp()
        try:
            for code, text in (
                    [s.mail(sender, list(mail_options))]
                    + [s.rcpt(r, list(rcpt_options)) for r in recipients]):
                if code != 250:
                    raise RuntimeError("%d %r" % (code, text))
            code, text = s.data(body)
            if code != 250:
                raise RuntimeError("%d %r" % (code, text))
        finally:
            s.close()
        return re.search(r"queued as (\S+)", text.decode())[1]

    def mail(self, sender, recipients, subject="test", text="hello\n"):
        """Submits a small message; returns the queue id."""
        to = recipients if isinstance(recipients, str) else ", ".join(
            recipients)
        return self.send(sender, recipients,
                         "From: <%s>\nTo: %s\nSubject: %s\n"
                         "Message-ID: <%d.%s@sender.test>\n\n%s"
                         % (sender or "postmaster@sender.test", to, subject,
                            time.monotonic_ns(), subject.replace(" ", "-"),
                            text))


def program():
    """The binary under test: $SMTPD_OUT or the one in ./build."""
    return os.environ.get("SMTPD_OUT") or os.path.join(
        lab_ns.TOP, "build", "smtpd-out", "smtpd-out")
