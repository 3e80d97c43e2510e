/*
 * Aborting allocators.  Not for sizes that a remote party chose freely.
 */
#include "config.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static void
out_of_memory(void)
{
	static const char text[] = "error out-of-memory\n";

	(void)fwrite(text, 1, sizeof(text) - 1, stderr);
	abort();
}

void *
xmalloc(size_t size_bytes)
{
	void *ptr = malloc(size_bytes ? size_bytes : 1);

	if (ptr == NULL)
		out_of_memory();
	return ptr;
}

void *
xcalloc(size_t count, size_t size_bytes)
{
	void *ptr = calloc(count ? count : 1, size_bytes ? size_bytes : 1);

	if (ptr == NULL)
		out_of_memory();
	return ptr;
}

void *
xrealloc_n(void *ptr, size_t count, size_t size_bytes)
{
	size_t total;

	if (__builtin_mul_overflow(count, size_bytes, &total))
		out_of_memory();
	ptr = realloc(ptr, total ? total : 1);
	if (ptr == NULL)
		out_of_memory();
	return ptr;
}

char *
xstrdup(const char *text)
{
	char *copy = strdup(text);

	if (copy == NULL)
		out_of_memory();
	return copy;
}

char *
xstrndup(const char *text, size_t max_bytes)
{
	char *copy = strndup(text, max_bytes);

	if (copy == NULL)
		out_of_memory();
	return copy;
}

char *
xasprintf(const char *fmt, ...)
{
	va_list ap;
	char *text = NULL;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0 || text == NULL)
		out_of_memory();
	return text;
}
