"""The senders that are measured: smtpd-out and its peers, as a Debian user
would set them up, all taking mail on 127.0.0.1:10025.

	s.take()	starts it so that it takes mail and sends none
	s.deliver(tls)	starts it with what is queued; tls: none, may, dane
	s.stop()	ends it; the queue stays
	s.clear()	ends it and empties the queue
"""

import grp
import os
import pwd
import shutil
import subprocess
import time

import bench_meter
import bench_world
import lab_daemon
import lab_mta

PORT = 10025


class Sender:
    name = version = None
    resolver = bench_world.VALIDATING
    tls = ("none", "may", "dane")	# what it can be asked for
    stop_signal = 15

    def __init__(self, world):
        self.world = world
        self.dir = os.path.join(world.dir, self.name.replace(" ", "-"))
        self.group = self.process = None
        self.slow = False		# prepared for many slow hosts
        self.make()

    def make(self):
        os.makedirs(self.dir, exist_ok=True)

    def run(self, argv, **kw):
        """Starts the sender in a new group."""
        self.world.resolve_by(self.resolver)
        self.group = bench_meter.Group(self.name.replace(" ", "-"))
        self.process = self.world.net.spawn(
            argv, name=self.name.replace(" ", "-"),
            preexec_fn=self.group.enter, **kw)
        self.world.net.wait("%s takes mail" % self.name, self.up, 30)

    def up(self):
        if self.process.poll() is not None:
            raise RuntimeError("%s ended with %d" % (
                self.name, self.process.returncode))
        return lab_mta.accepts("127.0.0.1", PORT)

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                pass
        if self.group is not None:
            self.group.end()
        self.group = self.process = None

    def clear(self):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)
        self.make()

    def cpu(self):
        return self.group.cpu()

    def flush(self):
        """Begins with what is queued, where a start does not."""


def debian_version(package):
    out = subprocess.run(["apt-cache", "policy", package],
                         capture_output=True, text=True).stdout
    for line in out.splitlines():
        if "Candidate:" in line:
            return line.split()[1]
    return "?"


class Ours(Sender):
    name = "smtpd-out"
    resolver = bench_world.PLAIN

    def make(self):
        user = pwd.getpwnam("smtpd-out")
        for path in (self.dir, self.dir + "/spool"):
            os.makedirs(path, exist_ok=True)
            os.chown(path, user.pw_uid, user.pw_gid)
        self.config = os.path.join(self.dir, "smtpd-out.conf")
        self.extra = ""
        self.spool = os.path.join(self.dir, "spool")
        self.program = lab_daemon.program()

    def write(self, extra):
        with open(self.config, "w") as f:
            f.write("""
hostname = "machine.sender.test"
spool = "sqlite:%s"
control = "unix:%s/control"
local-addresses = {"192.0.2.25"}
ipv6 = no
resolver { servers = {"%s:53"}  trust-anchor = "%s" }
tls { ca-file = "%s" }
retry { first = "1s" }
listen "127.0.0.1:%d" { allow = {"127.0.0.0/8"} }
""" % (self.spool, self.dir, self.resolver, self.world.net.dns.anchor,
       self.world.net.ca.file, PORT) + extra + self.extra)

    def launch(self, extra):
        self.write(extra)
        self.run([self.program, "run", "-c", self.config])

    def take(self):
        """One delivery is under way to where nobody answers; all others have
        to wait for it."""
        self.launch('limit { active = 1 }\ntimeout { connect = "10m" }\n'
                    'destination ".test" { relay = "[%s]" }\n'
                    % bench_world.HOLE4)

    def deliver(self, tls):
        self.launch('destination ".test" { tls = none }\n'
                    if tls == "none" else "")


MAIN = """
compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
maillog_file = {dir}/mail.log
maillog_file_prefixes = {dir}
mail_owner = postfix
setgid_group = postdrop
myhostname = machine.sender.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
inet_protocols = ipv4
alias_maps =
alias_database =
local_recipient_maps =
message_size_limit = 0
mailbox_size_limit = 0
smtpd_relay_restrictions = permit_mynetworks, reject
smtp_tls_security_level = {tls}
smtp_tls_CAfile = {ca}
smtp_tls_session_cache_database = btree:{dir}/data/smtp_scache
"""

