"""Chat templates: those that climb out of Jinja are told, those that models have are not."""

import pytest

from statedict.ops.check.code.jinja import acts

HARMLESS = {
    "chatml": "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>'}}{% endfor %}",
    "namespace": "{%- set ns = namespace(found=false, index=0) %}{% set ns.found = true %}{{ ns.index + 1 }}",
    "tools": "{%- for tool in tools %}{{- tool | tojson(indent=4) }}{%- if not loop.last %}, {% endif %}{% endfor %}",
    "dates": "{%- if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% endif %}",
    "raise": "{% if messages[0]['role'] != 'user' %}{{ raise_exception('Roles must alternate') }}{% endif %}",
    "strings": "{{ message.content.split('</think>')[-1].lstrip('\\n') | trim }}{{ x | replace('a', 'b') | upper }}",
    "macro": "{%- macro render(x, y=1) %}{{ x ~ y }}{%- endmacro %}{{ render(messages[0].content) }}",
    "config": "{{ tool.config }}{{ 'config.json' }}{{ tools.request }}",
    "text": "os.system and __class__ outside of a block",
}
CLIMBS = {
    "class": "{{ ''.__class__ }}",
    "pieces": "{{ ''['__cla' + 'ss__'] }}",
    "tilde": "{{ ''['__cla' ~ 'ss__'] }}",
    "neighbours": "{{ ''['__cla' 'ss__'] }}",
    "escapes": r"{{ ''['\x5f\x5fclass\x5f\x5f'] }}",
    "attr": "{{ x | attr('__class__') }}",
    "attr of a computed name": "{{ x | attr(['__cla', 'ss__'] | join) }}",
    "attr of a variable": "{% set a = 'x' %}{{ x | attr(a) }}",
    "attr of a format": "{{ x | attr('%c%cclass%c%c' | format(95, 95, 95, 95)) }}",
    "popen": "{{ cycler.x.popen('id').read() }}",
    "subclasses": "{% for c in x.subclasses() %}{% endfor %}",
    "statement": "{% set x = cycler.__init__.__globals__.os %}",
}
ODD = {
    "lipsum": "{{ lipsum.x }}",
    "include": "{% include 'x' %}",
    "import": "{% from 'x' import y %}",
    "attr of a plain name": "{{ x | attr('name') }}",
}


def grades(template: str) -> set[str]:
    return {act.grade for act in acts(template, "x")}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_models_have(name: str) -> None:
    assert grades(HARMLESS[name]) == set()


@pytest.mark.parametrize("name", CLIMBS)
def test_what_climbs(name: str) -> None:
    assert "dangerous" in grades(CLIMBS[name])


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd(name: str) -> None:
    assert grades(ODD[name]) == {"unknown"}


def test_a_template_too_long_to_be_one() -> None:
    assert grades("x" * (17 << 20)) == {"unknown"}
