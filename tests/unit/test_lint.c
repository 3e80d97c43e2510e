/*
 * lint: what the command prints and how it exits, against a table; and ten
 * thousand malformed inputs, after which every sentence still keeps the form
 * that lint.h promises.
 */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/str.h"
#include "smtpd-out/command/cmd_lint.h"
#include "smtpd-out/lint/lint.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define ARGS_MAX 12
#define OUTPUT_MAX 20000

/* ---- the command ---- */

static const struct golden {
	const char *args[ARGS_MAX];
	const char *input;
	int code;
	const char *output;
} goldens[] = {
#include "tests/unit/test_lint_golden.inc"
};

static FILE *
file_of(const char *text)
{
	FILE *f = tmpfile();

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fflush(f), 0);
	rewind(f);
	return f;
}

/* In a child, as getopt and standard output are the process's own. */
static int
run_command(const struct golden *g, FILE *out)
{
	FILE *in = file_of(g->input == NULL ? "" : g->input);
	char *argv[ARGS_MAX + 2] = { (char *)(uintptr_t)"lint" };
	int argc = 1, status;
	pid_t pid;

	for (; g->args[argc - 1] != NULL; argc++)
		argv[argc] = (char *)(uintptr_t)g->args[argc - 1];
	(void)fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)alarm(20);
		(void)dup2(fileno(in), STDIN_FILENO);
		(void)dup2(fileno(out), STDOUT_FILENO);
		(void)dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
		_exit(cmd_lint(argc, argv));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	(void)fclose(in);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void
test_golden(void **state)
{
	static char got[OUTPUT_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT(goldens); i++) {
		const struct golden *g = &goldens[i];
		FILE *out = tmpfile();
		int code = run_command(g, out);
		size_t len;

		rewind(out);
		len = fread(got, 1, sizeof(got) - 1, out);
		got[len] = '\0';
		(void)fclose(out);
		if (code != g->code || strcmp(got, g->output) != 0)
			fail_msg("%s %s: exit %d\n%s--- wanted exit %d\n%s",
				g->args[0], g->args[1], code, got, g->code,
				g->output);
	}
}

/* A file too large is refused by its parser, whatever follows. */
static void
test_bounded(void **state)
{
	static const char *const kinds[] = { "sts-policy", "config" };

	(void)state;
	for (size_t i = 0; i < COUNT(kinds); i++) {
		struct golden g = { .args = { kinds[i], "/dev/zero" } };
		FILE *out = tmpfile();

		assert_int_equal(run_command(&g, out), 65);
		(void)fclose(out);
	}
}

/* ---- malformed inputs ---- */

#define KINDS 7
#define INPUTS 10000
#define INPUT_MAX 1500

/* Two for each kind. */
static const char *const seeds[] = {
	"version: STSv1\r\nmode: enforce\r\nmx: *.example.com\r\n"
		"mx: mx.b\xc3\xbc" "cher.example\r\nmax_age: 604800\r\n",
	"mode: none\nversion: STSv1\nmax_age: 86400\nnote: x y\n",
	"v=STSv1; id=20160831085700Z; foo=bar;",
	"\"v=STSv1; \" \"id=1\\059 \\\"x\"",
	"v=TLSRPTv1; rua=mailto:a%2Cb@example.com?x=y",
	"v=TLSRPTv1; rua=mailto:a@a.example,https://r.example:8443/v1#z",
	"_25._tcp.mx.example. IN TLSA 3 1 1 ( 00112233445566778899aabbccddeeff"
		"00112233445566778899aabbccddeeff )",
	"2 0 0 300730003000030100",
	"*.mx.example.com",
	"*.mx.example.com,mx1.mx.example.com.",
	"\"jane \\\" doe\"@b\xc3\xbc" "cher.example",
	"a@[IPv6:2001:db8::1]",
	"hostname = \"mail.example.org\"\nspool = \"sqlite:/x\"\n"
		"destination \"a.example\" { tls = may until = \"2020-01-01\" }"
		"\nretry { first = \"5m\" }\n",
	"listen \"127.0.0.1:25\" { allow = {\"0.0.0.0/0\"} }\n"
		"host \"mx.example\" { tls = pkix ca-file = \"/x\" }\n",
};

static const char spice[] = "\"'\\;:,=@*.%!?#[]{}()<>/ \t\r\n\x01\x7f\xff\xc3"
	"\xe2\x98\x83" "0123456789abcdefxyzXYZ-_";

/* The same on every run (xorshift). */
static uint32_t
dice(uint32_t *state, size_t sides)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state % (uint32_t)sides;
}

