/*
 * Files that hold a secret: read from the open descriptor whose owner and mode
 * were checked.  Only this process's user, root, or the user that is named may
 * own one, and nobody else may touch it.
 */
#ifndef BASE_SECRET_FILE_H
#define BASE_SECRET_FILE_H

#include <stddef.h>

#include "base/err.h"

#define SECRET_ERR_MAX 256

/* Reads the whole file into out, at most size - 1 bytes and a NUL.  user is the
 * one that the service will run as (NULL: as it does now).  On a fault
 * out is wiped and err names the file and says what to do; ST_LIMIT when it is
 * larger.  The caller wipes out when done. */
struct secret_file {
	const char *path, *user;
};

enum status secret_file_read(const struct secret_file *, char *out,
	size_t size, size_t *len_out, char err[SECRET_ERR_MAX]) MUST_CHECK;

#endif
