/*
 * The command table: by first argument, or by the name the program was called
 * by (sendmail, mailq).
 */
#include "config.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "smtpd-out/command/cmd_check.h"
#include "smtpd-out/command/cmd_lint.h"
#include "smtpd-out/command/cmd_queue.h"
#include "smtpd-out/command/cmd_report.h"
#include "smtpd-out/command/cmd_run.h"
#include "smtpd-out/command/cmd_submit.h"

struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	void (*usage)(FILE *);		/* NULL: not for people */
	const char *help;
};

static const struct command commands[] = {
	{ "run", cmd_run, cmd_run_usage, "the daemon, in the foreground" },
	{ "submit", cmd_submit, cmd_submit_usage,
	    "submit a message, as sendmail does" },
	{ "queue", cmd_queue, cmd_queue_usage,
	    "look at the queue and change it" },
	{ "check", cmd_check, cmd_check_usage,
	    "explain what becomes of mail to a domain" },
	{ "lint", cmd_lint, cmd_lint_usage,
	    "judge what is about to be published" },
	{ "report", cmd_report, cmd_report_usage, "show reports on TLS" },
	{ "--role", cmd_role, NULL, NULL },
};

static const struct command by_name[] = {
	{ "sendmail", cmd_submit, cmd_submit_usage, NULL },
	{ "mailq", cmd_mailq, cmd_queue_usage, NULL },
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static int
usage(FILE *to, int status)
{
	(void)fprintf(to, "usage: smtpd-out COMMAND [ARGUMENT ...]\n\n");
	for (size_t i = 0; i < COUNT(commands); i++)
		if (commands[i].usage != NULL)
			(void)fprintf(to, "  %-8s %s\n", commands[i].name,
				commands[i].help);
	(void)fprintf(to, "\nsmtpd-out(8) tells more.\n");
	return status;
}

/* Where no value of an option can stand: before "--". */
static bool
asks_for_help(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--help") == 0)
			return true;
	return false;
}

static int
run(const struct command *c, int argc, char **argv)
{
	if (c->usage == NULL || !asks_for_help(argc, argv))
		return c->run(argc, argv);
	c->usage(stdout);
	return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}

/* What getopt(3) says begins with the name of the command. */
static int
run_named(const struct command *c, int argc, char **argv)
{
	char name[32];

	(void)snprintf(name, sizeof(name), "smtpd-out %s", c->name);
	argv[0] = name;
	return run(c, argc, argv);
}

int
main(int argc, char **argv)
{
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	const char *self = argc < 1 ? "" : slash != NULL ? slash + 1 : argv[0];

	for (size_t i = 0; i < COUNT(by_name); i++)
		if (strcmp(self, by_name[i].name) == 0)
			return run(&by_name[i], argc, argv);
	if (argc < 2)
		return usage(stderr, EX_USAGE);
	if (strcmp(argv[1], "--version") == 0) {
		(void)printf("%s\n", PACKAGE_STRING);
		return EX_OK;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0)
		return usage(stdout, EX_OK);
	for (size_t i = 0; i < COUNT(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return run_named(&commands[i], argc - 1, argv + 1);
	(void)fprintf(stderr, "smtpd-out: unknown command \"%s\"\n", argv[1]);
	return usage(stderr, EX_USAGE);
}