static void
cut(char *text, size_t at, size_t count)
{
	size_t len = strlen(text);

	if (count > len - at)
		count = len - at;
	memmove(text + at, text + at + count, len - at - count + 1);
}

static void
insert(char *text, size_t at, const char *piece, size_t count)
{
	size_t len = strlen(text);

	if (len + count >= INPUT_MAX)
		return;
	memmove(text + at + count, text + at, len - at + 1);
	memcpy(text + at, piece, count);
}

static void
spoil(char *text, uint32_t *state)
{
	for (uint32_t n = dice(state, 4) + 1; n > 0; n--) {
		size_t len = strlen(text);
		size_t at = dice(state, len + 1);
		const char *other = seeds[dice(state, COUNT(seeds))];
		size_t from = dice(state, strlen(other));

		switch (dice(state, 5)) {
		case 0:
			cut(text, at, dice(state, 8) + 1);
			break;
		case 1:
			text[at] = '\0';
			break;
		case 2:
			if (at < len)
				text[at] = spice[dice(state,
					sizeof(spice) - 1)];
			break;
		case 3:
			insert(text, at, other + from,
				dice(state, strlen(other) - from) + 1);
			break;
		default:
			insert(text, at, spice + dice(state,
				sizeof(spice) - 1), 1);
			break;
		}
	}
}

static void
assert_list(const json_t *list, const char *input)
{
	size_t i;
	json_t *item;

	json_array_foreach(list, i, item) {
		const char *text = json_string_value(item);
		char clean[LINT_TEXT_MAX];

		assert_non_null(text);
		str_sanitise(clean, sizeof(clean), text, strlen(text));
		if (strcmp(clean, text) != 0 || text[strlen(text) - 1] != ')' ||
		    (strstr(text, "(RFC ") == NULL &&
		    strstr(text, "(smtpd-out") == NULL))
			fail_msg("\"%s\" says: %s", input, text);
	}
}

static void
assert_form(const struct lint *l, const char *input, FILE *null)
{
	json_t *again;
	char *text;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	assert_list(l->errors, input);
	assert_list(l->warnings, input);
	lint_print_json(l, out);
	assert_int_equal(fclose(out), 0);
	again = json_loads(text, 0, NULL);
	assert_non_null(again);
	assert_int_equal(json_is_true(json_object_get(again, "valid")),
		lint_valid(l));
	json_decref(again);
	free(text);
	lint_print(l, null);
}

/* A comma parts the text where two can be given. */
static void
judge(struct lint *l, size_t kind, char *text)
{
	char *comma = strchr(text, ',');
	char *texts[2] = { text, comma == NULL ? text : comma + 1 };
	size_t count = comma == NULL ? 1 : 2;

	if (comma != NULL && kind >= 1 && kind <= 4)
		*comma = '\0';
	switch (kind) {
	case 0:
		lint_sts_policy(l, (const uint8_t *)text, strlen(text));
		break;
	case 1:
		lint_sts_record(l, texts, count);
		break;
	case 2:
		lint_tlsrpt_record(l, texts, count);
		break;
	case 3:
		lint_tlsa(l, texts, count);
		break;
	case 4:
		lint_sts_match(l, text, texts[1]);
		break;
	case 5:
		lint_address(l, text);
		break;
	default:
		lint_config(l, "input", text);
		break;
	}
}

static void
test_malformed(void **state)
{
	uint32_t random = 20261121;
	size_t invalid[KINDS] = { 0 };
	FILE *null = fopen("/dev/null", "w");

	(void)state;
	assert_non_null(null);
	for (size_t i = 0; i < INPUTS; i++) {
		char text[INPUT_MAX + 1], copy[INPUT_MAX + 1];
		size_t kind = i % KINDS, own = kind * 2 + dice(&random, 2);
		struct lint l;

		/* Its own kind of text mostly, some other at times. */
		(void)snprintf(text, sizeof(text), "%s", seeds[dice(&random,
			8) > 0 ? own : dice(&random, COUNT(seeds))]);
		spoil(text, &random);
		memcpy(copy, text, sizeof(text));
		lint_init(&l);
		judge(&l, kind, copy);
		assert_form(&l, text, null);
		invalid[kind] += !lint_valid(&l);
		lint_clear(&l);
	}
	(void)fclose(null);
	/* Some of the spoilt ones are still good, never all or none. */
	for (size_t kind = 0; kind < KINDS; kind++)
		assert_in_range(invalid[kind], INPUTS / KINDS / 4,
			INPUTS / KINDS - 10);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_bounded),
		cmocka_unit_test(test_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
