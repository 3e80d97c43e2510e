"""Scripted SMTP servers, for what a real one would never do.

	peer = Peer(net, "198.51.100.30", Session)	# well-behaved
	class Rude(Session):
		def on_ehlo(self, argument):
			self.send(b"421 go away\r\n"); self.close()

Each connection runs a Session on a thread of its own; peer.sessions tells what
was seen: verbs, TLS, and the messages as (sender, [recipients], bytes).
"""

import socket
import ssl
import threading
import time

import lab_ns


class Closed(Exception):
    pass


class Session:
    extensions = ["PIPELINING", "SIZE 100000000", "8BITMIME", "SMTPUTF8",
                  "ENHANCEDSTATUSCODES"]
    tls = None			# an ssl.SSLContext: offers STARTTLS
    banner = b"220 peer.test ESMTP\r\n"

    def __init__(self, peer, sock):
        self.peer, self.sock = peer, sock
        self.buffer = b""
        self.verbs = []
        self.lines = []
        self.tls_active = False
        self.messages = []
        self.sender, self.recipients = None, []
        self.ended = False
        self.began = time.monotonic()

    def send(self, data):
        try:
            self.sock.sendall(data)
        except OSError as e:
            raise Closed from e

    def reply(self, text):
        self.send(text.encode() + b"\r\n")

    def more(self):
        try:
            data = self.sock.recv(65536)
        except OSError as e:
            raise Closed from e
        if not data:
            raise Closed
        self.buffer += data

    def line(self):
        while b"\n" not in self.buffer:
            self.more()
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.rstrip(b"\r")

    def body(self):
        parts, tail = [], b"\r\n"
        while True:
            while self.buffer:
                parts.append(self.buffer)
                tail = (tail + self.buffer)[-5:] if len(self.buffer) < 5 \
                    else self.buffer[-5:]
                self.buffer = b""
            if tail.endswith(b"\r\n.\r\n"):
                break
            self.more()
        text = b"\r\n" + b"".join(parts)
        text = text[:-len(b".\r\n")].replace(b"\r\n.", b"\r\n")
        return text[2:]

    def start_tls(self):
        context = self.tls
        try:
            self.sock = context.wrap_socket(self.sock, server_side=True)
        except (OSError, ssl.SSLError) as e:
            raise Closed from e
        self.tls_active = True
        self.resumed = self.sock.session_reused
        self.buffer = b""

    def close(self):
        raise Closed

    # ---- the dialogue ----------------------------------------------------

    def on_connect(self):
        self.send(self.banner)

    def on_ehlo(self, argument):
        lines = ["peer.test"] + list(self.extensions)
        if self.tls and not self.tls_active:
            lines.append("STARTTLS")
        for i, text in enumerate(lines):
            self.reply("250%s%s" % ("-" if i + 1 < len(lines) else " ", text))

    def on_helo(self, argument):
        self.reply("250 peer.test")

    def on_starttls(self, argument):
        if not self.tls:
            return self.reply("502 5.5.1 no")
        self.reply("220 2.0.0 go ahead")
        self.start_tls()

    def on_mail(self, argument):
        self.sender, self.recipients = argument, []
        self.reply("250 2.1.0 ok")

    def on_rcpt(self, argument):
        self.recipients.append(argument)
        self.reply("250 2.1.5 ok")

    def on_data(self, argument):
        self.reply("354 go")
        self.on_message(self.body())

    def on_message(self, text):
        self.messages.append((self.sender, self.recipients, text))
        self.reply("250 2.0.0 taken")

    def on_rset(self, argument):
        self.reply("250 2.0.0 ok")

    def on_noop(self, argument):
        self.reply("250 2.0.0 ok")

    def on_quit(self, argument):
        self.reply("221 2.0.0 bye")
        self.close()

    def on_other(self, argument):
        self.reply("500 5.5.2 what?")

    def run(self):
        try:
            self.on_connect()
            while True:
                line = self.line()
                self.lines.append(line)
                verb, _, argument = line.decode("utf-8",
                                                "replace").partition(" ")
                self.verbs.append(verb.upper())
                if verb.upper() in ("MAIL", "RCPT"):
                    argument = argument.partition(":")[2]
                getattr(self, "on_" + verb.lower(),
                        self.on_other)(argument)
        except Closed:
            pass
        finally:
            self.ended = True
            try:
                self.sock.close()
            except OSError:
                pass


class Peer:
    def __init__(self, lab, address, session=Session, port=25, backlog=256):
        lab_ns.add_address(address)
        self.address, self.kind = address, session
        self.sessions = []

        def listen():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            s = socket.socket(family)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((address, port))
            s.listen(backlog)
            return s

        self.sock = lab_ns.in_internet(listen)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            session = self.kind(self, sock)
            self.sessions.append(session)
            threading.Thread(target=session.run, daemon=True).start()

    @property
    def session(self):
        return self.kind

    @session.setter
    def session(self, kind):
        """From now on it behaves like this; open connections are closed."""
        self.kind = kind
        for session in self.sessions:
            try:
                session.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def messages(self):
        return [m for s in self.sessions for m in s.messages]

    def forget(self):
        """As if nothing had happened; open connections go on."""
        self.sessions = [s for s in self.sessions if not s.ended]
        for session in self.sessions:
            session.verbs, session.lines, session.messages = [], [], []

    def close(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


def tls_context(pair, **options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    for key, value in options.items():
        setattr(context, key, value)
    return context
