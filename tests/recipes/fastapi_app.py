from fastapi import FastAPI

import givenotice

app = FastAPI()


@app.post("/users/{name}")
async def sign_up(name: str):
    givenotice.push(e_c="user", e_a="signup", e_n=name)  # nothing to await: it returns at once
    return {"name": name}
