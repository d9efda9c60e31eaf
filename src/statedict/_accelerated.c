/* The hot inner loops, in C: optional, and the same bit for bit as the numpy they stand in for.

   `kernels.py` and `expressions/` say what each computes; their numpy is the oracle in the tests. Sums are of doubles in
   a fixed order: element i of a block adds to lane i % LANES, and lanes are folded by halves at its end.

   This file includes itself once for each kind of processor (LEVEL), and chooses one when it is loaded. */

#ifndef LEVEL

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifndef _WIN32
#include <unistd.h>
#endif

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define HAS_LEVELS 1
#include <immintrin.h>
#else
#define HAS_LEVELS 0
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF /* GCC is told by an option */
#elif defined(_MSC_VER)
#define restrict __restrict
#endif

enum { LANES = 256, GROUP = 8 * LANES, BLOCK = 1 << 17 };

/* Element types, numbered as in `accelerator.CODES`. */
enum { F64, F32, F16, BF16, I64, U64, I32, U32, I16, U16, CODES };
static const int SIZES[CODES] = {8, 4, 2, 2, 8, 8, 4, 4, 2, 2};

/* What is said of a block, or of several, as `kernels.RECORD` lays it out. */
typedef struct {
    int64_t count, zeros, nans, positive_infinities, negative_infinities, denormals;
    union { double real; int64_t whole; uint64_t natural; } low, high;
    double sum, absolute, squares, deviations;
} Summary;

typedef struct { double sum[LANES], absolute[LANES], squares[LANES]; } Lanes;

/* What lies between two blocks, or several, as `pair_kernels._RECORD` lays it out; and its sums, lane by lane. */
typedef struct {
    int64_t count, same, changed, finite, nans, infinities, mended;
    double largest, absolute, squares, before, after;
} Difference;
typedef struct { double largest[LANES], absolute[LANES], squares[LANES], before[LANES], after[LANES]; } Between;

static double folded(double *lanes)
{
    for (int half = LANES / 2; half; half /= 2)
        for (int at = 0; at < half; at++) lanes[at] += lanes[at + half];
    return lanes[0] + 0.0; /* no negative zero */
}

#define PLUS_SQUARE(total, value) ((total) + (value) * (value))

static inline float float_of(uint32_t bits) { float value; memcpy(&value, &bits, 4); return value; }
static inline uint32_t bits_of(float value) { uint32_t bits; memcpy(&bits, &value, 4); return bits; }

#define OF_BRAIN(bits) float_of((uint32_t)(bits) << 16)

#define LEVEL 0
#define AT_LEVEL(name) name##_0
#include "_accelerated.c"
#undef LEVEL
#undef AT_LEVEL

#if HAS_LEVELS
#define PRAGMA(...) _Pragma(#__VA_ARGS__)
#if defined(__clang__)
#define BEGIN_TARGET(features) PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define END_TARGET PRAGMA(clang attribute pop)
#define WIDER
#else
#define BEGIN_TARGET(features) PRAGMA(GCC push_options) PRAGMA(GCC target(features))
#define END_TARGET PRAGMA(GCC pop_options)
#define WIDER ",prefer-vector-width=512"
#endif

#define LEVEL 1
#define AT_LEVEL(name) name##_1
BEGIN_TARGET("avx2,fma,f16c")
#include "_accelerated.c"
END_TARGET
#undef LEVEL
#undef AT_LEVEL

#define LEVEL 2
#define AT_LEVEL(name) name##_2
BEGIN_TARGET("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl" WIDER)
#include "_accelerated.c"
END_TARGET
#undef LEVEL
#undef AT_LEVEL
#endif

typedef struct {
    const char *name;
    void (*summarize)(int code, const void *data, int64_t count, Summary *out);
    void (*cast)(int from, const void *data, int to, void *out, int64_t count);
    void (*linear)(int terms, const unsigned char *codes, const void **inputs, const double *weights, double constant,
                   int to, void *out, int64_t count);
    void (*compare)(int first, const void *a, int second, const void *b, int64_t count, Difference *out);
} Kernels;

static const Kernels LEVELS[] = {
    {"baseline", summarize_0, cast_0, linear_0, compare_0},
#if HAS_LEVELS
    {"avx2", summarize_1, cast_1, linear_1, compare_1},
    {"avx512", summarize_2, cast_2, linear_2, compare_2},
#endif
};

static int best_level(void)
{
#if HAS_LEVELS
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
    int wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
               && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return wide ? 2 : 1;
#else
    return 0;
#endif
}

static const Kernels *chosen = LEVELS;

/* Add the summary of a block to that of those before it, as `Summary.merge` does. */
static void merge(int code, Summary *all, const Summary *block)
{
    int64_t first = all->count - all->nans - all->positive_infinities - all->negative_infinities;
    int64_t second = block->count - block->nans - block->positive_infinities - block->negative_infinities;
    double between = 0;
    if (first && second) {
        double apart = fabs(block->sum / (double)second - all->sum / (double)first);
        between = apart * apart * ((double)first * (double)second / (double)(first + second));
    }
    if (!first) all->low = block->low, all->high = block->high;
    else if (second) {
        int lower = code <= BF16 ? block->low.real < all->low.real
                    : code == U64 || code == U32 || code == U16 ? block->low.natural < all->low.natural
                                                                : block->low.whole < all->low.whole;
        int higher = code <= BF16 ? block->high.real > all->high.real
                     : code == U64 || code == U32 || code == U16 ? block->high.natural > all->high.natural
                                                                 : block->high.whole > all->high.whole;
        if (lower) all->low = block->low;
        if (higher) all->high = block->high;
    }
    all->count += block->count, all->zeros += block->zeros, all->nans += block->nans;
    all->positive_infinities += block->positive_infinities, all->negative_infinities += block->negative_infinities;
    all->denormals += block->denormals;
    all->sum += block->sum, all->absolute += block->absolute, all->squares += block->squares;
    all->deviations = all->deviations + block->deviations + between;
}

/* Counts. Two tables, so that equal neighbours do not wait for each other. */

static int count_bytes(const uint8_t *data, int64_t count, uint64_t *out)
{
    uint64_t tables[4][256];
    memset(tables, 0, sizeof tables);
    int64_t at = 0;
    for (; at + 8 <= count; at += 8) {
        uint64_t word;
        memcpy(&word, data + at, 8);
        for (int byte = 0; byte < 8; byte++) tables[byte % 4][word >> 8 * byte & 0xFF]++;
    }
    for (; at < count; at++) tables[0][data[at]]++;
    for (int bin = 0; bin < 256; bin++) out[bin] += tables[0][bin] + tables[1][bin] + tables[2][bin] + tables[3][bin];
    return 0;
}

