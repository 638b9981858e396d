/* Records of one Avro schema as columns in Arrow's layout.
 *
 * The bytes are not to be trusted. A record lies between two places that the caller knows to be inside its memory; no byte behind
 * the second one decides anything, and at most SPARE of them are looked at. All memory that is written to is the caller's.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "numbers are taken as they lie in memory"
#endif

#define LAYOUT 3 /* of everything below; the caller compares it with its own */
#define SPARE 16 /* bytes behind the last record, and behind the texts that are cut, which may be touched */
#define HEAD 5   /* bytes before the record of a message */
#define HIGH UINT64_C(0x8080808080808080)
#define SLOTS 4096 /* of a table of words; four times as many as there may be words */

enum kind { BOOLEAN, LONG, FLOAT, DOUBLE, FIXED, SIZED, RECORD, LIST };
enum nullable { REQUIRED, NULL_FIRST, NULL_SECOND };

/* What is read, and where it goes. The fields of a record stand behind it, those of a list's items behind that, `size` of them at
 * any depth; a field inside a list has a row for each item. */
struct field {
    int32_t kind, nullable;
    int64_t size;     /* of FIXED: its bytes */
    int64_t room;     /* of LIST: how many items there may be */
    void *values;     /* one byte, eight, four, eight; where each of FIXED and SIZED begins, in four; where each of LIST ends,
                         in four, behind a zero */
    int32_t *lengths; /* of FIXED and SIZED */
    uint8_t *bits;    /* set for what is there; the caller has cleared them; none where nothing may be missing */
    int64_t missing, held; /* answers: values that are missing; bytes of all FIXED and SIZED, items of all LIST */
};

struct reader {
    const uint8_t *data, *at, *end;
    int counting; /* items alone, so that room can be made for them: nothing else is written */
    uint8_t nowhere[8];
};

int records_layout(void) { return LAYOUT; }

static uint64_t word_at(const uint8_t *at) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static uint64_t first_bytes(uint64_t word, int64_t count) { /* so many of a word's eight, of more all, of fewer than one none */
    if (count >= 8) return word;
    return count > 0 ? word & ((UINT64_C(1) << (count * 8)) - 1) : 0;
}

/* Eight groups of seven bits, put together. */
static uint64_t packed(uint64_t word) {
    word = (word & UINT64_C(0x007F007F007F007F)) | ((word & UINT64_C(0x7F007F007F007F00)) >> 1);
    word = (word & UINT64_C(0x00003FFF00003FFF)) | ((word & UINT64_C(0x3FFF00003FFF0000)) >> 2);
    return (word & UINT64_C(0x0FFFFFFF)) | ((word & UINT64_C(0x0FFFFFFF00000000)) >> 4);
}

static int unzigzag(uint64_t found, int64_t *value) {
    *value = (int64_t)(found >> 1) ^ -(int64_t)(found & 1);
    return 1;
}

static int read_long(struct reader *from, int64_t *value) {
    uint64_t word = word_at(from->at), stops = ~word & HIGH;
    if (from->at < from->end && !(word & 0x80)) {
        from->at++;
        return unzigzag(word & 0x7F, value);
    }
    if (stops) {
        int64_t bytes = (__builtin_ctzll(stops) >> 3) + 1;
        if (bytes > from->end - from->at) return 0;
        from->at += bytes;
        return unzigzag(packed(first_bytes(word, bytes)), value);
    }
    if (from->end - from->at < 9) return 0;
    uint64_t ninth = from->at[8], found = packed(word) | (ninth & 0x7F) << 56;
    from->at += 9;
    if (ninth < 0x80) return unzigzag(found, value);
    if (from->at >= from->end || *from->at > 1) return 0;
    return unzigzag(found | (uint64_t)*from->at++ << 63, value);
}

static int read_bytes(struct reader *from, struct field *to, int64_t row, int64_t count) {
    if (count < 0 || count > from->end - from->at) return 0;
    if (!from->counting) {
        ((int32_t *)to->values)[row] = (int32_t)(from->at - from->data);
        to->lengths[row] = (int32_t)count;
        to->held += count;
    }
    from->at += count;
    return 1;
}

static int read_raw(struct reader *from, struct field *to, int64_t row, int64_t count) {
    if (count > from->end - from->at) return 0;
    memcpy(from->counting ? from->nowhere : (uint8_t *)to->values + count * row, from->at, (size_t)count);
    from->at += count;
    return 1;
}

