/* Plain JSON readings to columns.
 *
 * A reading is plain if it is what nearly all gateways send: one object of the known fields, each at most once, strings
 * of ASCII without escapes, a time in epoch milliseconds or RFC 3339 with a zone, numbers that a double holds as they
 * are written. Everything else, whatever is wrong or merely unusual with it, is left to the JSON library, which also
 * says what is wrong. So nothing is decided here but "this is certainly right".
 *
 * No pointer passes the end of its message. Loaded by json_scan.py; needs no library but C's. */

#include <stdint.h>
#include <string.h>

enum { METER, METRIC, ATTRIBUTE, TIMESTAMP, VALUE, INTERVAL, QUALITY, REVISION, UNIT, FIELDS };
#define REQUIRED 0x1f

typedef struct {
    const uint8_t *at, *end;
} cursor;

typedef struct {
    const uint8_t *start;
    int64_t length;
} text;

static void skip_space(cursor *c) {
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n' || *c->at == '\t' || *c->at == '\r')) c->at++;
}

static int take(cursor *c, uint8_t byte) {
    skip_space(c);
    if (c->at == c->end || *c->at != byte) return 0;
    c->at++;
    return 1;
}

static int take_text(cursor *c, text *found) {
    if (!take(c, '"')) return 0;
    found->start = c->at;
    while (c->at < c->end && *c->at != '"') {
        if (*c->at < 0x20 || *c->at >= 0x7f || *c->at == '\\') return 0;
        c->at++;
    }
    if (c->at == c->end) return 0;
    found->length = c->at++ - found->start;
    return 1;
}

static const double TENS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                              1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static int is_digit(const cursor *c) { return c->at < c->end && *c->at >= '0' && *c->at <= '9'; }

/* Digits of at most 15 places in all, so that a double holds them: no more than `room` of them. */
static int take_digits(cursor *c, int64_t *number, int room) {
    int count = 0;
    while (is_digit(c)) {
        if (++count > room) return -1;
        *number = *number * 10 + (*c->at++ - '0');
    }
    return count;
}

/* The whole part of a JSON number: no sign alone, no leading zero. Gives back its digits, 0 if it is none. */
static int take_whole(cursor *c, int64_t *number, int *negative) {
    skip_space(c);
    *negative = c->at < c->end && *c->at == '-';
    c->at += *negative;
    const uint8_t *first = c->at;
    *number = 0;
    int digits = take_digits(c, number, 15);
    return digits > 1 && *first == '0' ? 0 : digits < 0 ? 0 : digits;
}

static int take_integer(cursor *c, int64_t low, int64_t high, int64_t *number) {
    int negative;
    if (!take_whole(c, number, &negative)) return 0;
    if (c->at < c->end && (*c->at == '.' || *c->at == 'e' || *c->at == 'E')) return 0;
    if (negative) *number = -*number;
    return low <= *number && *number <= high;
}

/* Mantissa and power of ten are exact in a double, so one operation on them rounds as it has to (Clinger 1990). */
static int take_number(cursor *c, double *number) {
    int64_t mantissa;
    int negative, power = 0, digits = take_whole(c, &mantissa, &negative);
    if (!digits) return 0;
    if (c->at < c->end && *c->at == '.') {
        c->at++;
        int places = take_digits(c, &mantissa, 15 - digits);
        if (places < 1) return 0;
        power = -places;
    }
    if (c->at < c->end && (*c->at == 'e' || *c->at == 'E')) {
        c->at++;
        int minus = c->at < c->end && *c->at == '-';
        if (c->at < c->end && (*c->at == '-' || *c->at == '+')) c->at++;
        int64_t written = 0;
        if (take_digits(c, &written, 3) < 1) return 0;
        power += minus ? -(int)written : (int)written;
    }
    if (power < -22 || power > 22 || (negative && !mantissa)) return 0;
    *number = power < 0 ? (double)mantissa / TENS[-power] : (double)mantissa * TENS[power];
    if (negative) *number = -*number;
    return 1;
}

/* A number of exactly `count` digits at p, which are there; -1 if they are none. */
static int fixed(const uint8_t *p, int count) {
    int number = 0;
    for (int i = 0; i < count; i++) {
        if (p[i] < '0' || p[i] > '9') return -1;
        number = number * 10 + (p[i] - '0');
    }
    return number;
}

