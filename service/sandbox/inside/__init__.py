"""Code that runs inside the sandbox. It is read as text and handed in; Everthread imports none of it."""