static int read_value(struct reader *from, struct field *to, int64_t row) {
    int64_t number;
    switch (to->kind) {
    case BOOLEAN: return read_raw(from, to, row, 1);
    case FLOAT: return read_raw(from, to, row, 4);
    case DOUBLE: return read_raw(from, to, row, 8);
    case FIXED: return read_bytes(from, to, row, to->size);
    case RECORD: return 1;
    }
    if (!read_long(from, &number)) return 0;
    if (to->kind == SIZED) return read_bytes(from, to, row, number);
    if (!from->counting) ((int64_t *)to->values)[row] = number;
    return 1;
}

/* Nothing is there, or nothing that can be read: a value that no one looks at, the same every time. Answers which field is next. */
static int64_t leave_out(const struct reader *from, struct field *fields, int64_t at, int64_t row) {
    struct field *to = fields + at;
    int64_t next = at + 1 + (to->kind == LIST ? to->size : 0);
    if (from->counting) return next;
    switch (to->kind) {
    case BOOLEAN: ((uint8_t *)to->values)[row] = 0; break;
    case LONG: case DOUBLE: ((int64_t *)to->values)[row] = 0; break;
    case FLOAT: ((int32_t *)to->values)[row] = 0; break;
    case RECORD: break;
    case LIST: ((int32_t *)to->values)[row + 1] = (int32_t)to->held; break;
    default: ((int32_t *)to->values)[row] = 0, to->lengths[row] = 0;
    }
    to->missing++;
    return next;
}

static int read_items(struct reader *from, struct field *list, int64_t row);

/* One record, or one item; answers whether all of it was read. */
static int read_fields(struct reader *from, struct field *fields, int64_t count, int64_t row) {
    int64_t at = 0;
    while (at < count) {
        struct field *to = fields + at;
        int holds = to->kind == RECORD || to->kind == LIST, there = 1;
        if (to->nullable) {
            if (from->at >= from->end) break;
            uint8_t branch = *from->at++;
            if (branch != 0 && branch != 2) break;
            there = (branch == 0) == (to->nullable == NULL_SECOND);
        }
        if (!there) {
            for (int64_t next = at + 1 + (holds ? to->size : 0); at < next;) at = leave_out(from, fields, at, row);
            continue;
        }
        if (to->kind == LIST ? !read_items(from, to, row) : !read_value(from, to, row)) break;
        if (to->bits && !from->counting) to->bits[row >> 3] |= (uint8_t)(1u << (row & 7));
        at += 1 + (to->kind == LIST ? to->size : 0);
    }
    int whole = at == count;
    while (at < count) at = leave_out(from, fields, at, row);
    return whole;
}

/* An array, or a map as pairs: blocks of items until one has none. A negative count has the block's size in bytes behind it. */
static int read_items(struct reader *from, struct field *list, int64_t row) {
    int64_t items, size;
    while (read_long(from, &items)) {
        if (!items) {
            if (!from->counting) ((int32_t *)list->values)[row + 1] = (int32_t)list->held;
            return 1;
        }
        if (items < 0 && (items == INT64_MIN || !read_long(from, &size))) return 0;
        for (items = items < 0 ? -items : items; items; items--) {
            if (list->held == list->room || !read_fields(from, list + 1, list->size, list->held++)) return 0;
        }
    }
    return 0;
}

/* Stretches of records, so many in each; without `counts` it is one. Whether each record is good, and where it began.
 *
 * One that cannot be read makes all behind it in the same stretch bad; so does one behind which bytes are left over make itself.
 * Where items are counted, only how many each list has is answered.
 */
void records_read(
    const uint8_t *data, const int64_t *starts, const int64_t *ends, const int64_t *counts, int64_t stretches,
    struct field *fields, int64_t count, int counting, uint8_t *good, int64_t *begins) {
    int64_t row = 0;
    for (int64_t stretch = 0; stretch < stretches; stretch++) {
        struct reader from = {data, data + starts[stretch], data + ends[stretch], counting, {0}};
        int64_t last = row + (counts ? counts[stretch] : 1);
        for (int sound = 1; row < last; row++) {
            begins[row] = from.at - data;
            if (!sound) from.at = from.end;
            sound = read_fields(&from, fields, count, row) && sound && (row + 1 < last || from.at == from.end);
            good[row] = (uint8_t)sound;
        }
    }
}

