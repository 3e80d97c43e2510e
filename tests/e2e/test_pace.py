#!/usr/bin/python3
"""How fast a destination is given mail: windows, rates, who is down; judged by
what the servers saw."""

import collections
import os
import signal
import threading
import time

import common		# noqa: F401
import lab
import lab_check
import lab_daemon
import lab_mta
import lab_ns
import lab_peer
import tap

GROW4, FEW4, DOWN4, RATE4 = ("198.51.100.%d" % n for n in (30, 31, 32, 33))
SINK4, HUNG4 = "198.51.100.34", "198.51.100.35"
SENDER = "alice@sender.test"
SESSIONS = 1000

net = lab.Lab()


def domain(name, address, *more):
    net.dns.domain(name, ["@ MX 10 mx", "mx A " + address, *more],
                   signed=False)


domain("grow.test", GROW4)
domain("few.test", FEW4)
domain("down.test", DOWN4)
for name in ("rate", "host1", "host2", "free", "slowly"):
    domain(name + ".test", RATE4)
for name in range(14):
    net.dns.domain("hung%d.test" % name, ["@ MX 10 mx.hung.test."],
                   signed=False)
net.dns.domain("hung.test", ["mx A " + HUNG4], signed=False)
domain("sink.test", SINK4, "* A " + SINK4)
net.start()
lock = threading.Lock()


class Counted(lab_peer.Session):
    """Knows how many there are at a time, and when messages came."""
    open_now, peak, history, times = 0, 0, [], []
    pause = 0.0

    @classmethod
    def reset(cls):
        cls.peak, cls.history, cls.times = 0, [], []

    def on_connect(self):
        kind = type(self)
        with lock:
            kind.open_now += 1
            kind.peak = max(kind.peak, kind.open_now)
            kind.history.append(kind.open_now)
        super().on_connect()

    def run(self):
        before = len(type(self).history)
        super().run()
        with lock:
            if len(type(self).history) > before or self.verbs:
                type(self).open_now -= 1

    def on_message(self, text):
        time.sleep(self.pause)
        with lock:
            type(self).times.append(time.monotonic())
        super().on_message(text)


class Grow(Counted):
    history, times = [], []
    pause = 0.03


class Few(Counted):
    """Serves three at a time, and turns others away."""
    history, times = [], []
    pause = 0.01
    served, most = 0, 0

    def on_connect(self):
        with lock:
            self.mine = Few.served < 3
            Few.served += self.mine
            Few.most = max(Few.most, Few.served)
        if not self.mine:
            self.send(b"421 4.7.0 too many\r\n")
            self.close()
        self.send(self.banner)

    def run(self):
        try:
            super().run()
        finally:
            with lock:
                Few.served -= getattr(self, "mine", False)


class Down(lab_peer.Session):
    def on_connect(self):
        self.send(b"421 4.3.2 closed\r\n")
        self.close()


class Hung(Counted):
    """Its first ten sessions never get any further."""
    history, times = [], []

    def on_mail(self, argument):
        with lock:
            self.peer.count = getattr(self.peer, "count", 0) + 1
            hangs = self.peer.count <= 10
        if hangs:
            time.sleep(60)
        super().on_mail(argument)


class Rate(Counted):
    history, times = [], []


grow = lab_peer.Peer(net, GROW4, Grow)
few = lab_peer.Peer(net, FEW4, Few)
down = lab_peer.Peer(net, DOWN4, Down)
rate = lab_peer.Peer(net, RATE4, Rate)
hung = lab_peer.Peer(net, HUNG4, Hung)
lab_ns.add_address(SINK4)
arrived_file = os.path.join(net.dir, "arrived")
net.spawn(["/usr/bin/python3", "-B", os.path.join(os.path.dirname(
    lab_mta.__file__), "lab_sink.py"), arrived_file, "2500", SINK4],
    name="sink", internet=True)
