"""TLSRPT in the lab (RFC 8460): a sink for reports by HTTPS, and reports read
again by Python's own libraries.

	sink = lab_report.Sink(net, "198.51.100.90", "report.sink.test")
	sink.answer["/v1"] = 500		# 200 else; None: no answer
	sink.posts				# (path, header, document)
	lab_report.of_mail(message)		# the document in a mail
"""

import gzip
import json
import os
import socket
import ssl
import threading
import time

import lab_ns

PORT = 8443


def record(*rua):
    return '_smtp._tls TXT "v=TLSRPTv1; rua=%s"' % ",".join(rua)


def of_mail(message):
    """The document of a parsed mail (RFC 8460 section 5.3)."""
    if message.get_content_type() != "multipart/report" or \
            message.get_param("report-type") != "tlsrpt":
        raise ValueError("not a report: %s" % message["Content-Type"])
    for part in message.walk():
        if part.get_content_type() == "application/tlsrpt+gzip":
            return json.loads(gzip.decompress(part.get_payload(decode=True)))
    raise ValueError("no document in it")


def failures(document):
    """{(policy type, result type): the row} of a document."""
    return {(p["policy"]["policy-type"], row["result-type"]): row
            for p in document["policies"]
            for row in p.get("failure-details", ())}


def key(path, user):
    """Makes a DKIM key; returns the record's text."""
    import base64
    import pwd
    import subprocess
    subprocess.run(["openssl", "genpkey", "-algorithm", "rsa", "-pkeyopt",
                    "rsa_keygen_bits:2048", "-out", path], check=True,
                   stderr=subprocess.DEVNULL)
    os.chmod(path, 0o600)
    who = pwd.getpwnam(user)
    os.chown(path, who.pw_uid, who.pw_gid)
    der = subprocess.run(["openssl", "pkey", "-in", path, "-pubout",
                          "-outform", "DER"], check=True,
                         stdout=subprocess.PIPE).stdout
    return b"v=DKIM1; p=" + base64.b64encode(der)


class Sink:
    """An HTTPS server that keeps what is posted."""

    def __init__(self, lab, address, host, cert=None):
        lab_ns.add_address(address)
        self.address = address
        self.posts, self.answer = [], {}
        self.connections = 0
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*(cert or lab.ca.cert(host)))
        self.sock = lab_ns.in_internet(self.listen)
        threading.Thread(target=self.accept, daemon=True).start()

    def listen(self):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((self.address, PORT))
        s.listen(64)
        return s

    def accept(self):
        while True:
            sock, _ = self.sock.accept()
            self.connections += 1
            threading.Thread(target=self.serve, args=(sock,),
                             daemon=True).start()

    @staticmethod
    def read(sock):
        data = b""
        while b"\r\n\r\n" not in data:
            got = sock.recv(65536)
            if not got or len(data) > 65536:
                raise OSError("no header")
            data += got
        head, _, body = data.partition(b"\r\n\r\n")
        first, *fields = head.decode("latin-1").split("\r\n")
        header = {k.strip().lower(): v.strip() for k, v in (
            f.split(":", 1) for f in fields)}
        while len(body) < int(header.get("content-length", 0)):
            got = sock.recv(65536)
            if not got:
                raise OSError("cut")
            body += got
        return first, header, body

    def serve(self, sock):
        try:
            sock.settimeout(10)
            sock = self.context.wrap_socket(sock, server_side=True)
            first, header, body = self.read(sock)
            method, path, _ = first.split(" ")
            self.posts.append((path, dict(header, method=method),
                               json.loads(gzip.decompress(body))))
            status = self.answer.get(path, 200)
            if status is None:
                time.sleep(30)
                return
            sock.sendall(b"HTTP/1.1 %d Answer\r\nContent-Length: 0\r\n"
                         b"Connection: close\r\n\r\n" % status)
            sock.unwrap()
        except (OSError, ssl.SSLError, ValueError):
            pass
        finally:
            sock.close()

    def of(self, domain):
        """What was posted of a domain: by the report-id's."""
        return [p for p in self.posts
                if (".%s@" % domain) in p[2]["report-id"]]
