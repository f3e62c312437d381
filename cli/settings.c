/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A small reader of a few keys. It trusts the daemon to refuse a file that is wrong
 * elsewhere, and complains only about what it uses itself. An address from the command line or the
 * environment stands for the file's address and password together; the prefix is looked up apart
 * from it. */
#include "cli/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fettle/error.h>

#define DEFAULT_FILE FTL_SYSCONFDIR "/fettle/fettled.conf"
#define DEFAULT_URL "redis://127.0.0.1:6379/0"
#define DEFAULT_MAX_PAYLOAD (1 << 20)
#define PASSWORD_MAX 1024

static int no_memory(void)
{
    return ftl__cli_failed("%s", ftl_error_text(FTL_ENOMEM));
}

static int replace(char **text, const char *with)
{
    char *copy = strdup(with);
    if (copy == NULL)
        return no_memory();
    free(*text);
    *text = copy;
    return 0;
}

static int read_password(const char *file, char **ret_password)
{
    char text[PASSWORD_MAX + 2];
    struct stat st;
    ssize_t size = -1;
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd >= 0 && fstat(fd, &st) == 0)
        size = read(fd, text, sizeof(text) - 1);
    int error = errno;
    if (fd >= 0)
        close(fd);
    if (size < 0)
        return ftl__cli_failed("%s: %s", file, strerror(error));
    if ((st.st_mode & 07) != 0)
        return ftl__cli_failed("%s: others than its owner and group must have no access", file);
    text[size] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    int rc = text[0] != '\0' ? replace(ret_password, text)
                             : ftl__cli_failed("%s: its first line must be a password", file);
    explicit_bzero(text, sizeof(text));
    return rc;
}

/* A string in the group `redis`; NULL if it is not there. */
static int find_text(const config_t *config, const char *file, const char *path,
                     const char **ret_text)
{
    const config_setting_t *setting = config_lookup(config, path);
    *ret_text = setting != NULL ? config_setting_get_string(setting) : NULL;
    if (setting == NULL || *ret_text != NULL)
        return 0;
    return ftl__cli_failed("%s:%u: %s: expected a string", file,
                           config_setting_source_line(setting), path);
}

static int take_text(const config_t *config, const char *file, const char *path, char **ret_text)
{
    const char *text;
    int rc = find_text(config, file, path, &text);
    return rc == 0 && text != NULL ? replace(ret_text, text) : rc;
}

static int copy_sentinels(const config_setting_t *list, const char *file,
                          struct ftl__cli_settings *settings)
{
    int count = config_setting_length(list);
    settings->sentinels = calloc((size_t)count + 1, sizeof(*settings->sentinels));
    if (settings->sentinels == NULL)
        return no_memory();
    for (int i = 0; i < count; i++) {
        const char *text = config_setting_get_string_elem(list, i);
        if (text == NULL)
            return ftl__cli_failed("%s:%u: redis.sentinels: expected strings", file,
                                   config_setting_source_line(list));
        if (replace(&settings->sentinels[i], text) != 0)
            return FTL__EXIT_FAILED;
    }
    return 0;
}

static int take_sentinels(const config_t *config, const char *file,
                          struct ftl__cli_settings *settings)
{
    const config_setting_t *list = config_lookup(config, "redis.sentinels");
    const char *password;
    if (list == NULL)
        return 0;
    int rc = take_text(config, file, "redis.master", &settings->master);
    if (rc == 0 && settings->master == NULL)
        return ftl__cli_failed("%s:%u: redis.sentinels: need the name of the master", file,
                               config_setting_source_line(list));
    if (rc == 0)
        rc = find_text(config, file, "redis.sentinel_password_file", &password);
    if (rc == 0 && password != NULL)
        rc = read_password(password, &settings->sentinel_password);
    (void)config_lookup_int(config, "redis.db", &settings->db);
    return rc == 0 ? copy_sentinels(list, file, settings) : rc;
}

static int take_address(const config_t *config, const char *file,
                        struct ftl__cli_settings *settings)
{
    const char *url, *password;
    int rc = find_text(config, file, "redis.url", &url);
    if (rc == 0 && url != NULL)
        rc = replace(&settings->url, url);
    if (rc == 0)
        rc = take_text(config, file, "redis.user", &settings->user);
    if (rc == 0)
        rc = find_text(config, file, "redis.password_file", &password);
    if (rc == 0 && password != NULL)
        rc = read_password(password, &settings->password);
    return rc == 0 ? take_sentinels(config, file, settings) : rc;
}

/* Whom to trust holds for an address from the command line, too. */
static int take_tls(const config_t *config, const char *file, struct ftl__cli_settings *settings)
{
    struct ftl__tls_options *tls = &settings->tls;
    int verify = true;
    settings->tls_set = config_lookup(config, "redis.tls") != NULL;
    (void)config_lookup_bool(config, "redis.tls.verify", &verify);
    tls->verify = verify;
    int rc = take_text(config, file, "redis.tls.ca_file", &tls->ca_file);
    if (rc == 0)
        rc = take_text(config, file, "redis.tls.cert_file", &tls->cert_file);
    if (rc == 0)
        rc = take_text(config, file, "redis.tls.key_file", &tls->key_file);
    return rc == 0 ? take_text(config, file, "redis.tls.server_name", &tls->server_name) : rc;
}

