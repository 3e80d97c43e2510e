#!/bin/sh
# Who may include what: folders in a strict order, third-party headers in
# their folders only.  One TAP line per source file.
cd "${top_srcdir:-.}" || exit 1

# FOLDER: folders whose headers it may include, beside its own.
folders='
base:
resolver: base
policy: base resolver
spool: base
smtpd-out/ipc: base policy
smtpd-out/client: base policy
smtpd-out/worker: base resolver policy smtpd-out/ipc smtpd-out/client
smtpd-out/mail: base policy
smtpd-out/queue: base policy spool smtpd-out/ipc smtpd-out/mail
smtpd-out/parent: base resolver policy spool smtpd-out/ipc smtpd-out/mail smtpd-out/queue
smtpd-out/inject: base smtpd-out/ipc smtpd-out/client
smtpd-out/check: base resolver policy smtpd-out/ipc smtpd-out/client smtpd-out/worker smtpd-out/queue
smtpd-out/starttls: base resolver policy smtpd-out/client smtpd-out/check
smtpd-out/lint: base resolver policy
smtpd-out/report: base policy smtpd-out/mail
smtpd-out/command: base resolver policy smtpd-out/mail smtpd-out/queue smtpd-out/parent smtpd-out/worker smtpd-out/inject smtpd-out/check smtpd-out/starttls smtpd-out/lint smtpd-out/report
smtpd-out: base smtpd-out/command
'
# HEADER PREFIX: files (shell patterns) that may include it.
headers='
ares.h: resolver/*
cmocka.h:
confuse.h: base/conf*
curl/: policy/*
event2/: resolver/* policy/* smtpd-out/*
idn2.h: base/str*
jansson.h: policy/* smtpd-out/*
ldns/: resolver/*
opendkim/: smtpd-out/mail/dkim*
openssl/: resolver/* policy/https_tls* smtpd-out/client/* smtpd-out/inject/inject_tls*
seccomp.h: base/sandbox*
sqlite3.h: spool/*
unbound.h:
zlib.h: policy/*
'

# Prints what file $1 does wrong.
judge() {
	dir=${1%/*}
	ok=" $dir $(printf '%s' "$folders" | sed -n "s|^$dir:||p") "
	sed -n 's/^[ \t]*#[ \t]*include[ \t]*\([<"][^>"]*\).*/\1/p' "$1" |
	while read -r inc; do
		name=${inc#?}
		case $inc in
		'"config.h')
			;;
		'"'*/*)
			case $ok in
			*" ${name%/*} "*) ;;
			*) echo "$dir may not include \"$name\"" ;;
			esac
			[ -e "$name" ] || echo "\"$name\" does not exist"
			;;
		'"'*)
			echo "\"$name\": say the folder"
			;;
		*)
			third "$1" "$name"
			;;
		esac
	done
}

third() {
	printf '%s' "$headers" | while IFS=: read -r prefix where; do
		[ -n "$prefix" ] || continue
		case $2 in
		"$prefix"*) ;;
		*) continue ;;
		esac
		set -f
		for pattern in $where; do
			# shellcheck disable=SC2254
			case $1 in
			$pattern) continue 2 ;;
			esac
		done
		set +f
		echo "<$2> does not belong here"
	done
}

n=0
for f in base/*.[ch] resolver/*.[ch] policy/*.[ch] spool/*.[ch] \
	smtpd-out/*.[ch] smtpd-out/*/*.[ch]; do
	[ -e "$f" ] || continue
	n=$((n + 1))
	bad=$(judge "$f")
	if [ -z "$bad" ]; then
		echo "ok $n - includes of $f"
	else
		echo "not ok $n - includes of $f"
		printf '%s\n' "$bad" | sed 's/^/# /'
	fi
done
echo "1..$n"
