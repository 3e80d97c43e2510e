/*
 * What a role may ask of the kernel.  Entered once, before the first remote
 * byte; there is no way back.
 *
 * System calls outside the role's list fail with ENOSYS (so that a newer C
 * library falls back), those that only an intruder wants (exec, ptrace,
 * mounting, ...) kill the process.
 */
#ifndef BASE_SANDBOX_H
#define BASE_SANDBOX_H

#include <stdbool.h>

#include "base/err.h"

enum sandbox_role {
	SANDBOX_PARENT = 0,	/* forks and executes our own binary */
	SANDBOX_INJECT,		/* accepts connections; creates no file */
	SANDBOX_WORKER		/* connects out; opens no file to write */
};

/* ST_SYS when the kernel refuses; the caller must then stop. */
enum status sandbox_enter(enum sandbox_role) MUST_CHECK;
/* True when a filter is in force in this process. */
bool sandbox_active(void);
/* False in builds with sanitizers, whose run time needs more. */
bool sandbox_supported(void);

#endif
