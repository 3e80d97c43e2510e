/*
 * Fills a spool with very many messages, for measuring:
 *   fill_spool DIR MESSAGES DESTINATIONS [FIRST_DESTINATION]
 * Message i goes to d(i mod DESTINATIONS).FIRST_DESTINATION.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "spool/spool.h"

#define GROUP 2000		/* messages in one transaction */
#define BODY_BYTES 1000

static void
must(struct spool *s, enum status st, const char *what)
{
	if (st == ST_OK)
		return;
	(void)fprintf(stderr, "%s: %s\n", what, s == NULL ? "" :
		spool_error(s));
	exit(1);
}

static void
add(struct spool *s, unsigned long i, unsigned long destinations,
	const char *below)
{
	static char data[BODY_BYTES];
	const struct spool_body body = { .data = data, .len = BODY_BYTES };
	struct envelope *env = envelope_new("sender@bench.test");
	int64_t now_ms = clock_wall_ms();
	char address[300];

	memset(data, 'x', sizeof(data));
	(void)snprintf(address, sizeof(address), "user%lu@d%lu.%s", i,
		i % destinations, below);
	(void)envelope_add_rcpt(env, address, strchr(address, '@') + 1);
	must(s, spool_add(s, env, &body, now_ms, now_ms + 5 * 86400000LL),
		"add");
	envelope_free(&env);
}

int
main(int argc, char **argv)
{
	const struct spool_options opt = { .inline_bytes = 262144 };
	unsigned long messages, destinations;
	struct spool *s = NULL;
	char err[512] = "", *url;

	if (argc < 4) {
		(void)fprintf(stderr, "usage: fill_spool DIR MESSAGES "
			"DESTINATIONS [DOMAIN]\n");
		return 64;
	}
	messages = strtoul(argv[2], NULL, 10);
	destinations = strtoul(argv[3], NULL, 10);
	url = xasprintf("sqlite:%s", argv[1]);
	if (destinations == 0 || spool_open(url, &opt, &s, err,
	    sizeof(err)) != ST_OK) {
		(void)fprintf(stderr, "%s\n", err);
		return 1;
	}
	for (unsigned long i = 0; i < messages; i++) {
		if (i % GROUP == 0)
			must(s, spool_begin(s), "begin");
		add(s, i, destinations, argc > 4 ? argv[4] : "bench.test");
		if (i % GROUP == GROUP - 1 || i + 1 == messages)
			must(s, spool_commit(s), "commit");
	}
	spool_close(&s);
	free(url);
	return 0;
}
