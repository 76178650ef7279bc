-- A rebuild that another version of the software broke off begins again: its projections may differ.
ALTER TABLE view_rebuilds ADD COLUMN software_version text NOT NULL DEFAULT '';
