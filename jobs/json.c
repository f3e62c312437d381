/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * The scan behind every job: each byte that arrives from Redis passes here exactly once before it
 * runs. So the reader is a plain state machine over the bytes: strings and digits are skipped many
 * bytes at a time while nothing in them needs a look, nesting is one bit per level (object or array) on the
 * stack, and the caller gets positions instead of values.
 *
 * A function that skips something takes the position where it begins and returns the one behind it,
 * or NULL after it has noted the error in the reader. A NUL stands for the end of the text where a
 * byte is peeked at: outside of strings both are equally wrong.
 *
 * It owns nothing, keeps nothing between calls but the reader, and converts no numbers. */
#include "jobs/json.h"

#include <endian.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include <fettle/task.h>

#include "jobs/utf8.h"

/* ---- errors ----------------------------------------------------------------------------- */

static const char *refuse(struct ftl__json_reader *reader, const char *p, int error,
                          const char *reason)
{
    reader->at = p;
    reader->error = error;
    reader->reason = reason;
    return NULL;
}

static const char *unexpected(struct ftl__json_reader *reader, const char *p)
{
    return refuse(reader, p, FTL_EPROTO,
                  p == reader->end ? "the text ends too early" : "unexpected byte");
}

/* ---- blanks and strings ----------------------------------------------------------------- */

static inline char peek(const struct ftl__json_reader *reader, const char *p)
{
    return p < reader->end ? *p : '\0';
}

