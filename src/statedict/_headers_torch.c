/* PyTorch's storages and tensors in a pickle, as `torch_zip.py` and `_stored.py` make them. */

#include "_headers.h"

/* An object of a class whose `__init__` is not to be called, of which nothing is set yet. */
static PyObject *blank(PyObject *class)
{
    PyObject *nothing = PyTuple_New(0), *made = NULL;
    newfunc new = (newfunc)PyType_GetSlot((PyTypeObject *)class, Py_tp_new);
    if (nothing && new) made = new((PyTypeObject *)class, nothing, NULL);
    Py_XDECREF(nothing);
    return made;
}

static inline int set(PyObject *object, int name, PyObject *value)
{
    return PyObject_SetAttr(object, names[name], value);
}

/* `Extent(source, 0, size)` */
static PyObject *extent_of(const Torch *torch, PyObject *source, long long size)
{
    PyObject *fields = Py_BuildValue("((OiL))", source, 0, size), *made = NULL;
    newfunc new = (newfunc)PyType_GetSlot(&PyTuple_Type, Py_tp_new);
    if (fields && new) made = new((PyTypeObject *)torch->extent, fields, NULL);
    Py_XDECREF(fields);
    return made;
}

/* The element type of a class of storages, if it was met before. */
static int know_kind(Torch *torch, PyObject *kind)
{
    if (kind == torch->kind) return 1;
    PyObject *dtype = PyDict_GetItemWithError(torch->dtypes, kind);
    long long itemsize = dtype ? attribute(dtype, ITEMSIZE) : -1;
    if (itemsize < 0) return 0;
    Py_XDECREF(torch->kind), Py_XDECREF(torch->kind_dtype);
    torch->kind = Py_NewRef(kind), torch->kind_dtype = Py_NewRef(dtype), torch->itemsize = itemsize;
    return 1;
}

/* What `torch_zip._Storages` makes of a reference to the bytes of a member; NULL where it has to be asked. */
PyObject *storage_of(Torch *torch, PyObject *reference)
{
    PyObject *part[5], *made = NULL, *extent = NULL;
    if (!PyTuple_CheckExact(reference) || PyTuple_Size(reference) != 5) return NULL;
    for (int each = 0; each < 5; each++) part[each] = PyTuple_GetItem(reference, each);
    PyObject *word = part[0], *kind = part[1], *key = part[2], *device = part[3];
    long long numel = count(part[4]);
    if (!PyUnicode_CheckExact(word) || !PyUnicode_CheckExact(key) || !PyUnicode_CheckExact(device) || numel < 0
        || !Py_IS_TYPE(kind, &PyType_Type) || PyUnicode_CompareWithASCIIString(word, "storage")
        || !PyUnicode_CompareWithASCIIString(device, "meta") || !know_kind(torch, kind))
        return NULL;
    PyObject *name = PyUnicode_Concat(torch->folder, key);
    PyObject *held = name ? PyDict_GetItemWithError(torch->held, name) : NULL;
    if (!held) goto done;
    if ((PyObject *)Py_TYPE(held) == torch->storage) {
        PyObject *dtype = PyObject_GetAttr(held, names[DTYPE]);
        if (dtype == torch->kind_dtype) made = Py_NewRef(held);
        Py_XDECREF(dtype);
        goto done;
    }
    if ((PyObject *)Py_TYPE(held) != torch->member) goto done;
    long long size = attribute(held, SIZE);
    if (size < 0 || torch->itemsize < 1 || numel > size / torch->itemsize) goto done;
    if (!(extent = extent_of(torch, held, numel * torch->itemsize)) || !(made = blank(torch->storage))) goto done;
    if (set(made, DTYPE, torch->kind_dtype) || set(made, NUMEL, part[4]) || set(made, DEVICE, device)
        || set(made, EXTENT, extent) || set(made, FIRST, Py_None) || PyDict_SetItem(torch->held, name, made)) {
        Py_DECREF(made);
        made = NULL;
    }
done:
    Py_XDECREF(name), Py_XDECREF(extent);
    return made;
}

/* A tuple of whole numbers that PyTorch can count with, or one equal to it that was met before; else NULL. */
static PyObject *same(Torch *torch, PyObject *tuple)
{
    long long values[MOST_DIMENSIONS];
    Py_ssize_t size = PyTuple_CheckExact(tuple) ? PyTuple_Size(tuple) : MOST_DIMENSIONS + 1;
    if (size > MOST_DIMENSIONS) return NULL;
    for (Py_ssize_t each = 0; each < size; each++)
        if ((values[each] = count(PyTuple_GetItem(tuple, each))) < 0) return NULL;
    return shape_of(torch->shapes, values, (int)size);
}

/* What `_stored.tensor` makes of a plain view of a storage, or `_torch._tensor_v3`; NULL where they have to be asked. */
PyObject *tensor_of(Torch *torch, PyObject *arguments, int typed)
{
    PyObject *part[7], *made = NULL, *dtype = NULL, *device = NULL, *shape = NULL, *stride = NULL;
    if (PyTuple_Size(arguments) != 6 + typed) return NULL;
    for (int each = 0; each < 6 + typed; each++) part[each] = PyTuple_GetItem(arguments, each);
    PyObject *storage = part[0], *offset = part[1], *grad = part[4];
    if ((PyObject *)Py_TYPE(storage) != torch->storage || count(offset) < 0 || (grad != Py_True && grad != Py_False))
        return NULL;
    if (typed && part[6] != torch->type) {
        if (!(dtype = PyObject_CallFunctionObjArgs(torch->dtype_of, part[6], NULL))) return NULL;
        Py_XDECREF(torch->type), Py_XDECREF(torch->type_dtype);
        torch->type = Py_NewRef(part[6]), torch->type_dtype = dtype;
    }
    dtype = typed ? Py_NewRef(torch->type_dtype) : PyObject_GetAttr(storage, names[DTYPE]);
    device = PyObject_GetAttr(storage, names[DEVICE]);
    shape = same(torch, part[2]), stride = same(torch, part[3]);
    if (dtype && device && shape && stride && (made = blank(torch->tensor)))
        if (set(made, STORAGE, storage) || set(made, OFFSET, offset) || set(made, SHAPE, shape)
            || set(made, STRIDE, stride) || set(made, DTYPE, dtype) || set(made, DEVICE, device)
            || set(made, INFO, Py_None) || (grad == Py_True && set(made, REQUIRES_GRAD, grad))) {
            Py_DECREF(made);
            made = NULL;
        }
    Py_XDECREF(dtype), Py_XDECREF(device), Py_XDECREF(shape), Py_XDECREF(stride);
    return made;
}

void forget(Torch *torch)
{
    Py_XDECREF(torch->kind), Py_XDECREF(torch->kind_dtype), Py_XDECREF(torch->type), Py_XDECREF(torch->type_dtype);
    if (torch->shapes) drop_shapes(torch->shapes);
    PyMem_Free(torch->shapes);
}
