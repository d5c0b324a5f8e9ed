// Counts how a list of numbers is spread over bins, and sums it up in a way that shows every change: a sample of a
// plugin in C.

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "heddle.h"

HEDDLE_PLUGIN("histogram", "0.1.0")

enum { USUAL_BINS = 10, MOST_BINS = 1000 };

struct numbers {
  double *at;
  size_t len;
};

static struct numbers read_numbers(heddle_text array) {
  struct numbers numbers = {NULL, 0};
  size_t room = 0;
  heddle_text item;
  while (heddle_next(&array, &item)) {
    if (numbers.len == room) {
      room = room ? 2 * room : 64;
      numbers.at = realloc(numbers.at, room * sizeof *numbers.at);
      if (!numbers.at) abort();
    }
    // A number, or what `starter/extract` leaves of one.
    if (heddle_kind(item) == 'o') item = heddle_get(item, "value");
    numbers.at[numbers.len++] = heddle_number(item, 0);
  }
  return numbers;
}

// The CRC-32 of IEEE 802.3 over the numbers as little-endian doubles.
static uint32_t checksum(struct numbers numbers) {
  const unsigned char *bytes = (const unsigned char *)numbers.at;
  uint32_t sum = ~0u;
  for (size_t at = 0; at < numbers.len * sizeof *numbers.at; at++) {
    sum ^= bytes[at];
    for (int bit = 0; bit < 8; bit++) sum = sum >> 1 ^ (sum & 1 ? 0xEDB88320u : 0);
  }
  return ~sum;
}

static bool count(heddle_text array, double bins_asked, heddle_answer *answer) {
  struct numbers numbers = read_numbers(array);
  if (!(bins_asked >= 1 && bins_asked <= MOST_BINS)) {
    heddle_failure_data(answer, "{\"path\":\"bins\"}");
    return heddle_invalid_input(answer, "%g bins: there are 1 to %d", bins_asked, MOST_BINS);
  }
  if (!numbers.len) return heddle_invalid_input(answer, "there are no numbers to count");
  size_t bins = (size_t)bins_asked;
  double low = numbers.at[0], high = numbers.at[0];
  for (size_t at = 0; at < numbers.len; at++) {
    low = fmin(low, numbers.at[at]);
    high = fmax(high, numbers.at[at]);
  }
  size_t *counts = calloc(bins, sizeof *counts);
  if (!counts) abort();
  double width = (high - low) / (double)bins;
  for (size_t at = 0; at < numbers.len; at++) {
    size_t bin = width > 0 ? (size_t)((numbers.at[at] - low) / width) : 0;
    counts[bin < bins ? bin : bins - 1]++;
  }
  heddle_put(answer, "{\"low\":");
  heddle_put_number(answer, low);
  heddle_put(answer, ",\"width\":");
  heddle_put_number(answer, width);
  heddle_put(answer, ",\"counts\":[");
  for (size_t bin = 0; bin < bins; bin++) heddle_put(answer, "%s%zu", bin ? "," : "", counts[bin]);
  heddle_put(answer, "],\"checksum\":\"%08x\"}", (unsigned)checksum(numbers));
  return true;
}

// Tool: any numbers.
static bool histogram(heddle_text input, heddle_answer *answer) {
  return count(heddle_get(input, "numbers"), heddle_number(heddle_get(input, "bins"), USUAL_BINS), answer);
}

// Node function: the numbers of the state.
static bool spread(const heddle_call *call, heddle_answer *answer) {
  heddle_put(answer, "{\"histogram\":");
  double bins = heddle_number(heddle_get(call->config, "bins"), USUAL_BINS);
  if (!count(heddle_get(call->state, "numbers"), bins, answer)) return false;
  heddle_put(answer, "}");
  heddle_log(HEDDLE_INFO, "counted into %g bins", bins);
  return true;
}

#define NUMBERS "\"numbers\":{\"type\":\"array\",\"description\":\"Numbers, or objects whose `value` is one.\"}"
#define BINS "\"bins\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000,\"default\":10}"
#define COUNTED                                                                                        \
  "{\"type\":\"object\",\"required\":[\"low\",\"width\",\"counts\",\"checksum\"],\"properties\":{"      \
  "\"low\":{\"type\":\"number\",\"description\":\"Where the first bin begins.\"},"                     \
  "\"width\":{\"type\":\"number\",\"description\":\"The width of one bin.\"},"                         \
  "\"counts\":{\"type\":\"array\",\"items\":{\"type\":\"integer\"}},"                                   \
  "\"checksum\":{\"type\":\"string\",\"description\":\"The CRC-32 of the numbers as little-endian doubles.\"}}}"

const heddle_function heddle_functions[] = {
    {
        .name = "histogram",
        .summary = "Counts how numbers are spread over bins of equal width.",
        .input = "{\"type\":\"object\",\"required\":[\"numbers\"],\"properties\":{" NUMBERS "," BINS "}}",
        .output = COUNTED,
        .tool = histogram,
        .read_only = true,
        .idempotent = true,
    },
    {
        .name = "spread",
        .summary = "Counts how the state's `numbers` are spread over bins of equal width.",
        .input = "{\"type\":\"object\",\"required\":[\"numbers\"],\"properties\":{" NUMBERS "}}",
        .output = "{\"type\":\"object\",\"properties\":{\"histogram\":" COUNTED "}}",
        .config = "{\"type\":\"object\",\"properties\":{" BINS "}}",
        .node = spread,
        .read_only = true,
        .idempotent = true,
    },
    {0},
};
