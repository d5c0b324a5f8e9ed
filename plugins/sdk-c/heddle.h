// Write Heddle plugins in C: functions from JSON to JSON become a WebAssembly component.
//
//     #include <ctype.h>
//     #include "heddle.h"
//
//     HEDDLE_PLUGIN("shout", "0.1.0")
//
//     // Writes a text in capitals.
//     static bool shout(heddle_text input, heddle_answer *answer) {
//       char *text = heddle_string(heddle_get(input, "text"));
//       for (char *at = text; *at; at++) *at = toupper(*at);
//       heddle_put_string(answer, text);
//       return true;
//     }
//
//     const heddle_function heddle_functions[] = {
//         {.name = "shout", .summary = "Writes a text in capitals.", .tool = shout,
//          .input = "{\"type\":\"object\",\"required\":[\"text\"],\"properties\":{\"text\":{\"type\":\"string\"}}}",
//          .output = "{\"type\":\"string\"}"},
//         {0},
//     };
//
// Every call gets a fresh instance of the plugin, with 64 MiB of memory if the operator does not say otherwise: what
// is allocated is discarded when the call ends, so nothing needs to be freed.
#ifndef HEDDLE_H
#define HEDDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// ---- Reading JSON ---------------------------------------------------------------------------------------------------
// The engine passes valid JSON that fits the function's schema, so these functions do not check it.

// A piece of JSON text; where nothing was found, `at` is NULL and `len` 0.
typedef struct heddle_text {
  const char *at;
  size_t len;
} heddle_text;

// The value of a key of an object; nothing if there is no such key, or the value is not an object.
heddle_text heddle_get(heddle_text object, const char *key);

// Goes through the items of an array: `for (heddle_text rest = array, item; heddle_next(&rest, &item);) ...`
bool heddle_next(heddle_text *rest, heddle_text *item);

// The value as a number, a truth value, or a text, which ends with a NUL. What is nothing, or of another type,
// is the value that is given for it, or an empty text.
double heddle_number(heddle_text value, double otherwise);
bool heddle_bool(heddle_text value, bool otherwise);
char *heddle_string(heddle_text value);

// The type of a value by its first letter: 'o'bject, 'a'rray, 's'tring, 'n'umber, 'b'oolean, '0' for null, '-' for nothing.
char heddle_kind(heddle_text value);

// ---- Writing JSON ---------------------------------------------------------------------------------------------------

// The result of a function: its JSON text, and its route or failure.
typedef struct heddle_answer heddle_answer;

// Writes JSON as `printf` does: `heddle_put(answer, "{\"count\":%d,\"text\":", n)`.
void heddle_put(heddle_answer *answer, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Writes a text in quotes, with all escapes that it needs. It must be UTF-8.
void heddle_put_string(heddle_answer *answer, const char *text);

// Writes a number in as few digits as tell it from every other; one that is not finite is written as null.
void heddle_put_number(heddle_answer *answer, double number);

// Writes a value unchanged.
void heddle_put_text(heddle_answer *answer, heddle_text value);

// ---- Failures and routes ------------------------------------------------------------------------------------------

// The function failed: `return heddle_retryable(answer, "%s does not answer", host);`. All return false.
bool heddle_retryable(heddle_answer *answer, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool heddle_permanent(heddle_answer *answer, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool heddle_invalid_input(heddle_answer *answer, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Data of the failure for programs: any JSON. Call it before you return the failure.
void heddle_failure_data(heddle_answer *answer, const char *json);

// Where a node function sends the run, in place of the graph's edges: to a node, which the function's `routes` must
// list (several calls go to several nodes, in parallel); to the same node again; to the end.
void heddle_goto(heddle_answer *answer, const char *node);
void heddle_again(heddle_answer *answer);
void heddle_end(heddle_answer *answer);

// ---- Functions of the engine ----------------------------------------------------------------------------------------

enum heddle_level { HEDDLE_TRACE, HEDDLE_DEBUG, HEDDLE_INFO, HEDDLE_WARN, HEDDLE_ERROR };

// Writes a log line to the run's journal. Output to stdout and stderr goes there, too, as info and warnings.
void heddle_log(enum heddle_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Sends a chunk of output, any JSON, to the run's current watchers. It is not stored.
void heddle_emit(const char *json);

// Calls a tool of any registered plugin: `plugin/tool`, or `tool` if only one plugin has it. The input is JSON text.
// True: `*output` is its result. False: the answer has its failure, which the function may return as its own.
bool heddle_call_tool(const char *name, const char *input, heddle_text *output, heddle_answer *answer);

// ---- The plugin -----------------------------------------------------------------------------------------------------

// One call of a node function.
typedef struct heddle_call {
  heddle_text state;            // a JSON object
  heddle_text config;           // the node's config: any JSON, `null` if there is none
  const char *run_id;           // the id of the run, a UUID
  const char *node;             // the node that the run is at
  uint64_t step;                // the number of this step in its run, from 1
  uint32_t attempt;             // the number of this attempt of the step, from 1
  const char *idempotency_key;  // the same for every attempt of one step, and for no other step
} heddle_call;

// One function. It is a tool or a node function, whichever of the two is set.
typedef struct heddle_function {
  const char *name;           // unique within the plugin: letters, digits, `_`, `-` and `.`
  const char *summary;        // the summary, in one line
  const char *input;          // JSON Schema of the input, or of the keys of the state that it reads
  const char *output;         // JSON Schema of the result, or of the keys that it updates
  const char *config;         // JSON Schema of the node's config, or NULL
  const char *const *routes;  // every node that it may go to, then NULL; or NULL
  bool read_only;             // it has no side effects
  bool idempotent;            // another call with the same input has no further effect
  bool (*tool)(heddle_text input, heddle_answer *answer);
  bool (*node)(const heddle_call *call, heddle_answer *answer);
} heddle_function;

// The plugin's functions; the last one has no name. Every plugin defines it.
extern const heddle_function heddle_functions[];

// Names the plugin, once, at the top level of a file.
#define HEDDLE_PLUGIN(name, version)                                                                                 \
  __asm__(".section \".custom_section.heddle-plugin\",\"\",@\n\t.ascii \"" name "@" version "\"\n\t.section .text,\"\",@\n");

#endif
