"""Language models behind one Protocol, `base.Model`; `router.open_model` returns the model of the settings."""
