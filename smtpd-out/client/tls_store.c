/*
 * One X509_STORE per CA file.  A verification only reads a store that was
 * filled from a file, so that connections may share it.  How many files there
 * are is bounded by the configuration.
 */
#include "config.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "smtpd-out/client/tls_store.h"

struct entry {
	struct entry *next;
	char *path;
	struct stat st;		/* of what the store was filled from */
	X509_STORE *store;
};

struct tls_stores {
	struct entry *first;
};

struct tls_stores *
tls_stores_new(void)
{
	return xcalloc(1, sizeof(struct tls_stores));
}

void
tls_stores_free(struct tls_stores **stores)
{
	struct entry *e;

	if (*stores == NULL)
		return;
	while ((e = (*stores)->first) != NULL) {
		(*stores)->first = e->next;
		X509_STORE_free(e->store);
		free(e->path);
		free(e);
	}
	mem_free(stores);
}

static struct entry *
entry_of(struct tls_stores *stores, const char *path)
{
	struct entry *e;

	for (e = stores->first; e != NULL; e = e->next)
		if (strcmp(e->path, path) == 0)
			return e;
	e = xcalloc(1, sizeof(*e));
	e->path = xstrdup(path);
	e->next = stores->first;
	stores->first = e;
	return e;
}

static bool
same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino &&
		a->st_size == b->st_size &&
		a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
		a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
		a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
		a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

X509_STORE *
tls_stores_get(struct tls_stores *stores, const char *path)
{
	struct entry *e = entry_of(stores, path);
	struct stat st = { 0 };
	bool there = stat(path, &st) == 0;	/* before it is read */

	if (e->store != NULL && there && same_file(&st, &e->st))
		return e->store;
	X509_STORE_free(e->store);
	e->store = there ? X509_STORE_new() : NULL;
	e->st = st;
	if (e->store != NULL && X509_STORE_load_file(e->store, path) != 1) {
		X509_STORE_free(e->store);
		e->store = NULL;
	}
	return e->store;
}
