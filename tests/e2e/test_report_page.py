#!/usr/bin/python3
"""The page of "smtpd-out report html" in a real browser: light, dark, wide and
on a phone.  The pictures go to REPORT_PICTURES (CI keeps them), or nowhere.
Without Chromium this is skipped, loudly."""

import html.parser
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
sys.path.insert(0, os.path.join(HERE, "..", "report"))
import foreign  # noqa: E402
import tap  # noqa: E402

SMTPD_OUT = os.environ.get("SMTPD_OUT", "smtpd-out/smtpd-out")
TOOL = os.path.join(os.path.dirname(SMTPD_OUT), "..", "tests", "lib",
                    "report_tool")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
t = tap.Tap()
work = tempfile.mkdtemp(prefix="report-page-")
pictures = os.environ.get("REPORT_PICTURES") or work
os.makedirs(pictures, exist_ok=True)


def make(name, command):
    path = os.path.join(work, name)
    with open(path, "wb") as f:
        subprocess.run(command, stdout=f, check=True, timeout=60)
    return path


def received():
    folder = os.path.join(work, "received")
    if not os.path.isdir(folder):
        os.mkdir(folder)
        foreign.write(folder)
    return folder


def the_page():
    """With data of our own, which the test tool makes up."""
    if not os.access(TOOL, os.X_OK):
        subprocess.run(["make", "-C", os.path.join(os.path.dirname(TOOL),
                                                   "..", ".."),
                        "tests/lib/report_tool"], check=True, timeout=200,
                       stdout=subprocess.DEVNULL)
    return make("page.html", [TOOL, "page", received()])


def chromium(*args):
    if not BROWSER:
        print("# ----------------------------------------------------------")
        print("# No chromium here: NOBODY HAS LOOKED AT THE PAGE.")
        print("# tests/lib/install page")
        print("# ----------------------------------------------------------")
        raise tap.Skip("needs chromium")
    return subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu",
         "--hide-scrollbars", "--allow-file-access-from-files",
         "--user-data-dir=" + os.path.join(work, "profile"), *args],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)


def png(path):
    """Width, height and the rows of a picture (8 bit RGB or RGBA)."""
    with open(path, "rb") as f:
        data = f.read()
    tap.equal(data[:8], b"\x89PNG\r\n\x1a\n", "picture")
    at, idat = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
        elif kind == b"IDAT":
            idat += body
        at += 12 + length
    size = {2: 3, 6: 4}[colour]
    raw, rows, last = zlib.decompress(idat), [], bytes(width * size)
    for y in range(height):
        line = raw[y * (width * size + 1):(y + 1) * (width * size + 1)]
        last = unfilter(line[0], bytearray(line[1:]), last, size)
        rows.append([tuple(last[x:x + 3])
                     for x in range(0, len(last), size)])
    return width, height, rows


