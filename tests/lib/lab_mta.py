"""Real mail servers that receive in the lab.

Both deliver to Maildirs: mailbox("user@domain") gives the messages.
"""

import email
import email.policy
import glob
import grp
import os
import pwd
import re
import socket
import time

import lab_ns

MASTER = """
{listeners}
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

MAIN = """
compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
maillog_file = {dir}/mail.log
maillog_file_prefixes = {dir}
mail_owner = postfix
setgid_group = postdrop
myhostname = {host}
mydestination =
mynetworks = 127.0.0.1/32
inet_interfaces = all
inet_protocols = all
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = {domains}
virtual_mailbox_base = {dir}/mail
virtual_mailbox_maps = texthash:{dir}/users
virtual_alias_maps =
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{uid}
virtual_mailbox_limit = 0
message_size_limit = 0
mailbox_size_limit = 0
smtpd_relay_restrictions = reject_unauth_destination
smtpd_peername_lookup = no
smtpd_tls_loglevel = 1
smtpd_tls_received_header = yes
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_reject_unlisted_recipient = yes
default_process_limit = 50
in_flow_delay = 0
disable_dns_lookups = yes
smtputf8_enable = yes
notify_classes =
queue_run_delay = 5
"""


class Maildirs:
    """What is common to the receivers."""

    def mailbox(self, address):
        """Paths of the messages that have arrived, in order."""
        user, domain = address.split("@")
        return sorted(glob.glob(os.path.join(self.mail, domain, user, "new",
                                             "*")), key=os.path.getmtime)

    def raw(self, path):
        with open(path, "rb") as f:
            return f.read()

    def messages(self, address):
        return [email.message_from_bytes(self.raw(p),
                                         policy=email.policy.default)
                for p in self.mailbox(address)]

    def clear(self, address):
        for path in self.mailbox(address):
            os.unlink(path)

    def expect(self, address, count=1, seconds=20):
        """Waits for that many messages and returns them."""
        self.lab.wait("%d message(s) for %s" % (count, address),
                      lambda: len(self.mailbox(address)) >= count, seconds)
        return self.messages(address)

    def log_text(self):
        try:
            with open(self.log_file, encoding="utf-8",
                  errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def log_lines(self, pattern):
        return [line for line in self.log_text().splitlines()
                if re.search(pattern, line)]


class Postfix(Maildirs):
    """Postfix: users is a list of mailbox addresses; each listener is
    (address, {option: value}) with the options of smtpd."""

    TLS = {"smtpd_tls_security_level": "may"}
    CLEAR = {"smtpd_tls_security_level": "none"}

    def __init__(self, lab, users, host="mx.postfix.test", names=()):
        self.lab = lab
        self.users = list(users)
        self.host = host
        self.dir = os.path.join(lab.dir, "postfix")
        self.mail = os.path.join(self.dir, "mail")
        self.log_file = os.path.join(self.dir, "mail.log")
        self.listeners = []
        self.cert = lab.ca.cert(host, *names)

    def listen(self, address, **options):
        lab_ns.add_address(address)
        self.listeners.append((address, options))

    def service(self, address, options):
        name = "[%s]:25" % address if ":" in address else address + ":25"
        lines = ["%s inet n - n - - smtpd" % name]
        if "smtpd_tls_security_level" not in options:
            options = dict(options, smtpd_tls_security_level="may")
        if options["smtpd_tls_security_level"] != "none":
            options = {"smtpd_tls_chain_files": "%s,%s"
                       % (self.cert[1], self.cert[0]), **options}
        for key, value in options.items():
            lines.append("  -o { %s = %s }" % (key, value))
        return "\n".join(lines)

    def write(self):
        user = pwd.getpwnam("mailbox")
        domains = sorted({u.split("@")[1] for u in self.users})
        for d in ("conf", "queue/pid", "mail"):
            os.makedirs(os.path.join(self.dir, d), exist_ok=True)
        os.chown(self.mail, user.pw_uid, user.pw_gid)
        self.queue(pwd.getpwnam("postfix").pw_uid,
                   grp.getgrnam("postdrop").gr_gid)
        files = {
            "conf/main.cf": MAIN.format(dir=self.dir, host=self.host,
                                        domains=" ".join(domains),
                                        uid=user.pw_uid),
            "conf/master.cf": MASTER.format(listeners="\n".join(
                self.service(*x) for x in self.listeners)),
            "users": "".join("%s %s/%s/\n" % (u, u.split("@")[1],
                                              u.split("@")[0])
                             for u in self.users)}
        for name, text in files.items():
            with open(os.path.join(self.dir, name), "w",
                      encoding="utf-8") as f:
                f.write(text)

    def queue(self, owner, drop):
        """As "postfix check" makes it, but without its two seconds."""
        for name, mode, group in (
                ("data", 0o700, -1), ("queue/maildrop", 0o730, drop),
                ("queue/public", 0o710, drop),
                *(("queue/" + d, 0o700, -1) for d in (
                    "active", "bounce", "corrupt", "defer", "deferred",
                    "flush", "hold", "incoming", "private", "saved",
                    "trace"))):
            path = os.path.join(self.dir, name)
            os.makedirs(path, exist_ok=True)
            os.chown(path, owner, group)
            os.chmod(path, mode)

    def start(self):
        self.write()
        for _ in range(2):	# one master in a hundred ends at once
            self.process = self.lab.spawn(
                ["/usr/lib/postfix/sbin/master", "-c", self.dir + "/conf",
                 "-s"], name="postfix", internet=True)
            self.lab.wait("Postfix listens", lambda: self.process.poll()
                          or all(accepts(a) for a, _ in self.listeners))
            if self.process.poll() is None:
                return
            print("# Postfix ended: %r" % self.log_text()[-500:])
        raise OSError("Postfix does not start")

    def sessions(self):
        """What Postfix says at the end of each session: a list of dicts like
        {"ehlo": "2", "starttls": "1", "mail": "1", ...}."""
        return [dict(re.findall(r"(\w+)=([\d/]+)", line)) for line in
                self.log_lines(r"smtpd\[\d+\]: disconnect from")]

    def session_of(self, queue_id):
        """The same for the session in which a message came; {} before its
        end."""
        pid = None
        for line in self.log_text().splitlines():
            if "]: %s: client=" % queue_id in line:
                pid = re.search(r"smtpd\[\d+\]", line)[0]
            elif pid and pid in line and "disconnect from" in line:
                return dict(re.findall(r"(\w+)=([\d/]+)", line))
        return {}

    def tls_lines(self):
        return self.log_lines(r"TLS connection established from")


EXIM = """
primary_hostname = {host}
exim_user = Debian-exim
exim_group = Debian-exim
spool_directory = {dir}/spool
log_file_path = {dir}/log/%slog
pid_file_path = {dir}/exim.pid
local_interfaces = <; {address}
daemon_smtp_ports = {ports}
tls_on_connect_ports = {smtps}
domainlist local_domains = {domains}
tls_advertise_hosts = *
tls_certificate = {cert}
tls_privatekey = {key}
acl_smtp_rcpt = check_rcpt
acl_smtp_data = accept
host_lookup =
rfc1413_query_timeout = 0s
message_size_limit = 0
smtputf8_advertise_hosts =
prdr_enable = false
log_selector = +tls_cipher +smtp_protocol_error +smtp_syntax_error
keep_environment =
never_users =
deliver_drop_privilege = true
smtp_accept_max = 0
smtp_accept_queue_per_connection = 0
queue_run_max = 0

