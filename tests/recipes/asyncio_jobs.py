import asyncio

import givenotice


async def job(number):
    await asyncio.sleep(0.01)  # the work
    givenotice.push(e_c="job", e_a="done", e_n=number)  # nothing to await: it returns at once


asyncio.run(asyncio.wait_for(job(1), timeout=5))
