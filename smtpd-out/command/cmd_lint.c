/*
 * The lint command: its arguments, and the files it reads.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/log.h"
#include "base/mem.h"
#include "policy/sts.h"
#include "smtpd-out/command/cmd_lint.h"
#include "smtpd-out/lint/lint.h"

/* ---- files ---- */

/* All of it, or a byte more than max_bytes so that the parser says so. */
static enum status
read_fd(int fd, size_t max_bytes, char **text_out, size_t *len_out)
{
	char *text = xmalloc(max_bytes + 2);
	size_t len = 0;
	ssize_t got = 1;

	while (got > 0 && len <= max_bytes) {
		got = read(fd, text + len, max_bytes + 1 - len);
		if (got < 0 && errno == EINTR)
			got = 1;
		else if (got > 0)
			len += (size_t)got;
	}
	if (got < 0) {
		free(text);
		return ST_SYS;
	}
	text[len] = '\0';
	*text_out = text;
	*len_out = len;
	return ST_OK;
}

/* "-" is standard input. */
static enum status
read_file(const char *path, size_t max_bytes, char **text_out, size_t *len_out)
{
	bool input = strcmp(path, "-") == 0;
	int fd = input ? STDIN_FILENO :
		open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	enum status st = fd < 0 ? ST_SYS :
		read_fd(fd, max_bytes, text_out, len_out);

	if (st != ST_OK)
		(void)fprintf(stderr, "smtpd-out: %s: %s\n", path,
			strerror(errno));
	if (fd >= 0 && !input)
		(void)close(fd);
	return st;
}

/* ---- what is judged ---- */

static int
run_sts_policy(struct lint *l, char *const *args, size_t count)
{
	char *text;
	size_t len;

	(void)count;
	if (read_file(args[0], STS_POLICY_MAX, &text, &len) != ST_OK)
		return EX_NOINPUT;
	lint_sts_policy(l, (const uint8_t *)text, len);
	free(text);
	return EX_OK;
}

static int
run_config(struct lint *l, char *const *args, size_t count)
{
	const char *name = strcmp(args[0], "-") == 0 ? "input" : args[0];
	char *text;
	size_t len;

	(void)count;
	if (read_file(args[0], CONF_FILE_MAX, &text, &len) != ST_OK)
		return EX_NOINPUT;
	if (len > CONF_FILE_MAX || strlen(text) != len)
		lint_error(l, "%s: larger than %d bytes or not text "
			"(smtpd-out.conf(5))", name, CONF_FILE_MAX);
	else
		lint_config(l, name, text);
	free(text);
	return EX_OK;
}

static int
run_sts_record(struct lint *l, char *const *args, size_t count)
{
	lint_sts_record(l, args, count);
	return EX_OK;
}

static int
run_tlsrpt_record(struct lint *l, char *const *args, size_t count)
{
	lint_tlsrpt_record(l, args, count);
	return EX_OK;
}

static int
run_tlsa(struct lint *l, char *const *args, size_t count)
{
	lint_tlsa(l, args, count);
	return EX_OK;
}

static int
run_sts_match(struct lint *l, char *const *args, size_t count)
{
	(void)count;
	lint_sts_match(l, args[0], args[1]);
	return EX_OK;
}

static int
run_address(struct lint *l, char *const *args, size_t count)
{
	(void)count;
	lint_address(l, args[0]);
	return EX_OK;
}

static const struct {
	const char *name;
	const char *args;
	size_t min, max;
	int (*run)(struct lint *, char *const *args, size_t count);
} kinds[] = {
	{ "sts-policy", "FILE", 1, 1, run_sts_policy },
	{ "sts-record", "TXT ...", 1, 100, run_sts_record },
	{ "sts-match", "PATTERN HOST", 2, 2, run_sts_match },
	{ "tlsrpt-record", "TXT ...", 1, 100, run_tlsrpt_record },
	{ "tlsa", "RDATA ...", 1, 1000, run_tlsa },
	{ "address", "ADDRESS", 1, 1, run_address },
	{ "config", "FILE", 1, 1, run_config },
};

void
cmd_lint_usage(FILE *to)
{
	(void)fprintf(to,
		"usage: smtpd-out lint [--json] WHAT ARGUMENT ...\n\n");
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		(void)fprintf(to, "  %-14s %s\n", kinds[i].name,
			kinds[i].args);
	(void)fprintf(to, "\nA FILE may be \"-\", standard input.  "
		"smtpd-out-lint(1) tells more.\n");
}

static int
usage(void)
{
	cmd_lint_usage(stderr);
	return EX_USAGE;
}

static int
run(size_t kind, char *const *args, size_t count, bool json)
{
	struct lint lint;
	int code;

	lint_init(&lint);
	code = kinds[kind].run(&lint, args, count);
	if (code == EX_OK) {
		if (json)
			lint_print_json(&lint, stdout);
		else
			lint_print(&lint, stdout);
		code = lint_valid(&lint) ? EX_OK : EX_DATAERR;
	}
	lint_clear(&lint);
	if (fflush(stdout) != 0)
		return EX_IOERR;
	return code;
}

int
cmd_lint(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 }
	};
	bool json = false;
	size_t count;
	int opt;

	log_init("lint", LOG_TO_STDERR, LOG_LEVEL_ERROR);
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt != 'j')
			return usage();
		json = true;
	}
	if (optind >= argc)
		return usage();
	count = (size_t)(argc - optind - 1);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(argv[optind], kinds[i].name) != 0)
			continue;
		if (count < kinds[i].min || count > kinds[i].max)
			return usage();
		return run(i, argv + optind + 1, count, json);
	}
	return usage();
}
