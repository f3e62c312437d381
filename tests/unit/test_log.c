/* SPDX-License-Identifier: MIT
 *
 * The log, as whoever reads stderr sees it: stderr is a file or a pipe for the time of a call. */
#include "daemon/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/unit.h"

#define LINE_MAX_BYTES 16384

static char got[1 << 20]; /* what the last capture saw, NUL-terminated */
static size_t got_size;
static int saved_stderr, capture_fd;

static void capture_begin(void)
{
    fflush(stderr);
    saved_stderr = dup(STDERR_FILENO);
    capture_fd = memfd_create("stderr", 0);
    ck_assert_int_ge(saved_stderr, 0);
    ck_assert_int_ge(capture_fd, 0);
    ck_assert_int_eq(dup2(capture_fd, STDERR_FILENO), STDERR_FILENO);
}

static void capture_end(void)
{
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    ssize_t n = pread(capture_fd, got, sizeof(got) - 1, 0);
    close(capture_fd);
    ck_assert_int_ge(n, 0);
    got_size = (size_t)n;
    got[got_size] = '\0';
}

#define CAPTURE(...) (capture_begin(), ftl__log(__VA_ARGS__), capture_end())

static void use(enum ftl__log_format format)
{
    ftl__log_configure(FTL__INFO, format, FTL__LOG_JOBS_ALL);
}

