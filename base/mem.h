/*
 * Memory that never comes back NULL.  Exhaustion aborts the process: a dead
 * child is restarted and its jobs return to the queue (ARCHITECTURE.md), so
 * callers never write an out-of-memory branch.  Every size a remote party can
 * influence must be bounded before it reaches these functions.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

/* All return owned memory; release with mem_free().  xcalloc and xrealloc_n
 * abort on multiplication overflow. */
void *xmalloc(size_t size_bytes) __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t count, size_t size_bytes)
	__attribute__((malloc, returns_nonnull));
void *xrealloc_n(void *ptr, size_t count, size_t size_bytes)
	__attribute__((returns_nonnull));
char *xstrdup(const char *text) __attribute__((malloc, returns_nonnull));
char *xstrndup(const char *text, size_t max_bytes)
	__attribute__((malloc, returns_nonnull));
char *xasprintf(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), returns_nonnull));

/* Frees *ptr and sets it to NULL; ptr is the address of any object pointer. */
#define mem_free(ptr) do { free(*(ptr)); *(ptr) = NULL; } while (0)

#endif
