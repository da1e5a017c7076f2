"""A program that is one command, whose function is called as in most programs."""

from __future__ import annotations

import asyncio

import click


class Coroutine(click.Command):
    """A command whose callback is a coroutine function, run once Click has called it."""

    def invoke(self, ctx: click.Context) -> object:
        return asyncio.run(super().invoke(ctx))


@click.command(cls=Coroutine)
@click.argument("url")
async def main(url: str) -> None:
    """Publish a job from inside of a coroutine."""
    import redis
    from rq import Queue

    await asyncio.sleep(0)
    click.echo(Queue("work", connection=redis.Redis.from_url(url)).enqueue(print).id)


if __name__ == "__main__":
    main()
