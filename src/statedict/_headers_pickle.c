/* pickle: the opcodes that `torch.save` writes, on a stack of objects, as the standard library's unpickler does. */

#include "_headers.h"

typedef struct {
    Reader reader;
    PyObject **stack; /* owned */
    Py_ssize_t height, room;
    Py_ssize_t *marks, marked, marks_room;
    Py_ssize_t fence; /* nothing below is taken: the last mark */
    PyObject **memo;  /* owned, filled in the order of its indices, as all picklers do, with what will be recalled */
    Py_ssize_t remembered, memo_room;
    unsigned char *recalled; /* a bit for each index */
    PyObject *find_class, *persistent, *stub, *dict, *ordered_dict, *make_ordered_dict;
    PyObject *class, *make; /* the last that was called, and what stands behind it; owned */
    Torch torch;
} Machine;

/* Room for one more: the items, maybe elsewhere; NULL where there is none, and the items are where they were. */
static void *grown(void *items, Py_ssize_t count, Py_ssize_t *room, size_t size)
{
    if (count < *room) return items;
    Py_ssize_t wanted = *room ? 2 * *room : 256;
    void *moved = PyMem_Realloc(items, wanted * size);
    if (moved) *room = wanted;
    return moved;
}

/* Push what is given. */
static int push(Machine *machine, PyObject *value)
{
    if (!value) return -1;
    PyObject **stack = grown(machine->stack, machine->height, &machine->room, sizeof *stack);
    if (!stack) {
        Py_DECREF(value);
        return -1;
    }
    machine->stack = stack;
    machine->stack[machine->height++] = value;
    return 0;
}

static PyObject *pop(Machine *machine)
{
    return machine->height > machine->fence ? machine->stack[--machine->height] : NULL;
}

static PyObject *top(const Machine *machine)
{
    return machine->height > machine->fence ? machine->stack[machine->height - 1] : NULL;
}

static int mark(Machine *machine)
{
    Py_ssize_t *marks = grown(machine->marks, machine->marked, &machine->marks_room, sizeof *marks);
    if (!marks) return -1;
    machine->marks = marks;
    machine->fence = machine->marks[machine->marked++] = machine->height;
    return 0;
}

/* Where the last mark was, which is taken away; -1 where there is none. */
static Py_ssize_t unmark(Machine *machine)
{
    if (!machine->marked) return -1;
    Py_ssize_t at = machine->marks[--machine->marked];
    machine->fence = machine->marked ? machine->marks[machine->marked - 1] : 0;
    return at;
}

/* What is above `at`, as a tuple in its place. */
static int tuple(Machine *machine, Py_ssize_t at)
{
    if (at < machine->fence) return -1;
    PyObject *made = PyTuple_New(machine->height - at);
    if (!made) return -1;
    for (Py_ssize_t each = at; each < machine->height; each++)
        PyTuple_SetItem(made, each - at, machine->stack[each]);
    machine->height = at;
    return push(machine, made);
}

static int remember(Machine *machine, uint32_t index)
{
    PyObject *value = top(machine);
    if (!value || index != (uint64_t)machine->remembered) return -1;
    PyObject **memo = grown(machine->memo, machine->remembered, &machine->memo_room, sizeof *memo);
    if (!memo) return -1;
    machine->memo = memo;
    int wanted = machine->recalled[index / 8] >> index % 8 & 1;
    machine->memo[machine->remembered++] = wanted ? Py_NewRef(value) : NULL;
    return 0;
}

static int recall(Machine *machine, uint32_t index)
{
    PyObject *value = index < (uint64_t)machine->remembered ? machine->memo[index] : NULL;
    return value ? push(machine, Py_NewRef(value)) : -1;
}

/* The class of the two lines that come. */
static int global(Machine *machine)
{
    PyObject *parts[2] = {NULL, NULL}, *found = NULL;
    for (int each = 0; each < 2; each++) {
        const unsigned char *first = machine->reader.at, *end = memchr(first, '\n', left(&machine->reader));
        if (!end || end == first) goto done;
        machine->reader.at = end + 1;
        /* What Python puts in the place of some opcodes, no file may name itself. */
        if (!each && end - first == 9 && !memcmp(first, "statedict", 9)) goto done;
        if (!(parts[each] = PyUnicode_DecodeUTF8((const char *)first, end - first, NULL))) goto done;
    }
    found = PyObject_CallFunctionObjArgs(machine->find_class, parts[0], parts[1], NULL);
done:
    Py_XDECREF(parts[0]), Py_XDECREF(parts[1]);
    return push(machine, found);
}