begin acl
check_rcpt:
  deny message = authentication required
       condition = ${{if inlist{{$received_port}}{{{auth_ports}}}}}
       !authenticated = *
  accept domains = +local_domains
         verify = recipient
  deny message = relay not permitted

begin routers
users:
  driver = accept
  domains = +local_domains
  condition = ${{lookup{{$local_part@$domain}}lsearch{{{dir}/users}}{{yes}}{{no}}}}
  transport = maildir

begin transports
maildir:
  driver = appendfile
  directory = {dir}/mail/${{lookup{{$local_part@$domain}}lsearch{{{dir}/users}}}}
  maildir_format
  create_directory
  user = Debian-exim
  group = Debian-exim
  delivery_date_add = false
  envelope_to_add = false
  return_path_add = true

begin retry
* * F,1h,1m

begin authenticators
{authenticators}
"""

AUTHENTICATOR = """
{name}:
  driver = plaintext
  public_name = {public}
  server_prompts = {prompts}
  server_condition = ${{if and{{ {{eq{{${user_at}}}{{{user}}}}} \\
    {{eq{{${password_at}}}{{{password}}}}} }}}}
  server_set_id = ${user_at}
  server_advertise_condition = ${{if and{{ {{def:tls_in_cipher}} \\
    {{!eq{{$received_port}}{{{never}}}}} }}}}