def unfilter(kind, line, above, size):
    for i in range(len(line)):
        a = line[i - size] if i >= size else 0
        b, c = above[i], above[i - size] if i >= size else 0
        if kind == 1:
            line[i] = (line[i] + a) & 255
        elif kind == 2:
            line[i] = (line[i] + b) & 255
        elif kind == 3:
            line[i] = (line[i] + (a + b) // 2) & 255
        elif kind == 4:
            p = a + b - c
            best = min((abs(p - a), 0, a), (abs(p - b), 1, b),
                       (abs(p - c), 2, c))
            line[i] = (line[i] + best[2]) & 255
    return bytes(line)


def shoot(name, page, width, height, dark=False):
    path = os.path.join(pictures, name + ".png")
    args = ["--window-size=%d,%d" % (width, height),
            "--screenshot=" + path, "file://" + page]
    if dark:
        args.insert(0, "--blink-settings=preferredColorScheme=0")
    chromium(*args)
    tap.true(os.path.exists(path), "picture %s" % path)
    return png(path)


def share(rows, wanted):
    n = sum(1 for row in rows for p in row[::2]
            if all(abs(p[i] - wanted[i]) < 10 for i in range(3)))
    return n / (len(rows) * len(rows[0]) / 2)


class Elements(html.parser.HTMLParser):
    """Only the elements and attributes that the page itself is made of."""
    names = set("html head meta title style body header h1 p main section h2 "
                "ul li span i b small figure figcaption div ol details "
                "summary table thead tbody tr th td article h3 bdi code br "
                "time footer".split())
    attributes = set("lang charset name content http-equiv class style title "
                     "role aria-label aria-hidden scope data-label".split())

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.texts = [], []

    def handle_starttag(self, tag, attrs):
        tap.true(tag in self.names, "element %s" % tag)
        for name, value in attrs:
            tap.true(name in self.attributes, "attribute %s" % name)
            if name == "style":
                tap.match(r"^height:[0-9.]+%$", value, "style")
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        tap.equal(self.open.pop(), tag, "end of element")

    def handle_data(self, data):
        self.texts.append(data)


LIGHT, DARK = (0xf4, 0xf6, 0xf8), (0x0e, 0x13, 0x18)
COLOURS = {"secured": (0x0f, 0x7d, 0x5b), "encrypted": (0x2f, 0x6b, 0xd8),
           "clear": (0xb9, 0x7a, 0x00), "failed": (0xc4, 0x30, 0x2b)}


@t.test("wide and light: the page and all four bars are there")
def _():
    width, height, rows = shoot("light", the_page(), 1280, 2700)
    tap.equal((width, height), (1280, 2700), "size")
    tap.equal(rows[2][2], LIGHT, "ground")
    for name, colour in COLOURS.items():
        tap.true(share(rows, colour) > 0.0002, "bars of %s" % name)


@t.test("dark where the reader wants it dark")
def _():
    _, _, rows = shoot("dark", the_page(), 1280, 2700, dark=True)
    tap.equal(rows[2][2], DARK, "ground")
    tap.true(share(rows, (255, 255, 255)) < 0.01, "no white card is left")


@t.test("on a phone nothing is wider than the screen")
def _():
    # A window has at least 500 pixels; a frame has what it is given.
    page = the_page()
    frame = os.path.join(work, "phone.html")
    with open(frame, "w") as f:
        f.write("<body style='margin:0;background:#0a5'><iframe src='%s' "
                "style='border:0;width:360px;height:4200px'></iframe>" %
                os.path.basename(page))
    _, _, rows = shoot("phone", frame, 500, 4200)
    tap.equal(rows[2][2], LIGHT, "ground")
    # Cards end before the edge, all the way down.
    edge = {row[355] for row in rows[100:3000]}
    tap.equal(edge, {LIGHT}, "right edge of the page")


@t.test("hostile texts stay texts")
def _():
    folder = os.path.join(work, "hostile")
    os.mkdir(folder)
    evil = "</td></style><script>document.title='PWNED'</script>" \
        "<img src=x onerror=\"document.title='PWNED'\">'\"&lt;\u202e"
    text = foreign.report(evil, "example.org", foreign.LAST, [
        foreign.policy("sts", evil, 3, [
            ("certificate-expired", 2, evil,
             {"failure-reason-code": evil, "additional-information": evil,
              "receiving-mx-helo": evil}),
            (evil, 2, evil)], hosts=[evil])])
    with open(os.path.join(folder, "a.json"), "w") as f:
        json.dump(text, f)
    page = make("hostile.html", [SMTPD_OUT, "report", "html", folder])
    with open(page, encoding="utf-8") as f:
        source = f.read()
    check = Elements()
    check.feed(source)
    check.close()
    tap.equal(check.open, [], "elements that stay open")
    # The mark that turns the direction of text is not text (base/str.h).
    shown = evil.replace("\u202e", "?")
    tap.true(any(shown in x for x in check.texts), "the text as it was")
    tap.true("\u202e" not in source, "the mark of direction is gone")
    if BROWSER:
        dom = chromium("--dump-dom", "file://" + page).stdout.decode()
        tap.match("<title>TLS reports</title>", dom, "title")
        tap.equal(dom.count("<script"), 0, "scripts")


@t.test("the page asks nothing of anybody")
def _():
    with open(the_page(), encoding="utf-8") as f:
        source = f.read()
    tap.match("default-src 'none'", source, "policy")
    # What a report says may well look like one, but it is text.
    tap.equal(re.findall(r"<[^>]*\b(?:src|href)=|url\(|@import|https?://",
                         source), [], "references")


@t.test("without a report there is an empty page")
def _():
    page = make("empty.html", [SMTPD_OUT, "report", "html"])
    with open(page, encoding="utf-8") as f:
        tap.match("Nothing yet", f.read(), "words")
    if BROWSER:
        shoot("empty", page, 1280, 600)


try:
    t.run()
finally:
    shutil.rmtree(work, ignore_errors=True)
