"""`statedict formats`: what can be read and written."""

import click

from statedict.cli import output
from statedict.formats import FORMATS, others
from statedict.formats._plugged import is_installed
from statedict.views.documents import document, schema
from statedict.views.formats import formats_fields, formats_table


@click.command(short_help="What can be read and written, how it is told, and what to install for it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(as_json: bool) -> None:
    """List the formats that can be read, and which are written: statedict's own, then those that others plug in.

    An extra is what some values of a format need: without it, the file opens and tells names, types and shapes. It is
    installed with `pip install 'statedict[EXTRA]'`.
    """
    formats = (*FORMATS, *others())
    if as_json:
        output.print_text(document(schema=schema("formats"), formats=formats_fields(formats, is_installed)))
    else:
        output.print_lines(formats_table(formats, is_installed, output.width()))