static int is_stub(const Machine *machine, PyObject *value)
{
    return PyType_Check(value) && PyType_IsSubtype((PyTypeObject *)value, (PyTypeObject *)machine->stub);
}

/* `class(*arguments)`, by way of the function behind it, where there is one and it takes the arguments. */
static PyObject *called(Machine *machine, PyObject *class, PyObject *arguments)
{
    if (!is_stub(machine, class) || !PyTuple_CheckExact(arguments)) return NULL;
    if (class != machine->class) {
        PyObject *make = PyObject_GetAttrString(class, "make");
        if (!make) return NULL;
        Py_XDECREF(machine->make), Py_XDECREF(machine->class);
        machine->make = make, machine->class = Py_NewRef(class);
    }
    if (machine->make == machine->make_ordered_dict && !PyTuple_Size(arguments))
        return PyObject_CallNoArgs(machine->ordered_dict);
    int typed = machine->make == machine->torch.make_typed_tensor;
    if (machine->torch.held && (typed || machine->make == machine->torch.make_tensor)) {
        PyObject *made = tensor_of(&machine->torch, arguments, typed);
        if (made || !may_go_on()) return made;
    }
    if (machine->make != Py_None) {
        PyObject *made = PyObject_CallObject(machine->make, arguments);
        if (made || !may_go_on()) return made;
    }
    return PyObject_CallObject(class, arguments);
}

static int persistent(Machine *machine)
{
    PyObject *reference = pop(machine);
    PyObject *found = reference && machine->torch.held ? storage_of(&machine->torch, reference) : NULL;
    if (reference && !found && may_go_on())
        found = PyObject_CallFunctionObjArgs(machine->persistent, reference, NULL);
    Py_XDECREF(reference);
    return push(machine, found);
}

static int reduce(Machine *machine)
{
    PyObject *arguments = pop(machine), *class = arguments ? pop(machine) : NULL;
    PyObject *made = class ? called(machine, class, arguments) : NULL;
    Py_XDECREF(arguments), Py_XDECREF(class);
    return push(machine, made);
}

/* `class.__new__(class, *arguments)` */
static int new(Machine *machine)
{
    PyObject *arguments = pop(machine), *class = arguments ? pop(machine) : NULL, *made = NULL;
    if (class && is_stub(machine, class) && PyTuple_CheckExact(arguments)) {
        PyObject *function = PyObject_GetAttrString(class, "__new__"), *first = PyTuple_Pack(1, class);
        PyObject *all = first ? PySequence_Concat(first, arguments) : NULL;
        made = function && all ? PyObject_CallObject(function, all) : NULL;
        Py_XDECREF(function), Py_XDECREF(first), Py_XDECREF(all);
    }
    Py_XDECREF(arguments), Py_XDECREF(class);
    return push(machine, made);
}

/* Give a state to what is below it, by its `__setstate__`. */
static int build(Machine *machine)
{
    PyObject *state = pop(machine), *target = state ? top(machine) : NULL;
    PyObject *function = target ? PyObject_GetAttrString(target, "__setstate__") : NULL;
    PyObject *done = function ? PyObject_CallFunctionObjArgs(function, state, NULL) : NULL;
    Py_XDECREF(state), Py_XDECREF(function), Py_XDECREF(done);
    return done ? 0 : -1;
}

/* Fill the dict below `at` with the pairs above. */
static int set_items(Machine *machine, Py_ssize_t at)
{
    if (at <= machine->fence || (machine->height - at) % 2) return -1;
    PyObject *target = machine->stack[at - 1], *type = (PyObject *)Py_TYPE(target);
    int plain = type == machine->dict || type == machine->ordered_dict, failed = 0;
    for (Py_ssize_t each = at; !failed && each < machine->height; each += 2) {
        PyObject *key = machine->stack[each], *value = machine->stack[each + 1];
        failed = plain && PyUnicode_CheckExact(key) ? PyDict_SetItem(target, key, value)
                                                    : PyObject_SetItem(target, key, value);
    }
    while (machine->height > at) Py_DECREF(machine->stack[--machine->height]);
    return failed;
}

