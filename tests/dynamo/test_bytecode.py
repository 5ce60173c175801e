"""Decoding and assembling: real modules, rewritten function by function, still do what they did."""

import dis
import importlib.util
import sys
import traceback
import types

import pytest

from dynamo import bytecode as bc
from dynamo.encoding import Handler, decode_exceptions, encode_exceptions


def rewrite(code):
    """Decode and assemble `code` and every code object in its constants."""
    instructions = bc.decode(code)
    for instruction in instructions:
        if isinstance(instruction.argval, types.CodeType):
            instruction.argval = rewrite(instruction.argval)
    return bc.assemble(instructions, code, flags=code.co_flags)


def shape(code):
    """What must survive: operations, operands, jumps, handlers and locations."""
    instructions = bc.decode(code)
    index = {instruction: i for i, instruction in enumerate(instructions)}
    rows = []
    for i in instructions:
        argval = i.argval.co_name if isinstance(i.argval, types.CodeType) else repr(i.argval)
        handler = i.exception_entry and (
            index[i.exception_entry.target], i.exception_entry.depth, i.exception_entry.lasti
        )
        plain = None if i.opname in bc.HAS_NAME | bc.HAS_LOCAL | bc.HAS_CONSTANT else i.arg
        plain = None if i.target else plain
        rows.append((i.opname, plain, argval, index.get(i.target), handler, i.positions))
    return rows


def codes(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes(constant)


MODULES = """argparse ast asyncio.base_events calendar collections configparser contextlib copy
csv dataclasses datetime difflib dis email.message enum fractions functools gzip heapq html.parser
inspect json.decoder json.encoder logging mailbox optparse pickle pickletools plistlib pprint
_pydecimal random reprlib shlex statistics string subprocess tarfile textwrap threading tokenize
traceback types typing unittest.mock urllib.parse uuid xml.dom.minidom zipfile""".split()


def module_code(name):
    spec = importlib.util.find_spec(name)
    return compile(spec.loader.get_source(name), spec.origin, "exec", dont_inherit=True), spec


@pytest.mark.parametrize("name", MODULES)
def test_round_trip_keeps_the_shape(name):
    original, _ = module_code(name)
    for code in codes(original):
        again = bc.assemble(bc.decode(code), code)
        assert shape(again) == shape(code), code.co_qualname
        count = bc.argument_count(code)
        assert again.co_varnames[:count] == code.co_varnames[:count]
        assert code.co_stacksize <= again.co_stacksize <= code.co_stacksize + 1, code


def load(name):
    code, spec = module_code(name)
    module = types.ModuleType(name)
    module.__dict__.update(__spec__=spec, __file__=spec.origin, __package__=spec.parent)
    saved = sys.modules.get(name)
    sys.modules[name] = module
    try:
        exec(rewrite(code), module.__dict__)
    finally:
        if saved is not None:
            sys.modules[name] = saved
    return module


def use_json():
    decoder = load("json.decoder").JSONDecoder()
    encoder = load("json.encoder").JSONEncoder(indent=2, sort_keys=True)
    value = {"a": [1, 2.5, None, True], "b": {"c": "\u00e9 \"x\""}, "d": [{}, [], "x" * 50]}
    assert decoder.decode(encoder.encode(value)) == value
    with pytest.raises(ValueError, match="line 1 column 2"):
        decoder.decode("{]")


def use_decimal():
    decimal = load("_pydecimal")
    number = decimal.Decimal("2").sqrt(decimal.Context(prec=40))
    assert str(number) == "1.414213562373095048801688724209698078570"
    with pytest.raises(decimal.DivisionByZero):
        decimal.Decimal(1) / decimal.Decimal(0)


def use_text():
    difflib, textwrap, string = load("difflib"), load("textwrap"), load("string")
    lines = list(difflib.unified_diff("a b c".split(), "a x c d".split(), lineterm=""))
    assert lines[3:] == [" a", "-b", "+x", " c", "+d"]
    assert textwrap.wrap("the quick brown fox " * 3, 20)[0] == "the quick brown fox"
    assert string.Template("$a-${b}").substitute(a=1, b=2) == "1-2"


def use_classes():
    dataclasses, contextlib, functools = load("dataclasses"), load("contextlib"), load("functools")

    @dataclasses.dataclass(order=True)
    class Point:
        x: int
        y: list = dataclasses.field(default_factory=list)

    assert Point(1) < Point(2) and repr(Point(1)).endswith("Point(x=1, y=[])")

    @contextlib.contextmanager
    def manager(log):
        try:
            yield log
        except KeyError:
            log.append("caught")

    log = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(manager(log))
        raise KeyError
    assert log == ["caught"]

    @functools.singledispatch
    def kind(value):
        return "object"

    kind.register(int, lambda value: "int")
    assert kind(1) == "int" and kind("x") == "object"


def use_tools():
    fractions, statistics, heapq = load("fractions"), load("statistics"), load("heapq")
    assert fractions.Fraction("3/4") + fractions.Fraction(1, 4) == 1
    assert statistics.median([3, 1, 2]) == 2 and statistics.stdev([1, 2, 3]) == 1
    assert list(heapq.merge([1, 4], [2, 3])) == [1, 2, 3, 4]
    parser = load("argparse").ArgumentParser(prog="p")
    parser.add_argument("--n", type=int, default=3)
    parser.add_argument("files", nargs="*")
    assert vars(parser.parse_args(["--n", "5", "a", "b"])) == {"n": 5, "files": ["a", "b"]}


def use_reading():
    tokenize, pprint, calendar = load("tokenize"), load("pprint"), load("calendar")
    tokens = list(tokenize.generate_tokens(iter(["x = [1,\n", " 2]\n"]).__next__))
    assert [t.string for t in tokens if t.string.strip()] == ["x", "=", "[", "1", ",", "2", "]"]
    assert pprint.pformat({"b": 1, "a": list(range(40))}).startswith("{'a': [0,")
    assert "January 2024" in calendar.TextCalendar().formatmonth(2024, 1)
    assert load("urllib.parse").urlparse("http://u@h:80/p?q#f").port == 80


USES = [use_json, use_decimal, use_text, use_classes, use_tools, use_reading]


@pytest.mark.parametrize("use", USES, ids=[use.__name__ for use in USES])
def test_rewritten_modules_run(use):
    use()


def rewritten(function):
    new = types.FunctionType(
        rewrite(function.__code__), function.__globals__, function.__name__,
        function.__defaults__, function.__closure__,
    )
    new.__kwdefaults__ = function.__kwdefaults__
    return new


def sample_loops(n):
    total, seen = 0, []
    while n:
        n -= 1
        for k in range(n):
            if k == 3:
                continue
            if k > 5:
                break
            total += k
        else:
            seen.append(n)
    return total, seen, [i * j for i in range(3) for j in range(i)]


def sample_errors(n):
    log = []
    for k in range(n):
        try:
            try:
                if k % 3 == 0:
                    raise KeyError(k)
                1 / (k % 2)
            finally:
                log.append(("finally", k))
        except* ZeroDivisionError as group:
            log.append(("zero", len(group.exceptions)))
        except* KeyError as group:
            log.append(("key", group.exceptions[0].args))
    return log


def sample_generator(n):
    def inner(k):
        got = yield k
        return got

    total = 0
    for k in range(n):
        total += (yield from inner(k)) or 1
    return total


def sample_match(n):
    match n:
        case [a, *rest] if a:
            return a, rest
        case {"k": v, **others}:
            return v, others
        case int() | float() as number:
            return number
    return None


def sample_closure(n, *args, flag=False, **kwargs):
    cells = [(lambda m=m: (m, n, args, flag)) for m in range(2)]

    class Local:
        value = n

        def method(self):
            return __class__.value, super().__repr__ is not None

    n = n + 1
    return [c() for c in cells], Local().method(), kwargs, [lambda: n for n in range(2)][1]()  # noqa: B023


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (sample_loops, (9,)),
        (sample_errors, (5,)),
        (sample_match, ([1, 2],)),
        (sample_match, ({"k": 1, "z": 2},)),
        (sample_match, (2.5,)),
        (sample_closure, (1, 2, 3)),
    ],
)
def test_rewritten_function_returns_the_same(function, arguments):
    assert rewritten(function)(*arguments) == function(*arguments)


