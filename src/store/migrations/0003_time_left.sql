-- Nanoseconds that a run may yet take, while its clock stands still: it waits for a person, or was interrupted. It has no
-- deadline then.

ALTER TABLE runs ADD COLUMN time_left INTEGER;
