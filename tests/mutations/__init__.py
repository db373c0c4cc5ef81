"""
Every promise taken out once: what enforces it, and the test that must fail without it.

`python3 manage.py prove` shows it on a copy of the checkout. The list is `enforcements.py`.
"""
