/* Directories of zip archives, as `_zip.py` reads them. */

#include "_headers.h"

/* Append to a list what is given, and drop it. */
static int put(PyObject *list, PyObject *value)
{
    if (!value) return -1;
    int failed = PyList_Append(list, value);
    Py_DECREF(value);
    return failed;
}

enum { ENTRY = 46, STORED = 0, ENCRYPTED = 0x1, UTF8 = 0x800 };
#define WIDE 0xFFFFFFFFu

/* The sizes and offset that ZIP64's extra field has for those that do not fit 32 bits, as `_zip._wide` reads them. */
static int wide(Reader extra, uint64_t *packed, uint64_t *plain, uint64_t *header)
{
    while (left(&extra) >= 4) {
        uint32_t kind = number(extra.at, 2), size = number(extra.at + 2, 2);
        extra.at += 4;
        if (size > left(&extra)) return -1;
        if (kind == 1) {
            uint64_t *fields[] = {plain, packed, header};
            for (int each = 0; each < 3; each++) {
                if (*fields[each] != WIDE) continue;
                if (size < 8) return -1;
                *fields[each] = long_number(extra.at);
                extra.at += 8, size -= 8;
            }
            return 0;
        }
        extra.at += size;
    }
    return -1;
}

const char zip_members_doc[] =
"zip_members(directory: bytes, count: int, shift: int, file_size: int) -> (names, offsets, sizes) | None\n\n"
"The members of an archive that are stored, by what its central directory says; None where that is not all of them.";

PyObject *zip_members(PyObject *module, PyObject *args)
{
    Reader reader;
    Py_ssize_t size;
    unsigned long long count, shift, file_size;
    if (!PyArg_ParseTuple(args, "y#KKK", &reader.at, &size, &count, &shift, &file_size)) return NULL;
    reader.end = reader.at + size;
    PyObject *names = PyList_New(0), *offsets = PyList_New(0), *sizes = PyList_New(0), *found = NULL;
    if (!names || !offsets || !sizes || file_size > (uint64_t)1 << 61) goto done;
    for (; count; count--) {
        const unsigned char *entry = reader.at;
        if (left(&reader) < ENTRY || memcmp(entry, "PK\1\2", 4)) goto done;
        uint32_t flags = number(entry + 8, 2), method = number(entry + 10, 2);
        uint64_t packed = number(entry + 20, 4), plain = number(entry + 24, 4), header = number(entry + 42, 4);
        Py_ssize_t named = number(entry + 28, 2), extra = number(entry + 30, 2), noted = number(entry + 32, 2);
        reader.at += ENTRY;
        if (left(&reader) < named + extra + noted || method != STORED || flags & ENCRYPTED) goto done;
        const unsigned char *name = reader.at;
        Reader fields = {name + named, name + named + extra};
        if ((packed == WIDE || plain == WIDE || header == WIDE) && wide(fields, &packed, &plain, &header)) goto done;
        if (packed > file_size || header > file_size || shift > file_size || header + shift + packed > file_size)
            goto done;
        if (!(flags & UTF8))
            for (Py_ssize_t each = 0; each < named; each++)
                if (name[each] & 0x80) goto done;
        if (put(names, PyUnicode_DecodeUTF8((const char *)name, named, NULL))
            || put(offsets, PyLong_FromUnsignedLongLong(header + shift))
            || put(sizes, PyLong_FromUnsignedLongLong(packed)))
            goto done;
        reader.at += named + extra + noted;
    }
    found = PyTuple_Pack(3, names, offsets, sizes);
done:
    Py_XDECREF(names), Py_XDECREF(offsets), Py_XDECREF(sizes);
    return found ? found : give_up();
}
