import click

import givenotice


@click.command()
def greet():
    givenotice.push(e_c="cli", e_a="greet")  # sent at the exit; click's exit status stays
    click.echo("Hello!")


greet()
