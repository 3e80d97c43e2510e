"""What the completion of bash and zsh offers, against what there is: commands
and their words from the program's own help, options from its tables."""

import glob
import os
import re
import shutil
import subprocess
import sys

TOP = os.environ.get("top_srcdir", ".")
BUILD = os.environ.get("top_builddir", ".")
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))

import tap		# noqa: E402

PROGRAM = os.path.join(BUILD, "smtpd-out", "smtpd-out")
FILES = {"bash": os.path.join(TOP, "etc", "completion", "smtpd-out.bash"),
         "zsh": os.path.join(TOP, "etc", "completion", "_smtpd-out")}
SOURCES = {"run": ["cmd_run"], "queue": ["cmd_queue"],
           "check": ["cmd_check"], "lint": ["cmd_lint"],
           "report": ["cmd_report", "cmd_report_own"]}

HELP = {"--help"}		# main.c has it for all

BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
compopt() { :; }
_smtpd_out
printf '%s\\n' "${COMPREPLY[@]}"
"""

# The functions of the completion system, so far as they are used.
ZSH = """
_describe() {
	[[ $1 = -o ]] && shift
	print -rl -- "${(@)${(@P)2}%%:*}"
}
_files() { print file }
_hosts() { print host }
complete_it() { local file=$1; shift; local -a words; words=("$@")
	local -i CURRENT=$#; source $file }
complete_it "$@"
"""


def offered(shell, *words):
    """What the shell offers for the last word."""
    argv = {"bash": ["bash", "--norc", "-c", BASH, "bash"],
            "zsh": ["zsh", "-f", "-c", ZSH, "zsh"]}[shell]
    done = subprocess.run([*argv, FILES[shell], "smtpd-out", *words],
                          capture_output=True, text=True, timeout=20,
                          stdin=subprocess.DEVNULL)
    tap.equal(done.stderr, "", "%s for %r" % (shell, words))
    found = [x for x in done.stdout.split("\n") if x]
    return {x for x in found if x.startswith(words[-1])}


def said(*argv):
    done = subprocess.run([PROGRAM, *argv], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=20)
    return done.stdout + done.stderr


def source(name):
    path, = glob.glob(os.path.join(TOP, "smtpd-out", "*", name + ".c"))
    with open(path) as f:
        return f.read()


def options(names):
    """Of the tables for getopt in these files."""
    found = set()
    for text in map(source, names):
        found |= {"--" + x for x in re.findall(
            r'\{ "([\w-]+)", (?:no|required)_argument', text)}
        for letters in re.findall(r'getopt(?:_long)?\(\w+, \w+, "([^"]*)"',
                                  text):
            found |= {"-" + x for x in letters if x.isalnum()}
    return found


def submit_options():
    text = source("submit_args")
    found = {"--" + x for x in re.findall(r'\{ "([\w-]+)", (?:true|false),',
                                          text)}
    for letter, what in re.findall(r"\{ '(\w)', \w+, (\w+) \}", text):
        if what == "opt_mode":
            found |= {"-b" + x for x in re.findall(r'\{ "(\w)", SUBMIT_',
                                                   text)} - {"-bm"}
        elif what not in ("ignored", "opt_old"):
            found.add("-" + letter)
    return found


def queue_words():
    """{first word: {second words}} of the usage."""
    found = {}
    for line in re.findall(r"^  ([a-z].*)$", said("queue", "--help"), re.M):
        words = re.split(r"  +", line)[0].split()
        found.setdefault(words[0], set())
        if words[0] in ("tls", "policies"):
            found[words[0]] |= set(re.sub(r"[][]", "", words[1]).split("|"))
    return found


SHELLS = [s for s in FILES if shutil.which(s)]
t = tap.Tap()


def each(name):
    """A test for each shell that is here."""
    def add(function):
        for shell in FILES:
            def one(shell=shell):
                if shell not in SHELLS:
                    raise tap.Skip("needs " + shell)
                function(shell)
            t.test("%s: %s" % (shell, name))(one)
    return add


@each("the file can be read by the shell")
def _(shell):
    done = subprocess.run([shell, "-n", FILES[shell]], capture_output=True,
                          text=True)
    tap.equal((done.returncode, done.stderr), (0, ""), shell + " -n")


@each("commands")
def _(shell):
    commands = set(re.findall(r"^  (\w+)  ", said("--help"), re.M))
    tap.true(len(commands) > 4, commands)
    tap.equal(offered(shell, ""), commands, "commands")
    tap.equal(offered(shell, "-"), {"--help", "--version"}, "options")
    tap.equal(offered(shell, "qu"), {"queue"}, "a part of one")


@each("options of each command")
def _(shell):
    for command, names in SOURCES.items():
        if command == "report":
            continue
        tap.equal(offered(shell, command, "-"), options(names) | HELP,
                  command)
    tap.equal(offered(shell, "submit", "-"), submit_options() | HELP,
              "submit")
    found = set()
    for word in offered(shell, "report", ""):
        found |= offered(shell, "report", word, "-")
    tap.equal(found, options(SOURCES["report"]) | HELP, "report")


@t.test("no other file reads options")
def _():
    known = {x for names in SOURCES.values() for x in names}
    for path in glob.glob(os.path.join(TOP, "smtpd-out", "*", "*.c")):
        name = os.path.basename(path)[:-2]
        tap.true(name in known or "getopt" not in source(name), path)


@each("words of queue")
def _(shell):
    words = queue_words()
    tap.true(len(words) > 10, words)
    tap.equal(offered(shell, "queue", ""), set(words), "queue")
    for word in ("tls", "policies"):
        tap.equal(offered(shell, "queue", "-c", "x", word, ""), words[word],
                  word)
    demands = tap.match(r"demand SELECTION (\S+)", said("queue", "--help"),
                        "usage")[1]
    tap.equal(offered(shell, "queue", "demand", "--held", ""),
              set(demands.split("|")), "demand")
    limits = set(re.findall(r"\b(\w+=)", tap.match(
        r"limit \[host\] NAME (.*)", said("queue", "--help"), "usage")[1]
        .split("\n")[0]))
    tap.equal(offered(shell, "queue", "limit", "a.test", ""), limits,
              "limit")


@each("words of lint and report")
def _(shell):
    tap.equal(offered(shell, "lint", ""), set(re.findall(
        r"^  ([\w-]+)  ", said("lint"), re.M)), "lint")
    tap.equal(offered(shell, "report", ""), set(re.findall(
        r"smtpd-out report (\w+)", said("report"))), "report")


@each("protocols of check --starttls")
def _(shell):
    known = tap.match(r"there are ([^)]*)\)", said(
        "check", "--starttls", "gopher", "a.test"), "protocols")[1]
    tap.equal(offered(shell, "check", "--starttls", ""),
              set(known.split()), "protocols")


@each("files and values")
def _(shell):
    mark = "file" if shell == "zsh" else os.path.basename(FILES["bash"])
    os.chdir(os.path.dirname(os.path.abspath(FILES["bash"])))
    try:
        for words in (("run", "-c"), ("report", "html", "-o"),
                      ("lint", "config"), ("report", "read"),
                      ("check", "--from")):
            tap.true(mark in offered(shell, *words, ""), words)
    finally:
        os.chdir(here)
    tap.equal(offered(shell, "submit", "-N", ""), {"never", "success",
              "failure", "delay"}, "notices")
    tap.equal(offered(shell, "submit", "-f", ""), set(), "sender")


here = os.getcwd()
FILES = {shell: os.path.abspath(path) for shell, path in FILES.items()}
t.run()
