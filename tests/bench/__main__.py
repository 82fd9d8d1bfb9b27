"""python3 tests/bench"""

from runner import main

main()
