import click

import givenotice


@click.command()
def greet():
    givenotice.push(e_c="cli", e_a="greet")  # sent at the exit; the exit status is click's
    click.echo("Hello!")


greet()
