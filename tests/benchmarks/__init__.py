"""
How fast it is: one file for each figure, measured beside the bare statement that nothing can beat.

`python3 manage.py benchmark NAME` runs them. Nothing here is asserted but the shape of the result: seconds
depend on the machine and its neighbours, ratios hardly.
"""
