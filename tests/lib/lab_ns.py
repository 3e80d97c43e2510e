"""Private namespaces for the lab: network, mounts and processes.

enter() runs the calling script again inside of them.  Process 1 there is this
file: it makes the temporary directory, the two networks and the file view,
runs the script, and when that ends (or when the process outside dies, by
whatever signal) ends everything that is left and removes the directory.

Two networks are joined by one cable:

    machine   where the script and smtpd-out live: 192.0.2.25, 2001:db8:25::25
    internet  where the servers live, on addresses of the loopback interface

An address that nobody has is a black hole there: packets get no answer.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
SERVERS = os.path.join(TOP, ".cache", "servers", "root")
INTERNET = "/run/netns/internet"
MACHINE4, MACHINE6 = "192.0.2.25", "2001:db8:25::25"
GATE4, GATE6 = "192.0.2.1", "2001:db8:25::1"
CLONE_NEWNET = 0x40000000

USERS = ("postfix", "nsd", "unbound", "Debian-exim", "smtpd-out", "mailbox",
         "opensmtpd", "opensmtpq", "dovecot", "dovenull", "postgres",
         "prosody")
GROUPS = ("postdrop",)


def enter():
    """Returns only inside the namespaces; LAB_DIR is then set."""
    if os.environ.get("LAB_DIR"):
        return
    if os.geteuid() != 0:
        sys.exit("the lab needs root (its own namespaces, servers that drop "
                 "privileges): try again with sudo")
    os.environ["LAB_PID"] = str(os.getpid())	# unshare's, seen from outside
    os.execvp("unshare", [
        "unshare", "--net", "--mount", "--pid", "--fork",
        "--kill-child=SIGTERM", "--mount-proc", "/usr/bin/python3", "-B",
        os.path.abspath(__file__), os.path.abspath(sys.argv[0]),
        *sys.argv[1:]])


def sh(*argv, **kw):
    return subprocess.run(argv, check=True, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, **kw)


# ---- process 1 -----------------------------------------------------------

def networks():
    os.makedirs("/run/netns")
    sh("ip", "netns", "add", "internet")
    sh("ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable",
       "netns", "internet")
    inside = ["nsenter", "--net=" + INTERNET]
    for pre, a4, a6 in ((inside, GATE4, GATE6), ([], MACHINE4, MACHINE6)):
        sh(*pre, "ip", "link", "set", "lo", "up")
        sh(*pre, "ip", "addr", "add", a4 + "/24", "dev", "cable")
        sh(*pre, "ip", "addr", "add", a6 + "/64", "dev", "cable", "nodad")
        sh(*pre, "ip", "link", "set", "cable", "up")
    sh("ip", "route", "add", "default", "via", GATE4)
    sh("ip", "-6", "route", "add", "default", "via", GATE6)


def overlay(path):
    """Adds the unpacked servers to what is seen at path."""
    extra = SERVERS + path
    if os.path.isdir(extra):
        sh("mount", "-t", "overlay", "overlay", "-o",
           "ro,lowerdir=%s:%s" % (path, extra), path)


def own_file(path, text, tmp):
    """Lets the lab see text at path."""
    copy = os.path.join(tmp, "etc-" + os.path.basename(path))
    with open(copy, "w") as f:
        f.write(text)
    os.chmod(copy, 0o644)
    sh("mount", "--bind", copy, os.path.realpath(path))


def accounts(tmp):
    names = {}
    for path in ("/etc/passwd", "/etc/group"):
        with open(path) as f:
            lines = [x for x in f.read().splitlines() if x.count(":") >= 2]
        names[path] = [x for x in lines
                       if x.split(":")[0] not in USERS + GROUPS]
    for n, user in enumerate(USERS + GROUPS):
        number = 61100 + n
        names["/etc/group"].append("%s:x:%d:" % (user, number))
        if user in USERS:
            names["/etc/passwd"].append("%s:x:%d:%d::/nonexistent:"
                                        "/usr/sbin/nologin"
                                        % (user, number, number))
    for path, lines in names.items():
        own_file(path, "\n".join(lines) + "\n", tmp)


def files(tmp):
    sh("mount", "--make-rprivate", "/")
    sh("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for path in ("/usr", "/etc"):
        overlay(path)
    accounts(tmp)
    if os.path.exists("/etc/hosts"):
        own_file("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n", tmp)
    resolv = os.path.realpath("/etc/resolv.conf")
    if not os.path.exists(resolv):		# a link into /run, now empty
        os.makedirs(os.path.dirname(resolv), exist_ok=True)
        open(resolv, "w").close()
    own_file(resolv, "nameserver 198.51.100.53\n", tmp)
    sh("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/var/spool")


def others():
    return [int(p) for p in os.listdir("/proc")
            if p.isdigit() and int(p) != 1]


def end_all():
    assert os.getpid() == 1 and len(others()) < 5000
    for _ in range(100):
        pids = others()
        if not pids:
            return
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


def process_one(argv):
    import shutil
    import tempfile
    stop = []

    def on_signal(number, frame):
        stop.append(number)
        raise InterruptedError

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    tmp = tempfile.mkdtemp(prefix="lab.", dir=os.environ.get("TMPDIR",
                                                             "/tmp"))
    os.chmod(tmp, 0o755)
    code = 1
    try:
        files(tmp)
        networks()
        env = dict(os.environ, LAB_DIR=tmp, PYTHONUNBUFFERED="1")
        env.pop("TMPDIR", None)
        child = os.posix_spawn("/usr/bin/python3", [
            "/usr/bin/python3", "-B", *argv], env)
        while True:
            pid, status = os.wait()
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                break
    except InterruptedError:
        code = 128 + stop[0]
    except subprocess.CalledProcessError as e:
        print("lab: %s: %s" % (" ".join(e.cmd), e.stderr), file=sys.stderr)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        end_all()
        for line in reversed(open("/proc/mounts").read().splitlines()):
            where = line.split()[1]
            if where.startswith(tmp + "/"):
                subprocess.run(["umount", "-l", where], check=False)
        shutil.rmtree(tmp, ignore_errors=True)
    sys.exit(code if code >= 0 else 128 - code)


# ---- used by scripts inside ----------------------------------------------

def in_internet(function, *args):
    """Runs function on a thread of the internet side: sockets that it makes
    stay there for good."""
    result = []

    def run():
        libc = ctypes.CDLL(None, use_errno=True)
        with open(INTERNET) as ns:
            if libc.setns(ns.fileno(), CLONE_NEWNET) != 0:
                result.append(OSError(ctypes.get_errno(), "setns"))
                return
        try:
            result.append(function(*args))
        except Exception as e:
            result.append(e)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(result[0], Exception):
        raise result[0]
    return result[0]


def internet_argv(argv):
    return ["nsenter", "--net=" + INTERNET, "--", *argv]


def add_address(address):
    """Gives the internet side one more address."""
    bits = "128" if ":" in address else "32"
    extra = ["nodad"] if ":" in address else []
    subprocess.run(internet_argv(["ip", "addr", "add", address + "/" + bits,
                                  "dev", "lo", *extra]), check=False,
                   capture_output=True)


if __name__ == "__main__":
    process_one(sys.argv[1:])
