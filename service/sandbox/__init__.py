"""Confined execution of untrusted code: one Protocol, implemented with bubblewrap.

`environment.py` and `install.py` manage the Python that the code sees; `bubblewrap.py` starts one confined process;
`session.py` builds on it a session of IPython that keeps its state.
"""
