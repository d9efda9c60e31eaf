/* Headers of safetensors files and lists of shards: JSON of few forms, as `safetensors.py` and `sharded.py` read it. */

#include "_headers.h"

enum { MOST_DIGITS = 18 };

static void skip(Reader *reader)
{
    while (reader->at < reader->end
           && (*reader->at == ' ' || *reader->at == '\n' || *reader->at == '\r' || *reader->at == '\t'))
        reader->at++;
}

/* Whether this character is next, spaces aside, which is then behind. */
static int comes(Reader *reader, char expected)
{
    skip(reader);
    if (reader->at >= reader->end || *reader->at != (unsigned char)expected) return 0;
    reader->at++;
    return 1;
}

/* A text in quotes without escapes: between them. */
static int quoted(Reader *reader, Reader *text)
{
    if (!comes(reader, '"')) return -1;
    text->at = reader->at;
    while (reader->at < reader->end && *reader->at != '"') {
        if (*reader->at == '\\' || *reader->at < 0x20) return -1;
        reader->at++;
    }
    text->end = reader->at;
    if (reader->at >= reader->end) return -1;
    reader->at++;
    return 0;
}

static PyObject *text_of(const Reader *text)
{
    return PyUnicode_DecodeUTF8((const char *)text->at, text->end - text->at, NULL);
}

static int is_text(const Reader *text, const char *expected)
{
    return (size_t)left(text) == strlen(expected) && !memcmp(text->at, expected, left(text));
}

/* A whole number, as JSON has it, that is neither negative nor long. */
static int whole(Reader *reader, long long *value)
{
    skip(reader);
    const unsigned char *first = reader->at;
    for (*value = 0; reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9'; reader->at++) {
        if (reader->at - first == MOST_DIGITS) return -1;
        *value = *value * 10 + (*reader->at - '0');
    }
    return reader->at == first || (*first == '0' && reader->at - first > 1) ? -1 : 0;
}

/* Whole numbers in brackets. How many; -1 where there is something else. */
static int wholes(Reader *reader, long long *values, int most)
{
    int count = 0;
    if (!comes(reader, '[')) return -1;
    if (comes(reader, ']')) return 0;
    do {
        if (count == most || whole(reader, &values[count++])) return -1;
    } while (comes(reader, ','));
    return comes(reader, ']') ? count : -1;
}

/* One tensor: its place in the file, and what the columns have of it. */
typedef struct { long long begin, end; PyObject *name, *dtype, *shape; } Placed;

typedef struct { Placed *items; Py_ssize_t count, room; } Tensors;

static int by_place(const void *first, const void *second)
{
    const Placed *one = first, *other = second;
    if (one->begin != other->begin) return one->begin < other->begin ? -1 : 1;
    if (one->end != other->end) return one->end < other->end ? -1 : 1;
    return PyUnicode_Compare(one->name, other->name);
}

/* What stands behind a tensor's name. */
static int entry(Reader *reader, PyObject *dtypes, Shape *shapes, Placed *tensor)
{
    enum { DTYPE = 1, SHAPE = 2, OFFSETS = 4 };
    int seen = 0;
    if (!comes(reader, '{')) return -1;
    do {
        Reader key;
        long long values[MOST_DIMENSIONS];
        int field, count;
        if (quoted(reader, &key) || !comes(reader, ':')) return -1;
        if (is_text(&key, "dtype")) {
            Reader text;
            field = DTYPE;
            if (seen & field || quoted(reader, &text)) return -1;
            PyObject *name = text_of(&text), *known = name ? PyDict_GetItemWithError(dtypes, name) : NULL;
            Py_XDECREF(name);
            if (!known) return -1;
            tensor->dtype = Py_NewRef(known);
        }
        else if (is_text(&key, "shape")) {
            field = SHAPE;
            if (seen & field || (count = wholes(reader, values, MOST_DIMENSIONS)) < 0) return -1;
            if (!(tensor->shape = shape_of(shapes, values, count))) return -1;
        }
        else if (is_text(&key, "data_offsets")) {
            field = OFFSETS;
            if (seen & field || wholes(reader, values, 2) != 2 || values[0] > values[1]) return -1;
            tensor->begin = values[0], tensor->end = values[1];
        }
        else return -1;
        seen |= field;
    } while (comes(reader, ','));
    return seen == (DTYPE | SHAPE | OFFSETS) && comes(reader, '}') ? 0 : -1;
}

/* One key and its text, into a dict. The text of the one before is used again where it is the same, as it mostly is. */
typedef struct { Reader written; PyObject *text; } Last;

static int pair(Reader *reader, PyObject *found, Last *last)
{
    Reader key, value;
    if (quoted(reader, &key) || !comes(reader, ':') || quoted(reader, &value)) return -1;
    if (!last->text || left(&value) != left(&last->written) || memcmp(value.at, last->written.at, left(&value))) {
        Py_XDECREF(last->text);
        last->text = text_of(&value), last->written = value;
    }
    PyObject *name = text_of(&key);
    int failed = !name || !last->text || PyDict_SetItem(found, name, last->text);
    Py_XDECREF(name);
    return failed ? -1 : 0;
}

/* An object of which the keys, each of which is there once, and the values are texts, as `__metadata__` is. */
static int texts(Reader *reader, PyObject *found)
{
    Py_ssize_t count = 0;
    Last last = {{NULL, NULL}, NULL};
    int failed = 0;
    if (!comes(reader, '{')) return -1;
    if (comes(reader, '}')) return 0;
    do failed = pair(reader, found, &last), count++;
    while (!failed && comes(reader, ','));
    Py_XDECREF(last.text);
    return !failed && comes(reader, '}') && PyDict_Size(found) == count ? 0 : -1;
}