#define COUNT_SIXTEEN(UNSIGNED)                                                                                        \
    do {                                                                                                               \
        const UNSIGNED *elements = data;                                                                               \
        int64_t at = 0;                                                                                                \
        if (shift + 16 == 8 * (int)sizeof(UNSIGNED)) {                                                                 \
            for (; at + 4 <= count; at += 4) { /* all are read before any is counted, which might be in their place */ \
                uint32_t one = elements[at] >> shift & 0xFFFF, two = elements[at + 1] >> shift & 0xFFFF;               \
                uint32_t three = elements[at + 2] >> shift & 0xFFFF, four = elements[at + 3] >> shift & 0xFFFF;        \
                tables[one]++, tables[two | 1 << 16]++, tables[three]++, tables[four | 1 << 16]++;                     \
            }                                                                                                          \
            for (; at < count; at++) tables[elements[at] >> shift & 0xFFFF]++;                                         \
        }                                                                                                              \
        else                                                                                                           \
            for (; at < count; at++)                                                                                   \
                if ((uint64_t)elements[at] >> (shift + 16) == prefix) tables[elements[at] >> shift & 0xFFFF]++;        \
    } while (0)

/* The 16 bits above `shift`, of those elements whose higher bits are `prefix`; of fewer than 2^32 elements. */
static void count_some(const void *data, int64_t count, int width, int shift, uint64_t prefix, uint32_t *tables)
{
    if (width == 2) COUNT_SIXTEEN(uint16_t);
    else if (width == 4) COUNT_SIXTEEN(uint32_t);
    else COUNT_SIXTEEN(uint64_t);
}

static int count_sixteen(const char *data, int64_t count, int width, int shift, uint64_t prefix, uint64_t *out)
{
    const int64_t most = 1 << 30;
    uint32_t *tables = malloc((2 << 16) * sizeof *tables);
    if (!tables) return -1;
    for (int64_t at = 0; at < count; at += most) {
        memset(tables, 0, (2 << 16) * sizeof *tables);
        count_some(data + at * width, count - at < most ? count - at : most, width, shift, prefix, tables);
        for (int bin = 0; bin < 1 << 16; bin++) out[bin] += (uint64_t)tables[bin] + tables[bin + (1 << 16)];
    }
    free(tables);
    return 0;
}

/* Python's side: buffers in, buffers out; all sizes are checked here, and nowhere below. */

static int fits(int wanted, int code, const Py_buffer *view)
{
    if (wanted && code >= 0 && code < CODES && (uintptr_t)view->buf % SIZES[code] == 0) return 1;
    PyErr_SetString(PyExc_ValueError, "buffers do not fit: expected aligned elements of a known type, equally many");
    return 0;
}

static PyObject *summarize(PyObject *self, PyObject *args)
{
    int code;
    Py_buffer data, out;
    if (!PyArg_ParseTuple(args, "iy*w*", &code, &data, &out)) return NULL;
    int64_t count = code >= 0 && code < CODES ? data.len / SIZES[code] : 0;
    int good = fits(out.len == sizeof(Summary), code, &data) && fits(1, F64, &out);
    if (good) {
        Summary *all = out.buf, block;
        memset(all, 0, sizeof *all);
        Py_BEGIN_ALLOW_THREADS
        for (int64_t at = 0; at < count; at += BLOCK) {
            chosen->summarize(code, (const char *)data.buf + at * SIZES[code], count - at < BLOCK ? count - at : BLOCK, &block);
            if (at) merge(code, all, &block);
            else *all = block;
        }
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&data);
    PyBuffer_Release(&out);
    if (!good) return NULL;
    Py_RETURN_NONE;
}

/* Add what lies between two blocks to what lies between those before. Of blocks of the same bits nothing is summed. */
static void compare_block(int first, const char *a, int second, const char *b, int64_t count, Difference *all)
{
    Difference block = {.count = count, .same = count};
    if (first != second || memcmp(a, b, count * SIZES[first]) != 0) chosen->compare(first, a, second, b, count, &block);
    all->count += block.count, all->same += block.same, all->changed += block.changed, all->finite += block.finite;
    all->nans += block.nans, all->infinities += block.infinities, all->mended += block.mended;
    all->largest = block.largest > all->largest ? block.largest : all->largest;
    all->absolute += block.absolute, all->squares += block.squares;
    all->before += block.before, all->after += block.after;
}

#ifndef _WIN32
/* One row of what `summarize_file` is asked for: elements of one type that lie side by side. */
typedef struct { int64_t code, offset, count; } Stretch;

/* Fill `room` from `offset` of a file on. Whether all of it was there. */
static int filled(int descriptor, char *room, int64_t size, int64_t offset)
{
    while (size) {
        ssize_t some = pread(descriptor, room, (size_t)size, (off_t)offset);
        if (some < 0 && errno == EINTR) continue;
        if (some <= 0) return 0;
        room += some, size -= some, offset += some;
    }
    return 1;
}

/* The summary of a stretch, a block at a time, which stays in the processor's own cache. Whether all could be read. */
static int summarize_stretch(int descriptor, const Stretch *asked, char *room, Summary *all)
{
    int code = (int)asked->code;
    Summary block;
    memset(all, 0, sizeof *all);
    for (int64_t at = 0; at < asked->count; at += BLOCK) {
        int64_t some = asked->count - at < BLOCK ? asked->count - at : BLOCK;
        if (!filled(descriptor, room, some * SIZES[code], asked->offset + at * SIZES[code])) return 0;
        chosen->summarize(code, room, some, &block);
        if (at) merge(code, all, &block);
        else *all = block;
    }
    return 1;
}

/* What a call that read files returns, once its buffers are given back. */
static PyObject *answered(int valid, int good, Py_buffer *asked, Py_buffer *room, Py_buffer *out)
{
    if (!valid && !PyErr_Occurred()) fits(0, F64, out);
    PyBuffer_Release(asked);
    PyBuffer_Release(room);
    PyBuffer_Release(out);
    return valid ? PyBool_FromLong(good) : NULL;
}

static PyObject *summarize_file(PyObject *self, PyObject *args)
{
    int descriptor, good = 1;
    Py_buffer asked, room, out;
    if (!PyArg_ParseTuple(args, "iy*w*w*", &descriptor, &asked, &room, &out)) return NULL;
    const Stretch *stretches = asked.buf;
    int64_t number = asked.len / (int64_t)sizeof(Stretch);
    int valid = out.len == number * (int64_t)sizeof(Summary) && room.len >= (int64_t)BLOCK * 8
                && fits(1, F64, &asked) && fits(1, F64, &room) && fits(1, F64, &out);
    for (int64_t at = 0; valid && at < number; at++)
        valid = stretches[at].code >= 0 && stretches[at].code < CODES && stretches[at].count >= 0;
    if (valid) {
        Py_BEGIN_ALLOW_THREADS
        for (int64_t at = 0; good && at < number; at++)
            good = summarize_stretch(descriptor, &stretches[at], room.buf, (Summary *)out.buf + at);
        Py_END_ALLOW_THREADS
    }
    return answered(valid, good, &asked, &room, &out);
}

/* One row of what `compare_file` is asked for: elements of one file, and as many of another. */
typedef struct { int64_t first, offset, second, beside, count; } Pair;

