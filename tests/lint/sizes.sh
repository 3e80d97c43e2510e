#!/bin/sh
# Hard limits of size; the aims in CONTRIBUTING.md are lower.
# Functions 80 lines, C files 700 (tests 1200), headers 250.
cd "${top_srcdir:-.}" || exit 1

if ! ctags --version 2>/dev/null | grep -q Universal; then
	echo '1..0 # SKIP needs universal-ctags'
	exit 0
fi

files=$(ls base/*.[ch] resolver/*.[ch] policy/*.[ch] spool/*.[ch] \
	smtpd-out/*.[ch] smtpd-out/*/*.[ch] tests/*/*.[ch] 2>/dev/null)

# shellcheck disable=SC2086
ctags -o - --languages=C --langmap=C:+.h --c-kinds=f --fields=+ne $files |
awk -F'\t' '
	!/^!/ {
		start = stop = 0
		for (i = 4; i <= NF; i++) {
			if ($i ~ /^line:/)
				start = substr($i, 6)
			if ($i ~ /^end:/)
				stop = substr($i, 5)
		}
		if (stop - start + 1 > 80)
			print "# " $2 ": " $1 "() has " stop - start + 1 \
				" lines"
	}' >"${TMPDIR:-/tmp}/sizes.$$"
# shellcheck disable=SC2086
wc -l $files | awk '
	$2 == "total" { next }
	$2 ~ /\.h$/ && $1 > 250 { print "# " $2 " has " $1 " lines" }
	$2 ~ /\.c$/ && $1 > ($2 ~ /^tests/ ? 1200 : 700) {
		 print "# " $2 " has " $1 " lines" }
	' >"${TMPDIR:-/tmp}/sizes2.$$"

report() {
	if [ -s "$3" ]; then
		echo "not ok $1 - $2"
		cat "$3"
	else
		echo "ok $1 - $2"
	fi
	rm -f "$3"
}
echo 1..2
report 1 'functions of at most 80 lines' "${TMPDIR:-/tmp}/sizes.$$"
report 2 'files of at most 700 lines (tests 1200), headers 250' \
	"${TMPDIR:-/tmp}/sizes2.$$"
