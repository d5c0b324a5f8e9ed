// Reads JSON. The engine passes only valid JSON, so nothing is checked.

#include <stdlib.h>
#include <string.h>

#include "heddle.h"

static const heddle_text NOTHING = {NULL, 0};

static const char *blanks(const char *at, const char *end) {
  while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r' || *at == ',' || *at == ':')) at++;
  return at;
}

// The end of the text that begins at a quote.
static const char *past_string(const char *at, const char *end) {
  for (at++; at < end && *at != '"'; at++) at += *at == '\\';
  return at < end ? at + 1 : end;
}

// The end of the value that begins here.
static const char *past_value(const char *at, const char *end) {
  if (at < end && *at == '"') return past_string(at, end);
  size_t depth = 0;
  while (at < end) {
    if (*at == '"') {
      at = past_string(at, end);
      continue;
    }
    if (*at == '{' || *at == '[') depth++;
    if (*at == '}' || *at == ']') {
      if (depth <= 1) return depth ? at + 1 : at;
      depth--;
    }
    if (!depth && (*at == ',' || *at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')) return at;
    at++;
  }
  return end;
}

// The value that begins here, without blanks around it.
static heddle_text value_at(const char *at, const char *end) {
  at = blanks(at, end);
  const char *past = past_value(at, end);
  return past > at ? (heddle_text){at, (size_t)(past - at)} : NOTHING;
}

static heddle_text whole(heddle_text value) { return value.at ? value_at(value.at, value.at + value.len) : NOTHING; }

char heddle_kind(heddle_text value) {
  value = whole(value);
  if (!value.at) return '-';
  switch (*value.at) {
    case '{': return 'o';
    case '[': return 'a';
    case '"': return 's';
    case 't':
    case 'f': return 'b';
    case 'n': return '0';
    default: return 'n';
  }
}

heddle_text heddle_get(heddle_text object, const char *key) {
  object = whole(object);
  if (heddle_kind(object) != 'o') return NOTHING;
  const char *end = object.at + object.len;
  heddle_text found = NOTHING;
  for (const char *at = blanks(object.at + 1, end); at < end && *at == '"'; at = blanks(at, end)) {
    heddle_text name = {at, (size_t)(past_string(at, end) - at)};
    heddle_text value = value_at(name.at + name.len, end);
    if (!value.at) break;
    // If a key occurs twice, the last one counts, as in other readers.
    char *plain = heddle_string(name);
    if (!strcmp(plain, key)) found = value;
    free(plain);
    at = value.at + value.len;
  }
  return found;
}

bool heddle_next(heddle_text *rest, heddle_text *item) {
  *item = NOTHING;
  if (!rest->at || !rest->len) return false;
  const char *end = rest->at + rest->len;
  const char *at = blanks(rest->at, end);
  // What remains of an array begins with its bracket the first time, and behind an item later on. An item that is
  // an array itself stands behind a comma, which `past_value` leaves in place.
  if (at == rest->at && *at != ',' && *at != ']') {
    if (*at != '[') return false;
    at++;
  }
  *item = value_at(at, end);
  if (!item->at || *item->at == ']') {
    *item = *rest = NOTHING;
    return false;
  }
  at = item->at + item->len;
  while (at < end && *at != ',' && *at != ']') at++;
  *rest = (heddle_text){at, (size_t)(end - at)};
  return true;
}

double heddle_number(heddle_text value, double otherwise) {
  value = whole(value);
  if (heddle_kind(value) != 'n') return otherwise;
  char *digits = strndup(value.at, value.len);
  double number = strtod(digits, NULL);
  free(digits);
  return number;
}

bool heddle_bool(heddle_text value, bool otherwise) {
  value = whole(value);
  return heddle_kind(value) == 'b' ? *value.at == 't' : otherwise;
}

static unsigned hex(const char *at) {
  char digits[5] = {at[0], at[1], at[2], at[3], 0};
  return (unsigned)strtoul(digits, NULL, 16);
}

// Writes a character as UTF-8 and gives where the next one goes.
static char *put_character(char *to, unsigned character) {
  if (character < 0x80) {
    *to++ = (char)character;
  } else if (character < 0x800) {
    *to++ = (char)(0xC0 | character >> 6);
    *to++ = (char)(0x80 | (character & 0x3F));
  } else if (character < 0x10000) {
    *to++ = (char)(0xE0 | character >> 12);
    *to++ = (char)(0x80 | (character >> 6 & 0x3F));
    *to++ = (char)(0x80 | (character & 0x3F));
  } else {
    *to++ = (char)(0xF0 | character >> 18);
    *to++ = (char)(0x80 | (character >> 12 & 0x3F));
    *to++ = (char)(0x80 | (character >> 6 & 0x3F));
    *to++ = (char)(0x80 | (character & 0x3F));
  }
  return to;
}

char *heddle_string(heddle_text value) {
  value = whole(value);
  // An escape is never shorter than the character that it means.
  char *text = calloc(1, value.len + 1), *to = text;
  if (!text) __builtin_trap();
  if (heddle_kind(value) != 's') return text;
  const char *end = value.at + value.len - 1;
  for (const char *at = value.at + 1; at < end; at++) {
    if (*at != '\\') {
      *to++ = *at;
      continue;
    }
    static const char letters[] = "bfnrt", means[] = "\b\f\n\r\t";
    const char *letter = strchr(letters, *++at);
    if (*at == 'u' && end - at > 4) {
      unsigned character = hex(at + 1);
      at += 4;
      if (character >> 10 == 0x36 && end - at > 6 && at[1] == '\\' && at[2] == 'u') {
        character = 0x10000 + ((character & 0x3FF) << 10 | (hex(at + 3) & 0x3FF));
        at += 6;
      }
      to = put_character(to, character);
    } else {
      *to++ = letter && *letter ? means[letter - letters] : *at;
    }
  }
  *to = 0;
  return text;
}
