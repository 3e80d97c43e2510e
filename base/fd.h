/*
 * File descriptors.
 */
#ifndef BASE_FD_H
#define BASE_FD_H

#include <stdbool.h>
#include <stddef.h>

/* All of it to a blocking descriptor, whatever parts it takes; false with
 * errno, and nobody knows how much was written. */
bool fd_write_all(int fd, const void *bytes, size_t len);

#endif
