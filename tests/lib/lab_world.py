"""The world that most end-to-end tests share: receivers, domains, sender.

	world = lab_world.World(domains={...}, exim=True)
	daemon = world.daemon()
	t = tap.Tap(on_fail=world.explain)

Sender is alice@sender.test; her mailbox is in Postfix.  domains adds to the
name service; users adds mailboxes to Postfix.
"""

import lab
import lab_daemon
import lab_mta

TLS4, TLS6 = "198.51.100.10", "2001:db8:a::10"
CLEAR4 = "198.51.100.11"
EXIM4 = "198.51.100.20"
DEAD4, DEAD6 = "203.0.113.25", "2001:db8:dead::25"
REFUSE4 = "198.51.100.1"	# a name server: nothing on port 25
SENDER = "alice@sender.test"


class World:
    def __init__(self, domains=(), users=(), exim=False):
        self.net = lab.Lab()
        self.daemons = []
        for name, records in {
                "sender.test": ["@ MX 10 mx", "mx A " + TLS4],
                "good.test": ["@ MX 10 mx", "mx A " + TLS4],
                "clear.test": ["@ MX 10 mx", "mx A " + CLEAR4],
                "exim.test": ["@ MX 10 mx", "mx A " + EXIM4],
                **dict(domains)}.items():
            self.net.dns.domain(name, records)
        self.net.start()
        self.postfix = lab_mta.Postfix(self.net, [
            SENDER, "ann@good.test", "bob@good.test", "ann@clear.test",
            *users])
        self.postfix.listen(TLS4)
        self.postfix.listen(TLS6)
        self.postfix.listen(CLEAR4, smtpd_tls_security_level="none")
        self.postfix.start()
        self.exim = None
        if exim:
            self.exim = lab_mta.Exim(self.net, EXIM4,
                                     ["ann@exim.test", "bob@exim.test"])
            self.exim.start()

    def daemon(self, start=True, **settings):
        name = "daemon%d" % len(self.daemons) if self.daemons else "daemon"
        daemon = lab_daemon.Daemon(self.net, lab_daemon.program(), name,
                                   **settings)
        self.daemons.append(daemon)
        if start:
            daemon.start()
        return daemon

    def notices(self, about=None):
        """Notices in the sender's mailbox, those that name a recipient."""
        found = [m for m in self.postfix.messages(SENDER)
                 if m.get_content_type() == "multipart/report"]
        if about:
            found = [m for m in found if about in report(m)]
        return found

    def notice(self, about, seconds=15):
        return self.net.wait("a notice about " + about,
                             lambda: self.notices(about), seconds)[-1]

    def explain(self):
        text = "\n".join(d.explain() for d in self.daemons[-2:])
        for server in [self.postfix] + [self.exim] * bool(self.exim):
            text += "\n-- end of %s:\n" % server.log_file + "\n".join(
                server.log_text().splitlines()[-6:])
        return text


def report(message):
    """The text of the message/delivery-status part of a notice."""
    for part in message.walk():
        if part.get_content_type() in ("message/delivery-status",
                                       "message/global-delivery-status"):
            inner = part.get_payload()
            if isinstance(inner, list):
                return "\n".join(x.as_string() for x in inner)
            return str(inner)
    return ""