# TUNING_README, CONNECTION_CACHE_README, TLS_README ("connection reuse")
TUNED = """
default_process_limit = 200
initial_destination_concurrency = 20
default_destination_concurrency_limit = 50
in_flow_delay = 0
smtpd_peername_lookup = no
smtp_connection_cache_destinations = clear.test, tls.test
smtp_connection_reuse_time_limit = 600s
smtp_tls_connection_reuse = yes
"""

SERVICES = """
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
{qmgr}
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
showq unix n - n - - showq
proxymap unix - - n - - proxymap
smtp unix - - n - {smtp} smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsproxy unix - - n - 0 tlsproxy
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix(Sender):
    name = "Postfix"
    tuning = ""

    def make(self):
        super().make()
        lab_mta.Postfix.queue(self, pwd.getpwnam("postfix").pw_uid,
                              grp.getgrnam("postdrop").gr_gid)
        for name in ("conf", "queue/pid"):
            os.makedirs(os.path.join(self.dir, name), exist_ok=True)
        os.chmod(self.dir, 0o755)
        self.trigger = os.path.join(self.dir, "queue/public/qmgr")
        self.fifo = None

    def launch(self, tls, taking):
        many = self.slow and self.tuning
        with open(self.dir + "/conf/main.cf", "w") as f:
            f.write(MAIN.format(dir=self.dir, tls=tls,
                                ca=self.world.net.ca.file))
            if tls == "dane":
                f.write("smtp_dns_support_level = dnssec\n")
            f.write(self.tuning)
            if taking:	# no queue manager takes it over: no brake
                f.write("in_flow_delay = 0\n")
        with open(self.dir + "/conf/master.cf", "w") as f:
            f.write(SERVICES.format(
                port=PORT, smtp="1100" if many else "-",
                qmgr="" if taking else "qmgr unix n - n 300 1 qmgr"))
        if os.path.exists(self.trigger):
            os.unlink(self.trigger)
        if taking:	# cleanup's word that there is mail ends here
            os.mkfifo(self.trigger)
            os.chown(self.trigger, pwd.getpwnam("postfix").pw_uid, -1)
            self.fifo = os.open(self.trigger, os.O_RDWR | os.O_NONBLOCK)
        self.run(["/usr/lib/postfix/sbin/master", "-c", self.dir + "/conf",
                  "-s"])
        self.spare_log()

    def spare_log(self):
        """The writer of the log file stands for syslog: not counted."""
        for pid in self.group.pids():
            with open("/proc/%d/cmdline" % pid, "rb") as f:
                if f.read().startswith(b"postlogd"):
                    self.log_group = bench_meter.Group("log")
                    self.log_group.add(pid)

    def stop(self):
        super().stop()
        if getattr(self, "log_group", None):
            self.log_group.end()
        self.log_group = None
        if self.fifo is not None:
            os.close(self.fifo)
            self.fifo = None

    def take(self):
        self.launch("none", True)

    def deliver(self, tls):
        self.launch(tls, False)

    def relieve(self):
        """Takes cleanup's words from the pipe, which holds 65,536."""
        os.read(self.fifo, 1 << 20)

    def defer_all(self):
        """Moves new mail where it waits for an hour: the time of a file is
        when it is due."""
        later = time.time() + 3600
        for top, _, names in os.walk(self.dir + "/queue/incoming"):
            for name in names:
                to = os.path.join(self.dir, "queue/deferred", name[0])
                os.makedirs(to, mode=0o700, exist_ok=True)
                os.chown(to, pwd.getpwnam("postfix").pw_uid, -1)
                os.rename(os.path.join(top, name), os.path.join(to, name))
                os.utime(os.path.join(to, name), (later, later))


class Tuned(Postfix):
    name = "Postfix tuned"
    tuning = TUNED


