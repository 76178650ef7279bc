-- Tiles belong to an epoch, since each epoch has a tree of its own. `root` is the hash over all hashes of the tile, which
-- is a hash of the tile above. No release wrote tiles before.
DROP TABLE log_tiles;
CREATE TABLE log_tiles (
    epoch  integer  NOT NULL,
    level  smallint NOT NULL,
    number bigint   NOT NULL,
    hashes bytea    NOT NULL,
    root   bytea    NOT NULL,
    PRIMARY KEY (epoch, level, number)
);
ALTER TABLE log_tiles ALTER hashes SET STORAGE EXTERNAL;