"""


class Exim(Maildirs):
    """Exim (with GnuTLS, unlike all others here): users as for Postfix.

    smtps is a port for TLS from the first byte; plain and login are ports on
    which nothing goes without AUTH of that name, as account."""

    smtps, plain, login = 465, 587, 588
    account = None		# (user, password)

    def __init__(self, lab, address, users, host="mx.exim.test", names=()):
        self.lab = lab
        self.address = address
        self.host = host
        self.users = list(users)
        self.dir = os.path.join(lab.dir, "exim")
        self.mail = os.path.join(self.dir, "mail")
        self.log_file = os.path.join(self.dir, "log", "mainlog")
        lab_ns.add_address(address)
        self.cert = lab.ca.cert(host, *names)

    def service(self):
        """Ports and authenticators, as fields of the configuration."""
        if self.account is None:
            return {"ports": "25", "smtps": "", "auth_ports": "",
                    "authenticators": ""}
        return {"ports": "25 : %d : %d : %d" % (self.smtps, self.plain,
                                                self.login),
                "smtps": self.smtps,
                "auth_ports": "%d:%d" % (self.plain, self.login),
                "authenticators": self.authenticator(
                    "plain", ":", 2, self.login) + self.authenticator(
                    "login", '"Username:: : Password::"', 1, self.plain)}

    def authenticator(self, name, prompts, at, never):
        """Offered under TLS but on the port never; at tells where the user
        stands in what the client says, before the password."""
        return AUTHENTICATOR.format(
            name=name, public=name.upper(), prompts=prompts, never=never,
            user_at="auth%d" % at, password_at="auth%d" % (at + 1),
            user=self.account[0], password=self.account[1])

    def start(self):
        exim = pwd.getpwnam("Debian-exim")
        domains = sorted({u.split("@")[1] for u in self.users})
        for name in ("", "spool", "log", "mail"):
            path = os.path.join(self.dir, name)
            os.makedirs(path, exist_ok=True)
            os.chown(path, exim.pw_uid, exim.pw_gid)
        key = os.path.join(self.dir, "key.pem")
        with open(self.cert[1]) as f, open(key, "w") as out:
            out.write(f.read())
        os.chown(key, exim.pw_uid, -1)
        os.chmod(key, 0o600)
        conf = os.path.join(self.dir, "exim.conf")
        with open(conf, "w") as f:
            f.write(EXIM.format(
                dir=self.dir, host=self.host, address=self.address,
                domains=":".join(domains),
                cert=self.cert[0], key=key, **self.service()))
        with open(os.path.join(self.dir, "users"), "w") as f:
            for u in self.users:
                f.write("%s: %s\n" % (u, "/".join(u.split("@")[::-1])))
        self.process = self.lab.spawn(["exim4", "-bdf", "-q1m", "-C", conf],
                                      name="exim", internet=True)
        self.lab.wait("Exim listens", lambda: accepts(self.address))

    def tls_lines(self):
        return self.log_lines(r"<= .* X=TLS")


def accepts(address, port=25):
    """True when something says 220 there."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as s:
        s.settimeout(2)
        try:
            s.connect((address, port))
            return s.recv(100).startswith(b"220")
        except OSError:
            time.sleep(0.05)
            return False
