/*
 * Options of sendmail(8) as callers use them: a value may be attached to its
 * letter or be the next word, and many options are history.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "smtpd-out/command/submit_args.h"

enum value_kind {
	VALUE_NONE = 0,
	VALUE_NEEDED,		/* attached, or the next word */
	VALUE_ATTACHED		/* attached or none */
};

typedef bool option_cb(struct submit_args *, const char *value);

static bool
ignored(struct submit_args *a, const char *value)
{
	(void)a;
	(void)value;
	return true;
}

static bool
opt_mode(struct submit_args *a, const char *value)
{
	static const struct {
		const char *letter;
		enum submit_mode mode;
	} modes[] = {
		{ "m", SUBMIT_SEND }, { "s", SUBMIT_SMTP },
		{ "p", SUBMIT_QUEUE }, { "i", SUBMIT_ALIASES },
	};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(value, modes[i].letter) == 0) {
			a->mode = modes[i].mode;
			return true;
		}
	return false;		/* -bd and others: not this program */
}

static bool
opt_from_header(struct submit_args *a, const char *value)
{
	(void)value;
	a->rcpts_from_header = true;
	return true;
}

static bool
opt_ignore_dots(struct submit_args *a, const char *value)
{
	(void)value;
	a->ignore_dots = true;
	return true;
}

/* -oX: X is an old option letter; only "i" means something here. */
static bool
opt_old(struct submit_args *a, const char *value)
{
	if (strcmp(value, "i") == 0)
		a->ignore_dots = true;
	return true;
}

static bool
opt_sender(struct submit_args *a, const char *value)
{
	a->sender = value;
	return true;
}

static bool
opt_full_name(struct submit_args *a, const char *value)
{
	a->full_name = value;
	return true;
}

static bool
opt_notify(struct submit_args *a, const char *value)
{
	a->notify = value;
	return true;
}

static bool
opt_ret(struct submit_args *a, const char *value)
{
	a->ret = value;
	return true;
}

static bool
opt_envid(struct submit_args *a, const char *value)
{
	a->envid = value;
	return true;
}

static bool
opt_conf(struct submit_args *a, const char *value)
{
	a->conf_file = value;
	return true;
}

static bool
opt_socket(struct submit_args *a, const char *value)
{
	a->socket = value;
	return true;
}

static bool
opt_require_tls(struct submit_args *a, const char *value)
{
	(void)value;
	a->require_tls = true;
	return true;
}

/* clang-format off */
static const struct letter_row {
	char letter;
	enum value_kind kind;
	option_cb *set;
} letters[] = {
	{ 'b', VALUE_NEEDED, opt_mode },
	{ 'c', VALUE_NEEDED, opt_conf },
	{ 'f', VALUE_NEEDED, opt_sender },
	{ 'F', VALUE_NEEDED, opt_full_name },
	{ 'i', VALUE_NONE, opt_ignore_dots },
	{ 'N', VALUE_NEEDED, opt_notify },
	{ 'o', VALUE_ATTACHED, opt_old },
	{ 'r', VALUE_NEEDED, opt_sender },
	{ 'R', VALUE_NEEDED, opt_ret },
	{ 't', VALUE_NONE, opt_from_header },
	{ 'V', VALUE_NEEDED, opt_envid },
	/* for other programs */
	{ 'A', VALUE_ATTACHED, ignored },	/* which configuration */
	{ 'B', VALUE_NEEDED, ignored },		/* body type: we look */
	{ 'C', VALUE_NEEDED, ignored },		/* sendmail.cf */
	{ 'D', VALUE_NEEDED, ignored },		/* log file */
	{ 'd', VALUE_ATTACHED, ignored },	/* debugging */
	{ 'e', VALUE_ATTACHED, ignored },	/* error mode */
	{ 'G', VALUE_NONE, ignored },		/* gateway submission */
	{ 'h', VALUE_NEEDED, ignored },		/* hop count: we look */
	{ 'I', VALUE_NONE, ignored },		/* newaliases */
	{ 'L', VALUE_NEEDED, ignored },		/* log tag */
	{ 'm', VALUE_NONE, ignored },		/* me too */
	{ 'n', VALUE_NONE, ignored },		/* no aliasing */
	{ 'O', VALUE_NEEDED, ignored },		/* option=value */
	{ 'p', VALUE_NEEDED, ignored },		/* protocol */
	{ 'q', VALUE_ATTACHED, ignored },	/* run the queue */
	{ 's', VALUE_NONE, ignored },
	{ 'U', VALUE_NONE, ignored },		/* initial submission */
	{ 'v', VALUE_NONE, ignored },		/* verbose */
	{ 'x', VALUE_NONE, ignored },
	{ 'X', VALUE_NEEDED, ignored },		/* traffic log */
};

static const struct word_row {
	const char *word;
	bool has_value;
	option_cb *set;
} words[] = {
	{ "config", true, opt_conf },
	{ "socket", true, opt_socket },
	{ "require-tls", false, opt_require_tls },
};
/* clang-format on */

struct args {
	char **argv;
	int argc, next;
	char *err;
};

static bool
complain(const struct args *in, const char *what)
{
	(void)snprintf(in->err, SUBMIT_ERR_BYTES, "%s: %s",
		in->argv[in->next - 1], what);
	return false;
}

static bool
take_word(struct args *in, const char *option, struct submit_args *out)
{
	size_t len = strcspn(option, "=");
	const char *value = option[len] == '=' ? option + len + 1 : NULL;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		const struct word_row *row = &words[i];

		if (strlen(row->word) != len ||
		    strncmp(row->word, option, len) != 0)
			continue;
		if (row->has_value && value == NULL) {
			if (in->next >= in->argc)
				return complain(in, "needs a value");
			value = in->argv[in->next++];
		} else if (!row->has_value && value != NULL) {
			return complain(in, "takes no value");
		}
		return row->set(out, value);
	}
	return complain(in, "unknown option");
}

static const struct letter_row *
find_letter(char letter)
{
	for (size_t i = 0; i < sizeof(letters) / sizeof(letters[0]); i++)
		if (letters[i].letter == letter)
			return &letters[i];
	return NULL;
}

/* One word of options, "-ti" or "-fADDR" or "-f" "ADDR". */
static bool
take_letters(struct args *in, const char *option, struct submit_args *out)
{
	for (const char *p = option + 1; *p != '\0'; p++) {
		const struct letter_row *row = find_letter(*p);
		const char *value = p + 1;

		if (row == NULL)
			return complain(in, "unknown option");
		if (row->kind == VALUE_NONE) {
			(void)row->set(out, NULL);
			continue;
		}
		if (row->kind == VALUE_NEEDED && *value == '\0') {
			if (in->next >= in->argc)
				return complain(in, "needs a value");
			value = in->argv[in->next++];
		}
		if (!row->set(out, value))
			return complain(in, "mode is not offered");
		break;
	}
	return true;
}

bool
submit_args_parse(int argc, char **argv, struct submit_args *out,
	char err[SUBMIT_ERR_BYTES])
{
	struct args in = { argv, argc, 1, err };

	memset(out, 0, sizeof(*out));
	err[0] = '\0';
	while (in.next < argc) {
		const char *option = argv[in.next];
		bool ok;

		if (option[0] != '-' || option[1] == '\0')
			break;
		in.next++;
		if (strcmp(option, "--") == 0)
			break;
		ok = option[1] == '-' ? take_word(&in, option + 2, out) :
			take_letters(&in, option, out);
		if (!ok)
			return false;
	}
	out->rcpts = argv + in.next;
	out->rcpt_count = (size_t)(argc - in.next);
	return true;
}
