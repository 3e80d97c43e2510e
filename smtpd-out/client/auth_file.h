/*
 * Name and password for a relay, from a file of one line, "user:password".
 *
 * The file is read anew for each AUTH, so that a changed password is used and
 * none stays in memory; its owner and mode are checked on the open descriptor
 * each time: only the user of the service (or root) may own it, and nobody else
 * may read it.
 */
#ifndef SMTPD_OUT_AUTH_FILE_H
#define SMTPD_OUT_AUTH_FILE_H

#include "base/conf.h"
#include "base/err.h"
#include "base/secret_file.h"

#define AUTH_TEXT_MAX 512	/* of user and of password, each */
#define AUTH_ERR_MAX SECRET_ERR_MAX

struct auth_secret {
	char user[AUTH_TEXT_MAX + 1];
	char password[AUTH_TEXT_MAX + 1];
};

/* On a fault nothing of the file is left in memory, and err says what the
 * operator should do; it never quotes the file. */
enum status auth_file_read(const char *path, struct auth_secret *out,
	char err[AUTH_ERR_MAX]) MUST_CHECK;
void auth_secret_wipe(struct auth_secret *);

/* Logs the files of the configuration that cannot be used. */
void auth_files_check(const struct conf *);

#endif