const char flat_object_doc[] =
"flat_object(data: bytes, at: int) -> (dict[str, str], int) | None\n\n"
"The JSON object that begins at `at`, if all that is in it are texts, and where it ends.";

PyObject *flat_object(PyObject *module, PyObject *args)
{
    const unsigned char *data;
    Py_ssize_t size, at;
    if (!PyArg_ParseTuple(args, "y#n", &data, &size, &at)) return NULL;
    if (at < 0 || at > size) return give_up();
    Reader reader = {data + at, data + size};
    PyObject *found = PyDict_New(), *made = NULL;
    if (found && !texts(&reader, found)) made = Py_BuildValue("On", found, (Py_ssize_t)(reader.at - data));
    Py_XDECREF(found);
    return made ? made : give_up();
}

static int header(Reader *reader, PyObject *dtypes, Shape *shapes, Tensors *tensors, PyObject *metadata)
{
    int described = 0;
    if (reader->at == reader->end || *reader->at != '{' || !comes(reader, '{')) return -1;
    if (!comes(reader, '}')) {
        do {
            Reader name;
            if (quoted(reader, &name) || !comes(reader, ':')) return -1;
            if (is_text(&name, "__metadata__")) {
                if (described++ || texts(reader, metadata)) return -1;
                continue;
            }
            if (tensors->count == tensors->room) {
                Py_ssize_t room = tensors->room ? 2 * tensors->room : 64;
                Placed *items = PyMem_Realloc(tensors->items, room * sizeof *items);
                if (!items) return -1;
                tensors->items = items, tensors->room = room;
            }
            Placed *tensor = &tensors->items[tensors->count++];
            *tensor = (Placed){.name = text_of(&name)};
            if (!tensor->name || entry(reader, dtypes, shapes, tensor)) return -1;
        } while (comes(reader, ','));
        if (!comes(reader, '}')) return -1;
    }
    skip(reader);
    return reader->at == reader->end ? 0 : -1;
}

/* The tensors, in the order of their bytes, as columns. */
static PyObject *columns(Tensors *tensors, long long start, PyObject *metadata)
{
    PyObject *names = PyList_New(tensors->count), *dtypes = PyList_New(tensors->count);
    PyObject *shapes = PyList_New(tensors->count), *offsets = PyList_New(tensors->count);
    PyObject *sizes = PyList_New(tensors->count), *made = NULL;
    if (!names || !dtypes || !shapes || !offsets || !sizes) goto done;
    for (Py_ssize_t each = 1; each < tensors->count; each++)
        if (by_place(&tensors->items[each - 1], &tensors->items[each]) > 0) {
            qsort(tensors->items, tensors->count, sizeof *tensors->items, by_place);
            break;
        }
    for (Py_ssize_t each = 0; each < tensors->count; each++) {
        Placed *tensor = &tensors->items[each];
        PyObject *offset = PyLong_FromLongLong(start + tensor->begin);
        PyObject *size = PyLong_FromLongLong(tensor->end - tensor->begin);
        if (!offset || !size) {
            Py_XDECREF(offset), Py_XDECREF(size);
            goto done;
        }
        PyList_SetItem(names, each, Py_NewRef(tensor->name)), PyList_SetItem(dtypes, each, Py_NewRef(tensor->dtype));
        PyList_SetItem(shapes, each, Py_NewRef(tensor->shape));
        PyList_SetItem(offsets, each, offset), PyList_SetItem(sizes, each, size);
    }
    made = PyTuple_Pack(6, names, dtypes, shapes, offsets, sizes, metadata);
done:
    Py_XDECREF(names), Py_XDECREF(dtypes), Py_XDECREF(shapes), Py_XDECREF(offsets), Py_XDECREF(sizes);
    return made;
}

const char safetensors_doc[] =
"safetensors(header: bytes, dtypes: dict, start: int) -> (names, dtypes, shapes, offsets, sizes, metadata) | None\n\n"
"What the header of a safetensors file says of its tensors, in the order of their bytes, of which the first is at\n"
"`start`. Names may come twice.";

PyObject *safetensors(PyObject *module, PyObject *args)
{
    Reader reader;
    Py_ssize_t size;
    PyObject *dtypes, *made = NULL;
    long long start;
    if (!PyArg_ParseTuple(args, "y#O!L", &reader.at, &size, &PyDict_Type, &dtypes, &start)) return NULL;
    reader.end = reader.at + size;
    Tensors tensors = {0};
    Shape *shapes = PyMem_Calloc(SHAPES, sizeof *shapes);
    PyObject *metadata = PyDict_New();
    if (shapes && metadata && start >= 0 && start <= PY_SSIZE_T_MAX / 2
        && !header(&reader, dtypes, shapes, &tensors, metadata))
        made = columns(&tensors, start, metadata);
    for (Py_ssize_t each = 0; each < tensors.count; each++) {
        Placed *tensor = &tensors.items[each];
        Py_XDECREF(tensor->name), Py_XDECREF(tensor->dtype), Py_XDECREF(tensor->shape);
    }
    PyMem_Free(tensors.items);
    if (shapes) drop_shapes(shapes);
    PyMem_Free(shapes);
    Py_XDECREF(metadata);
    return made ? made : give_up();
}
