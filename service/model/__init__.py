"""The language model, behind one small Protocol (`base.Model`)."""
