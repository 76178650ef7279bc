-- The shapes of views that stand beside older ones (docs/operations.md, "Upgrade without downtime"). `building`: appends
-- write it, and it is being filled. `live`: it is complete, and answers are read from it. `retired`: its table is
-- dropped. The rows have rising epochs.
CREATE TABLE view_generations (
    view       text    NOT NULL,
    generation integer NOT NULL,
    epoch      integer NOT NULL UNIQUE,
    state      text    NOT NULL CHECK (state IN ('building', 'live', 'retired')),
    PRIMARY KEY (view, generation)
);

-- Each append writes the newest epoch that its software knows. A migration that begins or retires a generation raises
-- the lowest epoch that the constraint allows, and so ends the appends of older software at once.
ALTER TABLE streams ADD COLUMN view_epoch integer NOT NULL DEFAULT 0;
ALTER TABLE streams ADD CONSTRAINT streams_view_epoch CHECK (view_epoch >= 0) NOT VALID;
