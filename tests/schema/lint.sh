#!/bin/sh
# What "smtpd-out lint --json" prints, by its schema.
[ -x /usr/bin/python3 ] || { echo '1..0 # SKIP needs python3'; exit 0; }
SMTPD_OUT=${top_builddir:-.}/smtpd-out/smtpd-out exec /usr/bin/python3 -B \
	"${top_srcdir:-.}/tests/schema/lint.py"
