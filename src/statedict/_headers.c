/* Headers of checkpoints, read in C: optional, and for what nearly all files have.

   Each function returns None for whatever is unusual, damaged or hostile, and Python then reads it, which alone knows
   what to say. So nothing here decides what is refused; it has to be right about what it accepts, and no length or
   offset that a file names is trusted. The Python that each stands in for is its oracle in the tests.

   Here are the module, what all of it uses, and the proof that tensors are where they say. */

#include "_headers.h"

static const char *const NAMED[NAMES] = {"dtype", "numel", "device", "extent", "first", "storage", "offset", "shape",
                                         "stride", "info", "requires_grad", "size", "itemsize"};
PyObject *names[NAMES];

PyObject *shape_of(Shape *shapes, const long long *sizes, int count)
{
    uint64_t hash = (uint64_t)count;
    for (int each = 0; each < count; each++) hash = (hash ^ (uint64_t)sizes[each]) * 0x9E3779B97F4A7C15u;
    Shape *known = count > 4 ? NULL : &shapes[hash >> 56];
    if (known && known->tuple && known->count == count && !memcmp(known->sizes, sizes, count * sizeof *sizes))
        return Py_NewRef(known->tuple);
    PyObject *tuple = PyTuple_New(count);
    for (int each = 0; tuple && each < count; each++) {
        PyObject *size = PyLong_FromLongLong(sizes[each]);
        if (!size || PyTuple_SetItem(tuple, each, size)) Py_CLEAR(tuple);
    }
    if (known && tuple) {
        Py_XDECREF(known->tuple);
        known->tuple = Py_NewRef(tuple);
        known->count = count;
        memcpy(known->sizes, sizes, count * sizeof *sizes);
    }
    return tuple;
}

void drop_shapes(Shape *shapes)
{
    for (int each = 0; each < SHAPES; each++) Py_CLEAR(shapes[each].tuple);
}

/* The bytes that tensors of one element type and shape need, found once; the objects are those of the index. */
typedef struct { PyObject *dtype, *shape; long long bytes; } Needed;
enum { NEEDED = 1024 };

static long long needed(Needed *known, PyObject *dtype, PyObject *shape, PyObject *info, PyObject *size_of)
{
    uintptr_t hash = ((uintptr_t)dtype >> 4) * 31 + ((uintptr_t)shape >> 4);
    Needed *found = &known[(hash ^ hash >> 10) % NEEDED];
    if (found->dtype != dtype || found->shape != shape) {
        PyObject *size = PyObject_CallFunctionObjArgs(size_of, info, NULL);
        long long bytes = count(size);
        Py_XDECREF(size);
        if (bytes < 0) return -1;
        *found = (Needed){dtype, shape, bytes};
    }
    return found->bytes;
}

const char unproved_doc[] =
"unproved(infos: list, plain, size_of) -> list\n\n"
"Those of an index's tensors that are not proved to lie in their sources, with as many bytes as `size_of` says of one\n"
"with that element type and shape; among them all that have a stride, a storage or another encoding than `plain`.";

PyObject *unproved(PyObject *module, PyObject *args)
{
    enum { DTYPE_AT = 1, SHAPE_AT, EXTENT_AT, STRIDE_AT, STORAGE_AT, ENCODING_AT = 8, FIELDS };
    PyObject *infos, *plain, *size_of, *source = NULL;
    long long end = -1;
    if (!PyArg_ParseTuple(args, "O!OO", &PyList_Type, &infos, &plain, &size_of)) return NULL;
    PyObject *found = PyList_New(0);
    Needed *known = PyMem_Calloc(NEEDED, sizeof *known);
    if (!found || !known) goto failed;
    for (Py_ssize_t each = 0; each < PyList_Size(infos); each++) {
        PyObject *info = PyList_GetItem(infos, each);
        if (!PyTuple_Check(info) || PyTuple_Size(info) != FIELDS) goto odd;
        PyObject *dtype = PyTuple_GetItem(info, DTYPE_AT), *shape = PyTuple_GetItem(info, SHAPE_AT);
        PyObject *extent = PyTuple_GetItem(info, EXTENT_AT);
        if (!PyTuple_CheckExact(shape) || !PyTuple_Check(extent) || PyTuple_Size(extent) != 3
            || PyTuple_GetItem(info, STRIDE_AT) != Py_None || PyTuple_GetItem(info, STORAGE_AT) != Py_None
            || PyTuple_GetItem(info, ENCODING_AT) != plain)
            goto odd;
        if (PyTuple_GetItem(extent, 0) != source)
            source = PyTuple_GetItem(extent, 0), end = attribute(source, SIZE);
        long long offset = count(PyTuple_GetItem(extent, 1)), size = count(PyTuple_GetItem(extent, 2));
        if (offset >= 0 && size >= 0 && end >= size && offset <= end - size
            && needed(known, dtype, shape, info, size_of) == size)
            continue;
    odd:
        if (!may_go_on() || PyList_Append(found, info)) goto failed;
    }
    PyMem_Free(known);
    return found;
failed:
    Py_XDECREF(found);
    PyMem_Free(known);
    return PyErr_Occurred() ? NULL : PyErr_NoMemory();
}

static PyMethodDef METHODS[] = {
    {"zip_members", zip_members, METH_VARARGS, zip_members_doc},
    {"flat_object", flat_object, METH_VARARGS, flat_object_doc},
    {"safetensors", safetensors, METH_VARARGS, safetensors_doc},
    {"unpickled", unpickled, METH_VARARGS, unpickled_doc},
    {"unproved", unproved, METH_VARARGS, unproved_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, "statedict._headers", "Headers of checkpoints, read in C.", 0, METHODS, NULL, NULL, NULL,
    NULL,
};

PyMODINIT_FUNC PyInit__headers(void)
{
    for (int each = 0; each < NAMES; each++)
        if (!names[each] && !(names[each] = PyUnicode_InternFromString(NAMED[each]))) return NULL;
    return PyModule_Create(&MODULE);
}
