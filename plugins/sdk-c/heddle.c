// The plugin inside the engine: the component's exports, and its calls of the host.

#include "heddle.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "generated/plugin.h"

typedef heddle_plugin_types_failure_t failure_t;
typedef heddle_plugin_types_function_t function_t;

struct heddle_answer {
  char *text;
  size_t len, room;
  failure_t failure;
  bool failed;
  heddle_plugin_types_route_t route;
};

static void *room_for(void *old, size_t bytes) {
  void *room = realloc(old, bytes ? bytes : 1);
  // The host stops the call when its memory is used up, and names the limit.
  if (!room) __builtin_trap();
  return room;
}

static plugin_string_t owned(const char *text, size_t len) {
  plugin_string_t copy = {room_for(NULL, len), len};
  memcpy(copy.ptr, text, len);
  return copy;
}

static plugin_string_t owned_text(const char *text) { return owned(text ? text : "", text ? strlen(text) : 0); }

static const char *ended(plugin_string_t text) {
  char *copy = room_for(NULL, text.len + 1);
  memcpy(copy, text.ptr, text.len);
  copy[text.len] = 0;
  return copy;
}

static heddle_text view(plugin_string_t text) { return (heddle_text){(const char *)text.ptr, text.len}; }

static char *formatted(const char *format, va_list arguments, size_t *len) {
  va_list again;
  va_copy(again, arguments);
  int needed = vsnprintf(NULL, 0, format, arguments);
  if (needed < 0) needed = 0;
  char *text = room_for(NULL, (size_t)needed + 1);
  text[0] = 0;
  vsnprintf(text, (size_t)needed + 1, format, again);
  va_end(again);
  *len = (size_t)needed;
  return text;
}

// ---- Results of functions -------------------------------------------------------------------------------------------

void heddle_put_text(heddle_answer *answer, heddle_text value) {
  if (!value.at) value = (heddle_text){"null", 4};
  if (answer->room - answer->len < value.len) {
    answer->room = 2 * (answer->len + value.len) + 256;
    answer->text = room_for(answer->text, answer->room);
  }
  memcpy(answer->text + answer->len, value.at, value.len);
  answer->len += value.len;
}

void heddle_put(heddle_answer *answer, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  size_t len;
  char *text = formatted(format, arguments, &len);
  va_end(arguments);
  heddle_put_text(answer, (heddle_text){text, len});
  free(text);
}

void heddle_put_string(heddle_answer *answer, const char *text) {
  heddle_put_text(answer, (heddle_text){"\"", 1});
  for (const char *from = text; *from;) {
    size_t plain = 0;
    while ((unsigned char)from[plain] >= 0x20 && from[plain] != '"' && from[plain] != '\\') plain++;
    heddle_put_text(answer, (heddle_text){from, plain});
    from += plain;
    if (*from) heddle_put(answer, *from == '"' || *from == '\\' ? "\\%c" : "\\u%04x", *from);
    if (*from) from++;
  }
  heddle_put_text(answer, (heddle_text){"\"", 1});
}

void heddle_put_number(heddle_answer *answer, double number) {
  if (number - number != 0) {
    heddle_put(answer, "null");
    return;
  }
  char digits[32];
  for (int precision = 1; precision <= 17; precision++) {
    snprintf(digits, sizeof digits, "%.*g", precision, number);
    if (strtod(digits, NULL) == number) break;
  }
  heddle_put(answer, "%s", digits);
}

static bool fail(heddle_answer *answer, uint8_t kind, const char *format, va_list arguments) {
  size_t len;
  char *text = formatted(format, arguments, &len);
  answer->failure.tag = kind;
  answer->failure.val.permanent.message = owned(text, len);
  answer->failed = true;
  return false;
}

#define FAILS(name, kind)                                           \
  bool heddle_##name(heddle_answer *answer, const char *format, ...) { \
    va_list arguments;                                              \
    va_start(arguments, format);                                    \
    fail(answer, HEDDLE_PLUGIN_TYPES_FAILURE_##kind, format, arguments); \
    va_end(arguments);                                              \
    return false;                                                   \
  }
FAILS(retryable, RETRYABLE)
FAILS(permanent, PERMANENT)
FAILS(invalid_input, INVALID_INPUT)

void heddle_failure_data(heddle_answer *answer, const char *json) {
  answer->failure.val.permanent.data = (heddle_plugin_types_option_json_t){true, owned_text(json)};
}

void heddle_goto(heddle_answer *answer, const char *node) {
  plugin_list_string_t *nodes = &answer->route.val.goto_;
  if (answer->route.tag != HEDDLE_PLUGIN_TYPES_ROUTE_GOTO) *nodes = (plugin_list_string_t){NULL, 0};
  answer->route.tag = HEDDLE_PLUGIN_TYPES_ROUTE_GOTO;
  nodes->ptr = room_for(nodes->ptr, (nodes->len + 1) * sizeof *nodes->ptr);
  nodes->ptr[nodes->len++] = owned_text(node);
}

void heddle_again(heddle_answer *answer) { answer->route.tag = HEDDLE_PLUGIN_TYPES_ROUTE_AGAIN; }

void heddle_end(heddle_answer *answer) { answer->route.tag = HEDDLE_PLUGIN_TYPES_ROUTE_END; }

// ---- Functions of the engine ----------------------------------------------------------------------------------------

