#!/bin/sh
# Help that was asked for goes to standard output and ends well; what makes no
# sense ends with 64, on standard error alone.  Both fit 80 columns.
program=${top_builddir:-.}/smtpd-out/smtpd-out
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
n=0

ok() {
	n=$((n + 1))
	echo "ok $n - $1"
}

not_ok() {
	n=$((n + 1))
	echo "not ok $n - $1"
	sed 's/^/# /' "$tmp/out" "$tmp/err"
}

# judge NAME STATUS SAID SILENT COMMAND...
judge() {
	name=$1 status=$2 said=$3 silent=$4
	shift 4
	timeout 10 "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
	if [ $? -eq "$status" ] && [ -s "$tmp/$said" ] &&
	    [ ! -s "$tmp/$silent" ] &&
	    ! awk 'length > 80 { exit 0 } END { exit 1 }' "$tmp/$said"; then
		ok "$name"
	else
		not_ok "$name"
	fi
}

ln -s "$(cd "$(dirname "$program")" && pwd)/smtpd-out" "$tmp/sendmail"
ln -s sendmail "$tmp/mailq"

judge "--help" 0 out err "$program" --help
judge "nothing" 64 err out "$program"
judge "no command" 64 err out "$program" nothing
for words in run submit queue "queue list" "queue limit" check \
    "check --starttls imap a.test" lint "lint tlsa" report "report list" \
    "report html"; do
	# shellcheck disable=SC2086
	judge "$words --help" 0 out err "$program" $words --help
	# shellcheck disable=SC2086
	judge "$words --nothing" 64 err out "$program" $words --nothing
done
for self in sendmail mailq; do
	judge "$self --help" 0 out err "$tmp/$self" --help
	judge "$self --nothing" 64 err out "$tmp/$self" --nothing
done
for words in "queue nothing" "queue show nothing" "queue hold" \
    "queue list --older nothing" "queue list --destination a..b" \
    "queue demand --all" "queue limit a.test" "lint nothing" \
    "report nothing" "run nothing" "check" "check --dns a.test"; do
	# shellcheck disable=SC2086
	judge "$words" 64 err out "$program" $words
done
echo "1..$n"
