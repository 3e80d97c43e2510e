#!/usr/bin/python3
"""A fast SMTP server that keeps nothing but Message-IDs.

usage: lab_sink.py FILE DELAY_MS ADDRESS...

Appends the Message-ID of each message to FILE before it says 250.
"""

import asyncio
import re
import sys

OUT = open(sys.argv[1], "a", buffering=1)
DELAY = float(sys.argv[2]) / 1000
EHLO = b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE\r\n"
REPLIES = {b"EHLO": EHLO, b"HELO": b"250 sink.test\r\n",
           b"MAIL": b"250 2.1.0 ok\r\n", b"RCPT": b"250 2.1.5 ok\r\n",
           b"RSET": b"250 2.0.0 ok\r\n", b"NOOP": b"250 2.0.0 ok\r\n"}


async def serve(reader, writer):
    try:
        writer.write(b"220 sink.test ESMTP\r\n")
        while True:
            line = await reader.readline()
            verb = line[:4].upper()
            if not line or verb == b"QUIT":
                break
            if verb != b"DATA":
                writer.write(REPLIES.get(verb, b"500 5.5.2 what?\r\n"))
                continue
            writer.write(b"354 go\r\n")
            text = await reader.readuntil(b"\r\n.\r\n")
            found = re.search(rb"(?mi)^Message-ID: *<([^>]*)>", text)
            if DELAY:
                await asyncio.sleep(DELAY)
            OUT.write((found[1].decode() if found else "?") + "\n")
            writer.write(b"250 2.0.0 taken\r\n")
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main():
    for address in sys.argv[3:]:
        await asyncio.start_server(serve, address, 25, limit=1 << 24,
                                   backlog=1000)
    await asyncio.Event().wait()


asyncio.run(main())