static bool matches(const char *text, const char *pattern)
{
    regex_t regex;
    ck_assert_int_eq(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    bool yes = regexec(&regex, text, 0, NULL, 0) == 0;
    regfree(&regex);
    return yes;
}

#define TIME "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{6}Z"

START_TEST(logfmt_has_every_type)
{
    use(FTL__LOG_LOGFMT);
    CAPTURE(FTL__EV_JOB_DONE, FTL__STR("jid", "abc"), FTL__BYTES("class", "Hello!", 5),
            FTL__INT("low", INT64_MIN), FTL__UINT("high", UINT64_MAX), FTL__REAL("real", 1.5),
            FTL__BOOL("yes", true), FTL__BOOL("no", false));
    ck_assert_msg(matches(got, "^ts=" TIME " level=info event=job\\.done jid=abc class=Hello "
                               "low=-9223372036854775808 high=18446744073709551615 real=1\\.500 "
                               "yes=true no=false\n$"),
                  "got %s", got);
}
END_TEST

START_TEST(json_has_every_type)
{
    use(FTL__LOG_JSON);
    CAPTURE(FTL__EV_JOB_DEAD, FTL__STR("jid", "abc"), FTL__BYTES("class", "Hello!", 5),
            FTL__INT("low", INT64_MIN), FTL__REAL("real", 1.5), FTL__REAL("nan", NAN),
            FTL__BOOL("yes", true));
    ck_assert_msg(matches(got, "^\\{\"ts\":\"" TIME "\",\"level\":\"error\","
                               "\"event\":\"job\\.dead\",\"jid\":\"abc\",\"class\":\"Hello\","
                               "\"low\":-9223372036854775808,\"real\":1\\.500,"
                               "\"nan\":null,\"yes\":true\\}\n$"),
                  "got %s", got);
}
END_TEST

START_TEST(time_is_now_in_utc)
{
    use(FTL__LOG_LOGFMT);
    time_t before = time(NULL);
    CAPTURE(FTL__EV_DAEMON_READY, FTL__STR("id", "x"));
    struct tm tm = {0};
    ck_assert_ptr_nonnull(strptime(got, "ts=%Y-%m-%dT%H:%M:%S", &tm));
    time_t stamp = timegm(&tm);
    ck_assert_int_ge(stamp, before);
    ck_assert_int_le(stamp, time(NULL));
}
END_TEST

START_TEST(journal_has_the_priority_and_no_time)
{
    use(FTL__LOG_JOURNAL);
    CAPTURE(FTL__EV_REDIS_LOST, FTL__STR("link", "call"));
    ck_assert_str_eq(got, "<4>level=warning event=redis.lost link=call\n");
    CAPTURE(FTL__EV_JOB_DEAD, FTL__STR("jid", "1"));
    ck_assert_str_eq(got, "<3>level=error event=job.dead jid=1\n");
    CAPTURE(FTL__EV_DAEMON_READY, FTL__STR("id", "x"));
    ck_assert_str_eq(got, "<6>level=info event=daemon.ready id=x\n");
}
END_TEST

static void auto_with(const char *stream)
{
    ck_assert_int_eq(setenv("JOURNAL_STREAM", stream, 1), 0);
    use(FTL__LOG_AUTO);
    ftl__log(FTL__EV_DAEMON_READY, FTL__STR("id", "x"));
}

START_TEST(auto_knows_the_journal)
{
    struct stat st;
    char stream[64];
    capture_begin();
    int rc = fstat(STDERR_FILENO, &st);
    snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    auto_with(stream);
    capture_end();
    ck_assert_int_eq(rc, 0);
    ck_assert_str_eq(got, "<6>level=info event=daemon.ready id=x\n");

    capture_begin();
    auto_with("1:2");
    capture_end();
    ck_assert_msg(matches(got, "^ts="), "got %s", got);

    unsetenv("JOURNAL_STREAM");
    capture_begin();
    use(FTL__LOG_AUTO);
    ftl__log(FTL__EV_DAEMON_READY, FTL__STR("id", "x"));
    capture_end();
    ck_assert_msg(matches(got, "^ts="), "got %s", got);
}
END_TEST

START_TEST(levels_hold_lines_back)
{
    ftl__log_configure(FTL__WARNING, FTL__LOG_JOURNAL, FTL__LOG_JOBS_NONE);
    ck_assert(!ftl__log_on(FTL__INFO));
    ck_assert(ftl__log_on(FTL__WARNING));
    ck_assert_int_eq(ftl__log_jobs(), FTL__LOG_JOBS_NONE);
    CAPTURE(FTL__EV_JOB_DONE, FTL__STR("jid", "1"));
    ck_assert_str_eq(got, "");
    CAPTURE(FTL__EV_JOB_FAILED, FTL__STR("jid", "1"));
    ck_assert_str_eq(got, "<4>level=warning event=job.failed jid=1\n");
}
END_TEST

START_TEST(a_null_string_leaves_its_field_out)
{
    use(FTL__LOG_JOURNAL);
    CAPTURE(FTL__EV_JOB_DONE, FTL__STR("jid", NULL), FTL__STR("class", "Hello"));
    ck_assert_str_eq(got, "<6>level=info event=job.done class=Hello\n");
    use(FTL__LOG_JSON);
    CAPTURE(FTL__EV_JOB_DONE, FTL__STR("jid", NULL));
    ck_assert_msg(matches(got, "\"job\\.done\"\\}\n$"), "got %s", got);
}
END_TEST

static const struct {
    const char *text, *logfmt, *json;
} values[] = {
    {"", "\"\"", "\"\""},
    {"plain", "plain", "\"plain\""},
    {"a/b:c.d{}[]", "a/b:c.d{}[]", "\"a/b:c.d{}[]\""},
    {"two words", "\"two words\"", "\"two words\""},
    {"a=b", "\"a=b\"", "\"a=b\""},
    {"say \"hi\"", "\"say \\\"hi\\\"\"", "\"say \\\"hi\\\"\""},
    {"back\\slash", "\"back\\\\slash\"", "\"back\\\\slash\""},
    {"a\nb\r\t", "\"a\\nb\\r\\t\"", "\"a\\nb\\r\\t\""},
    {"\x01\x1b[31m", "\"\\x01\\x1b[31m\"", "\"\\u0001\\u001b[31m\""},
    {"\x7f", "\"\\x7f\"", "\"\\u007f\""},
    {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f", "\"gr\xc3\xbc\xc3\x9f\""},
    {"\xf0\x9f\x90\x9d", "\xf0\x9f\x90\x9d", "\"\xf0\x9f\x90\x9d\""},
    {"\xff", "\"\\xff\"", "\"\\ufffd\""},
    {"a\xc3", "\"a\\xc3\"", "\"a\\ufffd\""},
    {"\xed\xa0\x80", "\"\\xed\\xa0\\x80\"", "\"\\ufffd\\ufffd\\ufffd\""},  /* a surrogate */
    {"\xc0\x80", "\"\\xc0\\x80\"", "\"\\ufffd\\ufffd\""},                  /* overlong    */
    {"\xc2\x85", "\"\\xc2\\x85\"", "\"\\u0085\""},                         /* next line   */
    {"\xe2\x80\xa8", "\"\\xe2\\x80\\xa8\"", "\"\\u2028\""},                /* separator   */
    {"\xe2\x80\xae", "\"\\xe2\\x80\\xae\"", "\"\\u202e\""},                /* right to left */
    {"\xf3\xbf\xbf\xbf", "\"\\xf3\\xbf\\xbf\\xbf\"", "\"\\udbbf\\udfff\""}, /* no character */
};

START_TEST(values_are_escaped)
{
    for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
        char expected[128];
        use(FTL__LOG_JOURNAL);
        CAPTURE(FTL__EV_JOB_LOG, FTL__STR("line", values[i].text));
        snprintf(expected, sizeof(expected), "<6>level=info event=job.log line=%s\n",
                 values[i].logfmt);
        ck_assert_str_eq(got, expected);

        use(FTL__LOG_JSON);
        CAPTURE(FTL__EV_JOB_LOG, FTL__STR("line", values[i].text));
        snprintf(expected, sizeof(expected), ",\"line\":%s}\n", values[i].json);
        ck_assert_uint_ge(got_size, strlen(expected));
        ck_assert_str_eq(got + got_size - strlen(expected), expected);
    }
}
END_TEST