/* What lies between both sides of a pair, a block at a time. Whether all could be read. */
static int compare_pair(int file, int other, const Pair *asked, char *room, Difference *all)
{
    int first = (int)asked->first, second = (int)asked->second;
    char *before = room, *after = room + BLOCK * 8;
    memset(all, 0, sizeof *all);
    for (int64_t at = 0; at < asked->count; at += BLOCK) {
        int64_t some = asked->count - at < BLOCK ? asked->count - at : BLOCK;
        if (!filled(file, before, some * SIZES[first], asked->offset + at * SIZES[first])) return 0;
        if (!filled(other, after, some * SIZES[second], asked->beside + at * SIZES[second])) return 0;
        compare_block(first, before, second, after, some, all);
    }
    return 1;
}

static PyObject *compare_file(PyObject *self, PyObject *args)
{
    int file, other, good = 1;
    Py_buffer asked, room, out;
    if (!PyArg_ParseTuple(args, "iiy*w*w*", &file, &other, &asked, &room, &out)) return NULL;
    const Pair *pairs = asked.buf;
    int64_t number = asked.len / (int64_t)sizeof(Pair);
    int valid = out.len == number * (int64_t)sizeof(Difference) && room.len >= (int64_t)BLOCK * 16
                && fits(1, F64, &asked) && fits(1, F64, &room) && fits(1, F64, &out);
    for (int64_t at = 0; valid && at < number; at++)
        valid = pairs[at].first >= 0 && pairs[at].first <= BF16 && pairs[at].second >= 0 && pairs[at].second <= BF16
                && pairs[at].count >= 0;
    if (valid) {
        Py_BEGIN_ALLOW_THREADS
        for (int64_t at = 0; good && at < number; at++)
            good = compare_pair(file, other, &pairs[at], room.buf, (Difference *)out.buf + at);
        Py_END_ALLOW_THREADS
    }
    return answered(valid, good, &asked, &room, &out);
}
#endif

static PyObject *cast(PyObject *self, PyObject *args)
{
    int from, to;
    Py_buffer data, out;
    if (!PyArg_ParseTuple(args, "iy*iw*", &from, &data, &to, &out)) return NULL;
    int good = from >= 0 && from <= BF16 && to >= 0 && to <= BF16;
    int64_t count = good ? data.len / SIZES[from] : 0;
    good = fits(good && count * SIZES[to] == out.len, from, &data) && fits(1, to, &out);
    if (good) {
        Py_BEGIN_ALLOW_THREADS
        chosen->cast(from, data.buf, to, out.buf, count);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&data);
    PyBuffer_Release(&out);
    if (!good) return NULL;
    Py_RETURN_NONE;
}

enum { MOST_TERMS = 64 };

static PyObject *linear(PyObject *self, PyObject *args)
{
    Py_buffer codes, weights, out, views[MOST_TERMS];
    const void *inputs[MOST_TERMS];
    PyObject *given;
    double constant;
    int to;
    if (!PyArg_ParseTuple(args, "y*O!y*diw*", &codes, &PyTuple_Type, &given, &weights, &constant, &to, &out)) return NULL;
    Py_ssize_t terms = PyTuple_Size(given), held = 0;
    int good = to >= 0 && to <= BF16 && terms > 0 && terms <= MOST_TERMS && codes.len == terms
               && weights.len == terms * (Py_ssize_t)sizeof(double);
    int64_t count = good ? out.len / SIZES[to] : 0;
    good = fits(good, to, &out) && fits(1, F64, &weights);
    for (; good && held < terms; held++) {
        int code = ((unsigned char *)codes.buf)[held];
        if (PyObject_GetBuffer(PyTuple_GetItem(given, held), &views[held], PyBUF_SIMPLE) < 0) { good = 0; break; }
        inputs[held] = views[held].buf;
        good = fits(code <= BF16 && views[held].len == count * SIZES[code], code, &views[held]);
    }
    if (good) {
        Py_BEGIN_ALLOW_THREADS
        chosen->linear((int)terms, codes.buf, inputs, weights.buf, constant, to, out.buf, count);
        Py_END_ALLOW_THREADS
    }
    while (held) PyBuffer_Release(&views[--held]);
    PyBuffer_Release(&codes);
    PyBuffer_Release(&weights);
    PyBuffer_Release(&out);
    if (!good) return NULL;
    Py_RETURN_NONE;
}

static void compare_blocks(int first, const char *a, int second, const char *b, int64_t count, Difference *all)
{
    for (int64_t at = 0; at < count; at += BLOCK) {
        int64_t some = count - at < BLOCK ? count - at : BLOCK;
        compare_block(first, a + at * SIZES[first], second, b + at * SIZES[second], some, all);
    }
}

static PyObject *compare(PyObject *self, PyObject *args)
{
    int first, second;
    Py_buffer a, b, out;
    if (!PyArg_ParseTuple(args, "iy*iy*w*", &first, &a, &second, &b, &out)) return NULL;
    int good = first >= 0 && first <= BF16 && second >= 0 && second <= BF16 && out.len == sizeof(Difference);
    int64_t count = good ? a.len / SIZES[first] : 0;
    good = fits(good && count * SIZES[second] == b.len, first, &a) && fits(1, second, &b) && fits(1, F64, &out);
    if (good) {
        memset(out.buf, 0, sizeof(Difference));
        Py_BEGIN_ALLOW_THREADS
        compare_blocks(first, a.buf, second, b.buf, count, out.buf);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&a);
    PyBuffer_Release(&b);
    PyBuffer_Release(&out);
    if (!good) return NULL;
    Py_RETURN_NONE;
}

