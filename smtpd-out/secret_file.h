/*
 * Files that hold a secret: read from the open descriptor whose owner and mode
 * were checked.  Only the user of the service (or root) may own one, and nobody
 * else may touch it.
 */
#ifndef SMTPD_OUT_SECRET_FILE_H
#define SMTPD_OUT_SECRET_FILE_H

#include <stddef.h>

#include "base/err.h"

#define SECRET_ERR_MAX 256

/* Reads the whole file into out, at most size - 1 bytes and a NUL.  On a fault
 * out is wiped and err names the file and says what to do; ST_LIMIT when it is
 * larger.  The caller wipes out when done. */
enum status secret_file_read(const char *path, char *out, size_t size,
	size_t *len_out, char err[SECRET_ERR_MAX]) MUST_CHECK;

#endif
