/*
 * The submit command: which socket, which mode.
 */
#include "config.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/conf.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/command/cmd_queue.h"
#include "smtpd-out/command/cmd_submit.h"
#include "smtpd-out/command/submit_args.h"
#include "smtpd-out/command/submit_send.h"

#define DEFAULT_SOCKET RUNSTATEDIR "/smtpd-out/submit"
#define PATH_BYTES 256

static const char *
without_scheme(const char *path)
{
	return strncmp(path, "unix:", 5) == 0 ? path + 5 : path;
}

static bool
first_unix(const struct conf *conf, char path[PATH_BYTES])
{
	for (size_t i = 0; i < conf->listen_count; i++) {
		const struct conf_listen *l = &conf->listens[i];

		if (l->addr.addr.ss_family == AF_UNIX &&
		    l->protocol == CONF_SMTP)
			return str_copy(path, PATH_BYTES,
				without_scheme(l->addr.text));
	}
	return false;
}

/*
 * --socket, or the first Unix listener of the configuration, or, because an
 * ordinary user may not be allowed to read that, where the service listens by
 * default.
 */
static int
find_socket(const struct submit_args *args, char path[PATH_BYTES])
{
	const char *file = args->conf_file == NULL ? CONF_DEFAULT_FILE :
		args->conf_file;
	char err[CONF_ERR_MAX] = "";
	struct conf *conf = NULL;
	char *text = NULL;
	bool found = false;

	if (args->socket != NULL)
		return str_copy(path, PATH_BYTES,
			without_scheme(args->socket)) ? EX_OK : EX_USAGE;
	if (conf_read(file, &text, err) == ST_OK &&
	    conf_parse(file, text, &conf, err) == ST_OK)
		found = first_unix(conf, path);
	conf_free(&conf);
	mem_free(&text);
	if (found)
		return EX_OK;
	if (args->conf_file != NULL) {
		(void)fprintf(stderr, "smtpd-out submit: %s\n", err[0] == '\0'
			? "no Unix socket in the configuration" : err);
		return EX_CONFIG;
	}
	(void)str_copy(path, PATH_BYTES, DEFAULT_SOCKET);
	return EX_OK;
}

static int
show_queue(const struct submit_args *args)
{
	char name[] = "queue", list[] = "list", option[] = "-c";
	char *conf_file = args->conf_file == NULL ? NULL :
		xstrdup(args->conf_file);
	char *plain[] = { name, list, NULL };
	char *with_conf[] = { name, list, option, conf_file, NULL };
	int code = conf_file == NULL ? cmd_queue(2, plain) :
		cmd_queue(4, with_conf);

	mem_free(&conf_file);
	return code;
}

void
cmd_submit_usage(FILE *to)
{
	(void)fprintf(to,
		"usage: smtpd-out submit [OPTIONS] [RECIPIENT ...]\n"
		"       smtpd-out submit -bs | -bp | -bi\n\n"
		"  -c, --config FILE  the configuration, for its socket\n"
		"  -F NAME            the full name, if From is missing\n"
		"  -f, -r SENDER      where notices go; <> for nobody\n"
		"  -i, -oi            a lone dot does not end the message\n"
		"  -N NOTIFY          never, or success,failure,delay\n"
		"  -R full|hdrs       what notices bring back\n"
		"  -t                 recipients also from the header\n"
		"  -V ENVID           an identifier for notices\n"
		"  --require-tls      TLS on the whole way (RFC 8689)\n"
		"  --socket PATH      submit there\n"
		"  -bs                SMTP on standard input and output\n"
		"  -bp                show the queue\n\n"
		"smtpd-out-submit(1) tells more.\n");
}

int
cmd_submit(int argc, char **argv)
{
	struct submit_args args;
	char err[SUBMIT_ERR_BYTES], path[PATH_BYTES];
	int code;

	(void)signal(SIGPIPE, SIG_IGN);
	if (!submit_args_parse(argc, argv, &args, err)) {
		(void)fprintf(stderr, "smtpd-out submit: %s\n", err);
		return EX_USAGE;
	}
	if (args.require_tls && args.mode == SUBMIT_SMTP) {
		(void)fprintf(stderr, "smtpd-out submit: --require-tls: with "
			"-bs, say REQUIRETLS in MAIL\n");
		return EX_USAGE;
	}
	if (args.mode == SUBMIT_QUEUE)
		return show_queue(&args);
	if (args.mode == SUBMIT_ALIASES)
		return EX_OK;
	code = find_socket(&args, path);
	if (code != EX_OK)
		return code;
	return args.mode == SUBMIT_SMTP ? submit_proxy(path) :
		submit_send(&args, path);
}
