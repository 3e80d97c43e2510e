/*
 * The check command's arguments, and the domains that come on standard input.
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rlimits.h"
#include "base/str.h"
#include "resolver/resolver.h"
#include "smtpd-out/check/check_dns.h"
#include "smtpd-out/check/check_many.h"
#include "smtpd-out/command/cmd_check.h"
#include "smtpd-out/command/cmd_starttls.h"

#define NAMES_MAX 1000000	/* of one run */

struct check_args {
	const char *conf_path;		/* NULL: the default one, if any */
	const char *mx;
	bool auth, dns, json, no_connect;
	unsigned verbose;
	bool input;			/* names from standard input */
	struct starttls_args starttls;
};

struct names {
	char **names, **texts;		/* names: NULL for what is none */
	size_t count;
};

void
cmd_check_usage(FILE *to)
{
	(void)fprintf(to,
		"usage: smtpd-out check [OPTIONS] DOMAIN|ADDRESS ... | -\n"
		"       smtpd-out check [OPTIONS] --dns NAME TYPE\n"
		"       smtpd-out check [OPTIONS] --starttls PROTOCOL "
		"HOST[:PORT]\n\n"
		"  --auth            also try the password of a relay\n"
		"  -c, --from FILE   this configuration\n"
		"  --dane            with --starttls: demand that TLSA "
		"records fit\n"
		"  --json            one object for each domain\n"
		"  --mx HOST         this one of its mail hosts alone\n"
		"  --no-connect      DNS and policies, without live tests\n"
		"  --pkix NAME       with --starttls: demand a certificate "
		"for NAME\n"
		"  -v                more; twice: the dialogue, too\n\n"
		"smtpd-out-check(1) tells more.\n");
}

static int
usage(void)
{
	cmd_check_usage(stderr);
	return EX_USAGE;
}

/* Without a configuration the defaults do. */
static struct conf *
conf_load(const char *path)
{
	const char *from = path == NULL ? CONF_DEFAULT_FILE : path;
	char err[CONF_ERR_MAX] = "";
	char *text = NULL;
	struct conf *conf = NULL;
	enum status st = conf_read(from, &text, err);

	if (st != ST_OK && path == NULL) {
		if (errno == EACCES)
			(void)fprintf(stderr, "smtpd-out: %s (going on with "
				"the defaults)\n", err);
		from = "defaults";
		text = xstrdup("");
		st = ST_OK;
	}
	if (st == ST_OK)
		st = conf_parse(from, text, &conf, err);
	if (st != ST_OK)
		(void)fprintf(stderr, "smtpd-out: %s\n", err);
	mem_free(&text);
	return conf;
}

static int
run_dns(const struct check_args *args, const char *name_text,
	const char *type_text)
{
	char name[STR_DOMAIN_MAX];
	struct conf *conf;
	uint16_t type;
	int code;

	if (strcmp(name_text, ".") == 0)
		name[0] = '\0';
	else if (str_domain(name_text, name) != ST_OK) {
		(void)fprintf(stderr, "smtpd-out: not a domain name: %s\n",
			name_text);
		return EX_DATAERR;
	}
	if (dns_type_parse(type_text, &type) != ST_OK) {
		(void)fprintf(stderr, "smtpd-out: not a record type: %s\n",
			type_text);
		return EX_DATAERR;
	}
	conf = conf_load(args->conf_path);
	if (conf == NULL)
		return EX_CONFIG;
	code = check_dns(&conf->resolver, name, type, args->json);
	conf_free(&conf);
	return code;
}

/* ---- domains ---- */

/* "user@example.org" or "example.org", or either with a literal; NULL for
 * anything else. */
static char *
domain_of(const char *text)
{
	char domain[STR_DOMAIN_MAX], address[STR_DOMAIN_MAX + 8];
	size_t local_len;
	bool utf8;

	if (strchr(text, '@') != NULL)
		return str_address(text, &local_len, domain, &utf8) == ST_OK ?
			xstrdup(domain) : NULL;
	if (str_domain(text, domain) == ST_OK)
		return xstrdup(domain);
	(void)snprintf(address, sizeof(address), "x@%s", text);
	return text[0] == '[' && str_address(address, &local_len, domain,
		&utf8) == ST_OK ? xstrdup(domain) : NULL;
}

static void
add_name(struct names *n, const char *text)
{
	if (n->count == NAMES_MAX)
		return;
	if ((n->count & (n->count + 1)) == 0 || n->count == 0) {
		n->names = xrealloc_n(n->names, 2 * n->count + 2,
			sizeof(n->names[0]));
		n->texts = xrealloc_n(n->texts, 2 * n->count + 2,
			sizeof(n->texts[0]));
	}
	n->names[n->count] = domain_of(text);
	n->texts[n->count++] = xstrdup(text);
}

static void
free_names(struct names *n)
{
	for (size_t i = 0; i < n->count; i++) {
		free(n->names[i]);
		free(n->texts[i]);
	}
	free(n->names);
	free(n->texts);
}

/* A name on each line; empty ones and comments are left out. */
static void
read_names(FILE *from, struct names *n)
{
	char *line = NULL;
	size_t size = 0;
	ssize_t len;

	while ((len = getline(&line, &size, from)) > 0) {
		char *text = line + strspn(line, " \t");

		text[strcspn(text, " \t\r\n")] = '\0';
		if (text[0] != '\0' && text[0] != '#')
			add_name(n, text);
	}
	free(line);
}

static bool
colours(void)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && (no == NULL || no[0] == '\0') &&
		(term == NULL || strcmp(term, "dumb") != 0);
}

