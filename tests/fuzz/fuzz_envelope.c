/*
 * Envelopes from another process: what is decoded encodes to the same bytes.
 */
#include "config.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/envelope.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool fact)
{
	if (!fact)
		abort();
}

static void
check(const struct envelope *env)
{
	must(env->sender != NULL && env->ret <= RET_HDRS);
	must(env->rcpt_count <= ENVELOPE_RCPTS_MAX);
	for (size_t i = 0; i < env->rcpt_count; i++) {
		const struct envelope_rcpt *r = &env->rcpts[i];

		must(strpbrk(r->address, "\r\n") == NULL);
		must(r->destination[0] == '[' ||
			str_is_domain(r->destination));
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct envelope *env;
	struct reader r;
	struct buf again;

	reader_init(&r, data, size);
	env = envelope_decode(&r);
	must(reader_ok(&r, false) == (env != NULL));
	if (env == NULL)
		return 0;
	check(env);
	buf_init(&again, size);
	must(envelope_encode(env, &again) == ST_OK);
	must(again.len == size - r.left);
	must(memcmp(buf_data(&again), data, again.len) == 0);
	buf_clear(&again);
	envelope_free(&env);
	return 0;
}