static PyObject *count(PyObject *self, PyObject *args)
{
    Py_buffer data, out;
    int width, shift, failed = 0;
    unsigned long long prefix;
    if (!PyArg_ParseTuple(args, "y*iiKw*", &data, &width, &shift, &prefix, &out)) return NULL;
    int known = (width == 1 && shift == 0)
                || ((width == 2 || width == 4 || width == 8) && shift >= 0 && shift % 16 == 0 && shift < 8 * width);
    int good = fits(known && out.len == (width == 1 ? 256 : 1 << 16) * 8, F64, &out)
               && fits(1, width == 8 ? F64 : width == 4 ? F32 : F16, width == 1 ? &out : &data);
    if (good) {
        Py_BEGIN_ALLOW_THREADS
        failed = width == 1 ? count_bytes(data.buf, data.len, out.buf)
                            : count_sixteen(data.buf, data.len / width, width, shift, prefix, out.buf);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&data);
    PyBuffer_Release(&out);
    if (!good) return NULL;
    if (failed) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *level(PyObject *self, PyObject *args)
{
    const char *name = NULL;
    if (!PyArg_ParseTuple(args, "|z", &name)) return NULL;
    if (name) {
        int most = best_level(), at = 0;
        while (at <= most && strcmp(LEVELS[at].name, name) != 0) at++;
        if (at > most) return PyErr_Format(PyExc_ValueError, "this processor has no level `%s`", name);
        chosen = &LEVELS[at];
    }
    return PyUnicode_FromString(chosen->name);
}

static PyMethodDef METHODS[] = {
    {"summarize", summarize, METH_VARARGS, "summarize(code, data, out): write what there is to say of the elements."},
#ifndef _WIN32
    {"summarize_file", summarize_file, METH_VARARGS,
     "summarize_file(descriptor, stretches, room, out): the same of each stretch; False where one cannot be read."},
    {"compare_file", compare_file, METH_VARARGS,
     "compare_file(descriptor, other, pairs, room, out): `compare` of each pair; False where one cannot be read."},
#endif
    {"cast", cast, METH_VARARGS, "cast(from, data, to, out): convert floating-point elements as PyTorch does."},
    {"linear", linear, METH_VARARGS,
     "linear(codes, inputs, weights, constant, to, out): the weighted sum in float64, each element rounded once."},
    {"count", count, METH_VARARGS,
     "count(data, width, shift, prefix, out): add to 65,536 counts those of 16 bits of each element (256, of bytes)."},
    {"compare", compare, METH_VARARGS,
     "compare(first, a, second, b, out): write what lies between floating-point elements and as many others."},
    {"level", level, METH_VARARGS, "level(name=None): the kind of processor that is made use of; choose another."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, "statedict._accelerated", "The hot inner loops, in C.", 0, METHODS, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__accelerated(void)
{
    chosen = &LEVELS[best_level()];
    return PyModule_Create(&MODULE);
}

#else /* LEVEL: what is compiled once for each kind of processor */

#if LEVEL >= 1 /* the square of a float32 is exact in a double, so that fusing it with the sum changes no bit */
#define PLUS_EXACT_SQUARE(total, value) __builtin_fma(value, value, total)
#else
#define PLUS_EXACT_SQUARE PLUS_SQUARE
#endif

/* Between float32 and the narrower types. */

static void AT_LEVEL(widen_bf16)(const uint16_t *restrict data, float *restrict out, int count)
{
    uint32_t *restrict bits = (uint32_t *)(void *)out;
    for (int at = 0; at < count; at++) bits[at] = (uint32_t)data[at] << 16;
}

static void AT_LEVEL(widen_f16)(const uint16_t *restrict data, float *restrict out, int count)
{
    int at = 0;
#if LEVEL == 2
    for (; at + 16 <= count; at += 16)
        _mm512_storeu_ps(out + at, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(data + at))));
#elif LEVEL == 1
    for (; at + 8 <= count; at += 8)
        _mm256_storeu_ps(out + at, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(data + at))));
#endif
    for (; at < count; at++) {
        uint32_t magnitude = data[at] & 0x7FFFu, sign = (data[at] & 0x8000u) << 16;
        uint32_t scaled = bits_of(float_of(magnitude << 13) * 0x1p112f);
        uint32_t special = magnitude << 13 | 0x7F800000;
        out[at] = float_of(sign | (magnitude >= 0x7C00 ? special : scaled));
    }
}

static void AT_LEVEL(narrow_bf16)(const float *restrict data, uint16_t *restrict out, int count)
{
    for (int at = 0; at < count; at++) {
        uint32_t bits = bits_of(data[at]);
        uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
        out[at] = (bits & 0x7FFFFFFF) > 0x7F800000 ? 0x7FC0 : rounded;
    }
}

static void AT_LEVEL(narrow_f16)(const float *restrict data, uint16_t *restrict out, int count)
{
    int at = 0;
#if LEVEL == 2
    for (; at + 16 <= count; at += 16)
        _mm256_storeu_si256((__m256i *)(out + at), _mm512_cvtps_ph(_mm512_loadu_ps(data + at), 8));
#elif LEVEL == 1
    for (; at + 8 <= count; at += 8)
        _mm_storeu_si128((__m128i *)(out + at), _mm256_cvtps_ph(_mm256_loadu_ps(data + at), 8));
#endif
    for (; at < count; at++) {
        uint32_t bits = bits_of(data[at]), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7FFFFFFF;
        uint32_t normal = (magnitude - (112u << 23) + 0xFFF + (magnitude >> 13 & 1)) >> 13;
        uint32_t small = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f); /* the sum rounds at 2^-24 */
        uint32_t large = magnitude > 0x7F800000 ? 0x7E00 : 0x7C00;
        uint32_t result = magnitude < 113u << 23 ? small : magnitude >= 0x477FF000 ? large : normal;
        out[at] = (uint16_t)(sign | result);
    }
}

static void AT_LEVEL(as_float)(int code, const void *data, float *restrict out, int count)
{
    if (code == BF16) AT_LEVEL(widen_bf16)(data, out, count);
    else if (code == F16) AT_LEVEL(widen_f16)(data, out, count);
    else if (code == F32) memcpy(out, data, count * sizeof(float));
    else if (code == F64) for (int at = 0; at < count; at++) out[at] = (float)((const double *)data)[at];
    else if (code == I16) for (int at = 0; at < count; at++) out[at] = ((const int16_t *)data)[at];
    else for (int at = 0; at < count; at++) out[at] = ((const uint16_t *)data)[at];
}

static void AT_LEVEL(as_double)(int code, const void *data, double *restrict out, int count)
{
    float wide[GROUP];
    if (code == F64) memcpy(out, data, count * sizeof(double));
    else if (code == F32) for (int at = 0; at < count; at++) out[at] = ((const float *)data)[at];
    else if (code == I64) for (int at = 0; at < count; at++) out[at] = (double)((const int64_t *)data)[at];
    else if (code == U64) for (int at = 0; at < count; at++) out[at] = (double)((const uint64_t *)data)[at];
    else if (code == I32) for (int at = 0; at < count; at++) out[at] = ((const int32_t *)data)[at];
    else if (code == U32) for (int at = 0; at < count; at++) out[at] = ((const uint32_t *)data)[at];
    else if (code == BF16) for (int at = 0; at < count; at++) out[at] = OF_BRAIN(((const uint16_t *)data)[at]);
    else if (code == I16) for (int at = 0; at < count; at++) out[at] = ((const int16_t *)data)[at];
    else if (code == U16) for (int at = 0; at < count; at++) out[at] = ((const uint16_t *)data)[at];
    else {
        AT_LEVEL(widen_f16)(data, wide, count);
        for (int at = 0; at < count; at++) out[at] = wide[at];
    }
}

static void AT_LEVEL(from_float)(const float *restrict data, int code, void *out, int count)
{
    if (code == BF16) AT_LEVEL(narrow_bf16)(data, out, count);
    else if (code == F16) AT_LEVEL(narrow_f16)(data, out, count);
    else memcpy(out, data, count * sizeof(float));
}

/* Casts and linear combinations. */

static void AT_LEVEL(cast)(int from, const void *data, int to, void *out, int64_t count)
{
    float wide[GROUP];
    for (int64_t at = 0; at < count; at += GROUP) {
        int some = count - at < GROUP ? (int)(count - at) : GROUP;
        const char *source = (const char *)data + at * SIZES[from];
        char *target = (char *)out + at * SIZES[to];
        if (to == F64) AT_LEVEL(as_double)(from, source, (double *)target, some);
        else if (to == F32) AT_LEVEL(as_float)(from, source, (float *)target, some);
        else if (from == F32) AT_LEVEL(from_float)((const float *)source, to, target, some);
        else {
            AT_LEVEL(as_float)(from, source, wide, some);
            AT_LEVEL(from_float)(wide, to, target, some);
        }
    }
}

