/* Messages of librdkafka to columns and back: what cannot be done for a batch at once from Python.
 *
 * Loaded by library.py, which names librdkafka's functions: this file needs no header and no library but C's. */

#include <stdint.h>
#include <string.h>

/* rd_kafka_message_t, as rdkafka.h publishes it since 0.9. */
typedef struct {
    int32_t error;
    void *topic;
    int32_t partition;
    char *value;
    size_t value_length;
    char *key;
    size_t key_length;
    int64_t offset;
    void *private;
} message;

enum { PARTITION, OFFSET, ARRIVED, ERROR, VALUE_START, VALUE_LENGTH, KEY_START, KEY_LENGTH, COLUMNS };

int64_t message_columns(void) { return COLUMNS; }

/* Bytes that all values and keys take, with a newline after each value. */
int64_t measure(message **messages, int64_t n) {
    int64_t bytes = 0;
    for (int64_t i = 0; i < n; i++) bytes += messages[i]->value_length + 1 + messages[i]->key_length;
    return bytes;
}

/* Copy values (a newline after each) and then keys to data, and what else is known to COLUMNS columns of n numbers.
 * What is absent has length -1. The messages are given back to librdkafka. */
void take(message **messages, int64_t n, char *data, int64_t *columns, int64_t (*timestamp)(const message *, int *),
          void (*destroy)(message *)) {
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        message *m = messages[i];
        int kind;
        columns[PARTITION * n + i] = m->partition;
        columns[OFFSET * n + i] = m->offset;
        columns[ARRIVED * n + i] = timestamp(m, &kind);
        columns[ERROR * n + i] = m->error;
        columns[VALUE_START * n + i] = at;
        columns[VALUE_LENGTH * n + i] = m->value ? (int64_t)m->value_length : -1;
        if (m->value) memcpy(data + at, m->value, m->value_length);
        at += m->value ? m->value_length : 0;
        data[at++] = '\n';
    }
    for (int64_t i = 0; i < n; i++) {
        message *m = messages[i];
        columns[KEY_START * n + i] = at;
        columns[KEY_LENGTH * n + i] = m->key ? (int64_t)m->key_length : -1;
        if (m->key) memcpy(data + at, m->key, m->key_length);
        at += m->key ? m->key_length : 0;
        destroy(m);
    }
}