/* Days from 1970-01-01 in the proleptic Gregorian calendar; years begin in March, so that a leap day is the last. */
static int64_t days_of(int year, int month, int day) {
    year -= month <= 2;
    int era = year / 400, of_era = year - era * 400;
    int of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return (int64_t)era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* RFC 3339 as `2024-02-29T23:59:59.123456+01:00` or with Z: up to microseconds, cut to milliseconds. */
static int instant_of(const text *t, int64_t *ms) {
    static const int DAYS[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const uint8_t *p = t->start, *end = p + t->length;
    if (t->length < 20 || p[4] != '-' || p[7] != '-' || p[10] != 'T' || p[13] != ':' || p[16] != ':') return 0;
    int year = fixed(p, 4), month = fixed(p + 5, 2), day = fixed(p + 8, 2);
    int hour = fixed(p + 11, 2), minute = fixed(p + 14, 2), second = fixed(p + 17, 2);
    if (year < 1 || month < 1 || month > 12 || day < 1 || hour < 0 || hour > 23) return 0;
    if (minute < 0 || minute > 59 || second < 0 || second > 59) return 0;
    int leap = month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (day > DAYS[month - 1] + leap) return 0;
    int64_t fraction = 0;
    int offset = 0, places = 0;
    p += 19;
    if (*p == '.') {
        for (p++; p < end && *p >= '0' && *p <= '9'; p++, places++)
            if (places < 3) fraction = fraction * 10 + (*p - '0');
        if (places < 1 || places > 6) return 0;
    }
    for (int i = places; i < 3; i++) fraction *= 10;
    if (end - p == 1) {
        if (*p != 'Z') return 0;
    } else {
        if (end - p != 6 || (*p != '+' && *p != '-') || p[3] != ':') return 0;
        int hours = fixed(p + 1, 2), minutes = fixed(p + 4, 2);
        if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) return 0;
        offset = (*p == '-' ? -1 : 1) * (hours * 60 + minutes);
    }
    *ms = ((days_of(year, month, day) * 24 + hour) * 60 + minute - offset) * 60000 + second * 1000 + fraction;
    return 1;
}

/* What ids keys have: key k's names begin at bounds[3k], bounds[3k+1], bounds[3k+2] of names and end where the next
 * one begins. `slots` (a power of two of them, half of them free) hold ids, -1 is free. */
typedef struct {
    const uint8_t *names;
    const int64_t *bounds;
    int32_t *slots;
    int64_t mask;
    uint64_t seed; /* differs between processes, so that nobody can choose names that all fall into one slot */
} key_index;

static uint64_t mix(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
    return hash ^ hash >> 32;
}

static uint64_t hash_of(const key_index *index, const text *names) {
    uint64_t hash = index->seed;
    for (int i = 0; i < 3; i++) {
        const uint8_t *p = names[i].start;
        int64_t left = names[i].length;
        uint64_t word;
        for (; left >= 8; left -= 8, p += 8) {
            memcpy(&word, p, 8);
            hash = mix(hash, word);
        }
        word = (uint64_t)left << 56;
        memcpy(&word, p, left);
        hash = mix(hash, word);
    }
    return hash;
}

static int is_key(const key_index *index, int32_t id, const text *names) {
    for (int i = 0; i < 3; i++) {
        int64_t from = index->bounds[3 * (int64_t)id + i];
        if (index->bounds[3 * (int64_t)id + i + 1] - from != names[i].length) return 0;
        if (memcmp(index->names + from, names[i].start, names[i].length)) return 0;
    }
    return 1;
}

static int64_t slot_of(const key_index *index, const text *names) {
    int64_t slot = hash_of(index, names) & index->mask;
    while (index->slots[slot] >= 0 && !is_key(index, index->slots[slot], names)) slot = (slot + 1) & index->mask;
    return slot;
}

/* Put keys first..past-1 into the index. */
void put_keys(const key_index *index, int64_t first, int64_t past) {
    for (int64_t id = first; id < past; id++) {
        text names[3];
        for (int i = 0; i < 3; i++) {
            names[i].start = index->names + index->bounds[3 * id + i];
            names[i].length = index->bounds[3 * id + i + 1] - index->bounds[3 * id + i];
        }
        index->slots[slot_of(index, names)] = (int32_t)id;
    }
}

/* The columns of n readings. `message`: which of the messages it is. `names` (6 n): of a key that has no id yet where
 * its names begin in data, and how long they are; one row a key that was met so. */
typedef struct {
    int32_t *message, *key;
    int64_t *ts;
    double *value;
    int32_t *interval;
    uint8_t *quality;
    uint16_t *revision;
    int64_t *names;
} columns;

static int field_of(const text *name, const uint8_t *const *fields, const int64_t *lengths, int likely) {
    for (int i = 0; i < FIELDS; i++) {
        int field = (likely + i) % FIELDS; /* fields come in the same order again and again */
        if (lengths[field] == name->length && !memcmp(fields[field], name->start, name->length)) return field;
    }
    return -1;
}

static int read_message(cursor *c, const uint8_t *const *fields, const int64_t *lengths, int64_t first_ms,
                        int64_t last_ms, text *names, int64_t *numbers, double *value) {
    unsigned seen = 0;
    int likely = 0;
    if (!take(c, '{')) return 0;
    do {
        text name, word;
        if (!take_text(c, &name) || !take(c, ':')) return 0;
        int field = field_of(&name, fields, lengths, likely);
        if (field < 0 || seen & 1u << field) return 0;
        seen |= 1u << field;
        likely = field + 1;
        skip_space(c);
        switch (field) {
        case METER: case METRIC: case ATTRIBUTE:
            if (!take_text(c, &names[field])) return 0;
            break;
        case TIMESTAMP:
            if (c->at < c->end && *c->at == '"') {
                if (!take_text(c, &word) || !instant_of(&word, &numbers[TIMESTAMP])) return 0;
                if (numbers[TIMESTAMP] < first_ms || numbers[TIMESTAMP] > last_ms) return 0;
            } else if (!take_integer(c, first_ms, last_ms, &numbers[TIMESTAMP])) return 0;
            break;
        case VALUE:
            if (!take_number(c, value)) return 0;
            break;
        case INTERVAL:
            if (!take_integer(c, 0, INT32_MAX, &numbers[INTERVAL])) return 0;
            break;
        case QUALITY:
            if (!take_integer(c, 0, UINT8_MAX, &numbers[QUALITY])) return 0;
            break;
        case REVISION:
            if (!take_integer(c, 0, UINT16_MAX, &numbers[REVISION])) return 0;
            break;
        default:
            if (!take_text(c, &word)) return 0;
        }
    } while (take(c, ','));
    if (!take(c, '}')) return 0;
    skip_space(c);
    return c->at == c->end && (seen & REQUIRED) == REQUIRED;
}

/* Read the plain ones of n messages; how many there are. `key` gets their ids, -1 for keys that have none. */
int64_t scan(const uint8_t *data, const int64_t *start, const int64_t *length, int64_t n, const uint8_t *const *fields,
             const int64_t *lengths, int64_t first_ms, int64_t last_ms, const key_index *index, const columns *out) {
    int64_t found = 0, unknown = 0;
    for (int64_t i = 0; i < n; i++) {
        if (length[i] <= 0) continue;
        cursor c = {data + start[i], data + start[i] + length[i]};
        text names[3];
        int64_t numbers[FIELDS] = {0};
        double value = 0;
        if (!read_message(&c, fields, lengths, first_ms, last_ms, names, numbers, &value)) continue;
        out->message[found] = (int32_t)i;
        out->key[found] = index->slots[slot_of(index, names)];
        out->ts[found] = numbers[TIMESTAMP];
        out->value[found] = value;
        out->interval[found] = (int32_t)numbers[INTERVAL];
        out->quality[found] = (uint8_t)numbers[QUALITY];
        out->revision[found] = (uint16_t)numbers[REVISION];
        for (int k = 0; out->key[found] < 0 && k < 3; k++) {
            out->names[unknown++] = names[k].start - data;
            out->names[unknown++] = names[k].length;
        }
        found++;
    }
    return found;
}