/* Doubles as floats, the inexact ones to the neighbour whose last bit is set: a later rounding is then exact. */
static void AT_LEVEL(to_odd)(const double *restrict data, float *restrict out, int count)
{
    for (int at = 0; at < count; at++) {
        float near = (float)data[at];
        double back = near, value = data[at];
        uint32_t bits = bits_of(near);
        bits -= (back < 0 ? -back : back) > (value < 0 ? -value : value);
        out[at] = float_of(bits | ((back != value) & (value == value)));
    }
}

static void AT_LEVEL(round_once)(const double *restrict data, int to, void *out, int count)
{
    float narrow[GROUP];
    if (to == F64) memcpy(out, data, count * sizeof(double));
    else if (to == F32) for (int at = 0; at < count; at++) ((float *)out)[at] = (float)data[at];
    else {
        AT_LEVEL(to_odd)(data, narrow, count);
        AT_LEVEL(from_float)(narrow, to, out, count);
    }
}

static void AT_LEVEL(linear)(int terms, const unsigned char *codes, const void **inputs, const double *weights,
                             double constant, int to, void *out, int64_t count)
{
    double total[GROUP], more[GROUP];
    for (int64_t at = 0; at < count; at += GROUP) {
        int some = count - at < GROUP ? (int)(count - at) : GROUP;
        for (int term = 0; term < terms; term++) {
            double weight = weights[term], *restrict wide = term ? more : total;
            AT_LEVEL(as_double)(codes[term], (const char *)inputs[term] + at * SIZES[codes[term]], wide, some);
            if (!term) for (int each = 0; each < some; each++) total[each] *= weight;
            else for (int each = 0; each < some; each++) total[each] += more[each] * weight;
        }
        if (constant != 0) for (int each = 0; each < some; each++) total[each] += constant;
        AT_LEVEL(round_once)(total, to, (char *)out + at * SIZES[to], some);
    }
}

/* Summaries. What is found in a stretch of float patterns: the largest as a signed number is the largest positive value,
   the largest as an unsigned one the lowest negative value, if there is one. */

