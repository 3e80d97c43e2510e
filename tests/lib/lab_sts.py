"""MTA-STS in the lab (RFC 8461): policy hosts and what DNS says of them.

	host = lab_sts.PolicyHost(net, "198.51.100.80")		# nginx
	host.serve("good.test", lab_sts.policy("enforce", "mx.good.test"))
	host.start()
	net.dns.domain("good.test", [..., *lab_sts.records("198.51.100.80")])

	odd = lab_sts.OddHost(net, "198.51.100.81")	# what nginx cannot do
	odd.serve("slow.test", lab_sts.drip)

Both say whom they served: host.fetches("good.test").
"""

import os
import re
import signal
import socket
import ssl
import threading
import time

import lab_ns

PATH = "/.well-known/mta-sts.txt"


def policy(mode, *mx, max_age=86400, end="\n", extra=()):
    lines = ["version: STSv1", "mode: " + mode]
    lines += ["mx: " + m for m in mx]
    lines += ["max_age: %d" % max_age, *extra]
    return end.join(lines) + end


def record(number="1", owner="_mta-sts"):
    return '%s TXT "v=STSv1; id=%s;"' % (owner, number)


def records(address, number="1"):
    """What a domain needs in DNS, but for MX."""
    return [record(number), "mta-sts A " + address]


# ---- nginx -----------------------------------------------------------------

NGINX = """
daemon off;
user nobody nogroup;
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/error.log info;
events {{ worker_connections 256; }}
http {{
	server_names_hash_bucket_size 128;
	client_body_temp_path {dir}/tmp;
	proxy_temp_path {dir}/tmp;
	fastcgi_temp_path {dir}/tmp;
	uwsgi_temp_path {dir}/tmp;
	scgi_temp_path {dir}/tmp;
	default_type text/plain;
	log_format sts '$ssl_server_name|$http_host|$request|$status|'
		'$ssl_protocol|$remote_addr|$msec|$http_cookie';
	access_log {dir}/access.log sts;
{servers}
}}
"""

SERVER = """
	server {{
		listen {address}:443 ssl;
		server_name mta-sts.{domain};
		ssl_certificate {cert};
		ssl_certificate_key {key};
		root {dir}/www/{domain};
		{extra}
	}}
"""


