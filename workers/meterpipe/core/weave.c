/* Texts of many columns, row by row behind one another. Loaded by weave.py; needs no library but C's. */

#include <stdint.h>
#include <string.h>

/* A column of texts: text i is data[bounds[i]..bounds[i + 1]]. Without bounds, the `length` bytes of data in each row. */
typedef struct {
    const char *data;
    const int32_t *bounds;
    int64_t length;
} part;

/* Write n rows of `count` parts to out; where each begins and how long it is. */
void weave(const part *parts, int64_t count, int64_t n, char *out, int64_t *start, int64_t *length) {
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        start[i] = at;
        for (const part *p = parts; p < parts + count; p++) {
            int64_t from = p->bounds ? p->bounds[i] : 0, bytes = p->bounds ? p->bounds[i + 1] - from : p->length;
            if (bytes) memcpy(out + at, p->data + from, bytes); /* an empty column may have no data at all */
            at += bytes;
        }
        length[i] = at - start[i];
    }
}
