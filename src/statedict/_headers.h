/* What the files that read headers have in common: see _headers.c. */

#ifndef STATEDICT_HEADERS_H
#define STATEDICT_HEADERS_H

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_DIMENSIONS = 64 };

/* What is read, and how far it has been. */
typedef struct { const unsigned char *at, *end; } Reader;

static inline Py_ssize_t left(const Reader *reader) { return reader->end - reader->at; }

static inline uint32_t number(const unsigned char *bytes, int size)
{
    uint32_t value = 0;
    while (size--) value = value << 8 | bytes[size];
    return value;
}

static inline uint64_t long_number(const unsigned char *bytes)
{
    return (uint64_t)number(bytes + 4, 4) << 32 | number(bytes, 4);
}

/* Forget an error that Python will find again and say; but what interrupts the program goes on its way. */
static inline int may_go_on(void)
{
    if (PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_Exception)) return 0;
        PyErr_Clear();
    }
    return 1;
}

static inline PyObject *give_up(void) { return may_go_on() ? Py_NewRef(Py_None) : NULL; }

/* The names of attributes, made once. */
enum { DTYPE, NUMEL, DEVICE, EXTENT, FIRST, STORAGE, OFFSET, SHAPE, STRIDE, INFO, REQUIRES_GRAD, SIZE, ITEMSIZE, NAMES };
extern PyObject *names[NAMES];

/* A whole number as C has it; -1 of anything else, and of what is negative or too large. */
static inline long long count(PyObject *value)
{
    if (!value || !PyLong_CheckExact(value)) return -1;
    int overflow;
    return PyLong_AsLongLongAndOverflow(value, &overflow);
}

static inline long long attribute(PyObject *object, int name)
{
    PyObject *value = PyObject_GetAttr(object, names[name]);
    long long found = count(value);
    Py_XDECREF(value);
    return found;
}

/* The tuples made so far, by what they were made of: of many tensors most have one of few shapes. */
enum { SHAPES = 256 };
typedef struct { PyObject *tuple; long long sizes[4]; int count; } Shape;
PyObject *shape_of(Shape *shapes, const long long *sizes, int count);
void drop_shapes(Shape *shapes);

/* What is known of PyTorch's storages and tensors; nothing where `held` is NULL. */
typedef struct {
    PyObject *held, *folder; /* members of the archive and storages by name, and what the names begin with */
    PyObject *dtypes, *dtype_of; /* element types by the class of storages, and of what names one by itself */
    PyObject *make_tensor, *make_typed_tensor;
    PyObject *storage, *member, *tensor, *extent; /* classes */
    PyObject *kind, *kind_dtype, *type, *type_dtype; /* what was asked for last, and what it is; owned */
    long long itemsize;
    Shape *shapes;
} Torch;

PyObject *storage_of(Torch *torch, PyObject *reference);
PyObject *tensor_of(Torch *torch, PyObject *arguments, int typed);
void forget(Torch *torch);

/* The functions of the module, and what is said of them. */
#define FUNCTION(name) PyObject *name(PyObject *module, PyObject *args); extern const char name##_doc[]
FUNCTION(zip_members);
FUNCTION(flat_object);
FUNCTION(safetensors);
FUNCTION(unpickled);
FUNCTION(unproved);

#endif
