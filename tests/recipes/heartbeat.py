import givenotice

CHECK = "https://hc.example/ping/9f2c"

givenotice.push(f"{CHECK}/start")
ending = "/fail"
try:
    print("the work")
    ending = ""
except SystemExit as error:
    ending = "" if error.code in (None, 0) else "/fail"  # sys.exit() and sys.exit(0) are a success
    raise
finally:
    givenotice.push(CHECK + ending)