/* Append to the list below `at` what is above. */
static int append(Machine *machine, Py_ssize_t at)
{
    if (at <= machine->fence || !PyList_CheckExact(machine->stack[at - 1])) return -1;
    int failed = 0;
    for (Py_ssize_t each = at; !failed && each < machine->height; each++)
        failed = PyList_Append(machine->stack[at - 1], machine->stack[each]);
    while (machine->height > at) Py_DECREF(machine->stack[--machine->height]);
    return failed;
}

static int text(Machine *machine, uint32_t size)
{
    if (size > (uint64_t)left(&machine->reader)) return -1;
    const char *first = (const char *)machine->reader.at;
    machine->reader.at += size;
    return push(machine, PyUnicode_DecodeUTF8(first, size, "surrogatepass"));
}

static int real(Machine *machine, const unsigned char *bytes)
{
    uint64_t bits = 0;
    double value;
    for (int each = 0; each < 8; each++) bits = bits << 8 | bytes[each];
    memcpy(&value, &bits, sizeof value);
    return push(machine, PyFloat_FromDouble(value));
}

/* A whole number of as many bytes as the first one says. */
static int whole_number(Machine *machine)
{
    const unsigned char *bytes = machine->reader.at;
    int size = left(&machine->reader) ? *bytes++ : 255;
    if (size > 8 || left(&machine->reader) < 1 + size) return -1;
    uint64_t value = size && bytes[size - 1] & 0x80 ? ~(uint64_t)0 : 0;
    for (int each = size; each--;) value = value << 8 | bytes[each];
    machine->reader.at += 1 + size;
    return push(machine, PyLong_FromLongLong((long long)value));
}

/* How many bytes follow an opcode, at least. */
static inline int argument(unsigned char opcode)
{
    switch (opcode) {
    case 'K': case 'h': case 'q': case 0x80: case 0x8c: return 1;
    case 'M': return 2;
    case 'J': case 'X': case 'j': case 'r': return 4;
    case 'G': return 8;
    default: return 0;
    }
}

/* Go over the opcodes, and mark what is recalled: of 60,000 tensors most is not, and need not be kept. */
static int look_ahead(Machine *machine)
{
    Reader reader = machine->reader;
    Py_ssize_t most = left(&reader) / 2 + 1; /* it takes two bytes to remember something */
    if (!(machine->recalled = PyMem_Calloc(most / 8 + 1, 1))) return -1;
    while (left(&reader)) {
        unsigned char opcode = *reader.at++;
        const unsigned char *bytes = reader.at;
        if (opcode == '.') return 0;
        if (left(&reader) < argument(opcode)) return -1;
        reader.at += argument(opcode);
        uint32_t value = opcode == 'h' || opcode == 0x8c ? *bytes : opcode == 'j' || opcode == 'X' ? number(bytes, 4) : 0;
        if (opcode == 'h' || opcode == 'j') {
            if (value >= (uint64_t)most) return -1;
            machine->recalled[value / 8] |= 1 << value % 8;
        }
        if (opcode == 0x8a && left(&reader)) value = *reader.at++;
        for (int lines = opcode == 'c' ? 2 : 0; lines; lines--) {
            const unsigned char *end = memchr(reader.at, '\n', left(&reader));
            if (!end) return -1;
            reader.at = end + 1;
        }
        if (opcode == 'X' || opcode == 0x8a || opcode == 0x8c) {
            if (value > (uint64_t)left(&reader)) return -1;
            reader.at += value;
        }
    }
    return -1;
}

