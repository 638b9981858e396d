/* A batch of librdkafka's messages as columns in Arrow's layout.
 *
 * Needs neither Python's nor librdkafka's headers: the caller hands over the few functions it calls, found in the library
 * that confluent-kafka has loaded, and all memory that is written to. Sizes come from `messages_measure`.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LAYOUT 2 /* of everything below; the caller compares it with its own */
#define AHEAD 8  /* messages whose values are fetched into the cache before their turn; twice as many for themselves */
#define LINE 64  /* bytes of the cache at a time */
#define OWN 3    /* lines of a message, with what librdkafka keeps behind it */
#define FRONT 2  /* and in front of it */
#define VALUE 4  /* lines of a value; what comes then, the machine guesses */

/* librdkafka's rd_kafka_message_t, which is public and has stood unchanged since 2012. */
struct message {
    int error;
    void *topic;
    int32_t partition;
    void *value;
    size_t value_size;
    void *key;
    size_t key_size;
    int64_t offset;
    void *own;
};

struct calls {
    int64_t (*timestamp)(const struct message *, int *kind);
    int (*headers)(const struct message *, void **headers);
    size_t (*count)(const void *headers);
    int (*header)(const void *headers, size_t index, const char **name, const void **value, size_t *size);
    void (*destroy)(struct message *);
};

struct sizes {
    int64_t kept; /* messages that are none but an error are not */
    int64_t value_bytes, null_values;
    int64_t key_bytes, null_keys;
    int64_t with_headers, headers, name_bytes, header_bytes;
};

/* Bits are set for what is there; the caller has cleared them. Ends start with a zero, one more than there are values. */
struct columns {
    uint8_t *values, *value_bits;
    int64_t *value_ends;
    uint8_t *keys, *key_bits;
    int64_t *key_ends;
    int32_t *partitions;
    int64_t *offsets, *timestamps;
    uint8_t *list_bits;
    int32_t *list_ends;
    uint8_t *names;
    int64_t *name_ends;
    uint8_t *contents, *content_bits;
    int64_t *content_ends;
};

/* Nothing happens at any address. Inlined by force: else the compiler takes it for a function that does nothing. */
__attribute__((always_inline)) static inline void fetch(const void *from, int before, int lines) {
    for (int line = -before; line < lines; line++) __builtin_prefetch((const char *)from + line * LINE);
}

int messages_layout(void) { return LAYOUT; }

static void set(uint8_t *bits, int64_t at) { bits[at >> 3] |= (uint8_t)(1u << (at & 7)); }

static int64_t copied(uint8_t *to, int64_t end, const void *from, size_t size) {
    if (size) memcpy(to + end, from, size);
    return end + (int64_t)size;
}

static size_t headers_of(const struct calls *calls, const struct message *message, void **headers) {
    return calls->headers(message, headers) ? 0 : calls->count(*headers);
}

/* How many headers a message has stands behind its value, where the broker put it. */
void messages_measure(const struct calls *calls, struct message *const *messages, int64_t count, struct sizes *sizes) {
    for (int64_t at = 0; at < count; at++) {
        const struct message *each = messages[at];
        void *headers;
        if (at + 2 * AHEAD < count) fetch(messages[at + 2 * AHEAD], 0, OWN);
        if (at + AHEAD < count) fetch((char *)messages[at + AHEAD]->value + messages[at + AHEAD]->value_size, 0, 1);
        if (each->error) continue;
        sizes->kept++;
        sizes->value_bytes += (int64_t)each->value_size;
        sizes->null_values += !each->value;
        sizes->key_bytes += (int64_t)each->key_size;
        sizes->null_keys += !each->key;
        size_t those = headers_of(calls, each, &headers);
        sizes->with_headers += those > 0;
        sizes->headers += (int64_t)those;
        for (size_t index = 0; index < those; index++) {
            const char *name;
            const void *value;
            size_t size;
            if (calls->header(headers, index, &name, &value, &size)) continue;
            sizes->name_bytes += (int64_t)strlen(name);
            sizes->header_bytes += value ? (int64_t)size : 0;
        }
    }
}

/* Which ones are none but an error. */
void messages_errors(struct message *const *messages, int64_t count, int64_t *places) {
    for (int64_t at = 0; at < count; at++)
        if (messages[at]->error) *places++ = at;
}

/* One message's headers behind those of the messages before it; answers how many there are now. */
static int64_t gather_headers(
    const struct calls *calls, const void *headers, size_t those, const struct columns *to, int64_t done) {
    for (size_t index = 0; index < those; index++, done++) {
        const char *name = "";
        const void *value = NULL;
        size_t size = 0;
        if (calls->header(headers, index, &name, &value, &size)) name = "", value = NULL;
        to->name_ends[done + 1] = copied(to->names, to->name_ends[done], name, strlen(name));
        to->content_ends[done + 1] = copied(to->contents, to->content_ends[done], value, value ? size : 0);
        if (value) set(to->content_bits, done);
    }
    return done;
}

/* Fills the columns and gives all messages back to librdkafka, errors too. */
void messages_gather(
    const struct calls *calls, struct message **messages, int64_t count, const struct sizes *sizes,
    const struct columns *to) {
    int64_t row = 0, headers_done = 0;
    for (int64_t at = 0; at < count; at++) {
        struct message *each = messages[at];
        void *headers;
        int kind;
        if (at + 2 * AHEAD < count) fetch(messages[at + 2 * AHEAD], FRONT, OWN);
        if (at + AHEAD < count) fetch(messages[at + AHEAD]->value, 0, VALUE);
        if (!each->error) {
            to->value_ends[row + 1] = copied(to->values, to->value_ends[row], each->value, each->value_size);
            if (each->value) set(to->value_bits, row);
            to->key_ends[row + 1] = copied(to->keys, to->key_ends[row], each->key, each->key_size);
            if (each->key) set(to->key_bits, row);
            to->partitions[row] = each->partition;
            to->offsets[row] = each->offset;
            to->timestamps[row] = calls->timestamp(each, &kind);
            if (sizes->headers) {
                size_t those = headers_of(calls, each, &headers);
                headers_done = gather_headers(calls, headers, those, to, headers_done);
                to->list_ends[row + 1] = (int32_t)headers_done;
                if (those) set(to->list_bits, row);
            }
            row++;
        }
        calls->destroy(each);
    }
}
