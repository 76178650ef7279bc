"""Language models behind one Protocol (`base.Model`); `router.open_model` makes the one that serves."""
