import asyncio

import givenotice


async def job(number):
    await asyncio.sleep(0.01)  # the work
    givenotice.push(e_c="job", e_a="done", e_n=number)  # returns at once: there is nothing to await


asyncio.run(asyncio.wait_for(job(1), timeout=5))
