#!/bin/sh
# Text: spelling, manual pages, white space, line length.
cd "${top_srcdir:-.}" || exit 1
n=0

# result NAME FAULTS: judges by whether there are any
result() {
	n=$((n + 1))
	if [ -z "$2" ]; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1"
		printf '%s\n' "$2" | head -50 | sed 's/^/# /'
	fi
}

skip() {
	n=$((n + 1))
	echo "ok $n - $1 # SKIP needs $2"
}

code=$(ls base/*.[ch] resolver/*.[ch] policy/*.[ch] spool/*.[ch] \
	smtpd-out/*.[ch] smtpd-out/*/*.[ch] tests/*/*.[ch] 2>/dev/null)
scripts=$(ls demo check autogen.sh tests/lib/install tests/lib/*.py \
	tests/e2e/run tests/e2e/*.py tests/lint/*.sh tests/bench/*.py \
	2>/dev/null)
prose=$(ls ./*.md etc/* 2>/dev/null)
# The lists are split into words on purpose.
# shellcheck disable=SC2086
set_of() {
	printf '%s\n' $code $scripts
}

# Lines over 80 columns, but for tables that clang-format is told to leave.
# shellcheck disable=SC2086
long_lines() {
	for f in $code; do
		expand -t 8 "$f" | awk -v f="$f" '
			/clang-format off/ { table = 1 }
			/clang-format on/ { table = 0 }
			!table && length($0) > 80 {
				print f ":" NR ": " length($0) " columns"
			}'
	done
}

ends() {
	for f in $(set_of); do
		[ -z "$(tail -c 1 "$f")" ] || echo "$f"
	done
}

parses() {
	for f in $scripts; do
		case $(head -n 1 "$f") in
		'#!/bin/sh'*) sh -n "$f" 2>&1 ;;
		'#!/usr/bin/python3'*)
			/usr/bin/python3 -c 'import ast, sys
ast.parse(open(sys.argv[1]).read(), sys.argv[1])' "$f" 2>&1 ;;
		esac
	done
}

# Manual pages that are not installed, or that smtpd-out(8) does not name.
lost_pages() {
	for page in etc/*.[1-9]; do
		name=$(basename "${page%.?}")
		grep -qF "	$page" etc/Makefile.inc ||
			echo "$page: not in etc/Makefile.inc"
		[ "$page" = etc/smtpd-out.8 ] ||
			grep -q "^\.Xr $name ${page##*.}" etc/smtpd-out.8 ||
			echo "$page: not in smtpd-out(8)"
	done
	for command in check lint queue report submit; do
		[ -e "etc/smtpd-out-$command.1" ] ||
			echo "etc/smtpd-out-$command.1: not there"
	done
}

if command -v codespell >/dev/null; then
	# shellcheck disable=SC2086
	result spelling "$(codespell -q 3 -L "$(paste -sd, tests/lint/words)" \
		$code $scripts $prose 2>&1)"
else
	skip spelling codespell
fi
for page in etc/*.[1-9]; do
	[ -e "$page" ] || continue
	if command -v mandoc >/dev/null; then
		result "manual page $page" \
			"$(mandoc -Tlint -Wwarning "$page" 2>&1)"
	else
		skip "manual page $page" mandoc
	fi
done
result 'all manual pages can be found' "$(lost_pages)"
# shellcheck disable=SC2046
result 'no space at line ends' "$(grep -nE '[[:space:]]+$' $(set_of) \
	/dev/null)"
result 'C lines of at most 80 columns' "$(long_lines)"
result 'files end with a newline' "$(ends)"
# shellcheck disable=SC2086
result 'C is indented with tabs' "$(grep -nE '^ {8}' $code /dev/null)"
result 'scripts parse' "$(parses)"
echo "1..$n"
