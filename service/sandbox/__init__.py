"""Code that others wrote, run where it can do no harm: one Protocol, and bubblewrap behind it.

`environment.py` and `install.py` hold the Python that the code sees; `bubblewrap.py` starts one confined process; on it
stand `session.py` (an IPython that keeps its state) and `job.py` (a module of ours over hostile bytes).
"""