static inline const char *skip_blanks(const struct ftl__json_reader *reader, const char *p)
{
    /* Mostly there are none: one compare says so. */
    while (p < reader->end && (unsigned char)*p <= ' ' &&
           (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

#ifdef __SSE2__

#define WIDTH 16

static inline __m128i load(const char *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/* A bit for each byte that ends a plain stretch: quote, backslash, control or not ASCII, both of
 * which are below the blank if bytes are signed. */
static inline unsigned special_bytes(const char *p)
{
    __m128i bytes = load(p);
    __m128i quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"'));
    __m128i backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'));
    __m128i below = _mm_cmplt_epi8(bytes, _mm_set1_epi8(' '));
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), below));
}

/* A bit for each byte that is no digit. */
static inline unsigned other_than_digits(const char *p)
{
    __m128i value = _mm_sub_epi8(load(p), _mm_set1_epi8('0'));
    __m128i digit = _mm_cmpeq_epi8(value, _mm_min_epu8(value, _mm_set1_epi8(9)));
    return (unsigned)_mm_movemask_epi8(digit) ^ 0xffff;
}

static inline int first_of(unsigned bits)
{
    return __builtin_ctz(bits);
}

#else

#define WIDTH 8

static const uint64_t ones = 0x0101010101010101;

static inline uint64_t load(const char *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return le64toh(word);
}

/* Sets the high bit of each byte that ends a plain stretch (quote, backslash, control, not ASCII).
 * A borrow can set it in bytes above such a one too: the lowest is exact, and only it is used. */
static inline uint64_t special_bytes(const char *p)
{
    uint64_t word = load(p);
    uint64_t quote = (word ^ ones * '"') - ones;
    uint64_t backslash = (word ^ ones * '\\') - ones;
    uint64_t control = word - ones * ' ';
    return (quote | backslash | control | word) & ones * 0x80;
}

/* The same for each byte that is no digit: a carry or a borrow only goes beyond the lowest one. */
static inline uint64_t other_than_digits(const char *p)
{
    uint64_t word = load(p);
    uint64_t below = word - ones * '0', above = word + ones * (0x7f - '9');
    return (below | above | word) & ones * 0x80;
}

static inline int first_of(uint64_t bits)
{
    return __builtin_ctzll(bits) >> 3;
}

#endif

static inline const char *skip_plain(const char *p, const char *end)
{
    for (; end - p >= WIDTH; p += WIDTH)
        if (special_bytes(p) != 0)
            return p + first_of(special_bytes(p));
    while (p < end && *p >= ' ' && *p < 0x7f && *p != '"' && *p != '\\')
        p++;
    return p;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* From the backslash on. */
static const char *skip_escape(struct ftl__json_reader *reader, const char *p)
{
    char c = peek(reader, p + 1);
    if (c != '\0' && strchr("\"\\/bfnrt", c) != NULL)
        return p + 2;
    if (c != 'u')
        return refuse(reader, p, FTL_EPROTO, "invalid escape in a string");
    for (int i = 2; i < 6; i++)
        if (hex_value(peek(reader, p + i)) < 0)
            return refuse(reader, p, FTL_EPROTO, "invalid \\u escape in a string");
    return p + 6;
}

/* From what ended a plain stretch and is neither quote nor backslash. */
static const char *skip_character(struct ftl__json_reader *reader, const char *p)
{
    if ((unsigned char)*p < ' ')
        return refuse(reader, p, FTL_EPROTO, "control character in a string");
    size_t length = ftl__utf8_length(p, (size_t)(reader->end - p));
    if (length == 0)
        return refuse(reader, p, FTL_EPROTO, "invalid UTF-8");
    return p + length;
}

/* From what ended a plain stretch to behind the closing quote. */
static const char *skip_rest(struct ftl__json_reader *reader, const char *p, bool *ret_escaped)
{
    while (p != NULL) {
        if (p == reader->end)
            return refuse(reader, p, FTL_EPROTO, "unterminated string");
        if (*p == '"')
            return p + 1;
        if (*p == '\\') {
            *ret_escaped = true;
            p = skip_escape(reader, p);
        } else {
            p = skip_character(reader, p);
        }
        if (p != NULL)
            p = skip_plain(p, reader->end);
    }
    return NULL;
}

/* From the opening quote to behind the closing one. */
static inline const char *skip_string(struct ftl__json_reader *reader, const char *p,
                                      bool *ret_escaped)
{
    p = skip_plain(p + 1, reader->end);
    /* Mostly that was all of it. */
    return p < reader->end && *p == '"' ? p + 1 : skip_rest(reader, p, ret_escaped);
}

/* ---- values ----------------------------------------------------------------------------- */

static inline bool is_digit(char c)
{
    return (unsigned char)(c - '0') <= 9;
}

static inline const char *end_of_digits(const char *p, const char *end)
{
    for (; end - p >= WIDTH; p += WIDTH)
        if (other_than_digits(p) != 0)
            return p + first_of(other_than_digits(p));
    while (p < end && is_digit(*p))
        p++;
    return p;
}

static inline const char *skip_digits(struct ftl__json_reader *reader, const char *p)
{
    const char *end = end_of_digits(p, reader->end);
    return end > p ? end : refuse(reader, p, FTL_EPROTO, "invalid number");
}

static const char *skip_number(struct ftl__json_reader *reader, const char *p)
{
    if (*p == '-')
        p++;
    if (peek(reader, p) == '0' && is_digit(peek(reader, p + 1)))
        return refuse(reader, p, FTL_EPROTO, "invalid number"); /* a leading zero */
    p = skip_digits(reader, p);
    if (p != NULL && peek(reader, p) == '.')
        p = skip_digits(reader, p + 1);
    if (p != NULL && (peek(reader, p) | 0x20) == 'e') {
        char sign = peek(reader, ++p);
        p = skip_digits(reader, sign == '+' || sign == '-' ? p + 1 : p);
    }
    return p;
}

static const char *skip_word(struct ftl__json_reader *reader, const char *p, const char *word,
                             size_t size)
{
    if ((size_t)(reader->end - p) < size || memcmp(p, word, size) != 0)
        return unexpected(reader, p);
    return p + size;
}

/* All but arrays and objects. */
static inline __attribute__((always_inline)) const char *skip_scalar(struct ftl__json_reader *reader, const char *p,
                                      enum ftl__json_type *ret_type)
{
    bool escaped;
    char c = peek(reader, p);
    switch (c) {
    case '"':
        *ret_type = FTL__STRING;
        return skip_string(reader, p, &escaped);
    case 't':
        *ret_type = FTL__TRUE;
        return skip_word(reader, p, "true", 4);
    case 'f':
        *ret_type = FTL__FALSE;
        return skip_word(reader, p, "false", 5);
    case 'n':
        *ret_type = FTL__NULL;
        return skip_word(reader, p, "null", 4);
    default:
        *ret_type = FTL__NUMBER;
        return c == '-' || is_digit(c) ? skip_number(reader, p) : unexpected(reader, p);
    }
}

/* A member's name and colon, up to the first byte of its value. */
static inline const char *skip_name(struct ftl__json_reader *reader, const char *p,
                                    const char **ret_name_end, bool *ret_escaped)
{
    if (peek(reader, p) != '"')
        return unexpected(reader, p);
    p = skip_string(reader, p, ret_escaped);
    if (p == NULL)
        return NULL;
    *ret_name_end = p;
    p = skip_blanks(reader, p);
    if (peek(reader, p) != ':')
        return unexpected(reader, p);
    return skip_blanks(reader, p + 1);
}

/* ---- nesting ---------------------------------------------------------------------------- */

/* What is open below the member's value. Only the bits below `depth` are initialised. */
struct nest {
    uint32_t depth, limit;
    uint64_t objects[FTL__JSON_DEPTH_CEILING / 64];
};

static inline bool in_object(const struct nest *nest)
{
    uint32_t top = nest->depth - 1;
    return nest->objects[top / 64] >> (top % 64) & 1;
}

static inline void push(struct nest *nest, bool object)
{
    uint64_t bit = UINT64_C(1) << (nest->depth % 64);
    uint64_t *word = &nest->objects[nest->depth / 64];
    *word = object ? *word | bit : *word & ~bit;
    nest->depth++;
}

/* The first byte of the next value inside the innermost open object or array. */
static inline const char *enter(struct ftl__json_reader *reader, const struct nest *nest,
                                const char *p)
{
    const char *name_end;
    bool escaped;
    return in_object(nest) ? skip_name(reader, p, &name_end, &escaped) : p;
}

/* Goes on behind a value (or an opening bracket: `opened`): closes all that ends here. Returns the
 * next value's first byte, or with nothing open any more the position behind all. */
static inline const char *advance(struct ftl__json_reader *reader, struct nest *nest, const char *p,
                                  bool opened)
{
    while (nest->depth > 0) {
        p = skip_blanks(reader, p);
        if (peek(reader, p) == (in_object(nest) ? '}' : ']')) {
            nest->depth--;
            p++;
        } else if (opened) {
            return enter(reader, nest, p);
        } else if (peek(reader, p) == ',') {
            return enter(reader, nest, skip_blanks(reader, p + 1));
        } else {
            return unexpected(reader, p);
        }
        opened = false;
    }
    return p;
}

/* An array or an object, with all that is in it. */
static const char *skip_nested(struct ftl__json_reader *reader, const char *p)
{
    enum ftl__json_type type;
    struct nest nest;
    nest.depth = 0;
    nest.limit =
        reader->max_depth < FTL__JSON_DEPTH_CEILING ? reader->max_depth : FTL__JSON_DEPTH_CEILING;
    nest.limit--; /* the object that the reader walks */
    do {
        char c = peek(reader, p);
        bool opens = c == '{' || c == '[';
        if (opens && nest.depth == nest.limit)
            return refuse(reader, p, FTL_ELIMIT, "nested too deeply");
        if (opens) {
            push(&nest, c == '{');
            p++;
        } else {
            p = skip_scalar(reader, p, &type);
        }
        if (p != NULL)
            p = advance(reader, &nest, p, opens);
    } while (p != NULL && nest.depth > 0);
    return p;
}

static inline const char *skip_value(struct ftl__json_reader *reader, const char *p,
                                     enum ftl__json_type *ret_type)
{
    char c = peek(reader, p);
    if (c != '{' && c != '[')
        return skip_scalar(reader, p, ret_type);
    *ret_type = c == '{' ? FTL__OBJECT : FTL__ARRAY;
    return skip_nested(reader, p);
}

/* ---- the object's members --------------------------------------------------------------- */

int ftl__json_open(struct ftl__json_reader *reader, const char *text, size_t size,
                   uint32_t max_depth)
{
    *reader = (struct ftl__json_reader){
        .at = text, .end = text + size, .max_depth = max_depth, .first = true};
    const char *p = skip_blanks(reader, text);
    if (peek(reader, p) != '{')
        (void)refuse(reader, p, FTL_EPROTO, p == reader->end ? "empty" : "not a JSON object");
    else if (max_depth == 0)
        (void)refuse(reader, p, FTL_ELIMIT, "nested too deeply");
    else
        reader->at = p + 1;
    return reader->error;
}

/* Behind the closing brace. */
static int finish(struct ftl__json_reader *reader, const char *p)
{
    p = skip_blanks(reader, p);
    if (p != reader->end)
        (void)refuse(reader, p, FTL_EPROTO, "bytes after the object");
    return reader->error;
}

int ftl__json_next(struct ftl__json_reader *reader, struct ftl__json_member *ret_member)
{
    const char *p = skip_blanks(reader, reader->at);
    if (peek(reader, p) == '}')
        return finish(reader, p + 1);
    if (!reader->first) {
        if (peek(reader, p) != ',') {
            (void)unexpected(reader, p);
            return reader->error;
        }
        p = skip_blanks(reader, p + 1);
    }
    const char *begin = p, *name_end;
    bool escaped = false;
    enum ftl__json_type type;
    const char *value = skip_name(reader, p, &name_end, &escaped);
    if (value == NULL)
        return reader->error;
    const char *end = skip_value(reader, value, &type);
    if (end == NULL)
        return reader->error;
    reader->first = false;
    reader->at = end;
    *ret_member = (struct ftl__json_member){begin, name_end, value, end, type, escaped};
    return 1;
}

/* ---- depth ------------------------------------------------------------------------------ */

uint32_t ftl__json_depth(const char *text, size_t size)
{
    uint32_t depth = 0, deepest = 0;
    bool string = false;

    for (size_t i = 0; i < size; i++) {
        char c = text[i];

        if (string) {
            i += c == '\\';
            string = c != '"';
        } else if (c == '"') {
            string = true;
        } else if (c == '[' || c == '{') {
            depth++;
            deepest = depth > deepest ? depth : deepest;
        } else if (c == ']' || c == '}') {
            depth--;
        }
    }
    return deepest;
}
