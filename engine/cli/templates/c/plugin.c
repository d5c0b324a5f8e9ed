// The functions of the plugin. The table at the end describes them.

#include <stdio.h>

#include "heddle.h"

HEDDLE_PLUGIN("{{name}}", "0.1.0")

static bool greet(const heddle_call *call, heddle_answer *answer) {
  const char *name = heddle_string(heddle_get(call->state, "name"));
  heddle_text greeting = heddle_get(call->config, "greeting");
  if (!*name) return heddle_invalid_input(answer, "`name` is empty");
  heddle_log(HEDDLE_INFO, "greeting %s", name);
  char text[200];
  snprintf(text, sizeof text, "%s, %s!", greeting.at ? heddle_string(greeting) : "Hello", name);
  heddle_put(answer, "{\"greeting\":");
  heddle_put_string(answer, text);
  heddle_put(answer, "}");
  return true;
}

const heddle_function heddle_functions[] = {
    {
        .name = "greet",
        .summary = "Greets the name in the state.",
        .input = "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"}},\"required\":[\"name\"]}",
        .output = "{\"type\":\"object\",\"properties\":{\"greeting\":{\"type\":\"string\"}}}",
        .config = "{\"type\":\"object\",\"properties\":{\"greeting\":{\"type\":\"string\"}}}",
        .node = greet,
        .read_only = true,
        .idempotent = true,
    },
    {0},
};