def test_rewritten_generator():
    one, two = sample_generator(3), rewritten(sample_generator)(3)
    for value in (None, 5, 6):
        assert one.send(value) == two.send(value)
    results = []
    for generator in (one, two):
        with pytest.raises(StopIteration) as error:
            generator.send(7)
        results.append(error.value.value)
    assert results == [18, 18]


def test_long_jumps_constants_and_names():
    lines = [f"    if x == {k}: return name{k}.attribute{k}" for k in range(700)]
    source = "def f(x):\n  while True:\n" + "\n".join(lines) + "\n    x -= 1\n"
    scope = {f"name{k}": types.SimpleNamespace(**{f"attribute{k}": -k}) for k in range(700)}
    exec(source, scope)
    function = rewritten(scope["f"])
    assert [function(k) for k in (0, 300, 699, 705)] == [0, -300, -699, -699]


def test_traceback_lines_and_columns():
    def fails(a):
        b = [a,
             a["x"]]
        return b

    frames = []
    for function in (fails, rewritten(fails)):
        with pytest.raises(TypeError) as error:
            function(1)
        frame = traceback.extract_tb(error.value.__traceback__)[-1]
        frames.append((frame.lineno, frame.colno, frame.end_colno, frame.name, frame.line))
    assert frames[0] == frames[1] and frames[0][1] is not None


def test_location_table_is_read_back():
    def spread(a):
        if a:

            return [
                a
                for a in range(3)
            ]


        return (a +
                1)

    again = bc.assemble(bc.decode(spread.__code__), spread.__code__)
    old = {i.positions for i in bc.decode(spread.__code__)}
    assert {i.positions for i in bc.decode(again)} == old
    assert list(again.co_lines())[0][2] == list(spread.__code__.co_lines())[0][2]