void heddle_log(enum heddle_level level, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  size_t len;
  char *text = formatted(format, arguments, &len);
  va_end(arguments);
  plugin_string_t message = {(uint8_t *)text, len};
  heddle_plugin_host_log((heddle_plugin_types_level_t)level, &message);
  free(text);
}

void heddle_emit(const char *json) {
  plugin_string_t chunk;
  plugin_string_set(&chunk, json);
  heddle_plugin_host_emit(&chunk);
}

bool heddle_call_tool(const char *name, const char *input, heddle_text *output, heddle_answer *answer) {
  plugin_string_t called, text, result;
  plugin_string_set(&called, name);
  plugin_string_set(&text, input);
  failure_t failure;
  if (!heddle_plugin_host_call_tool(&called, &text, &result, &failure)) {
    answer->failure = failure;
    answer->failed = true;
    return false;
  }
  *output = view(result);
  return true;
}

// ---- Exports of the component ---------------------------------------------------------------------------------------

static void describe(const heddle_function *function, function_t *described) {
  *described = (function_t){
      .name = owned_text(function->name),
      .kind = function->node ? HEDDLE_PLUGIN_TYPES_KIND_NODE : HEDDLE_PLUGIN_TYPES_KIND_TOOL,
      .summary = owned_text(function->summary),
      .input = owned_text(function->input ? function->input : "{}"),
      .output = owned_text(function->output ? function->output : "{}"),
      .hints = (function->read_only ? HEDDLE_PLUGIN_TYPES_HINTS_READ_ONLY : 0) |
               (function->idempotent ? HEDDLE_PLUGIN_TYPES_HINTS_IDEMPOTENT : 0),
  };
  if (function->config) described->config = (heddle_plugin_types_option_json_t){true, owned_text(function->config)};
  for (const char *const *route = function->routes; route && *route; route++) {
    plugin_list_string_t *routes = &described->routes;
    routes->ptr = room_for(routes->ptr, (routes->len + 1) * sizeof *routes->ptr);
    routes->ptr[routes->len++] = owned_text(*route);
  }
}

static function_t *describe_all(bool nodes, size_t *len) {
  function_t *described = NULL;
  *len = 0;
  for (const heddle_function *function = heddle_functions; function->name; function++) {
    if (!function->node == nodes) continue;
    described = room_for(described, (*len + 1) * sizeof *described);
    describe(function, &described[(*len)++]);
  }
  return described;
}

void exports_heddle_plugin_node_describe(exports_heddle_plugin_node_list_function_t *ret) {
  ret->ptr = describe_all(true, &ret->len);
}

void exports_heddle_plugin_tool_describe(exports_heddle_plugin_tool_list_function_t *ret) {
  ret->ptr = describe_all(false, &ret->len);
}

static const heddle_function *find(bool node, plugin_string_t name) {
  for (const heddle_function *function = heddle_functions; function->name; function++) {
    bool is_it = strlen(function->name) == name.len && !memcmp(function->name, name.ptr, name.len);
    if (is_it && !function->node != node) return function;
  }
  return NULL;
}

// Of wasi.c: what was printed and waits for the end of its line.
void heddle_print_rest(void);

// Brings everything that was printed into the journal.
static void print_all(void) {
  fflush(NULL);
  heddle_print_rest();
}

static bool failed(heddle_answer *answer, const char *function, failure_t *err) {
  print_all();
  if (!answer->failed) heddle_permanent(answer, "`%s` failed without saying why", function);
  *err = answer->failure;
  return false;
}

bool exports_heddle_plugin_node_run(exports_heddle_plugin_node_invocation_t *call,
                                    exports_heddle_plugin_node_outcome_t *ret,
                                    exports_heddle_plugin_node_failure_t *err) {
  heddle_answer answer = {0};
  const heddle_function *function = find(true, call->function);
  const char *name = ended(call->function);
  if (!function) {
    heddle_permanent(&answer, "this plugin has no node function `%s`", name);
    return failed(&answer, name, err);
  }
  heddle_call given = {
      .state = view(call->state),
      .config = view(call->config),
      .run_id = ended(call->context.run_id),
      .node = ended(call->context.node),
      .step = call->context.step,
      .attempt = call->context.attempt,
      .idempotency_key = ended(call->context.idempotency_key),
  };
  if (!function->node(&given, &answer)) return failed(&answer, name, err);
  print_all();
  ret->update = answer.len ? (plugin_string_t){(uint8_t *)answer.text, answer.len} : owned_text("{}");
  ret->route = answer.route;
  return true;
}

bool exports_heddle_plugin_tool_call(plugin_string_t *name, exports_heddle_plugin_tool_json_t *input,
                                     exports_heddle_plugin_tool_json_t *ret,
                                     exports_heddle_plugin_tool_failure_t *err) {
  heddle_answer answer = {0};
  const heddle_function *function = find(false, *name);
  if (!function) {
    heddle_permanent(&answer, "this plugin has no tool `%s`", ended(*name));
    return failed(&answer, ended(*name), err);
  }
  if (!function->tool(view(*input), &answer)) return failed(&answer, function->name, err);
  print_all();
  *ret = answer.len ? (plugin_string_t){(uint8_t *)answer.text, answer.len} : owned_text("null");
  return true;
}

// The generated code links the object that describes the component's type. Here the type is added when the module is
// wrapped, so there is no such object.
void __component_type_object_force_link_plugin(void) {}
