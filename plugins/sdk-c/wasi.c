// Implements the parts of WASI that the C library needs inside the component, so that it imports only the
// contract of the engine. A plugin in C has no grants and needs none. Printed text becomes log lines. The system's time and
// randomness do not exist: `time` fails, and `rand` continues from its own seed. Functions that are missing here
// (files, sockets) stay imports, and wrapping the module reports them.

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "heddle.h"

#define ANSWERS(name) int32_t __imported_wasi_snapshot_preview1_##name

// WASI's own numbers of errors.
enum { SUCCESS = 0, BAD_FILE = 8, NOT_SUPPORTED = 52 };

struct piece {
  const char *at;
  size_t len;
};

// The part of a line that waits for its end, for stdout and stderr.
static struct {
  char *text;
  size_t len;
} waiting[2];

static void add(int stream, const char *text, size_t len) {
  char *room = realloc(waiting[stream].text, waiting[stream].len + len + 1);
  if (!room) __builtin_trap();
  memcpy(room + waiting[stream].len, text, len);
  waiting[stream].text = room;
  waiting[stream].len += len;
}

static void write_lines(int stream, const char *text, size_t len) {
  const char *line;
  while ((line = memchr(text, '\n', len))) {
    add(stream, text, (size_t)(line - text));
    heddle_log(stream ? HEDDLE_WARN : HEDDLE_INFO, "%.*s", (int)waiting[stream].len, waiting[stream].text);
    waiting[stream].len = 0;
    len -= (size_t)(line + 1 - text);
    text = line + 1;
  }
  add(stream, text, len);
}

// Writes what was printed since the last line ended, when the call ends.
void heddle_print_rest(void) {
  for (int stream = 0; stream < 2; stream++) {
    if (waiting[stream].len) write_lines(stream, "\n", 1);
  }
}

ANSWERS(fd_write)(int32_t file, int32_t pieces, int32_t count, int32_t written) {
  if (file != 1 && file != 2) return BAD_FILE;
  const struct piece *piece = (const struct piece *)pieces;
  size_t all = 0;
  for (int32_t at = 0; at < count; at++) {
    write_lines(file - 1, piece[at].at, piece[at].len);
    all += piece[at].len;
  }
  *(size_t *)written = all;
  return SUCCESS;
}

ANSWERS(fd_read)(int32_t file, int32_t pieces, int32_t count, int32_t read) { return BAD_FILE; }
ANSWERS(fd_seek)(int32_t file, int64_t offset, int32_t whence, int32_t now) { return NOT_SUPPORTED; }
ANSWERS(fd_close)(int32_t file) { return SUCCESS; }
// Some C libraries ask for it by another way. Nothing is ever opened.
int close(int file) { return 0; }
ANSWERS(fd_prestat_get)(int32_t file, int32_t found) { return BAD_FILE; }
ANSWERS(fd_prestat_dir_name)(int32_t file, int32_t name, int32_t len) { return BAD_FILE; }

// Says of stdout and stderr that they are terminals, so that each line is written when it ends.
ANSWERS(fd_fdstat_get)(int32_t file, int32_t status) {
  if (file > 2) return BAD_FILE;
  memset((void *)status, 0, 24);
  *(uint8_t *)status = 2;
  *(uint64_t *)(status + 8) = 1 << 6;
  return SUCCESS;
}

ANSWERS(environ_sizes_get)(int32_t count, int32_t bytes) { return *(int32_t *)count = *(int32_t *)bytes = 0; }
ANSWERS(environ_get)(int32_t variables, int32_t text) { return SUCCESS; }
ANSWERS(clock_time_get)(int32_t clock, int64_t precision, int32_t time) { return NOT_SUPPORTED; }
ANSWERS(clock_res_get)(int32_t clock, int32_t resolution) { return NOT_SUPPORTED; }
ANSWERS(random_get)(int32_t room, int32_t len) { return NOT_SUPPORTED; }

_Noreturn void __imported_wasi_snapshot_preview1_proc_exit(int32_t code) {
  heddle_log(HEDDLE_ERROR, "the plugin called exit(%d), which ends the call as a failure", (int)code);
  __builtin_trap();
}