@pytest.mark.parametrize("numbers", [(0, 1, 1, 0), (5, 100, 70, 3), (64, 70000, 2**20, 40)])
def test_exception_table_is_read_back(numbers):
    start, stop, target, depth = numbers
    rows = [Handler(start, stop, target, depth, True), Handler(stop, stop + 1, 0, 0, False)]
    assert decode_exceptions(encode_exceptions(rows)) == rows


def function_of(instructions, template, **options):
    return types.FunctionType(bc.assemble(instructions, template.__code__, **options), globals())


def test_builders_call_with_keywords_and_null():
    def template(a, b): ...

    body = [
        *bc.prefix(),
        *bc.load_global("sorted"),
        *bc.push_null(),
        *bc.load_fast("a"),
        *bc.load_const(True),
        *bc.call(2, ("reverse",)),
        *bc.load_global("tuple", push_null=True),
        *bc.load_fast("b"),
        *bc.call(1),
        *bc.load_fast("a"),
        *bc.load_method("count"),
        *bc.load_const(2),
        *bc.call(1),
        *bc.rot(3),
        *bc.build_tuple(3),
        *bc.return_value(),
    ]
    assert function_of(body, template)([1, 3, 2, 2], "xy") == (2, [3, 2, 2, 1], ("x", "y"))


def test_builders_store_unpack_and_call_ex():
    def template(items, thing): ...

    body = [
        *bc.prefix(),
        *bc.load_fast("items"),
        *bc.unpack_sequence(2),
        *bc.store_fast("first"),
        *bc.store_fast("second"),
        *bc.load_fast("second"),
        *bc.load_fast("thing"),
        *bc.store_attr("second"),
        *bc.load_const("new"),
        *bc.load_fast("items"),
        *bc.load_const(0),
        *bc.store_subscr(),
        *bc.load_global("dict"),
        *bc.push_null(),
        *bc.build_tuple(0),
        *bc.load_const("first"),
        *bc.load_fast("first"),
        *bc.build_map(1),
        *bc.call_ex(keywords=True),
        *bc.load_fast("thing"),
        *bc.load_attr("second"),
        *bc.build_tuple(2),
        *bc.return_value(),
    ]
    thing, items = types.SimpleNamespace(), [1, 2]
    function = function_of(body, template)
    assert function(items, thing) == ({"first": 1}, 2) and items == ["new", 2]
    assert function.__code__.co_varnames == ("items", "thing", "first", "second")


def test_backward_conditional_jump_and_resume_like_arguments():
    def template(a, /, *b, c, **d): ...

    head = bc.load_fast("n")[0]
    body = [
        *bc.prefix(),
        head,
        *bc.load_const(1),
        bc.make("BINARY_OP", 10),
        *bc.copy(),
        *bc.store_fast("n"),
        *bc.jump_if_true(head),
        *bc.load_fast("n"),
        *bc.return_value(),
    ]
    listing = bc.text(body)
    for _ in range(2):
        function = function_of(body, template, argcount=1, varnames=("n",), name="resume")
        assert function(5) == 0
    assert bc.text(body) == listing and "POP_JUMP_IF_TRUE" in listing
    assert function.__code__.co_name == "resume" and function.__code__.co_kwonlyargcount == 0


def test_builders_make_function_with_closure():
    def outer(k):
        def inner(a, b=2):
            return a + b + k

        return inner

    inner = next(c for c in outer.__code__.co_consts if isinstance(c, types.CodeType))
    body = [
        *bc.prefix(cellvars=("k",)),
        *bc.load_const((40,)),
        *bc.load_closure("k"),
        *bc.build_tuple(1),
        *bc.make_function(inner, closure=True, defaults=True),
        *bc.return_value(),
    ]
    function = function_of(body, outer)(100)
    assert function(1) == 141 and function(1, 1) == 102


def test_lines_are_inherited():
    def template(a):
        return a

    body = [*bc.prefix(), *bc.load_fast("a"), *bc.load_attr("missing"), *bc.return_value()]
    body[1].line = template.__code__.co_firstlineno + 1
    with pytest.raises(AttributeError) as error:
        function_of(body, template)(1)
    last = traceback.extract_tb(error.value.__traceback__)[-1]
    assert last.lineno == template.__code__.co_firstlineno + 1


def test_bad_input_is_refused():
    def template(a): ...

    with pytest.raises(ValueError, match="has no instruction FLY"):
        bc.make("FLY")
    with pytest.raises(ValueError, match="not among the instructions"):
        bc.assemble([*bc.prefix(), *bc.jump(bc.make("NOP"))], template.__code__)


def test_stack_effect_agrees_with_dis():
    for instruction in bc.decode(sample_loops.__code__):
        if instruction.opcode < 256 and "JUMP" not in instruction.opname:
            expected = dis.stack_effect(instruction.opcode, instruction.arg, jump=False)
            assert bc.stack_effect(instruction, jump=False) == expected


@pytest.mark.skipif(sys.version_info < (3, 12), reason="comprehensions are inlined since 3.12")
def test_a_name_that_is_a_cell_and_free_is_refused():
    def outer():
        x = 1

        def inner():
            return [lambda: x for x in (x, 2)]

        return inner

    with pytest.raises(ValueError, match="two variables named x"):
        bc.decode(outer().__code__)