EXIM = """
primary_hostname = machine.sender.test
exim_user = Debian-exim
exim_group = Debian-exim
spool_directory = {dir}/spool
log_file_path = {dir}/log/%slog
pid_file_path = {dir}/exim.pid
local_interfaces = <; 127.0.0.1
daemon_smtp_ports = {port}
domainlist local_domains =
hostlist relay_from = 127.0.0.0/8
acl_smtp_rcpt = accept
acl_smtp_data = accept
host_lookup =
rfc1413_query_timeout = 0s
message_size_limit = 0
keep_environment =
never_users =
deliver_drop_privilege = true
smtp_accept_max = 0
smtp_connect_backlog = 200
smtp_accept_queue_per_connection = 0
smtp_accept_max_per_connection = 0
queue_run_max = 0
remote_max_parallel = 20
dns_dnssec_ok = 1
queue_only = {queue_only}

begin acl
begin routers
out:
  driver = dnslookup
  transport = out
begin transports
out:
  driver = smtp
  hosts_avoid_tls = {avoid}
  hosts_try_dane = {dane}
  connection_max_messages = 500
begin retry
* * F,1h,1m
"""


class Exim(Sender):
    name = "Exim"
    RUNNERS = 2

    def make(self):
        user = pwd.getpwnam("Debian-exim")
        for name in ("", "spool", "log"):
            path = os.path.join(self.dir, name)
            os.makedirs(path, exist_ok=True)
            os.chown(path, user.pw_uid, user.pw_gid)

    def launch(self, tls, taking):
        self.conf = os.path.join(self.dir, "exim.conf")
        with open(self.conf, "w") as f:
            f.write(EXIM.format(
                dir=self.dir, port=PORT,
                queue_only="true" if taking else "false",
                avoid="*" if tls == "none" else "",
                dane="*" if tls == "dane" else ""))
        self.run(["exim4", "-bdf", "-C", self.conf])

    def take(self):
        self.launch("none", True)

    def deliver(self, tls):
        self.launch(tls, False)

    def flush(self):
        """Queue runners side by side; each takes the queue in an order of
        its own."""
        for _ in range(self.RUNNERS):
            self.world.net.spawn(["exim4", "-C", self.conf, "-qf"],
                                 name="exim-runner",
                                 preexec_fn=self.group.enter)


class OpenSMTPD(Sender):
    """Its paths are built in; its queue must not be on the lab's tmpfs."""

    name = "OpenSMTPD"
    tls = ("none",)	# 6.8 cannot speak TLS with OpenSSL 3

    def make(self):
        super().make()
        os.chmod(self.dir, 0o711)
        os.makedirs("/var/spool/smtpd", exist_ok=True)
        if not os.path.ismount("/var/spool/smtpd"):
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/var/lib"],
                           check=True)
            os.makedirs("/var/lib/opensmtpd/empty")
            subprocess.run(["mount", "--bind", self.dir, "/var/spool/smtpd"],
                           check=True)
        self.conf = os.path.join(self.world.dir, "opensmtpd.conf")
        with open(self.conf, "w") as f:
            f.write("smtp max-message-size 100M\n"
                    "smtp limit max-mails 1000000\n"
                    "listen on 127.0.0.1 port %d hostname "
                    "machine.sender.test\n"
                    'action "out" relay helo machine.sender.test\n'
                    'match from any for any action "out"\n' % PORT)

    def clear(self):
        self.stop()
        for name in os.listdir(self.dir):
            shutil.rmtree(os.path.join(self.dir, name), ignore_errors=True)

    def launch(self):
        self.run(["smtpd", "-d", "-f", self.conf])

    def ctl(self, *argv):
        # It is setgid where it is installed.
        done = subprocess.run(["smtpctl", *argv], text=True,
                              capture_output=True, group="opensmtpq")
        if done.returncode != 0:
            raise RuntimeError("smtpctl: " + done.stderr + done.stdout)

    def take(self):
        self.launch()
        self.ctl("pause", "mta")

    def deliver(self, tls):
        self.launch()


ALL = [Ours, Postfix, Tuned, Exim, OpenSMTPD]
