"""Real servers beside those of mail delivery: Dovecot, INN, Prosody,
PostgreSQL.

Nobody ever logs in: they are there for their way to TLS.
"""

import os
import pwd
import shutil
import socket

import lab_check
import lab_ns

DOVECOT = """
base_dir = {dir}/run
state_dir = {dir}/state
log_path = {dir}/dovecot.log
protocols = imap pop3 lmtp
listen = {address}
ssl = yes
ssl_cert = <{chain}
ssl_key = <{key}
default_internal_user = dovecot
default_login_user = dovenull
default_process_limit = 8
mail_location = maildir:{dir}/mail
passdb {{
  driver = static
  args = password=none
}}
userdb {{
  driver = static
  args = uid=mailbox gid=mailbox home={dir}
}}
service lmtp {{
  inet_listener lmtp {{
    port = 24
  }}
  unix_listener lmtp {{
    mode = 0666
  }}
}}
"""

INN = """
mta: "/bin/true %s"
ovmethod: tradindexed
hismethod: hisv6
domain: {domain}
pathhost: {domain}
pathnews: /usr/lib/news
pathetc: {dir}
pathdb: {dir}/db
pathspool: {dir}/spool
pathoverview: {dir}/overview
pathrun: {dir}/run
pathlog: {dir}/log
pathtmp: {dir}/tmp
runasuser: root
runasgroup: root
tlscapath: {dir}
tlscafile: {authority}
tlscertfile: {cert}
tlskeyfile: {key}
"""

INN_READERS = """
auth all {
    hosts: "*"
    default: "<reader>"
}
access all {
    users: "<reader>"
    newsgroups: "*"
}
"""

INN_STORAGE = """
method trash {
    newsgroups: *
    class: 0
}
"""

PROSODY = """
pidfile = "{dir}/prosody.pid"
data_path = "{dir}/data"
run_as_root = true
interfaces = {{ "{address}" }}
modules_enabled = {{ "roster", "saslauth", "tls", "dialback" }}
modules_disabled = {{ "http" }}
c2s_require_encryption = true
s2s_require_encryption = true
authentication = "internal_hashed"
log = {{ {{ levels = {{ min = "info" }}, to = "console" }} }}
ssl = {{ certificate = "{cert}", key = "{key}" }}
VirtualHost "{domain}"
  ssl = {{ certificate = "{cert}", key = "{key}" }}
"""


def answers(address, port):
    """Something listens there."""
    with socket.socket() as s:
        s.settimeout(2)
        try:
            s.connect((address, port))
            return True
        except OSError:
            return False


class Service:
    ports = ()

    def __init__(self, lab, address, *names):
        self.lab, self.address, self.domain = lab, address, names[0]
        self.dir = os.path.join(lab.dir, type(self).__name__.lower())
        os.makedirs(self.dir)
        os.chmod(self.dir, 0o755)
        lab_ns.add_address(address)
        self.cert = lab.ca.cert(*names)

    def fields(self):
        return {"dir": self.dir, "address": self.address,
                "cert": self.cert[0], "key": self.cert[1],
                "chain": lab_check.chain(self.lab, self.cert),
                "authority": self.lab.ca.file,
                "domain": self.domain}

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def spawn(self, argv, **kw):
        self.lab.spawn(argv, name=os.path.basename(self.dir), internet=True,
                       **kw)

    def wait(self):
        for port in self.ports:
            self.lab.wait("%s listens on %d" % (self.dir, port),
                          lambda port=port: answers(self.address, port))


class Dovecot(Service):
    """IMAP, POP3, and LMTP on a port and a Unix socket."""
    ports = (143, 110, 24, 993)

    def start(self):
        for d in ("mail", "run", "state"):
            os.makedirs(os.path.join(self.dir, d))
        conf = self.write("dovecot.conf", DOVECOT.format(**self.fields()))
        self.spawn(["/usr/sbin/dovecot", "-F", "-c", conf])

    @property
    def lmtp_socket(self):
        return os.path.join(self.dir, "run", "lmtp")


class Inn(Service):
    """nnrpd, INN's server for readers, with nothing to read."""
    ports = (119,)
    bin = "/usr/lib/news/bin/"

    def start(self):
        for d in ("db", "log", "overview", "run", "spool", "tmp"):
            os.makedirs(os.path.join(self.dir, d))
        for f in ("active", "active.times", "history", "newsgroups"):
            self.write(os.path.join("db", f), "")
        self.write("readers.conf", INN_READERS)
        self.write("storage.conf", INN_STORAGE)
        env = ["env", "INNCONF=" + self.write("inn.conf", INN.format(
            **self.fields()))]
        lab_ns.sh(*env, self.bin + "makehistory", "-O", "-x", "-F",
                  cwd=self.dir)
        lab_ns.sh(*env, self.bin + "makedbz", "-i", "-o", "-s", "1000",
                  cwd=os.path.join(self.dir, "db"))
        # It knows no log but the system's, or the console.
        for path in ("/dev/log", "/dev/console"):
            if os.path.exists(path):
                lab_ns.sh("mount", "--bind", "/dev/null",
                          os.path.realpath(path))
        self.spawn([*env, self.bin + "nnrpd", "-D", "-f", "-b", self.address,
                    "-p", "119"])


class Prosody(Service):
    ports = (5222, 5269)

    def start(self):
        os.makedirs(os.path.join(self.dir, "data"))
        conf = self.write("prosody.cfg.lua", PROSODY.format(**self.fields()))
        self.spawn(["lua5.4", "/usr/bin/prosody", "-F", "--config", conf])


class Postgres(Service):
    ports = (5432,)
    bin = "/usr/lib/postgresql/15/bin/"

    def start(self):
        user = pwd.getpwnam("postgres")
        key = os.path.join(self.dir, "key.pem")
        shutil.copy(self.cert[1], key)
        os.chmod(key, 0o600)
        for path in (self.dir, key):
            os.chown(path, user.pw_uid, user.pw_gid)
        data = os.path.join(self.dir, "data")
        drop = ["setpriv", "--reuid", "postgres", "--regid", "postgres",
                "--clear-groups", "env", "LC_ALL=C"]
        lab_ns.sh(*drop, self.bin + "initdb", "-D", data, "-A", "trust",
                  "--no-sync", cwd=self.dir)
        self.spawn([*drop, self.bin + "postgres", "-D", data,
                    "-c", "listen_addresses=" + self.address,
                    "-c", "unix_socket_directories=", "-c", "fsync=off",
                    "-c", "ssl=on", "-c", "ssl_cert_file=" + self.cert[0],
                    "-c", "ssl_key_file=" + key], cwd=self.dir)
