# Completion of smtpd-out(8) for bash.
# tests/lint/completion.py compares the words with those of the program.

# The words after the command that are no options and no values of them.
_smtpd_out_plain()
{
	local i
	plain=()
	for ((i = 2; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-c | -o | -f | -F | -r | -N | -R | -V | --config | --from | \
		--day | --destination | --domain | --mx | --older | --pkix | \
		--rcpt | --sender | --socket | --starttls)
			i=$((i + 1))
			;;
		-*) ;;
		*)
			plain+=("${COMP_WORDS[i]}")
			;;
		esac
	done
}

_smtpd_out_words()
{
	mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

_smtpd_out_files()
{
	compopt -o filenames 2>/dev/null
	mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}

# The value of the option before; false when that takes none.
_smtpd_out_value()
{
	case $cmd:${COMP_WORDS[COMP_CWORD - 1]} in
	*:-c | *:--config | *:--from | *:--socket | report:-o)
		_smtpd_out_files
		;;
	check:--starttls)
		_smtpd_out_words "smtp submission lmtp imap pop3 nntp \
			xmpp-client xmpp-server postgres none"
		;;
	check:--mx | check:--pkix)
		mapfile -t COMPREPLY < <(compgen -A hostname -- "$cur")
		;;
	submit:-N)
		_smtpd_out_words "never success failure delay"
		;;
	submit:-R)
		_smtpd_out_words "full hdrs"
		;;
	submit:-[fFrV] | queue:--destination | queue:--sender | \
	queue:--rcpt | queue:--older | report:--day | report:--domain)
		;;
	*)
		return 1
		;;
	esac
}

_smtpd_out_options()
{
	case $cmd:${plain[0]-} in
	run:*) echo "-c -n --config --check-config" ;;
	submit:*) echo "-bi -bp -bs -c -F -f -i -N -R -r -t -V --config
		--require-tls --socket" ;;
	queue:*) echo "-c --all --config --destination --held --json --older
		--rcpt --sender" ;;
	check:*) echo "-c -v --auth --dane --dns --from --json --mx --no-connect
		--pkix --starttls --verbose" ;;
	lint:*) echo "--json" ;;
	report:list) echo "-c --config --day --domain --json" ;;
	report:show) echo "-c --config --day --json" ;;
	report:send) echo "-c --config --domain --json --now" ;;
	report:read) echo "--json" ;;
	report:html) echo "-c -o" ;;
	esac
}

_smtpd_out_queue()
{
	case ${#plain[@]}:${plain[0]-} in
	0:*) _smtpd_out_words "list show cat flush hold release remove demand
		stats pause resume limit limits tls policies" ;;
	1:tls) _smtpd_out_words "list forget" ;;
	1:policies) _smtpd_out_words "list show refresh forget" ;;
	*:demand) _smtpd_out_words "require none default" ;;
	1:limit) _smtpd_out_words "host" ;;
	*:limit) compopt -o nospace 2>/dev/null
		_smtpd_out_words "connections= recipients= rate=" ;;
	esac
}

_smtpd_out()
{
	local cur=${COMP_WORDS[COMP_CWORD]} cmd=${COMP_WORDS[1]-}
	local -a plain

	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		case $cur in
		-*) _smtpd_out_words "--help --version" ;;
		*) _smtpd_out_words "run submit queue check lint report" ;;
		esac
		return
	fi
	_smtpd_out_value && return
	_smtpd_out_plain
	case $cmd:$cur in
	*:-*)
		_smtpd_out_words "--help $(_smtpd_out_options)"
		;;
	queue:*)
		_smtpd_out_queue
		;;
	check:*)
		mapfile -t COMPREPLY < <(compgen -A hostname -- "$cur")
		;;
	lint:*)
		case ${plain[0]-} in
		'') _smtpd_out_words "sts-policy sts-record sts-match
			tlsrpt-record tlsa address config" ;;
		sts-policy | config) _smtpd_out_files ;;
		esac
		;;
	report:*)
		case ${plain[0]-} in
		'') _smtpd_out_words "list show send read html" ;;
		read | html) _smtpd_out_files ;;
		esac
		;;
	esac
}

complete -F _smtpd_out smtpd-out
