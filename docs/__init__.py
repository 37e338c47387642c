"""The documentation. `NAME.md` is a page; where there is a `NAME.py`, it makes what the page takes from the program."""
