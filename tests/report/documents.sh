#!/bin/sh
# Documents, mail and signatures as others read them.
tool=${top_builddir:-.}/tests/lib/report_tool
[ -x /usr/bin/python3 ] || { echo '1..0 # SKIP needs python3'; exit 0; }
REPORT_TOOL=$tool exec /usr/bin/python3 -B \
	"${top_srcdir:-.}/tests/report/documents.py"
