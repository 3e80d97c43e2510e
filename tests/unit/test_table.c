/*
 * The hash table against a plain array.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/table.h"

#define KEYS 3000

static uint32_t seed;
static int values[KEYS];

static uint32_t
next_random(void)
{
	seed = seed * 1664525 + 1013904223;
	return seed >> 8;
}

/* Keys of many lengths, among them the empty one and ones with NUL bytes. */
static size_t
make_key(size_t i, uint8_t key[64])
{
	memset(key, 0, 64);
	key[0] = (uint8_t)i;
	key[1] = (uint8_t)(i >> 8);
	return i == 0 ? 0 : 2 + i % 60;
}

static void
visit_count(void *value, void *arg)
{
	assert_true((int *)value >= values && (int *)value < values + KEYS);
	*(int *)value += 1;
	(void)arg;
}

static void
check_all(struct table *t, void *const *model)
{
	size_t count = 0;
	uint8_t key[64];

	memset(values, 0, sizeof(values));
	table_each(t, visit_count, NULL);
	for (size_t i = 0; i < KEYS; i++) {
		size_t n = make_key(i, key);

		assert_ptr_equal(table_get(t, key, n), model[i]);
		count += model[i] != NULL;
	}
	assert_int_equal(table_count(t), count);
	for (size_t i = 0; i < KEYS; i++)
		count -= (size_t)values[i];
	assert_int_equal(count, 0);	/* each was visited once */
}

static void
test_model(void **state)
{
	static void *model[KEYS];
	uint8_t key[64];

	(void)state;
	for (uint32_t run = 1; run < 4; run++) {
		struct table *t = table_new();

		seed = run;
		memset(model, 0, sizeof(model));
		for (int i = 0; i < 20000; i++) {
			size_t k = next_random() % KEYS;
			size_t n = make_key(k, key);

			if (next_random() % 3 == 0) {
				assert_ptr_equal(table_remove(t, key, n),
					model[k]);
				model[k] = NULL;
			} else {
				model[k] = &values[next_random() % KEYS];
				table_put(t, key, n, model[k]);
				memset(key, 0xff, sizeof(key));	/* copied */
			}
			if (i % 2000 == 0)
				check_all(t, model);
		}
		check_all(t, model);
		table_free(&t);
		assert_null(t);
	}
	table_free(&(struct table *){ NULL });
}

struct removing {
	struct table *t;
	size_t seen;
};

static void
visit_remove(void *value, void *arg)
{
	struct removing *r = arg;
	uint64_t id = (uint64_t)((int *)value - values);

	r->seen++;
	if (id % 2 == 0)
		assert_ptr_equal(table_remove_id(r->t, id), value);
}

static void
test_ids_and_removing_visit(void **state)
{
	struct table *t = table_new();
	struct removing r = { t, 0 };

	(void)state;
	for (uint64_t id = 0; id < KEYS; id++)
		table_put_id(t, id, &values[id]);
	assert_ptr_equal(table_get_id(t, 7), &values[7]);
	assert_null(table_get_id(t, UINT64_MAX));
	assert_null(table_remove_id(t, UINT64_MAX));
	table_each(t, visit_remove, &r);
	assert_int_equal(r.seen, KEYS);
	assert_int_equal(table_count(t), KEYS / 2);
	assert_null(table_get_id(t, 8));
	assert_ptr_equal(table_get_id(t, 9), &values[9]);
	table_free(&t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_ids_and_removing_visit),
	};

	return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
