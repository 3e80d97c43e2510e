#!/bin/sh
# Completion of the shells: in form, and with the words of the program.
[ -x /usr/bin/python3 ] || { echo '1..0 # SKIP needs python3'; exit 0; }
exec /usr/bin/python3 -B "${top_srcdir:-.}/tests/lint/completion.py"