static int take(const config_t *config, const char *file, bool address,
                struct ftl__cli_settings *settings)
{
    const char *prefix;
    int max_payload;
    int rc = address ? take_address(config, file, settings) : 0;
    if (rc == 0)
        rc = take_tls(config, file, settings);
    if (rc == 0)
        rc = find_text(config, file, "redis.prefix", &prefix);
    if (rc == 0 && prefix != NULL)
        rc = replace(&settings->prefix, prefix);
    if (config_lookup_int(config, "max_payload", &max_payload) == CONFIG_TRUE && max_payload > 0)
        settings->max_payload = (size_t)max_payload;
    return rc;
}

/* A byte order mark is something that libconfig would only call a syntax error. */
static bool has_mark(FILE *stream)
{
    char begin[3];
    bool found = fread(begin, 1, 3, stream) == 3 && memcmp(begin, "\xef\xbb\xbf", 3) == 0;
    rewind(stream);
    return found;
}

static int read_stream(FILE *stream, const char *file, bool address,
                       struct ftl__cli_settings *settings)
{
    struct stat st;
    config_t config;
    int rc;
    if (fstat(fileno(stream), &st) != 0 || !S_ISREG(st.st_mode))
        return ftl__cli_failed("%s: is no regular file", file);
    if (has_mark(stream))
        return ftl__cli_failed("%s: begins with a byte order mark: save it as UTF-8 without one",
                               file);
    config_init(&config);
    if (config_read(&config, stream) != CONFIG_TRUE)
        rc = ftl__cli_failed("%s:%d: %s", file, config_error_line(&config),
                             config_error_text(&config));
    else
        rc = take(&config, file, address, settings);
    config_destroy(&config);
    return rc;
}

/* `optional`: what is not there, or not for us, changes nothing. Opening does not wait, as for the
 * other end of a FIFO. */
static int read_file(const char *file, bool optional, bool address,
                     struct ftl__cli_settings *settings)
{
    int fd = open(file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    FILE *stream = fd >= 0 ? fdopen(fd, "r") : NULL;
    if (stream == NULL) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        return optional ? 0 : ftl__cli_failed("%s: %s", file, strerror(error));
    }
    int rc = read_stream(stream, file, address, settings);
    fclose(stream);
    return rc;
}

static int fill(const struct ftl__cli_options *options, struct ftl__cli_settings *settings)
{
    const char *environment = getenv("FETTLE_REDIS_URL");
    bool named = options->config != NULL;
    const char *url = options->redis;
    if (url == NULL && environment != NULL && *environment != '\0')
        url = environment;
    /* Without any address the file counts: one that we may not read must be told. */
    bool optional = !named && (url != NULL || access(DEFAULT_FILE, F_OK) != 0);
    if (replace(&settings->url, DEFAULT_URL) != 0 || replace(&settings->prefix, "") != 0)
        return FTL__EXIT_FAILED;
    int rc = read_file(named ? options->config : DEFAULT_FILE, optional, url == NULL, settings);
    if (rc == 0 && url != NULL)
        rc = replace(&settings->url, url);
    if (rc == 0 && options->prefix != NULL)
        rc = replace(&settings->prefix, options->prefix);
    return rc;
}

int ftl__cli_settings_read(const struct ftl__cli_options *options,
                           struct ftl__cli_settings *ret_settings)
{
    struct ftl__cli_settings settings = {.max_payload = DEFAULT_MAX_PAYLOAD, .tls.verify = true};
    int rc = fill(options, &settings);
    if (rc == 0)
        *ret_settings = settings;
    else
        ftl__cli_settings_clear(&settings);
    return rc;
}

void ftl__cli_settings_clear(struct ftl__cli_settings *settings)
{
    if (settings->password != NULL)
        explicit_bzero(settings->password, strlen(settings->password));
    if (settings->url != NULL)
        explicit_bzero(settings->url, strlen(settings->url));
    free(settings->password);
    free(settings->url);
    if (settings->sentinel_password != NULL)
        explicit_bzero(settings->sentinel_password, strlen(settings->sentinel_password));
    free(settings->sentinel_password);
    for (char **text = settings->sentinels; text != NULL && *text != NULL; text++)
        free(*text);
    free(settings->sentinels);
    free(settings->master);
    free(settings->tls.ca_file);
    free(settings->tls.cert_file);
    free(settings->tls.key_file);
    free(settings->tls.server_name);
    free(settings->user);
    free(settings->prefix);
    *settings = (struct ftl__cli_settings){.max_payload = 0};
}
