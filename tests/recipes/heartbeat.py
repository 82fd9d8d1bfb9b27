import givenotice

CHECK = "https://hc.example/ping/9f2c"

givenotice.push(f"{CHECK}/start")
givenotice.flush()  # notices may overtake each other; this one must be there first
try:
    print("the work")
except BaseException:
    givenotice.push(f"{CHECK}/fail")
    raise
givenotice.push(CHECK)
