#!/usr/bin/python3
"""SMTP servers with moods, that note down what they take.

usage: lab_soak.py FILE MOODS SEED ADDRESS...

MOODS is a JSON file, looked at all the time: {ADDRESS: MOOD}; others are good.

good	takes everything
flaky	defers, hangs up anywhere, takes and does not say so
down	nobody listens
shut	greets with 421
slow	each reply takes a while

Recipients that begin with "no" are refused (550) in every mood.  Lines of
FILE, written before the reply: "took ID RCPT", or "maybe ID RCPT" when the
reply never leaves; "bounced SENDER RCPT" for each recipient that a notice
says has failed.
"""

import asyncio
import json
import os
import random
import re
import sys

OUT = open(sys.argv[1], "a", buffering=1)
MOODS = sys.argv[2]
RNG = random.Random(int(sys.argv[3]))
EHLO = (b"250-soak.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n"
        b"250-CHUNKING\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE\r\n")
seen = [0, {}]


def mood(address):
    try:
        at = os.stat(MOODS).st_mtime_ns
        if at != seen[0]:
            with open(MOODS) as f:
                seen[:] = at, json.load(f)
    except (OSError, ValueError):
        pass
    return seen[1].get(address, "good")


class Gone(Exception):
    pass


class Session:
    def __init__(self, address, reader, writer):
        self.address, self.reader, self.writer = address, reader, writer
        self.sender, self.rcpts, self.chunks = "", [], b""

    def chance(self, percent):
        return mood(self.address) == "flaky" and RNG.random() * 100 < percent

    async def say(self, text):
        if self.chance(1):
            raise Gone
        if mood(self.address) == "slow":
            await asyncio.sleep(RNG.uniform(0, 0.3))
        self.writer.write(text.encode() + b"\r\n")
        await self.writer.drain()

    def note(self, word, text):
        found = re.search(rb"(?mi)^Message-ID: *<([^>]*)>", text)
        name = found[1].decode() if found else "?"
        OUT.write("".join("%s %s %s\n" % (word, name, r)
                          for r in self.rcpts))
        for part in re.split(rb"\r\n\r\n", text):
            who = re.search(rb"(?mi)^Final-Recipient: *\S+; *(\S+)", part)
            if who and re.search(rb"(?mi)^Action: *failed", part):
                OUT.write("".join("bounced %s %s\n" % (r, who[1].decode())
                                  for r in self.rcpts))

    async def taken(self, text):
        if self.chance(3):
            raise Gone
        if self.chance(5):
            await self.say("451 4.3.0 not now")
        elif self.chance(3):
            self.note("maybe", text)
            raise Gone
        else:
            self.note("took", text)
            await self.say("250 2.0.0 taken")
        self.rcpts = []

    async def on_rcpt(self, line):
        rcpt = re.search(r"<([^>]*)>", line)[1]
        if rcpt.startswith("no"):
            await self.say("550 5.1.1 nobody of that name")
        elif self.chance(6):
            await self.say("450 4.2.1 not now")
        else:
            self.rcpts.append(rcpt)
            await self.say("250 2.1.5 fine")

    async def on_data(self):
        if not self.rcpts:
            await self.say("554 5.5.1 nobody to take it")
        elif self.chance(3):
            await self.say("451 4.3.0 not now")
        else:
            await self.say("354 go on")
            text = await self.reader.readuntil(b"\r\n.\r\n")
            await self.taken(text)

    async def on_bdat(self, words):
        self.chunks += await self.reader.readexactly(int(words[1]))
        if words[-1].upper() != "LAST":
            await self.say("250 2.0.0 more")
            return
        text, self.chunks = self.chunks, b""
        if self.rcpts:
            await self.taken(text)
        else:
            await self.say("554 5.5.1 nobody to take it")

    async def command(self, line):
        words = line.split() or [""]
        verb = words[0].upper()
        if verb == "MAIL":
            self.sender, self.rcpts, self.chunks = line, [], b""
            await self.say("451 4.3.0 not now" if self.chance(3)
                           else "250 2.1.0 fine")
        elif verb == "RCPT":
            await self.on_rcpt(line)
        elif verb == "DATA":
            await self.on_data()
        elif verb == "BDAT":
            await self.on_bdat(words)
        elif verb == "EHLO":
            await self.say(EHLO.decode().rstrip())
        elif verb == "QUIT":
            await self.say("221 2.0.0 bye")
            raise Gone
        else:
            await self.say("250 2.0.0 fine")

    async def run(self):
        if mood(self.address) == "shut" or self.chance(3):
            self.writer.write(b"421 4.3.2 closed\r\n")
            return
        await self.say("220 soak.test ESMTP")
        while True:
            line = await self.reader.readline()
            if not line:
                return
            await self.command(line.decode(errors="replace").strip())


async def keep_open(address):
    """A listener, as long as the mood is not "down"."""
    async def serve(reader, writer):
        try:
            await Session(address, reader, writer).run()
        except (Gone, OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = None
    while True:
        down = mood(address) == "down"
        if down and server:
            server.close()
            server = None
        elif not down and not server:
            server = await asyncio.start_server(
                serve, address, 25, limit=1 << 24, backlog=1000)
        await asyncio.sleep(0.05)


async def main():
    await asyncio.gather(*map(keep_open, sys.argv[4:]))


asyncio.run(main())