net.wait("the sink listens", lambda: lab_mta.accepts(SINK4))
BASE = {"workers": 1, "retry": {"first": "1s", "max": "2s"},
        "timeout": {"data-end": "20s", "mail": "1m"}}
RULES = '''destination "rate.test" { rate = "20/1s" }
destination "slowly.test" { rate = "1/20s" }
'''
daemon = lab_daemon.Daemon(net, lab_daemon.program(), text=RULES, **BASE)
daemon.start()
t = tap.Tap(on_fail=daemon.explain)
# Of hosts that are all alike, two; who turns away some lets in others.
lab_check.Check(daemon, "").follow(t, but={"few.test"} | {
    "%s%d%s.test" % (a, n, z) for n in range(2, 1000)
    for a, z in (("d", ".sink"), ("hung", ""))})


def flood(count, *recipients):
    with daemon.smtp() as smtp:
        for n in range(count):
            to = recipients[n % len(recipients)]
            smtp.sendmail(SENDER, [to], "Message-ID: <%d.%s>\r\n"
                          "Subject: %d\r\n\r\nx\r\n" % (n, to, n))


def arrive(peer, count, seconds=20):
    net.wait("%d messages at the peer" % count, lambda: len(
        peer.messages()) >= count, seconds)


def restart(**settings):
    daemon.configure(**settings)
    daemon.stop()
    daemon.start()


@t.test("a window starts small and grows to the limit")
def _():
    flood(400, "a@grow.test")
    arrive(grow, 400)
    tap.true(max(Grow.history[:5]) <= 5, "first: %r" % Grow.history[:8])
    # The peer counts until it has seen the end.
    tap.true(12 <= Grow.peak <= 22, "peak %d" % Grow.peak)
    tap.true(len(grow.sessions) <= 30, "connections")


@t.test("who turns connections away gets fewer; no message pays for it")
def _():
    flood(200, "a@few.test")
    arrive(few, 200)
    net.wait("all are said to be sent", lambda: len(daemon.deliveries(
        destination="few.test")) >= 200)
    turned = len([s for s in few.sessions if not s.verbs])
    tap.true(turned <= 25, "%d turned away" % turned)
    lines = daemon.deliveries(destination="few.test")
    tap.equal({x["status"] for x in lines}, {"sent"}, "status")
    tap.equal({x["attempt"] for x in lines}, {"1"}, "attempts")


@t.test("sessions that hang do not hold up the others of their host")
def _():
    flood(14, *("a@hung%d.test" % n for n in range(14)))
    arrive(hung, 4, 20)
    tap.true(10 < len(hung.sessions) <= 14, "connections")
    hung.session = lab_peer.Session
    net.wait("the others follow", lambda: daemon.queue_json(
        "stats")[0]["messages"] == 0)


@t.test("a destination that is down: one probe at a time, 1,000 wait")
def _():
    flood(1000, "a@down.test")
    time.sleep(4)
    connects = len(down.sessions)
    # The first window, and a probe after each back-off of 1 s or 2 s.
    tap.true(2 <= connects <= 11, "%d connections" % connects)
    queued = daemon.queue_json("stats")[0]["messages"]
    tap.equal(queued, 1000, "in the queue")
    tap.true(len(daemon.events("destination-down")) <= 5, "in the log")


@t.test("it is up again: everything leaves")
def _():
    down.session = lab_peer.Session
    arrive(down, 1000, 30)
    net.wait("the queue is empty", lambda: daemon.queue_json(
        "stats")[0]["messages"] == 0)
    tap.equal(len(down.messages()), 1000, "each once")
    tap.true(daemon.events("destination-up"), "in the log")


@t.test("a rate is kept to, and delays nobody else")
def _():
    Rate.reset()
    flood(61, "a@rate.test")
    began = time.monotonic()
    queue_id = daemon.mail(SENDER, "a@free.test")
    daemon.delivery(id=queue_id, status="sent", seconds=5)
    tap.true(time.monotonic() - began < 1, "the other one")
    arrive(rate, 62)
    span = max(Rate.times) - min(Rate.times)
    tap.true(2.7 <= span <= 3.3, "60 intervals of 50 ms: %.2f s" % span)