START_TEST(a_nul_byte_is_escaped)
{
    use(FTL__LOG_JOURNAL);
    CAPTURE(FTL__EV_JOB_LOG, FTL__BYTES("line", "a\0b", 3));
    ck_assert_str_eq(got, "<6>level=info event=job.log line=\"a\\x00b\"\n");
}
END_TEST

/* One line, ended, within the limit, and valid in its format. */
static void check_line(enum ftl__log_format format)
{
    ck_assert_uint_gt(got_size, 0);
    ck_assert_uint_le(got_size, LINE_MAX_BYTES);
    ck_assert_ptr_eq(memchr(got, '\n', got_size), got + got_size - 1);
    if (format != FTL__LOG_JSON)
        return;
    json_error_t error;
    json_t *object = json_loads(got, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    ck_assert_msg(object != NULL, "%s in %.200s", error.text, got);
    json_decref(object);
}

START_TEST(long_lines_are_cut_between_characters)
{
    static char text[20000];
    for (size_t i = 0; i + 1 < sizeof(text); i += 2)
        memcpy(text + i, "\xc3\xa9", 2);
    for (size_t size = 16200; size <= 16500; size++) {
        use(FTL__LOG_LOGFMT);
        CAPTURE(FTL__EV_JOB_LOG, FTL__BYTES("line", text, size), FTL__INT("after", 1));
        check_line(FTL__LOG_LOGFMT);
        ck_assert(matches(got, "( after=1|\"? truncated=true)\n$"));
        use(FTL__LOG_JSON);
        CAPTURE(FTL__EV_JOB_LOG, FTL__BYTES("line", text, size), FTL__INT("after", 1));
        check_line(FTL__LOG_JSON);
        ck_assert(matches(got, "(,\"after\":1|,\"truncated\":true)\\}\n$"));
    }
    CAPTURE(FTL__EV_JOB_LOG, FTL__BYTES("line", text, sizeof(text) - 2), FTL__INT("after", 1));
    ck_assert(matches(got, "\xc3\xa9\",\"truncated\":true\\}\n$"));
    ck_assert_uint_gt(got_size, LINE_MAX_BYTES - 64);
}
END_TEST

START_TEST(random_bytes_make_valid_lines)
{
    unsigned seed = (unsigned)time(NULL);
    printf("# seed %u\n", seed);
    srandom(seed);
    static char text[6000];
    for (int round = 0; round < 300; round++) {
        size_t size = (size_t)random() % sizeof(text);
        for (size_t i = 0; i < size; i++)
            text[i] = (char)(random() % 4 == 0 ? random() : random() % 128);
        use(FTL__LOG_JSON);
        CAPTURE(FTL__EV_JOB_LOG, FTL__BYTES("line", text, size), FTL__BYTES("b", text, size / 2));
        check_line(FTL__LOG_JSON);
        use(FTL__LOG_LOGFMT);
        CAPTURE(FTL__EV_JOB_LOG, FTL__BYTES("line", text, size), FTL__BYTES("b", text, size / 2));
        check_line(FTL__LOG_LOGFMT);
    }
}
END_TEST

#define WRITERS 4
#define LINES 40
#define LETTERS 6000 /* more than a pipe takes at once */

static void *write_lines(void *arg)
{
    char text[LETTERS];
    memset(text, *(const char *)arg, sizeof(text));
    for (int i = 0; i < LINES; i++)
        ftl__log(FTL__EV_JOB_LOG, FTL__BYTES("line", text, sizeof(text)));
    return NULL;
}

static void *read_all(void *arg)
{
    ssize_t n;
    got_size = 0;
    while ((n = read(*(const int *)arg, got + got_size, sizeof(got) - 1 - got_size)) > 0)
        got_size += (size_t)n;
    got[got_size] = '\0';
    return NULL;
}

START_TEST(threads_do_not_mix_lines)
{
    int fds[2];
    pthread_t writers[WRITERS], reader;
    use(FTL__LOG_JOURNAL);
    ck_assert_int_eq(pipe(fds), 0);
    int saved = dup(STDERR_FILENO);
    dup2(fds[1], STDERR_FILENO);
    close(fds[1]);
    ck_assert_int_eq(pthread_create(&reader, NULL, read_all, &fds[0]), 0);
    static char letters[] = "abcd";
    for (int i = 0; i < WRITERS; i++)
        ck_assert_int_eq(pthread_create(&writers[i], NULL, write_lines, &letters[i]), 0);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(writers[i], NULL);
    dup2(saved, STDERR_FILENO);
    close(saved);
    pthread_join(reader, NULL);
    close(fds[0]);

    int lines = 0;
    static const char head[] = "<6>level=info event=job.log line=";
    for (char *at = got; *at != '\0'; lines++) {
        ck_assert_int_eq(strncmp(at, head, strlen(head)), 0);
        at += strlen(head);
        ck_assert_uint_eq(strspn(at, (char[]){*at, '\0'}), LETTERS);
        at += LETTERS;
        ck_assert_int_eq(*at++, '\n');
    }
    ck_assert_int_eq(lines, WRITERS * LINES);
}
END_TEST

START_TEST(a_full_stderr_does_not_hold_the_caller)
{
    int fds[2];
    static char text[LETTERS];
    use(FTL__LOG_JOURNAL);
    memset(text, 'x', sizeof(text));
    ck_assert_int_eq(pipe2(fds, O_NONBLOCK), 0);
    int saved = dup(STDERR_FILENO);
    dup2(fds[1], STDERR_FILENO);
    for (int i = 0; i < 12; i++) /* 72 KB into 64 */
        ftl__log(FTL__EV_JOB_LOG, FTL__BYTES("line", text, sizeof(text)));
    read_all(&fds[0]);
    ck_assert_int_eq(got[got_size - 1], 'x'); /* one was cut off */
    errno = 7;
    ftl__log(FTL__EV_DAEMON_READY, FTL__STR("id", "x"));
    int kept = errno;
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(fds[1]);
    read_all(&fds[0]);
    close(fds[0]);
    ck_assert_str_eq(got, "\n<6>level=info event=daemon.ready id=x\n");
    ck_assert_int_eq(kept, 7);
}
END_TEST

/* A started log on a pipe that nobody reads yet. */
struct unread {
    int fd; /* to read from */
    int saved;
};

static struct unread unread_begin(void)
{
    struct unread unread;
    int fds[2];
    use(FTL__LOG_JOURNAL);
    ck_assert_int_eq(pipe(fds), 0);
    unread = (struct unread){.fd = fds[0], .saved = dup(STDERR_FILENO)};
    ck_assert_int_ge(unread.saved, 0);
    dup2(fds[1], STDERR_FILENO);
    close(fds[1]);
    ck_assert_int_eq(ftl__log_start(), 0);
    return unread;
}

static void number_lines(int count)
{
    static char text[LETTERS];
    memset(text, 'x', sizeof(text));
    for (int i = 0; i < count; i++)
        ftl__log(FTL__EV_JOB_LOG, FTL__INT("n", i), FTL__BYTES("line", text, sizeof(text)));
}

/* Reads to the end; by then the log is stopped and has let go of the pipe. */
static void unread_end(struct unread unread)
{
    pthread_t reader;
    ck_assert_int_eq(pthread_create(&reader, NULL, read_all, &unread.fd), 0);
    ftl__log_stop(60 * INT64_C(1000000000));
    dup2(unread.saved, STDERR_FILENO);
    close(unread.saved);
    pthread_join(reader, NULL);
    close(unread.fd);
}

/* The next line of `got`, NULL at the end. */
static char *next_line(char **rest)
{
    char *line = *rest, *end = strchr(line, '\n');
    if (end == NULL)
        return NULL;
    *end = '\0';
    *rest = end + 1;
    return line;
}

START_TEST(a_late_reader_misses_nothing)
{
    enum { COUNT = 80 }; /* 480 KB */
    struct unread unread = unread_begin();
    number_lines(COUNT);
    unread_end(unread);
    char *rest = got, *line;
    for (int i = 0; i < COUNT; i++) {
        int n = -1;
        line = next_line(&rest);
        ck_assert_ptr_nonnull(line);
        ck_assert_int_eq(sscanf(line, "<6>level=info event=job.log n=%d line=xxx", &n), 1);
        ck_assert_int_eq(n, i);
    }
    ck_assert_str_eq(rest, "");
}
END_TEST

START_TEST(a_stopped_reader_does_not_hold_the_caller)
{
    enum { COUNT = 400 }; /* 2.4 MB */
    struct unread unread = unread_begin();
    number_lines(COUNT);
    unread_end(unread);
    unsigned long count = 0;
    int n = -1, next = 0;
    char *rest = got, *line;
    while ((line = next_line(&rest)) != NULL) {
        if (sscanf(line, "<3>level=error event=log.dropped count=%lu", &count) == 1) {
            ck_assert_uint_gt(count, 0);
            next += (int)count; /* it stands in the place of these */
            continue;
        }
        ck_assert_int_eq(sscanf(line, "<6>level=info event=job.log n=%d line=xxx", &n), 1);
        ck_assert_int_eq(n, next++);
    }
    ck_assert_uint_gt(count, 0);
    ck_assert_int_eq(next, COUNT);
    ck_assert_str_eq(rest, "");
}
END_TEST

/* The last one: the thread is lost. */
START_TEST(a_stop_does_not_wait_for_ever)
{
    struct unread unread = unread_begin();
    number_lines(40);
    ftl__log_stop(20 * INT64_C(1000000));
    number_lines(400);
    close(unread.saved);
    unread.saved = open("/dev/null", O_WRONLY); /* for what it still has */
    unread_end(unread);
    ck_assert_int_eq(strncmp(got, "<6>level=info event=job.log n=0 ", 32), 0);
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, logfmt_has_every_type);
    UNIT_CASE(suite, json_has_every_type);
    UNIT_CASE(suite, time_is_now_in_utc);
    UNIT_CASE(suite, journal_has_the_priority_and_no_time);
    UNIT_CASE(suite, auto_knows_the_journal);
    UNIT_CASE(suite, levels_hold_lines_back);
    UNIT_CASE(suite, a_null_string_leaves_its_field_out);
    UNIT_CASE(suite, values_are_escaped);
    UNIT_CASE(suite, a_nul_byte_is_escaped);
    UNIT_CASE(suite, long_lines_are_cut_between_characters);
    UNIT_CASE(suite, random_bytes_make_valid_lines);
    UNIT_CASE(suite, threads_do_not_mix_lines);
    UNIT_CASE(suite, a_full_stderr_does_not_hold_the_caller);
    UNIT_CASE(suite, a_late_reader_misses_nothing);
    UNIT_CASE(suite, a_stopped_reader_does_not_hold_the_caller);
    UNIT_CASE(suite, a_stop_does_not_wait_for_ever);
}

UNIT_MAIN("log", add_cases)