/* The schema id that all messages have: four bytes behind a zero, with something behind them. -1 where that is not so. */
int64_t records_schema(const uint8_t *data, const int64_t *starts, int64_t count) {
    uint64_t head = count ? first_bytes(word_at(data + starts[0]), HEAD) : 1;
    if (head & 0xFF) return -1;
    for (int64_t row = 0; row < count; row++) {
        if (starts[row + 1] - starts[row] <= HEAD) return -1;
        if (first_bytes(word_at(data + starts[row]), HEAD) != head) return -1;
    }
    return __builtin_bswap32((uint32_t)(head >> 8));
}

/* Values one behind the other; answers whether all are ASCII. `ends` has one more than there are, the first of them zero. */
int records_cut(
    const uint8_t *data, const int32_t *starts, const int32_t *lengths, int64_t count, int32_t *ends, uint8_t *to) {
    int32_t end = 0;
    for (int64_t row = 0; row < count; row++) {
        const uint8_t *from = data + starts[row];
        if (lengths[row] <= SPARE) memcpy(to + end, from, SPARE);
        else memcpy(to + end, from, (size_t)lengths[row]);
        ends[row + 1] = end += lengths[row];
    }
    uint64_t seen = 0;
    for (int64_t at = 0; at < end; at += 8) seen |= first_bytes(word_at(to + at), end - at);
    return !(seen & HIGH);
}

/* The Unicode Standard, table 3-7: well-formed sequences of bytes. */
static int is_utf8(const uint8_t *at, int64_t count) {
    const uint8_t *end = at + count;
    while (at < end) {
        if (!(first_bytes(word_at(at), end - at) & HIGH)) {
            at += end - at < 8 ? end - at : 8;
            continue;
        }
        uint8_t first = *at++;
        if (first < 0x80) continue;
        int more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
        if (first < 0xC2 || first > 0xF4 || end - at < more) return 0;
        uint8_t least = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
        uint8_t most = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
        if (*at < least || *at > most) return 0;
        for (at++; --more; at++)
            if ((*at & 0xC0) != 0x80) return 0;
    }
    return 1;
}

/* Values that are not UTF-8 are not good. */
void records_check(const uint8_t *data, const int32_t *starts, const int32_t *lengths, int64_t count, uint8_t *good) {
    for (int64_t row = 0; row < count; row++) good[row] &= (uint8_t)is_utf8(data + starts[row], lengths[row]);
}

static uint64_t hashed(const uint8_t *at, int64_t count) {
    const uint64_t odd = UINT64_C(0x9E3779B97F4A7C15);
    uint64_t hash = (uint64_t)count * odd;
    for (; count > 0; count -= 8, at += 8) {
        hash = (hash ^ first_bytes(word_at(at), count)) * odd;
        hash ^= hash >> 32;
    }
    return hash;
}

static int same(const uint8_t *one, const uint8_t *other, int64_t count) {
    if (count > 16) return !memcmp(one, other, (size_t)count);
    uint64_t differ = first_bytes(word_at(one) ^ word_at(other), count);
    return !(differ | first_bytes(word_at(one + 8) ^ word_at(other + 8), count - 8));
}

/* Values that recur, by number: the rows in which each one is first, how many there are, -1 of more than `most`. */
int64_t records_recurring(
    const uint8_t *data, const int32_t *starts, const int32_t *lengths, int64_t count, int64_t most, int32_t *numbers,
    int32_t *firsts) {
    int32_t slots[SLOTS];
    int64_t known = 0;
    memset(slots, 0xFF, sizeof slots);
    for (int64_t row = 0; row < count; row++) {
        const uint8_t *value = data + starts[row];
        uint64_t slot = hashed(value, lengths[row]) % SLOTS;
        for (;; slot = (slot + 1) % SLOTS) {
            int32_t number = slots[slot];
            if (number < 0) {
                if (known == most) return -1;
                firsts[known] = (int32_t)row;
                slots[slot] = numbers[row] = (int32_t)known++;
                break;
            }
            int32_t first = firsts[number];
            if (lengths[first] == lengths[row] && same(data + starts[first], value, lengths[row])) {
                numbers[row] = number;
                break;
            }
        }
    }
    return known;
}
