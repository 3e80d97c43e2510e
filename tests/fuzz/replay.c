/*
 * Runs a fuzz target over its seeds, without a fuzzer: the program replay_X
 * takes every file of tests/fuzz/seeds/fuzz_X.  Prints TAP; a crash is the
 * failure.
 */
#include "config.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEED_MAX (1024 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
replay(const char *dir, const char *name)
{
	static uint8_t bytes[SEED_MAX];
	char path[1024];
	size_t len;
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "rb");
	if (f == NULL) {
		perror(path);
		exit(1);
	}
	len = fread(bytes, 1, sizeof(bytes), f);
	(void)fclose(f);
	/* Also every beginning of it, as far as that is quick. */
	for (size_t cut = 0; cut < len && cut < 2000; cut++)
		(void)LLVMFuzzerTestOneInput(bytes, cut);
	(void)LLVMFuzzerTestOneInput(bytes, len);
}

int
main(int argc, char **argv)
{
	const char *top = getenv("top_srcdir");
	const char *self = argc > 0 ? strstr(argv[0], "replay_") : NULL;
	const struct dirent *entry;
	unsigned count = 0;
	char dir[512];
	DIR *d;

	(void)snprintf(dir, sizeof(dir), "%s/tests/fuzz/seeds/fuzz_%s",
		top == NULL ? "." : top, self == NULL ? "" : self + 7);
	d = opendir(dir);
	if (d == NULL) {
		perror(dir);
		return 1;
	}
	while ((entry = readdir(d)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		replay(dir, entry->d_name);
		(void)printf("ok %u - %s\n", ++count, entry->d_name);
	}
	(void)closedir(d);
	(void)printf("1..%u\n", count);
	return count == 0;
}
