/*
 * The command line of a sendmail-compatible submit command.
 */
#ifndef SMTPD_OUT_SUBMIT_ARGS_H
#define SMTPD_OUT_SUBMIT_ARGS_H

#include <stdbool.h>
#include <stddef.h>

enum submit_mode {
	SUBMIT_SEND = 0,	/* a message from standard input */
	SUBMIT_SMTP,		/* -bs: SMTP on standard input and output */
	SUBMIT_QUEUE,		/* -bp: show the queue */
	SUBMIT_ALIASES		/* -bi: nothing to do here */
};

struct submit_args {		/* strings are borrowed from argv */
	enum submit_mode mode;
	bool rcpts_from_header;	/* -t */
	bool ignore_dots;	/* -i */
	bool require_tls;	/* --require-tls */
	const char *sender;	/* -f, -r; NULL: the user */
	const char *full_name;	/* -F; NULL: the user's */
	const char *notify;	/* -N */
	const char *ret;	/* -R */
	const char *envid;	/* -V, plain text */
	const char *conf_file;	/* -c; NULL: the default */
	const char *socket;	/* --socket */
	char **rcpts;		/* within argv */
	size_t rcpt_count;
};

#define SUBMIT_ERR_BYTES 256

/* False with a sentence in err when the command line is not understood.
 * Options that only tune other programs are accepted and ignored. */
bool submit_args_parse(int argc, char **argv, struct submit_args *out,
	char err[SUBMIT_ERR_BYTES]);

#endif