#define WIDTH_MIN 60		/* narrower is not worth it */

/* Of the terminal; 0: it is none. */
static size_t
width(void)
{
	struct winsize size = { .ws_col = 0 };

	if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ,
	    &size) != 0 || size.ws_col == 0)
		return 0;
	return size.ws_col < WIDTH_MIN ? WIDTH_MIN : size.ws_col;
}

static int
check_names(const struct check_args *args, const struct conf *conf,
	const struct names *n)
{
	const struct check_output output = {
		.json = args->json,
		.progress = n->count > 1 && isatty(STDERR_FILENO),
		.style = { .colour = colours(), .width = width(),
			.verbose = args->verbose > 0 },
	};
	struct check_options options = { .connect = !args->no_connect,
		.auth = args->auth };
	char mx[STR_DOMAIN_MAX], err[CONF_ERR_MAX] = "";
	struct check_env *env;
	int code;

	if (args->mx != NULL && str_domain(args->mx, mx) != ST_OK) {
		(void)fprintf(stderr, "smtpd-out: not a host: %s\n",
			args->mx);
		return EX_DATAERR;
	}
	options.only_mx = args->mx == NULL ? NULL : mx;
	env = check_env_new(conf, &options, err);
	if (env == NULL) {
		(void)fprintf(stderr, "smtpd-out: %s\n", err);
		return EX_CONFIG;
	}
	code = check_many(env, n->names, n->texts, n->count, &output);
	check_env_free(&env);
	return code;
}

static int
run_domains(struct check_args *args, char **argv, int argc)
{
	struct names names = { NULL, NULL, 0 };
	struct conf *conf;
	int code = EX_DATAERR;

	if (argc == 0 || (argc == 1 && strcmp(argv[0], "-") == 0)) {
		if (argc == 0 && isatty(STDIN_FILENO))
			return usage();
		args->input = true;
		read_names(stdin, &names);
		/* Rather a name that was forgotten, than none to look at. */
		if (argc == 0 && names.count == 0)
			return usage();
	}
	for (int i = 0; i < argc && !args->input; i++)
		add_name(&names, argv[i]);
	if (names.count == 1 && names.names[0] == NULL && !args->input) {
		(void)fprintf(stderr, "smtpd-out: not a domain or address: "
			"%s\n", argv[0]);
		free_names(&names);
		return code;
	}
	conf = conf_load(args->conf_path);
	/* Many hosts of many domains are looked at at a time. */
	(void)rlimits_raise();
	code = conf == NULL ? EX_CONFIG : check_names(args, conf, &names);
	conf_free(&conf);
	free_names(&names);
	return code;
}

/* ---- other services ---- */

static int
run_starttls(const struct check_args *args, char **argv, int argc)
{
	const struct check_style style = { .colour = colours(),
		.width = width(), .verbose = args->verbose > 0 };
	struct conf *conf;
	int code;

	if (argc != 1)
		return usage();
	code = cmd_starttls_check(&args->starttls, argv[0]);
	if (code >= 0)
		return code;
	conf = conf_load(args->conf_path);
	code = conf == NULL ? EX_CONFIG : cmd_starttls(conf, &args->starttls,
		argv[0], args->json, &style);
	conf_free(&conf);
	return code;
}

/* ---- options ---- */

static bool
take_option(struct check_args *args, int opt)
{
	switch (opt) {
	case 'a':
		args->auth = true;
		break;
	case 'c':
		args->conf_path = optarg;
		break;
	case 'd':
		args->dns = true;
		break;
	case 'j':
		args->json = true;
		break;
	case 'm':
		args->mx = optarg;
		break;
	case 'n':
		args->no_connect = true;
		break;
	case 'p':
		args->starttls.pkix = optarg;
		break;
	case 's':
		args->starttls.protocol = optarg;
		break;
	case 't':
		args->starttls.dane = true;
		break;
	case 'v':
		args->verbose++;
		break;
	default:
		return false;
	}
	return true;
}

int
cmd_check(int argc, char **argv)
{
	static const struct option options[] = {
		{ "auth", no_argument, NULL, 'a' },
		{ "dane", no_argument, NULL, 't' },
		{ "dns", no_argument, NULL, 'd' },
		{ "from", required_argument, NULL, 'c' },
		{ "json", no_argument, NULL, 'j' },
		{ "mx", required_argument, NULL, 'm' },
		{ "no-connect", no_argument, NULL, 'n' },
		{ "pkix", required_argument, NULL, 'p' },
		{ "starttls", required_argument, NULL, 's' },
		{ "verbose", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 }
	};
	struct check_args args = { .conf_path = NULL };
	int opt;

	while ((opt = getopt_long(argc, argv, "c:v", options, NULL)) != -1)
		if (!take_option(&args, opt))
			return usage();
	log_init("check", LOG_TO_STDERR, args.verbose > 1 ? LOG_LEVEL_DEBUG :
		LOG_LEVEL_ERROR);
	(void)signal(SIGPIPE, SIG_IGN);
	argc -= optind;
	argv += optind;
	if (args.auth && (args.dns || args.no_connect ||
	    args.starttls.protocol != NULL))
		return usage();
	if (args.starttls.protocol != NULL)
		return run_starttls(&args, argv, argc);
	if (args.starttls.dane || args.starttls.pkix != NULL)
		return usage();
	if (!args.dns)
		return run_domains(&args, argv, argc);
	return argc == 2 ? run_dns(&args, argv[0], argv[1]) : usage();
}