/* Do what an opcode says: 0 done, 1 it was the last, -1 it is unusual, or there was an error. */
static int step(Machine *machine)
{
    Reader *reader = &machine->reader;
    if (!left(reader)) return -1;
    unsigned char opcode = *reader->at++;
    const unsigned char *bytes = reader->at;
    if (left(reader) < argument(opcode)) return -1;
    reader->at += argument(opcode);
    switch (opcode) {
    case 'h': return recall(machine, *bytes);
    case 'j': return recall(machine, number(bytes, 4));
    case 'q': return remember(machine, *bytes);
    case 'r': return remember(machine, number(bytes, 4));
    case 'K': return push(machine, PyLong_FromLong(*bytes));
    case 'M': return push(machine, PyLong_FromLong((long)number(bytes, 2)));
    case 'J': return push(machine, PyLong_FromLong((int32_t)number(bytes, 4)));
    case 0x8a: return whole_number(machine);
    case 'X': return text(machine, number(bytes, 4));
    case 0x8c: return text(machine, *bytes);
    case 'G': return real(machine, bytes);
    case '(': return mark(machine);
    case 't': return tuple(machine, unmark(machine));
    case ')': return push(machine, PyTuple_New(0));
    case 0x85: return tuple(machine, machine->height - 1);
    case 0x86: return tuple(machine, machine->height - 2);
    case 0x87: return tuple(machine, machine->height - 3);
    case 'N': return push(machine, Py_NewRef(Py_None));
    case 0x88: return push(machine, Py_NewRef(Py_True));
    case 0x89: return push(machine, Py_NewRef(Py_False));
    case 'Q': return persistent(machine);
    case 'R': return reduce(machine);
    case 'c': return global(machine);
    case 's': return set_items(machine, machine->height - 2);
    case 'u': return set_items(machine, unmark(machine));
    case '}': return push(machine, PyObject_CallNoArgs(machine->dict));
    case ']': return push(machine, PyList_New(0));
    case 'a': return append(machine, machine->height - 1);
    case 'e': return append(machine, unmark(machine));
    case 'b': return build(machine);
    case 0x81: return new(machine);
    case 0x80: return *bytes > 1 && *bytes <= 5 ? 0 : -1;
    case '.': return machine->height == 1 && !machine->marked ? 1 : -1;
    default: return -1;
    }
}

static void empty(Machine *machine)
{
    while (machine->height) Py_DECREF(machine->stack[--machine->height]);
    while (machine->remembered) Py_XDECREF(machine->memo[--machine->remembered]);
    PyMem_Free(machine->stack), PyMem_Free(machine->memo), PyMem_Free(machine->marks), PyMem_Free(machine->recalled);
    Py_XDECREF(machine->make), Py_XDECREF(machine->class);
    forget(&machine->torch);
}

const char unpickled_doc[] =
"unpickled(data: bytes, find_class, persistent, kinds: tuple, torch: tuple | None) -> tuple[Any] | None\n\n"
"The object that a pickle describes, in a tuple. Names are looked up by `find_class`, and what it returns is only\n"
"called where it is a `Stub`. `kinds` are `Stub`, what stands for a dict, for an OrderedDict, and what makes one;\n"
"`torch` is what `torch_zip._Storages.known` has.";

PyObject *unpickled(PyObject *module, PyObject *args)
{
    Machine machine = {0};
    Py_ssize_t size;
    int said;
    PyObject *torch;
    Torch *known = &machine.torch;
    if (!PyArg_ParseTuple(args, "y#OO(OOOO)O", &machine.reader.at, &size, &machine.find_class, &machine.persistent,
                          &machine.stub, &machine.dict, &machine.ordered_dict, &machine.make_ordered_dict,
                          &torch))
        return NULL;
    if (torch == Py_None) torch = NULL;
    if (torch && !PyTuple_Check(torch)) return PyErr_Format(PyExc_TypeError, "`torch` is a tuple or None");
    if (torch && !PyArg_ParseTuple(torch, "O!UO!OOOO!O!O!O!", &PyDict_Type, &known->held, &known->folder, &PyDict_Type,
                                   &known->dtypes, &known->dtype_of, &known->make_tensor, &known->make_typed_tensor,
                                   &PyType_Type, &known->storage, &PyType_Type, &known->member, &PyType_Type,
                                   &known->tensor, &PyType_Type, &known->extent))
        return NULL;
    machine.reader.end = machine.reader.at + size;
    known->shapes = PyMem_Calloc(SHAPES, sizeof *known->shapes);
    said = known->shapes ? look_ahead(&machine) : -1;
    while (!said) said = step(&machine);
    PyObject *made = said == 1 ? PyTuple_Pack(1, machine.stack[0]) : NULL;
    empty(&machine);
    return made ? made : give_up();
}
