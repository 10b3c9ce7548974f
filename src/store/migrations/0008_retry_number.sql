-- Which retry of its lineage a run is, in order of time: told of runs, and not changed by the deletion of others.

ALTER TABLE runs ADD COLUMN retry_number INTEGER;

UPDATE runs SET retry_number = counted.number
FROM (
    SELECT id, row_number() OVER (PARTITION BY root ORDER BY id) AS number FROM runs WHERE cause = 'retry'
) AS counted
WHERE counted.id = runs.id;