class PolicyHost:
    """An nginx that serves the policies of many domains.  A policy can be
    changed, or removed with None, while it runs; all else with reload()."""

    def __init__(self, lab, address, name="nginx"):
        lab_ns.add_address(address)
        self.lab, self.address, self.name = lab, address, name
        self.dir = os.path.join(lab.dir, name)
        self.sites = {}
        self.process = self.cert = None
        for path in ("", "/tmp", "/www"):
            os.makedirs(self.dir + path, exist_ok=True)

    def serve(self, domain, text, cert=None, extra=""):
        """extra: further lines of the server's configuration."""
        self.sites[domain] = (cert, extra)
        self.policy(domain, text)

    def policy(self, domain, text):
        path = "%s/www/%s%s" % (self.dir, domain, PATH)
        if text is None:
            os.unlink(path)
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + ".new", "w") as f:
            f.write(text)
        os.rename(path + ".new", path)

    def write(self):
        plain = [d for d, (cert, _) in self.sites.items() if cert is None]
        if self.cert is None and plain:
            self.cert = self.lab.ca.cert(*("mta-sts." + d for d in plain))
        servers = ""
        for domain, (cert, extra) in self.sites.items():
            cert, key = cert or self.cert
            servers += SERVER.format(address=self.address, domain=domain,
                                     cert=cert, key=key, dir=self.dir,
                                     extra=extra)
        with open(self.dir + "/nginx.conf", "w") as f:
            f.write(NGINX.format(dir=self.dir, servers=servers))

    def start(self):
        self.write()
        self.process = self.lab.spawn(
            ["nginx", "-p", self.dir, "-e", self.dir + "/error.log", "-c",
             self.dir + "/nginx.conf"], name=self.name, internet=True)
        self.lab.wait("nginx listens", self.listens)

    def listens(self):
        try:
            with socket.create_connection((self.address, 443), 2):
                return True
        except OSError:
            return False

    def stop(self):
        """From now on connections are refused."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)
        self.lab.processes.remove(self.process)

    def fetches(self, domain=None):
        """What the access log has: a list of dicts."""
        out = []
        try:
            with open(self.dir + "/access.log") as f:
                lines = f.read().splitlines()
        except FileNotFoundError:
            return out
        for line in lines:
            sni, host, request, status, tls, peer, at, cookie = \
                line.split("|")
            if domain is None or sni == "mta-sts." + domain:
                out.append({"sni": sni, "host": host, "request": request,
                            "status": int(status), "tls": tls, "peer": peer,
                            "at": float(at), "cookie": cookie})
        return out


# ---- a scripted one ---------------------------------------------------------

def respond(body, status="200 OK", headers=("Content-Type: text/plain",)):
    """An ordinary response; body is text."""
    def behave(sock):
        data = body.encode()
        lines = ["HTTP/1.1 " + status, *headers,
                 "Content-Length: %d" % len(data), "Connection: close"]
        sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
    return behave


def chunked(body, size=1000):
    """The length is not announced."""
    def behave(sock):
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\n")
        for at in range(0, len(body), size):
            part = body[at:at + size].encode()
            sock.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        sock.sendall(b"0\r\n\r\n")
    return behave


def cut(body, announced):
    """Less comes than was announced; then the connection ends."""
    def behave(sock):
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                     b"Content-Length: %d\r\n\r\n%s" % (announced,
                                                        body.encode()))
    return behave


def open_ended(body, honest):
    """No length is announced: the body ends with the connection, in order
    (TLS says so) or as somebody on the way would cut it."""
    def behave(sock):
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                     b"Connection: close\r\n\r\n" + body.encode())
        if not honest:
            raise OSError("cut")
    return behave


def drip(body, pause=0.3):
    """A byte at a time, never idle for long."""
    def behave(sock):
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                     b"Content-Length: %d\r\n\r\n" % len(body))
        for byte in body.encode():
            sock.sendall(bytes([byte]))
            time.sleep(pause)
    return behave


def flood(sock):
    """A header without end (but 8 MB are enough for the lab)."""
    sock.sendall(b"HTTP/1.1 200 OK\r\n")
    for _ in range(8000):
        sock.sendall(b"X-Flood: " + b"x" * 1000 + b"\r\n")


class OddHost:
    """Serves each domain as the given function does with its socket, which can
    be changed at any time by host.behaviour[domain] = ..."""

    def __init__(self, lab, address, domains, cert=None, tls11=False):
        lab_ns.add_address(address)
        self.address = address
        self.behaviour = dict(domains)
        self.seen = []
        self.connections = 0
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if tls11:
            self.context.set_ciphers("ALL:@SECLEVEL=0")
            self.context.minimum_version = ssl.TLSVersion.TLSv1
            self.context.maximum_version = ssl.TLSVersion.TLSv1_1
        self.context.load_cert_chain(*(cert or lab.ca.cert(
            *("mta-sts." + d for d in domains))))
        self.sock = lab_ns.in_internet(self.listen)
        threading.Thread(target=self.accept, daemon=True).start()

    def listen(self):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((self.address, 443))
        s.listen(64)
        return s

    def accept(self):
        while True:
            sock, _ = self.sock.accept()
            self.connections += 1
            threading.Thread(target=self.serve_one, args=(sock,),
                             daemon=True).start()

    def serve_one(self, sock):
        try:
            sock.settimeout(10)
            sock = self.context.wrap_socket(sock, server_side=True)
            head = b""
            while b"\r\n\r\n" not in head:
                data = sock.recv(4096)
                if not data or len(head) > 65536:
                    return
                head += data
            head = head.decode("latin-1")
            found = re.search(r"(?im)^host: mta-sts\.([^\r\n:]+)", head)
            domain = found[1] if found else ""
            self.seen.append((domain, head, time.monotonic()))
            self.behaviour[domain](sock)
            sock.unwrap()
        except (OSError, ssl.SSLError, KeyError):
            pass
        finally:
            sock.close()

    def fetches(self, domain):
        return [head for name, head, _ in self.seen if name == domain]