#define FLOATS(NAME, UNSIGNED, SIGNED, INFINITE, NORMAL)                                                               \
    typedef struct { SIGNED highest; UNSIGNED lowest, smallest; } AT_LEVEL(NAME##Range);                               \
                                                                                                                       \
    static void AT_LEVEL(NAME##_range)(const UNSIGNED *restrict data, int count, AT_LEVEL(NAME##Range) *range)         \
    {                                                                                                                  \
        const UNSIGNED sign = (UNSIGNED)1 << (8 * sizeof(UNSIGNED) - 1);                                               \
        SIGNED highest = (SIGNED)sign;                                                                                 \
        UNSIGNED lowest = 0, smallest = (UNSIGNED)(sign - 1);                                                          \
        for (int at = 0; at < count; at++) {                                                                           \
            UNSIGNED bits = data[at], magnitude = bits & (UNSIGNED)(sign - 1);                                         \
            highest = (SIGNED)bits > highest ? (SIGNED)bits : highest;                                                 \
            lowest = bits > lowest ? bits : lowest;                                                                    \
            smallest = magnitude < smallest ? magnitude : smallest;                                                    \
        }                                                                                                              \
        range->highest = highest, range->lowest = lowest, range->smallest = smallest;                                  \
    }                                                                                                                  \
                                                                                                                       \
    /* The infinite elements and NaN counted, and put to zero in `finite`; the range is of the others. */              \
    static void AT_LEVEL(NAME##_finite)(                                                                               \
        const UNSIGNED *restrict data, int count, UNSIGNED *restrict finite, AT_LEVEL(NAME##Range) *range,             \
        Summary *summary)                                                                                              \
    {                                                                                                                  \
        const UNSIGNED sign = (UNSIGNED)1 << (8 * sizeof(UNSIGNED) - 1);                                               \
        SIGNED highest = (SIGNED)sign;                                                                                 \
        UNSIGNED lowest = 0, smallest = (UNSIGNED)(sign - 1), nans = 0, positive = 0, negative = 0;                    \
        for (int at = 0; at < count; at++) {                                                                           \
            UNSIGNED bits = data[at], magnitude = bits & (UNSIGNED)(sign - 1);                                         \
            int good = magnitude < (UNSIGNED)INFINITE;                                                                 \
            SIGNED above = good ? (SIGNED)bits : (SIGNED)sign;                                                         \
            UNSIGNED below = good ? bits : 0, near = good ? magnitude : (UNSIGNED)(sign - 1);                          \
            highest = above > highest ? above : highest;                                                               \
            lowest = below > lowest ? below : lowest;                                                                  \
            smallest = near < smallest ? near : smallest;                                                              \
            nans += magnitude > (UNSIGNED)INFINITE;                                                                    \
            positive += bits == (UNSIGNED)INFINITE;                                                                    \
            negative += bits == (UNSIGNED)(sign | (UNSIGNED)INFINITE);                                                 \
            finite[at] = below;                                                                                        \
        }                                                                                                              \
        range->highest = highest, range->lowest = lowest, range->smallest = smallest;                                  \
        summary->nans += nans, summary->positive_infinities += positive, summary->negative_infinities += negative;     \
    }                                                                                                                  \
                                                                                                                       \
    static void AT_LEVEL(NAME##_small)(const UNSIGNED *restrict data, int count, Summary *summary)                     \
    {                                                                                                                  \
        const UNSIGNED sign = (UNSIGNED)1 << (8 * sizeof(UNSIGNED) - 1);                                               \
        UNSIGNED zeros = 0, small = 0;                                                                                 \
        for (int at = 0; at < count; at++) {                                                                           \
            UNSIGNED magnitude = data[at] & (UNSIGNED)(sign - 1);                                                      \
            zeros += magnitude == 0;                                                                                   \
            small += magnitude < (UNSIGNED)NORMAL;                                                                     \
        }                                                                                                              \
        summary->zeros += zeros;                                                                                       \
        summary->denormals += small - zeros;                                                                           \
    }                                                                                                                  \
                                                                                                                       \
    static void AT_LEVEL(NAME##_block)(int code, const UNSIGNED *data, int64_t count, Summary *summary, Lanes *lanes)  \
    {                                                                                                                  \
        const UNSIGNED sign = (UNSIGNED)1 << (8 * sizeof(UNSIGNED) - 1);                                               \
        AT_LEVEL(NAME##Range) range, all = {(SIGNED)sign, 0, (UNSIGNED)(sign - 1)};                                    \
        UNSIGNED finite[GROUP];                                                                                        \
        for (int64_t at = 0; at < count; at += GROUP) {                                                                \
            int some = count - at < GROUP ? (int)(count - at) : GROUP;                                                 \
            const UNSIGNED *group = data + at;                                                                         \
            AT_LEVEL(NAME##_range)(group, some, &range);                                                               \
            if (range.highest >= (SIGNED)INFINITE || range.lowest >= (UNSIGNED)(sign | (UNSIGNED)INFINITE)) {          \
                if (range.smallest < (UNSIGNED)NORMAL) AT_LEVEL(NAME##_small)(group, some, summary);                   \
                AT_LEVEL(NAME##_finite)(group, some, finite, &range, summary);                                         \
                group = finite;                                                                                        \
            }                                                                                                          \
            else if (range.smallest < (UNSIGNED)NORMAL) AT_LEVEL(NAME##_small)(group, some, summary);                  \
            AT_LEVEL(add_group)(code, group, some, lanes);                                                             \
            all.highest = range.highest > all.highest ? range.highest : all.highest;                                   \
            all.lowest = range.lowest > all.lowest ? range.lowest : all.lowest;                                        \
            all.smallest = range.smallest < all.smallest ? range.smallest : all.smallest;                              \
        }                                                                                                              \
        if (all.smallest >= (UNSIGNED)INFINITE) return; /* none is finite */                                           \
        UNSIGNED low = all.lowest >= sign ? all.lowest : all.smallest;                                                 \
        UNSIGNED high = all.highest >= 0 ? (UNSIGNED)all.highest : (UNSIGNED)(sign | all.smallest);                    \
        AT_LEVEL(as_double)(code, &low, &summary->low.real, 1);                                                        \
        AT_LEVEL(as_double)(code, &high, &summary->high.real, 1);                                                      \
        summary->low.real += 0.0, summary->high.real += 0.0;                                                           \
    }

#define WHOLES(NAME, TYPE, FIELD)                                                                                      \
    static void AT_LEVEL(NAME##_block)(int code, const TYPE *data, int64_t count, Summary *summary, Lanes *lanes)      \
    {                                                                                                                  \
        TYPE low = data[0], high = data[0];                                                                            \
        for (int64_t at = 0; at < count; at += GROUP) {                                                                \
            int some = count - at < GROUP ? (int)(count - at) : GROUP;                                                 \
            const TYPE *restrict group = data + at;                                                                    \
            int zeros = 0;                                                                                             \
            for (int each = 0; each < some; each++) {                                                                  \
                low = group[each] < low ? group[each] : low;                                                           \
                high = group[each] > high ? group[each] : high;                                                        \
                zeros += group[each] == 0;                                                                             \
            }                                                                                                          \
            summary->zeros += zeros;                                                                                   \
            AT_LEVEL(add_group)(code, group, some, lanes);                                                             \
        }                                                                                                              \
        summary->low.FIELD = low, summary->high.FIELD = high;                                                          \
    }

/* Add GROUP elements to the lanes. Each lane stays in a register for all of its rows. */
#define ADD_ROWS(NAME, TYPE, VALUE, SQUARE)                                                                            \
    static void AT_LEVEL(add_##NAME)(const TYPE *restrict rows, Lanes *restrict lanes)                                 \
    {                                                                                                                  \
        double *restrict sum = lanes->sum, *restrict absolute = lanes->absolute, *restrict squares = lanes->squares;   \
        for (int lane = 0; lane < LANES; lane++) {                                                                     \
            double total = sum[lane], size = absolute[lane], square = squares[lane];                                   \
            for (int row = 0; row < GROUP / LANES; row++) {                                                            \
                double value = VALUE(rows[lane + row * LANES]);                                                        \
                total += value;                                                                                        \
                size += fabs(value);                                                                                   \
                square = SQUARE(square, value);                                                                        \
            }                                                                                                          \
            sum[lane] = total, absolute[lane] = size, squares[lane] = square;                                          \
        }                                                                                                              \
    }

#define AS_IT_IS(value) ((double)(value))
ADD_ROWS(doubles, double, AS_IT_IS, PLUS_SQUARE)
ADD_ROWS(floats, float, AS_IT_IS, PLUS_EXACT_SQUARE)
ADD_ROWS(i64, int64_t, AS_IT_IS, PLUS_SQUARE)
ADD_ROWS(u64, uint64_t, AS_IT_IS, PLUS_SQUARE)
ADD_ROWS(i32, int32_t, AS_IT_IS, PLUS_SQUARE)
ADD_ROWS(u32, uint32_t, AS_IT_IS, PLUS_SQUARE)
ADD_ROWS(i16, int16_t, AS_IT_IS, PLUS_EXACT_SQUARE)
ADD_ROWS(u16, uint16_t, AS_IT_IS, PLUS_EXACT_SQUARE)

#if LEVEL >= 1 /* by hand: the compiler knows nothing of float16, and makes of bfloat16 what takes longer */
#if LEVEL == 2
#define WIDTH 8
#define WIDE(name) _mm512_##name##_pd
#define HALVES(at) _mm512_cvtps_pd(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(at))))
#define BRAINS(at)                                                                                                     \
    _mm512_cvtps_pd(_mm256_castsi256_ps(                                                                               \
        _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(at))), 16)))
typedef __m512d AT_LEVEL(Wide);
#else
#define WIDTH 4
#define WIDE(name) _mm256_##name##_pd
#define HALVES(at) _mm256_cvtps_pd(_mm_cvtph_ps(_mm_loadl_epi64((const __m128i *)(at))))
#define BRAINS(at)                                                                                                     \
    _mm256_cvtps_pd(                                                                                                   \
        _mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), _mm_loadl_epi64((const __m128i *)(at)))))
typedef __m256d AT_LEVEL(Wide);
#endif

#define ADD_NARROW(NAME, VALUES)                                                                                       \
    static void AT_LEVEL(add_##NAME)(const uint16_t *restrict rows, Lanes *restrict lanes)                             \
    {                                                                                                                  \
        const AT_LEVEL(Wide) sign = WIDE(set1)(-0.0);                                                                  \
        for (int lane = 0; lane < LANES; lane += WIDTH) {                                                              \
            AT_LEVEL(Wide) sum = WIDE(loadu)(lanes->sum + lane), absolute = WIDE(loadu)(lanes->absolute + lane);       \
            AT_LEVEL(Wide) squares = WIDE(loadu)(lanes->squares + lane);                                               \
            for (int row = 0; row < GROUP / LANES; row++) {                                                            \
                AT_LEVEL(Wide) value = VALUES(rows + lane + row * LANES);                                              \
                sum = WIDE(add)(sum, value);                                                                           \
                absolute = WIDE(add)(absolute, WIDE(andnot)(sign, value));                                             \
                squares = WIDE(fmadd)(value, value, squares);                                                          \
            }                                                                                                          \
            WIDE(storeu)(lanes->sum + lane, sum);                                                                      \
            WIDE(storeu)(lanes->absolute + lane, absolute);                                                            \
            WIDE(storeu)(lanes->squares + lane, squares);                                                              \
        }                                                                                                              \
    }

ADD_NARROW(halves, HALVES)
ADD_NARROW(brains, BRAINS)

/* What lies between GROUP elements and as many others, all finite, added to the lanes: as `floats_between`. */
#define BETWEEN_NARROW(NAME, VALUES)                                                                                   \
    static void AT_LEVEL(between_##NAME)(const uint16_t *restrict a, const uint16_t *restrict b, Between *restrict sums) \
    {                                                                                                                  \
        const AT_LEVEL(Wide) sign = WIDE(set1)(-0.0);                                                                  \
        for (int lane = 0; lane < LANES; lane += WIDTH) {                                                              \
            AT_LEVEL(Wide) largest = WIDE(loadu)(sums->largest + lane), squares = WIDE(loadu)(sums->squares + lane);   \
            AT_LEVEL(Wide) absolute = WIDE(loadu)(sums->absolute + lane);                                              \
            AT_LEVEL(Wide) before = WIDE(loadu)(sums->before + lane), after = WIDE(loadu)(sums->after + lane);         \
            for (int row = 0; row < GROUP / LANES; row++) {                                                            \
                AT_LEVEL(Wide) x = VALUES(a + lane + row * LANES), y = VALUES(b + lane + row * LANES);                 \
                AT_LEVEL(Wide) apart = WIDE(sub)(y, x), size = WIDE(andnot)(sign, apart);                              \
                largest = WIDE(max)(size, largest);                                                                    \
                absolute = WIDE(add)(absolute, size);                                                                  \
                squares = WIDE(add)(squares, WIDE(mul)(apart, apart));                                                 \
                before = WIDE(fmadd)(x, x, before);                                                                    \
                after = WIDE(fmadd)(y, y, after);                                                                      \
            }                                                                                                          \
            WIDE(storeu)(sums->largest + lane, largest), WIDE(storeu)(sums->absolute + lane, absolute);                \
            WIDE(storeu)(sums->squares + lane, squares);                                                               \
            WIDE(storeu)(sums->before + lane, before), WIDE(storeu)(sums->after + lane, after);                        \
        }                                                                                                              \
    }

BETWEEN_NARROW(halves, HALVES)
BETWEEN_NARROW(brains, BRAINS)
#undef WIDTH
#undef WIDE
#undef HALVES
#undef BRAINS
#else
ADD_ROWS(brains, uint16_t, OF_BRAIN, PLUS_EXACT_SQUARE)

static void AT_LEVEL(add_halves)(const uint16_t *restrict rows, Lanes *restrict lanes)
{
    float wide[GROUP];
    AT_LEVEL(widen_f16)(rows, wide, GROUP);
    AT_LEVEL(add_floats)(wide, lanes);
}
#endif

/* Add fewer elements than GROUP to the lanes. */
static void AT_LEVEL(add_few)(double *wide, int count, Lanes *lanes)
{
    memset(wide + count, 0, (LANES - count % LANES) % LANES * sizeof(double));
    for (int at = 0; at < count; at += LANES)
        for (int lane = 0; lane < LANES; lane++) {
            double value = wide[at + lane];
            lanes->sum[lane] += value;
            lanes->absolute[lane] += fabs(value);
            lanes->squares[lane] += value * value;
        }
}

/* Add at most GROUP elements to the lanes; where there are fewer, the rest is zeros. */
static void AT_LEVEL(add_group)(int code, const void *data, int count, Lanes *lanes)
{
    double wide[GROUP];
    if (count < GROUP) {
        AT_LEVEL(as_double)(code, data, wide, count);
        AT_LEVEL(add_few)(wide, count, lanes);
        return;
    }
    switch (code) {
    case F64: AT_LEVEL(add_doubles)(data, lanes); break;
    case F32: AT_LEVEL(add_floats)(data, lanes); break;
    case F16: AT_LEVEL(add_halves)(data, lanes); break;
    case BF16: AT_LEVEL(add_brains)(data, lanes); break;
    case I64: AT_LEVEL(add_i64)(data, lanes); break;
    case U64: AT_LEVEL(add_u64)(data, lanes); break;
    case I32: AT_LEVEL(add_i32)(data, lanes); break;
    case U32: AT_LEVEL(add_u32)(data, lanes); break;
    case I16: AT_LEVEL(add_i16)(data, lanes); break;
    case U16: AT_LEVEL(add_u16)(data, lanes); break;
    }
}

FLOATS(half, uint16_t, int16_t, 0x7C00, 0x0400)
FLOATS(brain, uint16_t, int16_t, 0x7F80, 0x0080)
FLOATS(single, uint32_t, int32_t, 0x7F800000, 0x00800000)
FLOATS(full, uint64_t, int64_t, 0x7FF0000000000000, 0x0010000000000000)
WHOLES(i64, int64_t, whole)
WHOLES(u64, uint64_t, natural)
WHOLES(i32, int32_t, whole)
WHOLES(u32, uint32_t, whole)
WHOLES(i16, int16_t, whole)
WHOLES(u16, uint16_t, whole)

/* The sum of squared differences from the mean, where the sums are too near to each other to tell it. */
static double AT_LEVEL(deviations)(int code, const char *data, int64_t count, double mean, double known, Lanes *lanes)
{
    double wide[GROUP];
    memset(lanes, 0, sizeof *lanes);
    for (int64_t at = 0; at < count; at += GROUP) {
        int some = count - at < GROUP ? (int)(count - at) : GROUP;
        AT_LEVEL(as_double)(code, data + at * SIZES[code], wide, some);
        for (int each = 0; each < some; each++)
            wide[each] = wide[each] - wide[each] == 0 ? wide[each] - mean : 0;
        if (some == GROUP) AT_LEVEL(add_doubles)(wide, lanes);
        else AT_LEVEL(add_few)(wide, some, lanes);
    }
    double rest = folded(lanes->sum), squares = folded(lanes->squares) - rest * (rest / known);
    return squares < 0 ? 0 : squares;
}

static void AT_LEVEL(summarize)(int code, const void *data, int64_t count, Summary *out)
{
    Lanes lanes;
    memset(&lanes, 0, sizeof lanes);
    memset(out, 0, sizeof *out);
    out->count = count;
    switch (code) {
    case F64: AT_LEVEL(full_block)(code, data, count, out, &lanes); break;
    case F32: AT_LEVEL(single_block)(code, data, count, out, &lanes); break;
    case F16: AT_LEVEL(half_block)(code, data, count, out, &lanes); break;
    case BF16: AT_LEVEL(brain_block)(code, data, count, out, &lanes); break;
    case I64: AT_LEVEL(i64_block)(code, data, count, out, &lanes); break;
    case U64: AT_LEVEL(u64_block)(code, data, count, out, &lanes); break;
    case I32: AT_LEVEL(i32_block)(code, data, count, out, &lanes); break;
    case U32: AT_LEVEL(u32_block)(code, data, count, out, &lanes); break;
    case I16: AT_LEVEL(i16_block)(code, data, count, out, &lanes); break;
    case U16: AT_LEVEL(u16_block)(code, data, count, out, &lanes); break;
    }
    int64_t finite = count - out->nans - out->positive_infinities - out->negative_infinities;
    out->sum = folded(lanes.sum);
    out->absolute = folded(lanes.absolute);
    out->squares = folded(lanes.squares);
    if (!finite) return;
    double known = (double)finite, mean = out->sum / known;
    out->deviations = out->squares - out->sum * mean;
    if (!(out->deviations >= out->squares * 0x1p-10))
        out->deviations = AT_LEVEL(deviations)(code, data, count, mean, known, &lanes);
}

/* What lies between the elements of two blocks. Pairs that are not finite in both are counted, and put to zero. */

#define BETWEEN(NAME, TYPE, UNSIGNED, INFINITE, SQUARE)                                                                \
    static int AT_LEVEL(NAME##_finite)(const TYPE *restrict a, const TYPE *restrict b, int count)                      \
    {                                                                                                                  \
        UNSIGNED largest = 0;                                                                                          \
        for (int at = 0; at < count; at++) {                                                                           \
            UNSIGNED x, y;                                                                                             \
            memcpy(&x, a + at, sizeof x), memcpy(&y, b + at, sizeof y);                                                \
            x <<= 1, y <<= 1; /* without the sign */                                                                   \
            largest = x > largest ? x : largest;                                                                       \
            largest = y > largest ? y : largest;                                                                       \
        }                                                                                                              \
        return largest < (UNSIGNED)INFINITE << 1;                                                                      \
    }                                                                                                                  \
                                                                                                                       \
    static int AT_LEVEL(NAME##_unlike)(const TYPE *restrict a, const TYPE *restrict b, int count)                      \
    {                                                                                                                  \
        int unlike = 0;                                                                                                \
        for (int at = 0; at < count; at++) unlike += a[at] != b[at];                                                   \
        return unlike;                                                                                                 \
    }                                                                                                                  \
                                                                                                                       \
    static int AT_LEVEL(NAME##_set_aside)(TYPE *a, TYPE *b, int count, Difference *out)                                \
    {                                                                                                                  \
        int left = count;                                                                                              \
        for (int at = 0; at < count; at++) {                                                                           \
            TYPE x = a[at], y = b[at];                                                                                 \
            int before = x - x == 0, after = y - y == 0;                                                               \
            if (before && after) continue;                                                                             \
            out->changed -= x != x && y != y;                                                                          \
            out->nans += y != y && x == x;                                                                             \
            out->infinities += before && y == y;                                                                       \
            out->mended += after;                                                                                      \
            a[at] = b[at] = 0;                                                                                         \
            left--;                                                                                                    \
        }                                                                                                              \
        return left;                                                                                                   \
    }                                                                                                                  \
                                                                                                                       \
    static void AT_LEVEL(NAME##_between)(const TYPE *restrict a, const TYPE *restrict b, int rows,                     \
                                         Between *restrict sums)                                                       \
    {                                                                                                                  \
        for (int lane = 0; lane < LANES; lane++) {                                                                     \
            double largest = sums->largest[lane], absolute = sums->absolute[lane], squares = sums->squares[lane];      \
            double before = sums->before[lane], after = sums->after[lane];                                             \
            for (int row = 0; row < rows; row++) {                                                                     \
                double x = a[lane + row * LANES], y = b[lane + row * LANES], apart = y - x, size = fabs(apart);        \
                largest = size > largest ? size : largest;                                                             \
                absolute += size;                                                                                      \
                squares += apart * apart;                                                                              \
                before = SQUARE(before, x);                                                                            \
                after = SQUARE(after, y);                                                                              \
            }                                                                                                          \
            sums->largest[lane] = largest, sums->absolute[lane] = absolute, sums->squares[lane] = squares;             \
            sums->before[lane] = before, sums->after[lane] = after;                                                    \
        }                                                                                                              \
    }                                                                                                                  \
                                                                                                                       \
    static void AT_LEVEL(NAME##_group)(TYPE *a, TYPE *b, int count, Difference *out, Between *sums)                    \
    {                                                                                                                  \
        int rows = (count + LANES - 1) / LANES, rest = rows * LANES - count;                                           \
        out->changed += AT_LEVEL(NAME##_unlike)(a, b, count);                                                          \
        int finite = AT_LEVEL(NAME##_finite)(a, b, count);                                                             \
        out->finite += finite ? count : AT_LEVEL(NAME##_set_aside)(a, b, count, out);                                  \
        memset(a + count, 0, rest * sizeof(TYPE)), memset(b + count, 0, rest * sizeof(TYPE));                          \
        if (rows == 8) AT_LEVEL(NAME##_between)(a, b, 8, sums);                                                        \
        else AT_LEVEL(NAME##_between)(a, b, rows, sums);                                                               \
    }

BETWEEN(floats, float, uint32_t, 0x7F800000, PLUS_EXACT_SQUARE)
BETWEEN(doubles, double, uint64_t, 0x7FF0000000000000, PLUS_SQUARE)

#if LEVEL >= 1
/* How many of GROUP elements of 16 bits are unlike; -1 where one of them is not finite. */
static int AT_LEVEL(narrow_unlike)(const uint16_t *restrict a, const uint16_t *restrict b, int infinite)
{
    uint16_t largest = 0, unlike = 0;
    for (int at = 0; at < GROUP; at++) {
        uint16_t x = (uint16_t)(a[at] << 1), y = (uint16_t)(b[at] << 1); /* without the sign */
        uint16_t larger = x > y ? x : y;
        largest = larger > largest ? larger : largest;
        unlike += (a[at] != b[at]) & (larger != 0);
    }
    return largest < infinite << 1 ? unlike : -1;
}

/* The same as below for GROUP elements of one type of 16 bits, in less time. Whether all were finite. */
static int AT_LEVEL(narrow_group)(int code, const void *a, const void *b, Difference *out, Between *sums)
{
    int unlike = AT_LEVEL(narrow_unlike)(a, b, code == F16 ? 0x7C00 : 0x7F80);
    if (unlike < 0) return 0;
    out->changed += unlike, out->finite += GROUP;
    if (code == F16) AT_LEVEL(between_halves)(a, b, sums);
    else AT_LEVEL(between_brains)(a, b, sums);
    return 1;
}
#endif

static void AT_LEVEL(compare)(int first, const void *a, int second, const void *b, int64_t count, Difference *out)
{
    Between sums;
    memset(&sums, 0, sizeof sums);
    memset(out, 0, sizeof *out);
    out->count = count;
    for (int64_t at = 0; at < count; at += GROUP) {
        int some = count - at < GROUP ? (int)(count - at) : GROUP;
        const char *before = (const char *)a + at * SIZES[first], *after = (const char *)b + at * SIZES[second];
#if LEVEL >= 1
        if (first == second && SIZES[first] == 2 && some == GROUP
            && AT_LEVEL(narrow_group)(first, before, after, out, &sums)) continue;
#endif
        if (first == F64 || second == F64) {
            double x[GROUP], y[GROUP];
            AT_LEVEL(as_double)(first, before, x, some), AT_LEVEL(as_double)(second, after, y, some);
            AT_LEVEL(doubles_group)(x, y, some, out, &sums);
        }
        else {
            float x[GROUP], y[GROUP];
            AT_LEVEL(as_float)(first, before, x, some), AT_LEVEL(as_float)(second, after, y, some);
            AT_LEVEL(floats_group)(x, y, some, out, &sums);
        }
    }
    for (int lane = 0; lane < LANES; lane++)
        out->largest = sums.largest[lane] > out->largest ? sums.largest[lane] : out->largest;
    out->absolute = folded(sums.absolute), out->squares = folded(sums.squares);
    out->before = folded(sums.before), out->after = folded(sums.after);
}

#undef PLUS_EXACT_SQUARE
#endif