@t.test("what would wait long stays with the parent, and is no attempt")
def _():
    rate.forget()
    flood(20, "a@slowly.test")
    net.wait("the first", lambda: rate.messages())
    time.sleep(1)
    tap.equal(len(rate.messages()), 1, "so far")
    done = daemon.queue("limit", "slowly.test", "rate=1000/1s")
    tap.equal(done.returncode, 0, "exit of limit")
    arrive(rate, 20)
    net.wait("all are said to be sent", lambda: len(daemon.deliveries(
        destination="slowly.test", status="sent")) == 20)
    lines = daemon.deliveries(destination="slowly.test")
    tap.equal({x["attempt"] for x in lines}, {"1"}, "attempts")
    tap.equal(len(lines), 20, "deliveries")


@t.test("rates of a host and in all count across destinations")
def _():
    for settings, text in ((
            {}, 'host "mx.host1.test" { rate = "20/1s" }\n'
            'destination "host2.test" { relay = "mx.host1.test" }\n'), (
            {"total-rate": "20/1s"}, "")):
        restart(limit=settings, text=text)
        rate.forget()
        Rate.reset()
        flood(41, "a@host1.test", "a@host2.test")
        arrive(rate, 41)
        span = max(Rate.times) - min(Rate.times)
        tap.true(1.8 <= span <= 2.3, "40 intervals of 50 ms: %.2f s" % span)


@t.test("connections to a host and in all are limits")
def _():
    for settings in ({"host-sessions": 2}, {"total-sessions": 3}):
        restart(limit={"total-rate": "0", "host-sessions": 0,
                       "total-sessions": 0, **settings}, text="")
        grow.forget()
        Grow.reset()
        flood(30, "a@grow.test")
        arrive(grow, 30)
        tap.true(Grow.peak <= list(settings.values())[0], "peak %d"
                 % Grow.peak)


def arrived():
    with open(arrived_file) as f:
        return f.read().split()


def sent():
    return collections.Counter(x["destination"] for x in daemon.deliveries(
        status="sent") if x["destination"].endswith(".sink.test"))


def sessions():
    """Of the worker that is there now: its descriptors."""
    try:
        return len(os.listdir("/proc/%d/fd" % daemon.pids("worker")[0]))
    except (IndexError, FileNotFoundError):
        return 0


@t.test("a worker that dies with 1,000 sessions open: nothing is lost, "
        "nothing twice that was acknowledged, sessions come back")
def _():
    restart(limit={"total-sessions": 0})
    flood(SESSIONS, *("a@d%d.sink.test" % n for n in range(SESSIONS)))
    pid = daemon.pids("worker")[0]
    net.wait("sessions are open", lambda: sessions() > SESSIONS * 9 // 10, 20)
    net.wait("some are through", lambda: len(sent()) > 50)
    before, there = sent(), sessions()
    os.kill(pid, signal.SIGKILL)
    tap.true(there > SESSIONS * 9 // 10, "%d open when it died" % there)
    tap.true(len(before) < SESSIONS * 9 // 10, "%d through" % len(before))
    net.wait("sessions come back", lambda: pid not in daemon.pids("worker")
             and sessions() > (SESSIONS - len(before)) // 2, 10)
    net.wait("everything arrives", lambda: len(set(arrived())) == SESSIONS,
             30)
    net.wait("the queue is empty", lambda: daemon.queue_json(
        "stats")[0]["messages"] == 0)
    copies = collections.Counter(x.split("@")[1] for x in arrived())
    tap.equal(max(copies.values()) <= 2, True, "twice at most")
    tap.equal([x for x in before if copies[x] != 1], [], "sent before, again")
    tap.equal(sorted(sent().values()), [1] * SESSIONS, "each recorded once")


t.run()
