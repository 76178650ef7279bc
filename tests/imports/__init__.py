"""Tests of imports of saved objects."""
