#!/bin/sh
# "smtpd-out report read" on files of all kinds.
[ -x /usr/bin/python3 ] || { echo '1..0 # SKIP needs python3'; exit 0; }
SMTPD_OUT=${top_builddir:-.}/smtpd-out/smtpd-out exec /usr/bin/python3 -B \
	"${top_srcdir:-.}/tests/report/read.py"
